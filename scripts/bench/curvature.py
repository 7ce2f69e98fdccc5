"""Eigenpairs, Hessians and verdicts beside what a user would reach for instead, in one process, as ratios.

The network is 64-512-512-512-512-10 on all 1,797 digits, 826,378 parameters, at its initialisation and trained. Every
residual is computed anew, |Hv - theta v| in units of the largest eigenvalue. Peers that are not installed are skipped:
PyHessian (with torch) and matfree come from `pip install torch pyhessian matfree`.

    python scripts/bench/curvature.py [--quick]
"""

import argparse
import importlib.util
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax.experimental.sparse.linalg import lobpcg_standard
from jax.flatten_util import ravel_pytree

import jaxopt_notes as jon
from jaxopt_notes.curvature import HessianOperator, eigsh

TOP, TOLERANCE = 5, 1e-3


def seconds(run, repeats=1):
    """Median wall time, after one run to compile, and the last result."""
    result, taken = jax.block_until_ready(run()), []
    for _ in range(repeats):
        began = time.perf_counter()
        result = jax.block_until_ready(run())
        taken.append(time.perf_counter() - began)
    return statistics.median(taken), result


def ratio(slow, fast, repeats):
    """The median over alternating runs of the time of `slow` in units of that of `fast`, after one run each."""
    ratios, times = [], {slow: [], fast: []}
    for run in (slow, fast):
        jax.block_until_ready(run())
    for _ in range(repeats):
        for run, taken in times.items():
            taken.append(seconds_once(run))
        ratios.append(times[slow][-1] / times[fast][-1])
    return statistics.median(ratios), statistics.median(times[slow]), statistics.median(times[fast])


def seconds_once(run):
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began


@jax.jit
def apply(operator, vector):
    """One product with a flat vector; the operator is an argument, for closed-over parameters would be folded."""
    _, unravel = ravel_pytree(operator.like)
    return ravel_pytree(operator(unravel(vector)))[0]


def residuals(operator, values, vectors):
    """|Hv - theta v| / |H| of the rows of `vectors`, worst."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    worst = [
        float(jnp.linalg.norm(apply(operator, v) - value * v))
        for value, v in zip(values, jnp.asarray(unit), strict=True)
    ]
    return max(worst) / np.max(np.abs(values))


def flat_rows(trees):
    return np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(trees))


def show(name, values, products, taken, worst, note=""):
    listed = " ".join(f"{value:8.4f}" for value in sorted(np.asarray(values)))
    print(
        f"  {name:28s} {products!s:>9s} products {taken:8.2f} s   residual {worst:.1e}   {listed}  {note}", flush=True
    )


def by_eigsh(operator, gradient, repeats):
    """Ours, and the time of one product in gradients: alternating runs."""
    worth, _, one = ratio(lambda: eigsh(operator, TOP, tol=TOLERANCE), lambda: gradient(operator), repeats)
    alone, pairs = seconds(lambda: eigsh(operator, TOP, tol=TOLERANCE, verify=False), repeats)
    worst = residuals(operator, pairs.values, flat_rows(pairs.vectors))
    show(
        "eigsh, search",
        pairs.values,
        int(pairs.matvecs),
        alone,
        worst,
        f"{alone / one / int(pairs.matvecs):.2f} gradients each",
    )
    taken, pairs = seconds(lambda: eigsh(operator, TOP, tol=TOLERANCE), repeats)
    products = int(pairs.matvecs + pairs.verification_matvecs)
    worst = residuals(operator, pairs.values, flat_rows(pairs.vectors))
    split = f"{int(pairs.matvecs)}+{int(pairs.verification_matvecs)}"
    verified = f"{int(pairs.converged.sum())} of {TOP} verified at 99 %"
    show(
        "eigsh, search + verification",
        pairs.values,
        split,
        taken,
        worst,
        f"{worth / products:.2f} gradients each; {verified}",
    )
    return taken, alone, int(pairs.matvecs)


def by_scipy(operator):
    """ARPACK over the same compiled product."""
    size, calls = ravel_pytree(operator.like)[0].size, []

    def matvec(vector):
        calls.append(0)
        return np.asarray(apply(operator, jnp.asarray(vector.ravel(), jnp.float32)))

    matvec(np.ones(size))
    calls.clear()
    start = np.random.default_rng(0).normal(size=size).astype(np.float32)
    linear = scipy.sparse.linalg.LinearOperator((size, size), matvec=matvec, dtype=np.float32)
    began = time.perf_counter()
    values, vectors = scipy.sparse.linalg.eigsh(linear, TOP, which="LA", tol=TOLERANCE, v0=start)
    taken, products = time.perf_counter() - began, len(calls)
    show("scipy eigsh (ARPACK)", values, products, taken, residuals(operator, values, vectors.T))
    return taken, products


def by_matfree(operator, products):
    """Lanczos without restart or stopping rule, given as many products as ours took."""
    if importlib.util.find_spec("matfree") is None:
        print("  matfree: not installed, skipped")
        return None
    from matfree import decomp, eig

    _, unravel = ravel_pytree(operator.like)
    tridiagonalise = decomp.tridiag_sym(products, custom_vjp=False)
    solve = eig.eigh_partial(tridiagonalise)

    @jax.jit
    def run(operator, start):
        return solve(lambda v, operator: ravel_pytree(operator.product()(unravel(v)))[0], start, operator)

    start = jax.random.normal(jax.random.key(0), ravel_pytree(operator.like)[0].shape)
    taken, (values, vectors) = seconds(lambda: run(operator, start))
    values, vectors = np.asarray(values), np.asarray(vectors)
    if vectors.shape[0] != values.size:
        vectors = vectors.T
    best = np.argsort(values)[-TOP:]
    show("matfree Lanczos", values[best], products, taken, residuals(operator, values[best], vectors[best]))
    return taken


def by_lobpcg(operator, iterations):
    """JAX's own block solver; its stopping rule passes anything from 838,861 parameters on in float32."""
    _, unravel = ravel_pytree(operator.like)
    size = ravel_pytree(operator.like)[0].size
    calls = []

    @jax.jit
    def run(operator, start):
        product = operator.product()

        def block(columns):
            jax.debug.callback(lambda: calls.append(0))
            return jax.lax.map(lambda v: ravel_pytree(product(unravel(v)))[0], columns.T).T

        return lobpcg_standard(block, start, m=iterations)

    start = jax.random.normal(jax.random.key(0), (size, TOP))
    taken, (values, vectors, _) = seconds(lambda: run(operator, start))
    jax.effects_barrier()
    products = len(calls) // 2 * TOP
    show("lobpcg_standard", values, products, taken, residuals(operator, np.asarray(values), np.asarray(vectors).T))
    return taken


