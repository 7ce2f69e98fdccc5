"""The one loop. `step` is its body for one run, `run` what comes back, `loop` and `stream` drive it."""

from ._loop import minimize as minimize
from ._loop import minimize_until as minimize_until
from ._options import checked_evaluation as checked_evaluation
from ._options import derivatives_of as derivatives_of
from ._program import evaluated_at as evaluated_at
from ._run import Run as Run
from ._status import UNFINISHED as UNFINISHED
from ._status import Status as Status
from ._step import HISTORIES as HISTORIES
from ._step import NORMS as NORMS
from ._step import Carry as Carry
from ._step import advance as advance
from ._step import end_status as end_status
from ._step import equal_trees as equal_trees
from ._step import start as start
from ._step import unevaluated as unevaluated
from ._step import unmoved as unmoved
from ._step import unmoved_of as unmoved_of
from ._stream import minimize_stream as minimize_stream

__all__ = [
    "Run",
    "Status",
    "minimize",
    "minimize_stream",
    "minimize_until",
]
