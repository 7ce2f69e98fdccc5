"""Curvature: Hessian products, the ends of the spectrum with bounds, verdicts on critical points, stability."""

from .bounds import spectrum_bounds as spectrum_bounds
from .bounds import zero_level as zero_level
from .classify import classify as classify
from .critical_points import CriticalPoints as CriticalPoints
from .critical_points import find_critical_points as find_critical_points
from .eigsh import Krylov as Krylov
from .eigsh import Ritz as Ritz
from .eigsh import lanczos as lanczos
from .eigsh import ritz as ritz
from .operators import hessian as hessian
from .operators import hvp as hvp
from .stability import sharpness as sharpness
from .stability import stability_bound as stability_bound
from .verdict import CriticalPoint as CriticalPoint
from .verdict import Kind as Kind
