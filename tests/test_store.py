"""A sweep on disk: kills at random moments, every kind of broken file, other writers, other definitions."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import forked
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import stored_sweep
from stored_sweep import assert_same

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes._digests import write_json
from jaxopt_notes.sweeps.compute.engine import Engine
from jaxopt_notes.sweeps.compute.progress import Progress
from jaxopt_notes.sweeps.keep import shelf
from jaxopt_notes.sweeps.keep.claims import claim
from jaxopt_notes.sweeps.keep.store import Store
from jaxopt_notes.sweeps.run import group

VALLEY = jon.problems.quadratic([1.0, 20.0])
SPACE = jon.grid(learning_rate=[0.01, 0.05, 0.09, 5.0], beta=[0.0, 0.5])
OPTIONS = dict(seeds=2, steps=12, width=3, progress=False)


def stored(folder, **changes):
    options = {**OPTIONS, "store": folder, **changes}
    return jon.sweep(VALLEY, options.pop("optimizer", jon.momentum), options.pop("space", SPACE), **options)


@pytest.fixture(scope="module")
def whole():
    return jon.sweep(VALLEY, jon.momentum, SPACE, **OPTIONS)


def finished(folder):
    """File name to the moment it was written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("chunk-*.nc")}


def die_after(process, folder, chunks, seconds):
    """Kill a sweep some time after it has so many chunks on disk; False if it ended before."""
    return forked.killed(process, lambda: len(finished(folder)) >= chunks, seconds)


def test_twenty_kills_change_no_bit_and_no_finished_chunk_runs_twice(tmp_path):
    """SIGKILL at random moments, a resume after each; a store that got finished is compared and begun anew."""
    moments, cache = random.Random(0), tmp_path / "cache"
    arguments, options = stored_sweep.definition()
    expected = jon.sweep(*arguments, **options, devices=jax.devices()[:1])
    kills, stores, between = 0, 0, set()
    folder = tmp_path / "0"
    while kills < 20 or not (folder / "done").exists():
        before = finished(folder)
        process = forked.start(stored_sweep.run, folder, cache)
        if kills == 20 or not die_after(process, folder, len(before) + moments.randrange(5), moments.uniform(0, 0.5)):
            process.join()
            assert process.exitcode == 0  # once all kills are done the last store is finished in peace
            (folder / "done").touch()
        else:
            kills += 1
        after = finished(folder)
        assert before.items() <= after.items()  # every finished chunk is the file it was
        between.add(len(after))
        if folder.exists() and (folder / "manifest.json").exists():
            assert jon.open_sweep(folder).attrs["trials_finished"] == 2 * len(after)
        if (folder / "done").exists():
            assert_same(jon.open_sweep(folder), expected)
            if kills < 20:
                stores += 1
                folder = tmp_path / str(stores)
    assert len(between) > 3  # the kills met the sweep at different places


def test_a_store_changes_nothing_and_is_read_back(whole, tmp_path):
    table = stored(tmp_path / "valley")
    assert_same(table, whole)
    again = finished(tmp_path / "valley")
    half_written = tmp_path / "valley" / ".chunk-00000.nc.0.tmp"  # as a kill leaves it
    half_written.touch()
    assert_same(stored(tmp_path / "valley"), whole)
    assert finished(tmp_path / "valley") == again
    assert not half_written.exists()
    assert_same(jon.open_sweep(tmp_path / "valley"), whole)
    assert jon.open_sweep(tmp_path / "valley").attrs["trials_finished"] == 16
    assert jon.best(jon.open_sweep(tmp_path / "valley")).config == jon.best(whole).config


@pytest.mark.parametrize("devices", [2, 4])
def test_a_resume_on_other_devices_gives_the_same_bits(whole, tmp_path, devices):
    stored(tmp_path, devices=jax.devices()[:1])
    for chunk in (1, 4):
        (tmp_path / f"chunk-{chunk:05}.nc").unlink()
    kept = finished(tmp_path)
    assert_same(stored(tmp_path, devices=jax.devices()[:devices]), whole)
    assert kept.items() <= finished(tmp_path).items()


