"""Strict arithmetic for our own modules, four CPU devices, and warnings as errors (see pyproject.toml)."""

import os
from pathlib import Path

# The test processes share few cores, on which BLAS threads would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Compiled programs are kept from run to run, which saves most of a run; a folder per worker, as writes are not atomic.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(Path(__file__).parent.parent / ".pytest_cache" / f"jax-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield
