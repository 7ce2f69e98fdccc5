"""The machine: one JAX device per CPU core, programs compiled quickly, and compiled programs kept between processes."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path

import jax

from . import _checks, _jaxpr

__all__ = [
    "compile_quickly",
    "use_compilation_cache",
    "use_cpu_cores",
]


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
    kept = not _jaxpr.set_cpu_devices(wanted)
    if kept and jax.default_backend() == "cpu" and jax.local_device_count() < wanted:
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


def memory_for(device: jax.Device, sharing: int = 1) -> int | None:
    """Bytes that programs on a device may take, of memory that `sharing` devices of the machine share, if known.

    A part of what there is, the same every time: what happens to be free changes, and the width of a sweep depends on
    this. Other programs need memory too, most of all where the device's memory is the machine's.
    """
    limit = _jaxpr.memory_limit(device)
    if limit is not None:
        return int(0.8 * limit)
    machine = _memory_of_machine() if device.platform == "cpu" else None
    return None if machine is None else machine // (2 * sharing)


def _memory_of_machine() -> int | None:
    """Bytes of memory, or what the control group of this process is allowed, as by SLURM or a container."""
    try:
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
    root = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        groups = [line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()]
        own = {root / group.lstrip("/") for group in groups}
        files = {path / "memory.max" for one in own for path in (one, *one.parents) if path.is_relative_to(root)}
        texts = [file.read_text().strip() for file in files if file.is_file()]
        limits += [int(text) for text in texts if text.isdigit()]  # or "max"
    return min(limits)


def use_compilation_cache(folder: str | os.PathLike[str] | None = None) -> Path | None:
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


def compile_quickly(level: int = 1) -> bool:
    """Compile for the CPU in a half to a third of the time, into slower programs; call it before `use_cpu_cores`.

    XLA reads the level when JAX makes its devices, which `use_cpu_cores` or any first use of JAX does.

    For small problems, whose first run is mostly compiling. It sets the variable XLA_FLAGS, which processes
    started from this one inherit. Floats differ by rounding from those of fully optimized programs. XLA reads the level
    for accelerators too: leave it out where one does the work.

    Arguments:
        level: 1 optimizes programs a little, for those that run for seconds; 0 does not, and compiles fastest.

    Returns:
        Whether it was done. Where XLA_FLAGS is set already, or this version of JAX may not know these flags, nothing
        changes.

    Raises:
        TypeError, ValueError: `level` is not 0 or 1.

    Example:
        >>> import jaxopt_notes as jon
        >>> done = jon.compile_quickly()  # at the top of a script
    """
    _checks.count("level", level, low=0, high=1)
    flags = _jaxpr.quick_flags(level)
    if flags is None:
        return False
    if _jaxpr.devices_are_made():
        warnings.warn(
            "compile_quickly() came after JAX made its devices, so programs are compiled as before; call it at the top "
            "of the script, before use_cpu_cores(), or restart the kernel and run it first",
            stacklevel=2,
        )
        return False
    _jaxpr.use_flags(flags)
    return True
