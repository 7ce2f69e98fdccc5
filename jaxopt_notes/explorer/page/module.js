// The module: what a host calls.

function render({ model, el }) {
  const explorer = new Explorer(model, el);
  explorer.begin();
  return () => explorer.end();
}

// What the explorer talks to: the engine beside it, in the form of a notebook's model.
function localModel(opening) {
  const engine = new Engine(opening, FUNCTIONS);
  const listeners = new Set();
  return {
    get: (name) => (name === "opening" ? opening : opening[name]),
    on: (_, listener) => listeners.add(listener),
    off: (_, listener) => listeners.delete(listener),
    send: (message) => {
      const reply = engine.answer(message);
      listeners.forEach((listener) => listener(reply));
    },
  };
}

const opening = JSON.parse(document.getElementById("opening").textContent);
render({ model: localModel(opening), el: document.getElementById("explorer") });
