"""Every column, coordinate and attribute of a table survives joining, stores, files, kills, and any dtype."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
import xarray
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.sweeps.compute import engine
from jaxopt_notes.sweeps.compute.engine import Engine
from jaxopt_notes.sweeps.keep import shelf
from jaxopt_notes.sweeps.keep.store import Store


@pytest.fixture(autouse=True)
def mixed_dtypes():
    """Complex parameters meet real numbers, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


OPTIONS = dict(steps=8, width=3, progress=False)
OF_THE_CALL = {"segment_programs", "wall_seconds", "trials_finished", "devices", "fingerprint", "groups"}
EXAMPLES = (np.arange(24.0, dtype=np.float32).reshape(12, 2) / 12, np.arange(12.0, dtype=np.float32) / 12)


def line(dtype, metrics=None, data=EXAMPLES):
    """Least squares in parameters of any dtype."""

    def loss(params, batch):
        wide = params["w"].astype(np.promote_types(dtype, jnp.float32))
        return jnp.mean(jnp.abs(batch[0].astype(wide.dtype) @ wide - batch[1].astype(wide.dtype)) ** 2)

    return jon.Problem(loss, init={"w": jnp.zeros(2, dtype)}, data=data, metrics=metrics or {})


def well(dtype, loss_dtype=jnp.float32):
    """A bowl around a number that no narrow dtype holds, complex if they are."""
    center = 1.3 + 2.7j if jnp.issubdtype(dtype, jnp.complexfloating) else 1.3
    wide = np.promote_types(dtype, jnp.float32)

    def loss(w):
        return jnp.sum(jnp.abs(w.astype(wide) - jnp.asarray(center, wide)) ** 2).astype(loss_dtype)

    return jon.Problem(loss, init=jnp.zeros(2, dtype))


def assert_same_columns(actual, expected):
    """Every variable and coordinate: dims, dtype, attributes, values."""
    assert set(actual.variables) == set(expected.variables)
    for name in expected.variables:
        assert actual[name].dims == expected[name].dims, name
        assert actual[name].dtype == expected[name].dtype, name
        assert actual[name].attrs == expected[name].attrs, name
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


METRICS = {
    "size": lambda params: jnp.sum(jnp.abs(params["w"].astype(jnp.complex64))),
    "near": lambda params, batch: jnp.sum(batch[1] < 0.5),
    "whole": lambda params, batch=None: jnp.asarray(batch is not None),
}


@settings(max_examples=3, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
@given(
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16, jnp.complex64]),
    points=st.booleans(),
    metrics=st.sets(st.sampled_from(sorted(METRICS))),
    every=st.sampled_from([1, 4]),
    seeds=st.sampled_from([1, [5, 2]]),
    size=st.sampled_from([5, 3]),
)
def test_a_joined_table_has_everything_that_the_tables_of_its_programs_have(
    tmp_path_factory, dtype, points, metrics, every, seeds, size
):
    folder = tmp_path_factory.mktemp("sweep")
    problem = line(dtype, {name: METRICS[name] for name in metrics})
    options = {**OPTIONS, "every": every, "seeds": seeds, "keep_params": True}
    rates = [0.1, 0.2, 0.4]
    make = (lambda **axes: jon.trials(jon.grid(**axes).columns())) if points else jon.grid
    told = []
    joined = jon.sweep(
        problem, jon.momentum, make(learning_rate=rates, batch_size=[5, 3]), store=folder / "s", on_chunk=told.append,
        **options,
    )  # fmt: skip
    alone = jon.sweep(problem, jon.momentum, make(learning_rate=rates), batch_size=size, **options)
    part = joined.isel(configuration=joined.batch_size.values == size) if points else joined.sel(batch_size=size)
    part = part.assign_coords(configuration=alone.configuration) if points else part
    for name in ("epoch", "examples_seen") if points else ():
        assert part[name].dims == ("configuration", "step")
        rows = part[name].variable  # the same in every configuration of one batch size
        np.testing.assert_array_equal(rows, np.broadcast_to(rows[:1], rows.shape))
        part = part.assign_coords({name: rows[0]})
    assert_same_columns(part.drop_vars("batch_size"), alone)
    for name in set(alone.attrs) - OF_THE_CALL:
        assert str(alone.attrs[name]) in str(joined.attrs[name]), name
    own = [chunk.drop_vars(["epoch", "examples_seen"]) for chunk in told]
    chunks = xarray.concat(own, "trial", data_vars="all", coords="minimal", compat="override").sortby("trial")
    assert chunks.trial.values.tolist() == list(range(joined.status.size))
    for name in joined.data_vars:
        flat = joined[name].values.reshape(-1, *chunks[name].shape[1:])
        np.testing.assert_array_equal(chunks[name], flat)
        assert chunks[name].attrs == joined[name].attrs
    for name in ("learning_rate", "batch_size"):
        where = np.indices(joined.status.shape)[joined.status.dims.index(joined[name].dims[0])]
        np.testing.assert_array_equal(chunks[name], joined[name].values[where.ravel()])
        assert chunks[name].attrs == joined[name].attrs
    opened = jon.open_sweep(folder / "s")
    assert_same_columns(opened, joined)
    assert jon.load(jon.save(joined, folder / "t.nc")).identical(joined)
    with xarray.open_dataset(folder / "t.nc") as plain:
        assert_same_columns(plain, joined)


