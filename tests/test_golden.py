"""Our optimizers follow torch, keras, optax and closed forms step by step, in float64 and float32.

`deviation` in golden_runs.py is the measure; the fixtures are made by scripts/golden.py.
"""

from pathlib import Path

import numpy as np
import pytest
from golden_rows import LOOKALIKES, MISSING, OWN_STEPS, RECIPES, ROWS, SCHEDULE_ROWS, STEPS
from golden_runs import (
    ALL_ROWS,
    FLOAT32,
    FLOAT64,
    compare,
    deviation,
    deviations,
    first_order_paths,
    fixture,
    load,
    our_paths,
    schedule_deviations,
)

import jaxopt_notes as jon

PAGE = Path(__file__).parent.parent / "notebooks" / "conventions.md"


def test_every_method_has_its_reference_in_every_library_that_has_it():
    assert set(ROWS) == set(jon.OPTIMIZERS)
    for method, rows in ROWS.items():
        libraries = {"torch", "keras", "optax"} - set(MISSING.get(method, ()))
        assert {row.library for row in rows} == (libraries or {"numpy"})
        assert all(method in row.ours or "keras_adam(" in row.ours or "torch_dampening(" in row.ours for row in rows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", ROWS)
def test_follows_the_library_step_by_step(method, dtype):
    table = deviations(dtype)[method]
    assert len(table) >= len(ROWS[method])
    apart = {f"{run.row.ours} {run.row.key(run.scheduled)}": run[2:] for run in table if not run.agrees}
    assert not apart


@pytest.mark.parametrize("row", SCHEDULE_ROWS, ids=lambda row: row.theirs)
def test_schedules_have_the_values_of_the_library(row):
    assert schedule_deviations(np.float64)[row] <= FLOAT64
    assert schedule_deviations(np.float32)[row] <= FLOAT32


@pytest.mark.parametrize("row", LOOKALIKES, ids=lambda row: row.ours)
def test_lookalikes_are_told_apart(row):
    """The fixtures see a wrong convention: a call that only looks alike is off by a million bounds."""
    assert compare(row, True, np.float64).fed > 1e6 * FLOAT64


def test_dampening_in_torch_skips_the_first_step_and_nothing_else():
    """torch's velocity is ours plus d b^(t-1) g_1, so that its step is longer by the learning rate times that."""
    row = LOOKALIKES[0]
    ours = our_paths(np.float64)[row.our_call(False)]["fed"]
    recorded = load("gradients")
    first = np.concatenate([recorded["quadratic"][0], recorded["rosenbrock"][0]]).astype(float)
    extra = row.rate * 0.9 * 0.9 ** np.arange(STEPS)[:, None] * first
    np.testing.assert_allclose(
        np.diff(fixture(row, False)["fed"], axis=0), np.diff(ours, axis=0) - extra, rtol=0, atol=1e-12 * row.rate
    )


def test_the_two_forms_of_momentum_are_one_at_two_learning_rates():
    """The averaged form at a is the heavy ball at (1 - b) a, under a schedule too."""
    averaged = "jon.momentum(jon.schedules.exponential(1e-2, 0.99), beta=0.9, dampening=0.9)"
    heavy = "jon.momentum(jon.schedules.exponential(1e-3, 0.99), beta=0.9)"
    found = first_order_paths([averaged, heavy], np.float64)
    assert deviation(found[averaged]["fed"], found[heavy]["fed"]) < FLOAT64


def test_the_fixtures_hold_what_they_promise():
    recorded = load("gradients")
    grads = {name: recorded[name] for name in ("quadratic", "rosenbrock", "digits")}
    assert all(len(array) == STEPS and np.isfinite(array).all() for array in grads.values())
    assert (grads["quadratic"][:, 3] == 0).all()  # a coordinate that never matters
    assert (np.abs(grads["digits"].astype(float)).max(axis=0) == 0).sum() >= 30  # three pixels that are never lit
    some = (grads["digits"] == 0).any(axis=0) & (grads["digits"] != 0).any(axis=0)
    assert some.sum() > 100  # pixels dark in some minibatches
    for row in (row for row in ALL_ROWS if row.library in ("torch", "keras")):
        for scheduled in row.schedules:
            stored = fixture(row, scheduled)
            assert [len(stored[part]) for part in ("fed", "digits", "own")] == [STEPS + 1, 21, OWN_STEPS + 1]
            assert all(np.isfinite(array).all() for array in stored.values())


def test_the_page_shows_the_calls_that_were_run():
    text = PAGE.read_text()
    assert RECIPES.strip() in text
    for row in ALL_ROWS:
        assert row.ours.format(rate=row.rate) in text
        assert row.theirs.format(rate=row.rate) in text
