"""What chooses a program: booleans are booleans, and numbers that shape a program make one for each of their values."""

from __future__ import annotations

import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest
import scipy.stats
import xarray

import jaxopt_notes as jon
from jaxopt_notes.sweeps.spec.arguments import arguments_of
from jaxopt_notes.tour import tour

if typing.TYPE_CHECKING:
    from nowhere import Unknown

VALLEY = jon.problems.quadratic([1.0, 20.0])
ONE = jax.devices()[:1]


def swept(optimizer, space, problem=VALLEY, **options):
    return jon.sweep(problem, optimizer, space, **{"steps": 6, "devices": ONE, "progress": False, **options})


def final(optimizer):
    return float(jon.minimize(VALLEY.loss, VALLEY.init(None), optimizer, steps=6).final_loss)


def repeated(learning_rate: float, times: int = 1):
    """As many halvings of the rate, unrolled: `times` is the length of a list."""
    return optax.chain(jon.momentum(learning_rate), *[optax.scale(0.5)] * times)


def branched(learning_rate, kind):
    return jon.adam(learning_rate) if kind == 0 else jon.momentum(learning_rate)


# A text for a boolean, called directly: every public function that has such an argument.
CALLS = {
    "centered": lambda v: jon.rmsprop(0.1, centered=v),
    "debias": lambda v: jon.rmsprop(0.1, debias=v),
    "ewma": lambda v: jon.ewma(0.9, debias=v),
    "staircase": lambda v: jon.schedules.exponential(0.1, 0.9, staircase=v),
    "staircase_inverse": lambda v: jon.schedules.inverse_time(0.1, 0.9, staircase=v),
    "record_params": lambda v: jon.minimize(
        jnp.square, 1.0, jon.gradient_descent(0.1), steps=1, record_params=v, donate=False
    ),
    "donate": lambda v: jon.minimize(jnp.square, 1.0, jon.gradient_descent(0.1), steps=1, donate=v),
    "until": lambda v: jon.minimize_until(jnp.square, 1.0, jon.gradient_descent(0.1), max_steps=1, record_params=v),
    "until_donate": lambda v: jon.minimize_until(jnp.square, 1.0, jon.gradient_descent(0.1), max_steps=1, donate=v),
    "stream": lambda v: jon.minimize_stream(
        lambda x, b: (x - b) ** 2, 1.0, jon.gradient_descent(0.1), [jnp.ones(())] * 3, record_params=v
    ),
    "verify": lambda v: jon.curvature.eigsh(jnp.diag(jnp.arange(1.0, 9.0)), k=1, verify=v),
    "keep_params": lambda v: swept(jon.adam, jon.grid(learning_rate=[0.1]), keep_params=v),
    "repair": lambda v: swept(jon.adam, jon.grid(learning_rate=[0.1]), repair=v),
    "progress": lambda v: swept(jon.adam, jon.grid(learning_rate=[0.1]), progress=v),
    "skip": lambda v: jon.problems.digits_resnet(8, skip=v, width=2),
    "use_bias": lambda v: jon.problems.Conv(2, use_bias=v).init(jax.random.key(0), jnp.ones((1, 4, 4, 1))),
    "facts": lambda v: jon.problems.Facts(np.zeros((2, 1)), complete=v),
    "series": lambda v: jon.plots.series(xarray.Dataset({"value": ("step", [1.0, 2.0])}), debias=v),
    "hide_labels": lambda v: jon.plots.loss_curves(xarray.Dataset(), hide_labels=v),
    "quick": lambda v: tour("nowhere", key=jax.random.key(0), quick=v),
    "suggest": lambda v: jon.suggest_learning_rate(VALLEY, jon.adam, progress=v),
}


