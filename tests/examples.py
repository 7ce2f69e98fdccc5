"""Run the examples of all docstrings while every annotation is checked: types, dtypes and shapes of what is passed.

python tests/examples.py
"""

import doctest
import importlib
import pkgutil
import sys
from pathlib import Path

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PACKAGE = "jaxopt_notes"


def checked(annotated):
    """A function or class that refuses what its annotations do not name; an int may stand for a float."""
    return beartype(conf=BeartypeConf(is_pep484_tower=True))(annotated)


def main():
    with install_import_hook(PACKAGE, f"{Path(__file__).stem}.checked"):
        package = importlib.import_module(PACKAGE)
        names = [PACKAGE, *(found.name for found in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."))]
        modules = [importlib.import_module(name) for name in names]
    results = {module: doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE) for module in modules}
    attempted = sum(result.attempted for result in results.values())
    failed = [module.__name__ for module, result in results.items() if result.failed]
    print(f"{attempted} examples of {len(modules)} modules; failed in {failed}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
