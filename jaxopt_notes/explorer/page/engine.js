// The engine: what the page shows, by compiled functions. `ENGINE` and `R` come from programs.js.

const FLAT = 1e-5; // of the largest curvature in the window: nearer to zero its sign is that of rounding
const FLOW_LINES = 80;

// A function as the compiled programs call it. A step asks for the value and then for the gradient of the same point.
function supplied({ value, slope, hessian }) {
  let [first, second, held] = [NaN, NaN, null];
  const at = (a, b) => {
    if (held === null || a !== first || b !== second) {
      held = slope(a, b);
      first = a;
      second = b;
    }
    return held;
  };
  return {
    plain: (a, b) => value(a, b)[0],
    value: (a, b) => at(a, b)[0],
    gradient: (out, a, b) => out.set(at(a, b)[1]),
    hessian: (out, a, b) => out.set(hessian(a, b)[0]),
  };
}

// A program is made when it is first asked for, and kept with its function.
class Scene {
  constructor(compiled, dimension) {
    this.dimension = dimension;
    this.loss = supplied(compiled);
    this.made = {};
  }

  program(name) {
    const loss = name === "survey" ? { ...this.loss, value: this.loss.plain } : this.loss;
    this.made[name] ??= ENGINE[this.dimension][name](loss);
    return this.made[name];
  }
}

class Engine {
  // `functions` has the compiled functions by name, `opening` what Python says of them.
  constructor(opening, functions) {
    this.opening = opening;
    this.functions = functions;
    this.scenes = {};
  }

  scene(name) {
    const { dimension } = this.opening.functions[name];
    this.scenes[name] ??= new Scene(this.functions[name](), dimension);
    return this.scenes[name];
  }

  // Why a start is refused; empty if it is not.
  refusal(start) {
    const far = start.find((x) => !(Math.abs(x) <= this.opening.farthest));
    return far === undefined ? "" : `start must be within ±${this.opening.farthest} of 0, got ${far}`;
  }

  // ------------------------------------------------------------------------------------------------------------- paths

  run(request) {
    const [value, gradient] = this.functionAt(request.function, request.start);
    const runs = {};
    for (const name of Object.keys(request.optimizers)) runs[name] = this.descend(name, request);
    return { start: request.start, value, gradient: [...gradient], runs };
  }

  functionAt(name, start) {
    const { loss, dimension } = this.scene(name);
    const gradient = new Float64Array(dimension);
    loss.gradient(gradient, ...start);
    return [loss.value(...start), gradient];
  }

  // One method's path, and what `judged` needs of it.
  descend(name, { function: of, start, steps, noise, decay, seed, optimizers }) {
    const scene = this.scene(of);
    const { controls } = this.opening.optimizers[name];
    const numbers = Object.entries(controls).map(([key, control]) => optimizers[name][key] ?? control.default);
    const program = scene.program(noise > 0 ? `${name}_noisy` : name);
    const [track, ended, limit, ...end] = program(numbers, start, [noise, decay], [steps, seed]);
    const status = this.opening.statuses[ended[0]];
    const diverged = ["non_finite", "diverged"].includes(status);
    return { ...columns(track, scene.dimension, steps), status, diverged, stopped_at: ended[1], limit, end };
  }

  // The verdict where a path ends, also in words, and the largest stable rate.
  judged(of, { limit, end, ...run }) {
    const scene = this.scene(of);
    const [low, high] = this.opening.functions[of].domain;
    const reach = this.opening.reach * Math.max(...low.map((edge, i) => high[i] - edge));
    const found = scene.program("judge")(...end, reach);
    const verdict = this.verdict(found);
    const [gap, sharpness] = found.slice(-2).map((value) => value[0]);
    const reciprocal = limit[0] + limit[1] * sharpness;
    const bound = reciprocal <= 0 ? Infinity : 1 / reciprocal;
    const down = [...verdict.escape_direction]; // of the smallest eigenvalue; any other is orthogonal to it
    const directions = down.length === 2 ? [down, [-down[1], down[0]]] : [down];
    const words = { sentence: sentence({ ...run, verdict, gap }), evidence: evidence({ verdict, gap }) };
    return { verdict, gap, bound, kind: verdict.kind, eigenvalues: [...verdict.eigenvalues], directions, ...words };
  }

  // The results of `judge` by the names that they have in Python. Each has an axis in front, of one point.
  verdict(results) {
    const verdict = {};
    this.opening.verdict.forEach((name, i) => {
      const wide = ["eigenvalues", "residuals", "interval", "escape_direction", "point"].includes(name);
      verdict[name] = wide ? results[i] : results[i][0];
    });
    verdict.kind = this.opening.kinds[verdict.kind];
    return verdict;
  }

  // ------------------------------------------------------------------------------------------------------------ survey

