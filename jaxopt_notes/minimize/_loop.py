"""`minimize` and `minimize_until`: check, hoist, and run the loop as one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._contract import check_values
from .._hoist import Program, hoist
from .._host import stacked
from .._jaxpr import is_tracing
from .._means import is_sum, warn_of_sum
from ..minibatches import Minibatches, batch_shapes, check_batch_size, drawn_on_host, indices_of_keys
from ..problems._metric import DIRECTIONS, SIGNS
from . import _program as program
from ._live import checked_report, live
from ._options import Options, checked_evaluation, checked_metrics, checked_skip, derivatives_of, judged
from ._program import Inputs, Static
from ._run import Run


class _Batches(NamedTuple):
    """Where the batches come from, as the user gave it."""

    data: PyTree
    minibatches: Any
    key: Any
    allow_nan: bool


def minimize(
    loss: Callable[..., Any],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    data: PyTree = None,
    minibatches: Minibatches | None = None,
    key: Key[Array, ""] | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    aux: PyTree = None,
    metrics: Callable[..., PyTree] | None = None,
    state: PyTree = None,
    every: int = 1,
    tol: float | Float[Array, ""] | None = None,
    baseline: float | Float[Array, ""] | None = None,
    record_params: bool = False,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
    donate: bool = False,
    allow_nan: bool = False,
    progress: bool = False,
    on_record: Callable[[int, dict[str, Any]], object] | None = None,
) -> Run:
    """Minimise a loss by a fixed number of steps of any optax optimizer, in one compiled loop.

    Each step forms the candidate x + u, evaluates loss and gradient there, and accepts it only if loss, gradient norm
    and update norm are finite. Otherwise the run stops, keeps its last finite parameters and sets `status`; with
    `skip_non_finite` it continues with the next batch. So `run.loss[k]` is the loss at the k-th parameters, never at
    the ones before. Works under `jit`, `vmap` (also over the numbers of the optimizer) and `grad`: the derivative of
    the final loss by a learning rate is finite even when the run stopped (in reverse mode; `jax.jacfwd` meets a
    `custom_vjp`). Arrays that `loss` closes over become arguments of the compiled program.

    Arguments:
        loss: `loss(params, *args)`, or `loss(params, batch, *args)` with `data`; returns a real scalar. A mean over the
            batch, not a sum, if the learning rate should mean the same for every batch size; with minibatches a sum is
            warned of. It is given by keyword what its signature asks for after a `*`, as that of a `Problem`: `aux`,
            `key` (a fresh one for every step), `train` (True in a step, False where `initial_loss` and `final_loss` are
            measured), and numbers of its own.
        params: a pytree of floating or complex arrays, the start.
        optimizer: an (init, update) pair, ours or optax's. Its update is also given `value`, `grad` and `value_fn`.
        steps: number of steps, at least 1. Static.
        data: a pytree of arrays with one leading axis of examples.
        minibatches: the stream of batches, such as `minibatches.reshuffle(64)`; the whole of `data` when None. Static.
        key: key of the stream and of a loss that asks for one; needed with `minibatches`. With the second of
            `seed_keys` a run sees the batches and the keys of that seed in a sweep.
        args: further arguments of `loss`, such as a regularisation strength; may be traced.
        kwargs: name -> number, of those that the loss asks for by keyword; may be traced.
        aux: the first state of a stateful loss, such as batch statistics. The loss asks for `aux` by keyword and
            returns `(value, new_aux)`; or it takes it by position, `loss(params, aux, [batch,] *args)`. `run.aux` is
            the last accepted state. A step whose aux becomes infinite or NaN is not accepted.
        metrics: `metrics(params)`, or `metrics(params, aux)` with `aux`, which may also be asked for by keyword: any
            pytree of arrays, recorded at every entry, at the parameters that `evaluation_params` gives.
        state: the optimizer's state to begin with, as `run.state` of an earlier run, to go on from its end; fresh when
            None. Give `run.aux` too; it has seen the start already, so evaluating the start does not change it. With
            minibatches give another key, or the same batches come again.
        every: record one entry per this many steps; must divide `steps`. Static.
        tol: stop (freeze) when the gradient norm is at most this; never when None. It is the norm before a projection,
            and in float32 a norm below 1e-22 or above 1e19 is 0 or infinite.
        baseline: loss of the best constant predictor on the full data; a run that ends no better is `stalled`.
        record_params: keep the parameters of every entry in `run.params_path`. Static.
        evaluation_params: `evaluation_params(state, params) -> params`, the parameters at which `initial_loss`,
            `final_loss` and `metrics` are measured, for a method whose result is not its iterate. When None,
            `optimizers.evaluation_params` decides: averages and schedule-free methods are recognised, and any other
            method is measured at its iterate. The histories of loss and gradient norm are of the iterate. Static.
        skip_non_finite: how many steps in a row may give a loss, gradient or update that is not finite. Each is skipped
            and counted in `run.skipped`: the parameters stay and are evaluated on the next batch, and the entry repeats
            the one before with an update norm of 0. One more in a row ends the run. 0 ends it at the first; whether it
            is 0 is static. `optax.apply_if_finite`, `zero_nans` and `MultiSteps` that skips receive such gradients
            themselves.
        donate: give the memory of `params` and `aux` to the run; they cannot be used afterwards. Static.
        allow_nan: whether `data` may hold NaN, for a loss whose value and gradient leave it out: begin with
            `jnp.where(jnp.isnan(y), 0, y - prediction)`, as a `jnp.nanmean` of what was computed from NaN has a
            gradient of NaN.
        progress: show a progress bar on standard error.
        on_record: `on_record(step, record)`, called in Python with every entry soon after it was taken, for a logger;
            `record` holds the loss, the norms, the learning rate and `metrics` by name. What it raises ends the run.
            With it, or a bar, the loop runs in compiled segments of about half a second, with the same steps; not
            inside `jit`, `vmap` or `grad`.

    Returns:
        A `Run`.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> run = jon.minimize(lambda x: jnp.sum(x**2), jnp.array([1.0, -2.0]), jon.gradient_descent(0.25), steps=20)
        >>> run.loss.shape, bool(run.final_loss < 1e-10), int(run.status)
        ((21,), True, 0)
    """
    donate = _checks.boolean("donate", donate)
    options = Options(
        loss=loss, params=params, optimizer=optimizer, args=args, kwargs=kwargs or {}, aux=aux,
        metrics=metrics, state=state, every=every, tol=tol, record_params=record_params,
        evaluation_params=evaluation_params, skip_non_finite=skip_non_finite,
    ).checked()  # fmt: skip
    batches = _Batches(data, minibatches, key, allow_nan)
    reports = checked_report(progress, on_record)
    static, params, aux, inputs = _prepare(options, batches, ("steps", steps), baseline)
    if reports:
        # The loop with a rule, whose rule never holds unless it is given.
        tol = -1.0 if inputs.tol is None else inputs.tol
        return live(static, params, aux, inputs._replace(tol=tol, rtol=0.0), progress, on_record)
    return (program.scan_donating if donate else program.scan)(static, params, aux, inputs)


def minimize_until(
    loss: Callable[..., Any],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    max_steps: int,
    tol: float | Float[Array, ""] = 0.0,
    rtol: float | Float[Array, ""] = 0.0,
    patience: int | None = None,
    monitor: str | None = None,
    direction: Literal["max", "min"] = "min",
    data: PyTree = None,
    minibatches: Minibatches | None = None,
    key: Key[Array, ""] | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    aux: PyTree = None,
    metrics: Callable[..., PyTree] | None = None,
    state: PyTree = None,
    every: int = 1,
    baseline: float | Float[Array, ""] | None = None,
    record_params: bool = False,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
    donate: bool = False,
    allow_nan: bool = False,
    progress: bool = False,
    on_record: Callable[[int, dict[str, Any]], object] | None = None,
) -> Run:
    """Minimise until a stopping rule holds, and compute no step after it.

        converged    |g_k| <= tol + rtol |g_0|
        plateaued    no recorded loss, or `monitor`, is better than the best one of `patience` steps ago

    The same steps as `minimize`, so with `rtol=0` and without `patience` the same `Run` bit for bit; histories are as
    long as `max_steps` allows and repeat the last entry after the stop. For single runs: under `vmap` all lanes go on
    until the slowest stops, and there is no reverse-mode derivative (use `minimize`).

    Arguments:
        loss, params, optimizer, data, minibatches, key, args, kwargs: as in `minimize`. The gradient is looked at in
            every step. With minibatches its norm does not fall to zero: use `patience`.
        aux, metrics, state, every, baseline, record_params, evaluation_params, skip_non_finite: as in `minimize`.
        donate, allow_nan, progress, on_record: as in `minimize`.
        max_steps: the most steps to take, at least 1. Static.
        tol: >= 0, in units of the gradient norm.
        rtol: >= 0, relative to the gradient norm at the start.
        patience: steps without a lower loss after which to stop, at least 1, checked at every recorded entry;
            never when None.
        monitor: what `patience` waits for a better value of: the name of a metric, such as the loss on validation data
            with `metrics=lambda params: {"validation_loss": loss(params, validation)}`; the loss when None. Static.
        direction: "min" if a lower value of `monitor` is better, "max" if a higher one is.

    Returns:
        A `Run`; `run.stopped_at` counts the steps, `run.status` records which rule held (`completed` when none did).

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> bowl = lambda x: jnp.sum(x**2)
        >>> run = jon.minimize_until(bowl, jnp.ones(2), jon.gradient_descent(0.25), max_steps=10_000, rtol=1e-3)
        >>> int(run.stopped_at), run.status_text.split(":")[0]
        (10, 'converged')
    """
    tol = _checks.scalar("tol", tol, low=0.0)
    donate = _checks.boolean("donate", donate)
    options = Options(
        loss=loss, params=params, optimizer=optimizer, args=args, kwargs=kwargs or {}, aux=aux,
        metrics=metrics, state=state, every=every, tol=tol, record_params=record_params,
        evaluation_params=evaluation_params, skip_non_finite=skip_non_finite,
    ).checked()  # fmt: skip
    batches = _Batches(data, minibatches, key, allow_nan)
    static, params, aux, inputs = _prepare(options, batches, ("max_steps", max_steps), baseline)
    inputs = inputs._replace(
        rtol=_checks.scalar("rtol", rtol, low=0.0),
        patience=None if patience is None else _checks.count("patience", patience),
    )
    if monitor is not None:
        if patience is None:
            raise TypeError(f"monitor={monitor!r} is what patience waits for: give patience, the steps to wait")
        static = static._replace(monitor=_checked_monitor(monitor, direction, static))
    if checked_report(progress, on_record):
        return live(static, params, aux, inputs, progress, on_record)
    return (program.until_donating if donate else program.until)(static, params, aux, inputs)


def _checked_monitor(monitor: str, direction: str, static: Static) -> tuple[str, int]:
    """The name of a metric, and 1 if a lower value is better, -1 if a higher one is.

    Raises:
        TypeError, ValueError: no metric of that name, or it is no scalar; an unknown direction.
    """
    _checks.choice("direction", direction, DIRECTIONS)
    measured = None if static.metrics is None else static.metrics.output()
    if not isinstance(measured, dict):
        raise TypeError(f"monitor={monitor!r} needs metrics that return a dict with that name")
    _checks.choice("monitor", monitor, measured)
    if getattr(measured[monitor], "shape", None) != ():
        raise TypeError(f"monitor must be a metric that is one number, and {monitor!r} is {measured[monitor]}")
    return monitor, SIGNS[direction]


def _prepare(
    options: Options,
    batches: _Batches,
    steps: tuple[str, int],
    baseline: Any,
) -> tuple[Static, PyTree, PyTree, Inputs]:
    """Check everything, and part what decides the program from what it is run on."""
    loss, params, optimizer, args, aux = options.loss, options.params, options.optimizer, options.args, options.aux
    data, key = batches.data, None if batches.key is None else _checks.key("key", batches.key)
    name, count = steps[0], _checks.count(*steps)
    every = _checks.divisor("every", options.every, name, count)
    minibatches, batch = _checked_batch(batches)
    # Whoever differentiates through this call traces its arguments; then second derivatives are run too.
    given = (params, optimizer, options.state, data, args, options.kwargs, aux)
    traced = any(map(_checks.is_traced, jax.tree.leaves(given)))
    loss_of = judged(loss, aux, options.kwargs, key)
    known = loss_of.known(options.kwargs, key)

    def hoisted(form: Callable[..., Any], *rest: Any) -> tuple[Program, list[Any]]:
        check_values(loss_of.name, form, params, aux, known, *rest)
        return hoist(form, params, aux, known, *rest, derivatives=derivatives_of(optimizer) + traced, owner=loss)

    step_program, step_constants = hoisted(loss_of.step, *batch, *args)
    # The text of a program holds the shapes of its arguments, so the loss on all of the data is a program of its own.
    end_program, end_constants = step_program, step_constants
    if minibatches is not None or loss_of.differs:
        whole = () if data is None else (data,)
        # Named with its derivatives too: an optimizer may hold a traced number that no leaf shows.
        end_program, end_constants = hoisted(loss_of.end, *whole, *args)
    if minibatches is not None:
        value = lambda *arguments: loss_of.step(*arguments)[0]
        if is_sum(step_program, value, (params, aux, known), data, args):
            size, examples = len(jax.tree.leaves(batch)[0]), _checks.examples("data", data)
            warn_of_sum(loss_of.name, size, examples)
    measure, measure_constants = checked_metrics(options.metrics, params, aux, traced)
    evaluation, evaluation_constants = checked_evaluation(options.evaluation_params, optimizer, params, traced)
    record_params = options.record_params
    programs = (step_program, end_program, loss_of.is_random, loss_of.differs, measure)
    static = Static(*programs, count, every, minibatches, record_params, evaluation)
    inputs = Inputs(
        (step_constants, end_constants, measure_constants, evaluation_constants),
        optimizer,
        options.state,
        data,
        key,
        None if minibatches is None or traced else _drawn(minibatches, key, count, data),
        tuple(args),
        {name: value for name, value in known.items() if name != "key"},
        tol=options.tol,
        rtol=None,
        patience=None,
        baseline=np.inf if baseline is None else _checks.scalar("baseline", baseline),
        skip=checked_skip(options.skip_non_finite),
    )
    return static, params, aux, inputs


def _drawn(minibatches: Minibatches, key: Any, steps: int, data: PyTree) -> Array | None:
    """The example indices of a whole run; None where they are too many, or the program has to draw them itself.

    A program that shuffles takes half of the time that compiling a small network takes, and the host needs none.
    """
    examples = _checks.examples("data", data)
    if steps > program.steps_at_once(minibatches, examples) or is_tracing() or _checks.is_traced(key):
        return None
    keys = stacked([key])
    if not drawn_on_host(minibatches, keys):
        return None
    return jax.device_put(indices_of_keys(minibatches, keys, 0, steps + 1, examples)[0])


def _checked_batch(batches: _Batches) -> tuple[Minibatches | None, tuple[Any, ...]]:
    """The stream, None if it is of everything, and one example batch as a tuple of no or one argument of the loss."""
    data, minibatches, key, allow_nan = batches
    if data is None:
        if minibatches is not None:
            raise ValueError("minibatches needs data: pass the arrays to draw from as data=")
        return None, ()
    n = _checks.examples("data", data)
    _checks.finite_data("data", data, allow_nan=allow_nan)
    if minibatches is not None and not isinstance(minibatches, Minibatches):
        raise TypeError(f"minibatches must be a stream such as minibatches.reshuffle(64), got {minibatches!r}")
    if minibatches is None or minibatches.batch_size is None:
        return None, (data,)
    if key is None:
        raise ValueError("minibatches needs a key, for example key=jax.random.key(0)")
    _checks.key("key", key)
    return minibatches, (batch_shapes(data, check_batch_size(minibatches.batch_size, n)),)
