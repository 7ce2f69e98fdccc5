"""What is run: both methods over rates and decays on three problems, and four methods on four kinds of regression.

Defaults of libraries: keras 3, `SGD(learning_rate=0.01, momentum=0)`; PyTorch, `SGD(lr=0.001, momentum=0)`, before 2.x
without a default rate; scikit-learn 1.5, `MLPClassifier(solver="sgd")`, 0.001 with Nesterov's momentum of 0.9. In all
three Adam's rate is 0.001. optax has no default rates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ... import problems, schedules
from ...minibatches import reshuffle
from ...minimize import Status, minimize
from ...optimizers import adagrad, adam, momentum, nesterov
from ...sweeps import sweep, trials
from .._machinery.registry import Size
from ..noisy_softmax import noisy_softmax
from ..sparse_factorization import factorization

if TYPE_CHECKING:
    import optax
    import xarray

PROBLEMS = ("digits", "noisy", "factorization")
METHODS = ("momentum", "adam")
PER_DECADE = {"small": 2, "full": 8}  # rates from 1e-4 to 10^0.5
SHELF = {"keras": (0.01, 0.0), "torch": (0.001, 0.0), "scikit-learn": (0.001, 0.9)}  # SGD's rate and momentum
ADAM_RATE = 0.001
DECAYS = ("constant", "cosine")
GOOD = 0.9  # share of the best fall
SEEDS = {"small": 6, "full": 12}
STEPS = {
    "small": {"digits": 400, "noisy": 800, "factorization": 800},
    "full": {"digits": 1280, "noisy": 3600, "factorization": 4000},
}
BUDGETS = {"small": (1.0,), "full": (0.25, 1.0)}  # shares of the steps; what these decide alone is not decided
BATCH = {"digits": 64, "noisy": 4, "factorization": 8}
BETA_PROBLEMS = ("digits", "noisy")
BETAS = [(0.8, 0.99), (0.8, 0.999), (0.9, 0.99), (0.95, 0.99), (0.95, 0.999)]  # of Adam, in place of 0.9, 0.999
FINE = 10.0 ** np.arange(-3, -0.99, 0.5)  # rates at which the betas are tried

PAIRS, CORRELATION, RAREST = 10, 0.99, 0.01
FLOOR = 1e-8  # of the loss at the start, below which losses count as equal
CELLS = {"neither": "gradient_descent", "ravine": "momentum", "sparse": "adagrad", "both": "adam"}
CELL_RATES = 10.0 ** np.arange(-2, 0.51, 0.25)
CELL_SEEDS = {"small": 6, "full": 24}
CELL_STEPS, CELL_BATCH = 200, 32
TIMED_STEPS, REPETITIONS = 300, {"small": 5, "full": 15}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Sweep both methods over rates with and without decay, and four methods over four kinds of small problems.

    Arguments:
        key: of the starts, the order of the data and the small problems.
        size: steps and seeds.

    Returns:
        Dataset with `loss` over `problem`, `budget` (a share of the steps), `optimizer`, `decay`, `learning_rate` and
        `seed`; `shelf_loss` of SGD with the defaults of a `library`; `beta_loss` of Adam over `beta_problem` and
        `betas`; `cell_loss` over `cell`, `cell_method`, `cell_rate` and `cell_seed`; `seconds` per step on digits over
        `optimizer` and `repetition`.
    """
    import xarray

    rates = 10.0 ** (np.arange(-4 * PER_DECADE[size], PER_DECADE[size] // 2 + 1) / PER_DECADE[size])
    losses, starts, betas, shelf = [], [], [], []
    for name in PROBLEMS:
        problem = _problem(name, key)
        tried = BETAS if name in BETA_PROBLEMS else []
        for share in BUDGETS[size]:
            options = _options(name, size, share, key)
            moving, start, _ = _swept(problem, "momentum", rates, [], options)
            adaptive, _, of_betas = _swept(problem, "adam", rates, tried, options)
            losses.append(np.stack([moving, adaptive]))
            starts.append(start)
            shelf.append(_shelf(problem, options))
            betas += [of_betas] if tried else []
    cells = _cells(key, CELL_SEEDS[size])
    split = lambda parts: np.stack(parts).reshape(-1, len(BUDGETS[size]), *parts[0].shape)
    return xarray.Dataset(
        {
            "loss": (("problem", "budget", "optimizer", "decay", "learning_rate", "seed"), split(losses)),
            "initial_loss": (("problem", "seed"), split(starts)[:, 0]),
            "shelf_loss": (("problem", "budget", "library", "seed"), split(shelf)),
            "beta_loss": (("beta_problem", "budget", "betas", "fine_rate", "seed"), split(betas)),
            "cell_loss": (("cell", "cell_method", "cell_rate", "cell_seed"), cells),
            "seconds": (("repetition", "optimizer"), _seconds(key, REPETITIONS[size])),
        },
        {"problem": list(PROBLEMS), "optimizer": list(METHODS), "decay": list(DECAYS), "learning_rate": rates}
        | {"budget": list(BUDGETS[size]), "library": list(SHELF), "beta_problem": list(BETA_PROBLEMS)}
        | {"cell": list(CELLS), "cell_method": list(CELLS.values()), "cell_rate": CELL_RATES, "fine_rate": FINE}
        | {"b1": ("betas", [b1 for b1, _ in BETAS]), "b2": ("betas", [b2 for _, b2 in BETAS])},
        {"state_ratio": _state_size("adam") / _state_size("momentum"), "cell_steps": CELL_STEPS},
    )


def _problem(name: str, key: Key[Array, ""]) -> problems.Problem:
    if name == "factorization":
        return factorization(key)
    return problems.digits_mlp(hidden=32) if name == "digits" else noisy_softmax()


def _seconds(key: Key[Array, ""], repetitions: int) -> np.ndarray:
    """Of a step on digits, by repetition and method; the two take turns, as the machine's speed changes."""
    digits = problems.digits_mlp(hidden=32)
    start = digits.init(key)

    @partial(jax.jit, static_argnums=0)
    def train(factory: Callable[..., Any], start: Any, data: Any) -> Array:
        options: dict[str, Any] = {"steps": TIMED_STEPS, "every": TIMED_STEPS, "key": key}
        batches = reshuffle(BATCH["digits"])
        return minimize(digits.loss, start, factory(1e-3), data=data, minibatches=batches, **options).final_loss

    kept = np.empty((repetitions + 1, len(METHODS)))
    for row in kept:
        for i, factory in enumerate((momentum, adam)):
            began = time.perf_counter()
            train(factory, start, digits.data).block_until_ready()
            row[i] = (time.perf_counter() - began) / TIMED_STEPS
    return kept[1:]  # the first compiles


def _state_size(method: str) -> float:
    """Numbers that a method keeps for each parameter."""
    state = jax.eval_shape((adam if method == "adam" else momentum)(0.1).init, jnp.zeros(1000))
    return sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) / 1000


def _options(name: str, size: Size, share: float, key: Key[Array, ""]) -> dict[str, Any]:
    """Of every sweep on a problem with one budget: the same steps, starts and order of the data."""
    steps = round(share * STEPS[size][name])
    each = {"seeds": SEEDS[size], "steps": steps, "batch_size": BATCH[name], "every": steps}
    return {**each, "key": key, "progress": False}


def _ended(table: xarray.Dataset) -> np.ndarray:
    """Losses at the end over configuration and seed, infinite where the run failed."""
    return table.final_loss.where(table.status < Status.NON_FINITE, np.inf).transpose("configuration", "seed").values


def _swept(
    problem: Any, method: str, rates: np.ndarray, betas: list[tuple[float, float]], options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses over decay, rate and seed; losses at the start; losses over betas, rate and seed."""

    def adam_with(learning_rate: Array, decay: Array, b1: Array, b2: Array) -> optax.GradientTransformation:
        return adam(_decayed(learning_rate, decay, options["steps"]), b1, b2)

    def momentum_with(learning_rate: Array, decay: Array) -> optax.GradientTransformation:
        return momentum(_decayed(learning_rate, decay, options["steps"]), 0.9)

    points = [
        {"learning_rate": rate, "decay": kind, "b1": 0.9, "b2": 0.999} for kind in range(len(DECAYS)) for rate in rates
    ]
    points += [{"learning_rate": rate, "decay": 0, "b1": b1, "b2": b2} for b1, b2 in betas for rate in FINE]
    names = ("learning_rate", "decay") + (("b1", "b2") if method == "adam" else ())
    space = trials({which: [float(point[which]) for point in points] for which in names})
    factory: Callable[..., Any] = adam_with if method == "adam" else momentum_with
    table = sweep(problem, factory, space, **options)
    ended, count = _ended(table), len(DECAYS) * len(rates)
    curves = ended[:count].reshape(len(DECAYS), len(rates), -1)
    start = table.initial_loss.transpose("configuration", "seed").values[0]
    return curves, start, ended[count:].reshape(len(betas), len(FINE), ended.shape[1])


def _shelf(problem: Any, options: dict[str, Any]) -> np.ndarray:
    """Losses over library and seed of SGD with the library's defaults; without momentum Nesterov's is plain descent."""
    rates, kept = zip(*SHELF.values(), strict=True)
    return _ended(sweep(problem, nesterov, trials({"learning_rate": rates, "beta": kept}), **options))


def _decayed(learning_rate: Array, decay: Array, steps: int) -> Callable[[Array], Array]:
    """A constant rate, or half a cosine down to 0."""
    cosine = schedules.cosine(learning_rate, steps)
    return lambda step: jnp.where(decay > 0, cosine(step), learning_rate)


def _cells(key: Key[Array, ""], seeds: int) -> np.ndarray:
    """The exact expected loss of regressions after stochastic steps, by cell, method, rate and seed.

    Features come in pairs that are there together. In a ravine the two are nearly the same; sparse pairs are there in
    a share of the examples from 1 down to a hundredth.
    """
    drawn = np.asarray(jax.random.normal(key, (seeds, CELL_STEPS + 1, CELL_BATCH, PAIRS, 2)))
    there = np.asarray(jax.random.uniform(key, (seeds, CELL_STEPS + 1, CELL_BATCH, PAIRS, 1)))
    shares = np.geomspace(1, RAREST, PAIRS)
    rows = []
    for cell in CELLS:
        rho = CORRELATION if cell in ("ravine", "both") else 0.0
        share = shares if cell in ("sparse", "both") else np.ones(PAIRS)
        second = rho * drawn[..., 0] + (1 - rho**2) ** 0.5 * drawn[..., 1]
        inputs = np.stack([drawn[..., 0], second], -1) * (there < share[:, None])
        block = np.array([[1.0, rho], [rho, 1.0]])
        rows.append((inputs.reshape(*inputs.shape[:3], -1), np.kron(np.diag(share), block)))
    inputs, covariance = (np.stack(part).astype(np.float32) for part in zip(*rows, strict=True))
    target = jnp.asarray(np.tile([1.0, -1.0], PAIRS), jnp.float32)  # along the valley of each pair
    factories: dict[str, Callable[..., Any]] = {
        "gradient_descent": lambda rate: momentum(rate, 0.0),
        "momentum": momentum,
        "adagrad": adagrad,
        "adam": adam,
    }
    kept = [
        _cell_losses(factory, jnp.asarray(inputs), jnp.asarray(covariance), target) for factory in factories.values()
    ]
    return np.stack(kept, axis=1)


def _cell_losses(factory: Callable[..., Any], inputs: Array, covariance: Array, target: Array) -> np.ndarray:
    """Losses over cell, rate and seed, relative to the start."""

    def loss(w: Array, step: Array, batches: Array) -> tuple[Float[Array, ""], Array]:
        return 0.5 * jnp.mean((batches[step] @ (w - target)) ** 2), step + 1

    def final(batches: Array, spread: Array, rate: Array) -> Array:
        run = minimize(
            loss,
            jnp.zeros_like(target),
            factory(rate),
            steps=CELL_STEPS,
            aux=jnp.int32(0),
            args=(batches,),
            every=CELL_STEPS,
        )
        left = run.params - target
        return left @ spread @ left / (target @ spread @ target)

    seeds = jax.vmap(final, (0, None, None))
    rates = jax.vmap(seeds, (None, None, 0))
    cells = jax.jit(jax.vmap(rates, (0, 0, None)))
    return np.maximum(
        FLOOR, jnp.nan_to_num(cells(inputs, covariance, jnp.asarray(CELL_RATES, jnp.float32)), nan=jnp.inf)
    )
