"""The plan of a sweep, widths, memory that runs out, and the invariance contract checked from outside."""

import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import bytes_needed
from jaxopt_notes.sweeps.compute import engine, memory, programs, width
from jaxopt_notes.sweeps.compute.placed import Placed
from jaxopt_notes.sweeps.run import distribute, invariance
from jaxopt_notes.sweeps.run.plan import SweepPlan

VALLEY = jon.problems.quadratic([1.0, 20.0])
SPACE = jon.grid(learning_rate=[0.01, 0.02, 0.03, 0.05, 0.06])
ONE = dict(devices=jax.devices()[:1])


def planned(space=SPACE, optimizer=jon.gradient_descent, problem=VALLEY, **options):
    return jon.plan(problem, optimizer, space, **{"seeds": 2, "steps": 12, **options})


def swept(**options):
    return jon.sweep(VALLEY, jon.gradient_descent, SPACE, **{"seeds": 2, "steps": 12, "progress": False, **options})


class TestPlan:
    def test_it_counts_what_the_sweep_does(self):
        plan = planned(jon.grid(learning_rate=[0.01, 0.02, 0.03], centered=[False, True]), jon.rmsprop, width=2)
        assert (plan.trials, plan.chunks, len(plan.groups), plan.width) == (12, 6, 2, 2)
        assert [group.name for group in plan.groups] == ["rmsprop centered=False", "rmsprop centered=True"]

    def test_families_are_groups(self):
        plan = planned(None, {"a": (jon.gradient_descent, SPACE), "b": (jon.rmsprop, jon.grid(learning_rate=0.1))})
        assert [(group.name, group.trials) for group in plan.groups] == [("a", 10), ("b", 2)]

    def test_it_compiles_nothing_of_the_sweep(self):
        other = jon.Problem(lambda x: (x**4).sum(), init=np.ones(3, np.float32))
        with compiled_programs() as names:
            planned(problem=other)
        assert not [name for name in names if "segment" in name]
        with compiled_programs() as names:
            table = jon.sweep(other, jon.gradient_descent, SPACE, seeds=2, steps=12, progress=False)
        assert len([name for name in names if "segment" in name]) == table.attrs["segment_programs"] == 1

    def test_the_sweep_after_it_compiles_one_program_at_whatever_width(self):
        problem = jon.Problem(lambda x: (x**6).sum(), init=np.ones(3, np.float32))
        arguments = (problem, jon.gradient_descent, SPACE)
        jon.plan(*arguments, seeds=2, steps=12)
        tables = [jon.sweep(*arguments, seeds=2, steps=12, progress=False) for _ in range(2)]
        assert [table.attrs["segment_programs"] for table in tables] == [1, 0]

    def test_it_says_what_is_wrong_as_the_sweep_does(self):
        with pytest.raises(ValueError, match="unknown axis 'learning_rte' for gradient_descent; did you mean"):
            planned(jon.grid(learning_rte=[0.1]))
        with pytest.raises(TypeError, match="leave the argument `space` out"):
            planned(SPACE, {"a": (jon.gradient_descent, SPACE)})

    def test_it_prints_programs_chunks_and_memory(self):
        text = str(planned(width=2, **ONE))
        assert (
            "sweep of quadratic: 1 program to compile, 10 trials of 12 steps (2 seeds), 5 chunks, on 1 cpu device"
            in text
        )
        assert "gradient_descent: 10 trials in 5 chunks of 2 lanes, 1 chunk at a time, 5 passes" in text
        assert "memory per chunk" in text
        assert "not timed" in text

    def test_memory_is_a_fixed_part_and_one_per_lane(self):
        """A lane of 10,000 parameters and 13 entries; the predicted memory is that of the compiled wide program."""
        bowl = jon.Problem(lambda x: 0.5 * (x @ x), init=np.ones(10_000, np.float32))
        group = planned(problem=bowl, width=4, **ONE).groups[0]
        lane, found = 4 * (2 * 10_000 + 3 * 13), group.memory
        assert lane <= found.per_lane <= 4 * lane
        compiled = bytes_needed(memory.segment_compiled(group.shapes, 8)).total
        assert found.of(8) == pytest.approx(compiled, rel=0.1)
        assert memory.most_bytes(group.shapes, 8) >= compiled

    def test_a_width_that_nobody_gave_is_one_that_fits(self, monkeypatch):
        bowl = jon.Problem(lambda x: 0.5 * (x @ x), init=np.ones(10_000, np.float32))
        wide = planned(problem=bowl, **ONE).groups[0]
        fixed, lane, machine = wide.memory
        assert wide.width == 10
        total = re.search(r"MemTotal: *(\d+) kB", Path("/proc/meminfo").read_text())
        assert fixed + 10 * lane < machine <= 1024 * int(total[1]) / 2
        available = fixed + 7 * lane
        monkeypatch.setattr(memory, "memory_for", lambda device, sharing: available)
        plan = planned(problem=bowl, **ONE)
        assert plan.width == 4
        assert "4 lanes and not 10, which would not fit" in str(plan)
        assert "more than it may take" in str(planned(problem=bowl, width=9, **ONE))
        table = jon.sweep(bowl, jon.gradient_descent, SPACE, seeds=2, steps=12, progress=False, **ONE)
        assert table.attrs["width"] == 4
        monkeypatch.setattr(width, "_rate", lambda plan, placed: float(plan.width))
        assert set(plan.timed().groups[0].timing.rates) == {1, 4}
        monkeypatch.setattr(memory, "memory_for", lambda device, sharing: 1)
        assert planned(problem=bowl, **ONE).width == 1

    def test_timing_chooses_among_widths(self):
        plan = planned(width=2, **ONE).timed()
        timing = plan.groups[0].timing
        assert set(timing.rates) == {1, 2, 8}
        assert all(rate > 0 for rate in timing.rates.values())
        assert plan.width == timing.fastest
        assert plan.seconds == timing.seconds[plan.width]
        assert "trial-steps a second" in str(plan)

    @pytest.mark.parametrize(("rates", "chosen"), [({1: 100, 2: 102, 8: 105}, 2), ({1: 10, 2: 20, 8: 90}, 8)])
    def test_another_width_must_be_worth_it(self, monkeypatch, rates, chosen):
        monkeypatch.setattr(width, "_rate", lambda plan, placed: rates[plan.width])
        found = width.time_widths(planned(width=2, **ONE).groups[0])
        assert found.fastest == chosen
        assert found.seconds[8] == 2 * 8 * 12 / rates[8]  # the last chunk is padded

    def test_a_width_that_memory_refuses_is_left_out(self, monkeypatch):
        def rate(plan, placed):
            if plan.width > 2:
                raise MemoryError
            return 1.0

        monkeypatch.setattr(width, "_rate", rate)
        assert set(width.time_widths(planned(width=2, **ONE).groups[0]).rates) == {1, 2}

    def test_groups_of_different_widths_have_no_single_one(self):
        plan = planned(
            None, {"a": (jon.gradient_descent, SPACE), "b": (jon.gradient_descent, jon.grid(learning_rate=0.1))}
        )
        with pytest.raises(ValueError, match="the groups have widths"):
            plan.width  # noqa: B018


