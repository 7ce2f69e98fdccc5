"""A character transformer, in flax linen or in flax NNX, and its training recipe swept as one compiled program.

The text is Python's own documentation, which every Python ships with. The recipe is optax's: clipping, AdamW with decay
on matrices only, linear warm-up and cosine decay, gradients accumulated over two batches. Swept are its peak rate, the
length of the warm-up, b2, and the model's dropout rate; validation data are looked at along the way, trials that stop
improving stop, and their lanes are packed. The best trial is then trained further, saved, and loaded in a new process.

    python scripts/sweep_transformer.py [--library linen|nnx] [--quick]
"""

import argparse
import pathlib
import pydoc_data.topics
import subprocess
import sys
import tempfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxopt_notes as jon

CONTEXT, WIDTH, HEADS, BLOCKS = 32, 32, 2, 2


def characters(examples, seed=0):
    """Inputs and next characters, shape (examples, CONTEXT) each, drawn from the text; and the number of characters."""
    text = "".join(topic for _, topic in sorted(pydoc_data.topics.topics.items()))
    known = sorted(set(text))
    codes = np.searchsorted(known, list(text)).astype(np.int32)
    starts = np.random.default_rng(seed).integers(0, len(codes) - CONTEXT - 1, examples)
    windows = codes[starts[:, None] + np.arange(CONTEXT + 1)]
    return (windows[:, :-1], windows[:, 1:]), len(known)


class Linen(nn.Module):
    """The transformer in flax linen."""

    vocabulary: int
    drop: float = 0.0

    @nn.compact
    def __call__(self, codes, train):
        place = self.param("place", nn.initializers.normal(0.02), (CONTEXT, WIDTH))
        x = nn.Embed(self.vocabulary, WIDTH)(codes) + place[None]
        mask = nn.make_causal_mask(codes)
        for _ in range(BLOCKS):
            x += nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(x), mask=mask)
            hidden = nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x)))
            x += nn.Dropout(self.drop, deterministic=not train)(nn.Dense(WIDTH)(hidden))
        return nn.Dense(self.vocabulary)(nn.LayerNorm()(x))


class Block(nnx.Module):
    """One block of the transformer in flax NNX."""

    def __init__(self, rngs):
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)
        self.drop = nnx.Dropout(0.0, rngs=rngs)

    def __call__(self, x, mask):
        x += self.attention(self.norms[0](x), mask=mask)
        return x + self.drop(self.down(nnx.gelu(self.up(self.norms[1](x)))))


class NNX(nnx.Module):
    """The transformer in flax NNX."""

    def __init__(self, vocabulary, rngs):
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (CONTEXT, WIDTH)))
        self.embed = nnx.Embed(vocabulary, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(BLOCKS)])
        self.norm, self.out = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.Linear(WIDTH, vocabulary, rngs=rngs)

    def __call__(self, codes):
        x, mask = self.embed(codes) + self.place[...][None], nnx.make_causal_mask(codes)
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.norm(x))


def cross_entropy(logits, codes):
    return optax.softmax_cross_entropy_with_integer_labels(logits, codes).mean()


def linen_loss(model, batch, *, drop):
    return cross_entropy(model.clone(drop=jon.problems.DropoutRate(drop))(batch[0]), batch[1])


def nnx_loss(model, batch, *, drop):
    for block in model.blocks:
        block.drop.rate = jon.problems.DropoutRate(drop)
    return cross_entropy(model(batch[0]), batch[1])


def problem_of(library, examples):
    """The transformer with its data in three parts."""
    data, vocabulary = characters(examples)
    cut = int(0.8 * examples), int(0.9 * examples)
    train, validation, test = (tuple(leaf[part] for leaf in data) for part in map(slice, (0, *cut), (*cut, None)))
    sets = dict(data=train, validation=validation, test_data=test)
    if library == "linen":
        return jon.problems.from_linen(Linen(vocabulary), linen_loss, **sets)
    return jon.problems.from_nnx(lambda rngs: NNX(vocabulary, rngs), nnx_loss, **sets)


def recipe(peak, warmup, b2, *, steps):
    """AdamW as language models are trained with it; every number but the steps may be an axis."""

    def rate(step):
        rise, fall = step / warmup, jnp.clip((step - warmup) / (steps - warmup), 0, 1)
        return peak * jnp.where(step < warmup, rise, 0.55 + 0.45 * jnp.cos(jnp.pi * fall))

    matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    adamw = optax.adamw(rate, b2=b2, weight_decay=0.01, mask=matrices)
    return optax.MultiSteps(optax.chain(optax.clip_by_global_norm(1.0), adamw), 2).gradient_transformation()


def optimizer_of(steps):
    """The recipe for so many steps, whose gradients are accumulated over two batches."""

    def transformer_recipe(peak, warmup, b2):
        return recipe(peak, warmup, b2, steps=steps // 2)

    return transformer_recipe


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=["linen", "nnx"], default="linen")
    parser.add_argument("--quick", action="store_true", help="a few steps of a few trials")
    parser.add_argument("--load", metavar="FILE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    examples, steps, every = (400, 20, 5) if given.quick else (4000, 400, 25)
    problem, factory = problem_of(given.library, examples), optimizer_of(steps)
    if given.load:
        loaded(given.load, problem)
        return
    space = jon.grid(peak=[1e-3, 1e-2], warmup=[2, 8], b2=[0.95, 0.999], drop=[0.0, 0.2])
    table = jon.sweep(
        problem, factory, space, steps=steps, batch_size=16, evaluate_every=every, patience=4 * every, compact=True,
        keep="params+state",
    )  # fmt: skip
    print(f"{table.status.size} trials, {table.attrs['segment_programs']} program")
    winner = jon.best(table, "validation_loss")
    print(winner)
    run = jon.resume(table, problem, factory, seed=0, **winner.config)
    numbers = dict(winner.config)
    drop = numbers.pop("drop")
    # On new batches, at the rate at which the schedule ended.
    run = jon.minimize(
        problem.loss, run.params, factory(**numbers), state=run.state, steps=steps // 4, data=problem.data,
        minibatches=jon.minibatches.reshuffle(16), key=jon.seed_keys(jax.random.key(1), 0)[1], kwargs={"drop": drop},
        progress=True,
    )  # fmt: skip
    print(f"trained further: {run}")
    leaves = enumerate(jax.tree.leaves(run.params))
    further = table.assign({f"further.{i}": (f"leaf_{i}", np.ravel(leaf)) for i, leaf in leaves})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "transformer.nc"
        jon.save(further, path)
        arguments = ["--library", given.library, "--load", str(path), *(["--quick"] if given.quick else [])]
        subprocess.run([sys.executable, __file__, *arguments], check=True)


def loaded(path, problem):
    """What a new process makes of a saved table."""
    table = jon.load(path)
    shapes, _ = problem.start_shapes()
    leaves, structure = jax.tree.flatten(shapes)
    found = [jnp.asarray(table[f"further.{i}"].values).reshape(like.shape) for i, like in enumerate(leaves)]
    params = jax.tree.unflatten(structure, found)
    measured = problem.measure(params, problem.parts, numbers={"drop": 0.0}, key=jax.random.key(0))
    print("loaded in a new process:", {name: round(float(value), 4) for name, value in measured.items()})


if __name__ == "__main__":
    main()
