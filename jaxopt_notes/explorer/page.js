// The page's stand-in for a notebook: an anywidget model whose messages go to the server of this page.

const token = new URL(import.meta.url).searchParams.get("token");
const headers = { "x-explorer-token": token };
const main = document.getElementById("explorer");

function makeModel(opening) {
  const values = { opening, host: "page" };
  const listeners = new Map();
  const emit = (event, ...details) => (listeners.get(event) ?? []).forEach((listener) => listener(...details));
  return {
    get: (name) => values[name],
    set: (name, value) => {
      values[name] = value;
      emit(`change:${name}`);
    },
    save_changes: () => {},
    on: (event, listener) => listeners.set(event, [...(listeners.get(event) ?? []), listener]),
    off: (event, listener) =>
      listeners.set(
        event,
        (listeners.get(event) ?? []).filter((other) => listener && other !== listener),
      ),
    send: async (message) => {
      let reply;
      try {
        const response = await fetch("/compute", {
          method: "POST",
          headers: { ...headers, "content-type": "application/json" },
          body: JSON.stringify(message),
        });
        reply = await response.json();
      } catch {
        reply = { error: "the explorer's server does not answer; was it stopped?" };
      }
      emit("msg:custom", { sequence: message.sequence, kind: message.kind, ...reply }, []);
    },
  };
}

try {
  const [{ default: widget }, response] = await Promise.all([
    import(`/explorer.js?token=${encodeURIComponent(token)}`),
    fetch("/opening", { headers }),
  ]);
  widget.render({ model: makeModel(await response.json()), el: main });
} catch (error) {
  main.textContent = `The explorer did not start: ${error.message}`;
}
