"""Sweeps of real training beside what a user would write: a network with BatchNorm and Dropout, and a transformer.

Three ways train the same trials, with batches and dropout keys of the same seed: `sweep`; one `jit(vmap(scan))` written
by hand; and a Python loop over trials, whose program is compiled once. What a user writes by hand records the loss and
takes every step. The sweep also records two norms, and takes a step only if loss, gradient, update and state are
finite; `equal work` is the program by hand that does so, and `sweep, record='loss'` leaves the norms out. A sweep runs
on one device per core, what is written by hand on one device, as JAX has it. Wall and CPU seconds are medians over
alternating runs, after one run each to compile; wall seconds of the first run are given apart. The last lines show the
peak memory of a process by the number of trials.

    python scripts/bench/real_training.py [--quick] [--only network transformer memory]
"""

import argparse
import importlib.util
import inspect
import itertools
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import linen as nn  # noqa: E402

_path = pathlib.Path(__file__).parent.parent / "sweep_transformer.py"
_spec = importlib.util.spec_from_file_location("sweep_transformer", _path)
transformer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(transformer)


class Network(nn.Module):
    """A small convolutional network with batch normalisation and dropout, for the 8 x 8 digits."""

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(-1, 8, 8, 1)
        for width in (8, 16):
            x = nn.Conv(width, (3, 3), strides=2)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape(len(x), -1))
        return nn.Dense(10)(x)


def network_loss(model, batch, *, smoothing, l2):
    targets = optax.smooth_labels(jax.nn.one_hot(batch.labels, 10), smoothing)
    value = optax.softmax_cross_entropy(model(batch.inputs), targets).mean()
    return value + l2 * optax.tree.norm(model.params, squared=True)


def network(quick):
    train, _ = jon.problems.digits()
    problem = jon.problems.from_linen(Network(), network_loss, data=train)
    space = dict(learning_rate=[0.01, 0.03, 0.1, 0.3], beta=[0.0, 0.9], smoothing=[0.0, 0.1], l2=[0.0, 1e-4])
    return problem, jon.momentum, space, (64, 20 if quick else 200)


def character_transformer(quick):
    steps = 10 if quick else 50
    problem = transformer.problem_of("linen", 400)
    space = dict(peak=[1e-3, 3e-3, 1e-2], warmup=[2.0, 4.0], b2=[0.95, 0.999], drop=[0.0, 0.2])
    return problem, transformer.optimizer_of(steps), space, (16, steps)


def with_sweep(problem, factory, space, batch_size, steps):
    return jon.sweep(problem, factory, jon.grid(**space), steps=steps, batch_size=batch_size, progress=False).loss


def pieces(problem, factory, names, batch_size, steps):
    """What both trials by hand need: the start, what makes optimizer and loss of a lane's numbers, and the data."""
    begin, order = jon.seed_keys(jax.random.key(0), 0)
    own, asks = [name for name in names if name in problem.numbers], problem.asks

    def of_lane(data, rows, values):
        numbers = dict(zip(names, values, strict=True))
        known = {name: numbers[name] for name in own}

        def value_of(params, aux, step):
            batch = jax.tree.map(lambda leaf: leaf[rows[step]], data)
            given = {"key": jax.random.fold_in(order, step)} if asks.key else {}
            given |= {"train": True} if asks.train else {}
            out = problem.loss(params, batch, **known, **given, **({"aux": aux} if asks.aux else {}))
            return out if asks.aux else (out, aux)

        tx = factory(**{name: value for name, value in numbers.items() if name not in own})
        return tx, jax.value_and_grad(value_of, has_aux=True)

    rows = jon.minibatches.indices(jon.minibatches.reshuffle(batch_size), order, 0, steps + 1, problem.examples)
    return problem.start(begin), of_lane, (jax.tree.map(jnp.asarray, problem.data), rows)


def trial_by_hand(problem, factory, names, batch_size, steps):
    (params, aux), of_lane, shared = pieces(problem, factory, names, batch_size, steps)

    def trial(data, rows, *values):
        tx, evaluate = of_lane(data, rows, values)

        def body(carry, step):
            params, aux, state = carry
            (value, aux), grads = evaluate(params, aux, step)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), aux, state), value

        return jax.lax.scan(body, (params, aux, tx.init(params)), jnp.arange(steps))[1]

    return trial, shared


def careful_trial(problem, factory, names, batch_size, steps):
    """The trial of `trial_by_hand` that records norms, and rests at its last finite point."""
    (params, aux), of_lane, shared = pieces(problem, factory, names, batch_size, steps)
    norm = lambda tree: jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))

    def trial(data, rows, *values):
        tx, evaluate = of_lane(data, rows, values)

        def body(carry, step):
            params, aux, state, _, grads, alive = carry
            updates, moved = tx.update(grads, state, params)
            candidate = optax.apply_updates(params, updates)
            (new, new_aux), slope = evaluate(candidate, aux, step + 1)
            norms = jnp.stack([new, norm(slope), norm(updates), *(jnp.sum(x) for x in jax.tree.leaves(new_aux))])
            alive = alive & jnp.isfinite(norms).all()
            after = (candidate, new_aux, moved, new, slope)
            carry = jax.tree.map(lambda new, old: jnp.where(alive, new, old), after, carry[:5])
            return (*carry, alive), (carry[3], norms[1], norms[2])

        (value, new_aux), grads = evaluate(params, aux, 0)
        carry = (params, new_aux, tx.init(params), value, grads, jnp.bool_(True))
        return jax.lax.scan(body, carry, jnp.arange(steps))[1][0]

    return trial, shared


