"""What a study measures with: the digest of its own file and of every file of the package that it imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.resources
from collections.abc import Iterator
from importlib.resources.abc import Traversable

PACKAGE = __name__.partition(".")[0]
DRAWING = f"{PACKAGE}.plots"  # figures are drawn anew from what was measured


def digest(study: str, root: Traversable | None = None) -> str:
    """The digest of everything of the package that a study's numbers can depend on.

    The files are found by following imports, inside functions too, from file to file; of a package also its `__init__`.
    Left out are what only draws (`plots`, and what is imported from there alone), and the `__init__` of a package that
    the importing file is in, since it only lists the package's own files. A change of a comment counts.

    Arguments:
        study: one of `STUDIES`.
        root: the folder of the package; the one that was imported for None.

    Returns:
        16 hexadecimal digits. They are computed from the files as they are now, in some milliseconds; only what a
        file imports is remembered, for its very content.

    Example:
        >>> from jaxopt_notes.studies import sources
        >>> sources.digest("averages") == sources.digest("momentum")
        False
    """
    files = modules(f"{PACKAGE}.studies.{study}", root)
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name} {len(files[name])}\n".encode() + files[name])
    return whole.hexdigest()[:16]


def modules(start: str, root: Traversable | None = None) -> dict[str, bytes]:
    """The modules of the package that one reaches by its imports, itself first, and their sources.

    Arguments:
        start: name of a module of the package, in full.
        root: the folder of the package; the one that was imported for None.

    Returns:
        Name -> source, without `plots`.

    Example:
        >>> from jaxopt_notes.studies import sources
        >>> sorted(sources.modules("jaxopt_notes._digests"))
        ['jaxopt_notes._digests', 'jaxopt_notes._files']
    """
    folder = importlib.resources.files(PACKAGE) if root is None else root
    found: dict[str, bytes] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        file = None if name in found or name.startswith(DRAWING) else _file(folder, name)
        if file is None:
            continue
        found[name] = file.read_bytes()
        waiting.extend(_imported(name, file.name == "__init__.py", found[name]))
    return found


def _file(folder: Traversable, name: str) -> Traversable | None:
    """The file of a module, or None where the name is not that of a module: an object of one."""
    *parts, last = name.split(".")[1:] or ["."]
    for part in parts:
        folder = folder / part
    for file in (folder / f"{last}.py", folder / last / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def _imported(name: str, is_package: bool, source: bytes) -> tuple[str, ...]:
    """Names that may be modules of the package: what a source imports, with the packages that it is in."""
    package = name.split(".") if is_package else name.split(".")[:-1]
    reached = set()
    for target in _targets(package, ast.parse(source)):
        parts = target.split(".")
        reached |= {".".join(parts[: end + 1]) for end in range(len(parts))}
    inside = {".".join(package[: end + 1]) for end in range(len(package))}
    return tuple(sorted(reached - inside))


def _targets(package: list[str], tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module.partition(".")[0] == PACKAGE:
                yield from (f"{module}.{alias.name}" for alias in node.names)
