"""Intervals of a proof hold what they stand for: every operation against Arb at 200 bits, and matrices of intervals."""

from fractions import Fraction

import flint
import numpy as np
import pytest
from interval_cases import NEAR, RULES, numbers, where_subnormal_numbers_are_zero, worst_error, wrong

from jaxopt_notes.proof import _elementary as elementary
from jaxopt_notes.proof import _lanes
from jaxopt_notes.proof._interval import FLUSHED, LARGEST, Interval, down, interval, is_subnormal, stacked, up
from jaxopt_notes.proof._matrices import Ball, ball, eigenvalues, product
from jaxopt_notes.proof._special import evaluate
from jaxopt_notes.proof._tape import Tape

arb = flint.arb


def _may_lie(ball, lower, upper):
    """Whether a ball is not outside of a range for certain."""
    return not (ball < lower or ball > upper)


@pytest.fixture
def bits():
    before, flint.ctx.prec = flint.ctx.prec, 200
    yield
    flint.ctx.prec = before


@pytest.mark.parametrize("name", RULES)
def test_an_operation_holds_every_value(name):
    misses, examples, _ = wrong(name, 2000)
    assert not misses, f"{misses} values outside, such as {examples}"


@pytest.mark.parametrize("name", RULES)
def test_an_operation_holds_every_value_where_small_numbers_are_flushed(name):
    outcome = where_subnormal_numbers_are_zero(lambda: 1)
    if outcome is None:
        pytest.skip("only x86 processors are told to flush small numbers here")
    misses, examples, _ = wrong(name, 500, seed=1, subnormal=False, compute=where_subnormal_numbers_are_zero)
    assert not misses, f"{misses} values outside, such as {examples}"


@pytest.mark.parametrize("name", NEAR)
def test_an_elementary_function_is_as_accurate_as_its_constant_says(name):
    worst, granted = worst_error(name, 5000)
    assert worst < granted / 1.5, "the comment beside the constant grants half as much again"


@pytest.mark.parametrize("name", ["add", "multiply", "exp", "log", "sin", "cos", "tanh", "sqrt", "erf"])
def test_results_of_single_numbers_are_close(name):
    """Bounds of everything would hold every value too."""
    rng = np.random.default_rng(2)
    operands = [Interval(rng.uniform(0.5, 0.9, 1000)) for _ in range(RULES[name][2])]
    result = RULES[name][0](*operands)
    assert ((result.upper - result.lower) < 64 * 2.0**-53 * result.magnitude()).all()


def test_steps_outward_hold_the_neighbours():
    x = np.concatenate([numbers(np.random.default_rng(3), 20_000), [0.0, -0.0, LARGEST, -LARGEST, 2.0**-1074]])
    with np.errstate(over="ignore"):
        assert (up(x) >= np.nextafter(x, np.inf)).all()
        assert (down(x) <= np.nextafter(x, -np.inf)).all()
        assert (up(x) - x <= 2 * np.spacing(np.abs(x)) + 2 * FLUSHED)[np.abs(x) < 1e300].all()


def test_steps_outward_from_what_overflowed():
    with np.errstate(invalid="ignore"):
        above, below = up(np.array([np.inf, -np.inf, np.nan])), down(np.array([-np.inf, np.inf, np.nan]))
    assert above[0] == above[2] == np.inf
    assert above[1] >= -LARGEST
    assert below[0] == below[2] == -np.inf
    assert below[1] <= LARGEST


def test_subnormal_numbers_are_known_by_their_bits():
    x = np.array([0.0, -0.0, 5e-324, -1e-310, 2.0**-1022, -1.0, np.inf, np.nan])
    assert is_subnormal(x).tolist() == [False, False, True, True, False, False, False, False]


def test_zero_times_everything_is_zero():
    nothing, everything = Interval(np.zeros(1)), Interval(np.array([-np.inf]), np.array([np.inf]))
    result = nothing * everything
    assert (result.lower <= 0).all()
    assert (result.upper >= 0).all()
    assert np.isfinite([result.lower, result.upper]).all()


