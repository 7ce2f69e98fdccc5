// What no operator of JavaScript does, for compiled functions: random words, bits, special functions, small matrices.
const R = (() => {
  // ------------------------------------------------------------------------------------------------------ random words

  // Threefry of two words with twenty rounds: Salmon et al., 2011. The last answer is kept: both its words are asked for.
  let [key0, key1, count0, count1, word0, word1] = [0, 0, 0, 0, 0, 0];
  let drawn = false;

  function draw(k0, k1, x0, x1) {
    if (drawn && k0 === key0 && k1 === key1 && x0 === count0 && x1 === count1) return;
    drawn = true;
    key0 = k0;
    key1 = k1;
    count0 = x0;
    count1 = x1;
    const k2 = k0 ^ k1 ^ 0x1bd11bda;
    let a = (x0 + k0) | 0;
    let b = (x1 + k1) | 0;
    const mix = (n) => {
      a = (a + b) | 0;
      b = ((b << n) | (b >>> (32 - n))) ^ a;
    };
    const even = (added0, added1) => {
      mix(13);
      mix(15);
      mix(26);
      mix(6);
      a = (a + added0) | 0;
      b = (b + added1) | 0;
    };
    const odd = (added0, added1) => {
      mix(17);
      mix(29);
      mix(16);
      mix(24);
      a = (a + added0) | 0;
      b = (b + added1) | 0;
    };
    even(k1, k2 + 1);
    odd(k2, k0 + 2);
    even(k0, k1 + 3);
    odd(k1, k2 + 4);
    even(k2, k0 + 5);
    word0 = a >>> 0;
    word1 = b >>> 0;
  }

  function first(k0, k1, x0, x1) {
    draw(k0, k1, x0, x1);
    return word0;
  }

  function second(k0, k1, x0, x1) {
    draw(k0, k1, x0, x1);
    return word1;
  }

  // ----------------------------------------------------------------------------------------------- bits, whole numbers

  const words = new Uint32Array(2);
  const double = new Float64Array(words.buffer);
  const single = new Float32Array(words.buffer);

  function fromBits64(high, low) {
    words[0] = low;
    words[1] = high;
    return double[0];
  }

  function high64(x) {
    double[0] = x;
    return words[1];
  }

  function low64(x) {
    double[0] = x;
    return words[0];
  }

  function fromBits32(word) {
    words[0] = word;
    return single[0];
  }

  function bits32(x) {
    single[0] = x;
    return words[0];
  }

  function ones(x) {
    let count = 0;
    for (let left = x >>> 0; left; left &= left - 1) count += 1;
    return count;
  }

  // A quotient by zero is -1 and its remainder the dividend, as in XLA. Adding 0 makes 0 of -0.
  const quotient = (a, b) => (b === 0 ? -1 : Math.trunc(a / b) + 0);
  const remainder = (a, b) => (b === 0 ? a : (a % b) + 0);
  const whole = (x, least, most) => (x !== x ? 0 : Math.min(Math.max(Math.trunc(x), least), most) + 0);
  const below = (x) => x < 0 || Object.is(x, -0);

  // In the total order -0 comes before 0, and NaN comes last.
  const before = (a, b) => a < b || (b !== b && a === a) || (a === b && Object.is(a, -0) && Object.is(b, 0));

  // Adding 2^52 leaves no room for a fraction.
  function roundEven(x) {
    const size = Math.abs(x);
    if (!(size < 2 ** 52)) return x;
    const rounded = size + 2 ** 52 - 2 ** 52;
    return below(x) ? -rounded : rounded;
  }

  function roundAway(x) {
    const size = Math.abs(x);
    const floor = Math.floor(size);
    const rounded = size - floor >= 0.5 ? floor + 1 : floor;
    return below(x) ? -rounded : rounded;
  }

  // Rounded to fewer bits of exponent and fraction; what is too large is infinite, what is too small 0.
  function precision(x, exponentBits, fractionBits) {
    if (x === 0 || !Number.isFinite(x)) return x;
    const most = 2 ** (exponentBits - 1) - 1;
    const exponent = ((high64(x) >>> 20) & 2047) - 1023;
    const unit = 2 ** (exponent - fractionBits);
    const rounded = roundEven(x / unit) * unit;
    if (Math.abs(rounded) >= 2 ** most * 2) return x > 0 ? Infinity : -Infinity;
    return Math.abs(rounded) < 2 ** (1 - most) ? 0 * x : rounded;
  }

  function nextAfter(x, y) {
    if (x !== x || y !== y) return NaN;
    if (x === y) return y;
    if (x === 0) return y > 0 ? 5e-324 : -5e-324;
    double[0] = x;
    if (x > 0 === y > x) {
      words[0] += 1;
      if (words[0] === 0) words[1] += 1;
    } else {
      if (words[0] === 0) words[1] -= 1;
      words[0] -= 1;
    }
    return double[0];
  }

  // ------------------------------------------------------------------------------------------------- special functions

  // JavaScript's power is NaN where IEEE 754 has 1: of 1 to anything, and of -1 to infinity.
  function pow(x, y) {
    return x === 1 || (x === -1 && (y === Infinity || y === -Infinity)) ? 1 : Math.pow(x, y);
  }

  // exp(-x^2), with x^2 in two parts: rounding x^2 would cost x^2 units in the last place.
  function bell(x) {
    const near = Math.fround(x);
    return Math.exp(-near * near) * Math.exp(-(x - near) * (x + near));
  }

  // The power series where it converges fast, the continued fraction of erfc elsewhere (DLMF 7.6.1 and 7.9.3).
  function erfSmall(x) {
    let [term, sum] = [x, x];
    for (let n = 1; n < 40; n += 1) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return sum * (2 / Math.sqrt(Math.PI));
  }

  function erfcLarge(x) {
    if (x > 27) return 0;
    let value = x;
    for (let n = Math.ceil(30 + 160 / (x * x)); n > 0; n -= 1) value = x + n / 2 / value;
    return bell(x) / value / Math.sqrt(Math.PI);
  }

  function erf(x) {
    if (x !== x) return x;
    const size = Math.abs(x);
    return size < 1 ? erfSmall(x) : Math.sign(x) * (1 - erfcLarge(size));
  }

  function erfc(x) {
    if (x !== x) return x;
    if (x < -1) return 2 - erfcLarge(-x);
    return x < 0.75 ? 1 - erfSmall(x) : erfcLarge(x);
  }

  // Giles, 2012, "Approximating the erfinv function": his polynomials in double precision.
  const central = [
    -3.64441206401782e-21, -1.6850591381820166e-19, 1.28584807152564e-18, 1.1157877678025181e-17,
    -1.333171662854621e-16, 2.0972767875968562e-17, 6.637638134358324e-15, -4.054566272975207e-14,
    -8.151934197605472e-14, 2.6335093153082323e-12, -1.2975133253453532e-11, -5.415412054294628e-11,
    1.0512122733215323e-09, -4.112633980346984e-09, -2.9070369957882005e-08, 4.2347877827932404e-07,
    -1.3654692000834679e-06, -1.3882523362786469e-05, 0.00018673420803405714, -0.000740702534166267,
    -0.006033670871430149, 0.24015818242558962, 1.6536545626831027,
  ];
  const middle = [
    2.2137376921775787e-09, 9.075656193888539e-08, -2.7517406297064545e-07, 1.8239629214389228e-08,
    1.5027403968909828e-06, -4.013867526981546e-06, 2.9234449089955446e-06, 1.2475304481671779e-05,
    -4.7318229009055734e-05, 6.828485145957318e-05, 2.4031110387097894e-05, -0.0003550375203628475,
    0.0009532893797373805, -0.0016882755560235047, 0.002491442096107851, -0.003751208507569241, 0.005370914553590064,
    1.0052589676941592, 3.0838856104922208,
  ];
  const tail = [
    -2.7109920616438573e-11, -2.555641816996525e-10, 1.5076572693500548e-09, -3.789465440126737e-09,
    7.61570120807834e-09, -1.496002662714924e-08, 2.914795345090108e-08, -6.771199775845234e-08,
    2.2900482228026655e-07, -9.9298272942317e-07, 4.526062597223154e-06, -1.968177810553167e-05,
    7.599527703001776e-05, -0.00021503011930044477, -0.00013871931833623122, 1.0103004648645344, 4.849906401408584,
  ];

  function horner(coefficients, x) {
    let sum = 0;
    for (const coefficient of coefficients) sum = coefficient + sum * x;
    return sum;
  }

  function erfInv(x) {
    if (Math.abs(x) === 1) return x * Infinity;
    const w = -Math.log1p(-x * x);
    if (w < 6.25) return x * horner(central, w - 3.125);
    return x * (w < 16 ? horner(middle, Math.sqrt(w) - 3.25) : horner(tail, Math.sqrt(w) - 5));
  }

  // Lanczos, 1964, with g = 7 and nine terms.
  const lanczos = [
    0.9999999999998099, 676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406, 12.507343278686905,
    -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
  ];

  function lgamma(x) {
    if (x !== x || Math.abs(x) === Infinity) return Math.abs(x);
    if (x <= 0 && Number.isInteger(x)) return Infinity;
    if (x < 0.5) return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * x))) - lgamma(1 - x);
    let sum = lanczos[0];
    for (let i = 1; i < 9; i += 1) sum += lanczos[i] / (x - 1 + i);
    const t = x + 6.5;
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  // The recurrence up to 10, and the asymptotic series from there (DLMF 5.5.2 and 5.11.2).
  function digamma(x) {
    if (x <= 0 && Number.isInteger(x)) return NaN;
    if (x < 0) return digamma(1 - x) - Math.PI / Math.tan(Math.PI * x);
    let [shift, y] = [0, x];
    for (; y < 10; y += 1) shift -= 1 / y;
    const s = 1 / (y * y);
    const series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132 - (s * 691) / 32760)))));
    return shift + Math.log(y) - 0.5 / y - series;
  }

  // ----------------------------------------------------------------------------------------------------------- sorting

  // NaN comes last; equal ones keep their order.
  function compared(a, b) {
    if (a === b || (a !== a && b !== b)) return 0;
    return a !== a ? 1 : b !== b ? -1 : a < b ? -1 : 1;
  }

  function sort(rows, count, keys, sources, targets) {
    for (let from = 0; from < rows * count; from += count) {
      const places = Array.from({ length: count }, (_, i) => from + i);
      places.sort((p, q) => {
        for (const key of sources.slice(0, keys)) {
          const sign = compared(key[p], key[q]);
          if (sign) return sign;
        }
        return p - q;
      });
      targets.forEach((target, k) => places.forEach((place, i) => (target[from + i] = sources[k][place])));
    }
  }

  // The largest first, in the total order: NaN before it, and 0 before -0.
  function topK(rows, count, k, source, values, places) {
    for (let row = 0; row < rows; row += 1) {
      const found = Array.from({ length: count }, (_, i) => i);
      const at = (i) => source[row * count + i];
      found.sort((p, q) => before(at(p), at(q)) - before(at(q), at(p)) || p - q);
      for (let i = 0; i < k; i += 1) {
        values[row * k + i] = at(found[i]);
        places[row * k + i] = found[i];
      }
    }
  }

  // ---------------------------------------------------------------------------------------------------- small matrices

  // Eigenvalues of symmetric matrices, ascending, by Jacobi's rotations.
  function eigh(matrices, n, lower, source, vectors, values) {
    const a = new Float64Array(n * n);
    const v = new Float64Array(n * n);
    for (let m = 0; m < matrices; m += 1) {
      for (let i = 0; i < n; i += 1) {
        for (let j = 0; j < n; j += 1) {
          const [p, q] = lower === i > j ? [i, j] : [j, i];
          a[i * n + j] = source[m * n * n + p * n + q];
          v[i * n + j] = i === j ? 1 : 0;
        }
      }
      for (let sweep = 0; sweep < 40 && rotated(a, v, n); sweep += 1);
      const sorted = Array.from({ length: n }, (_, i) => i).sort((p, q) => compared(a[p * n + p], a[q * n + q]));
      sorted.forEach((place, column) => {
        values[m * n + column] = a[place * n + place];
        for (let i = 0; i < n; i += 1) vectors[m * n * n + i * n + column] = v[i * n + place];
      });
    }
  }

  // One sweep over all pairs; whether it changed anything.
  function rotated(a, v, n) {
    let any = false;
    for (let p = 0; p < n; p += 1) {
      for (let q = p + 1; q < n; q += 1) {
        const off = a[p * n + q];
        if (off === 0 || off !== off) continue;
        const [first, last] = [a[p * n + p], a[q * n + q]];
        const half = (last - first) / (2 * off);
        const t = (half >= 0 ? 1 : -1) / (Math.abs(half) + Math.hypot(1, half));
        const c = 1 / Math.hypot(1, t);
        const s = t * c;
        a[p * n + p] = first - t * off;
        a[q * n + q] = last + t * off;
        a[p * n + q] = 0;
        a[q * n + p] = 0;
        any = true;
        for (let k = 0; k < n; k += 1) {
          if (k !== p && k !== q) {
            const [x, y] = [a[k * n + p], a[k * n + q]];
            a[k * n + p] = a[p * n + k] = c * x - s * y;
            a[k * n + q] = a[q * n + k] = s * x + c * y;
          }
          const [x, y] = [v[k * n + p], v[k * n + q]];
          v[k * n + p] = c * x - s * y;
          v[k * n + q] = s * x + c * y;
        }
      }
    }
    return any;
  }

  // Rows are exchanged for the largest pivot, the first of equal ones, as LAPACK does.
  function lu(matrices, n, source, factors, pivots, permutation) {
    const swap = (array, p, q) => ([array[p], array[q]] = [array[q], array[p]]);
    for (let m = 0; m < matrices; m += 1) {
      const at = (i, j) => m * n * n + i * n + j;
      for (let k = 0; k < n * n; k += 1) factors[m * n * n + k] = source[m * n * n + k];
      for (let i = 0; i < n; i += 1) permutation[m * n + i] = i;
      for (let k = 0; k < n; k += 1) {
        let best = k;
        for (let i = k + 1; i < n; i += 1) if (Math.abs(factors[at(i, k)]) > Math.abs(factors[at(best, k)])) best = i;
        pivots[m * n + k] = best;
        if (best !== k) {
          for (let j = 0; j < n; j += 1) swap(factors, at(k, j), at(best, j));
          swap(permutation, m * n + k, m * n + best);
        }
        if (factors[at(k, k)] === 0) continue;
        for (let i = k + 1; i < n; i += 1) {
          factors[at(i, k)] /= factors[at(k, k)];
          for (let j = k + 1; j < n; j += 1) factors[at(i, j)] -= factors[at(i, k)] * factors[at(k, j)];
        }
      }
    }
  }

  // The lower factor; NaN for a matrix that is not positive definite.
  function cholesky(matrices, n, source, factor) {
    factor.fill(0);
    for (let m = 0; m < matrices; m += 1) {
      const at = (i, j) => m * n * n + i * n + j;
      for (let i = 0; i < n; i += 1) {
        for (let j = 0; j <= i; j += 1) {
          let rest = source[at(i, j)];
          for (let k = 0; k < j; k += 1) rest -= factor[at(i, k)] * factor[at(j, k)];
          factor[at(i, j)] = i !== j ? rest / factor[at(j, j)] : rest > 0 ? Math.sqrt(rest) : NaN;
        }
      }
      if (Number.isNaN(factor[at(n - 1, n - 1)])) factor.fill(NaN, m * n * n, (m + 1) * n * n);
    }
  }

  // a x = b, or x a = b from the right, by substitution. From the right it is the transposed system.
  function triangularSolve(matrices, rows, columns, left, lower, transposed, unit, a, b, x) {
    const [n, others] = left ? [rows, columns] : [columns, rows];
    const turned = transposed === left;
    const forward = lower !== turned;
    for (let m = 0; m < matrices; m += 1) {
      const entry = (i, j) => a[m * n * n + (turned ? j * n + i : i * n + j)];
      const place = (i, k) => m * rows * columns + (left ? i * columns + k : k * columns + i);
      for (let k = 0; k < others; k += 1) {
        for (let step = 0; step < n; step += 1) {
          const i = forward ? step : n - 1 - step;
          let rest = b[place(i, k)];
          for (let done = 0; done < step; done += 1) {
            const j = forward ? done : n - 1 - done;
            rest -= entry(i, j) * x[place(j, k)];
          }
          x[place(i, k)] = unit ? rest : rest / entry(i, i);
        }
      }
    }
  }

  return {
    ...{ first, second, fromBits64, high64, low64, fromBits32, bits32, ones, quotient, remainder, whole, precision },
    ...{ before, roundEven, roundAway, nextAfter, pow, erf, erfc, erfInv, lgamma, digamma },
    ...{ sort, topK, eigh, lu, cholesky, triangularSolve },
  };
})();
