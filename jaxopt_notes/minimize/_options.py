"""What `minimize`, `minimize_until` and `minimize_stream` have in common: their options, and the checks of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from .. import _checks
from .._contract import RESERVED, asked, in_one_form
from .._hoist import Program, hoist
from .._partials import as_pytree
from .._warnings import warn
from ..optimizers._base import Rule
from ..optimizers._rate import ended_schedule


class Options(NamedTuple):
    """The arguments that all three take, as the user gave them; documented in `minimize`."""

    loss: Callable[..., Any]
    params: PyTree
    optimizer: optax.GradientTransformation
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    aux: PyTree
    metrics: Callable[..., PyTree] | None
    state: PyTree
    every: int
    tol: Any
    record_params: bool
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None
    skip_non_finite: int

    def checked(self, as_array: Callable[[Any], Array] = jnp.asarray) -> Options:
        """The same with pytrees of arrays, where they can be checked without tracing the loss.

        Arguments:
            as_array: what makes arrays of the leaves of params, aux and state.

        Raises:
            TypeError, ValueError: naming the argument, its value and what is accepted.
        """
        optimizer = as_pytree(self.optimizer)
        params = jax.tree.map(as_array, _checks.params("params", self.params))
        state = checked_state(optimizer, params, self.state)
        warn_past_schedule(optimizer, state)
        return self._replace(
            params=params,
            optimizer=optimizer,
            args=checked_args(self.args),
            aux=jax.tree.map(as_array, self.aux),
            state=jax.tree.map(as_array, state),
            tol=None if self.tol is None else _checks.scalar("tol", self.tol, low=0.0),
            record_params=_checks.boolean("record_params", self.record_params),
        )


def derivatives_of(optimizer: optax.GradientTransformation) -> int:
    """How often an optimizer's steps differentiate the loss: once more if its update may use the loss itself."""
    rule = getattr(optimizer.update, "func", None)
    if isinstance(rule, Rule):
        return 1 + rule.uses_loss
    return 1 + isinstance(optimizer, optax.GradientTransformationExtraArgs)


def checked_args(args: Any) -> tuple[Any, ...]:
    """The further arguments of the loss, which must come as a tuple or a list."""
    if not isinstance(args, (tuple, list)):
        raise TypeError(f"args must be a tuple of further arguments of the loss, as in args=(x,), got {args!r}")
    return _checks.not_empty("args", tuple(args))


def checked_state(optimizer: optax.GradientTransformation, params: PyTree, state: PyTree) -> PyTree:
    """The state to resume from, with the structure that the optimizer's init returns for these parameters."""
    if state is None:
        return None
    fresh = jax.eval_shape(optimizer.init, params)
    expected, given = str(jax.tree.structure(fresh)), str(jax.tree.structure(state))
    if expected != given:
        raise ValueError(
            f"state must be one of this optimizer, such as the `state` of an earlier run: init gives {expected}, "
            f"got {given}"
        )
    _checks.matching("init(params)", fresh, "state", state)
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), state, fresh)


def warn_past_schedule(optimizer: optax.GradientTransformation, state: PyTree) -> None:
    """Warn of a run that starts past the end of its schedule, so that all of it has the schedule's last value."""
    ended = None if state is None else ended_schedule(optimizer, state)
    if ended is not None:
        done, end, value = ended
        warn(
            f"state has {done} steps done, and the schedule of the learning rate ended at step {end:g}: every step of "
            f"this run has its last value, {value:g}. To decay further, give an optimizer with a longer schedule."
        )


class Judged(NamedTuple):
    """A loss in the one form of the loops, `(params, aux, known, *rest) -> (value, aux)`.

    Attributes:
        step: as it is in a step.
        end: as it is measured at the start and at the end, where `train` is False.
        name: its name.
        is_random: whether it asks for a key.
        differs: whether a measurement of the same point and the same batch may have another value than a step.
    """

    step: Callable[..., Any]
    end: Callable[..., Any]
    name: str
    is_random: bool
    differs: bool

    def known(self, kwargs: Mapping[str, Any], key: Any) -> dict[str, Any]:
        """What it is given by keyword; the key only if it asks for one."""
        own: dict[str, Any] = {name: jnp.asarray(value) for name, value in kwargs.items()}
        return {**own, "key": key} if self.is_random else own


