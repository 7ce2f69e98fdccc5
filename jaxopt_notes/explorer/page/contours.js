// Contours as SVG paths, by d3-contour.

// Regions above each height, in the units of the drawing, whose y axis points down. What is infinite is above all of
// them; what is no number is left out.
function contoursOf(values, grid, heights, drawing) {
  const known = Array.from(values, (value) => (value === Infinity ? Number.MAX_VALUE / 4 : value));
  return heights.map((level) => {
    const region = regionOf(known, grid, level, drawing);
    return { level, line: region, region };
  });
}

function regionOf(values, [columns, rows], level, [width, height]) {
  // A cell of d3's has its value in the middle, so the grid's ends lie half a cell inside of its plane.
  const x = (column) => tenth(((column - 0.5) * width) / (columns - 1));
  const y = (row) => tenth(height - ((row - 0.5) * height) / (rows - 1));
  const { coordinates } = d3.contours().size([columns, rows]).contour(values, level);
  return coordinates.flatMap((rings) => rings.map((ring) => ringPath(ring, x, y))).join("");
}

function ringPath(ring, x, y) {
  const words = ring.slice(0, -1).map(([column, row], i) => `${i ? "L" : "M"}${x(column)} ${y(row)}`);
  return `${words.join("")}Z`;
}

// Where values along a line are positive, as bands as high as the drawing.
function bands(values, [width, height]) {
  const step = width / (values.length - 1);
  const edge = (i) => tenth(Math.min(Math.max((i - 0.5) * step, 0), width));
  const words = [];
  let first = null;
  for (let i = 0; i <= values.length; i += 1) {
    const inside = values[i] > 0;
    if (inside && first === null) first = i;
    if (!inside && first !== null) {
      words.push(`M${edge(first)} 0H${edge(i)}V${height}H${edge(first)}Z`);
      first = null;
    }
  }
  return words.join("");
}
