"""Real data that come with a library: no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from .. import _checks


class Examples(NamedTuple):
    """Inputs and integer labels along one leading axis of examples."""

    inputs: Float[Array, "examples ..."]
    labels: Int[Array, " examples"]


def digits(test_fraction: float = 0.2, split_seed: int = 0) -> tuple[Examples, Examples]:
    """The 1,797 handwritten digits bundled with scikit-learn, 8 x 8 pixels scaled to [0, 1], in 10 classes.

    Arguments:
        test_fraction: share of the examples held out, in (0, 1).
        split_seed: seed of the random split.

    Returns:
        Training and test examples: inputs of shape (n, 64) in the default floating dtype, labels of shape (n,)
        in int32.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; it comes with the `data` extra.
        ValueError: `test_fraction` leaves no training or no test example.

    Example:
        >>> import jaxopt_notes as jon
        >>> train, test = jon.problems.digits()
        >>> train.inputs.shape, test.inputs.shape
        ((1438, 64), (359, 64))

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    pixels, labels = _digits_of_scikit_learn()
    held_out = round(float(_checks.number("test_fraction", test_fraction, low=0.0, high=1.0)) * len(labels))
    if not 0 < held_out < len(labels):
        raise ValueError(f"test_fraction must leave examples on both sides of {len(labels)}, got {test_fraction}")
    order = np.random.default_rng(split_seed).permutation(len(labels))
    # Cast on the host: a cast of a device array is one more program to compile.
    inputs, labels = (pixels / 16).astype(jax.dtypes.canonicalize_dtype(float)), labels.astype(np.int32)
    parts = (order[held_out:], order[:held_out])
    train, test = (Examples(jax.device_put(inputs[part]), jax.device_put(labels[part])) for part in parts)
    return train, test


def _digits_of_scikit_learn() -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels from scikit-learn's own file, as importing scikit-learn takes a second."""
    found = importlib.util.find_spec("sklearn")
    if found is None:
        raise ModuleNotFoundError("digits needs scikit-learn: pip install 'jaxopt-notes[data]'")
    for folder in found.submodule_search_locations or ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits  # another version may keep the file elsewhere

    return load_digits(return_X_y=True)
