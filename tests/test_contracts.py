"""What every optimizer of the registry keeps."""

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import OPTIMIZER_CASES, follow, params, recorded_gradients

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import bytes_needed
from jaxopt_notes.minimize import derivatives_of
from jaxopt_notes.optimizers import RULES

every_optimizer = pytest.mark.parametrize("case", OPTIMIZER_CASES, ids=str)


def assert_trees_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def assert_trees_equal(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_every_registered_optimizer_has_a_case():
    second_order = {rule.name for rule in RULES.values() if rule.uses_loss}  # tests/test_second_order.py
    assert {case.name for case in OPTIMIZER_CASES} == set(jon.OPTIMIZERS) - second_order


@every_optimizer
def test_is_a_pure_pair_with_one_state_structure(case):
    optimizer = case.factory(**case.first())
    assert isinstance(optimizer, optax.GradientTransformation)
    start, grads = params(), jax.tree.map(lambda g: g[0], recorded_gradients(1))
    state = optimizer.init(start)
    updates, after = optimizer.update(grads, state, start)
    again, _ = optimizer.update(grads, state, start)
    assert_trees_equal(updates, again)
    assert jax.tree.structure(updates) == jax.tree.structure(start)
    other = case.factory(**{name: values[1] for name, values in case.numbers.items()}).init(start)
    assert jax.tree.structure(state) == jax.tree.structure(after) == jax.tree.structure(other)
    assert state._fields[0] == "count"
    assert int(after.count) == 1


@every_optimizer
def test_agrees_with_optax_on_the_same_gradients(case, x64):
    gradients, start = recorded_gradients(100, jnp.float64), params(jnp.float64)
    if case.complex:
        turned = jax.lax.complex(gradients["kernel"], jnp.flip(gradients["kernel"]))
        gradients, start = {**gradients, "complex": turned}, {**start, "complex": jnp.ones_like(turned[0])}
    for which in (0, 1):
        numbers = {name: values[which] for name, values in case.numbers.items()}
        with jax.numpy_dtype_promotion("standard"):
            expected = follow(case.reference(**numbers), gradients, start)
            actual = follow(case.factory(**numbers), gradients, start)
        assert_trees_close(actual, expected, rtol=1e-12, atol=1e-300)


@every_optimizer
def test_vmap_over_every_number_is_the_python_loop(case):
    gradients, start = recorded_gradients(30), params()
    values = np.array(np.meshgrid(*case.numbers.values(), indexing="ij")).reshape(len(case.numbers), -1)
    grid = {name: jnp.asarray(column, jnp.float32) for name, column in zip(case.numbers, values, strict=True)}
    together = jax.jit(jax.vmap(lambda numbers: follow(case.factory(**numbers), gradients, start)))(grid)
    one_by_one = jax.jit(lambda numbers: follow(case.factory(**numbers), gradients, start))
    for lane in range(values.shape[1]):
        alone = one_by_one({name: column[lane] for name, column in grid.items()})
        lane_alone = jax.tree.map(lambda leaf, lane=lane: leaf[lane], together)
        assert_trees_close(lane_alone, alone, rtol=2e-6, atol=1e-7 * float(optax.tree.norm(alone)))


@every_optimizer
def test_a_python_float_gives_the_bits_of_the_traced_number_on_arrays(case):
    gradients, start = recorded_gradients(30), params()
    numbers = case.first()
    constant = jax.jit(lambda: follow(case.factory(**numbers), gradients, start))()
    traced = jax.jit(lambda numbers: follow(case.factory(**numbers), gradients, start))(
        {name: jnp.float32(value) for name, value in numbers.items()}
    )
    for one, other in zip(jax.tree.leaves(constant), jax.tree.leaves(traced), strict=True):
        if one.ndim > 1 and not case.label:
            np.testing.assert_array_equal(one, other)
        else:  # XLA fuses a single number per step, and some variants, differently when nothing else is an argument
            np.testing.assert_allclose(one, other, rtol=1e-5)


@every_optimizer
def test_jit_is_eager(case):
    gradients, start = recorded_gradients(5), params()
    optimizer = case.factory(**case.first())
    state = eager = optimizer.init(start)
    for step in range(5):
        grads = jax.tree.map(lambda g, step=step: g[step], gradients)
        expected, eager = optimizer.update(grads, eager, start)
        updates, state = jax.jit(optimizer.update)(grads, state, start)
        # Eager rounds after every operation, so entries that nearly cancel differ by the rounding of what cancelled.
        assert_trees_close(updates, expected, rtol=2e-6, atol=1e-6 * float(optax.tree.norm(expected)))


@every_optimizer
def test_an_optimizer_is_an_argument_of_a_compiled_program(case):
    """A second call, or another learning rate, does not compile again; `vmap` of the factory makes a batch of them."""
    traces = []

    @jax.jit
    def first_update(optimizer, grads):
        traces.append(1)
        return optimizer.update(grads, optimizer.init(grads), grads)[0]

    grads = params()
    once = first_update(case.factory(**case.first()), grads)
    twice_rate = 2 * case.first()["learning_rate"]
    twice = first_update(case.factory(**{**case.first(), "learning_rate": twice_rate}), grads)
    assert len(traces) == 1
    assert_trees_close(twice, jax.tree.map(lambda u: 2 * u, once), rtol=1e-6)
    rates = jnp.array([0.1, twice_rate], jnp.float32)
    batch = jax.vmap(lambda rate: case.factory(**{**case.first(), "learning_rate": rate}))(rates)
    both = jax.vmap(first_update.__wrapped__, in_axes=(0, None))(batch, grads)
    assert_trees_close(jax.tree.map(lambda u: u[1], both), twice, rtol=1e-6)


@every_optimizer
def test_an_optimizer_can_be_pickled_and_is_the_same_program(case):
    optimizer = case.factory(**case.first())
    again = pickle.loads(pickle.dumps(optimizer))
    assert jax.tree.structure(again) == jax.tree.structure(optimizer)
    assert jax.tree.leaves(again) == jax.tree.leaves(optimizer)


@every_optimizer
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64])
def test_dtypes_are_kept_and_state_is_wide(case, dtype):
    start = {"w": jnp.asarray([1.0, -2.0, 0.0], dtype)}
    optimizer = case.factory(**case.first())
    with jax.numpy_dtype_promotion("standard" if dtype == jnp.complex64 else "strict"):
        updates, state = optimizer.update(start, optimizer.init(start), start)
        _, again = optimizer.update(start, state, start)
    assert updates["w"].dtype == dtype
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, again)
    for leaf in jax.tree.leaves(state[1:]):
        assert leaf.dtype in (jnp.float32, jnp.complex64)


