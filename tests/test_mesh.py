"""One trial over several devices: the numbers are those of one device to rounding, its arrays are really split, and
every argument that does not fit is named before anything is compiled."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import collectives_in
from jaxopt_notes.sweeps.compute.engine import Engine
from jaxopt_notes.sweeps.compute.memory import segment_compiled
from jaxopt_notes.sweeps.compute.programs import programs

SPACE = jon.grid(learning_rate=[0.003, 0.01, 0.03, 0.1])
PLANNED = {"seeds": 2, "steps": 12, "batch_size": 8}
COMMON = {**PLANNED, "progress": False}


def mesh(kind=AxisType.Auto, **sizes):
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(kind,) * len(sizes))


def network():
    """Two layers of 16 units on random numbers, with validation data."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((64, 6)).astype(np.float32)
    data = (inputs, np.sin(inputs @ random.standard_normal((6, 3))).astype(np.float32))

    def init(key):
        first, second = jax.random.split(key)
        return {
            "first": {"kernel": jax.random.normal(first, (6, 16)) / 3, "bias": jnp.zeros(16)},
            "second": {"kernel": jax.random.normal(second, (16, 3)) / 4, "bias": jnp.zeros(3)},
        }

    def loss(params, batch):
        inputs, targets = batch
        hidden = jnp.tanh(inputs @ params["first"]["kernel"] + params["first"]["bias"][None])
        return jnp.mean((hidden @ params["second"]["kernel"] + params["second"]["bias"][None] - targets) ** 2)

    return jon.Problem(loss, init, data=data, validation=jax.tree.map(lambda leaf: leaf[:24], data))


@pytest.fixture(scope="module")
def problem():
    return network()


INNER = {"trials": 2, "model": 2}
SPECS = {
    "first": {"kernel": PartitionSpec(None, "model"), "bias": PartitionSpec("model")},
    "second": {"kernel": PartitionSpec("model", None), "bias": PartitionSpec()},
}
TWICE = {"first": {"kernel": PartitionSpec("model", "model"), "bias": None}, "second": None}
LAYOUTS = {
    "data": ({"trials": 2, "data": 2}, None),
    "model": ({"trials": 2, "model": 2}, SPECS),
    "both": ({"trials": 1, "data": 2, "model": 2}, SPECS),
    "begun": ({"model": 2, "trials": 2}, {"first": None, "second": SPECS["second"]}),
}


OPTIONS = COMMON | {"width": 4, "evaluate_every": 4, "keep": "params"}


@pytest.fixture(scope="module")
def alone(problem):
    """The sweep on one device."""
    return jon.sweep(problem, jon.adam, SPACE, **OPTIONS, devices=jax.devices()[:1])


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_numbers_are_those_of_one_device(problem, alone, name):
    sizes, specs = LAYOUTS[name]
    table = jon.sweep(problem, jon.adam, SPACE, **OPTIONS, mesh=mesh(**sizes), param_specs=specs)
    for column in ("loss", "grad_norm", "update_norm", "final_loss", "validation_loss", "initial_loss"):
        np.testing.assert_allclose(table[column], alone[column], rtol=2e-5, atol=1e-7, err_msg=column)
    np.testing.assert_array_equal(table.status, alone.status)
    for trial in ({"learning_rate": 0.01, "seed": 0}, {"learning_rate": 0.1, "seed": 1}):
        ends = [jon.end_point(one, problem, **trial) for one in (table, alone)]
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6), *ends)


def test_eight_devices_give_the_numbers_of_one():
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(here.with_name("split_on.py"))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(here.parent.parent), str(here.parent)))},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    devices, difference = done.stdout.split()
    assert int(devices) == 8
    assert float(difference) < 2e-5


def test_parameters_and_the_state_of_the_optimizer_are_split(problem):
    plan = jon.plan(problem, jon.adam, SPACE, **PLANNED, width=4, mesh=mesh(trials=2, model=2), param_specs=SPECS)
    group = plan.groups[0]
    lanes = programs(group.static).begin(*Engine(group).first_pass()[:2])
    _, moments = [leaf for leaf in jax.tree.leaves(lanes.carry.state) if leaf.shape == (8, 6, 16)]
    for leaf in (lanes.carry.params["first"]["kernel"], moments):
        assert leaf.sharding.shard_shape((8, 6, 16)) == (4, 6, 8)


