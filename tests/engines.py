"""The page's engine and that of JAX on the same cases, in float64.

Two paths agree if every point and loss differs by at most 1e-9 of the size of its column. Where they do not, JAX is run
again: from a start moved by one rounding either way, with the loss times 1 + 2^-52, with the noise times
1 +- 2^-51, and, if that does not explain it, operation by operation and with a more accurate tanh. XLA joins operations
as it compiles them, so that a product and a sum are rounded once; the page rounds both, as JAX does operation by
operation. XLA's tanh is wrong by up to 6 units in the last place, the page's by 2. The case passes if JAX then moves by
a tenth of the difference itself.
"""

import jax
import numpy as np
from javascript import PageEngine

from jaxopt_notes.curvature import CriticalPoint
from jaxopt_notes.explorer._controls import CONTROLS
from jaxopt_notes.explorer._engine import Settings, descend
from jaxopt_notes.explorer._presets import PRESETS
from jaxopt_notes.explorer._scenes import Scene

NEAR = 1e-9


def twin(scene):
    """The same function, rounded differently at every step."""
    return Scene(scene.name, lambda x: scene.loss(x) * (1 + 2.0**-52), scene.domain, scene.start)


@jax.custom_jvp
def tanh(x):
    """The function of that name, within 2 units in the last place where exp(-2 x) is finite."""
    return -jax.numpy.expm1(-2 * x) / (1 + jax.numpy.exp(-2 * x))


@tanh.defjvp
def _(primals, tangents):
    """JAX's rule."""
    found = tanh(*primals)
    return found, (tangents[0] + tangents[0] * found) * (1 - found)


def accurate(scene):
    """The same function with that tanh."""

    def loss(x):
        program = jax.make_jaxpr(scene.loss)(x)
        values = dict(zip((*program.jaxpr.constvars, *program.jaxpr.invars), (*program.consts, x), strict=True))
        for step in program.eqns:
            given = [one.val if hasattr(one, "val") else values[one] for one in step.invars]
            found = tanh(*given) if step.primitive.name == "tanh" else step.primitive.bind(*given, **step.params)
            values.update(zip(step.outvars, found if step.primitive.multiple_results else [found], strict=True))
        return values[program.jaxpr.outvars[0]]

    return Scene(scene.name, loss, scene.domain, scene.start)


def difference(found, wanted, dimension):
    """The largest difference of two paths and of their losses, relative to the size of each column."""
    path, loss = np.reshape(np.array(found["path"], float), (-1, dimension)), np.array(found["loss"], float)
    worst = 0.0
    for one, other in ((path, wanted.path), (loss[:, None], np.asarray(wanted.loss)[:, None])):
        finite = np.isfinite(other)
        if (np.isfinite(one) != finite).any():
            return np.inf
        with np.errstate(all="ignore"):
            size = np.maximum(np.abs(other), np.maximum(np.abs(other[:1]), 1e-3))
            worst = max(worst, float(np.max(np.where(finite, np.abs(one - other) / size, 0), initial=0)))
    return worst


def as_found(descent):
    """A path of JAX in the form of the page's."""
    return {"path": descent.path.ravel().tolist(), "loss": descent.loss.tolist()}


def same_verdict(found, wanted: CriticalPoint) -> bool:
    """Whether kind and counts agree."""
    verdict = found["verdict"]
    return (verdict["kind"], verdict["index"], verdict["positive"]) == (
        wanted.kind_name,
        int(wanted.index),
        int(wanted.positive),
    )


