"""Slices of a loss: lines and planes of losses, gradients and curvature, directions, and projections onto them."""

from ._directions import Directions as Directions
from ._directions import Plane as Plane
from ._directions import coordinate_plane as coordinate_plane
from ._directions import random_directions as random_directions
from ._slices import curvature_map as curvature_map
from ._slices import gradient_field as gradient_field
from ._slices import grid_of_losses as grid_of_losses
from ._slices import line as line
from ._slices import plane as plane
from ._subspaces import eigendirections as eigendirections
from ._subspaces import hessian_directions as hessian_directions
from ._subspaces import pca_plane as pca_plane
from ._subspaces import project as project

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