def test_a_chunk_goes_on_from_its_carry(tmp_path, monkeypatch, capsys):
    """Interrupted between two segments: the next process runs only the steps that are left."""
    problem = jon.problems.digits_mlp(hidden=4)
    options = dict(seeds=2, steps=40, batch_size=64, width=2, progress=False, store=tmp_path)
    expected = jon.sweep(problem, jon.adam, jon.grid(learning_rate=[0.01, 0.1]), **{**options, "store": None})
    monkeypatch.setattr(shelf, "SECONDS_PER_CHECKPOINT", 0.0)
    write = Store.write_carry

    def interrupted_then(self, *saved):
        write(self, *saved)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_carry", interrupted_then)
    with pytest.warns(UserWarning, match="interrupted"):
        jon.sweep(problem, jon.adam, jon.grid(learning_rate=[0.01, 0.1]), **options)
    monkeypatch.setattr(Store, "write_carry", write)
    carries = sorted(tmp_path.glob("carry-*.npz"))
    assert carries
    first_steps = []
    original = Engine.run

    def watched(self, parts, leg, hooks):
        first_steps.append(0 if leg.saved is None else leg.saved.step)
        return original(self, parts, leg, hooks)

    monkeypatch.setattr(Engine, "run", watched)
    table = jon.sweep(problem, jon.adam, jon.grid(learning_rate=[0.01, 0.1]), **options | {"progress": True})
    assert max(first_steps) > 0
    assert "100%" in capsys.readouterr().err.splitlines()[-1]
    assert_same(table, expected)
    assert not list(tmp_path.glob("carry-*.npz"))


def test_a_carry_that_cannot_be_read_is_as_good_as_none(whole, tmp_path):
    stored(tmp_path)
    (tmp_path / "chunk-00002.nc").unlink()
    for broken in (b"", b"PK\x03\x04 cut short"):
        (tmp_path / "carry-00002.npz").write_bytes(broken)
        assert_same(stored(tmp_path), whole)
        (tmp_path / "chunk-00002.nc").unlink()


@pytest.mark.parametrize("keys", ["bfloat16", "random keys"])
def test_carries_of_every_type_survive_the_disk(tmp_path, keys, monkeypatch):
    monkeypatch.setattr(shelf, "SECONDS_PER_CHECKPOINT", 0.0)
    start = jnp.ones(3, jnp.bfloat16) if keys == "bfloat16" else jnp.ones(3)
    problem = jon.Problem(lambda x: jnp.sum(x.astype(jnp.float32) ** 2), init=start)

    def noisy(learning_rate):
        """Steps with noise from a key in the state."""
        import optax

        def update(grads, key, params=None):
            key, now = jax.random.split(key)
            noise = jax.random.normal(now, grads.shape, grads.dtype)
            return -learning_rate.astype(grads.dtype) * (grads + noise), key

        return optax.GradientTransformation(lambda params: jax.random.key(1), update)

    optimizer = jon.gradient_descent if keys == "bfloat16" else noisy
    space = jon.grid(learning_rate=[0.01, 0.1])
    options = dict(steps=30, progress=False, width=1, devices=jax.devices()[:1])
    expected = jon.sweep(problem, optimizer, space, **options)
    saved = []
    put = Store.write_carry
    monkeypatch.setattr(Store, "write_carry", lambda self, *a: (saved.append(a), put(self, *a)))
    jon.sweep(problem, optimizer, space, **options, store=tmp_path)
    chunk = saved[0][0]
    (tmp_path / f"chunk-{chunk:05}.nc").unlink()
    store = Store(tmp_path)
    store.lock()
    put(store, *saved[0])
    store.flush()
    store.close()
    assert_same(jon.sweep(problem, optimizer, space, **options, store=tmp_path), expected)


