"""The claims of the study of convexity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...curvature import Kind
from .._machinery.claim import Claim
from .._machinery.intervals import bootstrap, exact_interval
from .measure import DIRECTIONS

if TYPE_CHECKING:
    import xarray

# The lecture's two (logistic regression is softmax regression with two classes), and what is no model.
NOT_COUNTED = ("linear regression", "logistic regression", "softmax regression", "exp", "|x - 1|")


def models(dataset: xarray.Dataset) -> list[Claim]:
    """Which models the tests refute."""
    convex = dataset.convex.values == 1
    refuted, smallest = dataset.refuted.values, dataset.smallest.values
    names = dataset.model.values
    smooth = np.isfinite(smallest)
    by_hessian = smallest < -1
    share = {str(name): float(count) / dataset.pairs for name, count in zip(names, refuted, strict=True)}
    others = [str(name) for name in names[convex & (refuted == 0)] if name not in NOT_COUNTED]
    return [
        Claim(
            "convex_by_chords",
            "No chord of linear, logistic or softmax regression lies below its loss.",
            int(refuted[convex].sum()), 0, 0, unit=f"chords of {dataset.pairs * convex.sum()} refute",
            conditions="Sampling can refute and never proves; the proofs are on paper.",
        ),
        Claim(
            "convex_by_hessians",
            "No Hessian of these has an eigenvalue below rounding.",
            float(-smallest[convex & smooth].min()), high=1.0, unit="zero levels below zero, worst",
        ),
        Claim(
            "tests_agree",
            "A twice differentiable function is convex iff its Hessian is positive semidefinite: the tests agree.",
            int(np.sum((refuted[smooth] > 0) != by_hessian[smooth])), 0, 0, unit=f"of {smooth.sum()} models",
        ),
        Claim(
            "network_not_convex",
            "A network with one hidden layer is not convex.",
            share["network (tanh)"], low=1 / dataset.pairs, unit="of the chords refute it",
        ),
        Claim(
            "not_convex_by_activation",
            "It is the activation that makes a network not convex: without it the loss is convex.",
            share["linear network"], 0, 0, unit="of the chords of a network without activation refute it",
            conditions="True of one layer. A product of layers is not convex in its factors, whatever stands between.",
        ),
        Claim(
            "one_optimum_is_not_convex",
            "A function can have one optimum and not be convex: x^2/(1 + x^2).",
            share["x^2/(1 + x^2)"], low=1 / dataset.pairs, unit="of the chords refute it",
        ),
        Claim(
            "others_are_convex",
            "Linear and softmax regression are not the only convex models: no chord refutes a support vector machine.",
            len(others), low=1, unit=f"other convex losses here: {', '.join(others)}",
            conditions="By proof the hinge loss is convex. So are ridge, lasso and Poisson regression.",
        ),
    ]  # fmt: skip


def minima(dataset: xarray.Dataset) -> list[Claim]:
    """Minima that are many, one, or none."""
    norm, loss = dataset.softmax_norm.values, dataset.softmax_loss.values
    half = len(loss) // 2
    return [
        Claim(
            "convex_has_a_minimum",
            "Descent on a convex function finds the global optimum.",
            float(norm[-1] / norm[half]), high=1.01, unit="times as far out after twice the steps",
            conditions="Only if there is one. Softmax regression of separable digits (training accuracy "
            f"{float(dataset.softmax_accuracy):.0%}) has none: its loss falls towards 0 and never gets there.",
        ),
        Claim(
            "exp_drifts",
            "On exp, which has no minimum, descent drifts as -log(lr k).",
            -float(dataset.exp_end) / np.log(len(loss) - 1), 0.95, 1.05, unit="of log(lr k)",
        ),
        Claim(
            "separable_drifts",
            "On separable digits softmax regression has no minimum: its loss keeps falling, by half in twice the "
            "steps.",
            float(loss[half] / loss[-1]), 1.5, 2.2, unit="times lower after twice the steps",
        ),
        Claim(
            "ridge_has_a_minimum",
            "With a ridge it has a minimum, by the verdict at the end point.",
            int(dataset.ridge_kind), int(Kind.MINIMUM), int(Kind.MINIMUM), unit="(code of the verdict; 0 is a minimum)",
        ),
        Claim(
            "strict_is_unique",
            "A strictly convex loss has one global minimum: regression ends at one point from every start.",
            float(dataset.unique_spread), high=1e-6, unit="between the ends of eight starts",
            conditions=f"With one column doubled it is convex, not strictly: the ends differ by "
            f"{float(dataset.doubled_spread):.2g}, their losses by {float(dataset.doubled_loss_spread):.0e}.",
        ),
        Claim(
            "flat_bottom",
            "max(|x - 1|, 0) has all of [-1, 1] as its minima.",
            float(dataset.kink_width), 1.99, 2.01, unit="wide",
            conditions="It equals |x - 1| and has one minimum, at 1. Meant is max(|x| - 1, 0); see flat_bottom_meant.",
        ),
        Claim(
            "flat_bottom_meant",
            "max(|x| - 1, 0) is convex and has all of [-1, 1] as its minima.",
            float(dataset.flat_width), 1.99, 2.01, unit="wide",
        ),
    ]  # fmt: skip


def speed(dataset: xarray.Dataset) -> list[Claim]:
    """What convexity promises of descent, and what it does not."""
    raw, standardised = float(dataset.condition_raw), float(dataset.condition_standardised)
    return [
        Claim(
            "bound",
            "On a convex function descent is within |x_0 - x*|^2/(2 lr k) of the optimum, not too many steps.",
            float(dataset.bound_ratio), high=1.0, unit="of the bound, worst start and step",
            conditions="At rates up to 1/L, and where there is an optimum.",
        ),
        Claim(
            "convex_need_not_be_easy",
            "Convex does not mean easy: softmax regression on raw pixels has a condition number over 100.",
            raw, low=100.0, unit="condition number of its Hessian at zero, null directions apart",
        ),
        Claim(
            "standardising_helps",
            "Standardising the pixels makes it rounder.",
            raw / standardised, low=2.0, unit="times as large on raw pixels",
            conditions=f"{raw:.3g} on raw and {standardised:.3g} on standardised pixels.",
        ),
    ]  # fmt: skip


def sets_and_networks(dataset: xarray.Dataset) -> list[Claim]:
    """Convex sets, and how much convexity a network has."""
    disc, square, intersection, union = dataset.outside.values.tolist()
    negative = dataset.negative.values
    fall = negative[:, 0] - negative[:, -1]
    minima = dataset.ended.values == Kind.MINIMUM
    minimal = int(minima.sum())
    around = (dataset.convex_around.values[minima] == 1).sum(0).tolist()
    by_distance = ", ".join(f"{n} at {r:g}" for n, r in zip(around, dataset.distance.values, strict=True))
    return [
        Claim(
            "intersections",
            "The intersection of convex sets is convex.",
            disc + square + intersection, 0, 0, unit="midpoints outside of a disc, a square and their intersection",
        ),
        Claim(
            "unions",
            "The union of convex sets need not be.",
            union, low=1, unit="midpoints outside of their union",
        ),
        Claim(
            "permuted_units",
            "Between a trained network and the same with its units permuted the loss rises: no convex function does.",
            float(dataset.hump.min()), low=1.001, unit="times the loss at the ends, flattest chord",
        ),
        Claim(
            "more_convex_in_training",
            "Training leads to where a network is more convex: the share of negative eigenvalues falls.",
            float(fall.mean()), low=0.0, interval=bootstrap(np.mean, fall),
            unit="fall of the share",
            conditions=f"95 % over seeds; from {negative[:, 0].mean():.0%} to {negative[:, -1].mean():.0%}.",
        ),
        Claim(
            "convex_near_minima",
            "Near its minima a network often shows some convexity: no Hessian within a hundredth of the length of its "
            "parameters has a negative eigenvalue.",
            around[0] / len(minima), low=0.5, interval=exact_interval(around[0], len(minima)), unit="of the networks",
            conditions=f"With a ridge {minimal} of {len(minima)} end at a minimum by verdict. Convex around it are "
            f"{by_distance} lengths of the parameters, in {DIRECTIONS} directions each.",
        ),
    ]  # fmt: skip
