"""The gallery: its cells run as written, on saved Datasets that are small, and every plot is in it."""

import ast
import inspect
import re
from pathlib import Path

import matplotlib as mpl
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxopt_notes import plots

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "notebooks" / "gallery.md").read_text(encoding="utf-8")
CELLS = re.findall(r"```\{code-cell\}[^\n]*\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def shown():
    """What each cell shows: the value of its last line, as in a notebook."""
    pytest.importorskip("plotly", reason="the rotating surface needs plotly")
    namespace, values = {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for cell in CELLS:
            tree = ast.parse(cell)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "gallery.md", "exec"), namespace)
            if last is not None:
                values.append(eval(compile(ast.Expression(last.value), "gallery.md", "eval"), namespace))
    return values


def test_the_cells_run_and_show_something(shown):
    drawn = [value for value in shown if isinstance(value, Axes | Figure)]
    assert len(drawn) == len(shown) - 3 >= 17  # the other three: names, a film, and what turns under the mouse
    for value in drawn:
        figure = value if isinstance(value, Figure) else value.get_figure(root=True)
        figure.draw_without_rendering()
        assert all(ax.get_label() for ax in figure.axes), "Axes without alt text"
    names, film, page = (value for value in shown if not isinstance(value, Axes | Figure))
    assert names == ["learning-rate", "test-accuracy", "heat-map", "loss"]
    assert film.data.startswith(b"GIF89a")
    assert "Plotly.newPlot" in page.data
    assert mpl.rcParams["axes.titlesize"] == mpl.rcParamsDefault["axes.titlesize"]


def test_every_plot_is_in_it():
    signatures = {name: inspect.signature(f) for name, f in inspect.getmembers(plots, inspect.isfunction)}
    drawing = {
        name
        for name, signature in signatures.items()
        if next(iter(signature.parameters), "") in ("table", "sweeps", "found")
        and re.search("Axes|Figure", signature.return_annotation)
    }
    assert {"contour", "compare", "rotating_surface", "animate", "plot", "boxes"} < drawing
    assert {name for name in drawing if not re.search(rf"\b(plots|jon)\.{name}\(", TEXT)} == set()


def test_the_saved_datasets_are_small_and_all_used():
    files = sorted((ROOT / "notebooks" / "data").glob("*.nc"))
    assert files
    for file in files:
        assert file.stat().st_size < 300_000, file
        stem = re.sub(r"resnet\d+", "resnet{layers}", file.stem)
        assert f'"{stem}"' in TEXT or f"{stem}.nc" in TEXT, file
    with xr.open_dataset(ROOT / "notebooks" / "data" / "momentum.nc", engine="h5netcdf") as table:
        assert table.attrs["optimizer"] == "momentum"
