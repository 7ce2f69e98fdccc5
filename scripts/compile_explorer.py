"""Compile the explorer's engine and its catalogue to JavaScript, into the files that pages are made of.

    python scripts/compile_explorer.py

Run it after a change of an optimizer, of `minimize`, of a verdict, of a function of the catalogue, or of the compiler:
tests compare the files with JAX.
"""

import json

from jaxopt_notes.explorer._page import CATALOGUE_FILE, describe
from jaxopt_notes.explorer._programs import PROGRAMS, engine, function_source
from jaxopt_notes.explorer._scenes import catalogue

for dimension, path in PROGRAMS.items():
    path.write_text(engine(dimension), encoding="utf-8")
known = {name: {"source": function_source(scene), "described": describe(scene)} for name, scene in catalogue().items()}
CATALOGUE_FILE.write_text(json.dumps(known, allow_nan=False, indent=0) + "\n", encoding="utf-8")
for path in (*PROGRAMS.values(), CATALOGUE_FILE):
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
