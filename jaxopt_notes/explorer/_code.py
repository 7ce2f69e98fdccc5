"""Templates of the notebook cell that draws a picture; `page/python.js` fills `<...>` in."""

from __future__ import annotations

from typing import Any, Final

from ..optimizers import RULES

_START = """import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
<noise>import jaxopt_notes as jon

<code>
start = jnp.array(<start>)
optimizers = {
<optimizers>}
looks = {
<looks>}
runs = {
    name: jon.minimize(loss, start, optimizer, steps=<steps>, record_params=True)
    for name, optimizer in optimizers.items()
}
fig, (plane, curves) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
"""

_PLANE = """xs, ys = jnp.linspace(<x0>, <x1>, 161), jnp.linspace(<y0>, <y1>, 121)
heights = jax.vmap(jax.vmap(loss))(jnp.stack(jnp.meshgrid(xs, ys), axis=-1))
plane.contour(xs, ys, heights, levels=<levels>, cmap="cividis", linewidths=0.7)
for name, run in runs.items():
    plane.plot(run.params_path[:, 0], run.params_path[:, 1], markersize=3, label=name, **looks[name])
plane.plot(*start, "o", markersize=14, markerfacecolor="none", markeredgecolor="#ff7f0e", markeredgewidth=3)
plane.set(xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]), aspect="equal", xlabel="x", ylabel="y")
"""

_CURVE = """xs = jnp.linspace(<x0>, <x1>, 401)
plane.plot(xs, jax.vmap(loss)(xs[:, None]), color="grey")
for name, run in runs.items():
    plane.plot(run.params_path[:, 0], run.loss, markersize=3, label=name, **looks[name])
plane.plot(start, loss(start), "o", markersize=14, markerfacecolor="none", markeredgecolor="#ff7f0e", markeredgewidth=3)
plane.set(xlim=(xs[0], xs[-1]), xlabel="x", ylabel="f(x)")
"""

_END = """plane.legend()
lowest = <lowest>
for name, run in runs.items():
    curves.plot(run.loss - lowest, label=name, **(looks[name] | {"marker": ""}))
curves.set(xlabel="step", ylabel="<label>", yscale="<scale>")
for name, run in runs.items():
    print(name, run.status_text, jon.classify(loss, run.params), sep="\\n  ")
"""

TEMPLATES: Final[dict[str, str]] = {
    "plane": _START + _PLANE + _END,
    "curve": _START + _CURVE + _END,
    "log_levels": "heights.min() + (heights.max() - heights.min()) * 10 ** jnp.linspace(-4.4, -0.1, 16)",
}


def styles() -> dict[str, Any]:
    """How matplotlib draws the path of each optimizer, as Python."""
    return {
        name: f'{{"color": "{rule.look.color}", "linestyle": "{rule.look.dash}", "marker": "{rule.look.marker}"}}'
        for name, rule in RULES.items()
    }
