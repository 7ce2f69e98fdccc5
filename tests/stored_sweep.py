"""A sweep in a process of its own, to be killed: `python stored_sweep.py folder cache`."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute import engine
from jaxopt_notes.sweeps.keep import shelf


def definition(larger=None):
    """The sweep's arguments: 24 chunks of 2 trials of a small network on 256 examples.

    With `larger` it keeps states; False has fewer seeds, points and steps than True.
    """
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((256, 8)).astype(np.float32)
    data = (inputs, np.sin(inputs.sum(axis=1)))

    def loss(params, batch):
        hidden = jnp.tanh(batch[0] @ params["in"])
        return jnp.mean((hidden @ params["out"] - batch[1]) ** 2)

    start = {"in": rng.standard_normal((8, 32)).astype(np.float32), "out": np.zeros(32, np.float32)}
    problem = jon.Problem(loss, init=start, data=data)
    space = jon.grid(learning_rate=[0.01, 0.1, 0.5, 30.0], beta=[0.0, 0.5, 0.9])
    options = dict(seeds=4, steps=1000, batch_size=32, every=50, width=2, progress=False)
    if larger is not None:
        options |= {"keep": "params+state"} | ({} if larger else {"seeds": 3, "steps": 500})
        rates = [0.01, 0.1, 0.5] if larger else [0.01, 0.5]
        space = jon.grid(learning_rate=rates, beta=[0.0, 0.9])
    return (problem, jon.momentum, space), options


def run(folder, cache):
    """The sweep with a store, in a process that keeps its compiled programs in `cache`."""
    jon.use_compilation_cache(cache)
    shelf.SECONDS_PER_CHECKPOINT = 0.0  # after every segment, so that kills meet chunks on their way
    arguments, options = definition()
    jon.sweep(*arguments, **options, store=folder)


def assert_same(actual, expected):
    """Two tables with the same variables, dtypes and bits."""
    assert set(actual.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
        assert actual[name].dtype == expected[name].dtype


def small(folder, cache):
    """A sweep that keeps states."""
    extend(folder, cache, larger=False)


def larger(folder, cache):
    """The same with more seeds, points and steps."""
    extend(folder, cache, larger=True)


def extend(folder, cache, larger):
    """Begin or extend the sweep."""
    jon.use_compilation_cache(cache)
    shelf.SECONDS_PER_CHECKPOINT = 0.0
    arguments, options = definition(larger)
    jon.sweep(*arguments, **options, store=folder, extend=True)


def long_definition():
    """Two chunks of 4 trials, long enough to be interrupted on the way."""
    (problem, optimizer, _), options = definition()
    space = jon.grid(learning_rate=[0.01, 0.1], beta=[0.9])
    return (problem, optimizer, space), {**options, "steps": 5000, "width": 4, "keep": "params+state"}


def interrupted(folder, cache, stored):
    """A sweep that is to receive SIGINT, in short segments; what it returns is saved beside the folder."""
    jon.use_compilation_cache(cache)
    engine.SECONDS_PER_SEGMENT = 0.02
    arguments, options = long_definition()
    # A file for every segment of the second chunk shows that it is on its way.
    progressed = engine.Progress.segment
    segments = []

    def noted(self, *given):
        segments.append(1)
        Path(f"{folder}.segments").write_text(str(len(segments)))
        progressed(self, *given)

    engine.Progress.segment = noted
    table = jon.sweep(*arguments, **options, store=folder if stored == "stored" else None)
    jon.save(table, f"{folder}.nc")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        interrupted(*sys.argv[1:])
    else:
        run(*sys.argv[1:])
