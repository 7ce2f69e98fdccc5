"""A sweep whose trials are split over 8 CPU devices, 2 by 2 by 2: how far its losses are from those of one device."""

import jax
import numpy as np

import jaxopt_notes as jon

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    import test_mesh

    problem, options = test_mesh.network(), test_mesh.OPTIONS | {"seeds": 1, "evaluate_every": None, "keep": None}
    alone = jon.sweep(problem, jon.adam, test_mesh.SPACE, **options, devices=jax.devices()[:1])
    eight = test_mesh.mesh(trials=2, data=2, model=2)
    table = jon.sweep(problem, jon.adam, test_mesh.SPACE, **options, mesh=eight, param_specs=test_mesh.SPECS)
    print(eight.size, float(np.max(np.abs(table.loss / alone.loss - 1))))
