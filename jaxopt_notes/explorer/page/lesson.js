// The lesson of a demonstration: a few sentences at a time, each with a state of the page.

extend(class Lesson {
  buildLesson() {
    const button = (text, move) => element("button", { type: "button", onclick: () => this.turnTo(this.lesson.at + move) }, text);
    this.parts.back = button("Back", -1);
    this.parts.on = button("Next", 1);
    this.parts.note = element("p", { class: "note", "aria-live": "polite" });
    this.parts.place = element("span", { class: "place" });
    this.parts.lesson = element(
      "section",
      { class: "lesson", "aria-label": "Lesson", hidden: true },
      element("div", { class: "tools" }, this.parts.back, this.parts.on, this.parts.place), // above, where they stay put
      this.parts.note,
    );
    return this.parts.lesson;
  }

  // A sentence in place of a lesson; nothing hides the card.
  tell(text) {
    this.lesson = { title: "", steps: [], at: 0 };
    this.parts.lesson.hidden = !text;
    this.parts.note.textContent = text;
    this.showPlace();
  }

  openLesson(title, at) {
    const steps = this.opening.lessons[title];
    this.lesson = { title, steps, at: at in steps ? at : 0 };
    this.parts.lesson.hidden = false;
    this.showPlace();
  }

  showPlace() {
    const { title, steps, at } = this.lesson;
    for (const part of [this.parts.back, this.parts.on, this.parts.place]) part.hidden = !steps.length;
    if (!steps.length) return;
    this.parts.note.textContent = steps[at].text;
    this.parts.place.textContent = `${title}, ${at + 1} of ${steps.length}`;
    this.parts.back.disabled = at === 0;
    this.parts.on.disabled = at === steps.length - 1;
  }

  turnTo(at) {
    const lesson = { ...this.lesson, at };
    const { title, ...state } = lesson.steps[at].state;
    this.take(state);
    this.lesson = lesson;
    this.showPlace();
    if (this.parts.on.disabled && at > 0 && document.activeElement === this.parts.on) this.parts.back.focus();
  }
});
