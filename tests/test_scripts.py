"""The scripts that a reader copies: they run, small, and print what they promise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
SMALL = {
    "sweep_custom_loss": {"rates": 5, "seeds": 2, "steps": 60, "count": 200},
    "classify_network": {"hidden": 4, "steps": 100},
    "seeds_with_halving": {"configurations": 9, "seeds": 2, "steps": 45, "hidden": 4},
    "hypergradient": {"steps": 20, "rounds": 5, "hidden": 8, "start": 0.02},
    "saddle_statistics": {"largest": 2, "starts": 100, "waves": 40},
}
# One process for all: importing JAX takes as long as a script.
RUN = """
import contextlib, io, json, runpy, sys
printed = {}
for name, numbers in json.loads(sys.argv[2]).items():
    script = runpy.run_path(f"{sys.argv[1]}/{name}.py")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        script["main"](**numbers)
    printed[name] = out.getvalue()
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    command = [sys.executable, "-W", "error", "-c", RUN, str(SCRIPTS), json.dumps(SMALL)]
    folder = tmp_path_factory.mktemp("scripts")
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.name for path in (folder / "runs").iterdir()} == {"robust", "halving"}
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sweep_custom_loss", ["median final_loss", "report.html"]),
        ("classify_network", ["start: not critical", "directions of negative curvature", "verified", "of the limit"]),
        ("seeds_with_halving", ["of the steps of a full sweep", "chosen by 1 other seed"]),
        ("saddle_statistics", ["dimension", "rank correlation"]),
    ],
)
def test_a_script_prints_what_it_promises(printed, name, words):
    assert all(word in printed[name] for word in words), printed[name]


def test_the_hypergradient_lowers_the_final_loss(printed):
    losses = [float(line.split("final loss")[1].split()[0]) for line in printed["hypergradient"].splitlines()]
    assert len(losses) == SMALL["hypergradient"]["rounds"] + 1
    assert losses[-1] < 0.9 * losses[0]


def test_scripts_are_short_and_take_their_arguments_by_tyro():
    for name in SMALL:
        text = (SCRIPTS / f"{name}.py").read_text()
        assert text.count("\n") < 80
        assert "tyro.cli(main)" in text


def test_the_script_for_a_gpu_runs_small_on_any_device(tmp_path):
    command = [sys.executable, str(SCRIPTS / "bench/gpu.py"), "--smoke", "--out", str(tmp_path / "gpu.json")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not [name for name, section in found.items() if isinstance(section, dict) and "error" in section]
    assert found["verdicts"]["wrong"] == []
    assert found["killed"]["bit_identical"]
    assert {row["trials"] for row in found["sweeps"]} == {1, 8}
