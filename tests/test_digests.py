"""What is on a disk is what was written: every kind of damage is named before it is parsed, and mended when asked."""

import concurrent.futures
import contextlib
import os
import shutil
import sys
import threading
from pathlib import Path

import h5netcdf
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes import landscape
from jaxopt_notes._digests import TRAILER, write_digested
from jaxopt_notes.cli import main
from jaxopt_notes.sweeps.spec.space import label

VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = [0.01, 0.03, 0.05, 0.09, 0.2, 0.3]
SPACE = jon.grid(learning_rate=RATES)
GROUPS = jon.grid(learning_rate=RATES[:2], centered=[False, True])
FAMILIES = {name: (getattr(jon, name), jon.grid(learning_rate=RATES[:2])) for name in ("adam", "momentum")}
OPTIONS = dict(seeds=2, steps=8, width=4, progress=False)


def stored(folder, optimizer=jon.momentum, space=SPACE, **changes):
    return jon.sweep(VALLEY, optimizer, space, **{**OPTIONS, **changes}, store=folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A store of three chunks, never changed."""
    folder = tmp_path_factory.mktemp("sound") / "store"
    stored(folder)
    return folder


@pytest.fixture
def store(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "store"))


@pytest.fixture(scope="module")
def table(sound):
    return jon.open_sweep(sound)


def moments(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("chunk-*.nc")}


def delete(folder):
    """Also where the sweep's own files come and go at that moment."""
    return lambda: shutil.rmtree(folder, ignore_errors=True)


def forge(path, change):
    """Let `change` edit an HDF5 file, and give it a digest that fits."""
    path.write_bytes(path.read_bytes()[: -TRAILER.size])
    with h5py.File(path, "a") as file:
        change(file)
    content = path.read_bytes()
    write_digested(path, lambda temporary: temporary.write_bytes(content))


def test_damage_is_harmless_or_named_never_endless_and_always_mended(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    import damage

    assert damage.main(chunk=24, manifest=6, structured=20, seed=1) == []


class TestChunks:
    def test_other_programs_open_them(self, store, table):
        path = store / "chunk-00001.nc"
        expected = table.final_loss.values.ravel()[4:8]
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["final_loss"], expected)
        with h5netcdf.File(path) as file:
            np.testing.assert_array_equal(file.variables["final_loss"], expected)
        np.testing.assert_array_equal(xarray.load_dataset(path).final_loss, expected)

    def test_every_bit_of_some_bytes_is_noticed(self, store):
        """Also those of the digest itself."""
        path = store / "chunk-00001.nc"
        good = path.read_bytes()
        rng = np.random.default_rng(0)
        for byte in [*rng.integers(len(good), size=20), *range(len(good) - TRAILER.size, len(good), 5)]:
            bad = bytearray(good)
            bad[byte] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            with pytest.raises(jon.StoreError, match=r"chunk-00001.nc cannot be read.*repair=True"):
                jon.open_sweep(store)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("another chunk", lambda store, other: shutil.copy(store / "chunk-00000.nc", store / "chunk-00001.nc")),
            ("another width", lambda store, other: shutil.copy(other / "chunk-00001.nc", store / "chunk-00001.nc")),
            ("one too many", lambda store, other: shutil.copy(store / "chunk-00000.nc", store / "chunk-00003.nc")),
        ],
    )
    def test_one_in_the_place_of_another_is_named_and_mended(self, store, table, tmp_path, name, change):
        if name == "another width":
            stored(tmp_path / "other", width=3)
        change(store, tmp_path / "other")
        with pytest.raises(jon.StoreError, match=r"chunk-0000[13].nc .*\(it holds chunk [01] of width [34]\)"):
            jon.open_sweep(store)
        assert stored(store, repair=True).equals(table)

    @pytest.mark.parametrize("way", ["huge", "dtype", "external link", "soft link", "virtual", "missing"])
    def test_one_that_declares_what_the_layout_does_not_is_refused_before_it_is_read(self, store, table, tmp_path, way):
        def change(file):
            values = file["final_loss"][()]
            del file["final_loss"]
            if way == "huge":
                file.create_dataset("final_loss", 10**11, "f4")  # 373 GiB, none of it on the disk
            elif way == "dtype":
                file["final_loss"] = values.astype("f8")
            elif way == "external link":
                with h5py.File(tmp_path / "elsewhere.nc", "w") as other:
                    other["final_loss"] = np.zeros_like(values)
                file["final_loss"] = h5py.ExternalLink(str(tmp_path / "elsewhere.nc"), "final_loss")
            elif way == "soft link":
                file["final_loss"] = h5py.SoftLink("/initial_loss")
            elif way == "virtual":
                file.create_virtual_dataset("final_loss", h5py.VirtualLayout(values.shape, values.dtype))

        forge(store / "chunk-00001.nc", change)
        with pytest.raises(jon.StoreError, match=r"chunk-00001.nc cannot be read \(its (column )?'final_loss'"):
            jon.open_sweep(store)
        assert stored(store, repair=True).equals(table)


