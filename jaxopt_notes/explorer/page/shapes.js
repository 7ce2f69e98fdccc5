// Shapes as SVG path data.

// Marker shapes for a radius, as SVG path data relative to their centre.
const SHAPES = {
  o: (r) => `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  s: (r) => polygon(r * 1.2, 4, Math.PI / 4),
  D: (r) => polygon(r * 1.3, 4, 0),
  d: (r) => `m${-r * 0.7} 0l${r * 0.7} ${-r * 1.4}l${r * 0.7} ${r * 1.4}l${-r * 0.7} ${r * 1.4}z`,
  P: (r) => cross(r * 1.3, 0),
  x: (r) => cross(r * 1.3, Math.PI / 4),
  p: (r) => polygon(r * 1.2, 5, -Math.PI / 2),
  H: (r) => polygon(r * 1.2, 6, 0),
  "^": (r) => polygon(r * 1.4, 3, -Math.PI / 2),
  v: (r) => polygon(r * 1.4, 3, Math.PI / 2),
  ">": (r) => polygon(r * 1.4, 3, 0),
  "<": (r) => polygon(r * 1.4, 3, Math.PI),
  h: (r) => polygon(r * 1.2, 6, Math.PI / 6),
  8: (r) => polygon(r * 1.2, 8, Math.PI / 8),
};

function polygon(r, corners, turn) {
  const words = [];
  let [lastX, lastY] = [0, 0];
  for (let i = 0; i < corners; i += 1) {
    const angle = turn + (2 * Math.PI * i) / corners;
    const [x, y] = [r * Math.cos(angle), r * Math.sin(angle)];
    words.push(`${i ? "l" : "m"}${(x - lastX).toFixed(2)} ${(y - lastY).toFixed(2)}`);
    [lastX, lastY] = [x, y];
  }
  return `${words.join("")}z`;
}

function cross(r, turn) {
  const [c, s] = [r * Math.cos(turn), r * Math.sin(turn)];
  return `m${-c} ${-s}l${2 * c} ${2 * s}m${s - c} ${-c - s}l${-2 * s} ${2 * c}`;
}

function star(x, y, r) {
  const words = [];
  for (let i = 0; i < 10; i += 1) {
    const [angle, length] = [-Math.PI / 2 + (Math.PI * i) / 5, i % 2 ? r * 0.45 : r];
    words.push(`${i ? "L" : "M"}${(x + length * Math.cos(angle)).toFixed(1)} ${(y + length * Math.sin(angle)).toFixed(1)}`);
  }
  return `${words.join("")}Z`;
}

function arrow(x, y, dx, dy, length, head) {
  const size = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / size, dy / size];
  const [tx, ty] = [x + ux * length, y + uy * length];
  return `M${x} ${y}L${tx} ${ty}${arrowhead(tx, ty, ux, uy, head)}`;
}

function arrowhead(x, y, ux, uy, size) {
  const side = (sign) => `${x - size * (ux - sign * 0.5 * uy)} ${y - size * (uy + sign * 0.5 * ux)}`;
  return `M${side(1)}L${x} ${y}L${side(-1)}`;
}
