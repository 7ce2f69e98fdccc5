"""Verdicts on x'Ax/2 at 0 for the classical test matrices A, against their exact inertia."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from jaxopt_notes import classify

PATH = Path(__file__).parent.parent / "scripts" / "classical_matrices.py"
spec = importlib.util.spec_from_file_location("classical_matrices", PATH)
matrices = importlib.util.module_from_spec(spec)
spec.loader.exec_module(matrices)


def test_the_exact_inertia_is_that_of_lapack_where_rounding_leaves_no_doubt():
    decided = 0
    for formula in matrices.MATRICES.values():
        matrix = formula(7)
        np.testing.assert_array_equal(matrix, matrix.T)
        values = np.linalg.eigvalsh(matrix)
        if np.abs(values).min() > 1e-12 * np.abs(values).max():
            decided += 1
            assert matrices.inertia(matrix) == (np.sum(values > 0), np.sum(values < 0), 0)
    assert decided > 50


@pytest.mark.parametrize(("precision", "wide"), [("float32", False), ("float64", True)])
def test_no_verdict_is_wrong_and_none_undecided_without_need(precision, wide):
    rows = matrices.judged(classify, {precision: wide}, sizes=(8,))
    assert len(rows) == len(matrices.MATRICES)
    assert [row for row in rows if row[-1]] == []
    needless = []
    for name, _, _, claim, _ in rows:
        values = np.linalg.eigvalsh(matrices.MATRICES[name](8).astype(precision).astype(float))
        clear = np.abs(values).min() > 300 * np.finfo(precision).eps * np.abs(values).max()
        if clear and claim in ("degenerate", "undecided"):
            needless.append((name, claim))
    assert needless == []
