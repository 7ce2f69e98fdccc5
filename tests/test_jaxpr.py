"""What JAX does not promise: a test for each use, whose message names what broke, and no such use elsewhere."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled_programs, programs_of
from jax.experimental import io_callback, sparse
from jax.sharding import AxisType, PartitionSpec

import jaxopt_notes
from jaxopt_notes import _jaxpr

PACKAGE = Path(jaxopt_notes.__file__).parent


# Traced programs


def test_traced_values_are_tracers():
    seen = []
    jax.jit(lambda x: seen.append(_jaxpr.is_traced(x)))(1.0)
    jax.grad(lambda x: seen.append(_jaxpr.is_traced(x)) or x)(1.0)
    assert seen == [True, True], "jax.core.Tracer is no longer the class of traced values: checks refuse to be traced"
    assert not any(map(_jaxpr.is_traced, (1.0, np.ones(2), jnp.ones(2)))), "concrete values count as traced"


def test_a_function_that_is_compiled_is_known_from_inside():
    seen = []
    jax.jit(lambda: seen.append(_jaxpr.is_tracing()))()
    assert seen == [True], "device_put is no longer a part of the program: a run inside jit fails as it draws batches"
    jax.vmap(lambda x: seen.append(_jaxpr.is_tracing()) or x)(jnp.ones(2))
    assert seen[1:] == [_jaxpr.is_tracing()] == [False]


def test_the_words_of_keys_are_those_of_the_usual_generator_alone():
    keys = jax.random.split(jax.random.key(0), 3)
    assert _jaxpr.threefry_words(keys).shape == (3, 2), "the generator has another name: sweeps compile their shuffling"
    assert _jaxpr.threefry_words(jax.random.split(jax.random.key(0, impl="rbg"), 3)) is None
    assert _jaxpr.threefry_words(jnp.zeros((3, 2), jnp.uint32)) is None
    with jax.threefry_partitionable(False):
        assert _jaxpr.threefry_words(keys) is None


@pytest.mark.parametrize("generator", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_the_usual_generator_draws_for_several_keys_what_it_draws_for_each_alone(generator):
    order = lambda key: jax.random.permutation(key, 14)
    for made in (jax.random.key, jax.random.PRNGKey):
        with jax.default_prng_impl(generator):
            keys = jax.random.split(made(0), 3)
            same = np.array_equal(jax.vmap(order)(keys), np.stack([order(key) for key in keys]))
        assert _jaxpr.is_threefry(keys) == same, "epochs are not what their keys give"


def test_weak_types_are_seen():
    assert _jaxpr.is_weakly_typed(jnp.asarray(1.0)), "weak_type is no longer set: sweeps compile twice"
    assert not _jaxpr.is_weakly_typed(jnp.float32(1.0))


def test_sparse_matrices_are_recognised():
    matrix = sparse.BCOO.fromdense(jnp.eye(2))
    assert _jaxpr.is_jax_sparse(matrix), "the sparse matrices of JAX moved: eigsh takes them for dense ones"
    assert not _jaxpr.is_jax_sparse(jnp.eye(2))


def test_closures_become_constants():
    first, second = jnp.ones(3), 2 * jnp.ones(4)
    jaxpr, constants, out_tree = _jaxpr.trace(lambda x: {"a": x * first, "b": second}, 2.0)
    assert [len(held) for held in constants] == [3, 4], "closures are no longer constants of a trace: losses recompile"
    assert out_tree == jax.tree.structure({"a": 0, "b": 0})
    found = _jaxpr.evaluate(jaxpr, [5 * first, second], 2.0)
    np.testing.assert_array_equal(found[0], np.full(3, 10.0), "eval_jaxpr no longer takes (jaxpr, constants, *leaves)")


def test_lifted_functions_are_differentiable_by_what_they_held():
    scale = jnp.ones(2)
    function, held = _jaxpr.lifted(lambda x: (jnp.sum(scale * x), 3.0), jnp.ones(2))
    slopes = jax.grad(lambda held: function(held, jnp.array([2.0, 5.0]))[0])(held)
    np.testing.assert_array_equal(slopes[0], [2.0, 5.0], "lifted constants no longer take part in derivatives")
    assert isinstance(function(held, jnp.ones(2))[1], jax.Array)


def test_output_shapes_are_read_off():
    jaxpr = _jaxpr.trace(lambda x: (jnp.outer(x, x), jnp.argmax(x)), jnp.ones(3)).jaxpr
    shapes = [(out.shape, out.dtype) for out in _jaxpr.output_shapes(jaxpr)]
    assert shapes == [((3, 3), np.float32), ((), np.int32)], "outvars and aval no longer hold shape and dtype"


@jax.custom_jvp
def doubled(x):
    return 2 * x


doubled.defjvp(lambda primals, tangents: (doubled(*primals), 2 * tangents[0]))


@jax.custom_vjp
def tripled(x):
    return 3 * x


tripled.defvjp(lambda x: (tripled(x), None), lambda _, slope: (3 * slope,))


def called(x):
    jax.debug.callback(lambda x: None, x)
    return doubled(tripled(jax.lax.fori_loop(0, 3, lambda i, x: jnp.sin(x), x)))


def test_the_text_is_the_same_for_the_same_computation():
    def make():
        return lambda x: called(x) @ jnp.ones(3)

    one, two = (_jaxpr.text(_jaxpr.trace(make(), jnp.ones(3)).jaxpr) for _ in range(2))
    assert one == two, "str(jaxpr) no longer agrees for two traces of one computation: every fresh lambda recompiles"
    assert not re.search(r"0x[0-9a-f]{4}", one), "str(jaxpr) prints addresses: every fresh lambda recompiles"


OTHERS = (
    lambda x: jnp.sum(x * 2.0),
    lambda x: jnp.sum(x * 2.000001),
    lambda x: jnp.sum(x * 2.0, axis=0, keepdims=True),
    lambda x: jnp.sum(x / 2.0),
    lambda x: jnp.sum(x * 2.0).astype(jnp.bfloat16),
    lambda x: jnp.cumsum(x)[-1],
    lambda x: jnp.cumsum(x)[-2],
    lambda x: jax.lax.cumsum(x, reverse=True)[-1],
    lambda x: jnp.dot(x, x),
    lambda x: jnp.dot(x, x, precision="highest"),
    lambda x: jax.lax.fori_loop(0, 3, lambda i, s: s + x[i], 0.0),
    lambda x: jax.lax.fori_loop(0, 2, lambda i, s: s + x[i], 0.0),
    lambda x: jax.lax.fori_loop(0, 2, lambda i, s: s + x[i], 1.0),
    lambda x: jax.lax.cond(x[0] > 1.0, jnp.sum, jnp.max, x),
    lambda x: jax.lax.cond(x[0] > 1.0, jnp.sum, jnp.min, x),
    lambda x: jnp.zeros_like(x)[0] + x[0],
    lambda x: jnp.ones_like(x)[0] + x[0],
)


def test_the_text_differs_for_another_computation():
    texts = [_jaxpr.text(_jaxpr.trace(other, jnp.arange(3.0)).jaxpr) for other in OTHERS]
    same = [(i, j) for i, one in enumerate(texts) for j in range(i) if texts[j] == one]
    assert same == [], "str(jaxpr) no longer shows what decides the result: one loss runs the program of another"


@jax.custom_vjp
def cosine(x):
    return jnp.cos(x)


cosine.defvjp(lambda x: (cosine(x), x), lambda x, slope: (-slope * jnp.sin(x),))

INNER = {
    "jit": lambda x: jax.jit(jnp.cos)(x),
    "scan": lambda x: jax.lax.scan(lambda c, _: (jnp.cos(c), None), x, length=2)[0],
    "while": lambda x: jax.lax.while_loop(lambda c: c > 0.9, jnp.cos, x),
    "cond": lambda x: jax.lax.cond(x > 0, jnp.cos, jnp.sin, x),
    "checkpoint": lambda x: jax.checkpoint(jnp.cos)(x),
    "custom_vjp": lambda x: cosine(x),
    "twice": lambda x: jax.jit(lambda x: jax.lax.scan(lambda c, _: (jnp.cos(c), None), x, length=2)[0])(x),
}


@pytest.mark.parametrize("name", INNER)
def test_equations_of_inner_programs_are_found(name):
    names = [equation.primitive.name for equation in _jaxpr.equations(_jaxpr.trace(INNER[name], 1.0).jaxpr)]
    assert "cos" in names, f"the program inside {name} is no longer a parameter: callbacks and sizes in it are missed"


def test_constants_of_nested_jits_are_found_and_lifted():
    table = np.arange(5000.0, dtype=np.float32)
    inner = jax.jit(lambda x: jnp.sum(x * table))
    jaxpr, constants, _ = _jaxpr.trace(lambda x: inner(x) + jax.jit(lambda y: 3.0 * y)(x), 2.0)
    outputs = _jaxpr.trace(lambda x: _jaxpr.inlined(jaxpr, constants, x), 2.0)
    names = [equation.primitive.name for equation in _jaxpr.equations(outputs.jaxpr)]
    assert "jit" not in names, 'the operation of jax.jit is no longer called "jit": its constants are compiled in'
    sizes = [held.size for held in [*outputs.constants, *_jaxpr.constants_inside(outputs.jaxpr)]]
    assert sizes == [table.size], "a table inside a jit is no longer lifted: it is compiled in"
    np.testing.assert_allclose(_jaxpr.evaluate(*outputs[:2], 2.0)[0], 2 * table.sum() + 6, rtol=1e-6)


# What operations reveal


def note(x):
    return np.float32(x)


CALLS = {
    "debug.print": (lambda x: jax.debug.print("{}", x), []),
    "debug.callback": (lambda x: jax.debug.callback(note, x), ["callback"]),
    "pure_callback": (lambda x: jax.pure_callback(note, jax.ShapeDtypeStruct((), x.dtype), x), ["callback"]),
    "io_callback": (lambda x: io_callback(note, jax.ShapeDtypeStruct((), x.dtype), x), ["callback"]),
    "ordered": (lambda x: io_callback(note, jax.ShapeDtypeStruct((), x.dtype), x, ordered=True), ["callback"]),
    "in a loop": (lambda x: jax.lax.fori_loop(0, 3, lambda i, x: jax.debug.callback(note, x) or x, x), ["callback"]),
    "none": (lambda x: jnp.sin(x), []),
    "a reference": (lambda x: jax.new_ref(x)[...], ["unknown", "unknown"]),
}


def holds(value, function):
    parts = _jaxpr.wrapped_parts(value)
    return value is function or any(
        holds(part, function)
        for part in [*(parts or ()), *(cell.cell_contents for cell in getattr(value, "__closure__", None) or ())]
    )


@pytest.mark.parametrize("name", CALLS)
def test_callbacks_are_found_with_the_functions_in_them(name):
    call, expected = CALLS[name]
    found = list(_jaxpr.callbacks(_jaxpr.trace(call, jnp.float32(1.0)).jaxpr))
    kinds = ["unknown" if each is _jaxpr.UNKNOWN else "callback" for each in found]
    assert kinds == expected, f"{name} is no longer recognised: programs with callbacks recompile, or are mistaken"
    for each in found:
        assert each is _jaxpr.UNKNOWN or holds(each, note), "a callback's wrapper no longer holds the user's function"


@pytest.mark.parametrize(("function", "custom"), [(doubled, True), (tripled, True), (jnp.sin, False)])
def test_custom_rules_are_seen(function, custom):
    found = _jaxpr.has_custom_rule(_jaxpr.trace(jax.jit(function), 1.0).jaxpr)
    assert found == custom, "custom rules are no longer named custom_*: losses that differ in a rule share a program"


@pytest.mark.parametrize(
    ("function", "needed"),
    [(tripled, True), (doubled, False), (jnp.sin, False), (lambda x: jax.lax.stop_gradient(tripled(x)) * x, False)],
)
def test_the_tangent_of_a_custom_vjp_leaves_a_mark(function, needed):
    push = jax.linearize(function, 1.0)[1]
    message = 'forward mode leaves no "custom_lin": Hessian products of losses with a custom_vjp fail'
    assert _jaxpr.needs_custom_tangent(push, 1.0) == needed, message


def test_bytes_are_those_of_every_result():
    jaxpr = _jaxpr.trace(lambda x: jnp.sum(jnp.sin(x) * x.astype(jnp.bfloat16).astype(jnp.float32)), jnp.ones(10)).jaxpr
    expected = 40 + 20 + 40 + 40 + 4
    assert _jaxpr.bytes_computed(jaxpr) == expected, "sizes are no longer read off: sweeps and planes choose bad widths"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: jnp.sin(x) + 1, False),
        (jax.jit(lambda x: jax.lax.fori_loop(0, 9, lambda _, y: 2 * y, x)), True),
        (lambda x: jax.lax.while_loop(lambda y: y < 9, lambda y: 2 * y, x), True),
        (lambda x: jax.lax.map(jnp.sin, x[None]), True),
    ],
)
def test_loops_are_found(function, expected):
    jaxpr = _jaxpr.trace(function, jnp.float32(1)).jaxpr
    assert _jaxpr.has_loop(jaxpr) == expected, "long loops are compiled quickly, into slow programs"


LAYER = jnp.ones((3, 2))
SUMS = {
    "sum": (lambda x: jnp.sum(x @ LAYER), True),
    "sum of squares": (lambda x: 0.5 * jnp.sum(x**2) + 1.0, True),
    "dot": (lambda x: jnp.vdot(x, x), True),
    "einsum": (lambda x: jnp.einsum("ij,ij->", x, x), True),
    "in a jit": (lambda x: jax.jit(jnp.sum)(x), True),
    "mean": (lambda x: jnp.mean(x**2), False),
    "mean of sums": (lambda x: jnp.mean(jnp.sum(x**2, axis=1)), False),
    "sum over a length": (lambda x: jnp.sum(x**2) / len(x), False),
    "sum over a count": (lambda x: jnp.sum(x) / jnp.sum(jnp.where(x > 0, 1.0, 0.0)), False),
    "average": (lambda x: jnp.average(x[:, 0], weights=x[:, 1]), False),
    "maximum": (lambda x: jnp.max(x), False),
    "log-sum-exp": (lambda x: jax.nn.logsumexp(x), False),
    "of no data": (lambda x: jnp.sum(LAYER), False),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_examples_are_told_from_means(name):
    loss, expected = SUMS[name]
    once, twice = (_jaxpr.output_value(loss, (jnp.ones((n, 3)),), [0]) for n in (2, 4))
    message = "jax.numpy is made of other operations: losses that add up are no longer warned of, or means are"
    assert _jaxpr.adds_up(once, twice) == expected, message


def test_a_program_with_effects_counts_as_no_sum():
    def loss(x):
        jax.debug.callback(note, x[0])
        return jnp.sum(x)

    assert _jaxpr.output_value(loss, (jnp.ones(2),), [0]) is None, "effects no longer show in a traced program"


# Compiled programs and the machine


def python(code, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | variables
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    return ran.stdout.split(), ran.stderr[-500:]


def test_xla_knows_the_quick_flags(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    flags = _jaxpr.quick_flags(0)
    assert flags, f"compile_quickly() does not know JAX {jax.__version__}: try which flags it takes, and add it"
    out, error = python("import jax; print(jax.jit(lambda x: x + 1)(1))", XLA_FLAGS=flags)
    assert out == ["2"], f"XLA of JAX {jax.__version__} does not take {flags}: {error}"


def test_flags_are_read_when_devices_are_made():
    code = (
        "import jax\nfrom jaxopt_notes import _jaxpr\n"
        "_jaxpr.use_flags('--xla_force_host_platform_device_count=3')\nprint(jax.device_count())"
    )
    assert python(code)[0] == ["3"], "XLA reads its flags earlier: compile_quickly() after `import jax` does nothing"


def test_the_number_of_devices_can_be_set_until_they_are_made():
    code = (
        "import jax\nfrom jaxopt_notes import _jaxpr\n"
        "print(_jaxpr.devices_are_made(), _jaxpr.set_cpu_devices(3), _jaxpr.devices_are_made(), jax.device_count(),\n"
        "      _jaxpr.devices_are_made(), _jaxpr.set_cpu_devices(2), jax.device_count())"
    )
    message = "JAX no longer refuses a number of devices by RuntimeError: use_cpu_cores() does not warn when too late"
    assert python(code)[0] == ["False", "True", "False", "3", "True", "False", "3"], message


def test_the_memory_of_a_device_is_what_it_reports():
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 1000, "bytes_in_use": 10}

    assert _jaxpr.memory_limit(Device()) == 1000
    for device in jax.devices():
        limit = _jaxpr.memory_limit(device)
        message = "memory_stats no longer holds bytes_limit: widths ignore the memory of the accelerator"
        assert (limit is None) == (device.platform == "cpu"), message


def test_the_memory_of_a_compiled_program_is_that_of_its_arrays():
    function = jax.jit(lambda x, y: (x + 1, jnp.sum(y)), donate_argnames=("x",))
    compiled = function.lower(jnp.ones(1000), jnp.ones(500)).compile()
    used = _jaxpr.bytes_needed(compiled)
    message = f"memory_analysis no longer counts bytes ({used}): sweeps choose bad widths"
    assert used.arguments == 6000, message
    assert 4 <= used.results <= 64, message


COLLECTIVES = {
    "all-reduce": lambda x: jax.lax.psum(x, "d"),
    "all-gather": lambda x: jax.lax.all_gather(x, "d"),
    "all-to-all": lambda x: jax.lax.all_to_all(x, "d", 1, 1),
    "collective-permute": lambda x: jax.lax.ppermute(x, "d", [(0, 1), (1, 0)]),
    "reduce-scatter": lambda x: jax.lax.psum_scatter(x, "d", scatter_dimension=1),
}


@pytest.mark.parametrize("name", [*COLLECTIVES, "none"])
def test_collectives_are_found_in_compiled_programs(name):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    spread = PartitionSpec("d")
    inside = COLLECTIVES.get(name, jnp.sin)
    mapped = jax.jit(jax.shard_map(inside, mesh=mesh, in_specs=spread, out_specs=spread, check_vma=False))
    found = _jaxpr.collectives_in(mapped.lower(jnp.ones((4, 4, 4))).compile())
    assert found == [name] * (name != "none"), "XLA's text has other words: check_invariance misses collectives"


def test_running_out_of_memory_is_recognised():
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        jax.jit(lambda: jnp.zeros(2**46))()
    assert _jaxpr.is_out_of_memory(raised.value), "RESOURCE_EXHAUSTED is no longer in the text: sweeps do not narrow"
    assert _jaxpr.is_out_of_memory(MemoryError())
    assert not _jaxpr.is_out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: no"))


def test_xla_takes_the_options_for_programs_that_run_once():
    function = jax.jit(lambda x: x + 1, compiler_options=_jaxpr.quick_options())
    assert function(1) == 2, "XLA refuses an option: losses that add up are no longer found, and no verdict is made"


def test_the_precision_that_a_user_chose_is_read():
    assert _jaxpr.chosen_precision() is None, "verdicts no longer multiply in full precision"
    with jax.default_matmul_precision("bfloat16"):
        assert _jaxpr.chosen_precision() == "bfloat16", "verdicts overrule the precision of the user"


def test_a_precise_function_multiplies_in_full_precision():
    square = _jaxpr.precise(lambda x: x @ x)
    [product] = jax.make_jaxpr(square)(jnp.ones((2, 2))).eqns
    assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}


# What tests read


def test_compiled_programs_are_counted():
    @jax.jit
    def new_function(x):
        return x * 3.25

    with compiled_programs() as names:
        new_function(jnp.ones(7))
        new_function(jnp.zeros(7))
    assert names.count("jit_new_function") == 1, "compilations are no longer seen: tests that count them cannot fail"
    assert programs_of(new_function) == 1


# No such use elsewhere

MODULES = ("jax.extend", "jax._src", "jax.core", "jax.interpreters", "jax.lib", "jax.experimental", "jaxlib")
ATTRIBUTES = {
    *("make_jaxpr", "eval_jaxpr", "Tracer", "eqns", "invars", "outvars", "constvars", "consts", "aval", "primitive"),
    *("effects", "debug_info", "weak_type", "memory_stats", "__version_info__"),
}
ON_COMPILED = {"memory_analysis", "cost_analysis", "as_text", "compiler_ir", "_cache_size"}
TEXTS_OF_JAX = re.compile(
    r"XLA_FLAGS|^-{0,2}xla_|RESOURCE_EXHAUSTED|^jax\.(?!numpy)|custom_lin|(debug|pure|io)_callback|debug_print"
    r"|reduce_sum|dot_general|broadcast_in_dim|convert_element_type|all-reduce"
)


def unpromised(path, attributes=frozenset(ATTRIBUTES | ON_COMPILED), texts=True):
    """Lines of a file that use what JAX does not promise, in `line: what` form."""
    tree = ast.parse(path.read_text())
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used = [alias.name for alias in node.names if alias.name.startswith(MODULES)]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] if not node.level else []
            used = [name for name in names if name.startswith(MODULES)]
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            reads_option = isinstance(node.ctx, ast.Load) and dotted.startswith("jax.config.jax_")
            private = re.match(r"jax\.(_[^_]|core\.|extend\.|interpreters\.|experimental\.)", dotted) is not None
            used = [dotted] if node.attr in attributes or reads_option or private else []
        elif texts and isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            used = [node.value] if TEXTS_OF_JAX.search(node.value) else []
        else:
            continue
        yield from (f"{node.lineno}: {each}" for each in used)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "_jaxpr")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_one_room_uses_what_jax_does_not_promise(path):
    rules = "compile" in path.parts  # tables by the names of operations, each met by a test of test_compile.py
    found = list(unpromised(path, texts=not rules))
    assert found == [], "move it to jaxopt_notes/_jaxpr, with a test here that names what breaks"


TESTS = sorted({*Path(__file__).parent.glob("*.py"), *Path(__file__).parent.parent.glob("scripts/**/*.py")})


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_tests_read_compiled_programs_in_one_file(path):
    allowed = path.name in ("compiled.py", "test_jaxpr.py")
    found = [line for line in unpromised(path, frozenset(ON_COMPILED), texts=False) if "jax.experimental" not in line]
    assert allowed or found == [], "use tests/compiled.py"


def test_the_search_finds_every_kind():
    room = sorted((PACKAGE / "_jaxpr").glob("*.py"))
    found = {line.split(": ", 1)[1] for path in room for line in unpromised(path)}
    called = {"jax.make_jaxpr", "jax.core.eval_jaxpr", "jax.core.Tracer", "jax.config.jax_num_cpu_devices"}
    assert found >= {"jax.extend.core", "compiled.as_text", "XLA_FLAGS", "custom_lin", *called}


def test_what_an_output_depends_on_is_seen_through_jits():
    broken = "which arguments an output depends on is no longer known, so losses count as comparable or not by mistake"

    @jax.jit
    def inner(x, y):
        return x + 1, 2 * y

    def function(x, y, z):
        first, second = inner(x, y)
        return first * z, second

    jaxpr = _jaxpr.trace(function, 1.0, 2.0, 3.0).jaxpr
    assert _jaxpr.inputs_used(jaxpr, [True, False]) == [True, False, True], broken
    assert _jaxpr.inputs_used(jaxpr, [False, True]) == [False, True, False], broken