@every_optimizer
def test_optax_finds_the_parameters_in_a_state_and_trees_may_be_empty(case):
    """`tree_map_params`, as for sharding, sees a slot that stays away as such."""
    optimizer, start = case.factory(**case.first()), {"a": jnp.ones(2), "b": (jnp.ones(3),)}
    specs, state = {"a": "rows", "b": ("columns",)}, optimizer.init(start)
    found = optax.tree_utils.tree_map_params(optimizer, lambda _, spec: spec, state, specs)
    assert found[1:] == tuple(None if slot is None else specs for slot in state[1:])
    _, after = optimizer.update((), optimizer.init(()), ())
    assert jax.tree.structure(after) == jax.tree.structure(optimizer.init(()))


@every_optimizer
def test_an_exactly_zero_gradient_moves_nothing(case):
    start = params(jnp.float16)
    optimizer = case.factory(**{**case.first(), **({"eps": 0.0} if "eps" in case.numbers else {})})
    start = jax.tree.map(jnp.zeros_like, start)  # so that weight decay has nothing to pull either
    updates, state = optimizer.update(start, optimizer.init(start), start)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@every_optimizer
def test_schedules_and_chains_work(case):
    rate = case.first()["learning_rate"]
    numbers = {**case.first(), "learning_rate": lambda count: rate / (1 + count.astype(jnp.float32))}
    grads = params()
    scheduled = optax.chain(optax.clip_by_global_norm(0.5), case.factory(**numbers))
    constant = optax.chain(optax.clip_by_global_norm(0.5), case.factory(**case.first()))
    states = scheduled.init(grads), constant.init(grads)
    for step in range(3):
        fast, first = scheduled.update(grads, states[0], grads)
        slow, second = constant.update(grads, states[1], grads)
        states = first, second
        assert_trees_close(fast, jax.tree.map(lambda u, step=step: u / (1 + step), slow), rtol=1e-5)


