"""Many seeds, few steps wasted: successive halving drops the worse configurations early, all seeds of one together.

    python scripts/seeds_with_halving.py [--help]

Kill it and start it again: with a store it goes on where it stopped.
"""

from pathlib import Path

import tyro

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
from scipy.stats import loguniform, uniform  # noqa: E402


def main(
    configurations: int = 64,
    seeds: int = 8,
    steps: int = 900,
    hidden: int = 32,
    store: Path = Path("runs/halving"),
    seed: int = 0,
) -> None:
    """Search Adam's learning rate and b1 on digits.

    Args:
        configurations: points drawn from a Sobol sequence; powers of two fill the space evenly.
        seeds: of which half choose and half report, so that the number printed is not optimistic.
        steps: of 64 examples, for those that are never dropped.
        hidden: width of each of the two hidden layers.
        store: folder of the finished chunks.
        seed: of the points.
    """
    problem = jon.problems.digits_mlp(hidden=hidden)
    space = jon.sample(
        configurations, jax.random.key(seed), "sobol", learning_rate=loguniform(1e-4, 1), b1=uniform(0, 0.99)
    )
    report_seeds = list(range(seeds // 2, seeds))
    table = jon.sweep(
        problem,
        jon.adam,
        space,
        seeds=seeds,
        steps=steps,
        batch_size=64,
        every=steps // 9,
        prune=jon.halving(factor=3, rungs=3, report_seeds=report_seeds),
        store=store,
    )
    taken = float(table.stopped_at.sum()) / (configurations * seeds * steps)
    print(f"{taken:.0%} of the steps of a full sweep")
    print(jon.best(table, report_seeds=report_seeds))


if __name__ == "__main__":
    tyro.cli(main)
