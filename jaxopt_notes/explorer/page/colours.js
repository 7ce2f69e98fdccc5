// Colours: of the heights, from the style sheet, and of the paths, lifted where the page is dark.

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const hexOf = (parts) => `#${parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
const mixed = (one, other, share) => hexOf(channels(one).map((part, i) => part + share * (channels(other)[i] - part)));

extend(class Colours {
  // Read the style sheet's colours for the scheme that is on.
  readColours() {
    const style = getComputedStyle(this.el.firstElementChild);
    const names = ["low", "middle", "high", "paper", "ink", "soft", "line", "contour", "minimum"];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.dark = channels(this.colours.paper)[0] < 128;
    for (const swatch of this.el.querySelectorAll(".swatch")) {
      const paint = this.paint(swatch.dataset.name);
      const [line, shape] = swatch.children;
      line.setAttribute("stroke", paint);
      shape.setAttribute("stroke", paint);
      shape.setAttribute("fill", paint);
    }
  }

  // Of a height, from 0 for the lowest to 1.
  ramp(share) {
    const { low, middle, high } = this.colours;
    return share < 0.5 ? mixed(low, middle, 2 * share) : mixed(middle, high, 2 * share - 1);
  }

  // Of the path of a method.
  paint(name) {
    const { color } = this.opening.optimizers[name].look;
    if (color === "#000000") return this.colours.ink;
    return this.dark ? mixed(color, "#ffffff", 0.25) : color;
  }
});
