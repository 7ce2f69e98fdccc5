"""Spaces that are lists of points: from a table, or drawn from distributions. Grids are in `space`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from ... import _checks
from .space import CONFIGURATION, Space, column, different, listed

METHODS = ("random", "sobol", "halton", "latin")


def trials(table: Any) -> Space:
    """The points of a table, one configuration per row.

    Arguments:
        table: name of a hyperparameter -> values, all of one length: a dict of lists or arrays, a pandas `DataFrame`
            (its index is left out), or an `xarray.Dataset` with one dim. A NaN means that the configuration does not
            name this hyperparameter: the optimizer's own default holds.

    Returns:
        A `Space`, for `sweep`.

    Raises:
        TypeError: not a table. ValueError: no column, no row, columns of different lengths, more than one dim, values
            that are infinite, or a repeated row.

    Example:
        >>> import jaxopt_notes as jon
        >>> len(jon.trials({"learning_rate": [0.1, 0.01, 0.01], "beta": [0.0, 0.0, 0.9]}))
        3
    """
    columns = _columns_of(table)
    if not columns:
        raise ValueError(f"trials needs a table with at least one column, got {table!r}")
    made = {str(name): column(str(name), values, absent=True) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in made.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"trials needs columns of one length, got {', '.join(f'{n}: {k}' for n, k in lengths.items())}"
        )
    return different(listed(made))


def _columns_of(table: Any) -> dict[Any, Any]:
    if hasattr(table, "dims") and hasattr(table, "variables"):  # an xarray.Dataset
        dims = list(table.dims)
        if len(dims) != 1:
            raise ValueError(f"trials needs a Dataset with one dim, got {', '.join(map(str, dims)) or 'none'}")
        counted = (CONFIGURATION, "trial", "index")
        return {name: v.values for name, v in table.variables.items() if v.dims and name not in counted}
    if hasattr(table, "columns") and hasattr(table, "iloc"):  # a pandas.DataFrame
        return {name: table[name].to_numpy() for name in table.columns}
    if not isinstance(table, Mapping):
        raise TypeError(f"trials needs a dict of columns, a pandas DataFrame or an xarray Dataset, got {table!r}")
    return dict(table)


def sample(n: int, key: Key[Array, ""], method: str = "random", **distributions: Any) -> Space:
    """Points drawn from distributions, at random or evenly spread.

    The points u of [0, 1)^d go through the inverse of each cumulative distribution function, x = F^-1(u). Low-
    discrepancy points fill the space more evenly than random ones; of "sobol" and "halton" the first n of a larger
    sample with the same key are the smaller sample.

    Arguments:
        n: number of points. For "sobol" powers of 2 are the most even.
        key: a random key; the same key, n and distributions in the same order give the same points.
        method: "random", "sobol" (scrambled), "halton" (scrambled) or "latin" (a Latin hypercube).
        distributions: name of a hyperparameter -> a frozen distribution of `scipy.stats`, for example
            `loguniform(1e-4, 1)`; or a list of equally likely values; or one value.

    Returns:
        A `Space` of n configurations, for `sweep`.

    Raises:
        TypeError: not a frozen distribution, or no key. ValueError: no distribution, an unknown method, or a
            distribution that gives values that are not finite.

    Example:
        >>> import jax, scipy.stats, jaxopt_notes as jon
        >>> space = jon.sample(16, jax.random.key(0), "sobol", learning_rate=scipy.stats.loguniform(1e-4, 1),
        ...                    beta=scipy.stats.uniform(0, 0.99))
        >>> len(space), float(space.columns()["learning_rate"].min()) >= 1e-4
        (16, True)

    Source: `scipy.stats.qmc`; Bergstra and Bengio, 2012, on random search.
    """
    n = _checks.count("n", n)
    _checks.choice("method", method, METHODS)
    if not distributions:
        raise ValueError("sample needs at least one distribution, for example learning_rate=loguniform(1e-4, 1)")
    inverses = {name: _inverse(name, distribution) for name, distribution in distributions.items()}
    points = _unit_points(n, len(inverses), _checks.key("key", key), method)
    drawn = zip(inverses.items(), points.T, strict=True)
    return listed({name: column(name, inverse(u)) for (name, inverse), u in drawn})


def _inverse(name: str, distribution: Any) -> Callable[[np.ndarray], Any]:
    """From [0, 1) to values of the distribution."""
    for method in ("ppf", "icdf"):  # of scipy's frozen distributions, and of its newer ones
        inverse = getattr(distribution, method, None)
        if callable(inverse):
            if hasattr(distribution, "freeze"):
                raise TypeError(f"{name} must be a frozen distribution: call it with its numbers, got {distribution!r}")
            return functools.partial(_whole, inverse) if hasattr(distribution, "pmf") else inverse
    if callable(distribution):
        raise TypeError(
            f"{name} must be a frozen distribution of scipy.stats, a list or a value, got {distribution!r}; for "
            f"example scipy.stats.loguniform(1e-4, 1)"
        )
    values = column(name, distribution)
    return lambda u: values[(u * len(values)).astype(int)]


def _whole(inverse: Callable[[np.ndarray], Any], points: np.ndarray) -> np.ndarray:
    """Values of a discrete distribution, which SciPy gives as floats, as integers where they are."""
    values = np.asarray(inverse(points))
    return values.astype(int) if np.array_equal(values, np.floor(values)) and np.isfinite(values).all() else values


def _unit_points(n: int, dimensions: int, key: Key[Array, ""], method: str) -> Float[np.ndarray, "n dimensions"]:
    """Points of the open unit cube, decided by the key."""
    from scipy.stats import qmc

    typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
    # SciPy draws with NumPy's generators, so the words of the JAX key seed one: the key still decides every point.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key) if typed else key).ravel())
    if method == "random":
        points = rng.random((n, dimensions))
    elif method == "sobol":
        # SciPy warns of other numbers than powers of 2; the first n of more are what it would give.
        points = qmc.Sobol(dimensions, rng=rng).random_base2((n - 1).bit_length())[:n]
    elif method == "halton":
        points = qmc.Halton(dimensions, rng=rng).random(n)
    else:
        points = qmc.LatinHypercube(dimensions, rng=rng).random(n)
    return np.clip(points, 2.0**-53, 1 - 2.0**-53)  # at 0 the inverse may be minus infinity
