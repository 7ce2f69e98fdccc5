"""Train a residual network and the same without its skip connections, and draw both losses side by side.

Both are cut along the same random directions, with filter norms, and have the same radius and scale of losses.

    python scripts/skip_connections.py [--depth 20] [--steps 300] [--points 31] [--out runs/skip]
"""

import argparse
from pathlib import Path

import jax
import numpy as np

import jaxopt_notes as jon


def slice_of(skip: bool, options: argparse.Namespace):
    """The loss around the end of a run, biases and scales of the normalisation left where they are."""
    problem = jon.problems.digits_resnet(options.depth, skip=skip, width=options.width)
    run = jon.minimize(
        problem.loss,
        problem.init(jax.random.key(0)),
        jon.adam(options.learning_rate),
        steps=options.steps,
        data=problem.data,
        minibatches=jon.minibatches.reshuffle(64),
        key=jax.random.key(1),
    )
    print(f"{problem.name}: {run}")
    directions = jon.landscape.random_directions(
        jax.random.key(2), run.params, ignore=lambda path: "BatchNorm" in path or path.endswith("bias")
    )
    few = jax.tree.map(lambda leaf: leaf[: options.examples], problem.data)
    return jon.landscape.plane(problem, run.params, directions, data=few, radius=options.radius, points=options.points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--points", type=int, default=31)
    parser.add_argument("--radius", type=float, default=1.0)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("runs/skip"))
    options = parser.parse_args()
    jon.use_cpu_cores()
    from matplotlib.figure import Figure

    tables = {"skip": slice_of(True, options), "no_skip": slice_of(False, options)}
    figure = Figure(figsize=(11, 9), layout="constrained")
    upper, lower = figure.subfigures(2, 1)
    # One scale for both: the lowest and highest finite loss of the two, the top clipped at the larger 95 % quantile.
    vmax = max(float(np.nanquantile(table.loss.where(np.isfinite(table.loss)), 0.95)) for table in tables.values())
    bottom = min(float(table.loss.min()) for table in tables.values())
    options.out.mkdir(parents=True, exist_ok=True)
    for column, (name, table) in enumerate(tables.items(), 1):
        jon.save(table, options.out / f"resnet{options.depth}_{name}.nc")
        jon.plots.contour(table, upper.add_subplot(1, 2, column), scale="log", vmin=bottom, vmax=vmax)
        high = lower.add_subplot(1, 2, column, projection="3d")
        jon.plots.surface(table, high, scale="log", vmin=bottom, vmax=vmax)
    figure.savefig(options.out / f"resnet{options.depth}.png", dpi=110)
    print(f"wrote {options.out / 'skip_connections.png'}")


if __name__ == "__main__":
    main()
