"""One of several processes that write a store together."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon


def definition():
    """The sweep's arguments: 12 chunks of 2 trials of a small network, whose loss is not importable."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((256, 8)).astype(np.float32)

    def loss(params, batch):
        return jnp.mean((jnp.tanh(batch[0] @ params["in"]) @ params["out"] - batch[1]) ** 2)

    start = {"in": rng.standard_normal((8, 16)).astype(np.float32), "out": np.zeros(16, np.float32)}
    problem = jon.Problem(loss, init=start, data=(inputs, np.sin(inputs.sum(axis=1))))
    space = jon.grid(learning_rate=[0.01, 0.1, 1e30], beta=[0.0, 0.9])
    options = dict(seeds=4, steps=20, batch_size=64, width=2, progress=False)
    return (problem, jon.momentum, space), options


def run(port, index, folder, cache):
    """The sweep as process `index` of two, with the compiled programs of `cache`."""
    jon.use_compilation_cache(cache)
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=index)
    arguments, options = definition()
    table = jon.sweep(*arguments, **options, store=folder)
    assert (table.status.values.ravel()[2 * index :: 4] >= 0).all()  # its own share at least
    jax.distributed.shutdown()  # as the end of a script does
