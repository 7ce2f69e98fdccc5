"""Tune a learning rate by its own gradient: differentiate the final loss through every step of the training.

    python scripts/hypergradient.py [--help]

    r <- r exp(-h dL_T/d(log r)),  L_T the final loss,  each step at most a factor of two

Source: Maclaurin et al., 2015.
"""

import tyro

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402


def main(start: float = 1e-3, steps: int = 100, rounds: int = 15, hidden: int = 16, seed: int = 0) -> None:
    """Start with a rate that is far too low on digits and follow the hypergradient.

    Args:
        start: the first learning rate.
        steps: of training, on all examples, that are differentiated through.
        rounds: changes of the learning rate.
        hidden: width of each of the two hidden layers.
        seed: of the network.
    """
    problem = jon.problems.digits_mlp(hidden=hidden)
    params = problem.init(jax.random.key(seed))

    def final_loss(log_rate, data):
        optimizer = jon.momentum(jnp.exp(log_rate), beta=0.9)
        return jon.minimize(problem.loss, params, optimizer, steps=steps, data=data).final_loss

    # The step h is a choice too: with h = 4 the rate doubles where the loss falls by 0.17 per e-fold or more.
    slope_of = jax.jit(jax.value_and_grad(final_loss))
    log_rate = jnp.log(start)
    for round_ in range(rounds + 1):
        loss, slope = slope_of(log_rate, problem.data)
        print(
            f"{round_:3d}  learning rate {jnp.exp(log_rate):.4g}  final loss {loss:.4g}  d loss/d log rate {slope:+.3g}"
        )
        log_rate = log_rate - jnp.clip(4.0 * slope, -jnp.log(2.0), jnp.log(2.0))


if __name__ == "__main__":
    tyro.cli(main)
