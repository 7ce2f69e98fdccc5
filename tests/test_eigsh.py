"""`eigsh` and its operators against LAPACK, scipy and prescribed spectra; counts, verification, memory."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from compiled import compiled_programs
from jax.experimental import sparse as jsparse

from jaxopt_notes._jaxpr import bytes_needed
from jaxopt_notes.curvature import (
    EigshStatus,
    FunctionOperator,
    GaussNewtonOperator,
    HessianOperator,
    eigsh,
    hessian,
    hvp,
    probe,
)

compiled = importlib.import_module("jaxopt_notes.curvature._eigsh")._eigsh
N = 120


def symmetric(eigenvalues, seed=0):
    """A dense float64 matrix with the given eigenvalues."""
    n = len(eigenvalues)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    matrix = basis * np.asarray(eigenvalues, float) @ basis.T
    return (matrix + matrix.T) / 2


def wanted(eigenvalues, k, which):
    """The k values that `which` asks for, ascending."""
    values = np.sort(eigenvalues)
    if which == "LM":
        return np.sort(values[np.argsort(-np.abs(values))[:k]])
    low = {"LA": 0, "SA": k, "BE": k // 2}[which]
    return np.r_[values[:low], values[len(values) - (k - low) :]]


def prescribed(n, count, dtype, seed=0):
    """Families of spectra that eigen-solvers stumble over, `count` matrices of each, and whether they are hard."""
    rng, ranks = np.random.default_rng(seed), np.arange(n)
    scale = 1e35 if dtype == np.float32 else 1e300
    families = {
        "random": lambda: rng.normal(size=n),
        "few values": lambda: rng.choice(rng.normal(size=rng.integers(1, 5)), n),
        "clustered (hard)": lambda: (
            rng.choice(rng.normal(size=3), n) + 10.0 ** rng.integers(-9, -1) * rng.normal(size=n)
        ),
        "repeated ends": lambda: np.r_[rng.uniform(-1, 1, n - 8), 5, 5, 5, 4, -5, -5, -5, -4],
        "low rank": lambda: np.where(ranks < rng.integers(0, 4), rng.choice([-2, 1, 3, 3], n), 0),
        "identity": lambda: np.full(n, rng.normal()),
        "huge": lambda: scale * rng.choice(rng.normal(size=6), n),
        "tiny": lambda: rng.choice(rng.normal(size=6), n) / (1e7 * scale**0.5),
        "semidefinite": lambda: np.r_[np.zeros(n // 2), np.geomspace(1e-3, 1e-1, n - n // 2)],
        "wide (hard)": lambda: np.geomspace(1e-8, 1e4, n) * np.where(ranks % 2, 1, -1),
        "halves (hard)": lambda: np.repeat(2.0**-ranks, rng.integers(1, 4))[:n] * rng.choice([-1, 1]),
    }
    names = [name for name in families for _ in range(count)]
    matrices = np.stack([symmetric(families[name](), i) for i, name in enumerate(names)]).astype(dtype)
    # Exactly repeated eigenvalues, without rounding: a ring, pairs, integers on the diagonal.
    ring = 2 * np.eye(n) - np.roll(np.eye(n), 1, 0) - np.roll(np.eye(n), -1, 0)
    pairs = np.kron(np.eye(n), np.ones((2, 2)) - np.eye(2))[:n, :n]
    exact = np.stack([ring, pairs, np.diag(ranks % 3 - 1.0)]).astype(dtype)
    return [*names, "ring", "pairs", "integers"], np.concatenate([matrices, exact])


@pytest.mark.parametrize(("bits", "which", "n", "k", "ncv"), [(32, "BE", 24, 5, 9), (64, "LM", 13, 3, 12)])
def test_what_is_said_to_be_proved_is_what_lapack_finds(bits, which, n, k, ncv):
    most = 200
    with jax.enable_x64(bits == 64):
        names, matrices = prescribed(n, 20, np.dtype(f"float{bits}").type)
        broken = np.stack([np.full((n, n), np.nan), np.diag(np.full(n, np.inf)), np.triu(matrices[0])])
        run = jax.jit(jax.vmap(partial(eigsh, k=k, which=which, ncv=ncv, maxiter=most, probability=0.999999)))
        pairs = jax.tree.map(np.asarray, run(jnp.asarray(np.concatenate([matrices, broken.astype(matrices.dtype)]))))
        eps = float(jnp.finfo(matrices.dtype).eps)
    assert (pairs.status[-3:] == [EigshStatus.NON_FINITE, EigshStatus.NON_FINITE, EigshStatus.NOT_SYMMETRIC]).all()
    assert not pairs.converged[-3:].any()
    assert np.max(pairs.matvecs + pairs.verification_matvecs) <= most
    for i, name in enumerate(names):
        one = jax.tree.map(lambda leaf: leaf[i].astype(float), pairs)  # noqa: B023
        size = np.abs(matrices[i]).max().astype(float) or 1.0
        matrix, found, residuals = matrices[i] / size, one.values / size, one.residuals / size
        spectrum = np.linalg.eigvalsh(matrix)
        expected, verified = wanted(spectrum, k, which), one.converged > 0
        if which == "LM":  # of equal modulus either sign will do
            verified = verified[np.argsort(np.abs(found))]
            expected, found = np.sort(np.abs(expected)), np.sort(np.abs(found))
        slack = eps**0.5 * np.abs(expected) + k**0.5 * residuals.max() + 2 * one.zero_level / size
        assert np.all(np.abs(found - expected)[verified] <= slack[verified]), name
        true = np.linalg.norm(one.vectors @ matrix - one.values[:, None] / size * one.vectors, axis=1)
        assert np.all(true <= residuals), name
        np.testing.assert_allclose(one.vectors @ one.vectors.T, np.eye(k), atol=60 * eps, err_msg=name)
        assert one.interval[0] / size <= spectrum[0], name
        assert one.interval[1] / size >= spectrum[-1], name
        assert verified.all() or "hard" in name, (name, one)


SPECTRA = {
    "random": np.random.default_rng(0).normal(size=N),
    "repeated": np.r_[np.linspace(-1, 1, N - 10), 5, 5, 5, 4, 3, -5, -5, -5, -4, -3],
}


def test_the_smallest_dimension():
    pairs = eigsh(np.diag([3.0, -1.0]).astype(np.float32), 1, which="SA")
    np.testing.assert_allclose(pairs.values, [-1], atol=1e-6)
    assert pairs.converged.all()
    assert int(pairs.matvecs + pairs.verification_matvecs) == 2


def test_scipy_agrees_and_needs_no_fewer_products():
    matrix = symmetric(np.r_[np.random.default_rng(1).normal(size=N - 5), [5, 6, 7, 8, 9]]).astype(np.float32)
    calls = []
    counted = scipy.sparse.linalg.LinearOperator((N, N), matvec=lambda v: calls.append(0) or matrix @ v, dtype=float)
    pairs = eigsh(matrix, 5, tol=1e-3)
    values = scipy.sparse.linalg.eigsh(counted, 5, which="LA", tol=1e-3, v0=np.ones(N))[0]
    np.testing.assert_allclose(pairs.values, values, rtol=1e-5)
    assert int(pairs.matvecs) <= len(calls)


def test_tiny_operators_neither_underflow_nor_look_asymmetric():
    """Near the smallest numbers of float32 the radius covers what underflow takes of the entries."""
    rng = np.random.default_rng(0)
    spectrum = np.linspace(-1, 3, 40)
    basis = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    for scale in (1e-37, 1e-34):
        matrix = ((basis * spectrum) @ basis.T * scale).astype(np.float32)
        matrix = np.triu(matrix) + np.triu(matrix, 1).T
        pairs = eigsh(matrix, 2, which="BE")
        assert pairs.converged.all(), pairs
        error = np.abs(np.asarray(pairs.values, np.float64) - np.array([-1, 3]) * scale)
        assert np.all(error <= np.asarray(pairs.residuals, np.float64))
        assert np.all(np.asarray(pairs.residuals) <= max(2e-38, 2e-5 * scale))


def test_sparse_matrices_of_scipy_and_of_jax():
    dense = np.diag(np.arange(1.0, 31.0)).astype(np.float32)
    dense[0, 29] = dense[29, 0] = 2
    expected = np.linalg.eigvalsh(dense.astype(np.float64))[-2:]
    for matrix in (
        scipy.sparse.coo_matrix(dense),
        scipy.sparse.csr_array(dense.astype(int)),
        jsparse.BCOO.fromdense(dense),
    ):
        np.testing.assert_allclose(eigsh(matrix, 2).values, expected, rtol=1e-5)


def test_without_the_second_run_repeated_eigenvalues_are_missed():
    matrix = symmetric(SPECTRA["repeated"]).astype(np.float32)
    started = eigsh(jnp.diag(jnp.arange(1.0, 31.0)), 1, v0=jnp.eye(30)[3], verify=False)
    assert not started.converged[0]  # the residual of a given start shows an eigenvalue, not the largest
    pairs = eigsh(matrix, 3, verify=False)
    np.testing.assert_allclose(pairs.values, [3, 4, 5], atol=1e-4)
    assert int(pairs.verification_matvecs) == 0


def test_a_small_residual_alone_is_not_convergence_and_products_are_counted_exactly():
    # One negative eigenvalue beside many near zero: after few products a random vector has a residual below 1e-2 |A|.
    spectrum = np.r_[-0.01, np.linspace(0, 1e-3, 1990), np.linspace(1, 20, 9)].astype(np.float32)
    calls = []

    def product(v):
        jax.debug.callback(lambda: calls.append(0))
        return spectrum * v

    pairs = eigsh(product, 1, which="SA", like=spectrum, tol=1e-2, maxiter=6)
    jax.effects_barrier()
    assert pairs.residuals[0] < 1e-2 * pairs.norm
    assert not pairs.converged.any()
    assert pairs.status == EigshStatus.BUDGET_SPENT
    assert "raise maxiter" in pairs.status_text
    assert "one further out may have been missed" in str(pairs)
    assert pairs.interval[0] <= -0.01 < float(pairs.values[0])
    assert int(pairs.matvecs + pairs.verification_matvecs) == 6
    assert len(calls) == 6 + 3  # of the probe


def test_warm_starts_use_fewer_products_and_lose_nothing():
    spectrum = SPECTRA["random"]
    matrix = symmetric(spectrum)
    moved = matrix + 1e-3 * symmetric(np.linspace(-1, 1, N), 7)
    cold = eigsh(moved.astype(np.float32), 5)
    before = eigsh(matrix.astype(np.float32), 5)
    warm = eigsh(moved.astype(np.float32), 5, v0=before.vectors)
    assert int(warm.matvecs) < int(cold.matvecs)
    np.testing.assert_allclose(warm.values, np.linalg.eigvalsh(moved)[-5:], atol=1e-4)
    assert warm.converged.all()
    # An eigenvector from elsewhere is no harm: what it cannot see the second run finds.
    for start in (np.linalg.eigh(matrix)[1][:, 3], np.zeros(N)):
        misled = eigsh(matrix.astype(np.float32), 5, v0=start)
        np.testing.assert_allclose(misled.values, np.sort(spectrum)[-5:], atol=1e-4)
        assert misled.converged.all()


def test_vmap_over_operators_equals_a_loop_and_failure_is_data():
    matrices = [symmetric(SPECTRA[name]).astype(np.float32) for name in ("random", "repeated")]
    batch = jax.vmap(partial(eigsh, k=5))(jnp.asarray([*matrices, np.full((N, N), np.nan)]))
    for i, matrix in enumerate(matrices):
        one = eigsh(matrix, 5)
        np.testing.assert_allclose(batch.values[i], one.values, atol=1e-4)
        np.testing.assert_array_equal(batch.converged[i], one.converged)
        np.testing.assert_allclose(batch.interval[i], one.interval, atol=2e-2)
    text = str(one).splitlines()
    assert text[0] == "5 of 5 verified; every pair converged."
    assert text[5].startswith("5: an eigenvalue lies within ")
    assert text[5].endswith("; none further out was missed, with probability 0.99.")
    assert text[6].startswith("All eigenvalues lie between -5")
    assert np.isnan(batch.values[2]).all()
    assert np.isnan(batch.vectors[2]).all()
    assert str(batch) == "3 operators: 2 converged, 1 non_finite"
    assert "not finite" in batch.status_text[2]
    assert str(jax.tree.map(lambda leaf: leaf[2], batch)).startswith("nothing is verified; a product was not finite")


# Operators


def network(seed=0):
    """Parameters, data, model and loss of a small classifier."""
    rng = np.random.default_rng(seed)
    params = {
        "first": {"kernel": rng.normal(size=(4, 5)), "bias": rng.normal(size=5)},
        "last": {"kernel": rng.normal(size=(5, 3))},
    }
    data = rng.normal(size=(23, 4)).astype(np.float32), rng.integers(0, 3, 23)

    def model(params, batch):
        return jnp.tanh(batch[0] @ params["first"]["kernel"] + params["first"]["bias"][None]) @ params["last"]["kernel"]

    def loss(outputs, batch):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), batch[1][:, None], axis=1)
        return -jnp.mean(chosen)

    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params), data, model, loss


def dense(operator):
    """The matrix of an operator, column by column."""
    like, structure = jax.tree.flatten(operator.like)
    ends = np.cumsum([leaf.size for leaf in like])

    def column(unit):
        parts = jnp.split(unit, ends[:-1])
        vector = structure.unflatten([part.reshape(leaf.shape) for part, leaf in zip(parts, like, strict=True)])
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(operator.product()(vector))])

    return jax.jit(jax.vmap(column, out_axes=1))(jnp.eye(ends[-1]))


@pytest.mark.parametrize("batch_size", [None, 5, 23])
def test_streamed_and_restricted_hessian_is_the_full_one(batch_size):
    params, data, model, loss = network()

    def whole(params, batch):
        return loss(model(params, batch), batch)

    matrix = hessian(whole, params, data)
    np.testing.assert_allclose(dense(HessianOperator(whole, params, data, batch_size)), matrix, atol=1e-6)
    last = HessianOperator(whole, params, data, batch_size, only="last")
    np.testing.assert_allclose(dense(last), matrix[25:, 25:], atol=1e-6)
    assert last.like["first"] == {"bias": None, "kernel": None}
    biases = HessianOperator(whole, params, data, batch_size, only=lambda path: path.endswith("bias"))
    np.testing.assert_allclose(dense(biases), matrix[:5, :5], atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 5])
def test_gauss_newton_is_the_product_of_its_factors(batch_size):
    params, data, model, loss = network()
    flat, unflatten = jax.flatten_util.ravel_pytree(params)
    outputs = model(params, data)
    jacobian = jax.jacobian(lambda x: model(unflatten(x), data).ravel())(flat)
    curvature = jax.hessian(lambda y: loss(y.reshape(outputs.shape), data))(outputs.ravel())
    operator = GaussNewtonOperator(model, loss, params, data, batch_size)
    np.testing.assert_allclose(dense(operator), jacobian.T @ curvature @ jacobian, atol=1e-6)


def test_eigenpairs_of_a_network_and_one_compilation_for_new_parameters():
    finished = []
    for seed in (0, 1):
        params, data, model, loss = network(seed)
        operator = HessianOperator(lambda p, batch: loss(model(p, batch), batch), params, data, 5)  # noqa: B023
        with compiled_programs() as names:
            pairs = eigsh(operator, 3, which="BE")
        finished += [name for name in names if "_eigsh" in name]
        matrix = dense(operator)
        np.testing.assert_allclose(pairs.values, wanted(np.linalg.eigvalsh(matrix), 3, "BE"), atol=1e-5)
        assert pairs.vectors["first"]["kernel"].shape == (3, 4, 5)
        top = jax.tree.map(lambda leaf: leaf[-1], pairs.vectors)
        image = operator(top)
        for one, leaf in zip(jax.tree.leaves(image), jax.tree.leaves(top), strict=True):
            np.testing.assert_allclose(one, pairs.values[-1] * leaf, atol=2e-4)
    assert len(finished) == 1


def test_operators_cross_jit_and_vmap():
    matrix = jnp.asarray(symmetric([1.0, 2.0, 3.0]), jnp.float32)

    def loss(x, matrix):
        return 0.5 * jnp.dot(x, matrix @ x) + jnp.sum(x**4)

    points = jnp.stack([jnp.zeros(3), jnp.ones(3)])
    batch = jax.vmap(lambda x: HessianOperator(loss, x, matrix)(jnp.ones(3)))(points)
    expected = jax.vmap(lambda x: hvp(loss, x, jnp.ones(3), matrix))(points)
    np.testing.assert_allclose(batch, expected, rtol=1e-6)
    operator = HessianOperator(loss, points[1], matrix)
    np.testing.assert_allclose(jax.jit(lambda operator, v: operator(v))(operator, jnp.ones(3)), expected[1], rtol=1e-6)
    narrow = HessianOperator(lambda x: jnp.sum(x.astype(jnp.float32) ** 2), jnp.ones(2, jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16


def test_probe_tells_rounding_from_asymmetry_and_noise():
    matrix = symmetric(np.linspace(-1, 1, 60)).astype(np.float32)
    found = probe(matrix)
    assert found.noise == 0
    assert found.asymmetry < 1e-6
    assert 1e-6 < found.zero_level < 1e-4
    assert 0.3 < found.norm <= 1 + 1e-6
    assert probe(np.triu(matrix)).asymmetry > 0.05
    calls = iter(range(10**6))

    def noisy(v):
        draw = jax.pure_callback(lambda: np.float32(next(calls)), jax.ShapeDtypeStruct((), jnp.float32))
        return v * (1 + 0.01 * draw)

    assert probe(noisy, like=jnp.zeros(5)).noise > 1e-3


# Proofs


def test_proofs_fail_no_more_often_than_stated():
    # The largest eigenvalue is easily missed: one of 100, not far beyond a dense bulk.
    spectrum = jnp.asarray(np.r_[np.linspace(-1, 1, 99), 1.15], jnp.float32)

    def run(key):
        operator = FunctionOperator(lambda v: spectrum * v, spectrum)
        pairs = eigsh(operator, 1, tol=0.05, ncv=9, maxiter=150, key=key, probability=0.5)
        return pairs._replace(vectors=None)

    pairs = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 2000))
    missed = np.asarray(pairs.converged[:, 0]) & (np.asarray(pairs.values[:, 0]) < 1.15 * (1 - 0.05) - 1e-3)
    outside = (pairs.interval[:, 0] > -1) | (pairs.interval[:, 1] < 1.15)
    assert np.mean(pairs.converged) > 0.9
    assert np.mean(missed) <= 0.5
    assert np.mean(outside) <= 0.5
    assert np.median(pairs.interval[:, 1]) < 1.5  # bounds that say something


def test_memory_is_that_of_the_basis():
    n, ncv = 200_000, 12
    spectrum = jnp.linspace(-1.0, 1.0, n)
    operator = FunctionOperator(lambda v: spectrum * v, spectrum)
    numbers = (jnp.float32(1e-3), jnp.float32(0.99))
    lowered = compiled.lower(
        operator, None, jax.random.key(0), *numbers, k=3, which="LA", ncv=ncv, maxiter=1000, verify=True
    )
    vectors = bytes_needed(lowered.compile()).between / (4 * n)
    assert vectors <= ncv + 4.1


# Wrong use


MATRIX = np.eye(10, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: eigsh(MATRIX, 10), ValueError, "k must be less than the dimension 10, got 10; the nearest .* is 9"),
        (lambda: eigsh(MATRIX, 0), ValueError, "k must be an integer of at least 1, got 0"),
        (lambda: eigsh(MATRIX, 3, ncv=4), ValueError, "ncv must be an integer of at least 7 and at most 10, got 4"),
        (lambda: eigsh(MATRIX, 3, which="la"), ValueError, "unknown which 'la'; did you mean 'LA'"),
        (lambda: eigsh(MATRIX, 3, tol=-1.0), ValueError, "tol must be in"),
        (lambda: eigsh(MATRIX, 3, maxiter=2), ValueError, "maxiter must be an integer of at least 3, got 2"),
        (lambda: eigsh(MATRIX, 3, probability=0.1), ValueError, "probability must be in"),
        (lambda: eigsh(MATRIX, 3, key=3), TypeError, "key must be one random key"),
        (lambda: eigsh(MATRIX, 3, v0=np.ones(9)), ValueError, r"v0 must have the shapes of .* \[\(10,\)\]"),
        (lambda: eigsh(MATRIX, 3, v0=[np.ones(10)]), TypeError, "v0 must have the structure"),
        (lambda: eigsh(MATRIX[:, :9], 3), TypeError, r"square matrix; got ndarray of shape \(10, 9\)"),
        (lambda: eigsh(np.ones((1, 1)), 1), ValueError, "dimension 1"),
        (lambda: eigsh(MATRIX, 3, which="SM"), ValueError, "smallest modulus, is not accepted"),
        (lambda: eigsh(MATRIX, 3, which="sr"), ValueError, "did you mean 'SA'"),
        (lambda: eigsh(scipy.sparse.eye(3, 4), 1), TypeError, r"square matrix, got dia_matrix of shape \(3, 4\)"),
        (lambda: eigsh(scipy.sparse.linalg.aslinearoperator(MATRIX), 1), TypeError, "of scipy, which runs numpy"),
        (lambda: eigsh(lambda v: v, 3), TypeError, "pass like="),
        (lambda: eigsh(lambda v: v[1:], 3, like=jnp.zeros(9)), ValueError, "returns must have the shape of like"),
        (lambda: eigsh(lambda v: v, 3, like={}), TypeError, "like must hold at least one array"),
        (lambda: eigsh(lambda v: jnp.cumsum(v), 3, like=jnp.zeros(9)), ValueError, "must be symmetric, but u'Av and"),
        (lambda: eigsh(np.triu(np.ones((9, 9))), 3), ValueError, "must be symmetric, but u'Av and"),
        (lambda: HessianOperator(jnp.sum, {}), TypeError, "params must hold at least one array"),
        (lambda: HessianOperator(jnp.sum, jnp.zeros(3), batch_size=3), ValueError, "batch_size=3 needs data"),
        (
            lambda: HessianOperator(lambda x, y: jnp.sum(x), jnp.zeros(3), jnp.zeros(4), 5),
            ValueError,
            "batch_size must be an integer of at least 1 and at most 4, got 5",
        ),
        (
            lambda: HessianOperator(lambda p: jnp.sum(p["first"]), {"first": jnp.zeros(3)}, only="frist"),
            ValueError,
            "only='frist' matches no parameter; did you mean 'first'",
        ),
        (lambda: HessianOperator(lambda x: x, jnp.zeros(3)), TypeError, "must return a scalar"),
        (lambda: GaussNewtonOperator(3, jnp.sum, jnp.zeros(3)), TypeError, "model must be a function, got 3"),
        (lambda: FunctionOperator(3, jnp.zeros(3)), TypeError, "matvec must be a function"),
    ],
)
def test_wrong_use_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
