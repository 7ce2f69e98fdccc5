"""The explorer's engine in JavaScript against the same engine in JAX, float64: paths, losses, verdicts, words.

    python scripts/explorer_parity.py [--cases 1000] [--seed 0] [--functions ...] [--json FILE]

Every demonstration with every method for 256 steps, then random functions, methods, numbers, starts and noise. What
agrees, and when a case that rounding decides passes, is in `tests/engines.py`; each such case is listed.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from engines import NEAR, Comparison, demonstrations, drawn, passes

from jaxopt_notes.explorer._scenes import catalogue


def main():
    """Run the cases and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--functions", nargs="*", help="of the random cases; all but the network by default")
    parser.add_argument("--no-demonstrations", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    scenes = {name: scene for name, scene in catalogue().items() if name != "network_slice"}
    both, begin = Comparison(scenes), time.perf_counter()
    random = np.random.default_rng(asked.seed)
    rows = []
    chosen = {name: scenes[name] for name in asked.functions or scenes}
    cases = [] if asked.no_demonstrations else [*demonstrations()]
    for place, case in enumerate([*cases, *(drawn(random, chosen) for _ in range(asked.cases))]):
        row = both.case(*case)
        rows.append(row)
        if place % 100 == 99:
            jax.clear_caches()  # each program is mapped into memory, and the system allows 65,530 maps
        if "control" in row or not row["words"]:
            told = {key: value for key, value in row.items() if key not in ("decay", "seed", "steps")}
            print("passes" if passes(row) else "FAILS", place, json.dumps(told), flush=True)
    counts = {name: sum(row[name] for row in rows) for name in ("status", "verdict", "words")}
    near = sum(row["difference"] <= NEAR for row in rows)
    print(f"{len(rows)} cases in {time.perf_counter() - begin:.0f} s, {near} paths within {NEAR:g}")
    print(f"{sum(map(passes, rows))} pass; the same: {counts}")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))
    raise SystemExit(0 if all(map(passes, rows)) else 1)


if __name__ == "__main__":
    main()
