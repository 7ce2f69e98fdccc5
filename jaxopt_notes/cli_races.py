"""The command that compares optimizers: `race`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from . import _checks
from .cli_sweeps import folder_name, no_exit, problem_called, values_of
from .devices import use_compilation_cache, use_cpu_cores
from .sweeps import StoreError
from .sweeps.spec.arguments import arguments_of

if TYPE_CHECKING:
    from .sweeps import Space


def race(
    problem: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROBLEM")],
    methods: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="METHOD METHOD ...")],
    budget: int = 64,
    tuning_seeds: int = 8,
    scoring_seeds: int = 8,
    steps: int = 1000,
    batch_size: int = 0,
    target: float | None = None,
    metric: str = "final_loss",
    direction: Literal["max", "min"] | None = None,
    level: float = 0.05,
    seed: int = 0,
    store: Path | None = None,
    figure: Path | None = None,
) -> int:
    """Tune optimizers alike at random configurations, and report which is better on seeds that did not tune them.

    For example: jaxopt-notes race digits_mlp momentum adam beta=0:0.99 --budget 64 --batch-size 64

    Args:
        problem: a function of jaxopt_notes.problems such as digits_mlp, or your own: file.py:name.
        methods: at least two names such as momentum and adam; and what to draw beside the learning rate, for those
            methods that have it: name=low:high a range, name=a,b,c values. The learning rate is drawn from the range
            that its method may need, 1e-5 to 10 for most, unless it is given.
        budget: configurations of every method.
        tuning_seeds: starts and data orders that choose its best configuration.
        scoring_seeds: others, that compare these.
        steps: steps of every trial.
        batch_size: examples per step; 0 for all of them.
        target: a loss; also report the step at which each method is shown to reach it.
        metric: what is compared, such as test_accuracy.
        direction: whether the highest of that metric is best, max, or the lowest, min; by default from the problem.
        level: the chance of a false winner among methods that are the same.
        seed: seed of all randomness; the same seed gives the same numbers.
        store: folder of all runs; by default one in runs/ with a name of its own for every other race. The same command
            resumes where a killed one stopped.
        figure: a file such as race.png for the budget curves.
    """
    from .optimizers import OPTIMIZERS

    names = [one for one in methods if "=" not in one]
    given = [one for one in methods if "=" in one]
    if len(names) < 2:
        raise ValueError(f"a race needs at least two methods, such as momentum adam; got {' '.join(names) or 'none'}")
    for name in names:
        _checks.choice("method", name, list(OPTIMIZERS))
    if len(set(names)) < len(names):
        raise ValueError(f"a method is named twice: {' '.join(names)}")
    use_cpu_cores()  # before a file of the user's first uses JAX
    use_compilation_cache()
    import jax

    from .race import race as run

    root = jax.random.key(_checks.count("seed", seed, low=0))
    families = {
        name: (OPTIMIZERS[name], _space(name, given, _checks.count("budget", budget), jax.random.fold_in(root, i)))
        for i, name in enumerate(names)
    }
    unused = [one for one in given if not any(one.partition("=")[0] in space.names for _, space in families.values())]
    if unused:
        raise ValueError(f"{unused[0]!r} is an argument of no method here: {', '.join(names)}")
    options: dict[str, Any] = {"steps": steps, "batch_size": batch_size or None, "key": root}
    if store is None:
        numbers = (given, budget, tuning_seeds, scoring_seeds, steps, batch_size, seed)
        store = Path("runs") / folder_name(problem, "-".join(names), *numbers)
    judged: dict[str, Any] = {"target": target, "metric": metric, "direction": direction, "level": level}
    options |= {"tuning_seeds": tuning_seeds, "scoring_seeds": scoring_seeds, "budget": budget}
    try:
        with no_exit(problem):
            found = run(problem_called(problem), families, **judged, **options, store=store)
    except StoreError as error:
        raise StoreError(f"{error}\n  another folder is --store runs/NAME") from error
    print(f"{found}\n\nstore    {store}")
    if figure is not None:
        from .plots import budget_curves, panels

        drawn, axes = panels(1, 1, size=(7.5, 4.2))
        budget_curves(found, axes[0])
        drawn.savefig(figure)
        print(f"figure   {figure}")
    return 0


def _space(name: str, given: list[str], budget: int, key: Any) -> Space:
    """As many random configurations as the budget: of the learning rate, and of what was given and the method has."""
    import scipy.stats

    from .optimizers import OPTIMIZERS, RULES
    from .sweeps import sample

    rules, known = RULES[name].hyperparameters, arguments_of(OPTIMIZERS[name])
    axes: dict[str, Any] = {}
    if "learning_rate" in known:
        axes["learning_rate"] = scipy.stats.loguniform(*(rules["learning_rate"].tried or (1e-5, 10.0)))
    for one in given:
        axis, _, values = one.partition("=")
        if axis not in known:
            continue
        if ":" not in values:
            axes[axis] = values_of((one,), known)[axis]
            continue
        low, high = _ends(one, values)
        log = axis in rules and rules[axis].log
        axes[axis] = scipy.stats.loguniform(low, high) if log else scipy.stats.uniform(low, high - low)
    if not axes:
        raise ValueError(f"{name} has no learning_rate: give a range of one of its numbers, {', '.join(known)}")
    return sample(budget, key, **axes)


def _ends(given: str, values: str) -> tuple[float, float]:
    try:
        low, high = map(float, values.split(":"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high < float("inf"):
        raise ValueError(f"{given!r} must be name=low:high, two numbers in ascending order, or name=a,b,c")
    return low, high