class TestRecords:
    """The manifest and the files beside it."""

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b"{}", b'{"digest": 3}'])
    def test_a_manifest_that_is_none_is_named_and_written_anew_and_the_chunks_are_kept(self, store, table, content):
        before = moments(store)
        (store / "manifest.json").write_bytes(content)
        for use in (lambda: jon.open_sweep(store), lambda: stored(store, width=None)):
            with pytest.raises(jon.StoreError, match=r"manifest.json cannot be read.*repair=True"):
                use()
        assert stored(store, width=None, repair=True).equals(table)
        assert moments(store) == before
        assert (store / "manifest.json.bad").read_bytes() == content
        assert jon.open_sweep(store).identical(table)

    def test_a_learning_rate_that_changed_in_the_manifest_is_noticed(self, store):
        path = store / "manifest.json"
        text = path.read_text()
        assert text.count("0.03,") == 2  # in the identity and in the layout
        path.write_text(text.replace("0.03,", "0.07,"))
        with pytest.raises(jon.StoreError, match="its digest does not match its content"):
            jon.open_sweep(store)

    def test_a_manifest_of_another_sweep_is_set_aside_where_the_chunks_are_of_this_one(self, store, table, tmp_path):
        before = moments(store)
        stored(tmp_path / "other", steps=12)
        shutil.copy(tmp_path / "other" / "manifest.json", store)
        with pytest.raises(jon.StoreError, match=r"chunk-00000.nc does not belong to this sweep"):
            jon.open_sweep(store)
        with pytest.raises(jon.StoreError, match="steps: 12 there, 8 now"):
            stored(store)
        assert stored(store, repair=True).equals(table)
        assert moments(store) == before

    def test_repair_refuses_another_definition_as_before(self, store, table):
        for changes in ({"steps": 9}, {"width": 3}, {"keep_params": True}):
            with pytest.raises(jon.StoreError, match="holds another sweep"):
                stored(store, repair=True, **changes)
        assert jon.open_sweep(store).identical(table)

    def test_one_without_a_digest_as_earlier_versions_wrote_it_is_refused_in_a_sentence_and_mended(self, store, table):
        text = (store / "manifest.json").read_text()
        (store / "manifest.json").write_text(text[: text.rindex(",")] + "}")
        with pytest.raises(jon.StoreError, match=r"manifest.json cannot be read \(it has no digest\)"):
            jon.open_sweep(store)
        assert stored(store, repair=True).equals(table)

    def test_lanes_of_another_sweep_are_noticed_and_mended(self, store, table, tmp_path):
        stored(tmp_path / "other", steps=12)
        jon.sweeps.keep.store.Store(tmp_path / "other").note_lanes(1)
        shutil.copy(tmp_path / "other" / "narrowed.json", store)
        for use in (lambda: jon.open_sweep(store), lambda: stored(store)):
            with pytest.raises(jon.StoreError, match=r"narrowed.json does not belong to this sweep"):
                use()
        mended = stored(store, repair=True)
        assert mended.equals(table)
        assert "narrowed_to" not in mended.attrs

    @pytest.mark.parametrize("way", ["changed", "gone"])
    def test_decisions_of_a_pruner_are_made_again(self, tmp_path, way):
        prune = jon.halving(factor=2, rungs=2)
        expected = stored(tmp_path, prune=prune)
        path = tmp_path / "decisions.json"
        if way == "changed":
            path.write_text(path.read_text().replace("2", "3", 1))
        else:
            path.unlink()
        for use in (lambda: jon.open_sweep(tmp_path), lambda: stored(tmp_path, prune=prune)):
            with pytest.raises(jon.StoreError, match=r"decisions.json .*repair=True"):
                use()
        assert stored(tmp_path, prune=prune, repair=True).equals(expected)
        assert jon.open_sweep(tmp_path).equals(expected)


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """A store of two groups, never changed, and its table."""
    folder = tmp_path_factory.mktemp("groups")
    return folder, stored(folder, jon.rmsprop, GROUPS)


