"""Models of flax NNX, flax linen and equinox as problems, against loops written by hand in each library with optax."""

import subprocess
import sys
from functools import partial

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxopt_notes as jon
from jaxopt_notes._contract import evaluation_key, loss_key
from jaxopt_notes.minibatches import indices

STEPS, BATCH = 20, 16
INPUTS = jax.random.normal(jax.random.key(1), (96, 6))
DATA = (INPUTS[:64], jnp.argmax(INPUTS[:64, :3], axis=1))
HELD_OUT = (INPUTS[64:], jnp.argmax(INPUTS[64:, :3], axis=1))
SPACE = jon.grid(learning_rate=[0.01, 0.03, 0.1, 0.3], l2=[0.0, 1e-3, 1e-2, 0.1], smoothing=[0.0, 0.1, 0.2, 0.3])
CORNERS = [(0.01, 0.0, 0.0), (0.3, 1e-3, 0.3), (0.1, 0.1, 0.1)]
INIT_KEY, ORDER = jon.seed_keys(jax.random.key(0), 0)


def momentum(learning_rate):
    return optax.sgd(learning_rate, momentum=0.9)


def cross_entropy(logits, labels, smoothing):
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 3), smoothing)
    return jnp.mean(optax.softmax_cross_entropy(logits, targets))


def share_correct(logits, labels):
    return jnp.mean((jnp.argmax(logits, axis=1) == labels).astype(float))


def key_of_step(step):
    """The key of a model at a step: that of the step, with the constant of the documentation folded in."""
    return jax.random.fold_in(jax.random.fold_in(loss_key(ORDER), step), 2**32 - 3)


def batches():
    """The batches of the first seed, one more than there are steps, with the step that they belong to."""
    rows = indices(jon.minibatches.reshuffle(BATCH), ORDER, 0, STEPS + 1, len(DATA[0]))
    return enumerate((DATA[0][row], DATA[1][row]) for row in rows)


class NNX:
    """Of each library: the model, its loss and accuracy, the problem, and the loop by hand."""

    class Net(nnx.Module):
        def __init__(self, *, rngs):
            self.first, self.norm = nnx.Linear(6, 8, rngs=rngs), nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
            self.drop, self.second = nnx.Dropout(0.3, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, inputs):
            return self.second(self.drop(nnx.relu(self.norm(self.first(inputs)))))

    @staticmethod
    def loss(model, batch, *, l2, smoothing):
        return cross_entropy(model(batch[0]), batch[1], smoothing) + l2 * jnp.sum(model.second.kernel[...] ** 2)

    @staticmethod
    def accuracy(model, batch):
        return share_correct(model(batch[0]), batch[1])

    @classmethod
    def problem(cls, **options):
        return jon.problems.from_nnx(cls.Net, cls.loss, data=DATA, **options)

    @classmethod
    def by_hand(cls, learning_rate, l2, smoothing):
        model = cls.Net(rngs=nnx.Rngs(INIT_KEY))
        optimizer = nnx.Optimizer(model, momentum(learning_rate), wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, batch, key):
            nnx.reseed(model, default=jax.random.fold_in(key, 0))
            loss = lambda model: cls.loss(model, batch, l2=l2, smoothing=smoothing)
            value, grads = nnx.value_and_grad(loss)(model)
            optimizer.update(model, grads)
            return value

        losses = [step(model, optimizer, batch, key_of_step(k)) for k, batch in batches()]
        return losses, (model.norm.mean[...], model.norm.var[...])

    @staticmethod
    def statistics(aux):
        return aux["norm"]["mean"], aux["norm"]["var"]

    @classmethod
    def logits(cls, params, aux, inputs):
        model = cls.Net(rngs=nnx.Rngs(5))
        nnx.update(model, params, aux)
        model.eval()
        return model(inputs)


