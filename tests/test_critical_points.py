"""Every tabulated critical point is found, of every index, and every start is accounted for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from numpy.polynomial import Polynomial

import jaxopt_notes as jon
from jaxopt_notes.curvature import find_critical_points

STARTS = 2000


def search(problem, n=STARTS, **options):
    low, high = problem.facts.domain
    starts = jax.random.uniform(jax.random.key(7), (n, len(low)), minval=jnp.asarray(low), maxval=jnp.asarray(high))
    box = (jnp.asarray(low, starts.dtype), jnp.asarray(high, starts.dtype))
    options = {"expected_index_sum": problem.facts.index_sum, "box": box, **options}
    return find_critical_points(problem.loss, starts, **options)


COMPLETE = {
    "himmelblau": (jon.problems.himmelblau, 9),
    "six_hump_camel": (jon.problems.six_hump_camel, 15),
    "mueller_brown": (jon.problems.mueller_brown, 5),
    **{f"styblinski_tang_{d}": (lambda d=d: jon.problems.styblinski_tang(d), 3**d) for d in (1, 2, 3, 4)},
}


@pytest.mark.parametrize("name", COMPLETE)
def test_every_tabulated_point_is_found_and_no_other(name, x64):
    factory, count = COMPLETE[name]
    problem = factory()
    found = search(problem)
    table = sorted(problem.facts.critical_points, key=lambda p: p.value)
    assert len(found) == count == len(table)
    points, index = np.asarray(found.points), np.asarray(found.verdicts.index)
    for known in table:
        gaps = np.linalg.norm(points - known.point, axis=1)
        nearest = int(gaps.argmin())
        assert gaps[nearest] < 1e-6
        assert index[nearest] == known.index
        np.testing.assert_allclose(found.verdicts.eigenvalues[nearest], known.eigenvalues, rtol=1e-6, atol=1e-8)
    assert tuple(found.index_counts.get(k, 0) for k in range(points.shape[1] + 1)) == problem.facts.index_counts
    assert found.index_sum == problem.facts.index_sum
    assert "consistent with a complete list" in str(found)
    assert sum(found.outcomes.values()) == STARTS
    assert found.outcomes["found"] == found.reached_by.sum()
    assert (np.diff(found.loss) >= 0).all()


def test_float32_finds_them_too():
    found = search(jon.problems.himmelblau())
    assert (len(found), found.index_sum) == (9, 1)


def test_points_are_written_and_read_as_a_labelled_table(tmp_path):
    problem = jon.problems.himmelblau()
    starts = jax.random.uniform(jax.random.key(7), (200, 2), minval=-6.0, maxval=6.0)
    starts = {"u": starts[:, :1], "v": starts[:, 1]}
    loss = lambda p: problem.loss(jnp.append(p["u"], p["v"]))
    found = find_critical_points(loss, starts)
    table = xr.load_dataset(jon.save(found.to_dataset(), tmp_path / "points.nc"), engine="h5netcdf")
    known = sorted(problem.facts.critical_points, key=lambda point: point.value)
    np.testing.assert_allclose(table.loss, [point.value for point in known], atol=1e-3)
    assert table["index"].values.tolist() == [point.index for point in known]
    assert table.kind.values.tolist() == ["minimum"] * 4 + ["saddle"] * 4 + ["maximum"]
    assert table.parameter.values.tolist() == ["['u'][0]", "['v']"]
    np.testing.assert_allclose(table.position[-1], known[-1].point, atol=1e-4)
    np.testing.assert_allclose(table.eigenvalues[-1], known[-1].eigenvalues, rtol=1e-3)
    assert int(table.reached_by.sum()) == table.attrs["starts_found"] <= table.attrs["starts"] == 200
    assert "9 critical points, 4 of them minima" in jon.plots.alt_text(jon.plot(table))
    nothing = find_critical_points(loss, starts, box=(5.9, 6.0)).to_dataset()
    assert dict(nothing.sizes) == {"point": 0, "mode": 2, "parameter": 2}


@pytest.mark.parametrize("name", ["monkey_saddle", "cubic"])
def test_degenerate_points_are_never_called_otherwise(name):
    """Newton only halves its distance there, so what it reaches is near: an eigenvalue of rounding is no curvature."""
    found = search(getattr(jon.problems, name)(), n=500)
    assert found.verdicts.kind_name.tolist() == ["degenerate"]
    assert found.index_sum is None
    assert found.index_counts == {}


def test_a_list_that_misses_a_point_is_said():
    problem = jon.problems.double_well()
    found = find_critical_points(problem.loss, jnp.array([[-1.1], [0.9]]), expected_index_sum=1)
    assert (len(found), found.index_sum) == (2, 2)
    assert "the list misses at least one point" in str(found)


def test_impostors_where_the_slope_never_vanishes_are_reported_apart():
    """f = x + y^2 (1 + x^2): |grad|^2 is stationary along the x-axis, where the gradient is (1, 0)."""

    def impostor(x):
        return x[0] + x[1] ** 2 * (1 + x[0] ** 2)

    starts = jax.random.uniform(jax.random.key(0), (200, 2), minval=-0.5, maxval=0.5) * jnp.array([[1.0, 1e-3]])
    found = find_critical_points(impostor, starts, max_step=0.05, steps=30)
    assert len(found) == 0
    assert found.outcomes["gradient_flat"] > 150
    assert "0 critical points" in str(found)


def test_what_leaves_the_box_or_is_not_finite_is_reported():
    problem = jon.problems.himmelblau()
    box = (jnp.array([2.0, 1.0]), jnp.array([4.0, 3.0]))
    found = search(problem, n=300, box=box, expected_index_sum=None)
    np.testing.assert_allclose(found.points, [[3, 2]], rtol=1e-5)
    assert found.outcomes["left_box"] > 0
    pole = find_critical_points(lambda x: jnp.log(x[0]) + 0 * x[1], jnp.array([[-1.0, 0.0], [1.0, 0.0]]), steps=5)
    assert pole.outcomes["non_finite"] >= 1
    assert len(pole) == 0


def test_pytrees_and_further_arguments():
    def wells(params, scale):
        return scale * ((params["a"] ** 2 - 1) ** 2 + jnp.sum(params["b"] ** 2))

    starts = {"a": jnp.linspace(-1.5, 1.5, 20), "b": jnp.zeros((20, 2)) + 0.1}
    found = find_critical_points(wells, starts, 2.0, box=({"a": -2.0, "b": -1.0}, {"a": 2.0, "b": 1.0}))
    assert found.points["a"].shape == (3,)
    assert found.points["b"].shape == (3, 2)
    np.testing.assert_allclose(np.sort(found.points["a"]), [-1, 0, 1], atol=1e-5)
    assert found.index_counts == {0: 2, 1: 1}


def test_one_start_moves():
    him = jon.problems.himmelblau()
    found = jon.find_critical_points(him.loss, jnp.array([[2.8, 1.9]]))
    np.testing.assert_allclose(found.points[0], [3.0, 2.0], atol=1e-4)


def test_a_kink_is_not_counted():
    starts = jnp.concatenate([jax.random.normal(jax.random.key(0), (20, 2)), jnp.zeros((1, 2))])
    bend = lambda x: jnp.sum(x**2) - jax.nn.relu(x[0]) - jax.nn.relu(-x[0])
    assert jon.find_critical_points(bend, starts, box=(-3.0, 3.0)).index_sum is None


@pytest.mark.parametrize("name", ["merge", "max_step"])
def test_zero_lengths_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        jon.find_critical_points(lambda x: jnp.sum(x**2), jnp.ones((2, 2)), **{name: 0.0})


def test_a_network_has_its_saddle_at_zero(x64):
    """A deep linear network at zero: every start near it is drawn to a saddle, as Newton does not prefer minima."""
    problem = jon.problems.deep_linear_network()
    zero = jax.tree.map(jnp.zeros_like, problem.init(jax.random.key(0)))
    near = jax.tree.map(lambda leaf: 0.01 * jax.random.normal(jax.random.key(1), (5, *leaf.shape), leaf.dtype), zero)
    found = find_critical_points(problem.loss, near, max_step=0.1)
    assert found.outcomes["found"] == 5
    assert not np.isin("minimum", found.verdicts.kind_name)


def test_new_numbers_do_not_compile_again():
    traced = []

    def counted(x, shift):
        traced.append(1)
        return jnp.sum((x - shift) ** 2)

    starts = jax.random.normal(jax.random.key(0), (10, 2))
    find_critical_points(counted, starts, jnp.float32(0.0))
    once = len(traced)
    moved = find_critical_points(counted, starts + 1, jnp.float32(3.0))
    assert len(traced) - once <= 2  # looked at and hoisted, not compiled
    np.testing.assert_allclose(moved.points, [[3, 3]], rtol=1e-6)


def test_close_and_multiple_roots_of_a_polynomial(x64):
    """The gradient has known roots: simple ones are told apart, multiple ones are one degenerate point each."""

    def primitive(x, coefficients):
        return jnp.polyval(coefficients, x[0])

    rows = [
        ([0.5, 0.50000009, 4], 10, ["minimum", "maximum", "minimum"]),
        ([0.5, 0.5001, 4, 4.05, 9.3], 10, ["minimum", "maximum"] * 2 + ["minimum"]),
        ([0.5] * 3 + [0.501, 1], 1.5, ["degenerate", "maximum", "minimum"]),
        ([3, 3, 4, 4], 5, ["degenerate"] * 2),  # monotone: no extremum at all
    ]
    for roots, high, kinds in rows:
        coefficients = np.zeros(7)
        descending = Polynomial.fromroots(roots).integ().coef[::-1]
        coefficients[-len(descending) :] = descending
        found = find_critical_points(primitive, jnp.linspace(0.0, high, 1000)[:, None], jnp.asarray(coefficients))
        order = np.argsort(np.asarray(found.points)[:, 0])
        np.testing.assert_allclose(np.asarray(found.points)[order, 0], np.unique(roots), rtol=2e-4)
        assert found.verdicts.kind_name[order].tolist() == kinds
        assert found.index_sum == (None if "degenerate" in kinds else 1)
        assert not found.dimension.any()


def test_what_float32_cannot_tell_apart_is_claimed_to_be_nothing():
    """A minimum and a maximum one rounding unit apart are one point without a sign, never one of the two."""
    coefficients = jnp.asarray(Polynomial.fromroots([0.5, 0.50000009, 4]).integ().coef[::-1], jnp.float32)
    found = find_critical_points(lambda x: jnp.polyval(coefficients, x[0]), jnp.linspace(0.0, 10.0, 1000)[:, None])
    by_place = dict(zip(np.round(np.asarray(found.points)[:, 0], 2).tolist(), found.verdicts.kind_name, strict=True))
    assert by_place == {0.5: "degenerate", 4.0: "minimum"}
    assert (found.index_sum, found.index_counts) == (None, {0: 1})


def test_points_at_infinity_are_named_as_escaping():
    tails = [
        lambda x: jnp.exp(x[0]) + x[1] ** 2,
        lambda x: 1 / x[0] + x[1] ** 2,
        lambda x: jnp.tanh(x[0] - 3) + x[1] ** 2,
        lambda x: jnp.exp(-((x[0] + 1) ** 2) / 4) + x[1] ** 2,  # flat along x at -1, outside of the starts
        lambda x: jnp.log(1 + (x[0] + 2) ** 2) - x[1] ** 2,
    ]
    loss = lambda x, which: jax.lax.switch(which, tails, x)
    starts = jax.random.uniform(jax.random.key(0), (100, 2), minval=0.5, maxval=6.0)
    for which in range(len(tails)):
        found = find_critical_points(loss, starts, jnp.int32(which))
        assert (len(found), found.outcomes["escaped"]) == (0, 100), which
        assert "100 starts escaped" in str(found)
        assert found.to_dataset().sizes["point"] == 0


def test_continua_and_degenerate_points_in_sixty_steps():
    """Each is one row: a circle and lines as continua, isolated points although Newton's method only creeps there."""
    rows = [
        (lambda x: (x[0] ** 2 + x[1] ** 2 - 1) ** 2, {("degenerate", 1), ("maximum", 0)}),
        (lambda x: (x[0] ** 2 - 1) ** 2 + 0 * x[1], {("degenerate", 1)}),
        (lambda x: x[1] ** 2 * (1 + x[0] ** 2), {("degenerate", 1)}),  # Newton's steps run along the line as well
        (lambda x: (x[0] - 0.5) ** 4 + x[1] ** 4, {("degenerate", 0)}),
        (lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, {("degenerate", 0)}),
    ]
    loss = lambda x, which: jax.lax.switch(which, [row[0] for row in rows], x)
    starts = jax.random.uniform(jax.random.key(0), (60, 2), minval=-3.0, maxval=3.0)
    for which, (_, expected) in enumerate(rows):
        found = find_critical_points(loss, starts, jnp.int32(which))
        assert len(found) == (3 if which == 1 else len(expected)), which
        assert set(zip(found.verdicts.kind_name.tolist(), found.dimension.tolist(), strict=True)) == expected, which
        assert (found.outcomes["found"], found.reached_by.sum()) == (60, 60)
        assert ("continuum of critical points, of dimension 1" in str(found)) == (which < 3)
        assert found.to_dataset().dimension.values.tolist() == found.dimension.tolist()


