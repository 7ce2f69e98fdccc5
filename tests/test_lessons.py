"""What the lessons of the explorer's demonstrations say, against what its engine computes, in either precision."""

import jax
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes.explorer._engine import Settings, descend
from jaxopt_notes.explorer._lessons import LESSONS, described, states
from jaxopt_notes.explorer._presets import PRESETS, framed
from jaxopt_notes.explorer._scenes import catalogue
from jaxopt_notes.explorer._survey import HEIGHT, WIDTH

SCENES = catalogue()


def slope(scene, point):
    return jax.value_and_grad(scene.loss)(jax.numpy.asarray(point, float))


GD, NEWTON, ADAM, MOMENTUM, SADDLE_FREE = "gradient_descent", "newton", "adam", "momentum", "saddle_free_newton"
DIVERGED = jon.Status.DIVERGED
SHALLOW, DEEP, HILL = -0.274, 1.09, 0.274  # of x cos(pi x)


def runs_of(state, **changed):
    state = state | changed
    settings = Settings(**{name: state[name] for name in ("steps", "noise", "decay", "seed") if name in state})
    return descend(SCENES[state["function"]], state["optimizers"], state["start"], settings)


def runs(title, step, **changed):
    return runs_of(states(title)[step], **changed)


def ways(title, step, name=GD, **changed):
    return runs(title, step, **changed)[name].path


def factors(values):
    return values[1:] / values[:-1]


def kinds(title, step):
    return {name: run.verdict.kind_name for name, run in runs(title, step).items()}


def near(values, wanted, tolerance=1e-3):
    np.testing.assert_allclose(values, wanted, rtol=0, atol=tolerance)
    return True


def zig_zag(step):
    path = ways("zig-zag", step)
    if step == 0:
        return near(factors(path[:20, 1]), -0.8)
    if step == 1:
        return near(path[1, 1], 0, 1e-6) and near(factors(path[:, 0]), 0.95)
    if step == 2:
        return (path[:, 1] <= 0).all() and 0.4 < path[-1, 0] / path[0, 0] < 0.5
    worst = [max(abs(1 - rate * 4), abs(1 - rate * 0.2)) for rate in np.linspace(0.01, 0.6, 591)]
    return near(np.abs(factors(path[:20])), 0.905, 2e-3) and min(worst) > 0.9045


def overshoot(step):
    run = runs("overshoot", step)[GD]
    x = run.path[:, 0]
    if step == 1:
        return x[1] == 0
    if step == 4:
        return near(factors(x), -1.04) and run.status == DIVERGED
    return near(factors(x[:30]), [-0.9, None, 0.5, -1.0][step])


def diverge(step):
    run = runs("diverge", step)[GD]
    y = run.path[:, 1]
    if step == 0:
        return near(factors(y), -1.2) and run.status == DIVERGED and abs(run.path[-1, 0]) < 1e-3
    if step == 1:
        return near(np.abs(y), 0.2) and near(run.loss[-1], 0.08)
    if step == 2:
        return near(factors(y[:50]), -0.88) and run.verdict.kind_name == "minimum"
    if step == 3:
        return (y == 0).all() and run.verdict.kind_name == "minimum" and states("diverge")[3]["steps"] == 100
    return abs(y[50]) < 0.02 and abs(y[-1]) > 50 and run.status == DIVERGED


def canyon(step):
    found = runs("steepest is not straight", step)
    along = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    if step == 0:
        start = np.array(states("steepest is not straight")[0]["start"])
        _, gradient = slope(SCENES["tilted_canyon"], start)
        cosine = gradient @ start / np.linalg.norm(gradient) / np.linalg.norm(start)
        return 50 < np.degrees(np.arccos(cosine)) < 60
    if step == 1:
        return near(found[NEWTON].path[1], 0, 1e-4)
    if step == 2:
        path = found[NEWTON].path[:20]
        return near(path[1:], 0.8 * path[:-1], 1e-4)
    last = found[GD if step == 3 else MOMENTUM]
    if step == 3:
        left = np.abs(last.path @ along)
        across = np.abs(last.path @ np.array([-along[1], along[0]]))
        return left[-1] > 0.5 * left[0] and across[1] < 1e-3
    return runs("steepest is not straight", 3)[GD].loss[-1] > 195 * last.loss[-1]