def by_pyhessian(operator, params, data):
    """Deflated power iteration in torch, with its defaults."""
    if importlib.util.find_spec("pyhessian") is None or importlib.util.find_spec("torch") is None:
        print("  PyHessian: not installed, skipped")
        return None
    import torch

    peer = importlib.import_module("pyhessian.hessian")  # the package hides it behind the class of that name

    layers = params["params"]
    modules = []
    for i in range(len(layers)):
        kernel, bias = np.array(layers[f"Dense_{i}"]["kernel"]), np.array(layers[f"Dense_{i}"]["bias"])
        linear = torch.nn.Linear(*kernel.shape)
        linear.weight.data, linear.bias.data = torch.tensor(kernel.T.copy()), torch.tensor(bias)
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    batch = torch.tensor(np.array(data.inputs)), torch.tensor(np.array(data.labels), dtype=torch.int64)
    calls, original = [], peer.hessian_vector_product
    peer.hessian_vector_product = lambda *args: calls.append(0) or original(*args)
    torch.manual_seed(0)
    try:
        solver = peer.hessian(model, torch.nn.CrossEntropyLoss(), data=batch, cuda=False)
        began = time.perf_counter()
        values, vectors = solver.eigenvalues(top_n=TOP)
        taken = time.perf_counter() - began
    finally:
        peer.hessian_vector_product = original

    def tree(tensors):
        named = {}
        for i in range(len(layers)):
            weight, bias = (np.asarray(tensor.detach()) for tensor in tensors[2 * i : 2 * i + 2])
            named[f"Dense_{i}"] = {"kernel": jnp.asarray(weight.T), "bias": jnp.asarray(bias)}
        return ravel_pytree({"params": named})[0]

    worst = residuals(operator, values, np.stack([tree(vector) for vector in vectors]))
    show("PyHessian power iteration", values, len(calls), taken, worst)
    return taken


