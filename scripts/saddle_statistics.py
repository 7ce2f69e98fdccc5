"""Are saddles everywhere? The critical points of random functions by dimension, and their height by index.

    python scripts/saddle_statistics.py [--help]

The functions are sums of cosines with random directions, smooth Gaussian fields in the limit of many: what is found is
conditional on where the search starts and on the box.

Source: Dauphin et al., 2014; Bray and Dean, 2007.
"""

import tyro

import jaxopt_notes as jon

jon.use_cpu_cores()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402


def field(x, directions, phases):
    return jnp.sqrt(2 / phases.size) * jnp.sum(jnp.cos(directions @ x + phases))


def main(largest: int = 5, starts: int = 2000, waves: int = 200, seed: int = 0) -> None:
    """Find the critical points of one random field per dimension.

    Args:
        largest: the last dimension; the first is 1.
        starts: of Newton's method, uniform in a box of side 10 (about a wavelength and a half).
        waves: cosines in the sum.
        seed: of the fields and the starts.
    """
    with jax.enable_x64(True):
        print("dimension  found  minima  maxima  saddles  rank correlation of index and height")
        for dimension in range(1, largest + 1):
            keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), dimension), 3)
            directions = jax.random.normal(keys[0], (waves, dimension))
            phases = jax.random.uniform(keys[1], (waves,), maxval=2 * jnp.pi)
            begin = jax.random.uniform(keys[2], (starts, dimension), minval=-5.0, maxval=5.0)
            found = jon.find_critical_points(field, begin, directions, phases, box=(-5.0, 5.0))
            index, height = np.asarray(found.verdicts.index), np.asarray(found.loss)
            minima, maxima = float(np.mean(index == 0)), float(np.mean(index == dimension))
            correlation = spearmanr(index, height).statistic
            row = f"{minima:6.1%}  {maxima:6.1%}  {1 - minima - maxima:7.1%}  {correlation:+.3f}"
            print(f"{dimension:9d}  {index.size:5d}  {row}")


if __name__ == "__main__":
    tyro.cli(main)
