// The page and its parts.

extend(class Layout {
  build() {
    this.sliders = {};
    this.parts = {
      verdicts: element("ul", { class: "verdicts", "aria-label": "Where each optimizer ends" }),
      levels: drawn("svg", { class: "levels", role: "img", "aria-label": "Heights of the contours" }),
      marks: element("p", { class: "marks" }),
      known: element("p", { class: "known" }),
      live: element("p", { class: "spoken", "aria-live": "polite", role: "status" }),
      error: element("p", { class: "error", role: "alert", hidden: true }),
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
          element(
            "section",
            { class: "picture", "aria-label": "Picture" },
            this.buildPlane(),
            this.parts.levels,
            this.buildPlayer(),
            this.parts.error,
            this.parts.verdicts,
            this.parts.known,
            this.parts.marks,
            this.parts.live,
          ),
          element("div", { class: "side" }, this.buildLesson(), this.parts.curves, this.buildControls()),
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
    );
  }

  buildPlane() {
    const box = `0 0 ${this.width} ${this.height}`;
    this.parts.terrain = drawn("svg", { viewBox: box, class: "terrain", "aria-hidden": "true" });
    this.parts.paths = drawn("g", { "clip-path": `url(#${this.unique}-plane)`, "aria-hidden": "true" });
    this.parts.ends = drawn("g", { "clip-path": `url(#${this.unique}-plane)`, "aria-hidden": "true" });
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
    this.parts.middle = drawn("svg", { viewBox: box, class: "middle", "aria-hidden": "true" }, clip, this.parts.paths, this.parts.ends);
    const named = { role: "group", "aria-label": "Contours and paths" };
    this.parts.overlay = drawn("svg", { viewBox: box, class: "overlay", ...named }, this.parts.arrows, this.parts.handle);
    this.parts.plane = element("div", { class: "plane" }, this.parts.terrain, this.parts.middle, this.parts.overlay, ...this.buildSurface());
    return this.parts.plane;
  }

  buildShow() {
    const toggle = (key, text) => {
      const box = element("input", {
        type: "checkbox",
        onchange: (event) => {
          this.state.show[key] = event.target.checked;
          if (this.seen) this.drawTerrain();
          this.drawPaths();
        },
      });
      this.sliders[`show.${key}`] = { set: () => (box.checked = this.state.show[key]) };
      return element("label", { class: "toggle" }, box, ` ${text}`);
    };
    return element(
      "fieldset",
      {},
      element("legend", {}, "Show"),
      element(
        "div",
        { class: "tools" },
        toggle("field", "downhill arrows"),
        toggle("flow", "gradient flow"),
        toggle("nonconvex", "not convex here, hatched"),
        toggle("arrows", "arrows at the start"),
        toggle("directions", "eigen-directions at the end"),
      ),
    );
  }
});