@pytest.mark.parametrize("value", ["false", "no", 0, None], ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_only_a_boolean_is_a_boolean(name, value):
    with pytest.raises(TypeError, match=f"must be True or False, got {value!r}"):
        CALLS[name](value)


def test_numpys_booleans_are_booleans_and_the_refusal_says_what_to_write():
    assert jon.rmsprop(0.1, centered=np.False_).init(jnp.ones(1)).mu is None
    with pytest.raises(TypeError, match="of type str; write centered=False"):
        jon.rmsprop(0.1, centered="Off")
    with pytest.raises(TypeError, match="a traced bool"):
        jax.jit(lambda flag: jon.rmsprop(0.1, centered=flag))(True)


def declared(learning_rate: float, flag: bool, count: int = 2, form: typing.Literal["a", "b"] = "a"):
    return jon.adam(learning_rate)


class Owner:
    def method(self, learning_rate, flag: bool | None = None):
        return jon.adam(learning_rate)

    __call__ = method


def by_default(learning_rate=0.1, flag=False, eps=1e-8):
    return jon.adam(learning_rate, eps=eps)


RATE = {"learning_rate": [0.1]}


@pytest.mark.parametrize(
    ("factory", "axes", "message"),
    [
        (
            jon.rmsprop,
            {"centered": ["true", "false"]},
            "'centered' chooses .* True or False; got 'true', .* write True",
        ),
        (jon.rmsprop, {"centered": [True, "no"]}, "'centered' chooses .* write False"),
        (jon.rmsprop, {"centered": [None]}, "'centered' chooses the program of rmsprop"),
        (jon.rmsprop, {"eps": ["1e-8"]}, "axis 'eps' must hold real numbers .* a text: write 1e-08"),
        (jon.rmsprop, {"learning_rate": ["0.1"]}, "'learning_rate' must hold real numbers, or choices .* write 0.1"),
        (optax.sgd, {"nesterov": ["false"]}, "'nesterov' chooses the program of sgd"),
        (optax.lbfgs, {"memory_size": ["5"]}, "'memory_size' must hold integers for lbfgs; .* write 5"),
        (declared, {"flag": [0, 1]}, "'flag' chooses the program of declared: .* a number: write False"),
        (declared, {"flag": [True], "form": ["c"]}, "axis 'form' must be one of 'a', 'b' for declared"),
        (Owner().method, {"flag": ["on"]}, "'flag' chooses the program of method: give it True or False or None"),
        (Owner(), {"flag": ["on"]}, "'flag' chooses the program of Owner"),
        (functools.partial(declared, count=3), {"flag": ["on"]}, "'flag' chooses the program of declared"),
        (by_default, {"flag": ["false"]}, "'flag' chooses the program of by_default"),
        (by_default, {"eps": ["0.1"]}, "axis 'eps' must hold real numbers for by_default"),
    ],
)
@pytest.mark.parametrize("kind", ["grid", "zipped", "sample", "trials", "frame"])
def test_texts_for_booleans_and_numbers_are_refused_in_every_space(kind, factory, axes, message):
    axes = {**RATE, **axes}
    length = max(map(len, axes.values()))
    together = {name: (values * length)[:length] for name, values in axes.items()}
    space = {
        "grid": lambda: jon.grid(**axes),
        "zipped": lambda: jon.zipped(**together),
        "sample": lambda: jon.sample(8, jax.random.key(0), **axes),
        "trials": lambda: jon.trials(together),
        "frame": lambda: jon.trials(pandas.DataFrame(together, dtype=object)),
    }[kind]()
    if kind == "sample" and "centered" in axes and len(axes["centered"]) > 1:
        message = "'centered' chooses"  # whichever is drawn first
    with pytest.raises(TypeError, match=message):
        swept(factory, space)


def test_optuna_and_the_maker_of_a_problem_are_checked_too():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    distributions = {"learning_rate": optuna.distributions.FloatDistribution(0.1, 1.0)}
    distributions["centered"] = optuna.distributions.CategoricalDistribution(["true", "false"])
    with pytest.raises(TypeError, match="'centered' chooses the program of rmsprop"):
        jon.optuna.optimize(study, VALLEY, jon.rmsprop, distributions, trials=2, steps=2, progress=False)
    assert not study.trials

    def made(steep: bool = True):
        return VALLEY

    with pytest.raises(TypeError, match="'steep' chooses the program of made"):
        swept(jon.adam, jon.grid(learning_rate=[0.1], steep=["yes"]), problem=made)


def test_what_cannot_be_judged_passes():
    def unjudged(a, b: Unknown = 0.1, c: bool | str = "auto", d: jax.typing.ArrayLike = 0.1, e: float = None, f="x"):  # noqa: RUF013
        return jon.adam(0.1)

    arguments = arguments_of(unjudged)
    for name, value in {"a": "no", "b": "no", "c": "no", "d": 1, "e": None, "f": True}.items():
        if name != "b":  # its default is a number
            assert arguments[name].takes(value), name
    assert arguments_of(jon.adam)["b1"].takes(jon.schedules.constant(0.1))  # whether it may be one, the factory says
    assert not arguments["d"].takes("0.1")


@pytest.mark.parametrize(
    ("factory", "space"),
    [
        (repeated, jon.grid(learning_rate=[0.01, 0.05], times=[1, 3])),
        (lambda **numbers: repeated(**numbers), jon.grid(learning_rate=[0.01, 0.05], times=[1, 3])),
        (lambda learning_rate, n: repeated(learning_rate, n), jon.zipped(learning_rate=[0.01, 0.05], n=[1, 3])),
        (branched, jon.grid(learning_rate=[0.01, 0.05], kind=[0, 1])),
        (optax.lbfgs, jon.grid(memory_size=[2, 5])),
    ],
)  # fmt: skip
def test_integers_that_shape_a_program_make_one_each(factory, space):
    plan = jon.plan(VALLEY, factory, space, steps=6, devices=ONE)
    name = space.names[-1]
    assert len(plan.groups) == len(set(space.columns()[name].tolist())) == 2
    table = swept(factory, space)
    assert table.attrs["groups"] == 2
    assert table.attrs["segment_programs"] <= 2
    assert table[name].dtype == int
    for values, loss in zip(space.configurations(), table.final_loss.values.ravel(), strict=True):
        np.testing.assert_allclose(loss, final(factory(**values)), rtol=1e-5, atol=1e-12)
    config = jon.best(table).config
    assert type(config[name]) is int
    factory(**config)


def test_the_period_of_multisteps_is_an_axis():
    def every(k):
        return optax.MultiSteps(jon.adam(0.1), k).gradient_transformation()

    with jax.numpy_dtype_promotion("standard"):
        table = swept(every, jon.grid(k=[1, 4]))
        np.testing.assert_allclose(table.final_loss.values.ravel(), [final(every(k)) for k in (1, 4)], rtol=1e-5)


def test_numbers_that_can_be_traced_stay_one_program_and_integers_stay_integers():
    def warm(learning_rate: float, steps: int = 4):
        return jon.momentum(lambda step: learning_rate * jnp.minimum((jnp.asarray(step, float) + 1.0) / steps, 1.0))

    table = swept(warm, jon.grid(learning_rate=[0.01, 0.05], steps=[1, 2, 3, 5]))
    assert "groups" not in table.attrs
    assert table.attrs["segment_programs"] == 1
    assert table.steps.dtype == int
    assert type(jon.best(table).config["steps"]) is int
    np.testing.assert_allclose(table.final_loss.sel(learning_rate=0.05, steps=5)[0], final(warm(0.05, 5)), rtol=1e-5)
    whole = swept(jon.adam, jon.grid(learning_rate=[0.1], b1=[0]))  # a float that is written as an integer
    assert whole.attrs["segment_programs"] == 1


def test_floats_that_shape_a_program_make_one_each_and_only_where_they_do():
    def factory(learning_rate, kind, rate):
        if kind == "plain":
            return jon.momentum(learning_rate * rate)
        return jon.adam(learning_rate) if rate > 0.5 else jon.momentum(learning_rate)

    table = swept(factory, jon.grid(learning_rate=[0.01, 0.02], kind=["plain", "other"], rate=[0.25, 0.75]))
    assert table.attrs["groups"] == table.attrs["segment_programs"] == 3
    for kind in ("plain", "other"):
        for rate in (0.25, 0.75):
            loss = table.final_loss.sel(learning_rate=0.02, kind=kind, rate=rate)[0]
            np.testing.assert_allclose(loss, final(factory(0.02, kind, rate)), rtol=1e-5)


def test_integers_that_float32_would_round_are_not_traced():
    def seeded(learning_rate, number):
        return jon.momentum(learning_rate * (1 + number % 2))

    table = swept(seeded, jon.grid(learning_rate=[0.01], number=[2**24, 2**24 + 1]))
    assert table.number.values.tolist() == [2**24, 2**24 + 1]
    np.testing.assert_allclose(
        table.final_loss.values.ravel(), [final(jon.momentum(r)) for r in (0.01, 0.02)], rtol=1e-5
    )


def test_zero_and_false_are_two_programs():
    def factory(kind):
        return jon.adam(0.1) if kind is False else jon.momentum(0.01) if kind == 0 else jon.momentum(0.02)

    losses = [float(swept(factory, jon.grid(kind=[kind])).final_loss.item()) for kind in (False, 0)]
    np.testing.assert_allclose(losses, [final(jon.adam(0.1)), final(jon.momentum(0.01))], rtol=1e-5)


def test_absent_integers_come_back_as_integers():
    for space in (
        jon.grid(learning_rate=[0.01], times=[2]) + jon.grid(learning_rate=[0.001]),
        jon.trials(pandas.DataFrame({"learning_rate": [0.01, 0.001], "times": [2, None]})),
    ):
        table = swept(repeated, space)
        np.testing.assert_allclose(
            table.final_loss.values.ravel(), [final(repeated(0.01, 2)), final(repeated(0.001))], rtol=1e-5
        )
        config = jon.best(table).config
        assert type(config["times"]) is int


def test_drawn_integers_are_integers():
    space = jon.sample(6, jax.random.key(1), times=scipy.stats.randint(1, 4), learning_rate=0.01)
    assert space.columns()["times"].dtype == int
    table = swept(lambda learning_rate, times: repeated(learning_rate, times), space)
    assert table.attrs["groups"] == len(set(space.columns()["times"].tolist()))
    np.testing.assert_allclose(table.final_loss[0, 0], final(repeated(0.01, int(table.times[0]))), rtol=1e-5)


def test_optuna_draws_integers_that_shape_a_program():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    distributions = {
        "times": optuna.distributions.IntDistribution(1, 2),
        "kind": optuna.distributions.CategoricalDistribution([0, 1]),
    }

    def factory(times, kind):
        return optax.chain(branched(0.05, kind), repeated(1.0, times))

    jon.optuna.optimize(study, VALLEY, factory, distributions, trials=4, batch=4, steps=6, progress=False, devices=ONE)
    for trial in study.trials:
        np.testing.assert_allclose(trial.value, final(factory(**trial.params)), rtol=1e-5)


def test_a_store_of_integers_resumes_and_families_take_them(tmp_path):
    space = jon.grid(learning_rate=[0.01], times=[1, 3])
    table = swept(repeated, space, store=tmp_path / "one")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("chunk-*.nc")}
    victim = next(path for path in written if "group-001" in str(path))
    victim.unlink()
    xarray.testing.assert_equal(swept(repeated, space, store=tmp_path / "one"), table)
    assert [p for p, t in written.items() if p.stat().st_mtime_ns != t] == [victim]
    xarray.testing.assert_equal(jon.open_sweep(tmp_path / "one"), table)
    tree = jon.sweep(VALLEY, {"a": (repeated, space)}, steps=6, devices=ONE, progress=False)
    xarray.testing.assert_equal(tree["a"].to_dataset(), table)
    with pytest.raises(jon.StoreError, match="another sweep"):
        swept(repeated, jon.grid(learning_rate=[0.01], times=[1, 4]), store=tmp_path / "one")


