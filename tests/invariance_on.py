"""`check_invariance` of plans on 1, 2, 4, ... of so many CPU devices: `python invariance_on.py devices`."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((64, 4)).astype(np.float32)
    problem = jon.Problem(
        lambda params, batch: jnp.mean((jnp.tanh(batch[0] @ params) - batch[1]) ** 2),
        init=lambda key: jax.random.normal(key, (4,)),
        data=(inputs, np.tanh(inputs.sum(axis=1))),
    )
    space = jon.sample(7, jax.random.key(0), "sobol", learning_rate=[0.01, 0.05, 0.1], beta=[0.0, 0.5])
    count = 1
    while count <= jax.local_device_count():
        devices = jax.devices()[:count]
        plan = jon.plan(problem, jon.momentum, space, seeds=3, steps=30, batch_size=16, width=3, devices=devices)
        print(f"plan on {count} of {jax.local_device_count()} devices")
        print(jon.check_invariance(plan))
        count *= 2
