"""The command line as a user meets it: real processes, real files."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status, cli
from jaxopt_notes.cli_sweeps import values_of
from jaxopt_notes.sweeps.spec.arguments import arguments_of


def run(*arguments, folder, **options):
    command = [sys.executable, "-m", "jaxopt_notes.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, **options)


@pytest.fixture
def called(capsys, monkeypatch):
    """As `run`, in this process, which has imported and compiled already."""

    def command(*arguments, folder):
        monkeypatch.chdir(folder)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            code = cli.main([*map(str, arguments)])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return command


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tour")
    return folder, run("tour", "--quick", folder=folder)


def test_the_quick_tour_writes_and_prints_everything(toured):
    folder, done = toured
    assert done.returncode == 0, done.stderr
    for words in (
        "The best of each optimizer",
        "begins to fail",
        "stability bound",
        "quadratic theory",
        "not critical",
        "x rounding",
    ):
        assert words in done.stdout
    for name in ("momentum", "nesterov", "adam"):
        with xarray.open_dataset(folder / f"runs/tour/{name}.nc") as table:
            assert table.attrs["segment_programs"] == 1
            assert table.final_loss.shape == (7, 2, 6)
            assert np.isfinite(table.final_loss).all()
            assert (table.status >= Status.NON_FINITE).any()  # failure is seen
            assert float(table.final_loss.min()) < 0.1
            assert float(table.test_accuracy.max()) > 0.95
    page = (folder / "runs/tour/report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert len(list((folder / "runs/tour/figures").glob("*.svg"))) >= 6


def test_report_reads_saved_tables_back(toured, tmp_path, called):
    folder, _ = toured
    done = run("report", folder / "runs/tour/adam.nc", "--out", tmp_path / "adam.html", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "adam" in (tmp_path / "adam.html").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/adam.nc").write_bytes((folder / "runs/tour/adam.nc").read_bytes())
    both = called("report", folder / "runs/tour/adam.nc", "other/adam.nc", "--out", "both.html", folder=tmp_path)
    assert both.returncode == 0, both.stderr
    assert "other/adam" in (tmp_path / "both.html").read_text()
    (tmp_path / "junk.nc").write_text("not a table")
    junk = called("report", "junk.nc", folder=tmp_path)
    assert junk.returncode == 2
    assert "Traceback" not in junk.stderr


def test_report_takes_stores_trees_and_folders(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = jon.grid(learning_rate=[0.01, 0.1])
    families = {"plain": (jon.gradient_descent, space), "heavy": (jon.momentum, space)}
    tree = jon.sweep(jon.problems.quadratic([1.0, 5.0]), families, steps=3, progress=False, store="runs/both")
    jon.save(tree, "files/tree.nc")
    jon.save(tree["heavy"].to_dataset(), "files/one.nc")
    names = []
    for given in ("runs/both", "runs/both/heavy", "files"):
        assert cli.main(["report", given, "--out", "report.html"]) == 0, capsys.readouterr().err
        text = (tmp_path / "report.html").read_text()
        names.append(list(json.loads(re.search(r'id="data">(.*?)</script>', text)[1])))
        assert f"Command: jaxopt-notes report {given} --out report.html" in text
    assert names == [["both/plain", "both/heavy"], ["heavy"], ["one", "tree/plain", "tree/heavy"]]
    assert cli.main(["report", "runs"]) == 2
    assert "runs is not a store of a sweep and holds no NetCDF file" in capsys.readouterr().err


def test_ctrl_c_during_the_tour_leaves_what_is_finished_and_a_seed_gives_the_same_bits(toured, tmp_path):
    """A real SIGINT to a real process, once its second sweep has begun."""
    command = [sys.executable, "-u", "-m", "jaxopt_notes.cli", "tour", "--quick"]
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        shown = ""
        while "nesterov:" not in shown and process.poll() is None:
            shown += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    assert process.returncode == 130, out
    assert "Interrupted" in out
    with (
        xarray.open_dataset(tmp_path / "runs/tour/momentum.nc") as table,
        xarray.open_dataset(toured[0] / "runs/tour/momentum.nc") as whole,
    ):
        assert (table.status >= 0).all()
        for variable in whole.data_vars:
            np.testing.assert_array_equal(table[variable], whole[variable], err_msg=variable)
    assert "momentum" in (tmp_path / "runs/tour/report.html").read_text()
    assert not list(tmp_path.rglob("*.tmp"))


def test_doctor_names_versions_and_devices(tmp_path):
    done = run("doctor", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in (
        f"jaxopt-notes {jon.__version__}",
        "optax",
        "sweeps run on",
        "compiled programs are kept in",
        "matplotlib",
    ):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tour", "--seed", "-1"], "seed must be an integer of at least 0, got -1"),
        (["tour", "--out", "/proc/nothing"], "out must be a folder that can be written, got /proc/nothing"),
        (["report", "missing.nc"], "no file or folder missing.nc"),
        (["report"], "report needs a sweep"),
    ],
)
def test_mistakes_are_one_clear_line(arguments, message, capsys):
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_an_unknown_command_is_refused_with_the_choices(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["tuor"])
    assert exit_.value.code == 2
    shown = "".join(capsys.readouterr())
    assert "tour" in shown


MINE = """
import jax.numpy as jnp
import jaxopt_notes as jon

