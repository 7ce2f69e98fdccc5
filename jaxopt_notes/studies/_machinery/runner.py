"""Running studies into a folder: the Dataset and the figure of each, and what is finished is not measured again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import jax
from filelock import FileLock

from ... import _checks
from ..._files import write_whole
from ..._shown import wrapped
from ..._version import __version__
from ...sweeps import StoreError, load, save
from . import sources
from .claim import Claim, Outcome, in_words
from .registry import STUDIES, Size, Study, load_study

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, repr=False)
class Result:
    """A study that was run.

    Attributes:
        name: of the study.
        claims: what it measured.
        dataset: the NetCDF file.
        figure: the PNG file.
        seconds: that measuring took; of the run before where it was found finished.
        reused: whether it was found finished.
        alt: what the figure shows, in words.
    """

    name: str
    claims: list[Claim]
    dataset: Path
    figure: Path
    seconds: float
    reused: bool
    alt: str

    def __repr__(self) -> str:
        others = [claim for claim in self.claims if claim.outcome is not Outcome.HOLDS]
        lines = [f"  {claim.outcome.value}: {claim.sentence} Measured {claim.measured}." for claim in others]
        return wrapped("\n".join([f"{self.name}: {in_words(self.claims)}", *lines]))

    def _repr_html_(self) -> str:
        from .page import as_html

        return as_html(self)


def run_study(name: str, out: str | os.PathLike[str], *, seed: int = 0, size: Size = "small") -> Result:
    """Run one study and write `<name>.nc` and `<name>.png`, or read the first where the same study is there already.

    Arguments:
        name: one of `STUDIES`.
        out: the folder to write; it is made.
        seed: of all randomness, at least 0.
        size: "small", seconds, or "full", what the book shows.

    Returns:
        A `Result`. A saved one is taken when nothing that it depends on has changed: the size, the seed, the versions
        of jax, numpy and what else computes, the study's file and all that it imports of this package except `plots`.
        Claims are judged and the figure is drawn anew from it.

    Raises:
        ValueError: unknown study or size, a negative seed.
        OSError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> result = run_study("averages", tempfile.mkdtemp())
        >>> result.dataset.name, result.reused
        ('averages.nc', False)
    """
    study = load_study(name)
    _checks.choice("size", size, ("small", "full"))
    _checks.count("seed", seed, low=0)
    from ... import plots  # here, so that a missing matplotlib is said before anything is measured

    folder = Path(out)
    path, identity = folder / f"{name}.nc", _identity(name, seed, size)
    folder.mkdir(parents=True, exist_ok=True)
    # Whoever comes second waits, and finds it finished.
    with FileLock(folder / f".{name}.lock"):
        dataset = _saved(path, identity)
        reused = dataset is not None
        if dataset is None:
            dataset = _measured(study, seed, size, identity)
            save(dataset, path)
    figure = study.figure(dataset)
    picture = write_whole(folder / f"{name}.png", lambda temporary: plots.write_png(figure, temporary))
    alt = " ".join(plots.alt_text(ax) for ax in figure.axes if ax.get_label() != "<colorbar>")
    return Result(name, study.claims(dataset), path, picture, float(dataset.attrs["study_seconds"]), reused, alt)


def _measured(study: Study, seed: int, size: Size, identity: dict[str, str | int]) -> xarray.Dataset:
    began = time.perf_counter()
    dataset = study.run(key=jax.random.key(seed), size=size)
    dataset.attrs |= identity | {"study_seconds": time.perf_counter() - began}
    return dataset


def run_studies(
    out: str | os.PathLike[str], *, names: Sequence[str] = (), seed: int = 0, size: Size = "small"
) -> Iterator[Result]:
    """Run studies one after the other; the same call after an interruption resumes with the unfinished one.

    Arguments:
        out: the folder to write; it is made.
        names: which, in what order; all of `STUDIES` when empty.
        seed: of all randomness, at least 0.
        size: "small" or "full".

    Returns:
        An iterator that runs the next study when the next `Result` is asked for.

    Raises:
        ValueError, OSError: as `run_study`; an unknown name before anything runs.

    Example:
        >>> import tempfile
        >>> [result.name for result in run_studies(tempfile.mkdtemp(), names=["averages"])]
        ['averages']
    """
    for name in names:
        load_study(name)
    return _each(list(names or STUDIES), out, seed, size)


def _each(names: list[str], out: str | os.PathLike[str], seed: int, size: Size) -> Iterator[Result]:
    for name in names:
        yield run_study(name, out, seed=seed, size=size)
        # Thousands of compiled programs would exhaust the memory maps that Linux gives a process.
        jax.clear_caches()


def _identity(name: str, seed: int, size: str) -> dict[str, str | int]:
    own: dict[str, str | int] = {
        "study": name,
        "study_size": size,
        "study_seed": seed,
        "study_source": sources.digest(name),
    }
    computes = {each: metadata.version(each) for each in ("jax", "jaxlib", "numpy", "scipy", "optax", "flax")}
    return {**own, **computes, "jaxopt_notes": __version__}


def _saved(path: Path, identity: dict[str, str | int]) -> xarray.Dataset | None:
    """The Dataset in the file when it is whole and of the same identity."""
    if not path.is_file():
        return None
    try:
        dataset = load(path)
    except StoreError:  # not a whole NetCDF file: as good as none
        return None
    return dataset if all(dataset.attrs.get(key) == value for key, value in identity.items()) else None
