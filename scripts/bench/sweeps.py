"""Sweep throughput beside what a user would write: one `jit(vmap(scan))` doing equal work, in the same process.

Both sides train the same trials: the digits network, momentum, batch 64, orders reshuffled per seed and computed
outside the lanes, the same histories (loss, gradient norm, update norm; steps + 1 entries), candidates accepted only
if finite, final losses on the full data. Times are medians over alternating runs, after one run each to compile.

    python scripts/bench/sweeps.py [--quick]
"""

import argparse
import statistics
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
    norm = lambda tree: jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))  # noqa: E731

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one network, fewer steps and repeats")
    quick = parser.parse_args().quick
    seeds, repeats = 8, 3 if quick else 5
    rates, betas = np.geomspace(1e-3, 1, 16), [0.0, 0.9]
    trials = len(rates) * len(betas) * seeds
    devices = f"{jax.local_device_count()} {jax.default_backend()} devices"
    print(f"{devices}; {trials} trials of batch 64 on digits")
    print("hidden  steps  width  jit(vmap(scan))    sweep  ratio  trial-steps/s  largest difference of 20 losses")
    for hidden, steps in [(64, 500)] if quick else [(16, 1000), (64, 1000), (256, 250)]:
        problem = jon.problems.digits_mlp(hidden)
        space = jon.grid(learning_rate=rates, beta=betas)
        plain = plain_sweep(problem, rates, betas, seeds, steps, 64)

        def ours(problem=problem, space=space, steps=steps):
            return jon.sweep(problem, jon.momentum, space, seeds=seeds, steps=steps, batch_size=64, progress=False)

        (_, expected), table = plain(), ours()
        losses = table.loss.values.reshape(-1, steps + 1)[:, 1:21]
        difference = np.max(np.abs(losses - expected[0][:, :20]) / losses)
        times = {plain: [], ours: []}
        for _ in range(repeats):
            for run, taken in times.items():
                began = time.perf_counter()
                run()
                taken.append(time.perf_counter() - began)
        slow, fast = statistics.median(times[plain]), statistics.median(times[ours])
        ratio = statistics.median(a / b for a, b in zip(times[plain], times[ours], strict=True))
        speed = losses.shape[0] * steps / fast
        width = table.attrs["width"]
        row = f"{hidden:6d}  {steps:5d}  {width:5d}  {slow:13.3f} s  {fast:5.3f} s  {ratio:5.2f}  {speed:13,.0f}"
        print(f"{row}  {difference:.1e}")


if __name__ == "__main__":
    main()
