"""What a sweep asks of a source of batches, refused in words before anything is compiled where it does not have it."""

from __future__ import annotations

from ..._streams import Source
from .plan import SweepPlan

_FIX = "pass examples by number, or an iterable whose iterators have get_state and set_state, as those of grain"
_AGAIN = "pass a function that makes the iterator, such as lambda: batches()"


def check_reading(source: Source | None, *, stored: bool, sent: bool, again: str = "") -> None:
    """Refuse a source that cannot be read as a store, workers a pruner or a study need it.

    Arguments:
        source: what gives the batches; None of data in memory.
        stored: whether the sweep has a store.
        sent: whether workers run it.
        again: what reads it more than once, in words: "prune"; empty if nothing does.

    Raises:
        ValueError: naming the argument that needs more of the source.
    """
    if source is None:
        return
    if stored and not source.positioned:
        raise ValueError(
            f"store needs data whose reading a later process can resume, and data are {source.words}: {_FIX}"
        )
    if sent and not source.positioned:
        raise ValueError(
            f"executor needs data that give every worker the same batches, and data are {source.words}: {_FIX}"
        )
    if again and source.once:
        raise ValueError(f"{again} needs data that can be read again, and data are {source.words}: {_AGAIN}")


def check_passes(source: Source | None, plan: SweepPlan) -> None:
    """Refuse an iterator that can be read once where the trials of a plan do not all run side by side.

    Raises:
        ValueError: naming the width that would do.
    """
    if source is None or not source.once:
        return
    first = plan.groups[0]
    if len(plan.groups) > 1:
        raise ValueError(
            f"data are {source.words}, which can be read once, and {len(plan.groups)} programs run one after the "
            f"other: {_AGAIN}"
        )
    if first.chunks > first.devices:
        wide = -(-first.trials // first.devices)
        raise ValueError(
            f"data are {source.words}, which can be read once, and {first.chunks} chunks of {first.width} trials run "
            f"on {first.devices} device{'s' * (first.devices > 1)}: {_AGAIN}, or let all run side by side with "
            f"width={wide}"
        )
