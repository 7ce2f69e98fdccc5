"""What `adaptive_steps` measures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from ...minimize import minimize
from ...optimizers import adadelta, adagrad, adam, gradient_descent, momentum, rmsprop
from ...problems import Problem, digits_mlp, quadratic
from ...wrappers.averaging import ewma
from .._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

SHARES = 0.5 ** np.arange(8)  # of the steps in which a feature is there
COPIES = {"small": 8, "full": 64}  # features of each share
STREAM = 4096  # steps
STARTS = {"small": 16, "full": 200}
FEATURE_SCALES = 10.0 ** np.arange(-1, 1.25, 0.5)
LOSS_SCALES = 10.0 ** np.arange(-12, 5)
RATES = 10.0 ** np.arange(-5, 3.01, 0.125)
CONDITION = 1e4
STRETCHED_STEPS = (100, 300, 1000)
EPS = 1e-8
RMSPROP_DECAY = 0.9
NETWORKS = {"small": 8, "full": 32}
PERCENTILES = np.arange(2, 99, 2)


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Rates by frequency and time, bias correction, invariance to scale, scaled features, and the evenness of updates.

    Arguments:
        key: of the gradients, the data, the rotations and the network.
        size: copies of each feature and number of starts.

    Returns:
        Dataset; the variables are named by what `claims` judges.
    """
    import xarray

    keys = jax.random.split(key, 4)
    with jax.enable_x64(True):
        parts = [
            _streams(keys[0], COPIES[size]),
            _first_steps(),
            _scales_of_the_loss(),
            _scales_of_the_features(keys[1]),
            _stretched(keys[2], STARTS[size]),
        ]
    parts.append(_evenness(keys[3], NETWORKS[size]))
    coordinates = {
        **{"share": SHARES, "feature_scale": FEATURE_SCALES, "loss_scale": LOSS_SCALES, "learning_rate": RATES},
        **{"rotated": [0, 1], "stretched_method": list(STRETCHED), "stretched_steps": list(STRETCHED_STEPS)},
        **{"adaptive": ["adagrad", "rmsprop", "adadelta"], "scaled_method": ["gradient_descent", "adam"]},
        **{"even_method": ["momentum", "adam"], "percentile": PERCENTILES, "t": np.arange(1, 201)},
    }
    columns = {name: value for part in parts for name, value in part.items()}
    return xarray.Dataset(columns, coordinates, {"eps": EPS, "rmsprop_decay": RMSPROP_DECAY})


