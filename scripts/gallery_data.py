"""Compute the Datasets that notebooks/gallery.md draws, and write them to notebooks/data.

    python scripts/gallery_data.py [--only sweeps spectrum ...] [--out notebooks/data]

The residual networks come from scripts/skip_connections.py, some minutes more:

    python scripts/skip_connections.py --depth 20 --out notebooks/data
    python scripts/skip_connections.py --depth 56 --out notebooks/data
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import jaxopt_notes as jon
from jaxopt_notes.curvature import HessianOperator, eigsh, spectral_density

Tables = dict[str, xr.Dataset | xr.DataTree]
RACERS = {"gradient_descent": jon.gradient_descent(0.01), "momentum": jon.momentum(0.002), "adam": jon.adam(0.3)}


def sweeps() -> Tables:
    """A small sweep of three optimizers on the digits; of the histories only the loss at every tenth step."""
    problem = jon.problems.digits_mlp(hidden=16)
    sharpest = float(jon.sharpness(problem.loss, problem.init(jax.random.key(0)), problem.data))
    tables = {}
    for name in ("momentum", "adam"):
        axis = jon.optimizers.RULES[name].second_axis
        space = jon.grid(learning_rate=jnp.geomspace(1e-3, 10, 9), **{axis: [0.0, 0.9, 0.99]})
        table = jon.sweep(
            problem, jon.OPTIMIZERS[name], space, seeds=8, steps=300, batch_size=64, every=10, progress=False
        )
        table.attrs["sharpness_at_start"] = sharpest
        tables[name] = table.drop_vars(["grad_norm", "update_norm"], errors="ignore")
    return tables


def drawn() -> Tables:
    """Points drawn at random for Adam."""
    from scipy.stats import loguniform, uniform

    choices = {"learning_rate": loguniform(1e-3, 1), "b1": uniform(0, 0.99)}
    space = jon.sample(48, jax.random.key(3), "sobol", **choices)
    options = {"seeds": 6, "steps": 200, "batch_size": 64, "every": 200, "progress": False}
    table = jon.sweep(jon.problems.digits_mlp(hidden=16), jon.adam, space, **options)
    return {"drawn": table.drop_dims("step")}


def planes() -> Tables:
    """Himmelblau's function with three runs on it, its flow around a saddle, and where it is convex."""
    problem = jon.problems.himmelblau()
    whole = jon.landscape.coordinate_plane(problem.init(jax.random.key(0)))
    start = jnp.array([-0.5, -4.0])
    paths = {}
    for name, optimizer in RACERS.items():
        run = jon.minimize(problem.loss, start, optimizer, steps=40, record_params=True)
        paths[name] = jon.landscape.project(run.params_path, whole)
    window = {"x": np.linspace(-5, 5, 61), "y": np.linspace(-5, 5, 61)}
    saddle = jon.problems.saddle()
    return {
        "plane": jon.landscape.plane(problem.loss, whole, **window).assign_attrs(loss_name=problem.name),
        "paths": xr.DataTree.from_dict(paths),
        "flow": jon.landscape.gradient_field(saddle, points=21),
        "eigendirections": jon.landscape.eigendirections(saddle),
        "convexity": jon.landscape.curvature_map(problem, points=41),
    }


def curves() -> Tables:
    """A function of one variable with a run on it, and a set that is not convex."""
    problem = jon.problems.x_cos_pi_x()
    line = jon.landscape.line(problem, points=241)
    run = jon.minimize(problem.loss, jnp.array([0.1]), jon.gradient_descent(0.05), steps=30, record_params=True)
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    radius = 1 - 0.55 * np.exp(-((np.mod(angle - np.pi / 2 + np.pi, 2 * np.pi) - np.pi) ** 2) * 4)
    corners = {"x": ("vertex", radius * np.cos(angle)), "y": ("vertex", radius * np.sin(angle))}
    path = xr.Dataset({"x": ("step", np.asarray(run.params_path).ravel())})
    return {"line": line, "line_path": path, "set": xr.Dataset(corners)}


def training() -> Tables:
    """A run of the 4,810-parameter network: its minibatch loss, its gradients, and the spectrum where it ends."""
    problem = jon.problems.digits_mlp(hidden=64)
    batches = {"data": problem.data, "minibatches": jon.minibatches.reshuffle(64), "key": jax.random.key(1)}
    params = problem.init(jax.random.key(0))
    run = jon.minimize(problem.loss, params, jon.momentum(0.05), steps=400, record_params=True, **batches)
    series = xr.Dataset({"value": ("step", np.asarray(run.loss[1:]))}, {"step": np.arange(1, 401)})
    series.value.attrs["long_name"] = "loss of the minibatch"
    gradient = jax.jit(jax.grad(problem.loss))
    steps = [0, 40, 400]
    gradients = [gradient(jax.tree.map(lambda leaf, k=k: leaf[k], run.params_path), problem.data) for k in steps]
    rows = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(one)]) for one in gradients]
    hessian = HessianOperator(problem.loss, run.params, problem.data)
    extremes = eigsh(hessian, k=12, which="BE").values
    spectrum = spectral_density(hessian, key=jax.random.key(2)).to_dataset(extremes=extremes)
    return {
        "series": series,
        "gradients": xr.Dataset({"gradient": (("step", "entry"), np.stack(rows))}, {"step": steps}),
        "spectrum": spectrum,
    }


def points() -> Tables:
    """Every critical point of a function of four parameters, 81 of them."""
    problem = jon.problems.styblinski_tang(4)
    starts = jax.random.uniform(jax.random.key(0), (4000, 4), minval=-5.0, maxval=5.0)
    found = jon.find_critical_points(problem.loss, starts, box=(-5.0, 5.0))
    print(found)
    return {"points": found.to_dataset().assign_attrs(loss_name=problem.name)}


PARTS: dict[str, Callable[[], Tables]] = {
    "sweeps": sweeps, "drawn": drawn, "planes": planes, "curves": curves, "training": training, "points": points,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("notebooks/data"))
    options = parser.parse_args()
    jon.use_cpu_cores()
    for part in options.only:
        for name, table in PARTS[part]().items():
            path = jon.save(table, options.out / f"{name}.nc")
            print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
