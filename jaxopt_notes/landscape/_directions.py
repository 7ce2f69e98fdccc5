"""Directions in parameter space: exact units, normalised by filter or by layer, yet orthogonal."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._host import stacked, taken
from .._numerics import rounded
from ..curvature._operators import like_params, real_tree
from ._filters import Layout, OutputAxis, described, layouts, orthogonal, paths_of, scaled

AXES = ("x", "y", "z")
NORMALISATIONS = ("filter", "layer", "none")
_PARALLEL = 1e-5  # sine of the angle below which two directions do not span a plane
Ignore = str | Callable[[str], bool]


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions through parameter space. A coordinate of 1 moves the parameters by exactly the direction.

    Attributes:
        vectors: a pytree like the parameters with one more axis in front, one entry per direction.
        attrs: where they come from, texts and numbers: `kind`, `normalize`, `seed`, eigenvalues, explained variances.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import Directions
        >>> len(Directions(jnp.eye(3)[:2]))
        2
    """

    vectors: PyTree
    attrs: Mapping[str, str | float | int] = field(default_factory=dict)

    def __len__(self) -> int:
        return _checks.examples("vectors", self.vectors, low=0)

    def __getitem__(self, index: int) -> PyTree:
        """One direction, a pytree like the parameters."""
        return jax.tree.map(lambda leaf: leaf[range(len(self))[index]], self.vectors)

    def gram(self) -> Float[np.ndarray, "count count"]:
        """Inner products of the directions in float64; diagonal if they are orthogonal, the identity if orthonormal."""
        rows = flat_rows(self.vectors)
        return rows @ rows.T


@dataclass(frozen=True, eq=False)
class Plane:
    """A point and directions through it: two make a plane, one makes a line.

    Attributes:
        center: the parameters at coordinates 0.
        directions: as `Directions`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import Directions, Plane
        >>> Plane(jnp.zeros(3), Directions(jnp.eye(3)[:2])).at([2.0, -1.0]).tolist()
        [2.0, -1.0, 0.0]
    """

    center: PyTree
    directions: Directions

    def at(self, coordinates: Any) -> PyTree:
        """The parameters at coordinates of shape (count,)."""
        return moved(self.center, self.directions.vectors, jnp.asarray(coordinates, float))


def moved(params: PyTree, vectors: PyTree, coordinates: Float[Array, " count"]) -> PyTree:
    """params + sum_i c_i d_i, added up one by one, so that c = 1 adds the direction and nothing else."""

    def leaf(base: Array, stack: Array) -> Array:
        # One direction after another in place of a product with the stack: adding 1 times a direction must give exactly
        # params + d, and adding 0 exactly params.
        for i in range(stack.shape[0]):
            step = rounded(coordinates[i].astype(base.dtype) * stack[i].astype(base.dtype))
            base = rounded(base + step)
        return base

    return jax.tree.map(leaf, params, vectors)


