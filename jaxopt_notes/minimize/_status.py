"""How a run ended, as a code inside programs and as advice outside."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """How a run ended. `advice` explains what it means and what to do."""

    INTERRUPTED = -4
    EXHAUSTED = -3
    PRUNED = -2
    NOT_RUN = -1
    COMPLETED = 0
    CONVERGED = 1
    PLATEAUED = 2
    STUCK = 3
    NON_FINITE = 4  # this and every later code is a failure
    DIVERGED = 5
    STALLED = 6

    @property
    def advice(self) -> str:
        """One sentence on what the code means and what to try."""
        return _ADVICE[self]

    @property
    def failed(self) -> bool:
        """Whether the run ended worse than it has to: non-finite, diverged or stalled."""
        return self >= Status.NON_FINITE


UNFINISHED = (Status.INTERRUPTED, Status.PRUNED, Status.NOT_RUN)  # of trials that others cannot be compared with

_ADVICE = {
    Status.INTERRUPTED: "interrupted: the sweep was stopped while this trial ran; its values are those of the step it "
    "reached. The same call with a store resumes it.",
    Status.EXHAUSTED: "exhausted: the batches ended before the steps or epochs did. Give `epochs` to read a loader "
    "again, or fewer `steps`.",
    Status.PRUNED: "pruned: the sweep stopped this trial early, because others did better; nothing is wrong with it.",
    Status.NOT_RUN: "not run: the sweep stopped before this trial; run it again.",
    Status.COMPLETED: "completed: every step was taken; more steps may still improve the loss.",
    Status.CONVERGED: "converged: the gradient norm fell to the tolerance, and the run stays there.",
    Status.PLATEAUED: "plateaued: no lower loss for `patience` steps, and the gradient is above the tolerance. Lower "
    "the learning rate if the loss oscillates, raise `patience` or the learning rate if it is flat.",
    Status.STUCK: "stuck: most parameters did not move although the gradient is not zero. The updates are zero, as "
    "with a learning rate of 0 or past the end of a schedule, or too small for the precision of the parameters: then "
    "keep them in float32, or use `stochastic_rounding`.",
    Status.NON_FINITE: "non_finite: a step gave an infinite or NaN loss, gradient or update; the run stopped at its "
    "last finite point. Lower the learning rate, or give `skip_non_finite` where only some batches do this. Newton's "
    "method at a singular Hessian needs damping; after 0 steps check the starting point.",
    Status.DIVERGED: "diverged: finite, but the final loss is above the initial one. Lower the learning rate.",
    Status.STALLED: "stalled: finite, but no better than a constant predictor, as when every ReLU is dead. Lower the "
    "learning rate or change the initialisation.",
}
