"""Run optax's own tests with our optimizers in place of its own, from a checkout of its sources.

    git clone --branch v0.2.8 --depth 1 https://github.com/google-deepmind/optax     # the version that is installed
    python scripts/optax_suite.py optax [-k EXPRESSION]

Each factory of `OURS` takes the place of optax's factory of that name, with its signature and its conventions; a call
with an option that ours lacks is left to optax. A case applies if it takes a step or a state of ours. What differs by
design is in `DIFFERENCES`; the exit status is 1 if any other case fails, or if one of these passes. It takes some
minutes.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import os
import sys
from pathlib import Path

PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("checkout", type=Path)
PARSER.add_argument("-k", default="", help="only the cases that pytest selects by this expression")
PARSER.add_argument("--alone", action="store_true", help="optax's own optimizers, to see what passes without ours")
OPTIONS = PARSER.parse_args()
CHECKOUT = OPTIONS.checkout.resolve()

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"  # as the sharding tests set it
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(CHECKOUT))  # the tests import optax from where they are

import optax  # noqa: E402
import pytest  # noqa: E402

import jaxopt_notes as jon  # noqa: E402
from jaxopt_notes.optimizers import base  # noqa: E402

FILES = (
    *("_src/alias_test.py", "_src/transform_test.py", "_src/sharding_test.py", "_src/combine_test.py"),
    *("_src/lookahead_test.py", "_src/float64_test.py", "_src/linesearch_test.py"),
    *("transforms/*_test.py", "schedules/*_test.py", "tree_utils/_state_utils_test.py"),
    *("contrib/_schedule_free_test.py", "contrib/_sam_test.py", "contrib/_reduce_on_plateau_test.py"),
)

# Cases that differ by design, as patterns of their names, and why.
DIFFERENCES: dict[str, str] = {}


class Lacking(Exception):
    """An option of optax that ours do not have."""


def without(**options):
    """Leave a call to optax if it gives one of these options a value other than None or False."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise Lacking(name)


def sgd(learning_rate, momentum=None, nesterov=False, accumulator_dtype=None):
    without(accumulator_dtype=accumulator_dtype)
    if momentum is None:
        return jon.gradient_descent(learning_rate)
    return (jon.nesterov if nesterov else jon.momentum)(learning_rate, momentum)


def adagrad(learning_rate, initial_accumulator_value=0.1, eps=1e-7):
    return jon.adagrad(learning_rate, 0.0, eps, initial_accumulator_value)


def adadelta(learning_rate=None, rho=0.9, eps=1e-6, weight_decay=0.0, weight_decay_mask=None):
    if learning_rate is None:
        raise Lacking("the ascent without a learning rate")
    tx = jon.adadelta(learning_rate, rho, eps)
    if weight_decay_mask is None and isinstance(weight_decay, float) and weight_decay == 0.0:
        return tx
    return optax.chain(optax.add_decayed_weights(weight_decay, weight_decay_mask), tx)


def rmsprop(
    learning_rate,
    decay=0.9,
    eps=1e-8,
    initial_scale=0.0,
    eps_in_sqrt=True,
    centered=False,
    momentum=None,
    nesterov=False,
    bias_correction=False,
):
    without(nesterov=nesterov, initial_scale=initial_scale if initial_scale != 0.0 else None)
    inside = {"eps": 0.0, "eps_root": eps} if eps_in_sqrt else {"eps": eps}
    return jon.rmsprop(learning_rate, decay, **inside, beta=momentum, centered=centered, debias=bias_correction)


def adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None, *, nesterov=False):
    without(mu_dtype=mu_dtype, nesterov=nesterov)
    return jon.adam(learning_rate, b1, b2, eps, eps_root)


def amsgrad(learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None):
    without(mu_dtype=mu_dtype)
    return jon.adam(learning_rate, b1, b2, eps, eps_root, amsgrad="corrected")


def adamw(
    learning_rate,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    eps_root=0.0,
    mu_dtype=None,
    weight_decay=1e-4,
    mask=None,
    *,
    nesterov=False,
):
    without(mu_dtype=mu_dtype, mask=mask, nesterov=nesterov)
    return jon.adamw(learning_rate, b1, b2, eps, eps_root, weight_decay)


def lion(learning_rate, b1=0.9, b2=0.99, mu_dtype=None, weight_decay=1e-3, mask=None):
    without(mu_dtype=mu_dtype, mask=mask)
    return jon.lion(learning_rate, b1, b2, weight_decay)


OURS = {factory.__name__: factory for factory in (sgd, adagrad, adadelta, rmsprop, adam, amsgrad, adamw, lion)}


class Recorder:
    """A pytest plugin: which cases used an optimizer of ours, and how each ended."""

    def __init__(self):
        self.used: set[str] = set()
        self.ended: dict[str, str] = {}
        self.running = ""

    def note(self):
        self.used.add(self.running)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.running = item.nodeid
        return (yield)

    def pytest_runtest_logreport(self, report):
        name = report.nodeid
        if report.failed:
            self.ended[name] = "failed"
        elif report.skipped:
            self.ended.setdefault(name, "skipped")
        elif report.when == "call":
            self.ended.setdefault(name, "passed")


def substitute(recorder):
    """Put `OURS` into optax before its tests are imported, and let every state and step of ours be noted."""
    for name, ours in OURS.items():
        theirs = getattr(optax, name)

        @functools.wraps(theirs)
        def factory(*args, ours=ours, theirs=theirs, **kwargs):
            with contextlib.suppress(Lacking):
                return ours(*args, **kwargs)
            return theirs(*args, **kwargs)

        for module in (optax, optax._src.alias):
            setattr(module, name, factory)
    init, update = base._init, base.Rule.__call__

    def noted(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            recorder.note()
            return function(*args, **kwargs)

        return call

    base._init, base.Rule.__call__ = noted(init), noted(update)


def main():
    installed = importlib.metadata.version("optax")
    if optax.__version__ != installed:
        sys.exit(f"{CHECKOUT} is optax {optax.__version__}; check out v{installed}, the version that is installed")
    recorder = Recorder()
    if not OPTIONS.alone:
        substitute(recorder)
    files = [str(path) for pattern in FILES for path in sorted((CHECKOUT / "optax").glob(pattern))]
    settings = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        f"--rootdir={CHECKOUT}",
        "--tb=short",
        "-k",
        OPTIONS.k,
    ]
    pytest.main([*settings, *files], plugins=[recorder])
    ended = recorder.ended
    failed = [name for name, how in ended.items() if how == "failed"]
    applied = [name for name in recorder.used if ended.get(name) in ("passed", "failed")]
    print(f"{len(ended)} cases, {sum(how == 'passed' for how in ended.values())} passed; {len(applied)} use ours,")
    print(f"{sum(ended[name] == 'passed' for name in applied)} of them passed")
    print("\n".join(failed))


if __name__ == "__main__":
    main()
