"""How often a race names a false winner, and how often it sees a true one: measured on the noise of a real sweep.

A sweep of momentum on digits is stored once: 512 random configurations, 32 seeds. A null race draws two times 64 other
configurations of it and 16 seeds: one method under two names. `same seeds` gives both the same starts and data
orders, as a race does; `own seeds` gives each its own, as if every seed suited one of the two by chance. Three tests
judge each race: `tuned_test`, and what it is made of, each alone: the permutation of the configurations, and the t-test
of the two tuned configurations over the seeds. Then one of the two has its losses lowered by a known share.

    python scripts/bench/race_calibration.py [--races 10000] [--store runs/race_calibration]
"""

import argparse

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402

from jaxopt_notes.race import tuned_test  # noqa: E402

CONFIGURATIONS, SEEDS = 64, 8  # of a method in a race: the seeds that tune, and as many that score
LEVELS = (0.05, 0.001)


def stored(store, configurations, seeds, steps):
    """Logarithms of final losses, (configuration, seed); a run that failed counts as one that stayed where it began."""
    space = jon.sample(
        configurations,
        jax.random.key(1),
        learning_rate=scipy.stats.loguniform(1e-3, 10.0),
        beta=scipy.stats.uniform(0, 0.99),
    )
    options = {"seeds": seeds, "steps": steps, "batch_size": 64, "record": "loss", "every": steps}
    table = jon.sweep(jon.problems.digits_mlp(), jon.momentum, space, **options, store=store)
    first, last = table.initial_loss.values, table.final_loss.values
    return np.log(np.where(np.isfinite(last), np.minimum(last, first), first))


def contestants(losses, random, own):
    """(tuning, scoring) of two methods, drawn from the same sweep."""
    rows = random.permutation(losses.shape[0])[: 2 * CONFIGURATIONS].reshape(2, -1)
    columns = random.permutation(losses.shape[1])[: 4 * SEEDS].reshape(2, -1)
    for method in range(2):
        values = losses[np.ix_(rows[method], columns[method if own else 0])]
        yield np.median(values[:, :SEEDS], axis=1), values[:, SEEDS:]


def p_values(first, second):
    """Of `tuned_test`, of the configurations alone, and of the seeds alone."""
    means = [(tuning, np.repeat(scores.mean(axis=1, keepdims=True), 2, axis=1)) for tuning, scores in (first, second)]
    tuned = [scores[np.argmin(tuning)] for tuning, scores in (first, second)]
    paired = scipy.stats.ttest_rel(*tuned).pvalue if (tuned[0] != tuned[1]).any() else 1.0
    return tuned_test(first, second), tuned_test(*means), paired


def null(losses, races, own):
    """Shares of the races with a false winner: a row per test, a column per level."""
    random = np.random.default_rng(0)
    p = np.array([p_values(*contestants(losses, random, own)) for _ in range(races)])
    return np.array([[(column <= level).mean() for level in LEVELS] for column in p.T])


def power(losses, races, share, budget):
    """(share of the races that the better method wins, that the worse one wins) at 0.05, and the first at 0.001."""
    random, won = np.random.default_rng(1), []
    for _ in range(races):
        (tuning, scores), other = contestants(losses, random, own=False)
        better = tuning + np.log(1 - share), scores + np.log(1 - share)
        p = tuned_test(better, other, budget)
        gap = sum(sign * score_at(one, budget) for sign, one in ((1, other), (-1, better)))
        won.append((p <= 0.05 and gap > 0, p <= 0.05 and gap < 0, p <= 0.001 and gap > 0))
    return np.mean(won, axis=0)


def score_at(one, budget):
    """The expected score of the best of so many trials."""
    tuning, scores = one
    ranks = np.arange(1, len(tuning) + 1)
    shares = scipy.special.comb(len(tuning) - ranks, budget - 1) / scipy.special.comb(len(tuning), budget)
    return shares @ scores.mean(axis=1)[np.argsort(tuning, kind="stable")]


def main(races=10_000, store="runs/race_calibration", configurations=512, seeds=32, steps=60):
    """Print both tables."""
    losses = stored(store, configurations, seeds, steps)
    print(f"{races} null races of {CONFIGURATIONS} configurations and {SEEDS} + {SEEDS} seeds: false winners")
    print(f"{'':12s}{'test':28s}" + "".join(f"{f'at {level}':>12s}" for level in LEVELS))
    for own in (False, True):
        tests = ("tuned_test", "configurations alone", "seeds alone")
        for test, rates in zip(tests, null(losses, races, own), strict=True):
            print(f"{'own seeds' if own else 'same seeds':12s}{test:28s}" + "".join(f"{rate:12.2%}" for rate in rates))
    print(f"\n{races // 10} races with a true winner, whose losses are lower by a share: who wins")
    print(f"{'budget':>8s}{'lower by':>10s}{'true, .05':>12s}{'false, .05':>12s}{'true, .001':>12s}")
    for budget in (4, 16, CONFIGURATIONS):
        for share in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7):
            rates = power(losses, races // 10, share, budget)
            print(f"{budget:8d}{share:10.0%}" + "".join(f"{rate:12.1%}" for rate in rates))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--store", default="runs/race_calibration")
    given = parser.parse_args()
    main(given.races, given.store)