@every_optimizer
@pytest.mark.parametrize("value", [jnp.nan, -0.1, jnp.inf])
def test_a_bad_number_is_named(case, value):
    for name in case.numbers:
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, .*got {value:g}"):
            case.factory(**{**case.first(), name: value})


@every_optimizer
def test_a_vector_or_a_function_in_place_of_a_number_is_refused(case):
    for name in case.numbers:
        with pytest.raises(TypeError, match=f"{name} must be one number, got shape"):
            case.factory(**{**case.first(), name: jnp.ones(3)})
        if name != "learning_rate":
            with pytest.raises(TypeError, match=f"{name} must be a number, got the function"):
                case.factory(**{**case.first(), name: lambda count: 0.1})


LOW, HIGH = (jax.tree.map(partial(jnp.full_like, fill_value=end), params()) for end in (-1, 1))
PAIRS = {name: factory(0.1) for name, factory in jon.OPTIMIZERS.items()} | {
    "rmsprop-all-slots": jon.rmsprop(0.1, beta=0.9, centered=True),
    "scheduled": jon.adam(jon.schedules.cosine(0.1, steps=10)),
    "ewma": jon.ewma(0.9),
    "average_params": jon.average_params(jon.adam(0.1)),
    "project": jon.project(jon.adam(0.1), optax.projections.projection_box, lower=LOW, upper=HIGH),
    "stochastic_rounding": jon.stochastic_rounding(jon.adam(0.1), jax.random.key(0)),
}
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


@every_pair
def test_update_takes_the_extra_arguments_of_optax(pair):
    loss = lambda tree: sum(jnp.sum((leaf - 0.3) ** 4) for leaf in jax.tree.leaves(tree))
    start = params()
    grads = jax.grad(loss)(start)
    assert optax.with_extra_args_support(pair) is pair
    alone = {"value_fn": loss} if isinstance(pair.init(start), jon.optimizers.NewtonState) else {}
    expected, _ = pair.update(grads, pair.init(start), start, **alone)
    extra = {"value": loss(start), "grad": grads, "value_fn": loss, "nobody_asked_for_this": 1}
    updates, _ = pair.update(grads, pair.init(start), start, **extra)
    assert_trees_equal(updates, expected)
    chained = optax.chain(pair, optax.contrib.reduce_on_plateau())  # which needs the value
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = chained.update(grads, chained.init(start), start, **extra)
    assert_trees_equal(updates, expected)


@every_pair
def test_abstract_parameters_have_the_state_that_eval_shape_finds(pair):
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), params())
    found, expected = pair.init(shapes), jax.eval_shape(pair.init, shapes)
    shape_and_type = lambda leaf: (leaf.shape, leaf.dtype)
    assert jax.tree.map(shape_and_type, found) == jax.tree.map(shape_and_type, expected)


def test_only_newton_differentiates_the_loss_once_more():
    """What a loss with custom derivatives costs to trace; see `hoist`."""
    twice = {name for name, factory in jon.OPTIMIZERS.items() if derivatives_of(factory(0.1)) == 2}
    assert twice == {"newton", "saddle_free_newton"}


