"""A plan is the sweep, not yet run: each program is traced once, each problem made once, and what was printed runs."""

import concurrent.futures
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes.sweeps.run import plan as plans

ONE = dict(devices=jax.devices()[:1])
RATES = [0.01, 0.02, 0.05]


class Counted:
    """A bowl that counts how often Python calls its loss, its metric and its maker."""

    def __init__(self):
        self.loss = self.metric = 0
        self.made = []

    def problem(self):
        def loss(x):
            self.loss += 1
            return (x @ x) + 0.1 * (x**4).sum()

        def largest(x):
            self.metric += 1
            return jnp.abs(x).max()

        return jon.Problem(loss, init=np.ones(3, np.float32), metrics={"largest": largest})

    def make(self, size):
        self.made.append(size)
        return jon.Problem(lambda x: (x @ x) + size, init=np.ones(size, np.float32))


def swept(problem, optimizer, space, **options):
    return jon.sweep(problem, optimizer, space, **{"seeds": 2, "steps": 6, "progress": False, **ONE, **options})


@pytest.fixture
def traced(monkeypatch):
    """The groups that were traced."""
    groups, original = [], plans.trace

    def counted(name, group, options, devices):
        groups.append(group)
        return original(name, group, options, devices)

    monkeypatch.setattr(plans, "trace", counted)
    return groups


@pytest.mark.parametrize(
    ("optimizer", "space", "programs"),
    [
        (jon.momentum, jon.grid(learning_rate=RATES, beta=[0.0, 0.9]), 1),
        (jon.rmsprop, jon.grid(learning_rate=RATES, centered=[False, True]), 2),
        (jon.rmsprop, jon.grid(learning_rate=RATES, centered=[False, True], debias=[False, True]), 4),
    ],
)
@pytest.mark.parametrize("stored", [False, True])
def test_every_program_is_traced_once(traced, optimizer, space, programs, stored, tmp_path):
    counted = Counted()
    plan = jon.plan(counted.problem(), optimizer, space, seeds=2, steps=6, **ONE)
    assert len(plan.groups) == len(traced) == programs
    of_a_plan, counted.loss, counted.metric = (counted.loss, counted.metric), 0, 0
    traced.clear()
    table = swept(counted.problem(), optimizer, space, store=tmp_path / "s" if stored else None)
    assert len(traced) == programs
    assert (counted.loss, counted.metric) == of_a_plan
    same = jon.sweep(plan, progress=False)
    assert (counted.loss, counted.metric) == of_a_plan  # a plan is traced already
    xarray.testing.assert_equal(same, table)


def test_every_problem_is_made_once_also_for_several_families_and_another_look():
    counted = Counted()
    space = jon.grid(learning_rate=RATES, size=[2, 3])
    swept(counted.make, jon.momentum, space)
    assert sorted(counted.made) == [2, 3]
    counted.made.clear()
    families = {"a": (jon.momentum, space), "b": (jon.adam, space)}
    plan = jon.plan(counted.make, families, steps=6, **ONE)
    assert sorted(counted.made) == [2, 3]
    jon.sweep(plan.remake(steps=3), progress=False)
    assert sorted(counted.made) == [2, 3]


def test_a_study_traces_its_program_once(traced):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    counted = Counted()
    jon.plan(counted.problem(), jon.momentum, jon.grid(learning_rate=RATES), steps=6, **ONE)
    once, counted.loss = counted.loss, 0
    traced.clear()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = {"learning_rate": optuna.distributions.FloatDistribution(1e-3, 0.1, log=True)}
    problem = counted.problem()
    jon.optuna.optimize(study, problem, jon.momentum, space, trials=12, batch=4, steps=6, progress=False, **ONE)
    assert len(study.trials) == 12
    assert len(traced) == 1
    assert counted.loss == once


def test_a_choice_that_comes_back_is_not_traced_again(traced):
    problem = Counted().problem()
    both, one = (jon.grid(learning_rate=RATES, centered=choices) for choices in ([False, True], [False]))
    plan = jon.plan(problem, jon.rmsprop, both, seeds=2, steps=6, **ONE)
    again = plan.over(one, 2).over(both, 2)
    assert len(traced) == 2
    expected = swept(problem, jon.rmsprop, both, width=2)
    xarray.testing.assert_equal(jon.sweep(again, progress=False), expected)


