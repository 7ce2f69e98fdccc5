// What is taken away: links, code and pictures.

extend(class Taking {
  async copy(text, done) {
    try {
      await navigator.clipboard.writeText(text);
      this.parts.said.textContent = done;
    } catch {
      this.parts.said.textContent = "The clipboard is closed to this page; copy the text below.";
      this.parts.code.hidden = false;
      this.parts.code.value = text;
    }
  }

  // The address shows the state, so a page that is loaded again shows the same.
  address() {
    const { optimizers, ...rest } = this.state;
    const active = Object.entries(optimizers).filter(([, entry]) => entry.on);
    const numbers = Object.fromEntries(active.map(([name, entry]) => [name, entry.numbers]));
    const demonstration = this.opening.presets[this.parts.preset.value]?.title;
    window.history.replaceState(null, "", `#${encoded({ demonstration, at: this.lesson?.at ?? 0, ...rest, optimizers: numbers })}`);
  }

  share() {
    this.address();
    this.copy(window.location.href, "Link copied. It opens here while this explorer runs, and later with jaxopt-notes explore --link.");
  }

  showCode() {
    const code = pythonCell(this.opening, this.asked());
    this.parts.code.hidden = false;
    this.parts.code.value = code;
    this.copy(code, "Copied: a notebook cell that draws this picture.");
  }

  download(blob, suffix) {
    const address = URL.createObjectURL(blob);
    element("a", { href: address, download: `${this.state.function}.${suffix}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    this.parts.said.textContent = `Saved ${this.state.function}.${suffix}.`;
  }
});
