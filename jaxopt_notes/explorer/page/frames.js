// What is computed when: paths at once, the rest of a picture before the screen shows it, proofs once it rests.

const REST = 300; // milliseconds without a change after which proofs are shown

extend(class Frames {
  // The state as the engine takes it: of the optimizers those that run, with their numbers.
  asked() {
    const { optimizers, show, ...rest } = this.state;
    const active = Object.entries(optimizers).filter(([, { on }]) => on);
    return { ...rest, optimizers: Object.fromEntries(active.map(([name, { numbers }]) => [name, numbers])) };
  }

  // Another window: its ground, and the paths on it.
  survey() {
    this.forget();
    this.seen = this.engine.survey(this.state);
    if (this.suggesting) this.suggest(this.seen.rate);
    this.drawTerrain();
    this.run();
  }

  // Another start, or other numbers.
  run() {
    const moved = this.moved;
    this.moved = null;
    clearTimeout(this.announcing); // the runs before are gone, and the verdicts of these are not known yet
    this.complain("");
    this.found = this.engine.run(this.asked());
    this.runs = this.found.runs;
    this.judged = false;
    this.drawPaths();
    if (moved) this.clock(moved);
    this.rest();
  }

  // How long the hand waited: for its path, and for the frame in which all of it is seen.
  clock(moved) {
    const timing = { drawn: performance.now() - moved };
    requestAnimationFrame(() => {
      timing.frame = performance.now() - moved;
    });
    this.timings = [...this.timings.slice(-499), timing];
  }

  // A hand may move several times before the screen shows a frame. Only the paths are drawn at every move.
  beforeFrame() {
    this.frame ??= requestAnimationFrame(() => this.finish());
  }

  // Draw now what was to be drawn before the next frame.
  finish() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    if (!this.judged) {
      for (const run of Object.values(this.runs)) Object.assign(run, this.engine.judged(this.state.function, run));
      this.judged = true;
      this.drawVerdicts();
      this.showStart();
    }
    this.drawStart();
    this.drawEnds();
    this.drawCurves();
    this.drawPlayer();
    this.drawFormulas();
    this.drawSurface();
  }

  // Show proofs once nothing moves or is held any more.
  rest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      if (this.held()) return; // letting go comes back here
      if (this.frame) this.finish();
      this.proved(this.engine.proof(this.state, this.runs));
    }, REST);
  }

  held() {
    return this.dragging !== null;
  }

  // Proofs of another window.
  forget() {
    this.known = null;
    this.parts.known.textContent = "";
  }

  proved({ proofs, summary, points }) {
    for (const [name, { sentence, certificate }] of Object.entries(proofs)) {
      const row = this.rows[name];
      row.proved.textContent = `${sentence}. `;
      row.certificate.textContent = certificate;
    }
    this.parts.known.textContent = `${summary}.`;
    this.known = points;
    this.drawTerrain();
    this.announce();
  }

  complain(message) {
    if (this.parts.error.textContent === message) return;
    this.parts.error.textContent = message;
    this.parts.error.hidden = !message;
  }
});
