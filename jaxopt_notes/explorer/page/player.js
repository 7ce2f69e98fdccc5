// The player: which step is shown.

extend(class Player {
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

  buildPlayer() {
    const button = (text, name, action) => element("button", { type: "button", "aria-label": name, title: name, onclick: action }, text);
    this.parts.play = element("button", { type: "button", onclick: () => this.play() }, "▶ play");
    this.parts.step = element("input", { type: "range", min: 0, max: 1, step: 1, "aria-label": "Step shown", oninput: (event) => this.goTo(Number(event.target.value)) });
    this.parts.stepText = element("span", { class: "step-text" });
    this.parts.curves = drawn("svg", { class: "curves", role: "img", "aria-label": "Loss at every step, one line per optimizer" });
    this.parts.asSurface = element("button", { type: "button", "aria-pressed": "false", onclick: () => this.flipSurface() }, "surface");
    return element(
      "div",
      { class: "player tools" },
      this.parts.play,
      button("◀", "One step back", () => this.goTo(this.lastStep - 1)),
      button("▶", "One step on", () => this.goTo(this.lastStep + 1)),
      this.parts.step,
      this.parts.stepText,
      this.parts.asSurface,
      button("+", "Zoom in on the start", () => this.zoom(0.5, this.state.start)),
      button("−", "Zoom out", () => this.zoom(2, this.state.start)),
      button("reset", "Show all of it again, with the start in it", () => this.reset()),
    );
  }
});
