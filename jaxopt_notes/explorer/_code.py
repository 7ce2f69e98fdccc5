"""A notebook cell that draws the picture of a request."""

from __future__ import annotations

from ..optimizers import RULES
from ._controls import CONTROLS
from ._request import Request

_PICTURE_2D = """
fig, (plane, curves) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
xs, ys = jnp.linspace({x0!r}, {x1!r}, 161), jnp.linspace({y0!r}, {y1!r}, 121)
heights = jax.vmap(jax.vmap(loss))(jnp.stack(jnp.meshgrid(xs, ys), axis=-1))
plane.contour(xs, ys, heights, levels={levels}, cmap="cividis", linewidths=0.7)
for name, run in runs.items():
    plane.plot(run.params_path[:, 0], run.params_path[:, 1], markersize=3, label=name, **looks[name])
plane.plot(*start, "o", markersize=14, markerfacecolor="none", markeredgecolor="#ff7f0e", markeredgewidth=3)
plane.set(xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]), aspect="equal", xlabel="x", ylabel="y")
"""

_PICTURE_1D = """
fig, (plane, curves) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
xs = jnp.linspace({x0!r}, {x1!r}, 401)
plane.plot(xs, jax.vmap(loss)(xs[:, None]), color="grey")
for name, run in runs.items():
    plane.plot(run.params_path[:, 0], run.loss, markersize=3, label=name, **looks[name])
plane.plot(start, loss(start), "o", markersize=14, markerfacecolor="none", markeredgecolor="#ff7f0e", markeredgewidth=3)
plane.set(xlim=(xs[0], xs[-1]), xlabel="x", ylabel="f(x)")
"""

_CURVES = """
plane.legend()
lowest = {lowest}
for name, run in runs.items():
    curves.plot(run.loss - lowest, label=name, **(looks[name] | {{"marker": ""}}))
curves.set(xlabel="step", ylabel="{label}", yscale="{scale}")
for name, run in runs.items():
    print(name, run.status_text, jon.classify(loss, run.params), sep="\\n  ")
"""


def as_python(request: Request) -> str:
    """Lines of Python that run the same optimizers from the same start, and draw and judge what the page shows.

    Example:
        >>> from jaxopt_notes.explorer._request import parse
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> asked = {"kind": "python", "function": "saddle", "optimizers": {"newton": {}}, "steps": 3}
        >>> print(as_python(parse(asked, catalogue())).splitlines()[5])
        loss = jon.problems.saddle().loss
    """
    scene, settings = request.scene, request.settings
    optimizers = "".join(
        f'    "{name}": {_optimizer(name, request.optimizers[name], request)},\n' for name in request.optimizers
    )
    styles = "".join(
        f'    "{name}": {{"color": "{color}", "linestyle": "{dash}", "marker": "{marker}"}},\n'
        for name, (color, dash, marker) in ((name, rule.look) for name, rule in RULES.items())
        if name in request.optimizers
    )
    floor = min((value for _, value in scene.minima), default=None)
    positive = floor is not None
    lines = [
        "import jax\nimport jax.numpy as jnp\nimport matplotlib.pyplot as plt",
        "import optax" if settings.noise else None,
        "import jaxopt_notes as jon\n",
        scene.code,
        f"start = jnp.array({request.start.tolist()!r})",
        f"optimizers = {{\n{optimizers}}}",
        f"looks = {{\n{styles}}}",
        "runs = {\n    name: jon.minimize(loss, start, optimizer, steps="
        f"{settings.steps}, record_params=True)\n    for name, optimizer in optimizers.items()\n}}",
    ]
    low, high = request.window.tolist()
    if scene.dimension == 1:
        picture = _PICTURE_1D.format(x0=low[0], x1=high[0])
    else:
        spaced = "lowest_seen + (heights.max() - lowest_seen) * 10 ** jnp.linspace(-4.4, -0.1, 16)"
        logarithmic = spaced.replace("lowest_seen", "heights.min()")
        picture = _PICTURE_2D.format(
            x0=low[0], x1=high[0], y0=low[1], y1=high[1], levels=logarithmic if scene.levels == "log" else "16"
        )
    ending = _CURVES.format(
        lowest=repr(floor) if positive else "0.0",
        label="loss - minimum" if positive else "loss",
        scale="log" if positive else "linear",
    )
    return "\n".join(line for line in lines if line is not None) + "\n" + picture.strip("\n") + ending


def _optimizer(name: str, numbers: dict[str, float], request: Request) -> str:
    """The call that makes the optimizer."""
    filled = {key: numbers.get(key, control.default) for key, control in CONTROLS[name].items()}
    texts = {key: repr(value) for key, value in filled.items()}
    if request.settings.decay:
        texts["learning_rate"] = f"jon.schedules.inverse_time({texts['learning_rate']}, {request.settings.decay!r})"
    call = f"jon.{name}({', '.join(f'{key}={text}' for key, text in texts.items())})"
    if request.settings.noise:
        variance = f"{request.settings.noise!r}**2"
        call = f"optax.chain(optax.add_noise(eta={variance}, gamma=0.0, key={request.settings.seed}), {call})"
    return call
