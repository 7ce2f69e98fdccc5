"""A stored sweep that became a larger one: what may be added, and where the files of what was there are.

folder/manifest.json     the sweep as it is now; `earlier` is the manifest that it replaced, unchanged
folder/generation-1/     the chunks, checkpoints and ends of the first extension; the others stay where they are

A manifest is replaced as a whole and no file is moved, so a kill leaves the sweep before or the extended one.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._digests import StoreError, read_arrays, read_json
from ..compute.state import State
from ..spec.space import is_absent
from ..table.layout import Columns, Layout
from .chunks import read_chunk
from .folders import ANEW

POSITION = "position"  # of a stream
LEAF = "trials."  # before the number of a leaf, whose leading axis is the trial
IdentityOf = Callable[[Sequence[int], int], dict[str, Any]]
_End = tuple[Path, str, int]  # a file of ends, its owner, and the row of a trial


class Generation:
    """The files that belong to one manifest of a folder, and to those that it replaced."""

    def __init__(self, root: Path, manifest: Mapping[str, Any]) -> None:
        self._root, self.manifest = root, manifest
        self.number: int = manifest.get("generation", 0)
        self.folder = root / f"generation-{self.number}" if self.number else root
        self.layout = Layout(**manifest["layout"])
        earlier = manifest.get("earlier")
        self.earlier = None if earlier is None else Generation(root, earlier["manifest"])
        self._trials: list[int] = [] if earlier is None else earlier["trials"]

    def chunk(self, chunk: int) -> Path:
        """The file of a chunk."""
        return self.folder / f"chunk-{chunk:05}.nc"

    def end(self, chunk: int) -> Path:
        """The file of the states of a chunk's trials at their ends."""
        return self.folder / f"end-{chunk:05}.npz"

    def _chunks(self) -> list[int]:
        return [chunk for chunk in range(self.layout.chunks) if os.path.lexists(self.chunk(chunk))]

    def _known(self) -> list[tuple[int, int]]:
        """The number of every known trial, here and in the generation before."""
        known = self.layout.numbers[: self.layout.known].tolist()
        return list(zip(known, self._trials, strict=False))

    def finished(self) -> set[int]:
        """The numbers of all trials that are on the disk."""
        found = {number for chunk in self._chunks() for number in self.layout.numbers_of(chunk).tolist()}
        there = set() if self.earlier is None else self.earlier.finished()
        return found | {number for number, before in self._known() if before in there}

    def ends(self) -> dict[int, _End]:
        """Where the ends of trials are, by their numbers."""
        found: dict[int, _End] = {}
        for chunk in filter(lambda chunk: os.path.lexists(self.end(chunk)), self._chunks()):
            numbers = self.layout.numbers_of(chunk).tolist()
            found |= {number: (self.end(chunk), self.layout.owner, row) for row, number in enumerate(numbers)}
        there = {} if self.earlier is None else self.earlier.ends()
        return found | {number: there[before] for number, before in self._known() if before in there}

    def columns(self) -> Columns:
        """The columns of all trials by number; of those that are not finished anything.

        Raises:
            StoreError: a file of a chunk cannot be read, or belongs to another sweep.
        """
        columns = self.layout.allocated()
        for chunk in self._chunks():
            places = self.layout.trials_of(chunk)
            for name, values in read_chunk(self.chunk(chunk), chunk, self.layout).items():
                columns[name][places.start : places.stop] = values
        for name, values in self.known().items():
            columns[name][: self.layout.known] = values
        return self.layout.by_number(columns)

    def known(self) -> Columns:
        """The columns of the known trials, in their order."""
        if self.earlier is None or not self.layout.known:
            return {}
        rows = self._trials[: self.layout.known]
        return {name: values[rows] for name, values in self.earlier.columns().items()}

    def unreadable(self) -> list[Path]:
        """The chunks of earlier generations that cannot be read."""
        if self.earlier is None:
            return []
        found = self.earlier.unreadable()
        for chunk in self.earlier._chunks():
            try:
                read_chunk(self.earlier.chunk(chunk), chunk, self.earlier.layout)
            except StoreError:
                found.append(self.earlier.chunk(chunk))
        return found

    def lanes(self) -> int | None:
        """The fewest lanes that chunks of earlier generations ran with, if fewer than the width."""
        lanes, before = None, self.earlier
        while before is not None:
            with contextlib.suppress(FileNotFoundError):
                found = read_json(before.folder / "narrowed.json", ANEW)["lanes"]
                lanes = found if lanes is None else min(found, lanes)
            before = before.earlier
        return lanes

    @functools.cached_property
    def _earlier_ends(self) -> dict[int, _End]:
        return {} if self.earlier is None else self.earlier.ends()

    def begin(self, chunk: int) -> State | None:
        """The state from which the trials of a chunk continue; None if they begin at step 0."""
        if chunk >= self.layout.chunks_begun:
            return None
        places = self.layout.trials_of(chunk)
        rows = [self._earlier_ends.get(self._trials[place]) for place in places]
        there = [row for row in rows if row is not None]
        states = {path: _state(path, owner) for path, owner in {(path, owner) for path, owner, _ in there}}
        known = [state for state in states.values() if state is not None]
        # Without one of them the chunk begins at step 0, which takes longer and gives the same results.
        if len(there) < len(rows) or len(known) < len(states):
            return None
        one = [[state.leaves[i] for state in known] for i in range(len(known[0].leaves))]
        which = {path: place for place, path in enumerate(states)}
        leaves = [np.stack([parts[which[path]][row] for path, _, row in there]) for parts in one]
        # Without the position of a stream, which is that of a window: those of a longer sweep begin at other steps. It
        # is read from its beginning, without a step being taken.
        return State(known[0].step, leaves)


