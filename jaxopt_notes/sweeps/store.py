"""A sweep on disk: a manifest and one NetCDF file per finished chunk, each of which appears whole or not at all.

folder/manifest.json       the layout of the table and the identity of the sweep
folder/chunk-00000.nc      the columns of one chunk, flat along `trial`
folder/carry-00000.npz     a chunk on its way, overwritten as it goes on, gone when it is finished
folder/narrowed.json       the lanes per device that chunks ran with, if memory ran out
folder/rung-00-00000.npz   a chunk of a pruned sweep at a rung, gone when the sweep is finished
folder/decisions.json      what the pruner decided
folder/lock                held while a process writes; lock-0, lock-1, ... while several write a share each
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import write_whole
from .decisions import Decisions, add_decisions
from .engine import Checkpoint
from .layout import Columns, Layout, build_table
from .saved import encoded

if TYPE_CHECKING:
    import xarray

FORMAT = 1
SECONDS_TO_LOOK = 10.0  # at the lock of another, which is held for ever or for a moment
_REPAIR = "sweep(..., repair=True) sets it aside and runs its trials again"
_CHUNK = re.compile(r"chunk-(\d+)\.nc$")


class StoreError(ValueError):
    """A store that holds another sweep, a file that cannot be read, or another writer. Nothing on disk was changed."""


def save(table: xarray.Dataset | xarray.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a table as a NetCDF file, which `open_table(path)` reads back exactly, and `xarray.open_dataset` as well.

    The file is made in memory, written under a temporary name, flushed to the disk and renamed, so nobody ever reads
    half of it.

    Arguments:
        table: from `sweep`, or any other Dataset.
        path: the file; folders are made.

    Returns:
        The path written.

    Raises:
        OSError: the file cannot be written, as of a full disk; nothing is there then. TypeError: it is no table, or has
            a column that a file cannot hold exactly, which is named.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01]), steps=5, progress=False)
        >>> jon.save(table, tempfile.mkdtemp() + "/valley.nc").name
        'valley.nc'
    """
    if not hasattr(table, "to_netcdf"):
        raise TypeError(f"table must be an xarray.Dataset or DataTree, got {type(table).__name__}")
    # In memory first, as chunks are: a file that HDF5 cannot finish stays open there and later ends the process.
    whole = encoded(table).to_netcdf(None, engine="h5netcdf")
    return write_whole(Path(path), lambda temporary: temporary.write_bytes(whole))


def open_sweep(folder: str | os.PathLike[str]) -> xarray.Dataset:
    """The table of a stored sweep as far as it is finished, also while another process writes it.

    Arguments:
        folder: what was given to `sweep` as `store`.

    Returns:
        The Dataset, or of several families the DataTree, that `sweep` returns; trials that are not finished are NaN
        with status -1, and
        `attrs["trials_finished"]` counts the others.

    Raises:
        FileNotFoundError: no sweep is stored there. StoreError: a file of it cannot be read; it is named.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley, folder = jon.problems.quadratic([1.0, 20.0]), tempfile.mkdtemp() + "/valley"
        >>> options = dict(steps=5, store=folder, progress=False)
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.02]), **options)
        >>> jon.open_sweep(folder).equals(table)
        True
    """
    from .joining import open_joined

    joined = open_joined(Path(folder), open_sweep)
    if joined is not None:
        return joined
    store = Store(Path(folder))
    layout = store.layout()
    columns, finished = store.read(layout)
    table = build_table(layout, columns)
    table.attrs["trials_finished"] = finished
    decided = store.decisions()
    if decided is not None:
        table = add_decisions(table, Decisions(*decided))
    lanes = store.noted_lanes()
    return table if lanes is None else table.assign_attrs(narrowed_to=lanes)


def holds_results(folder: Path) -> bool:
    """Whether a folder, or one inside, keeps anything that a sweep computed."""
    return any(True for pattern in ("chunk-*", "carry-*", "rung-*", "decisions.json") for _ in folder.rglob(pattern))


