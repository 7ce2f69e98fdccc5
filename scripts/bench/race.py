"""Ten optimizers, 64 configurations each, 8 seeds that tune and 8 that score, on digits: the verdict and its seconds.

python scripts/bench/race.py [--quick] [--store FOLDER] [--figure race.png]
"""

import argparse
import time

import jaxopt_notes as jon

jon.use_cpu_cores()
jon.use_compilation_cache()

import jax  # noqa: E402
import optax  # noqa: E402
import scipy.stats  # noqa: E402

from jaxopt_notes import plots  # noqa: E402

RATE = scipy.stats.loguniform
SHARE = scipy.stats.uniform(0, 0.99)


def methods(budget):
    """name -> (optimizer, space): each learning rate over the decades that its method may need, one more number."""
    contrib = optax.contrib
    chosen = {
        "gradient_descent": (jon.gradient_descent, {"learning_rate": RATE(1e-3, 10)}),
        "momentum": (jon.momentum, {"learning_rate": RATE(1e-3, 10), "beta": SHARE}),
        "nesterov": (jon.nesterov, {"learning_rate": RATE(1e-3, 10), "beta": SHARE}),
        "adam": (jon.adam, {"learning_rate": RATE(1e-4, 1), "b1": SHARE}),
        "muon": (contrib.muon, {"learning_rate": RATE(1e-4, 1), "beta": SHARE}),
        "lion": (optax.lion, {"learning_rate": RATE(1e-5, 0.1), "b1": SHARE}),
        "ademamix": (contrib.ademamix, {"learning_rate": RATE(1e-4, 1), "b1": SHARE}),
        "schedule_free": (contrib.schedule_free_adamw, {"learning_rate": RATE(1e-4, 1), "b1": SHARE}),
        "prodigy": (contrib.prodigy, {"learning_rate": RATE(1e-2, 100)}),
        "adafactor": (optax.adafactor, {"learning_rate": RATE(1e-4, 10)}),
    }
    keys = jax.random.split(jax.random.key(1), len(chosen))
    return {
        name: (optimizer, jon.sample(budget, key, **numbers))
        for key, (name, (optimizer, numbers)) in zip(keys, chosen.items(), strict=True)
    }


def main(budget=64, seeds=8, steps=100, store=None, figure=None):
    """Race, print the verdict and how long it took."""
    begun = time.perf_counter()
    options = {"steps": steps, "batch_size": 64, "record": "loss", "every": steps, "store": store}
    found = jon.race(
        jon.problems.digits_mlp(), methods(budget), budget=budget, tuning_seeds=seeds, scoring_seeds=seeds, **options
    )
    print(found)
    trials = sum(child.final_loss.size for child in found.tree.children.values())
    print(f"\n{trials:,} trials of {steps} steps in {time.perf_counter() - begun:.0f} s")
    for name, child in found.tree.children.items():
        print(f"  {name:18s}{child.attrs['wall_seconds']:6.0f} s")
    if figure is not None:
        drawn, axes = plots.panels(1, 1, size=(8.0, 4.6))
        plots.budget_curves(found, axes[0])
        plots.write_png(drawn, figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="8 configurations, 2 + 2 seeds, 20 steps")
    parser.add_argument("--store", default=None)
    parser.add_argument("--figure", default=None)
    given = parser.parse_args()
    small = {"budget": 8, "seeds": 2, "steps": 20} if given.quick else {}
    main(**small, store=given.store, figure=given.figure)
