"""Make the fixtures in tests/golden by running torch.optim and keras.optimizers in float64 on recorded gradients.

    pip install torch keras scikit-learn     # in an environment of its own; JAX is not needed
    python scripts/golden.py                 # writes tests/golden/*.npz
    python scripts/golden.py --new           # adds what new rows need, and keeps every array that is there
    python scripts/golden.py --check         # makes them again and compares with the committed files

The gradients are of real paths on three problems: a quadratic with a coordinate that never matters, Rosenbrock's
valley, and minibatches of softmax regression on the digits, whose dead pixels have gradients of exactly zero. Every
recorded number is exact in float32, those of the digits in float16. Fed runs read the recorded gradients; own runs
take the gradient of the quadratic and of Rosenbrock where they are. Both libraries run in real float64, keras with the
torch backend. Newton's methods have no counterpart in either: their steps are closed forms in numpy.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from golden_rows import DIGITS_EVERY, DIGITS_STRIDE, OWN_STEPS, ROWS, SCHEDULE_ROWS, STEPS, THEIRS_SCHEDULED  # noqa: E402

FOLDER = ROOT / "tests" / "golden"
FACTOR = np.array(
    [[4, 1, 0, 0, 2, -1], [0, 3, 1, 0, 0, 1], [1, 0, 2, 0, 1, 0], [0, 1, -1, 0, 2, 0], [0, 0, 1, 0, 0, 1]]
)
QUADRATIC = (FACTOR.T @ FACTOR).astype(float)  # its fourth row and column are zero
SADDLE = QUADRATIC - 5 * np.diag(np.diag(QUADRATIC) > 0)  # two negative eigenvalues, three positive, one zero
QUADRATIC_START = np.array([1.0, -2.0, 3.0, 0.5, -1.0, 2.0])
ROSENBROCK_START = np.array([-1.25, 1.5625])  # on the parabola, where the second gradient is exactly zero
OWN_ROSENBROCK_START = np.array([-1.25, 1.0])


def quadratic_gradient(x):
    return QUADRATIC @ x


def rosenbrock_gradient(x):
    across = x[1] - x[0] ** 2
    return np.array([-400 * x[0] * across - 2 * (1 - x[0]), 200 * across])


def rosenbrock_hessian(x):
    return np.array([[1200 * x[0] ** 2 - 400 * x[1] + 2, -400 * x[0]], [-400 * x[0], 200]])


def own_gradient(x):
    return np.concatenate([quadratic_gradient(x[:6]), rosenbrock_gradient(x[6:])])


def heavy_ball(gradient, x, rate, beta):
    """Gradients and points of gradient descent with momentum, which swings, so that signs and sizes change."""
    velocity, gradients, points = np.zeros_like(x), [], []
    for _ in range(STEPS):
        gradients.append(gradient(x))
        points.append(x)
        velocity = beta * velocity + gradients[-1]
        x = x - rate * velocity
    return np.array(gradients, np.float32), np.array(points, np.float32)


def digits_gradients(rate=0.5, batch_size=64):
    """Minibatch gradients of softmax regression on the digits: 64 weights and a bias for each of 10 classes."""
    pixels, labels = load_digits(return_X_y=True)
    inputs = np.concatenate([pixels / 16, np.ones((len(pixels), 1))], axis=1)
    rng, weights, met = np.random.default_rng(0), np.zeros((65, 10)), []
    for _ in range(STEPS):
        batch = rng.choice(len(labels), batch_size, replace=False)
        scores = np.exp(inputs[batch] @ weights)
        errors = scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[labels[batch]]
        met.append(inputs[batch].T @ errors / batch_size)
        weights = weights - rate * met[-1]
    return np.array(met).reshape(STEPS, -1).astype(np.float16)


def record():
    rosenbrock, points = heavy_ball(rosenbrock_gradient, ROSENBROCK_START, 0.002, 0.95)
    return {
        "quadratic_matrix": QUADRATIC,
        "saddle_matrix": SADDLE,
        "own_start": np.concatenate([QUADRATIC_START, OWN_ROSENBROCK_START]),
        "quadratic": heavy_ball(quadratic_gradient, QUADRATIC_START, 0.07, 0.9)[0],
        "rosenbrock": rosenbrock,
        "rosenbrock_points": points,
        "digits": digits_gradients(),
    }


def torch_path(row, scheduled, gradients, starts):
    """The parameters before and after each step: one list of arrays per entry of `starts`."""
    params = [torch.tensor(start, dtype=torch.float64, requires_grad=True) for start in starts]
    optimizer = eval(row.their_call(scheduled), {"torch": torch, "params": params})
    schedule = eval(THEIRS_SCHEDULED["torch"], {"torch": torch, "optimizer": optimizer}) if scheduled else None
    path = [[param.detach().numpy().copy() for param in params]]
    for step in range(STEPS):
        for param, grad in zip(params, gradients(step, path[-1]), strict=True):
            param.grad = torch.tensor(grad, dtype=torch.float64)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        path.append([param.detach().numpy().copy() for param in params])
    return path


def keras_path(row, scheduled, gradients, starts):
    variables = [keras.Variable(start, dtype="float64") for start in starts]
    optimizer = eval(row.their_call(scheduled), {"keras": keras})
    path = [[variable.value.detach().numpy().copy() for variable in variables]]
    for step in range(STEPS):
        grads = [torch.tensor(grad, dtype=torch.float64) for grad in gradients(step, path[-1])]
        optimizer.apply(grads, variables)
        path.append([variable.value.detach().numpy().copy() for variable in variables])
    return path


def torch_schedule(call):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = eval(call, {"torch": torch, "optimizer": optimizer})
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(rates)


def keras_schedule(call):
    schedule = eval(call, {"keras": keras})
    return np.array([float(schedule(step)) for step in range(STEPS)])


def library_fixture(library, follow, rates, recorded):
    """Paths of every row: fed runs from zero, of 8 small parameters each step and of some of the digits; own runs."""
    fed = np.concatenate([recorded[name].astype(float) for name in ("quadratic", "rosenbrock", "digits")], axis=1)
    starts = [np.zeros(fed.shape[1]), recorded["own_start"]]
    fixture = {row.theirs: rates(row.theirs) for row in SCHEDULE_ROWS if row.library == library}
    for row in (row for rows in ROWS.values() for row in rows if row.library == library):
        for scheduled in row.schedules:
            path = follow(row, scheduled, lambda step, now: [fed[step], own_gradient(now[1])], starts)
            all_fed, own = (np.array(column) for column in zip(*path, strict=True))
            fixture[row.key(scheduled) + " fed"] = all_fed[:, :8]
            fixture[row.key(scheduled) + " digits"] = all_fed[::DIGITS_EVERY, 8::DIGITS_STRIDE]
            fixture[row.key(scheduled) + " own"] = own[: OWN_STEPS + 1]
    return fixture


def condition(row, hessians):
    """The largest condition number of the matrices that a method solves with: what a solve loses in any precision."""
    values = np.linalg.eigvalsh(hessians)
    damping = float(re.search(r"\+ ([0-9.]+)", row.theirs)[1])
    damped = np.abs(np.abs(values) + damping if "abs" in row.theirs else values + damping)
    return np.max(damped.max(axis=1) / damped.min(axis=1))


def newton_step(call, step, hessian, gradient):
    values, vectors = np.linalg.eigh(hessian)
    names = {"H": hessian, "g": gradient, "L": values, "V": vectors, "I": np.eye(gradient.size)}
    return eval(call, {"numpy": np, "step": step, **names})


def closed_form_fixture(recorded):
    """Newton's methods: fed recorded gradients at recorded points, summed from zero, and on their own gradients."""
    own_start, points = recorded["own_start"], recorded["rosenbrock_points"].astype(float)
    problems = {
        "saddle": (lambda x: SADDLE @ x, lambda x: SADDLE, own_start[:6], "quadratic", np.zeros((STEPS, 6))),
        "rosenbrock": (rosenbrock_gradient, rosenbrock_hessian, own_start[6:], "rosenbrock", points),
    }
    fixture = {}
    for row in ROWS["newton"] + ROWS["saddle_free_newton"]:
        for scheduled in row.schedules:
            call, key = row.their_call(scheduled), row.key(scheduled)
            for name, (gradient, hessian, start, grads, places) in problems.items():
                met = [hessian(place) for place in places]
                fed, own = [np.zeros_like(start)], [start]
                for step, grad in enumerate(recorded[grads].astype(float)):
                    fed.append(fed[-1] - newton_step(call, step, met[step], grad))
                for step in range(OWN_STEPS):
                    met.append(hessian(own[-1]))
                    own.append(own[-1] - newton_step(call, step, met[-1], gradient(own[-1])))
                fixture[f"{key} {name} fed"], fixture[f"{key} {name} own"] = np.array(fed), np.array(own)
                fixture[f"{key} {name} condition"] = condition(row, np.array(met))
    return fixture


