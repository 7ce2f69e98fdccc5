"""What `proof` proves is true: known points, functions made to mislead, files made to mislead, degrees."""

import json
import re
import subprocess
import sys
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interval_cases import where_subnormal_numbers_are_zero
from known_points import judged, random_case

from jaxopt_notes.proof import all_critical_points, check_certificate, prove
from jaxopt_notes.proof._boundary import boundary_index_sum
from jaxopt_notes.proof._certificate import Certificate, _range
from jaxopt_notes.proof._function import traced
from jaxopt_notes.proof._point import Point
from jaxopt_notes.proof._stored import digest
from jaxopt_notes.proof._task import distinct


def searched(loss, box, *args, boxes=4000, **options):
    return all_critical_points(loss, box, *args, boxes=boxes, progress=False, **options)


@pytest.mark.parametrize("seed", range(60))
def test_known_points_are_found_and_nothing_else_is_proved(seed):
    reasons, _ = judged(random_case(seed))
    assert not reasons


def test_most_lists_are_complete():
    """A proof that never proves anything is never wrong."""
    assert sum(judged(random_case(seed))[1] for seed in range(100, 120)) >= 14


# Functions made to mislead

ZERO = np.zeros(2)
UNPROVABLE = {
    "cube": (lambda x: x[0] ** 3 + x[1] ** 2, ZERO),
    "fourth power": (lambda x: jnp.sum(x**4), ZERO),
    "monkey saddle": (lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, ZERO),
    "two parabolas": (lambda x: (x[1] - x[0] ** 2) * (x[1] - 3 * x[0] ** 2), ZERO),
    "valley": (lambda x: x[0] ** 2, ZERO),
    "absolute": (lambda x: jnp.abs(x[0]) + x[1] ** 2, ZERO),
    "kink at a minimum": (lambda x: jnp.abs(x[0]) + jnp.sum(x**2), ZERO),
    "relu": (lambda x: jnp.sum(jax.nn.relu(x) ** 2), ZERO),
    "leaky relu": (lambda x: jnp.sum(jax.nn.leaky_relu(x) * x), ZERO),
    "maximum": (lambda x: jnp.maximum(x[0] ** 2, x[0]) + x[1] ** 2, ZERO),
    "jump": (lambda x: jnp.where(x[0] > 0, 1.0, 0.0) + jnp.sum(x**2), ZERO),
    "jump of the slope": (lambda x: jnp.where(x[0] > 0, x[0] ** 2, 3 * x[0] ** 2) + x[1] ** 2, ZERO),
    "a point taken out": (lambda x: jnp.where(x[0] == 0, 1.0, 0.0) + jnp.sum(x**2), ZERO),
    "sign": (lambda x: jnp.sign(x[0]) * x[0] ** 2 + x[1] ** 2, ZERO),
    "oscillating": (lambda x: x[0] ** 2 * jnp.sin(1 / x[0]) + x[1] ** 2, ZERO),
    "sinc": (lambda x: jnp.where(x[0] == 0, 1.0, jnp.sin(x[0]) / jnp.where(x[0] == 0, 1.0, x[0])) + x[1] ** 2, ZERO),
    "pole": (lambda x: 1 / x[0] + x[1] ** 2, ZERO),
    "logarithm": (lambda x: jnp.log(x[0]) + x[1] ** 2, ZERO),
    "root": (lambda x: jnp.sqrt(x[0]) + x[1] ** 2, ZERO),
    "norm": (lambda x: jnp.linalg.norm(x), ZERO),
    "power": (lambda x: jnp.abs(x[0]) ** 1.5 + x[1] ** 2, ZERO),
    # The function is not defined at the point, and simplifying would hide that.
    "0 log": (lambda x: jnp.sum(x**2) + 0 * jnp.log(x[0] - 1), ZERO),
    "0 sqrt": (lambda x: jnp.sum(x**2) + 0 * jnp.sqrt(x[0] - 1), ZERO),
    "0 / 0": (lambda x: jnp.sum(x**2) + 0 / x[0], ZERO),
    "difference": (lambda x: jnp.sum(x**2) + (jnp.log(x[0] - 1) - jnp.log(x[0] - 1)), ZERO),
    "exp log": (lambda x: jnp.exp(jnp.log(x[0])) ** 2 + x[1] ** 2, ZERO),
    "log exp log": (lambda x: jnp.log(jnp.exp(jnp.log(x[0] - 1))) * 0 + jnp.sum(x**2), ZERO),
    "square of a root": (lambda x: jnp.sqrt(x[0] - 1) ** 4 + x[1] ** 2, np.array([1.0, 0.0])),
    "inverse of an inverse": (lambda x: (1 / (1 / x[0])) ** 2 + x[1] ** 2, ZERO),
    "0 arcsin": (lambda x: jnp.sum(x**2) + 0 * jnp.arcsin(x[0] + 2), ZERO),
    "0 arccos": (lambda x: jnp.sum(x**2) + 0 * jnp.arccos(x[0] + 2), ZERO),
    "0 tan": (lambda x: jnp.sum(x**2) + 0 * jnp.tan(1 / x[0]), ZERO),
    "0 power": (lambda x: jnp.sum(x**2) + 0 * (x[0] - 1) ** 0.3, ZERO),
    "root of a constant": (lambda x: jnp.sum(x**2) + 0 * jnp.sqrt(x[0] * 0 - 1), ZERO),
    "no number": (lambda x, c: jnp.sum(x**2) + 0 * (x[0] + c), ZERO, np.array(np.nan)),
    "no number cancelled": (lambda x, c: jnp.sum(x**2) + ((x[0] + c) - (x[0] + c)), ZERO, np.array(np.nan)),
    "infinite": (lambda x, c: jnp.sum(x**2) + 0 * (x[0] * c), ZERO, np.array(np.inf)),
    "infinite quotient": (lambda x, c: jnp.sum(x**2) + (c - c), ZERO, np.array(np.inf)),
}