class Linen:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, inputs, train):
            hidden = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(8)(inputs)))
            return nn.Dense(3)(nn.Dropout(0.3, deterministic=not train)(hidden))

    @staticmethod
    def loss(model, batch, *, l2, smoothing):
        penalty = l2 * jnp.sum(model.params["Dense_1"]["kernel"] ** 2)
        return cross_entropy(model(batch[0]), batch[1], smoothing) + penalty

    accuracy = NNX.accuracy

    @classmethod
    def problem(cls, **options):
        return jon.problems.from_linen(cls.Net(), cls.loss, data=DATA, **options)

    @classmethod
    def by_hand(cls, learning_rate, l2, smoothing):
        net, optimizer = cls.Net(), momentum(learning_rate)
        variables = net.init(INIT_KEY, DATA[0], train=False)
        params, statistics = variables["params"], variables["batch_stats"]
        state, losses = optimizer.init(params), []

        @jax.jit
        def step(params, statistics, state, batch, key):
            def value(params):
                logits, changed = net.apply(
                    {"params": params, "batch_stats": statistics},
                    batch[0],
                    train=True,
                    rngs={"dropout": key},
                    mutable=["batch_stats"],
                )
                penalty = l2 * jnp.sum(params["Dense_1"]["kernel"] ** 2)
                return cross_entropy(logits, batch[1], smoothing) + penalty, changed["batch_stats"]

            (loss, statistics_now), grads = jax.value_and_grad(value, has_aux=True)(params)
            updates, state_now = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), statistics_now, state_now, loss

        for k, batch in batches():
            params, statistics, state, loss = step(params, statistics, state, batch, key_of_step(k))
            losses.append(loss)
        return losses, (statistics["BatchNorm_0"]["mean"], statistics["BatchNorm_0"]["var"])

    @staticmethod
    def statistics(aux):
        return aux["batch_stats"]["BatchNorm_0"]["mean"], aux["batch_stats"]["BatchNorm_0"]["var"]

    @classmethod
    def logits(cls, params, aux, inputs):
        return cls.Net().apply({"params": params, **aux}, inputs, train=False)


class Equinox:
    class Net(eqx.Module):
        first: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        drop: eqx.nn.Dropout
        second: eqx.nn.Linear

        def __init__(self, key):
            one, other = jax.random.split(key)
            self.first, self.second = eqx.nn.Linear(6, 8, key=one), eqx.nn.Linear(8, 3, key=other)
            self.norm = eqx.nn.BatchNorm(8, axis_name="batch", momentum=0.9, mode="batch")
            self.drop = eqx.nn.Dropout(0.3)

        def __call__(self, inputs, state, key):
            hidden, state = self.norm(self.first(inputs), state)
            return self.second(self.drop(jax.nn.relu(hidden), key=key)), state

        def on_batch(self, inputs, state, key=None):
            keys = None if key is None else jax.random.split(key, len(inputs))
            axes = (0, None, None if key is None else 0)
            return jax.vmap(self, axis_name="batch", in_axes=axes, out_axes=(0, None))(inputs, state, keys)

    @staticmethod
    def loss(model, batch, *, aux, key, l2, smoothing):
        logits, state = model.on_batch(batch[0], aux, key)
        return cross_entropy(logits, batch[1], smoothing) + l2 * jnp.sum(model.second.weight**2), state

    @staticmethod
    def accuracy(model, batch, *, aux):
        return share_correct(model.on_batch(batch[0], aux)[0], batch[1])

    @classmethod
    def problem(cls, **options):
        return jon.problems.from_equinox(cls.Net, cls.loss, data=DATA, **options)

    @classmethod
    def by_hand(cls, learning_rate, l2, smoothing):
        (model, state), optimizer = eqx.nn.make_with_state(cls.Net)(INIT_KEY), momentum(learning_rate)
        moments, losses = optimizer.init(eqx.filter(model, eqx.is_inexact_array)), []

        @eqx.filter_jit
        def step(model, state, moments, batch, key):
            value = lambda model: cls.loss(model, batch, aux=state, key=key, l2=l2, smoothing=smoothing)
            (loss, state_now), grads = eqx.filter_value_and_grad(value, has_aux=True)(model)
            updates, moments = optimizer.update(grads, moments)
            return eqx.apply_updates(model, updates), state_now, moments, loss

        for k, batch in batches():
            key = jax.random.fold_in(loss_key(ORDER), k)
            model, state, moments, loss = step(model, state, moments, batch, key)
            losses.append(loss)
        return losses, cls.statistics(state)

    @staticmethod
    def statistics(aux):
        return jax.tree.leaves(aux)

    @classmethod
    def logits(cls, params, aux, inputs):
        model = eqx.nn.inference_mode(eqx.combine(params, eqx.nn.make_with_state(cls.Net)(jax.random.key(5))[0]))
        return model.on_batch(inputs, aux)[0]


