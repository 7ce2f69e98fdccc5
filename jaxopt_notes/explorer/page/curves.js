// The loss at every step.

extend(class Curves {
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
    const powers = marks.every(Number.isInteger);
    for (const value of marks) {
      layers.push(drawn("path", { d: `M${left} ${y(value)}H${wide - 12}`, class: "grid-line" }));
      const text = log && powers ? `1e${value}` : shown(log ? 10 ** value : value);
      layers.push(drawn("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
    }
    for (const value of ticks(0, steps, Math.max(3, Math.round(wide / 90)))) {
      if (!Number.isInteger(value)) continue;
      layers.push(drawn("text", { x: x(value), y: high - 19, "text-anchor": "middle" }, String(value)));
    }
    layers.push(drawn("text", { x: wide - 12, y: high - 5, "text-anchor": "end" }, `step; ${label}`));
    for (const [key, run] of Object.entries(this.runs)) {
      const { look } = this.opening.optimizers[key];
      let words = "";
      for (let k = 0; k < run.loss.length; k += 1) {
        const value = name(run.loss[k]);
        if (!Number.isFinite(value)) continue;
        const py = Math.min(Math.max(y(value), -50), high);
        words += `${words ? "L" : "M"}${tenth(x(k))} ${tenth(py)}`;
        if (k >= run.stopped_at) break;
      }
      const paint = this.paint(key);
      const clip = `url(#${this.unique}-curves)`;
      layers.push(
        drawn("path", { d: words, fill: "none", stroke: paint, "stroke-width": 2, "stroke-dasharray": look.dash || null, "clip-path": clip }),
      );
    }
    layers.push(drawn("path", { d: `M${x(this.lastStep)} 10V${high - bottom}`, class: "cursor" }));
    const area = drawn("rect", { x: left, y: 0, width: Math.max(wide - left - 12, 1), height: high - bottom + 1 });
    svg.replaceChildren(drawn("clipPath", { id: `${this.unique}-curves` }, area), ...layers);
    this.stepAt = (px) => Math.round(((px - left) / (wide - left - 12)) * steps);
  }

  // Logarithmic where that is possible: above the known minimum, or of a loss that stays positive.
  lossScale() {
    const floor = this.described.minima.length ? Math.min(...this.described.minima.map(({ value }) => value)) : 0;
    const first = Object.values(this.runs)[0]?.loss[0] ?? 1;
    const seen = this.lossRange(floor, first + 10 * Math.abs(first) + 10);
    // Rounding may take a loss below its minimum; a function without one may be negative all along.
    const below = seen.lowest - floor < -1e-4 * (1 + Math.abs(floor)); // a run may find lower ground outside the window
    const log = seen.positive > 0 && !below && (this.described.minima.length > 0 || seen.positive === seen.finite);
    if (!log) {
      const top = Math.max(first, seen.top);
      const bottom = Math.max(Math.min(seen.lowest, first), first - 100 * (Math.abs(first) + 1));
      return { heights: [bottom, top > bottom ? top : bottom + 1], name: (value) => value, label: "loss", log };
    }
    const name = (value) => Math.log10(Math.max(value - floor, 1e-14));
    const top = Math.log10(seen.highest);
    const begun = Math.log10(Math.max(first - floor, 1e-14));
    const heights = [Math.max(Math.log10(seen.nearest), begun - 12), Math.min(top, begun + 6)];
    if (heights[1] - heights[0] < 0.2) heights[0] = heights[1] - 1;
    return { heights, name, label: floor === 0 && !this.described.minima.length ? "loss, log" : "loss − minimum, log", log };
  }

  // The finite losses in one pass: a drag asks for it at every frame. `nearest` and `highest` are above the floor, and
  // `top` is the highest that is not out of sight.
  lossRange(floor, sight) {
    const seen = { finite: 0, positive: 0, lowest: Infinity, nearest: Infinity, highest: 0, top: -Infinity };
    for (const { loss } of Object.values(this.runs)) {
      for (const value of loss) {
        if (!Number.isFinite(value)) continue;
        const above = value - floor;
        seen.finite += 1;
        seen.lowest = Math.min(seen.lowest, value);
        if (value <= sight) seen.top = Math.max(seen.top, value);
        if (above <= 0) continue;
        seen.positive += 1;
        seen.nearest = Math.min(seen.nearest, above);
        seen.highest = Math.max(seen.highest, above);
      }
    }
    return seen;
  }

  // Logarithms to mark, at least two: powers of ten; or 1, 2 and 5 of each; or round numbers between the ends.
  decades([low, high]) {
    const step = Math.max(1, Math.ceil((high - low) / 5));
    const powers = [];
    for (let value = Math.ceil(low); value <= high; value += step) powers.push(value);
    if (powers.length > 1) return powers;
    const parts = [];
    for (let power = Math.floor(low); power <= high; power += 1) parts.push(...[1, 2, 5].map((part) => power + Math.log10(part)));
    const inside = parts.filter((value) => value >= low && value <= high);
    return inside.length > 1 ? inside : ticks(10 ** low, 10 ** high, 4).map(Math.log10);
  }
});
