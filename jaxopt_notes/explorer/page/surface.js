// The function as a surface to turn, with the paths on it; WebGL without a library.

const RISE = 0.6; // of the surface, where its width is 2
const LIFT = 0.006; // of paths above the ground

extend(class Surface {
  buildSurface() {
    this.turn = 0.35;
    this.tilt = 0.95;
    const canvas = element("canvas", { class: "surface", tabindex: 0, role: "img", hidden: true, "aria-label": "Surface with the paths on it; drag it or use the arrow keys to turn it" });
    this.parts.surface = canvas;
    this.parts.surfaceWords = element("p", { class: "surface-words", hidden: true });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.turnedFrom = [event.clientX, event.clientY];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      const [x, y] = this.turnedFrom;
      this.turnedFrom = [event.clientX, event.clientY];
      this.turnBy((event.clientX - x) / 150, (event.clientY - y) / 150);
    });
    canvas.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
      if (!(event.key in turns)) return;
      event.preventDefault();
      this.turnBy(...turns[event.key]);
    });
    return [canvas, this.parts.surfaceWords];
  }

  turnBy(across, up) {
    this.turn += across;
    this.tilt = Math.min(Math.max(this.tilt + up, 0.05), Math.PI / 2);
    this.drawSurface();
  }

  flipSurface() {
    this.state.show.surface = !this.state.show.surface;
    this.toggleSurface();
    if (this.onPage) this.address();
  }

  // Show the surface or the picture, as the state says.
  toggleSurface() {
    const wanted = this.state.show.surface && !this.flat;
    if (wanted && this.gl === undefined) this.gl = this.openSurface();
    const on = wanted && this.gl !== null;
    this.parts.surface.hidden = !on;
    this.parts.surfaceWords.hidden = !wanted;
    this.parts.asSurface.hidden = this.flat;
    this.parts.asSurface.setAttribute("aria-pressed", String(Boolean(wanted)));
    if (wanted && !on) this.parts.surfaceWords.textContent = "This browser has no WebGL 2, so the surface cannot be drawn. The contours show the same heights.";
    if (on && this.seen) {
      const height = this.seen.spacing === "log" ? "logarithm of f above its lowest value here" : "f";
      this.parts.surfaceWords.textContent = `Height: ${height}. Drag to turn.`;
    }
    this.drawSurface();
  }

  // The context and its programs, or null where there is none.
  openSurface() {
    const gl = this.parts.surface.getContext("webgl2", { antialias: true });
    if (!gl) return null;
    const compiled = ([vertex, fragment]) => {
      const program = gl.createProgram();
      for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, text);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
      return program;
    };
    this.programs = { ground: compiled(GROUND), stroke: compiled(STROKE), dot: compiled(DOT) };
    this.buffers = Object.fromEntries(["ground", "index", "stroke", "dot"].map((name) => [name, gl.createBuffer()]));
    return gl;
  }

  // From 0 at the lowest value in the window to 1 at the highest.
  rise(value) {
    const [low, high] = this.seen.span;
    const share = Math.min(Math.max((value - low) / (high - low || 1), 0), 1);
    return this.seen.spacing === "log" ? Math.log10(1 + share * 31621) / 4.5 : share;
  }

  // How many contours lie below a value, with the way to the next one as a fraction.
  levelOf(value) {
    const { contours, span } = this.seen;
    const after = contours.findIndex(({ level }) => level > value);
    const i = after < 0 ? contours.length : after;
    const low = i > 0 ? contours[i - 1].level : span[0];
    const high = i < contours.length ? contours[i].level : span[1];
    return i + Math.min(Math.max((value - low) / (high - low || 1), 0), 0.999);
  }

  // The ground: place, normal and level of every node, and the triangles whose corners are all finite.
  mesh() {
    const { columns, rows, values } = this.seen.grid;
    const vertices = new Float32Array(columns * rows * 7);
    const heights = Float32Array.from(values, (value) => RISE * (this.rise(value) - 0.5));
    const at = (i, j) => heights[Math.min(Math.max(j, 0), rows - 1) * columns + Math.min(Math.max(i, 0), columns - 1)];
    const [dx, dy] = [2 / (columns - 1), 1.5 / (rows - 1)];
    for (let j = 0; j < rows; j += 1) {
      for (let i = 0; i < columns; i += 1) {
        const k = j * columns + i;
        const normal = [(at(i - 1, j) - at(i + 1, j)) / (2 * dx), (at(i, j - 1) - at(i, j + 1)) / (2 * dy), 1];
        vertices.set([i * dx - 1, j * dy - 0.75, heights[k], ...normal, this.levelOf(values[k])], 7 * k);
      }
    }
    const triangles = [];
    for (let j = 0; j + 1 < rows; j += 1) {
      for (let i = 0; i + 1 < columns; i += 1) {
        const corners = [j * columns + i, j * columns + i + 1, (j + 1) * columns + i, (j + 1) * columns + i + 1];
        if (corners.every((k) => Number.isFinite(values[k]))) triangles.push(corners[0], corners[1], corners[2], corners[2], corners[1], corners[3]);
      }
    }
    return { vertices, triangles: new Uint32Array(triangles), heights };
  }

  drawSurface() {
    if (this.parts.surface.hidden || !this.seen?.contours.length) return;
    const [gl, canvas] = [this.gl, this.parts.surface];
    const sharp = Math.min(window.devicePixelRatio || 1, 2);
    const [wide, high] = [Math.round(canvas.clientWidth * sharp), Math.round(canvas.clientHeight * sharp)];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    gl.viewport(0, 0, wide, high);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(...this.light("paper"), 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (this.meshOf !== this.seen) {
      this.ground = this.mesh();
      this.meshOf = this.seen;
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.ground);
      gl.bufferData(gl.ARRAY_BUFFER, this.ground.vertices, gl.STATIC_DRAW);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.index);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.ground.triangles, gl.STATIC_DRAW);
    }
    this.drawGround(gl);
    for (const [name, run] of Object.entries(this.runs)) this.drawOnGround(gl, name, run, sharp);
    const minima = (this.known?.length ? this.known : this.described.minima).map(({ point, kind }) => ({ point, kind: kind ?? "minimum" }));
    for (const { point, kind } of minima) this.drawDots(gl, [this.onGround(...point)], kind === "minimum" ? "minimum" : "ink", 11 * sharp, kind === "minimum" ? 0 : 0.5);
    this.drawDots(gl, [this.onGround(...this.state.start)], ORANGE, 24 * sharp, 0.6);
  }

  // A colour of the style sheet, or one in hexadecimal, as the card takes it.
  light(name) {
    return channels(name.startsWith("#") ? name : this.colours[name]).map((part) => part / 255);
  }

  // Use a program with the camera and some more uniforms; `fields` are the attributes in one buffer and their sizes.
  use(gl, name, fields, uniforms) {
    const program = this.programs[name];
    gl.useProgram(program);
    const place = (key) => gl.getUniformLocation(program, key);
    gl.uniform4f(place("turning"), Math.sin(this.turn), Math.cos(this.turn), Math.sin(this.tilt), Math.cos(this.tilt));
    gl.uniform1f(place("aspect"), this.width / this.height);
    for (const [key, value] of Object.entries(uniforms)) {
      if (typeof value === "number") gl.uniform1f(place(key), value);
      else gl[`uniform${value.length}fv`](place(key), value);
    }
    const stride = 4 * Object.values(fields).reduce((sum, size) => sum + size, 0);
    let offset = 0;
    for (const [key, size] of Object.entries(fields)) {
      const field = gl.getAttribLocation(program, key);
      gl.enableVertexAttribArray(field);
      gl.vertexAttribPointer(field, size, gl.FLOAT, false, stride, offset);
      offset += 4 * size;
    }
  }

  drawGround(gl) {
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.ground);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.index);
    const colours = { low: this.light("low"), middle: this.light("middle"), high: this.light("high"), line: this.light("contour") };
    this.use(gl, "ground", { place: 3, normal: 3, level: 1 }, { ...colours, levels: this.seen.contours.length });
    gl.drawElements(gl.TRIANGLES, this.ground.triangles.length, gl.UNSIGNED_INT, 0);
  }

  // A point of the window on the ground, or null outside of it.
  onGround(x, y) {
    const { columns, rows } = this.seen.grid;
    const [[x0, y0], [x1, y1]] = this.seen.window;
    const [across, up] = [((x - x0) / (x1 - x0)) * (columns - 1), ((y - y0) / (y1 - y0)) * (rows - 1)];
    if (!(across >= 0 && up >= 0 && across <= columns - 1 && up <= rows - 1)) return null;
    const [i, j] = [Math.min(Math.floor(across), columns - 2), Math.min(Math.floor(up), rows - 2)];
    const [s, t] = [across - i, up - j];
    const h = (di, dj) => this.ground.heights[(j + dj) * columns + i + di];
    const height = (1 - t) * ((1 - s) * h(0, 0) + s * h(1, 0)) + t * ((1 - s) * h(0, 1) + s * h(1, 1));
    return [(2 * across) / (columns - 1) - 1, (1.5 * up) / (rows - 1) - 0.75, height + LIFT];
  }

  drawOnGround(gl, name, run, sharp) {
    const colour = this.paint(name);
    const [[x0, y0], [x1, y1]] = this.seen.window;
    const until = Math.min(this.lastStep, run.stopped_at);
    const [pieces, steps] = [[], []];
    const near = (x1 - x0) / 60; // between points of the line, so that it follows the ground
    for (let k = 0; k <= until; k += 1) {
      const [x, y] = run.path.subarray(2 * k, 2 * k + 2);
      const place = this.onGround(x, y);
      if (place) steps.push(place);
      const next = k < until ? clipped(x, y, ...run.path.subarray(2 * k + 2, 2 * k + 4), [x0, y0, x1, y1]) : null;
      if (!next?.every(Number.isFinite)) continue;
      const [ax, ay, bx, by] = next;
      const count = Math.ceil(Math.hypot(bx - ax, by - ay) / near) || 1;
      const along = (i) => this.onGround(ax + ((bx - ax) * i) / count, ay + ((by - ay) * i) / count);
      for (let i = 0; i < count; i += 1) {
        const [from, to] = [along(i), along(i + 1)];
        if (from && to) for (const corner of [[0, -1], [1, -1], [0, 1], [0, 1], [1, -1], [1, 1]]) pieces.push(...from, ...to, ...corner);
      }
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.stroke);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(pieces), gl.DYNAMIC_DRAW);
    const pixels = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    this.use(gl, "stroke", { from: 3, to: 3, corner: 2 }, { paint: this.light(colour), pixels, wide: 2.6 * sharp });
    gl.drawArrays(gl.TRIANGLES, 0, pieces.length / 8);
    this.drawDots(gl, steps, colour, 6 * sharp, 0);
    if (steps.length) this.drawDots(gl, steps.slice(-1), colour, 12 * sharp, 0);
  }

  drawDots(gl, places, colour, wide, hollow) {
    const found = places.filter(Boolean).flat();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.dot);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(found), gl.DYNAMIC_DRAW);
    this.use(gl, "dot", { place: 3 }, { paint: this.light(colour), wide, hollow });
    gl.drawArrays(gl.POINTS, 0, found.length / 3);
  }
});