start = jnp.array([1.0, 1.0])
valley = jon.Problem(lambda x: x[0] ** 2 + 20 * x[1] ** 2, init=start)


def scaled(k=-10.0, kind="sum", half=True):
    scale = {"sum": 1.0, "mean": 0.5}[kind] * (0.5 if half else 1.0)
    return jon.Problem(lambda x: scale * (x[0] ** 2 + k * x[1] ** 2), init=start)


def loss(x):
    return x[0] ** 2


def two(x, y):
    return x**2 + y**2


def number():
    return 1.0


def counted(hidden):
    return jon.Problem(lambda x: jnp.sum(x**2), init=jnp.ones(hidden))
"""
TYPED = """
from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import jaxopt_notes as jon

from beside import width


@dataclasses.dataclass
class Settings:
    width: int = width


class Net(nn.Module):
    settings: Settings

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.settings.width)(x)


net, x = Net(Settings()), jnp.ones((4, 2))
problem = jon.Problem(lambda params: jnp.mean(net.apply(params, x) ** 2), init=lambda key: net.init(key, x))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the folder of the file is added
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "unfinished.py").write_text("def valley(x:\n")
    return tmp_path


def test_a_sweep_of_a_users_own_problem_is_kept_and_its_end_point_judged(mine, called):
    command = ["sweep", "mine.py:valley", "gradient_descent", "learning_rate=1e-3:0.04:5", "--store", "runs/sweep"]
    done = run(*command, "--steps", "2000", "--seeds", "2", "--keep-params", folder=mine)
    assert done.returncode == 0, done.stderr
    assert "UserWarning" not in done.stderr  # the file uses JAX when it is read
    rate, words, _ = done.stdout.partition(": median final_loss 0 over 2 seeds")
    assert words
    table = jon.open_sweep(mine / "runs/sweep")
    np.testing.assert_allclose(table.learning_rate, np.geomspace(1e-3, 0.04, 5))
    assert dict(table.final_loss.sizes) == {"learning_rate": 5, "seed": 2}
    judged = called("classify", "mine.py:valley", "--sweep", "runs/sweep", folder=mine)
    assert judged.returncode == 0, judged.stderr
    assert judged.stdout.startswith(f"{rate}, seed 0\nminimum (local)")
    other = called(*command, "--steps", "20", folder=mine)
    assert other.returncode == 2
    assert "steps" in other.stderr  # of another definition the store wants to know nothing
    assert "--store runs/NAME" in other.stderr


def test_a_stored_sweep_is_extended_by_seeds_and_points(mine, called):
    def swept(rates, seeds, *options):
        command = ["sweep", "mine.py:valley", "gradient_descent", f"learning_rate={rates}", "--steps", "5"]
        return called(*command, "--seeds", seeds, "--store", "runs/sweep", *options, folder=mine)

    assert swept("0.01,0.02", 2).returncode == 0
    before = jon.open_sweep(mine / "runs/sweep")
    assert swept("0.01,0.02,0.04", 3).returncode == 2
    extended = swept("0.01,0.02,0.04", 3, "--extend")
    assert extended.returncode == 0, extended.stderr
    after = jon.open_sweep(mine / "runs/sweep")
    assert dict(after.final_loss.sizes) == {"learning_rate": 3, "seed": 3}
    np.testing.assert_array_equal(after.loss.sel(learning_rate=[0.01, 0.02], seed=[0, 1]), before.loss)
    assert not after.final_loss.isnull().any()


def test_axes_of_a_sweep_are_arguments_of_the_optimizer_or_of_the_problem(mine, called):
    axes = ["k=1,10", "learning_rate=0.01", "nesterov=True,False"]
    done = called("sweep", "mine.py:scaled", "momentum", "learning_rate=0.01", "k=1,10", "--steps", "5", folder=mine)
    assert done.returncode == 0, done.stderr
    (store,) = (mine / "runs").iterdir()
    assert jon.open_sweep(store).k.values.tolist() == [1, 10]
    planning = ["centered=True,False", "--plan", "--store", "runs/other"]
    planned = called("sweep", "bowl", "rmsprop", "learning_rate=0.01", *planning, folder=mine)
    assert planned.returncode == 0, planned.stderr
    assert "centered" in planned.stdout
    assert not (mine / "runs/other").exists()
    assert "unknown axis 'nesterov'" in called("sweep", "mine.py:scaled", "momentum", *axes, folder=mine).stderr


