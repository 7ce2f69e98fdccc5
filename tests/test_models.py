"""Convolutions against XLA's own, networks of images, and data from the user's files."""

import gzip
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes import problems
from jaxopt_notes.problems._convolution import convolve


def first(examples, count):
    return jax.tree.map(lambda leaf: leaf[:count], examples)


@pytest.mark.parametrize(("size", "strides", "height"), [(3, 1, 8), (3, 2, 8), (3, 2, 7), (1, 2, 8), (5, 1, 6)])
def test_patches_equal_the_convolution_of_xla_with_its_derivatives(size, strides, height):
    images = jax.random.normal(jax.random.key(0), (4, height, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 5))

    def value(method):
        def total(images, kernel):
            found = convolve(images, kernel, strides=strides, method=method)
            return jnp.sum(jnp.sin(found)), found

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(images, kernel)

    (_, ours), slopes = value("patches")
    (_, theirs), expected = value("lax")
    assert ours.shape == theirs.shape == (4, -(-height // strides), -(-6 // strides), 5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    for slope, other in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(slope, other, rtol=1e-3, atol=1e-4)


def test_the_backend_chooses_the_convolution():
    images, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    text = str(jax.make_jaxpr(lambda x, k: convolve(x, k))(images, kernel))
    assert ("conv_general_dilated" in text) == (jax.default_backend() != "cpu")


@pytest.mark.parametrize(("skip", "norm"), [(True, "none"), (False, "batch")])
def test_residual_networks_learn_and_differ_by_their_skips(skip, norm):
    problem = problems.digits_resnet(8, skip=skip, norm=norm, width=2)
    params = problem.init(jax.random.key(0))
    assert {leaf.ndim for leaf in jax.tree.leaves(params)} == {1, 2, 4}
    few = first(problem.data, 64)
    run = jon.minimize(problem.loss, params, jon.adam(2e-2), steps=40, data=few)
    assert float(run.initial_loss) > 1.2 * float(run.final_loss)
    kernels = [path for path, leaf in jax.tree_util.tree_leaves_with_path(params) if leaf.ndim == 4]
    assert len(kernels) == 1 + 6 + 2 * skip  # with skips two 1 x 1 convolutions where the size changes


def test_the_convolutional_network_is_the_same_by_either_method():
    ours, theirs = (problems.digits_cnn(method=method) for method in ("patches", "lax"))
    params = ours.init(jax.random.key(0))
    for problem in (ours, theirs):
        assert jax.tree.structure(problem.init(jax.random.key(0))) == jax.tree.structure(params)
    losses = [jax.jit(problem.loss)(params, first(ours.data, 50)) for problem in (ours, theirs)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    assert ours.baseline == pytest.approx(np.log(10), abs=1e-2)
    assert 0 <= float(jax.jit(ours.metrics["accuracy"])(params, first(ours.data, 50))) <= 0.5


def test_running_statistics_are_explicit_state():
    model = problems.ResNet(depth=8, width=2)
    few = first(problems.digits()[0], 100)
    variables = jax.jit(model.init)(jax.random.key(0), few.inputs[:2])
    params, state = {"params": variables["params"]}, variables["batch_stats"]
    run = jon.minimize(
        problems.batch_norm_loss(model), params, jon.gradient_descent(1e-6), steps=60, data=few, aux=state
    )
    # With a rate this low the statistics, 0 and 1 at first, come to those of the data.
    hidden = convolve(few.inputs.reshape(-1, 8, 8, 1), params["params"]["Conv_0"]["kernel"])
    np.testing.assert_allclose(run.aux["BatchNorm_0"]["mean"], hidden.mean(axis=(0, 1, 2)), rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(run.aux["BatchNorm_0"]["var"], hidden.var(axis=(0, 1, 2)), rtol=0.02, atol=1e-3)
    # So batches normalised by the running statistics and by their own give the same logits.
    apply = jax.jit(model.apply, static_argnames=("train", "mutable"))
    running = apply({**params, "batch_stats": run.aux}, few.inputs, train=False)
    own, _ = apply({**params, "batch_stats": state}, few.inputs, train=True, mutable=("batch_stats",))
    np.testing.assert_allclose(running, own, rtol=0.05, atol=0.05)


def idx(array):
    lengths = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        if name[0] == "x"
        else rng.integers(0, 10, count, dtype=np.uint8)
        for name, count in (("x_train", 6), ("y_train", 6), ("x_test", 3), ("y_test", 3))
    }


def test_mnist_from_idx_files_packed_or_not_and_from_npz(tmp_path, arrays):
    np.savez(tmp_path / "mnist.npz", **arrays)
    (tmp_path / "idx").mkdir()
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for i, (name, array) in enumerate(zip(names, arrays.values(), strict=True)):
        packed = i % 2 == 0
        text = gzip.compress(idx(array)) if packed else idx(array)
        (tmp_path / "idx" / (name + ".gz" * packed)).write_bytes(text)
    for path in (tmp_path / "mnist.npz", tmp_path / "idx"):
        train, test = problems.mnist(path)
        assert train.inputs.shape == (6, 28, 28, 1)
        np.testing.assert_allclose(test.inputs[..., 0], arrays["x_test"] / 255, rtol=1e-6)
        assert test.labels.tolist() == arrays["y_test"].tolist()
    assert len(problems.mnist(tmp_path / "idx", limit=2)[0].labels) == 2
    problem = problems.classifier(problems.CNN((2,)), train, test)
    assert np.isfinite(float(problem.full_loss(problem.init(jax.random.key(0)))))


def test_cifar10_from_its_binary_version(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = rng.integers(0, 256, (6, 4, 3073), dtype=np.uint8)
    records[:, :, 0] %= 10
    for name, part in zip([f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"], records, strict=True):
        part.tofile(folder / name)
    train, test = problems.cifar10(tmp_path)
    assert train.inputs.shape == (20, 32, 32, 3)
    assert test.labels.tolist() == records[5, :, 0].tolist()
    red = records[0, 1, 1:1025].reshape(32, 32)
    np.testing.assert_allclose(train.inputs[1, :, :, 0], red / 255, rtol=1e-6)


def test_missing_and_wrong_files_say_what_is_wanted(tmp_path, arrays):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.*Nothing is downloaded"):
        problems.mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data_batch_1.bin.*binary version"):
        problems.cifar10(tmp_path)
    np.savez(tmp_path / "half.npz", x_train=arrays["x_train"])
    with pytest.raises(ValueError, match="lacks y_train"):
        problems.mnist(tmp_path / "half.npz")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(arrays))
    with pytest.raises(ValueError, match="is no MNIST"):
        problems.mnist(tmp_path / "pickle.npz")
    np.savez(tmp_path / "small.npz", **{**arrays, "x_test": arrays["x_test"][:, :9]})
    with pytest.raises(ValueError, match=r"is no MNIST: test has images \(3, 9, 28\)"):
        problems.mnist(tmp_path / "small.npz")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: problems.digits_resnet(9), ValueError, "depth must be 6 n [+] 2, got 9; the nearest are 8 and 14"),
        (lambda: problems.digits_resnet(8, norm="bach"), ValueError, "did you mean 'batch'"),
        (lambda: problems.digits_resnet(8, skip="no"), TypeError, "skip must be True or False"),
        (lambda: problems.digits_cnn(()), ValueError, "at least one number of channels"),
        (lambda: problems.digits_cnn(method="patch"), ValueError, "did you mean 'patches'"),
        (lambda: problems.classifier(3, *problems.digits()), TypeError, "must be a flax module"),
        (lambda: convolve(jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1))), ValueError, "odd size"),
        (lambda: convolve(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 1))), ValueError, "2 channels"),
        (lambda: problems.CNN().init(jax.random.key(0), jnp.ones((2, 7))), ValueError, "flat and square"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
