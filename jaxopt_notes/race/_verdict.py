"""`Race`: the verdict of a race, and the answer in words."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shown import COLUMNS, curve, readable
from ..problems._metric import SIGNS, Direction
from ..sweeps.spec.space import in_words
from ._entrants import Scale

if TYPE_CHECKING:
    import xarray

_EDGES = 3  # of them whose edge is told
_SHOWN = 12  # methods in the table of a verdict


@readable
@dataclass(frozen=True, eq=False)
class Race:
    """Who won a race, by how much, how surely, and at which effort of tuning. Print it; `jon.plot` it.

    Attributes:
        tree: all runs, a table per method.
        metric: what was compared.
        direction: "max" or "min", which value of it is better.
        scale: "log" or "linear", on which it was averaged and compared.
        budget: trials of tuning, for every method.
        tuning_seeds, scoring_seeds: the seeds that chose the configurations, and those that compare them.
        level: the chance of a false winner among methods that are the same.
        curves: over `optimizer` and `budget`, the expected score of the best of k trials in units of the metric:
            `expected`, `lower`, `upper`.
        pairs: over `pair` (`first`, `second`) and `budget`: `difference`, first minus second on the scale (so on "log"
            the logarithm of their ratio), `p`, and `p_adjusted` for the number of pairs at this budget. At the whole
            budget: `lower` and `upper`, the interval of the difference (of pairs with the leader; with the certainty
            1 - level for all pairs at once), `better`, the one that has won, "" for none, and `fair`, whether the
            worse one was tuned inside its space.
        configs: the configuration of each method that tuning chose, of all that were run.
        failed: the share of the scoring seeds from which that one failed.
        edges: of methods whose configuration is at the edge of its space, one sentence per hyperparameter.
        target: the value to be reached, if one was given.
        target_steps: the step at which each method reaches it, NaN for never.
        target_nearest: the mean over the scoring seeds at which each method, tuned for the target, comes nearest to it.
    """

    tree: xarray.DataTree
    metric: str
    direction: Direction
    scale: Scale
    budget: int
    tuning_seeds: tuple[int, ...]
    scoring_seeds: tuple[int, ...]
    level: float
    curves: xarray.Dataset
    pairs: xarray.Dataset
    configs: Mapping[str, dict[str, Any]]
    failed: Mapping[str, float]
    edges: Mapping[str, list[str]]
    target: float | None = None
    target_steps: Mapping[str, float] | None = None
    target_nearest: Mapping[str, float] | None = None

    @property
    def ranking(self) -> list[str]:
        """The methods by their score at the whole budget, best first."""
        ends = SIGNS[self.direction] * self.curves["expected"].values[:, -1]
        return [str(self.curves["optimizer"].values[i]) for i in np.argsort(ends, kind="stable")]

    @property
    def leader(self) -> str:
        """The method with the best score at the whole budget, surely better or not."""
        return self.ranking[0]

    @property
    def beaten(self) -> list[str]:
        """The methods that have lost to the leader, best first."""
        return [name for name in self.ranking[1:] if str(self._pair(name)["better"].item()) == self.leader]

    @property
    def ties(self) -> list[str]:
        """The methods that are statistically tied with the leader, best first."""
        return [name for name in self.ranking[1:] if self._p(name) > self.level]

    @property
    def unjudged(self) -> list[str]:
        """The methods that are worse than the leader but were tuned at the edge of their space, best first."""
        return [name for name in self.ranking[1:] if name not in self.beaten and name not in self.ties]

    @property
    def winner(self) -> str | None:
        """The leader, if it has beaten all others."""
        return self.leader if len(self.beaten) == len(self.configs) - 1 else None

    def _pair(self, name: str) -> xarray.Dataset:
        """The pair of this method and the leader."""
        first, second = self.pairs["first"].values, self.pairs["second"].values
        both = {name, self.leader}
        return self.pairs.isel(pair=next(i for i, two in enumerate(zip(first, second, strict=True)) if {*two} == both))

    def _p(self, name: str, budget: int | None = None) -> float:
        return float(self._pair(name)["p_adjusted"].sel(budget=self.budget if budget is None else budget))

    def _score(self, name: str, budget: int | None = None) -> float:
        return float(self.curves["expected"].sel(optimizer=name, budget=self.budget if budget is None else budget))

    def __str__(self) -> str:
        return "\n".join([*textwrap.wrap(self.headline, COLUMNS), "", *self._details()])

    def _repr_html_(self) -> str:
        text = html.escape("\n".join(self._details()))
        scores = self.curves["expected"].transpose("optimizer", "budget").values
        picture = curve(scores, f"expected {_words(self.metric)} of each method by trials of tuning")
        return f"<p><strong>{html.escape(self.headline)}</strong></p>{picture}<pre>{text}</pre>"

    def _details(self) -> list[str]:
        # Where no method could have won, who leads with fewer trials is chance.
        second = [*self._too_few()] or [*self._earlier()]
        sentences = [self._margin(), *second, *self._reached(), *self._narrow(), *self._failures()]
        wrapped = [line for sentence in sentences for line in textwrap.wrap(sentence, COLUMNS, subsequent_indent="  ")]
        end = textwrap.wrap(self._meaning(), COLUMNS)
        return [*self._table(), "", *wrapped, *end]

    @property
    def headline(self) -> str:
        """The answer in one sentence, preceded by a note if no method reached the target."""
        missed = f"No method reached the target {self.target:g}. " if self._missed() else ""
        return f"{missed}{self._answer()}"

    def _missed(self) -> bool:
        return self.target_steps is not None and bool(np.isnan([*self.target_steps.values()]).all())

    def _answer(self) -> str:
        leader, second, tuned = self.leader, self.ranking[1], f"after {_trials(self.budget)} of tuning"
        scores, chance = f"{_words(self.metric)} {self._score(leader):.3g}", self._chance(second)
        if self.winner:
            others = "" if len(self.configs) == 2 else ", the next best,"
            return f"{leader} wins {tuned}: {scores} against {self._score(second):.3g} of {second}{others} ({chance})."
        if self.ties and not self.beaten and not self.unjudged:
            every = f"{leader} and {second}" if len(self.configs) == 2 else "the methods"
            return f"A tie {tuned}: {every} do not differ significantly ({leader} leads with {scores}, {chance})."
        parts = []
        if self.ties:
            parts.append(f"{_names(self.ties)} may be as good")
        if self.unjudged:
            parts.append(f"the space of {_names(self.unjudged)} is too narrow for a fair verdict")
        if self.beaten:
            parts.append(f"it beats {_names(self.beaten)}")
        return f"No winner {tuned}: {leader} leads with {scores}, but {'; '.join(parts)}."

    def _chance(self, name: str, budget: int | None = None) -> str:
        p = self._p(name, budget)
        return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"

    def _table(self) -> list[str]:
        """A row per method: its score at a few budgets, whether it differs from the leader, and how it was tuned."""
        budgets = self._few()
        names = self.ranking[:_SHOWN]
        wide = max(map(len, [*names, "trials of tuning"]))
        tuning, scoring = _seeds(self.tuning_seeds), _seeds(self.scoring_seeds)
        better = "higher" if self.direction == "max" else "lower"
        means = "geometric mean, " if self.scale == "log" else ""
        lines = [f"Expected {_words(self.metric)} of the best of k trials ({means}{better} is better)"]
        lines.append(f"  {'trials of tuning':{wide}s}" + "".join(f"{k:>9d}" for k in budgets) + f"{'p':>9s}   tuned to")
        for name in names:
            cells = "".join(f"{self._score(name, k):9.3g}" for k in budgets)
            p = "" if name == self.leader else self._chance(name).removeprefix("p ").removeprefix("= ")
            mark = " (edge)" if name in self.edges else ""
            row = f"  {name:{wide}s}{cells}{p:>9s}   {in_words(self.configs[name])}{mark}"
            lines.append(row if len(row) <= COLUMNS else f"{row[: COLUMNS - 3]}...")
        if len(self.ranking) > _SHOWN:
            lines.append(f"  and {len(self.ranking) - _SHOWN} worse ones")
        lines.append(f"Tuned by {tuning}, scored by {scoring}.")
        return lines

    def _few(self) -> list[int]:
        """At most four of the budgets that were tested, evenly spread, the first and the last among them."""
        budgets = self.pairs["budget"].values.tolist()
        places = np.unique(np.linspace(0, len(budgets) - 1, min(4, len(budgets))).round().astype(int))
        return [budgets[place] for place in places]

    def _margin(self) -> str:
        """By how much, and what the other one would need."""
        leader, second = self.leader, self.ranking[1]
        pair = self._pair(second)
        sign = SIGNS[self.direction]
        side = sign if pair["second"].item() == leader else -sign  # from first minus second to how much better it is
        low, high = sorted(side * float(pair[end]) for end in ("lower", "upper"))
        sure = f"{1 - self.level:.0%} interval"
        if self.scale == "log":
            ratio, (least, most) = self._score(leader) / self._score(second), np.exp([-high, -low])
            metric, range_ = _words(self.metric), f"{sure} {_number(least)} to {_number(most)}"
            sentence = f"The {metric} of {leader} is {ratio:.3g} of that of {second} ({range_})."
        else:
            gap = sign * (self._score(second) - self._score(leader))
            sentence = f"{leader} leads {second} by {gap:.3g} ({sure} {_number(low)} to {_number(high)})."
        reached = np.flatnonzero(
            sign * (self.curves["expected"].sel(optimizer=leader).values - self._score(second)) <= 0
        )
        needed = int(reached[0]) + 1
        return (
            sentence
            if needed == self.budget
            else f"{sentence} It needs {_trials(needed)} to match what {second} reaches with {self.budget}."
        )

    def _too_few(self) -> Iterator[str]:
        """Why no method could have won, where the interval of the difference has no ends."""
        pair = self._pair(self.ranking[1])
        if np.isinf([float(pair["lower"]), float(pair["upper"])]).all():
            effort = f"{_trials(self.budget)} of tuning and {len(self.scoring_seeds)} scoring seeds"
            yield f"No difference could have been significant: {effort} are too few for this test."

    def _earlier(self) -> Iterator[str]:
        """Who leads at smaller budgets."""
        budgets = [k for k in self.pairs["budget"].values.tolist() if k < self.budget]
        sign, names = SIGNS[self.direction], self.curves["optimizer"].values
        best = {k: str(names[int(np.argmin(sign * self.curves["expected"].sel(budget=k).values))]) for k in budgets}
        others = list(dict.fromkeys(name for name in best.values() if name != self.leader))
        for name in others:
            at = [k for k in budgets if best[k] == name]
            chances = ", ".join(f"{k} ({self._chance(name, k)})" for k in at)
            yield f"With fewer trials {name} leads {self.leader}: at {chances}."

    def _reached(self) -> Iterator[str]:
        if self.target_steps is None or self.target_nearest is None:
            return
        if self._missed():
            sign = SIGNS[self.direction]
            name, mean = min(self.target_nearest.items(), key=lambda one: sign * one[1])
            yield f"Tuned to reach {self.target:g}, {name} comes nearest: {mean:.4g}, the mean of the scoring seeds."
            return
        steps = {
            step: [name for name, at in self.target_steps.items() if at == step] for step in self.target_steps.values()
        }
        words = "; ".join(f"{_names(steps[step])} at step {step:.0f}" for step in sorted(steps) if not np.isnan(step))
        never = [name for name, step in self.target_steps.items() if np.isnan(step)]
        rest = f"; {_names(never)} never" if never else ""
        yield f"Tuned to reach {self.target:g} early, and shown to be there: {words}{rest}."

    def _narrow(self) -> Iterator[str]:
        if self.edges:
            first = {name: sentences[0] for name, sentences in list(self.edges.items())[:_EDGES]}
            more = [*self.edges][_EDGES:]
            words = "; ".join(f"{name} {sentence}" for name, sentence in first.items())
            yield f"Tuned to the edge of the space: {words}{f'; also {_names(more)}' if more else ''}."

    def _failures(self) -> Iterator[str]:
        failed = {name: share for name, share in self.failed.items() if share}
        if failed:
            words = ", ".join(f"{share:.0%} of {name}" for name, share in failed.items())
            yield f"Scoring seeds on which the tuned configuration failed: {words}."

    def _meaning(self) -> str:
        many = len(self.pairs["first"])
        pairs = f"; adjusted, like the interval, for {many} pairs" if many > 1 else ""
        return (
            f"p: how often one method under two names would differ this much from the leader, by luck in the choice of "
            f"configurations and of seeds{pairs}."
        )


def _number(value: float) -> str:
    return "infinity" if value == np.inf else "minus infinity" if value == -np.inf else f"{value:.2g}"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _names(names: list[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _seeds(seeds: tuple[int, ...]) -> str:
    """Such as "seeds 0 to 7"."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and [*seeds] == [*range(seeds[0], seeds[-1] + 1)]:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {_names([*map(str, seeds)])}"
