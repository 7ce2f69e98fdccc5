"""Sweeps: spaces, plans, the compiled engine, tables and stores, and the selection of a winner.

Data flows one way, and each folder imports only from those before it:

    spec       what to visit, as plain data: spaces, groups, options; no program is compiled
    compute    plans of groups, their compiled programs, and the engine that runs trials by number
    table      results as labelled tables, and what can be read from a table; no files
    keep       files: chunks, stores, saved tables, and the shelf that a running sweep keeps chunks on
    run        which trials run when and where: plans of sweeps, runners, pruning, `sweep` itself
    judge      what a finished table shows: the winner, and the importance of hyperparameters
"""

from .._digests import StoreError as StoreError
from .judge.best import Best as Best
from .judge.best import best as best
from .judge.importance import Importance as Importance
from .judge.importance import importance as importance
from .keep.exported import load_end_point as load_end_point
from .keep.exported import save_end_point as save_end_point
from .keep.opening import open_sweep as open_sweep
from .keep.saved import load as load
from .keep.saved import save as save
from .run.invariance import Invariance as Invariance
from .run.invariance import check_invariance as check_invariance
from .run.plan import SweepPlan as SweepPlan
from .run.plan import plan as plan
from .run.pruners import halving as halving
from .run.pruners import median_stopping as median_stopping
from .run.pruners import replay as replay
from .run.sweep import sweep as sweep
from .spec.options import seed_keys as seed_keys
from .spec.points import sample as sample
from .spec.points import trials as trials
from .spec.space import Space as Space
from .spec.space import grid as grid
from .spec.space import zipped as zipped
from .table.end_point import end_point as end_point
from .table.resume import resume as resume

__all__ = [
    "Best",
    "Importance",
    "Invariance",
    "Space",
    "StoreError",
    "SweepPlan",
    "best",
    "check_invariance",
    "end_point",
    "grid",
    "halving",
    "importance",
    "load",
    "load_end_point",
    "median_stopping",
    "open_sweep",
    "plan",
    "replay",
    "resume",
    "sample",
    "save",
    "save_end_point",
    "seed_keys",
    "sweep",
    "trials",
    "zipped",
]
