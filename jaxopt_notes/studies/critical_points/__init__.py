"""Critical points: every published one found, judged, proved, and checked without derivatives; what a diagonal hides.

    g(x) = 0;      H positive definite: minimum,   negative definite: maximum,   both signs: saddle,   singular: silent
    sum of (-1)^index over all of them = degree of the gradient on the boundary (Poincare and Hopf)

The test reads eigenvalues, and the diagonal is not enough: [[1, 2], [2, 1]] has the diagonal (1, 1) and the eigenvalues
-1 and 3. A ring of losses around the point says without derivatives what it is. That there are no others is proved:
ranges of the gradient over boxes exclude zero where no point is, and Krawczyk's test shows that each point is alone.

Sources: Hopf, 1927 (the sum); Levine, CS 182 lecture 4, 2021, and Zhang, Lipton, Li and Smola, 2023 (the test);
Dean and Majumdar, 2008 (definite Gaussian matrices); Krawczyk, 1969 (the proofs); the points as tabulated in
`problems.CATALOGUE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ... import landscape, problems
from ...curvature import CriticalPoints, Kind, find_critical_points
from ...problems import Facts, Problem
from .._machinery.claim import Claim
from .._machinery.intervals import exact_interval
from .._machinery.registry import Size
from . import proofs

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure

SMALL = ("x_cos_pi_x", "cubic", "saddle", "monkey_saddle", "beale", "himmelblau", "six_hump_camel")
COERCIVE = ("double_well", "bowl", "rosenbrock", "himmelblau", "six_hump_camel", "styblinski_tang")
PER_AXIS = {"small": 24, "full": 64}
MATRICES = {"small": 100_000, "full": 1_000_000}
RING = 64
RADIUS = 1e-3
MATCH = 1e-6
SHARES = {2: (2 - np.sqrt(2)) / 4 * 4, 3: 0.024921 * 8}  # of definite among those of positive diagonal, exact
ASKEW = "askew"


@dataclass(frozen=True)
class _Found:
    """One function's tabulated points beside what was found."""

    points: np.ndarray
    kind: np.ndarray
    index: Int[np.ndarray, " points"]
    expected_kind: np.ndarray
    expected_index: np.ndarray
    missing: int
    surplus: int
    index_sum: float


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Search the boxes of the catalogue, judge what is found, and look at a ring of losses around every point.

    Arguments:
        key: moves the starts, a jittered grid, and draws the matrices.
        size: seven functions from 576 starts, or all of one or two smooth variables from 4,096; proofs are of all.

    Returns:
        Dataset over `point` (all functions together) and `function`, counts of random matrices, and planes to draw.
    """
    import xarray

    with jax.enable_x64(True):
        catalogue = {name: factory() for name, factory in problems.CATALOGUE.items()}
        chosen = {name: problem for name, problem in catalogue.items() if _fits(name, problem, size)}
        loss = _switched(chosen)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        found = {
            name: _search(loss, which, problem, PER_AXIS[size], rng)
            for which, (name, problem) in enumerate(chosen.items())
        }
        corners = jnp.asarray(rng.uniform(-1, 1, (PER_AXIS[size] ** 2, 2)))
        askew = find_critical_points(loss, corners, jnp.int32(len(chosen)), box=(jnp.full(2, -1.0), jnp.ones(2)))
        rings = _rings(loss, list(found.values()))
        grid = np.linspace(-1, 1, 61)
        drawn = {
            name: landscape.plane(
                loss, jnp.zeros(2), jnp.eye(2), x=reach[0] * grid, y=reach[1] * grid, args=(jnp.int32(which),)
            ).loss.values
            for name, reach, which in _windows(chosen)
        }
        proved = proofs.variables()
        named = proved.pop("proved_function")
        parts = list(found.values())
        together = {
            field: ("point", np.concatenate([getattr(part, field) for part in parts]))
            for field in ("kind", "index", "expected_kind", "expected_index")
        }
        each = {
            field: ("function", np.array([getattr(part, field) for part in parts]))
            for field in ("missing", "surplus", "index_sum")
        }
        return xarray.Dataset(
            {
                **together,
                **each,
                **proved,
                "of": ("point", np.repeat(np.arange(len(parts)), [len(part.points) for part in parts])),
                "place": (("point", "axis"), np.concatenate([part.points for part in parts])),
                "ring": (("point", "turn"), rings),
                "expected_index_sum": ("function", [_facts(p).index_sum or 0 for p in chosen.values()]),
                "coercive": ("function", [int(name in COERCIVE) for name in chosen]),
                "askew_eigenvalues": ("axis", np.asarray(askew.verdicts.eigenvalues)[0]),
                "askew_kind": int(np.asarray(askew.verdicts.kind)[0]),
                "matrices": (("dimension", "counted"), [_matrices(n, MATRICES[size], rng) for n in SHARES]),
                "plane": (("drawn", "v", "u"), np.stack(list(drawn.values()))),
                "reach": (("drawn", "axis"), [list(reach) for _, reach, _ in _windows(chosen)]),
            },
            {
                **{"function": list(chosen), "axis": ["x", "y"], "turn": np.arange(RING) * 2 * np.pi / RING},
                **{"dimension": list(SHARES), "counted": ["positive_diagonal", "definite"], "drawn": list(drawn)},
                **{"u": grid, "v": grid, "proved_function": named},
            },
            {"starts": PER_AXIS[size] ** 2},
        )  # fmt: skip


def _facts(problem: Problem) -> Facts:
    assert problem.facts is not None
    return problem.facts


def _fits(name: str, problem: Problem, size: Size) -> bool:
    facts = _facts(problem)
    return name in SMALL if size == "small" else facts.dimension <= 2 and facts.smooth


def _windows(chosen: dict[str, Problem]) -> list[tuple[str, tuple[float, float], int]]:
    """What the figure shows: name, half the sides, and which function it is."""
    names = list(chosen)
    return [
        ("himmelblau", (5.0, 5.0), names.index("himmelblau")),
        ("six_hump_camel", (2.2, 1.2), names.index("six_hump_camel")),
        (ASKEW, (1.0, 1.0), len(names)),
    ]


def _switched(chosen: dict[str, Problem]) -> Callable[[Float[Array, " 2"], Int[Array, ""]], Float[Array, ""]]:
    """All functions as one program, and after them the quadratic of [[1, 2], [2, 1]].

    A function of one variable gets y^2/2 added, which leaves the index of every point and the sum as they are.
    """

    def lifted(problem: Problem) -> Callable[[Array], Array]:
        if _facts(problem).dimension == 2:
            return problem.loss
        return lambda p: problem.loss(p[:1]) + 0.5 * p[1] ** 2

    branches = [*map(lifted, chosen.values()), lambda p: 0.5 * (p[0] ** 2 + p[1] ** 2) + 2 * p[0] * p[1]]
    return lambda p, which: jax.lax.switch(which, branches, p)


def _search(loss: Callable, which: int, problem: Problem, per_axis: int, rng: np.random.Generator) -> _Found:
    """Search one box from a jittered grid."""
    facts = _facts(problem)
    one = facts.dimension == 1
    known = [np.append(point.point, 0.0) if one else np.asarray(point.point) for point in facts.critical_points]
    spectra = [np.append(_eigenvalues(point), 1.0) if one else _eigenvalues(point) for point in facts.critical_points]
    low, high = (np.append(edge, side) if one else edge for edge, side in zip(facts.domain, (-1.0, 1.0), strict=True))
    cells = np.stack(np.meshgrid(np.arange(per_axis), np.arange(per_axis)), -1).reshape(-1, 2)
    starts = low + (cells + rng.uniform(size=cells.shape)) / per_axis * (high - low)
    found = find_critical_points(loss, jnp.asarray(starts), jnp.int32(which), box=(jnp.asarray(low), jnp.asarray(high)))
    return _compared(found, np.array(known).reshape(-1, 2), spectra)


def _eigenvalues(point: Any) -> np.ndarray:
    return np.asarray(point.eigenvalues, float)


def _compared(found: CriticalPoints, known: np.ndarray, spectra: list[np.ndarray]) -> _Found:
    """The tabulated points that were found, in the order of the table, with the verdict on each."""
    places = np.asarray(found.points).reshape(-1, 2)
    distance = np.linalg.norm(known[:, None] - places, axis=-1) if len(places) else np.full((len(known), 1), np.inf)
    hit = distance.min(1, initial=np.inf) < MATCH
    rows = distance.argmin(1)[hit]
    return _Found(
        points=known[hit],
        kind=np.asarray(found.verdicts.kind)[rows],
        index=np.asarray(found.verdicts.index)[rows],
        expected_kind=np.array([_kind_of(s) for s, h in zip(spectra, hit, strict=True) if h], int),
        expected_index=np.array([np.sum(s < 0) for s, h in zip(spectra, hit, strict=True) if h], int),
        missing=int(np.sum(~hit)),
        surplus=len(places) - len(set(rows.tolist())),
        index_sum=np.nan if found.index_sum is None else float(found.index_sum),
    )


def _kind_of(spectrum: np.ndarray) -> int:
    """The verdict that these eigenvalues allow."""
    if np.any(spectrum < 0) and np.any(spectrum > 0):
        return Kind.SADDLE
    if np.any(spectrum == 0):
        return Kind.DEGENERATE
    return Kind.MINIMUM if np.all(spectrum > 0) else Kind.MAXIMUM


def _rings(loss: Callable, parts: list[_Found]) -> np.ndarray:
    """The losses on a small ring around every point, less that at the point; the axes are among the directions."""
    turns = np.arange(RING) * 2 * np.pi / RING
    ring = RADIUS * np.stack([np.cos(turns), np.sin(turns)], 1)

    @jax.jit
    def around(point: Array, which: Array) -> Array:
        return jax.vmap(lambda move: loss(point + move, which))(jnp.asarray(ring)) - loss(point, which)

    return np.array([around(point, jnp.int32(i)) for i, part in enumerate(parts) for point in part.points])


def _matrices(dimension: int, count: int, rng: np.random.Generator) -> tuple[int, int]:
    """Of symmetric Gaussian matrices: how many have a positive diagonal, and how many are positive definite."""
    drawn = rng.normal(size=(count, dimension, dimension))
    drawn = drawn + drawn.transpose(0, 2, 1)
    drawn = drawn[np.all(np.diagonal(drawn, axis1=1, axis2=2) > 0, axis=1)]
    return len(drawn), int(np.sum(np.linalg.eigvalsh(drawn)[:, 0] > 0))


def _by_ring(ring: np.ndarray) -> np.ndarray:
    """The verdict of the ring on every point."""
    up, down = (ring > 0).all(1), (ring < 0).all(1)
    return np.where(up, Kind.MINIMUM, np.where(down, Kind.MAXIMUM, Kind.SADDLE))


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about critical points.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: all found, verdicts right, the sums, the second derivative test, all proved, what the diagonal says.
    """
    kind, ring = dataset.kind.values, dataset.ring.values
    points, functions = dataset.sizes["point"], dataset.sizes["function"]
    wrong = (kind != dataset.expected_kind.values) | (dataset["index"].values != dataset.expected_index.values)
    decided = np.isfinite(dataset.index_sum.values)
    sums = dataset.index_sum.values[decided]
    speaks = kind != Kind.DEGENERATE
    seen = _by_ring(ring)
    silent = ~speaks & (seen == Kind.SADDLE)
    east_north = ring[:, [0, RING // 4]] > 0  # the way back west and south has the same sign except at odd points
    strict = kind == Kind.SADDLE
    one_signed = strict & (east_north[:, 0] == east_north[:, 1])
    coercive = dataset.coercive.values[decided] == 1
    smallest, largest = dataset.askew_eigenvalues.values
    return [
        Claim(
            "all_found",
            "Newton's method on the gradient finds every tabulated critical point, and no others.",
            int(dataset.missing.sum() + dataset.surplus.sum()), 0, 0, unit=f"missing or not in the table, of {points}",
            conditions=f"{functions} functions, {dataset.starts} starts each, two of the points degenerate. "
            "It sees no kinks.",
        ),
        Claim(
            "verdicts",
            "The verdict and the index at every one of them are those of the table.",
            int(wrong.sum()), 0, 0, unit=f"wrong of {points}",
        ),
        Claim(
            "index_sums",
            "The sum of (-1)^index is the degree of the gradient on the boundary.",
            int(np.sum(sums != dataset.expected_index_sum.values[decided])), 0, 0, unit=f"wrong of {decided.sum()}",
            conditions="Where no point is degenerate.",
        ),
        Claim(
            "coercive_sum",
            "For a smooth function that grows in all directions the sum is 1.",
            int(np.sum(sums[coercive] != 1)), 0, 0, unit=f"wrong of {coercive.sum()}",
            conditions=f"{int(np.sum(sums[~coercive] != 1))} of the others have another: -1 for x^2 - y^2 and Beale's.",
        ),
        Claim(
            "second_derivative_test",
            "All eigenvalues positive is a minimum, all negative a maximum, both signs a saddle.",
            int(np.sum(kind[speaks] != seen[speaks])), 0, 0, unit=f"of {speaks.sum()} unlike the ring around it",
        ),
        Claim(
            "test_always_speaks",
            "Second derivatives show of every critical point whether it is a minimum, a maximum or a saddle.",
            int(silent.sum()), high=0, unit="saddles at which they are silent",
            conditions="Not where an eigenvalue is zero and the others agree: x^3 and the monkey saddle.",
        ),
        Claim(
            "eigenvalues_are_enough",
            "The eigenvalues of [[1, 2], [2, 1]] make it a saddle, and so does the verdict.",
            int(dataset.askew_kind), int(Kind.SADDLE), int(Kind.SADDLE), unit="(code of the verdict; 2 is a saddle)",
            conditions=f"They are {smallest:.3g} and {largest:.3g}; the diagonal has one sign.",
        ),
        Claim(
            "up_and_down_along_axes",
            "A saddle is a minimum along some of the axes and a maximum along the others.",
            int(one_signed.sum()), high=0, unit=f"of {strict.sum()} saddles go one way along both axes",
            conditions="Along some directions, its eigenvectors; the axes need not be among them.",
        ),
        *proofs.claims(dataset),
        *(_definite(dataset, dimension) for dimension in SHARES),
    ]  # fmt: skip


def _definite(dataset: xarray.Dataset, dimension: int) -> Claim:
    counts = dataset.matrices.sel(dimension=dimension)
    positive, definite = int(counts.sel(counted="positive_diagonal")), int(counts.sel(counted="definite"))
    exact = SHARES[dimension]
    return Claim(
        f"definite_{dimension}",
        f"Of random symmetric {dimension} x {dimension} matrices of positive diagonal {exact:.1%} are definite.",
        definite / positive, exact - 0.02, exact + 0.02, exact_interval(definite, positive, 0.99),
        conditions="Gaussian ensemble, 99 % interval; the diagonal misleads more often the more dimensions there are.",
    )  # fmt: skip


def _plural(kind: str, number: int) -> str:
    if number == 1:
        return kind
    return f"{kind.removesuffix('um')}a" if kind.endswith("um") else f"{kind}s"


def figure(dataset: xarray.Dataset) -> Figure:
    """Two functions with their critical points by verdict, and a saddle that goes up along both axes.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from ... import plots

    drawn, axes = plots.panels(1, 3, size=(5.2, 4.3))
    blue, red, green, *_ = (look.color for look in plots.distinct_styles(3))
    looks = {
        Kind.MINIMUM: ("o", blue, "minimum"),
        Kind.SADDLE: ("X", red, "saddle"),
        Kind.MAXIMUM: ("^", green, "maximum"),
    }
    for ax, name in zip(axes, dataset.drawn.values.tolist(), strict=True):
        one = dataset.sel(drawn=name)
        values = one.plane.values
        low, high = values.min(), values.max()
        levels = low + np.geomspace(2e-3, 1, 18) * (high - low) if name != ASKEW else np.linspace(low, high, 17)
        ax.contour(one.reach[0] * one.u, one.reach[1] * one.v, values, levels=levels, colors="0.6", linewidths=0.6)
        if name == ASKEW:
            places, kinds = np.zeros((1, 2)), np.array([int(dataset.askew_kind)])
        else:
            mine = dataset.of.values == dataset.function.values.tolist().index(name)
            places, kinds = dataset.place.values[mine], dataset.kind.values[mine]
        for kind, (marker, color, label) in looks.items():
            at = places[kinds == kind]
            ax.plot(at[:, 0], at[:, 1], marker, color=color, markeredgecolor="white", markersize=9, label=label)
        counts = {label: int(np.sum(kinds == kind)) for kind, (_, _, label) in looks.items()}
        count = ", ".join(f"{number} {_plural(label, number)}" for label, number in counts.items() if number)
        ax.set(
            xlabel="x",
            ylabel="y",
            xlim=np.array([-1, 1]) * float(one.reach[0]),
            ylim=np.array([-1, 1]) * float(one.reach[1]),
        )
        plots.describe(ax, f"{name.replace('_', ' ')} with its critical points: {count}.")
        if name == ASKEW:
            ax.axhline(0, color=blue, linewidth=1)
            ax.axvline(0, color=blue, linewidth=1)
            ax.plot([-1, 1], [1, -1], color=red, linewidth=1.5)
            plots.set_title(ax, "Up along both axes, and a saddle", "H = [[1, 2], [2, 1]]: down along the diagonal")
        else:
            total, missing = int(dataset.index_sum.sel(function=name)), int(dataset.missing.sel(function=name))
            found = f"{missing} missing" if missing else "all found"
            title = f"{name.replace('_', ' ').capitalize()}: {count}"
            plots.set_title(ax, title, f"{found}; the sum of (−1)ⁱⁿᵈᵉˣ is {total}")
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return drawn
