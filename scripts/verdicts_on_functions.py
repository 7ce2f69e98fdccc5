"""How many verdicts of `classify` are wrong? On scipy's benchmark functions and on the classical matrices.

    python scripts/verdicts_on_functions.py CHECKOUT_OF_SCIPY

The functions are read from a checkout of scipy (benchmarks/benchmarks/go_benchmark_functions) and traced with
jax.numpy in place of numpy; those that cannot be traced are listed with the reason. Each is judged at its published
minimisers and a few roundings beside them, in float32 and float64. A verdict is wrong if it claims what is false:
"maximum" or "saddle" where a search in float64 finds no lower point nearby, "minimum" where it finds one, "degenerate",
which is critical, at a kink or a cusp. The matrices A are judged by x'Ax/2 at 0, against their exact inertia
(`classical_matrices.py`).
"""

import builtins
import collections
import contextlib
import types
import warnings
from pathlib import Path

import numpy as np
import tyro

import jaxopt_notes as jon

jon.compile_quickly(level=0)

import classical_matrices  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import jax.scipy.special  # noqa: E402

FOLDER = "benchmarks/benchmarks/go_benchmark_functions"
RADII = 10.0 ** np.arange(-9, -1.5, 0.5)  # of the search for a lower point, in units of 1 + |x|
PRECISIONS = {"float32": False, "float64": True}


class OfJax(types.ModuleType):
    """numpy for traced arguments: jax.numpy, which also takes lists, and numpy's own for what it has not."""

    def __getattr__(self, name):
        found = getattr(jnp, name, None)
        if not callable(found) or isinstance(found, type):
            return getattr(np, name)

        def lists_taken(*args, **kwargs):
            return found(*(jnp.asarray(arg) if isinstance(arg, (list, tuple)) else arg for arg in args), **kwargs)

        return lists_taken


def load(folder, numpy, special):
    """The classes of the benchmark, by name, executed with these in place of numpy and scipy.special."""
    namespaces = {}

    def imported(name, given=None, local=None, names=(), level=0):
        if level == 2:
            return types.SimpleNamespace(safe_import=lambda: contextlib.suppress(ImportError))
        if level == 1:
            return types.SimpleNamespace(**run(name))
        return {"numpy": numpy, "scipy.special": special}.get(name) or builtins.__import__(
            name, given, local, names, level
        )

    def run(name):
        if name not in namespaces:
            space = {"__builtins__": vars(builtins) | {"__import__": imported}, "__name__": name}
            namespaces[name] = space
            exec(compile((folder / f"{name}.py").read_text(), f"{name}.py", "exec"), space)
        return namespaces[name]

    found = {}
    for path in sorted(folder.glob("go_funcs_*.py")):
        kinds = {name: kind for name, kind in run(path.stem).items() if isinstance(kind, type)}
        found |= {name: kind for name, kind in kinds.items() if kind.__module__ == path.stem}
    return found


def refuted(claim, fun, x, eps):
    """Whether values of the function near x, in float64, refute what a verdict claims of x.

    Looked at along the axes and random directions, at every radius, beyond what the rounding of x and of the value can
    hide. A point that is critical has differences that fall faster than the radius; at a cusp or a kink they do not.
    """
    rng, scale = np.random.default_rng(0), 1 + np.abs(x)
    units = np.concatenate([np.eye(x.size), rng.standard_normal((60, x.size))])
    units = np.concatenate([units, -units]) / np.linalg.norm(np.concatenate([units, -units]), axis=1, keepdims=True)
    here = value_at(fun, x)
    values = np.array([[value_at(fun, x + radius * scale * unit) for unit in units] for radius in RADII])
    size = np.nanmax(np.abs(values - here), axis=1)
    # What moving x by a few hundred of its own roundings changes is rounding too.
    moved = [value_at(fun, x + 256 * eps * scale * unit) for unit in units[:50]]
    hidden = 256 * eps * abs(here) + 4 * np.nanmax(np.abs(np.array(moved) - here)) + 1e3 * eps * size
    if claim == "degenerate":
        clear = [i for i in np.flatnonzero(size > 4 * hidden)[:1] if i + 4 < len(RADII)]
        # Where all is constant up to there a jump lies further out, and the point is critical.
        clear = [i for i in clear if i == 0 or size[i - 1] > 0.03 * size[i]]
        return any(size[i] / RADII[i] > 0.5 * size[i + 4] / RADII[i + 4] for i in clear)
    half = len(units) // 2
    noise = np.nanmax(np.abs(values[:3, :half] + values[:3, half:] - 2 * here))  # nothing else bends that near
    is_lower = bool(np.any(here - np.nanmin(values, axis=1) > hidden + 16 * noise))
    return {"minimum": is_lower, "maximum": not is_lower, "saddle": not is_lower}.get(claim, False)


