// The surface's programs for the graphics card, in GLSL.

const CAMERA = `
uniform vec4 turning; // sine and cosine of the turn, sine and cosine of the tilt
uniform float aspect;
vec4 seen(vec3 p) {
  vec3 turned = vec3(turning.y * p.x - turning.x * p.y, turning.x * p.x + turning.y * p.y, p.z);
  float up = turned.y * turning.z + turned.z * turning.w;
  float away = 3.4 + turned.y * turning.w - turned.z * turning.z;
  float near = 1.4, far = 5.4;
  return vec4(3.3 * turned.x / aspect, 3.3 * up, ((far + near) * away - 2.0 * far * near) / (far - near), away);
}`;

const GROUND = [
  `#version 300 es
  in vec3 place; in vec3 normal; in float level; out vec3 upright; out float at;${CAMERA}
  void main() { gl_Position = seen(place); upright = normal; at = level; }`,
  `#version 300 es
  precision highp float;
  in vec3 upright; in float at; out vec4 colour;
  uniform vec3 low, middle, high, line; uniform float levels;
  void main() {
    float share = floor(at) / levels;
    vec3 band = share < 0.5 ? mix(low, middle, 2.0 * share) : mix(middle, high, 2.0 * share - 1.0);
    float light = 0.62 + 0.38 * abs(dot(normalize(upright), normalize(vec3(-0.5, -0.4, 0.9))));
    float from = abs(fract(at + 0.5) - 0.5) / max(fwidth(at), 1e-5);
    float there = at > 0.5 ? 1.0 - smoothstep(0.5, 1.4, from) : 0.0;
    colour = vec4(mix(band * light, line, 0.65 * there), 1.0);
  }`,
];

// A line as wide as `wide` pixels: each piece is two triangles, spread across its direction on the screen.
const STROKE = [
  `#version 300 es
  in vec3 from; in vec3 to; in vec2 corner; uniform vec2 pixels; uniform float wide;${CAMERA}
  void main() {
    vec4 a = seen(from), b = seen(to);
    vec2 along = (b.xy / b.w - a.xy / a.w) * pixels;
    vec2 across = length(along) > 1e-6 ? normalize(vec2(-along.y, along.x)) : vec2(0.0, 1.0);
    vec4 at = mix(a, b, corner.x);
    gl_Position = at + vec4(corner.y * across * wide / pixels * at.w, -0.004 * at.w, 0.0);
  }`,
  `#version 300 es
  precision highp float;
  uniform vec3 paint; out vec4 colour;
  void main() { colour = vec4(paint, 1.0); }`,
];

const DOT = [
  `#version 300 es
  in vec3 place; uniform float wide;${CAMERA}
  void main() { gl_Position = seen(place); gl_Position.z -= 0.008 * gl_Position.w; gl_PointSize = wide; }`,
  `#version 300 es
  precision highp float;
  uniform vec3 paint; uniform float hollow; out vec4 colour;
  void main() {
    float r = 2.0 * length(gl_PointCoord - 0.5);
    if (r > 1.0 || r < hollow) discard;
    colour = vec4(paint, 1.0);
  }`,
];
