"""Proofs: ranges that hold every value, critical points with their index as theorems, complete lists of them."""

from .._jaxpr import supported as supported
from ._certificate import Certificate as Certificate
from ._certificate import check_certificate as check_certificate
from ._complete import AllCriticalPoints as AllCriticalPoints
from ._complete import all_critical_points as all_critical_points
from ._enclose import Enclosure as Enclosure
from ._enclose import enclose as enclose
from ._prove import prove as prove

__all__ = [
    "AllCriticalPoints",
    "Certificate",
    "Enclosure",
    "all_critical_points",
    "check_certificate",
    "enclose",
    "prove",
    "supported",
]
