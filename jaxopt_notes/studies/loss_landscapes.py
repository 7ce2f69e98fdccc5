"""Loss landscapes with and without skip connections: slices of equal networks, and what grows with depth.

    h <- relu(W h + b)     or     h <- h + relu(W h + b) / sqrt(depth)
    slice: f(params + x d_1 + y d_2),    d_i random, as long as the parameters filter by filter

The two kinds have the same parameters, starts, data, random directions and window. Two numbers measure how wild a slice
is: the share of it on which the loss curves down in some direction of the slice, and how many low points it has, which
lie below all of their neighbours on the grid.

Source: Li, Xu, Taylor, Studer and Goldstein, 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from .. import landscape, problems
from ..minimize import minimize
from ..optimizers import adam
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

KINDS = ("no skip", "skip")
DEPTHS = {"small": (2, 24), "full": (2, 8, 24)}  # the slices of the lecture are of 56 layers
SEEDS = {"small": 3, "full": 5}
EXAMPLES = {"small": 200, "full": 300}
STEPS = {"small": 300, "full": 400}
RATE = 0.003
POINTS = {"small": 25, "full": 41}
WIDTH, CLASSES = 16, 10
RADIUS = 1.0


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Train networks of several depths with and without skip connections, and slice the loss around their end points.

    Arguments:
        key: draws starts and directions.
        size: 2 and 24 blocks, 3 seeds and slices of 25 x 25 points, or 2, 8 and 24, 5 seeds and 41 x 41 points.

    Returns:
        Dataset with `slices` of the loss over depth, kind, seed, y and x, and the final losses.
    """
    import xarray

    depths = DEPTHS[size]
    train, _ = problems.digits()
    data = (train.inputs[: EXAMPLES[size]], train.labels[: EXAMPLES[size]])
    init_key, direction_key = jax.random.split(key)
    starts = _starts(init_key, SEEDS[size], max(depths))
    trained, losses = _train(starts, data, depths, STEPS[size])
    shape = (len(depths), len(KINDS), SEEDS[size])
    x = np.linspace(-RADIUS, RADIUS, POINTS[size])
    slices = np.zeros((*shape, len(x), len(x)))
    for depth, kind, seed in np.ndindex(*shape):
        layers = _apart(jax.tree.map(lambda leaf, at=(depth, kind, seed): leaf[at], trained))
        # One key per seed: both kinds and all depths are moved along the same random numbers.
        directions = landscape.random_directions(jax.random.fold_in(direction_key, seed), layers)
        found = landscape.plane(
            _loss_apart, layers, directions, x=x, y=x, data=data, args=(jnp.float32(depths[depth]), jnp.float32(kind))
        )
        slices[depth, kind, seed] = found.loss.values
    return xarray.Dataset(
        {
            "slices": (("depth", "kind", "seed", "y", "x"), slices),
            "final_loss": (("depth", "kind", "seed"), losses),
        },
        {"depth": list(depths), "kind": list(KINDS), "x": x, "y": x},
        {"parameters": sum(leaf[0].size for leaf in jax.tree.leaves(starts)), "seeds": SEEDS[size]},
    )


class _Network(NamedTuple):
    """Weights and biases in, of the blocks, and out; the blocks along one leading axis."""

    first: tuple[Array, Array]
    blocks: tuple[Array, Array]
    last: tuple[Array, Array]


def _starts(key: Key[Array, ""], seeds: int, depth: int) -> _Network:
    """Networks with normal weights of variance 2/inputs, along a leading axis of seeds."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def layer(*shape: int) -> tuple[Array, Array]:
        kernel = rng.normal(size=(seeds, *shape)) * np.sqrt(2 / shape[-2])
        return jnp.asarray(kernel, jnp.float32), jnp.zeros((seeds, *shape[:-2], shape[-1]))

    return _Network(layer(64, WIDTH), layer(depth, WIDTH, WIDTH), layer(WIDTH, CLASSES))


def _apart(network: _Network) -> tuple[Any, ...]:
    """The layers one by one, so that every filter is a direction's own."""
    kernels, biases = network.blocks
    return (network.first, *((kernels[i], biases[i]) for i in range(len(kernels))), network.last)


def _loss_apart(layers: Any, *rest: Any) -> Float[Array, ""]:
    """The loss of a network whose layers are apart."""
    first, *blocks, last = layers
    kernels, biases = (jnp.stack(leaves) for leaves in zip(*blocks, strict=True))
    return _loss(_Network(first, (kernels, biases), last), *rest)


