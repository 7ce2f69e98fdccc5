// Requests and replies.

const REST = 300; // milliseconds without a change after which proofs are asked for
const LONGEST = 60000; // milliseconds to wait for an answer, which may have to compile

extend(class Requests {
  request(kind) {
    const { optimizers, show, ...rest } = this.state;
    if (kind === "survey") return { kind, function: rest.function, window: rest.window };
    const active = Object.entries(optimizers).filter(([, entry]) => entry.on);
    const asked = { kind, ...rest, optimizers: Object.fromEntries(active.map(([name, { numbers }]) => [name, numbers])) };
    if (kind === "run") delete asked.window;
    return asked;
  }

  ask(kind) {
    this.wanted[kind] = true;
    this.next();
  }

  next() {
    if (this.inFlight) return;
    const kind = ["survey", "run", "python"].find((one) => this.wanted[one]);
    if (!kind) return;
    this.wanted[kind] = false;
    this.sequence += 1;
    const moved = kind === "run" ? this.moved : null;
    if (kind === "run") this.moved = null;
    this.inFlight = { kind, sequence: this.sequence, moved };
    this.waiting = setTimeout(() => this.busy(true), 250);
    this.lost = setTimeout(() => this.giveUp(), LONGEST);
    this.model.send({ ...this.request(kind), sequence: this.sequence });
  }

  // Ask for proofs once nothing moves, runs or is held any more.
  rest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      if (this.held() || this.inFlight) return; // the reply, and letting go, come back here
      this.sequence += 1;
      this.proving = { sequence: this.sequence, draws: this.draws };
      this.model.send({ ...this.request("proof"), sequence: this.sequence });
    }, REST);
  }

  held() {
    return this.dragging !== null && this.dragging !== undefined;
  }

  // Proofs of another window.
  forget() {
    this.known = null;
    this.parts.known.textContent = "";
  }

  proved(reply) {
    if (reply.sequence !== this.proving?.sequence) return;
    const { draws } = this.proving;
    this.proving = null;
    if (draws !== this.draws || reply.error) return; // another has been drawn since, and its proofs follow
    for (const [name, { proved, sentence, certificate }] of Object.entries(reply.proofs)) {
      const row = this.rows[name];
      if (!row) continue;
      row.proved.textContent = `${sentence}. `;
      row.proved.classList.toggle("certain", proved);
      row.certificate.textContent = certificate;
    }
    this.parts.known.textContent = `${reply.summary}.`;
    this.known = reply.points;
    this.drawTerrain();
    this.announce();
  }

  receive(reply) {
    if (reply.kind === "proof") this.proved(reply);
    if (!this.inFlight || reply.sequence !== this.inFlight.sequence) return;
    const { kind, moved } = this.inFlight;
    this.inFlight = null;
    clearTimeout(this.waiting);
    clearTimeout(this.lost);
    this.busy(false);
    if (reply.error) this.complain(reply.error);
    else {
      this.complain("");
      if (kind === "survey") this.surveyed(reply);
      else if (kind === "run") this.ran(reply, moved);
      else this.showCode(reply.code);
    }
    this.next();
    this.rest();
  }

  // A notebook's kernel that was interrupted or restarted never answers; the next move tries again.
  giveUp() {
    this.inFlight = null;
    this.busy(false);
    this.complain("There was no answer. Is the kernel or the server still running?");
  }

  surveyed(reply) {
    if (reply.function !== this.state.function) return;
    this.forget();
    this.seen = { ...reply, curve: floats(reply.curve), arrows: floats(reply.arrows), flow: { ...reply.flow, values: floats(reply.flow.values) }, grid: { ...reply.grid, values: floats(reply.grid.values) } };
    if (this.suggesting) this.suggest(reply.rate);
    this.drawTerrain();
    this.ask("run");
  }

  ran(reply, moved) {
    if (reply.function !== this.state.function) return;
    this.reply = reply;
    this.runs = {};
    for (const [name, run] of Object.entries(reply.runs)) {
      this.runs[name] = { ...run, path: floats(run.path), loss: floats(run.loss) };
    }
    this.drawPaths();
    this.drawVerdicts();
    this.showStart();
    this.draws += 1;
    if (moved) {
      const timing = { drawn: performance.now() - moved };
      requestAnimationFrame(() => {
        timing.frame = performance.now() - moved;
      });
      this.timings = [...this.timings.slice(-499), timing];
    }
  }

  busy(on) {
    this.parts.busy.textContent = on ? "compiling…" : "";
  }

  complain(message) {
    if (this.parts.error.textContent === message) return;
    this.parts.error.textContent = message;
    this.parts.error.hidden = !message;
  }
});
