"""What a result shows as the last line of a cell: short, the answer first, and never by asking for a traced value."""

import re
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes._shown import abbreviated, curve, wrapped

VALLEY = jon.problems.quadratic([1.0, 20.0])
SPACE = jon.grid(learning_rate=[0.001, 0.01, 0.03], beta=[0.0, 0.5, 0.9])
FAMILIES = {f"momentum {i}": (jon.momentum, SPACE) for i in range(9)}


def run():
    return jon.minimize(VALLEY.loss, jnp.ones(2), jon.momentum(0.02), steps=100)


def table(optimizer=jon.momentum, space=SPACE):
    return jon.sweep(VALLEY, optimizer, space, seeds=2, steps=20, progress=False)


def race(budget, methods=2):
    """Of equal methods under several names."""
    entrants = {f"a method with a long name {i}": (jon.momentum, SPACE) for i in range(methods)}
    start = lambda key: jax.random.normal(key, (2,))
    valley = jon.Problem(VALLEY.loss, start)
    return jon.race(valley, entrants, budget=budget, tuning_seeds=2, scoring_seeds=2, steps=10, progress=False)


RESULTS = {
    "run": run,
    "run of a network": lambda: jon.minimize(
        lambda x: sum(jnp.sum(leaf**2) for leaf in x.values()),
        {f"layer {i}": jnp.ones((30, 40)) for i in range(50)},
        jon.adam(0.1),
        steps=5,
        record_params=True,
        metrics=lambda x: {"first": x["layer 0"]},
    ),
    "runs": lambda: jax.vmap(lambda a: jon.minimize(jnp.square, 3.0, jon.gradient_descent(a), steps=5))(
        jnp.array([0.1, 0.4, 1.9])
    ),
    "plan": lambda: jon.plan(VALLEY, jon.momentum, SPACE, seeds=2, steps=20),
    "best": lambda: jon.best(table()),
    "best of families": lambda: jon.best(table(FAMILIES, None)),
    "importance": lambda: jon.importance(table()),
    "diagnosis": lambda: jon.diagnose(run()),
    "suggestion": lambda: jon.suggest_learning_rate(VALLEY, jon.momentum, rates=9),
    "suggestion that fails": lambda: jon.suggest_learning_rate(VALLEY, jon.momentum, low=1.0, high=9.0, rates=3),
    "race": lambda: race(8),
    "race of many": lambda: race(2, methods=12),
    "sensitivity": lambda: jon.sensitivity(table()),
    "certificate": lambda: jon.prove(VALLEY.loss, jnp.zeros(2)),
    "certificate of many": lambda: jon.prove(lambda x: jnp.sum(x**2), jnp.zeros(40)),
    "certificate of nothing": lambda: jon.prove(lambda x: x[0] ** 4 + x[1] ** 2, jnp.zeros(2)),
    "minimum": lambda: jon.proof.global_minimum(VALLEY.loss, ([-1.0, -1.0], [1.0, 1.0])),
    "verdict": lambda: jon.classify(VALLEY, jnp.ones(2)),
    "proved verdict": lambda: jon.classify(VALLEY, jnp.zeros(2), prove=True),
    "verdicts": lambda: jax.vmap(lambda x: jon.classify(jnp.sin, x))(jnp.array([0.0, 1.0])),
    "points": lambda: jon.find_critical_points(lambda x: (x**2 - 1) ** 2, jnp.linspace(-2, 2, 9)),
    "grid": lambda: jon.grid(learning_rate=jnp.geomspace(1e-3, 10, 400), beta=[0.0, 0.9]),
    "list of points": lambda: jon.zipped(learning_rate=np.linspace(0.1, 0.2, 300), b1=np.linspace(0, 0.9, 300)),
    "all points": lambda: jon.find_critical_points(lambda x: (x**2 - 1) ** 2, box=(-2.0, 2.0), complete=True),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_at_most_25_lines_of_100_columns(name):
    result = RESULTS[name]()
    lines = repr(result).splitlines()
    assert 1 <= len(lines) <= 25
    assert max(map(len, lines)) <= 100
    page = result._repr_html_()
    ET.fromstring(f"<div>{page}</div>")  # every tag is closed, every text escaped
    assert len(page) < 12_000
    if not isinstance(result, jon.curvature.CriticalPoint):
        assert str(result) == repr(result)


def test_a_space_shows_its_axes():
    assert repr(jon.grid(learning_rate=np.geomspace(1e-3, 10, 13), nesterov=[True, False])).splitlines() == [
        "26 configurations, every combination of",
        "learning_rate: 0.001, 0.002154, 0.004642, 0.01, 0.02154, ..., 10 (13 values)",
        "nesterov: True, False",
    ]
    assert str(jon.zipped(learning_rate=[0.1, 0.2], beta=[0, 0.5])).startswith(
        "2 configurations, a list of points in\n"
    )


def test_an_optimizer_is_shown_as_the_call_that_made_it():
    assert repr(jon.momentum(jnp.float32(0.1))) == "momentum(learning_rate=0.1, beta=0.9, dampening=0.0)"
    assert str(jon.newton()) == "newton(learning_rate=1.0, damping=0.0)"
    assert repr(jon.lion(jon.schedules.cosine(0.1, 10))).startswith("lion(learning_rate=schedule, b1=0.9")
    shown = []
    jax.jit(lambda rate: shown.append(repr(jon.gradient_descent(rate))))(0.1)
    assert shown == ["gradient_descent(learning_rate=float32[])"]
    assert repr(jax.vmap(jon.gradient_descent)(jnp.array([0.1, 0.2]))) == (
        "gradient_descent(learning_rate=float32[2] 0.1, 0.2)"
    )
    assert "gradient_descent" in repr(jax.tree.map(lambda _: 0, jon.gradient_descent(0.1)))


def test_the_first_line_is_the_answer():
    found = run()
    assert repr(found).splitlines()[0] == (
        f"loss {float(found.initial_loss):.6g} -> {float(found.final_loss):.6g} in 100 steps, "
        f"|grad| {float(found.grad_norm[-1]):.3g}"
    )
    winner = jon.best(table())
    assert repr(winner).startswith(f"learning_rate={winner.config['learning_rate']:g}, beta=")
    shares = jon.importance(table())
    assert repr(shares).startswith(f"{next(iter(shares.shares))} explains {max(shares.shares.values()):.0%} of")


def test_results_stay_pytrees_and_a_traced_one_is_shown_by_its_shapes():
    shown = []

    def looked_at(rate):
        found = jon.minimize(lambda x: jnp.sum(x**2), jnp.ones(3), jon.gradient_descent(rate), steps=5)
        point = jon.classify(lambda x: jnp.sum(x**2), found.params)
        shown.extend([str(found), repr(found), found._repr_html_(), str(point), repr(point), point._repr_html_()])
        return found, point

    found, point = jax.jit(looked_at)(0.1)
    assert "params=float32[3]" in shown[0] == shown[1]
    assert "eigenvalues=float32[3]" in shown[3] == shown[4]
    assert all("Traced" not in text for text in shown)
    assert max(len(line) for line in shown[4].splitlines()) <= 100
    assert type(found) is type(run())
    assert "loss 3 ->" in repr(jax.tree.map(np.asarray, found))
    assert point.kind_name == "not_critical"
    assert repr(jax.eval_shape(looked_at, 0.1)[0]).startswith("Run(params=float32[3]")
    for leaf in (None, 0):  # the axes for `vmap`
        assert repr(jax.tree.map(lambda _, leaf=leaf: leaf, found)).startswith("Run(")


@pytest.mark.parametrize(
    ("loss", "start", "meaning"),
    [
        (lambda x: x[0] ** 4, [0.0], "the second-derivative test is silent here; x^4 is a minimum, x^3 is not"),
        (lambda x: x[0] ** 2 + x[1] ** 4, [0.0, 0.0], "degenerate: not a maximum"),
        (lambda x: x[1] ** 3 - x[0] ** 2, [0.0, 0.0], "degenerate: not a minimum"),
        (lambda x: x[0] ** 2 - x[1] ** 2, [0.0, 0.0], "escape_direction leads down"),
        (lambda x: x[0] ** 2, [0.0], "the loss is higher in every direction"),
        (lambda x: -(x[0] ** 2), [0.0], "the loss is lower in every direction"),
        (lambda x: x[0] + x[1] ** 2, [0.0, 0.0], "methods that minimize it stop here"),
        (lambda x: jnp.exp(x[0]), [0.0], "a small enough step along -grad lowers the loss"),
        (lambda x: jnp.abs(x[0]), [0.0], "undecided"),
    ],
)
def test_a_verdict_says_what_it_means(loss, start, meaning):
    point = jon.classify(loss, jnp.array(start))
    assert meaning in point.meaning
    assert repr(point).replace("\n  ", " ").endswith(point.meaning)
    assert point.meaning not in str(point)


def test_classify_takes_a_problem():
    x = jnp.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    problem = jon.Problem(lambda w, batch: jnp.mean((batch @ w) ** 2), init=jnp.ones(2), data=x)
    point = jon.classify(problem, jnp.zeros(2))
    np.testing.assert_allclose(point.eigenvalues, np.linalg.eigvalsh(2 * x.T @ x / 3), rtol=1e-5)
    of_a_batch = jon.classify(problem, jnp.zeros(2), x[:2])
    np.testing.assert_allclose(of_a_batch.eigenvalues, np.linalg.eigvalsh(x[:2].T @ x[:2]), rtol=1e-5)
    ridge = jon.Problem(lambda w, *, l2: jnp.sum(w**2) * l2, init=jnp.ones(2))
    with pytest.raises(TypeError, match=r"asks for l2 by keyword.*problem\.fixed\(l2=\.\.\.\)"):
        jon.classify(ridge, jnp.zeros(2))
    with_mode = jon.Problem(lambda w, *, train: jnp.sum(w**2) * (3.0 if train else 1.0), init=jnp.ones(2))
    np.testing.assert_allclose(jon.classify(with_mode, jnp.zeros(2)).eigenvalues, [2.0, 2.0])


def test_arrays_are_abbreviated():
    assert abbreviated(jnp.arange(3.0)) == "float32[3] 0, 1, 2"
    assert abbreviated({"w": np.zeros((20, 30)), "b": jnp.bfloat16(1)}) == (
        "b bfloat16[] 1, w float64[20, 30] 0, 0, 0, 0, 0, 0, ..."
    )
    assert abbreviated([np.zeros(7)] * 5).endswith("and 2 more, 35 numbers in all")
    assert abbreviated(jax.random.key(0)) == "key<fry>[]"
    assert abbreviated(np.array([1 + 2j])) == "complex128[1] 1+2j"
    deleted = jnp.ones(2)
    deleted.delete()
    assert abbreviated(deleted) == "float32[2]"


def test_a_line_is_wrapped_without_losing_words():
    text = "  " + " ".join(f"word{i}" for i in range(60))
    assert wrapped(text).split() == text.split()
    assert all(line.startswith("  ") and len(line) <= 100 for line in wrapped(text).splitlines())


def test_a_small_curve_leaves_out_what_is_not_finite():
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", curve(np.array([[1.0, 10.0, 100.0]]), "loss"))]
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2)  # logarithmic, as it spans decades
    assert heights[0] > heights[2]  # y points down
    gap = curve(np.array([[1.0, np.nan, 2.0, np.inf]]), "loss")
    assert gap.count("M") == 2
    assert "from 1 to 2" in gap
    assert curve(np.full((1, 5), np.nan), "loss") == ""