@pytest.mark.parametrize("name", UNPROVABLE)
def test_no_point_is_proved_where_there_is_none_to_prove(name):
    loss, point, *args = UNPROVABLE[name]
    assert not prove(loss, point, *args)
    assert prove(loss, point, *args).kind != "not critical" or name in ("pole", "logarithm", "root", "norm")
    found = searched(loss, (point - 0.51, point + 0.52), *args, boxes=600)
    inside = [each for each in found if np.abs(each.point - point).max() <= each.radius]
    assert not inside
    smooth_elsewhere = ("pole", "no number", "infinite", "0 log", "difference", "exp", "log", "0 ", "root of")
    assert not found.complete or name.startswith(smooth_elsewhere), "the point itself cannot be decided"


KNOWN = {
    "none": (lambda x: jnp.exp(x[0]) + x[1] ** 2, ([-3.0, -3.0], [3.0, 3.1]), [], True),
    "linear": (lambda x: x[0] + 1e-30 * x[1], ([-1.0, -1.0], [1.0, 1.0]), [], True),
    "barely none": (lambda x: x[0] ** 3 + 1e-6 * x[0] + x[1] ** 2, ([-1.0, -1.0], [1.0, 1.1]), [], True),
    "flat beside": (lambda x: 1 + x[0] ** 3 + x[1] ** 2, ([-1.0, -1.0], [1.1, 1.2]), [], False),
    "circle": (lambda x: (jnp.sum(x**2) - 1) ** 2, ([-2.0, -2.0], [2.1, 2.2]), [(0.0, 0.0)], False),
    "twins": (lambda x: x**3 / 3 - 2.0**-23 * x**2, (-1.0, 1.0), [0.0, 2.0**-22], True),
    "closer twins": (lambda x: x**3 / 3 - 2.0**-31 * x**2, (-1.0, 1.0), [0.0, 2.0**-30], False),
    "logarithm": (lambda x: x - jnp.log(x), (0.1, 3.0), [1.0], True),
    "logarithm at 0": (lambda x: x - jnp.log(x), (-1.0, 3.0), [1.0], False),
    "root": (lambda x: jnp.sqrt(x) + 1 / x, (0.1, 9.0), [4 ** (1 / 3)], True),
    "poles": (lambda x: jnp.tan(x) - 2 * x, (-1.5, 1.5), [-np.pi / 4, np.pi / 4], True),
    "over a pole": (lambda x: jnp.tan(x) - 2 * x, (-1.5, 2.0), [-np.pi / 4, np.pi / 4], False),
    "corner": (lambda x: jnp.sum(x**2), ([0.0, 0.0], [1.0, 1.0]), [(0.0, 0.0)], True),
    "faces": (lambda x: jnp.sum(x**4 / 4 - x**2 / 2), ([-1.0, -1.0], [1.0, 1.0]),
              [(a, b) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)], True),
    "first cut": (lambda x: (x - 0.4903) ** 2, (0.0, 1.0), [0.4903], True),
    "large terms": (lambda x: (((x + 1e16) - 1e16) - 0.25) ** 2, (-3.0, 3.0), [0.25], True),
    "kink elsewhere": (lambda x: jnp.abs(x) + (x - 2) ** 2, (-1.0, 3.0), [1.5], True),
    "arcs": (lambda x: jnp.arcsin(x) - 2 * x, (-0.99, 0.99), [-np.sqrt(0.75), np.sqrt(0.75)], True),
    "beyond an arc": (lambda x: jnp.arcsin(x) - 2 * x, (-1.5, 1.5), [-np.sqrt(0.75), np.sqrt(0.75)], False),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_lists_of_known_points(name):
    loss, box, points, complete = KNOWN[name]
    found = searched(loss, box, boxes=20_000)
    for each in found:
        near = [p for p in points if np.abs(np.asarray(p) - each.point).max() <= each.radius + 1e-15]
        assert len(near) == 1, each
    assert found.complete == complete
    if complete:
        assert len(found) == len(points)
    else:
        assert found.left or len(found.undecided[0])


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e30])
@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1.0, 1e30])
def test_no_unit_of_loss_or_parameters_matters(scale, unit):
    loss = lambda x: scale * ((x[0] / unit) ** 3 / 3 - x[0] / unit + (x[1] / unit - 0.5) ** 2)
    found = searched(loss, (np.array([-2.0, -2.0]) * unit, np.array([2.1, 2.3]) * unit))
    assert found.complete
    assert [each.index for each in found] == [0, 1]
    for each, x in zip(found, (1.0, -1.0), strict=True):
        assert np.abs(each.point - np.array([x, 0.5]) * unit).max() <= each.radius + 1e-15 * unit
        assert each.radius < 1e-12 * unit


