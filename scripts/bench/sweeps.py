"""Sweep throughput beside what a user would write, how it scales, and what a store costs.

`jit(vmap(scan))` does equal work in the same process: the same trials of the digits network, momentum, batch 64, orders
reshuffled per seed and computed outside the lanes, the same histories (loss, gradient norm, update norm; steps + 1
entries), candidates accepted only if finite, final losses on the full data. The `torch.func` ensemble (where torch is
installed) does less: no check of what is finite, no full evaluation. What is called lean is the program that a user
would write first: one order of the examples for all seeds, losses only, no check. Times are medians over alternating
runs, after one run each to compile. The scaling table runs each size in a process of its own and shows its peak memory.

    python scripts/bench/sweeps.py [--quick] [--only ratios lean scaling costs]
"""

import argparse
import contextlib
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxopt_notes.minibatches import indices, reshuffle  # noqa: E402


def plain_sweep(problem, rates, betas, seeds, steps, batch_size):
    """The sweep as one `jit(vmap(scan))` over flat lanes, written out by hand."""
    keys = jnp.stack([jax.random.split(jax.random.fold_in(jax.random.key(0), seed)) for seed in range(seeds)])
    starts = jax.vmap(problem.init)(keys[:, 0])
    grid = np.stack(np.meshgrid(rates, betas, np.arange(seeds), indexing="ij"), axis=-1).reshape(-1, 3)
    lanes = (
        jnp.asarray(grid[:, 0], jnp.float32),
        jnp.asarray(grid[:, 1], jnp.float32),
        jnp.asarray(grid[:, 2], jnp.int32),
    )
    norm = lambda tree: jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))

    @jax.jit
    def run(lanes, starts, keys, data):
        orders = jax.vmap(lambda key: indices(reshuffle(batch_size), key, 0, steps + 1, problem.examples))(keys[:, 1])

        def trial(rate, beta, seed):
            def evaluate(params, step):
                batch = jax.tree.map(lambda leaf: leaf[orders[seed, step]], data)
                return jax.value_and_grad(problem.loss)(params, batch)

            def body(carry, step):
                params, velocity, loss, grads, alive = carry
                moved = jax.tree.map(lambda v, g: beta * v + g, velocity, grads)
                updates = jax.tree.map(lambda v: -rate * v, moved)
                candidate = jax.tree.map(jnp.add, params, updates)
                value, slope = evaluate(candidate, step + 1)
                norms = norm(slope), norm(updates)
                alive &= jnp.isfinite(value) & jnp.isfinite(norms[0]) & jnp.isfinite(norms[1])
                kept = jax.tree.map(
                    lambda new, old: jnp.where(alive, new, old),
                    (candidate, moved, value, slope),
                    (params, velocity, loss, grads),
                )
                return (*kept, alive), (kept[2], *norms)

            params = jax.tree.map(lambda leaf: leaf[seed], starts)
            loss, grads = evaluate(params, 0)
            first = (params, jax.tree.map(jnp.zeros_like, params), loss, grads, jnp.bool_(True))
            last, histories = jax.lax.scan(body, first, jnp.arange(steps))
            return problem.loss(last[0], data), histories

        return jax.vmap(trial)(*lanes)

    return lambda: jax.block_until_ready(run(lanes, starts, keys, problem.data))


def lean_sweep(problem, rates, betas, seeds, steps, batch_size):
    """One `jit(vmap(scan))` with one order for all, which records losses and takes every step."""
    keys = jnp.stack([jax.random.split(jax.random.fold_in(jax.random.key(0), seed)) for seed in range(seeds)])
    starts = jax.vmap(problem.init)(keys[:, 0])
    grid = np.stack(np.meshgrid(rates, betas, np.arange(seeds), indexing="ij"), axis=-1).reshape(-1, 3)
    lanes = [jnp.asarray(grid[:, i], dtype) for i, dtype in enumerate((jnp.float32, jnp.float32, jnp.int32))]

    @jax.jit
    def run(lanes, starts, key, data):
        def trial(rate, beta, seed):
            def body(carry, rows):
                params, velocity = carry
                batch = jax.tree.map(lambda leaf: leaf[rows], data)
                value, grads = jax.value_and_grad(problem.loss)(params, batch)
                velocity = jax.tree.map(lambda v, g: beta * v + g, velocity, grads)
                return (jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity), value

            params = jax.tree.map(lambda leaf: leaf[seed], starts)
            last, losses = jax.lax.scan(body, (params, jax.tree.map(jnp.zeros_like, params)), order)
            return problem.loss(last[0], data), losses

        order = indices(reshuffle(batch_size), key, 0, steps, problem.examples)
        return jax.vmap(trial)(*lanes)

    return lambda: jax.block_until_ready(run(lanes, starts, keys[0, 1], problem.data))


