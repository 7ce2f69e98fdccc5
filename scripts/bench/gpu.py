"""What one accelerator gives and what we reach of it, in at most six minutes, as one JSON file.

It needs this checkout and jax, optax, flax and xarray, no network and no data set: the examples are drawn. Every
section is timed, and an error in one is written down and leaves the others alone. `--smoke` runs everything with small
sizes on whatever device there is.

    python scripts/bench/gpu.py [--smoke] [--out scripts/bench/results/gpu.json]
"""

import argparse
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import chosen_precision
from jaxopt_notes.curvature import HessianOperator, eigsh
from jaxopt_notes.sweeps.compute.engine import Engine
from jaxopt_notes.sweeps.compute.programs import OPENING, programs

EXAMPLES, INPUTS, CLASSES, BATCH = 1438, 64, 10, 64


def seconds(run, repeats=3):
    """The median seconds of a call, after one that compiles, and the seconds of that one."""
    began = time.perf_counter()
    jax.block_until_ready(run())
    first, taken = time.perf_counter() - began, []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - began)
    return statistics.median(taken), first


def device(smoke):
    one = jax.local_devices()[0]
    return {
        "platform": one.platform,
        "kind": one.device_kind,
        "devices": jax.local_device_count(),
        "memory": one.memory_stats(),
        "versions": {module.__name__: module.__version__ for module in (jax, np)},
        "matmul_precision": chosen_precision(),
    }


def limits(smoke):
    """Bandwidth of a copy, and the peak of a matrix product in each precision."""
    entries, side, times = (2**18, 256, 2) if smoke else (2**28, 8192, 8)
    x = jnp.ones(entries, jnp.float32)
    copy = jax.jit(lambda x: jax.lax.fori_loop(0, times, lambda _, x: jax.lax.optimization_barrier(x + 1), x))
    found = {"copy_bytes_per_s": 8 * entries * times / seconds(lambda: copy(x))[0]}
    for name, dtype in (("float32", jnp.float32), ("tensorfloat32", jnp.float32), ("bfloat16", jnp.bfloat16)):
        precision = {"float32": "highest", "tensorfloat32": "default", "bfloat16": "default"}[name]
        a = jnp.full((side, side), 1 / side, dtype)

        def product(_, b, a=a, precision=precision):
            return jax.lax.optimization_barrier(jnp.matmul(a, b, precision=precision))

        run = jax.jit(lambda b, product=product: jax.lax.fori_loop(0, times, product, b))
        found[f"{name}_flops_per_s"] = 2 * side**3 * times / seconds(lambda run=run, a=a: run(a))[0]
    return found


