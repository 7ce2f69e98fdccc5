"""Damage stored sweeps on purpose, read them, and mend them: nothing may be silently wrong, endless or beyond repair.

Single bits of chunks and of manifests are flipped, and files of every kind are cut, emptied, overwritten, swapped,
taken from another sweep, edited, or replaced by folders, pipes and loops of links. A process of its own reads each
damaged store; it is killed when it takes longer than `limit` seconds. It must read what was written, or an error must
name the damage; where a file is gone, trials may be missing. Then `sweep(..., repair=True)` must give the whole table.

    python scripts/damage.py                  # 12,000 bits of chunks, 3,237 of manifests, 500 other mutations
    python scripts/damage.py --chunk 100 --manifest 100 --structured 100 --seed 1
"""

import argparse
import functools
import json
import multiprocessing
import os
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path

OPTIONS = dict(seeds=2, steps=8, width=2, progress=False)
CHANGING = ("wall_seconds", "devices", "segment_programs", "trials_finished", "narrowed_to", "interrupted")
FINE = ("as written", "named", "trials missing", "mended")
KINDS = {"chunk": 6, "manifest": 1, "structured": 1}  # and how many are mended at a time


class Stores:
    """Sound stores with files of every kind, and for each another sweep of the same shape, to take files from."""

    def __init__(self, folder):
        import jaxopt_notes as jon

        self.sound, self._scratch = folder / "sound", folder / "damaged"
        valley, rates = jon.problems.quadratic([1.0, 20.0]), [0.01, 0.03, 0.05, 0.09, 0.2, 0.3]
        few, prune = jon.grid(learning_rate=rates[:2]), {"prune": jon.halving(factor=2, rungs=2)}
        self._sweeps = {
            "plain": ((valley, jon.momentum, jon.grid(learning_rate=rates)), {}),
            "begun": ((valley, jon.momentum, jon.grid(learning_rate=rates[:3])), {}),
            "pruned": ((valley, jon.momentum, jon.grid(learning_rate=rates)), prune),
            "at a rung": ((valley, jon.nesterov, jon.grid(learning_rate=rates)), prune),
            "groups": ((valley, jon.rmsprop, few * jon.grid(centered=[False, True])), {}),
            "families": ((valley, {"adam": (jon.adam, few), "momentum": (jon.momentum, few)}), {}),
        }
        self.names = tuple(self._sweeps)
        if not self.sound.exists():
            self._make()
        self.tables = {name: self.sweep(name) for name in self.names}
        self.read = {name: jon.open_sweep(self.sound / name) for name in self.names}

    def sweep(self, name, store=None, **changes):
        import jaxopt_notes as jon

        arguments, options = self._sweeps[name]
        return jon.sweep(*arguments, **{**OPTIONS, **options, **changes}, store=store)

    def copy(self, name):
        """A fresh copy of a sound store."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        return Path(shutil.copytree(self.sound / name, self._scratch / name))

    def _make(self):
        from jaxopt_notes.sweeps.keep import shelf
        from jaxopt_notes.sweeps.keep.store import Store

        def interrupted(*_):
            raise KeyboardInterrupt

        shelf.SECONDS_PER_CHECKPOINT = 0.0
        for suffix, changes in (("", {}), (" of another", {"steps": 12})):
            for name in self.names:
                stopped = {"begun": "write", "at a rung": "write_decisions"}.get(name, "")
                original = getattr(Store, stopped, None)
                if stopped:
                    setattr(Store, stopped, interrupted)
                self.sweep(name, self.sound / f"{name}{suffix}", **changes)
                if stopped:
                    setattr(Store, stopped, original)
            Store(self.sound / f"plain{suffix}").note_lanes(OPTIONS["width"])  # as if memory had run out


# ------------------------------------------------------------------------------------------------ ways to damage a file


def flip(path, rng):
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def empty(path, rng):
    path.write_bytes(b"")


def lengthen(path, rng):
    path.write_bytes(path.read_bytes() + rng.bytes(rng.integers(1, 100)))


def double(path, rng):
    path.write_bytes(2 * path.read_bytes())


def overwrite(path, rng):
    """A block of zeros, as of a lost sector, or of anything."""
    content = bytearray(path.read_bytes())
    first, size = int(rng.integers(len(content))), int(rng.choice([16, 512, 4096]))
    size = min(size, len(content) - first)
    content[first : first + size] = rng.bytes(size) if rng.random() < 0.5 else bytes(size)
    path.write_bytes(content)


def remove(path, rng):
    path.unlink()


def forbid(path, rng):
    path.chmod(0)


def make_folder(path, rng):
    path.unlink()
    path.mkdir()
    (path / "file").write_text("in the way")


def make_loop(path, rng):
    path.unlink()
    path.symlink_to(path.name)


def make_dangling(path, rng):
    path.unlink()
    path.symlink_to("nowhere")


def make_pipe(path, rng):
    path.unlink()
    os.mkfifo(path)


def make_endless(path, rng):
    path.unlink()
    path.symlink_to("/dev/zero")


def swap(path, rng):
    """With another file of its kind."""
    others = [other for other in sorted(path.parent.glob(f"*{path.suffix}")) if other != path] or [path]
    other = others[rng.integers(len(others))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def replace(path, rng):
    """With another file of its kind."""
    others = sorted(path.parent.glob(f"*{path.suffix}"))
    path.write_bytes(others[rng.integers(len(others))].read_bytes())


def edit(path, rng):
    """A value of a JSON file, or what is around it."""
    found = json.loads(path.read_text())
    node, key = found, None
    while isinstance(node, (dict, list)) and len(node) and (key is None or rng.random() < 0.8):
        parent, key = (
            node,
            list(node)[rng.integers(len(node))] if isinstance(node, dict) else int(rng.integers(len(node))),
        )
        node = parent[key]
    others = [None, True, -1, 0, 3, 10**30, 1e308, float("nan"), float("inf"), "", "text", [], {}, [node], {"a": node}]
    how = rng.integers(4)
    if how == 0:
        del parent[key]
    elif how == 1 and isinstance(parent, dict):
        parent[f"{key}2"] = parent.pop(key)
    else:
        parent[key] = others[rng.integers(len(others))]
    text = json.dumps(found)
    whole = ["[" * 100_000, "null", "[]", "{}", "3", '"text"', text[:-1], f"[{text}]", "{}" + text]
    path.write_text(text if rng.random() < 0.8 else whole[rng.integers(len(whole))])


def forge(path, rng):
    """A chunk that says what it should not, with a digest that fits it."""
    import h5py

    from jaxopt_notes._digests import TRAILER, write_digested

    content = path.read_bytes()[: -TRAILER.size]
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        name = str(rng.choice(["loss", "final_loss", "status"]))
        values, kind = file[name][()], rng.integers(7)
        del file[name]
        if kind == 0:
            file.create_dataset(name, (10**10, *values.shape[1:]), values.dtype)
        elif kind == 1:
            file[name] = h5py.ExternalLink("elsewhere.nc", name)
        elif kind == 2:
            file[name] = h5py.SoftLink("/initial_loss")
        elif kind == 3:
            file[name] = values.astype("f8")
        elif kind == 4:
            file[name] = values[:1]
        elif kind == 5:
            file.create_virtual_dataset(name, h5py.VirtualLayout(values.shape, values.dtype))
    content = path.read_bytes()
    write_digested(path, lambda temporary: temporary.write_bytes(content))


ANY = (
    *(flip, cut, empty, lengthen, double, overwrite, remove, forbid, make_folder, make_loop, make_dangling, make_pipe),
    *(make_endless, swap, replace),
)
ON_EMPTY = (remove, forbid, make_folder, make_loop, make_dangling, make_pipe, make_endless)  # a lock


def damage(stores, kind, folder, rng):
    """Damage one file of a copy of a store; which, and how."""
    pattern = {"chunk": "chunk-*", "manifest": "manifest.json", "structured": "*"}[kind]
    paths = [path for path in sorted(folder.rglob(pattern)) if path.is_file()]
    path = paths[rng.integers(len(paths))]
    if kind != "structured":
        flip(path, rng)
        return path, "flip"
    taken = Path(f"{stores.sound / folder.name} of another") / path.relative_to(folder)
    if taken.exists() and rng.random() < 0.1:
        shutil.copy(taken, path)
        return path, "take"
    special = {".json": [edit] * 12, ".nc": [forge] * 8}.get(path.suffix, [])
    ways = [*ANY, *special] if path.stat().st_size else ON_EMPTY
    way = ways[rng.integers(len(ways))]
    way(path, rng)
    return path, way.__name__


# --------------------------------------------------------------------------------------------------- what comes of it


def outcome(read, sound, words):
    """What comes of reading: one of `FINE`, or what is wrong. An error must hold one of the words."""
    import jaxopt_notes as jon

    try:
        table = read()
    except (jon.StoreError, OSError) as error:
        return "named" if any(word in str(error) for word in words) else f"unnamed: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return compare(table, sound)


def compare(table, sound):
    """Whether a table is the sound one, or lacks trials and is right in the others."""
    import numpy as np
    import xarray

    if isinstance(sound, xarray.DataTree):
        parts = {compare(table[name].to_dataset(), sound[name].to_dataset()) for name in table.children}
        wrong = [part for part in parts if part not in FINE]
        whole = parts == {"as written"} and set(table.children) == set(sound.children)
        return wrong[0] if wrong else "as written" if whole else "trials missing"
    both = [one.copy(deep=False) for one in (table, sound)]
    for one in both:
        one.attrs = {name: value for name, value in one.attrs.items() if name not in CHANGING}
    if both[0].identical(both[1]):
        return "as written"
    ran = table["status"].values != -1
    if not ran.any():  # of a manifest from elsewhere, before the first chunk was finished
        return "trials missing"
    names = [name for name in table if table[name].dims[: ran.ndim] == table["status"].dims]
    if not ran.all() and all(table[name].identical(sound[name]) for name in table.coords):
        pairs = [(table[name].values[ran], sound[name].values[ran]) for name in names]
        if all(np.array_equal(*pair, equal_nan=True) for pair in pairs):
            return "trials missing"
    return "silently another table"


def try_some(stores, kind, seed, number):
    """Damage and read some copies of a store, then mend them; [(file, how, what came of it), ...]."""
    import numpy as np

    import jaxopt_notes as jon

    rng = np.random.default_rng([seed, list(KINDS).index(kind), number])
    name = "plain" if kind == "chunk" else stores.names[rng.integers(len(stores.names))]
    tried, damaged = [], {}
    for _ in range(KINDS[kind]):
        folder = stores.copy(name)
        path, how = damage(stores, kind, folder, rng)
        words = [path.name, str(folder)]
        found = outcome(functools.partial(jon.open_sweep, folder), stores.read[name], words)
        if found == "trials missing" and how not in ("remove", "make_dangling", "take", "swap", "replace"):
            found = "silently without trials"
        tried.append((str(path.relative_to(folder)), how, found))
        if kind == "chunk":
            damaged[path] = path.read_bytes()
    if kind == "structured":
        resumed = outcome(lambda: stores.sweep(name, folder), stores.tables[name], words)
        tried.append((str(path.relative_to(folder)), f"{how}, resumed", resumed))
    if kind == "chunk":
        folder = stores.copy(name)
        for path, content in damaged.items():
            path.write_bytes(content)
    for read in (lambda: stores.sweep(name, folder, repair=True), lambda: jon.open_sweep(folder)):
        mended = outcome(read, stores.tables[name], [])
        tried.append((tried[-1][0], f"{how}, mended", "mended" if mended == "as written" else f"not mended: {mended}"))
    return tried


def work(folder, seed, pipe):
    """Try what the pipe asks for, in a process that may be killed."""
    import jax

    import jaxopt_notes as jon

    jon.compile_quickly(level=0)
    jax.config.update("jax_num_cpu_devices", 1)
    warnings.simplefilter("ignore")
    stores = Stores(folder)
    pipe.send(None)
    while (asked := pipe.recv()) is not None:
        pipe.send(try_some(stores, *asked))


def watched(folder, seed, limit, batches):
    """What came of every batch; a process that takes longer than the limit is killed, and another one goes on."""
    context, process = multiprocessing.get_context("spawn"), None
    for kind, number in batches:
        if process is None:
            pipe, other = context.Pipe()
            process = context.Process(target=work, args=(folder, seed, other), daemon=True)
            process.start()
            other.close()
            pipe.recv()
        pipe.send((kind, seed, number))
        if pipe.poll(limit):
            yield kind, number, pipe.recv()
        else:
            process.kill()
            process.join()
            process = None
            yield kind, number, [("a file", "something", f"endless: more than {limit} s")]
    if process is not None:
        pipe.send(None)
        process.join()


def main(chunk=12_000, manifest=3_237, structured=500, seed=0, limit=60.0):
    """Damage, read and mend; print the counts, and return what went wrong."""
    counts, wrong = Counter(), []
    wanted = {"chunk": chunk, "manifest": manifest, "structured": structured}
    batches = [(kind, number) for kind, many in wanted.items() for number in range(-(-many // KINDS[kind]))]
    with tempfile.TemporaryDirectory() as folder:
        for kind, number, tried in watched(Path(folder), seed, limit, batches):
            for path, how, found in tried:
                counts[kind, found.split(":")[0]] += 1
                if found not in FINE:
                    wrong.append(f"{kind} {number}: {path}, {how}: {found}")
                    print(wrong[-1], flush=True)
    for (kind, found), count in sorted(counts.items()):
        print(f"{kind:12s}{found:28s}{count:7d}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunk", type=int, default=12_000, help="bits of chunks to flip")
    parser.add_argument("--manifest", type=int, default=3_237, help="bits of manifests to flip")
    parser.add_argument("--structured", type=int, default=500, help="other mutations")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that reading and mending may take")
    raise SystemExit(bool(main(**vars(parser.parse_args()))))