def random_directions(
    key: Key[Array, ""],
    params: PyTree,
    count: int = 2,
    *,
    normalize: str = "filter",
    output_axis: OutputAxis | None = None,
    ignore: Ignore | None = None,
) -> Directions:
    """Random directions, orthogonal to each other, each as long as the parameters filter by filter or layer by layer.

        d_i ~ N(0, I),    <d_i, d_j> = 0,    |d_i restricted to f| = |params restricted to f|   for every filter f

    A filter is what makes one output: the entries of a leaf of two axes or more that share the index of its output
    axis. That is the last axis in flax's layout (in, out), the first in that of torch and equinox (out, in). A bias is
    one filter. Directions are made orthogonal inside every filter and then scaled, so both statements hold exactly;
    orthogonalising last would change the norms, normalising last the angles. A filter of fewer entries than directions
    is taken with the rest of its leaf. Leaves of fewer entries than directions, such as scalars, are taken together as
    one filter, and left out if that is still too small. Before scaling, the numbers of a leaf depend on the key, its
    path and its shape alone: networks that share layers are cut along the same random directions.

    Arguments:
        key: of the random numbers.
        params: a pytree of real floating arrays.
        count: how many directions, at least 1.
        normalize: "filter", "layer" (one norm per leaf), or "none" (plain Gaussian numbers, orthogonal as a whole).
        output_axis: the axis that counts outputs, such as -1 or 0, or `output_axis(path, leaf) -> axis or None`. Where
            it is None, the axis as long as the bias beside a weight, if one axis only is; else the first axis of a leaf
            named "weight" (torch, equinox; not of `equinox.nn.Embedding`), and the last of any other. `attrs` say which
            axis was taken and why: look there if the layout is neither.
        ignore: parameters that do not move: a name on their path ("bias"), or a function of the path
            ("params/Dense_0/bias") that says which. With batch normalisation leave out its scales and biases.

    Returns:
        `Directions`, with `normalize`, `seed`, `ignore`, `output_axis` and `left_out` in `attrs`.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted; also where every direction would be
            zero, because all parameters that move are zero.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_notes.landscape import random_directions
        >>> params = {"kernel": jnp.arange(12.0).reshape(4, 3), "bias": jnp.ones(3)}
        >>> found = random_directions(jax.random.key(0), params)
        >>> bool(jnp.allclose(jnp.linalg.norm(found[0]["kernel"], axis=0), jnp.linalg.norm(params["kernel"], axis=0)))
        True
        >>> bool(abs(found.gram()[0, 1]) < 1e-4)
        True

    Source: Li, Xu, Taylor, Studer and Goldstein, 2018.
    """
    params = real_tree("params", params)
    key = _checks.key("key", key)
    count = _checks.count("count", count)
    _checks.choice("normalize", normalize, NORMALISATIONS)
    if output_axis is not None and normalize != "filter":
        raise ValueError(f"output_axis={output_axis!r} needs normalize='filter', got normalize={normalize!r}")
    leaves = jax.tree.leaves(params)
    structure: Any = jax.tree.structure(params)
    kept = _moving(params, ignore)
    size = sum(leaf.size for leaf, keep in zip(leaves, kept, strict=True) if keep)
    if count > size:
        raise ValueError(f"count must be at most {size}, the parameters that move, got {count}")
    # By name, so that two networks that share a layer share its numbers, whatever else they have.
    paths = paths_of(params)
    # A checksum, as Python's `hash` of a text differs from process to process.
    keys = [jax.random.fold_in(key, zlib.crc32(path.encode())) for path in paths]
    drawn = [
        # In float64 on the host: products of long float32 vectors would leave the directions less orthogonal.
        np.asarray(jax.random.normal(k, (count, *leaf.shape)), np.float64) * keep
        for k, leaf, keep in zip(keys, leaves, kept, strict=True)
    ]
    found: list[Layout | None] = [None] * len(leaves)
    left_out: list[str] = []
    if normalize == "none":
        flat = orthogonal(np.concatenate([part.reshape(count, -1) for part in drawn], axis=1), unit=False)
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        drawn = [
            part.reshape(count, *leaf.shape) for part, leaf in zip(np.split(flat, ends, axis=1), leaves, strict=True)
        ]
    else:
        found = layouts(params, output_axis) if normalize == "filter" else found
        moving = [i for i, keep in enumerate(kept) if keep]
        made, small = scaled(
            [drawn[i] for i in moving],
            [np.asarray(leaves[i], np.float64) for i in moving],
            [None if (layout := found[i]) is None else layout.axis for i in moving],
        )
        left_out = [paths[moving[i]] for i in small]
        for i, part in zip(moving, made, strict=True):
            drawn[i] = part
    if not any(np.any(part) for part in drawn):
        but = f" ({', '.join(left_out)} hold too few numbers for {count} directions)" if left_out else ""
        raise ValueError(
            f"every direction is zero, because the parameters that move are zero{but} and normalize={normalize!r} "
            f"makes directions as long as the parameters; use normalize='none'"
        )
    vectors = structure.unflatten([jnp.asarray(part, leaf.dtype) for part, leaf in zip(drawn, leaves, strict=True)])
    attrs: dict[str, str | float | int] = {"kind": "random", "normalize": normalize, "seed": _seed_of(key)}
    attrs |= {"ignore": _ignore_text(ignore), "left_out": ", ".join(left_out)}
    attrs |= {"output_axis": described(found, paths)}
    return Directions(vectors, attrs)


def coordinate_plane(params: PyTree, entries: Sequence[int] = (0, 1)) -> Plane:
    """The plane in which some entries of the parameters vary, and in which coordinates are their values.

    Arguments:
        params: a pytree of real floating arrays; all other entries stay as they are here.
        entries: which, in the order of the flattened parameters; no one twice.

    Returns:
        A `Plane` through the point at which these entries are zero.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.landscape import coordinate_plane
        >>> coordinate_plane(jnp.array([5.0, 6.0, 7.0]), (0, 2)).at([1.0, 2.0]).tolist()
        [1.0, 6.0, 2.0]
    """
    params = real_tree("params", params)
    leaves = jax.tree.leaves(params)
    structure: Any = jax.tree.structure(params)
    size = sum(leaf.size for leaf in leaves)
    chosen = [_checks.count("entries", entry, low=0, high=size - 1) for entry in entries]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"entries must name different parameters, at least one, got {list(entries)}")
    flat = np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])
    flat[chosen] = 0
    units = np.zeros((len(chosen), size))
    units[np.arange(len(chosen)), chosen] = 1
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def tree(rows: np.ndarray, lead: tuple[int, ...]) -> PyTree:
        parts = np.split(rows, ends, axis=-1)
        return structure.unflatten(
            [jnp.asarray(p.reshape(*lead, *leaf.shape), leaf.dtype) for p, leaf in zip(parts, leaves, strict=True)]
        )

    named = ", ".join(map(str, chosen))
    attrs: dict[str, str | float | int] = {"kind": "coordinates", "normalize": "none", "seed": "", "entries": named}
    return Plane(tree(flat, ()), Directions(tree(units, (len(chosen),)), attrs))


