"""Proofs: ranges that hold every value, critical points with their index as theorems, complete lists of them."""

from .._jaxpr import supported as supported
from ._certificate import Certificate as Certificate
from ._check import check_certificate as check_certificate
from ._complete import AllCriticalPoints as AllCriticalPoints
from ._complete import all_critical_points as all_critical_points
from ._enclose import Enclosure as Enclosure
from ._enclose import enclose as enclose
from ._minimum import GlobalMinimum as GlobalMinimum
from ._minimum import MinimumBelow as MinimumBelow
from ._minimum import global_minimum as global_minimum
from ._minimum import prove_minimum_below as prove_minimum_below
from ._prove import prove as prove

__all__ = [
    "AllCriticalPoints",
    "Certificate",
    "Enclosure",
    "GlobalMinimum",
    "MinimumBelow",
    "all_critical_points",
    "check_certificate",
    "enclose",
    "global_minimum",
    "prove",
    "prove_minimum_below",
    "supported",
]