def test_constants_are_what_the_program_says():
    """0.1 x 0.3 - 0.03 is not 0, and not what rounding makes of it."""
    shift = Fraction(0.1) * Fraction(0.3) - Fraction(0.03)
    certificate = prove(lambda x, a, b: (x - (a * b - 0.03) * 1e17) ** 2, 0.0, np.array(0.1), np.array(0.3), within=1.0)
    assert certificate
    assert abs(Fraction(float(certificate.point)) - shift * 10**17) <= Fraction(certificate.radius)
    data = np.array([0.1, 0.7], np.float32)
    certificate = prove(lambda x, data: jnp.sum((x - data) ** 2), 0.4, data)
    assert abs(Fraction(float(certificate.point)) - sum(map(Fraction, data.tolist())) / 2) <= certificate.radius


def test_what_repeats_has_each_point_once():
    loss = lambda x: jnp.cos(x[0]) * jnp.cos(x[1])
    found = searched(loss, (np.zeros(2), np.full(2, 2 * np.pi)), period=2 * np.pi)
    assert found.complete
    assert found.index_counts == {0: 2, 1: 4, 2: 2}
    assert found.index_sum == 0
    part = searched(lambda x: jnp.cos(x + 1e-3), (0.0, 1.0), period=2 * np.pi)
    assert len(part) == 0, "-0.001 is not in the box"
    with pytest.raises(ValueError, match="period must be above 0"):
        searched(loss, (np.zeros(2), np.ones(2)), period=-1.0)


