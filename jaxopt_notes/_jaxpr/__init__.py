"""What this package uses of JAX that JAX does not promise, in one place.

JAX promises its documented functions. It does not promise how a traced program looks inside, how it prints, what its
operations are called, what a compiled program reports of itself, the words of its errors, or the flags of XLA. Every
such use is a function here, whose docstring names what may change. `tests/test_jaxpr.py` has a test for each that names
what broke with a new JAX, and fails on any such use elsewhere in the package.
"""

from .compiled import bytes_needed as bytes_needed
from .compiled import chosen_precision as chosen_precision
from .compiled import collectives_in as collectives_in
from .compiled import cost_of as cost_of
from .compiled import devices_are_made as devices_are_made
from .compiled import full_precision as full_precision
from .compiled import is_out_of_memory as is_out_of_memory
from .compiled import memory_limit as memory_limit
from .compiled import precise as precise
from .compiled import products_are_rounded as products_are_rounded
from .compiled import quick_flags as quick_flags
from .compiled import quick_options as quick_options
from .compiled import set_cpu_devices as set_cpu_devices
from .compiled import use_flags as use_flags
from .equations import UNKNOWN as UNKNOWN
from .equations import bytes_computed as bytes_computed
from .equations import callbacks as callbacks
from .equations import has_custom_rule as has_custom_rule
from .equations import has_loop as has_loop
from .equations import needs_custom_tangent as needs_custom_tangent
from .equations import reaches_outside as reaches_outside
from .equations import wrapped_parts as wrapped_parts
from .listing import Listing as Listing
from .listing import Operation as Operation
from .listing import listed as listed
from .programs import Jaxpr as Jaxpr
from .programs import Traced as Traced
from .programs import constants_inside as constants_inside
from .programs import equations as equations
from .programs import evaluate as evaluate
from .programs import inlined as inlined
from .programs import inputs_used as inputs_used
from .programs import is_jax_sparse as is_jax_sparse
from .programs import is_threefry as is_threefry
from .programs import is_traced as is_traced
from .programs import is_tracing as is_tracing
from .programs import is_weakly_typed as is_weakly_typed
from .programs import lifted as lifted
from .programs import output_shapes as output_shapes
from .programs import text as text
from .programs import threefry_words as threefry_words
from .programs import trace as trace
from .real import Arithmetic as Arithmetic
from .real import Unsupported as Unsupported
from .real import doubles as doubles
from .real import is_known as is_known
from .real import run_on as run_on
from .real import supported as supported
from .sums import Value as Value
from .sums import adds_up as adds_up
from .sums import output_value as output_value
