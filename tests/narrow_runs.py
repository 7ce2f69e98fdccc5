"""Runs of bfloat16 and float16 parameters beside the loss evaluated at the parameters that they report.

As a script, `python tests/narrow_runs.py`, it checks the same with programs compiled as users compile them.
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon

DATA = np.random.default_rng(0).normal(1.0, 1.0, (24, 3)).astype(np.float32)
STREAM, KEY = jon.minibatches.reshuffle(8), jax.random.key(1)


def loss(params, batch):
    """Computed in float32, so that all of its rounding is that of the parameters."""
    wide = params["w"].astype(jnp.float32) * params["v"].astype(jnp.float32)
    return jnp.mean(jnp.sum((wide[None] - batch) ** 2, axis=1))


def start(dtype):
    return {"w": jnp.asarray([1.0, -0.5, 2.0], dtype), "v": jnp.asarray([0.3, 0.7, -1.1], dtype)}


def loss_and_norm(params, batch):
    """The loss and the norm of its gradient, one operation at a time."""
    value, grad = jax.value_and_grad(loss)(params, batch)
    return float(value), np.sqrt(sum(np.sum(np.float64(leaf) ** 2) for leaf in jax.tree.leaves(grad)))


def check(run, batches, final):
    """Every entry is the loss, and the norm of the gradient, at the parameters of that entry."""
    paths = [jax.tree.map(lambda leaf, k=k: leaf[k], run.params_path) for k in range(len(batches))]
    values, norms = zip(*map(loss_and_norm, paths, batches), strict=True)
    np.testing.assert_allclose(run.loss, values, rtol=2e-6)
    np.testing.assert_allclose(run.grad_norm, norms, rtol=2e-6)
    np.testing.assert_allclose(run.final_loss, loss(run.params, final), rtol=2e-6)


def check_runs(dtype, optimizer, steps=6):
    """Everything that takes the steps of the loop."""
    begin, options = start(dtype), {"data": DATA, "record_params": True}
    stream = jon.minibatches.batches(DATA, STREAM, KEY)
    drawn = [next(stream) for _ in range(steps + 1)]
    whole = [DATA] * (steps + 1)
    check(jon.minimize(loss, begin, optimizer, steps=1, **options), whole[:2], DATA)  # a loop that XLA unrolls
    check(jon.minimize(loss, begin, optimizer, steps=steps, minibatches=STREAM, key=KEY, **options), drawn, DATA)
    check(jon.minimize_until(loss, begin, optimizer, max_steps=steps, **options), whole, DATA)
    check(jon.minimize_stream(loss, begin, optimizer, iter(drawn), record_params=True), drawn, drawn[-1])


def check_sweep(dtype):
    """Trials that kept their end points, at which the last entry and the final loss are."""
    problem = jon.Problem(loss, init=start(dtype), data=DATA)
    space = jon.grid(learning_rate=[0.003, 0.0123, 0.05], beta=[0.0, 0.9])
    table = jon.sweep(problem, jon.momentum, space, steps=5, keep_params=True, progress=False)
    for rate in table.learning_rate.values:
        for beta in table.beta.values:
            trial = table.sel(learning_rate=rate, beta=beta, seed=0)
            value, norm = loss_and_norm(jon.end_point(table, problem, learning_rate=rate, beta=beta, seed=0), DATA)
            np.testing.assert_allclose([trial.final_loss, trial.loss[-1]], value, rtol=2e-6)
            np.testing.assert_allclose(trial.grad_norm[-1], norm, rtol=2e-6)


if __name__ == "__main__":
    for each in (jnp.bfloat16, jnp.float16):
        check_runs(each, jon.gradient_descent(0.0123))
    check_sweep(jnp.bfloat16)
