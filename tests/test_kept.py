"""What is compiled is kept as long as it is of use: programs of living functions, and the last few others."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes import _kept
from jaxopt_notes.curvature import FunctionOperator, hessian

START = jnp.ones(3)
LONG = jnp.ones(19)  # no other test starts from it: their programs are kept, and an equal one would be theirs


@pytest.fixture
def few(monkeypatch):
    """Only one program is kept whose function is gone."""
    monkeypatch.setattr(_kept, "_recent", _kept.Last(1))


@pytest.fixture
def made(monkeypatch):
    """Weak references to what is compiled, a place per program."""
    places = []
    made_for = _kept.made_for

    def noted(program):
        found = made_for(program)
        places.append(weakref.ref(found))
        return found

    monkeypatch.setattr(_kept, "made_for", noted)
    return places


@pytest.fixture
def compiled():
    """The names of what JAX compiles."""
    with compiled_programs() as names:
        yield names


def minimized(shift):
    return jon.minimize(lambda x: jnp.sum((x - shift) ** 2), START, jon.adam(0.1), steps=3)


@pytest.mark.parametrize(
    "call",
    [
        lambda shift: jon.minimize(lambda x: jnp.sum((x - shift) ** 2), LONG, jon.adam(0.1), steps=3),
        lambda shift: hessian(lambda x: jnp.sum((x - shift) ** 4), LONG),
        lambda shift: FunctionOperator(lambda v: shift * v, LONG)(LONG),
        lambda shift: jon.classify(lambda x: jnp.sum((x - shift) ** 2), LONG),
        lambda shift: jon.sweep(
            jon.Problem(lambda x: jnp.sum((x - shift) ** 2), init=LONG),
            jon.adam,
            jon.grid(learning_rate=[0.1]),
            steps=2,
            progress=False,
        ),
    ],
    ids=["minimize", "hessian", "operator", "classify", "sweep"],
)
def test_a_loop_of_fresh_functions_keeps_the_last_programs_only(call, few, made):
    """A Python number in the closure makes each of them another program; what was compiled for it is gone soon."""
    for i in range(2):
        call(1.5 + i)
    gc.collect()
    assert any(place() is None for place in made)
    assert len({id(place()) for place in made if place() is not None}) == 1


def test_the_program_of_a_living_loss_is_kept_through_many_others(few, compiled):
    def loss(x):
        return jnp.sum((x - 0.123) ** 2)

    jon.minimize(loss, START, jon.adam(0.1), steps=3)
    for i in range(3):
        minimized(10.5 + i)
    compiled.clear()
    jon.minimize(loss, START, jon.adam(0.2), steps=3)
    assert compiled == []


class TestCallbacks:
    def test_one_loss_that_prints_compiles_once(self, compiled, capfd):
        def loss(x):
            jax.debug.print("loss at {}", x[0])
            return jnp.sum(x**2)

        jon.minimize(loss, START, jon.adam(0.1), steps=2)
        compiled.clear()
        jon.minimize(loss, START, jon.adam(0.3), steps=2)
        assert [name for name in compiled if "minimize" in name] == []
        jax.effects_barrier()
        assert capfd.readouterr().out.count("loss at") == 6

    def test_one_loss_that_calls_back_compiles_once(self, compiled):
        seen = []

        def loss(x):
            jax.debug.callback(lambda value: seen.append(float(value)), x[0])
            return jnp.sum(x**2)

        for _ in range(2):
            jon.minimize(loss, START, jon.adam(0.1), steps=2)
            jax.effects_barrier()
        assert len(seen) == 6
        assert sum("minimize" in name for name in compiled) == 1

    def test_each_loss_calls_its_own(self):
        """Two functions of one text that write to lists of their own."""

        def logging(log):
            return lambda x: jax.debug.callback(log.append, x[0]) or jnp.sum(x**2)

        logs = [[], []]
        for log in logs:
            jon.minimize(logging(log), START, jon.adam(0.1), steps=2)
        jax.effects_barrier()
        assert [len(log) for log in logs] == [3, 3]

    @pytest.mark.parametrize("rebind", [True, False], ids=["another-function", "another-value"])
    def test_what_changed_since_is_seen(self, rebind):
        """Another function in a variable, or another value in the closure of the same one."""
        scale = 1.0

        def scaled(value):
            return np.float32(scale * value)

        handler = scaled

        def loss(x):
            value = jax.pure_callback(handler, jax.ShapeDtypeStruct((), jnp.float32), jax.lax.stop_gradient(x[0]))
            return jnp.sum(x**2) + value

        first = float(jon.minimize(loss, START, jon.adam(0.1), steps=1).initial_loss)
        if rebind:

            def handler(value):
                return np.float32(2 * value)
        else:
            scale = 2.0
        assert (first, float(jon.minimize(loss, START, jon.adam(0.1), steps=1).initial_loss)) == (4.0, 5.0)

    def test_a_program_whose_callback_changed_serves_no_other(self):
        """Equal texts when they were traced; then the value that the first one reads changed."""

        def reading(start):
            value = start

            def read():
                return np.float32(value)

            def loss(x):
                return jnp.sum(x**2) + jax.pure_callback(read, jax.ShapeDtypeStruct((), jnp.float32))

            def change(to):
                nonlocal value
                value = to

            return loss, change

        (one, change), (other, _) = reading(1.0), reading(1.0)
        assert float(jon.minimize(one, START, jon.adam(0.1), steps=1).initial_loss) == 4.0
        change(7.0)
        assert float(jon.minimize(other, START, jon.adam(0.1), steps=1).initial_loss) == 4.0
        assert float(jon.minimize(one, START, jon.adam(0.1), steps=1).initial_loss) == 10.0


def test_last_keeps_what_was_used_last():
    last, made = _kept.Last(2), []
    for key in "abacb":
        last.get(key, lambda key=key: made.append(key) or key)
    assert made == ["a", "b", "c", "b"]
    assert len(last) == 2
