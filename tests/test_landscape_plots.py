"""Figures of landscapes: their data, not their pixels, from functions that are known; nothing global changes."""

import re
import sys

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

import jaxopt_notes as jon
from jaxopt_notes import landscape, plots, problems
from jaxopt_notes.curvature import spectral_density

AXIS = np.linspace(-2, 2, 9)


@pytest.fixture(autouse=True)
def nothing_global_changes():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before


def bowl(rows=7) -> xr.Dataset:
    y = np.linspace(-1, 1, rows)
    return xr.Dataset(
        {"loss": (("y", "x"), AXIS**2 + 10 * y[:, None] ** 2 - 3)}, {"x": AXIS, "y": y}, {"scale": "linear"}
    )


def path(x, y) -> xr.Dataset:
    return xr.Dataset({"x": ("step", np.asarray(x, float)), "y": ("step", np.asarray(y, float))})


def artists(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def test_contours_of_negative_losses_and_paths_that_end_and_leave():
    ends, leaves = path([1.5, 0.5, 0], [0.5, 0.2, 0]), path([0, 1, 3], [0, 0.5, 1.5])
    ax = plots.contour(bowl(), paths={"adam": ends, "momentum": leaves}, optimum=(0, 0))
    assert (ax.get_xlim(), ax.get_ylim()) == ((-2, 2), (-1, 1))
    np.testing.assert_allclose(artists(ax, "path")[0].get_xdata(), [1.5, 0.5, 0])
    assert [line.get_color() for line in artists(ax, "path")] == [plots.style_of(n).color for n in ("adam", "momentum")]
    assert len(artists(ax, "end")) == len(artists(ax, "left")) == len(artists(ax, "optimum")) == 1
    np.testing.assert_allclose(np.ravel(artists(ax, "left")[0].get_data()), [2, 1])  # where it crosses the edge
    filled = ax.collections[0]
    assert (filled.levels[0], filled.levels[-1]) == (-3, 11)
    assert "lowest -3 at x=0, y=0" in plots.alt_text(ax)
    assert "adam ends at (0, 0)" in plots.alt_text(ax)


def test_log_levels_lie_above_the_lowest_value_of_either_sign():
    levels = plots.contour(bowl(), scale="log").collections[0].levels
    assert levels[0] == -3
    np.testing.assert_allclose(np.diff(np.log(levels[1:] + 3)), np.diff(np.log(levels[1:] + 3))[0])
    shared = plots.contour(bowl(), vmin=-5, vmax=5, levels=10).collections[0].levels
    np.testing.assert_allclose(shared, np.linspace(-5, 5, 11))


def test_cells_that_are_not_finite_are_hatched_and_flat_planes_draw():
    table = bowl()
    table.loss[0, 0] = np.nan
    ax = plots.contour(table)
    assert any(collection.get_hatch() for collection in ax.collections)
    for value in (np.nan, 1.0):
        flat = plots.contour(xr.full_like(table, value))
        flat.figure.draw_without_rendering()
    assert "nowhere finite" in plots.alt_text(plots.contour(xr.full_like(table, np.nan)))
    plots.surface(table).figure.draw_without_rendering()


def test_how_a_slice_was_made_is_said():
    params = {"w": jnp.ones((4, 3))}
    directions = landscape.random_directions(jax.random.key(7), params)
    table = landscape.plane(lambda p: jnp.sum(p["w"] ** 2), params, directions, points=5)
    texts = [text.get_text() for text in plots.contour(table).texts]
    assert "random directions, filter norms, seed 7" in texts
    assert "seed 7" in plots.surface(table).get_title()


def test_surfaces_have_the_heights_of_the_plane():
    ax = plots.surface(bowl())
    assert (ax.get_zlabel(), ax.name) == ("loss", "3d")
    np.testing.assert_allclose([ax.zz_dataLim.x0, ax.zz_dataLim.x1], [-3, 11])
    with pytest.raises(TypeError, match="three-dimensional"):
        plots.surface(bowl(), Figure().add_subplot())


def test_arrows_and_streamlines_with_eigendirections():
    problem = problems.saddle()
    field = landscape.gradient_field(problem, points=5)
    eigen = landscape.eigendirections(problem)
    np.testing.assert_allclose(eigen.eigenvalue, [-2, 2], rtol=1e-6)
    ax = plots.quiver(field, eigendirections=eigen)
    arrows = next(collection for collection in ax.collections if hasattr(collection, "U"))
    lengths = np.hypot(arrows.U, arrows.V)
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-6)
    x = np.meshgrid(field.x, field.y)[0].ravel()
    assert np.all(arrows.U * x <= 0)
    assert [artists(ax, gid)[0].get_linestyle() for gid in ("stable", "unstable")] == ["--", "-"]
    assert "unstable direction of curvature -2" in plots.alt_text(plots.streamlines(field, eigendirections=eigen))


