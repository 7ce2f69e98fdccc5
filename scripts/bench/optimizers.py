"""One optimizer step beside optax's same method: seconds, compile time and memory, as ratios in one process.

Each side is what a user writes: a jitted step that closes over its optimizer, with parameters and state donated.
Ours counts steps always, optax only where a method or a schedule needs it: `--schedule` gives both the rate as a
constant schedule, so that both count. The column `argument` passes our optimizer into the compiled step in place of
closing over it, as `minimize` does. Runs alternate (A B B A ...), and a ratio is the median over pairs, a quarter of
them from buffers of their own, since where these lie moves a step by a tenth; above 1, ours is slower.

    python scripts/bench/optimizers.py [--sizes 1000 1000000 30000000] [--methods adam adamw] [--pairs 60] [--schedule]
"""

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import bytes_needed

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from golden_rows import ROWS


def methods():
    """Name -> our factory and optax's, of a rate or a schedule: the calls of tests/golden_rows.py."""
    found = {}
    for method, rows in ROWS.items():
        for row in (row for row in rows if row.theirs.startswith("optax.") and "chain(" not in row.theirs):
            function, _, options = row.theirs.removeprefix("optax.").partition("({rate}")
            name = f"{method} {options.strip(', )') or function}" if method in found else method
            found[name] = tuple(partial(made, call) for call in (row.ours, row.theirs))
    return found


def made(call, rate):
    return eval(call.format(rate="rate"), {"jon": jon, "optax": optax, "rate": rate})


METHODS = methods()


def network(size, layers=2):
    """Parameters of a network with `size` numbers in all, about: a kernel and a bias per layer."""
    width = max(1, round((size / layers) ** 0.5))
    draw = np.random.default_rng(0).standard_normal
    return {
        f"layer{i}": {
            "kernel": jnp.asarray(draw((width, width), dtype=np.float32)),
            "bias": jnp.asarray(draw(width, dtype=np.float32)),
        }
        for i in range(layers)
    }


def step_of(tx):
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def step_with_argument(tx):
    def step(params, state, grads, tx):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    return lambda params, state, grads: compiled(params, state, grads, tx)


class Runner:
    """A step with its own parameters and state, which it gives away and gets back."""

    def __init__(self, step, tx, size):
        self.step, self.grads = step, network(size)
        self.params = jax.tree.map(jnp.copy, self.grads)
        self.state = jax.jit(tx.init)(self.params)
        self.seconds(2)

    def seconds(self, steps):
        began = time.perf_counter()
        for _ in range(steps):
            self.params, self.state = self.step(self.params, self.state, self.grads)
        jax.block_until_ready(self.params)
        return (time.perf_counter() - began) / steps


def paired(first, second, size, pairs, steps, placements=4):
    """Median ratio first / second over alternating runs, and the two medians; each side is (step, optimizer)."""
    times = []
    for placement in range(placements):
        sides = (first, second)[:: -1 if placement % 2 else 1]
        runners = [Runner(*side, size) for side in sides][:: -1 if placement % 2 else 1]
        for i in range(pairs // placements):
            order = runners if i % 2 else runners[::-1]
            taken = {id(runner): runner.seconds(steps) for runner in order}
            times.append([taken[id(runner)] for runner in runners])
    a, b = map(statistics.median, zip(*times, strict=True))
    return statistics.median(x / y for x, y in times), a, b


def compile_seconds(make, layers):
    """Seconds to trace, lower and compile a new step."""
    tx = make()
    params = network(1000 * layers, layers)
    state = tx.init(params)
    jax.clear_caches()
    began = time.perf_counter()
    step_of(tx).lower(params, state, params).compile()
    return time.perf_counter() - began


def memory(make):
    """Bytes per parameter of a donated step: temporaries, and outputs that are not an argument's buffer."""
    tx, params = make(), network(1_000_000)
    sizes = bytes_needed(step_of(tx).lower(params, tx.init(params), params).compile())
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return sizes.between / count, sizes.results / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 1_000_000, 30_000_000])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--schedule", action="store_true", help="both sides take a constant schedule, so both count")
    options = parser.parse_args()
    rates = (jon.schedules.constant(1e-3), optax.constant_schedule(1e-3)) if options.schedule else (1e-3, 1e-3)
    sides = {name: [partial(make, rate) for make, rate in zip(METHODS[name], rates, strict=True)] for name in METHODS}
    print(f"{jax.local_device_count()} {jax.default_backend()} devices; seconds ours / optax")
    print("method              parameters      ours     optax   ratio   argument")
    for name in options.methods:
        ours, theirs = sides[name]
        for size in options.sizes:
            steps = max(1, min(200, 30_000_000 // size))  # some ten milliseconds, to meet the same machine
            tx, reference = ours(), theirs()
            peer = (step_of(reference), reference)
            ratio, mine, other = paired((step_of(tx), tx), peer, size, options.pairs, steps)
            argument, _, _ = paired((step_with_argument(tx), tx), peer, size, options.pairs, steps)
            print(
                f"{name:18s}  {size:10d}  {1e6 * mine:8.1f}  {1e6 * other:8.1f} us  {ratio:5.3f}  {argument:5.3f}",
                flush=True,
            )
    print("\nmethod              compile 2 layers  32 layers   temporaries, copies in bytes per parameter (optax's)")
    for name in options.methods:
        ratios = []
        for layers, repeats in ((2, 9), (32, 5)):
            pairs = [
                [compile_seconds(side, layers) for side in sides[name]]
                if i % 2
                else [compile_seconds(side, layers) for side in sides[name][::-1]][::-1]
                for i in range(repeats)
            ]
            ratios.append(statistics.median(a / b for a, b in pairs))
        mine, other = map(memory, sides[name])
        print(
            f"{name:18s}  {ratios[0]:16.3f}  {ratios[1]:9.3f}   {mine[0]:.4f}, {mine[1]:.4f}"
            f"   ({other[0]:.4f}, {other[1]:.4f})"
        )


if __name__ == "__main__":
    main()
