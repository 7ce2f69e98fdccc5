"""The first call of a process beside the same by hand, compiling and printing included, as ratios.

A verdict; by hand gradient norm and eigenvalues in one `jax.jit`, from `jax.hessian` for two parameters and from 64
products of Lanczos for the 4,810 of a network on the digits. A run of 500 steps of that network; by hand a `jax.jit` of
a `scan`, with the same batches, that records the loss. A plane of its loss; by hand a `jax.jit` of a `map` over points.
Every run is a process of its own, and the two alternate.

    python scripts/bench/first_call.py [--repeats 5] [--only two network run plane]
"""

import argparse
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import jaxopt_notes as jon

PRODUCTS, STEPS, BATCH, POINTS = 64, 500, 64, 21
CASES = {
    "two": "verdict, 2 parameters, himmelblau",
    "network": "verdict, 4,810 parameters, digits_mlp(hidden=64)",
    "run": f"{STEPS} steps of digits_mlp(hidden=64)",
    "plane": f"{POINTS} x {POINTS} losses of digits_mlp(hidden=64)",
}


def case(name):
    """The loss, the point, and what else the loss takes."""
    if name == "two":
        return jon.problems.himmelblau().loss, jnp.array([3.0, 2.0]), ()
    problem = jon.problems.digits_mlp(hidden=64)
    return problem.loss, problem.init(jax.random.key(0)), (problem.data,)


def directions(params):
    """Two, as random as makes no difference here."""
    keys = jax.random.split(jax.random.key(1), 2)
    leaves, structure = jax.tree.flatten(params)
    return [structure.unflatten([jax.random.normal(key, leaf.shape) for leaf in leaves]) for key in keys]


def classify(loss, params, *args):
    return str(jon.classify(loss, params, *args))


def minimize(loss, params, data):
    stream, key = jon.minibatches.reshuffle(BATCH), jax.random.key(0)
    run = jon.minimize(loss, params, jon.momentum(0.1), steps=STEPS, data=data, minibatches=stream, key=key)
    return str(run)


def scanned(loss, params, data):
    per_epoch = len(data[1]) // BATCH

    @jax.jit
    def trained(params, key, data):
        def epoch(number):
            return jax.random.permutation(jax.random.fold_in(key, number), len(data[1]))[: per_epoch * BATCH]

        rows = jax.vmap(epoch)(jnp.arange(-(-STEPS // per_epoch))).reshape(-1, BATCH)[:STEPS]

        def body(carry, row):
            params, velocity = carry
            value, grads = jax.value_and_grad(loss)(params, jax.tree.map(lambda leaf: leaf[row], data))
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
            return (jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity), velocity), value

        (params, _), losses = jax.lax.scan(body, (params, jax.tree.map(jnp.zeros_like, params)), rows)
        return loss(params, data), losses

    return str(trained(params, jax.random.key(0), data))


def plane(loss, params, data):
    return str(jon.landscape.plane(loss, params, directions(params), data=data, points=POINTS).loss.values)


def mapped(loss, params, data):
    axis = jnp.linspace(-1, 1, POINTS)

    @jax.jit
    def losses(params, first, second, data):
        def at(point):
            moved = jax.tree.map(lambda p, a, b: p + point[0] * a + point[1] * b, params, first, second)
            return loss(moved, data)

        return jax.lax.map(at, jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2))

    return str(losses(params, *directions(params), data))


def dense(loss, x):
    @jax.jit
    def judged(x):
        return jnp.linalg.norm(jax.grad(loss)(x)), jnp.linalg.eigvalsh(jax.hessian(loss)(x))

    return str(judged(x))


def lanczos(loss, params, data):
    point, unravel = ravel_pytree(params)

    @jax.jit
    def judged(point, key, data):
        gradient = jax.grad(lambda x: loss(unravel(x), data))

        def step(state, j):
            basis, vector, before, beta = state
            basis = basis.at[j].set(vector)
            image = jax.jvp(gradient, (point,), (vector,))[1]
            alpha = image @ vector
            rest = image - alpha * vector - beta * before
            rest -= basis.T @ (basis @ rest)
            beta = jnp.linalg.norm(rest)
            return (basis, rest / beta, vector, beta), (alpha, beta)

        start = jax.random.normal(key, point.shape)
        start = jnp.zeros((PRODUCTS, point.size)), start / jnp.linalg.norm(start), jnp.zeros_like(point), 0.0
        alphas, betas = jax.lax.scan(step, start, jnp.arange(PRODUCTS))[1]
        tridiagonal = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
        return jnp.linalg.norm(gradient(point)), jnp.linalg.eigvalsh(tridiagonal)

    return str(judged(point, jax.random.key(0), data))


OURS = {"two": classify, "network": classify, "run": minimize, "plane": plane}
BY_HAND = {"two": dense, "network": lanczos, "run": scanned, "plane": mapped}


def once(name, way):
    """Print wall and CPU seconds of one first call, in this process."""
    loss, params, args = case(name)
    jax.block_until_ready((params, args))
    began, worked = time.perf_counter(), time.process_time()
    (OURS if way == "ours" else BY_HAND)[name](loss, params, *args)
    print(time.perf_counter() - began, time.process_time() - worked)


def apart(name, way):
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--once", name, way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        once(*asked.once)
        return
    for name in asked.only:
        runs = [(apart(name, "ours"), apart(name, "by hand")) for _ in range(asked.repeats)]
        for i, unit in enumerate(("wall", "CPU")):
            ours, hand = (statistics.median(pair[j][i] for pair in runs) for j in range(2))
            ratio = statistics.median(pair[0][i] / pair[1][i] for pair in runs)
            print(f"{CASES[name]}: ours {ours:.2f} s, by hand {hand:.2f} s, ratio {ratio:.2f} ({unit})", flush=True)


if __name__ == "__main__":
    main()
