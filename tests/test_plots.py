"""Figures: what they draw, from a synthetic sweep whose numbers are known; nothing global changes."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure

import jaxopt_notes as jon
from jaxopt_notes import plots
from jaxopt_notes.minimize import Status
from jaxopt_notes.plots import _medians as medians
from jaxopt_notes.plots import _style as style
from jaxopt_notes.plots import _svg as svg
from jaxopt_notes.plots._notebook import as_png

RATES = np.geomspace(1e-3, 10.0, 9)
BETAS = np.array([0.0, 0.9, 0.99])
FIRST_FAILURE = (7, 6, 5)  # index of the learning rate from which every seed fails, per beta


def sweep(seeds: int = 5, steps: int = 60, optimizer: str = "momentum") -> xr.Dataset:
    """A valley in log learning rate, lowest at index 4 and beta 0.9, failing from FIRST_FAILURE on."""
    rate, beta, seed = np.meshgrid(np.arange(9), np.arange(3), np.arange(seeds), indexing="ij")
    final = 0.01 * 2.0 ** ((rate - 4) ** 2 / 2.0 + (beta - 1) ** 2) * (1 + 0.1 * seed)
    status = np.where(rate >= np.array(FIRST_FAILURE)[beta], Status.DIVERGED, Status.COMPLETED)
    status[8] = Status.NON_FINITE
    final = np.where(status >= Status.NON_FINITE, 50.0, final)
    step = np.arange(steps + 1)
    loss = final[..., None] + (2.4 - final[..., None]) * np.exp(-step / 10.0)
    dims = ("learning_rate", "beta", "seed")
    variables = {
        "loss": ((*dims, "step"), loss),
        "final_loss": (dims, final),
        "initial_loss": (dims, np.full(final.shape, 2.4)),
        "status": (dims, status.astype(np.int8)),
        "stopped_at": (dims, np.where(status == Status.NON_FINITE, 20, steps).astype(np.int32)),
        "test_accuracy": (dims, np.clip(1 - final, 0.1, 1.0), {"direction": "max"}),
    }
    coords = {
        "learning_rate": ("learning_rate", RATES, {"scale": "log"}),
        "beta": ("beta", BETAS, {"scale": "linear"}),
        "seed": np.arange(seeds),
        "step": step,
    }
    attrs = {"optimizer": optimizer, "problem": "digits_mlp", "steps": steps, "baseline_loss": 2.3}
    return xr.Dataset(variables, coords, attrs)


@pytest.fixture
def table() -> xr.Dataset:
    return sweep()


@pytest.fixture(autouse=True)
def nothing_global_changes():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def lines(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def rectangles(ax, gid):
    return [patch for patch in ax.patches if patch.get_gid() == gid]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def every_artist_inside(ax):
    """Whether nothing that is drawn is cut off by the edge of the figure."""
    figure = ax.get_figure(root=True)
    figure.draw_without_rendering()
    box = ax.get_tightbbox()
    return box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1


# The U curve


def test_sensitivity_draws_the_median_and_the_quartiles_over_seeds(table):
    ax = plots.learning_rate_sensitivity(table)
    drawn = lines(ax, "median")
    assert [line.get_label() for line in drawn] == ["beta=0", "beta=0.9", "beta=0.99"]
    for j, line in enumerate(drawn):
        works = slice(0, FIRST_FAILURE[j])
        expected = np.median(table.final_loss.values[works, j], axis=-1)
        np.testing.assert_allclose(line.get_xdata(), RATES)
        np.testing.assert_allclose(line.get_ydata()[works], expected)
        assert np.isnan(line.get_ydata()[FIRST_FAILURE[j] :]).all()
    lower = lines(ax, "quartile")[0].get_ydata()[:7]
    np.testing.assert_allclose(lower, np.quantile(table.final_loss.values[:7, 0], 0.25, axis=-1))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "final training loss")


def test_failed_configurations_are_pinned_at_the_top_of_the_axis(table):
    ax = plots.learning_rate_sensitivity(table)
    pins = lines(ax, "failed")
    assert [pin.get_marker() for pin in pins] == ["x", "x", "x"]
    for j, pin in enumerate(pins):
        np.testing.assert_allclose(pin.get_xdata(), RATES[FIRST_FAILURE[j] :])
        assert (pin.get_ydata() > 0.8).all()
        assert pin.get_transform() == ax.get_xaxis_transform()  # so that y is a share of the height
    top = ax.transAxes.inverted().transform(ax.transData.transform([(1.0, 2.4)]))[0, 1]
    assert top < min(pin.get_ydata().min() for pin in pins)  # data stay below the pins
    assert "most seeds failed" in legend(ax)


def test_for_accuracy_the_worse_edge_is_the_bottom(table):
    ax = plots.learning_rate_sensitivity(table, metric="test_accuracy")
    assert all((pin.get_ydata() < 0.2).all() for pin in lines(ax, "failed"))
    assert ax.get_yscale() == "linear"
    assert lines(ax, "best")[0].get_xdata()[0] == pytest.approx(RATES[4])
    assert not lines(ax, "reference")


def test_one_failed_seed_of_five_opens_the_band_but_does_not_pin(table):
    table.status[4, 1, 0] = table.status[4, 1, 1] = Status.STALLED
    summary = medians.quartiles(table, "final_loss").isel(learning_rate=4, beta=1)
    assert summary.upper == np.inf
    assert summary.middle == pytest.approx(table.final_loss.values[4, 1, 4])  # two failures rank last of five
    assert summary.failed == pytest.approx(0.4)
    ax = plots.learning_rate_sensitivity(table)
    assert RATES[4] not in lines(ax, "failed")[1].get_xdata()
    band = ax.collections[1].get_paths()[0].vertices
    assert band[:, 1].max() > ax.get_ylim()[1]


def test_thin_lines_mark_the_losses_to_beat_and_the_star_the_best(table):
    ax = plots.learning_rate_sensitivity(table)
    assert {line.get_label(): line.get_ydata()[0] for line in lines(ax, "reference")} == {
        "best constant predictor": 2.3,
        "loss at initialisation": 2.4,
    }
    star = lines(ax, "best")[0]
    assert star.get_xdata()[0] == pytest.approx(RATES[4])
    assert star.get_ydata()[0] == pytest.approx(np.median(table.final_loss.values[4, 1]))


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (0.2, [0.2, 0.2, 0.2]),
        ({0.0: 0.1, 0.9: 0.19}, [0.1, 0.19]),
        ({0.0: 1e6, 0.9: 0.19}, [0.19]),  # too far away to draw
        (xr.DataArray([0.1, 0.19, 0.2], {"beta": np.float32(BETAS)}), [0.1, 0.19, 0.2]),
    ],
)
def test_stability_bounds_are_vertical_lines_said_to_be_theory(table, bound, expected):
    ax = plots.learning_rate_sensitivity(table, bound=bound)
    assert [line.get_xdata()[0] for line in lines(ax, "bound")] == pytest.approx(expected)
    assert any("quadratic theory" in text and "initialisation" in text for text in legend(ax))


def test_fixing_the_other_axis_gives_the_optimizer_its_own_style(table):
    ax = plots.learning_rate_sensitivity(table, beta=0.9)
    (line,) = lines(ax, "median")
    look = plots.style_of("momentum")
    assert (line.get_color(), line.get_linestyle(), line.get_marker()) == look
    assert ax.get_title("left") == "momentum on digits_mlp, beta=0.9"


def test_a_third_axis_shows_its_best_value(table):
    worse = table.assign(final_loss=table.final_loss * 3)
    both = xr.concat([worse, table], xr.DataArray([0.0, 0.5], dims="dampening", name="dampening")).assign_attrs(
        table.attrs
    )
    both = both.transpose("learning_rate", "beta", "dampening", ...)
    ax = plots.learning_rate_sensitivity(both)
    alone = plots.learning_rate_sensitivity(table)
    for one, other in zip(lines(ax, "median"), lines(alone, "median"), strict=True):
        np.testing.assert_allclose(one.get_ydata(), other.get_ydata())
    assert "each point at its best dampening" in ax.texts[0].get_text()


def test_unsorted_axes_are_drawn_in_order(table):
    ax = plots.learning_rate_sensitivity(table.isel(learning_rate=[3, 1, 4, 0, 2]))
    np.testing.assert_allclose(lines(ax, "median")[0].get_xdata(), RATES[:5])


def test_compare_draws_each_sweep_at_its_winner_in_its_own_colour(table):
    ax = plots.compare({"momentum": table, "adam": sweep(optimizer="adam")})
    first, second = lines(ax, "median")
    assert (first.get_label(), second.get_label()) == ("momentum, beta=0.9", "adam, beta=0.9")
    assert (first.get_color(), second.get_color()) == (plots.style_of("momentum").color, plots.style_of("adam").color)
    assert len(lines(ax, "reference")) == 2  # once, not once per sweep
    heights = [pin.get_ydata()[0] for pin in lines(ax, "failed")]
    assert heights[0] != heights[1]


def test_compare_keeps_a_log_axis_when_one_of_the_grids_is_linear(table):
    short = table.isel(learning_rate=[4, 5])
    short.learning_rate.attrs["scale"] = "linear"
    ax = plots.compare({"momentum": table, "adam": short.assign_attrs(optimizer="adam")})
    assert ax.get_xscale() == "log"
    assert ax.get_xlim()[1] > RATES[-1]


def test_compare_tells_sweeps_of_one_optimizer_apart(table):
    ax = plots.compare({"batches of 64": table, "batches of 256": table})
    assert len({line.get_color() for line in lines(ax, "median")}) == 2


# The heat map


def test_heatmap_holds_the_medians_on_a_log_colour_scale(table):
    ax = plots.heatmap(table)
    mesh = ax.collections[0]
    expected = np.median(table.final_loss.values, axis=-1).T
    expected = np.where(np.arange(9) >= np.array(FIRST_FAILURE)[:, None], np.nan, expected)
    np.testing.assert_allclose(mesh.get_array().filled(np.nan), expected)
    assert isinstance(mesh.norm, LogNorm)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("learning rate", "beta", "log")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "0.9", "0.99"]


def test_heatmap_hatches_failed_cells_and_those_not_run_and_marks_the_winner(table):
    table.status[0, 0] = Status.NOT_RUN
    ax = plots.heatmap(table)
    failures = rectangles(ax, "failed")
    assert len(failures) == sum(9 - first for first in FIRST_FAILURE)
    assert {patch.get_hatch() for patch in failures} == {"////"}
    (missing,) = rectangles(ax, "not run")
    assert missing.get_x() < RATES[0] < missing.get_x() + missing.get_width()
    (star,) = lines(ax, "best")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (pytest.approx(RATES[4]), 1)  # the second of three rows
    assert legend(ax) == ["most seeds failed", "not run", "lowest median"]


def test_small_heatmap_writes_its_numbers_and_outlines_the_winner(table):
    ax = plots.heatmap(table.isel(learning_rate=slice(3, 6)))
    values = [text.get_text() for text in ax.texts if text.get_gid() == "value"]
    assert len(values) == 8  # nine cells, one failed
    assert "0.012" in values
    assert len(rectangles(ax, "best")) == 1


def test_heatmap_overlays_the_bound_on_either_axis(table):
    bound = {0.0: 0.1, 0.9: 0.19, 0.99: 0.5}
    (curve,) = lines(plots.heatmap(table, bound=bound), "bound")
    np.testing.assert_allclose(curve.get_xdata(), [0.1, 0.19, 0.5])
    np.testing.assert_allclose(curve.get_ydata(), [0, 1, 2])
    (curve,) = lines(plots.heatmap(table, x="beta", bound=bound), "bound")
    np.testing.assert_allclose(curve.get_ydata(), [0.1, 0.19, 0.5])


def test_evenly_spaced_axes_keep_their_own_coordinates(table):
    ax = plots.heatmap(table.assign_coords(beta=("beta", [0.1, 0.2, 0.3])))
    np.testing.assert_allclose(ax.get_ylim(), [0.05, 0.35])
    np.testing.assert_allclose(ax.get_xlim(), [RATES[0] / 10**0.25, RATES[-1] * 10**0.25])


# Loss curves


def test_loss_curves_draw_the_median_of_the_selected_configurations(table):
    ax = plots.loss_curves(table, beta=0.9, learning_rate=[RATES[2], RATES[4]])
    drawn = lines(ax, "median")
    for line, place in zip(drawn, (2, 4), strict=True):
        np.testing.assert_allclose(line.get_ydata(), np.median(table.loss.values[place, 1], axis=0))
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "step"
    assert len(ax.collections) == 2  # the quartile bands


def test_smoothing_is_a_running_mean_with_the_raw_curve_faint(table):
    ax = plots.loss_curves(table, beta=0.9, learning_rate=RATES[4], smooth=5)
    (raw,), (bold,) = lines(ax, "raw"), lines(ax, "median")
    assert raw.get_alpha() < 0.5
    np.testing.assert_allclose(bold.get_ydata()[2:-2], np.convolve(raw.get_ydata(), np.ones(5) / 5, "valid"))
    assert bold.get_ydata()[0] == pytest.approx(raw.get_ydata()[:3].mean())


def test_a_failed_run_leaves_at_the_top_with_a_mark_and_does_not_stretch_the_axis(table):
    ax = plots.loss_curves(table, beta=0.9, learning_rate=[RATES[4], RATES[8]])
    (mark,) = lines(ax, "failed")
    assert mark.get_marker() == "x"
    assert mark.get_xdata()[0] <= 20  # the run stopped at step 20
    assert ax.get_ylim()[1] < 10 < table.loss.values[8].max()
    assert "learning_rate=10 (failed)" in legend(ax)


def test_a_failed_run_that_comes_back_has_its_mark_at_the_end(table):
    table.loss[7, 1, :, 3:6] = 1e4
    table.loss[7, 1, :, 6:] = 2.4
    (mark,) = lines(plots.loss_curves(table, beta=0.9, learning_rate=[RATES[4], RATES[7]]), "failed")
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (60, 2.4)


def test_minibatch_curves_say_so_and_give_epochs(table):
    ax = plots.loss_curves(
        table.assign_coords(epoch=("step", table.step.values / 20.0)), beta=0.9, learning_rate=RATES[4]
    )
    assert ax.get_xlabel() == "step (60 steps are 3 epochs)"
    assert ax.get_ylabel() == "loss of the minibatch"


# The natural figure, style, and bad input


def test_plot_picks_the_figure(table):
    assert plots.plot(table).get_xlabel() == "learning rate"
    pair = table.rename(learning_rate="b2").isel(b2=slice(0, 4))
    assert "Heat map" in plots.alt_text(plots.plot(pair))
    assert plots.plot(table.isel(learning_rate=4)).get_xlabel() == "step"
    assert len(lines(plots.plot(table.isel(beta=0).rename(learning_rate="weight_decay")), "raw")) == 0
    one = plots.plot(table.isel(learning_rate=4, beta=1))
    assert lines(one, "median")[0].get_color() == plots.style_of("momentum").color


@pytest.mark.parametrize(
    "draw", [plots.plot, plots.heatmap, lambda t, ax=None: plots.loss_curves(t.isel(beta=0, learning_rate=4), ax=ax)]
)
def test_figures_draw_into_given_axes_and_carry_alt_text(table, draw):
    ax = Figure().add_subplot()
    assert draw(table, ax=ax) is ax
    assert "momentum on digits_mlp" in plots.alt_text(ax)


@pytest.mark.parametrize("draw", [plots.plot, plots.heatmap, lambda t: plots.loss_curves(t.isel(learning_rate=4))])
def test_nothing_is_cut_off(table, draw):
    assert every_artist_inside(draw(table))


@pytest.mark.parametrize("status", [Status.STALLED, Status.NOT_RUN])
def test_all_failed_and_not_run_draw_and_say_so(table, status):
    table["status"] = xr.full_like(table.status, status)
    for ax in (plots.learning_rate_sensitivity(table), plots.heatmap(table)):
        ax.get_figure(root=True).draw_without_rendering()
        expected = "Every configuration failed" if status == Status.STALLED else "No trial has run"
        assert expected in plots.alt_text(ax)
    plots.loss_curves(table, learning_rate=RATES[0]).get_figure(root=True).draw_without_rendering()


def test_one_seed_one_value_and_one_cell(table):
    small = table.isel(seed=[0], learning_rate=[4], beta=[1])
    for ax in (plots.learning_rate_sensitivity(small), plots.heatmap(small), plots.plot(small)):
        ax.get_figure(root=True).draw_without_rendering()
        assert "1 seed" in [text.get_text() for text in ax.texts]


def test_every_optimizer_has_its_own_style_and_unknown_names_a_steady_one():
    assert len(set(style.STYLES.values())) == len(style.STYLES)
    assert plots.style_of("my_method") == plots.style_of("my_method")
    assert len({to_hex(look.color) for look in style.ordered_styles(6)}) == 6


def test_points_are_scattered_where_a_heat_map_has_no_cells():
    points = {"learning_rate": ("configuration", [0.01, 0.1, 1.0]), "beta": ("configuration", [0.9, 0.5, 0.1])}
    final = [[0.3, 0.4, 0.35], [0.1, 0.2, 0.15], [9.0, 9.0, 9.0]]
    status = [[Status.COMPLETED] * 3, [Status.COMPLETED] * 3, [Status.DIVERGED] * 3]
    dims = ("configuration", "seed")
    ax = plots.heatmap(xr.Dataset({"final_loss": (dims, final), "status": (dims, status)}, points))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "beta")
    assert [line.get_xydata().tolist() for line in ax.lines if line.get_gid() == "failed"] == [[[1.0, 0.1]]]
    assert [line.get_xydata().tolist() for line in ax.lines if line.get_gid() == "best"] == [[[0.1, 0.5]]]


def test_few_values_are_the_only_ticks(table):
    assert plots.heatmap(table.isel(beta=[0, 1])).get_yticks().tolist() == [0.0, 0.9]


def test_svg_is_reproducible_and_carries_no_date(table):
    first, second = (svg.svg_document(plots.plot(table).get_figure(root=True)) for _ in range(2))
    assert first == second
    assert "dc:date" not in first
    assert "http" not in svg.svg_element(first)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: plots.plot([1]), TypeError, "xarray.Dataset of a sweep, or a Run, .* or Suggestion; got list"),
        (lambda t: plots.plot(t[["loss"]]), ValueError, "final_loss and status"),
        (lambda t: plots.plot(t.isel(seed=[])), ValueError, "no entry along seed"),
        (lambda t: plots.plot(t.isel(seed=0)), ValueError, "seed axis"),
        (lambda t: plots.learning_rate_sensitivity(t, metric="fnal_loss"), ValueError, "did you mean 'final_loss'"),
        (lambda t: plots.learning_rate_sensitivity(t, bta=0.9), ValueError, "did you mean 'beta'"),
        (lambda t: plots.learning_rate_sensitivity(t, beta=0.5), ValueError, r"beta=0.5 is not in the table; .* 0.9"),
        (lambda t: plots.learning_rate_sensitivity(t.isel(learning_rate=0)), ValueError, "needs it as an axis"),
        (lambda t: plots.learning_rate_sensitivity(t, bound="2/L"), TypeError, "bound must be a number"),
        (lambda t: plots.heatmap(t, y="bta"), ValueError, "did you mean 'beta'"),
        (lambda t: plots.heatmap(t, x="beta", y="beta"), ValueError, "two different axes"),
        (lambda t: plots.heatmap(t, beta=0.9), ValueError, "two different axes"),
        (lambda t: plots.loss_curves(t), ValueError, "27 configurations are too many"),
        (lambda t: plots.loss_curves(t.drop_vars("loss"), beta=0.9), ValueError, "no loss over step"),
        (lambda t: plots.loss_curves(t, smooth=0, beta=0.9, learning_rate=RATES[0]), ValueError, "smooth must be"),
        (lambda t: plots.compare({}), ValueError, "at least one sweep"),
    ],
)
def test_bad_input_is_named(table, call, error, message):
    with pytest.raises(error, match=message):
        call(table)


def points() -> xr.Dataset:
    """Nine points of two numbers and a text, of which the last two failed."""
    table = sweep().isel(beta=0, drop=True).rename(learning_rate="configuration").drop_vars("loss")
    names = {"eps": RATES, "decay": np.where(np.arange(9) == 3, np.nan, np.arange(9) / 10), "kind": list("ababababa")}
    coordinates = {name: ("configuration", values) for name, values in names.items()}
    return table.assign_coords(configuration=np.arange(9), **coordinates)


def test_lists_of_points_are_drawn_against_their_hyperparameters():
    table = points()
    ax = plots.plot(table)
    assert (ax.get_xlabel(), ax.get_yscale()) == ("eps", "log")
    (drawn,) = [one for one in ax.collections if one.get_gid() == "median"]
    middle = medians.quartiles(table, "final_loss").middle.values
    np.testing.assert_allclose(drawn.get_offsets(), np.stack([RATES, middle], 1)[np.isfinite(middle)])
    (failed,) = [line for line in ax.lines if line.get_gid() == "failed"]
    np.testing.assert_allclose(failed.get_xdata(), RATES[np.isinf(middle)])
    assert "The lowest median is 0.024, at eps=0.1. In 2 of them most seeds failed." in plots.alt_text(ax)
    kinds = [kind for kind, _ in plots.figures(table)]
    assert kinds == ["points-eps", "points-decay"]
    other = plots.samples(table, x="decay", metric="test_accuracy")
    (drawn,) = [one for one in other.collections if one.get_gid() == "median"]
    assert len(drawn.get_offsets()) == 6  # one has no decay
    nothing = plots.samples(table.isel(configuration=[7, 8]))
    assert "Every configuration failed." in plots.alt_text(nothing)
    with pytest.raises(ValueError, match="did you mean 'decay'"):
        plots.samples(table, x="decai")
    with pytest.raises(ValueError, match="the axes of this table are learning_rate and beta"):
        plots.samples(sweep())


def starred(ax):
    """Where the star or the outline of the best is."""
    if lines(ax, "best"):
        return lines(ax, "best")[0].get_xydata()[0]
    (box,) = rectangles(ax, "best")
    return np.array(box.get_center())


def test_the_star_is_where_best_is_among_equal_medians(table):
    """Two medians are the lowest: one seed of the first failed, and the second has the higher mean of the rest."""
    table.final_loss[2, 0], table.final_loss[3, 2] = 0.001, [0.001, 0.001, 0.001, 0.002, 0.002]
    table.status[2, 0, 4] = Status.DIVERGED
    winner = jon.best(table).config
    assert winner == {"learning_rate": RATES[3], "beta": 0.99}
    for ax in (plots.plot(table), plots.heatmap(table), plots.heatmap(table.isel(learning_rate=slice(1, 5)))):
        x, y = starred(ax)
        assert x == pytest.approx(RATES[3], rel=0.3)
        assert y == pytest.approx(0.001 if ax.get_ylabel() == "final training loss" else 2)
        assert "beta=0.99" in plots.alt_text(ax)
    deep = table.expand_dims(eps=[1e-8, 1e-4], axis=2).copy(deep=True)
    deep.final_loss[3, 2, 0], deep.status[3, 2, 0, 0] = 0.001, Status.NON_FINITE
    assert jon.best(deep).config["eps"] == 1e-4
    assert starred(plots.heatmap(deep))[0] == pytest.approx(RATES[3])
    listed = points()
    listed.final_loss[[2, 5]], listed.status[2, 4] = 0.001, Status.DIVERGED
    assert jon.best(listed).config["eps"] == RATES[5]
    assert starred(plots.samples(listed))[0] == starred(plots.heatmap(listed))[0] == RATES[5]


def test_what_did_not_finish_has_no_star(table):
    """It does not compete in `best`, however low its loss is so far."""
    table.final_loss[1, 0], table.status[1, 0] = 1e-6, Status.INTERRUPTED
    assert starred(plots.plot(table))[0] == starred(plots.heatmap(table))[0] == pytest.approx(RATES[4])
    table["status"] = xr.full_like(table.status, Status.INTERRUPTED)
    for ax in (plots.plot(table), plots.heatmap(table)):
        assert lines(ax, "best") == []
        assert "No configuration ran to its end." in plots.alt_text(ax)


# What each hyperparameter explains


def test_importance_is_drawn_as_bars_with_intervals_and_the_rest_in_grey(table):
    found = jon.importance(table)
    ax = plots.plot(found)
    assert [bar.get_width() for bar in rectangles(ax, "share")] == [*found.shares.values()]
    (rest,) = rectangles(ax, "rest")
    assert rest.get_width() == found.rest
    assert [text.get_text() for text in ax.get_yticklabels()] == ["learning rate", "beta", "interactions and noise"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the largest on top
    values = [text.get_text() for text in ax.texts if text.get_gid() == "value"]
    assert values == [f"{share:.0%}" for share in [*found.shares.values(), found.rest]]
    assert ax.get_title("left") == f"learning rate explains {found.shares['learning_rate']:.0%} of the variance"
    assert "beta" in plots.alt_text(ax)
    assert every_artist_inside(ax)


def test_intervals_of_importance_are_lines_and_many_bars_are_cut():
    names = [f"number_{i}" for i in range(20)]
    shares = {name: 0.2 / (i + 1) for i, name in enumerate(names)}
    intervals = {name: (share / 2, 2 * share) for name, share in shares.items()}
    found = jon.Importance(shares, 0.28, "final_loss", "rank", 64, 3, intervals, 5)
    ax = plots.importance_bars(found)
    assert len(rectangles(ax, "share")) == 12
    ends = np.concatenate([segment[:, 0] for segment in ax.collections[0].get_segments()]).reshape(-1, 2)
    np.testing.assert_allclose(ends, [*intervals.values()][:12])
    (subtitle,) = [text.get_text() for text in ax.texts if text.get_gid() == "subtitle"]
    words = ["ranks of 64 configurations", "3 failed, counted as equally bad", "5 trials did not finish"]
    assert subtitle.split("; ") == [*words, "8 smaller shares not shown"]
    nothing = plots.importance_bars(jon.Importance({"a": 0.0}, 0.0, "final_loss", "rank", 3, 0, {"a": (0.0, 0.0)}))
    assert nothing.get_title("left") == "No hyperparameter explains any of the variance"
    with pytest.raises(TypeError, match=r"as jon\.importance returns it; got dict"):
        plots.importance_bars(shares)
    with pytest.raises(ValueError, match="at least one hyperparameter"):
        plots.importance_bars(jon.Importance({}, 0.0, "final_loss", "rank", 1, 0, {}))


def test_families_are_compared(table):
    tree = xr.DataTree.from_dict({"momentum": table, "adam": sweep(optimizer="adam")})
    assert [line.get_label() for line in lines(plots.plot(tree), "median")] == ["momentum, beta=0.9", "adam, beta=0.9"]
    with pytest.raises(TypeError, match=r"a figure takes the table of one family, such as tree\['a'\]"):
        plots.plot(xr.DataTree.from_dict({"a": points(), "b": table}))


def test_a_notebook_shows_our_figures_and_leaves_those_of_pyplot_alone(table):
    ax = plots.loss_curves(table.isel(learning_rate=slice(4), beta=0))
    picture, metadata = as_png(ax)
    assert picture.startswith(b"\x89PNG")
    assert metadata["alt"] == plots.alt_text(ax)
    kept, kept_ax = plt.subplots()
    assert as_png(kept_ax) is None
    plt.close(kept)


def test_hidden_labels_tell_nothing_and_the_answer_is_right(table):
    table = table.isel(learning_rate=slice(1, 8, 2))
    ax = plots.loss_curves(table, hide_labels=True, beta=0.9)
    answer = plots.hidden_labels(table, beta=0.9)
    shown = {line.get_label(): line for line in ax.lines if line.get_gid() == "median"}
    assert set(shown) | {line.get_label() for line in ax.lines if line.get_gid() == "crashed"} == set(answer)
    marks = [line for line in ax.lines if line.get_gid() == "failed"]
    assert marks
    assert not any(mark.get_visible() for mark in marks)
    assert not any("learning_rate=" in text for text in (plots.alt_text(ax), *shown))
    open_ax = plots.loss_curves(table, beta=0.9)
    drawn = {line.get_label(): line.get_ydata() for line in open_ax.lines if line.get_gid() == "median"}
    for letter, line in shown.items():
        np.testing.assert_array_equal(line.get_ydata(), drawn[answer[letter]])