def test_points_modulo_a_symmetry():
    """Two minima and the saddle between them; the loss does not change if y and z are shifted together."""
    loss = lambda p: (p["x"] ** 2 - 1) ** 2 + (p["y"][0] - p["y"][1]) ** 2
    keys = jax.random.split(jax.random.key(0))
    starts = {"x": jax.random.normal(keys[0], (60,)), "y": jax.random.normal(keys[1], (60, 2))}
    shift = {"x": jnp.zeros(1), "y": jnp.ones((1, 2))}
    for null_directions in (shift, lambda p: jax.tree.map(lambda leaf: leaf + 0, shift)):
        found = find_critical_points(loss, starts, null_directions=null_directions)
        assert found.verdicts.kind_name.tolist() == ["minimum", "minimum", "saddle"]
        assert (found.index_counts, found.dimension.tolist(), found.reached_by.sum()) == ({0: 2, 1: 1}, [0] * 3, 60)
    with pytest.raises(ValueError, match="null_directions"):
        find_critical_points(loss, starts, null_directions={"x": jnp.zeros(1), "y": jnp.ones((1, 3))})


def test_points_of_a_periodic_loss_are_listed_once():
    """On the torus the sum of (-1)^index is its Euler characteristic, 0; on the cylinder below it is too."""
    loss = lambda x, bend: jnp.cos(x[0]) + jnp.where(bend, x[1] ** 2, jnp.cos(x[1]))
    starts = jax.random.uniform(jax.random.key(0), (60, 2), minval=-10.0, maxval=10.0)
    box = (jnp.array([-np.pi, -20.0]), jnp.array([np.pi, 20.0]))
    found = find_critical_points(loss, starts, False, period=2 * np.pi, expected_index_sum=0)
    assert (found.index_counts, found.index_sum) == ({0: 1, 1: 2, 2: 1}, 0)
    np.testing.assert_allclose(np.sort(found.points, axis=0), [[0, 0], [0, 0], [np.pi] * 2, [np.pi] * 2], atol=1e-5)
    found = find_critical_points(loss, starts, True, period=[2 * np.pi, np.inf], box=box, expected_index_sum=0)
    assert (found.index_counts, found.index_sum, found.outcomes["found"]) == ({0: 1, 1: 1}, 0, 60)
    with pytest.raises(ValueError, match=r"period must be a period of the loss: 3 later in entry [01]"):
        find_critical_points(loss, starts, False, period=3.0)
    with pytest.raises(ValueError, match="period must be above 0"):
        find_critical_points(loss, starts, False, period=0.0)