def test_an_error_of_the_optimizers_own_is_not_taken_for_a_choice():
    def broken(learning_rate):
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        swept(broken, jon.grid(learning_rate=[0.1]))


def test_a_factory_that_passes_its_keywords_on_takes_any_axis():
    passing = lambda **numbers: jon.adam(**numbers)
    table = swept(passing, jon.grid(learning_rate=[0.05, 0.1], b1=[0.0, 0.5]))
    assert table.attrs["segment_programs"] == 1
    np.testing.assert_allclose(
        table.final_loss.sel(learning_rate=0.05, b1=0.5)[0], final(jon.adam(0.05, 0.5)), rtol=1e-5
    )
    with pytest.raises(TypeError, match=r"passes its axes on.*unexpected keyword argument 'learning_rte'"):
        swept(passing, jon.grid(learning_rte=[0.1]))
    with pytest.raises(ValueError, match="<lambda> takes no arguments by name"):
        swept(lambda: jon.adam(0.1), jon.grid(learning_rate=[0.1]))

    def made(**options):
        return jon.problems.quadratic([1.0, options["steep"]])

    table = swept(jon.momentum, jon.grid(learning_rate=[0.01], steep=[5.0, 20.0]), problem=made)
    np.testing.assert_allclose(table.final_loss.sel(steep=20.0).item(), final(jon.momentum(0.01)), rtol=1e-5)


