// Contours as SVG paths, by d3-contour.

// Regions above each height, in the units of the drawing, whose y axis points down. What is infinite is above all of
// them; what is no number is left out.
function contoursOf(values, [columns, rows], heights, [width, height]) {
  const finite = Array.from(values, (value) => (value === Infinity ? Number.MAX_VALUE / 4 : value));
  const generator = d3.contours().size([columns, rows]);
  // A cell of d3's has its value in the middle, so the grid's ends lie half a cell inside of its plane.
  const x = (column) => tenth(((column - 0.5) * width) / (columns - 1));
  const y = (row) => tenth(height - ((row - 0.5) * height) / (rows - 1));
  return heights.map((level) => {
    const { coordinates } = generator.contour(finite, level);
    const words = coordinates.flatMap((rings) => rings.map((ring) => ringPath(ring, x, y)));
    const region = words.join("");
    return { level, line: region, region };
  });
}

function ringPath(ring, x, y) {
  const words = ring.slice(0, -1).map(([column, row], i) => `${i ? "L" : "M"}${x(column)} ${y(row)}`);
  return `${words.join("")}Z`;
}
