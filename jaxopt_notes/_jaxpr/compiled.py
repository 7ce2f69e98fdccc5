"""Compiled programs and the machine: memory, collectives, XLA's flags and errors, the moment when devices are made."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import jax

F = TypeVar("F", bound=Callable[..., Any])

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "collective-broadcast", "reduce-scatter")

# Options that make XLA do less work, by the version of JAX in which they were seen to.
_QUICK: Final[dict[tuple[int, ...], dict[str, Any]]] = {
    (0, 10): {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1},
    (0, 12): {"xla_cpu_parallel_codegen_split_count": 1},
}
_ONCE: Final[dict[str, Any]] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_embed_ir_in_executable": False,
}


def quick_options() -> dict[str, Any] | None:
    """Options of `jax.jit(compiler_options=)` for a program that runs once; None where it does not run on the CPU.

    Not promised: the names of the options; XLA refuses one it does not know; `jax.version`.
    """
    if jax.default_backend() != "cpu":
        return None
    return {**_QUICK.get(jax.version.__version_info__[:2], {}), **_ONCE}


def chosen_precision() -> str | None:
    """The precision of matrix products that a user chose; None for the default of the device.

    Not promised: that the option `jax_default_matmul_precision` can be read as an attribute of `jax.config`.
    """
    chosen = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return None if chosen is None else str(chosen)


def products_are_rounded() -> bool:
    """Whether a user chose that float32 matrices may be multiplied with rounded factors, on a device that does so.

    Not promised: the names of JAX's precisions; one that is not known counts as lower.
    """
    chosen = chosen_precision()
    return chosen is not None and not chosen.lower().startswith(("highest", "float32", "float64", "f32_", "f64_"))


def full_precision() -> contextlib.AbstractContextManager[None]:
    """A context in which what is traced multiplies float32 matrices in float32, unless the user chose a precision.

    On GPUs JAX rounds the factors to 10 bits unless told otherwise, and on TPUs to 8 bits. A step of training bears
    that; the sign of a small eigenvalue does not. A rule of `custom_vjp` is traced where the derivative is taken.
    """
    if chosen_precision() is not None:
        return contextlib.nullcontext()
    return jax.default_matmul_precision("highest")


def precise(function: F) -> F:
    """The function, traced in `full_precision`."""

    @functools.wraps(function)
    def traced(*arguments: Any, **keywords: Any) -> Any:
        with full_precision():
            return function(*arguments, **keywords)

    return traced  # type: ignore[return-value]


def quick_flags(level: int) -> str | None:
    """XLA's flags for compiling quickly; None where flags are set already, or this JAX may not know them.

    Not promised: that XLA knows a flag, and it ends the process at one it does not know; `jax.version`.
    """
    known = _QUICK.get(jax.version.__version_info__[:2])
    if known is None or "XLA_FLAGS" in os.environ:
        return None
    flags = [f"--{name}={str(value).lower()}" for name, value in known.items()]
    return " ".join([*flags, f"--xla_backend_optimization_level={level}"])


def use_flags(flags: str) -> None:
    """Set XLA's flags, for this process and those that it starts.

    Not promised: that XLA reads them when JAX makes its devices, and no earlier.
    """
    os.environ["XLA_FLAGS"] = flags


def set_cpu_devices(number: int) -> bool:
    """Set the number of CPU devices; False where JAX has made its devices already.

    Not promised: that JAX refuses by a RuntimeError then.
    """
    try:
        jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:
        return False
    return True


def devices_are_made() -> bool:
    """Whether JAX has made its devices: it then refuses another number of them.

    Not promised: that options can be read as attributes of `jax.config`; as `set_cpu_devices`.
    """
    number = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    return not (set_cpu_devices(2 if number == 1 else 1) and set_cpu_devices(number))


def memory_limit(device: jax.Device) -> int | None:
    """Bytes that a device gives to this process, where it reports them.

    Not promised: `memory_stats`, which is None on the CPU, and its entry "bytes_limit".
    """
    return (device.memory_stats() or {}).get("bytes_limit")


class Bytes(NamedTuple):
    """Memory of a compiled program.

    Attributes:
        arguments: what it is given.
        results: what it returns, except arguments whose memory it reuses.
        between: intermediate values.
    """

    arguments: int
    results: int
    between: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.arguments + self.results + self.between


def bytes_needed(compiled: Any) -> Bytes:
    """The memory that a compiled program needs.

    Not promised: `memory_analysis` and its fields.
    """
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Bytes(memory.argument_size_in_bytes, results, memory.temp_size_in_bytes)


def cost_of(compiled: Any) -> tuple[float, int]:
    """(floating-point operations, kernels started) of a program, bodies of loops once.

    Not promised: `cost_analysis` and its entries, `as_text`, and what XLA calls operations that are kernels.
    """
    cost = compiled.cost_analysis()
    kernels = re.findall(r" (?:fusion|custom-call|dot|convolution|reduce|scatter|gather|sort)\(", compiled.as_text())
    return float(cost.get("flops", 0.0)), len(kernels)


def collectives_in(compiled: Any) -> list[str]:
    """The operations of a compiled program by which devices exchange values.

    Not promised: `as_text`, and what XLA calls these operations in it.
    """
    text = compiled.as_text()
    return [name for name in COLLECTIVES if name in text]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of the host or of a device.

    Not promised: the code RESOURCE_EXHAUSTED in the text of a `jax.errors.JaxRuntimeError`.
    """
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
