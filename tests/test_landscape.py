"""Slices, directions and projections, against direct evaluation, closed forms and NumPy's own linear algebra."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from compiled import compiled_programs, programs_of

import jaxopt_notes as jon
from jaxopt_notes import landscape
from jaxopt_notes.landscape import Directions, Plane
from jaxopt_notes.landscape import _engine as engine
from jaxopt_notes.landscape._directions import flat_rows


def network(params, data):
    hidden = jnp.tanh(data[0] @ params["one"]["kernel"] + params["one"]["bias"][None])
    return jnp.mean((hidden @ params["two"]["kernel"] - data[1]) ** 2) - 4.7  # losses of both signs


@pytest.fixture(scope="module")
def params():
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "one": {"kernel": jax.random.normal(keys[0], (4, 6)), "bias": jax.random.normal(keys[1], (6,))},
        "two": {"kernel": jax.random.normal(keys[2], (6, 2))},
    }


@pytest.fixture(scope="module")
def data():
    keys = jax.random.split(jax.random.key(1), 2)
    return jax.random.normal(keys[0], (30, 4)), jax.random.normal(keys[1], (30, 2))


@pytest.fixture(scope="module")
def directions(params):
    return landscape.random_directions(jax.random.key(2), params)


# Planes and lines


def test_a_plane_that_is_not_square_equals_direct_evaluation(params, data, directions):
    table = landscape.plane(network, params, directions, data=data, radius=(1.0, 0.5), points=(7, 4))
    assert table.loss.dims == ("y", "x")
    assert table.loss.shape == (4, 7)
    for i, y in enumerate(table.y.values):
        for j, x in enumerate(table.x.values):
            at = jax.tree.map(lambda p, a, b, x=x, y=y: p + x * a + y * b, params, directions[0], directions[1])
            assert float(table.loss[i, j]) == pytest.approx(float(network(at, data)), abs=1e-6, rel=1e-6)
    assert float(table.loss.min()) < 0 < float(table.loss.max())
    assert table.attrs["center_loss"] == pytest.approx(float(network(params, data)), abs=1e-6)
    assert (table.attrs["radius_x"], table.attrs["radius_y"]) == (1.0, 0.5)


def test_attributes_are_texts_and_numbers_and_survive_a_file(tmp_path, params, data, directions):
    table = landscape.plane(network, params, directions, data=data, points=3)
    assert all(isinstance(value, (str, int, float)) for value in table.attrs.values())
    assert {"normalize": "filter", "seed": "0 2", "examples": 30, "non_finite": 0}.items() <= table.attrs.items()
    assert table.x.attrs["units"] == table.attrs["units"] == "multiples of the direction"
    table.to_netcdf(tmp_path / "plane.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "plane.nc", engine="h5netcdf") as read:
        assert read.equals(table)
        assert read.attrs["kind"] == "plane"


def test_a_coordinate_of_one_moves_by_exactly_the_direction(params, directions):
    moved = Plane(params, directions).at([1.0, 0.0])
    expected = jax.tree.map(lambda p, d: p + d, params, directions[0])
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), moved, expected)))


def test_a_line_between_two_points_has_them_at_zero_and_one(params, data):
    other = jax.tree.map(lambda leaf: 2 * leaf + 1, params)
    table = landscape.line(network, params, to=other, data=data, points=5)
    assert table.x.values.tolist() == [-0.5, 0.0, 0.5, 1.0, 1.5]
    np.testing.assert_allclose(table.loss.values[[1, 3]], [network(params, data), network(other, data)], rtol=1e-5)


def test_one_array_of_parameters_and_directions_as_rows():
    table = landscape.plane(lambda p: p[0] - 10 * p[2], jnp.zeros(3), np.eye(3)[[0, 2]], x=[-1, 0, 2], y=[0.0, 1.0])
    np.testing.assert_allclose(table.loss.values, [[-1, 0, 2], [-11, -10, -8]])


def test_a_problem_with_facts_is_drawn_on_its_box():
    table = landscape.plane(jon.problems.himmelblau(), points=(5, 3))
    np.testing.assert_allclose([table.x[[0, -1]], table.y[[0, -1]]], jon.problems.himmelblau().facts.domain.T)
    x, y = float(table.x[1]), float(table.y[2])
    assert float(table.loss[2, 1]) == pytest.approx((x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2, rel=1e-5)
    curve = landscape.line(jon.problems.double_well(), points=9)
    assert curve.loss.dims == ("x",)
    assert curve.attrs["formula"].startswith("$")


def test_nan_cells_are_data_and_are_counted():
    table = landscape.plane(lambda p: jnp.log(p[0]) + p[1], jnp.zeros(2), jnp.eye(2), x=[-1.0, 1.0, 2.0], y=[0.0, 1.0])
    assert table.attrs["non_finite"] == 2
    assert np.isnan(table.loss.values[:, 0]).all()
    assert np.isfinite(table.loss.values[:, 1:]).all()


def test_batches_are_weighted_by_their_size(params, data, directions):
    whole = landscape.plane(network, params, directions, data=data, points=3)
    parts = landscape.plane(network, params, directions, data=data, points=3, batch_size=8)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-5, atol=1e-6)


def test_a_grid_in_three_directions(params, data):
    three = landscape.random_directions(jax.random.key(3), params, 3)
    table = landscape.grid_of_losses(network, params, three, [[0.0, 1.0], [0.0], [-1.0, 0.5, 2.0]], data=data)
    assert table.loss.dims == ("z", "y", "x")
    expected = network(Plane(params, three).at([1.0, 0.0, -1.0]), data)
    assert float(table.loss[0, 0, 1]) == pytest.approx(float(expected), rel=1e-5)


# The engine


def test_sharded_and_unsharded_in_any_width_are_the_same(params, data, directions):
    devices = jax.local_devices()
    assert len(devices) == 4
    whole = landscape.plane(network, params, directions, data=data, points=9, width=4)
    for width, some in ((4, devices[:1]), (4, devices[:3]), (1, devices), (7, devices[:2])):
        table = landscape.plane(network, params, directions, data=data, points=9, width=width, devices=some)
        np.testing.assert_allclose(table.loss, whole.loss, rtol=1e-6, atol=1e-6)


def test_a_first_plane_is_one_program_and_no_eager_operation(params, data):
    directions = landscape.random_directions(jax.random.key(3), params)
    with compiled_programs() as names:
        landscape.plane(lambda p, batch: 3.25 * network(p, batch), params, directions, data=data, points=6)
    assert sum("several" in name for name in names) == 1
    assert len(names) <= 3


def test_other_parameters_and_data_of_the_same_shapes_are_no_new_compilation(params, data, directions):
    traces = []

    def loss(p, batch):
        traces.append(1)
        return network(p, batch)

    landscape.plane(loss, params, directions, data=data, points=6)
    (compiled,) = [engine._compiled(*key) for key in _keys_of(loss, params, data)]
    programs = programs_of(compiled)
    other = jax.tree.map(lambda leaf: leaf + 1, params)
    landscape.plane(loss, other, landscape.random_directions(jax.random.key(9), other), data=data, points=6)
    landscape.plane(lambda p, batch: loss(p, batch), other, directions, data=data, points=6, radius=3.0)
    assert programs_of(compiled) == programs > 0
    assert [engine._compiled(*key) for key in _keys_of(lambda p, batch: loss(p, batch), other, data)] == [compiled]


def _keys_of(loss, params, data):
    from jaxopt_notes._hoist import hoist
    from jaxopt_notes.landscape import _measures as measures

    task = engine.Task(measures.value, hoist(loss, params, data, derivatives=0)[0])
    return [(task, engine._mesh(None), engine._width(task))]


def test_width_follows_the_memory_of_a_point(params, data):
    (small,) = (key[0] for key in _keys_of(network, params, data))
    more = tuple(jnp.concatenate([leaf] * 100) for leaf in data)
    (large,) = (key[0] for key in _keys_of(network, params, more))
    assert engine.bytes_per_point(large) > 50 * engine.bytes_per_point(small)
    assert engine._width(large) < engine._width(small)


KILLED = """
import os, signal, sys
import jax, jax.numpy as jnp
from jaxopt_notes import landscape
from jaxopt_notes.landscape import _engine as engine
engine.CHUNK = 16
write, finished = engine._Folder.write, []
def last_words(self, number, part):
    write(self, number, part)
    finished.append(number)
    if len(finished) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