def fixtures(recorded):
    versions = {package.__name__: package.__version__ for package in (torch, keras, np, sklearn)}
    made = {
        "gradients": recorded,
        "torch": library_fixture("torch", torch_path, torch_schedule, recorded),
        "keras": library_fixture("keras", keras_path, keras_schedule, recorded),
        "numpy": closed_form_fixture(recorded),
    }
    return {name: {**arrays, "versions": np.array(json.dumps(versions))} for name, arrays in made.items()}


def stored(name):
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def same(made, found):
    """Whether an array is the stored one: recorded numbers to the rounding of their last bit, paths to 1e-13."""
    tolerance = max(np.finfo(made.dtype).eps, 1e-13)
    return made.shape == found.shape and np.all(np.abs(made - found) <= tolerance * np.abs(found).max())


def check():
    """Whether everything can be made again; the paths from the stored gradients, so that each is checked alone."""
    made, agrees = {**fixtures(stored("gradients")), "gradients": record()}, True
    for name, arrays in made.items():
        found = stored(name)
        versions = found.pop("versions")
        arrays.pop("versions", None)
        wrong = sorted(set(arrays) ^ set(found))
        wrong += [key for key in arrays if key in found and not same(arrays[key], found[key])]
        exact = sum(np.array_equal(arrays[key], found[key]) for key in arrays if key in found)
        print(
            f"{name}: {exact} of {len(arrays)} arrays have the same bits, {len(wrong)} differ; stored with {versions}"
        )
        print("".join(f"    {key}\n" for key in wrong), end="")
        agrees = agrees and not wrong
    return agrees


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    parser.add_argument("--new", action="store_true", help="write only the arrays that are not there yet")
    options = parser.parse_args()
    keras.config.set_floatx("float64")
    if options.check:
        sys.exit(not check())
    FOLDER.mkdir(exist_ok=True)
    for name, arrays in fixtures(stored("gradients") if options.new else record()).items():
        kept = stored(name) if options.new else {}
        if set(arrays) != set(kept):
            np.savez_compressed(FOLDER / f"{name}.npz", **arrays | kept)


if __name__ == "__main__":
    main()