def judged(loss: Any, aux: PyTree, kwargs: Any, key: Any) -> Judged:
    """The loss in the one form, after a look at what its signature asks for.

    Raises:
        TypeError: the loss is not callable, or asks by keyword for something that it is not given, or the other way
            round.
    """
    if not callable(loss):
        hint = "; pass its .loss, and data=its .data" if callable(getattr(loss, "loss", None)) else ""
        raise TypeError(f"loss must be a function of the parameters, got {loss!r}{hint}")
    wants, name = asked(loss), _checks.name_of(loss)
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs must map names to further keyword arguments of the loss, got {kwargs!r}")
    for own in kwargs:
        if own in RESERVED:
            raise TypeError(f"kwargs must not hold {own!r}, which the loss is given by itself")
        if own not in wants.numbers:
            takes = f"it takes {', '.join(wants.numbers) or 'none'}"
            raise TypeError(
                f"kwargs holds {own!r}, which is no number that loss {name!r} takes by keyword after a *"
                f"{_checks.nearest(own, wants.numbers, takes)}"
            )
    missing = [own for own in wants.needed if own not in kwargs]
    if missing:
        raise TypeError(f"loss {name!r} asks for {', '.join(missing)}: pass kwargs={{{missing[0]!r}: ...}}")
    if wants.key and key is None:
        raise TypeError(f"loss {name!r} asks for a random key: pass key=, for example key=jax.random.key(0)")
    if wants.aux and aux is None:
        raise TypeError(f"loss {name!r} asks for aux: pass the one to start from as aux=")
    by_position = aux is not None and not wants.aux
    step, end = (in_one_form(loss, train=train, aux_by_position=by_position) for train in (True, False))
    return Judged(step, end, name, wants.key, wants.train or wants.key or aux is not None)


def checked_metrics(
    metrics: Callable[..., Any] | None, params: PyTree, aux: PyTree, traced: bool = False
) -> tuple[Program | None, list[Any]]:
    """The metrics as a program of (params, aux) and its constants; differentiated only if the run is."""
    if metrics is None:
        return None, []
    if not callable(metrics):
        raise TypeError(f"metrics must be a function of the parameters that returns a pytree, got {metrics!r}")
    by_keyword = asked(metrics).aux

    def measure(params: PyTree, aux: PyTree) -> PyTree:
        if by_keyword:
            return metrics(params, aux=aux)
        return metrics(params) if aux is None else metrics(params, aux)

    return hoist(measure, params, aux, derivatives=int(traced), owner=metrics)


def checked_evaluation(
    evaluation: Callable[..., Any] | None, optimizer: optax.GradientTransformation, params: PyTree, traced: bool = False
) -> tuple[Program | None, list[Any]]:
    """The user's choice of the parameters that are evaluated, as a program of (state, params), and its constants."""
    if evaluation is None:
        return None, []
    if not callable(evaluation) or not _checks.takes(evaluation, 2):
        raise TypeError(f"evaluation_params must be a function (state, params) -> params, got {evaluation!r}")
    state = jax.eval_shape(optimizer.init, params)
    found = jax.eval_shape(evaluation, state, params)
    _checks.matching("evaluation_params(state, params)", found, "params", params)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
        if one.dtype != other.dtype:
            raise TypeError(f"evaluation_params must return the dtypes of params, {other.dtype}; got {one.dtype}")
    return hoist(evaluation, state, params, derivatives=int(traced))


def checked_skip(skip_non_finite: Any) -> Array | None:
    """How many steps in a row may be skipped; None for none."""
    limit = _checks.count("skip_non_finite", skip_non_finite, low=0)
    return jnp.int32(limit) if limit else None
