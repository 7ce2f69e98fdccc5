"""Sweeps: spaces, the compiled engine, and the selection of a winner."""

from .importance import Importance as Importance
from .invariance import Invariance as Invariance
from .invariance import check_invariance as check_invariance
from .plan import seed_keys as seed_keys
from .planning import SweepPlan as SweepPlan  # its maker, `plan`, has the name of a module here
from .points import sample as sample
from .points import trials as trials
from .run import sweep as sweep
from .saved import load as load
from .saved import save as save
from .select import Best as Best
from .select import best as best
from .space import Space as Space
from .space import grid as grid
from .space import zipped as zipped
from .store import StoreError as StoreError
from .store import open_sweep as open_sweep
from .table import end_point as end_point
