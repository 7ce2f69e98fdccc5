// What there is: the explorer's own fields, its beginning and its end.

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.opening = model.get("opening");
    this.onPage = model.get("host") === "page";
    [this.width, this.height] = this.opening.drawing;
    this.unique = `explorer-${Math.random().toString(36).slice(2)}`;
    this.sequence = 0;
    this.inFlight = null;
    this.wanted = { survey: false, run: false, python: false };
    this.runs = {};
    this.seen = null;
    this.proving = null; // the last request for proofs: its sequence, and the number of the drawing that it is of
    this.known = null; // the critical points in the window that are proved
    this.unit = 1;
    this.step = null; // the step shown; null for the last
    this.lesson = { title: "", steps: [], at: 0 };
    this.cleanUp = [];
    this.timings = []; // of the last drags: milliseconds from a pointer move to its path, and to the frame after it
    this.draws = 0;
    el.explorer = this;
    this.state = this.fresh(this.opening.first);
  }

  begin() {
    this.build();
    const fragment = (this.onPage && window.location.hash.slice(1)) || this.opening.fragment;
    this.suggesting = true;
    if (fragment) this.restore(fragment);
    this.listen();
    this.synchronise();
    this.ask("survey");
  }

  end() {
    this.stop();
    [this.waiting, this.lost, this.announcing, this.resting].forEach(clearTimeout);
    this.cleanUp.forEach((undo) => undo());
    this.el.replaceChildren();
  }
}

// Add the methods of a class to `Explorer`; none may be there already.
function extend(part) {
  const { constructor, ...methods } = Object.getOwnPropertyDescriptors(part.prototype);
  for (const name of Object.keys(methods)) {
    if (name in Explorer.prototype) throw new Error(`${name} is defined twice`);
  }
  Object.defineProperties(Explorer.prototype, methods);
}
