"""Name a loss curve, with the numbers that justify the name.

The names are those of the lecture picture: a *low* rate still falls at the end, a *good* one is done, a *high* one is
quick and then stays above what can be reached, a *diverging* one ends above its start, on a *plateau* nothing falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from . import _checks
from ._shown import readable
from .minimize import Run, Status

if TYPE_CHECKING:
    import xarray

__all__ = [
    "Diagnosis",
    "diagnose",
]

NAMES = ("low", "good", "high", "diverging", "plateau", "not run", "pruned", "interrupted")
BLOCKS = 20  # a curve is judged by the medians of as many stretches, so that a minibatch's noise does not decide
NEAR = 0.05  # share of the reachable fall that a good end may miss
FALLING = 0.1  # share of the fall in the last quarter from which a curve still falls; a straight line has 0.25
FLAT = 0.05  # share of the start that a plateau may lose
BOUNCING = 0.05  # spread of the last quarter, as a share of the start, from which a level end is a bounce
CERTAIN = 2.0  # standard errors from which a difference is more than the noise of the batches

_ADVICE = {
    "low": "it still falls at the end: raise the learning rate, or take more steps.",
    "good": "it fell early and is done.",
    "high": "it stays above what can be reached: lower the learning rate, or let it decay.",
    "diverging": "it ends above its start: lower the learning rate, well below the stable range.",
    "plateau": "nothing falls. Raise the learning rate; if no rate helps, the gradient is small here: try momentum, "
    "another start or another parameterisation.",
    "not run": "the sweep stopped before this trial.",
    "pruned": "the sweep stopped this trial early, because others did better.",
    "interrupted": "the sweep was stopped while this trial ran.",
}


@readable
@dataclass(frozen=True)
class Diagnosis:
    """What a loss curve looks like, and by which numbers.

    Attributes:
        name: "low", "good", "high", "diverging" or "plateau"; "not run" for a trial that a sweep did not reach,
            "pruned" for one that it stopped, "interrupted" for one that Ctrl-C did.
        fall: share of the start's excess over `floor` that was gone at the end; negative when it rose.
        early, late: shares of the fall that the median of the first quarter shows, and that the last quarter adds.
        slope: relative change of the loss per step from the third to the last quarter.
        closing: share of the excess over the reference (or `floor`) that the last quarter took away.
        increases: share of the twenty stretches of the curve whose median is above the one before.
        bounce: spread (interquartile) of the losses of the last quarter, as a share of the start.
        noise: standard error of `late` by the noise of the batches, as a share of the fall; 0 for a curve of all data.
        oscillation: share of steps after which the move along the top eigenvector changed its sign; NaN if not given.
        learning_rate: the rate at the end; NaN when unknown.
        stable_below: the predicted largest stable rate; NaN when not given.
        reference: the loss that can be reached; NaN when not given.
    """

    name: str
    fall: float
    early: float
    late: float
    slope: float
    closing: float
    increases: float
    bounce: float
    noise: float
    oscillation: float
    learning_rate: float
    stable_below: float
    reference: float

    @property
    def advice(self) -> str:
        """What to try next."""
        return _ADVICE[self.name]

    def __str__(self) -> str:
        within = f" +- {_percent(self.noise)}" if self.noise else ""
        lines = [
            f"{self.name}: {self.advice}",
            f"fall: {_percent(self.fall)} of the start, {_percent(self.early)} of it in the first quarter, "
            f"{_percent(self.late)}{within} in the last",
            f"at the end: slope {self.slope + 0.0:.2g} a step, bounce {_percent(self.bounce)}",
            f"stretches that rise: {self.increases:.0%}",
        ]
        if np.isfinite(self.oscillation):
            lines.append(f"the move along the top eigenvector changes its sign after {self.oscillation:.0%} of steps")
        if np.isfinite(self.stable_below):
            share = self.learning_rate / self.stable_below
            limit = f"the predicted stable limit {self.stable_below:.3g}"
            lines.append(f"learning rate {self.learning_rate:.3g}, {_percent(share)} of {limit}")
        return "\n".join(lines)


def _percent(share: float) -> str:
    """A share in percent: two digits if it is small, no digits after the point if it is not, and no "-0"."""
    percent = 100 * share
    if abs(percent) < 0.005:
        return "0%"
    return f"{percent:.2g}%" if abs(percent) < 10 else f"{percent:,.0f}%"


def diagnose(
    run: Run | xarray.Dataset,
    *,
    floor: float = 0.0,
    reference: float | None = None,
    stable_below: float | None = None,
    top_eigenvector: PyTree = None,
) -> Diagnosis | xarray.Dataset:
    """Name a loss curve low, good, high, diverging or plateau.

    In this order, with L_0 the first loss, L_end that of the last twentieth of the curve (its median), L* the reference
    or else the floor. Where the curve is that of batches, L_0 and L_end are the run's losses on all data, a fall counts
    from two standard errors of the noise on, and a bounce is no sign, as it may be that of the batches.

        diverging   the run failed by numbers, or L_end is above L_0 by more than the last quarter bounces
        good        converged, or L_end - L* <= 5 % of L_0 - L*
        plateau     stalled, or L_0 - L_end < 5 % of L_0 - floor; low if it is a straight line downwards
        low         the last quarter brought 10 % of the fall, or closed 10 % of what was left to L*, and nothing points
                    to the edge: no bounce with rises, no flips along the top eigenvector, rate <= 0.9 stable_below
        high        at the edge, or level above the reference, or bouncing by more than 5 % of the start
        good        otherwise: level, and no sign of a lower loss

    Of a sweep every trial is named, and the reference is the lowest median final loss of all configurations. What ends
    above it, and does not diverge, is low at a smaller `learning_rate` than the best one of the same other
    hyperparameters. At a larger one it is high, or a plateau.

    Arguments:
        run: a `Run` of one curve of at least 8 entries, or the Dataset of a sweep.
        floor: the least possible loss, in units of the loss.
        reference: the loss that can be reached, if known.
        stable_below: the largest stable learning rate, as from `stability_bound(name, sharpness(...), ...)`; reported
            beside the rate.
        top_eigenvector: a pytree like the parameters, the Hessian's top eigenvector; needs a run with
            `record_params=True` and `every=1`. Its sign changes are reported: gradient descent flips where the rate is
            above 1/lambda.

    Returns:
        A `Diagnosis`; of a Dataset, a Dataset of the trials with variables `diagnosis` (text) and the same numbers.

    Raises:
        TypeError, ValueError: neither a run nor a sweep, a tree of several families, a batch of runs, too few entries,
            or no parameter path.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> run = jon.minimize(valley.loss, jnp.ones(2), jon.gradient_descent(1e-4), steps=100)
        >>> jon.diagnose(run).name
        'low'

    Source: the picture of loss curves by learning rate, CS 182 lecture 4 and CS 231n notes.
    """
    _checks.one_table("diagnose", run)
    _checks.not_compiled("diagnose", run)
    floor = float(_checks.scalar("floor", floor))
    reference = None if reference is None else float(_checks.scalar("reference", reference))
    stable_below = None if stable_below is None else float(_checks.scalar("stable_below", stable_below, low=0.0))
    if hasattr(run, "data_vars"):
        if top_eigenvector is not None:
            raise TypeError("top_eigenvector needs a run with its path of parameters; a table of a sweep has none")
        return _diagnose_table(run, floor, reference, stable_below)  # type: ignore[arg-type]
    if not isinstance(run, Run):
        raise TypeError(f"run must be a Run from minimize or the Dataset of a sweep, got {type(run).__name__}")
    if np.ndim(run.loss) != 1:
        raise ValueError(
            f"run must hold one curve, got losses of shape {np.shape(run.loss)}; take one lane of the batch"
        )
    oscillation = np.nan if top_eigenvector is None else _sign_changes(run, top_eigenvector)
    return _named(
        np.asarray(run.loss, float),
        int(run.status),
        floor,
        np.nan if reference is None else reference,
        oscillation=oscillation,
        ends=(float(run.initial_loss), float(run.final_loss)),
        learning_rate=float(run.learning_rate[-1]),
        stable_below=np.nan if stable_below is None else stable_below,
    )


def _named(
    loss: Float[np.ndarray, " entries"],
    status: int,
    floor: float,
    reference: float,
    *,
    ends: tuple[float, float],
    **known: float,
) -> Diagnosis:
    if loss.size < 8:
        raise ValueError(f"a curve needs at least 8 entries to be named, got {loss.size}; record more often (every=)")
    of_batches = np.isfinite(ends).all() and not np.isclose(ends[1], loss[-1], rtol=1e-5)
    numbers = _measured(loss, floor, reference, ends if of_batches else None)
    start, end, rise = numbers.pop("start"), numbers.pop("end"), numbers.pop("rise")
    reachable = reference if np.isfinite(reference) else floor
    falls = max(numbers["late"], numbers["closing"]) >= FALLING
    still_falls = falls and numbers["late"] >= CERTAIN * numbers["noise"]
    bounces = numbers["bounce"] > BOUNCING and not of_batches
    at_the_edge = (
        known["oscillation"] > 0.5
        or known["learning_rate"] > 0.9 * known["stable_below"]
        or (bounces and numbers["increases"] > 0.25)
    )
    if status == Status.NOT_RUN:
        name = "not run"
    elif status == Status.PRUNED:
        name = "pruned"
    elif status == Status.INTERRUPTED:
        name = "interrupted"
    elif status in (Status.NON_FINITE, Status.DIVERGED) or rise > 0:
        name = "diverging"
    elif status == Status.CONVERGED or (status != Status.STALLED and end - reachable <= NEAR * (start - reachable)):
        name = "good"
    elif status == Status.STALLED or numbers["fall"] < FLAT:
        name = "low" if _straight(numbers) else "plateau"
    elif still_falls:
        name = "high" if at_the_edge else "low"
    elif bounces or np.isfinite(reference):
        name = "high"
    else:
        name = "good"
    return Diagnosis(name, **numbers, **known, reference=reference)


def _straight(numbers: dict[str, float]) -> bool:
    """A small fall that is no plateau: the whole curve is a straight line downwards, as when the rate is tiny."""
    return numbers["increases"] <= 0.25 and 0.1 < numbers["early"] < 0.5 and 0.1 < numbers["late"] < 0.5


def _measured(
    loss: Float[np.ndarray, " entries"], floor: float, reference: float, ends: tuple[float, float] | None
) -> dict[str, float]:
    """The numbers of a curve; `ends` are the losses on all data before and after where the curve is that of batches."""
    blocks = np.array([np.median(part) for part in np.array_split(loss, min(BLOCKS, loss.size))])
    quarters = [np.median(part) for part in np.array_split(loss, 4)]
    last = loss[-(loss.size // 4) :]
    start, end = ends or (loss[0], blocks[-1])
    excess = _positive(start - floor, abs(start))
    lately = quarters[2] - quarters[3]
    whole = start - end if start != end else np.inf
    rounding = 4 * np.finfo(np.float32).eps * np.abs(blocks[:-1])
    bounce = np.subtract(*np.percentile(last, [75, 25]))
    # Of normal noise: its deviation from the median step between entries, and from that the error of a median of n.
    error = 1.25 * np.median(np.abs(np.diff(last))) / (0.6745 * np.sqrt(2 * last.size)) if ends else 0.0
    measured = {
        "start": start,
        "end": end,
        "rise": np.median(last) - CERTAIN * error - start if ends else end - start - bounce,
        "fall": (start - end) / excess,
        "early": (start - quarters[0]) / whole,
        "late": lately / whole,
        "closing": lately / _positive(quarters[2] - (reference if np.isfinite(reference) else floor), excess),
        "slope": -lately / _positive(abs(quarters[2]), 1.0) / (loss.size / 4),
        "increases": np.mean(np.diff(blocks) > rounding),
        "bounce": bounce / excess,
        "noise": np.sqrt(2) * error / abs(whole),
    }
    return {name: float(value) for name, value in measured.items()}


def _positive(value: Any, otherwise: Any) -> Any:
    return value if value > 0 else (otherwise if otherwise > 0 else 1.0)


def _sign_changes(run: Run, vector: PyTree) -> float:
    """Share of steps after which the move along `vector` changes its sign, moves within rounding left out."""
    if run.params_path is None:
        raise ValueError("top_eigenvector needs the path of the parameters: run with record_params=True")
    path = jax.tree.leaves(run.params_path)
    direction = jax.tree.leaves(vector)
    if [leaf.shape[1:] for leaf in path] != [np.shape(leaf) for leaf in direction]:
        raise ValueError("top_eigenvector must be a pytree like the parameters, with the same shapes")
    along = sum(_along(steps, part) for steps, part in zip(path, direction, strict=True))
    moves = np.diff(along)
    moves = moves[np.abs(moves) > 8 * np.finfo(np.float32).eps * np.abs(along).max()]
    return float(np.mean(moves[1:] * moves[:-1] < 0)) if len(moves) > 1 else np.nan


def _along(steps: Array, part: Any) -> Float[np.ndarray, " entries"]:
    flat = np.asarray(steps, float).reshape(len(steps), -1)
    return flat @ np.asarray(part, float).reshape(-1)


def _held(curve: np.ndarray) -> np.ndarray:
    """A curve that ends early, that of a pruned trial, with its last value from there on."""
    known = np.flatnonzero(~np.isnan(curve))
    return curve if len(known) == 0 else curve[np.minimum(np.arange(len(curve)), known[-1])]


def _diagnose_table(
    table: xarray.Dataset, floor: float, reference: float | None, stable_below: float | None
) -> xarray.Dataset:
    missing = [name for name in ("loss", "final_loss", "status") if name not in table]
    if missing:
        raise ValueError(f"the Dataset must be that of a sweep; it has no {', '.join(missing)}")
    import xarray

    trials = table.status.dims
    ended = table.final_loss.where((table.status != Status.NOT_RUN) & (table.status < Status.NON_FINITE))
    if reference is None:
        reference = float(ended.median("seed").min()) if "seed" in trials else float(ended.min())
    curves = table.loss.transpose(*trials, "step").values.reshape(-1, table.sizes["step"])
    codes = table.status.values.ravel()
    finals = table.final_loss.transpose(*trials).values.ravel()
    starts = (
        (table.initial_loss if "initial_loss" in table else table.final_loss * np.nan).transpose(*trials).values.ravel()
    )
    rates = table.learning_rate if "learning_rate" in table.coords else np.nan
    rates = (xarray.zeros_like(table.status, float) + rates).transpose(*trials).values.ravel()
    limit = np.nan if stable_below is None else stable_below
    named: list[Diagnosis] = [
        _named(
            _held(curve), int(code), floor, reference,
            ends=(float(first), float(final)), oscillation=np.nan, learning_rate=float(rate), stable_below=limit,
        )
        for curve, code, rate, first, final in zip(curves, codes, rates, starts, finals, strict=True)
    ]  # fmt: skip
    shape = table.status.shape
    numbers = ("fall", "early", "late", "closing", "slope", "increases", "bounce", "noise")
    columns = {name: (trials, np.array([getattr(one, name) for one in named]).reshape(shape)) for name in numbers}
    columns["diagnosis"] = (trials, np.array([one.name for one in named], dtype=object).reshape(shape))
    coordinates = {name: table.coords[name] for name in trials}
    out = xarray.Dataset(columns, coordinates, {"reference": reference, "floor": floor})
    return _sided(out, ended) if "learning_rate" in trials else out


def _sided(named: xarray.Dataset, ended: xarray.DataArray) -> xarray.Dataset:
    """Use the other rates to decide whether a curve that ends too high has too small or too large a rate."""
    typical = ended.median("seed") if "seed" in ended.dims else ended
    best = typical.fillna(np.inf).idxmin("learning_rate")
    missed = named.diagnosis.isin(["low", "high", "plateau"])
    too_small, too_large = (missed & side for side in (named.learning_rate < best, named.learning_rate > best))
    sided = named.diagnosis.where(~too_small, "low")
    return named.assign(diagnosis=sided.where(~(too_large & (sided == "low")), "high").transpose(*named.diagnosis.dims))