def smallest(operator):
    """How many products the smallest eigenvalue takes, and what is verified on the way."""
    exact = float(eigsh(operator, 1, which="SA", tol=1e-3, maxiter=600).values[0])
    print(f"  smallest eigenvalue {exact:.4e}")
    for most in (20, 40, 60, 100, 150, 200):
        pairs = eigsh(operator, 1, which="SA", tol=1e-3, maxiter=most, verify=False)
        error = abs(float(pairs.values[0]) / exact - 1)
        print(
            f"    {int(pairs.matvecs):4d} products: {float(pairs.values[0]):.4e} (off by {100 * error:.1f} %), "
            f"none below {float(pairs.interval[0]):.4e} at 99 %",
            flush=True,
        )
        if int(pairs.matvecs) < most:
            break
    taken, pairs = seconds(lambda: eigsh(operator, 1, which="SA", tol=1e-2))
    print(f"    {pairs}\n    {taken:.2f} s")


def dense(repeats):
    """`hessian` beside `jax.hessian` on the 2,410-parameter network."""
    problem, data = network([32])
    params, unravel = ravel_pytree(problem.init(jax.random.key(0)))
    standard = jax.jit(jax.hessian(lambda vector, data: problem.loss(unravel(vector), data)))
    faster, slow, fast = ratio(
        lambda: standard(params, data), lambda: jon.hessian(problem.loss, unravel(params), data), repeats
    )
    difference = jnp.max(jnp.abs(standard(params, data) - jon.hessian(problem.loss, unravel(params), data)))
    print(
        f"dense Hessian, {params.size:,} parameters: jax.hessian {slow:.2f} s, hessian {fast:.2f} s, "
        f"ratio {faster:.2f}, largest difference {difference:.0e}",
        flush=True,
    )


def verdicts(repeats):
    """10^5 verdicts under `vmap` beside the eigenvalues and the gradient norm that a user would judge by."""
    loss = jon.problems.himmelblau().loss
    points = jax.random.uniform(jax.random.key(0), (100_000, 2), minval=-5.0, maxval=5.0)

    def by_hand(x):
        gradient, matrix = jax.grad(loss)(x), jax.hessian(loss)(x)
        return jnp.linalg.norm(gradient), jnp.linalg.eigvalsh(matrix)

    peer = jax.jit(jax.vmap(by_hand))
    ours = jax.jit(jax.vmap(lambda x: jon.classify(loss, x)))
    first = [seconds_once(lambda run=run: run(points)) for run in (ours, peer)]
    warm, slow, fast = ratio(lambda: ours(points), lambda: peer(points), repeats)
    print(
        f"10^5 vmapped verdicts: jax.hessian + eigvalsh + gradient norm {fast:.3f} s, classify {slow:.3f} s; "
        f"classify takes {warm:.2f} x warm, {first[0] / first[1]:.2f} x cold ({first[0]:.1f} s and {first[1]:.1f} s)",
        flush=True,
    )


def network(hidden):
    problem = jon.problems.digits_mlp(hidden)
    return problem, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), problem.data, problem.test_data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="fewer repeats, the trained network only, no peers in torch"
    )
    quick = parser.parse_args().quick
    repeats = 3 if quick else 5
    dense(repeats)
    verdicts(4 * repeats)
    problem, data = network([512] * 4)
    start = problem.init(jax.random.key(0))
    run = jon.minimize(
        problem.loss,
        start,
        jon.adam(1e-3),
        steps=400,
        data=data,
        minibatches=jon.minibatches.reshuffle(64),
        key=jax.random.key(1),
        every=100,
    )
    gradient = jax.jit(lambda operator: jax.grad(problem.loss)(operator.like, data_of(operator)))
    points = {"trained": run.params} if quick else {"initialisation": start, "trained": run.params}
    for name, params in points.items():
        operator = HessianOperator(problem.loss, params, data)
        loss = float(problem.loss(params, data))
        print(f"{name}: loss {loss:.2e}, {ravel_pytree(params)[0].size:,} parameters, top {TOP} at {TOLERANCE:g} |H|")
        whole, alone, products = by_eigsh(operator, gradient, repeats)
        peers = {"scipy": by_scipy(operator)[0], "matfree": by_matfree(operator, products)}
        peers["lobpcg"] = by_lobpcg(operator, 4 if quick else 8)
        if not quick:
            peers["PyHessian"] = by_pyhessian(operator, params, data)
        for peer, taken in peers.items():
            if taken is not None:
                print(f"  {peer} takes {taken / alone:.2f} x the search, {taken / whole:.2f} x search and verification")
    smallest(HessianOperator(problem.loss, run.params, data))


def data_of(operator):
    return operator._data


if __name__ == "__main__":
    main()