class TestParts:
    """Stores in stores."""

    def test_labels_from_elsewhere_are_noticed_and_mended(self, groups, tmp_path):
        sound, table = groups
        store = Path(shutil.copytree(sound, tmp_path / "store"))
        other = jon.grid(learning_rate=RATES[:2], centered=[True, False])
        stored(tmp_path / "other", jon.rmsprop, other)
        shutil.copy(tmp_path / "other" / "groups.json", store)
        with pytest.raises(jon.StoreError, match=r"group-000 is no part .*, or groups.json is another's"):
            jon.open_sweep(store)
        with pytest.raises(jon.StoreError, match="holds another sweep"):
            stored(store, jon.rmsprop, GROUPS)
        assert stored(store, jon.rmsprop, GROUPS, repair=True).equals(table)
        assert jon.open_sweep(store).equals(table)

    def test_groups_that_changed_places_are_noticed_and_mended(self, groups, tmp_path):
        sound, table = groups
        store = Path(shutil.copytree(sound, tmp_path / "store"))
        for old, new in (("group-000", "kept"), ("group-001", "group-000"), ("kept", "group-001")):
            (store / old).rename(store / new)
        with pytest.raises(jon.StoreError, match="group-000 is no part of the sweep"):
            jon.open_sweep(store)
        assert stored(store, jon.rmsprop, GROUPS, repair=True).equals(table)

    @pytest.mark.parametrize("name", ["groups.json", "group-001/manifest.json"])
    def test_a_lost_record_is_named_and_mended(self, groups, tmp_path, name):
        sound, table = groups
        store = Path(shutil.copytree(sound, tmp_path / "store"))
        (store / name).write_text((store / name).read_text()[:-9])
        with pytest.raises(jon.StoreError, match=rf"{name} cannot be read"):
            jon.open_sweep(store)
        assert stored(store, jon.rmsprop, GROUPS, repair=True).equals(table)
        (store / name).unlink()
        if "group-" in name:
            with pytest.raises(jon.StoreError, match="group-001 holds chunks without a manifest"):
                jon.open_sweep(store)
        assert stored(store, jon.rmsprop, GROUPS, repair=True).equals(table)

    def test_families_are_named_by_their_own_record(self, tmp_path):
        table = stored(tmp_path / "a", FAMILIES, None)
        stored(tmp_path / "b", {"adam": FAMILIES["adam"]}, None)
        shutil.copy(tmp_path / "b" / "families.json", tmp_path / "a")
        with pytest.raises(jon.StoreError, match="is no part of the sweep"):
            jon.open_sweep(tmp_path / "a")
        assert stored(tmp_path / "a", FAMILIES, None, repair=True).equals(table)
        shutil.copy(tmp_path / "a" / "adam" / "manifest.json", tmp_path / "a")
        with pytest.raises(jon.StoreError, match=r"holds manifest.json and families.json, and only one can be right"):
            jon.open_sweep(tmp_path / "a")
        assert stored(tmp_path / "a", FAMILIES, None, repair=True).equals(table)
        assert jon.open_sweep(tmp_path / "a").equals(table)


