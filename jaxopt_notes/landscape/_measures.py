"""What is measured at a point of a slice: scalars by name, traced inside the program of `engine`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._hoist import Program
from .._numerics import tree_dot, tree_norm
from ..curvature import HessianOperator, eigsh
from ..curvature._operators import flatten, matrix, second_order
from ._directions import AXES
from ._engine import Inputs

_DENSE = 64  # parameters up to which the whole spectrum is computed


def value(program: Program, settings: Any, inputs: Inputs, params: PyTree) -> dict[str, Array]:
    """The loss."""
    return {"loss": program(inputs.constants, params, *inputs.args)}


def slopes(program: Program, settings: Any, inputs: Inputs, params: PyTree) -> dict[str, Array]:
    """The loss, its derivative by every coordinate, and the norm of the gradient."""
    loss, gradient = jax.value_and_grad(lambda params: program(inputs.constants, params, *inputs.args))(params)
    found = {"loss": loss, "grad_norm": tree_norm(gradient)}
    for i, name in enumerate(AXES[: len(jax.tree.leaves(inputs.vectors)[0])]):
        direction = jax.tree.map(lambda leaf, i=i: leaf[i], inputs.vectors)
        found[f"slope_{name}"] = tree_dot(gradient, direction)
    return found


def extremes(program: Program, settings: Any, inputs: Inputs, params: PyTree) -> dict[str, Array]:
    """The loss and the ends of the spectrum of its Hessian."""
    tol, maxiter = settings
    loss = program(inputs.constants, params, *inputs.args)
    if sum(leaf.size for leaf in jax.tree.leaves(params)) <= _DENSE:
        _, gradient, product, _ = second_order(program, inputs.constants, params, inputs.args)
        hessian = matrix(product, gradient)
        eigenvalues = jnp.linalg.eigvalsh((hessian + hessian.T) / 2)
        ends, converged = eigenvalues[jnp.array([0, -1])], jnp.all(jnp.isfinite(eigenvalues))
    else:
        operator = HessianOperator(lambda params: program(inputs.constants, params, *inputs.args), params)
        # Without the second run: it finds repeated eigenvalues, and these change neither end of the spectrum. From a
        # random start the search itself verifies the ends.
        pairs = eigsh(operator, 2, which="BE", tol=tol, maxiter=maxiter, verify=False)
        ends, converged = pairs.values, jnp.all(pairs.converged)
    dtype = flatten(params)[0].dtype
    return {
        "loss": loss,
        "smallest": ends[0].astype(dtype),
        "largest": ends[1].astype(dtype),
        "converged": converged.astype(jnp.int32),
    }
