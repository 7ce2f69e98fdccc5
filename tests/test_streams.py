"""Data of a sweep that are read while it runs: by number or by iterating, with the same batch for every lane."""

import itertools
import json
import multiprocessing
import random
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cloudpickle
import forked
import grain
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import streamed_sweep

import jaxopt_notes as jon
from jaxopt_notes import _streams
from jaxopt_notes.minibatches import batches, prefetch, reshuffle
from jaxopt_notes.sweeps.compute import engine, group_plan
from jaxopt_notes.sweeps.keep import shelf
from jaxopt_notes.sweeps.keep.store import Store

EXAMPLES = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
ORDER = jon.seed_keys(jax.random.key(0), 0)[1]  # of the examples in a sweep, whatever its seeds
SPACE = jon.grid(learning_rate=[0.01, 0.1, 0.3], beta=[0.0, 0.5])
OPTIONS = dict(steps=40, progress=False)


def shown(params, batch):
    """A loss whose value is the mean of the batch, so that a history is what the lane has seen."""
    return jnp.mean(batch) + 0.0 * jnp.sum(params)


def fit(params, batch):
    return jnp.mean((batch @ params - jnp.sin(jnp.sum(batch, axis=1))) ** 2)


SEEN = jon.Problem(shown, init=jnp.zeros(2))
FIT = jon.Problem(fit, init=jnp.zeros(3), validation=EXAMPLES[:10])


def drawn(steps, size=8, examples=EXAMPLES):
    return list(itertools.islice(batches(examples, reshuffle(size), ORDER), steps))


READY = [EXAMPLES[i : i + 8] for i in range(0, 96, 8)]


def again(count):
    return list(itertools.islice(itertools.cycle(READY), count))


class Items:
    """A data set as torch has them: a length and single examples."""

    def __len__(self):
        return len(EXAMPLES)

    def __getitem__(self, row):
        if not isinstance(row, int):
            raise TypeError(f"row must be an int, got {row!r}")
        return EXAMPLES[row]


class Table:
    """A data set as Hugging Face has them: a dict of plain lists, for one row or a list of rows."""

    def __init__(self):
        self.calls = 0

    def __len__(self):
        return len(EXAMPLES)

    def __getitem__(self, rows):
        self.calls += 1
        return {"x": EXAMPLES[rows].tolist()}


