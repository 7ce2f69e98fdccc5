"""A sweep in words: what was found in one sentence; what ran, what won and how surely, what failed, what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..plots._style import names
from ..plots._tables import axis_names, configuration, failed, heading, status_counts
from ..sweeps.judge.best import Best
from ..sweeps.table.direction import SIGNS, SUPERLATIVES
from ._entries import Entry

SUCCESSES = ("completed", "converged", "plateaued")


def lead(sweeps: Sequence[Entry]) -> str:
    """What was found, in one sentence."""
    won = [entry for entry in sweeps if entry.winner is not None]
    if not won:
        return "Nothing was found: every trial failed, or none has run." if sweeps else ""
    if not comparable(won):
        return f"{len(sweeps)} sweeps that cannot be compared with each other; the winner of each is below."
    first, near = ranked(won)
    best: Any = first.winner
    where = f" on {problem}" if (problem := first.table.attrs.get("problem")) else ""
    found = f"{first.name} did best{where}: a {best.by} {best.metric.replace('_', ' ')} of {best.median:.4g}"
    found += f" at {in_words(best.config)}"
    if len(won) == 1:
        return f"{found}, which {_ties(best)}." if best.seeds > 1 else f"{found}, by one seed."
    if best.seeds < 6:
        return f"{found}, though fewer than 6 seeds cannot rank the optimizers."
    overlap = f"that of {names(near)}, so these seeds do not rank them" if near else "no other"
    return f"{found}; its interval overlaps with {overlap}."


def findings(sweeps: Sequence[Entry]) -> Iterator[str]:
    """A line for each sweep: its winner, the interval, ties and failures."""
    for entry in sweeps:
        failures, ran = int(failed(entry.table).sum()), int((entry.table.status >= 0).sum())
        fates = f"{failures:,} of {ran:,} trials failed"
        best = entry.winner
        if best is None:
            yield f"{entry.name}: no winner; {fates}."
        else:
            yield f"{entry.name}: {best.median:.4g} at {in_words(best.config)}, interval {interval(best)}; {fates}."


def _ties(winner: Best) -> str:
    count = len(winner.ties)
    return f"ties with {count} other configuration{'s' * (count > 1)}" if count else "no other configuration ties with"


def comparable(entries: Sequence[Entry]) -> bool:
    """Whether the sweeps are of one problem and one direction, so that the best of them is the best."""
    return len({(entry.table.attrs.get("problem"), entry.direction) for entry in entries}) == 1


def ranked(entries: Sequence[Entry]) -> tuple[Entry, list[str]]:
    """The sweep with the best winner, and the names of those whose intervals overlap with its own."""
    won: list[tuple[Entry, Any]] = [(entry, entry.winner) for entry in entries if entry.winner is not None]
    (first, best), *others = sorted(won, key=lambda pair: SIGNS[pair[1].direction] * pair[1].median)
    low, high = best.interval
    return first, [
        entry.name
        for entry, other in others
        if (other.interval[0] <= high if best.direction == "min" else other.interval[1] >= low)
    ]


def summary(entry: Entry) -> Iterator[str]:
    """One paragraph each."""
    table = entry.table
    axes = " × ".join(_extent(table.sizes[axis], axis) for axis in axis_names(table)) or "one configuration"
    seeds, trials = table.sizes["seed"], table.status.size
    known = table.attrs.get("steps")  # a text of several where epochs are equal and batch sizes are not
    steps = "" if known is None else f", {known if isinstance(known, str) else f'{int(known):,}'} steps each"
    counted = f"{seeds} seed{'s' * (seeds > 1)} = {trials:,} trial{'s' * (trials > 1)}"
    yield f"{heading(table, {})}: {axes} × {counted}{steps}."
    if entry.winner is not None:
        yield from verdict(entry.winner)
    yield from _fates(entry)


def _extent(size: int, axis: str) -> str:
    if axis == "configuration":
        return f"{size} configurations"
    return f"{size} values of {axis}" if size > 1 else f"one value of {axis}"


def _fates(entry: Entry) -> Iterator[str]:
    """How the trials ended that did not simply complete."""
    table = entry.table
    counts, trials, failures = status_counts(table), table.status.size, int(failed(table).sum())
    missing, pruned = counts.pop("not run", 0), counts.pop("pruned", 0)
    ran = trials - missing
    how = names(f"{number:,} {text}" for text, number in counts.items() if text not in SUCCESSES)
    if missing == trials:
        yield "No trial has run."
        return
    if failures == ran:
        yield f"Every trial failed: {how}. There is no winner; lower the learning rate, or look at the first steps."
    else:
        yield f"Failed: {failures:,} of {ran:,} trials, {how}." if failures else "No trial failed."
    if pruned:
        how = table.attrs.get("prune", "their rank")
        most = SUPERLATIVES.get(table.attrs.get("prune_direction", ""))
        kept = f"; the {most} went on" if most else ""
        yield f"Pruned: {pruned:,} of {trials:,} trials were stopped early, by {how}{kept}."
    if missing:
        yield f"Unfinished: {missing:,} of {trials:,} trials were not run."


def verdict(winner: Best) -> Iterator[str]:
    """The winner, how sure it is, and what that leaves open."""
    lead = "No configuration succeeded from most of its seeds; the least bad" if winner.failed >= 0.5 else "Best"
    seeds = f"{winner.seeds} seeds, interval" if winner.seeds > 1 else "1 seed, interval"
    what = f"{winner.by} {winner.metric.replace('_', ' ')} of {winner.median:.4g}"
    most = SUPERLATIVES[winner.direction]
    yield f"{lead}: {in_words(winner.config)}, with a {what} over {seeds} {interval(winner)}, the {most}."
    if winner.failed:
        yield f"Of the seeds of this configuration {winner.failed:.0%} failed."
    others = "1 other configuration" if len(winner.ties) == 1 else f"{len(winner.ties)} other configurations"
    if winner.seeds < 6 and winner.ties:
        yield f"These seeds cannot separate it from {others}."
        yield "Fewer than 6 seeds cannot separate any two configurations at 95 %."
    else:
        yield (
            f"These seeds cannot separate it from {others}." if winner.ties else "No other configuration ties with it."
        )
    yield from (f"Edge of the grid: {edge}." for edge in winner.edges)


def standing(entries: Sequence[Entry]) -> Iterator[str]:
    """Which sweep has the best winner, and from which others its interval does not set it apart."""
    first, near = ranked(entries)
    best: Any = first.winner
    most = SUPERLATIVES[best.direction].capitalize()
    yield f"{most}: {first.name}, with a {best.by} {best.metric.replace('_', ' ')} of {best.median:.4g}."
    if best.seeds < 6:
        yield "Fewer than 6 seeds cannot rank any two optimizers at 95 %."
    elif near:
        yield f"Its interval overlaps with that of {names(near)}: these seeds do not rank them."
    else:
        yield "Its interval overlaps with no other."


def in_words(config: Mapping[str, Any]) -> str:
    """A configuration in words."""
    return configuration(config) or "the only configuration"


def interval(winner: Best) -> str:
    """The interval around the winner's median, with its coverage."""
    low, high = winner.interval
    return f"{low:.4g} to {high:.4g} ({winner.coverage:.1%})" if winner.seeds > 1 else "unknown from 1 seed"
