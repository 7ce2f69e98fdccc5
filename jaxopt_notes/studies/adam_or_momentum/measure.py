"""What is run: both methods over rates and decays on three problems, and four methods on four kinds of regression."""

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
from ...optimizers import adagrad, adam, momentum
from ...sweeps import sweep, trials
from ..noisy_softmax import noisy_softmax
from ..registry import Size
from ..sparse_factorization import factorization

if TYPE_CHECKING:
    import optax
    import xarray

PROBLEMS = ("digits", "noisy", "factorization")
METHODS = ("momentum", "adam")
RATES = 10.0 ** np.arange(-4, 0.51, 0.5)
DEFAULTS = {"momentum": 1e-2, "adam": 1e-3}  # of keras; torch has 1e-3 for both
DECAYS = ("constant", "cosine")
GOOD = 0.9  # share of the best fall
SEEDS = {"small": 6, "full": 12}
STEPS = {
    "small": {"digits": 400, "noisy": 800, "factorization": 800},
    "full": {"digits": 1280, "noisy": 3600, "factorization": 4000},
}
BATCH = {"digits": 64, "noisy": 4, "factorization": 8}
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
        Dataset with `loss` over `problem`, `optimizer`, `decay`, `learning_rate` and `seed`; `beta_loss` of Adam over
        `betas`; `cell_loss` over `cell`, `cell_method`, `cell_rate` and `cell_seed`; `seconds` per step on digits over
        `optimizer` and `repetition`.
    """
    import xarray

    losses, starts, betas = [], [], None
    for name in PROBLEMS:
        problem = _problem(name, key)
        steps = STEPS[size][name]
        rows = []
        for method in METHODS:
            table, tried = _swept(problem, name, method, steps, SEEDS[size], key)
            rows.append(table)
            betas = tried if tried is not None else betas
        losses.append(np.stack([row for row, _ in rows]))
        starts.append(rows[0][1])
    cells = _cells(key, CELL_SEEDS[size])
    return xarray.Dataset(
        {
            "loss": (("problem", "optimizer", "decay", "learning_rate", "seed"), np.stack(losses)),
            "initial_loss": (("problem", "seed"), np.stack(starts)),
            "beta_loss": (("betas", "fine_rate", "seed"), betas),
            "cell_loss": (("cell", "cell_method", "cell_rate", "cell_seed"), cells),
            "seconds": (("repetition", "optimizer"), _seconds(key, REPETITIONS[size])),
        },
        {"problem": list(PROBLEMS), "optimizer": list(METHODS), "decay": list(DECAYS), "learning_rate": RATES}
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


def _swept(problem: Any, name: str, method: str, steps: int, seeds: int, key: Any) -> tuple[Any, Any]:
    """((losses over decay, rate and seed, losses at the start), losses over betas, rate and seed or None)."""

    def adam_with(learning_rate: Array, decay: Array, b1: Array, b2: Array) -> optax.GradientTransformation:
        return adam(_decayed(learning_rate, decay, steps), b1, b2)

    def momentum_with(learning_rate: Array, decay: Array) -> optax.GradientTransformation:
        return momentum(_decayed(learning_rate, decay, steps), 0.9)

    points = [
        {"learning_rate": rate, "decay": kind, "b1": 0.9, "b2": 0.999} for kind in range(len(DECAYS)) for rate in RATES
    ]
    tried = method == "adam" and name == "digits"
    if tried:
        points += [{"learning_rate": rate, "decay": 0, "b1": b1, "b2": b2} for b1, b2 in BETAS for rate in FINE]
    names = ("learning_rate", "decay") + (("b1", "b2") if method == "adam" else ())
    space = trials({which: [float(point[which]) for point in points] for which in names})
    options: dict[str, Any] = {"seeds": seeds, "steps": steps, "batch_size": BATCH[name], "every": steps // 8}
    factory: Callable[..., Any] = adam_with if method == "adam" else momentum_with
    table = sweep(problem, factory, space, key=key, progress=False, **options)
    ended = table.final_loss.where(table.status < Status.NON_FINITE, np.inf).transpose("configuration", "seed").values
    count = len(DECAYS) * len(RATES)
    curves = ended[:count].reshape(len(DECAYS), len(RATES), -1)
    start = table.initial_loss.transpose("configuration", "seed").values[0]
    return (curves, start), ended[count:].reshape(len(BETAS), len(FINE), -1) if tried else None


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
