"""Ends that continue: kept states, `resume`, sweeps that are extended, and sweeps that are interrupted."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import forked
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import stored_sweep

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute.engine import NO_HOOKS, Engine
from jaxopt_notes.sweeps.compute.progress import Progress

VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = jon.grid(learning_rate=[0.01, 0.05])


class Normalised(nn.Module):
    """A small network with batch statistics."""

    @nn.compact
    def __call__(self, inputs, train):
        hidden = nn.Dense(6, use_bias=False)(inputs)  # a bias would have a gradient of rounding alone
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden)
        return nn.Dense(1)(jnp.tanh(hidden))[:, 0]


def normalised(**parts):
    """A problem with a BatchNorm, whose loss asks for aux and the mode."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((32, 4)).astype(np.float32)
    data = (inputs, np.sin(inputs.sum(axis=1)).astype(np.float32))
    network = Normalised()

    def loss(params, batch, *, aux, train):
        variables = {"params": params, "batch_stats": aux}
        out, new = network.apply(variables, batch[0], train=train, mutable=["batch_stats"])
        return jnp.mean((out - batch[1]) ** 2), new["batch_stats"]

    def init(key):
        variables = network.init(key, inputs[:2], train=True)
        return variables["params"], variables["batch_stats"]

    return jon.Problem(loss, init=init, data=data, **{name: (data[0][:n], data[1][:n]) for name, n in parts.items()})


def chained(learning_rate):
    """One of optax's chains, with states inside states."""
    return optax.chain(optax.clip_by_global_norm(0.5), optax.scale_by_adam(), optax.scale(-learning_rate))


