"""What a rule states of its method is so: its hyperparameters, what it divides by, up to which rate it is stable."""

import dataclasses
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import OPTIMIZER_CASES
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser

import jaxopt_notes as jon
from jaxopt_notes.curvature import preconditioner, stability_bound
from jaxopt_notes.curvature._stability import largest_stable_rate
from jaxopt_notes.explorer._bundle import module
from jaxopt_notes.explorer._controls import CONTROLS
from jaxopt_notes.optimizers import RULES
from jaxopt_notes.optimizers._base import pair
from jaxopt_notes.optimizers._facts import Divisor, Without

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
FACTS = [
    *("name", "state_type", "function", "formula", "hyperparameters"),
    *("divisor", "inverse_limit", "second_axis", "look"),
]
STABLE = [case for case in OPTIMIZER_CASES if not isinstance(RULES[case.name].inverse_limit, Without)]


@every_rule
@pytest.mark.parametrize("fact", FACTS)
def test_a_rule_that_lacks_a_fact_cannot_be_made(rule, fact):
    facts = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    assert type(rule)(**facts) == rule
    del facts[fact]
    with pytest.raises(TypeError, match=fact):
        type(rule)(**facts)


@every_rule
def test_its_factory_makes_it_and_takes_its_hyperparameters(rule):
    factory = jon.OPTIMIZERS[rule.name]
    assert factory.__name__ == rule.name
    assert getattr(jon, rule.name) is factory
    assert factory(0.1).update.func == rule
    arguments = inspect.signature(factory).parameters
    assert list(rule.hyperparameters) == [name for name, each in arguments.items() if "Number" in each.annotation]
    assert next(iter(rule.hyperparameters)) == "learning_rate"
    assert rule.second_axis is None or rule.hyperparameters[rule.second_axis].tried


@every_rule
def test_what_is_worth_trying_is_accepted(rule):
    factory = jon.OPTIMIZERS[rule.name]
    for name, interval in rule.hyperparameters.items():
        for value in interval.tried or ():
            factory(**{"learning_rate": 0.1, name: value})
        for value in (-0.1, np.nextafter(interval.most, np.inf) if interval.most < np.inf else np.nan):
            with pytest.raises(ValueError, match=f"{name} must be in"):
                factory(**{"learning_rate": 0.1, name: value})
        if interval.tried:
            control = CONTROLS[rule.name][name]
            assert control.low <= control.default <= control.high, name
    rate = rule.hyperparameters["learning_rate"]
    assert rate.tried
    assert rate.scale is None or (rate.scale[0] in ("descent", "width") and rate.scale[1] > 0)


def test_looks_differ_and_can_be_drawn():
    """By matplotlib, and by the page of the explorer, which has shapes of its own."""
    looks = [rule.look for rule in RULES.values()]
    assert len(set(looks)) == len(looks)
    shapes = module().partition("const SHAPES = {")[2].partition("};")[0]
    for look in looks:
        Line2D([], [], color=look.color, linestyle=look.dash, marker=look.marker)
        assert re.search(rf'^  "?{re.escape(look.marker)}"?: \(r\)', shapes, re.MULTILINE), look.marker


@every_rule
def test_the_formula_is_a_step_in_latex(rule):
    assert "x_{t+1} = x_t" in rule.formula
    plain = re.sub(r"\\[bB]ig[lr]", "", rule.formula)  # what matplotlib's LaTeX lacks
    for lacking, like in ((r"\qquad", r"\quad"), (r"\top", "T"), (r"\lvert", "|"), (r"\rvert", "|")):
        plain = plain.replace(lacking, like)
    MathTextParser("path").parse(f"${plain}$")


