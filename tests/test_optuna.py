"""Optuna studies run in batches: real storages, real kills, any sampler."""

import os
import platform
import signal
import subprocess
import sys
import threading

import forked
import jax
import numpy as np
import optuna
import optuna_study
import pytest
import scipy.stats
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.sweeps.run import optuna as bridge

RATE = {"learning_rate": FloatDistribution(1e-3, 1.0, log=True)}
SAFE = {"learning_rate": FloatDistribution(1e-3, 0.05)}  # where no trial fails
VALLEY = jon.problems.quadratic([1.0, 20.0])

# Of samplers and arguments, which differ by the version of Optuna: `constant_liar` is one in 4.0.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def run(study, distributions=RATE, **options):
    settings = dict(trials=8, batch=8, steps=20, progress=False) | options
    problem, optimizer = settings.pop("problem", VALLEY), settings.pop("optimizer", jon.momentum)
    jon.optuna.optimize(study, problem, optimizer, distributions, **settings)


def states(study):
    return [trial.state.name for trial in study.trials]


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_killed_while_it_runs_and_while_it_tells_goes_on(tmp_path, kind):
    path = tmp_path / "study"
    expected_left = {"tell": 4, "sweep": 8}
    for where, count in (("tell", 5), ("sweep", 2)):
        process = forked.start(optuna_study.killed, path, kind, where, count)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert states(optuna_study.study_of(path, kind)).count("RUNNING") == expected_left[where]
        told = [trial for trial in optuna_study.study_of(path, kind).trials if trial.state == TrialState.COMPLETE]
    study = optuna_study.study_of(path, kind)
    optuna_study.optimize(study)
    after = states(study)
    assert (
        after.count("COMPLETE") + sum(bridge.RESULT in t.user_attrs for t in study.trials if t.state.name == "FAIL")
        == 24
    )
    assert after.count("RUNNING") == after.count("WAITING") == 0
    zombies = [t for t in study.trials if t.state == TrialState.FAIL and bridge.RESULT not in t.user_attrs]
    assert len(zombies) == 3 + 8  # the fifth trial's result was written, but not told
    again = [t for t in study.trials if bridge.RETRIES in t.user_attrs]
    assert sorted(map(repr, (t.params for t in again))) == sorted(map(repr, (t.params for t in zombies)))
    assert all(study.trials[t.number].value == t.value for t in told)  # what was told stays
    optuna_study.optimize(study)  # a study that has all its trials is left alone
    assert len(study.trials) == len(after)