def test_curves_with_chords_tangents_points_and_a_path():
    table = xr.Dataset({"loss": ("x", AXIS**2)}, {"x": AXIS})
    ax = plots.curve(table, chords=[(-2, 1)], tangents=[1.0], points={"a": 0.5}, path=path([2, 1], [0, 0]))
    np.testing.assert_allclose(artists(ax, "chord")[0].get_ydata(), [4, 1])
    ends = artists(ax, "tangent")[0]
    assert np.ptp(ends.get_ydata()) / np.ptp(ends.get_xdata()) == pytest.approx(2.0)
    np.testing.assert_allclose(artists(ax, "path")[0].get_ydata(), [4, 1])
    assert ax.texts[0].get_text() == "a"
    assert "the path ends at x=1" in plots.alt_text(ax)


@pytest.mark.parametrize("value", [5.0, 0.0, -3.0, 1e20, -1e20, 1e-30, 1e300])
def test_a_constant_is_drawn_with_its_value(value):
    x = np.linspace(-1, 1, 7)
    values = np.full((7, 7), value)
    table = xr.Dataset({"loss": (("y", "x"), values)}, {"x": x, "y": x})
    nearly = table + 0.0
    nearly.loss[0, 0] = np.nextafter(value, np.inf)
    for each in (table, nearly):
        ax = plots.contour(each)
        (area,) = ax.collections
        assert area.get_paths()[0].get_extents().bounds == (-1, -1, 2, 2)  # all of the window
        (bar,) = ax.child_axes
        low, high = bar.get_ylim()
        assert low < value < high
        assert [float(text.get_text()) for text in bar.get_yticklabels()] == pytest.approx([value], abs=1e-300)
        assert f"loss {value:.6g} everywhere" in [text.get_text() for text in ax.texts]
    assert plots.surface(table).get_zlim()[0] < value < plots.surface(table).get_zlim()[1]
    ax = plots.curve(table.isel(y=0, drop=True))
    assert artists(ax, "curve")[0].get_ydata().tolist() == [value] * 7
    low, high = ax.get_ylim()
    assert low < value < high
    low, high = plots.histogram(table, variable="loss").get_xlim()
    assert low < value < high


def test_a_constant_with_holes_and_a_flow_that_stands_still():
    x = np.linspace(-1, 1, 7)
    values = np.where(np.hypot(*np.meshgrid(x, x)) < 0.5, np.nan, 2.0)
    table = xr.Dataset({"loss": (("y", "x"), values)}, {"x": x, "y": x})
    ax = plots.contour(table)
    assert "loss 2 wherever it is finite" in [text.get_text() for text in ax.texts]
    still = table.assign(flow_x=table.loss * 0, flow_y=table.loss * 0)
    for draw in (plots.quiver, plots.streamlines):
        ax = draw(still)
        assert not ax.child_axes  # no colour bar of a speed that nothing has
        assert "the flow is zero everywhere" in [text.get_text() for text in ax.texts]


def test_a_colour_bar_tells_close_values_apart():
    x = np.linspace(0, 1, 7)
    table = xr.Dataset({"loss": (("y", "x"), 5 + 1e-7 * x[:, None] * x)}, {"x": x, "y": x})
    (bar,) = plots.contour(table).child_axes
    texts = [text.get_text() for text in bar.get_yticklabels()]
    assert len(set(texts)) == len(texts) > 3


def test_convex_sets():
    corners = {"x": ("vertex", [0.0, 2, 2, 1, 0]), "y": ("vertex", [0.0, 0, 2, 0.5, 2])}
    ax = plots.convex_set(xr.Dataset(corners), segment=[(0.2, 1.25), (1.8, 1.25)])
    assert ax.get_title("left") == "not convex"
    outside = artists(ax, "outside")[0].get_xdata()
    assert np.nanmin(outside) == pytest.approx(0.5, abs=0.01)
    assert np.nanmax(outside) == pytest.approx(1.5, abs=0.01)


def test_series_with_and_without_bias_correction():
    values = np.array([2.0, 0.0, 1.0])
    ax = plots.series(xr.Dataset({"value": ("step", values)}), decays=[0.5, 0.9])
    np.testing.assert_allclose(artists(ax, "biased")[0].get_ydata(), [1, 0.5, 0.75])
    np.testing.assert_allclose(artists(ax, "ewma")[0].get_ydata(), [2, 0.5 / 0.75, 0.75 / 0.875])
    np.testing.assert_allclose(artists(ax, "raw")[0].get_ydata(), values)


