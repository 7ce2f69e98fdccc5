"""Rooms import downward only, and importing the package stays cheap."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jaxopt_notes

PACKAGE = Path(jaxopt_notes.__file__).parent
LEVELS = {
    **dict.fromkeys(
        [
            "_version",
            "_checks",
            "_contract",
            "_columns",
            "_shown",
            "_host",
            "_derivatives",
            "_hoist",
            "_jaxpr",
            "_means",
            "_callbacks",
            "_kept",
            "_numerics",
            "_host_random",
            "_digests",
            "_files",
            "_partials",
            "_streams",
            "_warnings",
            "devices",
            "optimizers",
            "minibatches",
            "problems",
            "schedules",
            "wrappers",
        ],
        0,
    ),
    **dict.fromkeys(["minimize", "proof", "curvature", "landscape"], 1),
    **dict.fromkeys(["sweeps", "diagnose", "suggest"], 2),
    **dict.fromkeys(["plots", "race"], 3),
    **dict.fromkeys(["report", "tour", "explorer", "studies"], 4),
    **dict.fromkeys(["cli", "cli_points", "cli_explorer", "cli_races", "cli_sweeps", "__main__", "__init__"], 5),
}
# Inside a level too there is an order: a name stands above all that its files may import.
FLOORS = [
    ["_version", "_jaxpr", "_columns", "_numerics", "_host_random", "_files", "_warnings"],
    ["_host", "_shown", "_checks", "_callbacks", "_digests", "_derivatives", "_kept"],
    ["_contract"],
    ["_partials", "_hoist", "devices", "minibatches", "problems"],
    ["_means", "_streams", "schedules", "wrappers"],
    ["optimizers"],
]
# The way of the data through `sweeps`: a folder imports only from those before it.
SWEEPS = ["spec", "compute", "table", "keep", "run", "judge"]
# An import inside a function costs a reader: only what loads matplotlib, a server or the lectures waits for its use.
LAZY = {"plots", "studies", "tour", "report", "explorer"}
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(["jaxopt_notes", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in FILES
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module of this package that a file imports when it runs, and whether inside a function."""
    package = ["jaxopt_notes", *path.relative_to(PACKAGE).parts[:-1]]
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), False)]
    while pending:
        node, inside = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        inner = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        pending += [(child, inner) for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else module for name in names]
        else:
            continue
        yield from ((name, inside) for name in names if name in MODULES and MODULES[name] != path)


def package_imports(path: Path) -> set[str]:
    """The rooms of this package that a file imports, at its top or inside a function."""
    return {room_of(MODULES[name]) for name, _ in imported(path)} & set(LEVELS) - {"__init__"}


def other_imports(path: Path) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(path.read_text()))]
    plain = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {
        node.module.split(".")[0]
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }


def test_every_room_has_a_level():
    assert {room_of(path) for path in FILES} == set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward_only(path):
    room = room_of(path)
    upward = {other for other in package_imports(path) if LEVELS[other] > LEVELS[room]}
    assert not upward, f"{room} (level {LEVELS[room]}) imports {upward}"


def test_no_file_imports_itself_by_way_of_others():
    """Every file can be read with nothing in mind but those that it imports; imports inside functions count."""
    follows = {name: {other for other, _ in imported(path)} for name, path in MODULES.items()}
    while True:
        read = {name for name, others in follows.items() if not others & follows.keys()}
        if not read:
            break
        follows = {name: others for name, others in follows.items() if name not in read}
    assert not follows, f"in a circle, or above one: {sorted(follows)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_inside_functions_load_only_what_is_heavy(path):
    lazy = {name for name, inside in imported(path) if inside and room_of(MODULES[name]) not in LAZY}
    assert not lazy or LEVELS[room_of(path)] == 5


def test_level_0_has_floors():
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    assert floor.keys() == {room for room, level in LEVELS.items() if level == 0}
    for path in FILES:
        if LEVELS[room_of(path)] == 0:
            others = {room for room in package_imports(path) if room != room_of(path)}
            assert all(floor[other] < floor[room_of(path)] for other in others), path


