"""A stored sweep that gets more seeds, points or steps: bit-identical, and only what is new runs."""

import random

import forked
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import stored_sweep
from stateful import normalised
from stored_sweep import assert_same

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute.engine import NO_HOOKS, Engine

VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = jon.grid(learning_rate=[0.01, 0.05])


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


class Batches:
    """Batches whose iterators have a state, as those of grain."""

    class Reader:
        def __init__(self):
            self.read = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.read += 1
            return np.random.default_rng(self.read).standard_normal((8, 3)).astype(np.float32)

        def get_state(self):
            return {"read": self.read}

        def set_state(self, state):
            self.read = state["read"]

    def __iter__(self):
        return Batches.Reader()


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

    def test_a_last_look_that_a_longer_sweep_does_not_take_is_refused(self, tmp_path):
        options = dict(keep="params+state", evaluate_every=4, store=tmp_path, extend=True, progress=False)
        problem = normalised(validation=20)
        jon.sweep(problem, jon.adam, RATES, steps=6, **options)
        with pytest.raises(jon.StoreError, match=r"at its last step, 6, where a longer sweep with evaluate_every=4"):
            jon.sweep(problem, jon.adam, RATES, steps=8, **options)

    def test_trials_with_steps_of_their_own_and_epochs(self, tmp_path, ran):
        """An axis of steps: those that rest keep what they have; and epochs of several batch sizes."""
        own = {name: value for name, value in STORED.items() if name != "steps"} | {"keep": "params+state"}
        spaces = [jon.grid(learning_rate=[0.01, 0.1], steps=steps) for steps in ([4, 6], [4, 6, 10])]
        jon.sweep(NETWORK, jon.adam, spaces[0], **own, store=tmp_path / "steps")
        ran.clear()
        table = jon.sweep(NETWORK, jon.adam, spaces[1], **own, store=tmp_path / "steps", extend=True)
        assert numbers([one for one in ran if one[0] == 0]) == [2, 5]
        assert_same(table, jon.sweep(NETWORK, jon.adam, spaces[1], **own))
        space = jon.grid(learning_rate=[0.1], batch_size=[400, 800])
        options = dict(width=2, keep="params+state", progress=False)
        jon.sweep(NETWORK, jon.adam, space, epochs=1, **options, store=tmp_path / "epochs")
        ran.clear()
        table = jon.sweep(NETWORK, jon.adam, space, epochs=3, **options, store=tmp_path / "epochs", extend=True)
        assert all(one[0] > 0 for one in ran)
        assert_same(table, jon.sweep(NETWORK, jon.adam, space, epochs=3, **options))

    def test_more_steps_of_a_stream_see_the_batches_that_follow(self, tmp_path, ran):
        """Whatever the windows: those of a longer sweep begin at other steps than those of the one before."""
        problem = jon.Problem(lambda x, batch: jnp.mean((batch @ x - 1) ** 2), init=jnp.ones(3))
        options = dict(keep="params+state", data=Batches(), width=2, progress=False)
        jon.sweep(problem, jon.momentum, RATES, steps=6, seeds=2, **options, store=tmp_path)
        for steps in (10, 17):
            ran.clear()
            more = dict(options, steps=steps, seeds=3)
            table = jon.sweep(problem, jon.momentum, RATES, **more, store=tmp_path, extend=True)
            assert max(one[0] for one in ran) == {10: 6, 17: 10}[steps]
            assert_same(table, jon.sweep(problem, jon.momentum, RATES, **more))

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
