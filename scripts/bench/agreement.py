"""How far our optimizers are from torch, keras, optax and closed forms: the largest deviation per method and library.

torch and keras are read from tests/golden, made by scripts/golden.py with the versions stored there; optax is run. Ends
with an error when a deviation is above its bound.

    python scripts/bench/agreement.py                                     # prints the tables
    python scripts/bench/agreement.py --write notebooks/conventions.md    # and puts them between the marks of that page
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from golden_rows import LOOKALIKES, RECIPES, ROWS, SCHEDULE_ROWS
from golden_runs import FLOAT32, FLOAT64, compare, deviations, load, schedule_deviations


def table(head, rows):
    """A Markdown table with columns of equal width."""
    cells = [head, ["-" * len(name) for name in head], *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    cells[1] = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells)


def code(text):
    return f"`{text}`"


def calls(method):
    """What each library calls a method, and the call of ours that reproduces it."""
    rows = []
    for row in ROWS[method]:
        theirs, ours = row.theirs.format(rate=row.rate), code(row.ours.format(rate=row.rate))
        if row.scheduled:
            ours += "; with a schedule `a`: " + code(row.scheduled.format(rate="a"))
        rows.append([code(theirs), ours, row.note])
    return table(["theirs", "ours", "what they compute"], rows)


def agreement():
    """The largest deviations per method and library, and whether each is within its bound."""
    rows, agrees = [], True
    for method, wide in deviations(np.float64).items():
        narrow = deviations(np.float32)[method]
        for library in dict.fromkeys(run.row.library for run in wide):
            parts = [[run for run in runs if run.row.library == library] for runs in (wide, narrow)]
            agrees = agrees and all(run.agrees for runs in parts for run in runs)
            worst = [np.max([getattr(run, kind) for run in runs]) for runs in parts for kind in ("fed", "own")]
            bound = max(run.bound for run in parts[1])
            rows.append(
                [code(method), library, str(len(parts[0])), *(f"{value:.1e}" for value in worst), f"{bound:.1e}"]
            )
    head = ["method", "library", "runs", "float64 fed", "float64 own", "float32 fed", "float32 own", "float32 bound"]
    return table(head, rows), agrees


def schedules():
    wide, narrow = schedule_deviations(np.float64), schedule_deviations(np.float32)
    rows = [[code(row.theirs), code(row.ours), f"{wide[row]:.1e}", f"{narrow[row]:.1e}"] for row in SCHEDULE_ROWS]
    agrees = all(wide[row] <= FLOAT64 and narrow[row] <= FLOAT32 for row in SCHEDULE_ROWS)
    return table(["theirs", "ours", "float64", "float32"], rows), agrees


def lookalikes():
    rows = []
    for row in LOOKALIKES:
        apart = compare(row, True, np.float64).fed
        rows.append([code(row.theirs.format(rate="a")), code(row.ours.format(rate="a")), f"{apart:.1e}"])
    return table(["theirs", "looks alike", "apart by"], rows)


def versions():
    stored = json.loads(str(load("torch")["versions"]))
    here = {"optax": optax.__version__, "jax": jax.__version__}
    return ", ".join(f"{name} {version}" for name, version in {**stored, **here}.items())


def write(page, parts):
    """Replace what stands between `<!-- name -->` and `<!-- end -->` in the page."""
    text = page.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise ValueError(f"{page} must have the marks {begin.strip()} ... {end}")
        text = f"{before}{begin}{part}\n{rest[rest.index(end) :]}"
    page.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the marks of this page")
    page = parser.parse_args().write
    methods, methods_agree = agreement()
    rates, rates_agree = schedules()
    measured = {
        "agreement": methods,
        "schedules": rates,
        "lookalikes": lookalikes(),
        "versions": f"Measured with {versions()}, on {jax.default_backend()}.",
    }
    print("\n\n".join(measured.values()))
    if page:
        recipes = f"```python\n{RECIPES.strip()}\n```"
        write(page, {f"calls {method}": calls(method) for method in ROWS} | {"recipes": recipes} | measured)
    if not (methods_agree and rates_agree):
        sys.exit("a deviation is above its bound")


if __name__ == "__main__":
    main()
