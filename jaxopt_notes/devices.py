"""The machine: one JAX device per CPU core, and compiled programs kept between processes."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import jax

from . import _checks


def use_cpu_cores(cores: int | None = None) -> int:
    """Make every CPU core a JAX device, so that a sweep uses them all; call it before JAX is first used.

    Without it XLA runs most of a sweep on one core. With an accelerator this changes nothing: sweeps run there.

    Arguments:
        cores: number of devices; the cores this process may use when None.

    Returns:
        The number of devices that sweeps will use.

    Raises:
        TypeError, ValueError: `cores` is not a positive integer.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.use_cpu_cores() >= 1
        True
    """
    wanted = _available_cores() if cores is None else _checks.count("cores", cores)
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError:  # JAX has made its devices already: keep them, and say so if they are fewer
        if jax.default_backend() == "cpu" and jax.local_device_count() < wanted:
            warnings.warn(
                f"use_cpu_cores() came after JAX was first used, so sweeps have {jax.local_device_count()} of {wanted} "
                f"cores; call it at the top of the script, or restart the kernel and run it first",
                stacklevel=2,
            )
    return jax.local_device_count()


def _available_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def use_compilation_cache(folder: str | os.PathLike | None = None) -> Path | None:
    """Keep compiled programs on disk, so that the next process starts without compiling them again.

    Arguments:
        folder: where to keep them; the user's cache folder when None.

    Returns:
        The folder, or None when it cannot be written, which costs time but changes no result.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> jon.use_compilation_cache(tempfile.mkdtemp()) is not None
        True
    """
    import platformdirs

    path = Path(folder) if folder is not None else platformdirs.user_cache_path("jaxopt-notes") / "xla"
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            return None
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return path