def _streams(key: Key[Array, ""], copies: int) -> dict[str, Any]:
    """|update| over |gradient| of features that are there in a share of the steps, with gradients of +-1."""
    # One draw decides both: a feature with |u| below its share is there, and its sign is that of u.
    drawn = jax.random.uniform(key, (STREAM + 1, len(SHARES) * copies), float, -1.0, 1.0)
    gradients = jnp.where(jnp.abs(drawn) < np.repeat(SHARES, copies), jnp.sign(drawn), 0.0)

    def slope(x: Array, step: Array, rows: Array) -> tuple[Array, Array]:
        return jnp.vdot(rows[step], x), step + 1

    by_step, by_share = [], []
    for method in (adagrad(1.0), rmsprop(1.0, RMSPROP_DECAY), adadelta()):
        start = jnp.zeros(drawn.shape[1])
        run = minimize(slope, start, method, steps=STREAM, aux=jnp.int32(0), args=(gradients,), record_params=True)
        moved = np.abs(np.diff(run.params_path, axis=0)).reshape(STREAM, len(SHARES), copies)
        steps = np.geomspace(64, STREAM, 13).astype(int)
        always = [np.median(moved[a:b, 0]) for a, b in itertools.pairwise(steps)]
        late = np.where(moved > 0, moved, np.nan)[STREAM // 2 :]  # only a feature that is there moves
        by_step.append(always)
        by_share.append(np.nanmedian(late, axis=0))
    return {
        "rate_by_step": (("adaptive", "span"), np.array(by_step)),
        "rate_by_share": (("adaptive", "share", "copy"), np.stack(by_share)),
        "span_step": ("span", np.sqrt(steps[:-1] * steps[1:])),
    }


def _uncorrected_adam(learning_rate: float, b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformation:
    """Adam from two averages that keep their bias."""
    first, second = ewma(b1, debias=False), ewma(b2, debias=False)

    def init(params: Any) -> Any:
        return first.init(params), second.init(params)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        mean, first_state = first.update(grads, state[0])
        square, second_state = second.update(jax.tree.map(jnp.square, grads), state[1])
        step = jax.tree.map(lambda m, v: -learning_rate * m / jnp.sqrt(v), mean, square)
        return step, (first_state, second_state)

    return optax.GradientTransformation(init, update)


def _first_steps() -> dict[str, Any]:
    """The lengths of the first steps down a slope, in units of the learning rate, with and without the correction."""
    rows = []
    for method in (adam(1.0), _uncorrected_adam(1.0)):
        rows.append(minimize(jnp.sum, jnp.zeros(1), method, steps=200).update_norm[1:])
    return {"first_steps": (("corrected", "t"), np.stack(rows))}


def _scales_of_the_loss() -> dict[str, Any]:
    """How far Adam's path moves when the loss is multiplied, relative to its size, and its first step."""
    valley = quadratic([1.0, 20.0]).loss

    def path(scale: Array, eps: Array) -> Array:
        loss = lambda x, c: c * valley(x)
        run = minimize(loss, jnp.ones(2), adam(0.05, eps=eps), steps=60, args=(scale,), record_params=True)
        return run.params_path

    def first(slope: Array, eps: Array) -> Array:
        return minimize(lambda x, c: c * x[0], jnp.zeros(1), adam(1.0, eps=eps), steps=1, args=(slope,)).update_norm[1]

    scales, eps = jnp.asarray(LOSS_SCALES), jnp.asarray([0.0, EPS])
    every = lambda f: np.asarray(jax.vmap(jax.vmap(f, (0, None)), (None, 0))(scales, eps))
    paths = every(path)
    unit = int(np.argmin(np.abs(LOSS_SCALES - 1)))
    moved = np.abs(paths - paths[:, unit : unit + 1]).max((-2, -1))
    return {
        "path_change": (("eps", "loss_scale"), moved),
        "first_step": (("eps", "loss_scale"), every(first)),
        "step_at_zero": ("eps", np.array([_step_at_zero(method) for method in (_uncorrected_adam(1.0), adam(1.0))])),
    }


def _step_at_zero(method: optax.GradientTransformation) -> float:
    """The first step where the gradient is zero."""
    at = jnp.zeros(1)
    return float(method.update(at, method.init(at), at)[0][0])


def _tuned(
    factory: Callable[..., Any],
    loss: Callable[..., Array],
    args: tuple[Any, ...],
    start: Array,
    steps: int,
    rates: np.ndarray,
) -> Float[Array, " rates"]:
    """The final loss at every rate."""

    def one(rate: Array) -> Array:
        return minimize(loss, start, factory(rate), steps=steps, args=args, every=steps).final_loss

    return jax.vmap(one)(jnp.asarray(rates))


def _scales_of_the_features(key: Key[Array, ""]) -> dict[str, Any]:
    """Final losses of linear regression by learning rate, with all features multiplied by a number."""
    drawn = np.asarray(jax.random.normal(key, (128, 7), float))
    inputs = jnp.asarray(drawn[:, :6] * np.linspace(1.0, 2.0, 6))
    targets = inputs @ np.linspace(-1.0, 1.0, 6) + 0.1 * drawn[:, 6]

    def loss(w: Array, scale: Array, x: Array, y: Array) -> Array:
        return jnp.mean((scale * x @ w - y) ** 2)

    def losses(factory: Callable[..., Any]) -> np.ndarray:
        each = lambda c: _tuned(factory, loss, (c, inputs, targets), jnp.zeros(6), 60, RATES)
        return np.asarray(jax.vmap(each)(jnp.asarray(FEATURE_SCALES)))

    kept = np.stack([losses(gradient_descent), losses(adam)])
    return {"loss_by_feature_scale": (("scaled_method", "feature_scale", "learning_rate"), kept)}


STRETCHED: dict[str, Callable[..., Any]] = {
    "gradient_descent": functools.partial(momentum, beta=0.0),  # the same program
    "momentum": momentum,
    "rmsprop": rmsprop,
    "adam": adam,
}


def _stretched(key: Key[Array, ""], starts: int) -> dict[str, Any]:
    """The lowest loss over all rates after some steps where the curvatures differ, along the axes and rotated."""
    curvatures = jnp.geomspace(1.0, CONDITION, 8)
    drawn = np.asarray(jax.random.normal(key, (starts, 9, 8), float))
    begin, turns = jnp.asarray(drawn[:, 8]), np.linalg.qr(drawn[:, :8])[0]
    frames = jnp.asarray(np.stack([np.broadcast_to(np.eye(8), turns.shape), turns]))

    def loss(x: Array, frame: Array) -> Array:
        return 0.5 * jnp.sum(curvatures * (frame @ x) ** 2)

    def lowest(factory: Callable[..., Any]) -> np.ndarray:
        def each(frame: Array, x: Array) -> Array:
            every, most = STRETCHED_STEPS[0], STRETCHED_STEPS[-1]
            one = lambda rate: minimize(loss, x, factory(rate), steps=most, args=(frame,), every=every).loss
            curves = jax.vmap(one)(jnp.asarray(RATES[:57:2]))
            return jnp.nanmin(curves[:, np.array(STRETCHED_STEPS) // every], axis=0) / loss(x, frame)

        return np.asarray(jax.vmap(jax.vmap(each), (0, None))(frames, begin))

    kept = np.stack([lowest(factory) for factory in STRETCHED.values()])
    return {"stretched_loss": (("stretched_method", "rotated", "start", "stretched_steps"), kept)}


def _evenness(key: Key[Array, ""], networks: int) -> dict[str, Any]:
    """Percentiles of |update| over the parameters of networks in training, in units of their median."""
    problem = digits_mlp(hidden=16)
    shapes, restore = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), _shapes(problem)))
    scale = ravel_pytree(jax.tree.map(lambda leaf: jnp.full(leaf.shape, _deviation(leaf.shape)), _shapes(problem)))[0]
    starts = scale * jax.random.normal(key, (networks, shapes.size))

    def last_move(start: Array, data: Any, method: Any) -> Array:
        run = minimize(problem.loss, restore(start), method, steps=60, data=data, record_params=True)
        return ravel_pytree(jax.tree.map(lambda leaf: leaf[-1] - leaf[-2], run.params_path))[0]

    rows = []
    for method in (momentum(0.1), adam(1e-3)):
        moved = np.abs(jax.jit(jax.vmap(last_move, (0, None, None)))(starts, problem.data, method))
        moved = [row[row > 0] for row in moved]  # pixels that are always 0 have no gradient
        rows.append(np.stack([np.percentile(row, PERCENTILES) / np.median(row) for row in moved]))
    return {"spread": (("even_method", "network", "percentile"), np.stack(rows))}


def _shapes(problem: Problem) -> Any:
    return jax.eval_shape(problem.init, jax.random.key(0))


def _deviation(shape: tuple[int, ...]) -> float:
    """1/sqrt(fan in) for weights, and no biases."""
    return shape[0] ** -0.5 if len(shape) == 2 else 0.0
