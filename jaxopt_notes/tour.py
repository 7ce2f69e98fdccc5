"""The main job, end to end: sweep three optimizers on real data, find the winners, judge their end points, report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from . import _checks, problems
from ._hoist import Program, hoist
from ._kept import PerProgram
from .curvature import CriticalPoint, classify, preconditioner, sharpness, stability_bound
from .minibatches import batch_shapes, gather, indices, reshuffle, steps_per_epoch
from .minimize import UNFINISHED, Status
from .optimizers import OPTIMIZERS, RULES
from .problems import Problem
from .report import Section, report
from .sweeps import Best, best, end_point, grid, save, seed_keys, sweep

if TYPE_CHECKING:
    import xarray

OPTIMIZERS_SHOWN = ("momentum", "nesterov", "adam")
BATCH_SIZE = 64


@dataclass
class Tour:
    """What `tour` found; `print` it for the tables in words.

    Attributes:
        tables: optimizer -> the table of its sweep.
        winners: optimizer -> its best configuration.
        failures: one row per optimizer and second hyperparameter: where the learning rate begins to fail, and the
            stability bound at initialisation.
        verdicts: optimizer -> the verdict at the winner's end point.
        end_seeds: optimizer -> the seed of that end point, the one with the median final loss.
        folder: where everything was written.
        interrupted: whether Ctrl-C ended it early.
    """

    folder: Path
    tables: dict[str, xarray.Dataset] = field(default_factory=dict)
    winners: dict[str, Best] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    verdicts: dict[str, CriticalPoint] = field(default_factory=dict)
    end_seeds: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False

    def __str__(self) -> str:
        parts = ["The best of each optimizer", text_table(self._best_rows()), ""]
        parts += [_FAILURES_TITLE, text_table(self.failures), _FAILURES_NOTE, ""]
        parts += [f"The end point of each winner\n{_END_NOTE}"]
        for name, verdict in self.verdicts.items():
            first, *others = str(verdict).splitlines()
            parts += [f"  {name} (seed {self.end_seeds[name]}): {first}", *(f"    {line}" for line in others)]
        parts += ["", *(f"{name}: warning: {edge}" for name, winner in self.winners.items() for edge in winner.edges)]
        if self.interrupted:
            parts.append("Interrupted: the trials that did not finish are marked, and left out of everything above.")
        return "\n".join(parts).rstrip()

    def _best_rows(self) -> list[dict[str, Any]]:
        rows = []
        for name, winner in self.winners.items():
            table = self.tables[name]
            accuracy = table.test_accuracy.sel(winner.config).median("seed")
            rows.append(
                {
                    "optimizer": name,
                    "trials": int((table.status != Status.NOT_RUN).sum()),
                    "programs": table.attrs["segment_programs"],
                    "best": ", ".join(f"{axis}={value:.3g}" for axis, value in winner.config.items()),
                    "median final loss": f"{winner.median:.3g}",
                    "interval": f"{winner.interval[0]:.3g} to {winner.interval[1]:.3g} ({winner.coverage:.1%})",
                    "ties": len(winner.ties),
                    "test accuracy": f"{float(accuracy):.1%}",
                    "failed trials": f"{winner.trials_failed:.0%}",
                    "seconds": table.attrs["wall_seconds"],
                }
            )
        return rows


_FAILURES_TITLE = "Where the learning rate begins to fail, beside the stability bound at initialisation"
_FAILURES_NOTE = (
    "fails from: the lowest learning rate from which on at least half of the seeds fail (non-finite, diverged: above "
    "the initial loss, or stalled: no better than a constant predictor). stability bound: quadratic theory, from the "
    "full-data Hessian at initialisation, median over seeds; for adam preconditioned by its divisor after one epoch of "
    "minibatch gradients there. Training leaves the quadratic, so the two need not agree."
)
_END_NOTE = "Whether it is critical, and what the curvature is there, are two separate statements."


def tour(
    out: str | os.PathLike[str] = "runs/tour",
    *,
    key: Key[Array, ""],
    quick: bool = False,
    progress: bool = True,
    command: str = "",
) -> Tour:
    """Sweep momentum, Nesterov and Adam on handwritten digits and write tables, figures and a report.

    312 trials per optimizer in one compiled program each: 13 learning rates up to 10, so that failure is seen, times 3
    values of beta or b1, times 8 seeds, 1,000 steps of 64 examples. The same key gives the same numbers.

    Arguments:
        out: the folder to write: `<optimizer>.nc`, `figures/` and `report.html`.
        key: root of all randomness.
        quick: a ten-second version with fewer trials and steps.
        progress: show a progress bar per optimizer.
        command: the command line for the report to name.

    Returns:
        A `Tour`.

    Raises:
        ModuleNotFoundError: scikit-learn or matplotlib is missing; both come with `jaxopt-notes[all]`.
    """
    quick, progress = _checks.boolean("quick", quick), _checks.boolean("progress", progress)
    problem = problems.digits_mlp(hidden=64)
    found = Tour(Path(out))
    seeds, steps = (6, 200) if quick else (8, 1000)
    rates = jnp.geomspace(0.01, 10, 7) if quick else jnp.geomspace(1e-3, 10, 13)
    inner = [0.0, 0.9] if quick else [0.0, 0.9, 0.99]
    options: dict[str, Any] = dict(seeds=seeds, steps=steps, batch_size=BATCH_SIZE, key=key, progress=progress)
    try:
        for name in OPTIMIZERS_SHOWN:
            axis = RULES[name].second_axis or ""
            space = grid(learning_rate=rates, **{axis: inner})
            table = sweep(problem, OPTIMIZERS[name], space, keep_params=True, **options)
            ran = ~table.status.isin(UNFINISHED)
            if ran.any():
                at_start = [_sharpness_at_start(problem, name, seed_keys(key, seed)) for seed in range(seeds)]
                _judge(found, problem, name, axis, table, float(np.median(at_start)))
            if not ran.all():  # Ctrl-C during the sweep: it returned what had finished
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        found.interrupted = True
    if found.tables:
        _write(found, command)
    return found


def _judge(found: Tour, problem: Problem, name: str, axis: str, table: xarray.Dataset, sharpest: float) -> None:
    """Add what one sweep shows: its winner, its failures, and the verdict at the winner's end point."""
    save(table, found.folder / f"{name}.nc")
    winner = best(table)
    trials = table[["final_loss", "status"]].sel(winner.config)
    losses = trials.final_loss.where((trials.status != Status.NON_FINITE) & (trials.status != Status.NOT_RUN), np.inf)
    seed = int(table.seed[int(np.argsort(losses.values)[(losses.size - 1) // 2])])
    found.tables[name], found.winners[name], found.end_seeds[name] = table, winner, seed
    found.verdicts[name] = classify(
        problem.loss,
        end_point(table, problem, seed=seed, **winner.config),
        problem.data,
        matvecs=128,
        null_directions=problem.null_directions,
    )
    for value in table[axis].values:
        bound = float(stability_bound(name, sharpest, **{axis: float(value)}))
        rate, how = first_failure(table.sel({axis: value}))
        found.failures.append(
            {"optimizer": name, "second": f"{axis}={value:g}", "fails from": rate, "how": how, "stability bound": bound}
        )


def first_failure(table: xarray.Dataset) -> tuple[float, str]:
    """The lowest learning rate from which on at least half of the seeds fail, and how they fail there.

    Arguments:
        table: of one configuration but for `learning_rate`, with dims `learning_rate` and `seed`.

    Returns:
        (rate, "3 diverged, 5 stalled"); (infinity, "nowhere on the grid") when even the highest rate works; (NaN,
        "unfinished") when some trials did not run.
    """
    if (table.status == Status.NOT_RUN).any():
        return np.nan, "unfinished"
    failed = ((table.status >= Status.NON_FINITE).mean("seed") >= 0.5).values
    from_here_on = np.logical_and.accumulate(failed[::-1])[::-1]
    if not from_here_on.any():
        return np.inf, "nowhere on the grid"
    first = int(np.argmax(from_here_on))
    codes, counts = np.unique(table.status.isel(learning_rate=first).values, return_counts=True)
    named = [
        f"{n} {Status(int(code)).name.lower()}"
        for code, n in zip(codes, counts, strict=True)
        if Status(int(code)).failed
    ]
    return float(table.learning_rate[first]), ", ".join(named)


def _sharpness_at_start(problem: Problem, name: str, keys: Key[Array, " 2"]) -> float:
    """The largest Hessian eigenvalue at the start as the optimizer sees it, after an epoch in which it did not move."""
    params, divisor = problem.start(keys[0])[0], None
    if RULES[name].divisor is not None:
        optimizer = OPTIMIZERS[name](0.0)
        program, constants = hoist(problem.loss, params, batch_shapes(problem.data, BATCH_SIZE), derivatives=1)
        state = _after_an_epoch(program, constants, optimizer, params, problem.data, keys[1])
        divisor = preconditioner(optimizer, state)
    return float(sharpness(problem.loss, params, problem.data, preconditioner=divisor))


@PerProgram
def _after_an_epoch(
    program: Program, constants: list[Any], optimizer: Any, params: PyTree, data: PyTree, key: Key[Array, ""]
) -> PyTree:
    """The state of an optimizer that was given the gradients of one epoch's minibatches, all at the start."""
    stream, examples = reshuffle(BATCH_SIZE), _checks.examples("data", data)

    def step(state: PyTree, rows: Array) -> tuple[PyTree, None]:
        grads = jax.grad(lambda params: program(constants, params, gather(data, rows)))(params)
        return optimizer.update(grads, state, params)[1], None

    rows = indices(stream, key, 0, steps_per_epoch(stream, examples), examples)
    return jax.lax.scan(step, optimizer.init(params), rows)[0]


def _write(found: Tour, command: str) -> None:
    """The figures and the report, beside the tables."""
    bounds: dict[str, dict[float, float]] = {name: {} for name in found.tables}
    for row in found.failures:
        bounds[row["optimizer"]][float(row["second"].split("=")[1])] = row["stability bound"]
    report(
        found.tables,
        found.folder / "report.html",
        title="Momentum, Nesterov and Adam on handwritten digits",
        sections=[Section(_FAILURES_TITLE, [_FAILURES_NOTE], found.failures)],
        verdicts={f"{name} (seed {found.end_seeds[name]})": point for name, point in found.verdicts.items()},
        bounds=bounds,
        figures=found.folder / "figures",
        command=command,
    )


def text_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as aligned text; the columns are the keys of the first row."""
    rows = list(rows)
    columns = list(rows[0]) if rows else []
    cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
