"""Paths that move: a plane with runs on it, step by step, as a GIF or a film."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import _checks, _files
from . import _style as style
from . import _surfaces as surfaces


def animate(
    table: xr.Dataset,
    paths: Mapping[str, xr.Dataset],
    file: str | os.PathLike[str],
    ax: Axes | None = None,
    *,
    frames: int = 60,
    fps: int = 15,
    **look: Any,
) -> Axes:
    """Write a GIF or MP4 of paths that grow over a plane; all take their steps at the same time.

    Arguments:
        table, look: as in `contour`.
        paths: name to Dataset with `x` and `y`, as `landscape.project` gives.
        file: where to write, ending in .gif, or in .mp4, which needs the program ffmpeg; whole or not at all.
        ax: where to draw; None makes a figure.
        frames: at most this many, spread evenly over the longest path.
        fps: frames per second.

    Returns:
        The Axes, as they are in the last frame.

    Raises:
        TypeError, ValueError: as `contour`; no path, or another kind of file. FileNotFoundError: ffmpeg is missing.

    Example:
        >>> import tempfile
        >>> x = np.linspace(-1, 1, 5)
        >>> table = xr.Dataset({"loss": (("y", "x"), x[:, None] ** 2 + x**2)}, {"x": x, "y": x})
        >>> path = xr.Dataset({"x": ("step", [1.0, 0.0]), "y": ("step", [1.0, 0.0])})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = animate(table, {"adam": path}, f"{folder}/run.gif")
        ...     Path(f"{folder}/run.gif").read_bytes()[:6]
        b'GIF89a'
    """
    target = Path(file)
    kind = target.suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise ValueError(f"file must end in .gif or .mp4, got {target.name!r}")
    if kind == ".mp4" and not FFMpegWriter.isAvailable():
        raise FileNotFoundError(
            f"{target.name} needs the program ffmpeg, which is not on the PATH (apt-get install ffmpeg, or conda "
            f"install ffmpeg); a .gif needs nothing"
        )
    if not paths:
        raise ValueError("paths must hold at least one path, got none")
    _checks.count("fps", fps)
    ax = surfaces.contour(table, ax, paths=paths, **look)
    lengths = {name: path.sizes["step"] for name, path in paths.items()}
    longest = max(lengths.values())
    steps = np.unique(np.linspace(0, longest - 1, min(_checks.count("frames", frames), longest)).round().astype(int))
    grown = [line for line in ax.lines if line.get_gid() == "path"]
    whole = [tuple(np.asarray(data, float) for data in line.get_data()) for line in grown]
    ends = [line for line in ax.lines if line.get_gid() in ("end", "left")]
    heads = [
        ax.plot([], [], color=style.style_of(name).color, marker="D", markeredgecolor="white", markersize=7)[0]
        for name in lengths
    ]
    counter = ax.annotate(
        "", (0.02, 0.02), xycoords="axes fraction", fontsize=9, bbox={"fc": "white", "alpha": 0.8, "ec": "none"}
    )

    def draw(step: int) -> list[Any]:
        for line, head, (x, y) in zip(grown, heads, whole, strict=True):
            line.set_data(x[: step + 1], y[: step + 1])
            head.set_data(x[min(step, len(x) - 1) :][:1], y[min(step, len(y) - 1) :][:1])
        counter.set_text(f"step {step}")
        return [*grown, *heads, counter]

    for end in ends:
        end.set_visible(False)
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    animation = FuncAnimation(figure, draw, frames=[int(step) for step in steps], blit=False)
    _files.write_whole(target, lambda temporary: _save(animation, temporary, kind, fps))
    for artist in (*heads, counter):
        artist.remove()
    for end in ends:
        end.set_visible(True)
    for line, (x, y) in zip(grown, whole, strict=True):
        line.set_data(x, y)
    return ax


def _save(animation: FuncAnimation, temporary: Path, kind: str, fps: int) -> None:
    """Pillow and ffmpeg choose the format by the file's ending."""
    named = temporary.with_name(f"{temporary.name}{kind}")
    # Players want yuv420p, and that an even number of pixels along each side.
    even = ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"]
    writer: AbstractMovieWriter = PillowWriter(fps=fps) if kind == ".gif" else FFMpegWriter(fps=fps, extra_args=even)
    try:
        animation.save(named, writer=writer, dpi=80)
        named.replace(temporary)
    finally:
        named.unlink(missing_ok=True)
