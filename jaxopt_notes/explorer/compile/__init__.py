"""JAX functions as JavaScript: what the explorer shows is computed in the browser, by the functions of this package."""

from ._program import Script as Script
from ._program import javascript as javascript
from ._program import supported as supported
from ._runtime import runtime as runtime

__all__ = ["Script", "javascript", "runtime", "supported"]
