"""`record=`: a sweep computes only the histories that are asked for, and everything else stays what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon

SPACE = jon.grid(learning_rate=[0.01, 0.1, 1e6], beta=[0.0, 0.9])


@pytest.fixture(scope="module")
def digits():
    return jon.problems.digits_mlp(hidden=8)


def swept(problem, space=SPACE, **options):
    given = {"seeds": 2, "steps": 20, "batch_size": 64, "progress": False, "width": 4, **options}
    return jon.sweep(problem, jon.momentum, space, **given)


def test_losses_alone_are_those_of_a_sweep_that_records_everything(digits):
    lean, whole = swept(digits, record="loss"), swept(digits)
    assert {"loss", "final_loss", "status"} <= set(lean.data_vars)
    assert not {"grad_norm", "update_norm"} & set(lean.data_vars)
    assert set(whole.data_vars) - set(lean.data_vars) == {"grad_norm", "update_norm"}
    stays = whole.learning_rate < 1
    for name in ("loss", "final_loss", "test_accuracy"):
        np.testing.assert_allclose(lean[name].where(stays), whole[name].where(stays), rtol=1e-4)
    np.testing.assert_array_equal(lean.status, whole.status)


def test_the_program_of_losses_alone_has_no_norms():
    rows = jnp.ones((8, 3))
    problem = jon.Problem(lambda w, batch: jnp.mean((batch @ w - 1) ** 2), init=jnp.zeros(3), data=rows)

    def roots(record):
        plan = jon.plan(problem, jon.gradient_descent, jon.grid(learning_rate=[0.1, 0.2]), steps=4, record=record)
        from jaxopt_notes.sweeps.compute.programs import programs

        group = plan.groups[0]
        return str(programs(group.static).segment.trace(*group.shapes.segment(2)).jaxpr).count("sqrt")

    assert roots(["loss"]) == 0
    assert 0 < roots(["loss", "grad_norm"]) < roots(None)


def test_a_trial_that_overflows_ends_at_finite_parameters(digits):
    table = swept(digits, record=["loss"], keep="params", space=jon.grid(learning_rate=[1e37], beta=[0.9]))
    assert (table.status == jon.Status.NON_FINITE).all()
    for name in table.data_vars:
        if name.startswith("params"):
            assert np.isfinite(table[name]).all()


@pytest.mark.parametrize("stops_at", [3, 7])
def test_an_infinite_gradient_ends_a_trial_at_a_finite_loss(stops_at):
    # The slope of the square root is infinite where its argument is zero, and its value is finite.
    def loss(x):
        return jnp.sqrt(jnp.maximum(x[0] - 1, 0.0)) + x[1] ** 2

    problem = jon.Problem(loss, init=jnp.array([1.0, float(stops_at)]))
    table = jon.sweep(
        problem, jon.gradient_descent, jon.grid(learning_rate=[0.1]), steps=9, record="loss", progress=False
    )
    assert np.isfinite(table.final_loss).all()


def test_skipping_steps_needs_their_norms_and_computes_them(digits):
    lean, whole = (swept(digits, record=record, skip_non_finite=2) for record in (["loss"], None))
    np.testing.assert_array_equal(lean.status, whole.status)
    np.testing.assert_array_equal(lean.skipped, whole.skipped)


def test_pruning_and_resuming_need_no_norms(digits):
    pruned = swept(digits, record="loss", prune=jon.halving(factor=2, rungs=2))
    assert (pruned.status == jon.Status.PRUNED).any()
    kept = swept(digits, record="loss", keep="params+state")
    run = jon.resume(kept, digits, learning_rate=0.1, beta=0.9)
    assert np.isnan(run.grad_norm).all()
    assert np.isfinite(run.loss).all()


def test_a_store_of_other_histories_is_another_sweep(digits, tmp_path):
    swept(digits, record="loss", store=tmp_path / "s")
    with pytest.raises(jon.StoreError, match="record"):
        swept(digits, store=tmp_path / "s")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("los", "did you mean 'loss'"),
        (["grad_norm"], "record must hold 'loss'"),
        (5, "record must be a name or a list"),
    ],
)
def test_a_wrong_record_is_named(digits, record, words):
    with pytest.raises((TypeError, ValueError), match=words):
        swept(digits, record=record)


def test_examples_may_hold_typed_keys():
    keys = jax.random.split(jax.random.key(0), 12)

    def loss(w, batch):
        noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(batch)
        return jnp.mean((noise @ w - 1) ** 2)

    problem = jon.Problem(loss, init=jnp.zeros(3), data=keys)
    table = jon.sweep(problem, jon.momentum, jon.grid(learning_rate=[0.1]), steps=5, batch_size=4, progress=False)
    assert table.final_loss.item() < table.initial_loss.item()