def test_sums_hold_exact_sums():
    rng = np.random.default_rng(4)
    rows = np.ldexp(rng.uniform(-1, 1, (50, 40)), rng.integers(-60, 60, (50, 40)))
    rows[:, 1::2] = -rows[:, ::2]  # cancel, up to the width
    width = np.abs(rows) * 2.0**-50
    result = Interval(rows, rows + width).total((1,))
    for i in range(50):
        assert Fraction(float(result.lower[i])) <= sum(map(Fraction, rows[i].tolist()))
        assert Fraction(float(result.upper[i])) >= sum(map(Fraction, (rows[i] + width[i]).tolist()))
    assert Interval(np.zeros((3, 0))).total((1,)).upper.tolist() == [0, 0, 0]
    with np.errstate(all="ignore"):
        assert Interval(np.full(3, 1e308)).total((0,)).upper == np.inf


def test_the_constant_pi(bits):
    assert elementary.PI.lower < arb.pi() < elementary.PI.upper


def test_constants_that_may_be_flushed_are_held():
    tape = Tape()
    value = _lanes.constant(tape, tape.constant(5e-324), {})
    assert value.lower < 0 < 5e-324 < value.upper
    assert tape.value(tape.constant(5e-324)) is None, "no simplification may take it for zero"
    assert tape.multiply(tape.constant(5e-324), tape.variable(0)) != tape.constant(0.0)


def test_stacked_and_where_above():
    x = Interval(np.array([-2.0, -1.0, 1.0]), np.array([-1.0, 1.0, 2.0]))
    chosen = x.where_above(Interval(5.0), Interval(3.0))
    assert chosen.lower.tolist() == [3, 3, 5]
    assert chosen.upper.tolist() == [3, 5, 5]
    assert stacked([x, interval(1.0)], axis=1).shape == (3, 2)


# Matrices


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_products_hold_exact_products(size):
    rng = np.random.default_rng(size)
    for scale in (1.0, 1e150, 1e-160, 1e-307):
        known = rng.standard_normal((size, size)) * scale
        middle = np.ldexp(rng.standard_normal((3, size, size)), rng.integers(-30, 30, (3, size, size)))
        radius = np.abs(middle) * 10.0 ** rng.uniform(-18, 0, middle.shape)
        sign = rng.choice([-1.0, 0.0, 1.0], middle.shape)
        result = product(known, Ball(middle, radius))
        for m in range(3):
            member = (middle + 0.99 * sign * radius)[m].tolist()
            for i in range(size):
                for j in range(size):
                    true = sum(Fraction(known[i, k]) * Fraction(member[k][j]) for k in range(size))
                    assert abs(Fraction(result.middle[m, i, j]) - true) <= Fraction(result.radius[m, i, j])


def test_a_ball_holds_its_interval():
    rng = np.random.default_rng(5)
    x = numbers(rng, 5000) / 4
    y = np.maximum(x, numbers(rng, 5000) / 4)
    each = ball(Interval(x, y))
    with np.errstate(over="ignore"):
        middle, radius = (list(map(Fraction, part[np.isfinite(each.radius)].tolist())) for part in each)
    kept = np.isfinite(each.radius)
    assert kept.mean() > 0.9
    for m, r, low, high in zip(middle, radius, x[kept].tolist(), y[kept].tolist(), strict=True):
        assert m - r <= Fraction(low) <= Fraction(high) <= m + r
    assert np.isnan(ball(Interval(np.array([-np.inf]), np.array([1.0]))).middle).all()


def _eigenvalues_of_two(a, b, c):
    half, apart = (arb(a) + arb(c)) / 2, ((arb(a) - arb(c)) / 2) ** 2 + arb(b) ** 2
    return half - apart.sqrt(), half + apart.sqrt()


