"""Sweeps: spaces, the compiled engine, and the selection of a winner."""

from .judge.importance import Importance as Importance
from .run.invariance import Invariance as Invariance
from .run.invariance import check_invariance as check_invariance
from .compute.group_plan import seed_keys as seed_keys
from .run.plan import SweepPlan as SweepPlan  # its maker, `plan`, has the name of a module here
from .spec.points import sample as sample
from .spec.points import trials as trials
from .run.sweep import sweep as sweep
from .table.saved import load as load
from .table.saved import save as save
from .judge.best import Best as Best
from .judge.best import best as best
from .spec.space import Space as Space
from .spec.space import grid as grid
from .spec.space import zipped as zipped
from .keep.store import StoreError as StoreError
from .keep.store import open_sweep as open_sweep
from .table.columns import end_point as end_point
