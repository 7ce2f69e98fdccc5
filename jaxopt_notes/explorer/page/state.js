// The state: what a function, a demonstration or a link begins with.

// Replaced by a class of letters, not one letter at a time: see `significant` in words.js.
function encoded(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  return btoa(String.fromCharCode(...bytes)).replace(/[+/=]/g, (letter) => ({ "+": "-", "/": "_", "=": "" })[letter]);
}

function decoded(text) {
  const standard = text.replace(/[-_]/g, (letter) => ({ "-": "+", _: "/" })[letter]);
  const bytes = Uint8Array.from(atob(standard), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

extend(class State {
  fresh(name) {
    const described = this.opening.functions[name];
    const optimizers = {};
    for (const [key, { controls }] of Object.entries(this.opening.optimizers)) {
      const on = ["gradient_descent", "momentum", "adam"].includes(key);
      const numbers = Object.fromEntries(Object.entries(controls).map(([field, control]) => [field, control.default]));
      optimizers[key] = { on, numbers };
    }
    return {
      function: name,
      start: [...described.start],
      window: this.fitted(described.domain),
      steps: 60,
      noise: 0,
      decay: 0,
      seed: 0,
      optimizers,
      show: { field: false, flow: false, nonconvex: false, surface: false, arrows: true, directions: true },
    };
  }

  get described() {
    return this.opening.functions[this.state.function];
  }

  get flat() {
    return this.described.dimension === 1;
  }

  // The smallest window of the drawing's shape around a box: with equal scales a gradient is orthogonal to its contour.
  fitted([low, high]) {
    if (low.length === 1) return [[...low], [...high]];
    const size = [high[0] - low[0], high[1] - low[1]];
    const scale = Math.max(size[0] / this.width, size[1] / this.height) * 1.06;
    const half = [(scale * this.width) / 2, (scale * this.height) / 2];
    const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    return [
      [middle[0] - half[0], middle[1] - half[1]],
      [middle[0] + half[0], middle[1] + half[1]],
    ];
  }

  choose(name) {
    this.parts.preset.value = "";
    this.tell("");
    const { optimizers, steps, show } = this.state;
    this.state = { ...this.fresh(name), optimizers, steps, show };
    this.suggesting = true;
    this.changedFunction();
  }

  preset(index) {
    const { title, ...state } = this.opening.presets[index];
    this.take(state);
    this.caption(index);
  }

  // The state of a demonstration, or of a step of its lesson.
  take({ show, optimizers, ...rest }) {
    const before = this.state;
    this.state = { ...this.fresh(rest.function), ...rest, show: { ...before.show, ...show } };
    this.state.start = [...rest.start];
    for (const [name, entry] of Object.entries(this.state.optimizers)) {
      entry.on = name in optimizers;
      Object.assign(entry.numbers, optimizers[name] ?? {});
    }
    this.suggesting = false;
    const same = this.seen && before.function === rest.function && String(before.window) === String(this.state.window);
    if (same) this.changedRun();
    else this.changedFunction();
  }

  caption(index, at = 0) {
    this.parts.preset.value = index;
    this.openLesson(this.opening.presets[index].title, at);
  }

  restore(fragment) {
    this.tell("");
    try {
      const given = decoded(fragment);
      const state = this.fresh(given.function in this.opening.functions ? given.function : this.opening.first);
      for (const field of ["start", "window", "steps", "noise", "decay", "seed"]) {
        if (field in given) state[field] = given[field];
      }
      for (const [name, entry] of Object.entries(state.optimizers)) {
        const other = (given.optimizers ?? {})[name];
        entry.on = other !== undefined;
        for (const key of Object.keys(entry.numbers)) {
          if (Number.isFinite(other?.[key])) entry.numbers[key] = other[key];
        }
      }
      state.show = { ...state.show, ...given.show };
      const sound = (point) => Array.isArray(point) && point.length === state.start.length && point.every(Number.isFinite);
      const dimension = this.opening.functions[state.function].dimension;
      if (state.start.length !== dimension || !sound(state.start) || !state.window.every(sound) || this.engine.refusal(state.start)) throw new Error();
      this.state = state;
      this.suggesting = false;
      const index = this.opening.presets.findIndex(({ title }) => title === given.demonstration);
      if (index >= 0) this.caption(index, given.at);
    } catch {
      this.tell("The link after # could not be read, so this is the first picture.");
    }
  }

  follow(fragment) {
    this.parts.preset.value = "";
    this.restore(fragment);
    this.changedFunction();
  }

  changedFunction() {
    this.stop();
    this.seen = null;
    this.forget();
    this.runs = {};
    this.step = null;
    this.synchronise();
    this.parts.terrain.replaceChildren();
    this.parts.verdicts.replaceChildren();
    this.drawPaths();
    this.survey();
  }

  // Other numbers on the same ground.
  changedRun() {
    this.stop();
    this.step = null;
    this.synchronise();
    this.drawTerrain();
    this.run();
  }

  suggest(rate) {
    const [low, high] = this.described.domain;
    const wide = Math.max(...low.map((edge, i) => high[i] - edge));
    for (const [name, { scale }] of Object.entries(this.opening.optimizers)) {
      if (scale === null) continue;
      const [unit, share] = scale;
      const value = share * (unit === "width" ? wide : rate);
      this.state.optimizers[name].numbers.learning_rate = Number(Math.min(value, 10).toPrecision(2));
    }
    this.suggesting = false;
    this.synchronise();
  }
});
