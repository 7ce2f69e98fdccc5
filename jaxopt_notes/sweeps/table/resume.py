"""`resume`: from a table back to the run of one trial, to continue it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from ... import _checks
from ...minimize import HISTORIES, Run
from ...optimizers import OPTIMIZERS
from ...problems import Problem
from ..spec.arguments import arguments_of, exact
from ..spec.group import BATCH_SIZE, STEPS
from ..spec.space import FAMILY, is_absent
from .axes import hyperparameters
from .end_point import holds, restored, trial_of

if TYPE_CHECKING:
    import xarray

Factory = Callable[..., optax.GradientTransformation]


def resume(
    table: xarray.Dataset | xarray.DataTree,
    problem: Problem,
    optimizer: Factory | None = None,
    *,
    seed: int | None = None,
    **config: Any,
) -> Run:
    """The run of one trial of a sweep that kept states, to continue from its end.

    `minimize(problem.loss, run.params, optimizer, state=run.state, aux=run.aux, ...)` takes the next steps. On the full
    data that equals a sweep of more steps up to rounding, since another program computes it; with minibatches give
    another key, or the same batches come again. `sweep(..., store=, extend=True)` adds steps bit for bit.

    Arguments:
        table: from `sweep(..., keep="params+state")`; of several families the tree, with `family=` in `config`.
        problem: the same problem; it gives the structure of the parameters.
        optimizer: the optimizer's factory, as given to `sweep`; it gives the structure of the state. When None it is
            ours of the name that the table has.
        seed: the seed; when None the first from which this configuration was run.
        config: one value for every axis, as `best(table).config` has them; as in `end_point`.

    Returns:
        A `Run` without what a sweep does not record: `learning_rate` is NaN. `params` are the iterate, and `evaluation`
        what `final_loss` was measured at where that differs.

    Raises:
        TypeError: a tree without a family. ValueError: the table has no states, the optimizer is none of ours and was
            not given, or has a state of another structure, the trial was not run, or as `end_point`.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.momentum, jon.grid(learning_rate=[0.01, 0.05], beta=[0.9]), steps=20,
        ...                   keep="params+state", progress=False)
        >>> config = jon.best(table).config
        >>> run = jon.resume(table, valley, **config)
        >>> more = jon.minimize(valley.loss, run.params, jon.momentum(**config), state=run.state, steps=20)
        >>> bool(more.final_loss < run.final_loss)
        True
    """
    if hasattr(table, "children") and FAMILY in config:
        family = _checks.choice(FAMILY, config.pop(FAMILY), list(table.children))
        table = table[family].to_dataset()
    _checks.one_table("resume", table)
    one: Any = table
    shapes, aux = problem.start_shapes()
    if not holds(one, shapes, "params") or not holds(one, aux, "aux"):
        raise ValueError("this table holds no end points to resume from: run sweep(..., keep='params+state')")
    trial = trial_of("resume", one, {**config, "seed": _first_seed(one, config) if seed is None else seed})
    state = jax.eval_shape(_optimizer_of(one, problem, trial, optimizer).init, shapes)
    if not holds(one, state, "state"):
        raise ValueError(
            f"this table holds no state of {one.attrs.get('optimizer')}: run sweep(..., keep='params+state'), and give "
            f"resume the same optimizer"
        )
    measured = restored(trial, shapes, "params")
    apart = holds(one, shapes, "iterate")
    unknown = jnp.full_like(jnp.asarray(trial["loss"].values), jnp.nan)
    histories = {name: jnp.asarray(trial[name].values) if name in trial else unknown for name in HISTORIES}
    return Run(
        params=restored(trial, shapes, "iterate") if apart else measured,
        state=restored(trial, state, "state"),
        **histories,
        learning_rate=jnp.full_like(histories["loss"], jnp.nan),
        initial_loss=jnp.asarray(trial["initial_loss"].values),
        final_loss=jnp.asarray(trial["final_loss"].values),
        status=jnp.asarray(trial["status"].values, jnp.int32),
        stopped_at=jnp.asarray(trial["stopped_at"].values, jnp.int32),
        aux=restored(trial, aux, "aux"),
        evaluation=measured if apart else None,
        skipped=jnp.asarray(trial["skipped"].values, jnp.int32) if "skipped" in trial else None,
        every=jnp.int32(trial["step"].diff("step").values[:1].sum()),
    )


def _first_seed(table: xarray.Dataset, config: dict[str, Any]) -> int:
    """The first seed from which a configuration was run; the first of all if none was, for the error that follows."""
    for seed in table["seed"].values.tolist():
        try:
            trial_of("resume", table, {**config, "seed": seed})
        except ValueError:
            continue
        return seed
    return table["seed"].values.tolist()[0]


def _optimizer_of(
    table: xarray.Dataset, problem: Problem, trial: xarray.Dataset, factory: Factory | None
) -> optax.GradientTransformation:
    """The optimizer of a trial, given the factory if it is none of ours.

    Raises:
        ValueError: it is not known, or one of its choices is known by its label alone.
    """
    if factory is None:
        name = table.attrs.get("optimizer")
        if name not in OPTIMIZERS:
            raise ValueError(f"resume needs the optimizer {name!r}, which is not one of ours: pass optimizer=")
        factory = OPTIMIZERS[name]
    arguments = arguments_of(factory)
    values = {name: trial[name].values.item() for name in hyperparameters(table)}
    mine = {
        name: _meant(value)
        for name, value in values.items()
        if not is_absent(value)
        and name not in problem.numbers
        and (name in arguments or (name not in (BATCH_SIZE, STEPS) and _checks.takes_any(factory)))
    }
    try:
        return factory(**exact(mine, arguments))
    except (TypeError, ValueError) as error:
        labels = ", ".join(f"{name}={value!r}" for name, value in mine.items())
        raise ValueError(
            f"the optimizer cannot be made from the labels of the table, {labels} ({error}): pass optimizer= a "
            f"function that takes them"
        ) from error


def _meant(label: Any) -> Any:
    """The value of a label: among choices of several kinds None and numbers have become texts."""
    try:
        return ast.literal_eval(label) if isinstance(label, str) else label
    except (SyntaxError, ValueError):
        return label
