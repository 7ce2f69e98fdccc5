"""First-order effects of sampled points: what each hyperparameter explains by itself, from a fitted surrogate."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..spec.arguments import is_number
from ..spec.space import is_absent
from .intervals import CONFIDENCE

SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # how many functions of one hyperparameter a surrogate may have
FEW_LEVELS = 8  # up to here each level of a number has an effect of its own
PAIR_SIDE, PAIR_COLUMNS = 4, 1000  # functions of either one in the products of two, and columns of all such products
DEPENDENT, DOUBTFUL = 0.003, 0.05  # below these chances two hyperparameters are, or may be, dependent

Columns = Float[np.ndarray, "n k"]


class Effect(NamedTuple):
    """A share of the variance, and what it may be."""

    share: float
    low: float
    high: float


class Term(NamedTuple):
    """Functions of one hyperparameter, or products of functions of two, at the points.

    Attributes:
        axes: the numbers of the hyperparameters.
        columns: the functions, those that vary least first; with mean 0, and of one hyperparameter orthonormal.
        sizes: how many of the first a surrogate may have.
    """

    axes: tuple[int, ...]
    columns: Columns
    sizes: tuple[int, ...]


def first_order(points: Sequence[np.ndarray], values: Float[np.ndarray, " n"]) -> list[Effect]:
    """The share Var(E[f | x_a]) / Var(f) of every hyperparameter a, from n points; `importance` explains how.

    Arguments:
        points: one array of n values per hyperparameter: numbers, NaN where it is absent, or texts.
        values: f at the points.
    """
    values = values - values.mean()
    mains = [_functions_of(number, column) for number, column in enumerate(points)]
    if np.ptp(values) == 0:
        return [Effect(0.0, 0.0, 0.0)] * len(mains)
    dependence, clusters = _dependence(mains), _clusters(points)
    chosen = functools.cache(functools.partial(_chosen, (*mains, *_products(mains)), values))
    effects = []
    for main, chances in zip(mains, dependence, strict=True):
        if main.columns.shape[1] > len(values) / 2:
            effects.append(Effect(0.0, 0.0, 1.0))  # almost every point has a value of its own that has no order
            continue
        terms = chosen(frozenset(np.flatnonzero(chances > DEPENDENT).tolist()))
        effect = _effect(main, terms, values, clusters)
        clear = {axes: columns for axes, columns in terms.items() if (chances[list(axes)] > DOUBTFUL).all()}
        if len(clear) < len(terms):
            other = _effect(main, clear, values, clusters)
            effect = Effect(effect.share, min(effect.low, other.low), max(effect.high, other.high))
        effects.append(effect)
    return effects


def _effect(main: Term, chosen: dict[tuple[int, ...], Columns], values: np.ndarray, clusters: np.ndarray) -> Effect:
    """Of one hyperparameter, beside the chosen terms of the others; its interval covers a richer surrogate too."""
    if not main.sizes:
        return Effect(0.0, 0.0, 0.0)  # the same at all points
    n = len(values)
    own = chosen.get(main.axes, main.columns[:, : main.sizes[0]])
    others = [columns for axes, columns in chosen.items() if len(axes) == 1 and axes != main.axes]
    pairs = [columns for axes, columns in chosen.items() if len(axes) == 2]
    fit = _fitted(own, others, pairs, values, clusters)
    low, high = fit.share - fit.margin, fit.uncorrected + fit.margin + fit.curved
    if len(main.sizes) > 1:
        order = np.argsort(main.columns[:, 0], kind="stable")
        common = max(0.0, float(fit.error[order][1:] @ fit.error[order][:-1])) / float(values @ values)
        blurred = 12 / n**2  # a rank stands for a value that it gives to 1/n, relative to the variance of the ranks
        low, high = low - blurred, high + blurred + common
        rich = max(size for size in main.sizes if size <= max(main.sizes[0], min(n / 4, max(8, np.sqrt(n)))))
        if rich > own.shape[1]:
            other = _fitted(main.columns[:, :rich], others, pairs, values, clusters)
            low, high = min(low, other.share - other.margin), max(high, other.share + other.margin)
    return Effect(*(float(np.clip(value, 0, 1)) for value in (fit.share, low, high)))


class Fit(NamedTuple):
    """What one surrogate shows about one hyperparameter.

    Attributes:
        share: its share of the variance, corrected for what chance adds.
        uncorrected: its share if the points were so even that chance added nothing.
        margin: half the width of the interval of the share.
        curved: by how much more it reaches up, the share being a square.
        error: what the surrogate does not explain at the points.
    """

    share: float
    uncorrected: float
    margin: float
    curved: float
    error: np.ndarray


def _fitted(own: Columns, others: list[Columns], pairs: list[Columns], values: np.ndarray, clusters: np.ndarray) -> Fit:
    """Least squares on all columns, and the share of the first of them."""
    from scipy.stats import t

    n, k = own.shape
    additive = np.concatenate([own, *others], axis=1)
    columns = np.concatenate([additive, *pairs], axis=1)
    # A pseudoinverse, as columns may depend on each other: products of functions on few points, for example.
    weights = np.linalg.pinv(columns.T @ columns, rcond=1e-10, hermitian=True) @ columns.T
    coefficients = weights @ values
    error = values - columns @ coefficients
    leverage = (columns * weights.T).sum(axis=1)
    # The residual at a point of leverage h is too small by sqrt(1 - h) (HC2). The clip is for points that the fit
    # passes through, which have no residual left to correct.
    chance = _summed(weights[:k].T * (error / np.sqrt(np.clip(1 - leverage, 0.1, 1)))[:, None], clusters)
    covariance = chance.T @ chance  # of the first k coefficients; the errors may vary more at some points than others
    effect = own @ coefficients[:k]
    rest = values - effect
    raw, unexplained = float(effect @ effect) / n, float(rest @ rest) / n
    total, explained = raw + unexplained, raw - float(np.trace(covariance))
    share, signal = explained / total, max(explained, 0.0)
    # The fitted effect is larger than the true one by what chance adds; the variance is that of an effect of the
    # corrected size.
    shrunk = effect * np.sqrt(signal / raw) if raw > 0 else effect
    noise = values - additive @ coefficients[: additive.shape[1]]
    influence = (1 - share) * (shrunk**2 - signal + 2 * shrunk * noise) - share * (rest**2 - unexplained)
    variance = float((_summed(influence, clusters) ** 2).sum()) / n / max(1, n - 1 - additive.shape[1])
    variance += 2 * float((covariance**2).sum())
    quantile = t.isf((1 - CONFIDENCE) / 2, max(1, min(clusters.max() - k, n - 1 - columns.shape[1])))
    curved = quantile**2 * float(np.linalg.norm(covariance, 2))
    return Fit(share, raw / total, float(quantile * np.sqrt(variance)) / total, curved / total, error)


def _summed(rows: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The sum of the rows of each cluster."""
    sums = np.zeros((clusters.max() + 1, *rows.shape[1:]))
    np.add.at(sums, clusters, rows)
    return sums


