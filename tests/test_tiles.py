"""Lanes of a chunk that step in tiles: the results are those of all lanes side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import bytes_needed
from jaxopt_notes.sweeps.compute import memory, tiles, trace


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


def swept(monkeypatch, tile, **options):
    """A sweep whose lanes should step in tiles of this size."""
    monkeypatch.setattr(trace, "suited_tile", lambda *_: tile)
    space = jon.grid(learning_rate=[0.01, 0.1, 1e37], l2=[0.0, 1e-3], steps=[8, 12])
    options = dict(seeds=2, steps=12, batch_size=16, width=12, devices=jax.devices()[:1]) | options
    plan = jon.plan(network(), jon.gradient_descent, space, **options)
    return jon.sweep(plan, progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"every": 4, "record": ["loss"]},
        {"evaluate_every": 4, "patience": 4, "keep": "best"},
        {"skip_non_finite": 2},
    ],
)
@pytest.mark.parametrize(("wished", "actual"), [(1, 1), (4, 4), (5, 4)])
def test_tiles_change_no_result(monkeypatch, options, wished, actual):
    assert tiles.tile_of(12, wished) == actual
    together = swept(monkeypatch, None, **options)
    apart = swept(monkeypatch, wished, **options)
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
    monkeypatch.setattr(trace, "suited_tile", lambda *_: tile)
    space = jon.grid(learning_rate=np.linspace(0.01, 0.1, trials))
    plan = jon.plan(bowl, jon.gradient_descent, space, steps=4, devices=jax.devices()[:1])
    assert plan.width == width


def planned(monkeypatch, tile, width, devices=1, **options):
    monkeypatch.setattr(trace, "suited_tile", lambda *_: tile)
    space, where = jon.grid(learning_rate=np.linspace(0.01, 0.1, 36)), jax.devices()[:devices]
    options = {"steps": 4, "width": width, "batch_size": 64, "devices": where} | options
    return jon.plan(jon.problems.digits_mlp(hidden=32), jon.momentum, space, **options).groups[0]


def test_the_work_of_a_step_does_not_depend_on_tiles(monkeypatch):
    together, apart = planned(monkeypatch, None, 8).work, planned(monkeypatch, 1, 8).work
    assert apart.flops == pytest.approx(together.flops, rel=0.05)
    assert apart.bytes == together.bytes
    assert apart.kernels > 2 * together.kernels


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("tile", "width"), [(1, 9), (3, 9), (4, 8), (4, 7), (None, 8)])
def test_memory_is_that_of_the_compiled_tiles(monkeypatch, tile, width, devices):
    plan = planned(monkeypatch, tile, width, devices)
    compiled = bytes_needed(memory.segment_compiled(plan.shapes.alone, width)).total
    assert 0.9 * compiled <= plan.memory.of(width) <= 1.4 * compiled
    assert compiled <= memory.most_bytes(plan.shapes, width)


def test_a_tile_fits_the_cache_and_divides_what_all_lanes_share():
    """By the bytes of a step: of the lane's own parameters and gradient, and of what its loss computes."""
    rows = np.ones((1000, 16), np.float32)

    def tile(loss, seeds=1, size=16, **options):
        space, start = jon.grid(learning_rate=np.linspace(0.01, 0.1, 64)), jnp.zeros(size)
        problem = jon.Problem(loss, init=start, data=None if "data" in options else rows)
        return jon.plan(problem, jon.gradient_descent, space, steps=4, seeds=seeds, **options).groups[0].static.tile

    def fit(weights, batch):
        return jnp.mean((batch @ weights - 1) ** 2)

    def noisy(weights, batch, *, key):
        return fit(weights, batch + jax.random.normal(key, batch.shape))

    def scaled(weights, batch):
        return fit(weights, jnp.exp(jnp.sin(batch - batch.mean(axis=0, keepdims=True))))

    lane = 3 * 4000  # three arrays with a number for each example
    assert tiles.STEP_BYTES["cpu"] // 4 <= tile(fit) * lane <= tiles.STEP_BYTES["cpu"] * 1.5
    assert tile(noisy) > 64 > tile(noisy, seeds=2)  # one seed has one noise for all lanes
    assert tile(scaled, data=rows, batch_size=100) > tile(scaled, batch_size=100)
    assert tile(lambda x: jnp.sum(x**2), data=None, size=2**20) == 1
