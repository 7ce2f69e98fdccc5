"""Run notebooks and keep their outputs in them, each in a fresh kernel.

    python scripts/run_notebooks.py [--size small] [names ...]

`JAXOPT_NOTES_SIZE` tells the notebooks whether to show small or full versions of what they run, `JAXOPT_NOTES_OUT`
where studies that were measured before lie.
"""

import os
import re
import time
from pathlib import Path
from typing import Annotated, Literal

import nbformat
import tyro
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"


def execute(path: Path, into: Path) -> float:
    """Run one notebook in its folder, write it with its outputs, and return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()
    for cell in notebook.cells:
        # When a cell ran says nothing to a reader and changes the file each time.
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            texts = output.get("data", {})
            if " at 0x" in texts.get("text/plain", ""):  # where an object lay in memory
                texts["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", texts["text/plain"])
            if texts.get("text/html", "").startswith('<iframe title="Explorer'):
                del texts["text/html"]  # half a megabyte; `notebooks/conf.py` puts it into the book
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, into)
    return time.perf_counter() - began


def main(names: Annotated[tuple[str, ...], tyro.conf.Positional] = (), size: Literal["small", "full"] = "full") -> None:
    """Run notebooks in place.

    Args:
        names: their file names without .ipynb; all when empty.
        size: of what they run.
    """
    os.environ["JAXOPT_NOTES_SIZE"] = size
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            seconds = execute(path, path)
            print(f"{path.name:40s} {seconds:6.1f} s  {path.stat().st_size / 1000:5.0f} KB", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