def test_chunks_of_listed_points_name_their_hyperparameters():
    space, told = jon.zipped(learning_rate=[0.1, 0.2, 0.4], beta=[0.0, 0.5, 0.9]), []
    table = jon.sweep(well(jnp.float32), jon.momentum, space, seeds=2, on_chunk=told.append, **OPTIONS)
    for name in ("learning_rate", "beta"):
        assert [value for chunk in told for value in chunk[name].values] == np.repeat(table[name].values, 2).tolist()
        assert all(chunk[name].attrs == table[name].attrs for chunk in told)
    assert all(chunk.status.attrs == table.status.attrs for chunk in told)


def test_groups_with_and_without_batches_have_the_steps_in_common():
    space = jon.grid(learning_rate=[0.1], batch_size=[None, 6], centered=[True])
    table = jon.sweep(line(jnp.float32), jon.rmsprop, space, every=4, **OPTIONS)
    assert table.loss.sel(step=8).shape == (1, 2, 1, 1)
    assert table.epoch.dims == ("batch_size", "step")
    np.testing.assert_array_equal(table.epoch, [[np.nan] * 3, [0, 2, 4]])
    np.testing.assert_array_equal(table.examples_seen, [[np.nan] * 3, [0, 24, 48]])
    assert table.attrs["batch_size"] == "12, 6"
    ax = jon.plots.loss_curves(table)
    assert [line.get_xdata().tolist() for line in ax.lines[:2]] == [[0, 4, 8]] * 2
    assert ax.get_xlabel() == "step (8 steps are 4 epochs)"


def test_an_interrupted_group_leaves_the_rungs_of_the_others(monkeypatch):
    take, calls = Engine._pass, []

    def interrupted_at_the_second_group(*arguments):
        calls.append(1)
        if len(calls) == 5:  # three rungs of the first group, and one of the second
            raise KeyboardInterrupt
        return take(*arguments)

    monkeypatch.setattr(Engine, "_pass", interrupted_at_the_second_group)
    space = jon.grid(learning_rate=[0.01, 0.02, 0.04], centered=[False, True])
    valley = jon.problems.quadratic([1.0, 20.0])
    with pytest.warns(UserWarning, match="interrupted"):
        table = jon.sweep(
            valley, jon.rmsprop, space, steps=9, width=3, devices=jax.devices()[:1], prune=jon.halving(), progress=False
        )
    assert table.rung.values.tolist() == [1, 3]
    assert table.rung.attrs == {"units": "steps"}
    assert table.rung_metric.dims == ("learning_rate", "centered", "rung")
    assert np.isfinite(table.rung_metric.sel(centered=False)).all()
    assert np.isnan(table.rung_metric.sel(centered=True, rung=3)).all()
    assert (table.status.sel(centered=True) == Status.NOT_RUN).all()


