"""Lines and planes through parameter space: losses, gradients and curvature on them, as labelled arrays."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .. import _checks
from .._hoist import hoist
from .._host import taken
from .._jaxpr import full_precision
from .._means import is_sum, refuse_sum
from ..minibatches import batch_shapes
from ..problems import Problem
from . import _engine as engine
from . import _labels as labels
from . import _measures as measures
from ._directions import AXES, Directions, Plane, checked_plane, coordinate_plane
from ._labels import Axis
from ._subspaces import of_problem

if TYPE_CHECKING:
    import xarray as xr


def line(
    loss: Problem | Callable[..., Any],
    params: PyTree = None,
    direction: PyTree = None,
    *,
    to: PyTree = None,
    radius: float = 1.0,
    points: int = 201,
    x: Any = None,
    **options: Any,
) -> xr.Dataset:
    """The loss along a line.

        f(params + x d),    -radius <= x <= radius

    With `to` the direction is the way there: x = 0 is `params`, x = 1 is `to`, and x runs from -0.5 to 1.5.

    Arguments:
        loss, params: as in `plane`. A `Problem` of one parameter with facts needs nothing else.
        direction: a pytree like `params`, or `Directions` that hold one.
        to: another point, in place of `direction`.
        radius, points, x: as in `plane`.
        **options: `data`, `args`, `batch_size`, `folder`, `width` and `devices`, as in `plane`.

    Returns:
        Dataset with `loss` over `x`.

    Raises:
        TypeError, ValueError: as `plane`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import line
        >>> found = line(lambda p: jnp.sum(p**2), jnp.zeros(2), to=jnp.array([3.0, 4.0]), x=[-1, 0, 1, 2])
        >>> found.loss.values.tolist()
        [25.0, 0.0, 25.0, 100.0]

    Source: Goodfellow, Vinyals and Saxe, 2015.
    """
    known, axes = _from_facts(loss, params, 1, points, {"x": x}) if params is None else (None, None)
    if known is not None:
        params, direction = known, None
    elif to is not None:
        if direction is not None:
            raise TypeError("give direction or to, not both")
        _checks.matching("params", params, "to", to)
        direction = [jax.tree.map(lambda a, b: jnp.asarray(b) - jnp.asarray(a), params, to)]
        x = np.linspace(-0.5, 1.5, _checks.count("points", points, low=2)) if x is None else x
    elif not isinstance(params, Plane) and direction is not None and not isinstance(direction, Directions):
        direction = [direction]
    return grid_of_losses(loss, params, direction, axes or _axes([x], radius, points), **options)


def plane(
    loss: Problem | Callable[..., Any],
    params: PyTree = None,
    directions: Any = None,
    *,
    radius: float | Sequence[float] = 1.0,
    points: int | Sequence[int] = 51,
    x: Any = None,
    y: Any = None,
    **options: Any,
) -> xr.Dataset:
    """The loss on a plane.

        f(params + x d_1 + y d_2),    |x| <= radius_x,   |y| <= radius_y

    All points are one compiled program, some at a time on every local device; data and parameters are arguments of it,
    so another network of the same shapes is no new compilation. A loss that is NaN or infinite is a cell like any
    other, counted in `attrs["non_finite"]`; losses of any sign are right.

    Arguments:
        loss: `loss(params)`, or `loss(params, data, *args)` with `data`; or a `Problem`, which brings its data. A
            `Problem` with facts of two parameters needs nothing else: it is drawn on its box.
        params: the point at coordinates 0, a pytree of real floating arrays; or a `Plane`, which brings its directions.
        directions: two, as `Directions` (`random_directions`, `hessian_directions`) or a pair of pytrees like `params`.
        radius: half the side of the window, in multiples of the directions; one number, or one for x and one for y.
        points: number of points along an axis; one number, or one for x and one for y.
        x, y: the coordinates themselves, in place of radius and points.
        **options: `data` and `args`: further arguments of the loss. `batch_size`: examples at a time, for a loss that
            is a mean over them; all at once when None. `folder`: where finished parts are kept, so that the same call
            after a kill goes on. `width`: points at a time on one device, chosen by their memory when None. `devices`:
            all local ones when None.

    Returns:
        Dataset with `loss` over (y, x), the coordinates in multiples of the directions, and in `attrs` the radii,
        normalisation, seed, the norms and the cosine of the directions, the loss at the centre, and `non_finite`.

    Raises:
        TypeError, ValueError: before compiling: structures or shapes differ, a direction is zero or holds NaN, two are
            parallel, coordinates that are not finite, or a folder of another slice.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import plane
        >>> found = plane(lambda p: p[0] ** 2 - p[1], jnp.zeros(2), jnp.eye(2), x=[-1, 0, 2], y=[0, 1])
        >>> found.loss.values.tolist()
        [[1.0, 0.0, 4.0], [0.0, -1.0, 3.0]]

    Source: Li, Xu, Taylor, Studer and Goldstein, 2018.
    """
    params, directions, axes = _plane_of(loss, params, directions, radius, points, x, y)
    return grid_of_losses(loss, params, directions, axes, **options)


def grid_of_losses(
    loss: Problem | Callable[..., Any], params: PyTree, directions: Any, axes: Sequence[Any], **options: Any
) -> xr.Dataset:
    """The loss on every point of a grid in one, two or three directions.

    Arguments:
        loss, params, directions, options: as in `plane`.
        axes: coordinates along each direction.

    Returns:
        Dataset with `loss` over (z, y, x), the first direction last; see `plane`.

    Raises:
        TypeError, ValueError: as `plane`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import grid_of_losses
        >>> grid_of_losses(lambda p: jnp.sum(p), jnp.zeros(3), jnp.eye(3), [[0, 1], [0, 2], [0, 4, 8]]).loss.shape
        (3, 2, 2)
    """
    return _measured(measures.value, loss, params, directions, axes, **options)


def gradient_field(
    loss: Problem | Callable[..., Any],
    params: PyTree = None,
    directions: Any = None,
    *,
    radius: float | Sequence[float] = 1.0,
    points: int | Sequence[int] = 21,
    x: Any = None,
    y: Any = None,
    **options: Any,
) -> xr.Dataset:
    """The slope of the loss on a plane, and the flow that follows it there.

        slope_i = df/dc_i = <grad f, d_i>,      flow = -G^-1 slope,   G_ij = <d_i, d_j>

    The flow is the velocity of the coordinates when the parameters follow the steepest descent within the plane; for
    orthonormal directions it is minus the slope.

    Arguments:
        loss, params, directions, radius, points, x, y, options: as in `plane`.

    Returns:
        Dataset over (y, x) with `loss`, `slope_x`, `slope_y`, `flow_x`, `flow_y`, `grad_norm` of the whole gradient,
        and `in_plane`, the share of that norm that lies within the plane.

    Raises:
        TypeError, ValueError: as `plane`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import gradient_field
        >>> found = gradient_field(lambda p: p[0] ** 2 - p[1] ** 2, jnp.zeros(2), 2 * jnp.eye(2), x=[1.0], y=[0.5])
        >>> float(found.slope_x[0, 0]), float(found.flow_x[0, 0]), float(found.flow_y[0, 0])
        (8.0, -2.0, 1.0)
    """
    params, directions, axes = _plane_of(loss, params, directions, radius, points, x, y)
    table = _measured(measures.slopes, loss, params, directions, axes, derivatives=1, **options)
    slopes = np.stack([table.slope_x.values, table.slope_y.values]).astype(np.float64)
    gram = labels.gram_of(table)
    with np.errstate(invalid="ignore"):  # a slope may be infinite
        flow = -np.tensordot(np.linalg.inv(gram), slopes, 1)
        inside = np.sqrt(np.maximum(np.sum(-flow * slopes, axis=0), 0))  # of the projected gradient, s' G^-1 s
    norm = table.grad_norm.values.astype(np.float64)
    share = np.divide(inside, norm, out=np.where(np.isnan(norm), np.nan, 1.0), where=norm > 0)
    columns = {"flow_x": flow[0], "flow_y": flow[1], "in_plane": share}
    table = table.assign({name: (("y", "x"), values) for name, values in columns.items()})
    table.attrs["kind"] = "gradient field"
    return table


def curvature_map(
    loss: Problem | Callable[..., Any],
    params: PyTree = None,
    directions: Any = None,
    *,
    radius: float | Sequence[float] = 1.0,
    points: int | Sequence[int] = 11,
    x: Any = None,
    y: Any = None,
    tol: float = 1e-3,
    maxiter: int = 200,
    **options: Any,
) -> xr.Dataset:
    """The smallest and the largest eigenvalue of the whole Hessian on a plane, which show where the loss is convex.

    Dense up to 64 parameters, beyond that by `curvature.eigsh` at every point, one program for all.

    Arguments:
        loss, params, directions, radius, points, x, y, options: as in `plane`.
        tol: relative tolerance of `eigsh`.
        maxiter: products to spend at most at every point.

    Returns:
        Dataset over (y, x) with `loss`, `smallest`, `largest`, `ratio` = -smallest / largest where the smallest is
        negative (0 is convex), and `converged`, whether both were verified at that point.

    Raises:
        TypeError, ValueError: as `plane`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import curvature_map
        >>> found = curvature_map(lambda p: p[0] ** 4 - p[1] ** 2, jnp.zeros(2), jnp.eye(2), x=[1.0], y=[0.0])
        >>> float(found.smallest[0, 0]), float(found.largest[0, 0])
        (-2.0, 12.0)

    Source: Li, Xu, Taylor, Studer and Goldstein, 2018, section 6.
    """
    params, directions, axes = _plane_of(loss, params, directions, radius, points, x, y)
    settings = (float(_checks.scalar("tol", tol, low=0.0)), _checks.count("maxiter", maxiter, low=2))
    # One point at a time on each device: with a vmapped eigh inside, two or more CPU devices at once were seen to hang,
    # all threads waiting, presumably for XLA's one pool of threads.
    if options.setdefault("width", 1) != 1:
        raise ValueError(
            f"width must be left out: a map of curvature takes one point at a time, got {options['width']}"
        )
    table = _measured(measures.extremes, loss, params, directions, axes, settings, derivatives=2, **options)
    low, high = table.smallest, table.largest
    ratio = (-low.clip(max=0) / abs(high)).where(high != 0)
    table = table.assign(ratio=ratio.where(np.isfinite(low)), converged=table.converged.astype(bool))
    table.attrs |= {"kind": "curvature map", "tol": settings[0], "not_converged": int((~table.converged).sum())}
    return table


def _measured(
    measure: Callable[..., dict[str, Array]],
    loss: Problem | Callable[..., Any],
    params: PyTree,
    directions: Any,
    axes: Sequence[Any],
    settings: tuple[Any, ...] = (),
    *,
    derivatives: int = 0,
    data: PyTree = None,
    args: Sequence[Any] = (),
    batch_size: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    width: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> xr.Dataset:
    """Measure on a grid, and label it."""
    function, data = of_problem(loss, data)
    if isinstance(axes, (str, bytes)) or not 1 <= len(axes) <= len(AXES):
        raise ValueError(f"axes must hold the coordinates along one, two or three directions, got {len(axes)}")
    grid = [_coordinates(name, axis) for name, axis in zip(AXES, axes, strict=False)]
    where = checked_plane(params, _rows_of(directions), [len(grid)])
    _refuse_unmoved(where, grid)
    # Before hoisting: the mean over batches is then part of the program, and of the name of a stored slice.
    function, inputs = _streamed(function, where.center, data, args, batch_size)
    _checks.scalar_loss(function, where.center, *inputs)
    with full_precision() if derivatives == 2 else contextlib.nullcontext():  # second derivatives are a curvature
        program, constants = hoist(function, where.center, *inputs, derivatives=derivatives, owner=loss)
    shared = engine.Inputs(constants, where.center, where.directions.vectors, inputs)
    task = engine.Task(measure, program, settings)
    # The first axis varies fastest, as in the Dataset, whose dims are (z, y, x). The last point is the centre.
    mesh = np.meshgrid(*reversed(grid), indexing="ij")
    points = np.stack([values.ravel() for values in reversed(mesh)], axis=1)
    points = np.concatenate([points, np.zeros((1, len(grid)))])
    began = time.perf_counter()
    found = engine.run(task, shared, points, width=width, folder=folder, devices=devices)
    attrs = labels.attrs(loss, where, grid, found["loss"], data, time.perf_counter() - began, batch_size)
    return labels.labelled(grid, where, found, attrs, loss)


def _plane_of(
    loss: Any, params: PyTree, directions: Any, radius: Any, points: Any, x: Any, y: Any
) -> tuple[PyTree, Any, Sequence[Any]]:
    """The parameters, directions and axes of a plane; of a `Problem` with facts alone, its box."""
    if params is None:
        known, axes = _from_facts(loss, params, 2, points, {"x": x, "y": y})
        return known, None, axes
    return params, directions, _axes([x, y], radius, points)


def _from_facts(
    loss: Any, params: PyTree, count: int, points: Any, given: dict[str, Any]
) -> tuple[Plane, Sequence[Axis]]:
    facts = loss.facts if isinstance(loss, Problem) else None
    if facts is None or facts.dimension != count:
        wanted = "one parameter" if count == 1 else "two parameters"
        raise TypeError(f"params is required unless loss is a Problem of {wanted} with a known domain (facts)")
    low, high = facts.domain
    counts = _pair("points", points, count)
    axes = [
        np.linspace(low[i], high[i], _checks.count("points", counts[i], low=2)) if axis is None else axis
        for i, axis in enumerate(given.values())
    ]
    return coordinate_plane(loss.init(jax.random.key(0)), range(count)), axes


def _axes(given: Sequence[Any], radius: Any, points: Any) -> list[Any]:
    count = len(given)
    radii, counts = _pair("radius", radius, count), _pair("points", points, count)
    axes = []
    for axis, half, number in zip(given, radii, counts, strict=True):
        if axis is not None:
            axes.append(axis)
            continue
        half = float(_checks.scalar("radius", half, low=0.0))
        if half <= 0:
            raise ValueError(f"radius must be positive, got {half:g}")
        axes.append(np.linspace(-half, half, _checks.count("points", number, low=2)))
    return axes


def _pair(name: str, value: Any, count: int) -> list[Any]:
    values = list(value) if np.ndim(value) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} must be one number or one per direction, {count}, got {len(values)}")
    return values


def _coordinates(name: str, axis: Any) -> Axis:
    values = np.asarray(axis, np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"{name} must hold coordinates along one axis, at least one, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}")
    _checks.number(name, values)
    if np.any(np.diff(values) <= 0):
        raise ValueError(f"{name} must be strictly increasing")
    return values


def _refuse_unmoved(where: Plane, grid: Sequence[Axis]) -> None:
    """Refuse an axis whose ends are the centre to the precision of the parameters: its picture would be constant."""
    # By NumPy, where an operation of JAX would be one more program to compile.
    center = [np.asarray(leaf) for leaf in jax.tree.leaves(where.center)]
    for i, (name, axis) in enumerate(zip(AXES, grid, strict=False)):
        far = axis[np.argmax(np.abs(axis))]
        steps = jax.tree.leaves(taken(where.directions.vectors, i))
        with np.errstate(all="ignore"):
            there = [base + base.dtype.type(far) * step for base, step in zip(center, steps, strict=True)]
        if far and all(map(np.array_equal, there, center)):
            kinds = ", ".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(where.center)}))
            raise ValueError(
                f"{name} reaches {far:g} along directions[{i}], which moves no parameter in {kinds}: take a larger "
                f"radius, or parameters in a wider type"
            )


def _rows_of(directions: Any) -> Any:
    """An array whose rows are directions as a list of them, for parameters that are one vector."""
    return list(directions) if isinstance(directions, (np.ndarray, jax.Array)) else directions


def _streamed(
    function: Callable[..., Any], params: PyTree, data: PyTree, args: Sequence[Any], batch_size: int | None
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The loss with its further arguments; with a batch size a mean over batches weighted by their sizes."""
    if data is None:
        if batch_size is not None:
            raise ValueError(f"batch_size={batch_size} needs data: the loss is a function of the parameters alone")
        return function, tuple(args)
    data = jax.tree.map(jnp.asarray, data)
    if batch_size is None:
        return function, (data, *args)
    examples = _checks.examples("data", data)
    size = _checks.count("batch_size", batch_size, high=examples)
    count = examples // size
    _checks.scalar_loss(function, params, data, *args)
    # A sum over examples cannot be averaged over batches; `is_sum` keeps its answer with the program of one batch.
    few = batch_shapes(data, size)
    if is_sum(hoist(function, params, few, *args, derivatives=0)[0], function, (params,), data, args):
        refuse_sum(_checks.name_of(function), size, examples)

    def mean(params: PyTree, data: PyTree, *args: Any) -> Array:
        whole = jax.tree.map(lambda leaf: leaf[: count * size].reshape(count, size, *leaf.shape[1:]), data)
        total = jnp.sum(jax.lax.map(lambda batch: function(params, batch, *args), whole)) * (size / examples)
        if examples % size:
            rest = jax.tree.map(lambda leaf: leaf[count * size :], data)
            total = total + function(params, rest, *args) * ((examples % size) / examples)
        return total

    return mean, (data, *args)
