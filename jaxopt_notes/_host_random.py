"""Random numbers of `jax.random` on the host, where compiling its generator would take longer than all else."""

from __future__ import annotations

import math
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


def fold_in_on_host(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """`jax.random.fold_in` of every key with its number, below 2^32; a key is two words along the last axis."""
    return np.stack(_threefry(keys.T, numbers.astype(np.uint32)), axis=-1)


def permutations_on_host(keys: np.ndarray, size: int) -> np.ndarray:
    """`jax.random.permutation(key, size)` of every key, the same whole numbers; a key is two words along the last axis.

    The places are sorted by random words, as often as JAX does it: again where there are so many that words coincide.

    Example:
        >>> import jax, numpy as np
        >>> from jaxopt_notes._host_random import permutations_on_host
        >>> key = jax.random.key(3)
        >>> found = permutations_on_host(np.asarray(jax.random.key_data(key))[None], 5)[0]
        >>> bool((found == jax.random.permutation(key, 5)).all())
        True
    """
    places = np.arange(size, dtype=np.uint64)
    permutations = np.broadcast_to(np.arange(size, dtype=np.int32), (len(keys), size))
    for _ in range(math.ceil(3 * math.log(max(size, 1)) / math.log(2**32 - 1))):
        high, low = _threefry(keys.T[..., None], np.arange(2, dtype=np.uint32))
        keys, drawn = (np.stack((high[:, i], low[:, i]), axis=-1) for i in range(2))
        high, low = _threefry(drawn.T[..., None], np.arange(size, dtype=np.uint32))
        # The place below the word: sorting whole numbers is quicker than sorting places by them, and equal words keep
        # their order.
        sorted_places = np.sort((high ^ low).astype(np.uint64) << np.uint64(32) | places, axis=-1)
        order = (sorted_places & np.uint64(0xFFFFFFFF)).astype(np.int64)
        permutations = np.take_along_axis(permutations, order, axis=-1)
    return permutations


def _threefry(key: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two random words for each count; a count is the lower word of the generator's input, whose upper word is zero.

    The two words of the key may be arrays that broadcast against the counts.
    """
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    high, low = np.zeros_like(counts) + keys[0], counts + keys[1]
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            high = high + low
            low = (low << np.uint32(rotation) | low >> np.uint32(32 - rotation)) ^ high
        high = high + keys[(turn + 1) % 3]
        low = low + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return high, low