def state_in(arrays: Mapping[str, np.ndarray]) -> State | None:
    """The state among the arrays of a file; None if there is none, as in files of versions that stored lanes."""
    names = sorted(name for name in arrays if name.startswith(LEAF))
    position = arrays[POSITION].tobytes() if POSITION in arrays else b""
    return State(int(arrays["step"]), [arrays[name] for name in names], position) if names else None


def _state(path: Path, owner: str) -> State | None:
    arrays = read_arrays(path, owner)
    return None if arrays is None else state_in(arrays)


def check_extends(
    there: Generation, identity: Mapping[str, Any], layout: Layout, identity_of: IdentityOf, folder: Path
) -> None:
    """Refuse a sweep that is not the one there with more seeds, points or steps.

    Raises:
        StoreError: naming what differs.
    """
    known = there.manifest["identity"]
    for name, lost in {"seeds": [s for s in known["seeds"] if s not in identity["seeds"]]}.items():
        if lost:
            raise _refusal(folder, [f"  {name}: {known[name]} there, {identity[name]} now, which lacks {lost}"])
    if identity["steps"] < known["steps"]:
        raise _refusal(folder, [f"  steps: {known['steps']} there, {identity['steps']} now, which are fewer"])
    then = identity_of(known["seeds"], known["steps"])
    names = [name for name in {**known, **then} if name != "axes" and known.get(name) != then.get(name)]
    lines = [f"  {name}: {known.get(name)} there, {then.get(name)} now" for name in names]
    if "update" in names and identity["steps"] > known["steps"]:
        lines.append("  (a schedule over `steps` changes every trial)")
    try:
        _places(there.layout, layout)
    except KeyError as error:
        lines.append(f"  points: {error.args[0]} there, and not now")
    if lines:
        raise _refusal(folder, lines)
    if identity["steps"] <= known["steps"]:
        return
    if not there.ends():
        raise StoreError(
            f"{folder} holds no states at the ends, from which more steps could be taken: a sweep keeps them with "
            f"keep='params+state' and without compact; choose another folder, or run the steps that it began with"
        )
    looks = known.get("watch", {}).get("evaluate_every", 1)
    if known["steps"] % looks:
        raise StoreError(
            f"{folder} looked at the validation data at its last step, {known['steps']}, where a longer sweep with "
            f"evaluate_every={looks} does not: more steps need a multiple of it; choose another folder"
        )


def _refusal(folder: Path, lines: Sequence[str]) -> StoreError:
    return StoreError(
        "\n".join(
            [f"{folder} holds another sweep, and extend=True adds seeds, points or steps only; what differs:", *lines]
        )
    )


def extended(there: Generation, layout: Layout) -> tuple[Layout, list[int]]:
    """The layout of a sweep that has the trials of another one, and their numbers there, in the order of the columns.

    Those that have all their steps come first, then those that continue, then the others.
    """
    numbers = _places(there.layout, layout)
    more = layout.steps > there.layout.steps
    old = sorted(there.ends() if more else there.finished(), key=lambda number: numbers[number])
    first = [numbers[number] for number in old]
    order = [*first, *sorted({*range(layout.trials)} - {*first})]
    known, begun = (0, len(old)) if more else (len(old), 0)
    return layout._replace(order=order, known=known, begun=begun), old


def _places(there: Layout, now: Layout) -> list[int]:
    """The number that every trial of one sweep has in another one.

    Raises:
        KeyError: a configuration that the other one lacks.
    """
    places: dict[Any, list[int]] = {}
    for place, configuration in enumerate(configurations(now.axes, now.points)):
        places.setdefault(configuration, []).append(place)
    found = []
    for configuration in configurations(there.axes, there.points):
        if not places.get(configuration):
            raise KeyError(", ".join(f"{name}={value}" for name, value in configuration) or "the only configuration")
        found.append(places[configuration].pop(0))
    seeds = [now.seeds.index(seed) for seed in there.seeds]
    return [place * len(now.seeds) + seed for place in found for seed in seeds]


def configurations(
    axes: Mapping[str, Sequence[Any]], points: Mapping[str, Sequence[Any]]
) -> list[tuple[tuple[str, Any], ...]]:
    """The configurations of a space, given its labels, each as pairs (name, value) in the order of the names."""
    names = list(points or axes)
    rows = zip(*points.values(), strict=True) if points else itertools.product(*axes.values())
    # A list of points has its numbers as an axis, which are no part of a configuration.
    return [
        tuple(sorted((name, value) for name, value in zip(names, row, strict=True) if not is_absent(value)))
        for row in rows
    ]


def extends_groups(there: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether every group of a sweep has at least its points in the record of another one, at the same place."""
    if "rows" not in there or "rows" not in now or len(there["rows"]) > len(now["rows"]):
        return False
    before, after = (configurations(record["axes"], record["points"]) for record in (there, now))
    pairs = zip(there["rows"], now["rows"], strict=False)
    return all({before[row] for row in old} <= {after[row] for row in new} for old, new in pairs)