def keyed(learning_rate):
    """An optimizer whose state has keys of two kinds, and dtypes that files do not know."""

    def init(params):
        narrow = {"f8": jnp.ones(2, jnp.float8_e5m2), "i4": jnp.zeros(2, jnp.int4), "bf": jnp.ones((), jnp.bfloat16)}
        keys = {"key": jax.random.key(3), "rbg": jax.random.key(3, impl="rbg"), "raw": jax.random.PRNGKey(2)}
        return {**narrow, **keys, "odd": jnp.zeros((), bool), "last": jax.tree.map(jnp.zeros_like, params)}

    def update(grads, state, params=None):
        key, use = jax.random.split(state["key"])
        sign = jnp.where(state["odd"], 0.01, -0.01)
        noise = jax.tree.map(lambda leaf: sign * jax.random.normal(use, leaf.shape), grads)
        updates = jax.tree.map(lambda g, n: (-learning_rate * g + n.astype(g.dtype)).astype(g.dtype), grads, noise)
        moved = {"key": key, "rbg": jax.random.split(state["rbg"])[0], "odd": ~state["odd"], "last": grads}
        return updates, {**state, **moved, "f8": state["f8"][::-1]}

    return optax.GradientTransformation(init, update)


NARROW = [
    ("complex64", lambda: well(jnp.complex64)),
    ("bfloat16", lambda: well(jnp.bfloat16, jnp.bfloat16)),
    ("float16", lambda: well(jnp.float16)),
]


@pytest.mark.parametrize(("dtype", "problem"), NARROW[:2], ids=lambda one: one if isinstance(one, str) else "")
def test_chunks_on_their_way_go_on_to_the_same_bits_whatever_their_dtypes(dtype, problem, tmp_path, monkeypatch):
    """A real SIGINT after a few carries are written; the resumed sweep begins where it stopped, not at step 0."""
    monkeypatch.setattr(shelf, "SECONDS_PER_CHECKPOINT", 0.0)
    monkeypatch.setattr(engine, "SECONDS_PER_SEGMENT", 1e-9)
    space, options = jon.grid(learning_rate=[0.01, 0.05]), dict(steps=12, width=1, keep_params=True, progress=False)
    options["devices"] = jax.devices()[:1]
    whole = jon.sweep(problem(), keyed, space, **options)
    write, steps = Store.write_carry, []

    def killed(self, chunks, saved, fingerprint):
        write(self, chunks, saved, fingerprint)
        steps.append(saved.step)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Store, "write_carry", killed)
    with pytest.warns(UserWarning, match="interrupted"):
        jon.sweep(problem(), keyed, space, store=tmp_path, **options)
    read, found = Store.carry, []
    monkeypatch.setattr(Store, "carry", lambda *arguments: found.append(read(*arguments)) or found[-1])
    resumed = jon.sweep(problem(), keyed, space, store=tmp_path, **options)
    assert found[0] is not None
    assert 0 < found[0].step < 12
    assert_same_columns(resumed, whole)
    assert_same_columns(jon.open_sweep(tmp_path), whole)
    assert jon.end_point(resumed, problem(), learning_rate=0.05, seed=0).dtype.name == dtype


def test_rungs_on_disk_go_on_whatever_their_dtypes(tmp_path, monkeypatch):
    problem = well(jnp.complex64)
    space, options = jon.grid(learning_rate=[0.001, 0.01, 0.05]), dict(steps=9, width=1, keep_params=True)
    options |= dict(devices=jax.devices()[:1], prune=jon.halving(), progress=False)
    whole = jon.sweep(problem, keyed, space, **options)
    write, written = Store.write_rung, []

    def killed(*arguments):
        write(*arguments)
        written.append(1)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_rung", killed)
    with pytest.warns(UserWarning, match="interrupted"):
        jon.sweep(problem, keyed, space, store=tmp_path, **options)
    passes, run = [], Engine.run
    monkeypatch.setattr(Engine, "run", lambda *a, **k: passes.append(1) or run(*a, **k))
    assert_same_columns(jon.sweep(problem, keyed, space, store=tmp_path, **options), whole)
    assert len(passes) == 3  # of five


