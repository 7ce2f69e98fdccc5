// The scale of the heights: a colour and a value for each contour.

extend(class Levels {
  drawLevels() {
    const wide = this.parts.plane.clientWidth || this.width;
    this.parts.levels.setAttribute("viewBox", `0 0 ${wide} 30`);
    this.parts.levels.toggleAttribute("hidden", this.flat || !this.seen.contours.length);
    this.parts.levels.replaceChildren(...this.levelScale(wide));
  }

  // Cells as wide as `wide` has room for, each between two contours; the first is below all of them.
  levelScale(wide) {
    const heights = this.seen.contours.map(({ level }) => level);
    const cell = (wide - 40) / (heights.length + 1);
    const often = Math.ceil(52 / cell); // so that the values do not touch
    const layers = [drawn("text", { x: 4, y: 12 }, "f")];
    for (let i = 0; i <= heights.length; i += 1) {
      layers.push(drawn("rect", { x: tenth(20 + i * cell), y: 1, width: tenth(cell), height: 13, fill: this.ramp(i / heights.length) }));
    }
    heights.forEach((level, i) => {
      if (i % often !== 0) return;
      layers.push(drawn("text", { x: tenth(20 + (i + 1) * cell), y: 27, "text-anchor": "middle" }, Number(level.toPrecision(3)) === 0 ? "0" : shown(Number(level.toPrecision(3)))));
    });
    return layers;
  }
});
