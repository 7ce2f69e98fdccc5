// The page's stand-in for a notebook: an anywidget model whose messages go to the server of this page.

const token = new URL(import.meta.url).searchParams.get("token");
const headers = { "x-explorer-token": token };
const main = document.getElementById("explorer");

// A connection for many messages, which is faster than a request for each.
function openSocket() {
  const address = new URL(`/socket?token=${encodeURIComponent(token)}`, import.meta.url);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  const waiting = []; // replies come in the order of the messages
  socket.onmessage = ({ data }) => waiting.shift().resolve(JSON.parse(data));
  socket.onclose = () => waiting.splice(0).forEach(({ reject }) => reject(new Error("closed")));
  return (text) =>
    new Promise((resolve, reject) => {
      if (socket.readyState !== WebSocket.OPEN) throw new Error("not open");
      waiting.push({ resolve, reject });
      socket.send(text);
    });
}

async function post(text) {
  const response = await fetch("/compute", { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: text });
  return response.json();
}

function makeModel(opening) {
  // Proofs have a connection of their own: the messages of one are answered in turn, and no move shall wait for a proof.
  const [overSocket, forProofs] = [openSocket(), openSocket()];
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
        const text = JSON.stringify(message);
        // A request until the socket is open, where there is none, as behind some proxies, and when it breaks.
        reply = await (message.kind === "proof" ? forProofs : overSocket)(text).catch(() => post(text));
      } catch {
        reply = { error: "the explorer's server does not answer; was it stopped?" };
      }
      emit("msg:custom", { ...reply, sequence: message.sequence, kind: message.kind }, []);
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
