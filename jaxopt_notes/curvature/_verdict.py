"""`CriticalPoint`: what a point is and what its curvature is, as arrays inside and in words outside."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._shown import as_html, has_values, outline, wrapped
from ..proof import Certificate

_FLAT = 1e-3  # |Hg| / (|H| |g|) below which the gradient lies in the kernel of the Hessian
_FAR = 1e-2  # of |x|: a Newton step longer than that is worth a word although rounding hides what it gains


class Kind(enum.IntEnum):
    """The kind of a point, as far as second derivatives decide; the statement is local."""

    MINIMUM = 0
    MAXIMUM = 1
    SADDLE = 2
    DEGENERATE = 3
    NOT_CRITICAL = 4
    UNDECIDED = 5


_MEANING = {
    Kind.MINIMUM: "minimum: the loss is higher in every direction near the point.",
    Kind.MAXIMUM: "maximum: the loss is lower in every direction near the point.",
    Kind.SADDLE: "saddle: the loss falls in some directions and rises in others; escape_direction leads down.",
    Kind.DEGENERATE: "degenerate: the second-derivative test is silent here; x^4 is a minimum, x^3 is not.",
    Kind.NOT_CRITICAL: "not critical: the gradient is not zero, so a small enough step along -grad lowers the loss.",
    Kind.UNDECIDED: "undecided: the evidence excludes neither a minimum nor a saddle; float64, polish=1 or "
    "more matvecs may decide.",
}
_DOWNWARD = (
    "degenerate: not a minimum, since the loss falls along escape_direction; along the flat directions the "
    "second-derivative test is silent, so it may be a maximum or a saddle."
)
_UPWARD = (
    "degenerate: not a maximum; along the flat directions the second-derivative test is silent: x^2 + y^4 has a "
    "minimum at 0, x^2 + y^3 does not."
)
_GRADIENT_FLAT = (
    "not critical: the loss falls along -grad, although |grad| is stationary and methods that minimize it stop here."
)


class CriticalPoint(NamedTuple):
    """The verdict of `classify`: a pytree of arrays, with a leading axis under `vmap`. `print` shows it in words.

    Whether the point is critical and what the curvature is there are separate statements: the curvature is reported
    also where the gradient is not zero.

    Attributes:
        kind: a `Kind` code; `kind_name` is its name.
        index: number of negative eigenvalues (below -zero_level); without the matrix a lower bound. At a
            critical point only those count whose sign holds over the Newton step.
        positive: number of positive eigenvalues (above zero_level); likewise.
        eigenvalues: ascending; all n of the dense Hessian, or the Ritz values (NaN where there are fewer).
        residuals: an eigenvalue lies within `residuals[i]` of `eigenvalues[i]`, rounding apart.
        smallest, largest: the extreme entries of `eigenvalues`.
        interval: (lower, upper), which hold every eigenvalue with `probability`, rounding included.
        loss: the loss at the point.
        gradient_norm: Euclidean norm of the gradient.
        decrease: g' |H|^-1 g / 2, the decrease that the quadratic model predicts, |eigenvalues| at least zero_level.
        decrease_tolerance: what the rounding of the loss and of the parameters can hide.
        gradient_tolerance: the bound on the gradient norm asked for; NaN when the decrease decides.
        critical: whether the gradient is zero within that tolerance.
        zero_level: the size below which an eigenvalue is rounding.
        curvature_below: v'Hv of the unit vector v = escape_direction by a separate product; below -zero_level it
            confirms negative curvature.
        escape_direction: eigenvector of the smallest eigenvalue, pointing downhill; a pytree like the parameters.
        flatness: |Hg| / (|H| |g|); `gradient_flat` where it is at most 1e-3 and the point is not critical.
        smooth: False where the loss, its slope or its curvature was seen to jump at the point.
        settled: False where an eigenvalue of a critical point may have another sign at the end of the Newton step.
        hessian_change: the largest share of itself by which an eigenvalue was seen to change over the Newton step.
        newton_step: its length |H^-1 g|, in units of the parameters.
        polish_helps: whether that step leads from a point that is not critical to one that is: ask for `polish=1`.
        moved: how far `polish` moved the point, in units of the parameters.
        null_rank: number of independent null directions that were projected out.
        null_defect: |Hu| of a random unit vector u among them; 0 without.
        point: the parameters judged, after `polish`.
        probability: of `interval`, over the random start; 1 for the dense Hessian.
        matvecs: Hessian products spent.
        exact: whether all eigenvalues were computed.
        certificate: the `Certificate` of `prove=True`, or None.
    """

    kind: Int[Array, ""]
    index: Int[Array, ""]  # type: ignore[assignment]
    positive: Int[Array, ""]
    eigenvalues: Float[Array, " m"]
    residuals: Float[Array, " m"]
    smallest: Float[Array, ""]
    largest: Float[Array, ""]
    interval: Float[Array, " 2"]
    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    decrease: Float[Array, ""]
    decrease_tolerance: Float[Array, ""]
    gradient_tolerance: Float[Array, ""]
    critical: Bool[Array, ""]
    zero_level: Float[Array, ""]
    curvature_below: Float[Array, ""]
    escape_direction: PyTree
    flatness: Float[Array, ""]
    smooth: Bool[Array, ""]
    settled: Bool[Array, ""]
    hessian_change: Float[Array, ""]
    newton_step: Float[Array, ""]
    polish_helps: Bool[Array, ""]
    moved: Float[Array, ""]
    null_rank: Int[Array, ""]
    null_defect: Float[Array, ""]
    point: PyTree
    probability: Float[Array, ""]
    matvecs: Int[Array, ""]
    exact: Bool[Array, ""]
    certificate: Certificate | None = None

    @property
    def gradient_flat(self) -> Bool[Array | np.ndarray, "*points"] | np.bool_:
        """Whether the gradient lies in the kernel of the Hessian without being zero.

        There |grad|^2 is stationary, so methods that minimise it stop; the loss is not.
        """
        return ~self.critical & self.smooth & (self.flatness <= _FLAT)

    @property
    def kind_name(self) -> Any:
        """The name of the kind in lower case; an array of names for a batch of points."""
        names = np.array([kind.name.lower() for kind in Kind])[np.asarray(self.kind)]
        return str(names) if np.ndim(names) == 0 else names

    def __str__(self) -> str:
        """What was found, by what margin, with what probability, at what cost; counts of kinds for a batch."""
        if not has_values(self):
            return outline(self)
        if np.ndim(self.kind):
            names, counts = np.unique(self.kind_name, return_counts=True)
            return f"{np.size(self.kind)} points: " + ", ".join(f"{n} {s}" for s, n in zip(names, counts, strict=True))
        if np.isnan(self.smallest) and self.null_rank:
            return "undecided: the null directions given span the whole space, so no curvature is left to judge."
        if np.isnan(self.smallest):
            return "undecided: the loss, its gradient or its Hessian is not finite here, so nothing can be said."
        point = jax.device_get(self)  # every comparison of arrays of JAX is a program to compile
        lines = [_criticality(point), _curvature(point), _cost(point)]
        lines += [f"Judged {float(point.moved):.2g} from the point given, after polishing."] if point.moved else []
        lines += [f"Proof: {self.certificate}"] if self.certificate is not None else []
        return "\n".join(lines)

    @property
    def meaning(self) -> str:
        """What the verdict means for the loss around the point, in one sentence; nothing for a batch of points."""
        if np.ndim(self.kind):
            return ""
        kind = Kind(int(self.kind))
        if kind == Kind.DEGENERATE and (self.index or self.positive):
            return _DOWNWARD if self.index else _UPWARD
        return _GRADIENT_FLAT if self.gradient_flat else _MEANING[kind]

    def __repr__(self) -> str:
        known = has_values(self)
        return wrapped("\n".join(filter(None, [str(self), self.meaning if known else ""])))

    def _repr_html_(self) -> str:
        """The verdict for a notebook: the kind, what was found in words, what it means, and the numbers as a table."""
        if not has_values(self):
            return f"<pre>{outline(self)}</pre>"
        if np.ndim(self.kind):
            return as_html(str(self))
        kind, _, words = str(self).partition(": ")
        names = ("loss", "gradient_norm", "smallest", "largest", "zero_level", "curvature_below", "index", "positive")
        numbers = [f"{name}: {float(getattr(self, name)):.4g}" for name in names]
        return as_html("\n".join([kind, f"meaning: {self.meaning}", f"found: {words}", *numbers]))


def _criticality(point: CriticalPoint) -> str:
    size = _gradient_size(point)
    if not point.smooth:
        broken = "the loss, its slope or its curvature jumps here (a kink)"
        return f"undecided: {size}, but {broken}, so the derivatives at the point describe nothing around it."
    if point.kind == Kind.UNDECIDED:
        return f"undecided: critical ({size}), but {_why_undecided(point)}."
    if point.kind == Kind.DEGENERATE:
        return f"degenerate: critical ({size}), but an eigenvalue is zero within rounding."
    if point.gradient_flat:
        flat = f"|H grad| is {float(point.flatness):.1g} of |H| |grad|"
        return f"not critical: {size}; {flat}, so the gradient lies in the kernel of the Hessian (gradient-flat)."
    if point.polish_helps:
        step = f"a Newton step of {float(point.newton_step):.1g} leads to a critical point"
        return f"not critical: {size}; {step}, which polish=1 judges."
    local = " (local)" if point.kind in (Kind.MINIMUM, Kind.MAXIMUM) else ""
    return f"{point.kind_name.replace('_', ' ')}{local}: {size}."


def _gradient_size(point: CriticalPoint) -> str:
    gradient = f"|grad| {float(point.gradient_norm):.2g}"
    if np.isfinite(point.gradient_tolerance):
        relation = "at most" if point.critical else "above"
        return f"{gradient}, {relation} the {float(point.gradient_tolerance):.2g} asked for"
    ratio = _ratio(point.decrease, point.decrease_tolerance)
    relation = "within the rounding" if point.critical else f"{ratio} x the rounding"
    hidden = f", which hides a Newton step of {float(point.newton_step):.2g}" if _hides_a_step(point) else ""
    return f"{gradient}, predicted decrease {float(point.decrease):.2g}, {relation} of the loss{hidden}"


def _hides_a_step(point: CriticalPoint) -> bool:
    """Whether the loss is too coarse to show that the critical point itself lies elsewhere."""
    size = np.linalg.norm([np.linalg.norm(np.asarray(leaf, float)) for leaf in jax.tree.leaves(point.point)])
    return bool(point.critical & point.settled & point.smooth & (point.newton_step > _FAR * size))


def _why_undecided(point: CriticalPoint) -> str:
    if not _null_enough(point):
        return f"|H u| = {float(point.null_defect):.1g} along the null directions given, which is not zero"
    if not point.settled:
        change = f"the Hessian changes by {100 * float(point.hessian_change):.0f} %"
        return f"{change} over the Newton step of {float(point.newton_step):.1g} to the critical point nearby"
    if not (point.index or point.positive):
        return "no curvature stands out from rounding"
    return f"only {'negative' if point.index else 'positive'} curvature was shown, and no bound excludes the rest"


def _null_enough(point: CriticalPoint) -> bool:
    """Whether the verdict has another reason than null directions that are none."""
    nothing_proved = not (point.index or point.positive)
    return not point.null_rank or nothing_proved or bool(point.null_defect <= point.zero_level)


def _curvature(point: CriticalPoint) -> str:
    lead = "Curvature" if point.critical else "Curvature here (although the point is not critical)"
    if point.null_rank:
        lead += f", {int(point.null_rank)} known null direction{'' if point.null_rank == 1 else 's'} apart"
    return f"{lead}: {_below(point)}; {_above(point)}; {_bounds(point)}."


def _below(point: CriticalPoint) -> str:
    if point.index:
        margin = f"{_ratio(-point.curvature_below, point.zero_level)} x rounding"
        steepest = f"the steepest {float(point.curvature_below):.3g} ({margin})"
        return f"{_directions(point, point.index)} of negative curvature, {steepest}"
    smallest = f"the smallest {float(point.smallest):.3g} (rounding {float(point.zero_level):.1g})"
    if point.interval[0] > 0:
        return f"every eigenvalue is positive, {smallest}"
    return f"no negative curvature was {'found' if point.exact else 'shown'}, {smallest}"


def _above(point: CriticalPoint) -> str:
    residuals = np.asarray(point.residuals)
    error = float(residuals[np.isfinite(residuals)][-1]) + float(point.zero_level)
    largest = f"the largest eigenvalue {float(point.largest):.3g} +- {error:.1g}"
    if point.positive:
        return f"{_directions(point, point.positive)} of positive curvature, {largest}"
    return f"no positive curvature was {'found' if point.exact else 'shown'}, {largest}"


def _bounds(point: CriticalPoint) -> str:
    lower, upper = np.asarray(point.interval)
    certainty = "" if point.exact else f" ({100 * float(point.probability):.4g} %)"
    return f"no eigenvalue below {lower:.3g} or above {upper:.3g}{certainty}"


def _cost(point: CriticalPoint) -> str:
    if point.exact:
        return f"Dense Hessian, all {int(np.isfinite(point.eigenvalues).sum())} eigenvalues."
    return f"{int(point.matvecs)} Hessian products; the counts are lower bounds."


def _directions(point: CriticalPoint, count: Any) -> str:
    return f"{'' if point.exact else 'at least '}{int(count)} direction{'' if count == 1 else 's'}"


def _ratio(value: Any, unit: Any) -> str:
    """How many units, to one digit."""
    ratio = float(value) / float(unit) if float(unit) else np.inf
    if ratio < 1000 or not np.isfinite(ratio):
        return f"{ratio:.0f}"
    digit, exponent = f"{ratio:.0e}".split("e")
    return f"{digit}e{int(exponent)}"
