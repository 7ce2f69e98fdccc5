"""Momentum on a quadratic: how fast it decays, where it is stable, and when it oscillates less than plain descent.

With s the learning rate times the curvature, a direction of the loss shrinks per step by the largest root |z| of

    heavy ball    z^2 - (1 + b - s) z + b                  stable for s < 2 (1 + b)
    averaged      the same at s (1 - b)                    stable for s < 2 (1 + b) / (1 - b)
    Nesterov      z^2 - (1 + b) (1 - s) z + b (1 - s)      stable for s < (2 + 2 b) / (1 + 2 b)

Sources: Polyak, 1964; Nesterov, 1983; O'Donoghue and Candes, 2015 (oscillation).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..minimize import minimize
from ..optimizers import gradient_descent, momentum, nesterov
from ..problems import quadratic
from ._machinery.claim import Claim, worst_ratio
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

FORMS = ("heavy_ball", "averaged", "nesterov")
BETAS = (0.0, 0.5, 0.9, 0.99)
CURVATURE = 4.0
FLAT = 1e-4  # s of a flat direction
SPACING = {"small": 0.05, "full": 0.01}
SHARES = np.linspace(0.95, 1.05, 21)  # of the predicted stability limit
STEPS = 1000
WINDOW = 64  # steps, more than half of the slowest oscillation
CONDITION = 1000.0
DRAWN = 1.9  # s of the paths in the figure


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Follow one direction of a quadratic under three forms of momentum, and a whole valley at the tuned rates.

    Arguments:
        key: not used; nothing here is random.
        size: the spacing of s = learning rate x curvature, 0.05 or 0.01.

    Returns:
        Dataset over `form`, `beta` and `product` (s): the factor `radius` per step, the `total_variation` and the
        `overshoot` of the path from 1; the measured stability `threshold`; the rate `flat_rate` of a flat direction;
        how far the two forms lie apart; the steps that a valley of condition 1,000 takes.
    """
    import xarray

    del key
    with jax.enable_x64(True):
        spacing = SPACING[size]
        products = np.append(FLAT, np.arange(spacing / 2, 2, spacing))
        count = len(products)
        paths = {form: _follow(form, products) for form in FORMS}
        followed = np.stack([paths[form][:, :count] for form in FORMS])
        edges = {form: paths[form][:, count + 1 : count + 1 + len(SHARES)] for form in FORMS}
        radius = _radius(followed)
        twin, averaged = paths["heavy_ball"][:, -count:], paths["averaged"][:, :count]
        envelope = _envelope(averaged)
        held = (envelope > 1e-200) & (envelope < 1e100)
        apart = np.max(np.abs(twin - averaged)[..., : held.shape[-1]][held] / envelope[held])
        dims = ("form", "beta", "product")
        return xarray.Dataset(
            {
                "radius": (dims, radius[..., 1:]),
                "flat_rate": (dims[:2], -np.log(radius[..., 0])),
                "total_variation": (dims, np.abs(np.diff(followed[..., 1:, :], axis=-1)).sum(-1)),
                "overshoot": (dims, np.maximum(0, -followed[..., 1:, :].min(-1))),
                "threshold": (dims[:2], np.stack([_threshold(form, edges[form]) for form in FORMS])),
                "path": (("form", "beta", "step"), np.stack([paths[form][:, count, :81] for form in FORMS])),
                "steps_needed": ("optimizer", _valley()),
            },
            {"form": list(FORMS), "beta": list(BETAS), "product": products[1:], "step": np.arange(81)}
            | {"optimizer": ["gradient_descent", "momentum"]},
            {"forms_apart": float(apart), "condition": CONDITION, "flat_product": FLAT, "drawn_product": DRAWN},
        )


def _limit(form: str, beta: np.ndarray) -> np.ndarray:
    """The predicted largest stable s."""
    if form == "nesterov":
        return (2 + 2 * beta) / (1 + 2 * beta)
    return 2 * (1 + beta) / (1 - beta if form == "averaged" else 1)


def _follow(form: str, products: np.ndarray) -> np.ndarray:
    """Paths from 1 for every beta, (betas, lanes, steps + 1).

    The lanes are the products, the one drawn, some around the limit of stability, and the products times 1 - beta.
    """
    betas = np.array(BETAS)[:, None]
    around = SHARES * _limit(form, betas)
    shared = np.broadcast_to(np.append(products, DRAWN), (len(BETAS), len(products) + 1))
    lanes = np.concatenate([shared, around, products * (1 - betas)], axis=1)
    betas = np.broadcast_to(betas, lanes.shape)
    valley = quadratic([CURVATURE])

    def one(rate: Array, beta: Array, dampening: Array) -> Any:
        optimizer = nesterov(rate, beta) if form == "nesterov" else momentum(rate, beta, dampening)
        return minimize(valley.loss, jnp.ones(1), optimizer, steps=STEPS, record_params=True).params_path

    numbers = (lanes / CURVATURE, betas, betas if form == "averaged" else np.zeros_like(betas))
    paths = jax.vmap(one)(*(jnp.asarray(values.ravel()) for values in numbers))
    return np.asarray(paths)[..., 0].reshape(*lanes.shape, -1)


