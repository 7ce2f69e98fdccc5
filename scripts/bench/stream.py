"""A file that is larger than the memory it is swept with: resident memory and speed, beside the same data in memory.

A made file of images (784 float32 each, ten classes) is swept by 16 lanes of a small network, each way in a process of
its own. Memory is the highest seen while the sweep ran: anonymous, and pages of files, which the system can take back.
The speed is that from the end of the first segment to that of the last, so compiling and the ends are left out.

    stream       data=numpy.memmap of the file
    stream, RAM  data=numpy.array, so the same way without the file
    in memory    Problem(data=numpy.array), each seed with an order of its own

    python scripts/bench/stream.py [--gigabytes 4] [--steps 4000] [--ways stream "stream, RAM" "in memory"]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax
import numpy as np
import optax

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute.engine import Engine

PIXELS, BATCH, LANES = 784, 64, 16
WAYS = ["stream", "stream, RAM", "in memory"]


def make(folder, gigabytes):
    """Images around ten centers, written block by block, and their classes."""
    rows = int(gigabytes * 1e9) // (4 * PIXELS)
    images = np.memmap(folder / "images", np.float32, "w+", shape=(rows, PIXELS))
    random = np.random.default_rng(0)
    centers, classes = random.standard_normal((10, PIXELS), np.float32), random.integers(0, 10, rows).astype(np.int32)
    for first in range(0, rows, 4096):
        part = classes[first : first + 4096]
        images[first : first + 4096] = 0.1 * centers[part] + random.standard_normal((len(part), PIXELS), np.float32)
    images.flush()
    np.save(folder / "classes.npy", classes)


def loss(params, batch):
    """Cross-entropy of a network with 32 hidden units."""
    logits = jax.nn.relu(batch[0] @ params["in"]) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def init(key):
    """Weights scaled by the number of inputs."""
    keys = jax.random.split(key)
    return {"in": jax.random.normal(keys[0], (PIXELS, 32)) / 28, "out": jax.random.normal(keys[1], (32, 10)) / 6}


class Memory:
    """The highest resident memory of this process so far, in MB, looked at every 20 ms."""

    def __init__(self):
        self.most, self.ended = {"RssAnon": 0, "RssFile": 0, "VmRSS": 0}, threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not self.ended.wait(0.02):
            for line in Path("/proc/self/status").read_text().splitlines():
                name = line.partition(":")[0]
                if name in self.most:
                    self.most[name] = max(self.most[name], int(line.split()[1]) // 1024)


def measure(folder, way, steps):
    """Sweep one way; the memory and the speed."""
    memory = Memory()
    classes = np.load(folder / "classes.npy")
    images = np.memmap(folder / "images", np.float32, "r", shape=(len(classes), PIXELS))
    data = (images if way == "stream" else np.array(images), classes)
    apart = {} if way == "in memory" else {"data": data}
    validation = (np.array(images[:2000]), classes[:2000])
    problem = jon.Problem(loss, init, data=data if way == "in memory" else None, validation=validation)
    space = jon.grid(learning_rate=[0.003, 0.01, 0.03, 0.1], beta=[0.0, 0.5, 0.9, 0.95])
    options = dict(steps=steps, every=steps, batch_size=BATCH, width=LANES, progress=False)
    marks = segment_marks()
    table = jon.sweep(problem, jon.momentum, space, devices=jax.devices()[:1], **options, **apart)
    memory.ended.set()
    (began, first), (ended, last) = marks[0], marks[-1]
    return {**memory.most, "rate": (last - first) * LANES / (ended - began), "loss": float(table.validation_loss.min())}


def segment_marks():
    """A list that will hold the moment and the step of the end of every segment."""
    marks, segments = [], Engine._segments

    def marked(self, *arguments):
        for segment in segments(self, *arguments):
            marks.append((time.perf_counter(), segment[0]))
            yield segment

    Engine._segments = marked
    return marks


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), options.measure[1], options.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.gigabytes)
        print(f"{options.gigabytes} GB, {LANES} lanes, batch {BATCH}; highest MB resident, trial-steps per second")
        for way in options.ways:
            command = [sys.executable, __file__, "--steps", str(options.steps), "--measure", folder, way]
            done = json.loads(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            )
            print(
                f"{way:12} anonymous {done['RssAnon']:6} files {done['RssFile']:6} together {done['VmRSS']:6}"
                f"  {done['rate']:10,.0f}  loss {done['loss']:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
