"""Look for wrong statements of `jaxopt_notes.proof`: more of what the tests try, with a table.

    python scripts/proof_soundness.py [--count 1000000] [--functions 10000] [--minutes 10]

Every operation on intervals is compared with Arb at 200 bits; every function with known points is searched.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from interval_cases import NEAR, RULES, worst_error, wrong

_PART = 50_000


def rules(count):
    """Operation, values outside of its results, and the widest result of single numbers; which exit status follows."""
    failed = False
    print(f"{'operation':16} {'intervals':>9} {'outside':>8} {'widest in 2^-53':>16}")
    for name in RULES:
        misses, widest = 0, 0.0
        for seed in range(-(-count // _PART)):
            outside, examples, excess = wrong(name, min(_PART, count - seed * _PART), seed)
            misses, widest = misses + outside, max(widest, excess)
            if outside:
                print(f"  {name}: {examples}")
        failed |= misses > 0
        print(f"{name:16} {count:9,} {misses:8,} {widest:16.3g}", flush=True)
    print(f"\n{'function':16} {'numbers':>9} {'error in 2^-53':>15} {'granted':>8}")
    for name in NEAR:
        worst, granted = worst_error(name, count)
        failed |= worst >= granted
        print(f"{name:16} {count:9,} {worst:15.3f} {granted:8.3g}", flush=True)
    return failed


def functions(count, minutes):
    """How many functions with known critical points were searched, and what was wrong."""
    from known_points import judged, random_case

    begin, wrongs, complete, done = time.monotonic(), 0, 0, 0
    for seed in range(count):
        if time.monotonic() - begin > 60 * minutes:
            break
        case = random_case(seed)
        reasons, whole = judged(case)
        done, complete, wrongs = done + 1, complete + whole, wrongs + bool(reasons)
        if reasons:
            print(f"  {seed}, {case.name}: {'; '.join(reasons)}", flush=True)
    print(f"\n{done:,} functions, {complete:,} lists complete, {wrongs:,} functions with a wrong statement")
    return wrongs > 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="of intervals for every operation")
    parser.add_argument("--functions", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="for the functions at most")
    options = parser.parse_args()
    failures = [
        options.count and rules(options.count),
        options.functions and functions(options.functions, options.minutes),
    ]
    sys.exit(any(failures))