def _loss(
    network: _Network, data: tuple[Array, Array], depth: Float[Array, ""], skip: Float[Array, ""]
) -> Float[Array, ""]:
    """Cross-entropy of the network with this many blocks; the rest are passed by, so one program serves all depths."""
    inputs, labels = data

    def block(hidden: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, None]:
        kernel, bias, i = layer
        branch = jax.nn.relu(hidden @ kernel + bias)
        after = jnp.where(skip > 0, hidden + branch * jax.lax.rsqrt(depth), branch)
        return jnp.where(i < depth, after, hidden), None

    hidden = jax.nn.relu(inputs @ network.first[0] + network.first[1])
    hidden, _ = jax.lax.scan(block, hidden, (*network.blocks, jnp.arange(len(network.blocks[0]), dtype=depth.dtype)))
    logits = hidden @ network.last[0] + network.last[1]
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))


def _train(starts: Any, data: tuple[Array, Array], depths: tuple[int, ...], steps: int) -> tuple[Any, np.ndarray]:
    """The end points over (depth, kind, seed), and their losses."""

    def one(start: Any, depth: Array, skip: Array) -> tuple[Any, Array]:
        run = minimize(_loss, start, adam(RATE), steps=steps, data=data, args=(depth, skip))
        return run.params, run.final_loss

    over = jax.vmap(jax.vmap(jax.vmap(one, (0, None, None)), (None, None, 0)), (None, 0, None))
    params, losses = jax.jit(over)(starts, jnp.asarray(depths, jnp.float32), jnp.arange(2.0))
    return params, np.asarray(losses)


def curving_down(losses: Float[np.ndarray, "... y x"]) -> Float[np.ndarray, "..."]:
    """The share of a slice's inner points at which its Hessian, by differences, has a negative eigenvalue.

    Arguments:
        losses: on a square grid; any number of slices.

    Returns:
        One share per slice.

    Example:
        >>> x = np.linspace(-1, 1, 9)
        >>> float(curving_down(x[:, None] ** 2 + x**2)), float(curving_down(x[:, None] ** 2 - x**2))
        (0.0, 1.0)
    """
    inner = losses[..., 1:-1, 1:-1]
    along = losses[..., 1:-1, 2:] + losses[..., 1:-1, :-2] - 2 * inner
    across = losses[..., 2:, 1:-1] + losses[..., :-2, 1:-1] - 2 * inner
    corners = losses[..., 2:, 2:] + losses[..., :-2, :-2] - losses[..., 2:, :-2] - losses[..., :-2, 2:]
    smallest = (along + across) / 2 - np.hypot((along - across) / 2, corners / 4)
    rounding = 8 * np.finfo(np.float32).eps * np.abs(inner)
    return np.asarray(np.mean(smallest < -rounding, axis=(-2, -1)))


