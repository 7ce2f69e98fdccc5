"""Lanes of a chunk that step in tiles: the results are those of all lanes side by side."""

import jax
import numpy as np
import optax
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes.sweeps.compute import trace


def network():
    """A small network with noise of its own in the loss, and held-out data."""
    smooth = jon.problems.digits_mlp(hidden=4)

    def loss(params, batch, *, key, l2):
        noise = jax.random.normal(key, batch.inputs.shape, batch.inputs.dtype)
        return smooth.loss(params, batch._replace(inputs=batch.inputs + 0.1 * noise)) + l2 * optax.tree.norm(
            params, squared=True
        )

    data = smooth.data
    held_out = jax.tree.map(lambda leaf: leaf[:100], data)
    return jon.Problem(loss, init=smooth.init, data=data, validation=held_out)


def swept(monkeypatch, bytes_of_a_step, **options):
    """A sweep whose lanes step in tiles of what so many bytes hold; also how many those are."""
    monkeypatch.setattr(trace, "STEP_BYTES", {"cpu": bytes_of_a_step})
    space = jon.grid(learning_rate=[0.01, 0.1, 1e37], l2=[0.0, 1e-3], steps=[8, 12])
    options = dict(seeds=2, steps=12, batch_size=16, width=12, devices=jax.devices()[:1]) | options
    plan = jon.plan(network(), jon.gradient_descent, space, **options)
    return jon.sweep(plan, progress=False), plan.groups[0].static.tile


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"every": 4, "record": ["loss"]},
        {"evaluate_every": 4, "patience": 4, "keep": "best"},
        {"skip_non_finite": 2},
    ],
)
@pytest.mark.parametrize("bytes_of_a_step", [1, 5 * 10**4])
def test_tiles_change_no_result(monkeypatch, options, bytes_of_a_step):
    together, all_lanes = swept(monkeypatch, 2**40, **options)
    apart, tile = swept(monkeypatch, bytes_of_a_step, **options)
    assert tile < 12 < all_lanes
    assert set(together) == set(apart)
    assert jon.Status.NON_FINITE in apart["status"].values or "skipped" in apart
    for name in ("status", "stopped_at"):
        np.testing.assert_array_equal(together[name], apart[name])
    xarray.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("trials", "tile", "width"),
    [
        (5, 8, 5),  # one tile
        (17, 8, 18),  # three tiles of six
        (26, 4, 27),
        (26, 2, 26),
        (29, 1, 29),
        (64, 16, 64),
        (100, 8, 50),  # two passes, of ten tiles of five
        (312, 8, 63),  # five passes, of nine tiles of seven
    ],
)
def test_lanes_divide_trials_and_tiles_evenly(monkeypatch, trials, tile, width):
    """One device; at most 64 lanes a pass."""
    bowl = jon.problems.bowl()
    monkeypatch.setattr(trace, "_lanes_of", lambda *_: (64, tile))
    space = jon.grid(learning_rate=np.linspace(0.01, 0.1, trials))
    plan = jon.plan(bowl, jon.gradient_descent, space, steps=4, devices=jax.devices()[:1])
    assert plan.width == width


def test_the_work_of_a_step_does_not_depend_on_tiles(monkeypatch):
    def work(tile):
        monkeypatch.setattr(trace, "_lanes_of", lambda *_: (64, tile))
        space = jon.grid(learning_rate=np.linspace(0.01, 0.1, 8), l2=[0.0])
        return jon.plan(network(), jon.gradient_descent, space, steps=4, width=8, batch_size=16).groups[0].work

    together, apart = work(None), work(1)
    assert apart.flops == pytest.approx(together.flops, rel=0.05)
    assert apart.bytes == together.bytes
    assert apart.kernels == pytest.approx(8 * together.kernels, rel=0.5)  # XLA joins them otherwise for one lane