class Tensor:
    """What NumPy can read as an array, and nothing else."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


class Loader:
    """A loader as torch has them: a length, lists of tensors as batches, another order each time if it shuffles."""

    def __init__(self, shuffle=False, drop_last=True):
        self.order = np.random.default_rng(0) if shuffle else None
        self.parts = [READY, [*READY, EXAMPLES[96:]]][not drop_last]

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        numbers = range(len(self)) if self.order is None else self.order.permutation(len(self))
        return ([Tensor(self.parts[i])] for i in numbers)


def function():
    yield from READY


MAPPED = grain.MapDataset.source(EXAMPLES)
SOURCES = {
    "arrays": (lambda: EXAMPLES, 8, drawn),
    "jax arrays": (lambda: jnp.asarray(EXAMPLES), 8, drawn),
    "items": (Items, 8, drawn),
    "hugging face": (Table, 8, drawn),
    "grain, examples": (lambda: MAPPED, 8, drawn),
    "list": (lambda: READY, None, again),
    "function": (lambda: function, None, again),
    "generator": (lambda: itertools.cycle(READY), None, again),
    "torch": (Loader, None, again),
    "grain, batches": (lambda: MAPPED.batch(8, drop_remainder=True), None, again),
    "grain, iterated": (lambda: MAPPED.batch(8, drop_remainder=True).to_iter_dataset(), None, again),
}


@pytest.fixture(autouse=True)
def windows(monkeypatch):
    """Windows of seven steps, which divide neither the steps nor an epoch."""
    monkeypatch.setitem(group_plan.STREAM_BYTES, "cpu", 7 * 8 * 3 * 4)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_lane_and_seed_sees_the_same_batches_in_their_order(kind):
    source, batch_size, expected = SOURCES[kind]
    leaf = {"hugging face": lambda p, b: shown(p, b["x"]), "torch": lambda p, b: shown(p, b[0])}.get(kind, shown)
    problem = jon.Problem(leaf, init=jnp.zeros(2))
    table = jon.sweep(problem, jon.momentum, SPACE, data=source(), batch_size=batch_size, seeds=2, **OPTIONS)
    means = [batch.mean() for batch in expected(41)]
    assert not np.allclose(means, np.roll(means, 1))
    np.testing.assert_allclose(table.loss, np.broadcast_to(means, table.loss.shape), atol=1e-6)
    assert table.attrs["batch_size"] == 8
    assert table.examples_seen.values.tolist() == [8 * step for step in range(41)]
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_batches_of_a_list_are_read_as_one(monkeypatch):
    table = Table()
    jon.sweep(
        jon.Problem(lambda p, b: shown(p, b["x"]), jnp.zeros(2)),
        jon.momentum,
        SPACE,
        data=table,
        batch_size=8,
        **OPTIONS,
    )
    assert table.calls < 50  # 41 batches, the sample, and what is looked at first


def test_it_is_the_sweep_in_memory():
    """With one seed the order is the same one too; 100 examples are a sample of themselves."""
    inside = jon.sweep(
        jon.Problem(fit, jnp.zeros(3), data=EXAMPLES, validation=EXAMPLES[:10]),
        jon.momentum,
        SPACE,
        batch_size=8,
        **OPTIONS,
    )
    outside = jon.sweep(FIT, jon.momentum, SPACE, data=EXAMPLES, batch_size=8, **OPTIONS)
    assert set(outside.variables) == set(inside.variables)
    for name in inside.variables:
        np.testing.assert_allclose(outside[name], inside[name], rtol=2e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(outside.initial_loss, inside.initial_loss)
    assert outside.attrs["final_on"] == "the full training data"
    assert jon.best(outside).config == jon.best(inside).config


def test_a_loss_with_a_state_a_key_and_numbers_of_its_own():
    def loss(params, batch, *, aux, key, train, width):
        noise = width * jax.random.normal(key, params.shape) if train else jnp.zeros_like(params)
        center = 0.9 * aux + 0.1 * jnp.mean(batch, axis=0)
        return jnp.mean(((batch - center[None]) @ (params + noise) - 1.0) ** 2), center

    start, space = (jnp.zeros(3), jnp.zeros(3)), jon.grid(learning_rate=[0.01, 0.05], width=[0.0, 0.1])
    inside = jon.sweep(jon.Problem(loss, start, data=EXAMPLES), jon.momentum, space, batch_size=8, **OPTIONS)
    outside = jon.sweep(jon.Problem(loss, start), jon.momentum, space, batch_size=8, data=EXAMPLES, **OPTIONS)
    assert outside.attrs["segment_programs"] == 1
    for name in ("loss", "grad_norm", "final_loss"):
        np.testing.assert_allclose(outside[name], inside[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_it_takes_the_steps_of_minimize_stream():
    table = jon.sweep(
        FIT, jon.adam, jon.grid(learning_rate=[0.1]), data=EXAMPLES, batch_size=8, keep_params=True, **OPTIONS
    )
    run = jon.minimize_stream(fit, jnp.zeros(3), jon.adam(0.1), batches(EXAMPLES, reshuffle(8), ORDER), steps=40)
    for name in ("loss", "grad_norm", "update_norm"):
        np.testing.assert_allclose(table[name].squeeze(), getattr(run, name), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(table.params.squeeze(), run.params, rtol=2e-5)


def test_one_program_for_every_window_and_the_same_floats_on_more_devices():
    options = dict(data=EXAMPLES, batch_size=8, width=2, seeds=2, **OPTIONS)
    one = jon.sweep(FIT, jon.momentum, SPACE, devices=jax.devices()[:1], **options)
    assert one.attrs["segment_programs"] == 1
    two = jon.sweep(FIT, jon.momentum, SPACE, devices=jax.devices()[:2], **options)
    for name in one.variables:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    other = jon.sweep(FIT, jon.momentum, SPACE, **{**options, "data": EXAMPLES[::-1].copy()}, devices=jax.devices()[:1])
    assert other.attrs["segment_programs"] == 0
    assert not np.array_equal(one.loss, other.loss)


def test_a_plan_of_a_stream_is_invariant_and_prints():
    line = jon.Problem(lambda params, batch: jnp.mean((batch @ (params - 1.0)) ** 2), jnp.zeros(3))
    plan = jon.plan(line, jon.momentum, SPACE, data=EXAMPLES, batch_size=8, steps=20, width=4)
    assert jon.check_invariance(plan).passed
    assert "data are 100 examples by number, read ahead 7 steps at a time" in str(plan)
    table = jon.sweep(plan, progress=False)
    assert table.attrs["stream"] == "100 examples by number"


def test_the_sample_that_ends_are_measured_on():
    rows = np.arange(6000, dtype=np.float32).reshape(3000, 2)
    problem = jon.Problem(shown, jnp.zeros(2), metrics={"most": lambda params, batch: batch.max()})
    table = jon.sweep(problem, jon.momentum, SPACE, data=rows, batch_size=4, steps=2, progress=False)
    mean = float(table.final_loss[0, 0, 0])
    assert len(np.unique(table.final_loss)) == 1
    assert abs(mean - 2999.5) < 150  # the standard error is 54
    assert table.initial_loss.attrs["long_name"] == "loss on a sample of 1024 training examples at the start"
    assert table.attrs["final_on"] == "a sample of 1024 training examples"
    np.testing.assert_array_equal(table.final_loss, table.initial_loss)
    assert 5800 < float(table.final_most[0, 0, 0]) <= 5999


def test_the_batch_size_may_be_an_axis():
    space = jon.grid(learning_rate=[0.1], batch_size=[4, 10])
    table = jon.sweep(SEEN, jon.momentum, space, data=EXAMPLES, **OPTIONS)
    for size in (4, 10):
        means = [batch.mean() for batch in drawn(41, size)]
        np.testing.assert_allclose(table.loss.sel(batch_size=size).squeeze(), means, atol=1e-6)
    assert len(np.unique(table.initial_loss)) == 1  # measured on one sample, whatever the batches


def test_problems_that_are_made_take_a_stream():
    def problem(scale):
        return jon.Problem(lambda params, batch: scale * shown(params, batch), jnp.zeros(2))

    table = jon.sweep(problem, jon.momentum, jon.grid(learning_rate=[0.1], scale=[1.0, 2.0]), data=READY, **OPTIONS)
    np.testing.assert_allclose(table.loss.sel(scale=2.0), 2 * table.loss.sel(scale=1.0), rtol=1e-5)


def test_validation_curves_and_pruning_of_a_stream():
    options = dict(data=EXAMPLES, batch_size=8, width=2, evaluate_every=10, **OPTIONS)
    whole = jon.sweep(FIT, jon.momentum, SPACE, **options)
    assert dict(whole.validation_loss.sizes)["evaluation_step"] == 5
    for data, size in ((EXAMPLES, 8), (function, None)):
        whole = jon.sweep(FIT, jon.momentum, SPACE, **{**options, "data": data, "batch_size": size})
        prune = jon.halving(2, rungs=2, metric="validation_loss")
        pruned = jon.sweep(FIT, jon.momentum, SPACE, **{**options, "data": data, "batch_size": size}, prune=prune)
        stay = np.isnan(pruned.pruned_at.values)
        assert stay.sum() == 3
        for name in ("loss", "final_loss", "validation_loss"):
            np.testing.assert_allclose(pruned[name].values[stay], whole[name].values[stay], rtol=2e-5, err_msg=name)


def test_less_memory_begins_the_source_again(monkeypatch):
    expected = jon.sweep(FIT, jon.momentum, SPACE, data=function, width=2, devices=jax.devices()[:1], **OPTIONS)
    ran = engine.Engine._pass
    failed = []

    def fails_once(self, width, *rest):
        result = ran(self, width, *rest)
        if width == 6 and not failed:
            failed.append(width)
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 137438953472 bytes.")
        return result

    monkeypatch.setattr(engine.Engine, "_pass", fails_once)
    options = dict(width=6, devices=jax.devices()[:1], **OPTIONS)
    with pytest.warns(UserWarning, match="out of memory"):
        table = jon.sweep(FIT, jon.momentum, SPACE, data=function, **options)
    np.testing.assert_allclose(table.loss, expected.loss, rtol=2e-5, atol=1e-6)
    failed.clear()
    with pytest.warns(UserWarning, match="out of memory"), pytest.raises(ValueError, match="which can be read once"):
        jon.sweep(FIT, jon.momentum, SPACE, data=itertools.cycle(READY), **options)


ENDS = iter(READY)  # which a function gives again and again
WRONG = {
    "arrays need a batch size": (dict(data=EXAMPLES), "batch_size must be given: data are 100 examples by number"),
    "too large a batch": (
        dict(data=EXAMPLES, batch_size=101),
        "batch_size must be at most the number of examples, 100",
    ),
    "ready batches": (
        dict(data=function, batch_size=8),
        "batch_size=8 needs examples to draw from; data gives batches from",
    ),
    "no data": (dict(data=3), "data must be arrays, a data set with a length and items, an iterable of batches"),
    "nothing": (dict(data=[]), "data must hold at least one item"),
    "no batch": (dict(data=iter([])), "data must give batches, got none"),
    "ended": (
        dict(data=iter(READY)),
        r"data ended after 12 batches, and step 12 of 40 needs one more: 40 steps take 41 batches; pass a function",
    ),
    "disguised": (dict(data=lambda: ENDS), "data gave no batch when it was read again"),
    "uneven": (
        dict(data=Loader(drop_last=False)),
        r"all batches of data must be alike: that of step 12 is float32\[4, 3\] .* the first was float32\[8, 3\]",
    ),
    "several chunks": (
        dict(data=itertools.cycle(READY), width=2, devices=jax.devices()[:1]),
        r"the iterator cycle, which can be read once, and 3 chunks of 2 trials run on 1 device: .* with width=6",
    ),
    "several programs": (
        dict(
            data=itertools.cycle(READY),
            optimizer=jon.rmsprop,
            space=jon.grid(learning_rate=[0.1], centered=[False, True]),
        ),
        "which can be read once, and 2 programs run one after the other",
    ),
    "other batches each time": (
        dict(data=Loader(shuffle=True), width=2, devices=jax.devices()[:1]),
        r"data gives other batches each time it is read \(from step 0 on\), and all trials of a sweep must see",
    ),
    "a store": (dict(data=function, store="unused"), "store needs data whose reading a later process can resume"),
    "a pruner": (
        dict(data=itertools.cycle(READY), prune=jon.halving()),
        "prune needs data that can be read again, and data are batches from the iterator cycle",
    ),
    "timing": (dict(data=itertools.cycle(READY), width="fastest"), "timing a width needs data that can be read again"),
    "text": (dict(data=["a", "b"]), "data must give arrays of numbers, got str 'a'"),
    "a list of arrays": (dict(data=[EXAMPLES, EXAMPLES[0]], batch_size=1), "Arrays with one row for each example are"),
    "infinite": (dict(data=np.full((4, 3), np.inf, np.float32), batch_size=2), "data holds 12 non-finite values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_refused_in_words(case, tmp_path):
    arguments, message = WRONG[case]
    problem = jon.Problem(lambda p, b: jnp.mean(jax.tree.leaves(b)[0]) + 0.0 * jnp.sum(p), jnp.zeros(2))
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        jon.sweep(problem, **{"optimizer": jon.momentum, "space": SPACE, **OPTIONS, **arguments})
    assert "\n" not in str(raised.value)
    assert not Path("unused").exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_ends_are_measured_on_the_data_of_the_problem_if_it_has_some(tmp_path):
    own = jon.Problem(shown, jnp.zeros(2), data=EXAMPLES[:30])
    table = jon.sweep(own, jon.momentum, SPACE, data=READY, store=tmp_path, **OPTIONS)
    np.testing.assert_allclose(table.final_loss, EXAMPLES[:30].mean(), rtol=1e-5)
    np.testing.assert_allclose(table.loss[0, 0, 0], [batch.mean() for batch in again(41)], atol=1e-6)
    assert table.attrs["final_on"] == "the 30 training examples of the problem"
    with pytest.raises(jon.StoreError, match=r"  stream: 12 batches by number, .* there, 12 batches by number, .* now"):
        jon.sweep(own, jon.momentum, SPACE, data=[2 * batch for batch in READY], store=tmp_path, **OPTIONS)


def test_held_out_parts_need_data():
    with pytest.raises(ValueError, match=r"validation needs data: give Problem\(data=...\), or sweep\(data=...\)"):
        jon.sweep(FIT, jon.momentum, SPACE, **OPTIONS)
    with pytest.raises(ValueError, match="validation needs data: a loss of the parameters alone"):
        jon.Problem(lambda params: jnp.sum(params**2), jnp.zeros(3), validation=EXAMPLES)
    plan = jon.plan(FIT, jon.momentum, SPACE, data=READY, steps=5)
    with pytest.raises(TypeError, match="data is decided by the plan"):
        jon.sweep(plan, data=READY)


def test_errors_of_the_source_are_its_own():
    def broken():
        yield from READY
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        jon.sweep(FIT, jon.momentum, SPACE, data=broken, **OPTIONS)


def test_hdf5_is_read_row_by_row(tmp_path):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["x"] = EXAMPLES
    with h5py.File(tmp_path / "rows.h5") as file:
        problem = jon.Problem(lambda params, batch: shown(params, batch["x"]), jnp.zeros(2))
        table = jon.sweep(problem, jon.momentum, SPACE, data={"x": file["x"]}, batch_size=8, **OPTIONS)
    np.testing.assert_allclose(table.loss[0, 0, 0], [batch.mean() for batch in drawn(41)], atol=1e-6)


def test_float64_stays_what_it_is(x64):
    wide = EXAMPLES.astype(float) / 3
    problem = jon.Problem(lambda params, batch: jnp.mean(batch) + 0.0 * jnp.sum(params), jnp.zeros(2))
    table = jon.sweep(problem, jon.momentum, SPACE, data=wide, batch_size=8, **OPTIONS)
    means = [batch.mean() for batch in drawn(41, examples=wide)]
    np.testing.assert_allclose(table.loss[0, 0, 0], means, atol=1e-15)
    assert [item.dtype for item in prefetch([wide])] == [np.float64]


class Noted:
    """A grain data set of batches, which notes the number of every batch that is read."""

    def __init__(self):
        self.read = []

    def dataset(self):
        def note(batch):
            self.read.append(int(np.flatnonzero((np.stack(READY) == batch).all(axis=(1, 2)))[0]))
            return batch

        options = grain.ReadOptions(num_threads=0)
        return grain.MapDataset.source(READY).shuffle(seed=3).map(note).to_iter_dataset(options)


def test_a_sweep_of_grain_takes_up_its_state(tmp_path, monkeypatch):
    """Interrupted in the third epoch: the next process begins where this one stopped, and reads nothing before."""
    options = dict(width=3, devices=jax.devices()[:1], **{**OPTIONS, "steps": 60})
    expected = jon.sweep(FIT, jon.momentum, SPACE, data=Noted().dataset(), **options)
    monkeypatch.setattr(shelf, "SECONDS_PER_CHECKPOINT", 0.0)
    write, written = Store.write_carry, []

    def interrupted_later(self, chunk, state, owner):
        write(self, chunk, state, owner)
        written.append(state)
        if state.step > 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_carry", interrupted_later)
    with pytest.warns(UserWarning, match="interrupted"):
        jon.sweep(FIT, jon.momentum, SPACE, data=Noted().dataset(), store=tmp_path, **options)
    window = written[-1].step // 7 * 7
    assert json.loads(written[-1].position[1:])["next_index"] == window % 12
    monkeypatch.setattr(Store, "write_carry", write)
    later = Noted()
    dataset = later.dataset()
    jon.plan(FIT, jon.momentum, SPACE, data=dataset, steps=60)
    of_the_sample = len(later.read)
    later.read.clear()
    table = jon.sweep(FIT, jon.momentum, SPACE, data=dataset, store=tmp_path, **options)
    for name in expected.variables:
        np.testing.assert_array_equal(table[name], expected[name], err_msg=name)
    assert len(later.read) == of_the_sample + (61 - window) + 61


def test_another_source_is_another_sweep(tmp_path):
    options = dict(batch_size=8, store=tmp_path, **OPTIONS)
    jon.sweep(FIT, jon.momentum, SPACE, data=EXAMPLES, **options)
    other = EXAMPLES.copy()
    other[50] += 1
    with pytest.raises(jon.StoreError, match=r"  data: .* there, .* now"):
        jon.sweep(FIT, jon.momentum, SPACE, data=other, **options)
    with pytest.raises(
        jon.StoreError, match=r"  stream: 100 examples by number, .* there, 99 examples by number, .* now"
    ):
        jon.sweep(FIT, jon.momentum, SPACE, data=EXAMPLES[:99], **options)


def state_of(folder):
    """Every chunk and checkpoint with the moment it was written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("c*-*")}


