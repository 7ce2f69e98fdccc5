"""What the explorer computes: the path of every optimizer from one start, and the verdict where it ends.

Pure functions of arrays, without the page. Each optimizer's path is one compiled program per function, in which
everything that a slider sets is traced, the number of steps included. So ticking a box compiles one path, and moving a
slider compiles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._derivatives import dense_hessian
from .._hoist import Program
from ..curvature import CriticalPoint, preconditioner, stability_bound, zero_level
from ..curvature._ahead import look_ahead
from ..curvature._around import Around, around, random_unit
from ..curvature._judge import Asked, Evidence, judge
from ..curvature._kinks import is_smooth
from ..curvature._operators import matrix
from ..curvature._spectrum import dense_spectrum
from ..minimize import Status, advance, end_status, unmoved
from ..minimize import start as begin
from ..optimizers import OPTIMIZERS, RULES
from ..optimizers._facts import Without
from ..schedules import inverse_time
from ._controls import CONTROLS
from ._scenes import Scene

MOST_STEPS = 2048
REACH = 1e-3  # of the width of the domain: how near to a critical point counts as there
_NEWTON_STEPS = 6


class Descent(NamedTuple):
    """One optimizer's way, as arrays.

    Attributes:
        path: points 0 to `steps`, shape (steps + 1, n); a run that stopped repeats its last.
        loss, grad_norm: at every point.
        status: a `Status` code.
        stopped_at: number of steps taken.
        verdict: the `CriticalPoint` of the last point, or of the one nearby that the run was coming to.
        gap: distance from the last point to the one judged; at most a thousandth of the picture.
        bound: learning rate up to which the optimizer is stable on a quadratic with the sharpness of the lowest point
            of the path, what Adam and its relatives divide by held fixed; infinite where nothing curves upward, NaN for
            an optimizer without such a rule.
    """

    path: Float[np.ndarray, "entries n"]
    loss: Float[np.ndarray, " entries"]
    grad_norm: Float[np.ndarray, " entries"]
    status: Status
    stopped_at: int
    verdict: CriticalPoint
    gap: float
    bound: float


class Settings(NamedTuple):
    """What all optimizers of one request share.

    Attributes:
        steps: how many to take, at most `MOST_STEPS`.
        noise: standard deviation of Gaussian noise added to every component of the gradient; 0 for none.
        decay: d of the schedule a / (1 + d step) that every learning rate follows; 0 for none.
        seed: of the noise.
    """

    steps: int = 60
    noise: float = 0.0
    decay: float = 0.0
    seed: int = 0


def descend(
    scene: Scene, optimizers: Mapping[str, Mapping[str, float]], start: Any, settings: Settings | None = None
) -> dict[str, Descent]:
    """Run several optimizers from one start, and judge where each ends.

    The steps are those of `jaxopt_notes.minimize`, so `descend(...)["adam"].path` is the `params_path` of the same run.

    Arguments:
        scene: the function.
        optimizers: name -> its numbers; those left out have their defaults.
        start: shape (n,).
        settings: number of steps, noise, decay and seed; `Settings()` when None.

    Returns:
        A `Descent` per optimizer, arrays of numpy.

    Example:
        >>> from jaxopt_notes.explorer._engine import descend
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> found = descend(catalogue()["parabola"], {"gradient_descent": {"learning_rate": 0.25}}, [1.0])
        >>> found["gradient_descent"].path[:3, 0].tolist(), found["gradient_descent"].verdict.kind_name
        ([1.0, 0.5, 0.25], 'minimum')
    """
    settings = Settings() if settings is None else settings
    program, constants = scene.traced
    dtype = jax.dtypes.canonicalize_dtype(float)
    origin = np.asarray(start, dtype)
    shared = np.asarray([settings.noise, settings.decay], dtype)
    counts = np.asarray([settings.steps, settings.seed], np.int32)
    ways: list[_Way] = []
    ends: list[_End] = []
    for name, numbers in optimizers.items():
        filled = [numbers.get(key, control.default) for key, control in CONTROLS[name].items()]
        static = _Static(program, name, settings.noise > 0)
        way, end = _descend(static, constants, np.asarray(filled, dtype), origin, shared, counts)
        ways.append(way)
        ends.append(end)
    if not ways:
        return {}
    # All end points are judged by one program, which has lanes for every optimizer there is.
    lanes = [ends[min(lane, len(ends) - 1)] for lane in range(len(CONTROLS))]
    reach = np.asarray(REACH * np.max(scene.domain[1] - scene.domain[0]), dtype)
    local = _look(program, constants, lanes, reach)
    # Three times as fast as device_get, and what is not read is not fetched: each array costs as much as ten steps.
    ways, judged, gaps, tops = jax.tree.map(np.asarray, (ways, _judge(local), local.gap, local.sharpness))
    leaves, structure = jax.tree.flatten(judged)
    verdicts = [jax.tree.unflatten(structure, [leaf[lane] for leaf in leaves]) for lane in range(len(ways))]
    return {
        name: _gathered(way, verdict, gap, top, settings.steps)
        for name, way, verdict, gap, top in zip(optimizers, ways, verdicts, gaps, tops, strict=False)
    }


class _Static(NamedTuple):
    program: Program
    name: str
    noisy: bool


class _Way(NamedTuple):
    """A path as the device computes it, in few arrays; beyond the steps asked for the rows are infinite."""

    track: Float[Array, "entries n_and_2"]  # point, loss, gradient norm
    ended: Int[Array, " 2"]  # status, number of steps taken
    limit: Float[Array, " 2"]


class _End(NamedTuple):
    """What is judged of a path; it stays on the device."""

    last: Float[Array, " n"]
    lowest: Float[Array, " n"]
    preconditioner: Float[Array, " n"]


@partial(jax.jit, static_argnums=0)
def _descend(
    static: _Static,
    constants: list[Any],
    numbers: Float[Array, " k"],
    origin: Float[Array, " n"],
    shared: Float[Array, " 2"],
    counts: Int[Array, " 2"],
) -> tuple[_Way, _End]:
    named = {key: numbers[i] for i, key in enumerate(CONTROLS[static.name])}
    optimizer = OPTIMIZERS[static.name](**named | {"learning_rate": inverse_time(named["learning_rate"], shared[1])})
    plain = optimizer
    if static.noisy:
        optimizer = noisy(optimizer, shared[0], counts[1])

    def loss(x: Array, aux: None) -> tuple[Array, None]:
        return static.program(constants, x), aux

    def row(carry: Any) -> Array:
        return jnp.concatenate([carry.params, carry.loss[None], carry.grad_norm[None]])

    def body(step: Array, both: Any) -> Any:
        carry, track = both
        carry = advance(optimizer, carry, loss, loss)
        return carry, jax.lax.dynamic_update_index_in_dim(track, row(carry), step + 1, 0)

    first = begin(optimizer, origin, loss)
    # Rows beyond the steps asked for are never the lowest, and are not shown.
    room = jnp.full((MOST_STEPS + 1, origin.size + 2), jnp.inf, origin.dtype).at[0].set(row(first))
    last, track = jax.lax.fori_loop(0, counts[0], body, (first, room))
    status = end_status(last.status, first.loss, last.loss, np.inf, unmoved(first, last))
    way = _Way(track, jnp.stack([status, last.stopped_at]), _limit(static.name, named))
    state = last.state[-1] if static.noisy else last.state
    lowest = track[jnp.argmin(track[:, -2]), :-2]
    return way, _End(last.params, lowest, _preconditioner(static.name, plain, state, origin))


def noisy(optimizer: optax.GradientTransformation, noise: Any, seed: Any) -> optax.GradientTransformation:
    """The optimizer, given gradients with Gaussian noise of standard deviation `noise` in every component."""
    # optax writes for standard promotion, and its noise has the variance eta / step^gamma.
    with jax.numpy_dtype_promotion("standard"):
        added = optax.add_noise(eta=jnp.square(noise), gamma=0.0, key=jax.random.key(seed))

    def update(grads: PyTree, state: PyTree, params: PyTree = None) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return added.update(grads, state, params)

    return optax.chain(optax.GradientTransformation(added.init, update), optimizer)


def _preconditioner(name: str, optimizer: optax.GradientTransformation, state: PyTree, like: Array) -> Array:
    """The diagonal P by which the optimizer divides after its last step; ones where it divides by no diagonal."""
    found = None if isinstance(RULES[name].divisor, Without) else preconditioner(optimizer, state)
    return jnp.ones_like(like) if found is None else found


def _limit(name: str, numbers: Mapping[str, Array]) -> Float[Array, " 2"]:
    """Offset and slope of 1 / (largest stable learning rate), which is linear in the sharpness; NaN without a rule."""
    if isinstance(RULES[name].inverse_limit, Without):
        return jnp.full(2, jnp.nan)
    others = {key: value for key, value in numbers.items() if key != "learning_rate"}
    flat, curved = 1 / stability_bound(name, jnp.array([0.0, 1.0]), **others)
    return jnp.stack([flat, curved - flat])


class _Local(NamedTuple):
    """What is judged at one end: a point, and what there is around it, in the units of `here`."""

    point: Float[Array, " n"]
    here: Around
    gradient: Float[Array, " n"]
    hessian: Float[Array, "n n"]
    ahead: tuple[Float[Array, ""], Float[Array, " n"], Float[Array, "n n"]]  # the same after a Newton step
    smooth: Bool[Array, ""]
    gap: Float[Array, ""]
    sharpness: Float[Array, ""]


@partial(jax.jit, static_argnums=0)
def _look(program: Program, constants: list[Any], lanes: list[_End], reach: Float[Array, ""]) -> _Local:
    """Value and derivatives where each run ends, and the sharpness at its lowest point as its method sees it.

    A run comes ever nearer to a critical point and does not land on it. Where Newton's method finds one within `reach`,
    that is the point judged.
    """

    def loss(x: Array) -> Array:
        return program(constants, x)

    def nearer(_: Any, x: Array) -> Array:
        return x - _solved(dense_hessian(loss, x), jax.grad(loss)(x))

    def one(end: _End) -> _Local:
        near = jax.lax.fori_loop(0, _NEWTON_STEPS, nearer, end.last)
        gap = jnp.linalg.norm(near - end.last)
        arrived = gap <= reach  # not so if NaN
        point = jnp.where(arrived, near, end.last)
        scale = jax.lax.rsqrt(end.preconditioner)
        top = _largest_eigenvalue(scale[:, None] * dense_hessian(loss, end.lowest) * scale[None, :])
        return _measured(program, constants, point)._replace(gap=jnp.where(arrived, gap, 0), sharpness=top)

    return jax.vmap(one)(jax.tree.map(lambda *parts: jnp.stack(parts), *lanes))


def _measured(program: Program, constants: list[Any], point: Float[Array, " n"]) -> _Local:
    """What of a function a verdict depends on."""
    units = jnp.stack([random_unit(point.size, point.dtype, seed) for seed in range(2)])
    here = around(program, constants, point, (), units[0])

    def derivatives(displacement: Float[Array, " n"]) -> tuple[Array, Array, Array]:
        value, gradient, product = here.derivatives(displacement)
        return value, gradient, matrix(product, gradient)

    _, gradient, hessian = derivatives(jnp.zeros_like(point))
    step = -_solved(hessian, gradient)
    ahead = derivatives(jnp.where(jnp.all(jnp.isfinite(step)), step, 0))
    curvatures = jnp.sum(units * jnp.matmul(units, hessian, precision="highest"), axis=1)
    norm = jnp.linalg.norm(hessian)
    zero = zero_level(norm, point.size, here.dtype)
    smooth = is_smooth(here, gradient, units, curvatures, norm, zero)
    nothing = jnp.zeros_like(norm)
    return _Local(point, here._replace(phi=None, dtype=None), gradient, hessian, ahead, smooth, nothing, nothing)


# In closed form, since a program that calls LAPACK takes several times as long to compile, for every function anew.


def _solved(matrix: Float[Array, "n n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """The solution of a system of one or two equations; not finite for a singular one."""
    if vector.size == 1:
        return vector / matrix[0]
    (a, b), (c, d) = matrix
    return jnp.stack([d * vector[0] - b * vector[1], a * vector[1] - c * vector[0]]) / (a * d - b * c)


def _largest_eigenvalue(matrix: Float[Array, "n n"]) -> Float[Array, ""]:
    """Of a symmetric matrix with one or two rows."""
    if matrix.shape[0] == 1:
        return matrix[0, 0]
    (a, b), (c, d) = matrix
    return (a + d) / 2 + jnp.hypot((a - d) / 2, (b + c) / 2)


@jax.jit
def _judge(local: _Local) -> CriticalPoint:
    """The verdicts. They depend on a function only by what `_measured` has, so one program serves all functions."""

    def one(at: _Local) -> CriticalPoint:
        product = partial(_times, at.hessian)
        spectrum = dense_spectrum(product, at.gradient, None, at.point.dtype, 0.0, at.here.unit[None])
        value, gradient, hessian = at.ahead
        there = (value, gradient, partial(_times, hessian))
        ahead = look_ahead(there, spectrum.probes, spectrum.along, spectrum.norm, spectrum.zero_level)
        here = at.here._replace(dtype=at.point.dtype)
        seen = Evidence(here, at.gradient, product, spectrum, ahead, at.smooth, None)
        return judge(seen, at.point, Asked(moved=at.gap))

    return jax.vmap(one)(local)


def _times(matrix: Float[Array, "n n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
    return jnp.matmul(matrix, vector, precision="highest")


def _gathered(way: Any, verdict: CriticalPoint, gap: Any, top: Any, steps: int) -> Descent:
    """One optimizer's arrays on the host, without what lies beyond the steps asked for."""
    offset, slope = (float(part) for part in way.limit)
    reciprocal = offset + slope * float(top)
    # NaN stays NaN: a method without a rule has no bound, one with a rule always has, if only infinity.
    bound = float("inf") if reciprocal <= 0 else 1 / reciprocal
    track = way.track[: steps + 1]
    status, stopped_at = (int(part) for part in way.ended)
    path, loss, grad_norm = track[:, :-2], track[:, -2], track[:, -1]
    return Descent(path, loss, grad_norm, Status(status), stopped_at, verdict, float(gap), bound)
