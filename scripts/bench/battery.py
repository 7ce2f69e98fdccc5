"""Which methods pass which tasks of `jon.problems.battery()`, at which tuning effort: a table, and its figures.

Every method draws its configurations at random from a space of its own: learning rates log-uniform from 1e-5 to 10, the
distance of each decay from 1 log-uniform. The counts go to a CSV, one method after the other. What is in the file
already is not run again, so the same call goes on after an interruption, and takes in tasks that are new.

    python scripts/bench/battery.py [--trials 1000] [--methods adam muon] [--out battery.csv] [--table battery.nc]
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pandas
from optax import contrib

import jaxopt_notes as jon
from jaxopt_notes.race import run_battery

RATES = (1e-5, 10.0)
# Decays by their distance from 1, so that 0.9, 0.99 and 0.999 are equally likely.
FAST, SLOW = (0.01, 1.0), (1e-4, 0.5)
SOME_DECAY = (1e-6, 0.1)


def adafactor(learning_rate, decay_rate, clipping_threshold):
    """Factored also where a matrix is small, as those of the battery are."""
    return optax.adafactor(
        learning_rate, min_dim_size_to_factor=2, decay_rate=decay_rate, clipping_threshold=clipping_threshold
    )


def prodigy(learning_rate, b1, b2):
    """With its two decays as numbers of their own."""
    return contrib.prodigy(learning_rate, betas=(b1, b2))


# Method -> its factory, and for each number the range of the number itself, or of its distance from 1 for a decay.
METHODS = {
    "gradient_descent": (jon.gradient_descent, {}, {}),
    "momentum": (jon.momentum, {}, {"beta": FAST}),
    "nesterov": (jon.nesterov, {}, {"beta": FAST}),
    "adagrad": (jon.adagrad, {}, {}),
    "adadelta": (jon.adadelta, {}, {"rho": SLOW}),
    "rmsprop": (jon.rmsprop, {}, {"decay_rate": SLOW}),
    "adam": (jon.adam, {}, {"b1": FAST, "b2": SLOW}),
    "adamw": (jon.adamw, {"weight_decay": SOME_DECAY}, {"b1": FAST, "b2": SLOW}),
    "lion": (jon.lion, {}, {"b1": FAST, "b2": SLOW}),
    "adan": (jon.adan, {}, {"b1": FAST, "b2": FAST, "b3": SLOW}),
    "muon": (contrib.muon, {}, {"beta": FAST, "adam_b1": FAST, "adam_b2": SLOW}),
    "ademamix": (contrib.ademamix, {"alpha": (0.1, 10.0)}, {"b1": FAST, "b2": SLOW, "b3": SLOW}),
    "adafactor": (adafactor, {"decay_rate": (0.3, 1.0), "clipping_threshold": (0.1, 10.0)}, {}),
    "prodigy": (prodigy, {}, {"b1": FAST, "b2": SLOW}),
    "schedule_free": (contrib.schedule_free_adamw, {}, {"b1": FAST, "b2": SLOW}),
    "lamb": (optax.lamb, {}, {"b1": FAST, "b2": SLOW}),
    "yogi": (optax.yogi, {}, {"b1": FAST, "b2": SLOW}),
    "adabelief": (optax.adabelief, {}, {"b1": FAST, "b2": SLOW}),
    "adopt": (contrib.adopt, {}, {"b1": FAST, "b2": SLOW}),
    "radam": (optax.radam, {}, {"b1": FAST, "b2": SLOW}),
}


def space_of(method, trials, seed=0):
    """So many configurations, drawn log-uniformly."""
    _, ranges, decays = METHODS[method]
    random = np.random.default_rng(seed)

    def drawn(low, high):
        return np.exp(random.uniform(np.log(low), np.log(high), trials))

    columns = {"learning_rate": drawn(*RATES)}
    columns |= {name: drawn(*span) for name, span in ranges.items()}
    columns |= {name: np.clip(1 - drawn(*span), 0.0, 1 - 1e-4) for name, span in decays.items()}
    return jon.trials(columns)


def in_order(rows):
    """The rows by method as above, then by task as in the battery."""
    places = {name: place for place, name in enumerate([*METHODS, *jon.problems.battery()])}
    return rows.sort_values(["optimizer", "task"], key=lambda column: column.map(places))


def table_of(rows):
    """The rows as a Dataset over task and optimizer, as `run_battery` returns it."""
    tasks, methods = rows.task.unique(), rows.optimizer.unique()
    table = rows.set_index(["task", "optimizer"]).to_xarray().sel(task=tasks, optimizer=methods)
    table = table.drop_vars("seconds")
    for name, other in {"group": "optimizer", "threshold": "optimizer", "trials": "task"}.items():
        table[name] = table[name].isel({other: 0}, drop=True)
    return table


def main():
    jon.compile_quickly()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--groups", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("battery.csv"))
    parser.add_argument("--table", type=Path, help="a NetCDF file of the whole table, for the book")
    options = parser.parse_args()
    chosen = jon.problems.battery(*options.groups)
    done = pandas.read_csv(options.out) if options.out.is_file() else pandas.DataFrame({"optimizer": [], "task": []})
    for method in options.methods:
        have = set(done.task[done.optimizer == method])
        tasks = {name: task for name, task in chosen.items() if name not in have}
        if not tasks:
            continue
        began = time.perf_counter()
        methods = {method: (METHODS[method][0], space_of(method, options.trials))}
        table = run_battery(methods, tasks, seeds=options.seeds, key=jax.random.key(0))
        rows = table.to_dataframe().reset_index().assign(seconds=(time.perf_counter() - began) / len(tasks))
        done = in_order(pandas.concat([done, rows]) if len(done) else rows)
        done.to_csv(options.out, index=False, float_format="%.6g")
        passed = int((rows.passes > 0).sum())
        print(f"{method:18s}{passed:4d} of {len(tasks)} tasks{time.perf_counter() - began:8.1f} s", flush=True)
    if options.table is not None:
        table_of(done).to_netcdf(options.table, engine="h5netcdf")


if __name__ == "__main__":
    main()
