// What the engine found, in words: those of `CriticalPoint` and of `Status` in Python, which the tests compare.

// A number as Python's format ".Ng" writes it: ties to even, two digits of exponent, no zeros at the end.
function general(value, digits) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [mantissa, power] = significant(Math.abs(value), digits);
  const sign = value < 0 ? "-" : "";
  if (power < -4 || power >= digits) {
    const fraction = mantissa.slice(1).replace(/0+$/, "");
    return `${sign}${mantissa[0]}${fraction && `.${fraction}`}e${exponent(power)}`;
  }
  const written = power < 0 ? "0".repeat(-power) + mantissa : mantissa;
  const whole = written.slice(0, Math.max(power, 0) + 1);
  const fraction = written.slice(whole.length).replace(/0+$/, "");
  return `${sign}${whole}${fraction && `.${fraction}`}`;
}

// So many digits of a positive number, rounded half to even, and the power of ten of the first.
function significant(value, digits) {
  const all = value.toExponential(100); // every digit there is, for numbers that are not tiny
  // Cut by place. Where Firefox 140 looks for one letter in a long text, it leaves AVX registers in use, and on some
  // processors its compiled code takes 30 times as long from then on.
  const [letters, power] = [all[0] + all.slice(2, 102), all.slice(103)];
  const kept = BigInt(letters.slice(0, digits));
  const rest = letters.slice(digits);
  const half = `5${"0".repeat(rest.length - 1)}`;
  const up = rest > half || (rest === half && kept % 2n === 1n);
  const rounded = String(kept + (up ? 1n : 0n));
  return rounded.length > digits ? [rounded.slice(0, digits), Number(power) + 1] : [rounded, Number(power)];
}

