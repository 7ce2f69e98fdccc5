"""A plane of losses beside a Python loop over its points, in one process, as a ratio.

The network is 64-64-10, 4,810 parameters, on all 1,797 digits. One loop jits nothing, one sets the parameters and
calls a jitted loss, as the public landscape codes do, and the third compiles both, the best that a loop can do.

Then the map of the smallest and the largest eigenvalue of the whole Hessian over a coarser plane.

    python scripts/bench/landscape.py [--points 101] [--loop 31] [--map 7]
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon


def map_of_eigenvalues(problem, params, directions, data, points: int) -> None:
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        table = jon.landscape.curvature_map(problem.loss, params, directions, data=data, points=points)
        taken.append(time.perf_counter() - began)
    verified = float(table.converged.mean())
    print(f"eigenvalues at {points} x {points} points: {taken[0]:.1f} s with compiling, {taken[1]:.1f} s again")
    print(f"  {taken[1] / points**2 * 1e3:.0f} ms a point, both ends verified at {verified:.0%} of the points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=101, help="along an axis of the plane")
    parser.add_argument("--loop", type=int, default=31, help="along an axis of the loops, which are scaled up")
    parser.add_argument("--map", type=int, default=7, help="along an axis of the map of eigenvalues; 0 for none")
    options = parser.parse_args()
    jon.use_cpu_cores()
    problem = jon.problems.digits_mlp(hidden=64)
    data = jax.tree.map(lambda *parts: jnp.concatenate(parts), problem.data, problem.test_data)
    params = problem.init(jax.random.key(0))
    directions = jon.landscape.random_directions(jax.random.key(1), params)

    began = time.perf_counter()
    table = jon.landscape.plane(problem.loss, params, directions, data=data, points=options.points)
    first = time.perf_counter() - began
    began = time.perf_counter()
    table = jon.landscape.plane(problem.loss, params, directions, data=data, points=options.points)
    again = time.perf_counter() - began

    if options.map:
        map_of_eigenvalues(problem, params, directions, data, options.map)
    one, two = directions[0], directions[1]
    loss = jax.jit(problem.loss)

    def at(x, y, params, one, two):
        return jax.tree.map(lambda p, a, b: p + x * a + y * b, params, one, two)

    @jax.jit
    def fused(x, y, params, one, two, data):
        return problem.loss(at(x, y, params, one, two), data)

    loops = {
        "loop, nothing jitted": lambda x, y: problem.loss(at(x, y, params, one, two), data),
        "loop, parameters set, jitted loss": lambda x, y: loss(at(x, y, params, one, two), data),
        "loop, all of it jitted": lambda x, y: fused(x, y, params, one, two, data),
    }
    coarse = np.linspace(-1, 1, options.loop)
    same = jon.landscape.plane(problem.loss, params, directions, data=data, x=coarse, y=coarse).loss.values
    cores = jax.local_device_count()
    print(f"{options.points} x {options.points} points, {table.attrs['examples']} examples, {cores} devices")
    print(f"  {'plane, first call, with compiling':36s} {first:7.2f} s")
    print(f"  {'plane, again':36s} {again:7.2f} s")
    for name, value in loops.items():
        value(0.0, 0.0).block_until_ready()
        began = time.perf_counter()
        values = np.array([[float(value(x, y)) for x in coarse] for y in coarse])
        taken = (time.perf_counter() - began) * (options.points / options.loop) ** 2
        worst = np.max(np.abs(values - same))
        ratios = f"{taken / again:5.1f} x the plane, {taken / first:5.1f} x with its compiling"
        print(f"  {name:36s} {taken:7.2f} s   {ratios}, largest difference {worst:.0e}")


if __name__ == "__main__":
    main()