def test_every_batch_is_the_one_program_and_each_value_the_sweeps_own(monkeypatch):
    tables = []
    original = bridge.sweep

    def watched(*arguments, **options):
        tables.append(original(*arguments, **options))
        return tables[-1]

    monkeypatch.setattr(bridge, "sweep", watched)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1, constant_liar=True))
    optuna_study.optimize(study, trials=28, steps=41)
    assert [table.sizes["configuration"] for table in tables] == [8, 8, 8, 4]
    assert sum(table.attrs["segment_programs"] for table in tables) == 1
    assert len({table.attrs["width"] for table in tables}) == 1
    for number in (3, 27):
        table, trial = tables[number // 8], study.trials[number]
        losses = table.final_loss.values[number % 8]
        assert trial.value == pytest.approx(np.median(losses))
        assert trial.user_attrs[bridge.RESULT]["values"] == losses.tolist()
        columns = trial.user_attrs[bridge.RESULT]["columns"]
        assert set(columns) == {"final_loss", "initial_loss", "status", "stopped_at"}
        assert columns["stopped_at"] == table.stopped_at.values[number % 8].tolist()
    assert study.best_value < 1e-3


def test_non_finite_trials_fail_and_diverged_ones_tell_how_bad_they_are():
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"learning_rate": [0.05, 0.11, 50.0]}))
    run(study, {"learning_rate": FloatDistribution(0.0, 100.0)}, trials=3, steps=60, optimizer=jon.gradient_descent)
    by_rate = {trial.params["learning_rate"]: trial for trial in study.trials}
    assert by_rate[0.05].state == by_rate[0.11].state == TrialState.COMPLETE
    assert by_rate[50.0].state == TrialState.FAIL
    assert by_rate[0.11].value > 1 > by_rate[0.05].value
    assert [by_rate[rate].user_attrs[bridge.RESULT]["failed"] for rate in (0.05, 0.11, 50.0)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "sampler",
    [
        ("RandomSampler", {"seed": 0}),
        ("QMCSampler", {"seed": 0, "warn_independent_sampling": False}),
        ("NSGAIISampler", {"seed": 0}),
        ("BruteForceSampler", {"seed": 0}),
        ("GridSampler", {"search_space": {"learning_rate": [0.01, 0.02, 0.05]}}),
    ],
    ids=lambda named: named[0],
)
def test_any_sampler_will_do_also_one_that_repeats_itself_or_ends(sampler):
    sampler = getattr(optuna.samplers, sampler[0])(**sampler[1])
    study = optuna.create_study(sampler=sampler)
    run(study, {"learning_rate": FloatDistribution(0.01, 0.05, step=0.01)}, trials=12, batch=6)
    assert set(states(study)) == {"COMPLETE"}
    values = {}
    for trial in study.trials:
        assert values.setdefault(trial.params["learning_rate"], trial.value) == trial.value
    assert len(study.trials) >= len(values) >= 3


def test_choices_make_groups_and_the_width_stays(monkeypatch):
    programs = []
    original = bridge.sweep

    def watched(*arguments, **options):
        table = original(*arguments, **options)
        programs.append(table.attrs["segment_programs"])
        return table

    monkeypatch.setattr(bridge, "sweep", watched)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = RATE | {"centered": optuna.distributions.CategoricalDistribution([False, True])}
    run(study, space, optimizer=jon.rmsprop, trials=24)
    assert states(study) == ["COMPLETE"] * 24
    assert sum(programs) <= 3  # one for each choice, and one where the first batch was narrower


def test_an_interrupted_batch_is_asked_for_again(monkeypatch):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    original = bridge.sweep

    def cut(*arguments, **options):
        table = original(*arguments, **options)
        table.status[5:] = Status.NOT_RUN
        return table

    monkeypatch.setattr(bridge, "sweep", cut)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    assert states(study) == ["COMPLETE"] * 5 + ["FAIL"] * 3 + ["WAITING"] * 3
    monkeypatch.setattr(bridge, "sweep", original)
    run(study)
    assert states(study) == ["COMPLETE"] * 5 + ["FAIL"] * 3 + ["COMPLETE"] * 3
    assert [t.params for t in study.trials[5:8]] == [t.params for t in study.trials[8:]]


def test_trials_of_the_living_are_left_alone_and_those_that_kill_are_given_up():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def left_running(owner, retries=0):
        trial = study.ask(RATE)
        trial.set_user_attr(bridge.OWNER, owner)
        trial.set_user_attr(bridge.RETRIES, retries)
        return trial.number

    elsewhere, parent = left_running(["another machine", 1]), left_running([platform.node(), os.getppid()])
    mine = study.ask(RATE).number
    deadly = left_running([platform.node(), os.getpid()], bridge.MOST_RETRIES)
    run(study, trials=2, batch=2)
    assert [study.trials[n].state.name for n in (elsewhere, parent, mine, deadly)] == ["RUNNING"] * 3 + ["FAIL"]
    assert states(study).count("COMPLETE") == 1
    run(study, trials=4, batch=2, repair="all")
    assert [study.trials[n].state.name for n in (elsewhere, parent, mine)] == ["FAIL", "FAIL", "FAIL"]


