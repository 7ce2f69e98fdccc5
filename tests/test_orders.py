"""Orders of the examples drawn on the host: those that `jax.random` gives, for every generator and stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes._host_random import fold_in_on_host, permutations_on_host
from jaxopt_notes.minibatches import Minibatches, indices, indices_of_keys


def rotated(key, epoch, examples):
    return jnp.roll(jnp.arange(examples), epoch + jax.random.randint(key, (), 0, 100))


STREAMS = {
    "reshuffled": jon.minibatches.reshuffle(3),
    "shuffled once": jon.minibatches.shuffle_once(3),
    "with replacement": jon.minibatches.random(3),
    "own": Minibatches(3, rotated),
}


@pytest.mark.parametrize("size", [1, 2, 7, 1625, 1626, 70_000])  # from 1626 on JAX sorts twice
def test_permutations_are_those_of_jax(size):
    keys = jax.random.split(jax.random.key(size), 3)
    found = permutations_on_host(np.asarray(jax.random.key_data(keys)), size)
    for key, permutation in zip(keys, found, strict=True):
        np.testing.assert_array_equal(permutation, jax.random.permutation(key, size))


def test_keys_of_epochs_are_those_of_jax():
    key = jax.random.key(2**32 - 5)
    numbers = np.array([0, 1, 2**31, 2**32 - 1], np.uint32)
    found = fold_in_on_host(np.asarray(jax.random.key_data(key))[None].repeat(4, axis=0), numbers)
    for words, number in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(words, jax.random.key_data(jax.random.fold_in(key, number)))


@pytest.mark.parametrize("partitionable", [True, False])
@pytest.mark.parametrize("generator", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("stream", STREAMS)
def test_they_are_those_inside_a_program(stream, generator, partitionable):
    with jax.threefry_partitionable(partitionable):
        keys = jax.random.split(jax.random.key(4, impl=generator), 2)
        found = indices_of_keys(STREAMS[stream], keys, first_step=5, steps=20, examples=14)
        for key, rows in zip(keys, found, strict=True):
            expected = jax.jit(lambda key: indices(STREAMS[stream], key, 5, 20, 14))(key)
            np.testing.assert_array_equal(rows, expected)
            assert rows.dtype == np.int32


@pytest.mark.parametrize("generator", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_run_sees_the_same_batches_inside_jit(stream, generator):
    key, data = jax.random.key(4, impl=generator), jnp.arange(14.0)
    loss = lambda x, batch: jnp.mean((x - batch) ** 2)
    given = dict(steps=20, data=data, minibatches=STREAMS[stream], key=key)
    run = lambda: jon.minimize(loss, 0.0, jon.gradient_descent(0.1), **given)
    np.testing.assert_array_equal(run().loss, jax.jit(run)().loss)


@pytest.mark.parametrize("generator", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_an_order_depends_on_the_key_and_the_epoch_alone(generator):
    """`vmap` of several keys of rbg draws other numbers than each of them."""
    key = jax.random.key(4, impl=generator)
    whole = indices(STREAMS["reshuffled"], key, 0, 40, 14)
    for first in (1, 13, 25):
        np.testing.assert_array_equal(indices(STREAMS["reshuffled"], key, first, 9, 14), whole[first : first + 9])
    once = indices(STREAMS["shuffled once"], key, 0, 40, 14).reshape(-1, 4 * 3)
    np.testing.assert_array_equal(once, once[:1].repeat(len(once), axis=0))
    drawn = indices_of_keys(STREAMS["shuffled once"], jax.random.split(key, 2), 0, 40, 14).reshape(2, -1, 4 * 3)
    np.testing.assert_array_equal(drawn, drawn[:, :1].repeat(drawn.shape[1], axis=1))


def test_many_examples_are_shuffled_in_parts():
    keys, stream = jax.random.split(jax.random.key(0), 2), jon.minibatches.reshuffle(700_000)
    found = indices_of_keys(stream, keys, first_step=0, steps=2, examples=700_000)
    for key, rows in zip(keys, found, strict=True):
        np.testing.assert_array_equal(rows, indices(stream, key, 0, 2, 700_000))


def test_shuffling_compiles_nothing():
    keys = jax.random.split(jax.random.key(0), 2)
    with compiled_programs() as compiled:
        indices_of_keys(jon.minibatches.reshuffle(5), keys, first_step=0, steps=9, examples=23)
    assert compiled == []
