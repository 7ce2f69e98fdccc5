"""A short lesson for each demonstration: what to see, what to try, what happened. Every step is the state of a page."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._presets import PRESETS, framed


class Step(NamedTuple):
    """One step of a lesson.

    Attributes:
        text: what the page tells.
        changes: fields of the demonstration's state that this step and those after it have otherwise.
    """

    text: str
    changes: dict[str, Any]


def _step(text: str, **changes: Any) -> Step:
    return Step(text, changes)


def _descent(learning_rate: float) -> dict[str, Any]:
    return {"gradient_descent": {"learning_rate": learning_rate}}


def _momentum(learning_rate: float, beta: float) -> dict[str, Any]:
    return {"momentum": {"learning_rate": learning_rate, "beta": beta}}


LESSONS: dict[str, tuple[Step, ...]] = {
    "zig-zag": (
        _step(
            "Across the valley the slope changes twenty times as fast as along it. At a learning rate of 0.45 every "
            "step jumps over the floor: y changes sign each time and keeps 80% of its size."
        ),
        _step(
            "Lower the rate to 0.25, which is 1/L for the sharpness L = 4. The first step lands on the floor. "
            "After that each step removes only 5% of the distance in x.",
            optimizers=_descent(0.25),
        ),
        _step(
            "Lower it to 0.1. Nothing jumps any more, but the walk along the floor takes longer still: "
            "after 40 steps almost half of the way is left.",
            optimizers=_descent(0.1),
        ),
        _step(
            "So the zig-zag is the price of speed. At 0.476 = 2/(4 + 0.2) both directions shrink by the same factor, "
            "0.905. No fixed rate has a smaller worst factor.",
            optimizers=_descent(0.476),
        ),
    ),
    "overshoot": (
        _step(
            "The parabola x² has curvature 2 everywhere. At a rate of 0.95 each step multiplies x by 1 - 2 · 0.95 "
            "= -0.9: it lands on the other side, slightly nearer."
        ),
        _step("Set the rate to 0.5 = 1/f''. One step lands exactly on the minimum.", optimizers=_descent(0.5)),
        _step(
            "Below 0.5 nothing overshoots. At 0.25 every step halves the distance, always from the same side.",
            optimizers=_descent(0.25),
        ),
        _step(
            "At 1.0 = 2/f'' the factor is -1. The run jumps between 10 and -10 and never gets anywhere.",
            optimizers=_descent(1.0),
        ),
        _step(
            "Just above it, at 1.02, the factor is -1.04. Every jump is longer than the last, and the run leaves.",
            optimizers=_descent(1.02),
        ),
    ),
    "diverge": (
        _step(
            "The steep direction has curvature L = 4, so the stability bound is 2/L = 0.5. At 0.55 each step "
            "multiplies y by -1.2. Along x all is well; y alone takes the run out of the picture."
        ),
        _step(
            "At the bound itself, 0.5, y neither grows nor shrinks. The loss settles at what the jumping costs, 0.08.",
            optimizers=_descent(0.5),
        ),
        _step(
            "Slightly below, at 0.47, y shrinks by 12% in each step, and the run converges. The bound is sharp.",
            optimizers=_descent(0.47),
        ),
        _step(
            "Now 0.55 again, but from a start exactly on the floor. The slope across is zero and stays zero: "
            "the run converges at a rate that is too large.",
            optimizers=_descent(0.55),
            start=[-5.0, 0.0],
        ),
        _step(
            "It takes only a hair. From y = 0.000001 the run looks the same for fifty steps, and then it is gone: "
            "1.2 to the power of 100 is 80 million.",
            start=[-5.0, 0.000001],
            steps=100,
        ),
    ),
    "steepest is not straight": (
        _step(
            "The canyon is a hundred times as steep across as along. The steepest way down points at the wall on the "
            "other side, more than fifty degrees away from the minimum. Compare the two arrows at the start."
        ),
        _step(
            "Newton's method divides the slope by the curvature in each direction. On a quadratic its first step "
            "lands on the minimum.",
            optimizers={"newton": {"learning_rate": 1.0}},
        ),
        _step(
            "With a rate of 0.2 its path is a straight line to the minimum: each step removes a fifth of the way.",
            optimizers={"newton": {"learning_rate": 0.2}},
        ),
        _step(
            "Gradient descent at 0.01 = 1/L drops to the floor in one step. After sixty steps more than half of the "
            "way along the floor is left.",
            optimizers=_descent(0.01),
        ),
        _step(
            "Momentum at almost the same rate adds up the small slopes along the floor. After sixty steps its loss is "
            "two hundred times lower.",
            optimizers=_momentum(0.009, 0.8),
        ),
    ),
    "momentum crosses the valley": (
        _step(
            "Both methods use the rate 0.6, above the bound 0.5 of gradient descent. Gradient descent leaves the "
            "picture. Momentum crosses the valley a few times and settles at the minimum."
        ),
        _step(
            "Momentum averages slopes. Across the valley they change sign and cancel; along the floor they agree and "
            "add up. Its bound is 2(1 + β)/L = 0.75. With β = 0 it is gradient descent, and diverges too.",
            optimizers=_momentum(0.6, 0.0),
        ),
        _step(
            "At β = 0.3 the bound is 0.65, just enough. The run jumps from wall to wall, less each time.",
            optimizers=_momentum(0.6, 0.3),
        ),
        _step(
            "Too much of it is a ball that rolls past the minimum. At β = 0.9 the run shoots to x = 3 and comes back; "
            "after twenty steps its loss is ten thousand times that with β = 0.5.",
            optimizers=_momentum(0.6, 0.9),
            window=framed([-5.6, -2.6], [3.8, 2.6]),
        ),
    ),
    "stuck at a saddle": (
        _step(
            "f = x² - y² falls without end to both sides of the ridge y = 0. From a start exactly on the ridge the "
            "slope across it is zero, so no method ever learns that there is a way down. All three end at the saddle."
        ),
        _step(
            "The hatched area is where f is not convex: here it is the whole picture, because the second eigenvalue of "
            "the Hessian is -2 everywhere. The verdict below reads it off at the end of each run.",
            show={"nonconvex": True},
        ),
        _step(
            "Move the start off the ridge by a hair, to y = 0.000001. Gradient descent and Adam leave. Newton's method "
            "does not: it goes to the point where the slope is zero, whatever kind of point that is.",
            start=[0.9, 0.000001],
        ),
        _step(
            "A little noise does the same. Back on the ridge, with noise of 0.001 in the gradient, gradient descent "
            "is off it within fifty steps.",
            start=[0.9, 0.0],
            optimizers=_descent(0.1),
            noise=0.001,
            steps=50,
        ),
    ),
    "leaving a saddle": (
        _step(
            "From a hair beside the ridge, y = 0.001, gradient descent multiplies y by 1.2 in each step. For a long "
            "time nothing seems to happen; then it is fast."
        ),
        _step(
            "Start a thousand times nearer to the ridge, at y = 0.000001. After the same number of steps gradient "
            "descent is still beside the saddle.",
            start=[0.9, 0.000001],
        ),
        _step(
            "It does not need a thousand times as many steps, only 38 more, since 1.2 to the power of 38 is a "
            "thousand. The time to escape is a logarithm of the distance.",
            steps=75,
        ),
        _step(
            "Saddle-free Newton takes the size of each eigenvalue and drops its sign. Here both are 2 in size, so at "
            "rate 0.2 its path is that of gradient descent at 0.1.",
            start=[0.9, 0.001],
            steps=37,
            optimizers=_descent(0.1) | {"saddle_free_newton": {"learning_rate": 0.2}},
        ),
    ),
    "plateau": (
        _step(
            "At x = 4 the slope of tanh is 0.0013. Gradient descent at rate 1 moves by that much in a step: after a "
            "hundred steps it is at 3.84. Adam divides by the size of the slope and walks 0.05 a step."
        ),
        _step(
            "Start at x = 2, where the slope is fifty times larger. Now gradient descent gets off the plateau, "
            "and in the end overtakes Adam.",
            start=[2.0],
            window=framed([-4.0], [5.0]),
        ),
        _step(
            "Back at 4, with a rate of 10. Gradient descent creeps for dozens of steps, then meets the slope and is "
            "thrown far beyond the picture's left edge. No single rate suits both places.",
            start=[4.0],
            optimizers=_descent(10.0),
        ),
        _step(
            "Momentum collects the small slopes. At rate 1 and β = 0.95 it gets off the plateau, and then cannot stop.",
            optimizers=_momentum(1.0, 0.95),
        ),
        _step(
            "Newton's method goes the wrong way. At 4 the function curves down, so dividing by the curvature turns the "
            "step uphill: each one climbs half a unit farther out onto the plateau.",
            optimizers={"newton": {"learning_rate": 1.0}},
            steps=6,
            window=framed([-2.0], [9.0]),
        ),
    ),
    "local minimum": (
        _step(
            "Gradient descent rolls into the first minimum, at -0.27, and stays. Momentum arrives with enough speed to "
            "roll over the hill, into the deeper minimum at 1.09."
        ),
        _step(
            "With β = 0.8 the ball is not fast enough. It turns around and settles in the shallow minimum.",
            optimizers=_momentum(0.05, 0.8),
        ),
        _step(
            "Gradient descent at a rate of 0.5, above the bound of either minimum, jumps about and settles in neither. "
            "It does visit the deep one.",
            optimizers=_descent(0.5),
        ),
        _step(
            "Where a run starts decides most. From 0.4, on the other side of the hill, small steps end in the deep "
            "minimum without any help.",
            optimizers=_descent(0.05),
            start=[0.4],
        ),
    ),
    "noise jumps out": (
        _step(
            "Every gradient has noise of standard deviation 4 added, as if it came from a small batch. This run is "
            "thrown over the hill and ends near the deep minimum at 1.09."
        ),
        _step(
            "Noise is luck. With seed 2 the run ends in the shallow valley.",
            seed=2,
        ),
        _step(
            "Most of the seeds 0 to 9 lead to the deep valley. Try them with the button “another seed”.",
            seed=0,
        ),
        _step(
            "With a quarter of the noise, none of these seeds leaves the shallow valley within 200 steps.",
            noise=1.0,
        ),
    ),
    "noise and decay": (
        _step(
            "The gradient is noisy, and the rate falls as 0.1 / (1 + 0.05 k) with the step k. The path is rough at "
            "first; the later steps are smaller, and it settles."
        ),
        _step(
            "Without decay the run ends in a cloud around the minimum. Over the last fifty steps its mean loss is more "
            "than ten times as high.",
            decay=0.0,
        ),
        _step(
            "A rate four times larger makes the cloud larger: its mean loss is at least five times higher again.",
            optimizers=_descent(0.4),
            window=framed([-7.0, -5.6], [7.0, 5.6]),
        ),
        _step(
            "Decay can be too fast. With d = 1 and the rate 0.1 the steps shrink before the run has arrived: "
            "after 200 steps it is still more than 1 away from the minimum.",
            optimizers=_descent(0.1),
            decay=1.0,
        ),
    ),
    "the banana valley": (
        _step(
            "Rosenbrock's valley is a parabola bent like a banana. All methods find its floor within ten steps. The "
            "way along the floor, around the bend to (1, 1), takes the rest. After 250 steps none has arrived; "
            "momentum is nearest."
        ),
        _step(
            "Give them 2000 steps. Adam arrives; momentum is close; gradient descent has more than half a unit to go.",
            steps=2000,
        ),
        _step(
            "A larger rate helps gradient descent, up to a point. At 0.0025 it gets around the bend in 250 steps, "
            "after some twenty bounces between the walls.",
            steps=250,
            optimizers=_descent(0.0025),
        ),
        _step(
            "Newton's method knows the bend. It needs six steps, one of them a long jump out of the valley and out of "
            "the first picture.",
            steps=10,
            optimizers={"newton": {"learning_rate": 1.0}},
            window=framed([-3.4, -3.6], [3.4, 1.6]),
        ),
    ),
}


def states(title: str) -> list[dict[str, Any]]:
    """The states that a lesson goes through.

    Arguments:
        title: of a demonstration.

    Returns:
        The demonstration's state, with the changes of every step up to each; one per step.

    Example:
        >>> [state["optimizers"]["gradient_descent"]["learning_rate"] for state in states("overshoot")]
        [0.95, 0.5, 0.25, 1.0, 1.02]
    """
    state = next(preset for preset in PRESETS if preset["title"] == title)
    found = []
    for step in LESSONS[title]:
        state = state | step.changes
        found.append(state)
    return found


def described() -> dict[str, list[dict[str, Any]]]:
    """Every lesson as JSON: the text and the state of each step.

    Returns:
        A dictionary from the title of a demonstration to its steps.

    Example:
        >>> len(described()["zig-zag"])
        4
    """
    return {
        title: [{"text": step.text, "state": state} for step, state in zip(steps, states(title), strict=True)]
        for title, steps in LESSONS.items()
    }
