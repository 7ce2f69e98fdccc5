"""`Problem`: a loss, where to start, and the data it is measured on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .. import _checks
from .._contract import RESERVED, Asked, asked, given, in_one_form, unite
from .._numerics import working_dtype
from ._facts import Facts
from ._held_out import check_alike, explained


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """Everything a run or a sweep needs to know about what is minimised.

    A loss, a start and a metric are given by keyword what their signatures ask for after the `*`, and nothing else:

        loss(params, batch, *, aux, key, train, smoothing) -> (value, new_aux)

    `aux` is a state that is carried from step to step, such as batch statistics; a loss that asks for it returns
    `(value, new_aux)`. `key` is a fresh random key for every step, from the seed of the trial; all configurations of a
    seed are given the same ones. `train` is True in a step and False wherever the loss is measured. Every other keyword
    is a number of the function's own, and an axis of `sweep`: it is traced, so all its values share one program. One
    with a number as default need not be an axis.

    Attributes:
        loss: `loss(params)`, or `loss(params, batch)` with `data`; a real scalar, by custom a mean over the batch.
        init: `init(key) -> params`, or a pytree of parameters to start from whatever the key. It may ask for numbers,
            as in `init(key, *, scale)`. If the loss asks for `aux`, both are pairs `(params, aux)`.
        data: a pytree of arrays with one leading axis of training examples; or None, also where a sweep is given
            `data` that do not fit the memory.
        test_data: the same for examples held out, to be looked at once, in the end; or None. Its leaves have as many
            axes as those of `data`, and numbers of the same kind.
        metrics: name -> `metric(params)` or `metric(params, data)`, real scalars reported at the end on all parts of
            the data. They are given by keyword what they ask for, as the loss is, with `train=False`.
            One that takes a single argument is given the parameters alone, also where there are data.
            Integers and booleans are counts, which tables hold in float64. To be compared by, a metric declares its
            direction: `jon.maximize(metric)`, or `jon.Metric(metric, direction="min")`. The loss is minimised.
        baseline: the loss of the best constant predictor on `data`; a run that ends no better is called stalled.
        name: a short name for tables and figures.
        facts: what is known of the function, its critical points first of all; or None.
        null_directions: `null_directions(params)`, the directions along which a symmetry keeps the loss constant, as a
            pytree like the parameters with one more axis in front; or None. At a critical point each is a null
            direction of the Hessian.
        allow_nan: whether the data may hold NaN, for a loss whose value and gradient leave it out: begin with
            `jnp.where(jnp.isnan(y), 0, y - prediction)`, as a `jnp.nanmean` of what was computed from NaN has a
            gradient of NaN.
        validation: the same as `test_data` for examples held out to choose by, or None.
        evaluate: what is measured as the loss, where it differs from the loss with `train=False`: without a penalty or
            smoothed labels, say. It is called as a metric is.

    Raises:
        TypeError: `loss` is not callable, asks for something by position, or `init` is neither a function nor a pytree
            of floating arrays.
        ValueError: a leaf of the data holds no example, NaN or infinity, leading axes differ, held-out data are not
            like `data`, or a metric is named `loss`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_notes as jon
        >>> bowl = jon.Problem(lambda x: jnp.sum(x**2), init=jnp.ones(3))
        >>> float(bowl.full_loss(bowl.init(None)))
        3.0
        >>> def noisy(x, *, key, width):
        ...     return jnp.sum((x + width * jax.random.normal(key, x.shape)) ** 2)
        >>> jon.Problem(noisy, init=jnp.ones(3)).numbers
        ('width',)
    """

    loss: Callable[..., Any]
    init: Any
    data: PyTree = None
    test_data: PyTree = None
    metrics: Mapping[str, Callable[..., Float[Array, ""]]] = field(default_factory=dict)
    baseline: float | None = None
    name: str = ""
    facts: Facts | None = None
    null_directions: Callable[[PyTree], PyTree] | None = None
    allow_nan: bool = False
    validation: PyTree = None
    evaluate: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise TypeError(f"loss must be a function of the parameters, got {self.loss!r}")
        _check_keywords("loss", self.loss)
        if self.evaluate is not None:
            if not callable(self.evaluate):
                raise TypeError(f"evaluate must be a function of the parameters, got {self.evaluate!r}")
            _check_keywords("evaluate", self.evaluate)
        if not callable(self.init):
            params, aux = self._checked_start("init", self.init)
            start = (params, aux) if self.asks.aux else params
            object.__setattr__(self, "init", lambda key: start)
        for part in ("test_data", "validation"):
            if getattr(self, part) is not None and self.data is None and not self.takes_batches:
                raise ValueError(
                    f"{part} needs data: a loss of the parameters alone has nothing else to be measured on"
                )
        for name, metric in self.metrics.items():
            if not callable(metric) or not str(name).isidentifier() or name == "loss":
                raise ValueError(f"metrics must map names other than 'loss' to functions, got {name!r}: {metric!r}")
            _check_keywords(f"metric {name!r}", metric)
        for name, function in {"evaluate": self.evaluate, **self.metrics}.items():
            if function is not None and asked(function).aux and not self.asks.aux:
                raise TypeError(
                    f"{name} asks for aux, and the loss has none: a loss that asks for aux returns the new one"
                )
        for part in ("data", "validation", "test_data"):
            if getattr(self, part) is not None:
                _checks.examples(part, getattr(self, part))
                _checks.finite_data(part, getattr(self, part), allow_nan=self.allow_nan)
                check_alike(part, getattr(self, part), self.data)
        if self.baseline is not None:
            _checks.scalar("baseline", self.baseline)
        if self.facts is not None and not isinstance(self.facts, Facts):
            raise TypeError(f"facts must be a jaxopt_notes.problems.Facts, got {self.facts!r}")
        if self.null_directions is not None and not callable(self.null_directions):
            raise TypeError(f"null_directions must be a function of the parameters, got {self.null_directions!r}")
        object.__setattr__(self, "name", self.name or _checks.name_of(self.loss))

    def __repr__(self) -> str:
        data = f", {self.examples} examples" if self.examples else ""
        return f"Problem({self.name!r}{data})"

    @property
    def examples(self) -> int:
        """Number of training examples; 0 without data."""
        return 0 if self.data is None else _checks.examples("data", self.data)

    @property
    def takes_batches(self) -> bool:
        """Whether the loss can be called with a batch."""
        return _checks.takes(self.loss, 2, given(self.loss, None, True, dict.fromkeys(self.asks.needed)))

    @functools.cached_property
    def asks(self) -> Asked:
        """What the loss asks for by keyword."""
        return asked(self.loss)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers that loss, start, `evaluate` and metrics ask for, which may be axes of a space."""
        return unite(self._functions).numbers

    @property
    def needed(self) -> tuple[str, ...]:
        """Those of `numbers` that have no default."""
        return unite(self._functions).needed

    @property
    def is_random(self) -> bool:
        """Whether the loss, or what is measured, asks for a key."""
        return any(asked(function).key for function in self._functions if function is not self.init)

    @property
    def _functions(self) -> list[Callable[..., Any]]:
        return [self.loss, self.init, *([] if self.evaluate is None else [self.evaluate]), *self.metrics.values()]

    @property
    def parts(self) -> dict[str, PyTree]:
        """The parts of the data by the names under which they are measured: final, validation and test."""
        held = {"validation": self.validation, "test": self.test_data}
        return {"final": self.data, **{name: part for name, part in held.items() if part is not None}}

    def start(self, key: Key[Array, ""] | None, numbers: Mapping[str, Any] = {}) -> tuple[PyTree, PyTree]:
        """The parameters and the aux to start from; the aux is None for a loss that has none.

        Arguments:
            key: the key of the start.
            numbers: at least those that `init` needs.

        Raises:
            TypeError: `init` returned no pair though the loss asks for aux, or parameters that are not floating.
        """
        return self._checked_start("init(key)", self.init(key, **given(self.init, None, True, numbers)))

    def start_shapes(self) -> tuple[PyTree, PyTree]:
        """The shapes and dtypes of what `start` returns, which no number may change."""
        numbers = {name: jax.ShapeDtypeStruct((), jnp.result_type(float)) for name in asked(self.init).needed}
        return jax.eval_shape(self.start, jax.random.key(0), numbers)

    def _checked_start(self, name: str, made: Any) -> tuple[PyTree, PyTree]:
        if not self.asks.aux:
            return _checks.params(name, made), None
        if not (isinstance(made, tuple) and len(made) == 2):
            raise TypeError(f"the loss asks for aux, so {name} must be a pair (params, aux), got {made!r}")
        return _checks.params(f"the first of {name}", made[0]), jax.tree.map(jnp.asarray, made[1])

    def full_loss(
        self, params: PyTree, *, aux: PyTree = None, key: Key[Array, ""] | None = None, **numbers: Any
    ) -> Float[Array, ""]:
        """The loss on all of the training data, measured with `train=False`; given by keyword what it asks for."""
        return self.measure(params, {"final": self.data}, aux=aux, key=key, numbers=numbers)["final_loss"]

    def fixed(
        self, *, aux: PyTree = None, key: Key[Array, ""] | None = None, **numbers: Any
    ) -> Callable[..., Float[Array, ""]]:
        """The loss of the parameters and a batch alone, as `classify`, `eigsh` and the landscapes take it.

        It is the loss with `train=False`, for a state, a key and numbers that are given here once. In a sweep they are
        those of a trial: `params, aux = end_point(table, problem, seed=0, **config)`.

        Arguments:
            aux, key, numbers: what the loss asks for by keyword.

        Returns:
            `loss(params, *batch)`.

        Raises:
            TypeError: the loss asks for something that is not given, or the other way round.

        Example:
            >>> import jax.numpy as jnp, jaxopt_notes as jon
            >>> ridge = jon.Problem(lambda x, *, l2: jnp.sum((x - 1) ** 2) + l2 * jnp.sum(x**2), init=jnp.zeros(2))
            >>> jon.classify(ridge.fixed(l2=1.0), jnp.array([0.5, 0.5])).kind_name
            'minimum'
        """
        known = {**({} if aux is None else {"aux": aux}), **({} if key is None else {"key": key}), **numbers}
        wanted = {*self.asks.needed, *(name for name in self.asks.reserved if name != "train")}
        for name in known:
            _checks.choice("argument", name, [*RESERVED[:2], *self.asks.numbers])
        missing = sorted(wanted - set(known))
        if missing:
            raise TypeError(f"the loss of {self.name!r} asks for {', '.join(missing)}: give {missing[0]}=")
        loss = in_one_form(self.loss, train=False)
        return lambda params, *batch: loss(params, aux, known, *batch)[0]

    def measure(
        self,
        params: PyTree,
        parts: Mapping[str, PyTree],
        *,
        aux: PyTree = None,
        key: Key[Array, ""] | None = None,
        numbers: Mapping[str, Any] = {},
    ) -> dict[str, Array]:
        """Loss and metrics of parts of the data, such as `parts`: `final_loss`, `test_accuracy` and so on.

        Each is a real scalar: floats in the default precision, integers and booleans as they are.

        Arguments:
            params: the parameters.
            parts: name -> data, which are arguments and no constants; None for a loss of the parameters alone.
            aux, key, numbers: what is given to functions that ask for them.

        Raises:
            TypeError: a metric returns something else; it is named. ValueError: one fails on held-out data that are not
                like `data`.
        """
        measured = {"loss": self.loss if self.evaluate is None else self.evaluate, **self.metrics}
        known = {"key": key, **numbers}
        columns = {}
        for part, values in parts.items():
            for name, metric in measured.items():
                column = f"{part}_{name}"
                with explained(column, "test_data" if part == "test" else part, values, self.data):
                    value = _measured(metric, params, values, aux, known)
                columns[column] = _real_scalar(column, value)
        return columns