def test_spectra_shade_what_is_negative_and_tick_the_extremes():
    diagonal = jnp.linspace(-1.0, 3.0, 50)
    found = spectral_density(lambda v: diagonal * v, like=diagonal)
    table = found.to_dataset(extremes=[-1.0, 3.0])
    assert np.trapezoid(table.density, table.eigenvalue) == pytest.approx(1, abs=0.02)
    ax = plots.plot(table)
    assert [line.get_xdata()[0] for line in artists(ax, "eigenvalue")] == [-1.0, 3.0]
    (negative,) = [one for one in ax.collections if one.get_gid() == "negative"]
    assert negative.get_paths()[0].vertices[:, 0].max() <= 0
    assert float(plots.alt_text(ax).split("; ")[1].split("%")[0]) == pytest.approx(25, abs=4)


def test_histograms_share_their_bins_and_see_both_signs():
    sizes = 10.0 ** np.linspace(-4, 2, 100)
    values = np.stack([np.concatenate([-sizes, sizes]), np.full(200, np.nan)])
    ax = plots.histogram(xr.Dataset({"g": (("step", "entry"), values)}, {"step": [0, 9]}), variable="g", by="step")
    assert ax.get_xscale() == "symlog"
    first, second = (patch.get_data() for patch in ax.patches)
    np.testing.assert_array_equal(first.edges, second.edges)
    assert (first.values.sum(), second.values.sum()) == (200, 0)


def test_critical_points_by_index_and_loss():
    points = problems.himmelblau().facts.critical_points
    data = {"loss": [one.value for one in points], "index": [one.index for one in points]}
    ax = plots.plot(xr.Dataset({name: ("point", values) for name, values in data.items()}, attrs={"parameters": 2}))
    minima, others = (collection.get_offsets() for collection in ax.collections)
    assert (len(minima), len(others)) == (4, 5)
    assert sorted(others[:, 1].tolist()) == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert "9 critical points, 4 of them minima" in plots.alt_text(ax)


def test_animations_are_whole_files_with_a_frame_per_step(tmp_path):
    file = tmp_path / "run.gif"
    ax = plots.animate(bowl(), {"adam": path([1.5, 0.5, 0], [0.5, 0.2, 0]), "momentum": path([1, 0], [0, 0])}, file)
    with Image.open(file) as picture:
        assert picture.n_frames == 3
    np.testing.assert_allclose(artists(ax, "path")[0].get_xdata(), [1.5, 0.5, 0])
    assert list(tmp_path.iterdir()) == [file]


