"""Random numbers of `jax.random` on the host, where compiling its generator would take longer than all else."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def normal_on_host(size: int, dtype: np.dtype, seed: int) -> np.ndarray:
    """`jax.random.normal(jax.random.key(seed), (size,), dtype)` in float64, up to rounding of `dtype`.

    Arguments:
        size: at most 2^32.
        dtype: float32 or float64.
        seed: a non-negative integer below 2^32.

    Example:
        >>> import jax, numpy as np
        >>> from jaxopt_notes._host_random import normal_on_host
        >>> difference = normal_on_host(5, np.dtype("float32"), 3) - jax.random.normal(jax.random.key(3), (5,))
        >>> bool(np.abs(difference).max() < 1e-6)
        True

    Source: Salmon, Moraes, Dror and Shaw, 2011 (Threefry, 20 rounds).
    """
    high, low = _threefry(np.array([0, seed], np.uint32), np.arange(size, dtype=np.uint32))
    if dtype == np.float64:
        bits = (high.astype(np.uint64) << np.uint64(32) | low) >> np.uint64(12)
        uniform = (bits | np.uint64(0x3FF0000000000000)).view(np.float64) - 1
    else:
        uniform = ((high ^ low) >> np.uint32(9) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)
    least = np.nextafter(dtype.type(-1), dtype.type(0))
    uniform = np.maximum(uniform * (1 - least) + least, least).astype(np.float64)
    quantile = NormalDist().inv_cdf
    return np.array([quantile((1 + number) / 2) for number in uniform])


def _threefry(key: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two random words for each count; a count is the lower word of the generator's input, whose upper word is zero."""
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    high, low = np.full_like(counts, keys[0]), counts + keys[1]
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            high = high + low
            low = (low << np.uint32(rotation) | low >> np.uint32(32 - rotation)) ^ high
        high = high + keys[(turn + 1) % 3]
        low = low + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return high, low
