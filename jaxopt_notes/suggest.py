"""`suggest_learning_rate`: a range test with every rate from the same start, and the stability bound beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Key

from . import _checks
from ._contract import evaluation_key, in_one_form, loss_key
from ._shown import readable
from .curvature import sharpness, stability_bound
from .minimize import Status
from .optimizers import OPTIMIZERS, RULES
from .optimizers._facts import RATES, Without
from .problems import Problem
from .sweeps import grid, seed_keys, sweep

if TYPE_CHECKING:
    import xarray

__all__ = [
    "Suggestion",
    "suggest_learning_rate",
]

GOOD = 0.9  # share of the best fall that a recommended rate reaches


@readable
@dataclass(frozen=True)
class Suggestion:
    """The outcome of a range test.

    Attributes:
        curve: the Dataset of the sweep: `final_loss` by `learning_rate` and `seed`, with the loss curves.
        interval: (low, high), the unbroken range around the best rate in which the loss falls by at least 90 % of the
            best fall; None when no rate lowered the loss.
        best: the rate of the lowest median loss; None when no rate lowered the loss.
        sharpness: the largest Hessian eigenvalue at the first seed's start, on the full data.
        stable_below: the largest stable rate on a quadratic of that sharpness; NaN for methods that rescale the
            gradient, whose bound depends on their history.
        first_failure: the smallest rate above the best at which half of the seeds or more failed; infinite when none.
    """

    curve: xarray.Dataset
    interval: tuple[float, float] | None
    best: float | None
    sharpness: float
    stable_below: float
    first_failure: float

    def __str__(self) -> str:
        rates = self.curve.learning_rate.values
        tested = f"{len(rates)} rates from {rates[0]:.2g} to {rates[-1]:.2g}, {self.curve.sizes['step'] - 1} steps"
        if self.best is None or self.interval is None:
            return f"no rate lowered the loss ({tested})"
        low, high = (f"{end:.2g}" for end in self.interval)
        if self.interval[0] == self.interval[1]:
            lines = [f"learning rate {self.best:.2g} ({tested})", f"no other rate reaches {GOOD:.0%} of its fall"]
        else:
            lines = [f"learning rate {low} to {high}, best {self.best:.2g} ({tested})"]
        if self.best == rates[0] or self.best == rates[-1]:
            lines.append(
                f"the best is the {'smallest' if self.best == rates[0] else 'largest'} that was tested: go further"
            )
        if np.isfinite(self.first_failure):
            lines.append(f"fails from {self.first_failure:.2g}")
        if np.isfinite(self.stable_below):
            lines.append(f"a quadratic of sharpness {self.sharpness:.3g} is stable below {self.stable_below:.2g}")
        return "\n".join(lines)

    def _curve(self) -> tuple[np.ndarray, str]:
        end, start = (
            self.curve[name].transpose("seed", "learning_rate").values for name in ("final_loss", "initial_loss")
        )
        return np.minimum(end, start), "final loss by learning rate, or the initial loss where that is lower"


def suggest_learning_rate(
    problem: Problem,
    optimizer: Callable[..., optax.GradientTransformation],
    *,
    low: float | None = None,
    high: float | None = None,
    rates: int = 49,
    steps: int = 100,
    batch_size: int | None = None,
    seeds: int = 1,
    key: Key[Array, ""] | None = None,
    progress: bool = False,
    **numbers: float,
) -> Suggestion:
    """Try many learning rates at once from the same start, and recommend an interval.

    Unlike a ramp, in which every rate starts where the one before ended, each rate has a run of its own, all of them
    lanes of one compiled program. A short test favours quick rates: a rate for a long run is rather at the lower end.

    Arguments:
        problem: what to minimise.
        optimizer: a factory with an argument `learning_rate`, such as `jon.momentum`.
        low, high: > 0, the smallest and largest rate, spaced evenly in the logarithm. None is the end of what is worth
            trying with this optimizer: 1e-5 or 10 for most, and for any that is none of ours.
        rates: how many, at least 3.
        steps: steps of every run.
        batch_size: examples per step; the full data when None.
        seeds: starts and data orders to take the median over.
        key: root of all randomness; `jax.random.key(0)` when None.
        progress: show a progress bar.
        numbers: other hyperparameters of the optimizer, such as `beta=0.9`.

    Returns:
        A `Suggestion`; print it.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> found = jon.suggest_learning_rate(valley, jon.gradient_descent, low=1e-3, high=1.0, rates=31)
        >>> round(found.stable_below, 3), found.best < 0.1 < found.first_failure
        (0.1, True)

    Source: the idea of a range test Smith, 2017; the bound Polyak, 1964.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a jaxopt_notes.Problem, got {problem!r}")
    rule = next((rule for name, rule in RULES.items() if optimizer is OPTIMIZERS[name]), None)
    tried = (rule and rule.hyperparameters["learning_rate"].tried) or RATES
    low, high = (end if given is None else given for given, end in zip((low, high), tried, strict=True))
    low, high = (float(_checks.number(name, value, low=0.0)) for name, value in (("low", low), ("high", high)))
    if not 0 < low < high:
        raise ValueError(f"low and high must satisfy 0 < low < high, got low={low} and high={high}")
    rates, progress = _checks.count("rates", rates, low=3), _checks.boolean("progress", progress)
    root = jax.random.key(0) if key is None else _checks.key("key", key)
    axes = {"learning_rate": np.geomspace(low, high, rates), **numbers}
    curve = sweep(
        problem, optimizer, grid(**axes), seeds=seeds, steps=steps, batch_size=batch_size, key=root, progress=progress
    ).squeeze(list(numbers), drop=True)
    keys, own = seed_keys(root, 0), {name: value for name, value in numbers.items() if name in problem.numbers}
    start, aux = problem.start(keys[0], own)
    known = {**own, "key": evaluation_key(loss_key(keys[1]))}
    in_a_step = in_one_form(problem.loss, train=True)
    batch = () if problem.data is None else (problem.data,)
    top = float(sharpness(lambda params, *batch: in_a_step(params, aux, known, *batch)[0], start, *batch))
    bound = np.nan
    if rule is not None and rule.divisor is None and not isinstance(rule.inverse_limit, Without):
        of_optimizer = {name: value for name, value in numbers.items() if name not in own}
        bound = float(stability_bound(rule.name, top, **of_optimizer))
    return _judged(curve, top, bound)


def _judged(curve: xarray.Dataset, top: float, bound: float) -> Suggestion:
    values: Any = curve.learning_rate.values
    failed = (curve.status >= Status.NON_FINITE).mean("seed").values >= 0.5
    final = np.where(failed, np.inf, curve.final_loss.median("seed").values)
    start = float(curve.initial_loss.median())
    best = int(np.argmin(final))
    above = values[failed & (values > values[best])]  # a tiny rate may end no better than a constant, which is no limit
    first_failure = float(above.min(initial=np.inf))
    if not final[best] < start:
        return Suggestion(curve, None, None, top, bound, first_failure)
    good = start - final >= GOOD * (start - final[best])
    first = last = best
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(values) and good[last + 1]:  # a failed rate is never good, its loss counts as infinite
        last += 1
    return Suggestion(
        curve, (float(values[first]), float(values[last])), float(values[best]), top, bound, first_failure
    )