LIBRARIES = [NNX, Linen, Equinox]
in_every_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)


def swept(problem, space=SPACE, **options):
    options = {"steps": STEPS, "batch_size": BATCH, "keep_params": True, "progress": False, **options}
    return jon.sweep(problem, momentum, space, **options)


@pytest.fixture(scope="module", params=LIBRARIES, ids=lambda library: library.__name__)
def case(request):
    """A library, its problem with accuracies, and the sweep of the 64 points."""
    library = request.param
    problem = library.problem(test_data=HELD_OUT, metrics={"accuracy": jon.maximize(library.accuracy)})
    return library, problem, swept(problem)


def test_sixty_four_points_are_one_program_and_the_loops_written_by_hand(case):
    library, problem, table = case
    assert table.attrs["segment_programs"] == 1
    assert problem.asks.reserved == ("aux", "key", "train")
    assert problem.numbers == ("l2", "smoothing")
    for learning_rate, l2, smoothing in CORNERS:
        chosen = {"learning_rate": learning_rate, "l2": l2, "smoothing": smoothing, "seed": 0}
        losses, statistics = library.by_hand(learning_rate, l2, smoothing)
        np.testing.assert_allclose(table.loss.sel(chosen), losses, rtol=2e-5)
        _, aux = jon.end_point(table, problem, **chosen)
        for ours, theirs in zip(library.statistics(aux), statistics, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


def test_what_is_measured_is_the_trained_model_in_evaluation_mode(case):
    library, problem, table = case
    chosen = {"learning_rate": 0.1, "l2": 0.0, "smoothing": 0.0, "seed": 0}
    params, aux = jon.end_point(table, problem, **chosen)
    assert float(table.test_accuracy.sel(chosen)) > 0.6
    for part, (inputs, labels) in (("final", DATA), ("test", HELD_OUT)):
        logits = library.logits(params, aux, inputs)
        assert float(table[f"{part}_accuracy"].sel(chosen)) == pytest.approx(float(share_correct(logits, labels)))
        expected = float(cross_entropy(logits, labels, 0.0))
        assert float(table[f"{part}_loss"].sel(chosen)) == pytest.approx(expected, rel=1e-5)
    assert table.test_accuracy.attrs["direction"] == "max"


def test_a_run_of_the_same_problem_is_the_trial_of_the_sweep(case):
    _, problem, table = case
    params, aux = problem.start(INIT_KEY)
    run = jon.minimize(
        problem.loss, params, momentum(0.1), steps=STEPS, data=DATA, minibatches=jon.minibatches.reshuffle(BATCH),
        key=ORDER, aux=aux, kwargs={"l2": 1e-3, "smoothing": 0.1},
    )  # fmt: skip
    trial = table.sel(learning_rate=0.1, l2=1e-3, smoothing=0.1, seed=0)
    np.testing.assert_allclose(run.loss, trial.loss, rtol=2e-5)
    np.testing.assert_allclose(run.final_loss, trial.final_loss, rtol=2e-5)


@in_every_library
def test_a_trial_that_becomes_nan_leaves_the_others_as_they_are(library):
    tables = [
        swept(library.problem(), jon.grid(learning_rate=[0.01, other, 0.1], l2=0.0, smoothing=0.1), steps=10)
        for other in (0.03, 1e38)
    ]
    status = tables[1].status.isel(learning_rate=slice(0, 3)).sortby("learning_rate").values.ravel()
    assert [jon.Status(code).name for code in status] == ["COMPLETED", "COMPLETED", "NON_FINITE"]
    kept = [name for name in tables[0] if "learning_rate" in tables[0][name].dims]
    assert any("aux" in name for name in kept)
    for learning_rate in (0.01, 0.1):
        one, other = (table.sel(learning_rate=learning_rate) for table in tables)
        for name in kept:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@in_every_library
def test_every_seed_has_its_own_start_and_randomness(library):
    table = swept(library.problem(), jon.grid(learning_rate=[0.01], l2=0.0, smoothing=0.0), seeds=3, steps=2)
    assert len(np.unique(table.loss.isel(step=0))) == 3


@in_every_library
def test_a_run_without_a_key_is_refused(library):
    problem = library.problem()
    params, aux = problem.start(INIT_KEY)
    with pytest.raises(TypeError, match="loss 'loss' asks for a random key: pass key="):
        jon.minimize(
            problem.loss, params, momentum(0.1), steps=2, data=DATA, aux=aux, kwargs={"l2": 0.0, "smoothing": 0.0}
        )


@in_every_library
def test_a_number_that_the_optimizer_has_too_is_refused(library):
    problem = library.problem()
    clash = lambda learning_rate, l2: optax.sgd(learning_rate + l2)
    with pytest.raises(ValueError, match="axis 'l2' is a number of both the loss of 'loss' and <lambda>; rename one"):
        jon.sweep(problem, clash, jon.grid(learning_rate=[0.1], l2=[0.0], smoothing=[0.0]), steps=2)
    with pytest.raises(TypeError, match="the loss of 'loss' asks for smoothing: give it an axis"):
        jon.sweep(problem, momentum, jon.grid(learning_rate=[0.1], l2=[0.0]), steps=2)


@in_every_library
def test_options_are_those_of_a_problem(library):
    with pytest.raises(ValueError, match="unknown argument 'vaildation'; did you mean 'validation'"):
        library.problem(vaildation=DATA)
    problem = library.problem(validation=HELD_OUT, name="small")
    assert (problem.name, problem.examples) == ("small", 64)
    assert set(problem.parts) == {"final", "validation"}


@in_every_library
def test_what_is_evaluated_may_differ_from_the_loss(library):
    def plain(model, batch, *, aux=None):
        logits = model(batch[0]) if library is not Equinox else model.on_batch(batch[0], aux)[0]
        return cross_entropy(logits, batch[1], 0.0)

    if library is Equinox:
        measured = lambda model, batch, *, aux: plain(model, batch, aux=aux)
    else:
        measured = lambda model, batch: plain(model, batch)
    problem = library.problem(evaluate=measured)
    params, aux = problem.start(INIT_KEY)
    value = problem.full_loss(params, aux=aux, key=jax.random.key(0), l2=jnp.float32(1.0), smoothing=jnp.float32(0.5))
    expected = cross_entropy(library.logits(params, aux, DATA[0]), DATA[1], 0.0)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_models_without_state_mode_or_randomness_ask_for_nothing():
    """So their losses are plain functions of the parameters, for every other function of the package."""
    mean = lambda outputs: jnp.mean(outputs**2)
    problems = [
        jon.problems.from_nnx(lambda rngs: nnx.Linear(6, 3, rngs=rngs), lambda m, b: mean(m(b[0])), data=DATA),
        jon.problems.from_linen(nn.Dense(3), lambda m, b: mean(m(b[0])), data=DATA),
        jon.problems.from_equinox(
            lambda key: eqx.nn.Linear(6, 3, key=key), lambda m, b: mean(jax.vmap(m)(b[0])), data=DATA
        ),
    ]
    for problem in problems:
        assert problem.asks.reserved == ()
        params = problem.init(jax.random.key(0))
        assert sorted(leaf.shape for leaf in jax.tree.leaves(params)) in ([(3,), (3, 6)], [(3,), (6, 3)])
        assert jon.classify(problem.loss, params, DATA).gradient_norm > 0


def test_a_loss_may_ask_for_mode_and_key_and_then_has_the_key_of_the_step():
    seen = {}

    def loss(model, batch, *, key, train):
        seen[train] = jax.random.key_data(key)
        return jnp.mean(model(batch[0] + jax.random.normal(key, batch[0].shape)) ** 2)

    for problem in (
        jon.problems.from_nnx(lambda rngs: nnx.Linear(6, 3, rngs=rngs), loss, data=DATA),
        jon.problems.from_linen(nn.Dense(3), loss, data=DATA),
    ):
        assert problem.asks.reserved == ("key", "train")
        params, _ = problem.start(INIT_KEY)
        key = evaluation_key(jax.random.key(7))
        problem.full_loss(params, key=key)
        np.testing.assert_array_equal(seen[False], jax.random.key_data(key))


RATES = [0.0, 0.2, 0.5]


def nnx_with_rate():
    def loss(model, batch, *, drop):
        model.set_attributes(nnx.Dropout, rate=jon.problems.DropoutRate(drop))
        return cross_entropy(model(batch[0]), batch[1], 0.0)

    def constant(rate):
        def loss(model, batch):
            model.drop.rate = rate
            return cross_entropy(model(batch[0]), batch[1], 0.0)

        return jon.problems.from_nnx(NNX.Net, loss, data=DATA)

    return jon.problems.from_nnx(NNX.Net, loss, data=DATA), constant


def linen_with_rate():
    class Net(nn.Module):
        rate: float = 0.0

        @nn.compact
        def __call__(self, inputs, train):
            hidden = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(inputs))
            return nn.Dense(3)(nn.Dropout(self.rate, deterministic=not train)(hidden))

    def loss(model, batch, *, drop):
        return cross_entropy(model.clone(rate=jon.problems.DropoutRate(drop))(batch[0]), batch[1], 0.0)

    plain = lambda model, batch: cross_entropy(model(batch[0]), batch[1], 0.0)
    constant = lambda rate: jon.problems.from_linen(Net(rate), plain, data=DATA)
    return jon.problems.from_linen(Net(), loss, data=DATA), constant