@pytest.mark.parametrize("dtype", ["complex64", "bfloat16", "float16", "complex128", "float64"])
def test_an_end_point_is_the_point_of_which_the_table_has_the_loss(dtype, tmp_path):
    with jax.enable_x64(dtype in ("complex128", "float64")):
        problem = well(jnp.dtype(dtype))
        space = jon.grid(learning_rate=[0.1, 0.3])
        table = jon.sweep(problem, jon.gradient_descent, space, seeds=2, keep_params=True, **OPTIONS)
        at = dict(learning_rate=0.1, seed=1)
        point = jon.end_point(table, problem, **at)
        assert point.dtype == dtype
        run = jon.minimize(problem.loss, problem.init(None), jon.gradient_descent(0.1), steps=8)
        np.testing.assert_array_equal(point, run.params)
        assert float(jax.jit(problem.loss)(point)) == float(table.final_loss.sel(at))
        path = jon.save(table, tmp_path / "table.nc")
        assert jon.load(path).identical(table)
        with xarray.open_dataset(path) as plain:
            np.testing.assert_array_equal(jon.end_point(plain, problem, **at), point)
        assert table.params.attrs.get("original_dtype", table.params.dtype.name) == dtype


def test_an_end_point_that_the_problem_cannot_hold_is_refused(x64):
    table = jon.sweep(
        well(jnp.float64), jon.gradient_descent, jon.grid(learning_rate=[0.1]), keep_params=True, **OPTIONS
    )
    with pytest.raises(ValueError, match=r"params is float64 in the table, and float32 in the problem cannot hold"):
        jon.end_point(table, well(jnp.float32), learning_rate=0.1, seed=0)
    other = jon.Problem(jnp.sum, init=jnp.zeros(3))
    with pytest.raises(ValueError, match=r"params has shape \(2,\) in the table and \(3,\) in the problem"):
        jon.end_point(table, other, learning_rate=0.1, seed=0)
    with pytest.raises(ValueError, match="this trial was not run"):
        jon.end_point(table.assign(status=table.status * 0 - 1), well(jnp.float64), learning_rate=0.1, seed=0)


def test_groups_of_other_dtypes_and_workers_keep_complex_numbers():
    def either(imaginary):
        return well(jnp.complex64 if imaginary else jnp.bfloat16)

    space = jon.grid(learning_rate=[0.1, 0.2], imaginary=[False, True])
    table = jon.sweep(either, jon.momentum, space, keep_params=True, **OPTIONS)
    assert table.params.dtype == np.complex64
    assert table.attrs["precision"] == "bfloat16, complex64"
    for imaginary, dtype in ((False, jnp.bfloat16), (True, jnp.complex64)):
        at = dict(learning_rate=0.1, imaginary=imaginary, seed=0)
        point = jon.end_point(table, well(dtype), **at)
        assert point.dtype == dtype
        assert float(jax.jit(well(dtype).loss)(point)) == float(table.final_loss.sel(at))
    with ThreadPoolExecutor(1) as executor:
        there = jon.sweep(either, jon.momentum, space, keep_params=True, executor=executor, **OPTIONS)
    assert_same_columns(there, table)


def test_scalar_complex_parameters_are_no_metric(tmp_path):
    problem = jon.Problem(lambda z: jnp.abs(z - 1j) ** 2, init=jnp.zeros((), jnp.complex64))
    table = jon.sweep(problem, jon.momentum, jon.grid(learning_rate=[0.1, 0.2]), keep_params=True, **OPTIONS)
    with pytest.raises(ValueError, match="unknown metric 'params'"):
        jon.best(table, "params")
    assert jon.report(table, tmp_path / "table.html").exists()


class TestMetrics:
    def measured(self, metric, data=EXAMPLES):
        problem = line(jnp.float32, {"m": metric}, data)
        return jon.sweep(problem, jon.momentum, jon.grid(learning_rate=[0.1, 0.2]), **OPTIONS).final_m

    def test_counts_are_exact_and_have_a_value_for_not_run(self):
        count = self.measured(lambda params: jnp.int32(2**24 + 1) + jnp.sum(params["w"] > 0, dtype=jnp.int32))
        assert count.dtype == np.float64
        assert (count == 2**24 + 3).all()

    @pytest.mark.parametrize(
        ("metric", "message"),
        [
            (
                lambda params: params["w"][0].astype(complex),
                "behind 'final_m' must return a real number, got dtype complex64",
            ),
            (lambda params: params["w"], r"behind 'final_m' must return a scalar, got shape \(2,\)"),
            (lambda params, batch: {"a": params["w"][0]}, "behind 'final_m' must return a scalar, got dict"),
            (lambda params: None, "behind 'final_m' must return a scalar, got NoneType"),
            (lambda params: jax.random.key(0), "behind 'final_m' must return a real number, got dtype key"),
        ],
    )
    def test_others_are_named_before_compiling(self, metric, message, monkeypatch):
        monkeypatch.setattr(Engine, "run", None)
        with pytest.raises(TypeError, match=message):
            self.measured(metric)


