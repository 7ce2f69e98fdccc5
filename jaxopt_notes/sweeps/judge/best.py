"""`best`: the winner of a sweep, and how well the seeds separate it from the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ... import _checks
from ...minimize import Status
from ...problems._metric import Direction
from ..keep.looks import counted_look
from ..spec.arguments import is_number
from ..spec.space import CONFIGURATION, FAMILY, is_absent
from ..table.axes import axes_of
from ..table.axes import hyperparameters as hyperparameters
from ..table.direction import refuse_incomparable_tables
from ..table.seeds import parted
from .intervals import center_of, finite_mean, interval_of, told_apart
from .scores import Scores, measured_scores, scores_of, unfinished
from .winner import Best as Best
from .winner import Tested

if TYPE_CHECKING:
    import xarray


def best(
    table: xarray.Dataset | xarray.DataTree,
    metric: str = "final_loss",
    *,
    direction: Direction | None = None,
    by: str = "median",
    interval: str | None = None,
    report_seeds: int | Sequence[int] | None = None,
    at: Literal["end", "best"] | None = None,
) -> Best:
    """The configuration with the best median of a metric over paired seeds, and how sure that is.

    A trial that ended non-finite or diverged counts as infinitely bad, whatever its metric; a NaN is never compared. A
    stalled one counts by its metric. Configurations that were pruned, or not run from every seed, do not compete while
    others were. Of a tree of several families the configurations of all compete, and then those of each.

    The interval "order" is the pair of order statistics that covers the median with at least 95 %, which assumes
    nothing of the distribution; "bootstrap" resamples the seeds, 4,000 times, and is approximate. Another configuration
    ties unless the same interval of the paired differences lies above 0. Each is compared on its own, without
    correction for their number.

    The winner's own median over the seeds that chose it is optimistic, being the best of many. With `report_seeds` it
    is chosen by the other seeds and reported by these. That cures the luck of the seeds, not that of the data: for an
    estimate on new data report `test_*` metrics of data that chose nothing. Pruning chooses too: a pruned table needs
    the same `report_seeds` in its `halving` or `median_stopping`.

    Chosen by a column `validation_*`, the winner is reported by the same metric on the test data as well, with its own
    interval. A sweep with a store counts in its folder how many different choices were tested: the more often one looks
    and chooses again, the less the test data are data that chose nothing. Of several families the winner alone is
    tested, and looks at them count together: `best(tree["adam"].to_dataset(), ...)` is one more.

    If the loss has axes of its own, such as a penalty, its values on the training data are no common measure and are
    refused: the lowest would be that without the penalty. The loss on the validation data includes such terms as well,
    unless `Problem(evaluate=)` leaves them out.

    Arguments:
        table: from `sweep`, of several families the tree; trials that did not run are left out.
        metric: a variable over the axes and `seed`.
        direction: "max" if the highest wins, "min" if the lowest does; when None as the metric declares it
            (`maximize`), which the table keeps in its attributes. Losses are minimised.
        by: "median" or "mean" over the seeds; one infinitely bad seed makes the mean infinite.
        interval: "order" or "bootstrap"; when None "order" of a median and "bootstrap" of a mean.
        report_seeds: how many seeds, the last ones, or which are held out of the choice and reported.
        at: "end" or "best", the end point of a trial at which curves are compared; when None that of the sweep. "best"
            needs a sweep with `keep="best"`, since only that has measured the test data there.

    Returns:
        A `Best`; `print` it for the answer in words.

    Raises:
        TypeError, ValueError: no table of a sweep, the metric is unknown, has no `seed` axis or does not declare its
            direction, no trial was run, "order" of a mean, or report seeds that the table lacks, that leave
            none to choose by, or that decided what was pruned; the loss has axes; another `at` than the sweep's.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.09, 0.2]), steps=50,
        ...                   progress=False)
        >>> jon.best(table).config
        {'learning_rate': 0.09}

    Source: Thompson, 1936, of the order statistics; Efron and Tibshirani, 1993, chapter 13, of the bootstrap.
    """
    _checks.choice("by", by, ("median", "mean"))
    interval = interval or ("order" if by == "median" else "bootstrap")
    _checks.choice("interval", interval, ("order", "bootstrap"))
    if by == "mean" and interval == "order":
        raise ValueError("interval='order' covers a median; by='mean' needs interval='bootstrap'")
    options: dict[str, Any] = {"metric": metric, "by": by, "interval": interval, "report_seeds": report_seeds}
    if at is not None:
        _checks.choice("at", at, ("end", "best"))
    if hasattr(table, "children"):
        return _best_of_families(families_of(table), direction=direction, at=at, **options)
    one: Any = table
    return _with_test(one, _best_of_table(one, direction, at, **options), direction, **options)


def _best_of_table(
    table: xarray.Dataset, direction: Direction | None, at: str | None, metric: str, **options: Any
) -> Best:
    """The best of one table, without a look at the test data."""
    _check_end_point(table, at)
    found = _best_of([table], scores_of(table, metric, direction), metric, **options)
    return replace(found, edges=_edges(table, found.config))


def _with_test(table: xarray.Dataset, found: Best, direction: Direction | None, metric: str, **options: Any) -> Best:
    """The winner with what it reaches on the test data, if it was chosen by the validation data."""
    chosen_so = metric.partition("_")[0] == "validation"
    return replace(found, test=_tested(table, found, direction, metric, **options)) if chosen_so else found


def _check_end_point(table: xarray.Dataset, at: str | None) -> None:
    measured = getattr(table, "attrs", {}).get("end_point", "end")
    if at is not None and at != measured:
        keep = "keep='best'" if at == "best" else "without keep='best'"
        raise ValueError(f"at={at!r} needs what was measured there: run sweep(...) {'with ' * (at == 'best')}{keep}")


def _tested(
    table: xarray.Dataset,
    found: Best,
    direction: Direction | None,
    metric: str,
    by: str,
    interval: str,
    report_seeds: int | Sequence[int] | None,
) -> Tested | None:
    """The winner on the test data, by the seeds that are reported."""
    name = f"test_{metric.partition('_')[2]}"
    if name not in table:
        return None
    scores = measured_scores(table, name, direction or found.direction)
    winner = scores.configs.index(found.config)
    reported = parted(table["seed"].values, report_seeds)[1] & scores.ran[winner]
    values = scores.values[winner][reported]
    low, high, coverage = interval_of(values, by, interval)
    low, high = (low, high) if scores.direction == "min" else (-high, -low)
    look = {"metric": name, "config": found.config, "seeds": table["seed"].values[reported].tolist()}
    median = scores.sign * center_of(by)(values)
    return Tested(name, median, (low, high), coverage, counted_look(table.encoding.get("source"), look))


def _best_of_families(
    tables: Mapping[str, xarray.Dataset],
    metric: str,
    direction: Direction | None,
    at: Literal["end", "best"] | None,
    **options: Any,
) -> Best:
    """The best of all families, each hyperparameter on its own family's grid, and the best of each."""
    known = {name: one for name, one in tables.items() if np.any(one.get("status", 0) != Status.NOT_RUN)}
    if len({tuple(one["seed"].values.tolist()) for one in known.values()}) > 1:
        raise ValueError("the families must have the same seeds, which are compared in pairs")
    refuse_incomparable_tables(known.values(), metric)
    scores = _pooled({name: scores_of(one, metric, direction) for name, one in (known or tables).items()})
    found = _best_of(known.values(), scores, metric, **options)
    families = {name: _best_of_table(one, direction, at, metric, **options) for name, one in known.items()}
    ordered = sorted(families, key=lambda name: (name != found.config[FAMILY], scores.sign * families[name].median))
    # Only the winner is tested: a test value of each family would be one look for each.
    first = ordered[0]
    families[first] = _with_test(known[first], families[first], direction, metric, **options)
    edges, test = families[first].edges, families[first].test
    return replace(found, edges=edges, test=test, families={name: families[name] for name in ordered})