def test_two_ranges_that_meet_are_one_point_only_if_that_is_proved():
    found = searched(lambda x: jnp.sin(50 * x), (-0.05, 0.1))
    first = found._proof
    for beside, places in ((0.0, 0), (2.0, 1)):  # inside of where the other is alone, and reaching out of it
        wide = first._replace(upper_of_zero=first.upper_of_zero + beside)
        both = type(first)(*(np.concatenate(parts) for parts in zip(first, wide, strict=True)))
        rows, unsure = distinct(both, found._task)
        assert len(rows.index) == len(found)
        assert (len(unsure.lower) > 0) == places


@pytest.mark.parametrize(("box", "match"), [
    ((0.0, np.inf), "finite"), ((1.0, 0.0), "below"), ((0.0, 5e-324), "at least"),
    ((np.zeros(0), np.zeros(0)), "one number"),
])  # fmt: skip
def test_boxes_that_no_proof_can_be_about(box, match):
    with pytest.raises(ValueError, match=match):
        searched(lambda x: jnp.sum(x**2), box)
    with pytest.raises(TypeError, match="real"):
        prove(lambda x: jnp.abs(x) ** 2, np.array(1j))


def test_small_numbers_may_be_flushed():
    """A thread that takes 1e-310 for zero states nothing else than other threads."""
    factor, tiny = np.array(1e300), np.array(1e-310)
    true = Fraction(1e300) * Fraction(1e-310)
    loss = lambda x, a, b: 0.5 * x[0] ** 2 - x[0] * (a * b) + jnp.exp(x[1]) - x[1]
    found = where_subnormal_numbers_are_zero(lambda: prove(loss, np.zeros(2), factor, tiny))
    for certificate in [prove(loss, np.zeros(2), factor, tiny), *([found] if found is not None else [])]:
        assert abs(Fraction(float(certificate.point[0])) - true) <= Fraction(min(certificate.radius, 1e300))


# Words and files


def _bowl(x):
    return (x[0] ** 2 - 2) ** 2 + jnp.exp(x[1]) - x[1] + 1 / (3 + x[1] ** 2) + x[0] ** 3 * x[1] ** 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("proofs") / "bowl.json"
    certificate = prove(_bowl, np.array([1.4, 0.0]), within=1.0)
    certificate.save(path)
    return certificate, path


def test_words_are_rounded_to_the_side_on_which_they_stay_true():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        lower = rng.standard_normal() * 10.0 ** rng.uniform(-320, 300)
        upper = lower + abs(lower) * 10.0 ** rng.uniform(-17, 2)
        low, high = _range(lower, upper)[1:-1].split(", ")
        assert Fraction(low) <= Fraction(lower)
        assert Fraction(upper) <= Fraction(high)
    for radius, alone in [(1.4e-9, 0.0996), (1.04e-3, 1.05e-3), (0.0249, 1.9e-7)]:
        words = str(
            Certificate(True, "minimum", 0, np.zeros(1), radius, alone, np.ones((1, 2)), (0, 1), 0, "", None, "")
        )
        if "exactly one" in words:
            within, near = map(Fraction, re.findall(r"(?:within|at most) ([\d.e-]+\d)", words))
            assert Fraction(radius) <= near <= within <= Fraction(alone)
        else:
            near, within = map(Fraction, re.findall(r"within ([\d.e-]+\d)", words))
            assert radius <= near
            assert within <= alone
    away = prove(_bowl, np.array([0.7, 0.3]))
    assert away.kind == "not critical"
    assert Fraction(re.search(r"within ([\d.e-]+\d)", str(away))[1]) <= Fraction(away.radius)


