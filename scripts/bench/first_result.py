"""How soon the first result is there: a new process, from its start to the printed best, beside the same by hand.

312 trials (13 rates, 3 momenta, 8 seeds) of a network of 64 hidden units on digits, batches of 64, 300 steps. By hand
they are one `jit(vmap(scan))` that records losses only, with jax and numpy alone, reading the same file. `loop` is a
Python loop over trials and jitted steps; it runs a tenth of the trials, and its time is ten times that. Every run is a
process of its own, in alternation; the table shows medians of wall seconds.

    python scripts/bench/first_result.py [--runs 5] [--only sweep loop programs]
"""

import argparse
import functools
import gzip
import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import time

RATES, BETAS, SEEDS, STEPS, BATCH = 13, (0.0, 0.9, 0.99), 8, 300, 64


def with_sweep():
    import numpy as np

    import jaxopt_notes as jon

    jon.use_cpu_cores()
    space = jon.grid(learning_rate=np.geomspace(1e-3, 1, RATES), beta=BETAS)
    problem = jon.problems.digits_mlp(hidden=64)
    table = jon.sweep(problem, jon.momentum, space, seeds=SEEDS, steps=STEPS, batch_size=BATCH, progress=False)
    print(jon.best(table))


def lean():
    import numpy as np

    import jaxopt_notes as jon

    jon.use_cpu_cores()
    space = jon.grid(learning_rate=np.geomspace(1e-3, 1, RATES), beta=BETAS)
    problem = jon.problems.digits_mlp(hidden=64)
    options = dict(seeds=SEEDS, steps=STEPS, batch_size=BATCH, record="loss", progress=False)
    print(jon.best(jon.sweep(problem, jon.momentum, space, **options)))


def pieces():
    """Data, start and loss of the digits network, written with jax and numpy."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    folder = pathlib.Path(importlib.util.find_spec("sklearn").submodule_search_locations[0])
    with gzip.open(folder / "datasets" / "data" / "digits.csv.gz", "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    order = np.random.default_rng(0).permutation(len(table))[359:]
    images = jnp.asarray((table[order, :-1] / 16).astype(np.float32))
    labels = jnp.asarray(table[order, -1].astype(np.int32))

    def init(key):
        first, second = jax.random.split(key)
        draw = lambda key, shape: jax.random.normal(key, shape) / jnp.sqrt(shape[0])
        return {"a": draw(first, (64, 64)), "b": jnp.zeros(64), "c": draw(second, (64, 10)), "d": jnp.zeros(10)}

    def loss(params, images, labels):
        hidden = jax.nn.relu(images @ params["a"] + params["b"])
        logits = jax.nn.log_softmax(hidden @ params["c"] + params["d"])
        return -jnp.mean(jnp.take_along_axis(logits, labels[:, None], axis=1))

    return images, labels, init, loss


def points():
    import numpy as np

    grid = np.meshgrid(np.geomspace(1e-3, 1, RATES), BETAS, np.arange(SEEDS), indexing="ij")
    return [axis.ravel().astype(np.float32) for axis in grid]


def by_hand():
    import jax
    import jax.numpy as jnp
    import numpy as np

    images, labels, init, loss = pieces()
    per_epoch = len(labels) // BATCH

    def trial(rate, beta, seed, images, labels):
        key = jax.random.key(seed.astype(jnp.uint32))

        def body(carry, step):
            params, velocity = carry
            order = orders[seed.astype(int), step]
            value, grads = jax.value_and_grad(loss)(params, images[order], labels[order])
            velocity = jax.tree.map(lambda v, g: beta * v + g, velocity, grads)
            return (jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity), value

        params = init(key)
        (params, _), values = jax.lax.scan(body, (params, jax.tree.map(jnp.zeros_like, params)), jnp.arange(STEPS))
        return loss(params, images, labels), values

    def epoch(seed, number):
        return jax.random.permutation(jax.random.fold_in(jax.random.key(seed), number), len(labels))

    epochs = jnp.arange(-(-STEPS // per_epoch))
    orders = jax.jit(jax.vmap(jax.vmap(epoch, (None, 0)), (0, None)))(jnp.arange(SEEDS), epochs)
    orders = orders[:, :, : per_epoch * BATCH].reshape(SEEDS, -1, BATCH)
    run = jax.jit(jax.vmap(trial, (0, 0, 0, None, None)))
    final, _ = run(*map(jnp.asarray, points()), images, labels)
    report(np.asarray(final))


def loop():
    import jax
    import jax.numpy as jnp
    import numpy as np

    images, labels, init, loss = pieces()

    @jax.jit
    def step(params, velocity, rate, beta, images, labels):
        value, grads = jax.value_and_grad(loss)(params, images, labels)
        velocity = jax.tree.map(lambda v, g: beta * v + g, velocity, grads)
        return jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity, value

    for rate, beta, seed in list(zip(*points(), strict=True))[::10]:
        generator, order = np.random.default_rng(int(seed)), np.zeros(0, int)
        params = init(jax.random.key(int(seed)))
        velocity = jax.tree.map(jnp.zeros_like, params)
        for _ in range(STEPS):
            order = generator.permutation(len(labels)) if len(order) < BATCH else order
            rows, order = order[:BATCH], order[BATCH:]
            params, velocity, value = step(params, velocity, rate, beta, images[rows], labels[rows])
    print(float(value))


def report(final):
    import numpy as np

    medians = np.median(final.reshape(RATES, len(BETAS), SEEDS), axis=-1)
    rate, beta = np.unravel_index(np.nanargmin(medians), medians.shape)
    print(f"best: rate {np.geomspace(1e-3, 1, RATES)[rate]:.4g}, beta {BETAS[beta]}, loss {medians[rate, beta]:.4g}")


WAYS = {"sweep": with_sweep, "sweep, record='loss'": lean, "by hand": by_hand, "loop": loop}


def timed(way):
    """(wall, CPU) seconds of a new process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, __file__, "--way", way], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall * (10 if way == "loop" else 1), cpu * (10 if way == "loop" else 1)


