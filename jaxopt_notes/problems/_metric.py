"""`Metric`: a function to be measured, and the direction in which it is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .. import _checks

Direction = Literal["max", "min"]
DIRECTIONS: tuple[Direction, ...] = ("max", "min")
SIGNS: Mapping[str, int] = {"max": -1, "min": 1}  # what makes lower better of either
PARTS = (
    "final",
    "validation",
    "test",
)  # of the data: what is measured on one is the column `test_accuracy`, say
LOSSES = ("loss", "initial_loss", *(f"{part}_loss" for part in PARTS))  # minimised, as that is what a run does


@dataclass(frozen=True)
class Metric:
    """A metric with the direction in which it is better; it is called as the function that it holds.

    Attributes:
        function: `metric(params)` or `metric(params, data)`, a scalar; it may ask by keyword for what a loss may.
        direction: "max" if a higher value is better, "min" if a lower one is.

    Raises:
        TypeError: `function` is not callable, or has a direction already. ValueError: another direction.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> largest = jon.Metric(lambda x: jnp.max(jnp.abs(x)), direction="min")
        >>> bowl = jon.Problem(lambda x: jnp.sum(x**2), init=jnp.ones(3), metrics={"largest": largest})
        >>> space = jon.grid(learning_rate=[0.01, 0.1])
        >>> table = jon.sweep(bowl, jon.gradient_descent, space, steps=5, progress=False)
        >>> table.final_largest.attrs["direction"], jon.best(table, "final_largest").config
        ('min', {'learning_rate': 0.1})
    """

    function: Callable[..., Any]
    direction: Direction

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"function must be a function of the parameters, got {self.function!r}")
        if isinstance(self.function, Metric):
            raise TypeError(f"function must be a function without a direction, got {self.function!r}")
        _checks.choice("direction", self.direction, DIRECTIONS)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        return self.function(*args, **kwargs)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function, whose signature is that of the metric."""
        return self.function

    @property
    def __name__(self) -> str:
        return _checks.name_of(self.function)


def maximize(function: Callable[..., Any]) -> Metric:
    """A metric that is the better the higher it is, such as an accuracy, an AUC or an R^2.

    One that is the better the lower is `Metric(function, direction="min")`.

    Arguments:
        function: `metric(params)` or `metric(params, data)`, a scalar.

    Returns:
        A `Metric` for `Problem(metrics=)`. The direction goes with the columns of a sweep as `attrs["direction"]`.

    Raises:
        TypeError: `function` is not callable, or has a direction already.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> share = jon.maximize(lambda x: jnp.mean(jnp.abs(x) < 0.5))
        >>> bowl = jon.Problem(lambda x: jnp.sum(x**2), init=jnp.ones(3), metrics={"share_inside": share})
        >>> space = jon.grid(learning_rate=[0.01, 0.1])
        >>> table = jon.sweep(bowl, jon.gradient_descent, space, steps=5, progress=False)
        >>> print(str(jon.best(table, "final_share_inside")).splitlines()[0])
        learning_rate=0.1: median final_share_inside 1 over 1 seed, which gives no interval, the highest
    """
    return Metric(function, "max")


def directions(metrics: Mapping[str, Callable[..., Any]], columns: Iterable[str]) -> dict[str, Direction]:
    """The direction of every column that has one: of the losses, and of the metrics that declare theirs."""
    known: dict[str, Direction] = dict.fromkeys(LOSSES, "min")
    for name, metric in metrics.items():
        if isinstance(metric, Metric):
            known |= {f"{part}_{name}": metric.direction for part in PARTS}
    return {column: known[column] for column in columns if column in known}


def known_direction(metric: str, declared: Any, direction: Direction | None = None) -> Direction:
    """The direction of a metric: as given, else as declared, else "min" for a loss.

    Raises:
        ValueError: as `direction_of`.
    """
    if direction is not None:
        _checks.choice("direction", direction, DIRECTIONS)
        return direction
    if declared is not None or metric in LOSSES:
        return declared or "min"
    part, _, name = metric.partition("_")
    declare = (
        f"declare it with the metric, metrics={{{name!r}: jon.maximize({name})}} or jon.Metric({name}, "
        f"direction='min'), or "
        if part in PARTS and name
        else ""
    )
    raise ValueError(
        f"{metric!r} does not declare whether higher or lower is better: {declare}pass direction='max' "
        f"or direction='min'"
    )


def direction_attrs(column: str, direction: str) -> dict[str, str]:
    """The attributes in which a variable records its direction.

    They name it, as arithmetic of xarray keeps attributes: an error made as 1 - accuracy would say that it is the
    better the higher.
    """
    return {"direction": direction, "direction_of": column}