def _check_keywords(called: str, function: Callable[..., Any]) -> None:
    """Refuse a function that needs by position what is only given by keyword."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have none
        return
    by_position = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    wrong = [p.name for p in by_position if p.name in RESERVED]
    if wrong:
        raise TypeError(
            f"{called} takes {wrong[0]} by position, and is given it by keyword only: put a * before it, as in "
            f"{_checks.name_of(function)}(params, batch, *, {', '.join(wrong)})"
        )


def _measured(metric: Callable[..., Any], params: PyTree, data: PyTree, aux: PyTree, known: Mapping[str, Any]) -> Any:
    keywords = given(metric, aux, False, known)
    batch = () if data is None or not _takes_data(metric, keywords) else (data,)
    value = metric(params, *batch, **keywords)
    # A loss with a state returns the next one too, which a measurement has no use for.
    return value[0] if "aux" in keywords and isinstance(value, tuple) and len(value) == 2 else value


def _takes_data(metric: Callable[..., Any], keywords: Mapping[str, Any]) -> bool:
    """Whether a metric can be called with two arguments, or cannot be called with one either."""
    return _checks.takes(metric, 2, keywords) or not _checks.takes(metric, 1, keywords)


def _real_scalar(name: str, value: Any) -> Float[Array, ""] | Int[Array, ""] | Bool[Array, ""]:
    """What a metric returned as an array, if it is one real number."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"the metric behind {name!r} must return a scalar, got {type(value).__name__}") from None
    if array.shape != ():
        raise TypeError(f"the metric behind {name!r} must return a scalar, got shape {array.shape}")
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
        return array
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"the metric behind {name!r} must return a real number, got dtype {array.dtype}")
    wide = array.astype(working_dtype(array))
    if array.dtype == jnp.bfloat16:  # XLA may drop the conversion to bfloat16 and back, and with it the rounding
        wide = jax.lax.reduce_precision(wide, exponent_bits=8, mantissa_bits=7)
    return wide.astype(float)
