// What lies under the paths: coordinates, contours, critical points, the axes.

extend(class Terrain {
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
    this.seen.contours.forEach(({ region }, i) => {
      const fill = this.ramp((i + 1) / this.seen.contours.length);
      layers.push(drawn("path", { d: region, class: "region", fill }));
    });
    if (this.state.show.nonconvex) layers.push(...this.hatched());
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
    if (this.state.show.flow) layers.push(drawn("path", { d: this.flowLines(), class: "flow", "stroke-width": 1.4 * this.unit }));
    if (this.seen.note) {
      layers.push(drawn("text", { x: this.width / 2, y: 40 * this.unit, "text-anchor": "middle" }, this.seen.note));
    }
    layers.push(...this.criticalPoints());
    this.parts.terrain.replaceChildren(...layers, ...this.axisLabels());
    this.drawLevels();
    this.drawMarks();
    this.toggleSurface();
  }

  // The way that infinitely small steps would take, with a head where a line is half done.
  flowLines() {
    const { x, y } = this.scales();
    const { points, values } = this.seen.flow;
    const words = [];
    for (let i = 0; i < values.length; i += 2 * points) {
      const line = [];
      for (let k = i; k < i + 2 * points; k += 2) {
        const next = [x(values[k]), y(values[k + 1])];
        if (next.every(Number.isFinite) && (!line.length || next.some((part, j) => part !== line.at(-1)[j]))) line.push(next);
      }
      if (line.length < 3) continue;
      words.push(`M${line.map((point) => point.map(tenth).join(" ")).join("L")}`);
      const middle = Math.floor(line.length / 2);
      const [dx, dy] = [line[middle][0] - line[middle - 1][0], line[middle][1] - line[middle - 1][1]];
      const size = Math.hypot(dx, dy);
      words.push(arrowhead(...line[middle], dx / size, dy / size, 7 * this.unit));
    }
    return words.join("");
  }

  // Where the function is not convex: hatched, which no height is.
  hatched() {
    const id = `${this.unique}-hatch`;
    const size = 9 * this.unit;
    const line = drawn("path", { d: `M0 ${size}L${size} 0`, class: "hatch", "stroke-width": this.unit });
    const pattern = drawn("pattern", { id, width: size, height: size, patternUnits: "userSpaceOnUse" }, line);
    const words = "not convex here: the smallest eigenvalue of the Hessian is negative";
    return [pattern, drawn("path", { d: this.seen.nonconvex, class: "nonconvex", fill: `url(#${id})` }, drawn("title", {}, words))];
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

  // What the marks of critical points mean, of the kinds that there are.
  drawMarks() {
    const { minima } = this.described;
    const kinds = this.known?.length ? this.known.map(({ kind }) => kind) : minima.map(() => "minimum");
    const shapes = { minimum: star(8, 8, 7), saddle: `M8 8${SHAPES.x(4)}`, maximum: `M8 8${SHAPES["^"](4)}` };
    const found = Object.entries(shapes).filter(([kind]) => kinds.includes(kind));
    const marks = found.map(([kind, d]) => {
      const shape = drawn("path", { d, class: kind === "minimum" ? "optimum" : `critical ${kind}` });
      return element("span", {}, drawn("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, shape), kind);
    });
    this.parts.marks.replaceChildren(...marks);
  }

  axisLabels() {
    const { x, y } = this.scales();
    const [u, labels] = [this.unit, []];
    const [[x0], [x1]] = this.state.window;
    const across = (value) => x(value) >= 30 * u && x(value) <= this.width - 30 * u;
    for (const value of fitting(x0, x1, Math.max(3, Math.round(8 / u)), across)) {
      labels.push(drawn("text", { x: x(value), y: this.height - 6 * u, "text-anchor": "middle" }, shown(value)));
      labels.push(drawn("path", { d: `M${x(value)} ${this.height}v${-4 * u}`, class: "tick" }));
    }
    const up = (value) => y(value) >= 20 * u && y(value) <= this.height - 24 * u;
    for (const value of fitting(...this.vertical, Math.max(3, Math.round(6 / u)), up)) {
      labels.push(drawn("text", { x: 8 * u, y: y(value) + 4 * u }, shown(value)));
      labels.push(drawn("path", { d: `M0 ${y(value)}h${4 * u}`, class: "tick" }));
    }
    return labels;
  }
});
