"""Curvature: Hessian products, the ends of the spectrum with bounds, verdicts on critical points, stability."""

from ._bounds import spectrum_bounds as spectrum_bounds
from ._bounds import zero_level as zero_level
from ._classify import classify as classify
from ._critical_points import CriticalPoints as CriticalPoints
from ._critical_points import find_critical_points as find_critical_points
from ._density import SpectralDensity as SpectralDensity
from ._density import Trace as Trace
from ._density import spectral_density as spectral_density
from ._density import trace as trace
from ._eigsh import Eigenpairs as Eigenpairs
from ._eigsh import EigshStatus as EigshStatus
from ._eigsh import eigsh as eigsh
from ._lanczos import Krylov as Krylov
from ._lanczos import Ritz as Ritz
from ._lanczos import lanczos as lanczos
from ._lanczos import ritz as ritz
from ._losses import GaussNewtonOperator as GaussNewtonOperator
from ._losses import HessianOperator as HessianOperator
from ._operators import hessian as hessian
from ._operators import hvp as hvp
from ._preconditioners import Stability as Stability
from ._preconditioners import preconditioner as preconditioner
from ._preconditioners import stability as stability
from ._stability import sharpness as sharpness
from ._stability import stability_bound as stability_bound
from ._symmetric import FunctionOperator as FunctionOperator
from ._symmetric import Probe as Probe
from ._symmetric import SymmetricOperator as SymmetricOperator
from ._symmetric import probe as probe
from ._verdict import CriticalPoint as CriticalPoint
from ._verdict import Kind as Kind

__all__ = [
    "CriticalPoint",
    "CriticalPoints",
    "Eigenpairs",
    "EigshStatus",
    "FunctionOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "Kind",
    "Krylov",
    "Probe",
    "Ritz",
    "SpectralDensity",
    "Stability",
    "SymmetricOperator",
    "Trace",
    "classify",
    "eigsh",
    "find_critical_points",
    "hessian",
    "hvp",
    "lanczos",
    "preconditioner",
    "probe",
    "ritz",
    "sharpness",
    "spectral_density",
    "spectrum_bounds",
    "stability",
    "stability_bound",
    "trace",
    "zero_level",
]
