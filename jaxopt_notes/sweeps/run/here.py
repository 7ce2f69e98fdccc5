"""`Here` and `Pruned`: the runners that run the chunks of one group on the devices of this process.

A runner decides which trials run together. `distribute` has the one for other processes; `group` uses any of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..compute.engine import Engine, Hooks, Interrupted, Leg
from ..compute.group_plan import GroupPlan
from ..compute.programs import programs
from ..compute.progress import Progress
from ..keep.shelf import Shelf
from ..spec.options import Keep
from ..table.columns import columns_of, interrupted_columns, no_trials
from ..table.decisions import Decisions, add_decisions
from ..table.layout import Columns, layout_of
from .ladder import Ladder
from .pruners import Pruner, rule_of
from .rungs import Climb

if TYPE_CHECKING:
    import xarray


class Here:
    """Runs every chunk to the end.

    Attributes:
        identity: what decides a trial, part by part.
        layout: the layout of the table.
        devices: how many chunks run at a time.
        several: whether several processes of `jax.distributed` may run a share of the chunks each.
        gentle: whether it checks between segments if SIGTERM or Ctrl-C arrived.
    """

    several = True
    gentle = True

    def __init__(self, plan: GroupPlan, keep: Keep) -> None:
        self._plan, self._keep, self._compiled = plan, keep, 0
        self.identity, self.devices = plan.identity, plan.devices
        self.layout = layout_of(plan, no_trials(plan, keep))

    def identity_of(self, seeds: Sequence[int], steps: int) -> dict[str, Any]:
        """The identity of the same sweep with fewer seeds or steps, to compare with what a store began as."""
        return self._plan.with_fewer(seeds, steps).identity

    def run(self, shelf: Shelf, chunks: Iterable[int], bar: Progress | None) -> Generator[tuple[int, Columns]]:
        """Run the chunks that are missing on the shelf; yields each when it is kept."""
        with self._running(shelf) as engine:
            yield from run_chunks(engine, shelf, chunks, bar)

    @contextlib.contextmanager
    def _running(self, shelf: Shelf) -> Iterator[Engine]:
        """The engine, which is made when the group begins: it holds the group's data on the devices until it ends."""
        # Programs are shared with other groups and earlier sweeps, so what this one compiled is a difference.
        kinds = programs(self._plan.static).kinds
        known = len(kinds)
        engine = Engine(self._plan, keep=self._keep)
        agree_on_lanes(engine, shelf)
        try:
            yield engine
        finally:
            self._compiled = len(kinds) - known

    def finish(self, table: xarray.Dataset) -> xarray.Dataset:
        """The table with the number of programs that were compiled."""
        return table.assign_attrs(segment_programs=self._compiled)


class Pruned(Here):
    """Runs all chunks rung by rung, and yields them at the end."""

    # One process has to rank all configurations. And between segments a rung saves nothing, so SIGTERM has nothing to
    # wait for.
    several = False
    gentle = False

    def __init__(self, plan: GroupPlan, keep: Keep, pruner: Pruner) -> None:
        # First, as it refuses what cannot be pruned by this pruner.
        self._rule = rule_of(plan, pruner)
        self._decisions: Decisions | None = None
        super().__init__(plan, keep)
        # The same trials pruned in another way are another sweep.
        added = {"prune": repr(pruner), "prune_direction": self._rule.direction}
        fingerprint = hashlib.sha256(f"{plan.fingerprint}{''.join(added.values())}".encode()).hexdigest()
        reporting = plan.seeds[~self._rule.deciding].tolist()
        attributes = {**self.layout.attributes, "fingerprint": fingerprint, **added}
        attributes |= {"report_seeds": json.dumps(reporting)} if reporting else {}
        self.identity, self.layout = {**self.identity, **added}, self.layout._replace(attributes=attributes)

    def run(self, shelf: Shelf, chunks: Iterable[int], bar: Progress | None) -> Generator[tuple[int, Columns]]:
        """Run the sweep rung by rung; yields every chunk at the end."""
        # An earlier process has made all the chunks, so what it decided belongs into the table as well.
        if not shelf.unfinished(chunks) and (known := shelf.decisions()) is not None:
            self._note(known)
            shelf.forget_rungs()  # which a kill may have left
            return
        with self._running(shelf) as engine:
            columns, decisions = Climb(Ladder(engine, shelf, bar), self._rule).to_the_end(self._note)
        shelf.put_decisions(decisions)
        for chunk in shelf.unfinished(chunks):
            trials = self.layout.trials_of(chunk)
            of_chunk = {name: values[trials.start : trials.stop] for name, values in columns.items()}
            shelf.put(chunk, of_chunk)
            yield chunk, of_chunk
        shelf.forget_rungs()

    def _note(self, decisions: Decisions) -> None:
        self._decisions = decisions

    def finish(self, table: xarray.Dataset) -> xarray.Dataset:
        """The table with the pruner's decisions."""
        table = super().finish(table)
        return table if self._decisions is None else add_decisions(table, self._decisions)


def run_chunks(
    engine: Engine, shelf: Shelf, chunks: Iterable[int], bar: Progress | None = None
) -> Generator[tuple[int, Columns]]:
    """Run the chunks that are missing on the shelf to the end; yields each when it is kept."""
    plan, ends = engine.plan, engine.keep == "params+state" and shelf.is_stored
    for together, saved in shelf.missing(chunks):
        parts = [shelf.layout.numbers_of(chunk) for chunk in together]
        if bar and saved:
            bar.skip(saved.step * sum(map(len, parts)))
        hooks = Hooks(bar, shelf.checkpoint(together), shelf.narrowed, shelf.interrupted)
        try:
            finished, state = engine.run(parts, Leg(plan.steps, saved=saved, keep=ends), hooks)
        except Interrupted as stopped:
            for chunk, one in zip(together, stopped.finished, strict=True):
                shelf.put_interrupted(chunk, interrupted_columns(plan, one, stopped.step))
            raise
        states = [None] * len(parts) if state is None else state.parts([len(part) for part in parts])
        for chunk, one, end in zip(together, finished, states, strict=True):
            # Kept before it is yielded: what the consumer does with it, such as a user's `on_chunk`, may raise.
            columns = columns_of(plan, one)
            shelf.put(chunk, columns, end)
            yield chunk, columns


def agree_on_lanes(engine: Engine, shelf: Shelf) -> None:
    """Begin with no more lanes than fitted when memory ran out before: in this engine, or as the shelf records it."""
    known = shelf.lanes() or engine.plan.width
    engine.limit(known)
    if engine.lanes < known:
        shelf.narrowed(engine.lanes)
