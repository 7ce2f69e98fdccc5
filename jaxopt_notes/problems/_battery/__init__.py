"""The battery: small tasks with a pass mark, each with one difficulty of optimization."""

from __future__ import annotations

from dataclasses import replace

from ... import _checks
from . import change, conditioning, flatness, networks, noise, saddles, scales, sparsity, steepness
from .task import Task as Task

GROUPS = {
    "conditioning": conditioning,
    "saddles": saddles,
    "flatness": flatness,
    "steepness": steepness,
    "noise": noise,
    "sparsity": sparsity,
    "change": change,
    "scales": scales,
    "networks": networks,
}


def battery(*groups: str) -> dict[str, Task]:
    """Small pass/fail tasks, each with one difficulty that the lectures or the field name.

        passed = (metric at the end <= threshold),     where the run ended finite

    Every task has a pass mark with its reason, and a reference method that passes from every start that the tests try.
    Where the difficulty stops a simple method at every learning rate, the task names that method.

    Arguments:
        groups: the kinds of difficulty to return: "conditioning", "saddles", "flatness", "steepness", "noise",
            "sparsity", "change", "scales", "networks"; all of them when none is given.

    Returns:
        Name -> `Task`, in the order of the groups.

    Raises:
        ValueError: an unknown group.

    Example:
        >>> import jaxopt_notes as jon
        >>> tasks = jon.problems.battery("saddles")
        >>> task = tasks["saddle"]
        >>> print(task.difficulty)
        a saddle left along a direction a hundred times flatter than the one that limits the rate
        >>> table = jon.sweep(task.problem, jon.adam, jon.grid(learning_rate=[0.05]), steps=task.steps, progress=False)
        >>> bool(table[task.metric].item() <= task.threshold)
        True

    Source: the form is that of HeavyBall's diagnostic benchmark, 2026; the tasks name theirs.
    """
    for group in groups:
        _checks.choice("group", group, GROUPS)
    chosen = {name: room for name, room in GROUPS.items() if not groups or name in groups}
    return {task.name: replace(task, group=group) for group, room in chosen.items() for task in room.tasks()}
