"""Adam or momentum: how wide the range of good rates is, who wins when tuned, and a rule of choice by the problem.

A rate is good if the loss falls by at least 90 % of the best fall; the width is that of the unbroken range of good
rates around the best, in decades.

Sources: Kingma and Ba, 2015; Wilson et al., 2017; Choi et al., 2019 (tuning decides); Schmidt et al., 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import problems, schedules
from ..minimize import Status, minimize
from ..optimizers import adagrad, adam, momentum
from ..sweeps import sweep, trials
from .claim import Claim
from .intervals import bootstrap
from .noisy_softmax import noisy_softmax
from .registry import Size

if TYPE_CHECKING:
    import optax
    import xarray

    from ..plots import Figure

PROBLEMS = ("digits", "noisy")
METHODS = ("momentum", "adam")
RATES = 10.0 ** np.arange(-4, 0.51, 0.5)
DEFAULTS = {"momentum": 1e-2, "adam": 1e-3}  # of keras; torch has 1e-3 for both
DECAYS = ("constant", "cosine")
GOOD = 0.9  # share of the best fall
SEEDS = {"small": 6, "full": 12}
STEPS = {"small": {"digits": 400, "noisy": 800}, "full": {"digits": 1280, "noisy": 3600}}
BATCH = {"digits": 64, "noisy": 4}
BETAS = [(0.8, 0.99), (0.8, 0.999), (0.9, 0.99), (0.95, 0.99), (0.95, 0.999)]  # of Adam, in place of 0.9, 0.999
FINE = 10.0 ** np.arange(-3, -0.99, 0.5)  # rates at which the betas are tried

PAIRS, CORRELATION, RAREST = 10, 0.99, 0.01
FLOOR = 1e-8  # of the loss at the start, below which losses count as equal
CELLS = {"neither": "gradient_descent", "ravine": "momentum", "sparse": "adagrad", "both": "adam"}
CELL_RATES = 10.0 ** np.arange(-2, 0.51, 0.25)
CELL_SEEDS = {"small": 6, "full": 24}
CELL_STEPS, CELL_BATCH = 200, 32


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Sweep both methods over rates with and without decay, and four methods over four kinds of small problems.

    Arguments:
        key: of the starts, the order of the data and the small problems.
        size: steps and seeds.

    Returns:
        Dataset with `loss` over `problem`, `optimizer`, `decay`, `learning_rate` and `seed`; `beta_loss` of Adam over
        `betas`; `cell_loss` over `cell`, `cell_method`, `cell_rate` and `cell_seed`.
    """
    import xarray

    losses, starts, betas = [], [], None
    for name in PROBLEMS:
        problem = problems.digits_mlp(hidden=32) if name == "digits" else noisy_softmax()
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
        },
        {"problem": list(PROBLEMS), "optimizer": list(METHODS), "decay": list(DECAYS), "learning_rate": RATES}
        | {"cell": list(CELLS), "cell_method": list(CELLS.values()), "cell_rate": CELL_RATES, "fine_rate": FINE}
        | {"b1": ("betas", [b1 for b1, _ in BETAS]), "b2": ("betas", [b2 for _, b2 in BETAS])},
        {"state_ratio": _state_size("adam") / _state_size("momentum"), "cell_steps": CELL_STEPS},
    )


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


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge which of the two to choose.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: sensitivity, tuned and off the shelf, decay, betas, memory, and the rule of choice.
    """
    both = [claim for name in PROBLEMS for claim in _problem_claims(dataset.sel(problem=name), name)]
    return [*both, *_shared_claims(dataset), *(_cell_claim(dataset, cell) for cell in CELLS)]


def _losses(table: xarray.Dataset, method: str, decay: str = "constant") -> np.ndarray:
    """(seeds, rates) of one method."""
    return table.loss.sel(optimizer=method, decay=decay).transpose("seed", "learning_rate").values


def _width(losses: np.ndarray, start: np.ndarray) -> float:
    """The width of the unbroken range of good rates around the best, in decades."""
    median, first = np.median(losses, axis=0), np.median(start)
    good = first - median >= GOOD * (first - median.min())
    low = high = int(np.argmin(median))
    while low > 0 and good[low - 1]:
        low -= 1
    while high + 1 < len(good) and good[high + 1]:
        high += 1
    return float(np.round(np.log10(RATES[high] / RATES[low]), 6))


def _tuned(losses: np.ndarray) -> np.ndarray:
    """The losses of all seeds at the rate of the best median."""
    return losses[:, np.argmin(np.median(losses, axis=0))]


def _problem_claims(table: xarray.Dataset, name: str) -> list[Claim]:
    start = table.initial_loss.values
    adam_, moving = (_losses(table, method) for method in ("adam", "momentum"))
    wider = lambda a, b, s: _width(a, s) - _width(b, s)  # noqa: E731
    tuned = {m: np.concatenate([_losses(table, m, decay) for decay in DECAYS], axis=1) for m in METHODS}
    gap = np.log10(_tuned(tuned["adam"]) / _tuned(tuned["momentum"]))
    at = lambda losses, rate: losses[:, int(np.argmin(np.abs(np.log(RATES / rate))))]  # noqa: E731
    shelf = np.log10(at(moving, DEFAULTS["momentum"]) / at(adam_, DEFAULTS["adam"]))
    same = np.log10(at(moving, DEFAULTS["adam"]) / at(adam_, DEFAULTS["adam"]))
    gain = 1 - _tuned(_losses(table, "adam", "cosine")) / _tuned(adam_)
    widths = f"{_width(adam_, start):.1f} and {_width(moving, start):.1f} decades of rates reach 90 % of the best fall."
    unit = "powers of ten"
    return [
        Claim(
            f"less_sensitive_{name}",
            f"Adam is less sensitive to the rate: its range of good rates is half a decade wider or more ({name}).",
            wider(adam_, moving, start),
            low=0.5,
            interval=bootstrap(wider, adam_, moving, start),
            unit="decades wider",
            conditions=f"{widths} See rate_travels: it is the place of the range that Adam keeps, not its width.",
        ),
        Claim(
            f"momentum_wins_tuned_{name}",
            f"With rate and decay tuned momentum ends lower than Adam ({name}).",
            float(np.median(gap)),
            low=0.0,
            interval=bootstrap(np.median, gap),
            unit=unit,
        ),
        Claim(
            f"adam_wins_off_the_shelf_{name}",
            f"Off the shelf Adam (rate 0.001) ends lower than momentum at 0.01 ({name}).",
            float(np.median(shelf)),
            low=0.0,
            interval=bootstrap(np.median, shelf),
            unit=unit,
            conditions="0.01 is the default of keras; that of torch is 0.001, which hardly moves.",
        ),
        Claim(
            f"adam_wins_at_one_rate_{name}",
            f"At the rate 0.001 for both Adam ends lower than momentum ({name}).",
            float(np.median(same)),
            low=0.0,
            interval=bootstrap(np.median, same),
            unit=unit,
        ),
        Claim(
            f"adam_needs_no_decay_{name}",
            f"Adam needs no decay: a cosine lowers its tuned loss by less than 2 % ({name}).",
            float(np.median(gain)),
            high=0.02,
            interval=bootstrap(np.median, gain),
            unit="of the loss",
            conditions="Where noise limits it needs decay as much as momentum does." if name == "noisy" else "",
        ),
    ]


def _shared_claims(dataset: xarray.Dataset) -> list[Claim]:
    place = lambda losses: float(np.log10(RATES[np.argmin(np.median(losses, axis=0))]))  # noqa: E731

    def travels(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
        return abs(place(a) - place(b)) - abs(place(c) - place(d))

    four = [_losses(dataset.sel(problem=name), method) for method in METHODS for name in PROBLEMS]
    digits = dataset.sel(problem="digits")
    fine = np.argmin(np.abs(np.log(RATES[:, None] / FINE)), axis=0)
    usual = _tuned(_losses(digits, "adam")[:, fine])
    tried = dataset.beta_loss.transpose("seed", "betas", "fine_rate").values
    best = _tuned(tried.reshape(len(tried), -1))
    gain = 1 - np.minimum(best, usual) / usual
    return [
        Claim(
            "rate_travels",
            "From one problem to the other the best rate of Adam moves less than that of momentum, by half a decade.",
            travels(*four),
            low=0.5,
            interval=bootstrap(travels, *four),
            unit="decades less",
        ),
        Claim(
            "betas_default",
            "Tuning b1 and b2 brings Adam little: less than 10 % of the loss on digits, the rate tuned for each.",
            float(np.median(gain)),
            high=0.1,
            interval=bootstrap(np.median, gain),
            unit="of the loss",
            conditions="b1 of 0.8, 0.9, 0.95 and b2 of 0.99, 0.999.",
        ),
        Claim(
            "memory",
            "Adam keeps two numbers for each parameter where momentum keeps one.",
            dataset.attrs["state_ratio"],
            2.0,
            2.0,
            unit="times the state of momentum",
        ),
    ]


def _cell_claim(dataset: xarray.Dataset, cell: str) -> Claim:
    losses = {
        m: dataset.cell_loss.sel(cell=cell, cell_method=m).transpose("cell_seed", "cell_rate").values
        for m in CELLS.values()
    }
    tuned = {method: np.log10(_tuned(values)) for method, values in losses.items()}
    chosen = CELLS[cell]
    lowest = np.min([values for method, values in tuned.items() if method != chosen], axis=0)
    gap = tuned[chosen] - lowest
    words = {
        "neither": "no ravine and no rare features",
        "ravine": "a ravine",
        "sparse": "rare features",
        "both": "both",
    }
    ends = ", ".join(f"{method.replace('_', ' ')} {10 ** np.median(values):.1g}" for method, values in tuned.items())
    return Claim(
        f"rule_{cell}",
        f"With {words[cell]}, choose {chosen.replace('_', ' ')}: it is within a factor of 2 of the best of the others.",
        float(np.median(gap)),
        high=math.log10(2),
        interval=bootstrap(np.median, gap),
        unit="powers of ten above",
        conditions=f"Tuned rates, {dataset.attrs['cell_steps']} steps; of the first loss is left: {ends}.",
    )


def figure(dataset: xarray.Dataset) -> Figure:
    """Loss by rate for both methods with and without decay, and the four kinds of small problems.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(1, 3, size=(5.2, 3.9))
    for ax, name in zip(axes, PROBLEMS, strict=False):
        table = dataset.sel(problem=name)
        for method in METHODS:
            look = plots.style_of(method)
            for decay, dash in zip(DECAYS, ("-", "--"), strict=True):
                loss = np.median(_losses(table, method, decay), axis=0)
                label = f"{method}, {decay}"
                ax.loglog(RATES, np.where(np.isfinite(loss), loss, np.nan), dash, color=look.color, label=label)
        ax.set(xlabel="learning rate", ylabel="final loss on all training data")
        ax.legend(frameon=False, fontsize=8, loc="lower left" if name == "digits" else "upper right")
        ax.set_ylim(top=4 if name == "digits" else 3)
        title = "Digits: ranges of equal width" if name == "digits" else "Noisy labels: both gain by decay"
        widths = [f"{_width(_losses(table, m), table.initial_loss.values):.1f} of {m}" for m in METHODS]
        plots.set_title(
            ax, title, f"decades of good rates: {', '.join(widths)}; median of {dataset.sizes['seed']} seeds"
        )
        plots.describe(ax, f"On {name} the curves of Adam and momentum are about as wide; Adam's lie at lower rates.")
    cells, places = axes[2], np.arange(len(CELLS))
    for shift, method in zip((-0.3, -0.1, 0.1, 0.3), CELLS.values(), strict=True):
        losses = dataset.cell_loss.sel(cell_method=method).transpose("cell", "cell_seed", "cell_rate").values
        left = [np.median(_tuned(values)) for values in losses]
        cells.bar(places + shift, left, 0.2, color=plots.style_of(method).color, label=method.replace("_", " "))
    cells.set_yscale("log")
    cells.set_xticks(places, list(CELLS))
    cells.set(ylabel="share of the first loss that is left", ylim=(FLOOR / 2, 30))
    cells.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    plots.set_title(cells, "Ravines and rare features", "regression, tuned rates")
    plots.describe(cells, "In a ravine momentum and Adam leave least; with rare features as well Adam does.")
    return drawn
