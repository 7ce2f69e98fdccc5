"""Round numbers along an axis, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, LogLocator, MaxNLocator, NullFormatter


def around(value: float) -> tuple[float, float]:
    """An interval around a constant, a tenth of its size to each side."""
    half = abs(value) / 10 if abs(value) > 1e-290 else 0.5
    return value - half, value + half


def tick_texts(ticks: Sequence[float] | np.ndarray) -> list[str]:
    """Numbers in as few digits as distinguish them, at least three."""
    for digits in range(3, 18):
        texts = [f"{tick:.{digits}g}" for tick in ticks]
        if len(set(texts)) == len(set(map(float, ticks))):
            break
    return texts


def log_ticks(low: float, high: float) -> np.ndarray:
    """Round numbers for a logarithmic axis: powers of ten, with 3 times them or 2 and 5 times them where there are few.

    Arguments:
        low, high: the ends of the axis, above 0.

    Returns:
        At least two and about at most ten numbers, ascending; the ends themselves where no two round ones lie between.
        Less than a decade with fewer than three of them gets evenly spaced ones.

    Example:
        >>> log_ticks(0.3, 4.0).tolist()
        [0.5, 1.0, 2.0]
        >>> log_ticks(0.03, 4.0).tolist()
        [0.03, 0.1, 0.3, 1.0, 3.0]
        >>> log_ticks(1e-6, 1e4).tolist()
        [1e-06, 0.0001, 0.01, 1.0, 100.0, 10000.0]
        >>> log_ticks(0.88, 1.21).round(3).tolist()
        [0.9, 1.0, 1.1, 1.2]
    """
    if not high > low:
        return np.array([low, high])
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    width = np.log10(high) - np.log10(low)
    steps = (1, 2, 5) if width < 1.3 else (1, 3) if width < 3 else (1,)
    every = max(1, round(width / 5)) if width >= 3 else 1
    decades = decades[decades >= np.log10(low) - 1e-6] if every > 1 else decades
    ticks = np.array([float(f"{step}e{int(decade)}") for decade in decades[::every] for step in steps])
    if width < 1 and np.sum((ticks >= low) & (ticks <= high)) < 3:
        ticks = np.asarray(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high))
    inside = ticks[(ticks >= low * (1 - 1e-6)) & (ticks <= high * (1 + 1e-6))]
    return inside if len(inside) > 1 else np.array([low, high])


def log_texts(ticks: Sequence[float] | np.ndarray) -> list[str]:
    r"""Numbers between 0.001 and 10,000 as they are; where one lies beyond, all as powers of ten.

    Arguments:
        ticks: numbers above 0, as `log_ticks` gives.

    Returns:
        Their texts, with mathtext for powers.

    Example:
        >>> log_texts([0.1, 1, 1000])
        ['0.1', '1', '1,000']
        >>> log_texts([1e-6, 3e-6])
        ['$10^{-6}$', '$3{\\times}10^{-6}$']
    """
    if all(1e-3 <= tick <= 1e4 for tick in ticks):
        digits = next((n for n in range(6, 17) if len({f"{tick:.{n}g}" for tick in ticks}) == len(set(ticks))), 17)
        return [f"{tick:,.{digits}g}" for tick in ticks]
    digits = next((n for n in range(3, 17) if len({f"{tick:.{n}e}" for tick in ticks}) == len(set(ticks))), 16)
    parts = [f"{tick:.{digits}e}".split("e") for tick in ticks]
    factors = ["" if float(part) == 1 else rf"{float(part):.{digits + 1}g}{{\times}}" for part, _ in parts]
    return [f"${factor}10^{{{int(power)}}}$" for factor, (_, power) in zip(factors, parts, strict=True)]


class _RoundLocator(LogLocator):
    """Round numbers, whatever the limits are when the axis is drawn."""

    def __call__(self) -> list[float]:
        return self.tick_values(*self.axis.get_view_interval())  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        low, high = sorted((vmin, vmax))
        return log_ticks(low, high).tolist() if low > 0 else []


class _RoundFormatter(Formatter):
    """The texts of `log_texts`."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return log_texts([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        return log_texts(values)


def round_ticks(*axes: Axes) -> None:
    """Give the logarithmic axes round numbers as ticks, enough to read a value, in place of powers of ten alone.

    Arguments:
        axes: those of a figure. Linear axes, and those whose ticks were set one by one, stay as they are.

    Returns:
        None.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> _ = ax.loglog([1, 2, 4], [0.2, 0.3, 0.6])
        >>> round_ticks(ax)
        >>> ax.set_ylim(0.15, 0.7)
        (0.15, 0.7)
        >>> [round(float(tick), 3) for tick in ax.get_yticks()]
        [0.2, 0.4, 0.6]
    """
    for axis in (each for ax in axes for each in (ax.xaxis, ax.yaxis)):
        if axis.get_scale() == "log" and type(axis.get_major_locator()) is LogLocator:
            axis.set_major_locator(_RoundLocator())
            axis.set_major_formatter(_RoundFormatter())
            axis.set_minor_formatter(NullFormatter())
