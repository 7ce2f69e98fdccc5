"""The README's code blocks run as written, in order, in a fresh process; so do the examples of the docstrings."""

import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jaxopt_notes
from jaxopt_notes.studies import STUDIES
from jaxopt_notes.studies._machinery import ledger

ROOT = Path(__file__).parent.parent


def run_blocks(path, folder):
    """Run the Python of a page in a fresh process; what it prints."""
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_code_of_the_readme_prints_what_it_shows(tmp_path):
    text = (ROOT / "README.md").read_text()
    shown = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)[1].splitlines()
    printed = run_blocks(ROOT / "README.md", tmp_path).splitlines()
    # Another machine rounds differently: only the words of the lines that are always there are compared.
    plain = lambda line: re.sub(r"-?[\d.]+(e-?\d+)?%?", "#", line.removesuffix("...")).rstrip()
    for line in (shown[0], shown[1], shown[-1]):
        assert any(plain(other).startswith(plain(line)) for other in printed), line


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 120
    assert "](tests/" not in text


def test_the_readme_of_the_package_has_no_link_that_leads_nowhere():
    """What an index such as PyPI shows: the substitutions of the build, which `make dist` applies."""
    text, project = (ROOT / "README.md").read_text(), tomllib.loads((ROOT / "pyproject.toml").read_text())
    for each in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    assert not re.search(r"\]\((?!https?:)", text)
    assert "the guide shows each of them" in text.lower()
    assert "jaxopt-notes study step_size" in text


def test_the_versions_agree():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)[1]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1]
    assert cited == newest == jaxopt_notes.__version__


def test_the_code_of_the_guide_runs_as_written(tmp_path):
    assert "saddle" in run_blocks(ROOT / "notebooks" / "guide.md", tmp_path)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mine", "mine.nc", "mine.html", "mine.png"}


def test_the_examples_of_the_docstrings_run_and_annotations_hold():
    """In a process of its own, in which every function checks what it is given and what it returns."""
    command = [sys.executable, ROOT / "tests" / "examples.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "tests", check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("failed in []")


def reference():
    """The settings of the book, which list the rooms of the reference."""
    spec = importlib.util.spec_from_file_location("book", ROOT / "notebooks" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_function_of_the_reference_has_an_example_and_says_what_it_returns():
    book = reference()
    named = {name for _, room in book.PAGES.values() for name in book.public_names(room)}
    functions = {name for name, directive in named if directive == "autofunction"}
    functions |= {
        f"jaxopt_notes.{name}" for name in dir(jaxopt_notes) if inspect.isfunction(getattr(jaxopt_notes, name))
    }
    assert len(functions) > 150
    undocumented = []
    for name in functions:
        module, _, attribute = name.rpartition(".")
        text = getattr(importlib.import_module(module), attribute).__doc__ or ""
        if not (">>> " in text and "Returns:" in text):
            undocumented.append(name)
    assert undocumented == []


def test_every_name_of_the_top_level_is_in_the_reference():
    book = reference()
    listed = {name.rpartition(".")[2] for _, room in book.PAGES.values() for name, _ in book.public_names(room)}
    own = [name for name in dir(jaxopt_notes) if inspect.isfunction(getattr(jaxopt_notes, name))]
    assert set(own) <= listed


def test_the_readme_names_only_what_exists():
    names = set(re.findall(r"\bjon\.([a-z_]+)", (ROOT / "README.md").read_text()))
    assert names
    assert all(hasattr(jaxopt_notes, name) for name in names)


def test_the_readme_counts_studies_and_statements():
    text = (ROOT / "README.md").read_text()
    assert f"{len(STUDIES)} studies" in text
    assert f"all {len(ledger.load().rows)} statements" in text


def test_the_readme_links_to_what_exists():
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 15
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