USER_COLUMNS = [
    np.array([True, False]),
    np.array([1 + 2j, complex(np.nan, -0.0)], np.complex64),
    np.array([1e-300 + 2e300j, 0]),
    np.array([2**63 + 1, 3], np.uint64),
    np.array([0.1, -0.0], np.float16),
    np.array([0.1, -0.0], ml_dtypes.bfloat16),
    np.array([0.5, -448], ml_dtypes.float8_e4m3fn),
    np.array([0.5, np.inf], ml_dtypes.float8_e5m2),
    np.array([-8, 7], ml_dtypes.int4),
    np.array([15, 0], ml_dtypes.uint4),
    np.array(["", "text"]),
    np.array(["2020-01-01T00:00:00.000000001", "2021-06-01"], "M8[ns]"),
]


@pytest.mark.parametrize("column", USER_COLUMNS, ids=lambda one: one.dtype.name)
def test_any_column_comes_back_as_it_was(column, tmp_path):
    table = xarray.Dataset({"z": ("i", column, {"long_name": "m", "original_dtype": "mine"})}, attrs={"title": "mine"})
    read = jon.load(jon.save(table, tmp_path / "table.nc"))
    assert read.z.dtype == column.dtype
    assert read.z.values.tobytes() == column.tobytes()
    assert (read.z.attrs, read.attrs, read.z.dims) == (table.z.attrs, table.attrs, ("i",))


def test_trees_keys_and_arrays_of_jax_come_back_too(tmp_path):
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 3)
    table = xarray.Dataset({"key": ("i", keys), "w": ("i", jnp.ones(3, jnp.bfloat16))})
    tree = xarray.DataTree.from_dict({"a": table, "b/c": table[["w"]]})
    read = jon.load(jon.save(tree, tmp_path / "tree.nc"))
    assert read["a"].key.dtype == keys.dtype
    assert (read["a"].key.data == keys).all()
    assert read["b/c"].w.dtype.name == "bfloat16"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.array([True, None], object), r"column 'z' holds objects \(NoneType, bool\)"),
        (np.array(["a", 1], object), r"column 'z' holds objects \(int, str\)"),
        (np.zeros(2, [("a", int)]), r"column 'z' has dtype \[\('a', '<i8'\)\]"),
    ],
)
def test_columns_that_files_would_change_are_refused_by_name(column, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        jon.save(xarray.Dataset({"z": ("i", column)}), tmp_path / "table.nc")
    assert not list(tmp_path.iterdir())


def test_a_file_is_not_written_in_the_narrow_dtype_that_a_table_was_read_from(tmp_path):
    xarray.Dataset({"z": ("i", np.array([1.0, 2.0]))}).to_netcdf(
        tmp_path / "narrow.nc", engine="h5netcdf", encoding={"z": {"dtype": "float32"}}
    )
    with xarray.open_dataset(tmp_path / "narrow.nc", engine="h5netcdf") as read:
        table = read.load()
    table = table.assign(z=table.z.copy(data=np.array([0.1, 1e-300])))  # keeps how the file had it
    assert table.z.encoding["dtype"] == np.float32
    assert jon.load(jon.save(table, tmp_path / "wide.nc")).z.values.tolist() == [0.1, 1e-300]
    with pytest.raises(jon.StoreError, match="open_sweep reads a stored sweep"):
        jon.load(tmp_path)


def test_a_slice_of_a_narrow_loss_is_read_back_from_its_folder(tmp_path):
    def sliced():
        loss = lambda p: jnp.sum(p**2).astype(jnp.bfloat16)
        return jon.landscape.line(loss, jnp.ones(3), jnp.ones(3), points=5, folder=tmp_path / "slice")

    first = sliced()
    np.testing.assert_array_equal(sliced().loss, first.loss)
    assert first.loss.dtype == np.float32
    assert jon.plot(first).get_lines()