@pytest.mark.parametrize("factory", [jon.momentum, jon.adam, chained])
def test_a_resumed_run_takes_the_steps_of_a_longer_sweep(factory):
    problem = normalised()
    options = dict(seeds=2, keep="params+state", progress=False)
    short = jon.sweep(problem, factory, RATES, steps=20, **options)
    long = jon.sweep(problem, factory, RATES, steps=40, **options)
    run = jon.resume(short, problem, factory if factory is chained else None, learning_rate=0.05, seed=1)
    np.testing.assert_array_equal(run.loss, short.loss.sel(learning_rate=0.05, seed=1))
    assert int(run.stopped_at) == 20
    more = jon.minimize(
        problem.loss, run.params, factory(learning_rate=0.05), steps=20, state=run.state, aux=run.aux, data=problem.data
    )
    end = jon.resume(long, problem, factory, learning_rate=0.05, seed=1)
    for one, other in zip(
        jax.tree.leaves((more.params, more.state, more.aux)),
        jax.tree.leaves((end.params, end.state, end.aux)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)
    np.testing.assert_allclose(more.loss, end.loss[20:], rtol=1e-5)
    np.testing.assert_allclose(more.final_loss, end.final_loss, rtol=1e-5)


def test_resume_follows_best_and_takes_the_first_seed():
    table = jon.sweep(VALLEY, jon.momentum, RATES, seeds=[3, 5], steps=5, keep="params+state", progress=False)
    run = jon.resume(table, VALLEY, **jon.best(table).config)
    np.testing.assert_array_equal(run.params, jon.end_point(table, VALLEY, seed=3, **jon.best(table).config))
    tree = jon.sweep(VALLEY, {"m": (jon.momentum, RATES)}, steps=5, keep="params+state", progress=False)
    found = jon.resume(tree, VALLEY, **jon.best(tree).config)
    np.testing.assert_array_equal(found.state.velocity, run.state.velocity)


def test_states_of_every_type_come_back():
    """Integers, typed keys and bfloat16, as they were in a loop of their own."""

    def noisy(learning_rate):
        def init(params):
            return {"key": jax.random.key(1), "raw": jax.random.PRNGKey(2), "count": jnp.int32(0), "mean": params}

        def update(grads, state, params=None):
            key, now = jax.random.split(state["key"])
            step = grads + jax.random.normal(now, grads.shape, grads.dtype)
            mean = (state["mean"] + step).astype(state["mean"].dtype)
            new = {"key": key, "raw": jax.random.split(state["raw"])[0], "count": state["count"] + 1, "mean": mean}
            return -jnp.asarray(learning_rate, grads.dtype) * step, new

        return optax.GradientTransformation(init, update)

    problem = jon.Problem(lambda x: jnp.sum(x.astype(jnp.float32) ** 2), init=jnp.ones(3, jnp.bfloat16))
    table = jon.sweep(problem, noisy, RATES, steps=4, keep="params+state", progress=False)
    run = jon.resume(table, problem, noisy, learning_rate=0.05)
    alone = jon.minimize(problem.loss, jnp.ones(3, jnp.bfloat16), noisy(0.05), steps=4)
    assert run.params.dtype == run.state["mean"].dtype == jnp.bfloat16
    assert run.state["count"] == 4
    for name in ("key", "raw"):
        one, other = (jax.random.key_data(each.state[name]) for each in (run, alone))
        np.testing.assert_array_equal(one, other)
    more = jon.minimize(problem.loss, run.params, noisy(0.05), state=run.state, steps=1)
    assert more.state["count"] == 5


def test_the_iterate_is_kept_where_the_result_is_an_average():
    averaged = lambda learning_rate: jon.average_params(jon.gradient_descent(learning_rate))
    table = jon.sweep(VALLEY, averaged, RATES, steps=6, keep="params+state", progress=False)
    run = jon.resume(table, VALLEY, averaged, learning_rate=0.05)
    alone = jon.minimize(VALLEY.loss, VALLEY.start(None)[0], averaged(0.05), steps=6)
    np.testing.assert_allclose(run.params, alone.params, rtol=1e-6)
    np.testing.assert_allclose(run.evaluation, alone.evaluation_params, rtol=1e-6)
    assert not np.allclose(run.params, run.evaluation)


def test_choices_keep_the_states_that_they_have():
    space = RATES * jon.grid(nesterov=[False, True], momentum=[None, 0.9])
    table = jon.sweep(VALLEY, optax.sgd, space, steps=5, keep="params+state", progress=False)
    plain = jon.resume(table, VALLEY, optax.sgd, learning_rate=0.05, nesterov=False, momentum="None")
    assert jax.tree.leaves(plain.state) == []
    heavy = jon.resume(table, VALLEY, optax.sgd, learning_rate=0.05, nesterov=True, momentum="0.9")
    alone = jon.minimize(VALLEY.loss, VALLEY.start(None)[0], optax.sgd(0.05, 0.9, True), steps=5)
    np.testing.assert_allclose(heavy.state[0].trace, alone.state[0].trace, rtol=1e-6)


class TestRefusals:
    def test_what_a_table_does_not_hold(self):
        plain = jon.sweep(VALLEY, jon.momentum, RATES, steps=5, progress=False)
        with pytest.raises(ValueError, match=r"no end points to resume from: run sweep\(..., keep='params\+state'\)"):
            jon.resume(plain, VALLEY, learning_rate=0.05)
        params = jon.sweep(VALLEY, jon.momentum, RATES, steps=5, keep="params", progress=False)
        with pytest.raises(ValueError, match="holds no state of momentum"):
            jon.resume(params, VALLEY, learning_rate=0.05)
        mine = lambda learning_rate: jon.momentum(learning_rate)
        table = jon.sweep(VALLEY, mine, RATES, steps=5, keep="params+state", progress=False)
        with pytest.raises(ValueError, match=r"'<lambda>', which is none of ours: pass optimizer="):
            jon.resume(table, VALLEY, learning_rate=0.05)
        with pytest.raises(ValueError, match="resume needs one value for learning_rate"):
            jon.resume(table, VALLEY, mine)
        with pytest.raises(ValueError, match=r"seed must be one of \[0\], got 7"):
            jon.resume(table, VALLEY, mine, learning_rate=0.05, seed=7)
        with pytest.raises(ValueError, match="was not run"):
            jon.resume(table.assign(status=table.status * 0 - 1), VALLEY, mine, learning_rate=0.05)

    def test_keep_has_one_value(self):
        with pytest.raises(TypeError, match="another name of keep"):
            jon.sweep(VALLEY, jon.momentum, RATES, steps=5, keep="params", keep_params=True)
        with pytest.raises(ValueError, match="unknown keep 'state'; accepted: params"):
            jon.plan(VALLEY, jon.momentum, RATES, steps=5, keep="state")


def assert_same(actual, expected):
    assert set(actual.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
        assert actual[name].dtype == expected[name].dtype


@pytest.fixture
def ran(monkeypatch):
    """What engines ran: (first step, last step, numbers of trials) of every pass."""
    passes, original = [], Engine.run

    def watched(self, parts, leg, hooks=NO_HOOKS):
        first = 0 if leg.saved is None else leg.saved.step
        passes.append((first, leg.until, sorted(int(number) for part in parts for number in part)))
        return original(self, parts, leg, hooks)

    monkeypatch.setattr(Engine, "run", watched)
    return passes


NETWORK = jon.problems.digits_mlp(hidden=4)
STORED = dict(batch_size=64, steps=6, every=2, width=3, progress=False)


def numbers(passes):
    """The trials of some passes."""
    return sorted(number for one in passes for number in one[2])


class TestExtend:
    def both(self, store, before, after, ran, **options):
        """A sweep that was extended, the passes of the extension, and the same from the start."""
        options = {**STORED, **options}
        small, large = options | before, options | after
        space = jon.grid(learning_rate=[0.01, 0.1])
        problem = options.get("problem", NETWORK)
        arguments = [[each.pop("problem", problem), jon.adam, each.pop("space", space)] for each in (small, large)]
        jon.sweep(*arguments[0], **small, store=store)
        ran.clear()
        table = jon.sweep(*arguments[1], **large, store=store, extend=True)
        passes = [*ran]
        assert_same(table, jon.sweep(*arguments[1], **large))
        assert_same(jon.open_sweep(store), table)
        ran.clear()
        assert_same(jon.sweep(*arguments[1], **large, store=store), table)
        assert ran == []
        return passes

    def test_more_seeds_run_alone(self, tmp_path, ran):
        passes = self.both(tmp_path, {"seeds": 2}, {"seeds": 5}, ran)
        assert numbers(passes) == [2, 3, 4, 7, 8, 9]

    def test_seeds_in_another_order_and_between(self, tmp_path, ran):
        passes = self.both(tmp_path, {"seeds": [7, 2]}, {"seeds": [2, 5, 7]}, ran)
        assert numbers(passes) == [1, 4]

    @pytest.mark.parametrize("kind", ["grid", "list"])
    def test_more_points_run_alone(self, tmp_path, ran, kind):
        points = [[0.01, 0.1], [0.001, 0.01, 0.05, 0.1]]
        make = (lambda v: jon.grid(learning_rate=v)) if kind == "grid" else (lambda v: jon.zipped(learning_rate=v))
        spaces = [{"space": make(values)} for values in points]
        passes = self.both(tmp_path, *spaces, ran, seeds=2)
        assert numbers(passes) == [0, 1, 4, 5]

    def test_more_steps_continue_from_the_ends(self, tmp_path, ran):
        passes = self.both(tmp_path, {}, {"steps": 10}, ran, seeds=2, keep="params+state")
        assert {one[:2] for one in passes} == {(6, 10)}

    def test_more_of_everything_and_again(self, tmp_path, ran):
        options = dict(keep="params+state")
        passes = self.both(tmp_path, {"seeds": 2}, {"seeds": 3, "steps": 8}, ran, **options)
        assert sorted(one[2] for one in passes if one[0] == 6) == [[0, 1, 3], [4]] or {one[0] for one in passes} == {
            0,
            6,
        }
        assert numbers([one for one in passes if one[0] == 0]) == [2, 5]
        larger = dict(STORED, seeds=4, steps=8, **options)
        space = jon.grid(learning_rate=[0.01, 0.1])
        ran.clear()
        table = jon.sweep(NETWORK, jon.adam, space, **larger, store=tmp_path, extend=True)
        assert numbers(ran) == [3, 7]
        longer = larger | {"steps": 12}
        ran.clear()
        table = jon.sweep(NETWORK, jon.adam, space, **longer, store=tmp_path, extend=True)
        assert {one[:2] for one in ran} == {(8, 12)}
        assert_same(table, jon.sweep(NETWORK, jon.adam, space, **longer))

    def test_curves_of_validation_data_grow(self, tmp_path, ran):
        options = dict(keep="params+state", evaluate_every=2, patience=20, batch_size=8)
        options["problem"] = normalised(validation=20)
        passes = self.both(tmp_path, {}, {"steps": 10}, ran, seeds=2, **options)
        assert {one[:2] for one in passes} == {(6, 10)}

    def test_kills_lose_nothing_and_change_no_bit(self, tmp_path):
        """SIGKILL at random moments of an extension by seeds, points and steps; the same call continues each time."""
        moments, folder, cache = random.Random(1), tmp_path / "store", tmp_path / "cache"
        process = forked.start(stored_sweep.small, folder, cache)
        process.join()
        before = jon.open_sweep(folder)
        kills, seen = 0, {0}
        while kills < 8:
            process = forked.start(stored_sweep.larger, folder, cache)
            wanted = len([*folder.rglob("chunk-*.nc")]) + moments.randrange(3)
            while process.exitcode is None and len([*folder.rglob("chunk-*.nc")]) < wanted:
                process.join(0.01)
            process.join(moments.uniform(0, 0.5))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += 1
            there = jon.open_sweep(folder)
            if there.attrs["steps"] == before.attrs["steps"]:
                assert_same(there, before)
            else:
                seen.add(there.attrs["trials_finished"])
        process = forked.start(stored_sweep.larger, folder, cache)
        process.join()
        assert process.exitcode == 0
        assert kills > 3
        assert len(seen) > 2
        arguments, options = stored_sweep.definition(larger=True)
        expected = jon.sweep(*arguments, **options, devices=jax.devices()[:1])
        assert_same(jon.open_sweep(folder), expected)

    def test_programs_of_several_choices(self, tmp_path, ran):
        def factory(learning_rate, nesterov):
            return optax.sgd(learning_rate, 0.9, nesterov)

        spaces = [jon.grid(learning_rate=rates, nesterov=[False, True]) for rates in ([0.1], [0.01, 0.1, 0.2])]
        options = dict(STORED, seeds=2)
        jon.sweep(NETWORK, factory, spaces[0], **options, store=tmp_path)
        ran.clear()
        table = jon.sweep(NETWORK, factory, spaces[1], **options, store=tmp_path, extend=True)
        assert numbers(ran) == [0, 0, 1, 1, 4, 4, 5, 5]
        assert_same(table, jon.sweep(NETWORK, factory, spaces[1], **options))
        assert_same(jon.open_sweep(tmp_path), table)

    def test_a_chunk_that_was_missing_runs_with_the_new_ones(self, tmp_path, ran):
        space, options = jon.grid(learning_rate=[0.01, 0.1]), dict(STORED, seeds=3)
        jon.sweep(NETWORK, jon.adam, space, **options, store=tmp_path)
        (tmp_path / "chunk-00001.nc").unlink()
        ran.clear()
        more = options | {"seeds": 4}
        table = jon.sweep(NETWORK, jon.adam, space, **more, store=tmp_path, extend=True)
        assert numbers(ran) == [3, 4, 5, 6, 7]
        assert_same(table, jon.sweep(NETWORK, jon.adam, space, **more))

    def test_a_broken_chunk_of_before_is_named_and_made_again_when_asked(self, tmp_path, ran):
        space, options = jon.grid(learning_rate=[0.01, 0.1]), dict(STORED, seeds=3)
        jon.sweep(NETWORK, jon.adam, space, **options, store=tmp_path)
        more = options | {"seeds": 4}
        table = jon.sweep(NETWORK, jon.adam, space, **more, store=tmp_path, extend=True)
        (tmp_path / "chunk-00001.nc").write_bytes(b"no chunk")
        with pytest.raises(jon.StoreError, match=r"chunk-00001.nc cannot be read.*repair=True"):
            jon.open_sweep(tmp_path)
        ran.clear()
        assert_same(jon.sweep(NETWORK, jon.adam, space, **more, store=tmp_path, repair=True), table)
        assert numbers(ran) == [4, 5, 6]

    def test_random_losses_with_numbers_of_their_own(self, tmp_path, ran):
        """Each trial has the keys of its seed, and its own start, however it came into the store."""

        def loss(x, *, key, noise):
            return jnp.sum((x + noise * jax.random.normal(key, x.shape)) ** 2)

        problem = jon.Problem(loss, init=lambda key, *, scale: scale * jax.random.normal(key, (3,)))
        spaces = [jon.grid(learning_rate=[0.01, 0.1], noise=noise, scale=[1.0, 2.0]) for noise in ([0.1], [0.0, 0.1])]
        options = dict(keep="params+state", problem=problem, batch_size=None)
        passes = self.both(tmp_path, {"seeds": 2, "space": spaces[0]}, {"seeds": 3, "space": spaces[1]}, ran, **options)
        assert len(numbers(passes)) == 2 * 2 * 2 * 3 - 2 * 2 * 2
        longer = dict(STORED, seeds=3, steps=12, keep="params+state", batch_size=None)
        ran.clear()
        table = jon.sweep(problem, jon.adam, spaces[1], **longer, store=tmp_path, extend=True)
        assert {one[:2] for one in ran} == {(6, 12)}
        assert_same(table, jon.sweep(problem, jon.adam, spaces[1], **longer))

    def test_the_random_trials_of_one_seed_stay_when_others_join(self, tmp_path):
        problem = jon.Problem(lambda x, *, key: jnp.sum((x + jax.random.normal(key, x.shape)) ** 2), init=jnp.ones(3))
        options = dict(steps=6, width=2, progress=False)
        alone = jon.sweep(problem, jon.adam, RATES, **options, store=tmp_path)
        table = jon.sweep(problem, jon.adam, RATES, seeds=3, **options, store=tmp_path, extend=True)
        together = jon.sweep(problem, jon.adam, RATES, seeds=3, **options)
        np.testing.assert_array_equal(table.loss[:, :1], alone.loss)
        np.testing.assert_array_equal(table.loss[:, 1:], together.loss[:, 1:])
        np.testing.assert_allclose(table.loss[:, 0], together.loss[:, 0], rtol=1e-6)

    def test_the_width_of_the_store_and_plans(self, tmp_path, ran):
        options = dict(steps=6, progress=False)
        jon.sweep(VALLEY, jon.adam, RATES, seeds=2, width=3, **options, store=tmp_path)
        table = jon.sweep(VALLEY, jon.adam, RATES, seeds=4, **options, store=tmp_path, extend=True)
        assert table.attrs["width"] == 3
        plan = jon.plan(VALLEY, jon.adam, RATES, seeds=5, steps=6, width=3)
        ran.clear()
        table = jon.sweep(plan, store=tmp_path, extend=True, progress=False)
        assert numbers(ran) == [4, 9]
        assert_same(table, jon.sweep(plan, progress=False))

    def test_new_choices_come_after_those_there(self, tmp_path, ran):
        spaces = [
            jon.grid(learning_rate=[0.1, 0.2], batch_size=sizes) for sizes in ([64, 32], [64, 32, 16], [8, 64, 32])
        ]
        options = {name: value for name, value in STORED.items() if name != "batch_size"}
        jon.sweep(NETWORK, jon.adam, spaces[0], **options, store=tmp_path)
        ran.clear()
        table = jon.sweep(NETWORK, jon.adam, spaces[1], **options, store=tmp_path, extend=True)
        assert numbers(ran) == [0, 1]
        assert_same(table, jon.sweep(NETWORK, jon.adam, spaces[1], **options))
        with pytest.raises(jon.StoreError, match="new choices after them"):
            jon.sweep(NETWORK, jon.adam, spaces[2], **options, store=tmp_path, extend=True)

    def test_what_is_refused(self, tmp_path):
        def run(**changes):
            options = dict(STORED, seeds=2, store=tmp_path, extend=True) | changes
            problem, factory = options.pop("problem", NETWORK), options.pop("factory", jon.adam)
            return jon.sweep(problem, factory, options.pop("space", jon.grid(learning_rate=[0.01, 0.1])), **options)

        run()
        refused = {
            r"seeds: \[0, 1\] there, \[0\] now, which lacks \[1\]": dict(seeds=1),
            r"steps: 6 there, 4 now, which are fewer": dict(steps=4),
            r"points: learning_rate=0.01 there, and not now": dict(space=jon.grid(learning_rate=[0.1, 0.2])),
            r"batch_size: 64 there, 32 now": dict(batch_size=32, seeds=3),
            r"optimizer: adam there, momentum now": dict(factory=jon.momentum, seeds=3),
            r"key: .* there": dict(key=jax.random.key(5), seeds=3),
            r"width: 3 there, 2 now": dict(width=2, seeds=3),
            r"every: 2 there, 3 now": dict(every=3, seeds=3),
            r"holds no states at the ends.*keep='params\+state'": dict(steps=8),
            r"variables": dict(keep="params", seeds=3),
        }
        for words, changes in refused.items():
            with pytest.raises(jon.StoreError, match=words):
                run(**changes)
        with pytest.raises(jon.StoreError, match="finish it as it was defined"):
            run(seeds=3, extend=False)
        with pytest.raises(ValueError, match="needs the store"):
            run(store=None)
        with pytest.raises(ValueError, match="cannot add to a pruned sweep"):
            run(prune=jon.halving())

    def test_a_schedule_over_the_steps_is_another_optimizer(self, tmp_path):
        def run(steps):
            def factory(learning_rate):
                return jon.gradient_descent(jon.schedules.cosine(learning_rate, steps))

            space = jon.grid(learning_rate=[0.1])
            options = dict(store=tmp_path, keep="params+state", extend=True, progress=False)
            return jon.sweep(VALLEY, factory, space, steps=steps, **options)

        run(4)
        with pytest.raises(jon.StoreError, match=r"update: .* there(.|\n)*a schedule over `steps`"):
            run(8)


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
        assert "0 of 8 trials finished; 4 stopped on the way have status -4, the others have status -1" in shown
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
        with pytest.warns(UserWarning, match="interrupted: 0 of 2 trials finished; the others have status -1"):
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


class TestOrbax:
    def test_an_end_point_comes_back_as_it_was(self, tmp_path):
        problem = normalised()
        table = jon.sweep(problem, jon.adam, RATES, steps=3, keep="params", progress=False)
        jon.save_end_point(tmp_path / "end", table, problem, learning_rate=0.05, seed=0)
        found, expected = (
            jon.load_end_point(tmp_path / "end", problem),
            jon.end_point(table, problem, learning_rate=0.05, seed=0),
        )
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        with pytest.raises(FileExistsError, match="give a new folder"):
            jon.save_end_point(tmp_path / "end", table, problem, learning_rate=0.05, seed=0)

    def test_keys_and_narrow_floats(self, tmp_path):
        def loss(x, *, aux):
            return jnp.sum(x.astype(jnp.float32) ** 2), {"key": jax.random.split(aux["key"])[0], "n": aux["n"] + 1}

        start = (jnp.ones(3, jnp.bfloat16), {"key": jax.random.key(3), "n": jnp.int32(0)})
        problem = jon.Problem(loss, init=lambda key: start)
        table = jon.sweep(problem, jon.gradient_descent, RATES, steps=3, keep="params+state", progress=False)
        jon.save_end_point(tmp_path / "end", table, problem, learning_rate=0.05, seed=0)
        params, aux = jon.load_end_point(tmp_path / "end", problem)
        assert params.dtype == jnp.bfloat16
        assert aux["n"] == 4  # three steps and the start
        run = jon.resume(table, problem, learning_rate=0.05)
        np.testing.assert_array_equal(jax.random.key_data(aux["key"]), jax.random.key_data(run.aux["key"]))

    def test_what_does_not_fit_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="is no folder"):
            jon.load_end_point(tmp_path / "none", VALLEY)
        table = jon.sweep(VALLEY, jon.momentum, RATES, steps=3, keep="params", progress=False)
        jon.save_end_point(tmp_path / "end", table, VALLEY, learning_rate=0.05, seed=0)
        for problem in (jon.problems.quadratic([1.0, 2.0, 3.0]), normalised()):
            with pytest.raises(jon.StoreError, match="cannot be read as the end point of"):
                jon.load_end_point(tmp_path / "end", problem)
        (tmp_path / "empty").mkdir()
        with pytest.raises(jon.StoreError, match="cannot be read as the end point of"):
            jon.load_end_point(tmp_path / "empty", VALLEY)