def _functions_of(number: int, column: np.ndarray) -> Term:
    """All functions of a few levels, or smooth functions of the rank of many numbers; and an indicator of absence.

    The rank makes the result the same on a linear and a logarithmic scale. Cosines beside a line and a parabola
    converge fast for smooth functions and, unlike polynomials of high degree, give no point at an end much weight.
    """
    n = len(column)
    absent = np.array([is_absent(value) for value in column.tolist()])
    numbers = all(map(is_number, column[~absent].tolist()))
    levels, codes, counts = np.unique(
        column[~absent].astype(float if numbers else str), return_inverse=True, return_counts=True
    )
    if numbers:
        rank = (np.cumsum(counts) - counts / 2) / counts.sum() - 0.5  # the middle one of equal values
        if len(levels) > FEW_LEVELS:
            waves = min(int(2 * np.sqrt(n)), SIZES[-1], len(levels) - 1) - 2
            functions = [rank, rank**2, *(np.cos(np.pi * k * (rank + 0.5)) for k in range(1, waves + 1))]
        else:
            functions = [rank**k for k in range(1, len(levels))]
    else:
        functions = list(np.eye(len(levels))[1:])
    columns = np.zeros((n, 1 + len(functions)))
    columns[:, 0] = 1
    if functions:
        columns[~absent, 1:] = np.stack(functions, axis=1)[codes]
    if absent.any():
        # Behind the first function, so that the smallest surrogate, of two functions, has both.
        columns = np.insert(columns, min(2, columns.shape[1]), absent, axis=1)
    columns = np.sqrt(n) * np.linalg.qr(columns).Q[:, 1:]
    most = columns.shape[1]
    stepwise = SIZES if numbers and len(levels) > FEW_LEVELS else ()
    return Term((number,), columns, (*(size for size in stepwise if size < most), most) if most else ())