def crossing(step):
    found = runs("momentum crosses the valley", step)
    momentum = found[MOMENTUM]
    if step == 0:
        flips = np.sum(momentum.path[1:, 1] * momentum.path[:-1, 1] < 0)
        return found[GD].status == DIVERGED and momentum.loss[-1] < 1e-4 and flips >= 3 and near(momentum.bound, 0.75)
    if step == 1:
        descent = runs("momentum crosses the valley", 0)[GD]
        np.testing.assert_allclose(momentum.path, descent.path, rtol=1e-5)
        return momentum.status == DIVERGED
    if step == 2:
        y = momentum.path[2:, 1]
        return near(momentum.bound, 0.65) and (y[1:] * y[:-1] < 0).all() and (np.abs(y[1:]) < np.abs(y[:-1])).all()
    before = runs("momentum crosses the valley", 0)[MOMENTUM]
    return 3 < momentum.path[:, 0].max() < 3.3 and momentum.loss[-1] > 1e4 * before.loss[-1]


def stuck(step):
    found, ends = runs("stuck at a saddle", step), kinds("stuck at a saddle", step)
    if step < 2:
        curvatures = np.concatenate([run.verdict.eigenvalues for run in found.values()])
        return set(ends.values()) == {"saddle"} and len(ends) == 3 and near(np.sort(curvatures), [-2] * 3 + [2] * 3)
    if step == 2:
        return ends[NEWTON] == "saddle" and min(abs(found[name].path[-1, 1]) for name in (GD, ADAM)) > 1.1
    return abs(found[GD].path[-1, 1]) > 0.2 and len(found[GD].path) == 51


def leaving(step):
    found = runs("leaving a saddle", step)
    y = found[GD].path[:, 1]
    if step == 0:
        return near(factors(y), 1.2) and y[-1] > 0.5
    if step == 1:
        return y[-1] < 0.002
    if step == 2:
        return len(y) == 38 + 38 and y[-1] > 0.5 and 1.2**37.5 < 1000 < 1.2**38
    np.testing.assert_allclose(found[SADDLE_FREE].path, found[GD].path, rtol=1e-4)
    return True


def plateau(step):
    found = runs("plateau", step)
    ends = {name: run.path[-1, 0] for name, run in found.items()}
    if step == 0:
        (_, [slope_at_4]) = slope(SCENES["tanh"], np.array([4.0]))
        return near(slope_at_4, 0.0013, 1e-4) and near(ends[GD], 3.84, 5e-3) and near(found[ADAM].path[1, 0], 3.95)
    if step == 1:
        slopes = [slope(SCENES["tanh"], np.array([x]))[1][0] for x in (2.0, 4.0)]
        return 50 < slopes[0] / slopes[1] < 56 and ends[GD] < ends[ADAM] - 1
    if step == 2:
        x = found[GD].path[:, 0]
        return x[24] > 3.4 and x[-1] < states("plateau")[2]["window"][0][0] - 3
    if step == 3:
        return ends[MOMENTUM] < -30
    return near(np.diff(found[NEWTON].path[:, 0]), 0.5)


def local(step):
    found, ends = runs("local minimum", step), kinds("local minimum", step)
    if step == 0:
        return near(found[GD].path[-1], SHALLOW) and near(found[MOMENTUM].path[-1], DEEP, 0.05)
    if step == 1:
        turned = (np.diff(found[MOMENTUM].path[:, 0]) < 0).any()
        return near(found[MOMENTUM].path[-1], SHALLOW) and turned and ends[MOMENTUM] == "minimum"
    if step == 2:
        rates = [1 / 6.1, 1 / 3.2]
        return ends[GD] == "not_critical" and found[GD].loss.min() < -1 and max(rates) < 0.5
    return near(found[GD].path[-1], DEEP) and (found[GD].path > HILL).all()


