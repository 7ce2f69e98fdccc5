"""The steepest way down is square to the level set, and it is not the way to the minimum.

    cos angle(-g, x* - x) = x'Ax / (|Ax| |x|)  >=  2 sqrt(K) / (K + 1)     for f = x'Ax/2 with condition number K

The bound is Kantorovich's inequality, and some start on every level set attains it. As it is above 0, a short step on a
convex quadratic always brings the minimum nearer; up to the rate 2/lambda_max so does every step. In a curved valley
neither holds.

Sources: Kantorovich, 1948; Levine, CS 182 lecture 4, 2021 (the pictures); Rosenbrock, 1960.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from .. import landscape, problems
from ..minimize import minimize
from ..optimizers import gradient_descent, newton
from ._machinery.claim import Claim
from ._machinery.intervals import exact_interval
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

CONDITIONS = (1.0, 2.0, 5.0, 10.0, 100.0, 1000.0)
ANGLES = {"small": 20_001, "full": 200_001}
STARTS = {"small": 2_000, "full": 100_000}
RATES = np.linspace(0.1, 2.0, 20)  # of 1/lambda_max
LEVEL = 4.0
BOX = ((-2.0, -1.0), (2.0, 3.0))


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Measure the angle between steepest descent and the way to the minimum, along level sets and from random starts.

    Arguments:
        key: draws the starts.
        size: 20,001 points on every level set and 2,000 starts, or 200,001 and 100,000.

    Returns:
        Dataset with angles over `condition`, the distance that one step leaves over `condition` and `rate`, counts of
        starts on Rosenbrock's function, and a map of it for the figure.
    """
    import xarray

    with jax.enable_x64(True):
        along = jnp.linspace(0, 2 * jnp.pi, ANGLES[size])
        squareness, angles = _on_ellipses(along)
        newton_key, quadratic_key, curved_key = jax.random.split(key, 3)
        valley = problems.rosenbrock()
        field = landscape.gradient_field(
            valley, x=np.linspace(BOX[0][0], BOX[1][0], 81), y=np.linspace(BOX[0][1], BOX[1][1], 81)
        )
        toward = np.stack(np.meshgrid(1 - field.x.values, 1 - field.y.values))
        starts = jax.random.uniform(curved_key, (STARTS[size], 2), minval=jnp.array(BOX[0]), maxval=jnp.array(BOX[1]))
        further, newton_angle = _curved(valley, starts)
        ratio, arrived, newton_straight = _steps(quadratic_key, newton_key)
        return xarray.Dataset(
            {
                "squareness": ("function", np.array([squareness, _on_rosenbrock(along)])),
                "worst_angle": ("condition", np.max(angles, axis=1)),
                "middle_angle": ("condition", np.median(angles, axis=1)),
                "distance_ratio": (("condition", "rate"), ratio),
                "left": arrived,
                "newton_angle": newton_straight,
                "further": int(further.sum()),
                "newton_curved_angle": float(np.median(newton_angle)),
                "loss": (("y", "x"), field.loss.values),
                "away": (("y", "x"), (field.flow_x * toward[0] + field.flow_y * toward[1] < 0).values.astype(int)),
            },
            {
                "function": ["ellipses", "rosenbrock"],
                "condition": list(CONDITIONS),
                "rate": RATES,
                "x": field.x.values,
                "y": field.y.values,
            },
            {"starts": STARTS[size]},
        )


def _bowl(x: Float[Array, " 2"], condition: Float[Array, ""]) -> Float[Array, ""]:
    return 0.5 * (x[0] ** 2 + condition * x[1] ** 2)


def _squareness(gradient: Array, tangent: Array) -> Array:
    """|cos| of the angle between gradient and level set."""
    return jnp.abs(gradient @ tangent) / (jnp.linalg.norm(gradient) * jnp.linalg.norm(tangent))


def _on_ellipses(along: Float[Array, " points"]) -> tuple[float, np.ndarray]:
    """The worst cosine between gradient and tangent, and the angles to the minimum over (condition, point)."""

    def level_set(turn: Array, condition: Array) -> Array:
        return jnp.sqrt(2 * LEVEL) * jnp.stack([jnp.cos(turn), jnp.sin(turn) / jnp.sqrt(condition)])

    def one(turn: Array, condition: Array) -> tuple[Array, Array]:
        x, tangent = jax.jvp(lambda t: level_set(t, condition), (turn,), (jnp.ones_like(turn),))
        gradient = jax.grad(_bowl)(x, condition)
        return _squareness(gradient, tangent), _angle(gradient, x)

    conditions = jnp.asarray(CONDITIONS)
    square, angles = jax.jit(jax.vmap(jax.vmap(one, (0, None)), (None, 0)))(along, conditions)
    return float(jnp.max(square)), np.asarray(angles)


