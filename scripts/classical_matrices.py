"""The classical symmetric test matrices, by formula, and their exact inertia.

Where a classical matrix is not symmetric its symmetric part (A + A')/2 or A'A is taken, as its name here says. The
inertia is of the numbers as they are stored, by elimination in rational arithmetic (Sylvester's law): no rounding.

Source: Higham, The Test Matrix Toolbox for MATLAB, 1995; Gregory and Karney, 1969.
"""

from fractions import Fraction
from math import comb

import numpy as np


def grid(n):
    return np.meshgrid(np.arange(1.0, n + 1), np.arange(1.0, n + 1), indexing="ij")


def tridiagonal(diagonal, beside):
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


def symmetric_part(a):
    return (a + a.T) / 2


def hadamard(n):
    size = 1 << (n - 1).bit_length()
    h = np.ones((1, 1))
    while len(h) < size:
        h = np.block([[h, h], [h, -h]])
    return symmetric_part(h[:n, :n])


def invhilbert(n):
    return np.array(
        [
            [
                float(
                    (-1) ** (i + j)
                    * (i + j - 1)
                    * comb(n + i - 1, n - j)
                    * comb(n + j - 1, n - i)
                    * comb(i + j - 2, i - 1) ** 2
                )
                for j in range(1, n + 1)
            ]
            for i in range(1, n + 1)
        ]
    )


def moler(n, alpha=-1.0):
    lower = np.eye(n) + alpha * np.tril(np.ones((n, n)), -1)
    return lower @ lower.T


def rosser(n):
    a = np.array(
        [
            [611, 196, -192, 407, -8, -52, -49, 29],
            [196, 899, 113, -192, -71, -43, -8, -44],
            [-192, 113, 899, 196, 61, 49, 8, 52],
            [407, -192, 196, 611, 8, 44, 59, -23],
            [-8, -71, 61, 8, 411, -599, 208, 208],
            [-52, -43, 49, 44, -599, 411, 208, 208],
            [-49, -8, 8, 59, 208, 208, 99, -911],
            [29, -44, 52, -23, 208, 208, -911, 99],
        ],
        float,
    )
    return a[:n, :n]


def frank(n):
    i, j = grid(n)
    return np.where(j >= i - 1, n + 1 - np.maximum(i, j), 0)


def dramadah(n):
    """Toeplitz of 0 and 1 with large entries in its inverse."""
    i, j = grid(n)
    return np.isin(j - i, [0, 1, 3]) * 1.0 + ((i - j == 1) & (i > 1)) * 1.0


def grcar(n, k=3):
    i, j = grid(n)
    return np.where((j >= i) & (j <= i + k), 1.0, 0) - (i - j == 1)


def fiedler_companion(n):
    """Companion matrix of prod (x - k)."""
    coefficients = np.poly(np.arange(1.0, n + 1))
    return np.vstack([-coefficients[1:], np.eye(n)[:-1]])


def circulant(first):
    n = len(first)
    return np.array([[first[(j - i) % n] for j in range(n)] for i in range(n)])


def poisson(n):
    one = tridiagonal(np.full(n, 2.0), np.full(n - 1, -1.0))
    return np.kron(np.eye(2), one) + np.kron([[2.0, -1], [-1, 2]], np.eye(n))


def laplacian_of_path(n):
    return np.diag(np.r_[1.0, np.full(n - 2, 2.0), 1.0][:n]) - np.diag(np.ones(n - 1), 1) - np.diag(np.ones(n - 1), -1)


def wilkinson(n):
    return tridiagonal(np.abs(np.arange(n) - (n - 1) / 2), np.ones(n - 1))


def clement(n):
    k = np.arange(1.0, n)
    return tridiagonal(np.zeros(n), np.sqrt(k * (n - k)))


def legendre(n):
    k = np.arange(1.0, n)
    return tridiagonal(np.zeros(n), k / np.sqrt(4 * k**2 - 1))


def house_of(a, seed=0):
    """A random reflection of a matrix: full, with the same eigenvalues up to rounding."""
    v = np.random.default_rng(seed).standard_normal(len(a))
    h = np.eye(len(a)) - 2 * np.outer(v, v) / (v @ v)
    return symmetric_part(h @ a @ h)


def entries(formula):
    return lambda n: np.asarray(formula(*grid(n), n), float) * np.ones((n, n))