def equinox_with_rate():
    def loss(model, batch, *, aux, key, drop):
        model = eqx.tree_at(lambda model: model.drop.p, model, drop)
        return Equinox.loss(model, batch, aux=aux, key=key, l2=0.0, smoothing=0.0)

    def constant(rate):
        def plain(model, batch, *, aux, key):
            return loss(model, batch, aux=aux, key=key, drop=rate)

        return jon.problems.from_equinox(Equinox.Net, plain, data=DATA)

    return jon.problems.from_equinox(Equinox.Net, loss, data=DATA), constant


@pytest.mark.parametrize("make", [nnx_with_rate, linen_with_rate, equinox_with_rate])
def test_a_dropout_rate_may_be_an_axis(make):
    problem, constant = make()
    table = swept(problem, jon.grid(learning_rate=[0.1], drop=RATES), steps=2)
    assert table.attrs["segment_programs"] == 1
    first = next(batches())[1]
    params, aux = problem.start(INIT_KEY)
    for rate in RATES:
        expected, _ = constant(rate).loss(
            params, first, aux=aux, key=jax.random.fold_in(loss_key(ORDER), 0), train=True
        )
        found = table.loss.sel({"drop": rate}).isel(step=0).item()
        assert found == pytest.approx(float(expected), rel=1e-5)