def test_devices_of_one_trial_add_up_gradients_and_those_of_two_trials_do_not_talk(problem):
    found = {}
    for name, (sizes, specs) in {**LAYOUTS, "plain": ({"trials": 4}, None)}.items():
        split = {"mesh": mesh(**sizes), "param_specs": specs}
        group = jon.plan(problem, jon.momentum, SPACE, **PLANNED, width=4, **split).groups[0]
        found[name] = collectives_in(segment_compiled(group.shapes, 4))
    assert not found.pop("plain")
    assert all(found.values()), found


def test_an_interrupted_store_resumes_bit_identically_and_refuses_another_mesh(problem, tmp_path):
    options = COMMON | {"width": 2, "mesh": mesh(trials=2, data=2)}
    whole = jon.sweep(problem, jon.adam, SPACE, **options)
    seen = []

    def stop(table):
        seen.append(table)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        jon.sweep(problem, jon.adam, SPACE, **options, store=tmp_path / "x", on_chunk=stop)
    table = jon.sweep(problem, jon.adam, SPACE, **options, store=tmp_path / "x")
    np.testing.assert_array_equal(table.loss, whole.loss)
    with pytest.raises(jon.StoreError, match="mesh"):
        jon.sweep(problem, jon.adam, SPACE, **COMMON, width=2, store=tmp_path / "x")


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"mesh": "2 x 2"}, TypeError, "mesh must be a jax.sharding.Mesh, .* got str"),
        ({"mesh": {"data": 4}}, ValueError, "mesh must have an axis 'trials'"),
        ({"mesh": {"trials": 2, "data": 2, "kind": AxisType.Explicit}}, ValueError, "type AxisType.Auto"),
        ({"mesh": {"trials": 4}, "devices": jax.devices()}, ValueError, "leave devices out"),
        ({"param_specs": PartitionSpec("model")}, ValueError, "give mesh too"),
        ({"mesh": {"trials": 1, "data": 4}, "batch_size": 6}, ValueError, "6 examples, .* multiple of 4"),
        (
            {"mesh": INNER, "param_specs": "model"},
            TypeError,
            "must be a jax.sharding.PartitionSpec",
        ),
        (
            {"mesh": INNER, "param_specs": PartitionSpec("modle")},
            ValueError,
            "did you mean 'model'",
        ),
        (
            {"mesh": INNER, "param_specs": PartitionSpec(None, "model")},
            ValueError,
            "bias.* dimensions",
        ),
        (
            {"mesh": INNER, "param_specs": PartitionSpec("model")},
            ValueError,
            "bias.* 3 .* evenly over 2",
        ),
        (
            {"mesh": INNER, "param_specs": {"first": PartitionSpec()}},
            ValueError,
            "structure of the param",
        ),
        ({"mesh": INNER, "param_specs": TWICE}, ValueError, "kernel'.* names an axis twice"),
        ({"mesh": INNER}, ValueError, "nothing is split along the axes .'model'."),
        ({"mesh": {"trials": 2, "batch": 2}}, ValueError, "nothing is split along the axes .'batch'."),
        ({"mesh": {"trials": 4}, "param_specs": PartitionSpec("model")}, ValueError, "unknown .* 'model'"),
    ],
)
def test_what_does_not_fit_is_named(problem, changed, error, message):
    sizes = changed.get("mesh")
    made = {"mesh": mesh(**sizes)} if isinstance(sizes, dict) else {}
    with pytest.raises(error, match=message):
        jon.sweep(problem, jon.adam, SPACE, **(COMMON | changed | made))


def test_a_plan_names_its_devices_and_keeps_its_mesh_when_it_is_remade(problem):
    plan = jon.plan(problem, jon.adam, SPACE, **PLANNED, width=4, mesh=mesh(trials=2, data=2))
    assert "on 4 cpu devices, each trial split over 2 devices {'data': 2}" in " ".join(str(plan).split())
    assert plan.remake(steps=6).groups[0].static.split == plan.groups[0].static.split
    assert plan.remake(mesh=None).groups[0].static.split is None
    with pytest.raises(ValueError, match="leave devices out"):
        plan.remake(devices=jax.devices()[:1])
    with pytest.raises(ValueError, match="no executor"):
        jon.sweep(plan, executor=ProcessPoolExecutor(1, mp_context=get_context("spawn")))


def test_invariance_is_a_question_about_whole_devices(problem):
    plan = jon.plan(problem, jon.adam, SPACE, **PLANNED, mesh=mesh(trials=2, data=2))
    with pytest.raises(ValueError, match="split over devices"):
        jon.check_invariance(plan)