MATRICES = {
    "hilbert": entries(lambda i, j, n: 1 / (i + j - 1)),
    "minus hilbert": entries(lambda i, j, n: -1 / (i + j - 1)),
    "invhilbert": invhilbert,
    "ris": entries(lambda i, j, n: 0.5 / (n - i - j + 1.5)),
    "parter, symmetric part": lambda n: symmetric_part(entries(lambda i, j, n: 1 / (i - j + 0.5))(n)),
    "cauchy": entries(lambda i, j, n: 1 / (i + j)),
    "pei": lambda n: np.eye(n) + 1,
    "pei, singular": lambda n: np.ones((n, n)),
    "pei, indefinite": lambda n: np.ones((n, n)) - np.eye(n),
    "pascal": lambda n: np.array([[float(comb(i + j, i)) for j in range(n)] for i in range(n)]),
    "pascal minus one in the corner": lambda n: MATRICES["pascal"](n) - np.outer(np.eye(n)[-1], np.eye(n)[-1]),
    "hadamard, leading part": hadamard,
    "lehmer": entries(lambda i, j, n: np.minimum(i, j) / np.maximum(i, j)),
    "minij": entries(lambda i, j, n: np.minimum(i, j)),
    "maxij": entries(lambda i, j, n: np.maximum(i, j)),
    "inverse of minij": lambda n: tridiagonal(np.r_[np.full(n - 1, 2.0), 1.0], np.full(n - 1, -1.0)),
    "moler": moler,
    "moler, alpha 1/2": lambda n: moler(n, 0.5),
    "kms": entries(lambda i, j, n: 0.5 ** np.abs(i - j)),
    "kms, 0.99": entries(lambda i, j, n: 0.99 ** np.abs(i - j)),
    "kms, indefinite": entries(lambda i, j, n: 1.5 ** np.abs(i - j)),
    "fiedler": entries(lambda i, j, n: np.abs(i - j)),
    "minus fiedler": entries(lambda i, j, n: -np.abs(i - j)),
    "tridiag": lambda n: tridiagonal(np.full(n, 2.0), np.full(n - 1, -1.0)),
    "minus tridiag": lambda n: -tridiagonal(np.full(n, 2.0), np.full(n - 1, -1.0)),
    "tridiag, zero diagonal": lambda n: tridiagonal(np.zeros(n), np.ones(n - 1)),
    "tridiag squared": lambda n: np.linalg.matrix_power(MATRICES["tridiag"](n), 2),
    "tridiag to the fourth": lambda n: np.linalg.matrix_power(MATRICES["tridiag"](n), 4),
    "beam, fourth difference": lambda n: MATRICES["laplacian of a path"](n) @ MATRICES["laplacian of a path"](n),
    "laplacian of a path": laplacian_of_path,
    "laplacian of a cycle": lambda n: circulant(np.r_[2.0, -1, np.zeros(n - 3), -1]),
    "laplacian of a star": lambda n: (
        np.diag(np.r_[n - 1.0, np.ones(n - 1)])
        - np.pad(np.ones((1, n - 1)), ((0, n - 1), (1, 0)))
        - np.pad(np.ones((n - 1, 1)), ((1, 0), (0, n - 1)))
    ),
    "adjacency of a cycle": lambda n: circulant(np.r_[0.0, 1, np.zeros(n - 3), 1]),
    "poisson on a ladder": lambda n: poisson(n // 2),
    "wilkinson": wilkinson,
    "wilkinson minus": lambda n: tridiagonal(np.arange(n) - (n - 1) / 2, np.ones(n - 1)),
    "rosser, leading part": rosser,
    "clement": clement,
    "jacobi matrix of legendre": legendre,
    "jacobi matrix of hermite": lambda n: tridiagonal(np.zeros(n), np.sqrt(np.arange(1.0, n) / 2)),
    "jacobi matrix of laguerre": lambda n: tridiagonal(2 * np.arange(n) + 1.0, np.arange(1.0, n)),
    "frank, symmetric part": lambda n: symmetric_part(frank(n)),
    "frank, A'A": lambda n: frank(n).T @ frank(n),
    "dramadah, symmetric part": lambda n: symmetric_part(dramadah(n)),
    "dramadah, A'A": lambda n: dramadah(n).T @ dramadah(n),
    "grcar, symmetric part": lambda n: symmetric_part(grcar(n)),
    "grcar, A'A": lambda n: grcar(n).T @ grcar(n),
    "companion, symmetric part": lambda n: symmetric_part(fiedler_companion(n)),
    "companion, A'A": lambda n: fiedler_companion(n).T @ fiedler_companion(n),
    "redheffer, symmetric part": lambda n: symmetric_part(entries(lambda i, j, n: (j % i == 0) | (j == 1))(n)),
    "gcd": entries(lambda i, j, n: np.gcd(i.astype(int), j.astype(int))),
    "lcm": entries(lambda i, j, n: np.lcm(i.astype(int), j.astype(int))),
    "chow, symmetric part": lambda n: symmetric_part(entries(lambda i, j, n: j <= i + 1)(n)),
    "forsythe, symmetric part": lambda n: symmetric_part(np.eye(n, k=1) + 1e-8 * np.eye(n, k=1 - n)),
    "jordan block, symmetric part": lambda n: symmetric_part(np.eye(n) + np.eye(n, k=1)),
    "kahan, A'A": lambda n: (lambda r: r.T @ r)(
        np.triu(np.eye(n) - 0.3 * np.triu(np.ones((n, n)), 1)) * (0.95 ** np.arange(n))[:, None]
    ),
    "lotkin, symmetric part": lambda n: symmetric_part(
        entries(lambda i, j, n: np.where(i == 1, 1, 1 / (i + j - 1)))(n)
    ),
    "vandermonde, A'A": lambda n: (lambda v: v.T @ v)(np.vander(np.linspace(0, 1, n))),
    "triw, A'A": lambda n: (lambda u: u.T @ u)(np.eye(n) - np.triu(np.ones((n, n)), 1)),
    "orthog, sines": entries(lambda i, j, n: np.sqrt(2 / (n + 1)) * np.sin(i * j * np.pi / (n + 1))),
    "exchange": lambda n: np.fliplr(np.eye(n)),
    "ones in the border": lambda n: np.eye(n) * 0 + np.pad(np.zeros((n - 2, n - 2)), 1, constant_values=1),
    "toeplitz prolate": lambda n: np.sinc(0.5 * (np.arange(n)[:, None] - np.arange(n))) * 0.5,
    "toeplitz of squares": entries(lambda i, j, n: (i - j) ** 2),
    "gaussian kernel": entries(lambda i, j, n: np.exp(-((i - j) ** 2) / 50)),
    "hankel of ones and zeros": entries(lambda i, j, n: (i + j) % 2),
    "diagonal, one tiny negative": lambda n: np.diag(np.r_[np.ones(n - 1), -1e-3]),
    "reflected, one tiny negative": lambda n: house_of(np.diag(np.r_[np.ones(n - 1), -1e-3])),
    "reflected, one zero": lambda n: house_of(np.diag(np.r_[np.arange(1.0, n), 0])),
    "reflected, graded": lambda n: house_of(np.diag(10.0 ** -np.arange(n))),
    "reflected, graded with signs": lambda n: house_of(np.diag(10.0 ** -np.arange(n) * (-1.0) ** np.arange(n))),
}


def inertia(matrix):
    """The numbers of positive, negative and zero eigenvalues of the stored numbers, exactly.

    Symmetric elimination by rational numbers; where the whole diagonal is zero, by a block of two, which has one
    eigenvalue of each sign.
    """
    a = [[Fraction(float(entry)) for entry in row] for row in matrix]
    positive = negative = 0
    while a:
        n = len(a)
        k = next((k for k in range(n) if a[k][k]), None)
        if k is not None:
            pivot, rest = a[k][k], [i for i in range(n) if i != k]
            positive, negative = positive + (pivot > 0), negative + (pivot < 0)
            a = [[a[i][j] - a[i][k] * a[k][j] / pivot for j in rest] for i in rest]
            continue
        pair = next(((i, j) for i in range(n) for j in range(i) if a[i][j]), None)
        if pair is None:
            break
        (i, j), coupling = pair, a[pair[0]][pair[1]]
        rest = [k for k in range(n) if k not in pair]
        positive, negative = positive + 1, negative + 1
        a = [[a[k][m] - (a[k][i] * a[j][m] + a[k][j] * a[i][m]) / coupling for m in rest] for k in rest]
    return positive, negative, len(matrix) - positive - negative


def is_wrong(claim, signs):
    """Whether a verdict on x'Ax/2 at 0 claims what the inertia of A refutes."""
    positive, negative, zero = signs
    true = {
        "minimum": not negative and not zero,
        "maximum": not positive and not zero,
        "saddle": bool(positive and negative),
    }
    return claim == "not_critical" or not true.get(claim, True)


def judged(classify, precisions, sizes=(4, 9, 16)):
    """Rows (matrix, precision, size and signs, verdict, whether it is wrong), one compiled program for a size."""
    import jax
    import jax.numpy as jnp

    def one(matrix):
        quadratic = lambda x: jnp.vdot(x, jnp.matmul(matrix, x, precision="highest"), precision="highest") / 2
        return classify(quadratic, jnp.zeros(len(matrix), matrix.dtype))

    rows = []
    for precision, wide in precisions.items():
        with jax.enable_x64(wide):
            made = [(name, np.asarray(formula(n), precision)) for name, formula in MATRICES.items() for n in sizes]
            for size in sorted({len(matrix) for _, matrix in made}):
                names, stack = zip(*[(name, matrix) for name, matrix in made if len(matrix) == size], strict=True)
                kinds = jax.jit(jax.vmap(one))(jnp.asarray(np.stack(stack))).kind_name
                for name, matrix, kind in zip(names, stack, kinds, strict=True):
                    signs = inertia(matrix)
                    rows.append((name, precision, f"n={size}, signs {signs}", str(kind), is_wrong(str(kind), signs)))
    return rows
