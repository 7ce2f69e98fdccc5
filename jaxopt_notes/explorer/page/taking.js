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

  showCode(code) {
    this.parts.code.hidden = false;
    this.parts.code.value = code;
    this.copy(code, "Copied: a notebook cell that draws this picture.");
  }

  // One standing SVG of terrain and paths, with the style of every element written into it.
  standing() {
    const whole = drawn("svg", { xmlns: SVG, viewBox: `0 0 ${this.width} ${this.height}`, width: this.width, height: this.height });
    const background = getComputedStyle(this.parts.plane).backgroundColor;
    whole.append(drawn("rect", { width: this.width, height: this.height, fill: background }));
    const kept = ["fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "font-size", "font-family", "paint-order"];
    for (const part of [this.parts.terrain, this.parts.middle, this.parts.overlay]) {
      const copy = part.cloneNode(true);
      const originals = part.querySelectorAll("path, text, circle, line");
      copy.querySelectorAll("path, text, circle, line").forEach((node, i) => {
        const style = getComputedStyle(originals[i]);
        for (const property of kept) node.setAttribute(property, style.getPropertyValue(property));
        node.removeAttribute("class");
      });
      copy.querySelectorAll(".focus, .grip").forEach((node) => node.remove());
      whole.append(drawn("g", {}, ...copy.childNodes));
    }
    return new XMLSerializer().serializeToString(whole);
  }

  saveSvg() {
    this.download(new Blob([this.standing()], { type: "image/svg+xml" }), "svg");
  }

  async savePng() {
    const image = new Image();
    const address = URL.createObjectURL(new Blob([this.standing()], { type: "image/svg+xml" }));
    image.src = address;
    await image.decode();
    const canvas = element("canvas", { width: 2 * this.width, height: 2 * this.height });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(address);
    canvas.toBlob((blob) => this.download(blob, "png"), "image/png");
  }

  download(blob, suffix) {
    const address = URL.createObjectURL(blob);
    element("a", { href: address, download: `${this.state.function}.${suffix}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    this.parts.said.textContent = `Saved ${this.state.function}.${suffix}.`;
  }
});
