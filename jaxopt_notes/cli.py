"""The command line: the only room that reads arguments or prints."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from . import _checks
from ._jaxpr import chosen_precision
from ._version import __version__
from .cli_explorer import explore
from .cli_points import classify, prove
from .cli_races import race
from .cli_sweeps import sweep
from .devices import compile_quickly, use_compilation_cache, use_cpu_cores
from .sweeps import open_sweep
from .sweeps.keep.folders import is_store
from .sweeps.keep.saved import load


def tour(out: Path = Path("runs/tour"), seed: int = 0, quick: bool = False) -> int:
    """The main job on handwritten digits: sweep momentum, Nesterov and Adam, find each winner, judge its end point.

    Args:
        out: folder for the tables (.nc), the figures and report.html.
        seed: seed of all randomness; the same seed gives the same numbers.
        quick: a ten-second version with fewer trials and steps.
    """
    _checks.count("seed", seed, low=0)
    _writable(out)
    devices, cache = use_cpu_cores(), use_compilation_cache()
    import jax

    from .tour import tour as run

    print(f"{devices} {jax.default_backend()} devices, seed {seed}, compiled programs in {cache or 'memory only'}")
    command = shlex.join(["jaxopt-notes", "tour", "--seed", str(seed), *(["--quick"] if quick else [])])
    found = run(out, key=jax.random.key(seed), quick=quick, progress=True, command=command)
    if found.tables:
        print(f"\n{found}\n")
        print(f"tables   {', '.join(str(out / f'{name}.nc') for name in found.tables)}")
        print(f"figures  {out / 'figures'}")
        print(f"report   {out / 'report.html'}")
    return 130 if found.interrupted else 0


def report(
    tables: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TABLE ...")],
    out: Path = Path("report.html"),
    metric: str = "final_loss",
    direction: Literal["max", "min"] | None = None,
) -> int:
    """Write one self-contained HTML report about saved sweeps.

    Args:
        tables: stores of sweeps, NetCDF files, or folders of such files.
        out: the file to write.
        metric: what the best configuration is best in, such as test_accuracy.
        direction: whether the highest of that metric is best, max, or the lowest, min; by default from the table.
    """
    if not tables:
        raise ValueError("report needs a sweep: its store, or a NetCDF file such as runs/tour/adam.nc")
    paths = [path for given in tables for path in _saved(given)]
    from .report import report as write

    stems = [path.stem for path in paths]
    names = [path.stem if stems.count(path.stem) == 1 else str(path.with_suffix("")) for path in paths]
    loaded = {name: _load(path) for name, path in zip(names, paths, strict=True)}
    given = ["--out", str(out), *(["--metric", metric] if metric != "final_loss" else [])]
    command = ["jaxopt-notes", "report", *map(str, tables), *given, *(["--direction", direction] if direction else [])]
    print(write(loaded, out, metric=metric, direction=direction, command=shlex.join(command)))
    return 0


def _saved(path: Path) -> list[Path]:
    """The file or store itself, or of another folder its NetCDF files."""
    if path.is_file() or is_store(path):
        return [path]
    if not path.is_dir():
        near = _checks.nearest(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise FileNotFoundError(f"no file or folder {path}{near}")
    found = sorted(path.glob("*.nc"))
    if not found:
        raise FileNotFoundError(f"{path} is not a store of a sweep and holds no NetCDF file")
    return found


def _load(path: Path) -> Any:
    """The Dataset or DataTree of a file or a store."""
    return open_sweep(path) if path.is_dir() else load(path)


def study(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = "",
    all: bool = False,
    size: Literal["small", "full"] = "small",
    out: Path = Path("runs/studies"),
    seed: int = 0,
) -> int:
    """Run a demonstration of the lectures and print what it claims and measured; without a name, list them.

    Args:
        name: a study, such as saddles; without it the studies are listed.
        all: run every one, and write a page about all of them; what is finished already is not measured again.
        size: small takes seconds, its programs compiled quickly; full is what the book shows.
        out: folder for the tables (.nc) and the figures (.png).
        seed: seed of all randomness; the same seed gives the same numbers.
    """
    from .studies import STUDIES, load_study, run_studies
    from .studies._machinery.claim import in_words
    from .studies._machinery.judgement import answers
    from .studies._machinery.page import write_summary

    if name and all:
        raise ValueError(f"give the name of a study or --all, not both, got {name!r} and --all")
    if not name and not all:
        width = max(map(len, STUDIES))
        print("\n".join(f"{each:{width}s}  {entry.title}" for each, entry in STUDIES.items()))
        return 0
    if name:
        load_study(name)
    _writable(out)
    if size == "small":
        compile_quickly()
    use_cpu_cores()
    use_compilation_cache()
    results = []
    names = [name] if name else list(STUDIES)
    running = run_studies(out, names=names, seed=seed, size=size)
    for number, each in enumerate(names, 1):
        with _waiting(f"{each} ({number} of {len(names)})" if all else each):
            result = next(running)
        results.append(result)
        how = "measured before" if result.reused else f"{result.seconds:.1f} s"
        print(f"\n{result.name} ({how}): {STUDIES[result.name].title}")
        print(f"  {in_words(result.claims)}")
        for claim in result.claims:
            print(textwrap.fill(f"{claim}", 118, initial_indent="  ", subsequent_indent=" " * 6))
            for question, answer in answers(result.name, claim).items():
                print(textwrap.fill(f"{question} {answer}", 118, initial_indent=" " * 6, subsequent_indent=" " * 8))
        print(f"  {result.dataset}, {result.figure}", flush=True)
    if all:
        print(f"\npage {write_summary(results, out / 'index.html', seed=seed, size=size)}")
    if len(results) > 1:
        print(f"\n{len(results)} studies: {in_words([claim for result in results for claim in result.claims])}")
    return 0


def doctor() -> int:
    """Report what is installed: versions, devices, the folder of compiled programs, optional parts."""
    from importlib import metadata, util

    devices, cache = use_cpu_cores(), use_compilation_cache()
    import jax

    print(f"jaxopt-notes {__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    for name in ("jax", "jaxlib", "optax", "flax", "numpy", "scipy", "xarray"):
        print(f"  {name:8s} {metadata.version(name)}")
    print(f"sweeps run on {devices} {jax.default_backend()} devices: {', '.join(map(str, jax.local_devices()))}")
    chosen = chosen_precision()
    print(
        f"matrices are multiplied in {chosen or 'the default precision of the device'} in training, and in "
        f"{chosen or 'full float32'} in verdicts and eigenvalues"
    )
    print(
        f"compiled programs are kept in {cache}"
        if cache
        else "compiled programs are not kept: no folder can be written"
    )
    extras = {
        "matplotlib": "plots",
        "jinja2": "plots",
        "plotly": "plotly",
        "sklearn": "data",
        "equinox": "equinox",
        "flint": "proof",
    }
    for module, extra in extras.items():
        found = util.find_spec(module) is not None
        print(f"  {module:12s} {'installed' if found else f'missing: pip install jaxopt-notes[{extra}]'}")
    return 0


@contextlib.contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Show on standard error what is measured, and in a terminal for how long."""
    began, done = time.monotonic(), threading.Event()
    terminal = sys.stderr.isatty()

    def count() -> None:
        while not done.wait(1.0):
            print(f"\rmeasuring {what} {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)

    print(f"measuring {what} ...", end="" if terminal else "\n", file=sys.stderr, flush=True)
    counter = threading.Thread(target=count, daemon=True)
    if terminal:
        counter.start()
    try:
        yield
    finally:
        done.set()
        if terminal:
            counter.join()
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _writable(folder: Path) -> None:
    """Fail now rather than after the sweeps."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out must be a folder that can be written, got {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ValueError(f"out must be a folder that can be written, got {folder}")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an error of the user's is one line on standard error and exit status 2."""
    try:
        return tyro.extras.subcommand_cli_from_dict(
            {
                **{"tour": tour, "sweep": sweep, "race": race, "classify": classify, "prove": prove, "study": study},
                **{"explore": explore, "report": report, "doctor": doctor},
            },
            prog="jaxopt-notes",
            description="Functional optimization in JAX: vmapped sweeps, verdicts and proofs about critical points.",
            args=arguments,
        )
    except (ValueError, TypeError, NotImplementedError, OSError, ModuleNotFoundError) as error:
        if os.environ.get("JAXOPT_NOTES_TRACEBACK"):
            raise
        print(f"jaxopt-notes: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxopt-notes: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
