"""What a race reads from the tables of its methods: the values that tune, those that score, and what is unfair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool

from .. import _checks
from ..problems._metric import LOSSES, Direction
from ..sweeps.judge.best import check_pruned
from ..sweeps.judge.scores import Scores, scores_of, unfinished, why_unfinished
from ..sweeps.spec.arguments import is_number
from ..sweeps.spec.space import is_absent
from ..sweeps.table.axes import axes_of
from ..sweeps.table.direction import common_direction
from ._luck import Entry

if TYPE_CHECKING:
    import xarray

Seeds = int | Sequence[int]
Scale = Literal["log", "linear"]
SMALLEST = float(np.finfo(np.float32).tiny)  # what 0 counts as on a logarithmic scale
_OUTER = 1 / 16  # of the points of a space, on either side: there the best one is at the edge
_NEAR = 1 / 3  # where the next best must be as well, or the best one is there by chance
_FEWEST = 3  # values of a hyperparameter that is a range, and no choice


@dataclass(frozen=True)
class Entrant:
    """A method in a race.

    Attributes:
        entry: its values; lower is better.
        config: the configuration that tuning chose.
        failed: the share of the scoring seeds from which that one failed.
        edges: which ends of the space it sits on, one sentence each.
    """

    entry: Entry
    config: dict[str, Any]
    failed: float
    edges: list[str]


def parted_seeds(
    known: np.ndarray, tuning: Seeds | None, scoring: Seeds | None
) -> tuple[Bool[np.ndarray, " seeds"], Bool[np.ndarray, " seeds"]]:
    """Which seeds tune and which score: the first and the last ones where they are counted.

    Raises:
        ValueError: a seed that the table lacks, one that both tunes and scores, or fewer than two that score.
    """
    if len(known) < 3:
        raise ValueError(
            f"a race needs seeds to tune and at least two others to score, and the tables have {len(known)}"
        )
    if tuning is None and scoring is None:
        scoring = len(known) // 2
    tuning, scoring = _others(known, scoring, tuning), _others(known, tuning, scoring)
    parts = {"tuning_seeds": _listed("tuning_seeds", tuning, known, 1)}
    parts["scoring_seeds"] = _listed("scoring_seeds", scoring, known, 2)
    both = [seed for seed in parts["tuning_seeds"] if seed in parts["scoring_seeds"]]
    if both:
        raise ValueError(
            f"the seeds that tune must not score, or luck in tuning counts as merit: {both} would do both, of the "
            f"{len(known)} seeds of the tables"
        )
    return np.isin(known, parts["tuning_seeds"]), np.isin(known, parts["scoring_seeds"])


def _others(known: np.ndarray, other: Seeds | None, given: Seeds | None) -> Seeds:
    """The seeds that are given, or all that the other part leaves."""
    if given is not None:
        return given
    if other is None or np.ndim(other) == 0:
        return len(known) - (0 if other is None else _checks.count("seeds", other, high=len(known) - 1))
    return [seed for seed in known.tolist() if seed not in np.asarray(other)]


def _listed(name: str, given: Seeds, known: np.ndarray, least: int) -> list[int]:
    if np.ndim(given) == 0:
        count = _checks.count(name, given, low=least)
        if count > len(known):
            raise ValueError(f"{name}={count} is more than the {len(known)} seeds of the tables")
        return known[:count].tolist() if name == "tuning_seeds" else known[len(known) - count :].tolist()
    seeds = [_checks.count(name, seed, low=0) for seed in given]  # type: ignore[union-attr]
    unknown = [seed for seed in seeds if seed not in known]
    if unknown:
        raise ValueError(f"{name} must be seeds of the tables, {known.tolist()}; got {unknown}")
    if len(set(seeds)) < least:
        raise ValueError(f"{name} must name at least {least} seeds, got {seeds}")
    return seeds


def entrants_of(
    tables: Mapping[str, xarray.Dataset],
    metric: str,
    direction: Direction | None,
    tuning: Bool[np.ndarray, " seeds"],
    scoring: Bool[np.ndarray, " seeds"],
    scale: Scale | None,
) -> tuple[dict[str, Entrant], Direction, Scale]:
    """Every method of a race, the direction of the metric, and the scale that the values of the entries are on.

    A run that failed, or that ended with a loss above its first one, counts as one that stayed where it began; of
    another metric a failed run counts as the worst one that did not fail. What was pruned counts with what it had when
    it was pruned, and ranks below what was not.

    Raises:
        ValueError: unfinished trials, seeds that pruned and are to score, other numbers of configurations or steps, no
            finite value.
    """
    scores: dict[str, Scores] = {}
    for name, table in tables.items():
        if "status" in table and unfinished(table):
            raise ValueError(f"a race needs every trial, and some of {name} did not finish{why_unfinished(table)}")
        scores[name] = scores_of(table, metric, direction)
        if "pruned_at" in table:
            check_pruned(table, scoring)
    direction = common_direction(tables.values(), metric, direction)
    _refuse_unequal("configurations", {name: len(one.configs) for name, one in scores.items()})
    _refuse_other_runs(tables)
    known = np.concatenate([one.values[np.isfinite(one.values)] for one in scores.values()])
    if not len(known):
        raise ValueError(f"no method has a finite {metric}, so there is nothing to compare")
    values = {name: _counted(tables[name], one, metric, float(known.max())) for name, one in scores.items()}
    positive = direction == "min" and all((one >= 0).all() for one in values.values())
    if scale == "log" and not positive:
        raise ValueError(f"scale='log' compares positive values where lower is better; {metric} is not of this kind")
    if scale is None:
        scale = "log" if positive and metric in LOSSES else "linear"
    if scale == "log":
        values = {name: np.log(np.maximum(one, SMALLEST)) for name, one in values.items()}
    entrants = {name: _entrant(scores[name], one, tuning, scoring) for name, one in values.items()}
    return entrants, direction, scale


def _refuse_other_runs(tables: Mapping[str, xarray.Dataset]) -> None:
    """Refuse tables whose runs are of other lengths, problems or random keys; an attribute that is missing is alike."""
    work = {
        name: (_whole(table.attrs.get("steps")), _whole(table.attrs.get("batch_size")) or [1])
        for name, table in tables.items()
    }
    examples = {name: {s * b for s, b in zip(*one, strict=False)} for name, one in work.items()}
    if len({frozenset(one) for one in examples.values()}) > 1:  # in epochs other batch sizes take other steps
        _refuse_unequal("steps, or examples", {name: max(steps, default=0) for name, (steps, _) in work.items()})
    for what in ("problem", "key"):
        _refuse_unequal(what, {name: table.attrs.get(what, "") for name, table in tables.items()})


def _whole(attribute: Any) -> list[int]:
    """The numbers of an attribute, which of several programs is a list in words."""
    return [int(part) for part in str(attribute).split(",") if part.strip().isdecimal()]


def _refuse_unequal(what: str, of_methods: Mapping[str, Any]) -> None:
    if len(set(of_methods.values())) > 1:
        words = ", ".join(f"{name} {one}" for name, one in of_methods.items())
        raise ValueError(f"a fair race is on one budget for all, and these tables differ in their {what}: {words}")


def _counted(table: xarray.Dataset, scores: Scores, metric: str, worst: float) -> np.ndarray:
    """What every run counts as, all finite."""
    limit = np.full(scores.values.shape, worst)
    if metric in LOSSES and "initial_loss" in table:
        first = table["initial_loss"].broadcast_like(table["status"]).transpose(*axes_of(table), "seed")
        losses = first.values.reshape(limit.shape)
        limit = np.where(np.isfinite(losses), losses, limit)
    # A sum of infinities is no score, and how far a run diverged says nothing of how good the method is.
    return np.where(np.isfinite(scores.values), np.minimum(scores.values, limit), limit)


def _entrant(
    scores: Scores, values: np.ndarray, tuning: Bool[np.ndarray, " seeds"], scoring: Bool[np.ndarray, " seeds"]
) -> Entrant:
    tuned = np.median(values[:, tuning], axis=1)
    whole = scores.ran.all(axis=1)
    if whole.any():  # what was pruned may not win by a value of another step
        tuned = np.where(whole, tuned, np.maximum(tuned, np.nextafter(tuned[whole].max(), np.inf)))
    entry = Entry(tuned, values[:, scoring])
    order = np.argsort(tuned, kind="stable")
    best = int(order[0])
    failed = float(scores.failed[best][scoring].mean())
    return Entrant(entry, scores.configs[best], failed, _edges([scores.configs[i] for i in order]))


def _edges(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the best configuration sits on the edge of its space, and the next best with it.

    Of a few values one is always the largest, and of many points one of a hyperparameter without effect may be, by
    chance: only where the best sixteenth lies together at one side is that the edge of the space.
    """
    sentences = []
    near = configs[: max(_FEWEST, round(len(configs) / 16))]
    for name, value in configs[0].items():
        given = [config[name] for config in configs if name in config and not is_absent(config[name])]
        if not all(map(is_number, given)) or len(set(given)) < _FEWEST:
            continue
        levels = np.unique(given)
        own = [config.get(name, np.nan) for config in near]
        for side, way, end, extreme in (("smallest", "below", levels, 0), ("largest", "above", levels[::-1], -1)):
            beyond = 1 if side == "largest" else -1
            outer = end[int(_OUTER * (len(end) - 1))]
            inner = end[int(_NEAR * (len(end) - 1))]
            at_edge = beyond * value >= beyond * outer and all(beyond * one >= beyond * inner for one in own)
            if at_edge and not (side == "smallest" and levels[extreme] == 0 and value == 0):
                sentences.append(f"{name}={value:.3g} (widen it {way} {levels[extreme]:.3g})")
    return sentences
