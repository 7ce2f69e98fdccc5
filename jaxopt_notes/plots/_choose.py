"""Which figures suit a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ..curvature import CriticalPoints, SpectralDensity
from ..minimize import Run
from ..problems._metric import Direction
from ..proof import AllCriticalPoints
from ..race import Race, Sensitivity
from ..suggest import Suggestion
from ..sweeps import Importance
from ..sweeps.spec.space import CONFIGURATION
from . import _flow as flow
from . import _lines as lines
from . import _medians as medians
from . import _spreads as spreads
from . import _style as style
from . import _surfaces as surfaces
from . import _tables as tables
from ._boxes import boxes, has_two_parameters
from ._budgets import budget_curves, sensitivity_ranges
from ._curves import loss_curves
from ._heat import heatmap
from ._importances import importance_bars
from ._passes import passes, profile
from ._samples import numbers, samples
from ._sensitivity import Bound, compare, learning_rate_sensitivity

MOST_SCATTERS = 6
MOST_CURVES = 6  # of metrics on test data


# Results with a figure of their own, and what draws it.
RESULTS: dict[type, Callable[[Any, Axes | None], Axes]] = {
    Race: budget_curves,
    Sensitivity: sensitivity_ranges,
    Importance: importance_bars,
    Suggestion: lambda found, ax: learning_rate_sensitivity(found.curve, ax, bound=found.stable_below),
}
Result = CriticalPoints | AllCriticalPoints | SpectralDensity | Race | Sensitivity | Importance | Suggestion


def plot(table: xr.Dataset | xr.DataTree | Run | Result, ax: Axes | None = None) -> Axes:
    """Draw the figure that suits the table.

    For a sweep over a list of points those, else the U curve when the learning rate varies, else a heat map when two
    axes do, else loss curves, at most 8 of them. For other Datasets their variables and dims decide: contours of a
    plane, a curve of a line, streamlines of a gradient field, a spectrum, critical points by index and loss, a
    series, the passes of a battery, or a performance profile.

    Arguments:
        table: the Dataset of a sweep, of a slice of the `landscape`, or of what else there is a figure for; or a result
            that has such a `to_dataset()`: one run, critical points, a spectral density. Proved critical points are
            drawn as `boxes` where there are two parameters and the search kept its history; a `Race` as its budget
            curves, a `Sensitivity` as its range, an `Importance` as bars, a `Suggestion` as the U curve of its test.
            The tree of several families is drawn by `compare` where all of them have learning rates.
        ax: where to draw; None makes a figure, `plot(table).figure`.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: nothing that there is a figure for.

    Example:
        >>> data = {"final_loss": (("learning_rate", "seed"), [[0.3], [0.1]])}
        >>> data["status"] = (("learning_rate", "seed"), [[0], [0]])
        >>> plot(xr.Dataset(data, {"learning_rate": [0.01, 0.1]})).get_xlabel()
        'learning rate'
    """
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(
            f"ax must be matplotlib Axes, got {ax!r}; another metric is drawn by "
            "plots.learning_rate_sensitivity(table, metric=...) or plots.heatmap(table, ..., metric=...)"
        )
    if isinstance(table, AllCriticalPoints) and table.history is not None and has_two_parameters(table):
        return boxes(table, ax)
    if type(table) in RESULTS:
        return RESULTS[type(table)](table, ax)
    if isinstance(table, xr.DataTree):
        families = {name: child.to_dataset() for name, child in table.children.items()}
        if families and all("learning_rate" in one.dims for one in families.values()):
            return compare(families, ax)
    if isinstance(table, (Run, CriticalPoints, AllCriticalPoints, SpectralDensity)):
        table = table.to_dataset()
    if not isinstance(table, (xr.Dataset, xr.DataTree)):
        known = style.names([kind.__name__ for kind in (Run, *get_args(Result))], last="or")
        raise TypeError(f"table must be the xarray.Dataset of a sweep, or a {known}; got {type(table).__name__}")
    draw = _other_than_a_sweep(table)
    one: Any = table
    if draw is not None:
        return draw(one, ax)
    table = tables.check_table(one)
    if numbers(table):
        return samples(table, ax)
    varying = _varying(table)
    if "learning_rate" in varying:
        return learning_rate_sensitivity(table, ax=ax)
    if len(varying) >= 2:
        return heatmap(table, ax=ax)
    count = table.sizes[varying[0]] if varying else 1
    places = np.unique(np.linspace(0, count - 1, min(count, 8)).round().astype(int))
    return loss_curves(table.isel({varying[0]: places}) if varying else table, ax=ax)


def figures(
    table: xr.Dataset,
    winner: Mapping[str, float] | None = None,
    bound: Bound | None = None,
    *,
    metric: str = "final_loss",
    direction: Direction | None = None,
) -> Iterator[tuple[str, Axes]]:
    """Every figure that suits a table: points, U curves of a metric and the test metrics, heat map, and loss curves.

    A test metric that does not declare its direction is left out.

    Arguments:
        table: the Dataset of a sweep.
        winner: the configuration whose loss curve is drawn, among others of its first axis; without it there are none.
            Of a list of points five from the best to the worst.
        bound: stability bound(s) at initialisation, as in `learning_rate_sensitivity`.
        metric: what the points, the first U curve and the heat map show.
        direction: "max" or "min", which value of it is the better; as the table declares when None.

    Returns:
        An iterator over (kind, Axes).

    Example:
        >>> data = {"final_loss": (("learning_rate", "seed"), [[0.3], [0.1]])}
        >>> data["status"] = (("learning_rate", "seed"), [[0], [0]])
        >>> [kind for kind, _ in figures(xr.Dataset(data, {"learning_rate": [0.01, 0.1]}))]
        ['learning-rate']
    """
    table = tables.check_table(table)
    varying = _varying(table)
    shown: dict[str, Any] = {"metric": metric, "direction": direction}
    for name in numbers(table)[:MOST_SCATTERS]:
        yield f"points-{name.replace('_', '-')}", samples(table, x=name, **shown)
    if "learning_rate" in varying:
        yield "learning-rate", learning_rate_sensitivity(table, bound=bound, **shown)
        tested = [
            name for name in tables.judged(table) if name.startswith("test_") and name not in (metric, "test_loss")
        ]
        for name in tested[:MOST_CURVES]:
            yield name.replace("_", "-"), learning_rate_sensitivity(table, metric=name, bound=bound)
    if len(varying) > 1:
        yield "heat-map", heatmap(table, bound=bound if "learning_rate" in varying else None, **shown)
    if winner is not None and "loss" in table:
        yield "loss", loss_curves(table, **_around(table, winner, varying, medians.quartiles(table, **shown)))


def is_sweep(table: Any, name: str = "table") -> bool:
    """Whether the table is that of a sweep, as against another Dataset that there is a figure for.

    Arguments:
        table: a Dataset.
        name: what an error calls it.

    Returns:
        True or False.

    Raises:
        TypeError, ValueError: it is no Dataset, or holds nothing that can be shown.

    Example:
        >>> is_sweep(xr.Dataset({"density": ("eigenvalue", [0.1])}, {"eigenvalue": [1.0]}))
        False
    """
    if _other_than_a_sweep(table) is not None:
        return False
    try:
        tables.check_table(table)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    return True


def _other_than_a_sweep(table: Any) -> Callable[[xr.Dataset, Axes | None], Axes] | None:
    """The figure of a Dataset that is no sweep, or None."""
    if not isinstance(table, xr.Dataset) or "final_loss" in table:
        return None
    over = {str(name): set(map(str, table[name].dims)) for name in table.data_vars}
    plane = {"x", "y"}
    if over.get("flow_x") == plane:
        return flow.streamlines
    if over.get("smallest") == plane:
        return lambda table, ax: surfaces.contour(table, ax, variable="smallest", scale="linear")
    if over.get("loss") == plane:
        return surfaces.contour
    if over.get("loss") == {"x"}:
        return lines.curve
    if over.get("density") == {"eigenvalue"}:
        return spreads.spectrum
    if over.get("loss") == over.get("index") == {"point"}:
        return spreads.index_against_loss
    if {*map(frozenset, over.values())} <= {
        frozenset(["budget"]),
        frozenset(["budget", "optimizer"]),
    } and "expected" in over:
        return budget_curves
    if over.get("value") == {"step"}:
        return lines.series
    if over.get("passes") == {"task", "optimizer"}:
        return passes
    if over.get("share") == {"optimizer", "factor"}:
        return profile
    return None


def _varying(table: xr.Dataset) -> list[str]:
    return [axis for axis in tables.axis_names(table) if table.sizes[axis] > 1]


def _around(table: xr.Dataset, winner: Mapping[str, float], varying: list[str], summary: xr.Dataset) -> dict[str, Any]:
    """The winner with up to two values on either side along the learning rate, or else along the first axis."""
    if not varying:
        return dict(winner)
    if varying == [CONFIGURATION]:  # a list of points: from the best to the worst that did not fail
        place = summary.place.where(np.isfinite(summary.middle)).values
        order = np.argsort(place)[: int(np.isfinite(place).sum())]
        ranks = np.unique(np.linspace(0, len(order) - 1, min(5, len(order))).round().astype(int))
        return {CONFIGURATION: table[CONFIGURATION].values[order[ranks]].tolist()}
    axis = "learning_rate" if "learning_rate" in varying else varying[0]
    values = np.sort(table[axis].values)
    place, stride = int(np.flatnonzero(values == winner[axis])[0]), max(1, len(values) // 6)
    near = [place + k * stride for k in range(-2, 3) if 0 <= place + k * stride < len(values)]
    return {**winner, axis: values[near].tolist()}
