"""Files with a digest of their whole content, checked before anything else reads them.

A file of NumPy or HDF5 ends with 48 bytes that both formats ignore, so other programs open it as it is: a mark, the
length of the content, its SHA-256. A JSON file holds the SHA-256 of its other members as the member `digest`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ._files import write_whole

TRAILER = struct.Struct(">8sQ32s")
_MARK = b"\njonSHA2"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LENGTH_AT = {0: 40, 1: 44, 2: 28, 3: 28}  # version of the first block of an HDF5 file -> where it says its length
_OTHER = "its digest does not match its content"


class StoreError(ValueError):
    """A file that cannot be read, a store that holds another sweep, or another writer. Nothing on disk was changed."""


def write_digested(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file, whole or not at all, and append the digest of its content.

    Raises:
        OSError: as `write_whole`.
    """

    def both(temporary: Path) -> None:
        write(temporary)
        with temporary.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.write(TRAILER.pack(_MARK, file.tell(), digest))

    return write_whole(path, both)


@contextlib.contextmanager
def open_digested(path: Path, fix: str, *, bare: bool = False) -> Iterator[BinaryIO]:
    """Open a file whose content is what was written; what else goes wrong inside the block is an error of the file.

    Arguments:
        path: the file.
        fix: what the errors recommend.
        bare: take an HDF5 file that has no digest, with a warning.

    Raises:
        StoreError: the file cannot be read, is not a regular file, or its digest is wrong or missing.
        FileNotFoundError: it is not there.
    """
    with _named_errors(path, fix), _regular(path) as file:
        if not _check(file):
            if not bare:
                raise ValueError("it has no digest")
            if not _ends_as_written(file):
                raise ValueError("it is not an HDF5 file, or its length differs from the one in its header")
            words = "has no digest, as another program or an earlier version wrote it: damage would not be noticed"
            warnings.warn(f"{path} {words}", stacklevel=4)
        file.seek(0)
        yield file


def write_json(path: Path, record: Mapping[str, Any]) -> Path:
    """Write plain data with its digest, whole or not at all."""
    text = json.dumps({**record, "digest": digest_of(record)}, indent=1)
    return write_whole(path, lambda temporary: temporary.write_text(text))


def read_json(path: Path, fix: str) -> dict[str, Any]:
    """The plain data of a file, without the digest.

    Raises:
        StoreError: as `open_digested`. FileNotFoundError: it is not there.
    """
    with _named_errors(path, fix), _regular(path) as file:
        record = json.loads(file.read())
        digest = record.pop("digest", None) if isinstance(record, dict) else None
        if digest is None:
            raise ValueError("it has no digest")
        if digest != digest_of(record):
            raise ValueError(_OTHER)
        return record


def digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of plain data, whatever the order of its names and the space between them."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], owner: str) -> Path:
    """Write arrays of one owner as npz, with the file's name and the digest."""
    labels = {"file.owner": np.asarray(owner), "file.name": np.asarray(path.name)}

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **labels, **arrays)  # type: ignore[arg-type]

    return write_digested(path, save)


def read_arrays(path: Path, owner: str) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None of one that is not there, cannot be read, has another name or another owner."""
    try:
        with open_digested(path, "") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (StoreError, FileNotFoundError):
        return None
    labels = [str(arrays.pop(label, "")) for label in ("file.owner", "file.name")]
    return arrays if labels == [owner, path.name] else None


def set_aside(path: Path) -> None:
    """Rename what is at a path to the first free of `path.bad`, `path.bad2`, ..."""
    free = path.with_name(f"{path.name}.bad")
    number = 2
    while os.path.lexists(free):
        free = path.with_name(f"{path.name}.bad{number}")
        number += 1
    with contextlib.suppress(FileNotFoundError):  # another process may have done so
        path.rename(free)


@contextlib.contextmanager
def _named_errors(path: Path, fix: str) -> Iterator[None]:
    """Whatever goes wrong as a `StoreError` that names the file, but for a file that is not there."""
    try:
        yield
    except (StoreError, FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # parsers raise every kind
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StoreError(f"{path} cannot be read ({reason}); {fix}") from error


def _regular(path: Path) -> BinaryIO:
    """Open a file; a pipe or a device would block the reader."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    return path.open("rb")


def _check(file: BinaryIO) -> bool:
    """Compare the content of a file with its digest; False if there is none.

    Raises:
        ValueError: they differ.
    """
    length = file.seek(0, os.SEEK_END) - TRAILER.size
    file.seek(max(length, 0))
    end = file.read()
    if len(end) < TRAILER.size or not end.startswith(_MARK):
        return False
    _, written, digest = TRAILER.unpack(end)
    file.seek(0)
    if written != length or _digest(file, length) != digest:
        raise ValueError(_OTHER)
    return True


def _ends_as_written(file: BinaryIO) -> bool:
    """Whether an HDF5 file has the length in its header, so that nothing at its end was lost or overwritten."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(64)
    at = _LENGTH_AT.get(head[8]) if len(head) == 64 and head.startswith(_HDF5) else None
    return at is not None and int.from_bytes(head[at : at + 8], "little") == size


def _digest(file: BinaryIO, length: int) -> bytes:
    """SHA-256 of the next `length` bytes."""
    digest = hashlib.sha256()
    while length > 0 and (block := file.read(min(length, 2**20))):
        digest.update(block)
        length -= len(block)
    return digest.digest()