def test_eigenvalues_of_two_by_two_matrices_lie_in_their_ranges(bits):
    rng = np.random.default_rng(6)
    count = 3000
    a, b, c = (np.ldexp(rng.uniform(-1, 1, count), rng.integers(-40, 40, count)) for _ in range(3))
    a, b, c = np.where(rng.random((3, count)) < 0.2, rng.integers(-2, 3, (3, count)), [a, b, c])
    c = np.where(rng.random(count) < 0.2, a, c)  # and b is 0 now and then: a double eigenvalue
    width = np.where(rng.random(count) < 0.5, 0.0, 1e-9)
    lower = np.stack([np.stack([a, b], -1), np.stack([b, c], -1)], -2)
    bounds = eigenvalues(Interval(lower, lower + width[:, None, None]))
    assert np.isfinite(bounds.lower).mean() > 0.99
    for share in (0.0, 0.5, 1.0):
        inside = np.minimum(lower + share * width[:, None, None], lower + width[:, None, None])
        for i in range(count):
            for k, value in enumerate(_eigenvalues_of_two(inside[i, 0, 0], inside[i, 0, 1], inside[i, 1, 1])):
                assert _may_lie(value, bounds.lower[i, k], bounds.upper[i, k])


@pytest.mark.parametrize("size", [3, 6])
def test_eigenvalues_of_larger_matrices_lie_in_their_ranges(bits, size):
    rng = np.random.default_rng(size)
    for spread in (0, 3, 8):
        matrix = rng.standard_normal((size, size)) * 10.0 ** rng.uniform(-spread, spread, (size, 1))
        matrix = matrix + matrix.T
        bounds = eigenvalues(Interval(matrix[None]))
        exact = flint.acb_mat(matrix.tolist()).eig()
        for k, value in enumerate(sorted((each.real for each in exact), key=float)):
            assert _may_lie(value, bounds.lower[0, k], bounds.upper[0, k])


def test_known_degenerate_eigenvalues():
    """With Hadamard's matrix W, W D W / 4 has the eigenvalues D; the entries are exact."""
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    for values in ([4, 4, 4, 4], [-8, 0, 0, 4], [0, 0, 0, 0], [-4, 4, 4, 2**40], [2**48, -(2**48), 0, 8]):
        matrix = (hadamard * np.array(values)) @ hadamard / 4
        bounds = eigenvalues(Interval(matrix[None]))
        assert (bounds.lower[0] <= np.sort(values)).all()
        assert (bounds.upper[0] >= np.sort(values)).all()
        if 0 in values:
            assert ((bounds.lower[0] < 0) & (bounds.upper[0] > 0)).sum() >= values.count(0)


def test_eigenvalues_of_what_has_no_bound_are_not_bounded():
    matrix = np.full((1, 2, 2), np.inf)
    bounds = eigenvalues(Interval(-matrix, matrix))
    assert np.isneginf(bounds.lower).all()
    assert np.isposinf(bounds.upper).all()


def test_arb_and_intervals_agree_on_every_operation():
    """Both hold the same numbers, so their results meet; balls are computed by other code."""
    rng = np.random.default_rng(8)
    verbs = ["negative", "inverse", "square", "sqrt", "absolute", "sign", "step", "equal", "kink"]
    verbs += ["exp", "log", "sin", "cos", "tanh", "softplus", "asin", "acos", "atan", "erf"]
    for lower, upper in [*np.sort(rng.uniform(-2, 2, (50, 2)), axis=1).tolist(), [0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]:
        tape = Tape()
        x = tape.variable(0)
        nodes = [tape.plain(name, x) for name in verbs] + [tape.power(x, 3), tape.maximum(x, tape.constant(0.25))]
        with np.errstate(all="ignore"):
            ranges = _lanes.Lanes(tape, nodes)([Interval(lower, upper)])
        balls = evaluate(tape, nodes, [arb(lower).union(arb(upper))])
        for name, each, other in zip([*verbs, "power", "maximum"], ranges, balls, strict=True):
            assert _may_lie(other, float(each.lower), float(each.upper)), (name, lower, upper)