@pytest.mark.parametrize(("decay", "bound"), [(0.9, 3e-7), (0.99, 3e-7), (0.999, 3e-7), (0.9999, 4e-7)])
def test_bias_correction_is_accurate_in_float32(decay, bound):
    from jaxopt_notes.wrappers.averaging import bias_correction

    counts = np.arange(1, 2000)
    exact = -np.expm1(counts * np.log(float(np.float32(decay))))
    ours = jax.vmap(lambda count: bias_correction(jnp.float32(decay), count))(jnp.asarray(counts, jnp.float32))
    np.testing.assert_allclose(ours, exact, rtol=bound)


@pytest.mark.parametrize("method", ["adam", "adamw"])
def test_the_two_forms_of_amsgrad(method, x64):
    """Against a loop in NumPy: torch and keras take the largest average before its correction, optax after it."""
    gradients, b1, b2 = (
        np.random.default_rng(0).standard_normal((30, 4)) * np.exp(-np.arange(30) / 6)[:, None],
        0.8,
        0.9,
    )
    decay = {"weight_decay": 0.1} if method == "adamw" else {}
    start = np.linspace(-1.0, 1.0, 4)
    found = {
        form: follow(jon.OPTIMIZERS[method](0.1, b1, b2, amsgrad=form, **decay), jnp.asarray(gradients), start)
        for form in (False, True, "corrected")
    }
    mean, square, largest, largest_corrected = (np.zeros(4) for _ in range(4))
    for t, g in enumerate(gradients, 1):
        mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g**2
        largest = np.maximum(largest, square)
        largest_corrected = np.maximum(largest_corrected, square / (1 - b2**t))
        squares = {False: square / (1 - b2**t), True: largest / (1 - b2**t), "corrected": largest_corrected}
        for form, each in squares.items():
            step = mean / (1 - b1**t) / (np.sqrt(each) + 1e-8) + decay.get("weight_decay", 0) * start
            np.testing.assert_allclose(found[form][t - 1], -0.1 * step, rtol=1e-10)
    assert np.abs(found[True] - found["corrected"]).max() > 1e-3
    with pytest.raises(ValueError, match=r"amsgrad must be False, True .* or 'corrected'"):
        jon.OPTIMIZERS[method](0.1, amsgrad="torch")


def test_adans_decay_is_a_proximal_step():
    optimizer, start = jon.adan(0.1, weight_decay=5.0), jnp.array([3.0])
    updates, _ = optimizer.update(jnp.zeros(1), optimizer.init(start), start)
    np.testing.assert_allclose(start + updates, start / (1 + 0.1 * 5.0), rtol=1e-6)


def test_the_first_adam_step_is_the_learning_rate():
    updates, _ = jon.adam(0.1).update(jnp.array([3.0, -1e-4]), jon.adam(0.1).init(jnp.zeros(2)))
    np.testing.assert_allclose(updates, [-0.1, 0.1], rtol=1e-4)


@pytest.mark.parametrize(("count", "expected"), [(1, -1.0), (2, 0.0), (3, 0.0)])
def test_bias_correction_has_its_derivative_at_zero(count, expected):
    from jaxopt_notes.wrappers.averaging import bias_correction

    assert float(jax.grad(bias_correction)(jnp.float32(0), jnp.float32(count))) == expected


@pytest.mark.parametrize(("name", "arrays"), [("adam", 0), ("momentum", 0), ("adadelta", 1)])
def test_a_step_with_donated_buffers_works_in_place(name, arrays):
    """Beside parameters, state and gradients a step holds no array of the parameters' size; Adadelta one."""
    optimizer, start = jon.OPTIMIZERS[name](0.1), {"w": jnp.ones((512, 256)), "b": jnp.ones(256)}

    def step(start, state, grads):
        updates, state = optimizer.update(grads, state, start)
        return optax.apply_updates(start, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(start, optimizer.init(start), start).compile()
    sizes, one = bytes_needed(compiled), start["w"].nbytes
    small = one // 10
    assert sizes.between < arrays * one + small
    assert sizes.results < small
