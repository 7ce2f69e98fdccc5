"""Strict arithmetic, four CPU devices, programs compiled quickly, and warnings as errors (see pyproject.toml)."""

import gc
import os
import subprocess
from pathlib import Path

# The test processes share few cores, on which BLAS threads would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from jaxopt_notes.devices import compile_quickly

# Half of the suite's time would be XLA optimizing programs that run once. `XLA_FLAGS= make test` tests what users run.
compile_quickly(level=0)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tracing makes many objects that stay; looking through them for cycles every so often took a sixth of the time.
gc.freeze()
gc.set_threshold(50_000, 20, 50)


ROOT = Path(__file__).parent.parent
CACHES = ("__pycache__/", ".pytest_cache/", ".hypothesis/", ".ruff_cache/", ".mypy_cache/")
TREE = pytest.StashKey[set[str]]()


def files_by_git():
    """What git reports of the tree, ignored files included; nothing where there is no git."""
    command = ["git", "status", "--porcelain", "--ignored"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return set()
    return {line for line in done.stdout.splitlines() if not line.endswith(CACHES)}


def pytest_sessionstart(session):
    """Note the state of the tree, in the process that distributes the tests."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[TREE] = files_by_git()


def pytest_sessionfinish(session):
    """Fail a suite that leaves files behind, or changes some."""
    if TREE in session.config.stash and (left := sorted(files_by_git() - session.config.stash[TREE])):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(
            f"\nchanged in the tree while the tests ran, by a test or by you: {', '.join(left)}", red=True
        )


def pytest_collection_modifyitems(items):
    """Notebooks first, as they take longest; studies last, when the notebooks have measured them."""
    items.sort(key=lambda item: ("test_studies.py" in item.nodeid) - ("test_notebooks.py" in item.nodeid))


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def shared_studies(tmp_path_factory):
    """One folder of results for all test processes: a study is measured once, by whoever needs it first."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "studies"


@pytest.fixture
def computing(monkeypatch):
    """For processes that compute for seconds: XLA optimizes their programs a little."""
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "").replace("level=0", "level=1"))


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Forget the compiled programs of each file, and the folder for them that its code may have switched on.

    Every program holds memory maps, of which Linux gives a process 65,530 by default; with more, XLA ends the process.
    """
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    reset_cache()  # without which JAX reads on from the folder, and tests that count compilations find none
    jax.clear_caches()