def _best_of(
    tables: Iterable[xarray.Dataset],
    scores: Scores,
    metric: str,
    by: str,
    interval: str,
    report_seeds: int | Sequence[int] | None,
) -> Best:
    tables = list(tables)
    choosing, reporting = parted(tables[0]["seed"].values, report_seeds)
    for one in tables:
        if report_seeds is not None and "pruned_at" in one:
            check_pruned(one, reporting)
    order = _ranking(scores, choosing, by)
    if not order:
        raise ValueError("no configuration was run from a seed that is not held out")
    winner = order[0]
    chosen, reported = choosing & scores.ran[winner], reporting & scores.ran[winner]
    if not reported.any():
        raise ValueError("the winner was not run from any of report_seeds")
    low, high, coverage = interval_of(scores.values[winner][reported], by, interval)
    ties = []
    for other in order[1:]:
        # Pairs of one seed: what makes a seed easy or hard is in both and cancels.
        both = chosen & scores.ran[other]
        if not told_apart(scores.values[other][both], scores.values[winner][both], by, interval):
            ties.append(scores.configs[other])
    return Best(
        config=scores.configs[winner],
        metric=metric,
        median=scores.sign * center_of(by)(scores.values[winner][reported]),
        interval=(low, high) if scores.direction == "min" else (-high, -low),
        coverage=coverage,
        seeds=int(reported.sum()),
        failed=float(scores.failed[winner][reported].mean()),
        ties=ties,
        edges=[],
        trials_failed=float(scores.failed.sum() / scores.begun),
        by=by,
        chosen_by=int(chosen.sum()),
        held_out=report_seeds is not None,
        direction=scores.direction,
        unfinished=unfinished(*tables),
    )


