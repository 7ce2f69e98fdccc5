"""Sweep a loss of your own: robust regression with outliers, every learning rate, momentum and seed in one program.

    python scripts/sweep_custom_loss.py [--help]

The loss is the pseudo-Huber loss of the residuals, mean(d^2 (sqrt(1 + (r / d)^2) - 1)), Charbonnier et al., 1997.
"""

from pathlib import Path

import tyro

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402


def robust_loss(params, batch):
    inputs, targets = batch
    residuals = inputs @ params["weights"] + params["offset"] - targets
    return jnp.mean(jnp.sqrt(1 + residuals**2) - 1)


def examples(key, count, outliers):
    """A line in ten dimensions with noise, and a share of targets that are far off."""
    keys = jax.random.split(key, 4)
    inputs = jax.random.normal(keys[0], (count, 10)) * jnp.geomspace(0.3, 3.0, 10)
    targets = inputs @ jnp.linspace(-1.0, 1.0, 10) + 0.5 + 0.1 * jax.random.normal(keys[1], (count,))
    far = jax.random.bernoulli(keys[2], outliers, (count,))
    return inputs, jnp.where(far, 20 * jax.random.normal(keys[3], (count,)), targets)


def main(
    rates: int = 13,
    seeds: int = 8,
    steps: int = 500,
    count: int = 1000,
    outliers: float = 0.1,
    out: Path = Path("runs/robust"),
    seed: int = 0,
) -> None:
    """Sweep momentum on the robust regression and write the table and a report.

    Args:
        rates: learning rates between 1e-3 and 10, evenly in the logarithm.
        seeds: starts and orders of minibatches per configuration.
        steps: of 50 examples each.
        count: examples for training; a quarter as many are held out.
        outliers: share of targets that are far off.
        out: folder to write.
        seed: of the data.
    """
    train_key, test_key = jax.random.split(jax.random.key(seed))
    problem = jon.Problem(
        robust_loss,
        init=lambda key: {"weights": jax.random.normal(key, (10,)), "offset": jnp.zeros(())},
        data=examples(train_key, count, outliers),
        test_data=examples(test_key, count // 4, outliers),
    )
    space = jon.grid(learning_rate=jnp.geomspace(1e-3, 10, rates), beta=[0.0, 0.5, 0.9])
    table = jon.sweep(problem, jon.momentum, space, seeds=seeds, steps=steps, batch_size=50)
    print(jon.best(table))
    jon.save(table, out / "table.nc")
    print(jon.report(table, out / "report.html"))


if __name__ == "__main__":
    tyro.cli(main)
