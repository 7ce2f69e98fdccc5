"""Ctrl-C in a sweep: a real SIGINT returns the trials as far as they got, and a store resumes them."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stored_sweep
from stored_sweep import assert_same

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute.engine import Engine
from jaxopt_notes.sweeps.compute.progress import Progress

VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = jon.grid(learning_rate=[0.01, 0.05])


@pytest.fixture(scope="module")
def expected():
    arguments, options = stored_sweep.long_definition()
    return jon.sweep(*arguments, **options, devices=jax.devices()[:1])


class TestCtrlC:
    """A real SIGINT to a real process."""

    def begun(self, folder, cache, stored):
        """A process whose sweep has taken some segments."""
        command = [sys.executable, stored_sweep.__file__, str(folder), str(cache), stored]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        segments = Path(f"{folder}.segments")
        while process.poll() is None and not (segments.exists() and int(segments.read_text() or 0) > 3):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.01)
        return process

    @pytest.mark.parametrize("stored", ["stored", "in memory"])
    def test_trials_come_back_as_far_as_they_got(self, tmp_path, expected, stored):
        folder = tmp_path / "store"
        process = self.begun(folder, tmp_path / "cache", stored)
        process.send_signal(signal.SIGINT)
        shown = process.communicate()[1]
        assert process.returncode == 0, shown
        assert "0 of 8 trials finished; 4 stopped on the way (status -4), 4 did not begin (status -1)" in shown
        table = jon.load(f"{folder}.nc")
        one = table.sel(learning_rate=0.01, beta=0.9, seed=2)
        whole = expected.sel(learning_rate=0.01, beta=0.9, seed=2)
        reached = int(one.stopped_at)
        assert 0 < reached < 5000
        assert one.status == jon.Status.INTERRUPTED
        entries = reached // 50 + 1
        np.testing.assert_array_equal(one.loss[:entries], whole.loss[:entries])
        assert np.isnan(one.loss[entries:]).all()
        assert (table.status.sel(learning_rate=0.1) == jon.Status.NOT_RUN).all()
        problem = stored_sweep.long_definition()[0][0]
        run = jon.resume(table, problem, learning_rate=0.01, beta=0.9, seed=2)
        np.testing.assert_allclose(problem.loss(run.params, problem.data), one.final_loss, rtol=1e-5)
        with pytest.raises(ValueError, match="no trial of this sweep was run"):
            jon.best(table)
        assert set(jon.diagnose(table).diagnosis.values.ravel()) == {"interrupted", "not run"}
        if stored == "stored":
            assert not [*folder.glob("chunk-*.nc")]
            assert jon.open_sweep(folder).attrs["trials_finished"] == 0
            with pytest.MonkeyPatch.context() as patched:
                first, original = [], Engine.run

                def noted(self, parts, leg, hooks):
                    first.append(leg)
                    return original(self, parts, leg, hooks)

                patched.setattr(Engine, "run", noted)
                arguments, options = stored_sweep.long_definition()
                resumed = jon.sweep(*arguments, **options, store=folder, devices=jax.devices()[:1])
            assert first[0].saved.step == reached
            assert_same(resumed, expected)

    def test_the_second_one_stops_at_once(self, tmp_path, monkeypatch):
        """The first is noted while a step runs; the second raises there."""

        def asked_twice(self, *arguments):
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second Ctrl-C came and nothing stopped")

        def segment(self, *arguments):
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Engine, "_results", asked_twice)
        monkeypatch.setattr(Progress, "segment", segment)
        with pytest.warns(UserWarning, match="interrupted: 0 of 2 trials finished; 2 did not begin .status -1."):
            table = jon.sweep(VALLEY, jon.momentum, RATES, steps=50, progress=False)
        assert (table.status == jon.Status.NOT_RUN).all()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        monkeypatch.undo()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    def test_trials_that_had_ended_keep_their_status(self, monkeypatch):
        """Of two trials one diverges to NaN in its first steps, before the interruption."""
        monkeypatch.setattr(Progress, "segment", lambda self, *arguments: signal.raise_signal(signal.SIGINT))
        steep = jon.Problem(lambda x: jnp.sum(x**4), init=jnp.full(2, 10.0))
        with pytest.warns(UserWarning, match="2 stopped on the way"):
            table = jon.sweep(
                steep, jon.gradient_descent, jon.grid(learning_rate=[1e-5, 1e9]), steps=50, progress=False
            )
        assert table.status.values.ravel().tolist() == [jon.Status.INTERRUPTED, jon.Status.NON_FINITE]
        assert table.stopped_at.values.ravel()[0] == 4
        assert np.isfinite(table.final_loss.values[0]).all()

    def test_a_finished_configuration_competes_alone(self, monkeypatch):
        """The second chunk is interrupted: its configuration is lower so far, and does not win."""
        finished = []

        def segment(self, *arguments):
            if finished:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Progress, "segment", segment)
        monkeypatch.setattr(Progress, "chunk", lambda self, *arguments: finished.append(1))
        with pytest.warns(UserWarning, match="interrupted: 1 of 2 trials finished; 1 stopped on the way"):
            table = jon.sweep(
                VALLEY, jon.gradient_descent, jon.grid(learning_rate=[1e-4, 0.05]), steps=50, width=1, progress=False,
                devices=jax.devices()[:1],
            )  # fmt: skip
        assert table.final_loss[1] < table.final_loss[0]
        assert jon.best(table).config == {"learning_rate": 1e-4}
