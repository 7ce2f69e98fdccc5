// The explorer: one module in anywidget's form, for notebooks and for the page of `jaxopt-notes explore`.
//
// The model answers requests: model.send({kind, sequence, ...}) is followed by one "msg:custom" with the same sequence.
// All state lives here, in `state`; every request carries what it needs. At most one request is in flight, and the one
// after it asks for the newest state: moves are never queued. What is proved is asked for beside them, once the picture
// rests, so that no move waits for it. Only `el` is touched, since a host may put it in a shadow
// root. No styles are set as text, which a strict Content-Security-Policy forbids.

const SVG = "http://www.w3.org/2000/svg";
const REST = 300; // milliseconds without a change after which proofs are asked for
const LONGEST = 60000; // milliseconds to wait for an answer, which may have to compile
const ORANGE = "#ff7f0e"; // the start, in the lectures and everywhere

// ---------------------------------------------------------------------------------------------------------- elements

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

function floats(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i += 1) bytes[i] = letters.charCodeAt(i); // ten times as fast as Uint8Array.from
  return new Float32Array(bytes.buffer);
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

const tenth = (value) => Math.round(value * 10) / 10; // of a pixel: shorter text, and faster to write than toFixed

// Marker shapes for a radius, as SVG path data relative to their centre.
const SHAPES = {
  o: (r) => `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  s: (r) => polygon(r * 1.2, 4, Math.PI / 4),
  D: (r) => polygon(r * 1.3, 4, 0),
  d: (r) => `m${-r * 0.7} 0l${r * 0.7} ${-r * 1.4}l${r * 0.7} ${r * 1.4}l${-r * 0.7} ${r * 1.4}z`,
  P: (r) => cross(r * 1.3, 0),
  x: (r) => cross(r * 1.3, Math.PI / 4),
  p: (r) => polygon(r * 1.2, 5, -Math.PI / 2),
  H: (r) => polygon(r * 1.2, 6, 0),
  "^": (r) => polygon(r * 1.4, 3, -Math.PI / 2),
  v: (r) => polygon(r * 1.4, 3, Math.PI / 2),
  ">": (r) => polygon(r * 1.4, 3, 0),
  "<": (r) => polygon(r * 1.4, 3, Math.PI),
  h: (r) => polygon(r * 1.2, 6, Math.PI / 6),
  8: (r) => polygon(r * 1.2, 8, Math.PI / 8),
};

function polygon(r, corners, turn) {
  const words = [];
  let [lastX, lastY] = [0, 0];
  for (let i = 0; i < corners; i += 1) {
    const angle = turn + (2 * Math.PI * i) / corners;
    const [x, y] = [r * Math.cos(angle), r * Math.sin(angle)];
    words.push(`${i ? "l" : "m"}${(x - lastX).toFixed(2)} ${(y - lastY).toFixed(2)}`);
    [lastX, lastY] = [x, y];
  }
  return `${words.join("")}z`;
}

function cross(r, turn) {
  const [c, s] = [r * Math.cos(turn), r * Math.sin(turn)];
  return `m${-c} ${-s}l${2 * c} ${2 * s}m${s - c} ${-c - s}l${-2 * s} ${2 * c}`;
}

function star(x, y, r) {
  const words = [];
  for (let i = 0; i < 10; i += 1) {
    const [angle, length] = [-Math.PI / 2 + (Math.PI * i) / 5, i % 2 ? r * 0.45 : r];
    words.push(`${i ? "L" : "M"}${(x + length * Math.cos(angle)).toFixed(1)} ${(y + length * Math.sin(angle)).toFixed(1)}`);
  }
  return `${words.join("")}Z`;
}

function arrow(x, y, dx, dy, length, head) {
  const size = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / size, dy / size];
  const [tx, ty] = [x + ux * length, y + uy * length];
  return `M${x} ${y}L${tx} ${ty}${arrowhead(tx, ty, ux, uy, head)}`;
}

function arrowhead(x, y, ux, uy, size) {
  const side = (sign) => `${x - size * (ux - sign * 0.5 * uy)} ${y - size * (uy + sign * 0.5 * ux)}`;
  return `M${side(1)}L${x} ${y}L${side(-1)}`;
}

// ------------------------------------------------------------------------------------------------------------- links

function encoded(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function decoded(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

// -------------------------------------------------------------------------------------------------------- the module

function render({ model, el }) {
  const explorer = new Explorer(model, el);
  explorer.begin();
  return () => explorer.end();
}

export default { render };

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.opening = model.get("opening");
    this.onPage = model.get("host") === "page";
    [this.width, this.height] = this.opening.drawing;
    this.unique = `explorer-${Math.random().toString(36).slice(2)}`;
    this.sequence = 0;
    this.inFlight = null;
    this.wanted = { survey: false, run: false, python: false };
    this.runs = {};
    this.seen = null;
    this.proving = null; // the last request for proofs: its sequence, and the number of the drawing that it is of
    this.known = null; // the critical points in the window that are proved
    this.unit = 1;
    this.step = null; // the step shown; null for the last
    this.cleanUp = [];
    this.timings = []; // of the last drags: milliseconds from a pointer move to its path, and to the frame after it
    this.draws = 0;
    el.explorer = this;
    this.state = this.fresh(this.opening.first);
  }

  begin() {
    this.build();
    const fragment = this.onPage ? window.location.hash.slice(1) : "";
    this.suggesting = true;
    if (fragment) this.restore(fragment);
    this.listen();
    this.synchronise();
    this.ask("survey");
  }

  end() {
    this.stop();
    [this.waiting, this.lost, this.announcing, this.resting].forEach(clearTimeout);
    this.cleanUp.forEach((undo) => undo());
    this.el.replaceChildren();
  }

  // ----------------------------------------------------------------------------------------------------------- state

  fresh(name) {
    const described = this.opening.functions[name];
    const optimizers = {};
    for (const [key, { controls }] of Object.entries(this.opening.optimizers)) {
      const on = ["gradient_descent", "momentum", "adam"].includes(key);
      const numbers = Object.fromEntries(Object.entries(controls).map(([field, control]) => [field, control.default]));
      optimizers[key] = { on, numbers };
    }
    return {
      function: name,
      start: [...described.start],
      window: this.fitted(described.domain),
      steps: 60,
      noise: 0,
      decay: 0,
      seed: 0,
      optimizers,
      show: { field: false, arrows: true, directions: true },
    };
  }

  get described() {
    return this.opening.functions[this.state.function];
  }

  get flat() {
    return this.described.dimension === 1;
  }

  // The smallest window of the drawing's shape around a box: with equal scales a gradient is orthogonal to its contour.
  fitted([low, high]) {
    if (low.length === 1) return [[...low], [...high]];
    const size = [high[0] - low[0], high[1] - low[1]];
    const scale = Math.max(size[0] / this.width, size[1] / this.height) * 1.06;
    const half = [(scale * this.width) / 2, (scale * this.height) / 2];
    const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    return [
      [middle[0] - half[0], middle[1] - half[1]],
      [middle[0] + half[0], middle[1] + half[1]],
    ];
  }

  choose(name) {
    this.parts.preset.value = "";
    const { optimizers, steps, show } = this.state;
    this.state = { ...this.fresh(name), optimizers, steps, show };
    this.suggesting = true;
    this.changedFunction();
  }

  preset(index) {
    const { title, note, optimizers, ...rest } = this.opening.presets[index]; // title and note are for the caption
    this.state = { ...this.fresh(rest.function), ...rest, show: this.state.show };
    this.state.start = [...rest.start];
    for (const [name, entry] of Object.entries(this.state.optimizers)) {
      entry.on = name in optimizers;
      Object.assign(entry.numbers, optimizers[name] ?? {});
    }
    this.suggesting = false;
    this.changedFunction();
    this.caption(index);
  }

  caption(index) {
    const { title, note } = this.opening.presets[index];
    this.parts.preset.value = index;
    this.parts.note.textContent = `${title}: ${note}`;
  }

  restore(fragment) {
    this.parts.note.textContent = "";
    try {
      const given = decoded(fragment);
      const state = this.fresh(given.function in this.opening.functions ? given.function : this.opening.first);
      for (const field of ["start", "window", "steps", "noise", "decay", "seed"]) {
        if (field in given) state[field] = given[field];
      }
      for (const [name, entry] of Object.entries(state.optimizers)) {
        const other = (given.optimizers ?? {})[name];
        entry.on = other !== undefined;
        for (const key of Object.keys(entry.numbers)) {
          if (Number.isFinite(other?.[key])) entry.numbers[key] = other[key];
        }
      }
      state.show = { ...state.show, ...given.show };
      const sound = (point) => Array.isArray(point) && point.length === state.start.length && point.every(Number.isFinite);
      const dimension = this.opening.functions[state.function].dimension;
      if (state.start.length !== dimension || !sound(state.start) || !state.window.every(sound)) throw new Error();
      this.state = state;
      this.suggesting = false;
      const index = this.opening.presets.findIndex(({ title }) => title === given.demonstration);
      if (index >= 0) this.caption(index);
    } catch {
      this.parts.note.textContent = "The link after # could not be read, so this is the first picture.";
    }
  }

  follow(fragment) {
    this.parts.preset.value = "";
    this.restore(fragment);
    const note = this.parts.note.textContent;
    this.changedFunction();
    this.parts.note.textContent = note;
  }

  changedFunction() {
    this.parts.note.textContent = "";
    this.stop();
    this.seen = null;
    this.forget();
    this.runs = {};
    this.step = null;
    this.synchronise();
    this.parts.terrain.replaceChildren();
    this.parts.verdicts.replaceChildren();
    this.drawPaths();
    this.ask("survey");
  }

  suggest(rate) {
    const [low, high] = this.described.domain;
    const wide = Math.max(...low.map((edge, i) => high[i] - edge));
    for (const [name, { scale }] of Object.entries(this.opening.optimizers)) {
      if (scale === null) continue;
      const [unit, share] = scale;
      const value = share * (unit === "width" ? wide : rate);
      this.state.optimizers[name].numbers.learning_rate = Number(Math.min(value, 10).toPrecision(2));
    }
    this.suggesting = false;
    this.synchronise();
  }

  // -------------------------------------------------------------------------------------------------------- requests

  request(kind) {
    const { optimizers, show, ...rest } = this.state;
    if (kind === "survey") return { kind, function: rest.function, window: rest.window };
    const active = Object.entries(optimizers).filter(([, entry]) => entry.on);
    const asked = { kind, ...rest, optimizers: Object.fromEntries(active.map(([name, { numbers }]) => [name, numbers])) };
    if (kind === "run") delete asked.window;
    return asked;
  }

  ask(kind) {
    this.wanted[kind] = true;
    this.next();
  }

  next() {
    if (this.inFlight) return;
    const kind = ["survey", "run", "python"].find((one) => this.wanted[one]);
    if (!kind) return;
    this.wanted[kind] = false;
    this.sequence += 1;
    const moved = kind === "run" ? this.moved : null;
    if (kind === "run") this.moved = null;
    this.inFlight = { kind, sequence: this.sequence, moved };
    this.waiting = setTimeout(() => this.busy(true), 250);
    this.lost = setTimeout(() => this.giveUp(), LONGEST);
    this.model.send({ ...this.request(kind), sequence: this.sequence });
  }

  // Ask for proofs once nothing moves, runs or is held any more.
  rest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      if (this.held() || this.inFlight) return; // the reply, and letting go, come back here
      this.sequence += 1;
      this.proving = { sequence: this.sequence, draws: this.draws };
      this.model.send({ ...this.request("proof"), sequence: this.sequence });
    }, REST);
  }

  held() {
    return this.dragging !== null && this.dragging !== undefined;
  }

  // Proofs of another window.
  forget() {
    this.known = null;
    this.parts.known.textContent = "";
  }

  proved(reply) {
    if (reply.sequence !== this.proving?.sequence) return;
    const { draws } = this.proving;
    this.proving = null;
    if (draws !== this.draws || reply.error) return; // another has been drawn since, and its proofs follow
    for (const [name, { proved, sentence, certificate }] of Object.entries(reply.proofs)) {
      const row = this.rows[name];
      if (!row) continue;
      row.proved.textContent = `${sentence}. `;
      row.proved.classList.toggle("certain", proved);
      row.certificate.textContent = certificate;
    }
    this.parts.known.textContent = `${reply.summary}.`;
    this.known = reply.points;
    this.drawTerrain();
    this.announce();
  }

  receive(reply) {
    if (reply.kind === "proof") this.proved(reply);
    if (!this.inFlight || reply.sequence !== this.inFlight.sequence) return;
    const { kind, moved } = this.inFlight;
    this.inFlight = null;
    clearTimeout(this.waiting);
    clearTimeout(this.lost);
    this.busy(false);
    if (reply.error) this.complain(reply.error);
    else {
      this.complain("");
      if (kind === "survey") this.surveyed(reply);
      else if (kind === "run") this.ran(reply, moved);
      else this.showCode(reply.code);
    }
    this.next();
    this.rest();
  }

  // A notebook's kernel that was interrupted or restarted never answers; the next move tries again.
  giveUp() {
    this.inFlight = null;
    this.busy(false);
    this.complain("There was no answer. Is the kernel or the server still running?");
  }

  surveyed(reply) {
    if (reply.function !== this.state.function) return;
    this.forget();
    this.seen = { ...reply, curve: floats(reply.curve), arrows: floats(reply.arrows) };
    if (this.suggesting) this.suggest(reply.rate);
    this.drawTerrain();
    this.ask("run");
  }

  ran(reply, moved) {
    if (reply.function !== this.state.function) return;
    this.reply = reply;
    this.runs = {};
    for (const [name, run] of Object.entries(reply.runs)) {
      this.runs[name] = { ...run, path: floats(run.path), loss: floats(run.loss) };
    }
    this.drawPaths();
    this.drawVerdicts();
    this.showStart();
    this.draws += 1;
    if (moved) {
      const timing = { drawn: performance.now() - moved };
      requestAnimationFrame(() => {
        timing.frame = performance.now() - moved;
      });
      this.timings = [...this.timings.slice(-499), timing];
    }
  }

  busy(on) {
    this.parts.busy.textContent = on ? "compiling…" : "";
  }

  complain(message) {
    if (this.parts.error.textContent === message) return;
    this.parts.error.textContent = message;
    this.parts.error.hidden = !message;
  }

  // ----------------------------------------------------------------------------------------------------- coordinates

  get vertical() {
    if (!this.flat) return [this.state.window[0][1], this.state.window[1][1]];
    const [low, high] = this.seen ? this.seen.span : [0, 1];
    const margin = (high - low || Math.abs(high) || 1) * 0.08;
    return [low - margin, high + margin];
  }

  scales() {
    const [[x0], [x1]] = this.state.window;
    const [y0, y1] = this.vertical;
    const [across, up] = [this.width / (x1 - x0), this.height / (y1 - y0)];
    return {
      x: (value) => (value - x0) * across,
      y: (value) => this.height - (value - y0) * up,
      back: (px, py) => [x0 + px / across, y0 + (this.height - py) / up],
    };
  }

  // The height of the curve of a function of one variable, between the points that are known.
  height1(x) {
    const curve = this.seen.curve;
    const last = curve.length / 2 - 1;
    const place = ((x - curve[0]) / (curve[2 * last] - curve[0])) * last;
    const left = Math.min(Math.max(Math.floor(place), 0), last - 1);
    return curve[2 * left + 1] + (place - left) * (curve[2 * left + 3] - curve[2 * left + 1]);
  }

  // ---------------------------------------------------------------------------------------------------------- drawing

  drawTerrain() {
    const { x, y } = this.scales();
    const layers = [];
    if (this.flat) {
      const words = [];
      for (let i = 0; i < this.seen.curve.length; i += 2) {
        const [px, py] = [x(this.seen.curve[i]), y(this.seen.curve[i + 1])];
        if (Number.isFinite(py)) words.push(`${words.length ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`);
      }
      layers.push(drawn("path", { d: words.join(""), class: "curve" }));
    }
    for (const { region } of this.seen.contours) layers.push(drawn("path", { d: region, class: "region" }));
    for (const { line, level } of this.seen.contours) {
      layers.push(drawn("path", { d: line, class: "contour" }, drawn("title", {}, `f = ${shown(level)}`)));
    }
    if (this.state.show.field) {
      const words = [];
      for (let i = 0; i < this.seen.arrows.length; i += 4) {
        const [ax, ay, dx, dy] = this.seen.arrows.subarray(i, i + 4);
        words.push(arrow(x(ax) - 8 * dx, y(ay) + 8 * dy, dx, -dy, 17, 6));
      }
      layers.push(drawn("path", { d: words.join(""), class: "field" }));
    }
    if (this.seen.note) {
      layers.push(drawn("text", { x: this.width / 2, y: 40 * this.unit, "text-anchor": "middle" }, this.seen.note));
    }
    layers.push(...this.criticalPoints());
    this.parts.terrain.replaceChildren(...layers, ...this.axisLabels());
  }

  // Stars at the minima that are tabulated, until those that are proved are known, with saddles and maxima.
  criticalPoints() {
    const { x, y } = this.scales();
    const points = this.known?.length ? this.known : this.described.minima.map((one) => ({ ...one, kind: "minimum" }));
    const crowd = points.length > 60 ? " crowd" : ""; // in smaller marks
    const size = (crowd ? 0.5 : 1) * this.unit;
    return points.map(({ point, value, kind }) => {
      const [px, py] = [x(point[0]), y(this.flat ? value : point[1])];
      const d = kind === "minimum" ? star(px, py, 11 * size) : `M${px} ${py}${SHAPES[kind === "saddle" ? "x" : "^"](5 * size)}`;
      const where = this.known?.length ? `, proved: f = ${shown(value)} at (${point.map(shown).join(", ")})` : "";
      return drawn("path", { d, class: `${kind === "minimum" ? "optimum" : "critical"} ${kind}${crowd}` }, drawn("title", {}, `${kind}${where}`));
    });
  }

  axisLabels() {
    const { x, y } = this.scales();
    const [u, labels] = [this.unit, []];
    const [[x0], [x1]] = this.state.window;
    const most = Math.max(3, Math.round(8 / u));
    for (const value of ticks(x0, x1, most)) {
      if (x(value) < 30 * u || x(value) > this.width - 30 * u) continue;
      labels.push(drawn("text", { x: x(value), y: this.height - 6 * u, "text-anchor": "middle" }, shown(value)));
      labels.push(drawn("path", { d: `M${x(value)} ${this.height}v${-4 * u}`, class: "tick" }));
    }
    for (const value of ticks(...this.vertical, Math.max(3, Math.round(6 / u)))) {
      if (y(value) < 20 * u || y(value) > this.height - 24 * u) continue;
      labels.push(drawn("text", { x: 8 * u, y: y(value) + 4 * u }, shown(value)));
      labels.push(drawn("path", { d: `M0 ${y(value)}h${4 * u}`, class: "tick" }));
    }
    return labels;
  }

  get lastStep() {
    return this.step === null ? this.state.steps : Math.min(this.step, this.state.steps);
  }

  drawPaths() {
    const layers = [];
    this.labels = [];
    for (const [name, run] of Object.entries(this.runs)) layers.push(...this.onePath(name, run));
    this.parts.paths.replaceChildren(...layers);
    this.drawStart();
    this.drawCurves();
    this.drawPlayer();
  }

  onePath(name, run) {
    const { look, title } = this.opening.optimizers[name];
    const { x, y } = this.scales();
    const [u, dimension] = [this.unit, this.described.dimension];
    const count = Math.min(run.path.length / dimension, run.stopped_at + 1);
    const points = [];
    for (let k = 0; k < count; k += 1) {
      const point = [x(run.path[k * dimension]), y(this.flat ? run.loss[k] : run.path[k * dimension + 1])];
      if (!point.every(Number.isFinite)) break;
      points.push(point);
    }
    const until = Math.min(this.lastStep, points.length - 1);
    const paint = look.color === "#000000" ? "currentColor" : look.color;
    const dash = look.dash ? look.dash.split(" ").map((n) => n * u).join(" ") : null;
    const line = { fill: "none", stroke: paint, "stroke-width": 2.2 * u, "stroke-dasharray": dash, "stroke-linejoin": "round" };
    const layers = [];
    if (until < points.length - 1) {
      layers.push(drawn("path", { ...line, d: this.lineThrough(points, until, points.length - 1), opacity: 0.25 }));
    }
    layers.push(drawn("path", { ...line, d: this.lineThrough(points, 0, until), "data-path": name }));
    layers.push(drawn("path", { d: this.markersAt(points, until, look.marker), fill: paint, stroke: paint, "stroke-width": u }));
    const inside = ([px, py]) => px >= 0 && py >= 0 && px <= this.width && py <= this.height;
    if (this.state.show.directions && !this.flat && inside(points[until]) && until === points.length - 1) {
      layers.push(...this.eigenDirections(run, points[until]));
    }
    layers.push(this.endMarker(points[until], paint, inside(points[until]), title));
    const label = this.labelOf(run, points, inside);
    if (label && until === points.length - 1) layers.push(this.labelled(label.point, `${title} ${label.text}`, paint));
    return layers;
  }

  lineThrough(points, from, to) {
    const box = [-this.width, -this.height, 2 * this.width, 2 * this.height];
    const inside = ([px, py]) => px > box[0] && py > box[1] && px < box[2] && py < box[3];
    const words = [];
    let drawnTo = false; // whether the line is at the first end of the next segment
    for (let k = from; k < to; k += 1) {
      const whole = inside(points[k]) && inside(points[k + 1]);
      const piece = whole ? [...points[k], ...points[k + 1]] : clipped(...points[k], ...points[k + 1], box);
      if (piece && !drawnTo) words.push(`M${tenth(piece[0])} ${tenth(piece[1])}`);
      if (piece) words.push(`L${tenth(piece[2])} ${tenth(piece[3])}`);
      drawnTo = piece !== null && inside(points[k + 1]);
    }
    return words.join("");
  }

  markersAt(points, until, marker) {
    const words = [];
    const shape = SHAPES[marker](2.6 * Math.min(this.unit, 1.4));
    let [lastX, lastY] = [-99, -99];
    for (let k = 0; k <= until; k += 1) {
      const [px, py] = points[k];
      if (px < 0 || py < 0 || px > this.width || py > this.height) continue;
      // A point on top of the one before it would change nothing in the picture.
      if (Math.abs(px - lastX) + Math.abs(py - lastY) < 0.5) continue;
      words.push(`M${tenth(px)} ${tenth(py)}${shape}`);
      [lastX, lastY] = [px, py];
    }
    return words.join("");
  }

  endMarker([px, py], paint, inside, title) {
    const r = 7 * this.unit;
    const d = inside ? `M${px - r} ${py}L${px} ${py - r}L${px + r} ${py}L${px} ${py + r}Z` : "";
    return drawn("path", { d, fill: paint, class: "end", "stroke-width": 1.5 * this.unit }, drawn("title", {}, `end of ${title}`));
  }

  eigenDirections(run, [px, py]) {
    const length = 34 * this.unit;
    return run.directions.map(([dx, dy], i) => {
      const value = run.eigenvalues[i];
      const d = `M${px - dx * length} ${py + dy * length}L${px + dx * length} ${py - dy * length}`;
      const down = value < 0;
      const text = `eigenvalue ${shown(value)}: ${down ? "curves down, dashed" : "curves up"}`;
      return drawn("path", { d, class: `direction${down ? " down" : ""}`, "stroke-width": 1.6 * this.unit }, drawn("title", {}, text));
    });
  }

  // What is written beside a path that does not end in the picture: from where it is last seen.
  labelOf(run, points, inside) {
    const last = points.length - 1;
    const left = points.findLastIndex(inside);
    const leaves = left < last ? `leaves the picture at step ${left + 1}` : "";
    if (run.diverged) return { point: points[Math.max(left, 0)], text: `diverged${leaves ? `, ${leaves}` : ""}` };
    return leaves && left >= 0 ? { point: points[left], text: leaves } : null;
  }

  labelled([px, py], text, paint) {
    const u = this.unit;
    const x = Math.min(Math.max(px, 8 * u), this.width - 8 * u);
    const [sx, sy] = this.startPoint();
    const shift = Math.hypot(px - sx, py - sy) < 60 * u ? 40 * u : -12 * u; // not across the arrows at the start
    let y = Math.min(Math.max(py + shift, 22 * u), this.height - 26 * u);
    const covered = ([ox, oy]) => Math.abs(oy - y) < 16 * u && Math.abs(ox - x) < 260 * u;
    while (this.labels.some(covered)) y -= 16 * u;
    if (y < 12 * u) {
      y = 22 * u;
      while (this.labels.some(covered)) y += 16 * u;
    }
    this.labels.push([x, y]);
    const anchor = x > this.width * 0.55 ? "end" : "start";
    return drawn("text", { x, y, fill: paint, "text-anchor": anchor, class: "path-label" }, text);
  }

  startPoint() {
    const { x, y } = this.scales();
    const [first, second] = this.state.start;
    if (!this.flat) return [x(first), y(second)];
    return [x(first), y(this.seen ? this.height1(first) : 0)];
  }

  drawStart() {
    const [px, py] = this.startPoint();
    const u = this.unit;
    const near = (value) => Math.min(Math.max(value, -1e5), 1e5).toFixed(1); // far out it has no other digits that SVG reads
    this.parts.handle.setAttribute("transform", `translate(${near(px)} ${near(py)}) scale(${u})`);
    const words = this.state.start.map((value, i) => `${"xy"[i]} = ${shown(value)}`).join(", ");
    this.parts.handle.setAttribute("aria-valuenow", this.state.start[0]);
    this.parts.handle.setAttribute("aria-valuemin", this.state.window[0][0]);
    this.parts.handle.setAttribute("aria-valuemax", this.state.window[1][0]);
    this.parts.handle.setAttribute("aria-valuetext", words);
    const current = this.reply && this.reply.start.every((value, i) => Math.abs(value - this.state.start[i]) < 1e-9);
    this.parts.arrows.replaceChildren(...(current && this.state.show.arrows ? this.startArrows([px, py]) : []));
  }

  startArrows([px, py]) {
    const u = this.unit;
    const gradient = this.reply.gradient;
    if (!gradient.every((entry) => entry !== null)) return [];
    const { x, y } = this.scales();
    const layers = [];
    const one = (dx, dy, kind, text, both = false) => {
      const size = Math.hypot(dx, dy);
      const [ux, uy, long] = [dx / size, dy / size, 74 * u];
      const [tx, ty] = [px + ux * long, py + uy * long];
      const d = `M${both ? `${px - ux * long} ${py - uy * long}` : `${px} ${py}`}L${tx} ${ty}`;
      layers.push(drawn("path", { d, class: `arrow ${kind}`, "stroke-width": 2 * u }));
      // The head is a path of its own, without the dashes.
      const head = arrowhead(tx, ty, ux, uy, 9 * u);
      if (!both) layers.push(drawn("path", { d: head, class: `arrow head ${kind}`, "stroke-width": 2 * u }));
      const within = (value, most, room) => Math.min(Math.max(value, room), most - room);
      const at = { x: within(px + ux * 90 * u, this.width, 30 * u), y: within(py + uy * 90 * u + 4 * u, this.height, 16 * u) };
      layers.push(drawn("text", { ...at, "text-anchor": "middle", class: `arrow-label ${kind}` }, text));
    };
    if (this.flat) {
      const [across, up] = [x(1) - x(0), y(1) - y(0)];
      const tangent = [across, gradient[0] * up];
      if (tangent.every(Number.isFinite)) one(...tangent, "level", `slope ${shown(gradient[0])}`, true);
      return layers;
    }
    const [gx, gy] = gradient;
    if (gx === 0 && gy === 0) return [];
    one(-gx, gy, "downhill", "−∇f");
    one(gy, gx, "level", "level", true);
    const target = this.nearestMinimum();
    if (target) one(x(target[0]) - px, y(target[1]) - py, "target", "minimum");
    return layers;
  }

  nearestMinimum() {
    const distance = ({ point }) => Math.hypot(...point.map((value, i) => value - this.state.start[i]));
    const nearest = [...this.described.minima].sort((a, b) => distance(a) - distance(b))[0];
    return nearest && distance(nearest) > 1e-9 ? nearest.point : null;
  }

  // -------------------------------------------------------------------------------------------- loss curves and player

  drawCurves() {
    const svg = this.parts.curves;
    const [wide, high, left, bottom] = [this.curvesWidth, 190, 62, 36];
    svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    const { heights, name, label, log } = this.lossScale();
    const steps = this.state.steps;
    const x = (k) => left + ((wide - left - 12) * k) / steps;
    const y = (value) => 10 + (high - bottom - 10) * (1 - (value - heights[0]) / (heights[1] - heights[0] || 1));
    const layers = [];
    const marks = log ? this.decades(heights) : ticks(...heights, 4);
    for (const value of marks) {
      layers.push(drawn("path", { d: `M${left} ${y(value)}H${wide - 12}`, class: "grid-line" }));
      const text = log && Number.isInteger(value) ? `1e${value}` : shown(log ? 10 ** value : value);
      layers.push(drawn("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
    }
    for (const value of ticks(0, steps, Math.max(3, Math.round(wide / 90)))) {
      if (!Number.isInteger(value)) continue;
      layers.push(drawn("text", { x: x(value), y: high - 19, "text-anchor": "middle" }, String(value)));
    }
    layers.push(drawn("text", { x: wide - 12, y: high - 5, "text-anchor": "end" }, `step; ${label}`));
    for (const [key, run] of Object.entries(this.runs)) {
      const { look } = this.opening.optimizers[key];
      const words = [];
      for (let k = 0; k < run.loss.length; k += 1) {
        const value = name(run.loss[k]);
        if (!Number.isFinite(value)) continue;
        const py = Math.min(Math.max(y(value), -50), high);
        words.push(`${words.length ? "L" : "M"}${tenth(x(k))} ${tenth(py)}`);
        if (k >= run.stopped_at) break;
      }
      const paint = look.color === "#000000" ? "currentColor" : look.color;
      const clip = `url(#${this.unique}-curves)`;
      layers.push(
        drawn("path", { d: words.join(""), fill: "none", stroke: paint, "stroke-width": 2, "stroke-dasharray": look.dash || null, "clip-path": clip }),
      );
    }
    layers.push(drawn("path", { d: `M${x(this.lastStep)} 10V${high - bottom}`, class: "cursor" }));
    const area = drawn("rect", { x: left, y: 0, width: Math.max(wide - left - 12, 1), height: high - bottom + 1 });
    svg.replaceChildren(drawn("clipPath", { id: `${this.unique}-curves` }, area), ...layers);
    this.stepAt = (px) => Math.round(((px - left) / (wide - left - 12)) * steps);
  }

  // Logarithmic where that is possible: above the known minimum, or of a loss that stays positive.
  lossScale() {
    const values = Object.values(this.runs).flatMap((run) => [...run.loss].filter(Number.isFinite));
    const floor = this.described.minima.length ? Math.min(...this.described.minima.map(({ value }) => value)) : 0;
    const above = values.map((value) => value - floor);
    const positive = above.filter((value) => value > 0);
    // Rounding may take a loss below its minimum; a function without one may be negative all along.
    const below = Math.min(0, ...above) < -1e-4 * (1 + Math.abs(floor)); // a run may find lower ground outside the window
    const log = positive.length > 0 && !below && (this.described.minima.length > 0 || positive.length === above.length);
    const first = Object.values(this.runs)[0]?.loss[0] ?? 1;
    if (!log) {
      const top = Math.max(first, ...values.filter((value) => value <= first + 10 * Math.abs(first) + 10), -Infinity);
      const bottom = Math.max(Math.min(...values, first), first - 100 * (Math.abs(first) + 1));
      return { heights: [bottom, top > bottom ? top : bottom + 1], name: (value) => value, label: "loss", log };
    }
    const name = (value) => Math.log10(Math.max(value - floor, 1e-14));
    const top = Math.log10(Math.max(...positive));
    const begun = Math.log10(Math.max(first - floor, 1e-14));
    const heights = [Math.max(Math.log10(Math.min(...positive)), begun - 12), Math.min(top, begun + 6)];
    if (heights[1] - heights[0] < 0.2) heights[0] = heights[1] - 1;
    return { heights, name, label: floor === 0 && !this.described.minima.length ? "loss, log" : "loss − minimum, log", log };
  }

  decades([low, high]) {
    const step = Math.max(1, Math.ceil((high - low) / 5));
    const found = [];
    for (let value = Math.ceil(low); value <= high; value += step) found.push(value);
    return found.length ? found : [Number(high.toFixed(1))];
  }

  drawPlayer() {
    if (Number(this.parts.step.max) !== this.state.steps) this.parts.step.max = this.state.steps;
    if (Number(this.parts.step.value) !== this.lastStep) this.parts.step.value = this.lastStep;
    const lines = Object.entries(this.runs).map(([name, run]) => {
      const k = Math.min(this.lastStep, run.loss.length - 1);
      return `${this.opening.optimizers[name].title} ${shown(run.loss[k])}`;
    });
    const text = `step ${this.lastStep} of ${this.state.steps}`;
    if (this.parts.stepText.textContent !== text) this.parts.stepText.textContent = text;
    this.parts.step.setAttribute("aria-valuetext", `step ${this.lastStep}; loss: ${lines.join(", ")}`);
  }

  play() {
    if (this.playing) {
      this.stop();
      return;
    }
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const [pause, stride] = still ? [700, Math.ceil(this.state.steps / 8)] : [50, Math.ceil(this.state.steps / 100)];
    if (this.lastStep >= this.state.steps) this.step = 0;
    this.parts.play.textContent = "⏸ pause";
    this.playing = setInterval(() => {
      this.step = Math.min(this.lastStep + stride, this.state.steps);
      this.drawPaths();
      if (this.step >= this.state.steps) this.stop();
    }, pause);
    this.drawPaths();
  }

  stop() {
    if (!this.playing) return; // writing the same text again would lay out the page anew
    clearInterval(this.playing);
    this.playing = null;
    this.parts.play.textContent = "▶ play";
  }

  goTo(step) {
    this.stop();
    this.step = Math.min(Math.max(step, 0), this.state.steps);
    this.drawPaths();
  }

  // -------------------------------------------------------------------------------------------------------- verdicts

  drawVerdicts() {
    const names = Object.keys(this.runs);
    if (names.join() !== Object.keys(this.rows ?? {}).join() || !this.parts.verdicts.hasChildNodes()) {
      this.rows = Object.fromEntries(names.map((name) => [name, this.rows?.[name] ?? this.buildVerdict(name)])); // a proof stays open
      this.parts.verdicts.replaceChildren(...Object.values(this.rows).map(({ row }) => row));
    }
    for (const [name, run] of Object.entries(this.runs)) {
      const { row, text, proved, evidence, certificate } = this.rows[name];
      row.className = `verdict ${run.diverged ? "diverged" : run.kind.replace("_", "-")}`;
      text.data = `: ${run.sentence}. `;
      evidence.data = run.evidence;
      proved.textContent = certificate.textContent = ""; // until the picture rests
      this.markBound(name, run.bound);
    }
    this.announce();
  }

  // A screen reader hears the result once the point rests, not every move of a drag.
  announce() {
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => {
      const words = Object.entries(this.runs).map(([name, run]) => {
        return `${this.opening.optimizers[name].title}: ${run.sentence}. ${this.rows[name].proved.textContent}`;
      });
      this.parts.live.textContent = words.join(" ");
      if (this.onPage) this.address();
    }, 600);
  }

  buildVerdict(name) {
    const { title } = this.opening.optimizers[name];
    const [text, evidence] = [new Text(), new Text()];
    const [proved, certificate] = [element("span", { class: "proved" }), element("span", { class: "certificate" })];
    const summary = element("summary", { "aria-label": `evidence for ${title}` }, "evidence");
    const details = element("details", {}, summary, evidence, certificate);
    const row = element("li", {}, this.swatch(name), element("strong", {}, title), text, proved, details);
    return { row, text, proved, evidence, certificate };
  }

  markBound(name, bound) {
    const control = this.sliders[`${name}.learning_rate`];
    if (!control) return;
    const rate = this.state.optimizers[name].numbers.learning_rate;
    const known = bound !== null && bound > 0;
    control.mark.hidden = !known || bound < control.low || bound > control.high;
    if (!control.mark.hidden) control.mark.style.setProperty("--at", control.place(bound));
    const hint = known ? `${rate > bound ? "above" : "below"} the stability bound ${shown(bound)}` : "";
    if (control.hint.textContent !== hint) control.hint.textContent = hint;
    control.hint.title = "of a quadratic as sharp as the lowest point of the path; where the loss has no bottom, runs diverge below it too";
    control.hint.classList.toggle("beyond", known && rate > bound);
  }

  // -------------------------------------------------------------------------------------------------------- controls

  build() {
    this.sliders = {};
    this.parts = {
      verdicts: element("ul", { class: "verdicts", "aria-label": "Where each optimizer ends" }),
      known: element("p", { class: "known" }),
      live: element("p", { class: "spoken", "aria-live": "polite", role: "status" }),
      error: element("p", { class: "error", role: "alert", hidden: true }),
      busy: element("span", { class: "busy", role: "status" }),
      note: element("p", { class: "note" }),
      formula: element("span", { class: "formula" }),
      optimizers: element("div", { class: "optimizers" }),
      code: element("textarea", { class: "code", readonly: true, rows: 12, hidden: true, "aria-label": "Python that draws this picture" }),
      said: element("span", { class: "said", role: "status" }),
    };
    this.el.replaceChildren(
      element(
        "div",
        { class: "explorer" },
        this.buildHead(),
        element(
          "div",
          { class: "columns" },
          element("section", { class: "picture", "aria-label": "Picture" }, this.buildPlane(), this.buildTools(), this.buildPlayer(), this.parts.error, this.parts.verdicts, this.parts.known, this.parts.live, this.parts.curves),
          this.buildControls(),
        ),
      ),
    );
  }

  buildHead() {
    const groups = [2, 1].map((dimension) => {
      const names = Object.entries(this.opening.functions).filter(([, one]) => one.dimension === dimension);
      const options = names.map(([name, one]) => element("option", { value: name }, one.title));
      return element("optgroup", { label: dimension === 2 ? "two variables" : "one variable" }, ...options);
    });
    this.parts.function = element("select", { onchange: (event) => this.choose(event.target.value) }, ...groups);
    const presets = this.opening.presets.map(({ title }, i) => element("option", { value: i }, title));
    this.parts.preset = element(
      "select",
      { onchange: (event) => event.target.value !== "" && this.preset(Number(event.target.value)) },
      element("option", { value: "" }, "choose…"),
      ...presets,
    );
    const heading = this.onPage ? element("h1", {}, "Optimization explorer") : null;
    return element(
      "header",
      { class: "head" },
      heading,
      element("label", {}, "Function ", this.parts.function),
      element("label", {}, "Demonstration ", this.parts.preset),
      this.parts.formula,
      this.parts.busy,
      this.parts.note,
    );
  }

  buildPlane() {
    const box = `0 0 ${this.width} ${this.height}`;
    this.parts.terrain = drawn("svg", { viewBox: box, class: "terrain", "aria-hidden": "true" });
    this.parts.paths = drawn("g", { "clip-path": `url(#${this.unique}-plane)`, "aria-hidden": "true" });
    this.parts.arrows = drawn("g", { "aria-hidden": "true" });
    this.parts.handle = drawn(
      "g",
      { class: "handle", role: "slider", tabindex: 0, "aria-label": "Start point; arrow keys move it, with Shift ten times as far" },
      drawn("circle", { r: 24, class: "grip" }),
      drawn("circle", { r: 12, fill: ORANGE, "fill-opacity": 0.25, stroke: ORANGE, "stroke-width": 4 }),
      drawn("circle", { r: 17, class: "focus" }),
    );
    const clip = drawn("clipPath", { id: `${this.unique}-plane` }, drawn("rect", { width: this.width, height: this.height }));
    // Three layers, so that moving the start repaints neither contours nor paths.
    this.parts.middle = drawn("svg", { viewBox: box, class: "middle", "aria-hidden": "true" }, clip, this.parts.paths);
    const named = { role: "group", "aria-label": "Contours and paths" };
    this.parts.overlay = drawn("svg", { viewBox: box, class: "overlay", ...named }, this.parts.arrows, this.parts.handle);
    this.parts.plane = element("div", { class: "plane" }, this.parts.terrain, this.parts.middle, this.parts.overlay);
    return this.parts.plane;
  }

  buildTools() {
    const toggle = (key, text) => {
      const box = element("input", {
        type: "checkbox",
        onchange: (event) => {
          this.state.show[key] = event.target.checked;
          if (key === "field" && this.seen) this.drawTerrain();
          this.drawPaths();
        },
      });
      this.sliders[`show.${key}`] = { set: () => (box.checked = this.state.show[key]) };
      return element("label", { class: "toggle" }, box, ` ${text}`);
    };
    const button = (text, name, action) => element("button", { type: "button", "aria-label": name, title: name, onclick: action }, text);
    return element(
      "div",
      { class: "tools" },
      button("+", "Zoom in on the start", () => this.zoom(0.5, this.state.start)),
      button("−", "Zoom out", () => this.zoom(2, this.state.start)),
      button("reset", "Show all of it again, with the start in it", () => this.reset()),
      toggle("field", "gradient flow"),
      toggle("arrows", "arrows at the start"),
      toggle("directions", "eigen-directions at the end"),
    );
  }

  buildPlayer() {
    const button = (text, name, action) => element("button", { type: "button", "aria-label": name, title: name, onclick: action }, text);
    this.parts.play = element("button", { type: "button", onclick: () => this.play() }, "▶ play");
    this.parts.step = element("input", { type: "range", min: 0, max: 1, step: 1, "aria-label": "Step shown", oninput: (event) => this.goTo(Number(event.target.value)) });
    this.parts.stepText = element("span", { class: "step-text" });
    this.parts.curves = drawn("svg", { class: "curves", role: "img", "aria-label": "Loss at every step, one line per optimizer" });
    return element(
      "div",
      { class: "player tools" },
      this.parts.play,
      button("◀", "One step back", () => this.goTo(this.lastStep - 1)),
      button("▶", "One step on", () => this.goTo(this.lastStep + 1)),
      this.parts.step,
      this.parts.stepText,
    );
  }

  buildControls() {
    const place = (i) => {
      const box = element("input", { type: "number", step: "any", "aria-label": `Start ${"xy"[i]}`, onchange: () => this.typedStart() });
      return box;
    };
    this.parts.start = [place(0), place(1)];
    this.parts.startY = element("label", {}, "y ", this.parts.start[1]);
    const shared = {
      steps: { low: 1, high: 400, most: this.opening.most_steps, whole: true, label: "steps" },
      noise: { low: 0, high: 20, most: 1000, label: "gradient noise" },
      decay: { low: 0, high: 0.5, most: 1000, label: "learning-rate decay" },
      seed: { low: 0, high: 50, most: 1e6, whole: true, label: "seed of the noise" },
    };
    const rows = Object.entries(shared).map(([key, control]) =>
      this.slider(key, control.label, control, () => this.state[key], (value) => {
        this.state[key] = value;
        if (key === "steps") this.step = null;
      }),
    );
    for (const name of Object.keys(this.opening.optimizers)) this.parts.optimizers.append(this.buildOptimizer(name));
    const button = (text, action) => element("button", { type: "button", onclick: action }, text);
    const share = this.onPage ? [button("Copy link", () => this.share())] : [];
    return element(
      "section",
      { class: "controls", "aria-label": "Controls" },
      element("fieldset", {}, element("legend", {}, "Optimizers"), this.parts.optimizers),
      element("fieldset", {}, element("legend", {}, "Start"), element("div", { class: "tools" }, element("label", {}, "x ", this.parts.start[0]), this.parts.startY)),
      element("fieldset", {}, element("legend", {}, "Run"), ...rows),
      element(
        "fieldset",
        {},
        element("legend", {}, "Take away"),
        element("div", { class: "tools" }, ...share, button("Copy as Python", () => this.ask("python")), button("Save SVG", () => this.saveSvg()), button("Save PNG", () => this.savePng())),
        this.parts.said,
        this.parts.code,
      ),
    );
  }

  swatch(name) {
    const { look } = this.opening.optimizers[name];
    const paint = look.color === "#000000" ? "currentColor" : look.color;
    const line = drawn("path", { d: "M0 7H34", stroke: paint, "stroke-width": 2.2, "stroke-dasharray": look.dash || null });
    const shape = drawn("path", { d: `M17 7${SHAPES[look.marker](4)}`, fill: paint, stroke: paint });
    return drawn("svg", { viewBox: "0 0 34 14", class: "swatch", "aria-hidden": "true" }, line, shape);
  }

  buildOptimizer(name) {
    const { title, controls } = this.opening.optimizers[name];
    const entry = () => this.state.optimizers[name];
    const rows = Object.entries(controls).map(([key, control]) =>
      this.slider(`${name}.${key}`, key.replace("_", " "), control, () => entry().numbers[key], (value) => {
        entry().numbers[key] = value;
      }, title),
    );
    const body = element("div", { class: "numbers", hidden: true }, ...rows);
    const box = element("input", {
      type: "checkbox",
      onchange: (event) => {
        entry().on = event.target.checked;
        body.hidden = !entry().on;
        this.ask("run");
      },
    });
    this.sliders[`${name}.on`] = {
      set: () => {
        box.checked = entry().on;
        body.hidden = !entry().on;
      },
    };
    return element("div", { class: "optimizer" }, element("label", { class: "toggle" }, box, this.swatch(name), title), body);
  }

  // A slider with a number box: the slider is for the hand, in the logarithm where `log`; the box takes any number.
  slider(key, label, control, get, put, of = "") {
    const { low, high, log = false, whole = false, most } = control;
    const forth = (value) => (log ? Math.log10(Math.max(value, low)) : value);
    const back = (position) => (log ? 10 ** position : position);
    const [first, last] = [forth(low), forth(high)];
    const place = (value) => Math.min(Math.max((forth(value) - first) / (last - first), 0), 1);
    const name = of ? `${label}, ${of}` : label;
    const step = whole ? 1 : (last - first) / (log ? 600 : 500);
    const range = element("input", { type: "range", min: first, max: last, step, "aria-label": name });
    const box = element("input", { type: "number", min: 0, max: most, step: whole ? 1 : "any", "aria-label": `${name}, exact` });
    const [mark, hint] = [element("span", { class: "mark", hidden: true }), element("span", { class: "hint" })];
    const show = (typing) => {
      const value = get();
      range.value = forth(value);
      range.setAttribute("aria-valuetext", shown(value));
      const rounded = Number(value.toPrecision(6));
      if (!typing) box.value = rounded !== 0 && rounded < 1e-3 ? rounded.toExponential() : rounded;
    };
    const take = (value, typing) => {
      const refused = !Number.isFinite(value) || value < 0 || value > most || (control.open_high && value >= most);
      if (refused || (whole && !Number.isInteger(value))) {
        box.setAttribute("aria-invalid", "true");
        const upTo = `${control.open_high ? "below" : "up to"} ${most}`;
        this.complain(`${name} must be a ${whole ? "whole " : ""}number from 0 ${upTo}; it is still ${shown(get())}.`);
        return;
      }
      box.removeAttribute("aria-invalid");
      put(whole ? Math.round(value) : value);
      show(typing);
      this.ask("run");
    };
    range.addEventListener("input", () => take(whole ? Number(range.value) : Number(back(Number(range.value)).toPrecision(3)), false));
    box.addEventListener("input", () => box.value !== "" && take(Number(box.value), true));
    this.sliders[key] = { set: () => show(false), mark, hint, low, high, place };
    return element("div", { class: "slider" }, element("span", { class: "label" }, label), element("span", { class: "track" }, range, mark), box, hint);
  }

  // Show the state in every control.
  synchronise() {
    this.parts.function.value = this.state.function;
    this.parts.formula.textContent = `f = ${this.described.formula}`;
    this.parts.startY.hidden = this.flat;
    for (const control of Object.values(this.sliders)) {
      control.set();
      if (control.hint) [control.hint.textContent, control.mark.hidden] = ["", true]; // until the next reply
    }
    this.showStart();
  }

  showStart() {
    this.state.start.forEach((value, i) => {
      const box = this.parts.start[i];
      if (box.value === "" || Number(box.value) !== value) box.value = Number(value.toPrecision(5));
    });
  }

  // ---------------------------------------------------------------------------------------------------------- moving

  listen() {
    const { handle, overlay, curves } = this.parts;
    const on = (target, event, action, options) => {
      target.addEventListener(event, action, options);
      this.cleanUp.push(() => target.removeEventListener(event, action, options));
    };
    const receive = (reply) => this.receive(reply);
    this.model.on("msg:custom", receive);
    this.cleanUp.push(() => this.model.off("msg:custom", receive));
    on(overlay, "pointerdown", (event) => {
      const held = handle.contains(event.target);
      // A finger beside the point scrolls the page; a mouse beside it takes the point there.
      if (event.button !== 0 || (!held && event.pointerType === "touch")) return;
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
      this.dragging = event.pointerId;
      this.grabbed = held ? this.offset(event) : [0, 0];
      if (!held) this.dragTo(event);
    });
    on(handle, "pointermove", (event) => event.pointerId === this.dragging && this.dragTo(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) on(handle, name, () => this.letGo());
    // Without this a finger that drags the point scrolls the page: touch-action is not heeded inside an SVG everywhere.
    on(handle, "touchstart", (event) => event.preventDefault(), { passive: false });
    on(handle, "keydown", (event) => this.pressed(event));
    on(overlay, "wheel", (event) => this.wheeled(event), { passive: false });
    on(curves, "pointerdown", (event) => this.pointAtStep(event));
    on(curves, "pointermove", (event) => event.buttons === 1 && this.pointAtStep(event));
    // A link pasted over the address of a page that is open loads nothing anew.
    if (this.onPage) on(window, "hashchange", () => this.follow(window.location.hash.slice(1)));
    const watch = new ResizeObserver(() => this.resized());
    watch.observe(this.parts.plane);
    this.cleanUp.push(() => watch.disconnect());
    this.resized();
  }

  letGo() {
    if (!this.held()) return;
    this.dragging = null;
    this.rest();
  }

  resized() {
    const wide = this.parts.plane.clientWidth || this.width;
    this.unit = this.width / wide;
    this.parts.plane.style.setProperty("--unit", this.unit);
    this.curvesWidth = Math.max(this.parts.curves.clientWidth, 200);
    if (this.seen) this.drawTerrain();
    this.drawPaths();
  }

  pixel(event) {
    const box = this.parts.overlay.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.width, ((event.clientY - box.top) / box.height) * this.height];
  }

  // From the pointer to the centre of the handle, which must not jump when it is taken at its rim.
  offset(event) {
    const [px, py] = this.pixel(event);
    const [hx, hy] = this.startPoint();
    return [hx - px, hy - py];
  }

  dragTo(event) {
    this.moved ??= performance.now();
    const [px, py] = this.pixel(event);
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    const [x, y] = this.scales().back(inside(px + this.grabbed[0], this.width), inside(py + this.grabbed[1], this.height));
    this.moveTo(this.flat ? [x] : [x, y]);
  }

  moveTo(start) {
    this.state.start = start;
    this.step = null;
    this.stop();
    this.drawStart(); // at once, before the reply; the rest of the page follows with it
    this.ask("run");
  }

  pressed(event) {
    const [low, high] = this.state.window;
    const directions = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] };
    const [axis, sign] = directions[event.key] ?? [null, 0];
    if (axis === null || axis >= this.state.start.length) return;
    event.preventDefault();
    const start = [...this.state.start];
    start[axis] += (sign * (event.shiftKey ? 10 : 1) * (high[axis] - low[axis])) / 200;
    this.moveTo(start);
  }

  typedStart() {
    const values = this.state.start.map((_, i) => Number(this.parts.start[i].value));
    if (values.every((value, i) => Number.isFinite(value) && this.parts.start[i].value !== "")) this.moveTo(values);
  }

  wheeled(event) {
    if (!event.ctrlKey) return; // also a pinch; a plain wheel scrolls the page
    event.preventDefault();
    const [x, y] = this.scales().back(...this.pixel(event));
    this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.flat ? [x] : [x, y]);
  }

  zoom(factor, centre) {
    const [low, high] = this.state.window;
    this.look([low, high].map((corner) => corner.map((edge, i) => centre[i] + (edge - centre[i]) * factor)));
  }

  look(window) {
    const width = window[1][0] - window[0][0];
    const far = Math.max(...window.flat().map(Math.abs));
    if (width < 1e-3 * Math.max(far, 1e-3) || far > 1e5) return;
    this.state.window = window;
    this.ask("survey");
  }

  reset() {
    const [low, high] = this.fitted(this.described.domain);
    if (this.state.start.some((value, i) => value < low[i] || value > high[i])) this.moveTo([...this.described.start]);
    this.look([low, high]);
  }

  pointAtStep(event) {
    const box = this.parts.curves.getBoundingClientRect();
    this.goTo(this.stepAt(((event.clientX - box.left) / box.width) * this.curvesWidth));
  }

  // ---------------------------------------------------------------------------------------------------------- taking

  async copy(text, done) {
    try {
      await navigator.clipboard.writeText(text);
      this.parts.said.textContent = done;
    } catch {
      this.parts.said.textContent = "The clipboard is closed to this page; copy the text below.";
      this.parts.code.hidden = false;
      this.parts.code.value = text;
    }
  }

  // The address shows the state, so a page that is loaded again shows the same.
  address() {
    const { optimizers, ...rest } = this.state;
    const active = Object.entries(optimizers).filter(([, entry]) => entry.on);
    const numbers = Object.fromEntries(active.map(([name, entry]) => [name, entry.numbers]));
    const demonstration = this.opening.presets[this.parts.preset.value]?.title;
    window.history.replaceState(null, "", `#${encoded({ demonstration, ...rest, optimizers: numbers })}`);
  }

  share() {
    this.address();
    this.copy(window.location.href, "Link copied. It opens here while this explorer runs, and later with jaxopt-notes explore --link.");
  }

  showCode(code) {
    this.parts.code.hidden = false;
    this.parts.code.value = code;
    this.copy(code, "Copied: a notebook cell that draws this picture.");
  }

  // One standing SVG of terrain and paths, with the style of every element written into it.
  standing() {
    const whole = drawn("svg", { xmlns: SVG, viewBox: `0 0 ${this.width} ${this.height}`, width: this.width, height: this.height });
    const background = getComputedStyle(this.parts.plane).backgroundColor;
    whole.append(drawn("rect", { width: this.width, height: this.height, fill: background }));
    const kept = ["fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "font-size", "font-family", "paint-order"];
    for (const part of [this.parts.terrain, this.parts.middle, this.parts.overlay]) {
      const copy = part.cloneNode(true);
      const originals = part.querySelectorAll("path, text, circle, line");
      copy.querySelectorAll("path, text, circle, line").forEach((node, i) => {
        const style = getComputedStyle(originals[i]);
        for (const property of kept) node.setAttribute(property, style.getPropertyValue(property));
        node.removeAttribute("class");
      });
      copy.querySelectorAll(".focus, .grip").forEach((node) => node.remove());
      whole.append(drawn("g", {}, ...copy.childNodes));
    }
    return new XMLSerializer().serializeToString(whole);
  }

  saveSvg() {
    this.download(new Blob([this.standing()], { type: "image/svg+xml" }), "svg");
  }

  async savePng() {
    const image = new Image();
    const address = URL.createObjectURL(new Blob([this.standing()], { type: "image/svg+xml" }));
    image.src = address;
    await image.decode();
    const canvas = element("canvas", { width: 2 * this.width, height: 2 * this.height });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(address);
    canvas.toBlob((blob) => this.download(blob, "png"), "image/png");
  }

  download(blob, suffix) {
    const address = URL.createObjectURL(blob);
    element("a", { href: address, download: `${this.state.function}.${suffix}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    this.parts.said.textContent = `Saved ${this.state.function}.${suffix}.`;
  }
}