class Comparison:
    """One function in both engines."""

    def __init__(self, scenes):
        self.scenes, self.page = scenes, PageEngine(scenes)
        self.twins = {name: twin(scene) for name, scene in scenes.items()}

    def case(self, name, method, numbers, start, settings):
        """Compare one path; what is returned is a row of the table."""
        request = {"function": name, "start": start, "optimizers": {method: numbers}, **settings._asdict()}
        found = self.page.path(method, request)
        scene = self.scenes[name]
        wanted = descend(scene, {method: numbers}, start, settings)[method]
        apart = difference(found, wanted, scene.dimension)
        row = {"function": name, "method": method, "numbers": numbers, "start": start, **settings._asdict()}
        row |= {"difference": apart, "status": found["status"] == wanted.status.name.lower()}
        row["verdict"] = same_verdict(found, wanted.verdict)
        row["words"] = self.page.words(wanted) == self.expected_words(wanted)
        if apart > NEAR or not (row["status"] and row["verdict"]):
            row["control"] = self.control(self.others(name, method, numbers, start, settings), wanted)
        if not passes(row):
            with jax.disable_jit():
                others = [descend(scene, {method: numbers}, start, settings)[method]]
            if name == "tanh":
                others.append(descend(accurate(scene), {method: numbers}, start, settings)[method])
            row["control"] = self.control(others, wanted)
        return row

    @staticmethod
    def expected_words(wanted):
        """What Python says."""
        point = ", ".join(f"{value:.6g}" for value in np.asarray(wanted.verdict.point))
        away = f"At ({point}), {wanted.gap:.1g} from the last point"
        words = str(wanted.verdict).replace("\n", " ")
        return f"{away if wanted.gap else f'At the last point, ({point})'}: {words}"

    def others(self, name, method, numbers, start, settings):
        """The same path in JAX, rounded differently: from another start, with another loss, with other noise."""
        scene, asked = self.scenes[name], {method: numbers}
        starts = [[float(np.nextafter(x, end)) for x in start] for end in (np.inf, -np.inf)]
        louder = [settings._replace(noise=settings.noise * (1 + sign * 2.0**-51)) for sign in (1, -1)]
        found = [descend(scene, asked, moved, settings) for moved in starts]
        found += [descend(scene, asked, start, noise) for noise in louder if settings.noise]
        return [one[method] for one in (*found, descend(self.twins[name], asked, start, settings))]

    @staticmethod
    def control(others, wanted):
        """How far JAX itself moves by a rounding, and whether its status or its verdict does."""
        apart = max(difference(as_found(other), wanted, wanted.path.shape[1]) for other in others)
        changed = any(
            other.status != wanted.status or other.verdict.kind_name != wanted.verdict.kind_name for other in others
        )
        return {"difference": apart, "changed": changed}


def passes(row):
    """Whether a row agrees, or JAX differs from itself by a tenth of that."""
    control = row.get("control", {"difference": 0.0, "changed": False})
    near = row["difference"] <= NEAR or row["difference"] <= 10 * control["difference"]
    return near and ((row["status"] and row["verdict"]) or control["changed"] or row["difference"] > NEAR)


def demonstrations():
    """Every demonstration with every method."""
    for preset in PRESETS:
        for method in CONTROLS:
            numbers = preset["optimizers"].get(method, {})
            settings = Settings(256, preset.get("noise", 0.0), preset.get("decay", 0.0), preset.get("seed", 0))
            yield preset["function"], method, numbers, [float(x) for x in preset["start"]], settings


def drawn(random, scenes):
    """A random case: rates over two decades around the default, a start anywhere in the picture, some with noise."""
    name = str(random.choice(list(scenes)))
    method = str(random.choice(list(CONTROLS)))
    numbers = {}
    for key, control in CONTROLS[method].items():
        if control.log:
            numbers[key] = float(np.clip(control.default * 10 ** random.uniform(-1, 1), control.low, control.high))
        else:
            numbers[key] = float(random.uniform(control.low, control.high))
    low, high = scenes[name].domain
    start = random.uniform(low, high).tolist()
    noise = float(random.choice([0.0, 0.1, 2.0]))
    return (
        name,
        method,
        numbers,
        start,
        Settings(256, noise, float(random.choice([0.0, 0.05])), int(random.integers(1000))),
    )
