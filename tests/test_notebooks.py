"""The notebooks: committed with outputs, small, teaching, calling the library; and every one runs."""

import ast
import importlib.util
import os
import re
from pathlib import Path

import nbformat
import pytest

from jaxopt_notes.studies import STUDIES

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_holds_its_outputs_without_errors(path):
    assert path.stat().st_size < 500_000
    code = cells(path, "code")
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert all(cell.execution_count for cell in code)
    # No path of the machine it ran on, and no address in its memory.
    assert " at 0x" not in path.read_text()
    assert str(ROOT) not in path.read_text()
    assert str(Path.home()) not in path.read_text()
    assert "/tmp/" not in path.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_teaches_and_calls_the_library(path):
    words, code = cells(path, "markdown"), cells(path, "code")
    assert words[0].source.startswith("# ")
    assert len(words) >= len(code) / 2
    assert all(cell.source.count("\n") <= 30 for cell in code)
    for cell in code:
        tree = ast.parse(cell.source)
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"scan", "fori_loop", "while_loop", "GradientTransformation"}, "the library has this"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, shared_studies, monkeypatch, computing):
    monkeypatch.setenv("JAXOPT_NOTES_SIZE", "small")
    monkeypatch.setenv("JAXOPT_NOTES_OUT", str(shared_studies))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "scripts/run_notebooks.py")
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    runner.execute(path, tmp_path / path.name)


def test_every_study_has_its_place_in_the_course():
    course = "".join(path.read_text() for path in NOTEBOOKS if path.stem[0] == "0")
    assert sorted(re.findall(r'run_study\(\\"(\w+)', course)) == sorted(STUDIES)


def test_every_notebook_is_numbered_without_a_gap_and_stands_in_the_book():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02d}" for number in range(len(NOTEBOOKS))]
    contents = (ROOT / "notebooks/index.md").read_text()
    assert [path.stem for path in NOTEBOOKS] == sorted(re.findall(r"^(?:.* <)?(\d\d_\w+)>?$", contents, re.M))
