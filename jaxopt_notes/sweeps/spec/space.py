"""Spaces: which configurations a sweep visits, as axes or as columns of values, and the labels of values.

A space knows nothing of optimizers and problems; `accepted` compares it with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _checks
from ..._shown import readable
from ...minimize import HISTORIES
from .arguments import is_number, plain

CONFIGURATION = "configuration"  # the dim of a space that is a list of points
EVALUATION_STEP = "evaluation_step"  # the dim of what is measured of the validation data along a run
BEST_STEP = "best_step"
_VALUES = 6  # of an axis that are shown
FAMILY = "family"  # what a configuration of a sweep of families has besides its hyperparameters
RESERVED = frozenset(
    [
        "seed",
        "step",
        "trial",
        CONFIGURATION,
        "epoch",
        "examples_seen",
        *HISTORIES,
        "initial_loss",
        "final_loss",
        "params",
        "aux",
        "state",
        "iterate",
        "status",
        "stopped_at",
        "skipped",
        "rung",
        "rung_metric",
        "pruned_at",
        EVALUATION_STEP,
        BEST_STEP,
    ]
)


@readable
@dataclass(frozen=True, eq=False)
class Space:
    """The configurations of a sweep: a grid of named axes, or a list of points.

    `a * b` visits every combination of two spaces, `a + b` the points of `a` and then those of `b`. A hyperparameter
    that only one part of a sum names is absent in the other part: the optimizer's own default holds there.

    Attributes:
        axes: name -> values, in the order given; the last axis varies fastest. A list of points has one axis,
            `configuration`, which counts them.
        points: name -> one value per configuration, for a list of points; NaN where it is absent. None for a grid.
    """

    axes: Mapping[str, np.ndarray]
    points: Mapping[str, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis."""
        return tuple(len(values) for values in self.axes.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters."""
        return tuple(self.axes if self.points is None else self.points)

    def __len__(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    def __str__(self) -> str:
        what = "every combination of" if self.points is None else "a list of points in"
        columns = self.axes if self.points is None else self.points
        return "\n".join([f"{len(self)} configurations, {what}", *(_shown(*column) for column in columns.items())])

    def columns(self) -> dict[str, np.ndarray]:
        """The configurations as columns: name -> values of shape (len(self),)."""
        if self.points is not None:
            return dict(self.points)
        mesh = np.meshgrid(*self.axes.values(), indexing="ij")
        return {name: values.ravel() for name, values in zip(self.axes, mesh, strict=True)}

    def configurations(self) -> Iterator[dict[str, Any]]:
        """The configurations one by one, each without the hyperparameters that are absent in it."""
        columns = self.columns()
        for row in zip(*columns.values(), strict=True):
            yield {name: plain(value) for name, value in zip(columns, row, strict=True) if not is_absent(value)}

    def __mul__(self, other: Space) -> Space:
        both = _both(self, other, "*")
        shared = [name for name in self.names if name in other.names]
        if shared:
            raise ValueError(f"the factors of a product must name different axes; both name {', '.join(shared)}")
        if self.points is None and other.points is None:
            return Space({**self.axes, **other.axes})
        slow, fast = (space.columns() for space in both)
        columns = {name: np.repeat(values, len(other)) for name, values in slow.items()}
        return listed(columns | {name: np.tile(values, len(self)) for name, values in fast.items()})

    def __add__(self, other: Space) -> Space:
        both = _both(self, other, "+")
        parts = [space.columns() for space in both]
        names = dict.fromkeys([*parts[0], *parts[1]])
        filled = {
            name: [part.get(name, np.full(len(space), np.nan)) for part, space in zip(parts, both, strict=True)]
            for name in names
        }
        return different(listed({name: _joined(*columns) for name, columns in filled.items()}))


def grid(**axes: Any) -> Space:
    """The grid of every combination of the given values.

    Arguments:
        axes: name of a hyperparameter -> its values: a list or an array of shape (n,), or one value.

    Returns:
        A `Space`, for `sweep`; `*` combines it with others, `+` appends others.

    Raises:
        TypeError: a value that can be no hyperparameter. ValueError: no axis, or values that are empty, repeated or not
            finite.

    Example:
        >>> import jaxopt_notes as jon
        >>> len(jon.grid(learning_rate=[0.01, 0.1, 1.0], beta=[0.0, 0.9]))
        6
    """
    if not axes:
        raise ValueError("grid needs at least one axis, for example grid(learning_rate=[0.01, 0.1, 1.0])")
    space = Space({name: column(name, values) for name, values in axes.items()})
    for name, values in space.axes.items():
        if len(set(values.tolist())) < len(values):
            raise ValueError(f"axis {name!r} repeats values: {values.tolist()}")
    return space


def zipped(**axes: Any) -> Space:
    """The points whose hyperparameters go together: the first of every list, the second of every list, and so on.

    Arguments:
        axes: name of a hyperparameter -> its values, all of one length.

    Returns:
        A `Space` of one configuration per position, for `sweep`; multiply it by a `grid` for every combination.

    Raises:
        TypeError, ValueError: as `grid`; or the lengths differ, or a configuration is repeated.

    Example:
        >>> import jaxopt_notes as jon
        >>> len(jon.zipped(learning_rate=[0.1, 0.01], beta=[0.0, 0.9]) * jon.grid(dampening=[0.0, 0.5, 0.9]))
        6
    """
    if not axes:
        raise ValueError("zipped needs at least one axis, for example zipped(learning_rate=[0.1, 0.01], beta=[0, 0.9])")
    columns = {name: column(name, values) for name, values in axes.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"zipped axes need one length, got {', '.join(f'{n}: {k}' for n, k in lengths.items())}")
    return different(listed(columns))


def listed(columns: Mapping[str, np.ndarray], length: int | None = None) -> Space:
    """The space whose configurations are the rows of `columns`; their number is needed where there is no column."""
    length = len(next(iter(columns.values()))) if length is None else length
    return Space({CONFIGURATION: np.arange(length)}, columns)


def different(space: Space) -> Space:
    """Return `space` if no configuration of it occurs twice."""
    seen: dict[Any, int] = {}
    for i, configuration in enumerate(space.configurations()):
        first = seen.setdefault(tuple(configuration.items()), i)
        if first < i:
            words = ", ".join(f"{name}={label(value)}" for name, value in configuration.items())
            raise ValueError(f"configurations {first} and {i} are the same: {words}")
    return space


def column(name: str, values: Any, absent: bool = False) -> np.ndarray:
    """Values of one hyperparameter as an array: of numbers if they all are, otherwise of objects.

    NaN is refused, unless it means `absent`.
    """
    if isinstance(values, Mapping):
        raise TypeError(f"axis {name!r} must be a list of values, got {values!r}")
    if isinstance(values, (set, frozenset)):
        raise TypeError(f"axis {name!r} must be a list, as a set has another order in every process; give sorted(...)")
    if hasattr(values, "__next__"):
        values = list(values)
    if isinstance(values, str) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
        values = [values]
    if getattr(values, "ndim", 1) != 1:
        raise ValueError(f"axis {name!r} must be a list of numbers, got an array of shape {np.shape(values)}")
    if len(values) == 0:
        raise ValueError(f"axis {name!r} is empty; give at least one value")
    # On the host first: taken one by one, the entries of a device array are as many operations of JAX.
    values = np.asarray(values) if hasattr(values, "dtype") else values
    values = [_plain(value) for value in values]
    if not all(map(is_number, values)):
        return _objects(name, values)
    array = np.asarray(values)
    bad = ~np.isfinite(array) & ~(np.isnan(array) & absent)
    if bad.any():
        raise ValueError(f"axis {name!r} must be finite, got {array[bad][0]}")
    if array.dtype.kind in "iu":
        return array.astype(int)
    # Through text, so that the label of float32 0.1 is 0.1, and casting it back is bit-identical.
    return np.array([float(str(value)) for value in values])


def _plain(value: Any) -> Any:
    """Booleans and texts as Python has them, numbers as NumPy has them, so that a float32 keeps its decimal."""
    if not hasattr(value, "dtype") or np.ndim(value) > 0:
        return value
    scalar = np.asarray(value)[()]
    return scalar if is_number(scalar) else scalar.item()


def _objects(name: str, values: list[Any]) -> np.ndarray:
    objects = np.empty(len(values), object)
    for i, value in enumerate(values):
        if isinstance(value, list) or getattr(value, "ndim", 0) > 0:
            raise ValueError(f"axis {name!r} must be a list of numbers, got an array of shape {np.shape(value)}")
        try:
            hash(value)
        except TypeError:
            raise TypeError(f"axis {name!r} must hold numbers or hashable choices, got {value!r}") from None
        if is_number(value) and np.isinf(value):
            raise ValueError(f"axis {name!r} must be finite, got {value}")
        objects[i] = value
    return objects


def _shown(name: str, values: np.ndarray) -> str:
    """The first values of an axis and its last."""
    texts = [f"{value:.4g}" if is_number(value) else str(value) for value in labels_of(values)]
    few = texts if len(texts) <= _VALUES else [*texts[: _VALUES - 1], "...", texts[-1]]
    return f"{name}: {', '.join(few)}{'' if few is texts else f' ({len(texts)} values)'}"


def in_words(configuration: Mapping[str, Any]) -> str:
    """Such as "learning_rate=0.1, centered=True"."""
    shown = (f"{name}={value:.4g}" if is_number(value) else f"{name}={value}" for name, value in configuration.items())
    return ", ".join(shown)


def is_absent(value: Any) -> bool:
    """Whether a configuration does not have this hyperparameter."""
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def label(value: Any) -> Any:
    """The label of a value in a table: the number, or a text."""
    if is_number(value):
        return value
    if isinstance(value, frozenset):  # in an order that every process has
        return f"{{{', '.join(sorted(map(str, value)))}}}"
    return _checks.name_of(value) if callable(value) else str(value)


def labels_of(values: Iterable[Any]) -> list[Any]:
    """The labels of a column's values in a table: integers, numbers, booleans, or texts, different for each value."""
    values = [plain(value) for value in values]
    if all(is_number(value) for value in values):
        whole = all(isinstance(value, int) for value in values)
        return values if whole else [float(value) for value in values]
    if all(isinstance(value, bool) for value in values):
        return values
    # Different choices may share a name, as two lambdas do; a number after it keeps them apart.
    texts: dict[Any, str] = {}
    for value in values:
        if value not in texts and not is_absent(value):
            text = str(label(value))
            same = sum(known.split(" #")[0] == text for known in texts.values())
            texts[value] = f"{text} #{same + 1}" if same else text
    return ["" if is_absent(value) else texts[value] for value in values]


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One column after another; integers stay integers where the other part has none."""
    kind = first.dtype if first.dtype == second.dtype else object
    return np.concatenate([first.astype(kind), second.astype(kind)])


def _both(first: Space, second: Any, sign: str) -> tuple[Space, Space]:
    if not isinstance(second, Space):
        raise TypeError(f"a space can only be combined with a space by {sign!r}, got {second!r}")
    return first, second
