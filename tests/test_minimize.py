"""The loop: what belongs to which iterate, freezing, status, derivatives, and every optax optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes._jaxpr import bytes_needed
from jaxopt_notes.minibatches import indices, random, reshuffle, shuffle_once
from jaxopt_notes.minimize import _program as program


def valley(x):
    return 0.5 * jnp.sum(jnp.array([1.0, 20.0]) * x**2)


START = jnp.array([1.0, 1.0])


def test_gradient_descent_on_a_quadratic_is_the_closed_form():
    run = jon.minimize(valley, START, jon.gradient_descent(0.04), steps=50, record_params=True)
    k = np.arange(51)
    expected = np.stack([(1 - 0.04) ** k, (1 - 0.8) ** k], axis=1)
    np.testing.assert_allclose(run.params_path, expected, rtol=1e-5)
    np.testing.assert_allclose(run.loss, 0.5 * (expected**2 @ [1, 20]), rtol=1e-5)
    np.testing.assert_allclose(run.grad_norm, np.linalg.norm(expected * [1, 20], axis=1), rtol=1e-5)
    moves = np.linalg.norm(np.diff(expected, axis=0), axis=1)
    np.testing.assert_allclose(run.update_norm, np.concatenate([[0], moves]), rtol=1e-4)
    assert Status(int(run.status)) is Status.COMPLETED
    assert int(run.stopped_at) == 50


def test_every_entry_belongs_to_its_own_parameters():
    problem = jon.problems.rosenbrock(3)
    run = jon.minimize(problem.loss, problem.init(None), jon.adam(0.02), steps=40, every=8, record_params=True)
    assert run.loss.shape == (6,)
    np.testing.assert_allclose(run.loss, jax.vmap(problem.loss)(run.params_path), rtol=1e-5)
    dense = jon.minimize(problem.loss, problem.init(None), jon.adam(0.02), steps=40)
    np.testing.assert_array_equal(run.loss, dense.loss[::8])
    np.testing.assert_array_equal(run.params, run.params_path[-1])


@pytest.mark.parametrize(
    ("optimizer", "rate_is_good"),
    [(jon.momentum(0.02, beta=0.8), True), (optax.adam(0.05), True), (optax.lbfgs(), True), (optax.sgd(1.0), False)],
    ids=["ours", "optax-adam", "optax-lbfgs", "optax-too-high"],
)
def test_any_optax_optimizer_runs_in_the_loop(optimizer, rate_is_good):
    with jax.numpy_dtype_promotion("standard"):
        run = jon.minimize(valley, START, optimizer, steps=300)
    assert bool(run.final_loss < 1e-6) == rate_is_good
    assert int(run.status) == (Status.COMPLETED if rate_is_good else Status.NON_FINITE)


def test_a_run_that_becomes_non_finite_rests_on_its_last_finite_point():
    run = jon.minimize(valley, START, jon.gradient_descent(1.0), steps=100, record_params=True)
    stopped = int(run.stopped_at)
    assert int(run.status) == Status.NON_FINITE
    assert 0 < stopped < 100
    np.testing.assert_array_equal(run.params, run.params_path[stopped])
    assert jnp.isfinite(run.loss).all()
    assert jnp.isfinite(run.grad_norm).all()
    np.testing.assert_array_equal(run.loss[stopped:], jnp.full(101 - stopped, run.loss[stopped]))
    np.testing.assert_array_equal(run.update_norm[stopped + 1 :], jnp.zeros(100 - stopped))
    next_point = run.params * (1 - jnp.array([1.0, 20.0]))
    assert not jnp.isfinite(jnp.sum(jax.grad(valley)(next_point) ** 2))  # the very next step is the one it refused
    assert "last finite point" in run.status_text


def test_a_start_that_is_not_finite_is_said():
    run = jon.minimize(lambda x: jnp.sum(jnp.log(x)), jnp.array([-1.0]), jon.gradient_descent(0.1), steps=3)
    assert int(run.status) == Status.NON_FINITE
    assert int(run.stopped_at) == 0


def test_converged_diverged_and_stalled_are_told():
    converged = jon.minimize(valley, START, jon.gradient_descent(0.05), steps=1000, tol=1e-3)
    assert int(converged.status) == Status.CONVERGED
    assert int(converged.stopped_at) < 1000
    assert converged.grad_norm[-1] <= 1e-3 < converged.grad_norm[int(converged.stopped_at) - 1]
    diverged = jon.minimize(valley, START, jon.gradient_descent(0.11), steps=5)
    assert int(diverged.status) == Status.DIVERGED
    stalled = jon.minimize(valley, START, jon.gradient_descent(0.0), steps=5, baseline=10.5)
    assert int(stalled.status) == Status.STALLED
    assert int(jon.minimize(valley, START, jon.gradient_descent(0.0), steps=5, baseline=10.6).status) == Status.STUCK
    assert len({status.advice for status in Status}) == len(Status)


def test_one_lane_that_fails_touches_no_other():
    rates = jnp.array([0.01, 1.0, 0.04, jnp.inf])
    runs = jax.vmap(lambda rate: jon.minimize(valley, START, jon.gradient_descent(rate), steps=60))(rates)
    assert runs.status.tolist() == [Status.COMPLETED, Status.NON_FINITE, Status.COMPLETED, Status.NON_FINITE]
    for lane in (0, 2):
        alone = jon.minimize(valley, START, jon.gradient_descent(rates[lane]), steps=60)
        np.testing.assert_allclose(runs.loss[lane], alone.loss, rtol=1e-5)
    assert jnp.isfinite(runs.loss).all()


HYPERGRADIENTS = {
    "gradient_descent": {"learning_rate": 0.03},
    "momentum": {"learning_rate": 0.02, "beta": 0.7, "dampening": 0.1},
    "nesterov": {"learning_rate": 0.02, "beta": 0.7},
    "adam": {"learning_rate": 0.05, "b1": 0.8, "b2": 0.95, "eps": 1e-3},
}


@pytest.mark.parametrize("name", HYPERGRADIENTS)
def test_hypergradients_agree_with_finite_differences(name, x64):
    start = jnp.array([1.0, 1.0])

    def final_loss(numbers):
        return jon.minimize(valley64, start, jon.OPTIMIZERS[name](**numbers), steps=30).final_loss

    def valley64(x):
        return 0.5 * jnp.sum(jnp.array([1.0, 20.0]) * x**2) + 0.1 * jnp.sum(jnp.cos(x))

    numbers = HYPERGRADIENTS[name]
    slopes = jax.grad(final_loss)({k: jnp.asarray(v) for k, v in numbers.items()})
    for changed, value in numbers.items():
        step = 1e-6 * value
        ends = [float(final_loss({**numbers, changed: value + sign * step})) for sign in (1, -1)]
        np.testing.assert_allclose(slopes[changed], (ends[0] - ends[1]) / (2 * step), rtol=1e-5)


@pytest.mark.parametrize("name", HYPERGRADIENTS)
@pytest.mark.parametrize("rate", [0.03, 1.0, 1e20, 3e38])
def test_hypergradients_are_finite_on_frozen_lanes(name, rate):
    def final_loss(numbers):
        return jon.minimize(valley, START, jon.OPTIMIZERS[name](**numbers), steps=40).final_loss

    numbers = {k: jnp.float32(v) for k, v in {**HYPERGRADIENTS[name], "learning_rate": rate}.items()}
    slopes = jax.grad(final_loss)(numbers)
    assert all(jnp.isfinite(slope) for slope in slopes.values()), slopes


def frozen_cases():
    """name -> (final loss by one number and a count of steps, the number); every run freezes before 30 steps."""
    exponential = lambda x, c: c * jnp.exp(x) + jnp.exp(-x)

    def run(c, steps, loss, **options):
        return jon.minimize(loss, jnp.float32(3.0), jon.gradient_descent(1.0), steps=steps, **options)

    def stateful(x, aux):
        return jnp.sum(x**4) * aux, aux * (1 + 1e-3 * jnp.sum(x**2))

    def by_rate(rate, steps):
        start = jnp.full(2, 3.0)
        return jon.minimize(stateful, start, jon.gradient_descent(rate), steps=steps, aux=jnp.float32(0.5))

    def newton(rate, steps):
        cube = lambda x: jnp.sum(jnp.maximum(x, 0) ** 3)
        return jon.minimize(cube, jnp.array([1.0, 2.0]), jon.newton(rate), steps=steps)

    return {
        "args": (lambda c, steps: run(c, steps, exponential, args=(c,)), 1.0),
        "closure": (lambda c, steps: run(c, steps, lambda x: exponential(x, c)), 1.0),
        "data": (
            lambda c, steps: run(c, steps, lambda x, d: jnp.mean(exponential(x, d)), data=jnp.ones(3) * c),
            1.0,
        ),
        "aux": (by_rate, 1.0),
        "newton": (newton, 2.5),
        "optax": (lambda c, steps: jon.minimize(quartic, jnp.full(2, 3.0), optax.sgd(c), steps=steps), 1.0),
    }


def quartic(x):
    return jnp.sum(x**4)


@pytest.mark.parametrize("name", frozen_cases())
def test_derivatives_of_a_frozen_run_are_those_of_its_accepted_steps(name):
    run, number = frozen_cases()[name]
    number = jnp.float32(number)
    whole = run(number, 30)
    stopped = int(whole.stopped_at)
    assert Status(int(whole.status)) is Status.NON_FINITE
    assert stopped < 30
    slope = jax.grad(lambda c: run(c, 30).final_loss)(number)
    expected = jax.grad(lambda c: run(c, stopped).final_loss)(number) if stopped else slope
    assert jnp.isfinite(slope)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.parametrize("optimizer", [jon.newton, jon.saddle_free_newton])
def test_newton_hypergradients_exist_at_equal_eigenvalues(optimizer, x64):
    def final_loss(rate):
        loss = lambda x: jnp.sum(x**2) ** 2 + x[0]
        return jon.minimize(loss, jnp.array([1.0, 0.0, 0.0]), optimizer(rate), steps=3).final_loss

    slope = jax.grad(final_loss)(0.5)
    np.testing.assert_allclose(slope, (final_loss(0.5 + 1e-6) - final_loss(0.5 - 1e-6)) / 2e-6, rtol=1e-6)


def test_a_run_goes_on_from_its_state():
    tx = jon.adam(0.1)
    whole = jon.minimize(valley, START, tx, steps=20)
    half = jon.minimize(valley, START, tx, steps=10)
    rest = jon.minimize(valley, half.params, tx, steps=10, state=half.state)
    np.testing.assert_array_equal(rest.loss, whole.loss[10:])
    with pytest.raises(ValueError, match="state must be one of this optimizer"):
        jon.minimize(valley, START, tx, steps=1, state=jon.momentum(0.1).init(START))


def test_what_does_not_depend_on_the_parameters_is_recorded_too():
    run = jon.minimize(valley, START, jon.adam(0.1), steps=3, metrics=lambda x: {"size": x.size, "one": 1.0})
    assert run.metrics["size"].tolist() == [2] * 4
    assert run.metrics["one"].tolist() == [1.0] * 4
    assert float(jon.minimize_until(lambda x: jnp.float32(3), START, jon.adam(0.1), max_steps=3).final_loss) == 3


def test_metrics_that_cannot_be_differentiated_are_recorded():
    def metrics(x):
        return jax.lax.while_loop(lambda y: y < 3, lambda y: y + jax.nn.relu(x[0]) + 1, 0.0)

    run = jon.minimize(valley, START, jon.adam(0.1), steps=3, metrics=metrics)
    np.testing.assert_allclose(run.metrics[0], metrics(START))


class TestHowARunEnds:
    def test_rounding_is_no_divergence(self):
        def fit(x):
            inputs = jnp.linspace(0, 1, 50)
            return jnp.mean((inputs * x[0] + x[1] - jnp.sin(7 * inputs)) ** 2)

        there = jon.minimize(fit, jnp.zeros(2), jon.momentum(0.1), steps=3000)
        again = jon.minimize(fit, there.params, jon.adam(1e-4), steps=100)
        assert float(again.final_loss) >= float(there.final_loss) * (1 - 1e-6)
        assert Status(int(again.status)) is Status.COMPLETED

    def test_a_critical_point_above_the_start_is_convergence(self):
        run = jon.minimize(lambda x: jnp.cos(x), jnp.float32(0.5), jon.newton(), steps=20, tol=1e-4)
        assert float(run.final_loss) > float(run.initial_loss)
        assert Status(int(run.status)) is Status.CONVERGED

    def test_rest_at_the_nearest_number_is_no_failure(self):
        target = lambda x: jnp.sum((x.astype(jnp.float32) - 3.3) ** 2)
        near = jon.minimize(target, jnp.ones(2, jnp.bfloat16), jon.gradient_descent(0.25), steps=40)
        assert Status(int(near.status)) is Status.STUCK
        assert not Status.STUCK.failed
        exact = jon.minimize(
            lambda x: jnp.sum(x.astype(jnp.float32) ** 2), jnp.ones(2, jnp.bfloat16), jon.gradient_descent(0.5), steps=3
        )
        assert Status(int(exact.status)) is Status.COMPLETED


def test_hypergradients_are_finite_on_digits_where_some_pixels_are_always_zero():
    problem = jon.problems.digits_mlp(hidden=8)
    params = problem.init(jax.random.key(0))

    def final_loss(rate, b1, b2):
        optimizer = jon.adam(rate, b1=b1, b2=b2, eps=0.0)
        return jon.minimize(problem.loss, params, optimizer, steps=5, data=problem.data).final_loss

    slopes = jax.grad(final_loss, argnums=(0, 1, 2))(0.01, 0.9, 0.999)
    assert all(jnp.isfinite(slope) for slope in slopes)
    assert float(slopes[0]) < 0


def test_a_fresh_lambda_and_a_new_number_reuse_the_compiled_loop():
    def run(rate, data):
        return jon.minimize(lambda x: jnp.mean((data - x) ** 2), jnp.zeros(()), jon.momentum(rate), steps=10).final_loss

    first, second = jnp.linspace(0, 1, 50), np.linspace(3, 4, 50, dtype=np.float32)
    with compiled_programs() as compiled:
        run(0.1, first)
        assert [name for name in compiled if "_minimize" in name] != []
        compiled.clear()
        assert float(run(0.2, second)) != float(run(0.1, first))
    assert [name for name in compiled if "_minimize" in name] == []


def test_closed_over_data_are_arguments_not_constants():
    from jaxopt_notes._hoist import hoist

    data = np.arange(1000.0, dtype=np.float32)

    @jax.jit
    def loss(x):
        return jnp.mean((data - x) ** 2)

    program, constants = hoist(lambda x: loss(x), jnp.zeros(()))
    assert [np.shape(constant) for constant in constants] == [(1000,)]
    again, other = hoist(lambda x: jnp.mean((data + 1 - x) ** 2), jnp.zeros(()))
    assert program == again
    assert program(other, jnp.zeros(())) == pytest.approx(np.mean((data + 1) ** 2), rel=1e-6)
    assert program != hoist(lambda x: jnp.sum((data - x) ** 2), jnp.zeros(()))[0]


def scaled(factor):
    """The identity, whose gradient is said to be `factor`."""

    @jax.custom_vjp
    def identity(x):
        return x

    identity.defvjp(lambda x: (x, None), lambda _, g: (g * factor,))
    return lambda x: jnp.sum(identity(x))


def bent(factor):
    """A square whose second derivative is said to be `factor`, and whose value and slope do not tell."""

    @jax.custom_jvp
    def slope(x):
        return 2 * x

    slope.defjvp(lambda x, t: (slope(x[0]), factor * t[0]))

    @jax.custom_jvp
    def square(x):
        return x**2

    square.defjvp(lambda x, t: (square(x[0]), slope(x[0]) * t[0]))
    return lambda x: jnp.sum(square(x))


def looped(factor):
    """A rule inside the body of a loop."""
    return lambda x: jax.lax.fori_loop(0, 3, lambda _, total: total + scaled(factor)(x), 0.0)


def watching(factor):
    """A product whose slope is said to be `factor` times what it is, where its second argument does not vary."""

    @jax.custom_jvp
    def product(x, y):
        return x * y

    def rule(primals, tangents):
        (x, y), (dx, dy) = primals, tangents
        if isinstance(dy, jax.custom_derivatives.SymbolicZero):
            return x * y, factor * dx * y
        return x * y, dx * y + x * dy

    product.defjvp(rule, symbolic_zeros=True)
    return lambda x: jnp.sum(product(x, jnp.ones(2)))


def straight_through(factor):
    """A rounding whose rule has a rule of its own for what comes back, which shows in second derivatives alone."""
    back = scaled_tangent(factor)

    @jax.custom_vjp
    def rounded(x):
        return jnp.round(x)

    rounded.defvjp(lambda x: (jnp.round(x), None), lambda _, slope: (back(slope),))
    return lambda x: jnp.sum(rounded(x) * x**2)


def scaled_tangent(factor):
    @jax.custom_jvp
    def same(x):
        return x * 1.0

    same.defjvp(lambda x, t: (same(x[0]), factor * t[0]))
    return same


def calling(value):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return lambda x: jnp.sum(x) + jax.pure_callback(lambda: np.float32(value), shape)


@pytest.mark.parametrize(
    ("make", "one", "other"),
    [
        (scaled, 1.0, 2.0),
        (scaled, jnp.array([1.0, 2.0]), jnp.array([5.0, 7.0])),
        (bent, 2.0, -2.0),
        (looped, 1.0, 2.0),
        (watching, 1.0, 2.0),
        (straight_through, 1.0, 5.0),
        (calling, 1.0, 2.0),
    ],
    ids=[
        "number-in-a-rule",
        "array-in-a-rule",
        "second-derivative",
        "rule-in-a-loop",
        "symbolic-zeros",
        "rule-of-a-rule",
        "callback",
    ],
)
def test_functions_whose_difference_does_not_show_are_not_confused(make, one, other):
    from jaxopt_notes._hoist import hoist

    assert hoist(make(one), jnp.ones(2))[0] != hoist(make(other), jnp.ones(2))[0]
    if make is not calling:
        assert hoist(make(other), jnp.ones(2))[0] == hoist(make(other), jnp.ones(2))[0]


def test_each_loss_runs_its_own_derivative():
    for factor in ([1.0, 2.0], [5.0, 7.0]):
        run = jon.minimize(scaled(jnp.array(factor)), jnp.ones(2), jon.gradient_descent(0.1), steps=1)
        np.testing.assert_allclose(run.params, 1 - 0.1 * np.array(factor), rtol=1e-6)
    factors = jnp.array([[1.0, 2.0], [5.0, 7.0]])
    for _ in range(2):
        runs = jax.vmap(lambda f: jon.minimize(scaled(f), jnp.ones(2), jon.gradient_descent(0.1), steps=1))(factors)
        np.testing.assert_allclose(runs.params, 1 - 0.1 * factors, rtol=1e-6)
    points = [jon.classify(bent(factor), jnp.zeros(2)) for factor in (2.0, -2.0)]
    assert [np.sign(point.eigenvalues).tolist() for point in points] == [[1, 1], [-1, -1]]
    # Derivatives that are not those of the loss are seen for what they are.
    assert [point.kind_name for point in points] == ["minimum", "undecided"]


def test_the_final_loss_has_its_own_derivative_where_an_optimizer_holds_a_traced_number():
    def slope(factor):
        own, data = scaled(jnp.array([factor, factor])), jnp.arange(8.0)
        loss = lambda x, batch: own(x) * jnp.mean(batch)
        given = dict(steps=3, data=data, minibatches=jon.minibatches.reshuffle(4), key=jax.random.key(0))
        return jax.grad(lambda rate: jon.minimize(loss, jnp.ones(2), optax.sgd(rate), **given).final_loss)(0.01)

    # The factor of the steps times that of the end.
    assert float(slope(2.0)) == pytest.approx(4 * float(slope(1.0)), rel=1e-5)


def test_minibatches_without_jit():
    given = dict(steps=6, data=jnp.arange(8.0), minibatches=jon.minibatches.reshuffle(4), key=jax.random.key(0))
    run = lambda: jon.minimize(lambda x, batch: jnp.mean((x - batch) ** 2), 0.0, jon.gradient_descent(0.1), **given)
    with jax.disable_jit():
        eager = run()
    np.testing.assert_allclose(eager.loss, run().loss, rtol=1e-6)


def test_random_keys_held_by_nested_jits_are_told_apart():
    from jaxopt_notes._hoist import hoist

    def noisy(seed):
        key = jax.random.key(seed)
        inner = jax.jit(lambda x: x + jax.random.normal(key))
        return lambda x: jax.lax.scan(lambda c, _: (inner(c), None), x[0], None, length=2)[0]

    assert hoist(noisy(1), jnp.ones(2))[0] != hoist(noisy(2), jnp.ones(2))[0]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    "optimizer", [jon.adam(0.1), optax.adam(jnp.float32(0.1)), optax.sgd(jnp.float32(0.1), momentum=0.5)]
)
def test_narrow_parameters_keep_their_type_through_the_loop(dtype, optimizer):
    with jax.numpy_dtype_promotion("standard"):
        run = jon.minimize(lambda x: jnp.sum(x**2), jnp.ones(3, dtype), optimizer, steps=20)
    assert run.params.dtype == dtype
    assert float(run.final_loss) < 0.5


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
        optax.MultiSteps(optax.sgd(0.3), every_k_schedule=2).gradient_transformation(),
        optax.masked(jon.momentum(0.1), {"w": True, "b": True}),
        optax.multi_transform({"fast": jon.adam(0.1), "slow": jon.momentum(0.02)}, {"w": "fast", "b": "slow"}),
        optax.multi_transform({"fast": jon.adam(0.1), "slow": jon.momentum(0.02)}, {"w": "fast", "b": "fast"}),
        optax.chain(optax.clip_by_global_norm(1.0), jon.nesterov(0.1)),
    ],
    ids=["inject", "multi-steps", "masked", "multi-transform", "an-empty-group", "chain"],
)
def test_optax_wrappers_work_in_the_loop_and_around_our_pairs(optimizer):
    params = {"w": jnp.ones(3), "b": jnp.float32(2.0)}
    with jax.numpy_dtype_promotion("standard"):
        run = jon.minimize(lambda p: jnp.sum(p["w"] ** 2) + p["b"] ** 2, params, optimizer, steps=300)
    assert float(run.final_loss) < 1e-3


def test_minibatches_visit_every_example_once_an_epoch_in_an_order_of_their_own():
    key = jax.random.key(3)
    rows = indices(reshuffle(4), key, 0, 9, examples=14)  # three steps an epoch, two examples left out
    assert rows.shape == (9, 4)
    epochs = [set(rows[i : i + 3].ravel().tolist()) for i in (0, 3, 6)]
    assert all(len(epoch) == 12 for epoch in epochs)
    assert not np.array_equal(rows[:3], rows[3:6])
    for first in (1, 5):
        np.testing.assert_array_equal(indices(reshuffle(4), key, first, 4, examples=14), rows[first : first + 4])


@pytest.mark.parametrize("every", [1, 3, 15], ids=["many-entries-a-window", "few", "many-windows-an-entry"])
def test_batches_drawn_window_by_window_are_those_drawn_at_once(every, monkeypatch):
    """Seven batches an epoch and windows of one epoch, so entries, epochs and windows end at different steps."""
    data = jnp.arange(15.0)
    given = dict(data=data, minibatches=jon.minibatches.reshuffle(2), key=jax.random.key(3), every=every)

    def runs(metrics):  # others make another program
        loss, optimizer = lambda x, batch: jnp.mean((x - batch) ** 2), jon.gradient_descent(0.1)
        whole = jon.minimize(loss, 0.0, optimizer, steps=45, metrics=metrics, **given)
        return whole, jon.minimize_until(loss, 0.0, optimizer, max_steps=45, patience=1000, metrics=metrics, **given)

    at_once = runs(lambda x: 2 * x)
    monkeypatch.setattr(program, "INDICES", 0)
    monkeypatch.setattr(program, "EPOCHS", 1)
    drawn = []
    indices = program.indices
    monkeypatch.setattr(program, "indices", lambda *given: drawn.append(given[3]) or indices(*given))
    windows = runs(lambda x: x + x)
    assert max(drawn) <= 8
    for one, other in zip(at_once, windows, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_of_another_length_compiles_its_loop_and_no_shuffling():
    data, loss = jnp.arange(17.0), lambda x, batch: jnp.mean((x - batch) ** 2)
    given = dict(data=data, minibatches=jon.minibatches.reshuffle(3), key=jax.random.key(1))
    run = lambda steps: jon.minimize(loss, 0.0, jon.gradient_descent(0.1), steps=steps, **given)
    run(20)
    with compiled_programs() as compiled:
        alone = run(23)
    assert [name for name in compiled if "_minimize" not in name] == []
    inside = jax.jit(lambda: run(23))()  # there the program draws them itself
    np.testing.assert_array_equal(alone.loss, inside.loss)


def test_indices_of_many_steps_are_never_held_together():
    data = jnp.ones(1000)
    options = dict(data=data, minibatches=jon.minibatches.reshuffle(100), key=jax.random.key(0), every=10**6)
    with pytest.MonkeyPatch.context() as patch:
        sizes = []
        patch.setattr(
            program.PerProgram,
            "__call__",
            lambda self, *parts: sizes.append(bytes_needed(self.lower(*parts).compile()).between),
        )
        jon.minimize(lambda x, b: jnp.mean((x - b) ** 2), 0.0, jon.adam(0.1), steps=10**6, **options)
    assert sizes[0] < 2 * 10**8  # all at once are 4 * 10^8 bytes, and several copies of them


def test_the_words_of_a_run_that_cannot_move():
    """At a rate of 0, and past the end of a schedule, which also warns where the schedule is known."""
    bowl, start = lambda x: jnp.sum((x - 3) ** 2), jnp.zeros(2)
    still = jon.minimize(bowl, start, optax.sgd(0.0), steps=5)
    assert Status(int(still.status)) is Status.STUCK
    tx = jon.adam(jon.schedules.cosine(0.1, steps=10))
    first = jon.minimize(bowl, start, tx, steps=10)
    assert Status(int(first.status)) is Status.COMPLETED
    with pytest.warns(UserWarning, match="ended at step 10: every step of this run has its last value, 0"):
        more = jon.minimize(bowl, first.params, tx, state=first.state, steps=10)
    assert Status(int(more.status)) is Status.STUCK
    assert "past the end of a schedule" in more.status_text
    assert Status(int(jon.minimize(bowl, jnp.full(2, 3.0), tx, steps=5).status)) is Status.COMPLETED  # nothing to gain


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (jon.schedules.polynomial(0.1, 0.01, 20), 20),
        (jon.schedules.warmup(jon.schedules.cosine(0.1, 30), 5), 35),
        (jon.schedules.join([0.1, jon.schedules.cosine(0.1, 30)], [7]), 37),
        (jon.schedules.warmup(0.1, 5), None),
        (jon.schedules.step_decay(0.1, 0.5, 10), None),
        (jon.schedules.join([jon.schedules.cosine(0.1, 7), 0.01], [7]), None),
        (optax.linear_schedule(0.1, 0.0, 5), None),
        (0.1, None),
    ],
)
def test_the_end_of_a_schedule(schedule, end):
    from jaxopt_notes.schedules import end_of

    assert end_of(schedule) == end
    if end is not None:
        after = [float(schedule(step)) for step in (end - 1, end, end + 50)]
        assert after[0] != after[1] == after[2]


def test_streams_shuffle_once_or_draw_with_replacement():
    key = jax.random.key(0)
    once = indices(shuffle_once(4), key, 0, 9, examples=14)
    np.testing.assert_array_equal(once[:3], once[3:6])
    assert len(set(once.ravel().tolist())) == 12
    drawn = indices(random(10), key, 0, 1000, examples=100)  # 100 epochs of 100 draws
    seen = [len(set(epoch.ravel().tolist())) for epoch in np.asarray(drawn).reshape(100, 100)]
    assert abs(np.mean(seen) - 100 * (1 - 0.99**100)) < 4 * np.std(seen) / 10
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=100)
    assert np.sum((counts - 100) ** 2 / 100) < 180  # chi squared with 99 degrees of freedom, far beyond its 99.99 %
    np.testing.assert_array_equal(indices(random(10), key, 37, 5, examples=100), drawn[37:42])


def test_minibatch_runs_follow_a_plain_loop():
    problem = jon.problems.digits_mlp(hidden=8)
    params, key = problem.init(jax.random.key(0)), jax.random.key(1)
    run = jon.minimize(
        problem.loss,
        params,
        jon.momentum(0.1),
        steps=20,
        data=problem.data,
        minibatches=reshuffle(64),
        key=key,
        baseline=problem.baseline,
    )
    rows = indices(reshuffle(64), key, 0, 21, problem.examples)
    velocity, losses = jax.tree.map(jnp.zeros_like, params), []
    for k in range(21):
        batch = jax.tree.map(lambda leaf, k=k: leaf[rows[k]], problem.data)
        loss, grads = jax.value_and_grad(problem.loss)(params, batch)
        losses.append(loss)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
        params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity) if k < 20 else params
    np.testing.assert_allclose(run.loss, losses, rtol=2e-5)
    np.testing.assert_allclose(run.final_loss, problem.full_loss(run.params), rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), run.params, params)


def test_minimize_runs_inside_a_jit_and_a_vmap_of_the_user():
    problem = jon.problems.digits_mlp(hidden=4)
    params = problem.init(jax.random.key(0))

    def final_loss(rate):
        run = jon.minimize(
            problem.loss,
            params,
            jon.momentum(rate),
            steps=4,
            data=problem.data,
            minibatches=reshuffle(64),
            key=jax.random.key(1),
            tol=1e-6,
            baseline=problem.baseline,
        )
        return run.final_loss

    rates = jnp.array([0.01, 0.1])
    expected = [final_loss(float(rate)) for rate in rates]
    np.testing.assert_allclose(jax.jit(jax.vmap(final_loss))(rates), expected, rtol=1e-5)


def quadratic_loss(x, batch=None):
    return jnp.sum(x**2)


DATA = jnp.ones((6, 2))
BAD = [
    (dict(steps=0), ValueError, r"steps must be an integer of at least 1, got 0"),
    (dict(steps=2.5), TypeError, r"steps must be an integer.*got 2.5"),
    (dict(every=3), ValueError, r"every must divide steps=10, got 3; the nearest that does is 2"),
    (dict(tol=jnp.ones(2)), TypeError, r"tol must be one number, got shape \(2,\)"),
    (dict(baseline="x"), TypeError, r"baseline must be a real number"),
    (
        dict(data=DATA, minibatches=reshuffle(2), key=0),
        TypeError,
        "key must be one random key, for example jax.random.key",
    ),
    (dict(tol=-1.0), ValueError, r"tol must be in \[0, inf\), got -1"),
    (dict(loss=lambda x: x), TypeError, r"must return a scalar, got shape \(2,\)"),
    (dict(loss=lambda x: (jnp.sum(x), x)), TypeError, r"must return one scalar"),
    (dict(loss=lambda x: jnp.int32(3)), TypeError, r"must return a real floating number, got dtype int32"),
    (dict(params={"w": jnp.arange(3)}), TypeError, r"params\['w'\] has dtype int32; gradients need"),
    (dict(params={}), TypeError, r"params must hold at least one array"),
    (dict(params={"w": "x"}), TypeError, r"params\['w'\] must be an array of floats, got str"),
    (
        dict(optimizer=jon.momentum),
        TypeError,
        r"optimizer must be an \(init, update\) pair.*call it first, as in momentum\(0.1\)",
    ),
    (dict(minibatches=reshuffle(2)), ValueError, "minibatches needs data"),
    (dict(data=DATA, minibatches=reshuffle(2)), ValueError, "minibatches needs a key"),
    (
        dict(data=DATA, minibatches=reshuffle(7), key=jax.random.key(0)),
        ValueError,
        "batch_size must be at most the number of examples, 6; got 7",
    ),
    (dict(data=DATA, minibatches=2, key=jax.random.key(0)), TypeError, "minibatches must be a stream such as"),
    (dict(data=DATA.at[1].set(jnp.nan)), ValueError, "data holds 2 non-finite values of 12"),
    (dict(data=(DATA, DATA[:3])), ValueError, "every leaf of data needs the same leading length"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), BAD, ids=[next(reversed(bad[0])) + str(i) for i, bad in enumerate(BAD)]
)
def test_bad_input_is_named_before_compiling(change, error, message):
    arguments = dict(loss=quadratic_loss, params=START, optimizer=jon.gradient_descent(0.1), steps=10) | change
    with pytest.raises(error, match=message):
        jon.minimize(arguments.pop("loss"), arguments.pop("params"), arguments.pop("optimizer"), **arguments)