def lowest_points(losses: Float[np.ndarray, "... y x"]) -> Int[np.ndarray, "..."]:
    """How many inner points of a slice lie below all of their eight neighbours.

    Arguments:
        losses: on a grid; any number of slices.

    Returns:
        One number per slice.

    Example:
        >>> x = np.linspace(-1, 1, 9)
        >>> int(lowest_points(x[:, None] ** 2 + x**2))
        1
    """
    height, width = losses.shape[-2] - 2, losses.shape[-1] - 2
    inner = losses[..., 1:-1, 1:-1]
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    lower = [inner < losses[..., i : i + height, j : j + width] for i, j in shifts]
    return np.asarray(np.sum(np.all(lower, axis=0), axis=(-2, -1)))


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lecture claims about the landscapes with and without skip connections.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: neither is convex, skip connections tame deep networks, the effect grows with depth, and minima.
    """
    slices = dataset.slices.values
    down, minima = curving_down(slices), lowest_points(slices)
    depths, seeds = dataset.depth.values, dataset.seeds
    final = dataset.final_loss.mean("seed").values
    trained = "; ".join(
        f"{plain:.2g} and {skip:.2g} at {depth}" for depth, (plain, skip) in zip(depths, final, strict=True)
    )

    def compared(
        name: str, sentence: str, measure: np.ndarray, unit: str, least: float, conditions: str = ""
    ) -> list[Claim]:
        gap = measure[:, 0] - measure[:, 1]  # over depth and seed; without less with
        by_depth = ", ".join(f"{value:.2g} at {depth}" for value, depth in zip(gap.mean(1), depths, strict=True))
        growth = gap[-1] - gap[0]
        said = f"95 % over {seeds} seeds, paired. {conditions}".strip()
        return [
            Claim(
                name, sentence, float(gap[-1].mean()), low=least, interval=bootstrap(np.mean, gap[-1]),
                unit=f"{unit} with {depths[-1]} blocks", conditions=f"{said} By depth: {by_depth}.",
            ),
            Claim(
                f"{name}_with_depth",
                f"{sentence[:-1]}, and the difference grows with depth, from {depths[0]} to {depths[-1]} blocks.",
                float(growth.mean()), low=least, interval=bootstrap(np.mean, growth), unit=unit, conditions=said,
            ),
        ]  # fmt: skip

    return [
        Claim(
            "not_convex",
            "The loss landscape of a network is not convex, with or without skip connections.",
            float(down.max(-1).min()), low=1e-9, unit="of the slice curves down, worst slice of the tamest network",
            conditions=f"One slice refutes it. Of single slices {float(np.mean(down == 0)):.0%} look convex.",
        ),
        *compared(
            "less_negative_curvature",
            "Without skip connections more of the slice curves down.",
            down, "of the slice more", 0.0,
            f"Final training losses without and with: {trained}.",
        ),
        *compared(
            "fewer_low_points",
            "Without skip connections the slice has more low points, in which one may get stuck.",
            minima.astype(float), "low points more", 0.5,
        ),
        Claim(
            "many_minima",
            "Without skip connections the surface is full of local optima.",
            float(minima[-1, 0].mean()), low=2.0, interval=bootstrap(np.mean, minima[-1, 0]),
            unit=f"low points per slice, {depths[-1]} blocks",
            conditions=f"95 % over seeds; with skip connections {minima[-1, 1].mean():.2g}. By depth without: "
            + ", ".join(f"{value:.2g} at {depth}" for value, depth in zip(minima[:, 0].mean(1), depths, strict=True))
            + ". A finer grid shows more of them, and a low point of a slice need not be one of the landscape.",
        ),
    ]  # fmt: skip


def figure(dataset: xarray.Dataset) -> Figure:
    """Slices of the deepest network of both kinds, and both measures against depth.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(2, 2, size=(5.6, 4.4))
    deepest = dataset.isel(depth=-1, seed=0)
    low, high = float(deepest.slices.min()), float(np.quantile(deepest.slices, 0.98))
    for ax, kind in zip(axes, KINDS, strict=False):
        table = deepest.sel(kind=kind)[["slices"]].rename(slices="loss")
        plots.contour(table, ax, scale="log", vmin=low, vmax=high, levels=14)
        ax.set_aspect("auto")  # with two bars beside it, an equal one pushes the labels out of the figure
        words = "Without skip connections" if kind == "no skip" else "With skip connections"
        plots.set_title(ax, f"{words}, {int(deepest.depth)} blocks", "filter-normalised directions, the same levels")
        span = float(table.loss.max() / table.loss.min())
        plots.describe(ax, f"{words}: slice of the loss around a trained network; it spans a factor of {span:.2g}.")
    blue, red = (look.color for look in plots.distinct_styles(2))
    measures = (
        (curving_down, "share of the slice that curves down", "Less of the slice curves down with skip connections"),
        (lowest_points, "low points per slice", "Fewer low points with skip connections"),
    )
    for ax, (measure, label, title) in zip(axes[2:], measures, strict=True):
        values = measure(dataset.slices.values)
        for i, (kind, color, mark) in enumerate(zip(KINDS, (red, blue), ("o-", "s--"), strict=True)):
            ax.plot(dataset.depth, values[:, i], mark[0], color=color, alpha=0.35, markersize=4)
            ax.plot(dataset.depth, values[:, i].mean(1), mark, color=color, label=kind)
        ax.set(xscale="log", xlabel="depth (blocks)", ylabel=label, ylim=(0, None))
        ax.set_xticks(dataset.depth.values, [str(depth) for depth in dataset.depth.values])
        ax.minorticks_off()
        plots.legend_below(ax)
        plain, skip = values[-1].mean(1)
        title = title if skip < plain else label.capitalize()
        plots.set_title(ax, title, f"{dataset.seeds} seeds; lines: means")
        plots.describe(ax, f"{title}: {plain:.2g} without and {skip:.2g} with skip connections in the deepest.")
    return drawn
