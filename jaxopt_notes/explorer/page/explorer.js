// What there is: the explorer's own fields, and its beginning.

class Explorer {
  constructor(engine, el) {
    this.engine = engine;
    this.el = el;
    this.opening = engine.opening;
    this.onPage = this.opening.host === "page";
    [this.width, this.height] = this.opening.drawing;
    this.unique = `explorer-${Math.random().toString(36).slice(2)}`;
    this.runs = {};
    this.found = null; // what the engine found from the start: the runs, and the gradient there
    this.dragging = null; // the pointer that holds the start
    this.moved = null; // when the hand moved, until its path is drawn
    this.layers = {}; // by key the paths that are drawn
    this.judged = true; // whether the verdicts of the runs are known
    this.frame = null; // the frame before which the rest of the picture is drawn
    this.seen = null;
    this.known = null; // the critical points in the window that are proved
    this.unit = 1;
    this.step = null; // the step shown; null for the last
    this.lesson = { title: "", steps: [], at: 0 };
    this.timings = []; // of the last drags: milliseconds from a pointer move to its path, and to the frame after it
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
    this.survey();
    this.finish(); // a page behind others has no frames, and should be complete
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