def die_after_writing(process, folder, seconds):
    """Kill a sweep some time after it has written something; False if it ended before."""
    begun = state_of(folder)
    return forked.killed(process, lambda: state_of(folder) != begun, seconds)


def test_kills_change_no_bit(tmp_path):
    """SIGKILL at random moments of a stream from a file, a resume after each; the last process finishes."""
    path, folder, moments = tmp_path / "rows", tmp_path / "store", random.Random(0)
    streamed_sweep.write(path)
    states, steps = [], set()
    for _ in range(4):
        process = forked.start(streamed_sweep.run, path, folder, tmp_path / "cache")
        assert die_after_writing(process, folder, moments.uniform(0.0, 0.3)), "the sweep ended before the kill"
        states.append(state_of(folder))
        for carry in folder.glob("carry-*.npz"):
            with np.load(carry) as file:
                steps.add(int(file["step"]))
    assert all(before != after for before, after in itertools.pairwise(states))
    assert any(step % streamed_sweep.STEPS_PER_WINDOW for step in steps)  # some of them inside a window
    process = forked.start(streamed_sweep.run, path, folder, tmp_path / "cache")
    process.join()
    assert process.exitcode == 0
    arguments, options = streamed_sweep.definition(path)
    expected = jon.sweep(*arguments, **options, devices=jax.devices()[:1])
    table = jon.open_sweep(folder)
    for name in expected.variables:
        np.testing.assert_array_equal(table[name], expected[name], err_msg=name)


