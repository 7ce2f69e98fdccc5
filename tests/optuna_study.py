"""A study in a process of its own that kills itself."""

import os
import signal

import optuna
import sqlalchemy

import jaxopt_notes as jon


def database(path):
    """SQLite, with no connection kept open: Optuna never closes them, and Python 3.13 warns of those that are left."""
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"poolclass": sqlalchemy.pool.NullPool})


def study_of(path, kind):
    """The study in a file, as any process opens it."""
    if kind == "sqlite":
        storage = database(path)
    else:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    sampler = optuna.samplers.TPESampler(seed=0, constant_liar=True, n_startup_trials=8)
    return optuna.create_study(storage=storage, study_name="valley", sampler=sampler, load_if_exists=True)


def optimize(study, **options):
    """24 trials in batches of 8."""
    space = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True),
        "beta": optuna.distributions.FloatDistribution(0.0, 0.95),
    }
    valley = jon.problems.quadratic([1.0, 20.0])
    settings = dict(trials=24, batch=8, seeds=2, steps=40, progress=False) | options
    jon.optuna.optimize(study, valley, jon.momentum, space, **settings)


def killed(path, kind, where, count):
    """Optimize in a process that kills itself at the `count`-th call of "sweep" or "tell"."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    calls = []
    owner = jon.optuna if where == "sweep" else optuna.Study
    original = getattr(owner, where)

    def deadly(*arguments, **options):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, where, deadly)
    optimize(study_of(path, kind))