def test_a_fresh_process_proves_a_saved_certificate_again(saved):
    certificate, path = saved
    code = "import sys; from jaxopt_notes.proof import check_certificate; print(check_certificate(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0][:28] == str(certificate)[:28] == "strict local minimum, proved"


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_certificates_of_known_points_are_proved_again(seed, tmp_path):
    case = random_case(seed)
    certificate = prove(case.loss, case.points[0][0].astype(float)) if case.points else None
    for each in [*([certificate] if certificate else []), *searched(case.loss, case.box, boxes=500)][:3]:
        each.save(tmp_path / "one.json")
        words = check_certificate(tmp_path / "one.json")
        assert words.split(",")[0] == str(each).split(",")[0]


def _flipped(text, rng):
    """The text with one digit or letter of a number or a name changed."""
    where = [i for i, c in enumerate(text) if c.isalnum()]
    place = int(rng.choice(where))
    return text[:place] + str(rng.choice([c for c in "0123456789abc" if c != text[place]])) + text[place + 1 :]


def test_a_changed_character_is_found(saved, tmp_path):
    rng, text = np.random.default_rng(1), saved[1].read_text()
    for _ in range(300):
        (tmp_path / "one.json").write_text(_flipped(text, rng))
        with pytest.raises(ValueError, match=r"one\.json"):
            check_certificate(tmp_path / "one.json")


def _rewritten(path, content):
    path.write_text(json.dumps(content | {"sha256": digest(content)}))
    return path


@pytest.mark.parametrize(
    "name", ["statement", "kind", "index", "point", "lower", "upper", "radius", "eigenvalues", "loss"]
)
def test_a_change_with_its_digest_made_anew_is_found_or_what_is_stated_stays_true(saved, tmp_path, name):
    certificate, path = saved
    rng, content = np.random.default_rng(2), json.loads(path.read_text())
    for _ in range(40):
        try:
            part = json.loads(_flipped(json.dumps(content[name]), rng))
            words = check_certificate(_rewritten(tmp_path / "one.json", content | {name: part}))
        except ValueError:
            continue
        assert words.startswith("strict local minimum, proved")
        near = float(re.search(r"lies within ([\d.e-]+\d)|critical point within ([\d.e-]+\d)", words)[1] or 1)
        point = np.array([float.fromhex(x) for x in (part if name == "point" else content["point"])])
        assert np.abs(point - certificate.point).max() <= near + certificate.radius
        low, high = map(float, re.search(r"Loss there: \[([^,]+), ([^]]+)\]", words).groups())
        assert low <= certificate.loss[1]
        assert certificate.loss[0] <= high


def _hostile(content):
    """Changes that would make a checker state what is not so, or stumble."""
    function = content["function"]
    operations = function["operations"]
    end = len(operations)

    def with_function(**parts):
        return content | {"function": function | parts}

    yield content | {"point": [(9.0).hex(), (9.0).hex()]}  # Krawczyk's test needs a point of the box
    yield content | {"index": -1, "kind": "undecided"}
    yield content | {"lower": content["upper"], "upper": content["lower"]}
    yield content | {"lower": ["-inf", "-inf"], "upper": ["inf", "inf"]}
    yield content | {"point": ["nan", "nan"]}
    yield content | {"lower": [], "upper": [], "point": [], "eigenvalues": [], "function": function | {"size": 0}}
    yield content | {"eigenvalues": [["nan", "nan"]] * 2}
    yield content | {"radius": "nan"}
    yield content | {"radius": None}
    yield content | {"point": 3}
    yield {name: value for name, value in content.items() if name != "loss"}
    yield with_function(size=1)
    yield with_function(size="2")
    yield with_function(value=end)
    yield with_function(value=-1)
    yield with_function(demands=[["log", end]])
    yield {name: value for name, value in content.items() if name != "kind"}
    yield with_function(operations=[])
    yield with_function(operations=[["power", 0, 3]])
    for bad in (["power", 0, 2], ["power", 0, -1], ["power", 0, 10**9], ["power", 0, 3.0], ["add", 0], ["exp", 0, 0]):
        yield with_function(operations=[*operations, bad])
    for bad in (
        ["exp", -1],
        ["exp", end],
        ["exp", "0"],
        ["evil", 0],
        ["variable", 2],
        ["variable", -1],
        ["constant", 1],
        [],
    ):
        yield with_function(operations=[*operations, bad])