function exponent(power) {
  return `${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

// A whole number as ".0f" writes it, and the digits before the point.
function rounded(value) {
  if (!Number.isFinite(value)) return general(value, 1);
  const floor = Math.floor(Math.abs(value));
  const rest = Math.abs(value) - floor;
  const whole = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  return `${value < 0 ? "-" : ""}${whole}`;
}

// How a run ended and what its last point is, in one line.
function sentence(run) {
  const { loss, norms, status, stopped_at: taken, verdict, gap } = run;
  const [first, last] = [loss[0], loss[loss.length - 1]];
  if (status === "non_finite" && !(Number.isFinite(first) && Number.isFinite(norms[0]))) {
    const why = Number.isFinite(first)
      ? "the gradient at the start is not finite, or its square is too large for float64"
      : `the function is ${general(first, 3)} at the start`;
    return `no step taken: ${why}`;
  }
  if (status === "non_finite") return `diverged: not finite after step ${taken}, where the loss was ${general(last, 3)}`;
  if (status === "diverged") return `diverged: the loss rose from ${general(first, 3)} to ${general(last, 3)} in ${taken} steps`;
  const eigenvalues = Array.from(verdict.eigenvalues, (value) => general(value, 3)).join(", ");
  const critical = verdict.kind !== "not_critical";
  const why = critical ? (gap ? ` (${general(gap, 1)} away)` : "") : `, |gradient| ${general(norms[norms.length - 1], 2)}`;
  const stuck = status === "stuck" ? " that did not move the point" : "";
  const plural = verdict.eigenvalues.length > 1 ? "s" : "";
  const kind = verdict.kind.replace("_", " ");
  return `loss ${general(last, 3)} after ${taken} steps${stuck}; ${kind}${why}, Hessian eigenvalue${plural} ${eigenvalues}`;
}

// All that a verdict is based on.
function evidence({ verdict, gap }) {
  const point = Array.from(verdict.point, (value) => general(value, 6)).join(", ");
  const place = gap ? `At (${point}), ${general(gap, 1)} from the last point` : `At the last point, (${point})`;
  return `${place}: ${verdictWords(verdict)}`;
}

function verdictWords(v) {
  if (Number.isNaN(v.smallest)) {
    return "undecided: the loss, its gradient or its Hessian is not finite here, so nothing can be said.";
  }
  const polished = v.moved ? ` Judged ${general(v.moved, 2)} from the point given, after polishing.` : "";
  const count = Array.from(v.eigenvalues).filter(Number.isFinite).length;
  return `${criticality(v)} ${curvature(v)} Dense Hessian, all ${count} eigenvalues.${polished}`;
}

function criticality(v) {
  const size = gradientSize(v);
  if (!v.smooth) {
    const broken = "the loss, its slope or its curvature jumps here (a kink)";
    return `undecided: ${size}, but ${broken}, so the derivatives at the point describe nothing around it.`;
  }
  if (v.kind === "undecided") return `undecided: critical (${size}), but ${whyUndecided(v)}.`;
  if (v.kind === "degenerate") return `degenerate: critical (${size}), but an eigenvalue is zero within rounding.`;
  if (!v.critical && v.flatness <= 1e-3) {
    const flat = `|H grad| is ${general(v.flatness, 1)} of |H| |grad|`;
    return `not critical: ${size}; ${flat}, so the gradient lies in the kernel of the Hessian (gradient-flat).`;
  }
  if (v.polish_helps) {
    return `not critical: ${size}; a Newton step of ${general(v.newton_step, 1)} leads to a critical point, which polish=1 judges.`;
  }
  const local = ["minimum", "maximum"].includes(v.kind) ? " (local)" : "";
  return `${v.kind.replace("_", " ")}${local}: ${size}.`;
}

function gradientSize(v) {
  const gradient = `|grad| ${general(v.gradient_norm, 2)}`;
  const relation = v.critical ? "within the rounding" : `${ratio(v.decrease, v.decrease_tolerance)} x the rounding`;
  const far = v.newton_step > 1e-2 * Math.hypot(...v.point);
  const hidden = v.critical && v.settled && v.smooth && far ? `, which hides a Newton step of ${general(v.newton_step, 2)}` : "";
  return `${gradient}, predicted decrease ${general(v.decrease, 2)}, ${relation} of the loss${hidden}`;
}

function whyUndecided(v) {
  if (!v.settled) {
    const change = `the Hessian changes by ${rounded(100 * v.hessian_change)} %`;
    return `${change} over the Newton step of ${general(v.newton_step, 1)} to the critical point nearby`;
  }
  if (!(v.index || v.positive)) return "no curvature stands out from rounding";
  return `only ${v.index ? "negative" : "positive"} curvature was shown, and no bound excludes the rest`;
}

function curvature(v) {
  const lead = v.critical ? "Curvature" : "Curvature here (although the point is not critical)";
  const bounds = `no eigenvalue below ${general(v.interval[0], 3)} or above ${general(v.interval[1], 3)}`;
  return `${lead}: ${curvatureBelow(v)}; ${curvatureAbove(v)}; ${bounds}.`;
}

function curvatureBelow(v) {
  if (v.index) {
    const margin = `${ratio(-v.curvature_below, v.zero_level)} x rounding`;
    return `${directions(v.index)} of negative curvature, the steepest ${general(v.curvature_below, 3)} (${margin})`;
  }
  const smallest = `the smallest ${general(v.smallest, 3)} (rounding ${general(v.zero_level, 1)})`;
  return v.interval[0] > 0 ? `every eigenvalue is positive, ${smallest}` : `no negative curvature was found, ${smallest}`;
}

function curvatureAbove(v) {
  const residuals = Array.from(v.residuals).filter(Number.isFinite);
  const error = residuals[residuals.length - 1] + v.zero_level;
  const largest = `the largest eigenvalue ${general(v.largest, 3)} +- ${general(error, 1)}`;
  return v.positive ? `${directions(v.positive)} of positive curvature, ${largest}` : `no positive curvature was found, ${largest}`;
}

function directions(count) {
  return `${count} direction${count === 1 ? "" : "s"}`;
}

// How many units, to one digit.
function ratio(value, unit) {
  const units = unit ? value / unit : Infinity;
  if (units < 1000 || !Number.isFinite(units)) return rounded(units);
  const [digit, power] = significant(units, 1);
  return `${digit}e${power}`;
}