engine._Folder.write = last_words
landscape.plane(lambda p: jnp.sum(p**2) - 3.0, jnp.ones(3), jnp.eye(3)[:2], points=8, folder=sys.argv[1])
"""


def test_a_plane_goes_on_after_a_kill(tmp_path, monkeypatch):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "slice")], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((tmp_path / "slice").glob("chunk-*.npz"))) == 2
    monkeypatch.setattr(engine, "CHUNK", 16)
    measured = []
    write = engine._Folder.write
    monkeypatch.setattr(engine._Folder, "write", lambda self, n, part: (measured.append(n), write(self, n, part)))

    def again(radius=1.0):
        loss = lambda p: jnp.sum(p**2) - 3.0
        return landscape.plane(loss, jnp.ones(3), jnp.eye(3)[:2], radius=radius, points=8, folder=tmp_path / "slice")

    table = again()
    assert measured == [2, 3, 4]
    x, y = np.meshgrid(table.x, table.y)
    np.testing.assert_allclose(table.loss, (1 + x) ** 2 + (1 + y) ** 2 - 2, rtol=1e-6, atol=1e-6)
    (tmp_path / "slice" / "chunk-000001.npz").write_bytes(b"cut off")
    assert again().equals(table)
    assert measured == [2, 3, 4, 1]
    with pytest.raises(ValueError, match="holds another slice"):
        again(radius=2.0)
    assert json.loads(Path(tmp_path / "slice" / "manifest.json").read_text())["points"] == 65


# Directions


def test_filter_norms_match_those_of_the_parameters_and_directions_are_orthogonal():
    params = jon.problems.MLP((5, 3)).init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    params["conv"] = jax.random.normal(jax.random.key(1), (3, 3, 2, 6))
    params["Dense_0"]["bias"] = jnp.arange(5.0)
    found = landscape.random_directions(jax.random.key(2), params)
    for i in range(2):
        for drawn, leaf in zip(jax.tree.leaves(found[i]), jax.tree.leaves(params), strict=True):
            filters = leaf.shape[-1] if leaf.ndim > 1 else 1
            norms = [np.linalg.norm(np.asarray(a, float).reshape(-1, filters), axis=0) for a in (drawn, leaf)]
            np.testing.assert_allclose(norms[0], norms[1], rtol=1e-6, atol=1e-6)
    gram = found.gram()
    assert abs(gram[0, 1]) < 1e-6 * gram[0, 0]
    assert found.attrs["seed"] == "0 2"


def test_networks_that_share_layers_are_cut_along_the_same_directions(params):
    longer = params | {"between": {"kernel": jnp.ones((6, 6))}}
    alone, among = (landscape.random_directions(jax.random.key(2), tree) for tree in (params, longer))
    jax.tree.map(np.testing.assert_array_equal, alone.vectors, {name: among.vectors[name] for name in params})


def test_layer_norms_and_plain_gaussian_directions(params):
    by_layer = landscape.random_directions(jax.random.key(2), params, 3, normalize="layer")
    for drawn, leaf in zip(jax.tree.leaves(by_layer[2]), jax.tree.leaves(params), strict=True):
        assert float(jnp.linalg.norm(drawn)) == pytest.approx(float(jnp.linalg.norm(leaf)), rel=1e-5)
    plain = landscape.random_directions(jax.random.key(2), {"w": jnp.zeros((200, 20))}, normalize="none")
    entries = flat_rows(plain.vectors)
    assert abs(entries.mean()) < 0.05
    assert entries.std() == pytest.approx(1.0, abs=0.05)
    assert abs(plain.gram()[0, 1]) < 1e-3


def test_ignored_parameters_do_not_move(params):
    for ignore in ("bias", lambda path: path.endswith("bias")):
        found = landscape.random_directions(jax.random.key(2), params, ignore=ignore)
        assert not np.any(found[0]["one"]["bias"])
        assert np.any(found[0]["one"]["kernel"])


def test_a_filter_of_one_entry_is_taken_with_its_leaf():
    params = {"thin": jnp.arange(1.0, 6.0).reshape(1, 5), "scalar": jnp.float32(3.0), "wide": jnp.ones((4, 2))}
    found = landscape.random_directions(jax.random.key(0), params)
    assert float(jnp.linalg.norm(found[1]["thin"])) == pytest.approx(np.sqrt(55.0), rel=1e-6)
    assert float(found[0]["scalar"]) == 0.0
    assert abs(found.gram()[0, 1]) < 1e-5


def test_scalars_are_taken_together_as_one_filter():
    found = landscape.random_directions(jax.random.key(0), {"a": jnp.float32(2), "b": jnp.float32(3)})
    np.testing.assert_allclose(found.gram(), 13 * np.eye(2), atol=1e-5)
    by_layer = landscape.random_directions(
        jax.random.key(1), {"a": jnp.float32(2), "b": jnp.zeros((1, 1)), "w": jnp.ones((4, 4))}, normalize="layer"
    )
    scalars = np.stack([by_layer.vectors["a"], by_layer.vectors["b"][:, 0, 0]])
    np.testing.assert_allclose(scalars.T @ scalars, 4 * np.eye(2), atol=1e-5)
    assert by_layer.attrs["left_out"] == ""
    alone = landscape.random_directions(jax.random.key(0), {"a": jnp.float32(2), "w": jnp.ones((4, 4))})
    assert alone.attrs["left_out"] == "a"
    with pytest.raises(ValueError, match=r"are zero \(a hold too few numbers for 2 directions\)"):
        landscape.random_directions(jax.random.key(0), {"a": jnp.float32(2), "w": jnp.zeros((4, 4))})


class _Linear(NamedTuple):
    """As equinox lays its layers out: (out, in)."""

    weight: Any
    bias: Any


WEIGHT = jax.random.normal(jax.random.key(5), (6, 4)) * jnp.array([[1.0, 10, 100, 1000]])  # (in, out)
SQUARE = jax.random.normal(jax.random.key(5), (4, 4)) * jnp.array([[1.0, 10, 100, 1000]])
KERNELS = jnp.arange(1.0, 1 + 3 * 3 * 2 * 5).reshape(3, 3, 2, 5)  # (height, width, in, out)


@pytest.mark.parametrize(
    ("params", "axis", "words"),
    [
        ({"kernel": WEIGHT}, -1, "-1 (named kernel)"),
        ({"weight": WEIGHT.T}, 0, "0 (named weight)"),
        ({"fc.weight": SQUARE.T, "fc.bias": jnp.ones(4)}, 0, "0 (named weight)"),
        ({"conv.weight": KERNELS.transpose(3, 2, 0, 1), "conv.bias": jnp.ones(5)}, 0, "0 (length of the bias)"),
        ({"up.weight": KERNELS.transpose(2, 3, 0, 1), "up.bias": jnp.ones(5)}, 1, "1 (length of the bias)"),
        ({"weight": WEIGHT, "bias": jnp.ones(4)}, -1, "-1 (length of the bias)"),
        (_Linear(SQUARE.T, jnp.ones(4)), 0, "0 (named weight)"),
        ([(WEIGHT.T, jnp.ones(4))], 0, "0 (length of the bias)"),
        ({"w": WEIGHT}, -1, "-1 (default)"),
    ],
)
def test_the_output_axis_of_a_layout_is_recognised_and_said(params, axis, words):
    found = landscape.random_directions(jax.random.key(0), params)
    leaf, drawn = (max(jax.tree.leaves(tree), key=jnp.size) for tree in (params, found[1]))
    others = tuple(i for i in range(leaf.ndim) if i != axis % leaf.ndim)
    norms = [np.sqrt(np.sum(np.asarray(each, np.float64) ** 2, axis=others)) for each in (drawn, leaf)]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-6)
    assert found.attrs["output_axis"] == words
    assert abs(found.gram()[0, 1]) < 1e-6 * found.gram()[0, 0]
    table = landscape.plane(lambda p: jnp.sum(jax.tree.leaves(p)[-1]), params, found, points=3)
    assert table.attrs["direction_output_axis"] == words


def test_the_output_axis_can_be_given():
    params = {"flax": WEIGHT, "torch": WEIGHT.T}
    rule = lambda path, leaf: 0 if path == "torch" else None
    found = landscape.random_directions(jax.random.key(0), params, output_axis=rule)
    for name, axis in (("flax", 0), ("torch", 1)):
        norms = [np.linalg.norm(np.asarray(tree[name]), axis=axis) for tree in (found[0], params)]
        np.testing.assert_allclose(*norms, rtol=1e-6)
    assert found.attrs["output_axis"] == "-1 (default): flax; 0 (given): torch"
    first = landscape.random_directions(jax.random.key(0), params["torch"], output_axis=-2)
    assert first.attrs["output_axis"] == "0 (given)"


def test_hessian_directions_are_its_eigenvectors(params, data):
    from jaxopt_notes.curvature import hessian

    values, vectors = np.linalg.eigh(np.asarray(hessian(network, params, data), np.float64))
    found = landscape.hessian_directions(network, params, data=data)
    assert found.attrs["eigenvalue_x"] == pytest.approx(values[-1], rel=1e-5)
    assert found.attrs["eigenvalue_y"] == pytest.approx(values[0], rel=1e-4)
    rows = flat_rows(found.vectors)
    np.testing.assert_allclose(np.abs([rows[0] @ vectors[:, -1], rows[1] @ vectors[:, 0]]), 1, atol=1e-5)
    top = landscape.hessian_directions(network, params, 3, which="LA", data=data)
    assert [top.attrs[f"eigenvalue_{n}"] for n in "xyz"] == pytest.approx(values[::-1][:3], rel=1e-4)


def test_hessian_directions_of_many_parameters():
    spectrum = jnp.linspace(-1.0, 2.0, 400).at[-1].set(9.0).at[0].set(-5.0)
    found = landscape.hessian_directions(lambda p: jnp.sum(spectrum * p**2) / 2, jnp.ones(400))
    assert [found.attrs["eigenvalue_x"], found.attrs["eigenvalue_y"]] == pytest.approx([9.0, -5.0], rel=1e-4)
    assert found.attrs["converged"] == 1
    assert abs(float(found[0][-1])) == pytest.approx(1.0, abs=1e-3)


# Projections


def test_a_point_of_the_plane_gets_back_its_coordinates(params):
    skewed = Directions(
        jax.tree.map(lambda a, b: jnp.stack([a, 3 * a + b]), *(_normal(params, seed) for seed in (4, 5)))
    )
    plane = Plane(params, skewed)
    found = landscape.project(plane.at([1.5, -0.25]), plane)
    assert (float(found.x), float(found.y)) == pytest.approx((1.5, -0.25), abs=1e-5)
    assert float(found.off_plane) < 1e-5
    assert found.x.attrs["direction_norm"] == pytest.approx(float(np.sqrt(skewed.gram()[0, 0])))
    away = landscape.project(jax.tree.map(lambda leaf: leaf[None] + 1, params), plane, step=[7])
    assert away.step.values.tolist() == [7]
    rows, center = flat_rows(skewed.vectors), flat_rows(jax.tree.map(lambda leaf: leaf[None], params))
    fitted = np.linalg.lstsq(rows.T, np.ones(center.size), rcond=None)
    np.testing.assert_allclose([away.x[0], away.y[0]], fitted[0], rtol=1e-4)
    np.testing.assert_allclose(away.off_plane[0] ** 2, fitted[1][0], rtol=1e-4)


def _normal(params, seed):
    keys = iter(jax.random.split(jax.random.key(seed), 3))
    return jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), params)


def test_principal_components_are_those_of_numpy_and_the_path_lies_where_it_should():
    weights = jnp.array([5.0, 2.0, 0.1, 0.01])
    path = jax.random.normal(jax.random.key(0), (40, 4)) * weights[None]
    plane = landscape.pca_plane({"w": path})
    covariance = np.cov(np.asarray(path, float).T)
    values, vectors = np.linalg.eigh(covariance)
    assert plane.directions.attrs["explained_x"] == pytest.approx(values[-1] / values.sum(), rel=1e-5)
    assert abs(np.asarray(plane.directions[1]["w"]) @ vectors[:, -2]) == pytest.approx(1, abs=1e-5)
    found = landscape.project({"w": path}, plane)
    assert [float(found.x[-1]), float(found.y[-1]), float(found.off_plane[-1])] == pytest.approx([0, 0, 0], abs=1e-5)
    assert float(found.x[0]) >= 0
    assert float(found.off_plane.max()) < 1.0 < float(found.distance.max())
    table = landscape.plane(lambda p: jnp.sum(p["w"] ** 2), plane, points=3)
    assert "principal component 1 (8" in table.x.attrs["label"]


# Fields


def test_slopes_and_flow_in_skewed_directions(params, data):
    skewed = [_normal(params, 4), jax.tree.map(lambda a, b: a + 0.5 * b, _normal(params, 4), _normal(params, 5))]
    table = landscape.gradient_field(network, params, skewed, data=data, points=(3, 2), radius=0.1)
    plane = Plane(params, Directions(jax.tree.map(lambda a, b: jnp.stack([a, b]), *skewed)))
    point = jnp.array([table.x.values[2], table.y.values[0]], jnp.float32)
    slope = jax.grad(lambda c: network(plane.at(c), data))(point)
    np.testing.assert_allclose([table.slope_x[0, 2], table.slope_y[0, 2]], slope, rtol=1e-4, atol=1e-5)
    flow = -np.linalg.solve(plane.directions.gram(), np.asarray(slope, float))
    np.testing.assert_allclose([table.flow_x[0, 2], table.flow_y[0, 2]], flow, rtol=1e-3, atol=1e-6)
    assert float(table.in_plane.max()) <= 1 + 1e-5


def test_curvature_maps_dense_and_by_lanczos():
    def loss(p):
        return p[0] ** 4 - p[1] ** 2 + jnp.sum(p[2:] ** 2)

    for size in (4, 80):
        directions = jnp.eye(size)[:2]
        table = landscape.curvature_map(loss, jnp.zeros(size), directions, x=[0.0, 1.0], y=[-1.0, 0.0, 1.0])
        np.testing.assert_allclose(table.smallest, -2, rtol=1e-4)
        np.testing.assert_allclose(table.largest.values, np.tile([2.0, 12.0], (3, 1)), rtol=1e-3)
        np.testing.assert_allclose(table.ratio.values, np.tile([1.0, 1 / 6], (3, 1)), rtol=1e-3)
        assert table.converged.all()
        assert table.attrs["not_converged"] == 0


# Bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: landscape.plane(jnp.sum, p), TypeError, "directions are missing"),
        (lambda p: landscape.plane(jnp.sum, p, [jnp.ones(3), jnp.zeros(3)]), ValueError, r"directions\[1\] is zero"),
        (lambda p: landscape.plane(jnp.sum, p, [jnp.ones(3), -2 * jnp.ones(3)]), ValueError, "are parallel"),
        (lambda p: landscape.plane(jnp.sum, p, [jnp.ones(3), p * jnp.nan]), ValueError, "holds NaN or infinity"),
        (lambda p: landscape.plane(jnp.sum, p, [jnp.ones(3)]), ValueError, "must hold 2 directions, got 1"),
        (
            lambda p: landscape.plane(jnp.sum, p, [jnp.ones(3), {"w": jnp.ones(3)}]),
            TypeError,
            "must have the structure",
        ),
        (lambda p: landscape.plane(jnp.sum, p, [jnp.ones(3), jnp.ones(4)]), ValueError, "must have the shape"),
        (lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], radius=0), ValueError, "radius must be positive"),
        (lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], radius=1e300), ValueError, "which float32 cannot hold"),
        (
            lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], x=[0.0, 1e300]),
            ValueError,
            "which float32 cannot hold",
        ),
        (
            lambda p: landscape.plane(jnp.sum, p + 1, jnp.eye(3)[:2], radius=1e-9),
            ValueError,
            "moves no parameter in float",
        ),
        (lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], x=[1.0, 0.0]), ValueError, "x must be strictly"),
        (lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], y=[np.nan]), ValueError, "y must be finite"),
        (lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], points=(3, 3, 3)), ValueError, "points must be one"),
        (lambda p: landscape.plane(lambda p: p, p, jnp.eye(3)[:2]), TypeError, "must return a scalar"),
        (lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], batch_size=3), ValueError, "needs data"),
        (lambda p: landscape.plane(jnp.sum, p, jnp.eye(3)[:2], devices=[]), ValueError, "at least one device"),
        (lambda p: landscape.plane(3, p, jnp.eye(3)[:2]), TypeError, "loss must be a Problem or a function"),
        (lambda p: landscape.plane(jnp.sum, jnp.arange(3), jnp.eye(3)[:2]), TypeError, "has dtype int32"),
        (lambda p: landscape.plane(jnp.sum), TypeError, "params is required"),
        (lambda p: landscape.line(jnp.sum, p, p, to=p), TypeError, "direction or to"),
        (lambda p: landscape.line(jnp.sum, p, to=jnp.ones(4)), ValueError, "must match leaf by leaf"),
        (lambda p: landscape.line(jnp.sum, p, to=p), ValueError, r"directions\[0\] is zero"),
        (lambda p: landscape.random_directions(jax.random.key(0), p, normalize="filters"), ValueError, "'filter'"),
        (lambda p: landscape.random_directions(jax.random.key(0), 0 * p), ValueError, "every direction is zero"),
        (lambda p: landscape.random_directions(0, p), TypeError, "random key"),
        (
            lambda p: landscape.random_directions(jax.random.key(0), {"w": jnp.outer(p, p)}, output_axis=2),
            ValueError,
            r"w of shape \(3, 3\) has no axis 2",
        ),
        (
            lambda p: landscape.random_directions(jax.random.key(0), jnp.outer(p, p), output_axis="first"),
            TypeError,
            "output_axis must be an axis, such as -1 or 0, or a function",
        ),
        (
            lambda p: landscape.random_directions(jax.random.key(0), p, normalize="layer", output_axis=0),
            ValueError,
            "needs normalize='filter'",
        ),
        (lambda p: landscape.random_directions(jax.random.key(0), p, 4), ValueError, "at most 3"),
        (
            lambda p: landscape.random_directions(jax.random.key(0), {"bias": p}, ignore="bais"),
            ValueError,
            "did you mean 'bias'",
        ),
        (lambda p: landscape.random_directions(jax.random.key(0), {"w": p}, ignore="w"), ValueError, "leaves no param"),
        (lambda p: landscape.pca_plane(jnp.ones((2, 3))), ValueError, "at least 3 points"),
        (lambda p: landscape.pca_plane(jnp.outer(jnp.arange(5.0), p)), ValueError, "varies in 1 dimension only"),
        (lambda p: landscape.pca_plane(jnp.full((5, 3), jnp.nan)), ValueError, "from entry 0 on"),
        (lambda p: landscape.pca_plane(jnp.ones((9, 3)), center="end"), ValueError, "unknown center"),
        (lambda p: landscape.project(p, p), TypeError, "must be a landscape.Plane"),
        (
            lambda p: landscape.project(jnp.ones((5, 4)), landscape.coordinate_plane(p)),
            ValueError,
            "must have the shapes",
        ),
        (lambda p: landscape.coordinate_plane(p, (0, 0)), ValueError, "different parameters"),
        (lambda p: landscape.hessian_directions(lambda p: jnp.sum(jnp.sqrt(p - 9)), p), ValueError, "not finite"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.array([1.0, 2.0, 3.0]))