METRIC = jon.Problem(lambda x: jnp.sum(x**2), init=jnp.ones(2), metrics={"gap": lambda x: x[0]}, name="gapped")


def test_only_names_that_a_table_has_are_refused():
    def factory(final_scale, test_x, params_scale, final_learning_rate, test_gap):
        return jon.momentum(final_scale * test_x * params_scale * final_learning_rate * test_gap)

    axes = dict(final_scale=[0.1], test_x=[1.0], params_scale=[1.0], final_learning_rate=[1.0], test_gap=[0.5, 1.0])
    table = swept(factory, jon.grid(**axes), problem=METRIC, keep_params=True)
    alone = swept(jon.momentum, jon.grid(learning_rate=[0.05, 0.1]), problem=METRIC)
    np.testing.assert_array_equal(table.final_gap.values.ravel(), alone.final_gap.values.ravel())
    for name, problem in {"final_gap": METRIC, "final_loss": VALLEY}.items():
        called = functools.partial(lambda name, **numbers: jon.momentum(numbers[name]), name)
        with pytest.raises(ValueError, match=f"axis '{name}' is a name that (this|every) table has already"):
            swept(called, jon.grid(**{name: [0.1]}), problem=problem)
    with pytest.raises(ValueError, match=r"axis 'final_gap' .* gapped measures"):
        swept(jon.momentum, jon.grid(learning_rate=[0.1], final_gap=[1]), problem=lambda final_gap: METRIC)
    with pytest.raises(ValueError, match="'params_0'"):
        swept(lambda params_0: jon.momentum(params_0), jon.grid(params_0=[0.1]))
