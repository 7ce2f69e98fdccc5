"""Argument checks: an error names the argument, the value, what is accepted and the nearest valid choice."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._jaxpr import is_traced as is_traced
from ._jaxpr import is_tracing


def not_compiled(name: str, *arguments: Any) -> None:
    """Refuse a call from inside a compiled program, of a function that runs programs and reads what they return.

    Raises:
        TypeError: something is being traced, or an argument is.
    """
    if is_tracing() or any(map(is_traced, jax.tree.leaves(arguments))):
        raise TypeError(f"{name} runs programs and reads what they return: call it outside jit, vmap and grad")


def number(name: str, value: Any, *, low: float = -np.inf, high: float = np.inf, open_high: bool = False) -> Any:
    """Return `value` if every entry is a finite number in range; of traced values only the type is known.

    Raises:
        TypeError: `value` is not a number or an array of numbers.
        ValueError: an entry is NaN, infinite, or outside [low, high] (or [low, high) with `open_high`, also after
            rounding to the default precision).
    """
    accepted = _interval(low, high, open_high)
    array = value if is_traced(value) else np.asarray(value)
    if not _is_real(array.dtype):
        kind = f"a traced {array.dtype}" if is_traced(value) else f"{value!r} of type {type(value).__name__}"
        raise TypeError(f"{name} must be a real number in {accepted}, got {kind}")
    if is_traced(value):
        return value
    bad = ~np.isfinite(array) | (array < low) | ((array >= high) if open_high else (array > high))
    if bad.any():
        raise ValueError(f"{name} must be in {accepted}, got {array[bad].flat[0]}")
    with np.errstate(over="ignore"):
        rounded = array.astype(jax.dtypes.canonicalize_dtype(float))
    if np.isinf(rounded).any():
        large = array[np.isinf(rounded)].flat[0]
        raise ValueError(f"{name} must be in {accepted}, got {large}, which {rounded.dtype} cannot hold")
    if open_high and (rounded >= high).any():
        below = np.nextafter(rounded.dtype.type(high), rounded.dtype.type(low))
        raise ValueError(
            f"{name} must be in {accepted}, got {array[rounded >= high].flat[0]}, which {rounded.dtype} rounds to "
            f"{high:g}; the largest number below is {below!s}"
        )
    return value


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def scalar(name: str, value: Any, **interval: Any) -> Any:
    """Return `value` if it is one number in range."""
    if np.shape(value) != ():
        raise TypeError(f"{name} must be one number, got shape {np.shape(value)}")
    return number(name, value, **interval)


def key(name: str, value: Any) -> Any:
    """Return `value` if it is one random key."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    if not (typed or (dtype == jnp.uint32 and len(shape or ()) == 1)):
        raise TypeError(f"{name} must be one random key, for example jax.random.key(0), got {value!r}")
    return value


def _interval(low: float, high: float, open_high: bool) -> str:
    left = "(-inf" if low == -np.inf else f"[{low:g}"
    right = "inf)" if high == np.inf else f"{high:g}{')' if open_high else ']'}"
    return f"{left}, {right}"


# How people write booleans in texts: command lines, YAML, tables.
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def boolean(name: str, value: Any) -> bool:
    """Return `value` as a bool; it chooses the program, so it must be concrete. Nothing else counts as true or false.

    Raises:
        TypeError: it is anything else, such as the text "false", which Python takes as true.
    """
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if is_traced(value):
        raise TypeError(f"{name} must be True or False, got a traced {value.dtype}: it chooses the program")
    meant = TRUTH.get(value.lower()) if isinstance(value, str) else None
    fix = "" if meant is None else f"; write {name}={meant}"
    raise TypeError(f"{name} must be True or False, got {value!r} of type {type(value).__name__}{fix}")


