"""Comparing methods: the best after every tuning budget, the time to a target, the width of the good range."""

from ._battery import chance_of_pass as chance_of_pass
from ._battery import passed as passed
from ._battery import run_battery as run_battery
from ._battery import trials_to_pass as trials_to_pass
from ._budget import budget_curve as budget_curve
from ._budget import expected_best as expected_best
from ._compare import compare as compare
from ._compare import holm as holm
from ._compare import sign_flip_test as sign_flip_test
from ._luck import tuned_test as tuned_test
from ._profile import performance_profile as performance_profile
from ._race import race as race
from ._sensitivity import Sensitivity as Sensitivity
from ._sensitivity import sensitivity as sensitivity
from ._target import reaches as reaches
from ._target import time_to_target as time_to_target
from ._verdict import Race as Race

__all__ = [
    "Race",
    "Sensitivity",
    "budget_curve",
    "chance_of_pass",
    "compare",
    "expected_best",
    "holm",
    "passed",
    "performance_profile",
    "race",
    "reaches",
    "run_battery",
    "sensitivity",
    "sign_flip_test",
    "time_to_target",
    "trials_to_pass",
    "tuned_test",
]