def checked_plane(params: Any, directions: Any, counts: Sequence[int]) -> Plane:
    """A `Plane` from what a user passed, with the dtypes of the parameters and directions that span something.

    Raises:
        TypeError, ValueError: structures or shapes differ, a direction is zero or not finite, or two are parallel.
    """
    _checks.not_compiled("a landscape", params, directions)
    if isinstance(params, Plane):
        if directions is not None:
            raise TypeError("a Plane brings its own directions: leave directions out")
        params, directions = params.center, params.directions
    if directions is None:
        raise TypeError(
            "directions are missing: pass for example landscape.random_directions(jax.random.key(0), params)"
        )
    params = real_tree("params", params)
    if not isinstance(directions, Directions):
        given = list(directions) if isinstance(directions, (list, tuple)) else [directions]
        trees = [like_params(f"directions[{i}]", one, params) for i, one in enumerate(given)]
        directions = Directions(_rows(trees), {"kind": "given", "normalize": "none", "seed": ""})
    found = len(directions)
    if found not in counts:
        wanted = " or ".join(map(str, counts))
        raise ValueError(f"directions must hold {wanted} direction{'s' * (wanted != '1')}, got {found}")
    trees = [jax.device_put(taken(directions.vectors, i)) for i in range(found)]
    trees = [like_params(f"directions[{i}]", one, params) for i, one in enumerate(trees)]
    directions = Directions(_rows(trees), directions.attrs)
    _check_span(directions.gram())
    return Plane(params, directions)


def _rows(trees: Sequence[PyTree]) -> PyTree:
    """Directions along a new leading axis."""
    return jax.device_put(stacked(trees))


def flat_rows(stack: PyTree) -> Float[np.ndarray, "count n"]:
    """The entries of a pytree with a leading axis as rows in float64, on the host."""
    _checks.not_compiled("a landscape", stack)
    leaves = [
        np.asarray(leaf.astype(jnp.float32) if leaf.dtype.itemsize < 4 else leaf) for leaf in jax.tree.leaves(stack)
    ]
    return np.concatenate([leaf.reshape(len(leaf), -1).astype(np.float64) for leaf in leaves], axis=1)


def _check_span(gram: Float[np.ndarray, "count count"]) -> None:
    lengths = np.sqrt(np.diag(gram))
    for i, length in enumerate(lengths):
        if not np.isfinite(length):
            raise ValueError(f"directions[{i}] holds NaN or infinity")
        if length == 0:
            raise ValueError(f"directions[{i}] is zero, so its coordinate moves nothing")
    cosines = gram / np.outer(lengths, lengths)
    for i, j in itertools.combinations(range(len(gram)), 2):
        if 1 - cosines[i, j] ** 2 < _PARALLEL**2:
            raise ValueError(
                f"directions[{i}] and directions[{j}] are parallel (cosine {cosines[i, j]:.6f}), so they span no plane"
            )
    if np.linalg.eigvalsh(cosines)[0] < _PARALLEL**2:
        raise ValueError("the directions are linearly dependent, so coordinates are not unique")


def _moving(params: PyTree, ignore: Ignore | None) -> list[bool]:
    paths = paths_of(params)
    if ignore is None:
        return [True] * len(paths)
    if not isinstance(ignore, str) and not callable(ignore):
        raise TypeError(f"ignore must be a name on a path or a function of the path, got {ignore!r}")
    fixed = [f"/{ignore}/" in f"/{path}/" if isinstance(ignore, str) else bool(ignore(path)) for path in paths]
    if not any(fixed) and isinstance(ignore, str):
        names = sorted({name for path in paths for name in path.split("/")})
        known = f"their paths are {', '.join(paths)}"
        raise ValueError(f"ignore={ignore!r} matches no parameter{_checks.nearest(ignore, names, known)}")
    if all(fixed):
        raise ValueError(f"ignore={ignore!r} leaves no parameter that moves")
    return [not one for one in fixed]


def _ignore_text(ignore: Ignore | None) -> str:
    return ignore if isinstance(ignore, str) else "" if ignore is None else _checks.name_of(ignore)


def _seed_of(key: Any) -> str:
    """The words of a key, which with JAX's generator determine the numbers drawn."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return " ".join(str(int(word)) for word in np.asarray(data).ravel())
