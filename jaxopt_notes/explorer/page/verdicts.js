// Where each optimizer ends, in words.

extend(class Verdicts {
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
});
