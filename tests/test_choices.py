"""Axes that make another program: choices, batch sizes, problems, absent hyperparameters, families."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.sweeps.compute.engine import Engine

VALLEY = jon.problems.quadratic([1.0, 20.0])
OPTIONS = dict(steps=12, width=2, progress=False)
DATA = (np.arange(24.0, dtype=np.float32).reshape(12, 2) / 12, np.arange(12.0, dtype=np.float32) / 12)
LINE = jon.Problem(lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2), init=jnp.zeros(2), data=DATA)


def swept(space, optimizer=jon.momentum, problem=VALLEY, **options):
    return jon.sweep(problem, optimizer, space, **{**OPTIONS, **options})


def assert_rows(table, expected):
    """The trials of `table` are the bits of those of `expected`, variable by variable."""
    for name in expected.data_vars:
        np.testing.assert_array_equal(table[name].values.ravel(), expected[name].values.ravel(), err_msg=name)


@pytest.fixture(scope="module")
def centred():
    space = jon.grid(learning_rate=[0.01, 0.05], centered=[False, True], debias=[True])
    return swept(space, jon.rmsprop, seeds=2, keep_params=True)


def test_booleans_mix_with_numbers_in_one_grid(centred):
    assert centred.loss.dims == ("learning_rate", "centered", "debias", "seed", "step")
    assert centred.attrs["groups"] == centred.attrs["segment_programs"] == 2
    for choice in (False, True):

        def chosen(learning_rate, choice=choice):
            return jon.rmsprop(learning_rate, centered=choice, debias=True)

        alone = swept(jon.grid(learning_rate=[0.01, 0.05]), chosen, seeds=2, keep_params=True)
        assert_rows(centred.sel(centered=choice), alone)
    where = dict(learning_rate=0.05, centered=True, debias=True, seed=1)
    assert_array = np.testing.assert_array_equal
    assert_array(jon.end_point(centred, VALLEY, **where), centred.sel(where).params)


def test_the_same_groups_share_their_programs_with_the_next_sweep():
    space = jon.grid(learning_rate=[0.02, 0.03], centered=[False, True])
    counts = [swept(space, jon.rmsprop).attrs["segment_programs"] for _ in range(2)]
    assert counts == [2, 0]


def test_none_and_numbers_are_one_axis():
    with jax.numpy_dtype_promotion("standard"):
        table = swept(jon.grid(learning_rate=[0.01, 0.02], momentum=[None, 0.5, 0.9]), optax.sgd)
        plain = swept(jon.grid(learning_rate=[0.01, 0.02]), optax.sgd)
        heavy = swept(jon.grid(learning_rate=[0.01, 0.02], momentum=[0.5, 0.9]), optax.sgd)
    assert table.attrs["groups"] == 2
    assert table.momentum.values.tolist() == ["None", "0.5", "0.9"]
    assert_rows(table.sel(momentum="None"), plain)
    assert_rows(table.sel(momentum=["0.5", "0.9"]), heavy)


def test_batch_sizes_are_an_axis():
    table = swept(jon.grid(learning_rate=[0.1, 0.2], batch_size=[3, 6]), problem=LINE, seeds=2)
    assert table.batch_size.values.tolist() == [3, 6]
    assert table.attrs["groups"] == 2
    alone = swept(jon.grid(learning_rate=[0.1, 0.2]), problem=LINE, seeds=2, batch_size=6)
    assert_rows(table.sel(batch_size=6), alone)
    assert table.step.equals(alone.step.drop_vars(["epoch", "examples_seen"]))
    for name in ("epoch", "examples_seen"):  # of which each batch size has its own
        assert table[name].dims == ("batch_size", "step")
        assert table[name].dtype == alone[name].dtype
        assert table[name].attrs == alone[name].attrs
        np.testing.assert_array_equal(table[name].sel(batch_size=6), alone[name])
    np.testing.assert_array_equal(table.examples_seen.sel(batch_size=3), np.arange(13) * 3)


def test_arguments_of_a_problem_are_axes():
    def valley(steep):
        return jon.problems.quadratic([1.0] * steep)

    table = swept(jon.grid(steep=[2, 3], learning_rate=[0.1, 0.2]), problem=valley)
    assert table.loss.dims[:2] == ("steep", "learning_rate")
    for steep in (2, 3):
        assert_rows(table.sel(steep=steep), swept(jon.grid(learning_rate=[0.1, 0.2]), problem=valley(steep)))
    with pytest.raises(ValueError, match="steep=3 has others than steep=2"):
        swept(jon.grid(steep=[2, 3], learning_rate=[0.1]), problem=valley, keep_params=True)


@pytest.mark.parametrize(("kind", "programs"), [(jnp.asarray, 1), (float, 4)])
def test_problems_that_differ_in_the_values_of_arrays_share_a_program(kind, programs):
    def ridge(l2):
        own = kind(l2)  # as an array an argument of the program, as a Python float a part of it
        return jon.Problem(lambda w, batch: LINE.loss(w, batch) + own * jnp.sum(w**2), init=jnp.zeros(2), data=DATA)

    axes = {"learning_rate": [0.1, 0.2], "l2": [0.0, 0.1, 0.3, 0.9]}
    table = swept(jon.grid(**axes), problem=ridge, batch_size=3)
    assert table.attrs["segment_programs"] == programs
    asked = jon.Problem(lambda w, batch, *, l2: LINE.loss(w, batch) + l2 * jnp.sum(w**2), init=jnp.zeros(2), data=DATA)
    side_by_side = swept(jon.grid(**axes), problem=asked, batch_size=3)
    assert side_by_side.attrs["segment_programs"] <= 1  # none where the other case has compiled it
    np.testing.assert_allclose(table.loss, side_by_side.loss, rtol=1e-5)


def test_functions_are_choices_and_are_told_apart_by_their_names():
    rates = [jon.schedules.constant(0.01), jon.schedules.exponential(0.05, 0.9), jon.schedules.exponential(0.01, 0.9)]
    table = swept(jon.grid(learning_rate=rates, beta=[0.0, 0.5]))
    assert len(set(table.learning_rate.values)) == 3
    fixed = swept(jon.grid(learning_rate=[0.01], beta=[0.0, 0.5]))
    np.testing.assert_allclose(table.loss[0], fixed.loss[0], rtol=1e-6)


def test_schedules_are_axes_through_their_numbers():
    def decaying(learning_rate, decay, beta=0.0):
        return jon.momentum(jon.schedules.exponential(learning_rate, decay), beta)

    table = swept(jon.grid(learning_rate=[0.01, 0.05], decay=[0.9, 1.0], beta=[0.0, 0.9]), decaying)
    assert "groups" not in table.attrs
    assert table.attrs["segment_programs"] == 1
    run = jon.minimize(VALLEY.loss, VALLEY.init(None), decaying(0.05, 0.9, 0.9), steps=12)
    np.testing.assert_allclose(table.loss.sel(learning_rate=0.05, decay=0.9, beta=0.9, seed=0), run.loss, rtol=1e-5)
    constant = swept(jon.grid(learning_rate=[0.01, 0.05], beta=[0.0, 0.9]))
    np.testing.assert_allclose(table.loss.sel(decay=1.0), constant.loss, rtol=1e-5)


def test_an_absent_hyperparameter_has_its_default():
    space = jon.grid(learning_rate=[0.01, 0.02]) + jon.grid(learning_rate=[0.01], beta=[0.9])
    table = swept(space, seeds=2)
    assert table.attrs["groups"] == 2
    np.testing.assert_array_equal(table.beta, [np.nan, np.nan, 0.9])
    assert_rows(table.isel(configuration=[0, 1]), swept(jon.grid(learning_rate=[0.01, 0.02]), seeds=2))
    assert_rows(table.isel(configuration=[2]), swept(jon.grid(learning_rate=[0.01], beta=[0.9]), seeds=2))


def test_groups_in_any_order_are_laid_out_by_configuration():
    space = jon.trials({"learning_rate": [0.01, 0.02, 0.03, 0.04], "centered": [True, False, True, False]})
    table = swept(space, jon.rmsprop, seeds=2)
    assert table.centered.values.tolist() == [True, False, True, False]
    for i, centered in enumerate([True, False, True, False]):
        alone = swept(
            jon.grid(learning_rate=space.columns()["learning_rate"][[i]], centered=centered), jon.rmsprop, seeds=2
        )
        np.testing.assert_allclose(table.loss.isel(configuration=i), alone.loss[0, 0], rtol=1e-5)


def test_only_choices_make_a_space_too():
    def either(form):
        return jon.momentum(0.01) if form == "momentum" else jon.nesterov(0.01)

    table = swept(jon.grid(form=["momentum", "nesterov"]), either, seeds=2)
    assert table.loss.shape == (2, 2, 13)
    assert (table.status == Status.COMPLETED).all()


FAMILIES = {
    "momentum": (jon.momentum, jon.grid(learning_rate=[0.01, 0.02], beta=[0.0, 0.9])),
    "adam": (jon.adam, jon.zipped(learning_rate=[0.1, 0.2], b1=[0.0, 0.9])),
    "rmsprop": (jon.rmsprop, jon.grid(learning_rate=[0.1], centered=[True, False])),
}


class TestFamilies:
    def test_a_tree_holds_one_table_each(self):
        tree = jon.sweep(VALLEY, FAMILIES, seeds=2, **OPTIONS)
        assert list(tree.children) == ["momentum", "adam", "rmsprop"]
        for name, (optimizer, space) in FAMILIES.items():
            xarray.testing.assert_equal(tree[name].to_dataset(), swept(space, optimizer, seeds=2))

    def test_their_store_goes_on_and_is_read_back(self, tmp_path):
        tree = jon.sweep(VALLEY, FAMILIES, seeds=2, store=tmp_path, **OPTIONS)
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("chunk-*.nc")}
        assert len(written) == 4 + 2 + 1 + 1
        victim = next(path for path in written if "group-001" in str(path))
        victim.unlink()
        again = jon.sweep(VALLEY, FAMILIES, seeds=2, store=tmp_path, **{**OPTIONS, "width": None})  # pinned
        now = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("chunk-*.nc")}
        assert [path for path in written if now[path] != written[path]] == [victim]
        read = jon.open_sweep(tmp_path)
        for name in FAMILIES:
            xarray.testing.assert_equal(again[name].to_dataset(), tree[name].to_dataset())
            xarray.testing.assert_equal(read[name].to_dataset(), tree[name].to_dataset())

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: jon.sweep(VALLEY, {}, **OPTIONS), ValueError, "at least one"),
            (lambda: jon.sweep(VALLEY, {"a/b": FAMILIES["adam"]}, **OPTIONS), ValueError, "folder's name, got 'a/b'"),
            (
                lambda: jon.sweep(VALLEY, {"adam": jon.adam}, **OPTIONS),
                TypeError,
                r"must be a pair \(optimizer, space\)",
            ),
            (
                lambda: jon.sweep(VALLEY, FAMILIES, jon.grid(beta=[0.1]), **OPTIONS),
                TypeError,
                "leave the argument `space`",
            ),
        ],
    )
    def test_bad_families_are_named(self, call, error, message):
        with pytest.raises(error, match=message):
            call()


class TestStoresOfGroups:
    SPACE = jon.grid(learning_rate=[0.01, 0.05], centered=[False, True])

    def test_they_survive_the_disk(self, tmp_path):
        table = swept(self.SPACE, jon.rmsprop, seeds=2, store=tmp_path)
        read = jon.open_sweep(tmp_path)
        xarray.testing.assert_equal(read, table)
        assert read.attrs["trials_finished"] == 8
        jon.save(table, tmp_path / "table.nc")
        with xarray.open_dataset(tmp_path / "table.nc") as loaded:
            xarray.testing.assert_equal(loaded.load(), table)
            np.testing.assert_array_equal(loaded.sel(centered=True).loss, table.sel(centered=True).loss)

    def test_an_unfinished_group_is_masked(self, tmp_path):
        table = swept(self.SPACE, jon.rmsprop, seeds=2, store=tmp_path)
        for path in (tmp_path / "group-001").iterdir():
            path.unlink()
        read = jon.open_sweep(tmp_path)
        assert (read.status.sel(centered=True) == Status.NOT_RUN).all()
        np.testing.assert_array_equal(read.loss.sel(centered=False), table.loss.sel(centered=False))

    def test_another_definition_is_refused(self, tmp_path):
        swept(self.SPACE, jon.rmsprop, store=tmp_path)
        with pytest.raises(jon.StoreError, match="another sweep"):
            swept(jon.grid(learning_rate=[0.01, 0.06], centered=[False, True]), jon.rmsprop, store=tmp_path)
        with pytest.raises(jon.StoreError, match="steps: 12 there, 13 now"):
            swept(self.SPACE, jon.rmsprop, store=tmp_path, steps=13)
        with pytest.raises(jon.StoreError, match=r"another kind of sweep, with a groups.json"):
            swept(jon.grid(learning_rate=[0.01]), jon.rmsprop, store=tmp_path)
        swept(jon.grid(learning_rate=[0.01]), jon.rmsprop, store=tmp_path / "plain")
        with pytest.raises(jon.StoreError, match=r"another kind of sweep, with a manifest.json"):
            swept(self.SPACE, jon.rmsprop, store=tmp_path / "plain")

    def test_ctrl_c_leaves_the_other_groups_out(self, monkeypatch):
        original, calls = Engine._pass, []

        def interrupted_at_the_second(*arguments, **options):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(Engine, "_pass", interrupted_at_the_second)
        with pytest.warns(UserWarning, match="interrupted"):
            table = swept(
                jon.grid(learning_rate=[0.01, 0.05], centered=[False, True], debias=[False, True]),
                jon.rmsprop,
                devices=jax.devices()[:1],
            )
        assert int((table.status == Status.NOT_RUN).sum()) == 6
        assert len(calls) == 2


BAD = [
    (
        dict(space=jon.grid(learning_rate=[0.1], centered=[0.0, 1.0])),
        TypeError,
        "'centered' chooses the program of rmsprop",
    ),
    (dict(space=jon.grid(learning_rate=[0.1], eps=[True])), TypeError, "axis 'eps' must hold real numbers for rmsprop"),
    (dict(space=jon.grid(learning_rate=["big"])), TypeError, "axis 'learning_rate' must hold real numbers, or choices"),
    (
        dict(space=jon.grid(learning_rate=[0.1], centred=[True])),
        ValueError,
        "unknown axis 'centred' for rmsprop; did you mean 'centered'",
    ),
    (
        dict(space=jon.grid(learning_rate=[0.1], batch_size=[3]), batch_size=4),
        ValueError,
        "batch_size is an axis of the space and was given as well, as 4",
    ),
    (dict(space=jon.grid(learning_rate=[0.1], batch_size=[3, 40])), ValueError, "at most the number of examples, 12"),
    (dict(space=jon.grid(learning_rate=[0.1], batch_sise=[3])), ValueError, "did you mean 'batch_size'"),
    (dict(space=jon.grid(learning_rate=[0.1], epsilon=[1e-8])), ValueError, "did you mean 'eps'"),
    (
        dict(problem=jon.problems.digits_mlp, space=jon.grid(learning_rate=[0.1], hiden=[3])),
        ValueError,
        "unknown axis 'hiden' for rmsprop; did you mean 'hidden'.* and the sweep batch_size, hidden",
    ),
    (dict(space=jon.grid(learning_rate=[0.1], batch_size=[0.5])), TypeError, "batch_size must be an integer"),
    (
        dict(space=jon.grid(eps=[0.1]) + jon.grid(learning_rate=[0.1])),
        TypeError,
        "learning_rate, which is absent in some",
    ),
    (
        dict(problem=lambda n: 3, space=jon.grid(learning_rate=[0.1], n=[1])),
        TypeError,
        "must make a jaxopt_notes.Problem",
    ),
    (
        dict(problem=lambda eps: LINE, space=jon.grid(learning_rate=[0.1], eps=[1])),
        ValueError,
        "of both problem and optimizer",
    ),
    (dict(problem=lambda n: LINE, space=jon.grid(learning_rate=[0.1])), TypeError, "whose arguments are axes"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_choices_are_named_before_compiling(change, error, message):
    with pytest.raises(error, match=message):
        swept(**{"problem": LINE, "optimizer": jon.rmsprop, **change})