def test_a_map_travels_by_its_name(tmp_path):
    EXAMPLES.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float32, "r", shape=EXAMPLES.shape)
    source = _streams.source_of({"x": mapped}, True)
    sent = cloudpickle.dumps(source)
    assert len(sent) < 1000
    order = _streams.Order(8, ORDER)
    window = next(iter(cloudpickle.loads(sent).windows(0, 5, 5, order)))
    np.testing.assert_array_equal(window.batches["x"], np.stack(drawn(6)))


def test_workers_read_the_file_themselves(tmp_path):
    streamed_sweep.write(tmp_path / "rows")
    arguments, options = streamed_sweep.definition(tmp_path / "rows")
    options |= dict(steps=100)
    expected = jon.sweep(*arguments, **options, devices=jax.devices()[:1])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        table = jon.sweep(*arguments, **options, executor=executor)
        for name in expected.variables:
            np.testing.assert_array_equal(table[name], expected[name], err_msg=name)
        with pytest.raises(ValueError, match="executor needs data that give every worker the same batches"):
            jon.sweep(*arguments, **{**options, "data": function, "batch_size": None}, executor=executor)
        locked = Items()
        locked.lock = threading.Lock()
        problem = jon.Problem(shown, jnp.zeros(2))
        with pytest.raises(TypeError, match=r"data cannot be sent to the workers .*cannot pickle '_thread.lock'"):
            jon.sweep(problem, jon.momentum, SPACE, data=locked, batch_size=8, executor=executor, **OPTIONS)


