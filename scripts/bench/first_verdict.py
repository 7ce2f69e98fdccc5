"""The first verdict of a process beside the same by hand, compiling and printing included, as ratios.

By hand: gradient norm and eigenvalues in one `jax.jit`, from `jax.hessian` for two parameters and from 64 products of
Lanczos for the 4,810 of a network on the digits. Every run is a process of its own, and the two alternate.

    python scripts/bench/first_verdict.py [--repeats 5]
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

PRODUCTS = 64
CASES = {"two": "2 parameters, himmelblau", "network": "4,810 parameters, digits_mlp(hidden=64)"}


def case(name):
    """The loss, the point, and what else the loss takes."""
    if name == "two":
        return jon.problems.himmelblau().loss, jnp.array([3.0, 2.0]), ()
    problem = jon.problems.digits_mlp(hidden=64)
    return problem.loss, problem.init(jax.random.key(0)), (problem.data,)


def classify(loss, params, *args):
    return str(jon.classify(loss, params, *args))


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


BY_HAND = {"two": dense, "network": lanczos}


def once(name, way):
    """Print wall and CPU seconds of one first verdict, in this process."""
    loss, params, args = case(name)
    jax.block_until_ready((params, args))
    began, worked = time.perf_counter(), time.process_time()
    (classify if way == "classify" else BY_HAND[name])(loss, params, *args)
    print(time.perf_counter() - began, time.process_time() - worked)


def apart(name, way):
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--once", name, way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        once(*asked.once)
        return
    for name, words in CASES.items():
        runs = [(apart(name, "classify"), apart(name, "by hand")) for _ in range(asked.repeats)]
        for i, unit in enumerate(("wall", "CPU")):
            ours, hand = (statistics.median(pair[j][i] for pair in runs) for j in range(2))
            ratio = statistics.median(pair[0][i] / pair[1][i] for pair in runs)
            print(f"{words}: classify {ours:.2f} s, by hand {hand:.2f} s, ratio {ratio:.2f} ({unit})", flush=True)


if __name__ == "__main__":
    main()