# flax NNX


def assert_same_start(one, other, key=INIT_KEY):
    jax.tree.map(np.testing.assert_array_equal, one.start(key), other.start(key))


def test_nnx_takes_a_class_a_function_or_a_module():
    of_class = NNX.problem()
    assert_same_start(of_class, jon.problems.from_nnx(lambda rngs: NNX.Net(rngs=rngs), NNX.loss, data=DATA))
    assert_same_start(of_class, jon.problems.from_nnx(partial(NNX.Net), NNX.loss, data=DATA))
    model = NNX.Net(rngs=nnx.Rngs(INIT_KEY))
    fixed = jon.problems.from_nnx(model, NNX.loss, data=DATA)
    model.first.kernel[...] = jnp.zeros_like(model.first.kernel[...])  # it starts from what was given
    assert_same_start(of_class, fixed)
    jax.tree.map(np.testing.assert_array_equal, fixed.start(INIT_KEY), fixed.start(jax.random.key(8)))
    plain = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
    problem = jon.problems.from_nnx(plain, lambda model, batch: jnp.mean(model(batch[0])), data=DATA)
    np.testing.assert_array_equal(problem.start(INIT_KEY)[0]["kernel"], plain.kernel[...])


def test_a_number_of_the_factory_may_be_an_axis():
    def net(rngs, *, scale):
        model = nnx.Linear(6, 3, rngs=rngs)
        model.kernel[...] = scale * model.kernel[...]
        return model

    loss = lambda model, batch: cross_entropy(model(batch[0]), batch[1], 0.0)
    problem = jon.problems.from_nnx(net, loss, data=DATA)
    assert problem.numbers == ("scale",)
    table = swept(problem, jon.grid(learning_rate=[0.1], scale=[0.0, 1.0]), steps=2)
    assert table.attrs["segment_programs"] == 1
    np.testing.assert_allclose(table.loss.sel(scale=0.0).isel(step=0), np.log(3), rtol=1e-6)
    assert float(table.loss.sel(scale=1.0).isel(step=0).squeeze()) != pytest.approx(np.log(3), rel=1e-3)


