"""Curvature: Hessian products, the ends of the spectrum with bounds, verdicts on critical points, stability."""

from .bounds import spectrum_bounds as spectrum_bounds
from .bounds import zero_level as zero_level
from .classify import classify as classify
from .critical_points import CriticalPoints as CriticalPoints
from .critical_points import find_critical_points as find_critical_points
from .density import SpectralDensity as SpectralDensity
from .density import Trace as Trace
from .density import spectral_density as spectral_density
from .density import trace as trace
from .eigsh import Eigenpairs as Eigenpairs
from .eigsh import EigshStatus as EigshStatus
from .eigsh import eigsh as eigsh
from .lanczos import Krylov as Krylov
from .lanczos import Ritz as Ritz
from .lanczos import lanczos as lanczos
from .lanczos import ritz as ritz
from .losses import GaussNewtonOperator as GaussNewtonOperator
from .losses import HessianOperator as HessianOperator
from .operators import hessian as hessian
from .operators import hvp as hvp
from .preconditioners import Stability as Stability
from .preconditioners import preconditioner as preconditioner
from .preconditioners import stability as stability
from .stability import sharpness as sharpness
from .stability import stability_bound as stability_bound
from .symmetric import FunctionOperator as FunctionOperator
from .symmetric import Probe as Probe
from .symmetric import SymmetricOperator as SymmetricOperator
from .symmetric import probe as probe
from .verdict import CriticalPoint as CriticalPoint
from .verdict import Kind as Kind

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
