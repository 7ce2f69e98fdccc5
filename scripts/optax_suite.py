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
import re
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

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
import pytest  # noqa: E402

import jaxopt_notes as jon  # noqa: E402
from jaxopt_notes.optimizers import _base as base  # noqa: E402

FILES = (
    *("_src/alias_test.py", "_src/transform_test.py", "_src/sharding_test.py", "_src/combine_test.py"),
    *("_src/lookahead_test.py", "_src/float64_test.py", "tree_utils/_state_utils_test.py"),
    *("transforms/*_test.py", "schedules/*_test.py"),
    *("contrib/_schedule_free_test.py", "contrib/_sam_test.py", "contrib/_reduce_on_plateau_test.py"),
)

LAYOUT = "our state is one named tuple per method, optax's a tuple of the parts of a chain with names of their own"
WIDE = "our averages of bfloat16 parameters are float32: a second moment in bfloat16 sticks at the wrong value"

CORRECTED = "our correction 1 - b^t is accurate in float32, optax's is off by 1e-5; the case passes in float64"
INTEGERS = "its parameters are integers, which we refuse: steps round to nothing"

# Cases that differ by design, as the ends of their names, and why.
DIFFERENCES = {
    **{f"AliasTest::test_explicit_dtype{i}": LAYOUT for i in (9, 21, 33, 45)},
    **{f"AliasTest::test_explicit_dtype{i}": WIDE for i in (10, 11)},
    "MaskedTest::test_masked_state_structure": LAYOUT,
    "StateUtilsTest::test_adam": LAYOUT,
    "StateUtilsTest::test_inject_hparams": LAYOUT,
    "StateUtilsTest::test_map_non_params_to_none": LAYOUT,
    "StateUtilsTest::test_map_params_to_none": LAYOUT,
    "ExtraArgsTest::test_extra_args": INTEGERS,
    "ScheduleFreeTest::test_schedule_free_adamw": CORRECTED,
}


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
    decay = optax.add_decayed_weights(weight_decay, weight_decay_mask)
    return optax.chain(decay, jon.adadelta(learning_rate, rho, eps))


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
    without(nesterov=nesterov)
    inside = {"eps": 0.0, "eps_root": eps} if eps_in_sqrt else {"eps": eps}
    tx = jon.rmsprop(learning_rate, decay, **inside, beta=momentum, centered=centered, debias=bias_correction)

    def init(params):
        state = tx.init(params)
        return state._replace(nu=jax.tree.map(lambda nu: nu + jnp.asarray(initial_scale, nu.dtype), state.nu))

    return optax.GradientTransformationExtraArgs(init, tx.update)


def adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None, *, nesterov=False):
    without(mu_dtype=mu_dtype, nesterov=nesterov)
    return jon.adam(learning_rate, b1, b2, eps, eps_root)


def amsgrad(
    learning_rate,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    eps_root=0.0,
    mu_dtype=None,
    bias_correction_mu=True,
    bias_correction_nu=True,
):
    without(mu_dtype=mu_dtype, uncorrected=not (bias_correction_mu and bias_correction_nu))
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


def adan(learning_rate, b1=0.98, b2=0.92, b3=0.99, eps=1e-8, eps_root=1e-8, weight_decay=0.0, mask=None):
    tx = jon.adan(learning_rate, b1, b2, b3, eps, eps_root, extrapolation=1 - b2)
    if callable(learning_rate) or callable(weight_decay):
        raise Lacking("schedules of both")
    return optax.chain(tx, optax.add_decayed_weights(-learning_rate * weight_decay, mask))


OURS = {factory.__name__: factory for factory in (sgd, adagrad, adadelta, rmsprop, adam, amsgrad, adamw, adan, lion)}


def of_another(item):
    """Whether a case is of an optimizer that `OURS` does not have."""
    named = re.search(r"opt_name='(\w+)'", getattr(item.obj, "__x_params_repr__", ""))
    return "LBFGS" in item.nodeid or (named and named[1] not in (*OURS, "sgd_mom"))


class Recorder:
    """A pytest plugin: which cases used an optimizer of ours, and how each ended."""

    def __init__(self):
        self.used: set[str] = set()
        self.ended: dict[str, str] = {}
        self.running = ""

    def note(self):
        self.used.add(self.running)

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if not of_another(item)]

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
    sys.exit(judged(recorder))


def judged(recorder):
    """Print how many cases apply and passed, and what differs; 1 if that is not what `DIFFERENCES` has."""
    applied = {name: recorder.ended[name] for name in recorder.used if recorder.ended.get(name) in ("passed", "failed")}
    failed = sorted(name for name, how in applied.items() if how == "failed")
    listed = {name: why for name in applied for end, why in DIFFERENCES.items() if name.endswith(end)}
    print(f"\noptax {optax.__version__}: {len(applied) - len(failed)} of {len(applied)} cases that use ours passed")
    for name in failed:
        print(f"  {'differs' if name in listed else 'FAILED'}  {name}: {listed.get(name, 'not expected')}")
    stale = sorted(name for name in listed if name not in failed)
    for name in stale:
        print(f"  passed, although listed as different: {name}")
    return int(bool(stale) or any(name not in listed for name in failed))


if __name__ == "__main__":
    main()
