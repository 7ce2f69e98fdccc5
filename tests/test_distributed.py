"""Sweeps over real processes: spawned pools, a Dask cluster, `jax.distributed`; some of them are killed."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import distributed_sweep
import forked
import jax
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.sweeps.keep.store import Store
from jaxopt_notes.sweeps.run import distribute

ARGUMENTS, OPTIONS = distributed_sweep.definition()


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """The folder in which workers share their compiled programs; this process has read its settings already."""
    with pytest.MonkeyPatch.context() as patch:
        cache = str(tmp_path_factory.mktemp("cache"))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
        yield cache


@pytest.fixture(scope="module")
def whole():
    return jon.sweep(*ARGUMENTS, **OPTIONS, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def pool():
    with spawned(2) as executor:
        yield executor


def spawned(workers):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def finished(folder):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("chunk-*.nc")}


def assert_same_tables(actual, expected):
    assert set(actual.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
        assert actual[name].dtype == expected[name].dtype


class After:
    """Does something once, when so many chunks are finished."""

    def __init__(self, chunks, act):
        self.chunks, self.act, self.seen = chunks, act, []

    def __call__(self, table):
        self.seen.append(table)
        if len(self.seen) == self.chunks:
            self.act()


def test_a_pool_of_processes_gives_the_same_bits_and_tells_of_every_chunk(whole, pool):
    told = After(-1, None)
    table = jon.sweep(*ARGUMENTS, **OPTIONS, executor=pool, on_chunk=told)
    assert_same_tables(table, whole)
    assert table.attrs["fingerprint"] == whole.attrs["fingerprint"]
    flat = whole.stack(trial=("learning_rate", "beta", "seed"))
    for chunk in told.seen:
        trials = chunk.trial.values
        for name in ("learning_rate", "beta", "seed", "final_loss", "status"):
            np.testing.assert_array_equal(chunk[name], flat[name][trials], err_msg=name)
        np.testing.assert_array_equal(chunk.loss, whole.loss.values.reshape(24, -1)[trials])
        assert chunk.loss.dims == ("trial", "step")
    assert sorted(trial for chunk in told.seen for trial in chunk.trial.values) == list(range(24))


def test_workers_write_one_store_and_run_only_what_is_missing(whole, pool, tmp_path):
    told = After(-1, None)
    assert_same_tables(jon.sweep(*ARGUMENTS, **OPTIONS, executor=pool, store=tmp_path, on_chunk=told), whole)
    assert len(told.seen) == 12
    for chunk in (1, 2, 11):
        (tmp_path / f"chunk-{chunk:05}.nc").unlink()
    kept = finished(tmp_path)
    options = OPTIONS | {"width": None}  # pinned by the store
    again = After(-1, None)
    assert_same_tables(jon.sweep(*ARGUMENTS, **options, executor=pool, store=tmp_path, on_chunk=again), whole)
    assert kept.items() <= finished(tmp_path).items()
    assert sorted(chunk.trial.values[0] // 2 for chunk in again.seen) == [1, 2, 11]
    # What workers wrote, a single process goes on with.
    (tmp_path / "chunk-00005.nc").unlink()
    assert_same_tables(jon.sweep(*ARGUMENTS, **OPTIONS, store=tmp_path), whole)


def test_lambdas_numbers_and_settings_travel(pool, x64):
    """A closure over an array, float64 and a random key of another kind."""
    center = jax.numpy.array([1.0, -2.0])
    problem = jon.Problem(lambda x: jax.numpy.sum((x - center) ** 2), init=lambda key: jax.random.normal(key, (2,)))
    options = dict(seeds=8, steps=5, key=jax.random.key(3, impl="rbg"), progress=False)
    space = jon.grid(learning_rate=[0.1, 0.2, 0.3, 0.4])
    table = jon.sweep(problem, lambda learning_rate: jon.momentum(learning_rate), space, **options, executor=pool)
    assert table.attrs["width"] == 2  # so that there are 16 chunks
    assert table.final_loss.dtype == np.float64
    alone = jon.sweep(problem, lambda learning_rate: jon.momentum(learning_rate), space, **options, width=2)
    assert_same_tables(table, alone)


def stateful_problem():
    """A loss with a state, a key and numbers of its own; made here, so that it travels by value."""
    import jax.numpy as jnp

    data = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)

    def loss(w, batch, *, aux, key, train, shrink):
        keep = jax.random.bernoulli(key, 0.8, batch.shape) if train else jnp.ones(batch.shape, bool)
        value = jnp.mean((jnp.where(keep, batch, 0) - w[None]) ** 2) + shrink * jnp.sum(w**2)
        return value, {"n": aux["n"] + 1, "mean": 0.9 * aux["mean"] + 0.1 * batch.mean(0)}

    return jon.Problem(
        loss, lambda key: (jax.random.normal(key, (2,)), {"n": jnp.int32(0), "mean": jnp.zeros(2)}), data=data,
        validation=data,
    )  # fmt: skip


STATEFUL = dict(seeds=2, steps=6, batch_size=8, evaluate_every=3, keep_params=True, width=4, progress=False)


def test_losses_with_a_state_and_a_key_travel(pool, tmp_path):
    space = jon.grid(learning_rate=[0.1, 0.2], shrink=[0.0, 0.1])
    alone = jon.sweep(stateful_problem(), jon.momentum, space, **STATEFUL)
    assert (alone["aux.n"] == 7).all()
    there = jon.sweep(stateful_problem(), jon.momentum, space, **STATEFUL, executor=pool, store=tmp_path / "store")
    assert_same_tables(there, alone)


def test_a_broken_pool_says_what_is_finished_and_another_goes_on(whole, tmp_path, compiled_once):
    def pool_of(workers):
        settings = dict(mp_context=forked.CONTEXT, initializer=jon.use_compilation_cache, initargs=(compiled_once,))
        return ProcessPoolExecutor(workers, **settings)

    def kill_one():
        os.kill(next(iter(executor._processes)), signal.SIGKILL)

    with pool_of(2) as executor, pytest.raises(BrokenExecutor, match=r"a worker died .* of 24 trials are finished"):
        jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor, store=tmp_path, on_chunk=After(3, kill_one))
    kept = finished(tmp_path)
    assert 3 <= len(kept) < 12
    assert jon.open_sweep(tmp_path).attrs["trials_finished"] == 2 * len(kept)
    with pool_of(1) as executor:
        assert_same_tables(jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor, store=tmp_path), whole)
        assert kept.items() <= finished(tmp_path).items()
        # And without a store what is finished comes back.
        with pytest.warns(UserWarning, match=r"a worker died .* of 24 trials finished"):
            table = jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor, on_chunk=After(2, kill_one))
    ran = table.status.values != Status.NOT_RUN
    assert ran.sum() >= 4
    np.testing.assert_array_equal(table.final_loss.values[ran], whole.final_loss.values[ran])
    assert np.isnan(table.final_loss.values[~ran]).all()


def test_a_dask_worker_killed_in_the_middle_loses_nothing(whole, tmp_path):
    from distributed import Client, LocalCluster

    options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with LocalCluster(**options, local_directory=tmp_path / "dask") as cluster, Client(cluster) as client:
        space = jon.grid(learning_rate=[0.1, 0.2], shrink=[0.0, 0.1])
        there = jon.sweep(stateful_problem(), jon.momentum, space, **STATEFUL, executor=client.get_executor())
        assert_same_tables(there, jon.sweep(stateful_problem(), jon.momentum, space, **STATEFUL))
        pids = client.run(os.getpid)
        killed = After(3, lambda: os.kill(next(iter(pids.values())), signal.SIGKILL))
        executor = client.get_executor()
        table = jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor, store=tmp_path / "store", on_chunk=killed)
        assert_same_tables(table, whole)
        assert len(killed.seen) == 12
        assert next(iter(pids.values())) not in client.run(os.getpid).values()
        assert_same_tables(jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor), whole)  # results that travel back


def test_two_jax_processes_write_one_store(whole, tmp_path, compiled_once):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    both = [forked.start(distributed_sweep.run, port, index, tmp_path, compiled_once) for index in range(2)]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert_same_tables(jon.open_sweep(tmp_path), whole)
    assert {path.name for path in tmp_path.glob("lock*")} == {"lock", "lock-0", "lock-1"}


def test_shares_and_the_whole_exclude_each_other(tmp_path):
    first, second, third = Store(tmp_path), Store(tmp_path), Store(tmp_path)
    first.lock("-0")
    second.lock("-1")
    for share in ("", "-0"):
        with pytest.raises(jon.StoreError, match="another process is writing"):
            third.lock(share)
    first.close()
    second.close()
    third.lock()
    third.close()


def test_a_chunk_that_kills_every_worker_is_named(whole, tmp_path):
    """Dask gives such a task up with an error of its own."""

    class KilledWorker(Exception):
        pass

    class Deadly(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            def killed(share, *others):
                if 4 in share:  # of four devices here, which take four chunks
                    raise KilledWorker("Attempted to run task on 4 different workers")
                return function(share, *others)

            return super().submit(killed if len(arguments) > 2 else function, *arguments)

    with Deadly(1) as executor:
        with pytest.raises(BrokenExecutor, match=r"^chunks 4, 5, 6, 7 \(trials 8 to 15\) .* and in .*a smaller width"):
            jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor, store=tmp_path)
        kept = finished(tmp_path)
        assert len(kept) >= 4
        with pytest.warns(UserWarning, match=r"chunks 4, 5, 6, 7 \(trials 8 to 15\) killed every worker"):
            table = jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor)
    assert (table.status.values.ravel()[:8] != Status.NOT_RUN).all()
    assert_same_tables(jon.sweep(*ARGUMENTS, **OPTIONS, store=tmp_path), whole)
    assert kept.items() <= finished(tmp_path).items()


def test_an_executor_that_cannot_work_is_refused():
    with pytest.raises(TypeError, match=r"executor must be a concurrent.futures.Executor"):
        jon.sweep(*ARGUMENTS, **OPTIONS, executor=4)
    forking = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with pytest.raises(ValueError, match=r"a fork cannot use JAX; give it mp_context=.*spawn"):
        jon.sweep(*ARGUMENTS, **OPTIONS, executor=forking)


def test_what_a_worker_raises_is_raised_here():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="unknown axis 'bta' for momentum"):
        jon.sweep(ARGUMENTS[0], jon.momentum, jon.grid(learning_rate=[0.1], bta=[0.1]), steps=1, executor=executor)


def test_a_worker_that_makes_another_sweep_says_how(monkeypatch):
    """As one would on another kind of device, or with another version."""
    outline = distribute.outline_there

    def elsewhere(payload, width):
        return (there := outline(payload, width))._replace(identity={**there.identity, "platform": "gpu"})

    monkeypatch.setattr(distribute, "outline_there", elsewhere)
    with ThreadPoolExecutor(1) as executor, pytest.raises(RuntimeError, match="platform is gpu there, cpu here"):
        jon.sweep(*ARGUMENTS, **OPTIONS, executor=executor)


def test_groups_of_other_programs_are_handed_out_too(pool, tmp_path):
    space = jon.grid(learning_rate=[0.01, 0.1], centered=[False, True])
    options = OPTIONS | {"seeds": 2}
    alone = jon.sweep(ARGUMENTS[0], jon.rmsprop, space, **options, devices=jax.devices()[:1])
    table = jon.sweep(ARGUMENTS[0], jon.rmsprop, space, **options, executor=pool, store=tmp_path)
    assert_same_tables(table, alone)


def test_the_script_that_logs_writes_every_trial(tmp_path):
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    script = [sys.executable, str(root / "scripts" / "log_sweep.py"), str(tmp_path)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    assert "20 runs" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "trial-00019" / "events.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines[:-1]] == list(range(0, 201, 10))
    assert lines[-1]["config"] == {"learning_rate": 1.0, "beta": 0.9, "seed": 1}
    assert lines[-1]["metrics"]["status"] in {status.value for status in Status}
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 21