def _on_rosenbrock(along: Float[Array, " points"]) -> float:
    """The worst cosine between gradient and tangent on the level set 100 (y - x^2)^2 + (1 - x)^2 = c."""
    loss = problems.rosenbrock().loss

    def level_set(turn: Array) -> Array:
        x = 1 - jnp.sqrt(LEVEL) * jnp.cos(turn)
        return jnp.stack([x, x**2 + jnp.sqrt(LEVEL) * jnp.sin(turn) / 10])

    def one(turn: Array) -> Array:
        x, tangent = jax.jvp(level_set, (turn,), (jnp.ones_like(turn),))
        return _squareness(jax.grad(loss)(x), tangent)

    return float(jnp.max(jax.jit(jax.vmap(one))(along)))


def _angle(a: Float[Array, " 2"], b: Float[Array, " 2"]) -> Float[Array, ""]:
    """The angle between two vectors of the plane, exact also where it is small."""
    return jnp.arctan2(jnp.abs(a[0] * b[1] - a[1] * b[0]), a @ b)


def _steps(key: Key[Array, ""], newton_key: Key[Array, ""]) -> tuple[np.ndarray, float, float]:
    """On bowls: the largest |x_1|/|x_0| of a step, what a long run leaves, and the worst angle of Newton's step."""
    conditions = jnp.asarray(CONDITIONS)
    starts = jax.random.normal(key, (256, 2))

    def step(start: Array, condition: Array, rate: Array) -> Array:
        run = minimize(_bowl, start, gradient_descent(rate / condition), steps=1, args=(condition,))
        return jnp.linalg.norm(run.params) / jnp.linalg.norm(start)

    def newton_step(start: Array, condition: Array) -> Array:
        end = minimize(_bowl, start, newton(0.5), steps=1, args=(condition,)).params
        return _angle(start - end, start)

    each = jax.vmap(jax.vmap(jax.vmap(step, (0, None, None)), (None, None, 0)), (None, 0, None))
    ratio = jax.jit(each)(starts, conditions, jnp.asarray(RATES))
    straight = jax.jit(jax.vmap(jax.vmap(newton_step, (0, None)), (None, 0)))(starts, conditions)
    canyon = problems.tilted_canyon()
    long = minimize(canyon.loss, canyon.init(newton_key), gradient_descent(2 / 101), steps=2000)
    return np.asarray(ratio).max(-1), float(jnp.linalg.norm(long.params)), float(jnp.max(straight))