class TestTables:
    TREE = xarray.DataTree.from_dict({"a": xarray.Dataset({"x": ("n", [1.0, 2.0])}), "b": xarray.Dataset({"y": 3})})

    def test_what_was_saved_is_loaded(self, table, tmp_path):
        assert jon.load(jon.save(table, tmp_path / "table.nc")).identical(table)
        assert jon.load(jon.save(self.TREE, tmp_path / "tree.nc")).identical(self.TREE)
        assert xarray.load_dataset(tmp_path / "table.nc").identical(table)

    def test_every_changed_byte_is_noticed(self, tmp_path):
        path = jon.save(xarray.Dataset({"loss": ("step", np.arange(5.0))}), tmp_path / "table.nc")
        good = path.read_bytes()
        for byte in range(0, len(good), 7):
            bad = bytearray(good)
            bad[byte] ^= 1 << byte % 8
            path.write_bytes(bad)
            with pytest.raises(jon.StoreError, match=r"table.nc cannot be read"):
                jon.load(path)
        for bad in (b"", good[:-1], good[: len(good) // 2], good + b"0", good[:-512] + bytes(512)):
            path.write_bytes(bad)
            with pytest.raises(jon.StoreError, match=r"table.nc cannot be read"):
                jon.load(path)

    def test_a_file_of_another_program_is_loaded_with_a_warning(self, table, tmp_path):
        table.to_netcdf(tmp_path / "table.nc", engine="h5netcdf")
        with pytest.warns(UserWarning, match=r"table.nc has no digest"):
            assert jon.load(tmp_path / "table.nc").identical(table)
        with h5py.File(tmp_path / "table.nc", "a") as file:
            file["more"] = h5py.ExternalLink("elsewhere.nc", "loss")
        with (
            pytest.warns(UserWarning, match=r"table.nc has no digest"),
            pytest.raises(jon.StoreError, match="'more' is missing or a link"),
        ):
            jon.load(tmp_path / "table.nc")

    def test_what_is_no_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none.nc"):
            jon.load(tmp_path / "none.nc")
        os.mkfifo(tmp_path / "pipe.nc")
        for name in ("pipe.nc", "."):
            with pytest.raises(jon.StoreError, match="it is not a regular file"):
                jon.load(tmp_path / name)


def test_a_slice_is_measured_again_where_its_files_were_changed(tmp_path):
    def measured():
        return landscape.plane(lambda p: jnp.sum(p**2) - 3.0, jnp.ones(3), jnp.eye(3)[:2], points=3, folder=tmp_path)

    expected = measured()
    path = tmp_path / "chunk-000000.npz"
    content = bytearray(path.read_bytes())
    content[content.index(np.asarray(expected["loss"]).ravel()[0].tobytes())] ^= 1
    path.write_bytes(content)
    assert measured().equals(expected)
    (tmp_path / "manifest.json").write_text((tmp_path / "manifest.json").read_text().replace("1024", "1025"))
    with pytest.raises(jon.StoreError, match=r"manifest.json cannot be read.*delete it"):
        measured()


class After:
    """Does something once, when so many chunks are finished."""

    def __init__(self, chunks, act):
        self.chunks, self.act, self.seen = chunks, act, 0

    def __call__(self, table):
        self.seen += 1
        if self.seen == self.chunks:
            self.act()


class TestDeletedWhileItRuns:
    @pytest.mark.parametrize("prune", [None, jon.halving(factor=2, rungs=2)])
    def test_the_results_are_returned_with_a_warning(self, tmp_path, prune):
        expected = stored(None, prune=prune)
        with pytest.warns(UserWarning, match="was deleted or changed while the sweep ran: it lacks"):
            again = stored(tmp_path / "a", prune=prune, on_chunk=After(2, delete(tmp_path / "a")))
        assert again.equals(expected)
        # What was written after that, if anything, is no trap for the next call.
        assert stored(tmp_path / "a", prune=prune, repair=True).equals(expected)

    def test_only_the_manifest(self, tmp_path, table):
        gone = After(1, (tmp_path / "manifest.json").unlink)
        with pytest.warns(UserWarning, match="it lacks its manifest"):
            assert stored(tmp_path, on_chunk=gone).equals(table)

    def test_what_workers_wrote_there_is_not_run(self, tmp_path, table):
        """Chunks of which nobody has the numbers any more; the others come back from the workers."""
        gone = After(1, delete(tmp_path / "a"))
        with (
            concurrent.futures.ThreadPoolExecutor(1) as executor,
            pytest.warns(UserWarning, match="that workers wrote"),
        ):
            found = stored(tmp_path / "a", executor=executor, on_chunk=gone, width=1)
        ran = found.status.values >= 0
        assert 0 < ran.sum() < 12
        np.testing.assert_allclose(found.final_loss.values[ran], table.final_loss.values[ran], rtol=1e-6)


class TestExit:
    def test_on_a_chunk_ends_the_process_and_loses_nothing(self, tmp_path, table):
        with pytest.raises(SystemExit, match="3"):
            stored(tmp_path, on_chunk=After(2, lambda: sys.exit(3)), devices=jax.devices()[:1])
        assert set(moments(tmp_path)) == {"chunk-00000.nc", "chunk-00001.nc"}
        assert stored(tmp_path).equals(table)

    def test_in_a_worker_is_an_error_here(self):
        def leaving(learning_rate):
            if threading.current_thread() is not threading.main_thread():
                sys.exit(4)
            return jon.momentum(learning_rate)

        with (
            concurrent.futures.ThreadPoolExecutor(1) as executor,
            pytest.raises(RuntimeError, match=r"a worker called sys.exit\(4\)"),
        ):
            stored(None, leaving, executor=executor)

    @pytest.mark.parametrize("where", ["file", "maker", "loss"])
    def test_in_a_users_file_is_one_line_and_a_status(self, tmp_path, monkeypatch, capsys, where):
        monkeypatch.chdir(tmp_path)
        leave = {name: "sys.exit('no GPU')" if name == where else "pass" for name in ("file", "maker", "loss")}
        Path("mine.py").write_text(
            "import sys, jaxopt_notes as jon\n"
            f"{leave['file']}\n"
            f"def loss(x):\n    {leave['loss']}\n    return x @ x\n"
            f"def make():\n    {leave['maker']}\n    return jon.Problem(loss, init=[1.0, 2.0])\n"
        )
        with contextlib.suppress(ValueError):
            sys.modules.pop("_jaxopt_notes_mine", None)
        assert main(["sweep", "mine.py:make", "momentum", "learning_rate=0.1", "--steps", "2"]) == 2
        assert capsys.readouterr().err.splitlines()[-1].endswith("called sys.exit('no GPU')")
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("make", [jon.grid, jon.zipped, lambda **axes: jon.trials(axes)])
def test_a_set_as_an_axis_is_refused_as_its_order_changes_from_process_to_process(make):
    for values in ({0.1, 0.2}, frozenset({"a", "b"})):
        with pytest.raises(TypeError, match=r"axis 'learning_rate' must be a list, as a set .* sorted"):
            make(learning_rate=values)
    assert jon.grid(learning_rate={0.2: "", 0.1: ""}.keys()).axes["learning_rate"].tolist() == [0.2, 0.1]  # an order


def test_a_set_among_the_choices_has_one_label_in_every_process():
    assert label(frozenset({"norm", "bias", "scale"})) == "{bias, norm, scale}"
