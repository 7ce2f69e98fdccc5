"""Slices of a loss: lines and planes of losses, gradients and curvature, directions, and projections onto them."""

from .directions import Directions as Directions
from .directions import Plane as Plane
from .directions import coordinate_plane as coordinate_plane
from .directions import random_directions as random_directions
from .slices import curvature_map as curvature_map
from .slices import gradient_field as gradient_field
from .slices import grid_of_losses as grid_of_losses
from .slices import line as line
from .slices import plane as plane
from .subspaces import eigendirections as eigendirections
from .subspaces import hessian_directions as hessian_directions
from .subspaces import pca_plane as pca_plane
from .subspaces import project as project

__all__ = [
    "Directions",
    "Plane",
    "coordinate_plane",
    "curvature_map",
    "eigendirections",
    "gradient_field",
    "grid_of_losses",
    "hessian_directions",
    "line",
    "pca_plane",
    "plane",
    "project",
    "random_directions",
]
