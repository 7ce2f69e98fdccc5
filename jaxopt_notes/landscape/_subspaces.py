"""Directions that a loss or a path chooses: Hessian eigenvectors, principal components, and projections onto them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, PyTree

from .. import _checks
from ..curvature import HessianOperator, eigsh, hessian
from ..curvature._operators import coarsest_dtype, flatten, like_params, real_tree
from ..problems import Problem
from ._directions import AXES, Directions, Plane, checked_plane, coordinate_plane, flat_rows, moved

if TYPE_CHECKING:
    import xarray as xr

_DENSE = 300  # parameters up to which the whole Hessian is computed


def hessian_directions(
    loss: Problem | Callable[..., Any],
    params: PyTree,
    count: int = 2,
    *,
    which: str = "BE",
    data: PyTree = None,
    args: Sequence[Any] = (),
    key: Key[Any, ""] | None = None,
    tol: float | None = 1e-3,
    maxiter: int = 1000,
) -> Directions:
    """Unit eigenvectors of the Hessian at a point: by default that of the largest and that of the smallest eigenvalue.

        H d_i = lambda_i d_i

    Dense up to 300 parameters, beyond that by `curvature.eigsh`.

    Arguments:
        loss: `loss(params)`, or `loss(params, data, *args)`; or a `Problem`, which brings its data.
        params: the point, a pytree of real floating arrays.
        count: how many, at most the number of parameters.
        which: "BE" both ends, "LA" the largest, "SA" the smallest, "LM" the largest in modulus; the largest come first.
        data, args: further arguments of the loss.
        key: of random start vectors.
        tol, maxiter: as in `eigsh`.

    Returns:
        `Directions`, with `eigenvalue_x`, `eigenvalue_y`, ... in `attrs`, and `converged`, 1 if all were verified.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted; a Hessian that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import hessian_directions
        >>> found = hessian_directions(lambda p: p[0] ** 2 - 3 * p[1] ** 2, jnp.zeros(2))
        >>> found.attrs["eigenvalue_x"], found.attrs["eigenvalue_y"]
        (2.0, -6.0)
    """
    function, data = of_problem(loss, data)
    params = real_tree("params", params)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    count = _checks.count("count", count, high=size)
    which = _checks.choice("which", which, ("BE", "LA", "SA", "LM"))
    inputs = (() if data is None else (data,)) + tuple(args)
    _, unflatten = flatten(params)
    if size <= _DENSE:
        matrix = np.asarray(hessian(function, params, *inputs), np.float64)
        _check_finite(matrix)
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        chosen = _ends(values, count, which)
        values, rows, verified = values[chosen], vectors.T[chosen], True
    else:
        loss_of_params = (lambda p: function(p, *inputs)) if inputs else function
        pairs = eigsh(HessianOperator(loss_of_params, params), count, which=which, tol=tol, maxiter=maxiter, key=key)
        values, rows = np.asarray(pairs.values, np.float64), flat_rows(pairs.vectors)
        chosen = np.argsort(-values)
        values, rows, verified = values[chosen], rows[chosen], bool(jnp.all(pairs.converged))
    _check_finite(values)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows *= np.sign(rows[np.arange(len(rows)), np.argmax(np.abs(rows), axis=1)])[:, None]  # of two signs always one
    attrs: dict[str, str | float | int] = {
        "kind": "hessian",
        "normalize": "unit",
        "seed": "",
        "converged": int(verified),
    }
    attrs |= {f"eigenvalue_{name}": float(value) for name, value in zip(_names(count), values, strict=True)}
    return Directions(jax.vmap(unflatten)(jnp.asarray(rows, flatten(params)[0].dtype)), attrs)


def pca_plane(path: PyTree, count: int = 2, *, center: str = "last") -> Plane:
    """The plane in which a path varies most: its first principal components, of unit length.

        sum_t <theta_t - mean, d_i>^2   as large as possible,    |d_i| = 1,   <d_i, d_j> = 0

    Explained variances are of the path about its mean. They are large for nearly any path in many dimensions: a random
    walk explains 61 % by its first component and 15 % by its second (Antognini and Sohl-Dickstein, 2018), so look at
    the distance off the plane that `project` gives.

    Arguments:
        path: a pytree of parameters with a leading axis of at least count + 1 points, such as `run.params_path`.
        count: how many components, at least 1.
        center: where coordinates are 0: the "last" point, the "first" one, or the "mean".

    Returns:
        A `Plane`, with `explained_x`, `explained_y`, ... (shares of the variance) in `attrs`.

    Raises:
        TypeError, ValueError: naming the argument; a path that holds NaN, or spans fewer than `count` dimensions.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import pca_plane
        >>> steps = jnp.array([[4.0, 0, 0], [0, 1, 0], [-4, 0, 0], [0, -1, 0]])
        >>> [round(pca_plane(steps).directions.attrs[f"explained_{name}"], 4) for name in "xy"]
        [0.9412, 0.0588]

    Source: Li, Xu, Taylor, Studer and Goldstein, 2018, section 7.
    """
    path = real_tree("path", path)
    points = _checks.examples("path", path, low=0)
    count = _checks.count("count", count)
    _checks.choice("center", center, ("last", "first", "mean"))
    if points <= count:
        raise ValueError(f"path must hold at least {count + 1} points for {count} components, got {points}")
    rows = flat_rows(path)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(f"path holds NaN or infinity from entry {bad[0]} on; cut it there")
    mean = rows.mean(axis=0)
    _, scales, components = np.linalg.svd(rows - mean, full_matrices=False)
    # Below this a component is made of the rounding of the points, so the path does not span it.
    noise = 2 * float(jnp.finfo(coarsest_dtype(*jax.tree.leaves(path))).eps) * np.linalg.norm(rows, axis=1).max()
    rank = int(np.sum(scales > noise))
    if rank < count:
        raise ValueError(f"path varies in {rank} dimension{'s' * (rank != 1)} only, too few for {count} components")
    origin = {"last": rows[-1], "first": rows[0], "mean": mean}[center]
    components = components[:count]
    toward_start = (components @ (rows[0] - rows[-1])) < 0
    components[toward_start] *= -1  # of two signs the one in which the path starts to the right of, or above, its end
    one = jax.tree.map(lambda leaf: leaf[0], path)
    vector, unflatten = flatten(one)
    shares = scales**2 / np.sum(scales**2)
    attrs: dict[str, str | float | int] = {"kind": "pca", "normalize": "unit", "seed": "", "points": points}
    attrs |= {f"explained_{name}": float(share) for name, share in zip(_names(count), shares, strict=False)}
    stack = jax.vmap(unflatten)(jnp.asarray(components, vector.dtype))
    return Plane(unflatten(jnp.asarray(origin, vector.dtype)), Directions(stack, attrs))


def project(path: PyTree, plane: Plane, *, step: Any = None) -> xr.Dataset:
    """The coordinates of points on a plane, and how far they lie off it.

        c = G^-1 (<d_i, theta - center>)_i,   G_ij = <d_i, d_j>,      off_plane = |theta - center - sum_i c_i d_i|

    In float64, right for directions of any length and angle: a point of the plane gets back its own coordinates.

    Arguments:
        path: points, a pytree like the parameters with a leading axis, such as `run.params_path`; or one point.
        plane: from `pca_plane` or `coordinate_plane`, or `Plane(params, directions)`.
        step: what to call the points, one number each; 0, 1, ... when None.

    Returns:
        Dataset over `step` with coordinates `x` (and `y`), `off_plane`, `off_plane_share` (of the distance to the
        centre), and the `distance` to the centre. For one point without the dim `step`. A point that is not finite gets
        NaN.

    Raises:
        TypeError, ValueError: structures or shapes differ, a direction is zero, or two are parallel.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import Directions, Plane, project
        >>> plane = Plane(jnp.zeros(3), Directions(jnp.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0]])))
        >>> found = project(jnp.array([3.0, 1.0, 4.0]), plane)
        >>> float(found.x), float(found.y), float(found.off_plane)
        (1.0, 1.0, 4.0)
    """
    import xarray as xr

    if not isinstance(plane, Plane):
        raise TypeError(
            f"plane must be a landscape.Plane, got {type(plane).__name__}; Plane(params, directions) makes one"
        )
    plane = checked_plane(plane, None, range(1, 4))
    path, single = _as_path(path, plane.center)
    center = flat_rows(jax.tree.map(lambda leaf: leaf[None], plane.center))
    rows = flat_rows(path) - center
    basis = flat_rows(plane.directions.vectors)
    # Through the Gram matrix, so directions need be neither orthogonal nor of one length; in float64 on the host, as
    # distances off the plane are small differences.
    coordinates = np.linalg.solve(basis @ basis.T, basis @ rows.T).T
    distance = np.linalg.norm(rows, axis=1)
    off = np.linalg.norm(rows - coordinates @ basis, axis=1)
    names = _names(len(basis))
    columns = {name: coordinates[:, i] for i, name in enumerate(names)}
    columns |= {"off_plane": off, "distance": distance, "off_plane_share": _share(off, distance)}
    steps = np.arange(len(rows)) if step is None else np.asarray(step)
    if steps.shape != (len(rows),) and not single:
        raise ValueError(f"step must hold one number per point, {len(rows)}, got shape {steps.shape}")
    table = xr.Dataset({name: ("step", values) for name, values in columns.items()}, {"step": steps[: len(rows)]})
    lengths = np.linalg.norm(basis, axis=1)
    for name, length in zip(names, lengths, strict=True):
        table[name].attrs = {"units": "multiples of the direction", "direction_norm": float(length)}
    for name in ("off_plane", "distance"):
        table[name].attrs = {"units": "Euclidean distance in parameter space"}
    table.attrs = {"kind": "path", **plane.directions.attrs, "directions": str(plane.directions.attrs.get("kind", ""))}
    table.attrs["kind"] = "path"
    return table.isel(step=0, drop=True) if single else table


def of_problem(loss: Problem | Callable[..., Any], data: PyTree) -> tuple[Callable[..., Any], PyTree]:
    """The loss function and its data, which a `Problem` brings along."""
    function = loss.loss if isinstance(loss, Problem) else loss
    if not callable(function):
        raise TypeError(f"loss must be a Problem or a function of the parameters, got {loss!r}")
    _checks.nothing_by_keyword(function)
    if isinstance(loss, Problem) and data is None:
        return function, loss.data
    return function, _checks.not_empty("data", data)


def _as_path(path: PyTree, center: PyTree) -> tuple[PyTree, bool]:
    """Points with a leading axis, and whether it was one point without."""
    path = real_tree("path", path)
    expected_tree: Any = jax.tree.structure(center)
    if expected_tree != jax.tree.structure(path):
        like_params("path", path, center, "the plane")  # raises, and names both
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(path)]
    expected = [leaf.shape for leaf in jax.tree.leaves(center)]
    if shapes == expected:
        return jax.tree.map(lambda leaf: leaf[None], path), True
    if [shape[1:] for shape in shapes] != expected or len({shape[:1] for shape in shapes}) > 1:
        raise ValueError(
            f"path must have the shapes of the plane's parameters, {expected}, after one axis of points, got {shapes}"
        )
    return path, False


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.where(np.isnan(whole), np.nan, 0.0), where=whole > 0)


def _names(count: int) -> list[str]:
    return [AXES[i] if i < len(AXES) else f"c{i}" for i in range(count)]


def _ends(values: np.ndarray, count: int, which: str) -> np.ndarray:
    """Which of ascending eigenvalues are wanted, the largest first."""
    size = len(values)
    if which == "LM":
        chosen = np.sort(np.argsort(-np.abs(values), kind="stable")[:count])
    else:
        high = {"BE": (count + 1) // 2, "LA": count, "SA": 0}[which]
        chosen = np.concatenate([np.arange(count - high), np.arange(size - high, size)])
    return chosen[::-1]


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError("the Hessian at params is not finite; look at the loss and its gradient there")


def eigendirections(
    loss: Problem | Callable[..., Any],
    params: Any = None,
    directions: Any = None,
    *,
    at: Sequence[float] = (0.0, 0.0),
    data: PyTree = None,
    args: Sequence[Any] = (),
) -> xr.Dataset:
    """The curvature within a plane at one of its points: eigenvalues, and directions in coordinates of the plane.

        C v = lambda G v,    C_ij = <d_i, H d_j>,    G_ij = <d_i, d_j>,    |sum_i v_i d_i| = 1

    For a function of two parameters these are the eigenpairs of its Hessian.

    Arguments:
        loss, params, directions, data, args: as in `plane`; a `Problem` of two parameters needs nothing else.
        at: the point, in coordinates of the plane.

    Returns:
        Dataset over `mode`, ascending: `eigenvalue`, and the direction's `x` and `y`; `at_x`, `at_y` in `attrs`.

    Raises:
        TypeError, ValueError: as `plane`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import eigendirections
        >>> eigendirections(lambda p: p[0] ** 2 - p[1] ** 2, jnp.zeros(2), jnp.eye(2)).eigenvalue.values.tolist()
        [-2.0, 2.0]
    """
    import scipy.linalg
    import xarray as xr

    function, data = of_problem(loss, data)
    if params is None and isinstance(loss, Problem):
        params = coordinate_plane(loss.init(jax.random.key(0)))
    rows = list(directions) if isinstance(directions, (np.ndarray, jax.Array)) else directions
    where = checked_plane(params, rows, [2])
    inputs = (() if data is None else (data,)) + tuple(args)
    point = np.asarray(at, np.float64)
    if point.shape != (2,) or not np.isfinite(point).all():
        raise ValueError(f"at must be the two coordinates of a point, got {at!r}")
    curvature = hessian(
        lambda c, center, vectors, *inputs: function(moved(center, vectors, c), *inputs),
        jnp.asarray(point, float), where.center, where.directions.vectors, *inputs,
    )  # fmt: skip
    matrix = np.asarray(curvature, np.float64)
    _check_finite(matrix)
    values, vectors = scipy.linalg.eigh((matrix + matrix.T) / 2, where.directions.gram())
    columns = {"eigenvalue": ("mode", values), "x": ("mode", vectors[0]), "y": ("mode", vectors[1])}
    return xr.Dataset(columns, attrs={"kind": "eigendirections", "at_x": float(point[0]), "at_y": float(point[1])})
