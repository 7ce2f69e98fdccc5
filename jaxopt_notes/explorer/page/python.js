// A notebook cell that draws the picture, from templates that Python supplies.

function pythonCell(opening, request) {
  const { templates } = opening;
  const { code, dimension, levels, minima } = opening.functions[request.function];
  const names = Object.keys(request.optimizers);
  const [low, high] = request.window;
  const floor = minima.length ? Math.min(...minima.map(({ value }) => value)) : null;
  const fields = {
    code,
    start: pythonList(request.start),
    optimizers: names.map((name) => `    "${name}": ${pythonCall(opening, name, request)},\n`).join(""),
    looks: names.map((name) => `    "${name}": ${opening.optimizers[name].style},\n`).join(""),
    steps: String(request.steps),
    x0: pythonNumber(low[0]),
    x1: pythonNumber(high[0]),
    y0: dimension === 2 ? pythonNumber(low[1]) : "",
    y1: dimension === 2 ? pythonNumber(high[1]) : "",
    levels: levels === "log" ? templates.log_levels : "16",
    lowest: floor === null ? "0.0" : pythonNumber(floor),
    label: floor === null ? "loss" : "loss - minimum",
    scale: floor === null ? "linear" : "log",
    noise: request.noise ? "import optax\n" : "",
  };
  return templates[dimension === 1 ? "curve" : "plane"].replace(/<(\w+)>/g, (_, name) => fields[name]);
}

function pythonCall(opening, name, { optimizers, noise, decay, seed }) {
  const texts = Object.entries(opening.optimizers[name].controls).map(([key, control]) => {
    const number = pythonNumber(optimizers[name][key] ?? control.default);
    const scheduled = key === "learning_rate" && decay;
    return `${key}=${scheduled ? `jon.schedules.inverse_time(${number}, ${pythonNumber(decay)})` : number}`;
  });
  const call = `jon.${name}(${texts.join(", ")})`;
  return noise ? `optax.chain(optax.add_noise(eta=${pythonNumber(noise)}**2, gamma=0.0, key=${seed}), ${call})` : call;
}

// A number as Python writes a float.
function pythonNumber(value) {
  const written = String(value);
  if (!/^-?\d+$/.test(written)) return written.replace(/e([+-])(\d)$/, "e$10$2");
  return `${written}.0`;
}

function pythonList(numbers) {
  return `[${numbers.map(pythonNumber).join(", ")}]`;
}