def test_wrong_use_is_named():
    study = optuna.create_study()
    with pytest.raises(ValueError, match="study must maximize 'final_loss', got the direction minimize"):
        run(study, direction="max")
    with pytest.raises(ValueError, match="one objective, got 2"):
        run(optuna.create_study(directions=["minimize", "minimize"]))
    with pytest.raises(ValueError, match="unknown metric 'final_los'; did you mean 'final_loss'"):
        run(study, metric="final_los")
    with pytest.raises(ValueError, match="unknown axis 'bta' for momentum"):
        run(study, RATE | {"bta": FloatDistribution(0, 0.9)})
    with pytest.raises(
        TypeError, match=r"distributions\['learning_rate'\] must come from optuna.distributions.*jon.samp"
    ):
        run(study, {"learning_rate": scipy.stats.loguniform(1e-3, 1.0)})
    with pytest.raises(TypeError, match="distributions must map names to"):
        run(study, {})
    with pytest.raises(ValueError, match="unknown axis 'bta' for rmsprop"):
        run(study, RATE | {"bta": CategoricalDistribution([True, False])}, optimizer=jon.rmsprop)
    with pytest.raises(TypeError, match="problem must be a jaxopt_notes"):
        run(study, problem=lambda: VALLEY)
    assert study.trials == []
    assert study.user_attrs == {}
    run(study)
    with pytest.raises(ValueError, match="begun with another definition; steps: 20 there, 30 now: use another study"):
        run(study, steps=30)
    with pytest.raises(ValueError, match="repair"):
        run(study, repair="some")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"problem": jon.problems.quadratic([1.0, 30.0])}, "starts and closures: .* there, .* now"),
        ({"problem": jon.problems.rosenbrock()}, "problem: quadratic there, rosenbrock now; loss: "),
        ({"key": jax.random.key(1)}, "definition; key: .* 0 0 there, .* 0 1 now: use"),
        (
            {"distributions": {"learning_rate": FloatDistribution(1e-3, 0.04)}},
            "definition; distributions: .*high=0.05, .*high=0.04, ",
        ),
        ({"distributions": SAFE | {"beta": FloatDistribution(0, 0.9)}}, "distributions: {'learning_rate'.* 'beta'"),
        ({"seeds": 2}, r"definition; .*seeds: \[0\] there, \[0, 1\] now"),
        ({"optimizer": jon.nesterov}, "optimizer: momentum there, nesterov now"),
        ({"width": 3}, "definition; width: 2 there, 3 now: use"),
    ],
)
def test_a_study_goes_on_with_its_own_definition_only(tmp_path, changed, message):
    storage = optuna_study.database(tmp_path / "study")
    run(optuna.create_study(storage=storage, study_name="one"), SAFE, width=2)
    study = optuna.load_study(storage=storage, study_name="one", sampler=optuna.samplers.RandomSampler(seed=0))
    with pytest.raises(ValueError, match=message):
        run(study, **{"distributions": SAFE, "trials": 16} | changed)
    assert len(study.trials) == 8
    run(study, SAFE, trials=10)
    assert states(study) == ["COMPLETE"] * 10


def test_the_definition_is_there_before_the_first_trial_is_asked_for(monkeypatch):
    study = optuna.create_study()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "ask", killed)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="steps: 20 there, 30 now"):
        run(study, steps=30)
    run(study, width=3)
    assert study.user_attrs[bridge.STUDY]["width"] == 3


def test_a_function_that_makes_problems_is_taken():
    def valley(top, shift=0.0):
        return jon.problems.quadratic([1.0, float(top)])

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = {"learning_rate": FloatDistribution(0.001, 0.01), "top": IntDistribution(1, 3)}
    run(study, space, problem=valley, trials=8)
    assert states(study) == ["COMPLETE"] * 8
    assert study.user_attrs[bridge.STUDY]["problem"] == "valley"
    trial = study.trials[0]
    alone = jon.sweep(
        valley(trial.params["top"]), jon.momentum, jon.grid(learning_rate=[trial.params["learning_rate"]]), steps=20
    )
    assert trial.value == pytest.approx(alone.final_loss.item(), rel=1e-5)


