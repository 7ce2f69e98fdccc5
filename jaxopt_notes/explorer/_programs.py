"""What a page computes with, as JavaScript: the engine, which serves every function, and the functions.

The engine's programs are those of `_engine` and `_survey`, traced for a function that the page supplies. They depend on
this package alone, so they are compiled once, into `page/programs.js`, by `scripts/compile_explorer.py`. A function of a user needs its value, its gradient and its Hessian compiled, which takes tenths
of a second.
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
from .compile import external_loss, javascript, runtime

PROGRAMS = Path(__file__).parent / "page" / "programs.js"
VERDICT = tuple(name for name in CriticalPoint._fields if name != "certificate")  # the results of `judge`, in order


def engine() -> str:
    """The engine in JavaScript: the runtime, and `ENGINE[dimension]` with a maker of each program.

    Returns:
        `R` and `ENGINE`. `ENGINE[2].adam(F)` is the path of Adam on the function F of two variables, and
        `adam_noisy`, `judge` and `survey` are made in the same way.

    Example:
        >>> "ENGINE" in PROGRAMS.read_text()
        True
    """
    parts = [runtime()]
    with jax.enable_x64(True):
        for dimension in (1, 2):
            programs = dict(_programs(dimension))
            parts.append(f"const ENGINE{dimension} = (() => {{\n" + "\n".join(programs.values()))
            parts.append(f"return {{{', '.join(programs)}}};\n}})();")
    parts.append("const ENGINE = { 1: ENGINE1, 2: ENGINE2 };\n")
    return "\n".join(parts)


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