def _curved(valley: problems.Problem, starts: Float[Array, "starts 2"]) -> tuple[np.ndarray, np.ndarray]:
    """On Rosenbrock's function: whether a short step leads away from the minimum, and the angle of Newton's step."""

    def one(start: Array, optimizer: Callable[[], optax.GradientTransformation]) -> Array:
        return minimize(valley.loss, start, optimizer(), steps=1).params

    toward = 1 - starts
    short = jax.jit(jax.vmap(lambda start: one(start, lambda: gradient_descent(1e-7))))(starts)
    whole = jax.jit(jax.vmap(lambda start: one(start, newton)))(starts)
    further = jnp.linalg.norm(1 - short, axis=1) > jnp.linalg.norm(toward, axis=1)
    return np.asarray(further), np.asarray(jax.vmap(_angle)(whole - starts, toward))


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lecture claims about the direction of steepest descent.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: square to the level set, the worst angle, the round bowl, Newton's direction, and whether the first
        step leads away from the minimum.
    """
    conditions = dataset.condition.values
    narrow = conditions > 1
    predicted = np.arccos(2 * np.sqrt(conditions) / (conditions + 1))
    ratios = dataset.worst_angle.values[narrow] / predicted[narrow]
    further, starts = int(dataset.further), int(dataset.starts)
    curved = np.degrees(float(dataset.newton_curved_angle))
    degrees = np.degrees(dataset.worst_angle.values)
    return [
        Claim(
            "square_to_level_set",
            "Steepest descent is square to the level set, on ellipses and on Rosenbrock's banana.",
            float(dataset.squareness.max()), high=1e-10, unit="cosine with the tangent, worst point",
        ),
        Claim(
            "worst_angle",
            "The worst angle between steepest descent and the way to the minimum is arccos(2 sqrt(K)/(K + 1)).",
            float(ratios[np.argmax(abs(ratios - 1))]), 0.999, 1.001, unit="of the formula, worst K",
            conditions=f"{degrees[3]:.0f} degrees at K = 10, {degrees[4]:.0f} at 100, {degrees[5]:.0f} at 1000: the "
            "narrower the valley, the nearer to a right angle, which it never reaches.",
        ),
        Claim(
            "round_bowl",
            "In a round bowl (K = 1) all roads lead to Rome: steepest descent points at the minimum.",
            float(dataset.worst_angle[0]), high=1e-7, unit="radians, worst start",
        ),
        Claim(
            "newton_is_straight",
            "On a quadratic Newton's direction points at the minimum, from everywhere and for every K.",
            float(dataset.newton_angle), high=1e-7, unit="radians, worst start",
            conditions=f"On Rosenbrock's function its median angle is {curved:.0f} degrees.",
        ),
        Claim(
            "never_away_on_quadratic",
            "On a convex quadratic no step at a rate up to 2/lambda_max leads away from the minimum.",
            float(dataset.distance_ratio.max()), high=1.0 + 1e-9, unit="of the distance left, worst start and rate",
            conditions="Every component shrinks or stays. To lead away it takes a larger rate, or a valley that bends; "
            "see bent_canyon.",
        ),
        Claim(
            "bent_canyon",
            "In Rosenbrock's bent canyon the first short step leads away from the minimum for many starts (95 %).",
            further / starts, 0.01, 1.0, interval=exact_interval(further, starts), unit="of the starts",
            conditions="Starts even over the box [-2, 2] x [-1, 3].",
        ),
        Claim(
            "arrives_in_the_end",
            "Given enough steps descent reaches the minimum of a narrow canyon, too.",
            float(dataset.left), high=1e-10, unit="from the minimum after 2,000 steps",
            conditions="The canyon of K = 100 at its best rate, 2/(lambda_min + lambda_max).",
        ),
    ]  # fmt: skip


def figure(dataset: xarray.Dataset) -> Figure:
    """Arrows on a level set, the angle against the condition number, and where a bent canyon leads away.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(4.9, 4.35))
    turn = np.linspace(0, 2 * np.pi, 200)
    for level in (0.5, 1.0, 1.5):
        left.plot(3 * level * np.cos(turn), level * np.sin(turn), color="0.7", linewidth=0.8)
    for at in np.radians([12, 40, 70, 110, 160, 205, 250, 300]):
        x = np.array([4.5 * np.cos(at), 1.5 * np.sin(at)])
        downhill = -np.array([x[0] / 9, x[1]])
        for way, color in ((downhill, plots.style_of("gradient_descent").color), (-x, plots.style_of("adam").color)):
            tip = x + 1.1 * way / np.hypot(*way)
            left.annotate("", tuple(tip), tuple(x), arrowprops={"arrowstyle": "->", "color": color})
    left.plot(0, 0, "*", color="white", markeredgecolor="black", markersize=13)
    left.set(aspect="equal", xlim=(-5.2, 5.2), ylim=(-2.4, 2.4), xlabel="x", ylabel="y")
    plots.set_title(
        left, "Steepest is square to the level set", "black: steepest descent; orange: to the minimum (κ = 9)"
    )
    plots.describe(left, "On an ellipse of condition number 9 steepest descent and the way to the minimum differ.")
    condition, blue = np.geomspace(1, 1000, 200), plots.distinct_styles(1)[0].color
    middle.plot(
        condition, np.degrees(np.arccos(2 * np.sqrt(condition) / (condition + 1))), color="0.5", label="formula"
    )
    middle.plot(dataset.condition, np.degrees(dataset.worst_angle), "o", color="black", label="worst on a level set")
    middle.plot(dataset.condition, np.degrees(dataset.middle_angle), "s--", color=blue, label="median")
    middle.set(xscale="log", xlabel="condition number κ", ylabel="angle to the minimum (degrees)", ylim=(0, 100))
    middle.axhline(90, color="0.8", linewidth=0.8)
    plots.legend_below(middle)
    plots.round_ticks(middle)
    worst = float(np.degrees(dataset.worst_angle[-1]))
    plots.set_title(middle, "Narrow valleys turn it to a right angle", "but never beyond, on a quadratic")
    plots.describe(
        middle, f"The worst angle rises with the condition number, to {worst:.1f} degrees at 1000, below 90."
    )
    right.contourf(dataset.x, dataset.y, dataset.away, levels=[0.5, 1.5], colors=["#f4c7b0"])
    levels = np.geomspace(0.5, dataset.loss.values.max(), 12)
    right.contour(dataset.x, dataset.y, dataset.loss, levels=levels, colors="0.4", linewidths=0.6)
    right.plot(1, 1, "*", color="white", markeredgecolor="black", markersize=13)
    right.set(xlabel="x", ylabel="y")
    share = int(dataset.further) / int(dataset.starts)
    plots.set_title(
        right, f"In a bent canyon {share:.0%} of starts step away", "shaded: a short step leads away from the star"
    )
    plots.describe(
        right, f"Rosenbrock's function: from {share:.0%} of the box a short step leads away from the minimum."
    )
    return drawn