def ridge(w, batch, *, l2=0.0):
    return jax.numpy.mean((batch @ w - batch[:, 0]) ** 2) + l2 * jax.numpy.sum(w**2)


ROWS = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
PENALTY = RATE | {"l2": FloatDistribution(0.0, 1.0)}


def test_a_loss_with_numbers_that_have_distributions_is_not_compared():
    made = jon.Problem(ridge, init=jax.numpy.zeros(3), data=ROWS, validation=ROWS[:10])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with pytest.raises(
        ValueError, match=r"final_loss does not compare these configurations: the loss itself takes l2, so"
    ):
        run(study, PENALTY, problem=made)
    assert study.trials == []
    assert study.user_attrs == {}
    run(study, PENALTY, problem=made, metric="validation_loss")
    assert states(study) == ["COMPLETE"] * 8
    alike = RATE | {"l2": FloatDistribution(0.1, 0.1)}
    run(optuna.create_study(), alike, problem=made)
    measured = jon.Problem(ridge, init=jax.numpy.zeros(3), data=ROWS, evaluate=lambda w, batch: ridge(w, batch))
    run(optuna.create_study(), PENALTY, problem=measured)


def test_data_that_are_read_while_it_runs_are_those_of_a_sweep():
    made = jon.Problem(ridge, init=jax.numpy.zeros(3), validation=ROWS[:10])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    options = dict(problem=made, metric="validation_loss", batch=3)
    run(study, RATE, **options, data=ROWS, batch_size=8, trials=6)
    rates = [trial.params["learning_rate"] for trial in study.trials]
    width = study.user_attrs[bridge.STUDY]["width"]  # floats depend on it, on processors with wide registers
    alone = jon.sweep(
        made, jon.momentum, jon.trials({"learning_rate": rates}), data=ROWS, batch_size=8, steps=20, width=width
    )
    assert [trial.value for trial in study.trials] == alone.validation_loss.values[:, 0].tolist()
    with pytest.raises(ValueError, match=r"begun with another definition; stream: 60 examples by number, .* there"):
        run(study, RATE, **options, data=ROWS + 1, batch_size=8, trials=9)
    with pytest.raises(ValueError, match="a study needs data that can be read again, and data are batches from the it"):
        run(optuna.create_study(), RATE, **options, data=iter([ROWS[:8]] * 50))


def test_a_trial_killed_before_it_was_signed_is_repaired_with_all_only():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    unsigned = study.ask(RATE)
    run(study, trials=2, batch=2)
    assert study.trials[0].state.name == "RUNNING"
    run(study, trials=3, batch=2, repair="all")
    assert study.trials[0].state.name == "FAIL"
    assert [t.params for t in study.trials if bridge.RETRIES in t.user_attrs] == [unsigned.params]


@pytest.mark.parametrize("repair", ["dead", "all"])
def test_threads_of_one_process_leave_each_others_trials_alone(monkeypatch, repair):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    original, seen = bridge.sweep, []

    def beside(*arguments, **options):
        if not seen:
            seen.append(states(study))
            thread = threading.Thread(
                target=run, args=(study, SAFE), kwargs={"trials": 4, "batch": 4, "repair": repair}
            )
            thread.start()
            thread.join()
            seen.append(states(study))
        return original(*arguments, **options)

    monkeypatch.setattr(bridge, "sweep", beside)
    run(study, SAFE)
    assert seen == [["RUNNING"] * 8, ["RUNNING"] * 8 + ["COMPLETE"] * 4]
    assert states(study) == ["COMPLETE"] * 12
    assert not bridge._LIVE


def test_optuna_is_loaded_on_use():
    code = "import sys, jaxopt_notes as jon; print('optuna' in sys.modules, jon.optuna.optimize.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "optimize"]