class TestRunningAPlan:
    SPACE = jon.grid(learning_rate=RATES, centered=[False, True])
    VALLEY = jon.problems.quadratic([1.0, 20.0])

    def plan(self, **options):
        return jon.plan(self.VALLEY, jon.rmsprop, self.SPACE, **{"seeds": 3, "steps": 9, "width": 4, **ONE, **options})

    def test_it_is_the_sweep(self):
        plan = self.plan()
        table = jon.sweep(plan, progress=False)
        assert table.attrs["width"] == plan.width == 4
        expected = jon.sweep(self.VALLEY, jon.rmsprop, self.SPACE, seeds=3, steps=9, width=4, progress=False, **ONE)
        xarray.testing.assert_equal(table, expected)
        assert table.attrs["fingerprint"] == expected.attrs["fingerprint"]

    def test_what_is_decided_is_refused(self):
        plan = self.plan()
        for name, value in dict(optimizer=jon.adam, space=self.SPACE, seeds=3, steps=9, width=4, every=1).items():
            with pytest.raises(TypeError, match=f"{name} is decided by the plan; give it to jon.plan"):
                jon.sweep(plan, **{name: value})

    @pytest.mark.parametrize("missing", ["optimizer", "steps"])
    def test_without_a_plan_it_is_needed(self, missing):
        given = dict(optimizer=jon.momentum, space=jon.grid(learning_rate=RATES), steps=3)
        del given[missing]
        with pytest.raises(TypeError, match=f"sweep needs {missing}"):
            jon.sweep(self.VALLEY, **given)

    def test_a_store_is_resumed_by_plan_and_by_call(self, tmp_path):
        table = jon.sweep(self.plan(), store=tmp_path, keep_params=True, progress=False)
        next(tmp_path.glob("group-001/chunk-00001.nc")).unlink()
        again = jon.sweep(self.plan(), store=tmp_path, keep_params=True, progress=False)
        xarray.testing.assert_equal(again, table)
        options = dict(seeds=3, steps=9, keep_params=True, progress=False, **ONE)
        xarray.testing.assert_equal(jon.sweep(self.VALLEY, jon.rmsprop, self.SPACE, store=tmp_path, **options), table)
        with pytest.raises(jon.StoreError, match="width: 4 there, 5 now"):
            jon.sweep(self.plan(width=5), store=tmp_path, keep_params=True, progress=False)

    def test_it_is_pruned_and_handed_out(self):
        options = dict(seeds=3, steps=9, width=4, progress=False, **ONE)
        for how in (dict(prune=jon.halving()), dict(keep_params=True)):
            table = jon.sweep(self.plan(), progress=False, **how)
            xarray.testing.assert_equal(table, jon.sweep(self.VALLEY, jon.rmsprop, self.SPACE, **options, **how))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            plan = self.plan(devices=None)
            xarray.testing.assert_equal(
                jon.sweep(plan, executor=pool, progress=False), jon.sweep(self.plan(), progress=False)
            )

    def test_a_family_keeps_its_name(self, tmp_path):
        families = {"plain": (jon.gradient_descent, jon.grid(learning_rate=RATES)), "choice": (jon.rmsprop, self.SPACE)}
        plan = jon.plan(self.VALLEY, families, steps=4, **ONE)
        tree = jon.sweep(plan, store=tmp_path, progress=False)
        assert list(tree.children) == ["plain", "choice"]
        assert jon.open_sweep(tmp_path)["choice"].to_dataset().equals(tree["choice"].to_dataset())

    def test_a_plan_does_not_change_what_it_was_made_from(self):
        plan = self.plan()
        before = str(plan)
        jon.sweep(plan, progress=False)
        jon.sweep(plan, progress=False)
        assert str(plan) == before

    def test_a_wrong_width_is_refused_also_with_workers_and_on_a_resume(self, tmp_path):
        arguments = (self.VALLEY, jon.momentum, jon.grid(learning_rate=RATES))
        jon.sweep(*arguments, steps=3, width=2, store=tmp_path, progress=False, **ONE)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            for how in (dict(executor=pool), dict(store=tmp_path), {}):
                for wrong in ("fastst", 2.5, [1]):
                    with pytest.raises((TypeError, ValueError), match="width"):
                        jon.sweep(*arguments, steps=3, width=wrong, progress=False, **how)
        with pytest.raises((TypeError, ValueError), match="width"):
            jon.plan(*arguments, steps=3, width=[1])

    def test_it_is_remade_with_its_width_and_other_problems(self):
        plan = self.plan(width=1)
        assert plan.remake(steps=3).width == 1
        assert plan.remake(width=2).width == 2
        with pytest.raises(ValueError, match="unknown argument 'stepz'; did you mean 'steps'"):
            plan.remake(stepz=3)
        makers = [lambda scale, k=k: jon.problems.quadratic([k * scale, 20.0]) for k in (1.0, 2.0)]
        space = jon.grid(learning_rate=RATES, scale=[1.0])
        first = jon.plan(makers[0], jon.momentum, space, steps=3, **ONE)
        start = np.ones(2, np.float32)
        values = [one.groups[0].problem.loss(start) for one in (first, first.remake(problem=makers[1]))]
        assert values[0] != values[1]

    def test_another_precision_is_refused(self):
        with jax.enable_x64(True):
            plan = self.plan()
        with pytest.raises(ValueError, match=r"the plan was made with float64 and is to run with float32"):
            jon.sweep(plan, progress=False)


