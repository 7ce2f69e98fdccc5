"""A sweep in a process of its own, to be killed: `python stored_sweep.py folder cache`."""

import sys

import jaxopt_notes as jon
from jaxopt_notes.sweeps import shelf


def definition():
    """The sweep's arguments: 24 chunks of 2 trials."""
    problem = jon.problems.digits_mlp(hidden=8)
    space = jon.grid(learning_rate=[0.01, 0.1, 0.5, 30.0], beta=[0.0, 0.5, 0.9])
    return (problem, jon.momentum, space), dict(seeds=4, steps=6000, batch_size=64, every=100, width=2, progress=False)


if __name__ == "__main__":
    folder, cache = sys.argv[1:]
    jon.use_compilation_cache(cache)
    shelf.SECONDS_PER_CHECKPOINT = 0.0  # after every segment, so that kills meet chunks on their way
    arguments, options = definition()
    jon.sweep(*arguments, **options, store=folder)
