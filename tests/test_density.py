"""The trace and the density of the spectrum against matrices whose eigenvalues are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_notes.curvature import HessianOperator, hessian, spectral_density, trace

N = 200
SPECTRA = {
    "decaying": 0.7 ** np.arange(N),
    "both signs": np.linspace(-1, 3, N),
    "low rank": np.r_[np.zeros(N - 5), 1.0, 2.0, 3.0, 4.0, 50.0],
    "identity": np.ones(N),
}


def rotated(values, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((N, N)))[0]
    return jnp.asarray(basis @ np.diag(values) @ basis.T)


@pytest.mark.parametrize("name", SPECTRA)
def test_the_trace_is_within_its_standard_error(name, x64):
    """Over 60 keys the root mean square error is what the estimate says, up to a factor of 2, and without bias."""
    values, matrix = SPECTRA[name], rotated(SPECTRA[name])
    estimates = jax.vmap(lambda key: trace(matrix, matvecs=40, key=key))(jax.random.split(jax.random.key(1), 60))
    errors = np.asarray(estimates.value) - values.sum()
    said, rounding = np.asarray(estimates.standard_error), 1e-9 * np.abs(values).sum()
    root_mean_square = np.sqrt(np.mean(errors**2))
    assert root_mean_square <= 2 * np.sqrt(np.mean(said**2)) + rounding
    assert abs(errors.mean()) <= 4 * root_mean_square / np.sqrt(60) + rounding
    errors = np.abs(errors)
    assert estimates.matvecs[0] == 40
    if name in ("low rank", "identity"):
        assert errors.max() < 1e-9 * np.abs(values).sum()
    if name == "decaying":  # 0.7^20 of the trace is beyond the basis
        assert errors.max() < 1e-2 * values.sum()
        assert np.asarray(estimates.standard_error).mean() < 1e-3 * values.sum()


def test_it_is_exact_with_as_many_products_as_the_matrix_has_columns(x64):
    matrix = jnp.asarray(np.diag([1.0, -2.0, 5.0]))
    np.testing.assert_allclose(trace(matrix, matvecs=6).value, 4.0, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_a_small_trace_is_exact_and_costs_a_product_per_column(n):
    matrix = np.random.default_rng(n).standard_normal((n, n)).astype(np.float32)
    matrix += matrix.T
    found = trace(jnp.asarray(matrix))
    assert float(found.value) == pytest.approx(np.trace(matrix.astype(np.float64)), rel=1e-5)
    assert (float(found.standard_error), int(found.matvecs)) == (0.0, n)
    assert "+- 0 " in str(found)
    assert np.isnan(trace(jnp.full((n, n), jnp.nan)).standard_error)


def test_one_vector_does_not_tell_the_error_of_a_share():
    spectrum = jnp.linspace(-1.0, 1.0, 30)
    share, error = spectral_density(lambda v: spectrum * v, like=spectrum, probes=1, steps=10).below(0.0)
    assert 0 < float(share) < 1
    assert float(error) == np.inf
    share, error = spectral_density(jnp.full((1, 1), -7.0), probes=1).below(0.0)
    assert (float(share), float(error)) == (1.0, 0.0)


def test_the_trace_of_a_hessian_on_a_pytree():
    def loss(params):
        return jnp.sum(params["a"] ** 4) + params["b"] ** 2 * jnp.sum(params["a"])

    params = {"a": jnp.array([1.0, 2.0, -1.0]), "b": jnp.float32(0.5)}
    exact = jnp.trace(hessian(loss, params))
    found = trace(HessianOperator(loss, params), matvecs=8)
    np.testing.assert_allclose(found.value, exact, rtol=1e-4)
    assert str(found).startswith("trace ")


@pytest.mark.parametrize("name", SPECTRA)
def test_moments_of_the_density_are_those_of_the_spectrum(name, x64):
    values, matrix = SPECTRA[name], rotated(SPECTRA[name])
    density = spectral_density(matrix, steps=30, probes=16, key=jax.random.key(2))
    np.testing.assert_allclose(density.weights.sum(axis=1), 1, rtol=1e-9)
    for power in (1, 2, 3):
        moments = np.nansum(np.asarray(density.weights) * np.nan_to_num(np.asarray(density.nodes)) ** power, axis=1)
        spread = moments.std(ddof=1) / 4
        assert abs(moments.mean() - (values**power).mean()) <= 4 * spread + 1e-9 * np.abs(values**power).mean()


@pytest.mark.parametrize("entries", [[], [3.0], [3.0, 2.0], [3.0, -2.0, 1.0]])
def test_the_trace_of_a_low_rank_is_exact(entries):
    diagonal = jnp.zeros(50).at[: len(entries)].set(jnp.array(entries))
    found = trace(lambda v: diagonal * v, like=diagonal)
    np.testing.assert_allclose(found.value, sum(entries), atol=1e-4)
    assert float(found.standard_error) < 1e-4


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_trace_has_no_preferred_scale(scale):
    spectrum = jnp.arange(50.0)
    plain, scaled = (trace(lambda v, s=s: jnp.float32(s) * spectrum * v, like=spectrum) for s in (1.0, scale))
    np.testing.assert_allclose(scaled.value, jnp.float32(scale) * plain.value, rtol=1e-3)
    np.testing.assert_allclose(scaled.standard_error, jnp.float32(scale) * plain.standard_error, rtol=1e-2)


def test_what_is_not_symmetric_or_finite_is_said():
    crooked = np.random.default_rng(0).standard_normal((30, 30)).astype(np.float32)
    for measure in (trace, spectral_density):
        with pytest.raises(ValueError, match="must be symmetric"):
            measure(lambda v: jnp.asarray(crooked) @ v, like=jnp.zeros(30))
    share, _ = spectral_density(lambda v: jnp.nan * v, like=jnp.zeros(30), steps=10).below(0.0)
    assert jnp.isnan(share)
    for factor in (jnp.nan, 1e-36):  # of the second the sums underflow
        unknown = spectral_density(lambda v, c=factor: jnp.float32(c) * v, like=jnp.zeros(50), steps=10)
        with pytest.raises(ValueError, match="no density to draw: nothing is known"):
            unknown.to_dataset()
        assert jnp.isnan(trace(lambda v, c=factor: jnp.float32(c) * v, like=jnp.zeros(50)).value)


def test_defaults_fit_small_operators():
    np.testing.assert_allclose(trace(lambda v: jnp.arange(3.0) * v, like=jnp.zeros(3)).value, 3.0, atol=1e-4)


def test_the_share_below_and_the_smooth_density(x64):
    values = np.r_[np.full(50, -2.0), np.linspace(1, 2, 150)]
    density = spectral_density(rotated(values), steps=30, probes=16)
    share, error = density.below(0.0)
    assert abs(share - 0.25) < 4 * error
    assert 0 < error < 0.05
    points = jnp.linspace(-4, 4, 801)
    smooth = density.at(points, 0.1)
    np.testing.assert_allclose(np.trapezoid(smooth, points), 1, rtol=1e-6)
    left = np.asarray(points) < 0
    np.testing.assert_allclose(np.trapezoid(smooth[left], points[left]), share, rtol=1e-6)
    assert (np.asarray(smooth)[(points > -1) & (points < 0)] < 1e-3).all()


def test_products_are_counted():
    assert spectral_density(jnp.eye(N), steps=30, probes=3).matvecs == 3  # one vector spans an invariant subspace
    assert spectral_density(rotated(SPECTRA["both signs"]), steps=30, probes=3).matvecs == 90


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trace(jnp.eye(4), matvecs=3), "matvecs"),
        (lambda: trace(jnp.eye(4), matvecs=10), "matvecs"),
        (lambda: spectral_density(jnp.eye(4), steps=1), "steps"),
        (lambda: spectral_density(jnp.eye(4), probes=0), "probes"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_density_in_words():
    spectrum = jnp.linspace(-1.0, 9.0, 200)
    density = spectral_density(lambda v: spectrum * v, like=spectrum, steps=40, key=jax.random.key(3))
    share, error = (100 * float(number) for number in density.below(-0.1))
    told = f"{share:.3g} % +- {error:.2g} % of the eigenvalues are below -0.1, a hundredth of that range"
    assert str(density) == f"eigenvalues from -1 to 9 by 4 random vectors and 160 products\n{told}"
    assert "by 1 random vector and" in str(spectral_density(lambda v: spectrum * v, like=spectrum, probes=1))
    assert "nothing is known" in str(spectral_density(lambda v: jnp.nan * v, like=spectrum))
    assert "are below 0," in str(spectral_density(lambda v: 0 * v, like=spectrum))
    many = jax.vmap(lambda a: spectral_density(lambda v: a * spectrum * v, like=spectrum, steps=5))(jnp.arange(1.0, 4))
    assert str(many) == "3 spectral densities"