def test_the_folders_of_sweeps_show_the_way_of_the_data():
    place = {folder: number for number, folder in enumerate(SWEEPS)}
    folder_of = lambda path: path.relative_to(PACKAGE / "sweeps").parts[0]
    inside = [path for path in FILES if room_of(path) == "sweeps" and path.parent.name != "sweeps"]
    assert {folder_of(path) for path in inside} == set(SWEEPS)
    for path in inside:
        others = [MODULES[name] for name, _ in imported(path)]
        others = [folder_of(other) for other in others if room_of(other) == "sweeps"]
        assert all(other != "__init__.py" and place[other] <= place[folder_of(path)] for other in others), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_plots_import_matplotlib_and_only_the_command_line_prints(path):
    assert room_of(path) == "plots" or "matplotlib" not in other_imports(path)
    prints = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert LEVELS[room_of(path)] == 5 or not prints


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_readable(path):
    text = path.read_text()
    assert text.count("\n") <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1 - (documented.count("\n") + 1 if documented else 0)
            if room_of(path) == "studies" and node.name.endswith("claims"):
                lines -= node.body[-1].end_lineno - node.body[-1].lineno  # the list of claims is data
            assert lines <= 70, f"{node.name} has {lines} lines"


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = (
        "xarray",
        "scipy.stats",
        "matplotlib",
        "sklearn",
        "tqdm",
        "h5py",
        "pandas",
        "tyro",
        "contourpy",
        "flax",
    )
    loaded = run_python(f"import sys, jaxopt_notes; print([name for name in {heavy!r} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_public_names_are_what_they_seem_whatever_was_imported_first():
    code = (
        "import jaxopt_notes.report, jaxopt_notes.minimize, jaxopt_notes.sweeps.run.sweep, jaxopt_notes.plots\n"
        "import jaxopt_notes as jon\n"
        "print(all(callable(f) for f in (jon.minimize, jon.report, jon.plot, jon.sweep, jon.classify)))\n"
        "print(all(hasattr(room, name) for room in (jon, jon.problems) for name in dir(room)))"
    )
    assert run_python(code).split() == ["True", "True"]


def test_a_missing_extra_is_named():
    hidden = "import sys; sys.modules['matplotlib'] = sys.modules['sklearn'] = None\n"
    for call, extra in (("jon.plot", "plots"), ("jon.problems.digits()", "data")):
        code = f"import jaxopt_notes as jon\ntry: {call}\nexcept ModuleNotFoundError as error: print(error)"
        assert f"pip install 'jaxopt-notes[{extra}]'" in run_python(hidden + code)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("clasify", "classify"),
        ("sgd", "gradient_descent"),
        ("SGD", "gradient_descent"),
        ("Adam", "adam"),
        ("AdamW", "adamw"),
        ("RMSProp", "rmsprop"),
        ("heavy_ball", "momentum"),
        ("criticalpoint", "CriticalPoint"),
    ],
)
def test_a_misspelt_or_foreign_name_is_met_with_the_nearest(name, meant):
    with pytest.raises(AttributeError, match=f"no attribute {name!r}; did you mean {meant!r}"):
        getattr(jaxopt_notes, name)


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "jaxopt_notes", "study"]
    assert "averages" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_use_cpu_cores_makes_devices_and_says_when_it_comes_too_late():
    early = "import jaxopt_notes as jon; print(jon.use_cpu_cores(3), jon.use_cpu_cores(3))"
    assert run_python(early).split() == ["3", "3"]
    late = "import jax; jax.devices(); import jaxopt_notes as jon; jon.use_cpu_cores(3)"
    failed = subprocess.run([sys.executable, "-W", "error", "-c", late], capture_output=True, text=True, check=False)
    assert "use_cpu_cores() came after JAX was first used, so sweeps have 1 of 3 cores" in failed.stderr


def test_compile_quickly_leaves_flags_alone_and_says_when_it_comes_too_late(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    kept = "import jaxopt_notes as jon, jax; print(jon.compile_quickly(), jax.device_count())"
    assert run_python(kept).split() == ["False", "2"]
    monkeypatch.delenv("XLA_FLAGS")
    early = "import jaxopt_notes as jon, jax; print(jon.compile_quickly(), jax.jit(lambda x: x + 1)(1))"
    assert run_python(early).split() == ["True", "2"]
    late = "import jaxopt_notes as jon; jon.use_cpu_cores(2); jon.compile_quickly()"
    failed = subprocess.run([sys.executable, "-W", "error", "-c", late], capture_output=True, text=True, check=False)
    assert "compile_quickly() came after JAX made its devices" in failed.stderr
    assert "before use_cpu_cores()" in failed.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_suite_that_leaves_a_file_in_the_tree_fails(tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(PACKAGE.parent / "tests" / "conftest.py", tests)
    (tmp_path / ".gitignore").write_text("*.nc\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    (tests / "test_it.py").write_text("def test_it(): open('b.nc', 'w').close()")
    for code in (1, 0):  # the second time the file is there already
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == code, done.stdout
        assert ("by a test or by you: !! b.nc" in done.stdout) == bool(code)


def test_the_table_of_rooms_names_every_file():
    """CONTRIBUTING's table is what `ls` shows, without the underscores; the demonstrations are named in `STUDIES`."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    lines = text[text.index("| level") : text.index("## Rules")].splitlines()
    rows = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3:
            rows |= {name.rstrip("/"): cells[2] for name in re.findall(r"`([^`]+)`", cells[1])}
    for path in FILES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        depth = 2 if parts[0] == "sweeps" else 1
        if parts[0] in ("_version", "studies") or parts[-1] == "__init__":
            continue
        if len(parts) == 1:
            assert parts[0] in rows
        else:
            assert f"`{parts[depth].lstrip('_')}`" in rows["/".join(parts[:depth])], path


def test_what_a_room_offers_is_listed_and_the_rest_is_private_by_name():
    private_folders = {*(PACKAGE / "sweeps" / folder for folder in SWEEPS), PACKAGE / "studies"}
    for path in FILES:
        above = {*path.parents}
        if above & private_folders or any(part.startswith("_") for part in path.relative_to(PACKAGE).parts):
            continue
        if path.parent == PACKAGE and path.stem in (
            "tour",
            "cli",
            "cli_points",
            "cli_explorer",
            "cli_races",
            "cli_sweeps",
        ):
            continue
        module = importlib.import_module(".".join(["jaxopt_notes", *path.relative_to(PACKAGE).with_suffix("").parts]))
        assert all(hasattr(module, name) for name in module.__all__), path