def _products(mains: Sequence[Term]) -> list[Term]:
    """Products of the first functions of every two hyperparameters."""
    pairs = list(itertools.combinations(mains, 2))
    side = min(PAIR_SIDE, max(1, int(np.sqrt(PAIR_COLUMNS / max(1, len(pairs))))))
    terms = []
    for a, b in pairs:
        sides = [min(side, term.columns.shape[1]) for term in (a, b)]
        order = sorted(np.ndindex(*sides), key=lambda degrees: (max(degrees), degrees))
        if order:
            columns = np.stack([a.columns[:, i] * b.columns[:, j] for i, j in order], axis=1)
            sizes = tuple(sum(max(degrees) < size for degrees in order) for size in range(1, max(sides) + 1))
            terms.append(Term((*a.axes, *b.axes), columns - columns.mean(axis=0), sizes))
    return terms


def _dependence(mains: Sequence[Term]) -> Float[np.ndarray, "axes axes"]:
    """For every two hyperparameters with which probability independent points have first functions as correlated."""
    from scipy.stats import chi2

    chances = np.ones((len(mains), len(mains)))
    for a, b in itertools.combinations([term for term in mains if term.sizes], 2):
        first, second = (term.columns[:, : term.sizes[0]] for term in (a, b))
        squares = (first.T @ second) ** 2 / len(first)
        tests = [(squares.sum(), squares.size)]
        if len(a.sizes) > 1 and len(b.sizes) > 1:
            tests.append((squares[0, 0], 1))  # of the ranks alone, which sees more
        chance = len(tests) * min(chi2.sf(*test) for test in tests)
        chances[a.axes[0], b.axes[0]] = chances[b.axes[0], a.axes[0]] = chance
    return chances


def _clusters(points: Sequence[np.ndarray]) -> Int[np.ndarray, " n"]:
    """Numbers of what was drawn together: of a sample times a grid all points with the same sampled values."""
    n = len(points[0])
    codes = np.stack([np.unique(column.astype(str), return_inverse=True)[1] for column in points])
    # Values drawn from a distribution hardly repeat; those of a grid do.
    many = codes.max(axis=1) + 1 > np.sqrt(n)
    drawn, crossed = (np.unique(part, axis=1, return_inverse=True)[1] for part in (codes[many], codes[~many]))
    product = many.any() and (drawn.max() + 1) * (crossed.max() + 1) == n == np.unique(codes, axis=1).shape[1]
    return drawn if product else np.arange(n)


def _chosen(terms: Sequence[Term], values: np.ndarray, allowed: frozenset[int]) -> dict[tuple[int, ...], Columns]:
    """Forward selection: the terms over `allowed` and their sizes that lower the extended BIC most, one at a time.

    At most n/3 functions are chosen. All happens in the Gram matrix, from which a chosen term is swept out.
    """
    terms = [term for term in terms if term.sizes and allowed.issuperset(term.axes)]
    n, together = len(values), np.concatenate([np.zeros((len(values), 0)), *(term.columns for term in terms)], axis=1)
    ends = np.cumsum([0, *(term.columns.shape[1] for term in terms)])
    # The ridge keeps the Cholesky factors below defined where columns depend on each other.
    gram = together.T @ together + 1e-9 * n * np.eye(ends[-1])
    moment = together.T @ values
    left = total = float(values @ values)
    sizes, used = [0] * len(terms), 0
    while left > 1e-10 * total:
        best, choice = 0.0, None
        for number, term in enumerate(terms):
            span = np.arange(ends[number] + sizes[number], ends[number + 1])
            lower = np.linalg.cholesky(gram[np.ix_(span, span)])
            explained = np.cumsum(np.linalg.solve(lower, moment[span]) ** 2)
            entry = 0.0 if sizes[number] else 2 * np.log(len(terms))
            for size in term.sizes:
                more = size - sizes[number]
                if 0 < more <= n / 3 - used:
                    ratio = max(left - explained[more - 1], 1e-10 * total) / left
                    criterion = n * np.log(ratio) + more * np.log(n) + entry
                    if criterion < best:
                        best, choice = criterion, (number, span[:more])
        if choice is None:
            break
        number, span = choice
        sizes[number] += len(span)
        used += len(span)
        swept = np.linalg.solve(gram[np.ix_(span, span)], np.column_stack([gram[span], moment[span]]))
        left -= float(moment[span] @ swept[:, -1])
        moment = moment - gram[:, span] @ swept[:, -1]
        gram = gram - gram[:, span] @ swept[:, :-1]
    return {term.axes: term.columns[:, :size] for term, size in zip(terms, sizes, strict=True) if size}
