"""Searches with proof: limits and resuming, saved lists, bounds of the smallest value, arguments, the command line."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxopt_notes as jon
from jaxopt_notes import cli
from jaxopt_notes.proof._stored import digest

HIMMELBLAU = jon.problems.himmelblau().loss
SQUARE = ([-5.0, -5.0], [5.0, 5.0])


def rastrigin(x):
    return jnp.sum(x**2 + 20 * jnp.sin(jnp.pi * x) ** 2)


def everything(loss, box, **options):
    return jon.find_critical_points(loss, box=box, complete=True, **options)


def test_a_search_that_a_limit_ends_resumes_to_the_same_list():
    box = ([-5.0, -5.0], [6.0, 6.0])
    whole = everything(rastrigin, box)
    part = everything(rastrigin, box, boxes=1500)
    assert not part.complete
    assert 0 < part.left < 1
    assert "% of the box was not examined" in str(part)
    rest = part.resume()
    assert rest.complete
    assert rest.boxes == whole.boxes == part.resume(boxes=10).resume().boxes
    places = [set(map(tuple, np.round(found.points, 9) + 0.0)) for found in (rest, whole)]  # ties in any order
    assert places[0] == places[1]
    assert len(places[0]) == 529
    assert whole.index_counts == {0: 144, 1: 264, 2: 121}
    assert not everything(rastrigin, box, seconds=0.0).complete


def test_the_functions_of_the_catalogue_have_the_points_of_their_tables():
    for name in ("himmelblau", "six_hump_camel", "mueller_brown", "beale", "rosenbrock", "styblinski_tang"):
        problem = jon.problems.CATALOGUE[name]()
        low, high = problem.facts.domain
        found = everything(problem.loss, (low, high))
        assert found.complete, name
        assert found.index_sum == found.boundary_index_sum == problem.facts.index_sum
        known = np.array([point.point for point in problem.facts.critical_points])
        distance = np.abs(known[:, None] - found.points[None]).max(-1)
        assert len(known) == len(found)
        assert (distance.min(1) < 1e-6).all()
        assert (distance.min(0) < 1e-6).all()


def test_points_modulo_a_period_are_counted_once():
    def torus(angles):
        return jnp.sin(angles["a"]) + jnp.cos(angles["b"])

    box = ({"a": 0.0, "b": 0.0}, {"a": 2 * np.pi, "b": 2 * np.pi})
    found = everything(torus, box, period=2 * np.pi)
    assert found.complete
    assert found.index_counts == {0: 1, 1: 2, 2: 1}
    assert found.points["a"].shape == (4,)


def test_a_saved_list_is_proved_again_and_a_changed_one_is_found(tmp_path):
    path = tmp_path / "list.json"
    everything(HIMMELBLAU, SQUARE).save(path)
    code = f"import jaxopt_notes as jon; print(jon.proof.check_certificate({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("9 critical points in the box [-5, 5] x [-5, 5], each proved")
    content = json.loads(path.read_text())
    changes = {
        "index": lambda index: [1, *index[1:]],
        "points": lambda points: points[:-1],
        "complete": lambda complete: not complete,
        "radius": lambda radius: radius[:-1],
        "lower": lambda lower: lower[:1],
    }
    for name, change in changes.items():
        changed = content | {name: change(content[name])}
        path.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match="its digest does not match"):
            jon.proof.check_certificate(path)
        path.write_text(json.dumps(changed | {"sha256": digest(changed)}))
        with pytest.raises(ValueError, match=r"list\.json"):
            jon.proof.check_certificate(path)


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_value_lies_in_its_bounds(seed):
    random = np.random.default_rng(seed)
    frequency, phase = random.uniform(1, 4, (3, 2)), random.uniform(0, 6, 3)

    def loss(x):
        return jnp.sum(jnp.sin(frequency @ x + phase)) + 0.1 * jnp.sum(x**2)

    found = jon.proof.global_minimum(loss, ([-3.0, -3.0], [3.0, 3.0]))
    assert found.complete
    assert found.upper - found.lower < 1e-7
    exact = lambda x: np.sin(frequency @ x + phase).sum() + 0.1 * (x**2).sum()
    best = scipy.optimize.differential_evolution(exact, [(-3, 3)] * 2, seed=seed, tol=1e-12)
    assert found.lower - 1e-12 <= best.fun <= found.upper + 1e-6
    inside = (np.asarray(found.places[0]) <= best.x + 1e-5) & (best.x - 1e-5 <= np.asarray(found.places[1]))
    assert inside.all(-1).any()


CORNERS = {
    "a side": (lambda x: x[0] - x[1] ** 2, ([-1.0, -1.0], [1.0, 2.0]), -5.0),
    "a kink": (lambda x: jnp.abs(x[0] - 0.3) + jnp.abs(x[1]), ([-1.0, -1.0], [1.0, 1.0]), 0.0),
    "a circle": (lambda x: (x @ x - 1) ** 2 - 2.0, ([-2.0, -2.0], [2.0, 2.0]), -2.0),
    "no width": (lambda x: jnp.sum(x**2), ([1.0, 2.0], [1.0, 2.0]), 5.0),
}


@pytest.mark.parametrize("name", CORNERS)
def test_the_smallest_value_may_lie_anywhere(name):
    loss, box, smallest = CORNERS[name]
    found = jon.proof.global_minimum(loss, box, boxes=20_000)
    assert found.complete
    assert found.lower <= smallest <= found.upper
    assert found.upper - found.lower <= 1e-6


DOMAINS = {  # undefined below 0; the derivatives of what is written are defined there
    "a root, squared": (lambda x: jnp.sqrt(x) ** 2 + x, 0.0, 0.0),
    "e to a logarithm": (lambda x: jnp.exp(jnp.log(x)) + 1.0, 1.0, 0.0),
    "nothing of a root": (lambda x: 0.0 * jnp.sqrt(x) + x, 0.0, 0.0),
    "concave": (lambda x: -(jnp.sqrt(x) ** 4) + x, 0.0, 0.0),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_the_smallest_value_is_that_of_the_points_where_a_loss_is_defined(name):
    loss, smallest, where = DOMAINS[name]
    found = jon.proof.global_minimum(loss, (-1.0, 0.9), boxes=20_000)
    assert found.complete
    assert found.lower <= smallest <= found.upper <= smallest + 1e-6
    assert ((found.places[0] <= where) & (where <= found.places[1])).any()


def test_a_loss_that_is_defined_nowhere_has_no_smallest_value():
    found = jon.proof.global_minimum(jnp.log, (-2.0, -1.0))
    assert (found.lower, found.upper, found.complete) == (np.inf, np.inf, True)
    assert "defined nowhere" in str(found)
    assert jon.prove_minimum_below(jnp.log, (-2.0, -1.0), 0.0).below is False


def test_the_branch_not_taken_does_not_make_a_loss_undefined():
    loss = lambda x: jnp.where(x > 0, jnp.log(x + 2.0) + jnp.sqrt(x), x)
    found = jon.proof.global_minimum(loss, (-1.0, 1.0), boxes=500)
    assert found.lower <= -1.0 <= found.upper
    assert (found.places[0] <= -1.0).any()


@pytest.mark.parametrize("loss", [lambda x: jnp.where(x == 0.3, -5.0, x), lambda x: jnp.sqrt(x - 0.1)])
def test_a_search_ends_where_doubles_cannot_divide_what_is_left(loss):
    found = jon.proof.global_minimum(loss, (-1.0, 1.0))
    assert not found.complete
    assert found.boxes < 1000
    assert "the search ended before the bounds were as close" in str(found)


def test_infinite_bounds_are_never_close():
    found = jon.proof.global_minimum(lambda x: 1.0 / x, (-1.0, 1.0), boxes=4200)
    assert found.lower == -np.inf
    assert not found.complete


def test_a_side_of_a_box_may_be_a_whole_number():
    assert everything(lambda x: (x**2 - 2) ** 2, (-3, 3)).index_counts == {0: 2, 1: 1}
    sides = {"a": -1, "b": np.array([-1, -2])}, {"a": 2, "b": np.array([1, 2])}
    found = jon.proof.global_minimum(lambda p: (p["a"] - 1.0) ** 2 + p["b"] @ p["b"], sides)
    assert found.lower <= 0.0 <= found.upper < 1e-9


def test_the_softplus_of_one_parameter_has_no_kink():
    data = np.array([[1.0], [2.0], [-1.0]]), np.array([0.0, 1.0, 1.0])

    def loss(w, inputs, targets):
        return jnp.mean(jnp.logaddexp(0.0, (1 - 2 * targets) * (inputs @ w))) + 0.1 * w @ w

    found = jon.find_critical_points(loss, None, *data, box=([-2.0], [2.0]), complete=True)
    assert (found.complete, found.index_counts) == (True, {0: 1})
    assert jon.prove(lambda x: jnp.logaddexp(0.0, x) + x**2, -0.2, within=0.1).kind == "minimum"


def test_no_bound_is_claimed_where_a_loss_has_a_pole():
    for sign in (1.0, -1.0):
        found = jon.proof.global_minimum(lambda x, sign=sign: sign / x**2 + x, (-1.0, 1.0), boxes=500)
        assert not found.complete
        assert found.lower == -np.inf


def test_whether_a_loss_goes_below_a_value():
    assert jon.prove_minimum_below(HIMMELBLAU, SQUARE, 1e-3)
    below = jon.prove_minimum_below(HIMMELBLAU, SQUARE, -1e-3)
    assert below.below is False
    assert "nowhere in the box below -0.001" in str(below)
    unknown = jon.prove_minimum_below(HIMMELBLAU, SQUARE, 0.0, boxes=50)
    assert unknown.below is None
    assert not unknown


def test_wrong_arguments_are_refused_before_any_work():
    refused = [
        ("box must be", lambda: jon.find_critical_points(HIMMELBLAU, complete=True)),
        (
            "starts applies only to a search from starts",
            lambda: everything(HIMMELBLAU, SQUARE, starts=jnp.zeros((3, 2))),
        ),
        ("starts must be points", lambda: jon.find_critical_points(HIMMELBLAU)),
        ("its lower side below", lambda: everything(HIMMELBLAU, ([5.0, -5.0], [-5.0, 5.0]))),
        ("must be finite", lambda: everything(HIMMELBLAU, ([-np.inf, -5.0], [5.0, 5.0]))),
        ("same structure and shapes", lambda: everything(HIMMELBLAU, ([-5.0], [5.0, 5.0]))),
        ("boxes", lambda: everything(HIMMELBLAU, SQUARE, boxes=0)),
        ("period must be above 0", lambda: everything(HIMMELBLAU, SQUARE, period=[1.0, -1.0])),
        ("loss takes an array, but its point or box is a single number", lambda: everything(HIMMELBLAU, (-5.0, 5.0))),
        (
            r"is written \(\[-5.0, -5.0\], \[5.0, 5.0\]\)",
            lambda: everything(lambda p: (lambda x, y: x * y)(*p), (-4, 4)),
        ),
        ("point must be finite", lambda: jon.prove(HIMMELBLAU, jnp.array([jnp.nan, 1.0]))),
        ("within", lambda: jon.prove(HIMMELBLAU, jnp.array([3.0, 2.0]), within=0.0)),
        ("prove=True needs concrete values", lambda: jax.jit(judged)(jnp.zeros(2))),
    ]
    for message, call in refused:
        with pytest.raises(ValueError, match=message):
            call()
    for outside in (lambda x: x[2] ** 2, lambda x: jnp.sum(x[jnp.array([0, 5])] ** 2)):
        with pytest.raises(NotImplementedError, match="reads outside of its array"):
            jon.prove(outside, jnp.zeros(2))
    with pytest.raises(NotImplementedError, match="'floor' has no rule"):
        jon.prove(lambda x: jnp.floor(x[0]) + x[0] ** 2, jnp.zeros(1))


def judged(x):
    return jon.classify(HIMMELBLAU, x, prove=True).kind


def test_a_verdict_with_a_proof():
    verdict = jon.classify(HIMMELBLAU, jnp.array([3.0, 2.0]), prove=True)
    assert verdict.kind_name == verdict.certificate.kind == "minimum"
    assert "Proof: strict local minimum, proved: there is exactly one critical point" in str(verdict)
    assert jax.tree.structure(verdict) is not None
    assert jon.classify(HIMMELBLAU, jnp.array([3.0, 2.0])).certificate is None


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("number = 3\ndef f(x):\n    return x**4 - x**2\n")

    def run(*arguments):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            code = cli.main(["prove", *arguments])
        return code, *capsys.readouterr()

    code, out, _ = run("mine.py:f", "--box", "-2", "2", "--save", "all.json")
    assert code == 0
    assert "each proved: 2 minima, 1 maximum" in out
    assert run("--check", "all.json")[0] == 0
    code, out, _ = run("himmelblau", "--at", "3", "2", "--save", "one.json")
    assert (code, out.startswith("strict local minimum, proved:")) == (0, True)
    assert "proved again, from one.json alone" in run("--check", "one.json")[1]
    code, out, _ = run("monkey_saddle")
    assert (code, "1 place is undecided" in out) == (1, True)
    for arguments, message in {
        (): "name a function",
        ("mine.py:f",): "--box is needed",
        ("mine.py:f", "--box", "1"): "--box must be pairs",
        ("mine.py:g", "--box", "1", "2"): "holds no problem 'g'",
        ("mine.py:number", "--at", "1"): "holds no problem 'number'",
        ("himmelblau", "--at", "1"): "himmelblau has 2",
        ("himmelblau", "--check", "one.json"): "--check takes a file and nothing else",
    }.items():
        code, _, error = run(*arguments)
        assert (code, message in error) == (2, True), error