class TestFaults:
    def test_another_definition_is_refused_with_the_difference(self, tmp_path):
        stored(tmp_path)
        with pytest.raises(jon.StoreError, match=r"steps: 12 there, 13 now"):
            stored(tmp_path, steps=13)
        with pytest.raises(jon.StoreError, match=r"seeds: \[0, 1\] there, \[0, 1, 2\] now"):
            stored(tmp_path, seeds=3)
        with pytest.raises(jon.StoreError, match="optimizer: momentum there, nesterov now"):
            stored(tmp_path, optimizer=jon.nesterov)
        with pytest.raises(jon.StoreError, match="width: 3 there, 4 now"):
            stored(tmp_path, width=4)
        with pytest.raises(jon.StoreError, match="variables"):
            stored(tmp_path, keep_params=True)
        other = jon.problems.quadratic([1.0, 21.0])
        with pytest.raises(jon.StoreError, match="starts and closures"):
            jon.sweep(other, jon.momentum, SPACE, **OPTIONS, store=tmp_path)

    def test_two_optimizers_of_one_name_are_two(self, tmp_path):
        def clipped(limit):
            def mine(learning_rate):
                return optax.chain(optax.clip(limit), jon.gradient_descent(learning_rate))

            return mine

        space = jon.grid(learning_rate=[0.01, 0.02])
        stored(tmp_path, optimizer=clipped(1.0), space=space)
        stored(tmp_path, optimizer=clipped(1.0), space=space)
        with pytest.raises(jon.StoreError, match=r"update: .* there, .* now"):
            stored(tmp_path, optimizer=clipped(0.001), space=space)

    def test_nothing_runs_before_every_family_is_checked(self, tmp_path):
        families = {"momentum": (jon.momentum, SPACE), "adam": (jon.adam, jon.grid(learning_rat=[0.1]))}
        with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
            jon.sweep(VALLEY, families, **OPTIONS, store=tmp_path / "tree")
        assert not (tmp_path / "tree").exists()

    def test_a_sweep_of_which_nothing_came_makes_room_for_the_corrected_one(self, whole, tmp_path):
        endless = jon.Problem(lambda x: jax.lax.while_loop(lambda y: y > 1, lambda y: y / 2, x @ x), init=jnp.ones(2))
        with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
            jon.sweep(endless, jon.momentum, SPACE, **OPTIONS, store=tmp_path)
        assert_same(stored(tmp_path), whole)
        with pytest.raises(jon.StoreError, match="steps: 12 there, 13 now"):
            stored(tmp_path, steps=13)

    def test_a_claim_of_groups_makes_room_too_unless_somebody_writes_there(self, tmp_path):
        claim(tmp_path, "families.json", {"families": ["a"]})
        claim(tmp_path, "groups.json", {"rows": [1]})
        writer = Store(tmp_path / "group-000")
        writer.lock()
        with pytest.raises(jon.StoreError, match=r"rows: \[1\] there, \[2\] now"):
            claim(tmp_path, "groups.json", {"rows": [2]})
        writer.close()
        claim(tmp_path, "groups.json", {"rows": [2]})
        (tmp_path / "group-000" / "carry-00000.npz").touch()
        with pytest.raises(jon.StoreError, match=r"rows: \[2\] there, \[3\] now"):
            claim(tmp_path, "groups.json", {"rows": [3]})
        with pytest.raises(jon.StoreError, match=r"another kind of sweep, with a groups.json"):
            claim(tmp_path, "manifest.json", None)
        assert json.loads((tmp_path / "groups.json").read_text())["rows"] == [2]

    def test_the_width_is_pinned(self, tmp_path):
        stored(tmp_path)
        assert stored(tmp_path, width=None).attrs["width"] == 3

    @pytest.mark.parametrize("break_it", ["truncated", "empty", "text", "foreign"])
    def test_a_broken_chunk_is_named_and_run_again_only_when_asked(self, whole, tmp_path, break_it):
        stored(tmp_path / "a")
        path = tmp_path / "a" / "chunk-00001.nc"
        if break_it == "foreign":
            stored(tmp_path / "b", steps=13)
            shutil.copy(tmp_path / "b" / path.name, path)
        else:
            path.write_bytes({"truncated": path.read_bytes()[:-500], "empty": b"", "text": b"no table"}[break_it])
        with pytest.raises(jon.StoreError, match=r"chunk-00001.nc.*repair=True"):
            stored(tmp_path / "a")
        with pytest.raises(jon.StoreError, match=r"chunk-00001.nc"):
            jon.open_sweep(tmp_path / "a")
        others = {name: when for name, when in finished(tmp_path / "a").items() if name != path.name}
        assert_same(stored(tmp_path / "a", repair=True), whole)
        assert others.items() <= finished(tmp_path / "a").items()
        assert path.with_name("chunk-00001.nc.bad").exists()

    def test_a_byte_that_changed_on_the_disk_is_no_result(self, whole, tmp_path):
        stored(tmp_path)
        path = tmp_path / "chunk-00000.nc"
        content = bytearray(path.read_bytes())
        value = whole.final_loss.values.ravel()[:3].astype(np.float32).tobytes()
        content[content.index(value)] ^= 1
        path.write_bytes(content)
        with pytest.raises(jon.StoreError, match=r"chunk-00000.nc cannot be read"):
            jon.open_sweep(tmp_path)

    def test_what_is_no_manifest_is_named(self, tmp_path):
        (tmp_path / "manifest.json").write_text("{}")
        for use in (lambda: jon.open_sweep(tmp_path), lambda: stored(tmp_path)):
            with pytest.raises(jon.StoreError, match=r"manifest.json cannot be read \(it has no digest\)"):
                use()

    def test_a_broken_manifest_is_named(self, tmp_path):
        stored(tmp_path)
        (tmp_path / "manifest.json").write_text('{"format": 1, "ident')
        with pytest.raises(jon.StoreError, match=r"manifest.json cannot be read"):
            stored(tmp_path)
        write_json(tmp_path / "manifest.json", {"format": 99, "identity": {}, "layout": {}})
        with pytest.raises(jon.StoreError, match="format 99"):
            stored(tmp_path, width=3)
        (tmp_path / "manifest.json").unlink()
        with pytest.raises(jon.StoreError, match="chunks without a manifest"):
            stored(tmp_path)

    def test_nothing_there_is_said(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no sweep is stored"):
            jon.open_sweep(tmp_path)

    def test_a_second_writer_is_refused_and_a_reader_is_not(self, tmp_path):
        stored(tmp_path)
        first = Store(tmp_path)
        first.lock()
        try:
            with pytest.raises(jon.StoreError, match="another process is writing"):
                stored(tmp_path)
            assert jon.open_sweep(tmp_path).attrs["trials_finished"] == 16
        finally:
            first.close()
        stored(tmp_path)

    def test_a_disk_that_fills_up_raises_and_loses_nothing(self, whole, tmp_path, monkeypatch):
        from jaxopt_notes.sweeps.keep import store

        original, calls = store.write_chunk, []

        def full_at_the_third(*arguments):
            calls.append(1)
            if len(calls) == 3:
                raise OSError(28, "No space left on device")
            original(*arguments)

        monkeypatch.setattr(store, "write_chunk", full_at_the_third)
        with pytest.raises(OSError, match="No space left"):
            stored(tmp_path, devices=jax.devices()[:1])
        kept = finished(tmp_path)
        assert len(kept) >= 2
        assert not list(tmp_path.glob("*.tmp"))
        monkeypatch.setattr(store, "write_chunk", original)
        assert_same(stored(tmp_path), whole)
        assert kept.items() <= finished(tmp_path).items()

    def test_a_file_that_the_system_refuses_is_named(self, whole, tmp_path):
        """A limit on the size of files, which the system enforces as it does the end of the disk."""
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        stored(tmp_path)
        (tmp_path / "chunk-00002.nc").unlink()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, old[1]))
        try:
            with pytest.raises(OSError, match=r"File too large, so this file was not written: .*chunk-00002.nc"):
                stored(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert not list(tmp_path.glob(".*.tmp"))
        assert_same(stored(tmp_path), whole)

    def test_a_table_that_the_system_refuses_is_named_and_leaves_nothing(self, whole, tmp_path):
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, old[1]))
        try:
            with pytest.raises(OSError, match=r"File too large, so this file was not written: .*table.nc"):
                jon.save(whole, tmp_path / "table.nc")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_nobody_can_write_is_named(self):
        with pytest.raises(
            OSError, match=r"a sweep cannot write its store: .*; open_sweep only reads one: '/proc/sweep'"
        ):
            stored("/proc/sweep")

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
    def test_a_read_only_folder_is_said(self, tmp_path):
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(OSError, match="ermission"):
            stored(tmp_path / "closed" / "sweep")

    def test_a_store_that_is_a_file_is_said(self, tmp_path):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(OSError, match="file"):
            stored(tmp_path / "file")