def test_a_sweep_with_axes_of_the_problem_is_judged_by_the_problem_of_its_best(mine, called):
    """With the maker's own default, k=-10, the end point would be a saddle."""
    axes = ["learning_rate=0.04", "k=1,10", "kind=mean", "half=False"]
    options = ["--steps", "4000", "--seeds", "2", "--keep-params", "--store", "runs/sweep"]
    done = called("sweep", "mine.py:scaled", "gradient_descent", *axes, *options, folder=mine)
    assert done.returncode == 0, done.stderr
    winner, words, _ = done.stdout.partition(": median final_loss")
    assert words
    assert winner.endswith("kind=mean, half=False")
    judged = called("classify", "mine.py:scaled", "--sweep", "runs/sweep", folder=mine)
    assert judged.returncode == 0, judged.stderr
    assert judged.stdout.startswith(f"{winner}, seed 0\nminimum")
    assert called("classify", "mine.py:scaled", "--at", "0", "0", folder=mine).stdout.startswith("saddle")
    absent = called("classify", "mine.py:scaled", "--sweep", "runs/sweep", "--seed", "2", folder=mine)
    assert (absent.returncode, absent.stdout) == (2, "")
    assert "seed must be one of [0, 1], got 2" in absent.stderr


def test_the_file_of_a_sweeps_problem_may_hold_dataclasses_and_import_the_files_beside_it(
    tmp_path, called, monkeypatch
):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "models").mkdir()
    (tmp_path / "models/beside.py").write_text("width = 3")
    (tmp_path / "models/typed.py").write_text(TYPED)
    done = called("sweep", "models/typed.py:problem", "adam", "learning_rate=0.1", "--steps", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chunks", [2, 33])  # of 32 for each value of k
def test_after_ctrl_c_a_sweep_says_how_to_go_on(mine, monkeypatch, capsys, chunks):
    told = []

    def stop(table):
        told.append(table)
        if len(told) == chunks:
            raise KeyboardInterrupt

    monkeypatch.chdir(mine)
    command = ["sweep", "mine.py:scaled", "gradient_descent", "learning_rate=0.01", "k=1,10", "--steps", "5"]
    with monkeypatch.context() as patch:
        patch.setattr(jon.sweeps, "sweep", functools.partial(jon.sweeps.sweep, on_chunk=stop, width=1))
        with pytest.warns(UserWarning, match="interrupted"):
            assert cli.main([*command, "--seeds", "32"]) == 130
    (store,) = Path("runs").iterdir()
    assert f"run the same command to resume from {store}" in capsys.readouterr().out
    assert cli.main([*command, "--seeds", "32"]) == 0
    assert f"report   jaxopt-notes report {store}" in capsys.readouterr().out


def test_every_other_sweep_has_a_folder_of_its_own(mine, monkeypatch, capsys):
    monkeypatch.chdir(mine)
    command = ["sweep", "mine.py:scaled", "gradient_descent", "learning_rate=0.01", "k=1", "--seeds", "1"]
    for steps in ("2", "3", "2"):
        assert cli.main([*command, "--steps", steps]) == 0
    stores = sorted(Path("runs").iterdir())
    assert len(stores) == 2
    assert sorted(jon.open_sweep(store).attrs["steps"] for store in stores) == [2, 3]
    printed = capsys.readouterr().out
    for store in stores:
        assert store.name.startswith("mine-scaled-gradient_descent-")
        assert f"store    {store}\n" in printed


def test_a_geometric_axis_of_integers_holds_integers():
    assert values_of(("hidden=4:16:3", "n=1:3:5")) == {"hidden": [4, 8, 16], "n": [1, 2, 3]}
    assert all(type(value) is int for value in values_of(("hidden=4:16:3",))["hidden"])
    assert values_of(("rate=1e-1:10:3",))["rate"] == pytest.approx([0.1, 1.0, 10.0])
    assert all(type(value) is float for value in values_of(("rate=1.0:4:3",))["rate"])


def test_a_point_of_a_function_is_judged(tmp_path, called, mine):
    assert called("classify", "himmelblau", "--at", "3", "2", folder=tmp_path).stdout.startswith("minimum")
    for point in (["0"], ["0", "5"]):  # a loss of a vector of any length
        judged = called("classify", "mine.py:loss", "--at", *point, folder=mine).stdout
        assert judged.startswith("minimum" if len(point) == 1 else "degenerate")


def test_texts_become_what_the_argument_is():
    def takes(flag: bool, count: int, name: str, rate: float = 0.1, plain=None, off=False, form: str | None = None):
        """No more than a signature."""

    arguments = arguments_of(takes)
    read = {
        "flag=true,FALSE,Yes,no,On,off": [True, False, True, False, True, False],
        "off=TRUE,no": [True, False],
        "count=5,1e3": [5, 1000],
        "name=5,true,None": ["5", "true", "None"],
        "rate=0.1,2": [0.1, 2],
        "plain=true,None,text,3": [True, None, "text", 3],
        "form=None,none": [None, "none"],
    }
    for axis, values in read.items():
        found = values_of((axis,), arguments)[axis.partition("=")[0]]
        assert found == values, axis
        assert [*map(type, found)] == [*map(type, values)], axis
    with pytest.raises(ValueError, match="plain=no may be a boolean or a text"):
        values_of(("plain=no",), arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classify", "himmelbau", "--at", "3", "2"], "did you mean 'himmelblau'"),
        (["classify", "himmelblau", "--at", "3"], "1 parameters are given, himmelblau has 2"),
        (["classify", "himmelblau"], "--at, or a store"),
        (["classify", "himmelblau", "--sweep", "nowhere"], "nowhere is not a store of a sweep"),
        (["sweep", "bowl", "adm", "learning_rate=0.1"], "did you mean 'adam'"),
        (["sweep", "bowl", "adam"], "at least one axis, such as"),
        (["sweep", "bowl", "adam", "learning_rate=0.1", "--extend"], "--extend needs the store that is to be extended"),
        (
            ["sweep", "bowl", "rmsprop", "learning_rate=0.1", "centered=maybe"],
            "'centered' chooses the program of rmsprop",
        ),
        (["sweep", "bowl", "rmsprop", "learning_rate=0.1", "centered=1"], "a number: write True"),
        (["sweep", "bowl", "adam", "learning_rate=0.1:x:3"], "two positive numbers and how many"),
        (["sweep", "bowl", "adam", "learning_rate"], "name=a,b,c"),
        (["sweep", "bowl", "adam", "b1=0.9", "b1=0.8"], "'b1' is given twice"),
        (["sweep", "bowl", "adam", "learnin_rate=0.1"], "did you mean 'learning_rate'"),
        (["sweep", "nowhere.py:valley", "adam", "learning_rate=0.1"], "no file nowhere.py"),
        (["sweep", "mine.py:valey", "adam", "learning_rate=0.1"], "no problem 'valey'"),
        (["sweep", "unfinished.py:valley", "adam", "learning_rate=0.1"], "unfinished.py, line 1: '(' was never closed"),
        (["sweep", "bowl", "adam", "learning_rate=-1:1:3"], "two positive numbers and how many"),
        (["sweep", "bowl", "adam", "learning_rate=0.1:1:0"], "two positive numbers and how many"),
        (["sweep", "bowl", "adam", "learning_rate=0.1", "--metric", "final_los"], "did you mean 'final_loss'"),
        (["sweep", "bowl", "adam", "learning_rate=0.1", "--metric", "test_loss"], "accepted: final_loss"),
        (
            ["sweep", "digits_mlp", "adam", "hidden=4", "learning_rate=0.1", "--metric", "test_acuracy"],
            "did you mean 'test_accuracy'",
        ),
        (["sweep", "classifier", "adam", "learning_rate=0.1"], "unknown problem 'classifier'"),
        (["sweep", "mine.py:loss", "adam", "learning_rate=0.1"], "mine.py:loss must be a Problem or a function"),
        (["sweep", "mine.py:counted", "adam", "learning_rate=0.1"], "a value of hidden is missing"),
        (["sweep", "mine.py:number", "adam", "learning_rate=0.1"], "it gave a float"),
        (["classify", "mine.py:number", "--at", "1"], "it gave a float"),
        (["classify", "mine.py:counted", "--at", "1"], "a value of hidden is missing"),
        (["prove", "mine.py:counted", "--at", "1"], "a value of hidden is missing"),
        (["classify", "mine.py:two", "--at", "1"], "a value of x, y is missing"),
        (["classify", "himmelblau", "--at", "3", "2", "--seed", "-1"], "seed must be an integer of at least 0"),
        (["classify", "himmelblau", "--at", "3", "2", "--polish", "-1"], "polish must be an integer of at least 0"),
    ],
)
def test_what_a_sweep_or_a_verdict_cannot_be_of_is_said_in_a_line(mine, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(mine)
    assert cli.main(arguments) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1
    assert not (mine / "runs").exists()
