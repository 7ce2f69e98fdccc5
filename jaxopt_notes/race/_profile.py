"""Performance profiles: on which share of many problems a method is within a factor of the fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _checks

if TYPE_CHECKING:
    import xarray

METHOD = "optimizer"


def performance_profile(times: xarray.DataArray, *, most: float = 4.0) -> xarray.Dataset:
    """The share of problems on which a method takes at most a factor more than the fastest, for every factor.

        rho_m(f) = |{p : t_pm <= f min_m' t_pm'}| / |problems|
        area_m = 1/(F - 1) integral_1^F rho_m(f) df

    At the factor 1 it says how often a method is among the fastest, for large factors how many problems it solves at
    all. A problem that no method solves stays in the denominator. The factors are relative to the methods at hand: the
    order of two of them may change when a third is left out (Gould and Scott, 2016).

    Arguments:
        times: to a target, > 0, in any one unit: steps, seconds or trials. Over `optimizer` and one dim of problems.
            NaN or infinity where the run was censored: it ended before the target.
        most: F > 1, the factor up to which the area is taken.

    Returns:
        A Dataset over `optimizer` and `factor`, all factors at which a share rises, from 1 to the largest: `share`, in
        [0, 1]; over `optimizer` alone `fastest`, the share at 1, `solved`, that at infinity, and `area`.

    Raises:
        TypeError: not a DataArray. ValueError: other dims, a time that is not above 0, or no problem that is solved.

    Example:
        >>> import xarray, jaxopt_notes as jon
        >>> from jaxopt_notes.race import performance_profile
        >>> steps = xarray.DataArray([[100.0, 50.0], [80, 120], [30, float("nan")]], dims=("problem", "optimizer"),
        ...                          coords={"optimizer": ["adam", "momentum"]})
        >>> profile = performance_profile(steps)
        >>> profile.factor.values.tolist(), profile.share.sel(optimizer="momentum").round(3).values.tolist()
        ([1.0, 1.5, 2.0], [0.333, 0.667, 0.667])
        >>> profile.solved.round(3).values.tolist()
        [1.0, 0.667]

    Source: Dolan and More, 2002; the area AlgoPerf, Dahl et al., 2023.
    """
    import xarray

    if not isinstance(times, xarray.DataArray):
        raise TypeError(f"times must be an xarray.DataArray, got {type(times).__name__}")
    if len(times.dims) != 2 or METHOD not in times.dims:
        raise ValueError(f"times must have the dims 'optimizer' and one of problems, got {tuple(times.dims)}")
    most = float(_checks.scalar("most", most, low=1.0))
    if most == 1:
        raise ValueError("most must be above 1, got 1")
    problems = next(dim for dim in times.dims if dim != METHOD)
    taken = times.transpose(problems, METHOD).values.astype(float)
    if (taken <= 0).any():
        raise ValueError(f"times must be above 0, got {taken[taken <= 0][0]:g}")
    ratios = _ratios(np.where(np.isnan(taken), np.inf, taken))
    finite = ratios[np.isfinite(ratios)]
    if not len(finite):
        raise ValueError("no method solves any of the problems, so there is nothing to compare")
    factors = np.unique(np.append(finite, 1.0))
    share = (ratios[:, :, None] <= factors).mean(axis=0)
    # The area under a problem's step from its ratio on.
    area = np.clip(most - ratios, 0, None).mean(axis=0) / (most - 1)
    variables = {
        "share": ((METHOD, "factor"), share),
        "fastest": (METHOD, share[:, 0]),
        "solved": (METHOD, share[:, -1]),
        "area": (METHOD, area),
    }
    names = times[METHOD].values if METHOD in times.coords else np.arange(taken.shape[1])
    attributes = {"problems": len(taken), "most": most}
    return xarray.Dataset(variables, {METHOD: names, "factor": factors}, attributes)


def _ratios(taken: np.ndarray) -> np.ndarray:
    """Each time over the shortest of its problem; infinity where the run was censored."""
    shortest = taken.min(axis=1, keepdims=True)
    return np.divide(taken, shortest, out=np.full_like(taken, np.inf), where=np.isfinite(taken))
