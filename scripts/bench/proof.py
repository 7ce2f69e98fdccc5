"""Proofs beside codac: every critical point in a box, tracing included, and networks of 17 to 501 parameters.

Each function runs in a process of its own. `first` is the first call after importing, with the start of JAX, tracing,
search and certificates; `again` the same call once more. codac (https://codac.io) is given the gradient as its own
symbolic expression, and paves: it returns boxes that may hold zeros, and proves neither that one is there nor that it
is alone. Its time is that of `pave` down to 1e-6 alone.

    pip install codac
    python scripts/bench/proof.py [--quick]
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time

CATALOGUE = (
    *(
        "double_well",
        "plateau",
        "x_cos_pi_x",
        "bowl",
        "stretched_bowl",
        "tilted_canyon",
        "trough",
        "quadratic",
        "saddle",
    ),
    *("rosenbrock", "beale", "himmelblau", "six_hump_camel", "mueller_brown", "styblinski_tang", "rastrigin"),
)
LARGER = ("rastrigin 2-D", "styblinski_tang 4-D", "styblinski_tang 6-D", "rastrigin 3-D")


def of_name(name):
    """The loss and the box."""
    import jax.numpy as jnp

    import jaxopt_notes as jon

    if name == "rastrigin 3-D":
        return lambda x: jnp.sum(x**2 + 20 * jnp.sin(jnp.pi * x) ** 2), ([-5.0] * 3, [6.0] * 3)
    if name.startswith("styblinski_tang "):
        size = int(name.split()[1][0])
        return lambda x: 0.5 * jnp.sum(x**4 - 16 * x**2 + 5 * x), ([-5.0] * size, [5.0] * size)
    problem = jon.problems.CATALOGUE[name.split()[0]]()
    low, high = problem.facts.domain
    if name == "rastrigin 2-D":
        low, high = [-5.0] * 2, [6.0] * 2
    box = (float(low[0]), float(high[0])) if len(low) == 1 else (list(map(float, low)), list(map(float, high)))
    return problem.loss, box


def proved(name):
    """One function, in this process: times and what was found."""
    import jaxopt_notes as jon

    loss, box = of_name(name)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        found = jon.proof.all_critical_points(loss, box, progress=False)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"points": len(found), "complete": found.complete, "boxes": found.boxes, "seconds": seconds, "peak_mb": peak}
    return row | {"codac": paved(name, box)}


def paved(name, box):
    """Seconds of codac's pave, and the sets of boxes that it leaves; None without codac or without an expression."""
    if importlib.util.find_spec("codac") is None:
        return None
    import codac as c

    kind = name.split()[0]
    if kind not in ("himmelblau", "rastrigin", "styblinski_tang"):
        return None
    size = len(box[0])
    x = c.VectorVar(size)
    if kind == "himmelblau":
        first, second = c.sqr(x[0]) + x[1] - 11, x[0] + c.sqr(x[1]) - 7
        slope = c.vec(4 * x[0] * first + 2 * second, 2 * first + 4 * x[1] * second)
    elif kind == "rastrigin":
        slope = c.vec(*[2 * x[i] + 20 * c.Interval.pi() * c.sin(2 * c.Interval.pi() * x[i]) for i in range(size)])
    else:
        slope = c.vec(*[2 * c.pow(x[i], 3) - 16 * x[i] + 2.5 for i in range(size)])
    contractor = c.CtcInverse(c.AnalyticFunction([x], slope), [[0, 0]] * size)
    sides = c.IntervalVector([[low, high] for low, high in zip(*box, strict=True)])
    started = time.perf_counter()
    paving = c.pave(sides, contractor, 1e-6)
    return time.perf_counter() - started, len(paving.connected_subsets())


def network(hidden, rows):
    """A tanh network 2-hidden-1 with a regulariser, trained with SciPy in this process, and its proof."""
    import jax
    import jax.flatten_util
    import jax.numpy as jnp
    import numpy as np
    import scipy.optimize

    import jaxopt_notes as jon

    random = np.random.default_rng(0)
    data = random.normal(size=(rows, 2))
    target = np.sign(data[:, 0] * data[:, 1])

    def loss(params):
        out = jnp.tanh(data @ params["w"] + params["b"]) @ params["v"] + params["c"]
        return jnp.mean((out - target) ** 2) + 0.01 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    shapes = {"b": (hidden,), "c": (), "v": (hidden,), "w": (2, hidden)}
    start = {name: 0.5 * random.normal(size=shape) for name, shape in shapes.items()}
    with jax.enable_x64(True):
        flat, back = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, start))
        value, curve = (
            jax.jit(jax.value_and_grad(lambda v: loss(back(v)))),
            jax.jit(jax.hessian(lambda v: loss(back(v)))),
        )
        trained = scipy.optimize.minimize(
            lambda v: tuple(map(np.asarray, value(v))),
            np.asarray(flat),
            jac=True,
            hess=lambda v: np.asarray(curve(v)),
            method="trust-exact",
            options={"gtol": 1e-10, "maxiter": 3000},
        )
        point = jax.tree.map(np.asarray, back(jnp.asarray(trained.x)))
    started = time.perf_counter()
    certificate = jon.prove(loss, point)
    seconds = time.perf_counter() - started
    return {"size": len(trained.x), "kind": certificate.kind, "radius": certificate.radius, "seconds": seconds}


def alone(kind, *arguments):
    """What a process of its own returns."""
    command = [sys.executable, __file__, "--one", kind, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three functions and two networks")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, *arguments = options.one
        print(json.dumps(proved(arguments[0]) if kind == "function" else network(*map(int, arguments))))
        return
    print(f"{'function':20s} {'points':>7s} {'complete':>9s} {'boxes':>8s}  first s  again s     MB  codac")
    for name in ("himmelblau", "rastrigin 2-D") if options.quick else (*CATALOGUE, *LARGER):
        row = alone("function", name)
        first, again = row["seconds"]
        codac = "-" if row["codac"] is None else "{:.3f} s, {} sets".format(*row["codac"])
        numbers = f"{row['points']:7d} {row['complete']!s:>9s} {row['boxes']:8,d} {first:8.3f} {again:8.3f}"
        print(f"{name:20s} {numbers} {row['peak_mb']:6.0f}  {codac}", flush=True)
    print(f"\n{'network':>12s} {'kind':>10s} {'radius':>9s} {'proof s':>8s}")
    for hidden, rows in ((4, 8), (12, 16)) if options.quick else ((4, 8), (12, 16), (25, 32), (125, 32)):
        row = alone("network", hidden, rows)
        print(f"{row['size']:5d} params {row['kind']:>10s} {row['radius']:9.1e} {row['seconds']:8.2f}", flush=True)


if __name__ == "__main__":
    main()
