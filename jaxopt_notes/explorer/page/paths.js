// The paths, the start and its arrows.

extend(class Paths {
  get lastStep() {
    return this.step === null ? this.state.steps : Math.min(this.step, this.state.steps);
  }

  drawPaths() {
    const layers = [];
    this.labels = [];
    this.ends = [];
    for (const [name, run] of Object.entries(this.runs)) layers.push(...this.onePath(name, run));
    const { childNodes } = this.parts.paths;
    if (layers.length !== childNodes.length || layers.some((layer, i) => layer !== childNodes[i])) this.parts.paths.replaceChildren(...layers);
    this.moveHandle();
    this.beforeFrame();
  }

  // The eigen-directions where runs end, which only a verdict has.
  drawEnds() {
    const known = this.ends.filter(([run]) => run.directions.flat().every(Number.isFinite));
    const shown = this.state.show.directions && !this.flat ? known : [];
    this.parts.ends.replaceChildren(...shown.flatMap(([run, point]) => this.eigenDirections(run, point)));
  }

  // A drag draws every point of every run at every move, so no object is made for a point.
  onePath(name, run) {
    const { look, title } = this.opening.optimizers[name];
    const u = this.unit;
    const { xs, ys, count } = this.pixels(run);
    if (!count) return [];
    const inside = (k) => xs[k] >= 0 && ys[k] >= 0 && xs[k] <= this.width && ys[k] <= this.height;
    const point = (k) => [xs[k], ys[k]];
    let left = count - 1;
    while (left >= 0 && !inside(left)) left -= 1;
    const leaves = left >= 0 && left < count - 1; // for good: of what follows only the way out is drawn
    const until = Math.min(this.lastStep, count - 1);
    const shownTo = leaves ? Math.min(until, left) : until;
    const paint = this.paint(name);
    const dash = look.dash ? look.dash.split(" ").map((n) => n * u).join(" ") : null;
    const line = { fill: "none", stroke: paint, "stroke-width": 2.2 * u, "stroke-dasharray": dash, "stroke-linejoin": "round" };
    const layers = [];
    if (until < count - 1) {
      layers.push(this.kept(`${name} rest`, { ...line, d: this.lineThrough(xs, ys, shownTo, leaves ? left : count - 1), opacity: 0.25 }));
    }
    layers.push(this.kept(`${name} line`, { ...line, d: this.lineThrough(xs, ys, 0, shownTo), "data-path": name }));
    layers.push(this.kept(`${name} markers`, { d: this.markersAt(xs, ys, shownTo, look.marker), fill: paint, stroke: paint, "stroke-width": u }));
    if (leaves && until > left) layers.push(this.wayOut(point(left), point(left + 1), paint));
    if (inside(until) && until === count - 1) this.ends.push([run, point(until)]);
    layers.push(this.endMarker(name, point(until), paint, inside(until)));
    if (until === count - 1 && (leaves || run.diverged)) {
      layers.push(this.labelled(point(Math.max(left, 0)), `${title} ${this.labelOf(run, left, until)}`, paint));
    }
    return layers;
  }

  // The path that was drawn under this key before, changed where it differs, since making one takes longer.
  kept(key, attributes, title) {
    const one = (this.layers[key] ??= { node: drawn("path", {}, title ? drawn("title", {}, title) : null), written: {} });
    for (const [name, value] of Object.entries(attributes)) {
      if (one.written[name] === value) continue;
      one.written[name] = value;
      if (value === null) one.node.removeAttribute(name);
      else one.node.setAttribute(name, value);
    }
    return one.node;
  }

  // Where the points of a run are drawn, up to the one where it stopped or the last that is finite.
  pixels(run) {
    const { x, y } = this.scales();
    const [dimension, flat] = [this.described.dimension, this.flat];
    const most = Math.min(run.path.length / dimension, run.stopped_at + 1);
    const [xs, ys] = [new Float64Array(most), new Float64Array(most)];
    let count = 0;
    for (; count < most; count += 1) {
      xs[count] = x(run.path[count * dimension]);
      ys[count] = y(flat ? run.loss[count] : run.path[count * dimension + 1]);
      if (!Number.isFinite(xs[count]) || !Number.isFinite(ys[count])) break;
    }
    return { xs, ys, count };
  }

  lineThrough(xs, ys, from, to) {
    const [wide, high] = [this.width, this.height];
    const near = (k) => xs[k] > -wide && ys[k] > -high && xs[k] < 2 * wide && ys[k] < 2 * high;
    let words = "";
    let drawnTo = false; // whether the line is at the first end of the next segment
    let last = from; // the last point that was written
    for (let k = from; k < to; k += 1) {
      if (near(k) && near(k + 1)) {
        if (!drawnTo) {
          words += `M${tenth(xs[k])} ${tenth(ys[k])}`;
          last = k;
        }
        drawnTo = true;
        // No eye sees a tenth of a pixel. The last point is written in any case.
        const short = Math.abs(xs[k + 1] - xs[last]) + Math.abs(ys[k + 1] - ys[last]) < 0.1;
        if (short && k + 1 < to) continue;
        words += `L${tenth(xs[k + 1])} ${tenth(ys[k + 1])}`;
        last = k + 1;
        continue;
      }
      const piece = clipped(xs[k], ys[k], xs[k + 1], ys[k + 1], [-wide, -high, 2 * wide, 2 * high]);
      if (piece) words += `${drawnTo ? "" : `M${tenth(piece[0])} ${tenth(piece[1])}`}L${tenth(piece[2])} ${tenth(piece[3])}`;
      drawnTo = piece !== null && near(k + 1);
      last = k + 1;
    }
    return words;
  }

  markersAt(xs, ys, until, marker) {
    const shape = SHAPES[marker](2.6 * Math.min(this.unit, 1.4));
    let words = "";
    let [lastX, lastY] = [-99, -99];
    for (let k = 0; k <= until; k += 1) {
      if (xs[k] < 0 || ys[k] < 0 || xs[k] > this.width || ys[k] > this.height) continue;
      // A point on top of the one before it would change nothing in the picture.
      if (Math.abs(xs[k] - lastX) + Math.abs(ys[k] - lastY) < 0.5) continue;
      words += `M${tenth(xs[k])} ${tenth(ys[k])}${shape}`;
      lastX = xs[k];
      lastY = ys[k];
    }
    return words;
  }

  endMarker(name, [px, py], paint, inside) {
    const r = 7 * this.unit;
    const d = inside ? `M${px - r} ${py}L${px} ${py - r}L${px + r} ${py}L${px} ${py + r}Z` : "";
    const title = `end of ${this.opening.optimizers[name].title}`;
    return this.kept(`${name} end`, { d, fill: paint, class: "end", "stroke-width": 1.5 * this.unit }, title);
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

  // From the last point in the picture to the frame, with an arrow there.
  wayOut(from, to, paint) {
    const margin = 5 * this.unit;
    const box = [margin, margin, this.width - margin, this.height - margin];
    const far = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
    const near = Math.min(1, 1e5 / far); // a line that is much longer than the picture loses its direction in rounding
    const piece = clipped(...from, from[0] + near * (to[0] - from[0]), from[1] + near * (to[1] - from[1]), box) ?? [...from, ...from];
    const [dx, dy] = [(to[0] - from[0]) / far, (to[1] - from[1]) / far];
    const size = Math.hypot(dx, dy);
    const head = arrowhead(piece[2], piece[3], dx / size, dy / size, 15 * this.unit);
    const d = `M${from.map(tenth).join(" ")}L${tenth(piece[2])} ${tenth(piece[3])}${head}`;
    return drawn("path", { d, class: "leaving", stroke: paint, "stroke-width": 3 * this.unit });
  }

  // What is written beside a path that does not end in the picture: when it is last seen, and how far it gets.
  labelOf(run, left, last) {
    const dimension = this.described.dimension;
    const from = (k) => Math.hypot(...this.state.start.map((value, i) => run.path[k * dimension + i] - value));
    const words = [run.diverged ? "diverged" : null, left < last ? `leaves at step ${left + 1}` : null];
    if (left < last) words.push(`${shown(Number(from(last).toPrecision(2)))} away at step ${last}`);
    return words.filter(Boolean).join(", ");
  }

  labelled([px, py], text, paint) {
    const u = this.unit;
    const x = Math.min(Math.max(px, 8 * u), this.width - 8 * u);
    const room = this.width - 16 * u;
    const wide = (words) => 9 * u * words.length; // about
    const lines = wide(text) > room ? text.split(/(?<=, )/) : [text];
    const [sx, sy] = this.startPoint();
    const shift = Math.hypot(px - sx, py - sy) < 60 * u ? 40 * u : -12 * u; // not across the arrows at the start
    let y = Math.min(Math.max(py + shift, 22 * u), this.height - (10 + 16 * lines.length) * u);
    const covered = ([ox, oy]) => Math.abs(oy - y) < 16 * u && Math.abs(ox - x) < 260 * u;
    while (this.labels.some(covered)) y -= 16 * u;
    if (y < 12 * u) {
      y = 22 * u;
      while (this.labels.some(covered)) y += 16 * u;
    }
    const long = Math.min(Math.max(...lines.map(wide)), room);
    const anchor = x > this.width * 0.55 ? "end" : "start";
    const within = anchor === "end" ? Math.max(x, long + 8 * u) : Math.min(x, this.width - 8 * u - long);
    lines.forEach((_, i) => this.labels.push([x, y + 16 * u * i]));
    const parts = lines.map((words, i) => drawn("tspan", { x: within, dy: i ? 16 * u : null }, words));
    return drawn("text", { y, fill: paint, "text-anchor": anchor, class: "path-label" }, ...parts);
  }

  startPoint() {
    const { x, y } = this.scales();
    const [first, second] = this.state.start;
    if (!this.flat) return [x(first), y(second)];
    const height = this.seen ? this.height1(first) : 0;
    return [x(first), Number.isFinite(height) ? y(height) : this.height / 2]; // there must be something to drag
  }

  moveHandle() {
    const near = (value) => Math.min(Math.max(value, -1e5), 1e5).toFixed(1); // far out it has no other digits that SVG reads
    const [px, py] = this.startPoint().map(near);
    this.parts.handle.setAttribute("transform", `translate(${px} ${py}) scale(${this.unit})`);
  }

  // The start in words, for a screen reader, and its arrows.
  drawStart() {
    const words = this.state.start.map((value, i) => `${"xy"[i]} = ${shown(value)}`).join(", ");
    this.parts.handle.setAttribute("aria-valuenow", this.state.start[0]);
    this.parts.handle.setAttribute("aria-valuemin", this.state.window[0][0]);
    this.parts.handle.setAttribute("aria-valuemax", this.state.window[1][0]);
    this.parts.handle.setAttribute("aria-valuetext", words);
    this.parts.arrows.replaceChildren(...(this.found && this.state.show.arrows ? this.startArrows(this.startPoint()) : []));
  }

  startArrows([px, py]) {
    const u = this.unit;
    const gradient = this.found.gradient;
    if (!gradient.every(Number.isFinite)) return [];
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
      const at = { x: within(px + ux * 90 * u, this.width, Math.max(30, 4 * text.length) * u), y: within(py + uy * 90 * u + 4 * u, this.height, 16 * u) };
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
});
