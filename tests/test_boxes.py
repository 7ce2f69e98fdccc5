"""The figure of a proof: every part of the box has a colour, and the numbers are those of the search."""

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
from matplotlib.colors import to_rgb

import jaxopt_notes as jon
from jaxopt_notes import plots, proof
from jaxopt_notes.plots._boxes import REASONS


def search(name, **options):
    problem = jon.problems.CATALOGUE[name]()
    box = tuple(np.asarray(side, float) for side in problem.facts.domain)
    return proof.all_critical_points(problem.loss, box, history=True, progress=False, **options)


@pytest.fixture(scope="module")
def himmelblau():
    return search("himmelblau")


@pytest.fixture(autouse=True)
def nothing_global_changes():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before


def rectangles(ax, gid):
    """Lower and upper corners of the boxes of one kind."""
    (drawn,) = [one for one in ax.collections if one.get_gid() == gid]
    corners = np.array([path.vertices[:4] for path in drawn.get_paths()]).reshape(-1, 4, 2)
    return corners.min(1), corners.max(1)


def markers(ax, gid):
    return np.concatenate([line.get_xydata() for line in ax.lines if line.get_gid() == gid] or [np.zeros((0, 2))])


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def patch(ax, gid):
    return [one for one in ax.patches if one.get_gid() == gid]


def test_every_box_that_ended_is_drawn_by_its_reason(himmelblau):
    ax = plots.boxes(himmelblau, name="Himmelblau")
    for reason in REASONS:
        expected = [low for why, low, _ in himmelblau.history if why == reason]
        assert len(rectangles(ax, reason)[0]) == len(expected) == himmelblau.ended[reason]
        np.testing.assert_array_equal(rectangles(ax, reason)[0], np.reshape(expected, (-1, 2)))
    assert ax.get_title("left") == "Himmelblau: 9 critical points, and no other"
    assert "157 boxes; sum of (−1)ⁱⁿᵈᵉˣ 1, as the boundary requires" in [text.get_text() for text in ax.texts]
    assert legend(ax) == [
        "none, by its range (51)",
        "none, by the mean value form (4)",
        "none, by Krawczyk's test (6 and parts)",
        "exactly one (9)",
        "4 minima",
        "4 saddles",
        "1 maximum",
    ]
    assert plots.alt_text(ax).startswith("Himmelblau: 9 critical points, and no other: 4 minima, 4 saddles and 1 max")


def test_the_points_are_those_of_the_table_by_kind_and_in_boxes_of_their_own(himmelblau):
    ax = plots.boxes(himmelblau)
    known = jon.problems.himmelblau().facts.critical_points
    signs = {"minimum": (1, 1), "saddle": (-1, 1), "maximum": (-1, -1)}
    for kind, expected in signs.items():
        places = [p.point for p in known if tuple(np.sign(np.sort(p.eigenvalues))) == expected]
        drawn = markers(ax, kind)
        distance = np.linalg.norm(drawn[:, None] - np.array(places), axis=-1)
        assert len(drawn) == len(places)
        assert distance.min(0).max() < 1e-6
    lower, upper = rectangles(ax, "alone")
    margin = 0.031 * (upper - lower)  # each is examined a little enlarged
    everywhere = np.concatenate([markers(ax, kind) for kind in signs])
    holds = (everywhere[:, None] > lower - margin) & (everywhere[:, None] < upper + margin)
    assert holds.all(-1).any(1).all()


def test_plot_draws_them_where_there_is_a_plane(himmelblau):
    assert plots.plot(himmelblau).get_title("left") == "9 critical points, and no other"
    line = proof.all_critical_points(lambda x: (x[0] ** 2 - 1) ** 2, ([-2.0], [2.0]), history=True)
    assert plots.plot(line).get_xlabel() == "loss"


def test_what_krawczyks_test_cut_off_has_its_colour(himmelblau):
    (background,) = patch(plots.boxes(himmelblau), "cut off")
    assert background.get_bbox().extents.tolist() == [-5, -5, 5, 5]
    # Of x^2 - y^2 the first box is decided at once, and nothing is cut off.
    saddle, nothing = plots.boxes(search("saddle")), plots.boxes(search("trough"), name="Trough")
    assert not patch(saddle, "cut off")
    assert nothing.get_title("left") == "Trough: no critical point"
    assert plots.alt_text(nothing).startswith("Trough: no critical point. 1 box.")


