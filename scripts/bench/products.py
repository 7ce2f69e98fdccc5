"""What the matrix products of a step allow: their speed alone, as a share of the speed of one large product.

A step of the digits network takes five matrix products for each trial. Side by side they are products of batches, as
`vmap` makes them. The time of these five alone bounds the share of the peak that a step can reach which multiplies the
matrices of each trial by themselves. The trials of one seed see the same examples; where they lie side by side, the two
products with the examples are one larger product each ("merged"). All devices work at once, each on its own trials.
"in a sweep" is what a sweep of 256 trials reaches in the same run, which also moves, checks and records.

    python scripts/bench/products.py [--trials 32] [--repeats 9]
"""

import argparse
import time

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import numpy as np  # noqa: E402

BATCH, INPUTS, OUTPUTS, SIDE = 64, 64, 10, 1024


def products_of(hidden, trials):
    """Name -> (einsum of all trials, its merged form or None, the shapes of both operands by letter)."""
    sizes = {"t": trials, "b": BATCH, "i": INPUTS, "h": hidden, "o": OUTPUTS}
    equations = {
        "examples x first weights": ("tbi,tih->tbh", "bi,ith->bth"),
        "examples x their errors": ("tbi,tbh->tih", "bi,bth->ith"),
        "hidden x second weights": ("tbh,tho->tbo", None),
        "hidden x their errors": ("tbh,tbo->tho", None),
        "errors x second weights": ("tbo,tho->tbh", None),
    }
    return {name: (alone, merged, sizes) for name, (alone, merged) in equations.items()}


def seconds(equation, sizes, repeats, times):
    """The least seconds of one product, on every device at once."""
    first, second = equation.partition("->")[0].split(",")
    random = np.random.default_rng(0)
    operands = [
        random.standard_normal([sizes[letter] for letter in letters], np.float32) for letters in (first, second)
    ]
    places = [[jax.device_put(operand, device) for operand in operands] for device in jax.devices()]

    @jax.jit
    def repeated(left, right):
        multiply = lambda left, right: jax.numpy.einsum(equation, left, right)
        begun = (left, right, multiply(left, right))
        body = lambda _, held: jax.lax.optimization_barrier((*held[:2], multiply(*held[:2])))
        return jax.lax.fori_loop(0, times - 1, body, begun)[2]

    taken = []
    for _ in range(repeats + 1):  # the first compiles
        began = time.perf_counter()
        jax.block_until_ready([repeated(*operands) for operands in places])
        taken.append(time.perf_counter() - began)
    return min(taken[1:]) / times


def flops(equation, sizes):
    """Additions and multiplications of a product."""
    return 2.0 * np.prod([sizes[letter] for letter in set(equation) & set(sizes)])


def reached(hidden, work, seconds_about=8.0):
    """The speed of a sweep in units of the products' work, on each device."""
    rates, seeds = np.geomspace(1e-3, 1, 32), 8
    problem, space = jon.problems.digits_mlp(hidden=hidden), jon.grid(learning_rate=rates)

    def taken(steps):
        began = time.perf_counter()
        options = dict(seeds=seeds, steps=steps, batch_size=BATCH, record="loss", progress=False)
        jon.sweep(problem, lambda learning_rate: jon.momentum(learning_rate), space, **options)
        return time.perf_counter() - began

    taken(100)
    few = taken(100)
    more = 100 * max(1, round(seconds_about / few))
    taken(100 + more)
    return work * len(rates) * seeds * more / (taken(100 + more) - few) / len(jax.devices())


def main():
    """Measure, and print a table for each width of the network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=32, help="side by side on each device")
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    square = {"x": SIDE, "y": SIDE, "z": SIDE}
    peak = flops("xy,yz->xz", square) / seconds("xy,yz->xz", square, asked.repeats, 4)
    print(f"{len(jax.devices())} devices; {SIDE} x {SIDE}: {peak / 1e9:.1f} GF/s on each, the peak")
    for hidden in (16, 64, 256):
        work, apart, together = 0.0, 0.0, 0.0
        print(f"\n{hidden} hidden units{'':22s} GF/s  of the peak  merged")
        for name, (alone, merged, sizes) in products_of(hidden, asked.trials).items():
            amount, each = flops(alone, sizes), seconds(alone, sizes, asked.repeats, 50)
            joined = each if merged is None else seconds(merged, sizes, asked.repeats, 50)
            work, apart, together = work + amount, apart + each, together + joined
            share = "" if merged is None else f"{amount / joined / peak:8.0%}"
            print(f"  {name:30s} {amount / each / 1e9:10.1f}  {amount / each / peak:11.0%}{share}")
        shares = work / apart / peak, work / together / peak
        print(f"  {'all five':30s} {work / apart / 1e9:10.1f}  {shares[0]:11.0%}{shares[1]:8.0%}")
        speed = reached(hidden, work / asked.trials)
        print(f"  {'in a sweep':30s} {speed / 1e9:10.1f}  {speed / peak:11.0%}", flush=True)


if __name__ == "__main__":
    main()