def network(hidden):
    """A network on examples drawn once, as large as the digits."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((EXAMPLES, INPUTS)).astype(np.float32)
    labels = np.argmax(images @ generator.standard_normal((INPUTS, CLASSES)), axis=1).astype(np.int32)

    def init(key):
        first, second = jax.random.split(key)
        draw = lambda key, rows, columns: jax.random.normal(key, (rows, columns)) / np.sqrt(rows)
        return [draw(first, INPUTS, hidden), jnp.zeros(hidden), draw(second, hidden, CLASSES), jnp.zeros(CLASSES)]

    def loss(params, batch):
        a, b, c, d = params
        logits = jax.nn.log_softmax(jnp.tanh(batch[0] @ a + b) @ c + d)
        return -jnp.mean(jnp.take_along_axis(logits, batch[1][:, None], axis=1))

    return jon.Problem(loss, init=init, data=(images, labels), name=f"network of {hidden}")


def by_hand(problem, rates, steps):
    """`jit(vmap(scan))` with Adam, one order of the examples for all, losses only."""
    data = jax.tree.map(jnp.asarray, problem.data)
    stream = jon.minibatches.reshuffle(BATCH)
    rows = jon.minibatches.indices(stream, jax.random.key(1), 0, steps, EXAMPLES)
    start = problem.init(jax.random.key(0))

    def trial(rate, data, rows):
        tx = jon.adam(rate)

        def body(carry, row):
            params, state = carry
            value, grads = jax.value_and_grad(problem.loss)(params, jax.tree.map(lambda leaf: leaf[row], data))
            updates, state = tx.update(grads, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), value

        return jax.lax.scan(body, (start, tx.init(start)), rows)[1]

    run = jax.jit(jax.vmap(trial, (0, None, None)))
    return lambda: run(rates, data, rows)


def sweeps(smoke):
    """Trial-steps a second by the number of trials, beside the same by hand and the limit of the device."""
    steps, sizes, hiddens = (6, (1, 8), (16,)) if smoke else (200, (1, 8, 64, 512, 4096, 32768), (64, 16, 256))
    found = []
    for hidden in hiddens:
        problem = network(hidden)
        for trials in sizes:
            rates = np.geomspace(1e-4, 1e-1, trials) if trials > 1 else [1e-3]
            row = {"hidden": hidden, "trials": trials, "steps": steps}
            for record in (None, "loss"):
                space = jon.grid(learning_rate=rates)
                options = {"steps": steps, "batch_size": BATCH, "record": record, "width": trials}
                plan = jon.plan(problem, jon.adam, space, **options, devices=jax.local_devices()[:1]).groups[0]
                compiled, (initial, inputs, shared) = programs(plan.static), Engine(plan).first_pass()

                def run(compiled=compiled, initial=initial, inputs=inputs, shared=shared):
                    lanes = compiled.begin(initial, inputs)
                    return compiled.segment(lanes, inputs, shared, *map(np.int32, (0, OPENING, steps)))

                taken, first = seconds(run)
                name = "sweep" if record is None else "losses_only"
                row[name] = {"trial_steps_per_s": trials * steps / taken, "first_s": first}
            row["work"], row["bound"] = plan.work._asdict(), plan.bound._asdict()
            row["sweep"]["share_of_limit"] = row["sweep"]["trial_steps_per_s"] / plan.bound.rate
            taken, first = seconds(by_hand(problem, jnp.asarray(rates, jnp.float32), steps))
            row["by_hand"] = {"trial_steps_per_s": trials * steps / taken, "first_s": first}
            found.append(row)
    return found


def verdicts(smoke):
    """Verdicts of quadratics with known eigenvalues, in float32 here, beside NumPy in float64 on the host."""
    generator, wrong, undecided, count = np.random.default_rng(0), [], 0, 4 if smoke else 200
    for number in range(count):
        n = (2, 5, 12, 30)[number % (2 if smoke else 4)]  # each is a program of its own
        basis, _ = np.linalg.qr(generator.standard_normal((n, n)))
        values = generator.choice([-1, 1], n) * 10 ** generator.uniform(-2, 1, n)
        matrix = (basis * values) @ basis.T
        matrix = ((matrix + matrix.T) / 2).astype(np.float32)
        exact = np.linalg.eigvalsh(matrix.astype(np.float64))
        point = jon.classify(lambda x, matrix: 0.5 * x @ matrix @ x, jnp.zeros(n), jnp.asarray(matrix))
        expected = "minimum" if exact[0] > 0 else "maximum" if exact[-1] < 0 else "saddle"
        kind = jon.Kind(int(point.kind)).name.lower()
        undecided += kind in ("undecided", "degenerate")
        claimed = kind in ("minimum", "maximum", "saddle")
        if claimed and (kind != expected or int(point.index) != int((exact < 0).sum())):
            wrong.append({"number": number, "kind": kind, "eigenvalues": exact.tolist()})
    return {"verdicts": count, "wrong": wrong, "undecided": undecided}


def eigenvalues(smoke):
    """The five largest eigenvalues of networks, with the residuals of their pairs."""
    found = []
    for hidden in (16,) if smoke else (11_000, 660_000):
        problem = network(hidden)
        params = problem.init(jax.random.key(0))
        operator = HessianOperator(problem.loss, params, jax.tree.map(lambda leaf: leaf[:512], problem.data))
        taken, first = seconds(lambda operator=operator: eigsh(operator, k=2 if smoke else 5, key=jax.random.key(1)), 1)
        pairs = eigsh(operator, k=2 if smoke else 5, key=jax.random.key(1))
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        row = {"parameters": size, "seconds": taken, "first_s": first}
        row |= {"eigenvalues": pairs.values.tolist(), "residuals": pairs.residuals.tolist()}
        found.append(row)
    return found


def narrowing(smoke):
    """A width that does not fit the memory: on a GPU the lanes are halved until they do."""
    problem = network(16 if smoke else 2048)
    trials = 8 if smoke else 2**16
    space = jon.grid(learning_rate=np.geomspace(1e-4, 1e-2, trials))
    table = jon.sweep(problem, jon.adam, space, steps=2, batch_size=BATCH, width=trials, progress=False)
    return {"asked": trials, "width": int(table.attrs["width"]), "narrowed_to": table.attrs.get("narrowed_to")}


def swept(**options):
    """A sweep of six chunks on one device."""
    space = jon.grid(learning_rate=np.geomspace(1e-4, 1e-2, 12))
    given = {"steps": 20, "batch_size": BATCH, "width": 2, "devices": jax.local_devices()[:1], "progress": False}
    return jon.sweep(network(16), jon.adam, space, **given, **options)


def killed(smoke):
    """A sweep killed by SIGKILL, and resumed with the same bits."""
    script = f"""
import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import gpu
gpu.swept(store=sys.argv[1], on_chunk=lambda chunk: print("chunk", flush=True))
"""
    with tempfile.TemporaryDirectory() as folder:
        first = subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE, text=True)
        first.stdout.readline()  # one chunk is there
        first.send_signal(signal.SIGKILL)
        first.wait()
        subprocess.run([sys.executable, "-c", script, folder], check=True, stdout=subprocess.DEVNULL)
        resumed = jon.open_sweep(folder).load()
    whole = swept()
    return {"bit_identical": all(whole[name].equals(resumed[name]) for name in whole.data_vars)}


def memory(smoke):
    """Bytes in use after each of several sweeps; None where the device does not report them."""
    problem, used = network(16), []
    for number in range(2 if smoke else 20):
        space = jon.grid(learning_rate=[1e-3 * (number + 1), 1e-2 * (number + 1)])
        jon.sweep(problem, jon.adam, space, steps=10, batch_size=BATCH, progress=False)
        used.append((jax.local_devices()[0].memory_stats() or {}).get("bytes_in_use"))
    return used


SECTIONS = (device, limits, sweeps, verdicts, eigenvalues, narrowing, killed, memory)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small sizes, on any device")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results" / "gpu.json")
    given = parser.parse_args()
    found = {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for section in SECTIONS:
        began = time.perf_counter()
        try:
            found[section.__name__] = section(given.smoke)
        except Exception:
            found[section.__name__] = {"error": traceback.format_exc()}
        found[section.__name__ + "_s"] = time.perf_counter() - began
        # After every section, as the time on a lent machine may end before the last.
        given.out.write_text(json.dumps(found, indent=1, default=float) + "\n")
        print(f"{section.__name__}: {found[section.__name__ + '_s']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