def test_hostile_files_give_one_clear_error(saved, tmp_path):
    path, content = tmp_path / "one.json", json.loads(saved[1].read_text())
    for hostile in _hostile(content):
        with pytest.raises(ValueError, match=r"one\.json"):
            check_certificate(_rewritten(path, hostile))
    for text in ("", "[]", "{}", "[" * 100_000, "\x00\xff", '{"format": "jaxopt-notes certificate 1"}', "NaN"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"one\.json"):
            check_certificate(path)


def test_demands_left_out_of_a_file_are_made_again(tmp_path):
    """A root of what may be below 0: a file without the demand states nothing of it."""
    operations = [["variable", 0], ["constant", (-9.0).hex()], ["sqrt", 1], ["square", 0], ["add", 2, 3]]
    prove(lambda x: x**2, 0.0).save(tmp_path / "one.json")
    content = json.loads((tmp_path / "one.json").read_text())
    content["function"] = {"size": 1, "operations": operations, "value": 4, "demands": []}
    with pytest.raises(ValueError, match="smooth"):
        check_certificate(_rewritten(tmp_path / "one.json", content))


def test_only_what_is_proved_is_saved(tmp_path):
    with pytest.raises(ValueError, match="proved"):
        prove(lambda x: x**4, 0.0).save(tmp_path / "one.json")


DEGREES = {
    "bowl": (lambda x: jnp.sum(x**2), 1),
    "hill": (lambda x: -jnp.sum(x**2), 1),
    "saddle": (lambda x: x[0] * x[1], -1),
    "monkey saddle": (lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, -2),
    "real part of z^4": (lambda x: x[0] ** 4 - 6 * x[0] ** 2 * x[1] ** 2 + x[1] ** 4, -3),
    "fourth powers": (lambda x: jnp.sum(x**4), 1),
    "cube": (lambda x: x[0] ** 3 + x[1] ** 2, 0),
    "two wells": (lambda x: (x[0] ** 2 - 0.25) ** 2 + x[1] ** 2, 1),
    "none": (lambda x: jnp.exp(x[0]) + x[1] ** 2, 0),
    "waves": (lambda x: jnp.cos(4 * x[0] + 1) + jnp.cos(5 * x[1] + 1), 0),
    "ring": (lambda x: (jnp.sum(x**2) - 0.25) ** 2, 1),
    "on the boundary": (lambda x: (x[0] - 1) ** 2 + x[1] ** 2, None),
}


@pytest.mark.parametrize("name", DEGREES)
def test_the_degree_on_the_boundary(name):
    loss, degree = DEGREES[name]
    lower, upper = np.array([-1.0, -0.9]), np.array([1.0, 0.8])
    with np.errstate(all="ignore"):
        assert boundary_index_sum(traced(loss, Point("point", lower), ()), lower, upper) == degree


@pytest.mark.parametrize(("loss", "degree"), [
    (lambda x: x**2, 1), (lambda x: -(x**2), -1), (lambda x: x**3, 0), (lambda x: x**4, 1), (lambda x: x, 0),
    (lambda x: jnp.sin(9 * x), 0), (lambda x: (x - 1) ** 2, None),
    (lambda x: jnp.where(x == 1, 2 * x, 0.0), None),
])  # fmt: skip
def test_the_degree_of_a_function_of_a_number(loss, degree):
    lower, upper = np.array([-1.0]), np.array([1.0])
    with np.errstate(all="ignore"):
        assert boundary_index_sum(traced(loss, Point("point", np.array(1.0)), ()), lower, upper) == degree
