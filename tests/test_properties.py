"""Properties of every first-order method over random pytrees, dtypes and numbers (hypothesis, without randomness)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import OPTIMIZER_CASES
from hypothesis import given, settings
from hypothesis import strategies as st

every_optimizer = pytest.mark.parametrize(
    "case", OPTIMIZER_CASES, ids=lambda case: "-".join(filter(None, (case.name, case.label)))
)
bounded = settings(max_examples=4, derandomize=True, deadline=None, database=None)

shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
leaves = st.tuples(shapes, st.sampled_from([jnp.float16, jnp.bfloat16, jnp.float32]), st.integers(0, 2**16)).map(
    lambda drawn: jnp.asarray(np.random.default_rng(drawn[2]).standard_normal(drawn[0]), drawn[1])
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, min_size=1),
    max_leaves=4,
)


def numbers_of(case):
    """Numbers between the two values of the case."""
    return st.fixed_dictionaries({name: st.floats(*sorted(pair)) for name, pair in case.numbers.items()})


def two_steps(optimizer, tree):
    state = optimizer.init(tree)
    first, state = optimizer.update(tree, state, tree)
    second, after = optimizer.update(jax.tree.map(jnp.negative, tree), state, tree)
    return (first, second), state, after


def assert_close(actual, expected):
    def close(a, b):
        eps = float(jnp.finfo(b.dtype).eps)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=8 * eps, atol=8 * eps * np.max(np.abs(b), initial=0))

    jax.tree.map(close, actual, expected)


@every_optimizer
@bounded
@given(data=st.data())
def test_structure_types_and_jit_hold_for_any_tree(case, data):
    tree, numbers = data.draw(trees), data.draw(numbers_of(case))
    optimizer = case.factory(**numbers)
    updates, state, after = two_steps(optimizer, tree)
    assert jax.tree.map(lambda u: (u.shape, u.dtype), updates[1]) == jax.tree.map(lambda p: (p.shape, p.dtype), tree)
    described = [jax.tree.map(lambda s: (s.shape, s.dtype), one) for one in (optimizer.init(tree), state, after)]
    assert described[0] == described[1] == described[2]
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(after))
    assert_close(jax.jit(two_steps)(optimizer, tree)[0], updates)


@every_optimizer
@bounded
@given(data=st.data())
def test_vmap_over_any_numbers_is_the_python_loop(case, data):
    tree = data.draw(trees)
    lanes = data.draw(st.lists(numbers_of(case), min_size=2, max_size=3))
    grid = {name: jnp.asarray([lane[name] for lane in lanes], jnp.float32) for name in case.numbers}
    together = jax.jit(jax.vmap(lambda numbers: two_steps(case.factory(**numbers), tree)[0]))(grid)
    one = jax.jit(lambda numbers: two_steps(case.factory(**numbers), tree)[0])
    for i in range(len(lanes)):
        alone = one({name: column[i] for name, column in grid.items()})
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone)
