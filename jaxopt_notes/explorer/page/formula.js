// The update rules, typeset as MathML with the numbers that are set.

const MATHML = "http://www.w3.org/1998/Math/MathML";

extend(class Formula {
  buildFormula(name) {
    const rule = element("div", { class: "rule", title: "x: the point; g: the gradient there; t: the step; a learning rate that decays is that of the step shown" });
    this.rules = { ...this.rules, [name]: { rule, written: "" } };
    return rule;
  }

  // The value of a number at the step shown: a learning rate may decay.
  valueAt(name, key) {
    const value = this.state.optimizers[name].numbers[key];
    const done = Math.max(this.lastStep - 1, 0); // steps before the one that leads to the point shown
    return key === "learning_rate" ? value / (1 + this.state.decay * done) : value;
  }

  drawFormulas() {
    for (const [name, entry] of Object.entries(this.rules)) {
      if (!this.state.optimizers[name].on) continue;
      const { rule, controls } = this.opening.optimizers[name];
      const values = Object.fromEntries(Object.keys(controls).map((key) => [key, shown(this.valueAt(name, key))]));
      const written = JSON.stringify(values);
      if (written === entry.written) continue;
      entry.written = written;
      entry.rule.replaceChildren(...rule.map((line) => mathematics(["math", line], values)));
    }
  }
});

// A tree of lists as elements. The value of a hyperparameter stands in place of its letter.
function mathematics([tag, ...children], values) {
  if (tag === "number") {
    const [key] = children;
    const [digits, exponent] = values[key].split("e");
    const part = (name, text) => mathematics([name, text], values);
    const power = exponent && mathematics(["msup", ["mn", "10"], ["mn", exponent.replace("+", "").replace("-", "−")]], values);
    const made = mathematics(["mrow"], values);
    made.append(...(exponent ? [part("mn", digits), part("mo", "·"), power] : [part("mn", digits)]));
    made.setAttribute("class", "set");
    made.setAttribute("title", key.replace("_", " "));
    return made;
  }
  const made = document.createElementNS(MATHML, tag);
  // Brackets are as high as a fraction beside them; around anything else they would seem too high.
  if (tag === "mo" && children.length === 1) made.setAttribute("stretchy", "false");
  if (tag === "mo" && children[0] === "|") for (const side of ["lspace", "rspace"]) made.setAttribute(side, "0");
  if (tag === "mrow" && children.some(([kind]) => kind === "mfrac")) {
    children = children.map((child) => (child[0] === "mo" && "()".includes(child[1]) ? ["mo", child[1], ""] : child));
  }
  made.append(...children.map((child) => (Array.isArray(child) ? mathematics(child, values) : child)));
  return made;
}