def lean(repeats):
    """Ours, with everything recorded and with losses alone, beside a program that does less, for 128 trials."""
    seeds, rates, betas, steps = 8, np.geomspace(1e-3, 1, 8), [0.0, 0.9], 500
    problem, space = jon.problems.digits_mlp(64), jon.grid(learning_rate=rates, beta=betas)
    options = dict(seeds=seeds, steps=steps, batch_size=64, progress=False)
    bound = jon.plan(problem, jon.momentum, space, seeds=seeds, steps=steps, batch_size=64).groups[0].bound
    runs = (
        lean_sweep(problem, rates, betas, seeds, steps, 64),
        lambda: jon.sweep(problem, jon.momentum, space, **options),
        lambda: jon.sweep(problem, jon.momentum, space, record="loss", **options),
    )
    for run in runs:
        run()
    by_hand, whole, losses = alternately(runs, 2 * repeats)
    print("\n128 trials of 500 steps, 64 units, beside jit(vmap(scan)) with one order, losses only, no check")
    print(
        f"{statistics.median(by_hand):.2f} s; of ours with losses alone {times_as_long(by_hand, losses):.2f}", end=" "
    )
    print(f"times, with everything recorded {times_as_long(by_hand, whole):.2f} times")
    shares = [f"{128 * steps / statistics.median(taken) / bound.rate:.0%}" for taken in (by_hand, losses, whole)]
    print("of the limit, {}: by hand {}, losses alone {}, everything {}".format(bound.part, *shares))