def with_vmap(problem, factory, space, batch_size, steps, make=trial_by_hand):
    trial, shared = make(problem, factory, list(space), batch_size, steps)
    columns = [jnp.asarray(column, jnp.float32) for column in zip(*itertools.product(*space.values()), strict=True)]
    return jax.jit(jax.vmap(trial, (None, None, *[0] * len(columns)))), (*shared, *columns)


def with_loop(problem, factory, space, batch_size, steps):
    trial, shared = trial_by_hand(problem, factory, list(space), batch_size, steps)
    compiled = jax.jit(trial)
    points = [tuple(map(jnp.float32, point)) for point in itertools.product(*space.values())]
    return lambda *shared: [compiled(*shared, *point) for point in points], shared


def engine(problem, factory, space, batch_size, steps, record=None):
    """The compiled segment of a sweep without what surrounds it, as the others are timed; and what binds it."""
    from jaxopt_notes.sweeps.compute.engine import Engine
    from jaxopt_notes.sweeps.compute.programs import OPENING, programs

    plan = jon.plan(problem, factory, jon.grid(**space), steps=steps, batch_size=batch_size, record=record)
    group = plan.groups[0].at_width(-(-plan.trials // plan.groups[0].devices))
    compiled, (initial, inputs, shared) = programs(group.static), Engine(group).first_pass()

    def run(initial, inputs, shared):
        lanes = compiled.begin(initial, inputs)
        return compiled.segment(lanes, inputs, shared, *map(jnp.int32, (0, OPENING, steps))).histories["loss"]

    return (run, (initial, inputs, shared)), group.bound


def timed(ways, rounds):
    """(wall, CPU) seconds of each over alternating runs; and the wall seconds of the first."""
    first, seconds = {}, {name: [] for name in ways}
    for name, (run, arguments) in ways.items():
        began = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        first[name] = time.perf_counter() - began
    for _ in range(rounds):
        for name, (run, arguments) in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(run(*arguments))
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds, first


def compare(name, made, quick):
    problem, factory, space, (batch_size, steps) = made(quick)
    arguments = (problem, factory, space, batch_size, steps)
    sweep, bound = engine(*arguments)
    ways = {
        "sweep": sweep,
        "sweep, record='loss'": engine(*arguments, record="loss")[0],
        "by hand": with_vmap(*arguments),
        "equal work": with_vmap(*arguments, careful_trial),
        "loop": with_loop(*arguments),
    }
    seconds, first = timed(ways, 3 if quick else 7)
    trials = int(np.prod([len(values) for values in space.values()]))
    lines = {
        "sweep": _lines(with_sweep),
        "sweep, record='loss'": _lines(with_sweep),
        "by hand": _lines(with_vmap) + _lines(pieces) + _lines(trial_by_hand),
        "equal work": _lines(with_vmap) + _lines(pieces) + _lines(careful_trial),
        "loop": _lines(with_loop) + _lines(pieces) + _lines(trial_by_hand),
    }
    print(f"{name}: {trials} trials of {steps} steps, batch {batch_size}; {bound.part} binds")
    head = ("wall s", "CPU s", "of the limit", "sweep is x as fast, wall", "CPU", "first, wall s", "lines")
    print(f"{'':>20} " + "  ".join(head))
    for way, runs in seconds.items():
        wall, cpu = (statistics.median(run[i] for run in runs) for i in (0, 1))
        pairs = [[other[i] / own[i] for other, own in zip(runs, seconds["sweep"], strict=True)] for i in (0, 1)]
        ratios = [statistics.median(values) for values in pairs]
        share = trials * steps / wall / bound.rate
        times, faster = map("{:.2f}".format, (wall, cpu)), map("{:.2f}".format, ratios)
        row = [*times, f"{share:.0%}", *faster, f"{first[way]:.1f}", lines[way]]
        print(f"{way:>20} " + "  ".join(f"{entry:>{len(title)}}" for entry, title in zip(row, head, strict=True)))


def _lines(function):
    return len([line for line in inspect.getsource(function).splitlines() if line.strip()])


def peak(trials):
    """Peak memory of this process after a sweep of so many trials, in MB."""
    problem, factory, space, (batch_size, steps) = network(quick=True)
    space = {**space, "learning_rate": np.geomspace(0.01, 0.3, trials // 8).tolist()}
    jon.sweep(problem, factory, jon.grid(**space), steps=steps, batch_size=batch_size, width=32, progress=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=["network", "transformer", "memory"])
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        peak(given.peak)
        return
    made = {"network": network, "transformer": character_transformer}
    for name in given.only:
        if name in made:
            compare(name, made[name], given.quick)
    if "memory" in given.only:
        for trials in (32, 128, 512):
            command = [sys.executable, __file__, "--peak", str(trials)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{trials} trials, 32 lanes: peak memory {done.stdout.split()[-1]} MB")


if __name__ == "__main__":
    main()