def test_an_unfinished_store_is_masked(whole, tmp_path):
    stored(tmp_path)
    (tmp_path / "chunk-00001.nc").unlink()
    table = jon.open_sweep(tmp_path)
    status, loss = table.status.values.ravel(), table.final_loss.values.ravel()
    assert (status[3:6] == Status.NOT_RUN).all()
    assert np.isnan(loss[3:6]).all()
    np.testing.assert_array_equal(loss[6:], whole.final_loss.values.ravel()[6:])
    assert table.attrs["trials_finished"] == 13


def test_the_progress_of_a_share_is_that_of_its_own_chunks(tmp_path, monkeypatch, capsys):
    """As where two processes of `jax.distributed` write one store: chunks 0, 2, 4 of 3, 3, 3, 3, 3, 1 trials."""
    stored(tmp_path)
    for chunk in (1, 2):
        (tmp_path / f"chunk-{chunk:05}.nc").unlink()
    monkeypatch.setattr(group, "_share", lambda layout, several: range(0, layout.chunks, 2))
    stored(tmp_path, progress=True)
    shown = capsys.readouterr().err.splitlines()[-1]
    assert "100%" in shown
    assert "108/108" in shown
    assert "done 9/9" in shown


class TestSigterm:
    """What a scheduler sends some seconds before it kills."""

    def test_where_the_chunks_are_is_saved_and_the_signal_passed_on(self, tmp_path, monkeypatch):
        arguments = (jon.problems.digits_mlp(hidden=4), jon.adam, jon.grid(learning_rate=[0.01, 0.1]))
        options = dict(seeds=2, steps=40, batch_size=64, width=2, progress=False, devices=jax.devices()[:1])
        expected = jon.sweep(*arguments, **options)
        passed_on, segments = [], []

        def segment(self, steps, status):
            segments.append(steps)
            if len(segments) == 1:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(Progress, "segment", segment)
        previous = signal.signal(signal.SIGTERM, lambda number, frame: passed_on.append(number))
        try:
            with pytest.warns(UserWarning, match="terminated: 0 of 4 trials finished"):
                table = jon.sweep(*arguments, **options, store=tmp_path)
            assert passed_on == [signal.SIGTERM]
            assert (table.status == Status.NOT_RUN).all()
            assert len(segments) == 1  # the first of the first chunk, which its carry holds
            assert [path.name for path in tmp_path.glob("carry-*")] == ["carry-00000.npz"]
            assert_same(jon.sweep(*arguments, **options, store=tmp_path), expected)
            assert sum(segments) == 2 * 40
        finally:
            signal.signal(signal.SIGTERM, previous)

    def test_the_process_ends_with_the_status_of_the_signal(self, tmp_path):
        folder = tmp_path / "store"
        command = [
            sys.executable,
            str(Path(__file__).with_name("stored_sweep.py")),
            str(folder),
            str(tmp_path / "cache"),
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and len(finished(folder)) < 2:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.01)
        process.send_signal(signal.SIGTERM)
        assert "terminated:" in process.communicate()[1]
        assert process.returncode == -signal.SIGTERM
        assert 2 <= len(finished(folder)) < 24
        assert jon.open_sweep(folder).attrs["trials_finished"] == 2 * len(finished(folder))

    def test_a_sweep_without_a_store_and_one_in_a_thread_leave_the_signal_alone(self):
        handlers = []
        note = lambda table: handlers.append(signal.getsignal(signal.SIGTERM))
        before = signal.getsignal(signal.SIGTERM)
        stored(None, on_chunk=note)
        assert set(handlers) == {before}
        assert signal.getsignal(signal.SIGTERM) == before