def _envelope(paths: np.ndarray) -> np.ndarray:
    """The largest |x| of the next `WINDOW` steps, at every step that has as many behind it."""
    return np.lib.stride_tricks.sliding_window_view(np.abs(paths), WINDOW, axis=-1).max(-1)


def _radius(paths: np.ndarray) -> np.ndarray:
    """The factor per step: the slope of the log envelope in the second half of what double precision can hold."""
    envelope = _envelope(paths)
    held = (envelope > 1e-200) & (envelope < 1e100)
    last = np.where(held.all(-1), held.shape[-1], held.argmin(-1))[..., None]
    step = np.arange(held.shape[-1])
    used = (step >= last // 2) & (step < last)
    logs = np.log(np.where(used, envelope, 1.0))
    count = used.sum(-1, keepdims=True)
    away = np.where(used, step - (used * step).sum(-1, keepdims=True) / count, 0.0)
    return np.exp((away * logs).sum(-1) / (away**2).sum(-1))


def _threshold(form: str, paths: np.ndarray) -> np.ndarray:
    """For each beta the s between the last rate that shrinks the path and the first that does not."""
    envelope = _envelope(paths)
    stable = envelope[..., -1] < envelope[..., 0]
    first = np.where(stable.all(-1), len(SHARES) - 1, stable.argmin(-1))
    return _limit(form, np.array(BETAS)) * (SHARES[np.maximum(first - 1, 0)] + SHARES[first]) / 2


def _valley() -> np.ndarray:
    """Steps to a millionth of the distance from the minimum, for both methods at their best rates."""
    root = math.sqrt(CONDITION)
    tuned = {
        "gradient_descent": gradient_descent(2 / (1 + CONDITION)),
        "momentum": momentum(4 / (1 + root) ** 2, ((root - 1) / (root + 1)) ** 2),
    }
    valley, needed = quadratic([1.0, CONDITION]), []
    for optimizer in tuned.values():
        path = minimize(valley.loss, jnp.ones(2), optimizer, steps=10_000, record_params=True).params_path
        far = np.linalg.norm(path, axis=1) > 1e-6 * math.sqrt(2)
        needed.append(float(np.flatnonzero(far)[-1] + 1))
    return np.array(needed)


def predicted_radius(form: str, beta: float, product: float) -> float:
    """The factor per step by the characteristic polynomial of a form of momentum.

    Arguments:
        form: "heavy_ball", "averaged" or "nesterov".
        beta: b in [0, 1).
        product: s >= 0, learning rate times curvature.

    Returns:
        The largest |root|.

    Example:
        >>> round(predicted_radius("heavy_ball", 0.81, 1.0), 6)
        0.9
    """
    if form == "nesterov":
        return float(np.abs(np.roots([1, -(1 + beta) * (1 - product), beta * (1 - product)])).max())
    seen = product * (1 - beta) if form == "averaged" else product
    return float(np.abs(np.roots([1, -(1 + beta - seen), beta])).max())


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about momentum.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: rates, limits of stability, oscillation per form, the flat direction, overshoot, and the tuned valley.
    """
    return [
        *_rate_claims(dataset),
        *_oscillation_claims(dataset),
        *_overshoot_claims(dataset),
        *_speed_claims(dataset),
    ]


def _predicted(dataset: xarray.Dataset) -> np.ndarray:
    """The factors per step by theory, in the order of `radius`."""
    grid = [dataset.form.values, dataset.beta.values, dataset["product"].values]
    each = [[[predicted_radius(form, beta, s) for s in grid[2]] for beta in grid[1]] for form in grid[0]]
    return np.array(each)


def _rate_claims(dataset: xarray.Dataset) -> list[Claim]:
    ratio = dataset.radius.values / _predicted(dataset)
    threshold = {form: dataset.threshold.sel(form=form).values / _limit(form, dataset.beta.values) for form in FORMS}
    names = {"heavy_ball": "2 (1 + b)", "averaged": "2 (1 + b)/(1 - b)", "nesterov": "(2 + 2b)/(1 + 2b)"}
    stability = [
        Claim(
            f"stability_{form}",
            f"{form.replace('_', ' ').capitalize()} is stable where rate x curvature is below {names[form]}, to 1 %.",
            worst_ratio(threshold[form]),
            0.99,
            1.01,
            unit="of the prediction, worst beta",
        )
        for form in FORMS
    ]
    return [
        Claim(
            "rates",
            "A direction shrinks per step by the largest root of the method's characteristic polynomial, to 1 %.",
            worst_ratio(ratio),
            0.99,
            1.01,
            unit=f"of the prediction, worst of {ratio.size} rates, betas and forms",
        ),
        *stability,
        Claim(
            "forms_identical",
            "The averaged form at the rate a and the heavy ball at a (1 - b) take the same path, but for rounding.",
            dataset.attrs["forms_apart"],
            high=1e-10,
            unit="of the path's size, worst rate and beta",
        ),
    ]


def _oscillation_claims(dataset: xarray.Dataset) -> list[Claim]:
    products, betas = dataset["product"].values, dataset.beta.values[1:]
    plain = np.abs(1 - products)
    heavy = dataset.radius.sel(form="heavy_ball").values[1:]
    faster = heavy < plain
    overshooting = products > 1
    criterion = plain > np.sqrt(betas)[:, None]
    gap = np.abs(np.log(heavy / plain)) > 0.01  # nearer, the measured rates cannot be told apart
    variation = dataset.total_variation.sel(form="averaged").values
    calmer = variation[1:] < variation[0]
    share = float(np.mean(faster[:, overshooting]))
    return [
        Claim(
            "less_oscillation",
            "At equal learning rate the heavy ball damps the oscillations of descent (1 < s < 2) faster, at most "
            "rates.",
            share,
            low=0.5,
            unit="of the rates and betas",
            conditions="Only where descent is slower than sqrt(b) per step: see less_oscillation_when.",
        ),
        Claim(
            "less_oscillation_when",
            "The heavy ball damps an oscillation of descent faster if and only if |1 - s| > sqrt(b).",
            float(np.mean((faster == criterion)[gap & overshooting])),
            1.0,
            1.0,
            unit="of the rates and betas",
        ),
        Claim(
            "calmer_average",
            "At equal learning rate the averaged form travels less to and fro than descent, at most rates at which "
            "descent overshoots.",
            float(np.mean(calmer[:, overshooting])),
            low=0.5,
            unit="of the rates and betas",
            conditions=f"Only near the limit, at beta 0.9 from s = {_calm_from(products, calmer[1]):.2f} on: "
            "its own slow swing has to be shorter than the zigzag that it replaces.",
        ),
        Claim(
            "calmer_average_near_the_limit",
            "With beta 0.9 the averaged form travels less to and fro than descent for 1.8 < s < 2.",
            float(np.mean(calmer[1][products > 1.8])),
            1.0,
            1.0,
            unit="of the rates",
        ),
    ]


def _overshoot_claims(dataset: xarray.Dataset) -> list[Claim]:
    products = dataset["product"].values
    overshoot = {form: dataset.overshoot.sel(form=form).values[1:] for form in ("heavy_ball", "nesterov")}
    less = overshoot["nesterov"] <= overshoot["heavy_ball"] + 1e-12
    # Undamped, the heavy ball swings to 1/sqrt(1 - s/4) at most, which is less than Nesterov's 2s - 1 above 1.09.
    below, above = products < 1, products > 1.09
    return [
        Claim(
            "overshoots",
            "Along the main direction the heavy ball gathers too much and sometimes overshoots, where descent does "
            "not (s < 1).",
            float(np.mean(overshoot["heavy_ball"][:, below] > 0)),
            low=0.01,
            unit="of the rates and betas",
        ),
        Claim(
            "nesterov_overshoots_when",
            "Nesterov's form overshoots no more than the heavy ball for s < 1, and more for s > 1.09.",
            float(np.mean(np.concatenate([less[:, below].ravel(), ~less[:, above].ravel()]))),
            1.0,
            1.0,
            unit="of the rates and betas",
            conditions="Its usual rate is 1/L, which is s = 1. Above that it is also unstable earlier.",
        ),
    ]


def _calm_from(products: np.ndarray, calmer: np.ndarray) -> float:
    """The least s from which on every larger one is calmer."""
    loud = np.flatnonzero(~calmer)
    return float(products[min(loud[-1] + 1, len(products) - 1)])


def _speed_claims(dataset: xarray.Dataset) -> list[Claim]:
    flat = dataset.flat_rate / dataset.flat_rate.sel(beta=0.0)
    gains = flat.sel(form="heavy_ball", beta=[0.5, 0.9]) * (1 - flat.beta)
    averaged = flat.sel(form="averaged", beta=[0.5, 0.9]).values
    needed = dataset.steps_needed.sel(optimizer="gradient_descent") / dataset.steps_needed.sel(optimizer="momentum")
    edge = dataset.threshold.sel(form="averaged") / dataset.threshold.sel(form="averaged", beta=0.0)
    return [
        Claim(
            "flat_direction",
            "In a flat direction the heavy ball is 1/(1 - b) times as fast as descent at the same rate, to 5 %.",
            worst_ratio(gains.values),
            0.95,
            1.05,
            unit="of 1/(1 - b), beta 0.5 and 0.9",
            conditions=f"At s = {dataset.attrs['flat_product']:g}, far below (1 - sqrt(b))^2.",
        ),
        Claim(
            "averaged_is_faster",
            "An average of the gradients in place of the gradient speeds up the flat direction (by 10 % or more).",
            worst_ratio(averaged),
            low=1.1,
            unit="times the rate of descent",
            conditions="Not at the same learning rate, where it changes nothing: it only allows larger ones.",
        ),
        Claim(
            "averaged_allows_larger_rates",
            "The averaged form is stable up to (1 + b)/(1 - b) times the largest rate of descent, to 1 %.",
            worst_ratio((edge * (1 - edge.beta) / (1 + edge.beta)).values),
            0.99,
            1.01,
            unit="of (1 + b)/(1 - b), worst beta",
        ),
        Claim(
            "acceleration",
            "In a valley of condition 1,000 momentum needs at least ten times fewer steps, both at their best rates.",
            needed.item(),
            low=10.0,
            unit="times fewer steps to a millionth of the distance",
            conditions=f"{math.sqrt(dataset.attrs['condition']):.0f}, the root of the condition, in the limit.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """Factors per step by theory and measured, the paths of one steep direction, and who overshoots.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (rates, paths, over) = plots.panels(1, 3, size=(5.0, 4.15))
    looks = dict(zip(FORMS, ("momentum", "averaged_momentum", "nesterov"), strict=True))
    labels = {"heavy_ball": "heavy ball", "averaged": "averaged", "nesterov": "Nesterov"}
    products = dataset["product"].values
    rates.plot(products, np.abs(1 - products), color="0.5", label="descent")
    for form in FORMS:
        look = plots.style_of(looks[form])
        theory = [predicted_radius(form, 0.9, s) for s in products]
        dash = ":" if form == "averaged" else look.linestyle  # it lies on the heavy ball
        rates.plot(products, theory, color=look.color, linestyle=dash, label=labels[form], linewidth=2)
        measured = dataset.radius.sel(form=form, beta=0.9)
        rates.plot(products[::3], measured[::3], look.marker, color=look.color, markersize=4)
        if form != "nesterov":
            paths.plot(dataset.path.sel(form=form, beta=0.9)[:41], color=look.color, label=labels[form])
        if form != "averaged":
            swing = dataset.overshoot.sel(form=form, beta=0.9)
            beyond = products[swing.values > 2]
            if beyond.size:
                over.axvspan(beyond[0], products[-1], color=look.color, alpha=0.15, label=f"{labels[form]}: above 2")
            over.plot(products, swing.where(swing <= 2), color=look.color, linestyle=look.linestyle, label=labels[form])
    rates.axhline(math.sqrt(0.9), color="0.5", linewidth=0.8, linestyle=":")
    rates.set(xlabel="s = learning rate × curvature", ylabel="factor per step", ylim=(0, None))
    plots.legend_below(rates)
    plots.set_title(rates, "Momentum helps where |1 − s| > √β", "β = 0.9; lines: theory, marks: measured")
    plots.describe(rates, "Measured factors per step lie on the theory; momentum is below descent only at both ends.")
    plain = (1 - dataset.attrs["drawn_product"]) ** np.arange(41)
    paths.plot(plain, color="0.5", linewidth=1.0, zorder=1, label="descent")
    paths.set(xlabel="step", ylabel="distance along the steep direction", ylim=(-1.1, 1.1))
    plots.legend_below(paths)
    plots.set_title(paths, "Even at s = 1.9 momentum swings longer", "β = 0.9, |1 − s| = 0.9 < √β = 0.949")
    plots.describe(paths, "Descent has died out after 40 steps; the averaged form swings slowly, the heavy ball fast.")
    over.axvline(1, color="0.5", linewidth=0.8, linestyle=":")
    over.set(xlabel="s = learning rate × curvature", ylabel="largest overshoot / first distance", ylim=(0, None))
    plots.legend_below(over)
    plots.set_title(over, "Nesterov overshoots less below s = 1", "β = 0.9")
    plots.describe(over, "Nesterov's form overshoots less than the heavy ball up to s = 1, and more after.")
    return drawn
