// The hand: pointer, finger, wheel and keyboard.

extend(class Moving {
  listen() {
    const { handle, overlay, curves } = this.parts;
    const on = (target, event, action, options) => target.addEventListener(event, action, options);
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
    const scheme = window.matchMedia("(prefers-color-scheme: dark)");
    on(scheme, "change", () => this.resized());
    new ResizeObserver(() => this.resized()).observe(this.parts.plane);
    this.resized();
  }

  letGo() {
    if (!this.held()) return;
    this.dragging = null;
    this.rest();
  }

  resized() {
    this.readColours();
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
    this.moved = performance.now();
    const [px, py] = this.pixel(event);
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    const [x, y] = this.scales().back(inside(px + this.grabbed[0], this.width), inside(py + this.grabbed[1], this.height));
    this.moveTo(this.flat ? [x] : [x, y]);
  }

  moveTo(start) {
    const refusal = this.engine.refusal(start);
    if (refusal) {
      this.complain(refusal);
      this.showStart();
      return;
    }
    this.state.start = start;
    this.step = null;
    this.stop();
    this.run();
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
    this.survey();
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
});