def compare(ways, runs):
    seconds = {way: [] for way in ways}
    for run in range(runs):
        for way in ways:
            if way != "loop" or run == 0:
                seconds[way].append(timed(way))
    wall = {way: statistics.median(both[0] for both in values) for way, values in seconds.items()}
    cpu = {way: statistics.median(both[1] for both in values) for way, values in seconds.items()}
    print(f"{'':>22} {'wall s':>8} {'CPU s':>8} {'takes':>8}")
    for way in ways:
        print(f"{way:>22} {wall[way]:8.1f} {cpu[way]:8.1f} {wall[way] / wall['sweep']:6.2f} x")


def programs():
    """How many programs a first sweep compiles, and a second one of another shape."""
    import jax
    import numpy as np

    import jaxopt_notes as jon

    names = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **more: (
            names.append(more.get("fun_name")) if name.endswith("backend_compile_duration") else None
        )
    )
    problem = jon.problems.digits_mlp(hidden=64)
    run = functools.partial(jon.sweep, problem, jon.momentum, batch_size=BATCH, progress=False)
    jon.best(run(jon.grid(learning_rate=np.geomspace(1e-3, 1, RATES), beta=BETAS), seeds=SEEDS, steps=STEPS))
    first = list(names)
    names.clear()
    jon.best(run(jon.grid(learning_rate=[0.1, 0.2, 0.3], beta=[0.5]), seeds=3, steps=50))
    print(f"programs compiled: {len(first)} ({', '.join(first)}); by a second sweep {len(names)} ({', '.join(names)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=["sweep", "loop", "programs"], default=["sweep", "loop", "programs"]
    )
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        WAYS[given.way]()
        return
    ways = [way for way in WAYS if way != "loop" or "loop" in given.only]
    if {"sweep", "loop"} & set(given.only):
        compare(ways, given.runs)
    if "programs" in given.only:
        programs()


if __name__ == "__main__":
    main()
