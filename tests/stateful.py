"""A problem with a state of its own: a small network with batch statistics."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon


class Normalised(nn.Module):
    """A small network with batch statistics."""

    @nn.compact
    def __call__(self, inputs, train):
        hidden = nn.Dense(6, use_bias=False)(inputs)  # a bias would have a gradient of rounding alone
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden)
        return nn.Dense(1)(jnp.tanh(hidden))[:, 0]


def normalised(**parts):
    """A problem with a BatchNorm, whose loss asks for aux and the mode."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((32, 4)).astype(np.float32)
    data = (inputs, np.sin(inputs.sum(axis=1)).astype(np.float32))
    network = Normalised()

    def loss(params, batch, *, aux, train):
        variables = {"params": params, "batch_stats": aux}
        out, new = network.apply(variables, batch[0], train=train, mutable=["batch_stats"])
        return jnp.mean((out - batch[1]) ** 2), new["batch_stats"]

    def init(key):
        variables = network.init(key, inputs[:2], train=True)
        return variables["params"], variables["batch_stats"]

    return jon.Problem(loss, init=init, data=data, **{name: (data[0][:n], data[1][:n]) for name, n in parts.items()})