def count(name: str, value: Any, *, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int in [low, high]; it chooses the program, so it must be concrete."""
    accepted = f"an integer of at least {low}" + (f" and at most {high}" if high is not None else "")
    try:
        integer = operator.index(value)
    except (TypeError, jax.errors.TracerIntegerConversionError):
        raise TypeError(f"{name} must be {accepted}, got {value!r} of type {type(value).__name__}") from None
    if isinstance(value, bool) or integer < low or (high is not None and integer > high):
        raise ValueError(f"{name} must be {accepted}, got {value!r}")
    return integer


def divisor(name: str, value: Any, whole_name: str, whole: int) -> int:
    """Return `value` as an int that divides `whole`; otherwise name the nearest that does."""
    value = count(name, value, high=whole)
    if whole % value:
        close = min((d for d in range(1, whole + 1) if whole % d == 0), key=lambda d: abs(d - value))
        raise ValueError(f"{name} must divide {whole_name}={whole}, got {value}; the nearest that does is {close}")
    return value


def choice(name: str, value: Any, accepted: Iterable[str]) -> str:
    """Return `value` if it is one of `accepted`; otherwise name the nearest."""
    accepted = list(accepted)
    if value not in accepted:
        known = f"accepted: {', '.join(accepted)}"
        raise ValueError(f"unknown {name} {value!r}{nearest(value, accepted, known)}")
    return value


# What other libraries and the lectures call it -> what it may be called here.
_ELSEWHERE = {
    **dict.fromkeys(["sgd", "gd", "steepest_descent"], "gradient_descent"),
    **{"nag": "nesterov", "heavy_ball": "momentum", "momentum": "beta"},
    **{"epsilon": "eps", "beta1": "b1", "beta2": "b2", "val": "validation", "acc": "accuracy"},
}


def nearest(value: Any, accepted: Iterable[str], then: str = "") -> str:
    """The text "; did you mean 'x'? then", without the question when no choice is close, or without `then`."""
    accepted, value = list(accepted), str(value)
    small = {name.lower(): name for name in accepted}
    words = "_".join(_ELSEWHERE.get(word, word) for word in value.lower().split("_"))  # "val_loss": validation_loss
    known = [name for name in (_ELSEWHERE.get(value.lower()), words) if name in accepted]
    alike = difflib.get_close_matches(value, accepted, n=1) or difflib.get_close_matches(value.lower(), small, n=1)
    initials = [name for name in accepted if "_" in name and "".join(word[:1] for word in name.split("_")) == value]
    close = known or alike or initials  # "lr" is the learning_rate of many libraries
    question = f"; did you mean {(close[0] if close[0] in accepted else small[close[0]])!r}?" if close else ""
    return f"{question}{' ' if question else '; '}{then}" if then else question


def name_of(fun: Callable[..., Any]) -> str:
    """A readable name for any callable, a `functools.partial` or a class included."""
    inner = getattr(fun, "func", fun)
    return getattr(inner, "__name__", type(inner).__name__)


def one_table(function: str, table: Any) -> None:
    """Refuse the tree of several families.

    Raises:
        TypeError: it names what to pass instead.
    """
    if hasattr(table, "children"):
        families = list(table.children)
        named = f"one family, such as tree[{families[0]!r}].to_dataset(); the tree holds {', '.join(families)}"
        raise TypeError(f"{function} takes the table of {named if families else 'a sweep, and this tree holds none'}")


def takes(function: Callable[..., Any], count: int, keywords: Iterable[str] = ()) -> bool:
    """Whether a function takes this many arguments and these keywords; True if its signature is not known."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return True
    try:
        signature.bind(*[None] * count, **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def keyword_names(factory: Callable[..., Any]) -> list[str]:
    """Names of the arguments that `factory` accepts by keyword."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in inspect.signature(factory).parameters.values() if p.kind in kinds]


def takes_any(factory: Callable[..., Any]) -> bool:
    """Whether `factory` accepts every keyword, as one does that passes them on."""
    kinds = {parameter.kind for parameter in inspect.signature(factory).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds


def params(name: str, tree: Any) -> Any:
    """Return `tree` if it holds arrays, and every leaf is one of floating or complex numbers.

    Raises:
        TypeError: the tree is empty, or a leaf is an integer, boolean or not an array; the path is named.
    """
    if not jax.tree.leaves(tree):
        raise TypeError(f"{name} must hold at least one array, got {tree!r}")
    return inexact(name, tree)


def inexact(name: str, tree: Any) -> Any:
    """Return `tree` if every leaf is an array of floating or complex numbers; a tree may have no leaves."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        dtype = _dtype(leaf)
        if dtype is not None and jnp.issubdtype(dtype, jnp.inexact):
            continue
        where = f"{name}{jax.tree_util.keystr(path)}"
        if dtype is None:
            raise TypeError(f"{where} must be an array of floats, got {type(leaf).__name__}")
        if hasattr(tree, "params"):
            raise TypeError(f"{name} must be the parameters alone, got a {type(tree).__name__}: pass its .params")
        raise TypeError(
            f"{where} has dtype {dtype}; gradients need floating or complex numbers: cast it, "
            f"for example jnp.asarray({where}, jnp.float32)"
        )
    return tree


def _dtype(value: Any) -> Any:
    """The dtype of a number or an array; None of anything else."""
    try:
        return None if value is None else jnp.result_type(value)
    except TypeError:
        return None


def matching(name: str, tree: Any, other_name: str, other: Any) -> list[Any]:
    """The leaves of `other`, which must have the structure of `tree` and, leaf by leaf, its shapes.

    Raises:
        ValueError: structure or shapes differ; the first path that differs is named with both sides.
    """
    leaves, structure = jax.tree.flatten(tree)
    try:
        entries = structure.flatten_up_to(other)  # type: ignore[attr-defined]
    except ValueError:
        entries = None
    if entries is None or not all(map(_fits, leaves, entries)):
        raise ValueError(_first_difference(name, tree, other_name, other))
    return entries


def _fits(leaf: Any, entry: Any) -> bool:
    return jax.tree_util.all_leaves([entry]) and np.shape(entry) == np.shape(leaf)


def _first_difference(name: str, tree: Any, other_name: str, other: Any) -> str:
    sides = {}
    for side, one in ((name, tree), (other_name, other)):
        leaves = jax.tree_util.tree_leaves_with_path(one)
        sides[side] = {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
    for path in [*sides[name], *sides[other_name]]:
        found = [
            f"{side}{path} has shape {shapes[path]}"
            if path in shapes
            else f"{side} has nothing at {path or 'its root'}"
            for side, shapes in sides.items()
        ]
        if len({shapes.get(path) for shapes in sides.values()}) > 1:
            return f"{name} and {other_name} must match leaf by leaf, but {' and '.join(found)}"
    structures = f"{jax.tree.structure(tree)} and {jax.tree.structure(other)}"
    return f"{name} and {other_name} must have one structure, got {structures}"


def schedule(name: str, value: Callable[..., Any]) -> Callable[..., Any]:
    """Return `value` if it is a function of the step that gives one real number.

    It is run once on a traced step, without compiling. One written in plain Python, which needs to know the step,
    passes: it works outside of compiled programs.

    Raises:
        TypeError: it is a class, takes more than the step, or gives a function, a vector or no real number.
    """
    expected = f"{name} must be a number or a schedule, a function of the step that gives one real number"
    module = getattr(value, "__module__", None) or ""
    called = f"{'schedules.' if module.endswith('.schedules') else ''}{name_of(value)}"
    if isinstance(value, type):
        raise TypeError(f"{expected}; got the class {called}: call it first: {called}(...)")
    if not takes(value, 1):
        taken = ", ".join(inspect.signature(value).parameters)
        raise TypeError(f"{expected}; {called} takes ({taken}): call it first: {called}(...)")

    def check(step: Any) -> None:
        rate = value(step)
        if callable(rate):
            raise TypeError(f"{expected}; {called} gives a function: call it first: {called}(...)")
        dtype = _dtype(rate)
        if dtype is None:
            raise TypeError(f"{expected}; {called} gives {type(rate).__name__}")
        if jnp.shape(rate) != () or not _is_real(dtype):
            raise TypeError(f"{expected}; {called} gives {dtype} of shape {jnp.shape(rate)}")

    with contextlib.suppress(*NEEDS_A_VALUE):
        jax.eval_shape(check, jax.ShapeDtypeStruct((), jnp.int32))
    return value


# What JAX raises where a program asks for the value of something traced.
NEEDS_A_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def finite_data(name: str, data: Any, *, allow_nan: bool = False) -> Any:
    """Return `data` if no concrete floating leaf holds a NaN or an infinity; with `allow_nan` NaN may be there."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        if is_traced(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            continue
        array = np.asarray(leaf)  # on the host, where there is nothing to compile
        infinite, missing = int(np.isinf(array).sum()), int(np.isnan(array).sum())
        bad = infinite + (0 if allow_nan else missing)
        if bad:
            where = f"{name}{jax.tree_util.keystr(path)}"
            only_nan = missing and not infinite
            way_out = "; for a loss that leaves NaN out pass allow_nan=True" if only_nan else ""
            raise ValueError(
                f"{where} holds {bad} non-finite values of {np.size(leaf)}; every entry must be finite{way_out}"
            )
    return data


def not_empty(name: str, tree: Any) -> Any:
    """Return `tree` if every array in it has an entry along its leading axis.

    Raises:
        ValueError: one has not; a mean over it would be NaN.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        shape = np.shape(leaf)
        if shape and shape[0] == 0:
            where = f"{name}{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where} must hold at least one example, got none, shape {shape}")
    return tree


def examples(name: str, data: Any, *, low: int = 1) -> int:
    """The number of examples, at least `low`: the leading length that every leaf of `data` shares."""
    lengths = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        shape = np.shape(leaf)
        lengths[f"{name}{jax.tree_util.keystr(path)}"] = shape[0] if shape else None
    if not lengths:
        raise ValueError(f"{name} must hold at least one array with a leading axis of examples, got {data!r}")
    first = next(iter(lengths.values()))
    if first is None or len(set(lengths.values())) > 1:
        raise ValueError(f"every leaf of {name} needs the same leading length, one entry per example; got {lengths}")
    if first < low:
        not_empty(name, data)
    return first


def scalar_loss(loss: Callable[..., Any], *args: Any) -> jax.ShapeDtypeStruct:
    """The abstract value of `loss(*args)`, which must be one real floating number.

    Raises:
        TypeError: it is not, or the loss is no function, or it asks by keyword for what it is not given here.
    """
    if not callable(loss):
        raise TypeError(f"loss must be a function of the parameters, got {loss!r}{_loss_inside(loss)}")
    nothing_by_keyword(loss)
    takes_no_more(loss, len(args))
    return scalar_value(f"loss {name_of(loss)!r}", jax.eval_shape(loss, *args))


def nothing_by_keyword(loss: Callable[..., Any]) -> None:
    """Refuse a loss that asks by keyword for what only a run gives it.

    Raises:
        TypeError: naming what it asks for, and how it is given once.
    """
    missing = _needed_keywords(loss)
    if not missing:
        return
    # `functools.partial` would leave the pair (value, aux) of a loss with a state.
    values = ", ".join(f"{name}={'False' if name == 'train' else '...'}" for name in missing)
    partial = "" if "aux" in missing else f", or functools.partial(loss, {values})"
    raise TypeError(
        f"loss {name_of(loss)!r} asks for {', '.join(missing)} by keyword, which must be given once before: pass "
        f"problem.{_fixed(missing)}{partial}"
    )


def takes_no_more(loss: Callable[..., Any], count: int) -> None:
    """Refuse a loss that takes more by position than the `count` arguments that it will be given.

    Raises:
        TypeError: naming what it takes and what it is given.
    """
    try:
        parameters = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have none
        return
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    left = [one.name for one in parameters if one.name in names[count:] and one.default is one.empty]
    if left:
        taken, given_alone = ", ".join(names), ", ".join(names[:count])
        raise TypeError(
            f"the loss {name_of(loss)!r} takes {taken} and is given {given_alone} alone: data are given to Problem("
            "loss, init, data=...) or follow the parameters, and all parameters are one pytree, such as one array"
        )


def _loss_inside(problem: Any) -> str:
    """What to pass in place of a problem, which holds a loss; nothing for anything else."""
    inside = getattr(problem, "loss", None)
    if not callable(inside):
        return ""
    missing = _needed_keywords(inside)
    data = "" if getattr(problem, "data", None) is None else ", and its .data after the parameters"
    if missing:
        return f"; its loss asks for {', '.join(missing)} by keyword: pass problem.{_fixed(missing)}{data}"
    return f"; pass its .loss{data}"


def _fixed(missing: list[str]) -> str:
    """The call of `Problem.fixed`, which evaluates and so gives `train` itself."""
    return f"fixed({', '.join(f'{name}=...' for name in missing if name != 'train')})"


def _needed_keywords(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have none
        return []
    return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]


def scalar_value(called: str, out: Any) -> jax.ShapeDtypeStruct:
    """Return `out` if it is the abstract value of one real floating number."""
    if not isinstance(out, jax.ShapeDtypeStruct):
        raise TypeError(f"{called} must return one scalar, got {jax.tree.structure(out)}")
    if out.shape != ():
        raise TypeError(f"{called} must return a scalar, got shape {out.shape}; for example jnp.mean(...) of it")
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(f"{called} must return a real floating number, got dtype {out.dtype}")
    return out
