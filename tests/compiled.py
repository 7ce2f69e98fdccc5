"""What tests read of JAX that it does not promise: what it compiles, and how many programs a function has."""

import contextlib

import jax
import pytest


@contextlib.contextmanager
def compiled_programs(read=lambda module: str(module.operation.attributes["sym_name"]).strip('"')):
    """A list to which every program is added that JAX compiles from here on: its name, or what is read of it."""
    found: list[str] = []
    compile_with = jax._src.compiler.backend_compile_and_load

    def counted(backend, module, *args, **kwargs):
        found.append(read(module))
        return compile_with(backend, module, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax._src.compiler, "backend_compile_and_load", counted)
        yield found


def programs_of(jitted):
    """How many programs a jitted function holds."""
    return jitted._cache_size()