def value_at(fun, x):
    value = np.asarray(fun(x), np.float64)
    return float(value.ravel()[0]) if value.size == 1 and np.isfinite(value).all() else np.nan


def minimisers(published, dimension):
    points = np.atleast_1d(np.asarray(published, np.float64))
    return points.reshape(-1, dimension)[:4]


def beside(points, eps):
    """The points, and each of them moved by some roundings, where a cusp shows another slope."""
    signs = np.random.default_rng(2).choice([-1, 1], (2, *points.shape))
    return np.concatenate([points, points + 4 * eps * (1 + np.abs(points)) * signs[0], points + 1e-5 * signs[1]])


def traced(kind, plain, points):
    """The function on JAX's arrays, checked against numpy's; a ValueError with the reason where there is none."""

    def loss(x):
        return jnp.reshape(kind().fun(x), ())

    jax.eval_shape(loss, jnp.asarray(points[0], float))
    near = points[0] + 1e-2 * np.random.default_rng(1).standard_normal(points.shape[1])
    here, there = value_at(plain.fun, near), float(jax.jit(loss)(jnp.asarray(near, float)))
    size = 1 + np.nan_to_num(abs(value_at(plain.fun, points[0])))
    if not np.isclose(here, there, rtol=1e-3, atol=1e-3 * size):
        raise ValueError(f"in JAX it is {there:.6g} where numpy has {here:.6g}")
    return loss


def judge_function(name, plain, kind, skipped):
    """Rows (function, precision, point, verdict, whether it is wrong)."""
    rows = []
    points = minimisers(plain.global_optimum, plain.N)
    for precision, wide in PRECISIONS.items():
        with jax.enable_x64(wide):
            try:
                loss = traced(kind, plain, points)
                eps = float(np.finfo(precision).eps)
                tried = beside(points, eps)
                kinds = jax.vmap(lambda x: jon.classify(loss, x))(jnp.asarray(tried, float)).kind_name  # noqa: B023
            except Exception as error:
                skipped[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
                continue
            for x, claim in zip(tried, kinds, strict=True):
                rounded = x.astype(precision).astype(np.float64)
                wrong = refuted(claim, plain.fun, rounded, eps)
                rows.append((name, precision, rounded, str(claim), wrong))
    return rows


def judge_functions(checkout):
    folder = checkout / FOLDER
    if not folder.is_dir():
        print(f"no functions: {folder} is not there; give the path of a checkout of scipy")
        return []
    import scipy.special

    plain, of_jax = load(folder, np, scipy.special), load(folder, OfJax("numpy"), jax.scipy.special)
    rows, skipped = [], {}
    for name, kind in plain.items():
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                problem = kind()
                usable = np.size(problem.global_optimum) > 0 and problem.global_optimum is not None
            except Exception:
                usable = False
            if usable:
                rows += judge_function(name, problem, of_jax[name], skipped)
    print(f"{len({row[0] for row in rows})} functions of scipy judged; not traced:")
    print("".join(f"  {name}: {reason}\n" for name, reason in skipped.items()), end="")
    return rows


def report(title, rows):
    """The table of verdicts by precision, and every wrong one."""
    kinds = [kind.name.lower() for kind in jon.curvature.Kind]
    print(f"\n{title}\n{'':10s}" + "".join(f"{kind:>14s}" for kind in kinds) + f"{'WRONG':>8s}")
    for precision in PRECISIONS:
        counts = collections.Counter(row[3] for row in rows if row[1] == precision)
        wrong = sum(row[4] for row in rows if row[1] == precision)
        print(f"{precision:10s}" + "".join(f"{counts[kind]:14d}" for kind in kinds) + f"{wrong:8d}")
    for name, precision, point, claim, wrong in rows:
        if wrong:
            print(f"  WRONG: {name} in {precision} at {point}: {claim}")


def main(checkout: Path, /, details: bool = False) -> None:
    """Judge every function and matrix, and count the wrong verdicts.

    Args:
        checkout: of scipy's repository; only its benchmark functions are read.
        details: also print what is not critical, degenerate or undecided.
    """
    functions = judge_functions(checkout)
    matrices = classical_matrices.judged(jon.classify, PRECISIONS)
    report("scipy's functions at and beside their published minimisers", functions)
    report("x'Ax/2 at 0 for the classical matrices", matrices)
    if details:
        for name, precision, point, claim, _ in functions:
            if claim != "minimum":
                print(f"  {name} in {precision} at {point}: {claim}")
        for name, precision, sizes, claim, _ in matrices:
            print(f"  {name} in {precision}, {sizes}: {claim}")


if __name__ == "__main__":
    tyro.cli(main)