def torch_sweep(problem, rates, betas, seeds, steps, batch_size):
    """The same trials as a `torch.func` ensemble: vmapped gradients, one Python loop over the steps; None without."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    from torch.func import grad_and_value, vmap

    keys = jnp.stack([jax.random.split(jax.random.fold_in(jax.random.key(0), seed)) for seed in range(seeds)])
    starts = jax.vmap(problem.init)(keys[:, 0])["params"]
    orders = jax.vmap(lambda key: indices(reshuffle(batch_size), key, 0, steps, problem.examples))(keys[:, 1])
    orders = torch.tensor(np.array(orders), dtype=torch.int64)
    grid = np.stack(np.meshgrid(rates, betas, np.arange(seeds), indexing="ij"), axis=-1).reshape(-1, 3)
    rate, beta = (torch.tensor(grid[:, i], dtype=torch.float32) for i in (0, 1))
    seed = torch.tensor(grid[:, 2], dtype=torch.int64)
    leaves = [starts[layer][name] for layer in ("Dense_0", "Dense_1") for name in ("kernel", "bias")]
    initial = [torch.tensor(np.array(leaf))[seed] for leaf in leaves]
    inputs, labels = (torch.tensor(np.array(part)) for part in problem.data)
    labels = labels.to(torch.int64)

    def loss(params, x, y):
        w1, b1, w2, b2 = params
        return torch.nn.functional.cross_entropy(torch.relu(x @ w1 + b1) @ w2 + b2, y)

    slopes = vmap(grad_and_value(loss))
    along = lambda number, leaf: number.reshape(-1, *[1] * (leaf.ndim - 1))

    def run():
        params, velocity, history = initial, [torch.zeros_like(leaf) for leaf in initial], []
        for step in range(steps):
            rows = orders[:, step][seed]
            grads, values = slopes(tuple(params), inputs[rows], labels[rows])
            velocity = [along(beta, g) * v + g for v, g in zip(velocity, grads, strict=True)]
            params = [p - along(rate, v) * v for p, v in zip(params, velocity, strict=True)]
            history.append((values, sum(g.flatten(1).square().sum(1) for g in grads).sqrt()))
        return history

    return run


def alternately(runs, repeats):
    """Times of each run, over alternating runs."""
    times = [[] for _ in runs]
    for _ in range(repeats):
        for run, taken in zip(runs, times, strict=True):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
    return times


def times_as_long(slow, fast):
    """The median over pairs of slow / fast."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def ratios(quick, repeats):
    """Ours beside `jit(vmap(scan))` and `torch.func`, for three widths of the network."""
    seeds, rates, betas = 8, np.geomspace(1e-3, 1, 16), [0.0, 0.9]
    trials = len(rates) * len(betas) * seeds
    print(f"\n{trials} trials of batch 64 on digits; times of others in units of ours")
    print("hidden  steps  width    sweep  trial-steps/s  of the limit   jit(vmap(scan))  torch.func  most of 20 losses")
    for hidden, steps in [(64, 500)] if quick else [(16, 1000), (64, 1000), (256, 250)]:
        problem = jon.problems.digits_mlp(hidden)
        space = jon.grid(learning_rate=rates, beta=betas)
        plain = plain_sweep(problem, rates, betas, seeds, steps, 64)
        options = dict(seeds=seeds, steps=steps, batch_size=64)
        bound = jon.plan(problem, jon.momentum, space, **options).groups[0].bound

        def ours(problem=problem, space=space, options=options):
            return jon.sweep(problem, jon.momentum, space, progress=False, **options)

        (_, expected), table = plain(), ours()
        losses = table.loss.values.reshape(-1, steps + 1)[:, 1:21]
        difference = np.max(np.abs(losses - expected[0][:, :20]) / losses)
        fast, slow = alternately((ours, plain), repeats)
        peer = torch_sweep(problem, rates, betas, seeds, steps // 10, 64)
        torch_ratio = "    -"
        if peer is not None:
            peer()
            again, theirs = alternately((ours, peer), repeats)
            torch_ratio = f"{10 * times_as_long(theirs, again):5.2f}"
        seconds = statistics.median(fast)
        print(
            f"{hidden:6d}  {steps:5d}  {table.attrs['width']:5d}  {seconds:5.2f} s  {trials * steps / seconds:13,.0f}"
            f"  {trials * steps / seconds / bound.rate:5.0%}, {bound.part}"
            f"  {times_as_long(slow, fast):14.2f}  {torch_ratio:>10s}  {difference:.1e}",
            flush=True,
        )


def one_size(trials, steps, repeats):
    """Throughput of a sweep of so many trials, also beside 256 trials before and after it, and its peak memory."""
    problem, seeds, reference = jon.problems.digits_mlp(16), 8, 256
    options = dict(seeds=seeds, steps=steps, batch_size=64, every=steps, width=32)

    def rate(trials):
        space = jon.grid(learning_rate=np.geomspace(1e-3, 1, trials // seeds))
        began = time.perf_counter()
        jon.sweep(problem, jon.momentum, space, progress=False, **options)
        return trials * steps / (time.perf_counter() - began)

    rate(64)  # compiles
    rates, around = [], [rate(reference)]
    for _ in range(repeats):
        rates.append(rate(trials))
        around.append(rate(reference))
    relative = statistics.median(2 * own / sum(around[i : i + 2]) for i, own in enumerate(rates))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    space = jon.grid(learning_rate=np.geomspace(1e-3, 1, trials // seeds))
    bound = jon.plan(problem, jon.momentum, space, **options).groups[0].bound
    own = statistics.median(rates)
    print(f"{trials:6d}  {own:13,.0f}  {own / bound.rate:12.0%}  {relative:15.2f}  {peak:8.0f}", flush=True)


def scaling(quick):
    """Throughput and peak memory from 64 to 16,384 trials of equally many steps.

    The machine's own speed moves by more than what is to be seen over minutes, hence the runs of 256 trials in between.
    """
    steps = 100 if quick else 1000
    print(f"\nhidden 16, {steps} steps, 32 lanes per device")
    print("trials  trial-steps/s  of the limit  256 trials as 1  peak MiB")
    for trials in (64, 1024) if quick else (64, 256, 1024, 4096, 16384):
        repeats = max(1, min(9, 2048 // trials))
        subprocess.run([sys.executable, __file__, "--size", str(trials), str(steps), str(repeats)], check=True)


def costs(repeats):
    """What a store and a progress bar add, how fast a finished sweep comes back, and what halving saves."""
    problem = jon.problems.digits_mlp(64)
    space = jon.grid(learning_rate=np.geomspace(1e-3, 3, 13), beta=[0.0, 0.5, 0.9])
    options = dict(seeds=8, steps=1000, batch_size=64)

    def plain():
        jon.sweep(problem, jon.momentum, space, **options, progress=False)

    def stored():
        with (
            tempfile.TemporaryDirectory() as folder,
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stderr(nowhere),
        ):
            jon.sweep(problem, jon.momentum, space, **options, store=f"{folder}/sweep")

    def halved():
        jon.sweep(problem, jon.momentum, space, **options, progress=False, prune=jon.halving(factor=3, rungs=3))

    for run in (plain, stored, halved):
        run()
    alone, kept, pruned = alternately((plain, stored, halved), repeats)
    print(f"\nstore and progress: {100 * (times_as_long(kept, alone) - 1):.1f} % of the run time")
    print(f"halving by 3: {100 * times_as_long(pruned, alone):.0f} % of the run time")
    with tempfile.TemporaryDirectory() as folder:
        many = jon.grid(learning_rate=np.geomspace(1e-3, 1, 125))
        again = lambda: jon.sweep(
            problem, jon.momentum, many, seeds=8, steps=20, batch_size=64, store=f"{folder}/many", progress=False
        )
        again()
        (resumed,) = alternately((again,), repeats)
    print(f"resume of a finished sweep of 1,000 trials: {statistics.median(resumed):.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one network, fewer sizes, steps and repeats")
    parser.add_argument("--only", nargs="+", choices=["ratios", "lean", "scaling", "costs"])
    parser.add_argument(
        "--size", type=int, nargs=3, metavar=("TRIALS", "STEPS", "REPEATS"), help="one row of the scaling table"
    )
    options = parser.parse_args()
    if options.size:
        one_size(*options.size)
        return
    print(f"{jax.local_device_count()} {jax.default_backend()} devices")
    parts = options.only or ["ratios", "lean", "scaling", "costs"]
    repeats = 3 if options.quick else 5
    if "scaling" in parts:  # first, as a process begins with the peak memory of the one that starts it
        scaling(options.quick)
    if "ratios" in parts:
        ratios(options.quick, repeats)
    if "lean" in parts:
        lean(repeats)
    if "costs" in parts:
        costs(repeats)


if __name__ == "__main__":
    main()
