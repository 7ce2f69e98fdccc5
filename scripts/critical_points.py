"""Find the critical points of the catalogue and print jaxopt_notes/problems/_functions/tables.py.

    python scripts/critical_points.py > tables.py && ruff format tables.py

Newton's method in float64 from thousands of random starts in each box; what a symmetry repeats is printed once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon
from jaxopt_notes.problems._functions import clusters

jax.config.update("jax_enable_x64", True)
STARTS, STEPS = 20_000, 200


@partial(jax.jit, static_argnums=0)
def newton(loss: Callable, starts: Any) -> Any:
    """Where Newton's method arrives, and the gradient norm there."""

    def step(_, x):
        return x - jnp.linalg.solve(jax.hessian(loss)(x), jax.grad(loss)(x))

    ends = jax.vmap(lambda x: jax.lax.fori_loop(0, STEPS, step, x))(starts)
    return ends, jax.vmap(lambda x: jnp.linalg.norm(jax.grad(loss)(x)))(ends)


def search(problem: jon.Problem, wanted: Callable = lambda x: True) -> list[np.ndarray]:
    """The distinct critical points in the box, clean of rounding beside integers, those of them that are wanted."""
    low, high = problem.facts.domain
    starts = np.random.default_rng(0).uniform(low, high, (STARTS, low.size))
    ends, slopes = map(np.asarray, newton(problem.loss, starts))
    found: list[np.ndarray] = []
    for x in ends[slopes < 1e-6]:
        x = np.where(np.abs(x - np.rint(x)) < 1e-13, np.rint(x) + 0.0, x)
        if x.size == 2 and abs(x[0] - x[1]) < 1e-13:
            x[1] = x[0]
        inside = np.all((low <= x) & (x <= high))
        if inside and wanted(x) and all(np.linalg.norm(x - y) > 1e-6 for y in found):
            found.append(x)
    return found


def measured(loss: Callable, x: np.ndarray) -> tuple[float, list[float]]:
    """The value and the eigenvalues of the Hessian, clean of rounding beside zero."""
    spectrum = np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(jnp.asarray(x))).reshape(x.size, x.size))
    spectrum[np.abs(spectrum) < 1e-10 * np.abs(spectrum).max()] = 0
    value = float(loss(jnp.asarray(x)))
    return (float(round(value)) if abs(value - round(value)) < 1e-13 else value), spectrum.tolist()


def rows(problem: jon.Problem, **wanted: Callable) -> str:
    """The points with their values and eigenvalues, by index and value, as text of a tuple."""
    table = [(x, *measured(problem.loss, x)) for x in search(problem, **wanted)]
    table.sort(key=lambda row: (sum(number < 0 for number in row[2]), round(row[1], 9), tuple(row[0])))
    lines = [f"({tuple(x.tolist())}, {value!r}, {tuple(spectrum)})," for x, value, spectrum in table]
    return "(" + "\n".join(lines) + ")"


def cluster(shape: np.ndarray) -> str:
    """Energy, and the nonzero eigenvalues with their multiplicities."""
    problem = jon.problems.lennard_jones(len(shape))
    value, spectrum = measured(problem.loss, clusters._scaled(shape))
    groups: list[list[float]] = []
    for number in filter(None, spectrum):
        if groups and abs(number - groups[-1][0]) < 1e-9 * abs(number):
            groups[-1].append(number)
        else:
            groups.append([number])
    return repr((value, tuple((float(np.mean(group)), len(group)) for group in groups)))


def apex(sides: int) -> float:
    """The height of the apices of a bipyramid at the lowest energy, over the radius of its ring."""

    def energy(height):
        ring = jnp.asarray(clusters._bipyramid(sides, 0.0)[:sides])
        shape = jnp.concatenate([ring, height * jnp.array([[0.0, 0, 1], [0, 0, -1]])])
        first, second = np.triu_indices(sides + 2, 1)
        squared = jnp.sum((shape[first] - shape[second]) ** 2, axis=1)
        return -(jnp.sum(squared**-3) ** 2) / jnp.sum(squared**-6)

    height = jnp.asarray({3: 1.4, 5: 0.6}[sides])
    for _ in range(20):
        height = height - jax.grad(energy)(height) / jax.grad(jax.grad(energy))(height)
    return float(height)


def main() -> None:
    problems = jon.problems
    print(
        '"""Critical points in float64, by scripts/critical_points.py: point, value, eigenvalues of the Hessian."""\n'
    )
    print("HIMMELBLAU =", rows(problems.himmelblau()))
    print("\n# Each also at the negative of the point.")
    print("SIX_HUMP_CAMEL =", rows(problems.six_hump_camel(), wanted=lambda x: tuple(x) >= (0, 0)))
    print("\nMUELLER_BROWN =", rows(problems.mueller_brown()))
    print("\nBEALE =", rows(problems.beale()))
    print("\nX_COS_PI_X =", rows(problems.x_cos_pi_x()))
    print("\nDOUBLE_WELL =", rows(problems.double_well()))
    print("\n# Along one axis.\nSTYBLINSKI_TANG =", rows(problems.styblinski_tang(1)))
    print("\n# Along one axis; each also at the negative of the point.")
    print("RASTRIGIN =", rows(problems.rastrigin(1), wanted=lambda x: x[0] >= 0))
    print("\n# Each also with any change of signs and order. The minimum at 0 is a kink.")
    print("ACKLEY =", rows(problems.ackley(2), wanted=lambda x: x[0] >= x[1] >= 0 and x[0] > 1e-3))
    print("\nROSENBROCK = {")
    for n in range(2, 8):
        print(f"{n}: {rows(problems.rosenbrock(n))},")
    print("}\n\n# Height of the apices of a bipyramid over the radius of its ring.")
    heights = {5: apex(3), 7: apex(5)}
    print(f"LENNARD_JONES_HEIGHTS = {heights}")
    print("\n# By number of atoms: energy, and the nonzero eigenvalues with their multiplicities.\nLENNARD_JONES = {")
    shapes = clusters._SHAPES | {n: clusters._bipyramid(n - 2, height) for n, height in heights.items()}
    for n, shape in shapes.items():
        print(f"{n}: {cluster(shape)},")
    print(
        "}\n\n# Three atoms on a line.\nLENNARD_JONES_LINE =", cluster(np.array([[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]]))
    )


if __name__ == "__main__":
    main()
