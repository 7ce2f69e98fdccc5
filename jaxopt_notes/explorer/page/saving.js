// Pictures and films to keep: the drawing with a title above it and a legend below.

const KEPT = ["fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "font-size", "font-family", "font-weight", "paint-order"];
const [TITLE, ROW] = [40, 24]; // heights in the drawing's units
const FRAMES = 100; // of a film, at most
const PAUSE = 50; // milliseconds a frame

extend(class Saving {
  // One standing SVG, with the style of every element written into it.
  standing() {
    const legend = this.legend();
    const high = TITLE + this.height + legend.high;
    const whole = drawn("svg", { xmlns: SVG, viewBox: `0 0 ${this.width} ${high}`, width: this.width, height: high, "font-family": "system-ui, sans-serif" });
    whole.append(drawn("rect", { width: this.width, height: high, fill: this.colours.paper }));
    whole.append(drawn("text", { x: 8, y: 27, fill: this.colours.ink, "font-size": 18, "font-weight": 600 }, this.titled()));
    const clip = drawn("clipPath", { id: `${this.unique}-saved` }, drawn("rect", { width: this.width, height: this.height }));
    const drawing = drawn("g", { transform: `translate(0 ${TITLE})` });
    const inside = drawn("g", { "clip-path": `url(#${this.unique}-saved)` }, ...this.drawing());
    drawing.append(clip, inside, drawn("g", { transform: `translate(0 ${this.height})` }, ...legend.layers));
    whole.append(drawing);
    return { text: new XMLSerializer().serializeToString(whole), high };
  }

  // What is seen: the layers of the picture, or the surface.
  drawing() {
    if (!this.parts.surface.hidden) {
      this.drawSurface(); // the card forgets what it has shown
      return [drawn("image", { href: this.parts.surface.toDataURL("image/png"), width: this.width, height: this.height })];
    }
    return [this.parts.terrain, this.parts.middle, this.parts.overlay].map((part) => {
      const copy = part.cloneNode(true);
      const originals = part.querySelectorAll("path, text, circle, line");
      copy.querySelectorAll("path, text, circle, line").forEach((node, i) => {
        const style = getComputedStyle(originals[i]);
        for (const property of KEPT) node.setAttribute(property, style.getPropertyValue(property));
        node.removeAttribute("class");
      });
      copy.querySelectorAll(".focus, .grip").forEach((node) => node.remove());
      return drawn("g", {}, ...copy.childNodes);
    });
  }

  titled() {
    const demonstration = this.opening.presets[this.parts.preset.value]?.title;
    const { title, formula } = this.described;
    return `${demonstration ? `${demonstration}: ` : ""}${title}${formula ? `, f = ${formula}` : ""}`;
  }

  // The scale of the heights, a row for each method with its numbers and where it is, and what all of them share.
  legend() {
    const { ink, soft } = this.colours;
    const layers = [];
    let y = 8;
    const scaled = !this.flat && this.seen.contours.length > 0;
    if (scaled) {
      const scale = drawn("g", { transform: `translate(0 ${y})`, fill: soft, "font-size": 11 }, ...this.levelScale(this.width));
      scale.querySelectorAll("rect").forEach((cell) => cell.setAttribute("stroke", this.colours.contour));
      layers.push(scale);
      y += 36;
    }
    for (const [name, run] of Object.entries(this.runs)) {
      const swatch = drawn("g", { transform: `translate(8 ${y + 2})` }, ...this.swatch(name).childNodes);
      const k = Math.min(this.lastStep, run.stopped_at);
      const numbers = Object.entries(this.state.optimizers[name].numbers).map(([key, value]) => `${key.replace("_", " ")} ${shown(value)}`);
      const words = `${this.opening.optimizers[name].title}: ${numbers.join(", ")}; loss ${shown(run.loss[k])} after ${k} steps`;
      layers.push(swatch, drawn("text", { x: 50, y: y + 14, fill: ink, "font-size": 14 }, words));
      y += ROW;
    }
    const { start, noise, decay, seed } = this.state;
    const shared = [`start (${start.map(shown).join(", ")})`, noise ? `gradient noise ${shown(noise)}, seed ${seed}` : null, decay ? `learning-rate decay ${shown(decay)}` : null];
    layers.push(drawn("text", { x: 8, y: y + 14, fill: soft, "font-size": 13 }, shared.filter(Boolean).join("; ")));
    return { layers, high: y + ROW };
  }

  saveSvg() {
    this.download(new Blob([this.standing().text], { type: "image/svg+xml" }), "svg");
  }

  // Draw what stands onto a canvas, in one piece.
  async paintOn(canvas, scale) {
    const { text, high } = this.standing();
    const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    const image = new Image();
    image.src = address;
    await image.decode();
    if (canvas.width !== scale * this.width) [canvas.width, canvas.height] = [scale * this.width, scale * high];
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(address);
  }

  async savePng() {
    const canvas = element("canvas");
    await this.paintOn(canvas, 2);
    canvas.toBlob((blob) => this.download(blob, "png"), "image/png");
  }

  // A film of the steps, as the browser records what is painted on a canvas.
  async saveWebm() {
    if (typeof MediaRecorder === "undefined" || !MediaRecorder.isTypeSupported("video/webm")) {
      this.parts.said.textContent = "This browser cannot record WebM.";
      return;
    }
    this.parts.film.disabled = true;
    this.stop();
    const [canvas, before] = [element("canvas"), this.step];
    const stride = Math.ceil(this.state.steps / FRAMES);
    const wait = (pause) => new Promise((done) => setTimeout(done, pause));
    this.step = 0;
    this.drawPaths();
    this.finish();
    await this.paintOn(canvas, 1);
    const stream = canvas.captureStream(0); // a frame when it is asked for
    const recorder = new MediaRecorder(stream, { mimeType: "video/webm", videoBitsPerSecond: 4e6 });
    const pieces = [];
    recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    const stopped = new Promise((done) => recorder.addEventListener("stop", done));
    recorder.start();
    for (let step = 0; step < this.state.steps; ) {
      step = Math.min(step + stride, this.state.steps);
      this.step = step;
      this.drawPaths();
      this.finish();
      this.parts.said.textContent = `Recording step ${step} of ${this.state.steps}…`;
      await Promise.all([this.paintOn(canvas, 1), wait(PAUSE)]);
      stream.getVideoTracks()[0].requestFrame();
    }
    await wait(800); // the last picture stands for a while
    stream.getVideoTracks()[0].requestFrame();
    await wait(PAUSE);
    recorder.stop();
    await stopped;
    this.step = before;
    this.drawPaths();
    this.parts.film.disabled = false;
    this.download(new Blob(pieces, { type: "video/webm" }), "webm");
  }
});
