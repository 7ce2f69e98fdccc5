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
from ...optimizers import adagrad, adam, gradient_descent, momentum, nesterov
from ...sweeps import grid, sample, sweep, trials
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
NUMBERS = ("learning_rate", "decay", "b1", "b2")
BETAS: dict[str, Any] = {"b1": [0.8, 0.9, 0.95], "b2": [0.99, 0.999]}
SEEDS = {"small": 6, "full": 16}  # half of them tune, the others score
STEPS = {
    "small": {"digits": 400, "noisy": 800, "factorization": 800},
    "full": {"digits": 1280, "noisy": 3600, "factorization": 4000},
}
LENGTHS = {"small": (1.0,), "full": (0.25, 1.0)}  # shares of the steps; what these decide alone is not decided
BATCH = {"digits": 64, "noisy": 4, "factorization": 8}

PAIRS, FLOOR = 10, 1e-8  # FLOOR: of the first loss, below which losses count as equal
CELLS = {"neither": (0.0, 1.0), "ravine": (0.99, 1.0), "sparse": (0.0, 0.01), "both": (0.99, 0.01)}
RULE = {"neither": "gradient_descent", "ravine": "momentum", "sparse": "adagrad", "both": "adam"}
CELL_METHODS: dict[str, Callable[..., Any]] = {
    "gradient_descent": gradient_descent,
    "momentum": momentum,
    "adagrad": adagrad,
    "adam": adam,
}
CELL_STEPS, CELL_BATCH, CELL_EXAMPLES = 200, 32, 25_600  # a seed sees a quarter of the examples
TIMED_STEPS, REPETITIONS = 300, {"small": 5, "full": 15}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Sweep both methods over rates with and without decay, and four methods over four kinds of small problems.

    Arguments:
        key: of the starts, the order of the data and the small problems.
        size: steps, seeds and rates per decade.

    Returns:
        Dataset with `loss` over `problem`, `length` (a share of the steps), `family`, `configuration` and `seed`, where
        the family `adam_betas` is Adam at as many random configurations of b1 and b2 too; `shelf_loss` of SGD with the
        defaults of a `library`; `cell_loss` over `cell_method`, `cell_rate`, `correlation`, `rarest` and `cell_seed`;
        `seconds` per step on digits over `optimizer` and `repetition`.
    """
    import xarray

    columns, per_decade = _columns(PER_DECADE[size], key), PER_DECADE[size]
    losses, starts, shelf = [], [], []
    for name in PROBLEMS:
        problem = _problem(name, key)
        for share in LENGTHS[size]:
            steps = round(share * STEPS[size][name])
            each: dict[str, Any] = {"batch_size": BATCH[name], "seeds": SEEDS[size], "key": key}
            tree = sweep(problem, _families(columns, steps), steps=steps, every=steps, **each, progress=False)
            losses.append(np.stack([_ended(tree[method]) for method in columns]))
            shelf.append(_ended(tree["shelf"]))
            starts.append(tree["adam"].initial_loss.transpose("configuration", "seed").values[0])
    split = lambda parts: np.stack(parts).reshape(-1, len(LENGTHS[size]), *parts[0].shape)
    return xarray.Dataset(
        {
            "loss": (("problem", "length", "family", "configuration", "seed"), split(losses)),
            "initial_loss": (("problem", "seed"), split(starts)[:, 0]),
            "shelf_loss": (("problem", "length", "library", "seed"), split(shelf)),
            "cell_loss": _cells(_rates(-2.5, 0.5, per_decade), SEEDS[size], key),
            "seconds": (("repetition", "optimizer"), _seconds(key, REPETITIONS[size])),
        },
        {number: (("family", "configuration"), [each[number] for each in columns.values()]) for number in NUMBERS}
        | {"problem": list(PROBLEMS), "length": list(LENGTHS[size]), "family": list(columns)}
        | {"optimizer": list(METHODS), "library": list(SHELF)},
        {"state_ratio": _state_size("adam") / _state_size("momentum"), "cell_steps": CELL_STEPS}
        | {"per_decade": per_decade},
    )


def _rates(low: float, high: float, per_decade: int) -> np.ndarray:
    """From 10^low to 10^high."""
    return 10.0 ** (np.arange(round(low * per_decade), round(high * per_decade) + 1) / per_decade)


def _columns(per_decade: int, key: Key[Array, ""]) -> dict[str, dict[str, np.ndarray]]:
    """The configurations of every method: a grid of rates and decays, and as many random ones with other betas."""
    import scipy.stats

    rates = _rates(-4, 0.5, per_decade)
    points = grid(learning_rate=rates, decay=[0.0, 1.0], b1=[0.9], b2=[0.999]).columns()
    spread = scipy.stats.loguniform(rates[0], rates[-1])
    betas = sample(len(points["decay"]), key, learning_rate=spread, decay=[0.0, 1.0], **BETAS).columns()
    return {"momentum": points, "adam": points, "adam_betas": betas}


def _families(columns: dict[str, dict[str, np.ndarray]], steps: int) -> dict[str, Any]:
    """Both methods at their configurations, Adam with other betas too, and SGD as the libraries set it.

    Without momentum Nesterov's form is plain descent.
    """

    def decayed(learning_rate: Array, decay: Array) -> Callable[[Array], Array]:
        cosine = schedules.cosine(learning_rate, steps)
        return lambda step: jnp.where(decay > 0, cosine(step), learning_rate)

    def adam_with(learning_rate: Array, decay: Array, b1: Array, b2: Array) -> optax.GradientTransformation:
        return adam(decayed(learning_rate, decay), b1, b2)

    def momentum_with(learning_rate: Array, decay: Array) -> optax.GradientTransformation:
        return momentum(decayed(learning_rate, decay), 0.9)

    rates, kept = zip(*SHELF.values(), strict=True)
    points = {number: columns["momentum"][number] for number in ("learning_rate", "decay")}
    return {
        "momentum": (momentum_with, trials(points)),
        "adam": (adam_with, trials(columns["adam"])),
        "adam_betas": (adam_with, trials(columns["adam_betas"])),
        "shelf": (nesterov, trials({"learning_rate": rates, "beta": kept})),
    }


def _ended(table: xarray.DataTree) -> np.ndarray:
    """Losses at the end over configuration and seed, infinite where the run failed."""
    return table.final_loss.where(table.status < Status.NON_FINITE, np.inf).transpose("configuration", "seed").values


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


def _cells(rates: np.ndarray, seeds: int, key: Key[Array, ""]) -> xarray.DataArray:
    """The exact expected loss, relative to the first, of regressions after stochastic steps, by method and cell.

    Features come in pairs that are there together. In a ravine the two are nearly the same; sparse pairs are there in
    a share of the examples from 1 down to the rarest.
    """
    import xarray

    target = jnp.tile(jnp.array([1.0, -1.0]), (PAIRS, 1))  # along the valley of each pair

    def shares(rarest: Array) -> Float[Array, " pairs"]:
        return rarest ** jnp.linspace(0.0, 1.0, PAIRS)

    def loss(w: Array, batch: tuple[Array, Array], *, correlation: Array, rarest: Array) -> Float[Array, ""]:
        (first, other), present = jnp.moveaxis(batch[0], -1, 0), batch[1] < shares(rarest)
        inputs = jnp.stack([first, correlation * first + (1 - correlation**2) ** 0.5 * other], -1)
        return 0.5 * jnp.mean(jnp.sum(inputs * present[..., None] * (w - target), (1, 2)) ** 2)

    def expected(w: Array, *, correlation: Array, rarest: Array) -> Float[Array, ""]:
        height = lambda v: jnp.sum(shares(rarest) * (jnp.sum(v**2, 1) + 2 * correlation * v[:, 0] * v[:, 1]))
        return jnp.maximum(FLOOR, height(w - target) / height(target))

    drawn = jax.random.normal(key, (CELL_EXAMPLES, PAIRS, 2)), jax.random.uniform(key, (CELL_EXAMPLES, PAIRS))
    problem = problems.Problem(loss, jnp.zeros((PAIRS, 2)), data=drawn, evaluate=expected, name="regression")
    correlations, rarest = (sorted(set(values)) for values in zip(*CELLS.values(), strict=True))
    space = grid(learning_rate=rates, correlation=correlations, rarest=rarest)
    families = {name: (method, space) for name, method in CELL_METHODS.items()}
    each: dict[str, Any] = {"seeds": seeds, "steps": CELL_STEPS, "every": CELL_STEPS, "key": key, "progress": False}
    tree = sweep(problem, families, batch_size=CELL_BATCH, **each)
    losses = [child.final_loss.where(child.status < Status.NON_FINITE, np.inf) for child in tree.children.values()]
    names = {"learning_rate": "cell_rate", "seed": "cell_seed"}
    return xarray.concat(losses, "cell_method").assign_coords(cell_method=list(families)).rename(names)