def test_films_are_piped_to_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"run\.mp4 needs the program ffmpeg"):
        plots.animate(bowl(), {"adam": path([1.5, 0.5, 0], [0.5, 0.2, 0])}, tmp_path / "run.mp4")
    assert list(tmp_path.iterdir()) == []
    # A program of that name, which notes its arguments and how much it was sent.
    program = "import sys\nframes = sys.stdin.buffer.read()\nopen(sys.argv[-1], 'w').write(f'{len(frames)} {sys.argv}')"
    (tmp_path / "ffmpeg").write_text(f"#!{sys.executable}\n{program}\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    plots.animate(bowl(), {"adam": path([1.5, 0.5, 0], [0.5, 0.2, 0])}, tmp_path / "run.mp4", fps=5)
    size, arguments = (tmp_path / "run.mp4").read_text().split(" ", 1)
    width, height = map(int, re.search(r"'(\d+)x(\d+)'", arguments).groups())
    assert int(size) == 3 * width * height * 4
    assert "'-framerate', '5'" in arguments
    assert "yuv420p" in arguments
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ffmpeg", "run.mp4"]


def test_rotating_surfaces_have_the_heights_of_the_plane(monkeypatch):
    pytest.importorskip("plotly")
    (drawn,) = plots.rotating_surface(bowl()).data
    np.testing.assert_allclose(drawn.z, bowl().loss)
    np.testing.assert_allclose((drawn.x[0], drawn.y[-1]), (-2, 1))
    positive = bowl() + 3.1
    figure = plots.rotating_surface(positive, scale="log", vmax=5.0)
    np.testing.assert_allclose(figure.data[0].z, np.log10(np.minimum(positive.loss, 5)))
    assert figure.layout.scene.zaxis.ticktext == ("0.1", "0.3", "1", "3")
    assert "lowest 0.1 at x=0, y=0" in figure.layout.meta["alt"]
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install jaxopt-notes\[plotly\]"):
        plots.rotating_surface(bowl())


def test_zero_is_the_middle_colour_of_signed_curvature():
    table = bowl().rename(loss="smallest")  # from -3 to 11
    ax = plots.contour(table, variable="smallest", scale="linear", levels=10)
    levels = ax.collections[0].levels
    np.testing.assert_allclose(levels, [*np.linspace(-3, 0, 6), *np.linspace(0, 11, 6)[1:]])
    low, middle, high = ax.collections[0].get_cmap()(ax.collections[0].norm([-2.9, 0.1, 10.9]))[:, :3]
    assert middle.min() > 0.8  # nearly white
    assert max(low.min(), high.min()) < 0.1


def test_plot_picks_the_figure():
    problem = problems.himmelblau()
    assert "himmelblau on a plane" in plots.alt_text(plots.plot(landscape.plane(problem, points=5)))
    assert "Steepest descent" in plots.alt_text(plots.plot(landscape.gradient_field(problem, points=5)))
    assert "smallest eigenvalue" in plots.alt_text(plots.plot(landscape.curvature_map(problem, points=3)))
    assert "along a line" in plots.alt_text(plots.plot(landscape.line(problems.double_well(), points=5)))
    ax = Figure().add_subplot()
    assert plots.plot(bowl(), ax=ax) is ax


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plots.contour([1]), TypeError, "xarray.Dataset of a plane, got list"),
        (lambda: plots.contour(bowl(), variable="los"), ValueError, "did you mean 'loss'"),
        (lambda: plots.contour(bowl(), scale="lag"), ValueError, "did you mean 'log'"),
        (lambda: plots.contour(bowl().isel(x=[0])), ValueError, "two points along each axis, got one along x"),
        (lambda: plots.contour(bowl().isel(x=0)), ValueError, "must be over y and x"),
        (lambda: plots.contour(bowl(), paths={"adam": [1, 2]}), TypeError, "path 'adam' must be a Dataset"),
        (lambda: plots.quiver(bowl()), ValueError, "unknown variable 'flow_x'"),
        (lambda: plots.curve(bowl()), ValueError, "loss over x"),
        (
            lambda: plots.curve(xr.Dataset({"loss": ("x", AXIS)}, {"x": AXIS}), tangents=[9]),
            ValueError,
            "tangents must lie between -2 and 2",
        ),
        (lambda: plots.series(xr.Dataset({"value": ("step", [1.0])}), decays=[1.0]), ValueError, "decays must be in"),
        (lambda: plots.spectrum(bowl()), ValueError, "density over eigenvalue"),
        (lambda: plots.histogram(bowl(), variable="loss", by="x"), ValueError, "too many outlines"),
        (lambda: plots.convex_set(bowl()), TypeError, "x and y over vertex"),
        (lambda: plots.animate(bowl(), {}, "a.gif"), ValueError, "at least one path"),
        (lambda: plots.animate(bowl(), {"adam": path([0], [0])}, "a.avi"), ValueError, r"must end in \.gif or \.mp4"),
        (lambda: plots.rotating_surface(bowl().isel(x=[0])), ValueError, "two points along each axis"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_search_that_found_nothing_is_drawn_and_reported(tmp_path):
    columns = {name: ("point", np.zeros(0)) for name in ("loss", "index", "reached_by")}
    table = xr.Dataset(columns, attrs={"parameters": 2, "starts": 5})  # as `CriticalPoints.to_dataset` makes it
    axes = plots.index_against_loss(table)
    assert axes.texts[0].get_text() == "no critical point found from 5 starts"
    assert "no critical point found" in plots.alt_text(axes)
    page = jon.report({"search": table}, tmp_path / "page.html").read_text()
    assert "no critical point found from 5 starts" in page
    empty = xr.Dataset({"loss": ("point", np.zeros(0))})
    with pytest.raises(ValueError, match="must hold index over point; it has loss"):
        plots.index_against_loss(empty)
    with pytest.raises(ValueError, match="density over at least one eigenvalue; it has none"):
        plots.spectrum(xr.Dataset({"density": ("eigenvalue", np.zeros(0))}))


def test_infinite_neighbours_on_a_line_are_drawn_without_a_warning():
    def barrier(p):
        return jnp.where(p[0] < 0.2, p[0] ** 2, jnp.inf)

    axes = plots.curve(landscape.line(barrier, jnp.zeros(2), jnp.eye(2)[0], points=11), tangents=[-0.8])
    assert "lowest 0 at x=0" in plots.alt_text(axes)
    axes = plots.curve(landscape.line(lambda p: jnp.inf + 0 * p[0], jnp.zeros(2), jnp.eye(2)[0], points=11))
    assert "nowhere finite" in [text.get_text() for text in axes.texts]
    field = landscape.gradient_field(lambda p: jnp.sqrt(p[0]) + p[1] ** 2, jnp.zeros(2), jnp.eye(2), points=5)
    assert np.isfinite(field.flow_y.values[:, 3:]).all()
