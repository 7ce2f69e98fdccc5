"""Wrong use of an optimizer raises before anything is compiled, and says what, where and what to do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import OPTIMIZER_CASES

import jaxopt_notes as jon

every_optimizer = pytest.mark.parametrize(
    "case", OPTIMIZER_CASES, ids=lambda case: "-".join(filter(None, (case.name, case.label)))
)
PARAMS = {"a": jnp.ones(3), "b": (jnp.ones((2, 2)), jnp.float32(1.0))}

MISFITS = {
    "missing": ({"a": jnp.ones(3)}, r"grads has nothing at ['b'][0] and {other}['b'][0] has shape (2, 2)"),
    "extra": ({**PARAMS, "c": jnp.ones(5)}, r"grads['c'] has shape (5,) and {other} has nothing at ['c']"),
    "shape": (
        {"a": jnp.ones(3), "b": (jnp.ones((2, 3)), jnp.float32(1.0))},
        r"grads['b'][0] has shape (2, 3) and {other}['b'][0] has shape (2, 2)",
    ),
    "broadcasting shape": (
        {"a": jnp.ones(1), "b": (jnp.ones((2, 2)), jnp.float32(1.0))},
        r"grads['a'] has shape (1,) and {other}['a'] has shape (3,)",
    ),
    "subtree for an array": (
        {"a": jnp.ones(3), "b": (jnp.ones((2, 2)), [jnp.float32(1.0)])},
        r"grads['b'][1][0] has shape () and {other} has nothing at ['b'][1][0]",
    ),
    "array for a subtree": (
        {"a": jnp.ones(3), "b": jnp.ones((2, 2))},
        r"grads['b'] has shape (2, 2) and {other} has nothing at ['b']",
    ),
    "another container": ({"a": jnp.ones(3), "b": list(PARAMS["b"])}, "grads and {other} must have one structure, got"),
}


@every_optimizer
@pytest.mark.parametrize("name", MISFITS)
def test_gradients_that_do_not_fit_are_named_with_both_sides(case, name):
    grads, message = MISFITS[name]
    optimizer = case.factory(**case.first())
    state = optimizer.init(PARAMS)
    assert all(slot is not None for slot in state[1:2])
    other = f"state.{state._fields[1]}" if len(state) > 1 else "params"
    for update in (optimizer.update, jax.jit(optimizer.update)):
        with pytest.raises(ValueError, match=re.escape(message.format(other=other))):
            update(grads, state, PARAMS)


@every_optimizer
def test_parameters_that_do_not_fit_the_gradients_are_named(case):
    optimizer = case.factory(**case.first())
    with pytest.raises(ValueError, match=re.escape("grads['a'] has shape (3,) and params['a'] has shape (1,)")):
        optimizer.update(PARAMS, optimizer.init(PARAMS), {**PARAMS, "a": jnp.ones(1)})


@every_optimizer
def test_a_state_of_another_method_is_refused(case):
    optimizer = case.factory(**case.first())
    expected = type(optimizer.init(PARAMS)).__name__
    with pytest.raises(TypeError, match=f"state must be the {expected} that init and update give, got tuple"):
        optimizer.update(PARAMS, optax.adam(0.1).init(PARAMS), PARAMS)


@every_optimizer
@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (jnp.arange(3), "has dtype int32; gradients need floating or complex numbers: cast it"),
        (jnp.ones(3, bool), "has dtype bool; gradients need floating or complex numbers: cast it"),
        ("x", "must be an array of floats, got str"),
    ],
)
def test_parameters_and_gradients_without_derivatives_are_named(case, leaf, message):
    optimizer = case.factory(**case.first())
    tree = {"a": jnp.ones(3), "b": (leaf, jnp.float32(1.0))}
    with pytest.raises(TypeError, match=re.escape(f"params['b'][0] {message}")):
        optimizer.init(tree)
    with pytest.raises(TypeError, match=re.escape(f"grads['b'][0] {message}")):
        optimizer.update(tree, optimizer.init(PARAMS), PARAMS)


@pytest.mark.parametrize("factory", [jon.newton, jon.saddle_free_newton])
def test_newtons_methods_check_their_trees_too(factory):
    with pytest.raises(TypeError, match=r"params\['a'\] has dtype int32"):
        factory().init({"a": jnp.arange(3)})
    state = factory().init({"a": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"grads\['a'\] has shape \(3,\) and params\['a'\] has shape \(2,\)"):
        factory().update({"a": jnp.ones(3)}, state, {"a": jnp.ones(2)}, value_fn=lambda p: jnp.sum(p["a"]))


NO_SCHEDULES = {
    "uncalled": (jon.schedules.cosine, r"takes (initial, steps, final): call it first: schedules.cosine(...)"),
    "uncalled of one number": (jon.schedules.constant, "gives a function: call it first: schedules.constant(...)"),
    "uncalled with defaults": (jon.schedules.inverse_sqrt, "call it first: schedules.inverse_sqrt(...)"),
    "optax, uncalled": (optax.cosine_decay_schedule, "call it first: cosine_decay_schedule(...)"),
    "optax of one number": (optax.constant_schedule, "call it first: constant_schedule(...)"),
    "class": (dict, "got the class dict: call it first"),
    "optimizer factory": (jon.gradient_descent, "gives Optimizer"),
    "optimizer": (jon.gradient_descent(0.1), "got an optimizer, an (init, update) pair"),
    "two arguments": (lambda step, total: step / total, "<lambda> takes (step, total)"),
    "vector": (lambda step: jnp.ones(3), "<lambda> gives float32 of shape (3,)"),
    "vector of ours": (jon.schedules.constant(np.ones(3)), "gives float32 of shape (3,)"),
    "complex": (lambda step: 1j, "<lambda> gives complex64 of shape ()"),
    "nothing": (lambda step: None, "<lambda> gives NoneType"),
    "text": ("0.1", "learning_rate must be a real number in [0, inf), got '0.1' of type str"),
    "missing": (None, "learning_rate must be a real number in [0, inf), got None"),
}


@pytest.mark.parametrize("name", NO_SCHEDULES)
@pytest.mark.parametrize("factory", jon.OPTIMIZERS.values())
def test_what_is_no_learning_rate_is_refused_by_the_factory(factory, name):
    value, message = NO_SCHEDULES[name]
    with pytest.raises(TypeError, match=re.escape(message)):
        factory(value)


@pytest.mark.parametrize("name", ["uncalled", "class", "vector"])
def test_schedules_of_schedules_check_their_parts(name):
    value, message = NO_SCHEDULES[name]
    with pytest.raises(TypeError, match=re.escape(message)):
        jon.schedules.warmup(value, 10)
    with pytest.raises(TypeError, match=r"schedules\[1\] must be a number or a schedule.*" + re.escape(message)):
        jon.schedules.join([0.1, value], [10])


def test_what_is_a_schedule_is_taken():
    eager = jon.gradient_descent(lambda step: 0.1 if step < 10 else 0.01)  # needs the step's value, so not under jit
    updates, _ = eager.update(jnp.ones(2), eager.init(jnp.ones(2)))
    np.testing.assert_allclose(updates, -0.1, rtol=1e-6)
    for rate in (lambda step: 1, lambda step, scale=0.1: scale, optax.linear_schedule(0.1, 0.0, 10)):
        jon.gradient_descent(rate)
    jax.jit(lambda number: jon.adam(jon.schedules.cosine(number, 10)).init(PARAMS))(0.1)


@every_optimizer
def test_other_numbers_take_no_schedule_and_no_optimizer(case):
    for name in set(case.numbers) - {"learning_rate"}:
        for value, what in (
            (jon.schedules.constant(0.1), "a schedule; only learning_rate takes a schedule"),
            (jon.schedules.cosine, "the function 'cosine'; only learning_rate takes a schedule"),
            (jon.adam(0.1), "an optimizer"),
        ):
            with pytest.raises(TypeError, match=f"{name} must be a number, got {what}"):
                case.factory(**{**case.first(), name: value})


@every_optimizer
def test_a_decay_that_the_precision_rounds_to_one_is_refused(case):
    decays = {"beta", "rho", "decay_rate", "b1", "b2"} & set(case.numbers)
    for name in decays:
        number = {**case.first(), name: 0.99999999}
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\), got 0.99999999, which float32 rounds to 1"):
            case.factory(**number)
        with jax.enable_x64(True):
            case.factory(**number)
    near = {**case.first(), **dict.fromkeys(decays, 0.99999994)}
    updates, _ = case.factory(**near).update(PARAMS, case.factory(**near).init(PARAMS), PARAMS)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(updates))


@every_optimizer
def test_of_a_traced_number_type_and_shape_are_checked_and_the_value_is_used(case):
    for name in case.numbers:
        for value, error in ((True, "got a traced bool"), (1j, "got a traced complex64"), (jnp.ones(3), "got shape")):
            with pytest.raises(TypeError, match=f"{name} must be .*{error}"):
                jax.eval_shape(lambda v, name=name: case.factory(**{**case.first(), name: v}).init(PARAMS), value)
    climbing = jax.jit(
        lambda rate: case.factory(**{**case.first(), "learning_rate": rate}).update(
            PARAMS, case.factory(**case.first()).init(PARAMS), jax.tree.map(jnp.zeros_like, PARAMS)
        )[0]
    )(-0.1)
    assert all(bool((leaf > 0).all()) for leaf in jax.tree.leaves(climbing))


def test_a_traced_decay_of_one_is_data():
    runs = jax.vmap(lambda b1: jon.minimize(jnp.sum, jnp.ones(2), jon.adam(0.1, b1=b1), steps=2))(jnp.array([0.9, 1.0]))
    assert runs.status.tolist() == [jon.Status.COMPLETED, jon.Status.NON_FINITE]


def batch_loss(params, batch):
    return jnp.mean((batch @ params) ** 2)


@pytest.mark.parametrize(
    "run",
    [
        lambda: jon.minimize(batch_loss, jnp.zeros(3), jon.adam(0.1), steps=2),
        lambda: jon.sweep(
            jon.Problem(batch_loss, init=jnp.zeros(3)), jon.adam, jon.grid(learning_rate=[0.1]), steps=2, progress=False
        ),
    ],
)
def test_data_that_were_forgotten_are_named(run):
    with pytest.raises(TypeError, match=r"'batch_loss' takes params, batch and is given params alone: data are given"):
        run()


def two(x, y):
    return jnp.sum(x**2 + y**2)


@pytest.mark.parametrize(
    "call",
    [
        jon.classify,
        jon.prove,
        jon.sharpness,
        lambda loss, point: jon.hvp(loss, point, point),
        lambda loss, _: jon.explore(loss, bounds=(-1.0, 1.0)),
        lambda loss, point: jon.proof.all_critical_points(loss, (point - 1, point + 1)),
        lambda loss, point: jon.find_critical_points(loss, [point]),
    ],
)
def test_a_loss_of_two_arguments_is_refused_by_name(call):
    with pytest.raises(TypeError, match=r"'two' takes x, y and is given x alone: .* all parameters are one pytree"):
        call(two, jnp.ones(1))


POINT = jnp.array([0.3, -0.2])
SURFACES = jon.Problem(lambda x: jnp.cos(x).sum(), init=POINT)
ON_THE_HOST = {
    "sweep": lambda: jon.sweep(SURFACES, jon.momentum, jon.grid(learning_rate=[0.1]), steps=2, progress=False),
    "plan": lambda: jon.plan(SURFACES, jon.momentum, jon.grid(learning_rate=[0.1]), steps=2),
    "find_critical_points": lambda: jon.find_critical_points(SURFACES.loss, POINT[None]),
    "a landscape": lambda: jon.landscape.line(SURFACES.loss, POINT, POINT + 1),
}


@pytest.mark.parametrize("name", ON_THE_HOST)
def test_what_reads_its_results_refuses_to_be_compiled(name):
    with pytest.raises(TypeError, match=f"^{name} runs programs and reads what they return: call it outside jit"):
        jax.jit(ON_THE_HOST[name])()


def test_a_traced_run_is_not_diagnosed():
    run = jon.minimize(SURFACES.loss, POINT, jon.gradient_descent(0.1), steps=10)
    with pytest.raises(TypeError, match=r"^diagnose runs programs"):
        jax.jit(jon.diagnose)(run)


def test_a_verdict_of_a_known_point_can_be_part_of_another_program():
    inside = jax.jit(lambda: jon.classify(SURFACES.loss, jnp.zeros(2)).eigenvalues)
    known = np.zeros(2, np.float32)
    of_known = jax.jit(lambda: jon.classify(SURFACES.loss, known).eigenvalues)
    np.testing.assert_allclose([inside(), of_known()], [[-1, -1], [-1, -1]], rtol=1e-6)