def is_written(folder: Path) -> bool:
    """Whether a process is writing a sweep in a folder or in one inside."""
    from filelock import FileLock, Timeout

    for path in folder.rglob("lock*"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return True
        except OSError:  # of a folder that nobody here may write, as writing will say
            return False
    return False


def is_store(folder: Path) -> bool:
    """Whether a sweep is stored in a folder, of one program or of several."""
    from .joining import begun

    return begun(folder)


class Store:
    """The files of one sweep. Opening it reads; `create` and `write` need the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: Any = None
        self._shared = False
        self._thread: ThreadPoolExecutor | None = None
        self._writes: list[Future[Any]] = []
        self.reported: set[int] = set()  # chunks that workers say they wrote, which a listing over NFS may lack

    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands on disk."""
        path = self.folder / "manifest.json"
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            raise FileNotFoundError(f"no sweep is stored in {self.folder}: it has no manifest.json") from None
        except ValueError as error:
            raise StoreError(f"{path} cannot be read ({error}); move it away to start anew") from None
        missing = {"format", "identity", "layout"} - set(found)
        if missing:
            raise StoreError(
                f"{path} is no manifest: it lacks {', '.join(sorted(missing))}; move it away to start anew"
            )
        if found["format"] != FORMAT:
            raise StoreError(f"{path} has format {found['format']}, this version reads {FORMAT}")
        return found

    def layout(self) -> Layout:
        """The layout of the table."""
        return Layout(**self.manifest()["layout"])

    def lock(self, share: str = "") -> None:
        """Become the writer, of everything or of one share, or say who is; then `start`.

        The operating system gives the lock back when this process ends.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._acquired(f"lock{share}", 0.0)
        except OSError as error:
            reason = f"a sweep cannot write its store: {error.strerror or error}; open_sweep only reads one"
            raise OSError(error.errno, reason, str(self.folder)) from error
        # Whoever writes everything excludes the shares, and they exclude it; the shares look at one file by turns.
        others = ["lock"] if share else sorted(path.name for path in self.folder.glob("lock-*"))
        try:
            for other in others:
                self._acquired(other, SECONDS_TO_LOOK if share else 0.0).release()
        except StoreError:
            self.close()
            raise
        self._shared = bool(share)
        if not share:  # what a kill left half written; a worker of another process that still writes loses its chunk
            for path in self.folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)
        self.start()

    def start(self) -> None:
        """Open the thread that writes. A worker that is told which chunks to write needs no lock."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    def _acquired(self, name: str, seconds: float) -> Any:
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / name)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            raise StoreError(
                f"another process is writing {self.folder}; wait for it, or read the store with open_sweep"
            ) from None
        return lock

    def create(self, identity: dict[str, Any], layout: Layout) -> None:
        """Write the manifest, or compare with the one that is there.

        Raises:
            StoreError: the store holds a sweep of another definition; every difference is named.
        """
        path = self.folder / "manifest.json"
        if path.exists():
            there = self.manifest()["identity"]
            changed = [name for name in {**there, **identity} if there.get(name) != identity.get(name)]
            if not changed:
                return
            if holds_results(self.folder) or self._shared:
                lines = [f"  {name}: {there.get(name)} there, {identity.get(name)} now" for name in changed]
                hint = f"{self.folder} holds another sweep; finish it as it was defined, or choose another folder"
                raise StoreError("\n".join([hint, *lines]))
            # Nothing came of the sweep that is there, as when its first call failed; it makes room.
            (self.folder / "narrowed.json").unlink(missing_ok=True)
        elif any(self.folder.glob("chunk-*.nc")):
            raise StoreError(f"{self.folder} holds chunks without a manifest; choose another folder")
        manifest = {"format": FORMAT, "identity": identity, "layout": layout._asdict()}
        write_whole(path, lambda temporary: temporary.write_text(json.dumps(manifest, indent=1)))

    def note_lanes(self, lanes: int) -> None:
        """Keep that chunks run with so few lanes, as memory ran out."""
        known = self.noted_lanes()
        if known is None or lanes < known:
            path = self.folder / "narrowed.json"
            write_whole(path, lambda temporary: temporary.write_text(json.dumps({"lanes": lanes})))

    def noted_lanes(self) -> int | None:
        """The fewest lanes that chunks ran with, if fewer than the width."""
        path = self.folder / "narrowed.json"
        try:
            return int(json.loads(path.read_text())["lanes"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}); delete it, and memory that runs out is noted anew"
            ) from None

    def finished(self) -> dict[int, Path]:
        """Chunk number to its file."""
        found = ((_CHUNK.match(path.name), path) for path in sorted(self.folder.glob("chunk-*.nc")))
        listed = {int(match[1]): path for match, path in found if match}
        return listed | {chunk: self._path(chunk) for chunk in self.reported}

    def chunk(self, chunk: int, fingerprint: str) -> Columns:
        """The columns of a finished chunk."""
        return _read_chunk(self._path(chunk), fingerprint)[1]

    def write(self, chunk: int, first: int, columns: Columns, fingerprint: str) -> None:
        """Write a finished chunk in the background; an error of an earlier write is raised here."""
        assert self._thread is not None
        self._raise_errors()
        self._writes.append(self._thread.submit(self._write, chunk, first, columns, fingerprint))

    def write_carry(self, chunks: Iterable[int], saved: Checkpoint, fingerprint: str) -> None:
        """Write chunks on their way, in the background."""
        assert self._thread is not None
        for chunk, lanes in zip(chunks, saved.lanes, strict=True):
            arrays = {f"lanes.{i:03}": leaf for i, leaf in enumerate(lanes)}
            named = {"step": np.asarray(saved.step), "fingerprint": np.asarray(fingerprint), **arrays}
            self._writes.append(self._thread.submit(_write_npz, self.folder / f"carry-{chunk:05}.npz", named))

    def carry(self, chunk: int, fingerprint: str) -> Checkpoint | None:
        """Where a chunk had got to, if that is on disk; what cannot be read is as good as not there."""
        file = _read_npz(self.folder / f"carry-{chunk:05}.npz", fingerprint)
        if file is None:
            return None
        return Checkpoint(int(file["step"]), [[file[name] for name in sorted(file) if name[:6] == "lanes."]])

    def write_rung(self, rung: int, chunk: int, arrays: dict[str, np.ndarray], fingerprint: str) -> None:
        """Write where a chunk of a pruned sweep is at a rung, in the background."""
        assert self._thread is not None
        named = {"fingerprint": np.asarray(fingerprint), **arrays}
        self._writes.append(self._thread.submit(_write_npz, self._rung(rung, chunk), named))

    def rung(self, rung: int, chunk: int, fingerprint: str) -> dict[str, np.ndarray] | None:
        """Where a chunk was at a rung, if that is on disk."""
        return _read_npz(self._rung(rung, chunk), fingerprint)

    def forget_rungs(self) -> None:
        """Remove what was kept between rungs."""
        self.flush()
        for path in self.folder.glob("rung-*.npz"):
            path.unlink(missing_ok=True)

    def write_decisions(self, decisions: Sequence[Any]) -> None:
        """Write what a pruner decided, before the chunks that it made."""
        text = json.dumps([list(part) for part in decisions])
        write_whole(self.folder / "decisions.json", lambda temporary: temporary.write_text(text))

    def decisions(self) -> list[Any] | None:
        """What a pruner decided, once that is whole."""
        path = self.folder / "decisions.json"
        return json.loads(path.read_text()) if path.exists() else None

    def flush(self) -> None:
        """Wait until everything is on the disk."""
        for write in self._writes:
            write.result()
        self._writes.clear()

    def close(self) -> None:
        """Finish what is being written, and give the lock back."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def read(self, layout: Layout) -> tuple[Columns, int]:
        """The columns of all trials, and how many are finished."""
        columns, finished = layout.empty(), 0
        for first, values in self._chunks():
            rows = slice(first, first + len(values["status"]))
            for name, column in columns.items():
                column[rows] = values[name]
            finished += rows.stop - rows.start
        return columns, finished

    def unreadable(self, fingerprint: str) -> dict[Path, str]:
        """The files of chunks that cannot be read or belong to another sweep, and what is wrong with each."""
        reasons = {}
        for path in self.finished().values():
            try:
                _read_chunk(path, fingerprint)
            except StoreError as error:
                reasons[path] = str(error)
        return reasons

    def _chunks(self) -> Iterator[tuple[int, Columns]]:
        fingerprint = self.manifest()["layout"]["attributes"]["fingerprint"]
        for path in self.finished().values():
            yield _read_chunk(path, fingerprint)

    def _write(self, chunk: int, first: int, columns: Columns, fingerprint: str) -> None:
        write_whole(self._path(chunk), lambda path: _write_chunk(path, first, columns, fingerprint))
        (self.folder / f"carry-{chunk:05}.npz").unlink(missing_ok=True)

    def _rung(self, rung: int, chunk: int) -> Path:
        return self.folder / f"rung-{rung:02}-{chunk:05}.npz"

    def _path(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:05}.nc"

    def _raise_errors(self) -> None:
        for write in [write for write in self._writes if write.done()]:
            self._writes.remove(write)
            write.result()


def _write_chunk(path: Path, first: int, columns: Columns, fingerprint: str) -> None:
    import h5netcdf

    # In memory first: a file that HDF5 cannot finish, as on a full disk, stays open there and later ends the process.
    whole = io.BytesIO()
    with h5netcdf.File(whole, "w") as file:
        trials = len(columns["status"])
        file.dimensions = {"trial": trials}
        file.attrs.update(first=first, trials=trials, fingerprint=fingerprint)
        for name, column in columns.items():
            inner = [f"{name}_{axis}" for axis in range(column.ndim - 1)]
            for dimension, size in zip(inner, column.shape[1:], strict=True):
                file.dimensions[dimension] = size
            # A checksum, which HDF5 keeps of chunked data only: a byte that a disk changed is no result.
            sums: dict[str, Any] = {"fletcher32": True, "chunks": column.shape} if column.size else {}
            file.create_variable(name, ("trial", *inner), data=column, **sums)
        file.attrs["whole"] = 1  # written last
    path.write_bytes(whole.getbuffer())


def _read_chunk(path: Path, fingerprint: str) -> tuple[int, Columns]:
    """The first trial of a chunk and its columns."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            owner, whole = file.attrs.get("fingerprint"), file.attrs.get("whole")
            first = int(np.asarray(file.attrs.get("first", -1)).item())
            # NetCDF writes a dimension as a variable that says in its name that it is none, and names complex types.
            variables = {name: part for name, part in file.items() if isinstance(part, h5py.Dataset)}
            columns = {name: part[()] for name, part in variables.items() if "NAME" not in part.attrs}
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(f"{path} cannot be read ({error}); {_REPAIR}") from None
    if owner != fingerprint or whole is None:
        raise StoreError(f"{path} does not belong to this sweep; {_REPAIR}")
    return first, columns


def _read_npz(path: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    """The arrays of a file of this sweep; None of one that is not there, cannot be read, or is another's."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays if str(arrays.pop("fingerprint")) == fingerprint else None
    except (OSError, ValueError, KeyError, EOFError):
        return None
    except Exception as error:  # zipfile.BadZipFile and zlib.error, of a file cut short by a full disk
        if type(error).__module__ in ("zipfile", "zlib"):
            return None
        raise


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    write_whole(path, write)
