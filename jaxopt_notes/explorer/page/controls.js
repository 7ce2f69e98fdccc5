// Sliders and boxes.

extend(class Controls {
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
        this.parts.another.disabled = this.state.noise === 0;
        if (key === "steps") this.step = null;
      }),
    );
    for (const name of Object.keys(this.opening.optimizers)) this.parts.optimizers.append(this.buildOptimizer(name));
    this.parts.another = element("button", { type: "button", onclick: () => this.anotherSeed() }, "another seed");
    const button = (text, action) => element("button", { type: "button", onclick: action }, text);
    this.parts.film = button("Save WebM", () => this.saveWebm());
    const share = this.onPage ? [button("Copy link", () => this.share())] : [];
    return element(
      "section",
      { class: "controls", "aria-label": "Controls" },
      element("fieldset", {}, element("legend", {}, "Optimizers"), this.parts.optimizers),
      element("fieldset", {}, element("legend", {}, "Start"), element("div", { class: "tools" }, element("label", {}, "x ", this.parts.start[0]), this.parts.startY)),
      element("fieldset", {}, element("legend", {}, "Run"), ...rows, this.parts.another),
      this.buildShow(),
      element(
        "fieldset",
        {},
        element("legend", {}, "Take away"),
        element("div", { class: "tools" }, ...share, button("Copy as Python", () => this.showCode()), button("Save SVG", () => this.saveSvg()), button("Save PNG", () => this.savePng()), this.parts.film),
        this.parts.said,
        this.parts.code,
      ),
    );
  }

  swatch(name) {
    const { look } = this.opening.optimizers[name];
    const paint = this.colours ? this.paint(name) : look.color;
    const line = drawn("path", { d: "M0 7H34", stroke: paint, "stroke-width": 2.2, "stroke-dasharray": look.dash || null });
    const shape = drawn("path", { d: `M17 7${SHAPES[look.marker](4)}`, fill: paint, stroke: paint });
    return drawn("svg", { viewBox: "0 0 34 14", class: "swatch", "data-name": name, "aria-hidden": "true" }, line, shape);
  }

  buildOptimizer(name) {
    const { title, controls } = this.opening.optimizers[name];
    const entry = () => this.state.optimizers[name];
    const rows = Object.entries(controls).map(([key, control]) =>
      this.slider(`${name}.${key}`, key.replace("_", " "), control, () => entry().numbers[key], (value) => {
        entry().numbers[key] = value;
      }, title),
    );
    const body = element("div", { class: "numbers", hidden: true }, this.buildFormula(name), ...rows);
    const box = element("input", {
      type: "checkbox",
      onchange: (event) => {
        entry().on = event.target.checked;
        body.hidden = !entry().on;
        this.run();
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
      this.run();
    };
    range.addEventListener("input", () => take(whole ? Number(range.value) : Number(back(Number(range.value)).toPrecision(3)), false));
    box.addEventListener("input", () => box.value !== "" && take(Number(box.value), true));
    this.sliders[key] = { set: () => show(false), mark, hint, low, high, place };
    return element("div", { class: "slider" }, element("span", { class: "label" }, label), element("span", { class: "track" }, range, mark), box, hint);
  }

  anotherSeed() {
    this.state.seed = (this.state.seed + 1) % 1e6;
    this.sliders.seed.set();
    this.run();
  }

  // Show the state in every control.
  synchronise() {
    this.parts.function.value = this.state.function;
    this.parts.formula.textContent = `f = ${this.described.formula}`;
    this.parts.startY.hidden = this.flat;
    this.parts.another.disabled = this.state.noise === 0; // without noise every seed is the same
    for (const control of Object.values(this.sliders)) {
      control.set();
      if (control.hint) [control.hint.textContent, control.mark.hidden] = ["", true]; // until the verdicts are drawn
    }
    this.showStart();
    this.drawFormulas();
  }

  showStart() {
    this.state.start.forEach((value, i) => {
      const box = this.parts.start[i];
      if (box.value === "" || Number(box.value) !== value) box.value = Number(value.toPrecision(5));
    });
  }
});