def families_of(tree: Any) -> dict[str, xarray.Dataset]:
    """The table of every family of a tree.

    Raises:
        ValueError: it has none.
    """
    tables = {name: child.to_dataset() for name, child in tree.children.items()}
    if not tables:
        raise ValueError("the tree has no families; of one table pass the Dataset, tree.to_dataset()")
    return tables


def _pooled(of_families: Mapping[str, Scores]) -> Scores:
    """The configurations of all families, with their family.

    Raises:
        ValueError: the families declare different directions.
    """
    parts = of_families.values()
    said = {name: one.direction for name, one in of_families.items()}
    if len(set(said.values())) > 1:
        words = ", ".join(f"{name} {direction!r}" for name, direction in said.items())
        raise ValueError(f"the families declare the metric with different directions, {words}; pass direction=")
    configs = [{FAMILY: name, **config} for name, one in of_families.items() for config in one.configs]
    values, measured, ran, failed = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("values", "measured", "ran", "failed")
    )
    return Scores(values, measured, ran, failed, sum(one.begun for one in parts), configs, next(iter(parts)).direction)


def places(table: xarray.Dataset, metric: str, direction: Direction | None = None) -> xarray.DataArray:
    """The place of every configuration among those that compete in `best`, from 0 of the winner; NaN of the others."""
    scores, everyone = measured_scores(table, metric, direction), np.ones(table.sizes["seed"], bool)
    order = _ranking(scores, everyone, "median")
    found = np.full(len(scores.configs), np.nan)
    found[order] = np.arange(len(order))
    like = table["status"].transpose(*axes_of(table), "seed").isel(seed=0, drop=True)
    return like.copy(data=found.reshape(like.shape))


def _ranking(scores: Scores, choosing: np.ndarray, by: str) -> list[int]:
    """The configurations that compete, best first."""
    ran = scores.ran & choosing
    # Only whole configurations compete: a median over fewer seeds would be compared unfairly.
    whole = ran.sum(axis=1) == choosing.sum()
    whole = whole if whole.any() else ran.any(axis=1)
    center = center_of(by)
    centers = [center(row[r]) if r.any() else np.inf for row, r in zip(scores.values, ran, strict=True)]
    # Among equal ones (such as all infinite) the one that failed least, then the lowest mean of what is finite.
    failed = [row[r].mean() if r.any() else 1.0 for row, r in zip(scores.failed, ran, strict=True)]
    finite = [finite_mean(row[r]) for row, r in zip(scores.measured, ran, strict=True)]
    return sorted(map(int, np.flatnonzero(whole)), key=lambda c: (centers[c], failed[c], finite[c]))


def check_pruned(table: xarray.Dataset, reporting: np.ndarray) -> None:
    """Refuse a table whose pruning was decided by seeds that are to be reported: that is a choice as well."""
    spared = json.loads(table.attrs.get("report_seeds", "[]"))  # of the sweep, whatever seeds the table has now
    wanted = table["seed"].values[reporting].tolist()
    if set(wanted) <= set(spared):
        return
    decided = f"the seeds but {spared}" if spared else "all seeds"
    raise ValueError(
        f"report_seeds {wanted} must not have decided what was pruned, and here {decided} did; run "
        f"sweep(..., prune=halving(..., report_seeds={wanted})), or leave report_seeds out"
        f"{f', or give report_seeds={spared}' if spared else ''}"
    )


def _edges(table: xarray.Dataset, winner: dict[str, Any]) -> list[str]:
    """Where the winner sits on an end that could be extended; no hyperparameter goes below 0."""
    sentences = []
    of = "points" if CONFIGURATION in table["status"].dims else "grid"
    for name, value in winner.items():
        values = {known for known in table[name].values.tolist() if not is_absent(known)}
        if len(values) < 2 or not all(map(is_number, values)):
            continue
        if value == max(values):
            sentences.append(f"{name}={value:.4g} is the largest of the {of}; a larger one may be better")
        elif value == min(values) and value != 0:
            sentences.append(f"{name}={value:.4g} is the smallest of the {of}; a smaller one may be better")
    return sentences