class TestFastest:
    def test_the_width_is_timed_and_the_store_keeps_it(self, monkeypatch, tmp_path):
        monkeypatch.setattr(width, "_rate", lambda plan, placed: 1000.0 if plan.width == 2 else 1.0)
        assert swept(width="fastest", store=tmp_path, **ONE).attrs["width"] == 2
        monkeypatch.setattr(width, "_rate", None)  # not asked again
        assert swept(width="fastest", store=tmp_path, **ONE).attrs["width"] == 2
        assert swept(store=tmp_path, **ONE).attrs["width"] == 2

    def test_a_plan_takes_it_too_and_says_what_it_timed(self, monkeypatch):
        monkeypatch.setattr(width, "_rate", lambda plan, placed: 1000.0 if plan.width == 2 else 1.0)
        plan = planned(width="fastest", **ONE)
        assert plan.width == 2
        assert "1,000 at 2 lanes" in str(plan)
        with pytest.raises(ValueError, match="unknown width 'fast'; did you mean 'fastest'"):
            planned(width="fast")

    def test_another_word_is_refused(self):
        with pytest.raises(ValueError, match="unknown width 'fast'; did you mean 'fastest'"):
            swept(width="fast")


@pytest.fixture
def memory_for_two_lanes(monkeypatch):
    """Programs that run out of memory beyond two lanes per device, as XLA says it; returns the widths tried."""
    tried = []

    def limited(static):
        real = programs.programs(static)

        def segment(lanes, *others):
            tried.append(lanes.histories["loss"].shape[1] // static.mesh.size)
            if tried[-1] > 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 137438953472 bytes.")
            return real.segment(lanes, *others)

        return programs.Programs(real.begin, segment, real.kinds)

    monkeypatch.setattr(engine, "programs", limited)
    return tried


@pytest.fixture
def starts_measured(monkeypatch):
    """How many lanes the starts were measured in, one number for every time."""
    counts, real, measuring = [], Placed.measure, Placed.initial_losses

    def counted(self, point, inputs, count, compared):
        if inside:
            counts.append(count * self._mesh.size)
        return real(self, point, inputs, count, compared)

    def starts(self, *lanes):
        inside.append(1)
        try:
            return measuring(self, *lanes)
        finally:
            inside.pop()

    inside = []
    monkeypatch.setattr(Placed, "measure", counted)
    monkeypatch.setattr(Placed, "initial_losses", starts)
    return counts


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("options", [dict(width=1), dict(width=3), dict(width=2, prune=jon.halving(2, rungs=2))])
def test_the_start_of_a_seed_is_measured_once(starts_measured, devices, options):
    table = swept(**options, seeds=5, devices=jax.devices()[:devices])
    assert 5 <= sum(starts_measured) < 5 + devices
    expected = float(VALLEY.loss(VALLEY.init(jax.random.key(0))))
    np.testing.assert_allclose(table.initial_loss, expected, rtol=1e-6)


class TestOutOfMemory:
    @pytest.mark.parametrize("devices", [1, 2])
    def test_the_width_halves_and_the_sweep_goes_on(self, memory_for_two_lanes, devices):
        with pytest.warns(UserWarning, match="out of memory with 5 lanes per device; continuing with 2"):
            table = swept(width=5, devices=jax.devices()[:devices], keep_params=True)
        assert memory_for_two_lanes[0] == 5
        assert set(memory_for_two_lanes[1:]) == {2}  # not tried again
        assert table.attrs["narrowed_to"] == 2
        assert table.attrs["width"] == 5
        xarray.testing.assert_equal(table, swept(width=2, **ONE, keep_params=True))

    def test_the_start_of_a_seed_is_measured_once_for_all_pieces(self, memory_for_two_lanes, starts_measured, tmp_path):
        with pytest.warns(UserWarning, match="out of memory"):
            swept(width=8, store=tmp_path, **ONE)
        assert starts_measured == [2]

    def test_it_halves_as_often_as_needed_and_the_store_says_so(self, memory_for_two_lanes, tmp_path):
        with pytest.warns(UserWarning, match="continuing with") as said:
            table = swept(width=9, store=tmp_path, **ONE)
        assert [str(one.message)[-1] for one in said] == ["4", "2"]
        read = jon.open_sweep(tmp_path)
        assert read.attrs["narrowed_to"] == 2
        xarray.testing.assert_equal(read, table)
        assert len(list(tmp_path.glob("chunk-*.nc"))) == 2

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_sweep_that_was_cut_short_goes_on_with_the_lanes_that_fit(self, memory_for_two_lanes, tmp_path, workers):
        def cut_short(table):
            assert jon.open_sweep(tmp_path).attrs["narrowed_to"] == 2  # from then on when it happens
            raise RuntimeError("cut short")

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            options = dict(width=5, store=tmp_path) | (dict(executor=pool) if workers else ONE)
            with pytest.warns(UserWarning, match="continuing with 2"), pytest.raises(RuntimeError, match="cut short"):
                swept(**options, on_chunk=cut_short)
            memory_for_two_lanes.clear()
            distribute._made.cache_clear()
            (tmp_path / "chunk-00001.nc").unlink(missing_ok=True)
            table = swept(**options)
        assert set(memory_for_two_lanes) == {2}
        assert table.attrs["narrowed_to"] == 2
        xarray.testing.assert_equal(table, swept(width=2, **ONE))

    def test_workers_without_a_store_say_with_how_many_lanes_they_ran(self, memory_for_two_lanes):
        with concurrent.futures.ThreadPoolExecutor(1) as pool, pytest.warns(UserWarning, match="continuing with 2"):
            assert swept(width=4, executor=pool).attrs["narrowed_to"] == 2

    def test_one_lane_that_does_not_fit_is_an_error_and_so_is_anything_else(self, monkeypatch):
        def broken(message):
            def limited(static):
                def segment(*arguments):
                    raise jax.errors.JaxRuntimeError(message)

                return programs.Programs(programs.programs(static).begin, segment, set())

            return limited

        monkeypatch.setattr(engine, "programs", broken("INTERNAL: something else"))
        with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
            swept(width=4, **ONE)
        monkeypatch.setattr(engine, "programs", broken("RESOURCE_EXHAUSTED: Out of memory"))
        with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
            swept(width=1, **ONE)

    def test_the_memory_of_the_host_counts_too(self, monkeypatch):
        original = engine.Engine._pass

        def limited(self, lanes, *arguments):
            if lanes > 1:
                raise MemoryError
            return original(self, lanes, *arguments)

        monkeypatch.setattr(engine.Engine, "_pass", limited)
        with pytest.warns(UserWarning, match="continuing with 1"):
            assert swept(width=2, **ONE).attrs["narrowed_to"] == 1


class TestInvariance:
    def test_it_holds_on_one_two_four_and_eight_devices(self):
        here = Path(__file__)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(here.with_name("invariance_on.py")), "8"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(here.parent.parent)},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        for count in (1, 2, 4, 8):
            assert f"plan on {count} of 8 devices" in done.stdout
            assert done.stdout.count(f"momentum, on {count} device") == 4
        assert "FAIL" not in done.stdout

    def test_it_names_every_check_of_every_group(self):
        space = jon.grid(learning_rate=[0.01, 0.02, 0.05], centered=[False, True])
        result = jon.check_invariance(
            planned(space, jon.rmsprop, steps=60, width=2, devices=jax.devices()[:2]), steps=24
        )
        assert result.passed
        names = [check.name for check in result.checks]
        for choice in (False, True):
            of_group = [name.split(", ", 1)[1] for name in names if f"centered={choice}" in name]
            assert of_group == [
                "keys, data order and initial parameters",
                "chunks in another order",
                "each chunk by itself",
                "on 1 device",
                "on 2 devices",
                "on 4 devices",
                "width 1 instead of 2, first 20 steps",
                "collectives",
            ]
        assert "the same bits" in str(result)

    def test_trials_that_depend_on_their_neighbours_are_found(self, monkeypatch):
        """Losses that tell on which device their chunk ran."""

        class Leaking(engine.Engine):
            def run(self, parts, leg):
                finished, state = super().run(parts, leg)
                for place, one in enumerate(finished):
                    one["loss"] = one["loss"] + place * 1e-6
                return finished, state

        monkeypatch.setattr(invariance, "Engine", Leaking)
        with pytest.raises(AssertionError, match="FAIL gradient_descent, chunks in another order: differ: loss"):
            jon.check_invariance(planned(width=2, devices=jax.devices()[:2]))

    def test_a_plan_of_which_nothing_can_be_compared_does_not_pass(self):
        rising = planned(jon.grid(learning_rate=[0.5]), width=2, **ONE)
        with pytest.raises(AssertionError, match=r"it is not known whether .*\n[^$]*FAIL .* not compared: the loss of"):
            jon.check_invariance(rising)
        sparse = jon.check_invariance(planned(steps=60, every=30, width=2, **ONE))  # no entry in the first 20 steps
        assert "over 20 steps or more" in str(sparse)

    def test_losses_below_zero_are_compared_too(self):
        below = jon.Problem(lambda x: (x @ x) - 7.0, init=np.ones(2, np.float32))
        checked = jon.check_invariance(planned(problem=below, width=2, **ONE))
        assert "in 3 trials over 12 steps or more" in " ".join(str(checked).split())

    def test_a_changed_data_order_and_a_collective_are_found(self, monkeypatch):
        plan = planned(width=2, **ONE)
        remake = SweepPlan.remake
        changed = lambda self, **changes: remake(self, **{**changes, "key": jax.random.key(1)})
        monkeypatch.setattr(SweepPlan, "remake", changed)
        monkeypatch.setattr(
            invariance, "segment_compiled", lambda shapes, width: type("", (), {"as_text": lambda s: "all-reduce"})()
        )
        with pytest.raises(AssertionError) as raised:
            jon.check_invariance(plan)
        assert "FAIL gradient_descent, keys, data order and initial parameters: differ: keys" in str(raised.value)
        assert "FAIL gradient_descent, collectives: all-reduce" in str(raised.value)