def jumping(step):
    path = ways("noise jumps out", step)
    if step == 0:
        return near(path[-1], DEEP, 0.3)
    if step == 1:
        return -0.8 < path[-1, 0] < HILL
    ends = np.array([ways("noise jumps out", step, seed=seed)[-1, 0] for seed in range(10)])
    if step == 2:
        return np.sum((ends > HILL) & (ends < 2)) > 5
    return all((ways("noise jumps out", 3, seed=seed) < HILL).all() for seed in range(10))


def cloud(step):
    def mean(at):
        return runs("noise and decay", at)[GD].loss[-50:].mean()

    if step == 0:
        path = ways("noise and decay", 0)
        jumps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        return jumps[-50:].mean() < 0.5 * jumps[20:70].mean()
    if step == 1:
        return mean(1) > 10 * mean(0)
    if step == 2:
        return mean(2) > 5 * mean(1)
    return np.linalg.norm(ways("noise and decay", 3)[-1]) > 1


def banana(step):
    found = runs("the banana valley", step)
    if step == 0:
        losses = {name: run.loss for name, run in found.items()}
        arrived = [kind == "minimum" for kind in kinds("the banana valley", 0).values()]
        lowest = min(losses, key=lambda name: losses[name][-1])
        return all(loss[:11].min() < 5 for loss in losses.values()) and not any(arrived) and lowest == MOMENTUM
    away = {name: np.linalg.norm(run.path[-1] - 1) for name, run in found.items()}
    if step == 1:
        return away[ADAM] < 1e-3 and 1e-3 < away[MOMENTUM] < 0.05 and 0.5 < away[GD] < 0.7
    if step == 2:
        over = found[GD].path[:, 1] - found[GD].path[:, 0] ** 2
        return found[GD].path[-1, 0] > 0.1 and 18 <= np.sum(over[1:] * over[:-1] < 0) <= 24
    path = found[NEWTON].path
    return near(path[6], 1, 1e-6) and away[NEWTON] < 1e-6 and np.abs(path[5] - 1).max() > 1e-7 and path[:, 1].min() < -3


TOLD = {
    "zig-zag": zig_zag,
    "overshoot": overshoot,
    "diverge": diverge,
    "steepest is not straight": canyon,
    "momentum crosses the valley": crossing,
    "stuck at a saddle": stuck,
    "leaving a saddle": leaving,
    "plateau": plateau,
    "local minimum": local,
    "noise jumps out": jumping,
    "noise and decay": cloud,
    "the banana valley": banana,
}
STEPS = [(title, step) for title in LESSONS for step in range(len(LESSONS[title]))]


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize(("title", "step"), STEPS, ids=lambda value: str(value))
def test_what_a_lesson_says_is_so(title, step, double):
    with jax.enable_x64(double):
        assert TOLD[title](step)


def test_every_demonstration_has_a_lesson_of_three_to_six_steps():
    assert list(LESSONS) == [preset["title"] for preset in PRESETS]
    assert all(3 <= len(steps) <= 6 for steps in LESSONS.values())
    for title, steps in described().items():
        assert steps[0]["state"] == next(preset for preset in PRESETS if preset["title"] == title)


def inside(path, window):
    low, high = np.array(window)
    return ((path >= low) & (path <= high)).all()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset["title"])
def test_a_demonstration_fits_its_picture(preset):
    """Whatever does not diverge; of a run that does, the steps that are told of."""
    domain = SCENES[preset["function"]].domain.tolist()
    window = preset.get("window", framed(*domain))
    size = np.subtract(window[1], window[0])
    if len(size) == 2:
        assert size[0] / size[1] == pytest.approx(WIDTH / HEIGHT)
    for name, run in runs_of(preset).items():
        path = run.path[:3] if run.status == DIVERGED else run.path
        assert inside(path, window), name
