"""What an optimizer in the middle of a run makes of the curvature; every rule's divisor and limit: test_facts.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_notes as jon
from jaxopt_notes.curvature import preconditioner

EIGENVALUES = jnp.array([1.0, 5.0, 20.0])
VALLEY = jon.problems.quadratic([1.0, 5.0, 20.0])
DIVIDING = {
    "adam": lambda rate: jon.adam(rate, b1=0.8, b2=0.95, eps=1e-3),
    "rmsprop": lambda rate: jon.rmsprop(rate, decay_rate=0.8),
    "rmsprop with momentum": lambda rate: jon.rmsprop(rate, beta=0.5),
    "adagrad": lambda rate: jon.adagrad(rate),
}


def some_state(tx):
    """The state after three steps of different gradients."""
    params, state = jnp.ones(3), tx.init(jnp.ones(3))
    for scale in (1.0, -0.3, 0.7):
        _, state = tx.update(scale * jnp.array([1.0, 2.0, 0.5]), state, params)
    return state


def test_adams_divisor_is_its_formula():
    tx = DIVIDING["adam"](1.0)
    state = some_state(tx)
    expected = np.sqrt(np.asarray(state.nu) / (1 - 0.95**3)) + 1e-3
    np.testing.assert_allclose(preconditioner(tx, state), expected, rtol=1e-5)
    averaged = jon.average_params(tx)
    wrapped = averaged.init(jnp.ones(3))._replace(inner=state)
    np.testing.assert_allclose(preconditioner(averaged, wrapped), expected, rtol=1e-5)


def grows(tx, state):
    """Whether steps from near the minimum, with the divisor held, lead away from it."""
    divisor = preconditioner(tx, state)
    numbers = tx.update.args[0]
    beta, share = numbers.get("beta", numbers.get("b1", 0.0)), 1 - numbers.get("b1", 0.0)
    rate, divisor = float(numbers["learning_rate"]), np.asarray(1.0 if divisor is None else divisor, float)
    x, velocity = np.full(3, 1e-3), np.zeros(3)
    for _ in range(5000):
        velocity = beta * velocity + share * np.asarray(EIGENVALUES) * x
        x = x - rate * velocity / divisor
        if np.max(np.abs(x)) > 1:
            return True
    return False


@pytest.mark.parametrize("name", ["rmsprop", "rmsprop with momentum", "adagrad", "adam", "momentum"])
def test_steps_shrink_below_the_limit_and_grow_above(name):
    make = {**DIVIDING, "momentum": lambda rate: jon.momentum(rate, 0.7)}[name]
    state = some_state(make(1.0))
    at = jon.stability(make(1.0), state, VALLEY.loss, jnp.zeros(3))
    below, above = (make(share * float(at.bound)) for share in (0.97, 1.03))
    assert not grows(below, state)
    assert grows(above, state)
    assert "beyond the edge" in str(jon.stability(above, state, VALLEY.loss, jnp.zeros(3)))


def test_the_centred_divisor_is_a_deviation():
    tx = jon.rmsprop(1.0, decay_rate=0.8, centered=True, eps=0.0)
    state = some_state(tx)
    expected = np.sqrt(np.asarray(state.nu) - np.asarray(state.mu) ** 2)
    np.testing.assert_allclose(preconditioner(tx, state), expected, rtol=1e-5)


def test_a_coordinate_that_never_moves_has_no_share():
    tx = jon.adam(0.1, eps=0.0)
    _, state = tx.update(jnp.array([1.0, 0.0]), tx.init(jnp.zeros(2)))
    assert preconditioner(tx, state).tolist() == [1.0, np.inf]
    edge = jon.stability(tx, state, lambda x: x[0] ** 2 + 100 * x[1] ** 2, jnp.zeros(2))
    np.testing.assert_allclose(edge.sharpness, 2.0, rtol=1e-5)


def test_it_is_vmapped_over_rates():
    rates = jnp.array([0.01, 0.2])
    edges = jax.vmap(
        lambda rate: jon.stability(
            jon.momentum(rate, 0.5), jon.momentum(rate, 0.5).init(jnp.ones(3)), VALLEY.loss, jnp.ones(3)
        )
    )(rates)
    np.testing.assert_allclose(edges.bound, 0.15, rtol=1e-4)
    assert str(edges) == "2 points, 50% stable"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: preconditioner(jon.adam(0.1), jon.adam(0.1).init(jnp.ones(2))), ValueError, "taken no step"),
        (lambda: preconditioner(optax.adam(0.1), optax.adam(0.1).init(jnp.ones(2))), TypeError, "one of ours"),
        (lambda: preconditioner(jon.newton(), jon.newton().init(jnp.ones(2))), TypeError, "of first order"),
        (
            lambda: preconditioner(jon.adam(0.1), jon.momentum(0.1).init(jnp.ones(2))),
            TypeError,
            "must be the AdamState",
        ),
    ],
)
def test_what_has_no_limit_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