  survey({ function: name, window }) {
    const { dimension, levels, rate } = this.opening.functions[name];
    const { curve, grid, shares, spacing, every } = this.opening.survey;
    const { drawing } = this.opening;
    const [low, high] = window;
    const counts = dimension === 1 ? [curve] : grid;
    const axes = counts.map((count, i) => spaced(low[i], high[i], count));
    const [values, slopes, lowest, largest, flow] = this.scene(name).program("survey")(...axes);
    const span = spanOf(values);
    const seen = { window, rate, span: span ?? [0, 1], note: noteOf(span), spacing: levels };
    const bent = lowest.map((value) => (largest > 0 && Number.isFinite(value) ? -value / largest - FLAT : -1));
    if (dimension === 1) {
      const pairs = Float64Array.from({ length: 2 * curve }, (_, i) => (i % 2 ? values[(i - 1) / 2] : axes[0][i / 2]));
      const nothing = { contours: [], arrows: [], flow: { points: 0, values: [] }, grid: { columns: 0, rows: 0, values: [] } };
      return { ...seen, ...nothing, curve: pairs, nonconvex: bands(bent, drawing) };
    }
    return {
      ...seen,
      curve: [],
      contours: contoursOf(values, grid, heightsOf(seen.span, shares[levels]), drawing),
      nonconvex: regionOf(bent, grid.map((count) => Math.ceil(count / every)), 0, drawing),
      arrows: arrowsOf(slopes, axes, spacing),
      flow: { points: flow.length / (2 * FLOW_LINES), values: flow },
      grid: { columns: grid[0], rows: grid[1], values },
    };
  }

  // ------------------------------------------------------------------------------------------------------------ proofs

  // What was proved of the first picture when the page was made: its critical points, and whether there is no other.
  proof({ function: name, window }, runs) {
    const { proved, domain } = this.opening.functions[name];
    const [low, high] = window;
    const inside = proved.points.filter(({ point }) => point.every((x, i) => low[i] <= x && x <= high[i]));
    const close = this.opening.close * Math.max(...domain[0].map((edge, i) => domain[1][i] - edge));
    const proofs = {};
    for (const [method, { verdict }] of Object.entries(runs)) {
      const near = proved.points.find(({ point }) => Math.hypot(...point.map((x, i) => x - verdict.point[i])) <= close);
      if (!near || near.kind !== verdict.kind) continue;
      proofs[method] = { sentence: near.sentence, certificate: near.certificate };
    }
    return { proofs, points: inside, summary: summaryOf(proved, inside, window) };
  }
}

// Points, losses and norms of the gradient from the rows of a path.
function columns(track, dimension, steps) {
  const [wide, count] = [dimension + 2, steps + 1];
  const [path, loss, norms] = [count * dimension, count, count].map((size) => new Float64Array(size));
  for (let i = 0; i < count; i += 1) {
    for (let k = 0; k < dimension; k += 1) path[i * dimension + k] = track[i * wide + k];
    loss[i] = track[i * wide + dimension];
    norms[i] = track[i * wide + dimension + 1];
  }
  return { path, loss, norms };
}

function spaced(low, high, count) {
  const step = (high - low) / (count - 1);
  return Float64Array.from({ length: count }, (_, i) => (i === count - 1 ? high : low + i * step));
}

function spanOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : null;
}

function noteOf(span) {
  if (span === null) return "not finite anywhere in this window";
  return span[1] > span[0] ? "" : `constant in this window: ${general(span[0], 6)}`;
}

// Levels between the lowest and the highest, as weighted means, since their difference may be infinite.
function heightsOf([low, high], shares) {
  return high > low ? shares.map((share) => low * (1 - share) + high * share) : [];
}

function arrowsOf(slopes, [xs, ys], spacing) {
  const [first, found] = [Math.floor(spacing / 2), []];
  let place = 0;
  for (let j = first; j < ys.length; j += spacing) {
    for (let i = first; i < xs.length; i += spacing) {
      const [dx, dy] = [slopes[place], slopes[place + 1]];
      place += 2;
      if (Number.isFinite(dx) && Number.isFinite(dy) && (dx || dy)) found.push(xs[i], ys[j], dx, dy);
    }
  }
  return Float64Array.from(found);
}

// What a window inherits of the proof of the first picture.
function summaryOf(proved, inside, [low, high]) {
  const [lower, upper] = proved.window;
  const within = low.every((edge, i) => edge >= lower[i] - 1e-12 && high[i] <= upper[i] + 1e-12);
  if (!within) return proved.summary.replace("this picture", "the first picture");
  if (inside.length === proved.points.length && !proved.complete) return proved.summary;
  const counts = ["minimum", "saddle", "maximum"].map((kind) => counted(inside.filter((one) => one.kind === kind).length, kind));
  const points = counts.filter(Boolean).join(", ");
  if (!proved.complete) return `Proved in this picture: ${points || "no critical point"}; parts of it are undecided`;
  return `Proved of this picture: ${points ? `${points}, and no other critical point` : "no critical point"}`;
}

function counted(count, kind) {
  const plural = { minimum: "minima", maximum: "maxima", saddle: "saddles" };
  return count && `${count} ${count === 1 ? kind : plural[kind]}`;
}
