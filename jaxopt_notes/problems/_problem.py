"""`Problem`: a loss, where to start, and the data it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .. import _checks
from .._numerics import working_dtype
from ._facts import Facts
from ._metric import PARTS


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """Everything a run or a sweep needs to know about what is minimised.

    Attributes:
        loss: `loss(params)`, or `loss(params, batch)` with `data`; a real scalar, by custom a mean over the batch.
        init: `init(key) -> params`, or a pytree of parameters to start from whatever the key.
        data: a pytree of arrays with one leading axis of training examples, or None.
        test_data: the same for examples held out, or None.
        metrics: name -> `metric(params)` or `metric(params, data)`, real scalars reported at the end on both parts of
            the data. One that takes a single argument is given the parameters alone, also where there are data.
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

    Raises:
        TypeError: `loss` is not callable, or `init` is neither a function nor a pytree of floating arrays.
        ValueError: a leaf of the data holds no example, NaN or infinity, leading axes differ, or a metric is named
            `loss`.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> bowl = jon.Problem(lambda x: jnp.sum(x**2), init=jnp.ones(3))
        >>> float(bowl.full_loss(bowl.init(None)))
        3.0
    """

    loss: Callable[..., Float[Array, ""]]
    init: Any
    data: PyTree = None
    test_data: PyTree = None
    metrics: Mapping[str, Callable[..., Float[Array, ""]]] = field(default_factory=dict)
    baseline: float | None = None
    name: str = ""
    facts: Facts | None = None
    null_directions: Callable[[PyTree], PyTree] | None = None
    allow_nan: bool = False

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise TypeError(f"loss must be a function of the parameters, got {self.loss!r}")
        if not callable(self.init):
            start = _checks.params("init", self.init)
            object.__setattr__(self, "init", lambda key: start)
        if self.test_data is not None and self.data is None:
            raise ValueError("test_data needs data: a loss of the parameters alone has nothing to be tested on")
        for name, metric in self.metrics.items():
            if not callable(metric) or not str(name).isidentifier() or name == "loss":
                raise ValueError(f"metrics must map names other than 'loss' to functions, got {name!r}: {metric!r}")
        for part in ("data", "test_data"):
            if getattr(self, part) is not None:
                _checks.examples(part, getattr(self, part))
                _checks.finite_data(part, getattr(self, part), allow_nan=self.allow_nan)
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

    def full_loss(self, params: PyTree) -> Float[Array, ""]:
        """The loss on all of the training data."""
        return self.loss(params) if self.data is None else self.loss(params, self.data)

    def evaluate(self, params: PyTree, data: PyTree, test_data: PyTree) -> dict[str, Array]:
        """Loss and metrics on `data` as `final_*` and on `test_data` as `test_*`; data are arguments, not constants.

        Each is a real scalar: floats in the default precision, integers and booleans as they are.

        Raises:
            TypeError: a metric returns something else; it is named.
        """
        parts = dict(zip(PARTS, (data, test_data) if test_data is not None else (data,), strict=False))
        measured = {"loss": self.loss, **self.metrics}
        return {
            f"{part}_{name}": _real_scalar(f"{part}_{name}", _measured(metric, params, values))
            for part, values in parts.items()
            for name, metric in measured.items()
        }


def _measured(metric: Callable[..., Any], params: PyTree, data: PyTree) -> Any:
    return metric(params) if data is None or not _takes_data(metric) else metric(params, data)


def _takes_data(metric: Callable[..., Any]) -> bool:
    """Whether a metric can be called with two arguments, or cannot be called with one either."""
    return _checks.takes(metric, 2) or not _checks.takes(metric, 1)


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