def test_degenerate_points_are_undecided_and_ringed():
    ax = plots.boxes(search("monkey_saddle"), name="Monkey saddle")
    np.testing.assert_allclose(markers(ax, "place"), [[0, 0]], atol=1e-8)
    assert ax.get_title("left") == "Monkey saddle: 0 critical points proved, 1 place undecided"
    assert legend(ax)[-1] == "1 undecided place"


def test_what_a_limit_left_over_is_hatched():
    found = search("rastrigin", boxes=100)
    ax = plots.boxes(found)
    assert "% of the box not examined" in ax.get_title("left")
    lower, upper = rectangles(ax, "not examined")
    share = np.prod(upper - lower, axis=1).sum() / 10.24**2
    assert share == pytest.approx(found.left)
    assert any(text == f"not examined ({found.left:.1%})" for text in legend(ax))


def test_contours_are_of_the_loss_and_left_out_of_a_crowd(himmelblau):
    def heights(ax):
        (drawn,) = [one for one in ax.collections if isinstance(one, mpl.contour.QuadContourSet)] or [None]
        if drawn is None:
            return None
        lines = zip(drawn.levels, drawn.get_paths(), strict=True)
        return [(level, x) for level, path in lines for x in path.vertices]

    loss = jon.problems.himmelblau().loss
    drawn = heights(plots.boxes(himmelblau))
    assert len(drawn) > 100
    for level, x in drawn[::50]:
        assert float(loss(jnp.array(x))) == pytest.approx(level, rel=0.05, abs=0.5)
    assert heights(plots.boxes(himmelblau, contours=False)) is None
    assert heights(plots.boxes(search("rastrigin"))) is None


@pytest.mark.parametrize("look", ["default", "dark_background"])
def test_boxes_can_be_told_apart_in_light_and_in_dark(himmelblau, look):
    with matplotlib.style.context(look):
        ax = plots.boxes(himmelblau)
        colors = [
            one.get_facecolor()[0][:3] for one in ax.collections if one.get_gid() in REASONS and len(one.get_paths())
        ]
        colors.append(to_rgb(ax.get_facecolor()))
        apart = np.linalg.norm(np.array(colors)[:, None] - np.array(colors), axis=-1)
        assert apart[np.triu_indices(len(colors), 1)].min() > 0.15
        ax.figure.draw_without_rendering()
        text = to_rgb(ax.title.get_color())
        assert np.abs(np.array(text) - to_rgb(ax.figure.get_facecolor())).min() > 0.5


@pytest.mark.parametrize("name", ["himmelblau", "six_hump_camel", "monkey_saddle", "rosenbrock", "trough"])
def test_nothing_is_cut_off_by_the_edge_of_the_figure(name):
    ax = plots.boxes(search(name), name=name)
    ax.figure.draw_without_rendering()
    box = ax.get_tightbbox()
    assert min(box.x0, box.y0) >= -1
    assert box.x1 <= ax.figure.bbox.x1 + 1
    assert box.y1 <= ax.figure.bbox.y1 + 1


def test_axes_have_the_names_of_the_parameters():
    found = proof.all_critical_points(
        lambda p: p["a"] ** 2 + (p["b"] - 1) ** 2, ({"a": -1.0, "b": 0.0}, {"a": 1.0, "b": 3.0}), history=True
    )
    ax = plots.boxes(found)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    np.testing.assert_allclose(markers(ax, "minimum"), [[0, 1]], atol=1e-12)
    assert ax.get_title("left") == "1 critical point, and no other"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: jon.prove(lambda x: jnp.sum(x**2), jnp.zeros(2)), TypeError, "got Certificate"),
        (
            lambda: proof.all_critical_points(lambda x: jnp.sum(x**2), ([-1.0] * 3, [1.0] * 3), history=True),
            ValueError,
            "two parameters, got 3",
        ),
        (
            lambda: jon.find_critical_points(lambda x: jnp.sum(x**2), box=([-1.0, -1.0], [1.0, 1.0]), complete=True),
            ValueError,
            "history=True",
        ),
        (
            lambda: proof.all_critical_points(lambda x: jnp.sum(x**2), ([0.0, -1.0], [0.0, 1.0]), history=True),
            ValueError,
            "must have an area",
        ),
    ],
)
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        plots.boxes(make())
