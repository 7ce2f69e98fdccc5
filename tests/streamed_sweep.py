"""A streamed sweep in a process of its own, to be killed: `run(file, folder, cache)`."""

import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute import engine, group_plan
from jaxopt_notes.sweeps.keep import shelf

SHAPE = (512, 9)
STEPS_PER_WINDOW = 37  # which does not divide the steps


def write(path):
    """A file of examples: eight inputs and a target each."""
    inputs = np.random.default_rng(0).standard_normal((SHAPE[0], 8)).astype(np.float32)
    np.concatenate([inputs, np.sin(inputs.sum(axis=1, keepdims=True))], axis=1).tofile(path)


def definition(path):
    """The sweep's arguments: 3 chunks of 4 trials of a small network, in windows that do not divide the steps."""
    group_plan.STREAM_BYTES["cpu"] = STEPS_PER_WINDOW * 32 * 9 * 4
    rng = np.random.default_rng(1)

    def loss(params, batch):
        hidden = jnp.tanh(batch[:, :8] @ params["in"])
        return jnp.mean((hidden @ params["out"] - batch[:, 8]) ** 2)

    start = {"in": rng.standard_normal((8, 32)).astype(np.float32), "out": np.zeros(32, np.float32)}
    rows = np.memmap(path, np.float32, "r", shape=SHAPE)
    space = jon.grid(learning_rate=[0.1, 30.0], beta=[0.0, 0.5, 0.9])
    options = dict(data=rows, batch_size=32, seeds=2, steps=400, every=50, width=4, progress=False)
    return (jon.Problem(loss, init=start), jon.momentum, space), options


def run(path, folder, cache):
    """The sweep with a store, in a process that keeps its compiled programs in `cache`."""
    jon.use_compilation_cache(cache)
    # After every segment. A window has several, so kills come in the middle of chunks and of windows.
    shelf.SECONDS_PER_CHECKPOINT, engine.SECONDS_PER_SEGMENT = 0.0, 0.002
    arguments, options = definition(path)
    jon.sweep(*arguments, **options, store=folder)
