"""Train a network, then judge where it ended: is the point critical, and is the Hessian there that of a minimum?

python scripts/classify_network.py [--help]
"""

import tyro

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402


def main(hidden: int = 16, learning_rate: float = 0.05, steps: int = 2000, seed: int = 0) -> None:
    """Train an MLP on digits with full gradients and print the verdict at the start and at the end.

    Args:
        hidden: width of each of the two hidden layers.
        learning_rate: of heavy-ball momentum with beta 0.9.
        steps: of gradient descent on all examples.
        seed: of the start.
    """
    problem = jon.problems.digits_mlp(hidden=hidden)
    start = problem.init(jax.random.key(seed))
    optimizer = jon.momentum(learning_rate, beta=0.9)
    run = jon.minimize(problem.loss, start, optimizer, steps=steps, data=problem.data)
    print(run)
    for where, params in (("start", start), ("end", run.params)):
        print(f"\n{where}: {jon.classify(problem.loss, params, problem.data, key=jax.random.key(1))}")
    # The ends of the spectrum, each verified, and how much of it is negative.
    operator = jon.curvature.HessianOperator(problem.loss, run.params, problem.data)
    print(f"\n{jon.curvature.eigsh(operator, k=2, which='BE')}")
    print(f"\n{jon.stability(optimizer, run.state, problem.loss, run.params, problem.data)}")


if __name__ == "__main__":
    tyro.cli(main)