def test_nnx_trains_what_the_filter_says_and_carries_counts():
    class Counted(nnx.Variable):
        pass

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.base, self.head = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
            self.calls, self.table = Counted(jnp.int32(0)), nnx.data(jnp.arange(3))

        def __call__(self, inputs):
            self.calls[...] += 1
            return self.head(self.base(inputs))

    loss = lambda model, batch: cross_entropy(model(batch[0]), batch[1], 0.0)
    problem = jon.problems.from_nnx(Net, loss, data=DATA, wrt=nnx.All(nnx.Param, nnx.PathContains("head")))
    table = swept(problem, jon.grid(learning_rate=[0.1]), steps=5)
    params, aux = jon.end_point(table, problem, learning_rate=0.1, seed=0)
    assert set(params) == {"head"}
    assert int(aux["calls"]) == 6  # one at the start and one for every step
    np.testing.assert_array_equal(aux["table"], [0, 1, 2])
    np.testing.assert_array_equal(aux["base"]["kernel"], Net(nnx.Rngs(INIT_KEY)).base.kernel[...])


def test_the_random_streams_of_nnx_differ_by_name_layer_and_step():
    class Net(nnx.Module):
        def __init__(self, rngs):
            streams = nnx.Rngs(noise=rngs(), dropout=rngs())
            self.layers = nnx.List([nnx.Dropout(0.5, rngs=streams), nnx.Dropout(0.5, rngs=streams)])
            self.noise, self.weight = streams["noise"].fork(), nnx.Param(jnp.ones(()))

    masks = []

    def loss(model, batch):
        ones = jnp.ones(64) * model.weight[...]
        masks.append([layer(ones) for layer in model.layers] + [model.noise.normal((64,))])
        return jnp.mean(masks[-1][0] * batch[0][:, 0][:1])

    problem = jon.problems.from_nnx(Net, loss, data=DATA)
    params, _ = problem.start(INIT_KEY)
    assert problem.asks.reserved == ("key", "train")
    masks.clear()
    for key in jax.random.split(jax.random.key(0)):
        problem.loss(params, DATA, key=key, train=True)
    drawn = [np.asarray(mask) for step in masks for mask in step]
    assert len({mask.tobytes() for mask in drawn}) == 6
    problem.loss(params, DATA, key=jax.random.split(jax.random.key(0))[0], train=True)
    np.testing.assert_array_equal(masks[2][0], masks[0][0])


def test_nnx_says_what_is_wrong():
    class Grows(nnx.Module):
        def __init__(self, rngs):
            self.out = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, inputs):
            self.last = nnx.BatchStat(jnp.mean(inputs))
            return self.out(inputs)

    mean = lambda model, batch: jnp.mean(model(batch[0]))
    with pytest.raises(TypeError, match="the model made a new BatchStat in its call, last; a variable that"):
        swept(jon.problems.from_nnx(Grows, mean, data=DATA), jon.grid(learning_rate=[0.1]))
    with pytest.raises(TypeError, match="loss asks for aux, but the state of this model is in the model"):
        jon.problems.from_nnx(NNX.Net, lambda_with_aux(), data=DATA)
    with pytest.raises(TypeError, match="use from_linen"):
        jon.problems.from_nnx(nn.Dense(3), mean, data=DATA)
    with pytest.raises(TypeError, match=r"model must make a flax\.nnx module, got Dense"):
        jon.problems.from_nnx(lambda rngs: nn.Dense(3), mean, data=DATA)
    with pytest.raises(TypeError, match=r"model must be a flax\.nnx module, or a function"):
        jon.problems.from_nnx(3, mean, data=DATA)
    with pytest.raises(TypeError, match="loss must be a function of the model, got 3"):
        jon.problems.from_nnx(NNX.Net, 3, data=DATA)


def lambda_with_aux():
    def loss(model, batch, *, aux):
        return jnp.mean(model(batch[0])), aux

    return loss


# flax linen


