"""Sweeps of a convolutional network beside what a user would write: `jit(vmap(scan))`, and a torch loop.

Three layers of 16 channels on the 8 x 8 digits, batches of 64, momentum, 16 trials (8 rates, 2 momenta), and the same
number of parameters everywhere. Convolutions are patches times a matrix, as `problems.digits_cnn` has them on a CPU, or
XLA's own; `torch` is a Python loop over trials and steps with torch's own, on all cores. A sweep also records three
histories and takes a step only if all is finite; the others record losses. Times are medians over alternating runs,
after one run each to compile.

    python scripts/bench/convolutions.py [--steps 40] [--repeats 5]
"""

import argparse
import importlib.util
import statistics
import time

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from sweeps import lean_sweep  # noqa: E402

FEATURES, BATCH = (16, 16, 16), 64
RATES, BETAS = np.geomspace(1e-3, 1e-1, 8), (0.0, 0.9)


def with_sweep(problem, steps):
    space = jon.grid(learning_rate=RATES, beta=BETAS)
    return lambda: jon.sweep(problem, jon.momentum, space, steps=steps, batch_size=BATCH, progress=False)


def with_torch(problem, steps):
    """A loop over trials and steps; None without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    from torch import nn

    images, labels = (torch.tensor(np.array(part)) for part in problem.data)
    images, labels = images.reshape(-1, 1, 8, 8), labels.to(torch.int64)
    rows = jon.minibatches.indices(jon.minibatches.reshuffle(BATCH), jax.random.key(0), 0, steps, problem.examples)
    rows = torch.tensor(np.array(rows), dtype=torch.int64)

    def run():
        losses = []
        for rate in RATES:
            for beta in BETAS:
                torch.manual_seed(0)
                layers, channels = [], 1
                for i, features in enumerate(FEATURES):
                    layers += [nn.Conv2d(channels, features, 3, stride=1 if i == 0 else 2, padding=1), nn.ReLU()]
                    channels = features
                model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
                optimizer = torch.optim.SGD(model.parameters(), lr=float(rate), momentum=beta)
                for row in rows:
                    optimizer.zero_grad()
                    loss = nn.functional.cross_entropy(model(images[row]), labels[row])
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
        return losses

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    patches, lax = (jon.problems.digits_cnn(FEATURES, method=method) for method in ("patches", "lax"))
    ways = {
        "sweep": with_sweep(patches, asked.steps),
        "sweep, XLA's convolutions": with_sweep(lax, asked.steps),
        "jit(vmap(scan)), XLA's convolutions": lean_sweep(lax, RATES, BETAS, 1, asked.steps, BATCH),
        "jit(vmap(scan)), patches": lean_sweep(patches, RATES, BETAS, 1, asked.steps, BATCH),
        "torch": with_torch(lax, asked.steps),
    }
    ways = {name: run for name, run in ways.items() if run is not None}
    seconds = {name: [] for name in ways}
    for turn in range(asked.repeats + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    trials, space = len(RATES) * len(BETAS), jon.grid(learning_rate=RATES, beta=BETAS)
    bound = jon.plan(patches, jon.momentum, space, steps=asked.steps, batch_size=BATCH).groups[0].bound
    print(f"the limit of the sweep is that of {bound.part}: {bound.rate:,.0f} trial-steps a second")
    print(f"{trials} trials of {asked.steps} steps{'':24s} s  trial-steps/s  of the limit  takes")
    for name, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, seconds["sweep"], strict=True))
        rate = trials * asked.steps / statistics.median(taken)
        print(f"{name:36s} {statistics.median(taken):10.2f} {rate:14,.0f} {rate / bound.rate:13.0%} {ratio:6.2f}")


if __name__ == "__main__":
    main()