SWEEP_A_FILE = """
import sys, threading
import jax.numpy as jnp, numpy as np, jaxopt_notes as jon

rows, kind, most, ended = np.memmap(sys.argv[1], np.float32, "r").reshape(-1, 256), sys.argv[2], [0], threading.Event()

def watch():
    while not ended.wait(0.02):
        line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
        most[0] = max(most[0], int(line.split()[1]) // 1024)

threading.Thread(target=watch).start()
loss = lambda params, batch: jnp.mean((batch @ params - 1.0) ** 2)
own, apart = ({"data": np.array(rows)}, {}) if kind == "memory" else ({}, {"data": rows})
problem, space = jon.Problem(loss, jnp.zeros(256), **own), jon.grid(learning_rate=[1e-3, 1e-2], beta=[0.0, 0.9])
jon.sweep(problem, jon.momentum, space, **apart, steps=500, every=100, batch_size=512, progress=False)
ended.set()
print(most[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
def test_a_file_of_256_megabytes_is_not_read_into_memory(tmp_path):
    """Nearly every row is seen once; what is in memory are three windows, and not the file. In megabytes."""
    with (tmp_path / "rows").open("wb") as file:
        file.truncate(2**28)
    most = {}
    for kind in ("memory", "stream"):
        command = [sys.executable, "-c", SWEEP_A_FILE, str(tmp_path / "rows"), kind]
        most[kind] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert most["stream"] < 500 < most["memory"], most