def linen_modules(seen):
    """Modules that name their mode in different ways, and append to `seen` whether they are in training."""

    class Deterministic(nn.Module):
        @nn.compact
        def __call__(self, inputs, deterministic):
            seen.append(not deterministic)
            return nn.Dense(3)(inputs)

    class RunningAverage(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, use_running_average=True):
            seen.append(not use_running_average)
            return nn.Dense(3)(inputs)

    class Training(nn.Module):
        @nn.compact
        def __call__(self, inputs, is_training=False):
            seen.append(is_training)
            return nn.Dense(3)(inputs)

    class Own(nn.Module):
        @nn.compact
        def __call__(self, inputs, phase):
            seen.append(phase == "fit")
            return nn.Dense(3)(inputs)

    return Deterministic(), RunningAverage(), Training(), Own()


@pytest.mark.parametrize("which", range(4))
def test_linen_modes_by_any_name(which):
    seen = []
    module = linen_modules(seen)[which]
    options = {"mode": lambda train: {"phase": "fit" if train else "measure"}} if which == 3 else {}
    mean = lambda model, batch: jnp.mean(model(batch[0]))
    problem = jon.problems.from_linen(module, mean, data=DATA, **options)
    assert problem.asks.reserved == ("train",)
    params = problem.init(INIT_KEY)
    seen.clear()
    problem.loss(params, DATA, train=True)
    problem.loss(params, DATA, train=False)
    assert seen == [True, False]


def test_linen_calls_share_state_and_differ_in_their_noise():
    class Net(nn.Module):
        def setup(self):
            self.norm, self.drop, self.out = nn.BatchNorm(momentum=0.5), nn.Dropout(0.5), nn.Dense(3)

        def __call__(self, inputs, train):
            return self.out(self.features(inputs, train))

        def features(self, inputs, train):
            return self.drop(self.norm(inputs, use_running_average=not train), deterministic=not train)

    found = {}

    def loss(model, batch):
        found["twice"] = [model(batch["x"], method="features"), model(batch["x"], method=Net.features)]
        found["measured"] = model(batch["x"], train=False)
        return jnp.mean(found["measured"])

    data = {"x": DATA[0]}
    with pytest.raises(TypeError, match="inputs is needed"):
        jon.problems.from_linen(Net(), loss, data=data)
    problem = jon.problems.from_linen(Net(), loss, data=data, inputs=DATA[0][:1])
    assert problem.asks.reserved == ("aux", "key", "train")
    params, aux = problem.start(INIT_KEY)
    _, after = problem.loss(params, data, aux=aux, key=INIT_KEY, train=True)
    one, other = found["twice"]
    assert not np.array_equal(one == 0, other == 0)
    expected = 0.75 * np.mean(DATA[0], axis=0)  # 1 - momentum^2, as two calls of three change it
    np.testing.assert_allclose(after["batch_stats"]["norm"]["mean"], expected, rtol=1e-5, atol=1e-6)


