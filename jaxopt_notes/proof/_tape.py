"""A function of real numbers as a tape: every operation once, on numbers before it, with the simplifications that hold.

A tape is the mathematical function itself, so its nodes are real numbers and its constants are exactly the doubles of
the program. What is simplified is equal as a real function: x - x is 0 and log(exp(x)) is x. Sums of constants are kept
as sums where no double is equal to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

from ._interval import is_subnormal

Node = int

ARITHMETIC: Final = ("add", "multiply", "negative", "inverse", "square", "power", "sqrt")
ELEMENTARY: Final = ("exp", "log", "sin", "cos", "tanh", "softplus")
SPECIAL: Final = ("asin", "acos", "atan", "erf")
LEAVES: Final = ("constant", "variable", "pi", "anything")
SWITCHES: Final = ("absolute", "sign", "step", "equal", "kink", "maximum", "select")


class Tape:
    """The operations so far.

    Attributes:
        nodes: for each node its operation and what it acts on: ("variable", i), ("constant", c), ("add", a, b), ...
            `step` is 1 above 0 and 0 below; `equal` is 1 at 0 and 0 elsewhere; `kink`, their slope, is 0 away from 0
            and may be anything at it; `select` of (p, x, y) is x where p is 1, y where it is 0.
        demands: (operation, node): what logarithms, roots and quotients act on. The function is defined where the
            first two are above 0 and the last are not 0. Simplifying drops none of them.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[Any, ...]] = []
        self._known: dict[tuple[Any, ...], Node] = {}
        self._held: set[Node] = set()  # e^-m of a log-sum-exp, and inverses of such
        self.demands: dict[tuple[str, Node], None] = {}

    def _node(self, *operation: Any) -> Node:
        name, *parts = operation
        if name not in LEAVES and not all(map(self._is_number, parts[:1] if name == "power" else parts)):
            self.demands["log", self.constant(0.0)] = None  # what acts on no number is defined nowhere
        found = self._known.get(operation)
        if found is None:
            found = self._known[operation] = len(self.nodes)
            self.nodes.append(operation)
        return found

    def variable(self, number: int) -> Node:
        """The argument of that number."""
        return self._node("variable", number)

    def constant(self, value: float) -> Node:
        """A double; NaN, which is no number, may be anything."""
        value = float(value)
        if value != value:
            return self._node("anything")
        return self._node("constant", value if is_subnormal(value) else value + 0.0)

    def pi(self) -> Node:
        """pi itself."""
        return self._node("pi")

    def value(self, node: Node) -> float | None:
        """The double that a node is, if it is one, and none that a processor may take for zero."""
        name, *parts = self.nodes[node]
        return parts[0] if name == "constant" and not is_subnormal(parts[0]) else None

    def _is_number(self, node: Node) -> bool:
        """Whether a node is not a constant that is NaN or infinite."""
        name, *parts = self.nodes[node]
        return name != "anything" and (name != "constant" or bool(np.isfinite(parts[0])))

    def _is(self, node: Node, name: str) -> bool:
        return self.nodes[node][0] == name

    def _exactly(self, value: Fraction) -> Node | None:
        """The constant of that value, if a double is equal to it and is no smaller than what may be flushed."""
        try:
            double = float(value)
        except OverflowError:
            return None
        return self.constant(double) if Fraction(double) == value and (abs(double) > 1e-290 or not double) else None

    def add(self, a: Node, b: Node) -> Node:
        """a + b."""
        p, q = self.value(a), self.value(b)
        if p == 0:
            return b
        if q == 0:
            return a
        if p is not None and q is not None and np.isfinite(p) and np.isfinite(q):
            folded = self._exactly(Fraction(p) + Fraction(q))
            if folded is not None:
                return folded
        if self.nodes[a] == ("negative", b) or self.nodes[b] == ("negative", a):
            return self.constant(0.0)
        return self._logarithm_of_sum(a, b) or self._logarithm_of_sum(b, a) or self._sum(a, b)

    def _sum(self, a: Node, b: Node) -> Node:
        for x, y in ((a, b), (b, a)):  # what a log-sum-exp subtracts is added again
            if self._is(x, "add") and self._held_inside(y):
                for part, other in (self.nodes[x][1:], self.nodes[x][:0:-1]):
                    if self.nodes[part] == ("negative", y):
                        return other
        common = self._common_factor(a, b)
        if common is not None:
            (p, q), factor = common
            return self.multiply(self.add(p, q), factor)
        return self._node("add", *sorted((a, b)))

    def _logarithm_of_sum(self, a: Node, b: Node) -> Node | None:
        """log(e^x + e^y) where it is written max(x, y) + log(1 + e^-|x - y|): y + softplus(x - y) has no kink."""
        if not (self._is(a, "maximum") and self._is(b, "log")):
            return None
        x, y = self.nodes[a][1:]
        distance = self.absolute(self.subtract(x, y))
        inside = self.add(self.constant(1.0), self.exp(self.negative(distance)))
        return self.add(y, self.softplus(self.subtract(x, y))) if self.nodes[b] == ("log", inside) else None

    def subtract(self, a: Node, b: Node) -> Node:
        """a - b."""
        return self.add(a, self.negative(b))

    def negative(self, a: Node) -> Node:
        """-a."""
        value = self.value(a)
        if value is not None:
            return self.constant(-value)
        return self.nodes[a][1] if self._is(a, "negative") else self._node("negative", a)

    def multiply(self, a: Node, b: Node) -> Node:
        """a b."""
        if a == b:
            return self.square(a)
        if self.value(a) is None and self.value(b) is not None:
            a, b = b, a
        p, q = self.value(a), self.value(b)
        if p == 0 or q == 0:
            return self.constant(0.0 if self._is_number(a) and self._is_number(b) else np.nan)
        if p == 1:
            return b
        if p == -1:
            return self.negative(b)
        if p is not None and q is not None and np.isfinite(p) and np.isfinite(q):
            folded = self._exactly(Fraction(p) * Fraction(q))
            if folded is not None:
                return folded
        if self._is(a, "negative"):
            return self.negative(self.multiply(self.nodes[a][1], b))
        if self._is(b, "negative"):
            return self.negative(self.multiply(a, self.nodes[b][1]))
        return self._without_held(a, b) or self._node("multiply", *sorted((a, b)))

    def _without_held(self, a: Node, b: Node) -> Node | None:
        """A product in which e^-m of a log-sum-exp meets its own inverse, or is moved to the outside."""
        for x, y in ((a, b), (b, a)):
            inside, factor = self._factor(x)
            if factor is None:
                continue
            other, inverse = self._factor(y)
            if inverse is not None and self.nodes[inverse] == ("inverse", factor):
                return self.multiply(inside, other)
            if inverse is None and inside != self.constant(1.0):
                return self._node("multiply", *sorted((self.multiply(inside, y), factor)))
        return None

    def _factor(self, node: Node) -> tuple[Node, Node | None]:
        """(rest, e^-m or its inverse) of a product that holds one."""
        if node in self._held:
            return self.constant(1.0), node
        if self._is(node, "multiply"):
            a, b = self.nodes[node][1:]
            for rest, factor in ((a, b), (b, a)):
                if factor in self._held:
                    return rest, factor
        return node, None

    def _common_factor(self, a: Node, b: Node) -> tuple[tuple[Node, Node], Node] | None:
        (p, factor), (q, other) = self._factor(a), self._factor(b)
        return ((p, q), factor) if factor is not None and factor == other else None

    def _held_inside(self, node: Node) -> bool:
        return self._known.get(("held", node)) is not None

    def inverse(self, a: Node) -> Node:
        """1 / a."""
        value = self.value(a)
        if not value:
            self.demands["inverse", a] = None
        if value:
            folded = self._exactly(1 / Fraction(value)) if np.isfinite(value) else self.constant(0.0)
            if folded is not None:
                return folded
        if self._is(a, "negative"):
            return self.negative(self.inverse(self.nodes[a][1]))
        if self._is(a, "inverse"):
            return self.nodes[a][1]
        rest, factor = self._factor(a)
        if factor is not None and rest != self.constant(1.0):
            return self.multiply(self.inverse(rest), self._hold(self._node("inverse", factor)))
        return self._node("inverse", a)

    def square(self, a: Node) -> Node:
        """a^2."""
        value = self.value(a)
        if value is not None and np.isfinite(value):
            folded = self._exactly(Fraction(value) ** 2)
            if folded is not None:
                return folded
        if self._is(a, "negative") or self._is(a, "absolute"):
            return self.square(self.nodes[a][1])
        if self._is(a, "sqrt"):
            return self.nodes[a][1]
        return self._node("square", a)

    def power(self, a: Node, exponent: int) -> Node:
        """a^n."""
        if exponent < 0:
            return self.inverse(self.power(a, -exponent))
        if exponent < 2:
            return (self.constant(1.0), a)[exponent]
        if exponent % 2 == 0:
            return self.square(self.power(a, exponent // 2))
        if self._is(a, "negative"):
            return self.negative(self.power(self.nodes[a][1], exponent))
        return self._node("power", a, exponent)

    def real_power(self, a: Node, b: Node) -> Node:
        """a^b: by roots where 2b is whole, else e^(b log a), for a above 0."""
        exponent = self.value(b)
        if exponent is not None and float(exponent).is_integer() and abs(exponent) < 64:
            return self.power(a, int(exponent))
        if exponent is not None and float(2 * exponent).is_integer() and abs(exponent) < 32:
            return self.power(self.sqrt(a), int(2 * exponent))
        return self.exp(self.multiply(b, self.log(a)))

    def sqrt(self, a: Node) -> Node:
        """The square root."""
        value = self.value(a)
        self.demands["sqrt", a] = None
        if value is not None and value > 0 and np.isfinite(value):
            root = float(np.sqrt(value))
            if Fraction(root) ** 2 == Fraction(value):
                return self.constant(root)
        return self._node("sqrt", a)

    def exp(self, a: Node) -> Node:
        """e^a; e^(x - m) as e^x e^-m where m is what a log-sum-exp subtracts."""
        if self.value(a) == 0:
            return self.constant(1.0)
        if self._is(a, "log"):
            return self.nodes[a][1]
        if self._is(a, "add"):
            for part, other in (self.nodes[a][1:], self.nodes[a][:0:-1]):
                if self._is(part, "negative") and self._held_inside(self.nodes[part][1]):
                    return self.multiply(self.exp(other), self._hold(self._node("exp", part)))
        return self._node("exp", a)

    def log(self, a: Node) -> Node:
        """The natural logarithm."""
        if self.value(a) == 1:
            return self.constant(0.0)
        self.demands["log", a] = None
        if self._is(a, "exp"):
            return self.nodes[a][1]
        rest, factor = self._factor(a)
        if factor is not None and self._is(factor, "exp"):
            return self.add(self.log(rest), self.nodes[factor][1])
        return self._node("log", a)

    def _hold(self, node: Node) -> Node:
        self._held.add(node)
        return node

    def held(self, a: Node) -> Node:
        """a itself, which the program holds fixed when it differentiates.

        A log-sum-exp subtracts the largest term m before it takes exponentials and adds it afterwards. As a real
        function m cancels, but an interval of m, and the kinks of a maximum, would not. So e^(x - m) is written e^x
        e^-m, such factors move outside of sums, and log and quotient remove them: identities of real numbers, whatever
        m is.
        """
        if self.value(a) is None:
            self._known[("held", a)] = a
        return a

    def plain(self, name: str, *operands: int) -> Node:
        """An operation without simplifications: "sin", "tanh", "erf", "step", ..."""
        return self._node(name, *operands)

    def asin(self, a: Node) -> Node:
        """The arc sine, smooth where |a| < 1."""
        return self.demanding("asin", a)

    def acos(self, a: Node) -> Node:
        """The arc cosine, smooth where |a| < 1."""
        return self.demanding("acos", a)

    def demanding(self, name: str, *operands: int) -> Node:
        """An operation without simplifications, with what it demands."""
        if name in ("inverse", "sqrt", "log"):
            self.demands[name, operands[0]] = None
        elif name in ("asin", "acos"):
            self.demands["sqrt", self.subtract(self.constant(1.0), self.square(operands[0]))] = None
        return self._node(name, *operands)

    def softplus(self, a: Node) -> Node:
        """log(1 + e^a)."""
        return self._node("softplus", a)

    def logistic(self, a: Node) -> Node:
        """1 / (1 + e^-a) = (1 + tanh(a / 2)) / 2."""
        half = self.constant(0.5)
        return self.multiply(half, self.add(self.constant(1.0), self.plain("tanh", self.multiply(half, a))))

    def negation(self, a: Node) -> Node:
        """1 - a, of what is 0 or 1."""
        return self.subtract(self.constant(1.0), a)

    def absolute(self, a: Node) -> Node:
        """|a|."""
        value = self.value(a)
        if value is not None:
            return self.constant(abs(value))
        if self._is(a, "negative"):
            return self.absolute(self.nodes[a][1])
        return a if self._is_positive(a) else self._node("absolute", a)

    def _is_positive(self, a: Node, depth: int = 64) -> bool:
        """Whether a node is at least 0 by its form."""
        name, *parts = self.nodes[a]
        if name in ("exp", "square", "absolute", "sqrt", "softplus"):
            return True
        if name == "constant":
            return parts[0] >= 0
        return depth > 0 and name in ("add", "multiply") and all(self._is_positive(part, depth - 1) for part in parts)

    def maximum(self, a: Node, b: Node) -> Node:
        """max(a, b)."""
        if a == b:
            return a
        p, q = self.value(a), self.value(b)
        if p == -np.inf:
            return b
        if q == -np.inf:
            return a
        return self.constant(max(p, q)) if p is not None and q is not None else self._node("maximum", a, b)

    def minimum(self, a: Node, b: Node) -> Node:
        """min(a, b)."""
        return self.negative(self.maximum(self.negative(a), self.negative(b)))

    def above(self, a: Node, b: Node, at_equality: bool) -> Node:
        """1 where a > b, 0 where a < b."""
        if self._is(a, "anything") or self._is(b, "anything"):
            return self.constant(np.nan)
        p, q = self.value(a), self.value(b)
        if a == b or (p is not None and q is not None):
            return self.constant(float(at_equality if a == b else p > q or (at_equality and p == q)))  # type: ignore[operator]
        return self._node("step", self.subtract(a, b))

    def equal(self, a: Node, b: Node) -> Node:
        """1 where a and b are equal, else 0."""
        if self._is(a, "anything") or self._is(b, "anything"):
            return self.constant(np.nan)
        p, q = self.value(a), self.value(b)
        if a == b or (p is not None and q is not None):
            return self.constant(float(a == b or p == q))
        return self._node("equal", self.subtract(a, b))

    def select(self, where: Node, inside: Node, outside: Node) -> Node:
        """`inside` where `where` is 1, `outside` where it is 0."""
        value = self.value(where)
        if value is not None:
            return inside if value else outside
        return inside if inside == outside else self._node("select", where, inside, outside)

    def needed(self, outputs: Sequence[Node]) -> list[Node]:
        """The nodes that the outputs need, in order."""
        wanted = set(outputs)
        for node in range(max(outputs, default=-1), -1, -1):
            if node in wanted:
                wanted.update(self.operands(node))
        return sorted(wanted)

    def operands(self, node: Node) -> tuple[Node, ...]:
        """The nodes that a node acts on."""
        name, *parts = self.nodes[node]
        if name in LEAVES:
            return ()
        return tuple(parts[:1] if name == "power" else parts)
