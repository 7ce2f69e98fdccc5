// The module: what a host calls.

function render({ model, el }) {
  const explorer = new Explorer(model, el);
  explorer.begin();
  return () => explorer.end();
}

export default { render };