def test_groups_of_one_program_compile_it_once():
    table = swept(
        lambda shift: jon.Problem(lambda x: x @ x, init=np.full(3, shift, np.float32)),
        jon.momentum,
        jon.grid(learning_rate=RATES, shift=[1.0, 2.0, 3.0]),
        steps=7,
    )
    assert table.attrs["groups"] == 3
    assert table.attrs["segment_programs"] == 1


def test_what_a_group_holds_on_the_devices_is_freed_when_the_next_begins():
    """Four groups over 4 MB of data: at every chunk as much is alive as at the first."""
    data = np.random.default_rng(0).normal(size=(1000, 1000)).astype(np.float32)
    problem = jon.Problem(lambda x, batch: jnp.mean((batch @ x) ** 2), init=np.ones(1000, np.float32), data=data)
    alive = []

    def note(chunk):
        gc.collect()
        alive.append(sum(array.nbytes for array in jax.live_arrays()))

    swept(problem, jon.gradient_descent, jon.grid(learning_rate=[0.01], batch_size=[8, 16, 32, 64]), on_chunk=note)
    assert len(alive) == 4
    assert max(alive) - min(alive) < data.nbytes / 2


def test_warnings_are_of_the_line_that_called():
    def stop(chunk):
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted") as caught:
        swept(Counted().problem(), jon.momentum, jon.grid(learning_rate=RATES), on_chunk=stop)
    assert caught[0].filename == __file__
    sums = jon.Problem(
        lambda x, batch: jnp.sum((batch - x) ** 2), init=np.float32(0), data=np.arange(8, dtype=np.float32)
    )
    with pytest.warns(UserWarning, match="adds up over its examples") as caught:
        jon.plan(sums, jon.momentum, jon.grid(learning_rate=RATES), steps=2, batch_size=2, **ONE)
    assert caught[0].filename == __file__


def test_the_gradient_is_compiled_into_one_program():
    jax.clear_caches()
    products = lambda module: str(module).count("stablehlo.dot_general")
    with compiled_programs(products) as counts:
        space = jon.grid(learning_rate=[0.01, 0.1])
        jon.sweep(jon.problems.digits_mlp(hidden=5), jon.momentum, space, steps=3, batch_size=64, **ONE)
    # Of a step two forward, and three back, as the data need no slope: its program evaluates the start too. At the end
    # two of each of loss and accuracy, on two parts of the data.
    assert sorted(count for count in counts if count) == [5, 8], counts


def test_a_first_sweep_compiles_seven_programs_and_one_of_another_shape_three():
    jax.clear_caches()
    with compiled_programs() as names:
        problem = jon.problems.digits_mlp(hidden=5)
        space = jon.grid(learning_rate=jnp.array([0.01, 0.1, 1.0]), beta=[0.0, 0.9])
        names.clear()  # of the rates, which are the user's
        jon.best(jon.sweep(problem, jon.momentum, space, seeds=4, steps=30, batch_size=64, progress=False))
    # A key from 0 (two), the keys of a seed, its start; begin, segment, and what is measured.
    assert len(names) == 7, names
    with compiled_programs() as names:
        space = jon.grid(learning_rate=[0.02, 0.2], beta=[0.5])
        jon.best(jon.sweep(problem, jon.momentum, space, seeds=3, steps=50, batch_size=50, progress=False))
    assert len(names) == 3, names
