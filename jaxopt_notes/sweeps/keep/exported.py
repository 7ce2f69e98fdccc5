"""End points as Orbax checkpoints, which flax and others read and write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import PyTree

from ..._digests import StoreError
from ...problems import Problem
from ..table.end_point import end_point

if TYPE_CHECKING:
    import xarray


def save_end_point(folder: str | os.PathLike[str], table: xarray.Dataset, problem: Problem, **selection: Any) -> Path:
    """Write the end point of one trial as an Orbax checkpoint, `{"params": ..., "aux": ...}`; aux if the loss has one.

    Arguments:
        folder: a new folder.
        table, problem, selection: as in `end_point`.

    Returns:
        The folder.

    Raises:
        TypeError, ValueError: as `end_point`. FileExistsError: the folder is there.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley, folder = jon.problems.quadratic([1.0, 20.0]), tempfile.mkdtemp() + "/end"
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.05]), steps=10,
        ...                   keep="params", progress=False)
        >>> jon.save_end_point(folder, table, valley, learning_rate=0.05, seed=0).name
        'end'
        >>> bool((jon.load_end_point(folder, valley) == jon.end_point(table, valley, learning_rate=0.05, seed=0)).all())
        True
    """
    import orbax.checkpoint

    found, path = end_point(table, problem, **selection), Path(folder).absolute()
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; give a new folder")
    params, aux = found if problem.asks.aux else (found, None)
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, {"params": params} | ({"aux": aux} if problem.asks.aux else {}))
    return path


def load_end_point(folder: str | os.PathLike[str], problem: Problem) -> PyTree:
    """Read parameters, and aux if the loss has one, from an Orbax checkpoint `{"params": ..., "aux": ...}`.

    Arguments:
        folder: from `save_end_point`, or another program.
        problem: the problem; it gives the structure, shapes and dtypes.

    Returns:
        The parameters as a pytree; the pair (params, aux) if the loss asks for aux. As `init` of another problem they
        are what a sweep starts from.

    Raises:
        FileNotFoundError: there is no such folder. StoreError: what it holds is no checkpoint or does not fit the
            problem.

    Example:
        >>> import tempfile, jax.numpy as jnp, jaxopt_notes as jon, orbax.checkpoint
        >>> valley, folder = jon.problems.quadratic([1.0, 20.0]), tempfile.mkdtemp() + "/end"
        >>> with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        ...     checkpointer.save(folder, {"params": jnp.array([3.0, 4.0])})
        >>> jon.load_end_point(folder, valley).tolist()
        [3.0, 4.0]
    """
    import orbax.checkpoint

    path = Path(folder).absolute()
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder")
    params, aux = problem.start_shapes()
    likes = {"params": params} | ({"aux": aux} if problem.asks.aux else {})
    try:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            found = checkpointer.restore(path, likes)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise StoreError(f"{path} cannot be read as the end point of {problem.name} ({error})") from error
    return (found["params"], found["aux"]) if problem.asks.aux else found["params"]
