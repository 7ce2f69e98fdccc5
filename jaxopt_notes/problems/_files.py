"""MNIST and CIFAR-10 from files that the user has: nothing is downloaded."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from .. import _checks
from ._datasets import Examples

_MNIST = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
_CIFAR = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_NPZ = "an .npz file with x_train, y_train, x_test and y_test"


def mnist(path: str | os.PathLike[str], *, limit: int | None = None) -> tuple[Examples, Examples]:
    """MNIST, or Fashion-MNIST, from files on this machine: 60,000 and 10,000 images of 28 x 28 pixels in [0, 1].

    Arguments:
        path: a folder with the four IDX files ("train-images-idx3-ubyte", also as .gz), or an .npz file with x_train,
            y_train, x_test and y_test, as keras has it.
        limit: keep this many of each part, the first ones; all when None.

    Returns:
        Training and test examples: inputs (n, 28, 28, 1) in the default floating dtype, labels (n,) in int32.

    Raises:
        FileNotFoundError: nothing there; it lists the files that are needed. ValueError: they hold something else.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.mnist("nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: no MNIST at 'nowhere': ...

    Source: LeCun, Bottou, Bengio and Haffner, 1998.
    """
    where = Path(path)
    wanted = f"{_NPZ}, or a folder with {', '.join(_MNIST.values())} (also as .gz)"
    if where.is_file():
        arrays = _from_npz(where, "MNIST")
    else:
        files = {
            name: _existing(where, [file, f"{file}.gz", file.replace("-idx", ".idx")]) for name, file in _MNIST.items()
        }
        missing = [_MNIST[name] for name, file in files.items() if file is None]
        if missing:
            raise FileNotFoundError(
                f"no MNIST at {str(path)!r}: {', '.join(missing)} missing. Nothing is downloaded; put there {wanted}"
            )
        arrays = {name: _from_idx(file) for name, file in files.items() if file is not None}
    return _examples("MNIST", where, arrays, (28, 28, 1), limit)


def cifar10(path: str | os.PathLike[str], *, limit: int | None = None) -> tuple[Examples, Examples]:
    """CIFAR-10 from files on this machine: 50,000 and 10,000 images of 32 x 32 pixels and 3 colours in [0, 1].

    Arguments:
        path: a folder with the binary version (data_batch_1.bin to data_batch_5.bin and test_batch.bin), or the one
            above it, or an .npz file with x_train, y_train, x_test and y_test. The version in Python pickles is not
            read, for a pickle can run anything.
        limit: keep this many of each part, the first ones; all when None.

    Returns:
        Training and test examples: inputs (n, 32, 32, 3) in the default floating dtype, labels (n,) in int32.

    Raises:
        FileNotFoundError: nothing there; it lists the files that are needed. ValueError: they hold something else.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.cifar10("nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: no CIFAR-10 at 'nowhere': ...

    Source: Krizhevsky, 2009.
    """
    where = Path(path)
    if where.is_file():
        return _examples("CIFAR-10", where, _from_npz(where, "CIFAR-10"), (32, 32, 3), limit)
    inner = where / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else where
    missing = [name for names in _CIFAR.values() for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"no CIFAR-10 at {str(path)!r}: {', '.join(missing)} missing. Nothing is downloaded; put there {_NPZ}, or "
            f"the binary version (cifar-10-binary.tar.gz, unpacked)"
        )
    arrays = {}
    for part, names in _CIFAR.items():
        raw = np.concatenate([np.fromfile(folder / name, np.uint8) for name in names])
        if raw.size % 3073:
            raise ValueError(
                f"{folder / names[0]} and its like must hold records of 3,073 bytes, got {raw.size} in all"
            )
        records = raw.reshape(-1, 3073)
        arrays[f"y_{part}"] = records[:, 0]
        arrays[f"x_{part}"] = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _examples("CIFAR-10", folder, arrays, (32, 32, 3), limit)


def _existing(folder: Path, names: list[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _from_npz(path: Path, title: str) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in _MNIST if f"{name}.npy" not in archive.namelist()]
        if missing:
            raise ValueError(f"{path} is no {title}: it must be {_NPZ}, and lacks {', '.join(missing)}")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in _MNIST}
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no {title}: it must be {_NPZ}") from error


def _from_idx(path: Path) -> np.ndarray:
    """An array in the IDX format: two zero bytes, 8 for unsigned bytes, the number of axes, their lengths, the data."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    axes = raw[3] if len(raw) > 4 else 0
    shape = tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    start = 4 + 4 * axes
    if raw[:3] != b"\0\0\x08" or len(raw) - start != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path} is not an IDX file of unsigned bytes, or is cut off: {len(raw)} bytes")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _examples(
    title: str, path: Path, arrays: dict[str, np.ndarray], shape: tuple[int, ...], limit: int | None
) -> tuple[Examples, Examples]:
    parts = []
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"].ravel()
        count = len(labels) if limit is None else min(_checks.count("limit", limit), len(labels))
        if images.shape[:1] != labels.shape or images[:1].size != np.prod(shape):
            raise ValueError(f"{path} is no {title}: {part} has images {images.shape} and labels {labels.shape}")
        if images.dtype != np.uint8 or labels.min() < 0 or labels.max() > 9:
            raise ValueError(f"{path} is no {title}: {part} must have bytes as pixels and labels from 0 to 9")
        pixels = images[:count].reshape(count, *shape) / np.float32(255)
        parts.append(Examples(jnp.asarray(pixels, float), jnp.asarray(labels[:count], jnp.int32)))
    return parts[0], parts[1]
