// The explorer: one module, in a page of its own or in the frame of a notebook.
//
// The files of this folder are joined into one module in the order of `_bundle.py`, and share one scope. A file adds its
// methods to `Explorer` by `extend`.
//
// All state lives in `state`. The engine is pure: it is given what it needs, and is called when something changes.
// `frames.js` decides what is drawn when. No styles are set as text, which a strict Content-Security-Policy forbids.

const SVG = "http://www.w3.org/2000/svg";
const ORANGE = "#ff7f0e"; // the start, in the lectures and everywhere

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  return dressed(made, attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS(SVG, tag), attributes, children);
}

function dressed(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function shown(value) {
  if (value === null || !Number.isFinite(value)) return "∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

function ticks(low, high, most) {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) {
    found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  }
  return found;
}

// Those of the ticks whose labels fit, and more of them until there are two: one number is no scale.
function fitting(low, high, most, fits) {
  for (let count = most; count < most + 8; count += 1) {
    const found = ticks(low, high, count).filter(fits);
    if (found.length > 1) return found;
  }
  return ticks(low, high, most).filter(fits);
}

// The part of a segment inside a box, or null: coordinates far outside would overflow the renderer.
function clipped(x0, y0, x1, y1, box) {
  let from = 0;
  let to = 1;
  const [dx, dy] = [x1 - x0, y1 - y0];
  for (const [p, q] of [
    [-dx, x0 - box[0]],
    [dx, box[2] - x0],
    [-dy, y0 - box[1]],
    [dy, box[3] - y0],
  ]) {
    if (p === 0) {
      if (q < 0) return null;
    } else if (p < 0) from = Math.max(from, q / p);
    else to = Math.min(to, q / p);
  }
  return from > to ? null : [x0 + from * dx, y0 + from * dy, x0 + to * dx, y0 + to * dy];
}

// A length in tenths of a pixel, as text. A drag writes thousands of them a frame, and most were written before.
const WRITTEN = new Map();

function tenth(value) {
  const tenths = Math.round(value * 10);
  let text = WRITTEN.get(tenths);
  if (text === undefined) {
    text = String(tenths / 10);
    if (WRITTEN.size < 1e5) WRITTEN.set(tenths, text);
  }
  return text;
}
