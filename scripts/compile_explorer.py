"""Compile the explorer's engine to JavaScript, into the file that pages are made of.

    python scripts/compile_explorer.py

Run it after a change of an optimizer, of `minimize`, of a verdict, or of the compiler: a test compares the file with JAX.
"""

from jaxopt_notes.explorer._programs import PROGRAMS, engine

PROGRAMS.write_text(engine(), encoding="utf-8")
print(f"{PROGRAMS.name}: {PROGRAMS.stat().st_size / 1000:.0f} kB")