def test_linen_says_what_is_wrong():
    class Grows(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            self.sow("seen", "mean", jnp.mean(inputs))
            return nn.Dense(3)(inputs)

    mean = lambda model, batch: jnp.mean(model(batch[0]))
    with pytest.raises(TypeError, match=r"aux\['seen'\]\['mean'\]\[1\] is nothing and comes back as float32\[\]"):
        swept(jon.problems.from_linen(Grows(), mean, data=DATA), jon.grid(learning_rate=[0.1]))
    with pytest.raises(TypeError, match=r"module must be a flax\.linen module"):
        jon.problems.from_linen(NNX.Net, mean, data=DATA)
    with pytest.raises(TypeError, match="loss asks for aux, but the state of this model is in the model"):
        jon.problems.from_linen(nn.Dense(3), lambda_with_aux(), data=DATA)
    with pytest.raises(TypeError, match="loss must be a function of the model, got None"):
        jon.problems.from_linen(nn.Dense(3), None, data=DATA)


# equinox


def test_equinox_takes_a_class_a_function_a_model_or_a_model_with_its_state():
    of_class = Equinox.problem()
    for model in (
        lambda key: Equinox.Net(key),
        Equinox.Net(INIT_KEY),
        eqx.nn.make_with_state(Equinox.Net)(INIT_KEY),
    ):
        assert_same_start(of_class, jon.problems.from_equinox(model, Equinox.loss, data=DATA))


def test_equinox_trains_what_the_filter_says_and_keeps_the_rest():
    class Net(eqx.Module):
        base: eqx.nn.Linear
        head: eqx.nn.Linear
        rows: jax.Array
        activation: object = eqx.field(static=True)

        def __init__(self, *, key):
            one, other = jax.random.split(key)
            self.base, self.head = eqx.nn.Linear(6, 8, key=one), eqx.nn.Linear(8, 3, key=other)
            self.rows = jnp.arange(3)
            self.activation = lambda x: jnp.tanh(x)  # another function for every seed

        def __call__(self, inputs):
            return self.head(self.activation(self.base(inputs)))[self.rows]

    loss = lambda model, batch: cross_entropy(jax.vmap(model)(batch[0]), batch[1], 0.0)
    problem = jon.problems.from_equinox(Net, loss, data=DATA)
    table = swept(problem, jon.grid(learning_rate=[0.1]), seeds=2, steps=5)
    params, (kept, _) = jon.end_point(table, problem, learning_rate=0.1, seed=1)
    np.testing.assert_array_equal(kept.rows, [0, 1, 2])
    assert params.rows is None
    start = Net(key=INIT_KEY)
    only_head = eqx.tree_at(lambda m: (m.head.weight, m.head.bias), jax.tree.map(lambda _: False, start), (True, True))
    problem = jon.problems.from_equinox(start, loss, filter_spec=only_head, data=DATA)
    table = swept(problem, jon.grid(learning_rate=[0.1]), steps=2)
    params, (kept, _) = jon.end_point(table, problem, learning_rate=0.1, seed=0)
    assert params.base.weight is None
    np.testing.assert_array_equal(kept.base.weight, start.base.weight)
    assert not np.array_equal(params.head.weight, start.head.weight)


def test_equinox_says_what_is_wrong():
    forgets = lambda model, batch: jnp.mean(jax.vmap(model)(batch[0]))
    with pytest.raises(TypeError, match="the model has a state, so the loss must ask for it"):
        jon.problems.from_equinox(Equinox.Net, forgets, data=DATA)

    def returns_value(model, batch, *, aux, key):
        return jnp.mean(model.on_batch(batch[0], aux, key)[0])

    def returns_other(model, batch, *, aux, key):
        return returns_value(model, batch, aux=aux, key=key), {"mean": jnp.zeros(3)}

    for loss, words in ((returns_value, "must return (value, new_aux)"), (returns_other, "the new aux must have")):
        with pytest.raises(TypeError) as raised:
            swept(jon.problems.from_equinox(Equinox.Net, loss, data=DATA), jon.grid(learning_rate=[0.1]))
        assert words in str(raised.value)
    with pytest.raises(TypeError, match="loss must be a function of the model"):
        jon.problems.from_equinox(Equinox.Net, 3, data=DATA)


def test_equinox_is_an_extra_and_nnx_is_loaded_when_it_is_used():
    code = (
        "import sys; sys.modules['equinox'] = None\n"
        "import jaxopt_notes as jon\n"
        "jon.problems.from_nnx\n"
        "print('flax.nnx' in sys.modules)\n"
        "try: jon.problems.from_equinox(None, print)\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "False"
    assert "pip install 'jaxopt-notes[equinox]'" in done.stdout


def test_a_number_that_shapes_a_model_is_no_axis_and_one_that_does_not_is():
    class Scaled(nnx.Module):
        def __init__(self, rngs, *, scale=1.0, rate=0.1, width=4):
            self.first = nnx.Linear(2, width, rngs=rngs)
            self.first.kernel[...] = scale * self.first.kernel[...]
            self.drop = nnx.Dropout(rate, rngs=rngs)

        def __call__(self, x):
            return self.drop(self.first(x))

    made = jon.problems.from_nnx(Scaled, lambda model: jnp.sum(model(jnp.ones((3, 2))) ** 2))
    assert made.numbers == ("scale",)
    table = jon.sweep(made, jon.momentum, jon.grid(learning_rate=[0.0], scale=[1.0, 2.0]), steps=1, progress=False)
    np.testing.assert_allclose(table.initial_loss.sel(scale=2.0), 4 * table.initial_loss.sel(scale=1.0), rtol=1e-5)

    class Needs(nnx.Module):
        def __init__(self, rngs, *, rate):
            self.first, self.drop = nnx.Linear(2, 4, rngs=rngs), nnx.Dropout(rate, rngs=rngs)

    with pytest.raises(TypeError, match="rate shapes the model, so it cannot be traced: give it a value"):
        jon.problems.from_nnx(Needs, lambda model: jnp.sum(model.first(jnp.ones((3, 2)))))
