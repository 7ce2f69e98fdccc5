"""Data without examples, with NaN, in batches of one; losses that add up over their examples."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes import curvature, landscape
from jaxopt_notes.minibatches import reshuffle

X = jnp.asarray(np.random.default_rng(0).standard_normal((30, 3)), jnp.float32)
NONE = jnp.zeros((0, 3))
START = jnp.ones(3)
KEY = jax.random.key(0)
TX = jon.gradient_descent(0.01)


def mean(params, batch):
    return jnp.mean((batch @ params) ** 2)


def total(params, batch):
    return jnp.sum((batch @ params) ** 2)


def per_example(params, batch):
    return jnp.squeeze((batch @ params) ** 2)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("data", lambda: jon.minimize(mean, START, TX, steps=2, data=NONE)),
        ("data", lambda: jon.minimize(mean, START, TX, steps=2, data=NONE, minibatches=reshuffle(1), key=KEY)),
        (r"data\['x'\]", lambda: jon.minimize_until(mean, START, TX, max_steps=2, data={"x": NONE})),
        (r"args\[0\]", lambda: jon.minimize(mean, START, TX, steps=2, args=(NONE,))),
        ("a batch", lambda: jon.minimize_stream(mean, START, TX, [np.zeros((0, 3))] * 3)),
        ("data", lambda: jon.Problem(mean, init=START, data=NONE)),
        ("test_data", lambda: jon.Problem(mean, init=START, data=X, test_data=NONE)),
        ("data", lambda: jon.minibatches.batches(np.zeros((0, 3)), reshuffle(1), KEY)),
        ("data", lambda: curvature.HessianOperator(mean, START, NONE)),
        ("data", lambda: curvature.HessianOperator(mean, START, NONE, 1)),
        (r"args\[0\]", lambda: jon.classify(mean, START, NONE)),
        (r"args\[0\]", lambda: jon.hvp(mean, START, START, NONE)),
        ("data", lambda: landscape.plane(mean, START, jnp.eye(3)[:2], data=NONE)),
        ("data", lambda: landscape.hessian_directions(mean, START, data=NONE)),
    ],
)
def test_data_without_examples_are_named(name, call):
    with pytest.raises(ValueError, match=rf"^{name} must hold at least one example, got none, shape \(0, 3\)"):
        call()


def labelled(params, batch):
    x, y = batch
    return jnp.mean((x @ params - y) ** 2)


LABELS = np.zeros(30, np.float32)


@pytest.mark.parametrize("part", ["validation", "test_data"])
@pytest.mark.parametrize(
    ("held", "message"),
    [
        ((X, LABELS[:, None]), r"{part}[1] has shape (30, 1), and data[1] (30,): both must have as many axes"),
        ((X, LABELS.astype(np.int32)), r"{part}[1] holds integers (int32), and data[1] holds real numbers (float32)"),
        ((X > 0, LABELS), r"{part}[0] holds booleans (bool), and data[0] holds real numbers (float32)"),
    ],
)
def test_held_out_data_that_would_be_measured_wrongly_are_refused(part, held, message):
    """Labels with one more axis broadcast against the predictions, so no error comes of them."""
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(part=part))}"):
        jon.Problem(labelled, START, data=(X, LABELS), **{part: held})


@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize(
    ("held", "message"),
    [
        ((X[:, :2], LABELS), "validation[0] has shape (30, 2), and data[0] (30, 3)"),
        ((X, LABELS, LABELS), "data has no leaf [2], and validation has"),
        ((X,), "validation has no leaf [1], and data has"),
    ],
)
def test_held_out_data_that_cannot_be_measured_are_named_before_compiling(held, message, every):
    problem = jon.Problem(labelled, START, data=(X, LABELS), validation=held)
    with pytest.raises(ValueError, match=f"^validation_loss cannot be measured: {re.escape(message)}; the examples"):
        jon.sweep(problem, jon.adam, jon.grid(learning_rate=[0.1]), steps=2, evaluate_every=every, progress=False)


def test_held_out_data_of_another_length_are_measured_where_the_loss_takes_them():
    """Sequences: more examples, longer ones, and lists in place of tuples."""
    loss = lambda scale, batch: jnp.mean((scale * batch[0]) ** 2) + jnp.mean(batch[1])
    longer = [np.ones((40, 7), np.float32), np.zeros(40, np.float32)]
    problem = jon.Problem(loss, jnp.array(2.0), data=(X, LABELS), validation=longer)
    table = jon.sweep(problem, jon.adam, jon.grid(learning_rate=[1e-6]), steps=1, progress=False)
    assert float(table.validation_loss.squeeze()) == pytest.approx(4.0, rel=1e-4)


def test_nan_in_the_data_is_allowed_when_asked_for():
    def squares(params, batch):
        return jnp.sum(jnp.where(jnp.isnan(batch), 0, batch - params) ** 2) / jnp.sum(~jnp.isnan(batch)).astype(float)

    data = jnp.array([1.0, jnp.nan, 3.0])
    arguments = dict(steps=50, data=data, minibatches=reshuffle(3), key=KEY)
    for refused in (
        lambda: jon.minimize(squares, jnp.zeros(()), TX, **arguments),
        lambda: jon.Problem(squares, init=jnp.zeros(()), data=data),
    ):
        with pytest.raises(ValueError, match=r"1 non-finite values of 3.*leaves NaN out pass allow_nan=True"):
            refused()
    run = jon.minimize(squares, jnp.zeros(()), jon.gradient_descent(0.25), **arguments, allow_nan=True)
    assert float(run.params) == pytest.approx(2.0, abs=1e-4)
    problem = jon.Problem(squares, init=jnp.zeros(()), data=data, allow_nan=True)
    table = jon.sweep(problem, jon.gradient_descent, jon.grid(learning_rate=[0.25]), seeds=1, steps=20)
    assert table.final_loss.item() == pytest.approx(1.0, rel=1e-4)
    with pytest.raises(ValueError, match=r"1 non-finite values of 3; every entry must be finite$"):
        jon.Problem(squares, init=jnp.zeros(()), data=data.at[0].set(jnp.inf), allow_nan=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda: jon.minimize(per_example, START, TX, steps=2, data=X, minibatches=reshuffle(1), key=KEY),
        lambda: jon.minimize_stream(per_example, START, TX, [np.ones((1, 3), np.float32)] * 3),
        lambda: jon.sweep(
            jon.Problem(per_example, init=START, data=X), jon.adam, jon.grid(learning_rate=[0.1]),
            seeds=1, steps=2, batch_size=1,
        ),
        lambda: curvature.HessianOperator(per_example, START, X, 1),
        lambda: landscape.plane(per_example, START, jnp.eye(3)[:2], data=X, batch_size=1, points=3),
    ],
)  # fmt: skip
def test_a_loss_per_example_is_refused_in_batches_of_one(call):
    with pytest.raises(TypeError, match=r"must return a scalar, got shape \((30|2),\)"):
        call()


@pytest.mark.parametrize("size", [1, 10])
def test_a_sum_is_refused_where_batches_are_averaged(size):
    outputs = lambda params, batch: batch @ params
    for refused in (
        lambda: curvature.HessianOperator(total, START, X, size),
        lambda: curvature.GaussNewtonOperator(outputs, lambda out, batch: jnp.sum(out**2), START, X, size),
        lambda: landscape.plane(total, START, jnp.eye(3)[:2], data=X, batch_size=size),
    ):
        with pytest.raises(ValueError, match=rf"adds up over its examples.*about {30 // size} times too small"):
            refused()
    exact = np.linalg.eigvalsh(2 * np.asarray(X, np.float64).T @ np.asarray(X, np.float64))
    whole = curvature.eigsh(curvature.HessianOperator(total, START, X), k=1).values
    assert float(whole[0]) == pytest.approx(exact[-1], rel=1e-4)
    streamed = curvature.eigsh(curvature.HessianOperator(mean, START, X, size), k=1).values
    assert float(streamed[0]) == pytest.approx(exact[-1] / 30, rel=1e-4)


def test_training_on_a_sum_by_batches_is_warned_of():
    batches = dict(steps=2, data=X, minibatches=reshuffle(10), key=KEY)
    said = "loss 'total' adds up over its examples: on a batch of 10 it is about 10/30"
    with pytest.warns(UserWarning, match=said):
        jon.minimize(total, START, TX, **batches)
    with pytest.warns(UserWarning, match=said):
        jon.sweep(
            jon.Problem(total, init=START, data=X), jon.adam, jon.grid(learning_rate=[0.1]),
            seeds=1, steps=2, batch_size=10,
        )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jon.minimize(mean, START, TX, **batches)
        jon.minimize(total, START, TX, steps=2, data=X)  # of all examples, where it is what it says


LOSSES = {
    "mean": (mean, False),
    "sum": (total, True),
    "divided by the shape": (lambda w, b: 0.5 * jnp.sum((b @ w) ** 2) / b.shape[0], False),
    "scaled terms": (lambda w, b: jnp.sum((b @ w) ** 2 / len(b)), False),
    "mean and regulariser": (lambda w, b: mean(w, b) + jnp.sum(w**2), False),
    "sum and regulariser": (lambda w, b: total(w, b) + 100 * jnp.sum(w**2), True),
    "sum over a number of the data": (lambda w, b: total(w, b) / 30, True),
    "sum over a parameter": (lambda w, b: total(w, b) / jnp.sum(w**2), True),
    "sum at its minimum": (lambda w, b: total(w - 1, b), True),
    "compiled": (jax.jit(total), True),
    "compiled mean": (jax.jit(mean), False),
    "mean of features, sum of examples": (lambda w, b: jnp.sum(jnp.mean((b * w[None]) ** 2, axis=1)), True),
    "sum of features, mean of examples": (lambda w, b: jnp.sum(jnp.mean((b * w[None]) ** 2, axis=0)), False),
    "masked mean": (lambda w, b: jnp.sum(((b @ w) ** 2) * (b[:, 0] > -9)) / jnp.sum(b[:, 0] > -9.0), False),
    "weighted mean": (lambda w, b: jnp.dot(jax.nn.softmax(b[:, 0]), (b @ w) ** 2), False),
    "mean as a product": (lambda w, b: jnp.dot((b @ w) ** 2, jnp.full(len(b), 1 / len(b))), False),
    "quadratic form": (lambda w, b: jnp.einsum("i,i->", b @ w, b @ w), True),
    "log of a sum": (lambda w, b: jax.scipy.special.logsumexp(b @ w), False),
    "one size of batch only": (lambda w, b: jnp.sum((b.reshape(10, 3) @ w) ** 2), False),
    "low precision": (lambda w, b: total(w.astype(jnp.bfloat16), b.astype(jnp.bfloat16)), True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_sums_are_told_from_means(name):
    from jaxopt_notes._means import _is_sum

    loss, expected = LOSSES[name]
    with jax.numpy_dtype_promotion("standard"):
        assert _is_sum(loss, (START,), X, ()) is expected


def test_a_mean_costs_no_compilation(monkeypatch):
    from jaxopt_notes._means import _is_sum

    monkeypatch.setattr(jax, "jit", None)  # what a look at numbers would need
    assert _is_sum(mean, (START,), X, ()) is False
