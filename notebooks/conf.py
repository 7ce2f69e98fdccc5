"""The book: Sphinx reads this folder (`make docs`); the reference is written from the package's docstrings."""

import importlib
import inspect
import json
import os
import re
import sys
from pathlib import Path

# Kernels of executed pages and this process compute on the CPU; the pages are the same on every machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jaxopt_notes
from jaxopt_notes.explorer._presets import fragment

sys.path.insert(0, str(Path(__file__).parent))

project = "jaxopt_notes"
release = jaxopt_notes.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx-mathjax-offline"]
html_theme = "furo"
html_title = "jaxopt_notes"
pygments_dark_style = "github-dark"
html_show_copyright = False
exclude_patterns = ["_build", "data", "**/.ipynb_checkpoints"]
suppress_warnings = ["mystnb.unknown_mime_type"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
# Committed notebooks keep their outputs; pages in Markdown are run when the book is built.
nb_execution_mode = "auto"
nb_execution_excludepatterns = ["*.ipynb"]
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_code_prompt_show = "Show the answer"  # only answers of exercises are folded
nb_code_prompt_hide = "Hide the answer"
nb_render_markdown_format = "myst"  # also of outputs, whose links to notebooks then lead to their pages
napoleon_custom_sections = ["Source", "Sources", ("Attributes", "params_style"), "The constants"]
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
html_static_path = ["_static"]
html_css_files, html_js_files = ["book.css"], ["book.js"]
html_theme_options: dict[str, object] = {"top_of_page_buttons": []}

# Page of the reference -> its title and the room whose public names it lists.
PAGES = {
    "optimizers": ("Optimizers", "optimizers"),
    "schedules": ("Schedules", "schedules"),
    "minimize": ("The loop", "minimize"),
    "minibatches": ("Minibatches", "minibatches"),
    "averaging": ("Averages", "wrappers.averaging"),
    "precision": ("Low precision", "wrappers.precision"),
    "projection": ("Constraints", "wrappers.projection"),
    "problems": ("Problems", "problems"),
    "curvature": ("Curvature and verdicts", "curvature"),
    "proof": ("Proofs", "proof"),
    "landscape": ("Landscapes", "landscape"),
    "diagnose": ("Naming a loss curve", "diagnose"),
    "suggest": ("Suggesting a learning rate", "suggest"),
    "sweeps": ("Sweeps", "sweeps"),
    "race": ("Comparing methods", "race"),
    "plots": ("Figures", "plots"),
    "report": ("Reports", "report"),
    "studies": ("Studies", "studies"),
    "ledger": ("The ledger", "studies._machinery.ledger"),
    "explorer": ("The explorer", "explorer"),
    "devices": ("Devices", "devices"),
}


def public_names(room: str) -> list[tuple[str, str]]:
    """(name to document, directive) for every function and class of a room's `__all__`; by the short name of `jon`."""
    module = importlib.import_module(f"jaxopt_notes.{room}")
    found: list[tuple[str, str]] = []
    for name in module.__all__:
        value = getattr(module, name)
        path = "jaxopt_notes" if getattr(jaxopt_notes, name, None) is value else module.__name__
        if (getattr(value, "__module__", None) or "").startswith("jaxopt_notes") and callable(value):
            found.append((f"{path}.{name}", "autoclass" if inspect.isclass(value) else "autofunction"))
    return sorted(found, key=lambda entry: entry[0].rpartition(".")[2].lower())


def write_reference(app: object) -> None:
    """Write one page per room, and their index, before Sphinx reads the folder."""
    folder = Path(__file__).parent / "reference"
    folder.mkdir(exist_ok=True)
    for page, (title, room) in PAGES.items():
        summary = inspect.getdoc(importlib.import_module(f"jaxopt_notes.{room}")) or ""
        lines = [f"# {title}", "", summary.split("\n\n")[0].replace("\n", " "), "", "```{eval-rst}"]
        for name, directive in public_names(room):
            lines += [f".. {directive}:: {name}", *(["   :members:", ""] if directive == "autoclass" else [""])]
        write(folder / f"{page}.md", "\n".join([*lines, "```", ""]))
    toc = "\n".join(PAGES)
    write(
        folder / "index.md",
        f"# Reference\n\nEvery public name, by room; each says its shapes, units, errors and source.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{toc}\n```\n",
    )


def write(path: Path, text: str) -> None:
    """Write only what changed, so that Sphinx reads only that again."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


SECTION = re.compile(r"^(Arguments|Returns|Raises|Attributes|Example|Source|Sources|Yields):")


def to_restructured_text(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Our docstrings use Markdown's backticks and indent formulas; reStructuredText wants other marks for both."""
    out: list[str] = []
    section, formula = False, False
    for line in lines:
        indented = line.startswith("    ")
        if SECTION.match(line):
            section = True
        elif line and not indented:
            section = False
        if section and ((out and out[-1].lstrip().startswith(">>>")) or line.lstrip().startswith(">>>")):
            out.append(line)  # examples stay as they are
            continue
        if not section and indented and not formula:
            out += ["::", ""]
            formula = True
        if line and not indented:
            formula = False
        out.append(line if formula else escaped(line))
    lines[:] = out


def escaped(line: str) -> str:
    """Backticks as literals; everything that would be markup outside of them as it stands."""
    if ">>>" in line or line.lstrip().startswith("..."):
        return line
    parts = re.split(r"(`+[^`]+`+)", line)
    plain = re.compile(r"([*|\\]|_(?!\w))")
    return "".join(f"``{part.strip('`')}``" if part.startswith("`") else plain.sub(r"\\\1", part) for part in parts)


def plain_signature(app, what, name, obj, options, signature, returns):
    """`jaxlib._jax.Array` is `Array` to everyone."""
    return tuple(text and text.replace("jaxlib._jax.", "") for text in (signature, returns))


def hide_aliases(app, what, name, obj, skip, options):
    """The fields of a named tuple are in its signature and its docstring."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


DEMONSTRATION = re.compile(r'jon\.explore\(demonstration="([^"]+)"\)')


def write_explorer(app) -> None:
    """The explorer of the whole catalogue, which the frames of pages show."""
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    jaxopt_notes.explore().save(folder / "explorer.html")


def frame_explorers(app, name, source) -> None:
    """Give the cells of a notebook that show the explorer a frame; notebooks are stored without it."""
    if not DEMONSTRATION.search(source[0].replace("\\", "")):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        found = DEMONSTRATION.search("".join(cell["source"]))
        for output in cell.get("outputs", []) if found else []:
            title = found[1]
            address = f"_static/explorer.html#{fragment(title)}"
            frame = (
                f'<iframe title="Explorer: {title}" src="{address}" width="100%" height="840" loading="lazy"></iframe>'
            )
            output["data"] = {"text/html": [frame]}
    source[0] = json.dumps(notebook)


def setup(app) -> None:
    """Register the steps; docstrings are turned before napoleon reads their sections."""
    app.connect("builder-inited", write_reference)
    app.connect("builder-inited", write_explorer)
    app.connect("source-read", frame_explorers)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("autodoc-skip-member", hide_aliases)
    app.connect("autodoc-process-docstring", to_restructured_text, priority=400)
