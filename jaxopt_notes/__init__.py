"""Functional optimization in JAX: pure optimizer pairs, vmapped sweeps, verdicts and proofs about critical points.

    problems -> (optimizer, space) -> minimize / sweep -> xarray.Dataset -> best -> classify -> plots, report

`import jaxopt_notes` loads jax and optax; flax, xarray, scipy, matplotlib and scikit-learn load when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import curvature as curvature
from . import landscape as landscape
from . import minibatches as minibatches
from . import optimizers as optimizers
from . import problems as problems
from . import proof as proof
from . import schedules as schedules
from . import sweeps as sweeps
from ._version import __version__ as __version__
from .curvature import CriticalPoint as CriticalPoint
from .curvature import Kind as Kind
from .curvature import classify as classify
from .curvature import find_critical_points as find_critical_points
from .curvature import hessian as hessian
from .curvature import hvp as hvp
from .curvature import sharpness as sharpness
from .curvature import stability as stability
from .curvature import stability_bound as stability_bound
from .devices import compile_quickly as compile_quickly
from .devices import use_compilation_cache as use_compilation_cache
from .devices import use_cpu_cores as use_cpu_cores
from .diagnose import Diagnosis as Diagnosis
from .diagnose import diagnose as diagnose
from .explorer import explore as explore
from .minimize import Run as Run
from .minimize import Status as Status
from .minimize import minimize as minimize
from .minimize import minimize_stream as minimize_stream
from .minimize import minimize_until as minimize_until
from .optimizers import OPTIMIZERS as OPTIMIZERS
from .optimizers._adaptive import *  # noqa: F403
from .optimizers._extrapolated import *  # noqa: F403
from .optimizers._first_order import *  # noqa: F403
from .optimizers._moments import *  # noqa: F403
from .optimizers._second_order import *  # noqa: F403
from .problems import Metric as Metric
from .problems import Problem as Problem
from .problems import maximize as maximize
from .proof import Certificate as Certificate
from .proof import prove as prove
from .proof import prove_minimum_below as prove_minimum_below
from .race import Race as Race
from .race import Sensitivity as Sensitivity
from .race import budget_curve as budget_curve
from .race import compare as compare
from .race import performance_profile as performance_profile
from .race import race as race
from .race import sensitivity as sensitivity
from .race import time_to_target as time_to_target
from .report import Section as Section
from .report import report as report
from .suggest import Suggestion as Suggestion
from .suggest import suggest_learning_rate as suggest_learning_rate
from .sweeps import Best as Best
from .sweeps import Importance as Importance
from .sweeps import Invariance as Invariance
from .sweeps import Space as Space
from .sweeps import StoreError as StoreError
from .sweeps import SweepPlan as SweepPlan
from .sweeps import best as best
from .sweeps import check_invariance as check_invariance
from .sweeps import end_point as end_point
from .sweeps import grid as grid
from .sweeps import halving as halving
from .sweeps import importance as importance
from .sweeps import load as load
from .sweeps import load_end_point as load_end_point
from .sweeps import median_stopping as median_stopping
from .sweeps import open_sweep as open_sweep
from .sweeps import plan as plan
from .sweeps import resume as resume
from .sweeps import sample as sample
from .sweeps import save as save
from .sweeps import save_end_point as save_end_point
from .sweeps import seed_keys as seed_keys
from .sweeps import sweep as sweep
from .sweeps import trials as trials
from .sweeps import zipped as zipped
from .wrappers import averaging as averaging
from .wrappers import precision as precision
from .wrappers import projection as projection
from .wrappers.averaging import average_params as average_params
from .wrappers.averaging import ewma as ewma
from .wrappers.precision import stochastic_rounding as stochastic_rounding
from .wrappers.precision import unmoved_share as unmoved_share
from .wrappers.projection import project as project

if TYPE_CHECKING:
    from . import plots as plots
    from .plots import plot as plot
    from .sweeps.run import optuna as optuna


def __getattr__(name: str) -> Any:
    """Load the plots, and matplotlib with them, and the bridge to Optuna, when they are first asked for."""
    if name in ("plots", "plot"):
        try:
            plots = importlib.import_module(".plots", __name__)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}; figures need the extra: pip install 'jaxopt-notes[plots]'") from error
        return plots if name == "plots" else plots.plot
    if name == "optuna":
        return importlib.import_module(".sweeps.run.optuna", __name__)
    from ._checks import nearest

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest(name, __dir__())}")


def __dir__() -> list[str]:
    hidden = {"annotations", "importlib", "Any", "TYPE_CHECKING"}
    return sorted({name for name in globals() if not name.startswith("_")} - hidden | {"plot", "plots", "optuna"})
