"""The words that `notebooks/style.md` avoids occur in no printed string, no error and no first line of a docstring."""

import ast
import json
import re
from pathlib import Path

import pytest

import jaxopt_notes

PACKAGE = Path(jaxopt_notes.__file__).parent
PAGE = PACKAGE.parent / "notebooks" / "style.md"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
# The explorer's words are ported to JavaScript and compared there; a verdict's are part of them.
ELSEWHERE = ("explorer",)
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if not {*ELSEWHERE} & {*path.parts}]


def avoided():
    """The left column of the page's table of words."""
    rows = re.findall(r"^\| (.+?) \|", PAGE.read_text().split("## Words to avoid")[1].split("## ")[0], re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`([a-z ]+)`", row)]


PATTERN = re.compile(rf"\b({'|'.join(avoided())})\b", re.IGNORECASE)


def texts(path):
    """Line and text of what is read: strings of several words in full, docstrings by their first line."""
    tree = ast.parse(path.read_text())
    documents = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, DOCUMENTED) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            text = node.value.strip()
            yield node.lineno, text.splitlines()[0] if id(node) in documents else text


def test_the_page_lists_the_words():
    assert {"tell", "told", "of which", "whoever", "all the same", "in force", "rests", "goes on"} <= {*avoided()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_words_to_avoid_do_not_occur(path):
    found = [
        f"{path}:{line}: {match[0]!r} in {text!r}" for line, text in texts(path) if (match := PATTERN.search(text))
    ]
    assert not found, "\n".join(found)


def words_of(path):
    """The prose of a page or of a notebook."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return " ".join(re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL).split())


PAGES = [PACKAGE.parent / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted(path for path in PAGE.parent.iterdir() if path.suffix in (".md", ".ipynb") and path != PAGE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_has_them(path):
    text = words_of(path)
    assert [text[max(0, found.start() - 60) : found.end() + 30] for found in PATTERN.finditer(text)] == []


def test_a_word_to_avoid_is_found(tmp_path):
    path = tmp_path / "file.py"
    path.write_text('def f():\n    """Tell a shape."""\n    raise ValueError(f"the box of which {1} is a part")\n')
    assert [match for _, text in texts(path) for match in PATTERN.findall(text)] == ["Tell", "of which"]
