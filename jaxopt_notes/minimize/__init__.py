"""The one loop. `step` is its body for one run, `run` what comes back, `loop` and `stream` drive it."""

from .loop import minimize as minimize
from .loop import minimize_until as minimize_until
from .options import checked_evaluation as checked_evaluation
from .options import derivatives_of as derivatives_of
from .program import evaluated_at as evaluated_at
from .run import Run as Run
from .status import Status as Status
from .step import HISTORIES as HISTORIES
from .step import Carry as Carry
from .step import advance as advance
from .step import end_status as end_status
from .step import start as start
from .step import unmoved as unmoved
from .stream import minimize_stream as minimize_stream

__all__ = [
    "Run",
    "Status",
    "minimize",
    "minimize_stream",
    "minimize_until",
]
