"""bfloat16 and float16: state and arithmetic in float32 beside float64, and steps rounded at random without bias."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import narrow_runs
import numpy as np
import optax
import pytest
from cases import OPTIMIZER_CASES, follow

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.landscape import Directions, Plane
from jaxopt_notes.sweeps.keep import shelf
from jaxopt_notes.sweeps.keep.store import Store

narrow = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
ADAPTIVE = [case for case in OPTIMIZER_CASES if case.name in ("momentum", "adagrad", "adadelta", "rmsprop", "adamw")]
STEPS = 300


def narrow_gradients():
    """Gradients of both types; the small ones square to zero in float16."""
    rng = np.random.default_rng(0)
    draws = {"bfloat16": rng.standard_normal((STEPS, 5)), "float16": rng.standard_normal((STEPS, 5))}
    draws["small"] = 1e-4 * rng.standard_normal((STEPS, 5))
    types = {"bfloat16": jnp.bfloat16, "float16": jnp.float16, "small": jnp.float16}
    return {name: jnp.asarray(values, types[name]) for name, values in draws.items()}


def as_numpy(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), tree)


@pytest.mark.parametrize("case", ADAPTIVE, ids=lambda case: "-".join(filter(None, (case.name, case.label))))
def test_narrow_parameters_follow_the_float64_reference(case):
    gradients = narrow_gradients()
    assert float(jnp.max(gradients["small"] ** 2)) < 2e-7
    start = jax.tree.map(lambda g: jnp.ones_like(g[0]), gradients)
    ours = follow(case.factory(**case.first()), gradients, start)
    assert jax.tree.map(jnp.result_type, ours) == jax.tree.map(jnp.result_type, gradients)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        exact = jax.tree.map(lambda g: jnp.asarray(g, jnp.float64), gradients)
        expected = follow(case.reference(**case.first()), exact, jax.tree.map(lambda p: jnp.ones_like(p[0]), exact))
    for name, updates in as_numpy(ours).items():
        reference = as_numpy(expected)[name]
        info = jnp.finfo(gradients[name].dtype)
        # Half a spacing of the update's own type; in float16 that is 3e-8 at least.
        bound = np.maximum(float(info.eps) / 2 * np.abs(reference), float(info.smallest_subnormal) / 2)
        slack = 2e-5 * np.max(np.abs(reference))
        assert np.all(np.abs(updates - reference) <= 1.01 * bound + slack)


def test_second_moments_of_narrow_gradients_are_the_weighted_sums():
    gradients = narrow_gradients()
    start = jax.tree.map(lambda g: g[0], gradients)
    for optimizer, decay in ((jon.adam(0.1), 0.999), (jon.rmsprop(0.1), 0.9)):
        state, _ = jax.lax.scan(
            lambda state, grads, tx=optimizer: (tx.update(grads, state)[1], None), optimizer.init(start), gradients
        )
        weights = (1 - decay) * decay ** np.arange(STEPS)[::-1]
        for name, grads in as_numpy(gradients).items():
            assert state.nu[name].dtype == jnp.float32
            np.testing.assert_allclose(state.nu[name], weights @ grads**2, rtol=3e-5)


def pairs(dtype):
    """Parameters of every sign and size, and float32 steps from far below a spacing to far above the parameter."""
    rng = np.random.default_rng(1)
    params = rng.choice([-1, 1], 4000) * np.exp(rng.uniform(-5, 5, 4000))
    steps = params * rng.choice([-1, 1], 4000) * 10.0 ** rng.uniform(-6, 1.5, 4000)
    params[:100], steps[100:200] = 0.0, 0.0
    return jnp.asarray(params, dtype), jnp.asarray(steps, jnp.float32)


def rounded(params, steps, keys):
    """Where `stochastic_rounding` leads from `params` by the steps of plain gradient descent, for every key."""

    def one(key):
        optimizer = jon.stochastic_rounding(jon.gradient_descent(1.0), key)
        updates, _ = optimizer.update(-steps, optimizer.init(params), params)
        return updates, optax.apply_updates(params, updates)

    return jax.jit(jax.vmap(one))(keys)


def neighbours(wanted, dtype):
    """The numbers of `dtype` at and next to the float64 `wanted`, below and above it."""
    near = wanted.astype(dtype)
    low = np.where(near.astype(np.float64) > wanted, np.nextafter(near, np.asarray(-np.inf, dtype)), near)
    high = np.where(near.astype(np.float64) < wanted, np.nextafter(near, np.asarray(np.inf, dtype)), near)
    return low.astype(np.float64), high.astype(np.float64)


@narrow
def test_every_step_ends_at_a_neighbour_and_is_right_on_average(dtype):
    params, steps = pairs(dtype)
    draws = 400
    updates, ends = rounded(params, steps, jax.random.split(jax.random.key(0), draws))
    assert updates.dtype == ends.dtype == dtype
    updates, ends, start, steps = as_numpy((updates, ends, params, steps))
    wanted = start + steps
    np.testing.assert_array_equal(ends[:, steps == 0], np.broadcast_to(start[steps == 0], (draws, 100)))

    small = np.abs(steps) <= np.abs(start) / 2
    low, high = (side[small] for side in neighbours(wanted, dtype))
    ends_small = ends[:, small]
    np.testing.assert_array_equal(ends_small, (start + updates)[:, small])  # nothing is left to round
    assert np.all((ends_small == low) | (ends_small == high))
    between = high > low
    chance = ((wanted[small] - low) / np.where(between, high - low, 1))[between]
    ups = np.sum(ends_small == high, axis=0)[between]
    scores = (ups - draws * chance) / np.sqrt(np.maximum(draws * chance * (1 - chance), 1))  # binomial
    assert between.sum() > 2500
    assert np.abs(scores).max() < 6
    assert abs(scores.mean()) < 4 / np.sqrt(scores.size)

    large, first, last = ends[:, ~small], ends[:, ~small].min(axis=0), ends[:, ~small].max(axis=0)
    assert np.all((large == first) | (large == last))  # two ends here too, though not always next to each other
    spread = np.maximum(last - first, float(jnp.finfo(dtype).eps) * np.abs(wanted[~small]))
    assert np.all(
        np.abs(large.mean(axis=0) - wanted[~small]) < 6 * spread / 2 / np.sqrt(draws) + 1e-6 * np.abs(start[~small])
    )
    info = jnp.finfo(dtype)
    widest = float(info.eps) * np.maximum(np.abs(steps), np.abs(wanted)) + float(info.smallest_subnormal)
    assert np.all(spread <= 4 * widest[~small])


@narrow
def test_one_small_step_moves_the_share_of_coordinates_that_it_should(dtype):
    spacing = float(jnp.finfo(dtype).eps)
    n, share = 200_000, 0.03
    params, steps = jnp.ones(n, dtype), jnp.full(n, share * spacing, jnp.float32)
    _, ends = rounded(params, steps, jax.random.split(jax.random.key(3), 1))
    assert set(np.unique(as_numpy(ends))) == {1.0, 1.0 + spacing}
    moved = int(jnp.sum(ends > 1))
    assert abs(moved - n * share) < 5 * np.sqrt(n * share * (1 - share))
    assert jnp.all(optax.apply_updates(params, steps.astype(dtype)) == params)  # plain rounding moves none


def test_jit_is_eager_and_keys_make_runs():
    params, steps = pairs(jnp.bfloat16)
    optimizer = jon.stochastic_rounding(jon.gradient_descent(1.0), jax.random.key(5))
    state = optimizer.init(params)
    eager, after = optimizer.update(-steps, state, params)
    compiled, _ = jax.jit(lambda tx, g, s, p: tx.update(g, s, p))(optimizer, -steps, state, params)
    np.testing.assert_array_equal(eager, compiled)
    next_one, _ = optimizer.update(-steps, after, params)
    other, _ = jon.stochastic_rounding(jon.gradient_descent(1.0), jax.random.key(6)).update(-steps, state, params)
    assert (next_one != eager).any()
    assert (other != eager).any()


def distance(x):
    return 0.5 * jnp.sum((x.astype(jnp.float32) - 3.3) ** 2)


@narrow
def test_plain_rounding_sticks_and_random_rounding_reaches_the_minimum(dtype):
    start, optimizer, steps = jnp.ones(512, dtype), jon.gradient_descent(1e-3), 5000
    stuck = jon.minimize(distance, start, optimizer, steps=steps, every=steps)
    assert jnp.all(stuck.params < 2.4)
    wrapped = jon.stochastic_rounding(optimizer, jax.random.key(0))
    moved = jon.minimize(distance, start, wrapped, steps=steps, every=steps)
    assert moved.params.dtype == dtype
    exact = 3.3 - 2.3 * (1 - 1e-3) ** steps  # what infinite precision reaches
    spread = 4 * float(jnp.finfo(dtype).eps)  # two spacings between 2 and 4
    assert abs(as_numpy(moved.params).mean() - exact) < 5 * spread / np.sqrt(512)
    assert np.abs(as_numpy(moved.params) - exact).max() < 5 * spread


@pytest.mark.parametrize(
    "inner", [jon.adamw(3e-3), optax.chain(optax.clip(1.0), optax.adam(3e-3))], ids=["ours", "optax"]
)
def test_the_optimizer_inside_works_in_float32_and_wide_parameters_take_their_usual_steps(inner):
    params = {"narrow": jnp.ones(300, jnp.bfloat16), "wide": jnp.ones(3)}
    grads = {"narrow": jnp.full(300, 0.3, jnp.bfloat16), "wide": jnp.arange(3.0)}
    wrapped = jon.stochastic_rounding(inner, jax.random.key(0))

    @jax.jit
    def step(params, grads):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, grads))
        return wrapped.update(grads, wrapped.init(params), params), inner.update(wide[1], inner.init(wide[0]), wide[0])

    with jax.numpy_dtype_promotion("standard"):
        (updates, state), (plain, alone) = step(params, grads)
    assert jax.tree.map(jnp.result_type, updates) == jax.tree.map(jnp.result_type, params)
    jax.tree.map(np.testing.assert_array_equal, state.inner, alone)
    np.testing.assert_array_equal(updates["wide"], plain["wide"])
    assert set(np.unique(as_numpy(updates["narrow"]))) == {0, -(2**-8)}


def test_the_optimizer_inside_is_given_everything_in_float32():
    seen = {}

    def update(grads, state, params=None, *, value, grad, value_fn):
        seen.update(grads=grads, params=params, value=value, grad=grad, again=value_fn(params))
        return grads, state

    inner = optax.GradientTransformationExtraArgs(lambda params: params, update)
    jon.minimize(
        lambda x: jnp.sum(x * x), jnp.ones(2, jnp.bfloat16), jon.stochastic_rounding(inner, jax.random.key(0)), steps=1
    )
    assert {value.dtype for value in seen.values()} == {jnp.dtype(jnp.float32)}


def test_keys_are_vmapped_and_derivatives_are_those_of_the_step_in_float32():
    @jax.jit
    def final(rate, key):
        optimizer = jon.stochastic_rounding(jon.gradient_descent(rate), key)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(distance)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        start = jnp.ones(64, jnp.bfloat16)
        return distance(jax.lax.scan(step, (start, optimizer.init(start)), None, length=20)[0][0])

    keys = jax.random.split(jax.random.key(2), 3)
    together = jax.vmap(final, in_axes=(None, 0))(0.01, keys)
    np.testing.assert_allclose(together, [final(0.01, key) for key in keys], rtol=1e-6)
    assert len(set(together.tolist())) == 3
    exact = -64 * 2.3**2 * 20 * (1 - 0.01) ** 39  # of 32 (2.3 (1 - rate)^20)^2
    np.testing.assert_allclose(jax.grad(final)(0.01, keys[0]), exact, rtol=0.05)


def test_a_divergence_stays_visible_in_float16():
    optimizer = jon.stochastic_rounding(jon.gradient_descent(1.0), jax.random.key(0))
    start = jnp.array([60000.0, 1.0, 1.0, 1.0], jnp.float16)
    steps = jnp.array([1e4, 1e9, jnp.nan, -jnp.inf], jnp.float32)
    ends = optax.apply_updates(start, optimizer.update(-steps, optimizer.init(start), start)[0])
    np.testing.assert_array_equal(ends, jnp.array([jnp.inf, jnp.inf, jnp.nan, -jnp.inf], jnp.float16))


def test_unmoved_share_counts_what_rounding_loses():
    params = {"a": jnp.full(4, 256.0, jnp.bfloat16), "b": jnp.ones(4, jnp.float32)}
    updates = {"a": jnp.array([0.4, 0.9, 1.1, 0.0], jnp.bfloat16), "b": jnp.array([1e-9, 1e-3, 0.0, 0.0])}
    np.testing.assert_allclose(jax.jit(jon.unmoved_share)(params, updates), 3 / 5)
    assert float(jon.unmoved_share(params, jax.tree.map(jnp.zeros_like, updates))) == 0
    n = 20_000
    params, steps = jnp.ones(n, jnp.bfloat16), jnp.full(n, 1e-4)
    optimizer = jon.stochastic_rounding(jon.gradient_descent(1.0), jax.random.key(0))
    assert float(jon.unmoved_share(params, steps.astype(jnp.bfloat16))) == 1
    updates, _ = optimizer.update(-steps, optimizer.init(params), params)
    assert float(jon.unmoved_share(params, updates)) == 0  # what it makes an update is a move
    with pytest.raises(ValueError, match=r"updates has shape \(3,\) and params has shape \(20000,\)"):
        jon.unmoved_share(params, jnp.ones(3))


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="key must be one random key"):
        jon.stochastic_rounding(jon.adam(0.1), 0)
    with pytest.raises(TypeError, match=r"optimizer must be an \(init, update\) pair.*call it first, as in adam"):
        jon.stochastic_rounding(jon.adam, jax.random.key(0))
    optimizer = jon.stochastic_rounding(jon.adam(0.1), jax.random.key(0))
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match="stochastic_rounding needs the parameters"):
        optimizer.update(jnp.ones(2), state)
    with pytest.raises(ValueError, match=r"grads has shape \(1,\) and params has shape \(2,\)"):
        optimizer.update(jnp.ones(1), state, jnp.ones(2))


def between(x):
    """bfloat16 holds nothing between 1 and 1.0078."""
    return jnp.sum((x.astype(jnp.float32) - 1.003) ** 2)


class TestReportedPoints:
    """XLA may go on with float32 where a sum of bfloat16 should be rounded; what is reported must not."""

    @narrow
    @pytest.mark.parametrize(
        "optimizer", [jon.gradient_descent(0.0123), optax.sgd(0.0123, momentum=0.9)], ids=["ours", "optax"]
    )
    def test_every_entry_belongs_to_the_parameters_of_the_entry(self, dtype, optimizer):
        narrow_runs.check_runs(dtype, optimizer)

    @narrow
    def test_trials_of_a_sweep_end_where_they_say(self, dtype):
        narrow_runs.check_sweep(dtype)

    def test_also_as_users_compile(self):
        script = Path(narrow_runs.__file__)
        flags = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
        found = subprocess.run([sys.executable, script], capture_output=True, text=True, env=flags, check=False)
        assert found.returncode == 0, found.stderr[-2000:]

    def test_a_start_that_is_computed_in_the_same_program_is_rounded_first(self):
        @jax.jit
        def begun(x):
            return jon.minimize(between, x + x / 97, jon.gradient_descent(0.5), steps=1, record_params=True)

        run = begun(jnp.ones(3, jnp.bfloat16))
        np.testing.assert_allclose(run.loss, [between(x) for x in run.params_path], rtol=2e-6)
        np.testing.assert_array_equal(run.initial_loss, run.loss[0])

    def test_what_cannot_move_is_not_called_diverged(self):
        run = jon.minimize_until(between, jnp.ones(3, jnp.bfloat16), jon.gradient_descent(0.5), max_steps=9, tol=1e-6)
        assert Status(int(run.status)) is Status.STUCK
        assert run.params.tolist() == [1, 1, 1]
        np.testing.assert_allclose(run.loss, 3 * 0.003**2, rtol=1e-3)

    @narrow
    def test_the_average_is_of_the_points_that_were_visited(self, dtype):
        tx = jon.average_params(jon.gradient_descent(0.0123))
        run = jon.minimize(distance, jnp.asarray([1.0, -2.0], dtype), tx, steps=20, record_params=True)
        np.testing.assert_allclose(run.state.average, as_numpy(run.params_path)[1:].mean(axis=0), rtol=1e-6)

    @narrow
    def test_a_plane_shows_the_loss_at_its_points(self, dtype):
        center = jnp.asarray([1.0, -2.0, 3.0], dtype)
        through = Plane(center, Directions(jnp.asarray([[0.3, 0.1, -0.7], [0.2, -0.9, 0.4]], dtype)))
        x, y = np.linspace(-0.11, 0.13, 4), np.linspace(-0.2, 0.3, 3)
        table = jon.landscape.plane(distance, through, x=x, y=y)
        expected = [[distance(through.at([one, two])) for one in x] for two in y]
        np.testing.assert_allclose(table.loss, expected, rtol=2e-6)

    def test_derivatives_pass_the_rounding(self):
        """The loss is 32 (2.3 (1 - rate)^20)^2 in exact arithmetic."""

        def final(rate):
            return jon.minimize(distance, jnp.ones(64, jnp.bfloat16), jon.gradient_descent(rate), steps=20).final_loss

        np.testing.assert_allclose(jax.grad(final)(0.03), -64 * 2.3**2 * 20 * (1 - 0.03) ** 39, rtol=0.05)

    def test_float32_costs_nothing(self):
        def program(dtype):
            return str(jax.make_jaxpr(lambda x: jon.minimize(distance, x, jon.adam(0.1), steps=2))(jnp.ones(3, dtype)))

        assert "reduce_precision" not in program(jnp.float32)
        assert "reduce_precision" in program(jnp.bfloat16)


STUCK_OR_NOT = jon.Problem(lambda w: jnp.sum((w.astype(jnp.float32) - 1) ** 2), init=jnp.full(2, 3.0, jnp.bfloat16))
OPTIONS = {"steps": 50, "progress": False}


class TestStuckInASweep:
    space = jon.grid(learning_rate=[1e-5, 0.3, 1e-4, 0.5])
    expected = (Status.STUCK, Status.COMPLETED, Status.STUCK, Status.COMPLETED)

    def test_it_is_what_minimize_says(self):
        table = jon.sweep(STUCK_OR_NOT, jon.gradient_descent, self.space, **OPTIONS)
        start = STUCK_OR_NOT.init(None)
        runs = [
            jon.minimize(STUCK_OR_NOT.loss, start, jon.gradient_descent(rate), steps=50)
            for rate in table.learning_rate.values
        ]
        assert tuple(table.status.values.ravel()) == tuple(int(run.status) for run in runs) == self.expected

    def test_from_a_store_after_an_interruption_inside_a_chunk(self, tmp_path, monkeypatch):
        def run():
            return jon.sweep(STUCK_OR_NOT, jon.gradient_descent, self.space, width=2, store=tmp_path / "x", **OPTIONS)

        def interrupted(self, *arguments):
            write(self, *arguments)
            raise KeyboardInterrupt

        write = Store.write_carry
        monkeypatch.setattr(shelf, "SECONDS_PER_CHECKPOINT", 0.0)
        with monkeypatch.context() as patched:
            patched.setattr(Store, "write_carry", interrupted)
            with pytest.warns(UserWarning, match="interrupted: 0 of 4"):
                run()
        assert tuple(run().status.values.ravel()) == self.expected
        assert tuple(jon.open_sweep(tmp_path / "x").status.values.ravel()) == self.expected

    def test_also_in_float32_without_a_move(self):
        problem = jon.problems.quadratic([1.0, 20.0])
        space = jon.grid(learning_rate=[0.0, 0.01])
        table = jon.sweep(problem, jon.gradient_descent, space, seeds=2, steps=5, progress=False)
        runs = [jon.minimize(problem.loss, problem.init(None), jon.gradient_descent(r), steps=5) for r in (0.0, 0.01)]
        assert [int(run.status) for run in runs] == [Status.STUCK, Status.COMPLETED]
        np.testing.assert_array_equal(table.status, [[Status.STUCK] * 2, [Status.COMPLETED] * 2])

    def test_after_pruning(self):
        slow = jon.grid(learning_rate=[1e-5, 1e-4, 1e-6])
        prune = jon.halving(factor=2, rungs=2)
        pruned = jon.sweep(STUCK_OR_NOT, jon.gradient_descent, slow, prune=prune, **OPTIONS)
        assert sorted(pruned.status.values.ravel()) == [Status.PRUNED, Status.STUCK, Status.STUCK]
