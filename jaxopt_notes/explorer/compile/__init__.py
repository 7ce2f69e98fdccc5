"""JAX functions as JavaScript: what the explorer shows is computed in the browser, by the functions of this package."""

from ._external import external_loss as external_loss
from ._program import Script as Script
from ._program import javascript as javascript
from ._program import supported as supported
from ._runtime import runtime as runtime

__all__ = ["Script", "external_loss", "javascript", "runtime", "supported"]
