"""What a step needs and what binds: XLA's counts beside the formula of a network, and the words of a plan."""

import re

import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute.roofline import Limits, Work

EXAMPLES, INPUTS, HIDDEN, CLASSES = 64, 64, 128, 10


@pytest.fixture(scope="module")
def plan():
    problem = jon.problems.digits_mlp(hidden=HIDDEN)
    return jon.plan(problem, jon.momentum, jon.grid(learning_rate=[0.01, 0.1]), steps=10, batch_size=EXAMPLES, width=2)


def test_the_arithmetic_of_a_step_is_that_of_its_matrix_products(plan):
    # Forward, and twice as much backward, except that nothing is propagated to the inputs.
    products = 2 * EXAMPLES * (2 * INPUTS * HIDDEN + 3 * HIDDEN * CLASSES)
    work = plan.groups[0].work
    assert products <= work.flops / 2 <= 1.2 * products
    one = plan.groups[0].at_width(1).work
    assert work.flops - one.flops == pytest.approx(one.flops, rel=0.01)
    weights, batch = 4 * (INPUTS * HIDDEN + HIDDEN * CLASSES + HIDDEN + CLASSES), 4 * EXAMPLES * (INPUTS + 1)
    # Weights, velocity and gradient are read and written, and a few numbers.
    assert work.bytes - one.bytes == pytest.approx(6 * weights + batch, rel=0.01)


def test_the_slowest_part_of_a_step_is_named():
    work = Work(flops=1e6, bytes=1e6, kernels=10)
    bound = Limits(flops=1e9, bytes=1e10, starting=1e-6).bound(work, lanes=5)
    assert bound.seconds == {"compute": 1e-3, "memory": 1e-4, "launches": pytest.approx(1e-5)}
    assert (bound.part, bound.rate) == ("compute", 5e3)


def test_a_timed_plan_names_what_binds_and_how_near_it_is(plan):
    assert "bound by" not in str(plan)
    assert re.search(r"a step of a trial: [\d.e+,]+ flops, at least [\d.]+ \w+ read and written", str(plan))
    timed = plan.timed()
    assert re.search(r"bound by (compute|memory|launches): at most [\d,]+ trial-steps a second", str(timed))
    least = timed.groups[0].bound.seconds
    assert np.isfinite(list(least.values())).all()
    assert least["compute"] < timed.groups[0].work.flops / 1e8
    assert least["memory"] < timed.groups[0].work.bytes / 1e8
