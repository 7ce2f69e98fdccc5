"""What a page computes with, as JavaScript: the engine, which serves every function, and the functions.

The engine's programs are those of `_engine` and `_survey`, traced for a function that the page supplies. They depend on
this package alone, so `scripts/compile_explorer.py` compiles them once, into a file for functions of one variable and
one for two. Of a user's function the value, the gradient and the Hessian are compiled, which takes tenths of a second.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._derivatives import dense_hessian
from ..curvature import CriticalPoint
from ._controls import CONTROLS
from ._engine import _descend, _End, _judge, _look, _Static
from ._scenes import Scene
from ._survey import COLUMNS, CURVE, ROWS, survey
from .compile import external_loss, javascript

PROGRAMS = {n: Path(__file__).parent / "page" / f"programs_{n}.js" for n in (1, 2)}
VERDICT = tuple(name for name in CriticalPoint._fields if name != "certificate")  # the results of `judge`, in order


def engine(dimension: int) -> str:
    """The engine for functions of so many variables, in JavaScript; it needs `R` of the runtime before it.

    Arguments:
        dimension: 1 or 2.

    Returns:
        The constant `ENGINE1` or `ENGINE2`, with a maker of each program: `ENGINE2.adam(F)` is the path of Adam on the
        function F of two variables, and `adam_noisy`, `judge` and `survey` are made in the same way.

    Example:
        >>> "const ENGINE2 = " in PROGRAMS[2].read_text()
        True
    """
    with jax.enable_x64(True):
        programs = dict(_programs(dimension))
    sources = "\n".join(programs.values())
    return f"const ENGINE{dimension} = (() => {{\n{sources}\nreturn {{{', '.join(programs)}}};\n}})();\n"


def _programs(dimension: int) -> Iterator[tuple[str, str]]:
    """Name and source of every program for functions of so many variables."""
    box = np.stack([np.zeros(dimension), np.ones(dimension)])
    program, constants = Scene("external", external_loss(dimension), box, np.zeros(dimension)).traced
    point, shared, counts = jnp.zeros(dimension), jnp.zeros(2), jnp.zeros(2, jnp.int32)

    for name, controls in CONTROLS.items():
        for noisy in (False, True):
            static = _Static(program, name, noisy)
            path = functools.partial(_descend, static, constants)
            called = f"{name}_noisy" if noisy else name
            yield called, javascript(path, jnp.zeros(len(controls)), point, shared, counts, name=called).source

    def judged(last: Array, lowest: Array, preconditioner: Array, reach: Array) -> tuple[CriticalPoint, Array, Array]:
        local = _look(program, constants, [_End(last, lowest, preconditioner)], reach)
        return _judge(local), local.gap, local.sharpness

    yield "judge", javascript(judged, point, point, point, jnp.zeros(()), name="judge").source
    axes = [jnp.zeros(count) for count in ((CURVE,) if dimension == 1 else (COLUMNS, ROWS))]
    yield "survey", javascript(functools.partial(survey, program, constants), axes, name="survey").source


def function_source(scene: Scene) -> str:
    """The function of a scene in JavaScript.

    Arguments:
        scene: the function.

    Returns:
        An expression, an object with `value(x...)`, `slope(x...)` (value and gradient) and `hessian(x...)`, each an
        array of results.

    Raises:
        NotImplementedError: the function has an operation without a rule; it is named.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> "const hessian=" in function_source(catalogue()["bowl"])
        True
    """

    def loss(*numbers: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.asarray(scene.loss(jnp.stack(numbers)), float)

    with jax.enable_x64(True):
        example = [jnp.zeros(())] * scene.dimension
        every = tuple(range(scene.dimension))

        def slope(*numbers: Float[Array, ""]) -> tuple[Array, Array]:
            value, gradient = jax.value_and_grad(loss, every)(*numbers)
            return value, jnp.stack(gradient)

        def hessian(*numbers: Float[Array, ""]) -> Array:
            return dense_hessian(lambda x: jnp.asarray(scene.loss(x), float), jnp.stack(numbers))

        programs = {"value": loss, "slope": slope, "hessian": hessian}
        sources = [javascript(program, *example, name=name).source for name, program in programs.items()]
    return "(() => {\n" + "\n".join(sources) + "\nreturn { value, slope, hessian };\n})()"
