"""Losses with a state, keys, modes and numbers of their own: the same in `minimize` and in `sweep`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_notes as jon
from jaxopt_notes._contract import asked, evaluation_key, loss_key
from jaxopt_notes.minibatches import indices, reshuffle

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(192, 6)).astype(np.float32)
LABELS = (INPUTS @ RNG.normal(size=(6, 3))).argmax(1).astype(np.int32)
DATA, VALIDATION, TEST = ((INPUTS[cut], LABELS[cut]) for cut in (slice(128), slice(128, 160), slice(160, 192)))
GRID = dict(learning_rate=[0.1, 0.3], beta=[0.0, 0.9], l2=[0.0, 1e-2], smoothing=[0.0, 0.1], drop=[0.1, 0.3])


def init(key, *, scale=1.0):
    """Two layers; batch statistics as the state, with integers and a key, which are no floats."""
    first, second = jax.random.split(key)
    params = {"a": scale * jax.random.normal(first, (6, 8)) / 2, "b": jax.random.normal(second, (8, 3)) / 3}
    return params, {"mean": jnp.zeros((1, 8)), "steps": jnp.int32(0), "key": jax.random.key(7)}


def logits(params, batch, mean):
    return jnp.tanh(batch[0] @ params["a"] - mean) @ params["b"]


def loss(params, batch, *, aux, key, train, l2, smoothing, drop):
    hidden = batch[0] @ params["a"]
    mean = hidden.mean(0, keepdims=True) if train else aux["mean"]
    active = jnp.tanh(hidden - mean)
    if train:
        active = jnp.where(jax.random.bernoulli(key, 1 - drop, active.shape), active / (1 - drop), 0)
    targets = optax.smooth_labels(jax.nn.one_hot(batch[1], 3), smoothing)
    value = optax.softmax_cross_entropy(active @ params["b"], targets).mean()
    new = {**aux, "mean": 0.9 * aux["mean"] + 0.1 * hidden.mean(0, keepdims=True), "steps": aux["steps"] + 1}
    return value + l2 * sum(jnp.sum(leaf**2) for leaf in params.values()), (new if train else aux)


def accuracy(params, batch, *, aux):
    return (logits(params, batch, aux["mean"]).argmax(1) == batch[1]).mean()


def problem(**changes):
    arguments = dict(data=DATA, validation=VALIDATION, test_data=TEST, metrics={"accuracy": jon.maximize(accuracy)})
    return jon.Problem(loss, init, **arguments | changes)


def swept(space=None, made=None, **options):
    options = dict(steps=20, batch_size=16, progress=False) | options
    return jon.sweep(made or problem(), jon.momentum, space or jon.grid(**GRID), **options)


@pytest.fixture(scope="module")
def table():
    return swept(keep_params=True, evaluate_every=5)


def by_hand(rate, beta, known, seed=0, steps=20):
    """One trial as a loop in Python with optax, from nothing but the documented keys."""
    begin, order = jon.seed_keys(jax.random.key(0), seed)
    params, aux = init(begin)
    tx = optax.trace(beta) if beta else optax.identity()
    state, losses = tx.init(params), []
    rows = indices(reshuffle(16), order, 0, steps + 1, 128)
    grad = jax.value_and_grad(functools.partial(loss, train=True, **known), has_aux=True)
    for step in range(steps + 1):
        batch = tuple(leaf[np.asarray(rows[step])] for leaf in DATA)
        (value, new), slope = grad(params, batch, aux=aux, key=jax.random.fold_in(loss_key(order), step))
        losses.append(float(value))
        if step < steps:
            direction, state = tx.update(slope, state)
            params, aux = jax.tree.map(lambda p, u: p - rate * u, params, direction), new
    return losses, params, aux, new


def test_a_trial_is_a_plain_loop_with_the_documented_keys(table):
    for rate, beta, l2, smoothing, drop in [(0.1, 0.9, 1e-2, 0.1, 0.3), (0.3, 0.0, 0.0, 0.1, 0.1)]:
        numbers = dict(l2=l2, smoothing=smoothing, drop=drop)
        losses, params, _, aux = by_hand(rate, beta, numbers)
        trial = table.sel(dict(learning_rate=rate, beta=beta, seed=0, **numbers))  # `drop` is a flag of `sel`
        np.testing.assert_allclose(trial.loss, losses, rtol=1e-4)
        np.testing.assert_allclose(trial["params.a"], params["a"], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(trial["aux.mean"], aux["mean"], rtol=1e-3, atol=1e-5)
        assert int(trial["aux.steps"]) == 21
        kept, state = jon.end_point(table, problem(), learning_rate=rate, beta=beta, seed=0, **numbers)
        assert state["steps"].dtype == jnp.int32
        assert jnp.issubdtype(state["key"].dtype, jax.dtypes.prng_key)
        np.testing.assert_allclose(accuracy(kept, TEST, aux=state), trial.test_accuracy, rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 2])
def test_one_program_equals_nested_vmap_of_minimize(devices):
    begin, order = jon.seed_keys(jax.random.key(0), 0)
    params, aux = init(begin)

    def one(rate, beta, *numbers):
        return jon.minimize(
            loss, params, jon.momentum(rate, beta), steps=20, data=DATA, minibatches=reshuffle(16), key=order, aux=aux,
            kwargs=dict(zip(("l2", "smoothing", "drop"), numbers, strict=True)),
        )  # fmt: skip

    mapped = one
    for axis in reversed(range(5)):
        mapped = jax.vmap(mapped, tuple(0 if place == axis else None for place in range(5)))
    runs = mapped(*(jnp.asarray(values) for values in GRID.values()))
    found = swept(devices=jax.devices()[:devices])
    assert found.attrs["segment_programs"] <= 1
    scale = float(jnp.abs(runs.loss).max())
    np.testing.assert_allclose(found.loss.isel(seed=0), runs.loss, atol=1e-6 * scale)
    np.testing.assert_allclose(found.final_loss.isel(seed=0), runs.final_loss, atol=1e-6 * scale)
    np.testing.assert_allclose(found.initial_loss.isel(seed=0), runs.initial_loss, atol=1e-6 * scale)


def test_what_a_signature_asks_for_is_read_through_what_wraps_it():
    wants = asked(loss)
    assert (wants.reserved, wants.numbers) == (("aux", "key", "train"), ("l2", "smoothing", "drop"))
    assert asked(functools.partial(loss, smoothing=0.1)).optional == ("smoothing",)
    assert asked(functools.partial(loss, train=False)).reserved == ("aux", "key")
    assert asked(jax.jit(loss, static_argnames="train")) == wants
    assert asked(lambda w, *, model=(), centered=False, rate=0.1: w).numbers == ("rate",)
    assert problem().numbers == ("l2", "smoothing", "drop", "scale")


def test_starts_may_depend_on_a_number():
    found = swept(jon.grid(learning_rate=[0.1], scale=[0.5, 2.0], l2=[0.0], smoothing=[0.0], drop=[0.1]), steps=1)
    begin, order = jon.seed_keys(jax.random.key(0), 0)
    for scale in (0.5, 2.0):
        params, aux = init(begin, scale=scale)
        expected = problem().full_loss(
            params, aux=aux, key=evaluation_key(loss_key(order)), l2=0.0, smoothing=0.0, drop=0.1
        )
        np.testing.assert_allclose(found.initial_loss.sel(scale=scale).item(), expected, rtol=1e-5)


def test_curves_best_steps_and_patience_are_those_of_numpy(table):
    curve = table.validation_loss
    assert curve.dims[-1] == "evaluation_step"
    assert curve.evaluation_step.values.tolist() == [0, 5, 10, 15, 20]
    np.testing.assert_array_equal(table.best_step, curve.evaluation_step.values[curve.values.argmin(-1)])
    stopped = swept(evaluate_every=1, patience=2, seeds=2)
    curve = stopped.validation_loss.values.reshape(-1, 21)
    for row, steps, status in zip(curve, stopped.stopped_at.values.ravel(), stopped.status.values.ravel(), strict=True):
        waits = [step for step in range(21) if step - int(np.argmin(row[: step + 1])) >= 2]
        waits = [step for step in waits if step < 20]  # at the last step there is nothing to stop
        expected = waits[0] if waits else 20
        assert int(steps) == expected
        assert int(status) == (jon.Status.PLATEAUED if waits else jon.Status.COMPLETED)
        np.testing.assert_array_equal(row[expected:], row[expected])
    assert (stopped.status == jon.Status.PLATEAUED).any()


def test_the_best_step_is_where_a_shorter_sweep_ends():
    whole = swept(evaluate_every=5, keep_params="best", monitor="validation_accuracy", seeds=2)
    for steps in np.unique(whole.best_step):
        if steps == 0:
            continue
        short = swept(steps=int(steps), keep_params=True, seeds=2)
        here = (whole.best_step == steps).values
        for name in ("params.a", "aux.mean", "test_accuracy", "final_loss"):
            np.testing.assert_array_equal(whole[name].values[here], short[name].values[here])
    chosen = jon.best(whole, "validation_accuracy")
    at = whole.sel(chosen.config)
    assert chosen.median == np.median(at.validation_accuracy.max("evaluation_step"))
    assert chosen.test.median == np.median(at.test_accuracy)


def test_a_store_counts_different_looks_at_the_test_data(tmp_path):
    found = swept(evaluate_every=10, store=tmp_path / "store")
    assert jon.best(found, "validation_accuracy").test.looks == 1
    again = jon.open_sweep(tmp_path / "store")
    assert jon.best(again, "validation_accuracy").test.looks == 1
    assert jon.best(again, "validation_loss").test.looks == 2
    assert jon.best(again.drop_attrs(), "validation_accuracy", direction="max").test is not None
    assert "look 2 at the test data" in str(jon.best(again, "validation_loss"))


COUNTS = {
    "count": lambda w, _: jnp.int32(2**24 + 1) + jnp.int32(w[0] > 1),
    "small": lambda w, _: jnp.uint8(127),
    "large": lambda w, _: jnp.uint32(2**32 - 2),
    "flag": lambda w, _: w[0] > 1,
}


@pytest.mark.parametrize("every", [None, 4])
def test_curves_of_counts_are_exact(every, tmp_path):
    made = jon.Problem(
        lambda w, batch: jnp.sum((w - batch[0]) ** 2), jnp.zeros(1), data=2 * jnp.ones((2, 1)),
        validation=jnp.ones((2, 1)), metrics={name: jon.Metric(one, "max") for name, one in COUNTS.items()},
    )  # fmt: skip
    space = jon.grid(learning_rate=[1e-6, 0.4])  # the second one passes 1 with its first step
    options = dict(steps=10, progress=False, evaluate_every=every, store=tmp_path / "store")
    kinds = {} if every is None else dict(monitor="validation_count", patience=4, keep="best")
    found = jon.sweep(made, jon.gradient_descent, space, **options, **kinds)
    rises = np.array([[0, 0, 0, 0], [0, 1, 1, 1]]) if every else np.array([0, 1])
    curves = {name: found[f"validation_{name}"].values[:, 0] for name in COUNTS}
    np.testing.assert_array_equal(curves["count"], 2**24 + 1 + rises)
    np.testing.assert_array_equal(curves["flag"], rises)
    assert (curves["small"] == 127).all()
    assert (curves["large"] == 2**32 - 2).all()
    assert {one.dtype for one in curves.values()} == {np.dtype(float)}
    assert jon.open_sweep(tmp_path / "store").equals(found)
    if every:
        assert found.best_step.values[:, 0].tolist() == [0, 4]


def test_curves_of_counts_end_where_a_trial_was_pruned():
    made = jon.Problem(
        lambda w, batch: jnp.sum((w - batch[0]) ** 2), jnp.zeros(1), data=jnp.ones((2, 1)),
        validation=jnp.ones((2, 1)), metrics={"count": jon.Metric(lambda w, _: jnp.int32(100 * w[0]), "max")},
    )  # fmt: skip
    prune = jon.halving(rungs=2, factor=2, metric="validation_count")
    space = jon.grid(learning_rate=[1e-6, 0.4])
    found = jon.sweep(made, jon.gradient_descent, space, steps=8, evaluate_every=4, prune=prune, progress=False)
    assert found.status.values[:, 0].tolist() == [jon.Status.PRUNED, jon.Status.COMPLETED]
    np.testing.assert_array_equal(found.validation_count.values[:, 0], [[0, 0, np.nan], [0, 99, 99]])


def test_curves_of_counts_continue_with_more_steps(tmp_path):
    made = jon.Problem(
        lambda w, batch: jnp.sum((w - batch[0]) ** 2), jnp.zeros(1), data=jnp.ones((2, 1)),
        validation=jnp.ones((2, 1)), metrics={"count": lambda w, _: jnp.int32(1000 * w[0])},
    )  # fmt: skip
    options = dict(evaluate_every=4, progress=False, keep="params+state", width=2)
    space = jon.grid(learning_rate=[0.01, 0.1])
    jon.sweep(made, jon.gradient_descent, space, steps=8, store=tmp_path / "store", **options)
    more = jon.sweep(made, jon.gradient_descent, space, steps=16, store=tmp_path / "store", extend=True, **options)
    whole = jon.sweep(made, jon.gradient_descent, space, steps=16, **options)
    np.testing.assert_array_equal(more.validation_count.values, whole.validation_count.values)


def test_looks_at_the_families_of_a_store_are_counted_together(tmp_path):
    made = jon.Problem(
        lambda w, batch: jnp.mean((batch @ w - batch[:, 0]) ** 2), lambda key: jax.random.normal(key, (3,)),
        data=jnp.eye(3), validation=jnp.eye(3)[:2], test_data=jnp.eye(3)[1:],
        metrics={"norm": lambda w, _: jnp.sum(w**2)},
    )  # fmt: skip
    space = jon.grid(learning_rate=[0.01, 0.1])
    choices = jon.grid(learning_rate=[0.1], centered=[True, False])
    families = {"plain": (jon.momentum, space), "choices": (jon.rmsprop, choices)}
    found = jon.sweep(made, families, seeds=3, steps=5, store=tmp_path / "store", progress=False)
    winner = jon.best(found, "validation_loss")
    name = winner.config["family"]
    assert (winner.test.looks, winner.families[name].test) == (1, winner.test)
    # Only the winner is tested, as each test value is a look.
    assert [one.test is None for one in winner.families.values()] == [False, True]
    again = jon.open_sweep(tmp_path / "store")
    other = ({*families} - {name}).pop()
    for tree, before in ((found, 1), (again, 2)):
        assert jon.best(tree, "validation_loss").test.looks == before
        assert jon.best(tree[name].to_dataset(), "validation_loss").test.looks == before
        assert jon.best(tree[other].to_dataset(), "validation_loss").test.looks == 2
    assert jon.best(again, "validation_norm", direction="min").test.looks == 3
    assert not list((tmp_path / "store" / name).glob("test_looks*"))


def test_a_checkpoint_and_smaller_widths_keep_state_and_curves(monkeypatch):
    from jaxopt_notes.sweeps.compute.engine import Engine, Leg

    plan = jon.plan(
        problem(), jon.momentum, jon.grid(**GRID), steps=20, batch_size=16, width=32, evaluate_every=5, patience=10
    ).groups[0]
    whole, _ = Engine(plan, keep="params").run([range(32)], Leg(20))
    _, state = Engine(plan).run([range(32)], Leg(10, keep=True))
    again, _ = Engine(plan, keep="params").run([range(32)], Leg(20, start=state))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        np.testing.assert_array_equal(one, other)


def test_a_lane_that_fails_leaves_the_others_alone():
    fails = dict(GRID, learning_rate=[0.1, 1e38])
    found, alone = swept(jon.grid(**fails), keep_params=True), swept(jon.grid(**GRID), keep_params=True)
    assert (found.status.sel(learning_rate=1e38) == jon.Status.NON_FINITE).any()
    for name in ("loss", "params.a", "aux.mean", "final_accuracy"):
        np.testing.assert_array_equal(found[name].isel(learning_rate=0), alone[name].isel(learning_rate=0))
    assert np.isfinite(found["aux.mean"]).all()


def test_a_state_that_becomes_infinite_ends_a_run_whose_loss_is_finite():
    def spoils(w, *, aux):
        return jnp.sum(w**2), {"n": aux["n"] + 1, "low": jnp.inf, "var": jnp.where(aux["n"] == 3, jnp.inf, 1.0)}

    first = {"n": jnp.int32(0), "low": jnp.inf, "var": jnp.float32(1)}
    run = jon.minimize(spoils, jnp.ones(2), jon.gradient_descent(0.1), steps=10, aux=first)
    assert (int(run.status), int(run.stopped_at), int(run.aux["n"])) == (jon.Status.NON_FINITE, 2, 3)
    one = jon.Problem(spoils, (jnp.ones(2), first))
    found = jon.sweep(one, jon.gradient_descent, jon.grid(learning_rate=[0.1]), steps=10, progress=False)
    assert (found.status.item(), found.stopped_at.item()) == (jon.Status.NON_FINITE, 2)


def test_halving_by_the_validation_data_keeps_curves():
    pruner = jon.halving(rungs=2, factor=2, metric="validation_accuracy")
    found, whole = swept(evaluate_every=5, prune=pruner), swept(evaluate_every=5)
    survived = (found.status != jon.Status.PRUNED).values
    assert survived.sum() == found.status.size // 2
    np.testing.assert_array_equal(found.validation_loss.values[survived], whole.validation_loss.values[survived])
    pruned = found.validation_loss.values[~survived]
    assert np.isnan(pruned[:, 3:]).all()
    assert np.isfinite(pruned[:, :3]).all()


def clashing(learning_rate, l2=0.0):
    return optax.adamw(learning_rate, weight_decay=l2)


LEAN = dict(l2=[0.0], smoothing=[0.0], drop=[0.1])
BAD = {
    "a number without an axis": (
        lambda: swept(jon.grid(learning_rate=[0.1], l2=[0.0], drop=[0.1])),
        TypeError,
        r"the loss of 'loss' asks for smoothing: give it an axis, for example grid\(smoothing=",
    ),
    "a typo of a number": (
        lambda: swept(jon.grid(learning_rate=[0.1], smoothin=[0.1], **LEAN)),
        ValueError,
        "unknown axis 'smoothin' for momentum; did you mean 'smoothing'",
    ),
    "a number of both": (
        lambda: jon.sweep(problem(), clashing, jon.grid(learning_rate=[0.1], **LEAN), steps=2),
        ValueError,
        "axis 'l2' is a number of both the loss of 'loss' and clashing; rename one",
    ),
    "a text for a number": (
        lambda: swept(jon.grid(learning_rate=[0.1], **LEAN | {"l2": ["a"]})),
        TypeError,
        "axis 'l2' must hold real numbers for the loss of 'loss'; got 'a'",
    ),
    "aux of another structure": (
        lambda: swept(made=jon.Problem(lambda w, b, *, aux: (jnp.sum(w**2), {}), (jnp.ones(2), {"n": 0.0}), data=DATA)),
        ValueError,
        "unknown axis 'l2'",
    ),
    "aux that loses a leaf": (
        lambda: swept(
            jon.grid(learning_rate=[0.1]),
            made=jon.Problem(lambda w, b, *, aux: (jnp.sum(w**2), {}), (jnp.ones(2), {"n": 0.0}), data=DATA),
        ),
        TypeError,
        r"aux\['n'\] is float32\[\] and comes back as nothing",
    ),
    "aux of another dtype": (
        lambda: swept(
            jon.grid(learning_rate=[0.1]),
            made=jon.Problem(
                lambda w, b, *, aux: (jnp.sum(w**2), aux.astype(float)), (jnp.ones(2), jnp.int32(0)), data=DATA
            ),
        ),
        TypeError,
        r"aux is int32\[\] and comes back as float32\[\]",
    ),
    "no pair": (
        lambda: jon.Problem(lambda w, *, aux: (jnp.sum(w), aux), jnp.ones(2)),
        TypeError,
        r"the loss asks for aux, so init must be a pair \(params, aux\)",
    ),
    "a key by position": (
        lambda: jon.Problem(lambda w, key: jnp.sum(w), jnp.ones(2)),
        TypeError,
        r"loss takes key by position, and is given it by keyword only: put a \* before it",
    ),
    "looks without data to look at": (
        lambda: swept(made=problem(validation=None), evaluate_every=5),
        ValueError,
        "evaluate_every needs a problem with validation data; 'loss' has none",
    ),
    "patience without looks": (lambda: swept(patience=5), ValueError, "patience needs evaluate_every"),
    "the best of no looks": (lambda: swept(keep_params="best"), ValueError, "keep='best' needs evaluate_every"),
    "another word": (lambda: swept(keep_params="bset"), ValueError, "did you mean 'best'"),
    "an unknown monitor": (
        lambda: swept(evaluate_every=5, monitor="validation_acuracy"),
        ValueError,
        "did you mean 'validation_accuracy'",
    ),
    "rungs between looks": (
        lambda: swept(evaluate_every=20, prune=jon.halving(rungs=2, factor=2, metric="validation_loss")),
        ValueError,
        "evaluate_every=20 looks at validation_loss at others; evaluate_every=10 fits",
    ),
    "pruning by a loss with axes": (
        lambda: swept(prune=jon.halving(rungs=2, factor=2)),
        ValueError,
        "final_loss does not compare these configurations: the loss itself takes l2, smoothing, so",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_compiling(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_a_loss_with_axes_is_no_measure_unless_something_else_is_measured(table):
    with pytest.raises(ValueError, match="final_loss does not compare these configurations"):
        jon.best(table)
    with pytest.raises(ValueError, match="final_loss does not compare these configurations"):
        jon.importance(table)
    assert jon.best(table, "validation_loss").metric == "validation_loss"
    assert jon.best(table.sel(l2=[0.0], smoothing=[0.0])).metric == "final_loss"

    def plain(params, batch, *, aux):
        return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch, aux["mean"]), batch[1]).mean()

    measured = swept(made=problem(evaluate=plain))
    assert jon.best(measured).metric == "final_loss"
    np.testing.assert_array_equal(measured.loss, swept().loss)


def test_a_range_test_and_workers_take_such_losses():
    found = jon.suggest_learning_rate(
        problem(), jon.momentum, low=1e-3, high=10, rates=5, steps=8, batch_size=16, progress=False, l2=0.0,
        smoothing=0.1, drop=0.1,
    )  # fmt: skip
    assert np.isfinite(found.sharpness)


REGRESSION = jon.Problem(
    lambda w, batch: jnp.mean((batch[0] @ w - batch[1].astype(float)) ** 2),
    jnp.zeros(6),
    data=DATA,
    validation=VALIDATION,
)


def test_at_equal_epochs_every_batch_size_sees_the_same_examples():
    found = jon.sweep(
        REGRESSION, jon.momentum, jon.grid(learning_rate=[0.01, 0.03], batch_size=[8, 32]), epochs=2, evaluate_every=12,
        progress=False,
    )  # fmt: skip
    assert found.stopped_at.sel(batch_size=8).values.ravel().tolist() == [32, 32]
    assert found.stopped_at.sel(batch_size=32).values.ravel().tolist() == [8, 8]
    assert found.evaluation_step.values.tolist() == [0, 8, 12, 24, 32]
    for size, steps in ((8, 32), (32, 8)):
        alone = jon.sweep(
            REGRESSION, jon.momentum, jon.grid(learning_rate=[0.01, 0.03]), steps=steps, batch_size=size, progress=False
        )
        here = found.sel(batch_size=size)
        np.testing.assert_array_equal(here.loss.dropna("step").values, alone.loss.values)
        np.testing.assert_array_equal(here.validation_loss.isel(evaluation_step=-1), alone.validation_loss)
    chosen = jon.best(found, "validation_loss")
    assert chosen.median == float(found.validation_loss.isel(evaluation_step=-1).min())


def test_an_axis_of_steps_stops_each_trial_after_its_own():
    found = jon.sweep(
        REGRESSION, jon.adam, jon.grid(learning_rate=[0.01], steps=[5, 10, 20]), batch_size=16, seeds=2, progress=False
    )
    assert found.attrs["segment_programs"] <= 1
    assert (found.status == jon.Status.COMPLETED).all()
    for steps in (5, 10, 20):
        here = found.sel(steps=steps, learning_rate=0.01)
        assert (here.stopped_at == steps).all()
        assert (here.update_norm.isel(step=slice(steps + 1, None)) == 0).all()
        short = jon.sweep(
            REGRESSION, jon.adam, jon.grid(learning_rate=[0.01]), steps=steps, batch_size=16, seeds=2, progress=False
        )
        np.testing.assert_allclose(here.final_loss, short.final_loss.isel(learning_rate=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "a sweep needs steps, or epochs, the passes over the training data; got neither"),
        (dict(steps=3, epochs=2), TypeError, "give either steps or epochs, got steps=3 and epochs=2"),
        (dict(epochs=2, every=5), ValueError, "every must divide steps=16, got 5; the nearest that does is 4"),
        (
            dict(steps=8, space=jon.grid(learning_rate=[0.1], steps=[9])),
            ValueError,
            "the axis steps holds 9, more than",
        ),
        (dict(space=jon.grid(learning_rate=[0.1], steps=[2.5])), TypeError, "every value of the axis steps"),
        (dict(epochs=1, space=jon.grid(learning_rate=[0.1], steps=[2])), ValueError, "steps is an axis of the space"),
    ],
)
def test_lengths_that_fit_nothing_are_named(options, error, message):
    options = dict(space=jon.grid(learning_rate=[0.1]), batch_size=16, progress=False) | options
    with pytest.raises(error, match=message):
        jon.sweep(REGRESSION, jon.momentum, options.pop("space"), **options)
    bare = jon.Problem(lambda w: jnp.sum(w**2), jnp.ones(2))
    with pytest.raises(ValueError, match="epochs=2 needs a problem with data; '<lambda>' has none: give steps"):
        jon.sweep(bare, jon.momentum, jon.grid(learning_rate=[0.1]), epochs=2)


@pytest.mark.parametrize("at", [True, "best"])
def test_packed_together_the_trials_that_still_run_are_bit_identical(at):
    from jaxopt_notes.sweeps.compute.engine import Engine

    options = dict(evaluate_every=2, patience=4, seeds=2, width=16, keep_params=at, every=2)
    whole = swept(**options)
    lanes = []
    run = Engine.run

    def counted(self, parts, leg, *rest):
        lanes.append(sum(map(len, parts)) * (leg.until - (leg.start.step if leg.start else 0)))
        return run(self, parts, leg, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "run", counted)
        packed = swept(compact=True, **options)
    assert packed.equals(whole)
    stopped = whole.stopped_at.values.ravel()
    assert sum(lanes) == sum(min(20, -(-steps // 4) * 4) for steps in stopped) < 20 * len(stopped)


def test_packing_keeps_records_that_fall_between_looks():
    space = jon.grid(learning_rate=[0.01, 0.03, 0.1])
    options = dict(steps=60, every=10, evaluate_every=7, patience=7, batch_size=4, seeds=2, width=8, progress=False)
    whole, packed = (
        jon.sweep(REGRESSION, jon.gradient_descent, space, compact=pack, **options) for pack in (False, True)
    )
    assert (whole.stopped_at % 10 != 0).any()
    assert packed.equals(whole)


def test_packing_refuses_what_it_cannot_pack():
    with pytest.raises(ValueError, match="compact=True leaves out trials that have stopped, so it needs patience"):
        swept(compact=True)
    with pytest.raises(ValueError, match="leave prune= out"):
        swept(compact=True, evaluate_every=5, patience=5, prune=jon.halving(rungs=2, metric="validation_loss"))


def test_a_run_that_reports_takes_the_same_steps():
    begin, order = jon.seed_keys(jax.random.key(0), 0)
    params, aux = init(begin)
    options = dict(
        data=DATA, minibatches=reshuffle(16), key=order, aux=aux, kwargs=dict(l2=0.0, smoothing=0.0, drop=0.1), every=2,
        metrics=lambda params, *, aux: {"accuracy": accuracy(params, VALIDATION, aux=aux)},
    )  # fmt: skip
    quiet = jon.minimize(loss, params, jon.adam(0.05), steps=40, **options)
    seen = []
    told = jon.minimize(
        loss, params, jon.adam(0.05), steps=40, on_record=lambda step, record: seen.append((step, record)), **options
    )
    for one, other in zip(jax.tree.leaves(quiet), jax.tree.leaves(told), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(one, other)
    assert [step for step, _ in seen] == list(range(0, 41, 2))
    np.testing.assert_array_equal([record["loss"] for _, record in seen], quiet.loss)
    np.testing.assert_array_equal([record["metrics"]["accuracy"] for _, record in seen], quiet.metrics["accuracy"])
    with pytest.raises(TypeError, match="inside jit, vmap and grad leave both out"):
        jax.jit(lambda start: jon.minimize(jnp.sum, start, jon.adam(0.1), steps=2, progress=True))(jnp.ones(2))


def test_a_run_waits_for_a_better_metric():
    begin, order = jon.seed_keys(jax.random.key(0), 0)
    params, aux = init(begin)
    run = jon.minimize_until(
        loss, params, jon.adam(0.05), max_steps=60, patience=6, monitor="accuracy", direction="max", every=2, data=DATA,
        minibatches=reshuffle(16), key=order, aux=aux, kwargs=dict(l2=0.0, smoothing=0.0, drop=0.1),
        metrics=lambda params, aux: {"accuracy": accuracy(params, VALIDATION, aux=aux)},
    )  # fmt: skip
    values = np.asarray(run.metrics["accuracy"])
    waits = [entry for entry in range(31) if 2 * (entry - int(np.argmax(values[: entry + 1]))) >= 6]
    assert int(run.stopped_at) == 2 * waits[0]
    assert int(run.status) == jon.Status.PLATEAUED
    with pytest.raises(ValueError, match="did you mean 'accuracy'"):
        jon.minimize_until(
            jnp.sum, jnp.ones(2), jon.adam(0.1), max_steps=2, patience=2, monitor="acuracy",
            metrics=lambda params: {"accuracy": params[0]},
        )  # fmt: skip


def test_a_loss_with_everything_given_is_one_of_the_parameters_alone(table):
    numbers = dict(l2=1e-2, smoothing=0.1, drop=0.1)
    params, aux = jon.end_point(table, problem(), learning_rate=0.1, beta=0.9, seed=0, **numbers)
    key = jax.random.key(0)
    plain = problem().fixed(aux=aux, key=key, **numbers)
    expected = loss(params, DATA, aux=aux, key=key, train=False, **numbers)[0]
    np.testing.assert_allclose(plain(params, DATA), expected, rtol=1e-6)
    assert jon.sharpness(plain, params, DATA) > 0
    with pytest.raises(
        TypeError, match=r"asks for aux, key, train, l2, smoothing, drop by keyword, .*fixed\(aux=..., key=..., l2="
    ):
        jon.classify(loss, params, DATA)
    with pytest.raises(TypeError, match="the loss of 'loss' asks for aux, key, smoothing: give aux="):
        problem().fixed(l2=0.0, drop=0.1)
    with pytest.raises(ValueError, match="did you mean 'smoothing'"):
        problem().fixed(aux=aux, smoothin=0.1)


KEYWORDS = {
    "a number": (lambda w, *, l2: l2 * jnp.sum(w**2), {"l2": 1.0}, "asks for l2 by", r"fixed\(l2=\.\.\.\)"),
    "a key": (lambda w, *, key: jnp.sum(w**2), {"key": jax.random.key(0)}, "asks for key by", r"fixed\(key=\.\.\.\)"),
    "the mode": (lambda w, *, train: jnp.sum(w**2), {}, "asks for train by keyword", r"fixed\(\)"),
}
OF_A_LOSS = {
    "classify": lambda made, w: jon.classify(made, w),
    "sharpness": lambda made, w: jon.sharpness(made, w),
    "hvp": lambda made, w: jon.curvature.hvp(made, w, w),
    "plane": lambda made, w: jon.landscape.plane(made, w, jnp.eye(2), points=3),
    "eigendirections": lambda made, w: jon.landscape.eigendirections(made, w, jnp.eye(2)),
    "hessian_directions": lambda made, w: jon.landscape.hessian_directions(made, w),
    "explore": lambda made, w: jon.explore(made, None if isinstance(made, jon.Problem) else ((-1, 1), (-1, 1))),
}


@pytest.mark.parametrize("taken", OF_A_LOSS)
@pytest.mark.parametrize("case", KEYWORDS)
def test_a_problem_is_refused_with_what_its_loss_asks_for_where_only_a_loss_fits(case, taken):
    function, known, names, fix = KEYWORDS[case]
    facts = jon.problems.quadratic([1.0, 2.0]).facts
    made = jon.Problem(function, jnp.ones(2), facts=facts)
    # `classify` judges the loss of a problem outside of training, so the mode alone is no question there.
    judged = taken == "classify" and case == "the mode"
    for given in (function,) if judged else (made, function):
        with pytest.raises(TypeError, match=rf"{names}.*problem\.{fix}"):
            OF_A_LOSS[taken](given, jnp.ones(2))
    if taken != "explore":
        OF_A_LOSS[taken](made.fixed(**known), jnp.ones(2))


def test_a_problem_in_place_of_its_loss_is_refused_by_what_takes_only_a_loss():
    made = jon.Problem(lambda w, batch: jnp.mean((batch @ w) ** 2), jnp.ones(2), data=jnp.ones((4, 2)))
    with pytest.raises(TypeError, match=r"got Problem\(.*; pass its \.loss, and its \.data after the parameters"):
        jon.sharpness(made, jnp.ones(2))
    assert jon.classify(made, jnp.zeros(2)).kind_name == jon.classify(made.loss, jnp.zeros(2), made.data).kind_name


def test_a_run_of_narrow_parameters_waits_for_a_metric_in_its_own_precision():
    run = jon.minimize_until(
        lambda w: jnp.sum(w**2), jnp.ones(2, jnp.bfloat16), jon.gradient_descent(0.01), max_steps=30, patience=2,
        monitor="score", direction="max", metrics=lambda w: {"score": 1000 - 10 * jnp.sum(w.astype(jnp.float32))},
    )  # fmt: skip
    assert (np.diff(run.metrics["score"][:20:2]) > 0).all()
    assert int(run.stopped_at) >= 20


def scored(score, **options):
    """A sweep of a bowl along which a metric is `score(w)` of the first parameter."""
    made = jon.Problem(
        lambda w, batch: jnp.sum(w**2), jnp.array([1.0]), data=np.zeros(4), validation=np.zeros(4),
        metrics={"score": jon.maximize(lambda w, batch: score(w[0]))},
    )  # fmt: skip
    options = dict(steps=12, monitor="validation_score", progress=False) | options
    return jon.sweep(made, jon.gradient_descent, options.pop("space", jon.grid(learning_rate=[0.1])), **options)


def test_a_trial_that_has_done_its_own_steps_waits_no_longer():
    space = jon.grid(learning_rate=[0.1], steps=[3, 12])
    found = scored(lambda w: -w, space=space, evaluate_every=2, patience=6)
    assert (found.status == jon.Status.COMPLETED).all()
    assert found.stopped_at.values.ravel().tolist() == [3, 12]


def test_a_monitor_of_nan_keeps_the_last_point_and_not_the_start():
    found = scored(lambda w: jnp.nan * w, evaluate_every=4, keep_params="best")
    assert found.best_step.item() == 12
    assert found.final_loss.item() < found.initial_loss.item()
    later = scored(lambda w: jnp.where(w > 0.5, jnp.nan, -w), evaluate_every=2, keep_params="best")
    assert later.best_step.item() == 12


def test_looks_that_were_cut_away_are_missed():
    found = scored(lambda w: -w, evaluate_every=4, keep_params="best")
    with pytest.raises(ValueError, match=r"the looks at which some trials were best are cut from this table"):
        jon.best(found.isel(evaluation_step=slice(0, 2)), "validation_score")
    assert jon.best(found.isel(evaluation_step=[0, 3]), "validation_score").median > -1


def test_losses_of_other_numbers_are_not_compared_across_families_or_absent_values():
    made = jon.Problem(lambda w, *, l2=1.0: jnp.sum((w - 1) ** 2) + l2 * jnp.sum(w**2), jnp.zeros(2))
    options = dict(steps=2, progress=False)
    families = {
        "a": (jon.momentum, jon.grid(learning_rate=[0.1], l2=[0.0])),
        "b": (jon.adam, jon.grid(learning_rate=[0.1], l2=[1.0])),
    }
    tree = jon.sweep(made, families, **options)
    with pytest.raises(ValueError, match="the loss itself takes l2"):
        jon.best(tree)
    absent = jon.sweep(made, jon.momentum, jon.trials({"learning_rate": [0.1, 0.1], "l2": [0.0, np.nan]}), **options)
    with pytest.raises(ValueError, match="the loss itself takes l2"):
        jon.best(absent)


def test_a_number_that_two_take_is_refused_with_both_named():
    def maker(l2):
        return jon.Problem(lambda w, *, l2: l2 * jnp.sum(w**2), jnp.ones(2))

    with pytest.raises(ValueError, match=r"axis 'l2' is a number of the loss of .* and also an argument of what makes"):
        jon.sweep(maker, jon.momentum, jon.grid(learning_rate=[0.1], l2=[0.0]), steps=2)
    sized = jon.Problem(lambda w, b, *, batch_size=7.0: jnp.sum(w**2) * batch_size, jnp.ones(2), data=np.zeros(8))
    with pytest.raises(ValueError, match=r"axis 'batch_size' is a number of the loss of .* and also the batch size"):
        jon.sweep(sized, jon.momentum, jon.grid(learning_rate=[0.1], batch_size=[2, 4]), steps=2)
    with pytest.raises(TypeError, match="score asks for aux"):
        jon.Problem(lambda w: jnp.sum(w), jnp.ones(2), metrics={"score": lambda w, *, aux: aux})
    with pytest.raises(TypeError, match="kwargs holds 'scale', which is no number that loss"):
        jon.minimize(lambda w, **more: jnp.sum(w), jnp.ones(2), jon.adam(0.1), steps=2, kwargs={"scale": 3.0})


def test_a_plan_is_made_again_with_another_end_point():
    plan = jon.plan(REGRESSION, jon.momentum, jon.grid(learning_rate=[0.1]), steps=4, evaluate_every=2, keep="best")
    assert plan.remake(steps=2).specification.options.keep_best
    assert not plan.remake(keep="params").specification.options.keep_best
    with pytest.raises(ValueError, match="unknown argument 'keep_best'"):
        plan.remake(keep_best=True)
    with pytest.raises(TypeError, match="monitor='loss' is what patience waits for: give patience"):
        jon.minimize_until(jnp.sum, jnp.ones(2), jon.adam(0.1), max_steps=2, monitor="loss")
