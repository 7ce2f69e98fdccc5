"""Convolution as XLA has it, or as patches times a matrix, which XLA:CPU runs several times faster inside a loop."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks

METHODS = ("auto", "patches", "lax")


def convolve(
    inputs: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows columns channels features"],
    *,
    strides: int = 1,
    method: str = "auto",
) -> Float[Array, "batch out_height out_width features"]:
    """Cross-correlation of images with a kernel, padded by zeros so that stride 1 keeps their size.

        y[i, j, f] = sum_{a, b, c} x[s i + a - r, s j + b - r, c] k[a, b, c, f],    r = (size - 1) / 2

    Inside a compiled loop on CPU, XLA runs the gradient of its own convolution an order of magnitude slower than the
    same sum as one matrix product, so there the patches are written out, and elsewhere not.

    Arguments:
        inputs: images, channels last.
        kernel: of odd size, in flax's layout.
        strides: in both directions, at least 1. Static.
        method: "patches", "lax", or "auto": patches on CPU. Static.

    Returns:
        Images of the size of the inputs divided by `strides`, rounded up.

    Raises:
        ValueError: an even kernel, channels that differ, or an unknown method.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.problems._convolution import convolve
        >>> convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    rows, columns, channels, features = kernel.shape
    strides = _checks.count("strides", strides)
    _checks.choice("method", method, METHODS)
    if rows % 2 == 0 or columns % 2 == 0:
        raise ValueError(f"kernel must have an odd size, got {rows} x {columns}")
    if inputs.shape[-1] != channels:
        raise ValueError(f"inputs have {inputs.shape[-1]} channels, the kernel takes {channels}")
    down, across = rows // 2, columns // 2
    if method == "lax" or (method == "auto" and jax.default_backend() != "cpu"):
        padding = [(down, down), (across, across)]
        return jax.lax.conv_general_dilated(
            inputs, kernel, (strides, strides), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    height, width = inputs.shape[1:3]
    padded = jnp.pad(inputs, ((0, 0), (down, down), (across, across), (0, 0)))
    shifted = [
        padded[:, a : a + height : strides, b : b + width : strides] for a in range(rows) for b in range(columns)
    ]
    patches = jnp.stack(shifted, axis=-2)
    flat = patches.reshape(*patches.shape[:3], rows * columns * channels)
    return flat @ kernel.reshape(-1, features)


class Conv(nn.Module):
    """Convolution with a bias, in flax's layout; parameters have the dtype of the inputs. See `convolve`."""

    features: int
    size: int = 3
    strides: int = 1
    use_bias: bool = True
    method: str = "auto"

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch height width channels"]) -> Float[Array, "batch h w features"]:
        """The images after the convolution."""
        shape = (self.size, self.size, inputs.shape[-1], self.features)
        init: Any = nn.initializers.he_normal()
        kernel = self.param("kernel", init, shape, inputs.dtype)
        outputs = convolve(inputs, kernel, strides=self.strides, method=self.method)
        if not _checks.boolean("use_bias", self.use_bias):
            return outputs
        bias: Any = self.param("bias", nn.initializers.zeros, (self.features,), inputs.dtype)
        return outputs + bias.reshape(1, 1, 1, -1)
