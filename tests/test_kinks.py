"""A kink at the point: derivatives there describe nothing, and the verdict reports it."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxopt_notes as jon


def absolute(x):
    """|x|, with the slope 0 at 0; that of `jnp.abs` is 1 there."""
    return jax.nn.relu(x) + jax.nn.relu(-x)


# Each has a zero gradient and a Hessian that JAX computes, at the origin of three dimensions.
KINKS = {
    "the slope on one side only": lambda x: jnp.sum(x**2) - jax.nn.relu(x[0]),
    "a ridge": lambda x: jnp.sum(x**2) - absolute(x[0]),
    "a valley": lambda x: jnp.sum(absolute(x)),
    "a saddle that is none": lambda x: x[0] ** 2 - x[1] ** 2 + absolute(x[1]) + x[2] ** 2,
    "with a large loss": lambda x: 100 + jnp.sum(x**2) - absolute(x[0]),
}
KINKS |= {
    "a small jump in a steep bowl": lambda x: 1000 * jnp.sum(x**2) - 10 * jnp.sum(absolute(x)),
    "a small jump on a steep hill": lambda x: jnp.sum(absolute(x)) - 100 * jnp.sum(x**2),
}
SMOOTH = {
    "bowl": (lambda x: jnp.sum(x**2), "minimum"),
    "quartic": (lambda x: jnp.sum(x**4), "degenerate"),
    "cubic": (lambda x: x[0] ** 3 + x[1] ** 2 + x[2] ** 2, "degenerate"),
    "narrow": (lambda x: -jnp.sum(jnp.cos(30 * x)), "minimum"),
    "steep beside a flat direction": (lambda x: 1e2 * x[0] ** 2 + x[1] ** 2 + 0.1 * x[2] ** 2, "minimum"),
    "softened": (lambda x: jnp.sum(jnp.sqrt(x**2 + 1.0)), "minimum"),
    "a kink elsewhere": (lambda x: jnp.sum(x**2) - jax.nn.relu(x[0] - 1.0), "minimum"),
    "a kink nearby": (lambda x: jnp.sum(x**2) + jnp.sum(jax.nn.relu(x - 0.002)), "minimum"),
}


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_undecided(name, method):
    point = jon.classify(KINKS[name], jnp.zeros(3), method=method)
    assert float(point.gradient_norm) == 0
    assert not point.smooth
    assert point.kind_name == "undecided"
    assert "kink" in str(point)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_loss_keeps_its_verdict(name):
    loss, kind = SMOOTH[name]
    point = jon.classify(loss, jnp.zeros(3))
    assert point.smooth
    assert point.kind_name == kind


def test_far_from_the_origin_a_narrow_function_is_smooth():
    point = jon.classify(lambda x: 1 - jnp.exp(-jnp.sum((x - 1000) ** 4)), jnp.full(2, 1000.0))
    assert point.smooth
    assert point.kind_name == "degenerate"


def test_a_kink_with_a_slope_is_no_impostor():
    point = jon.classify(lambda x: jnp.sum(jnp.abs(x)), jnp.zeros(3))  # JAX's slope is 1 there
    assert point.kind_name == "undecided"
    assert "kink" in str(point)
    assert "gradient-flat" not in str(point)


def test_a_slope_without_curvature_is_no_impostor():
    assert "gradient-flat" not in str(jon.classify(lambda x: 3 * x[0], jnp.zeros(3)))


def test_networks_are_smooth_where_training_leaves_them():
    problem = jon.problems.digits_mlp(hidden=8)
    for steps in (1, 200):
        run = jon.minimize(
            problem.loss, problem.init(jax.random.key(0)), jon.adam(0.01), steps=steps, data=problem.data
        )
        assert jon.classify(problem.loss, run.params, problem.data, matvecs=8, method="lanczos").smooth


def test_in_float64_smaller_kinks_are_seen(x64):
    loss = lambda x: jnp.sum(x**2) - 1e-2 * absolute(x[0])
    assert jon.classify(loss, jnp.zeros(3)).kind_name == "undecided"


def test_the_catalogue_is_smooth_at_its_points(x64):
    makers = [jon.problems.CATALOGUE[name] for name in ("himmelblau", "mueller_brown", "rastrigin", "styblinski_tang")]
    for make in makers:
        problem = make()
        points = jnp.stack([jnp.asarray(known.point) for known in problem.facts.critical_points])
        assert jax.vmap(lambda x, loss=problem.loss: jon.classify(loss, x))(points).smooth.all(), problem.name


def test_the_page_of_a_verdict_holds_its_words_and_numbers():
    point = jon.classify(lambda x: x[0] ** 2 - x[1] ** 2, jnp.zeros(2))
    page = point._repr_html_()
    assert page.startswith("<p><strong>saddle</strong>")
    assert "escape_direction leads down" in page
    assert re.search(r"smallest</th><td[^>]*>-2</td>", page)
    many = jax.vmap(lambda x: jon.classify(lambda x: jnp.sum(x**2), x))(jnp.zeros((3, 2)))
    assert "<strong>3 points: 3 minimum</strong>" in many._repr_html_()