def test_one_start_without_its_axis_is_named():
    with pytest.raises(ValueError, match=r"starts must have a leading axis .* got one start, of shape \(2,\)"):
        find_critical_points(lambda x: x[0] ** 2 + x[1] ** 2, jnp.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(starts=jnp.zeros((0, 2))), ValueError, "at least one start"),
        (dict(starts=jnp.zeros((3, 2), int)), TypeError, "starts"),
        (dict(box=3.0), TypeError, "box"),
        (dict(box=(1.0, -1.0)), ValueError, "lower < upper"),
        (dict(steps=0), ValueError, "steps"),
        (dict(merge=-1.0), ValueError, "merge"),
        (dict(max_step=np.nan), ValueError, "max_step"),
    ],
)
def test_bad_input_is_named(options, error, message):
    arguments = {"starts": jnp.zeros((3, 2)), **options}
    with pytest.raises(error, match=message):
        find_critical_points(lambda x: jnp.sum(x**2), **arguments)


@pytest.mark.parametrize("starts", [7, 1024, 1500])
def test_every_start_has_the_verdict_of_its_own_end(starts):
    """Ends are judged in blocks, those at the same numbers once: here every second start is the first one again."""
    x = np.linspace(0.5, 1.5, 2 * starts).reshape(starts, 2).astype(np.float32)
    x[::2] = x[0]
    search = find_critical_points(lambda x: jnp.sum(jnp.exp(x)), jnp.asarray(x), steps=2).search
    slopes = np.linalg.norm(np.exp(np.asarray(search.points, float)), axis=1)
    np.testing.assert_allclose(search.gradient_norm, slopes, rtol=1e-5)
    assert len(np.unique(search.gradient_norm)) == 1 + starts // 2