def radius(case, numbers, rate, curvature):
    """The spectral radius of a step beside a minimum, of parameters and slots, with what it divides by held.

    The gradient is that of a quadratic whose curvature, seen through the divisor, is `curvature`. The step is the
    optimizer's own update, linearised at the minimum, late in a run.
    """
    optimizer = case.factory(**{**numbers, "learning_rate": rate})
    gradients = jnp.asarray(np.random.default_rng(0).standard_normal((30, 1)))
    state = optimizer.init(jnp.zeros(1))
    for grad in gradients:
        _, state = optimizer.update(grad, state, jnp.zeros(1))
    state = state._replace(count=jnp.int32(10**6))
    divisor = preconditioner(optimizer, state)
    divisor = jnp.ones(1) if divisor is None else divisor
    stated = optimizer.update.func.divisor
    held = stated.slots if isinstance(stated, Divisor) else ()
    free = [name for name in state._fields[1:] if name not in held and getattr(state, name) is not None]

    def step(vector):
        x, slots = vector[:1], dict(zip(free, vector[1:, None], strict=True))
        update, after = optimizer.update(curvature * divisor * x, state._replace(**slots), x)
        return jnp.concatenate([x + update, *(getattr(after, name) for name in free)])

    matrix = jax.jacfwd(step)(jnp.zeros(1 + len(free)))
    return float(np.max(np.abs(np.linalg.eigvals(matrix))))


@pytest.mark.parametrize("case", STABLE, ids=str)
@pytest.mark.parametrize("which", [0, 1])
def test_the_divisor_and_the_limit_are_those_of_its_steps(case, which, x64):
    numbers = {name: values[which] for name, values in case.numbers.items()} | case.held
    rule, held = case.factory(**numbers).update.func, case.factory(**numbers).update.args[0]
    limit = float(largest_stable_rate(rule, 3.0, {name: v for name, v in held.items() if name != "learning_rate"}))
    assert radius(case, numbers, 0.98 * limit, 3.0) < 1 < radius(case, numbers, 1.02 * limit, 3.0)
    given = {name: value for name, value in (numbers | case.fixed).items() if name in rule.hyperparameters}
    named = {name: value for name, value in given.items() if name != "learning_rate"}
    np.testing.assert_allclose(stability_bound(case.name, 3.0, **named), limit, rtol=1e-12)


@every_rule
def test_what_a_method_does_not_have_is_said_with_the_reason(rule):
    optimizer = jon.OPTIMIZERS[rule.name](0.1)
    state = optimizer.init(jnp.ones(2))._replace(count=jnp.int32(3))
    if isinstance(rule.divisor, Without):
        with pytest.raises(TypeError, match=f"{rule.name} divides by no diagonal: {rule.divisor.reason}"):
            preconditioner(optimizer, state)
    if isinstance(rule.inverse_limit, Without):
        with pytest.raises(ValueError, match=f"{rule.name} has no stability limit: {rule.inverse_limit.reason}"):
            stability_bound(rule.name, 1.0)
    if rule.divisor is None:
        assert preconditioner(optimizer, state) is None


@pytest.mark.parametrize(
    "optimizer", [optax.adam(0.1), optax.chain(optax.clip(1.0), jon.adam(0.1)), optax.sign_sgd(0.1)]
)
def test_of_other_optimizers_nothing_is_known_and_nothing_is_assumed(optimizer):
    state = optimizer.init(jnp.ones(2))
    for ask in (
        lambda: preconditioner(optimizer, state),
        lambda: jon.stability(optimizer, state, lambda x: x @ x, jnp.ones(2)),
    ):
        with pytest.raises(TypeError, match=r"one of ours .* is not known"):
            ask()


def test_a_rule_of_ones_own_is_known_by_its_facts():
    """Nothing reads the name of a function: the rule alone decides."""
    own = {"name": "doubled", "function": _doubled, "inverse_limit": _doubled_limit}
    optimizer = pair(dataclasses.replace(RULES["gradient_descent"], **own), 0.1)
    found = jon.stability(optimizer, optimizer.init(jnp.ones(2)), lambda x: x @ x, jnp.ones(2))
    np.testing.assert_allclose(found.bound, 0.5, rtol=1e-5)


def _doubled(grad, *, learning_rate):
    return (-2 * learning_rate * grad,)


def _doubled_limit(sharpness):
    return sharpness


def test_the_divisor_of_amsgrad_is_the_largest_average():
    for form, slot in ((True, "nu_max"), ("corrected", "nu_max"), (False, "nu")):
        optimizer = jon.adam(0.1, b2=0.5, eps=0.0, amsgrad=form)
        state = optimizer.init(jnp.zeros(1))
        for grad in (8.0, 1.0, 1.0):
            _, state = optimizer.update(jnp.array([grad]), state)
        correction = 1 if form == "corrected" else 1 - 0.5**3
        np.testing.assert_allclose(
            preconditioner(optimizer, state), np.sqrt(getattr(state, slot) / correction), rtol=1e-6
        )
