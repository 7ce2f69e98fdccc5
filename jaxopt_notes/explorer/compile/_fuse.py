"""Loops of the same length as one loop: what one computed the next finds in a register, and not in memory.

A loop joins an earlier one if it needs of it only the elements of the same turn. Loops inside are joined in the same
way. An element that was written in the same turn is then read from the name that it was written from; an array that
nothing else reads is never written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ._blocks import Access, Block, Local, Node, Store


def fuse(block: Block) -> None:
    """Join the loops in a block, and in the blocks in it."""
    place = 0
    while place < len(block.nodes):
        node = block.nodes[place]
        if _is_loop(node):
            for earlier in _earlier(block.nodes, place):
                if _joined(block, earlier, place):
                    place -= 1
                    break
        place += 1
    for node in block.nodes:
        if isinstance(node, Block):
            fuse(node)
    _forward(block)


def _is_loop(node: Any) -> bool:
    return isinstance(node, Block) and node.counter is not None


def _earlier(nodes: Sequence[Any], place: int) -> Iterator[int]:
    """The places of the loops before that have the same length, the nearest first."""
    for before in range(place - 1, -1, -1):
        node = nodes[before]
        if not isinstance(node, Block) and not node.writes and node.local is None:
            return  # it leaves the loop around: nothing moves across
        if _is_loop(node) and node.count == nodes[place].count:
            yield before


def _joined(block: Block, earlier: int, later: int) -> bool:
    """Join two loops if that changes nothing."""
    nodes: list[Any] = block.nodes
    first, second = nodes[earlier], nodes[later]
    moving = _needed(nodes, earlier, later)
    if moving is None:
        return False
    moved = [nodes[place] for place in moving]
    staying = [node for place, node in enumerate(nodes[earlier + 1 : later], earlier + 1) if place not in moving]
    if any(_conflict(mover, rest) for mover in (*moved, second) for rest in staying):
        return False
    if any(_conflict(mover, first) for mover in moved) or not _aligned(first, second):
        return False
    _rename(second, second.counter, first.counter)
    for node in second.nodes:
        if isinstance(node, Block):
            node.parent = first
        else:
            _placed(node, first)
    first.nodes += second.nodes
    block.nodes = [*nodes[:earlier], *moved, first, *staying, *nodes[later + 1 :]]
    return True


def _placed(node: Node, block: Block) -> None:
    node.block = block
    if node.local is not None:
        node.local.block = block


def _needed(nodes: Sequence[Any], earlier: int, later: int) -> list[int] | None:
    """The statements between two loops that the second one needs; None if they need the first one."""
    needed, reads = [], _reads(nodes[later])
    for place in range(later - 1, earlier, -1):
        if _writes(nodes[place]) & reads:
            needed.append(place)
            reads = reads | _reads(nodes[place])
    first = _writes(nodes[earlier])
    if any(_reads(nodes[place]) & first for place in needed):
        return None
    return needed[::-1]


def _conflict(mover: Any, rest: Any) -> bool:
    """Whether moving one thing before another changes what either finds."""
    return bool(_writes(mover) & _reads(rest) or _writes(mover) & _writes(rest) or (_reads(mover) & _writes(rest)))


def _aligned(first: Block, second: Block) -> bool:
    """Whether a turn of the second loop needs of the first one only what the same turn has computed."""
    if _writes(second) & (_reads(first) | _writes(first)):
        return False
    shared = _writes(first) & _reads(second)
    if not shared:
        return True
    written = {access.store.name: access for access in _accesses(first, writing=True)}
    count = {key: 0 for key in written}
    for access in _accesses(first, writing=True):
        count[access.store.name] += 1
    for node in _all(second):
        stores = {operand.name for operand in node.operands if getattr(operand, "name", None) in shared}
        if not stores:
            continue
        if node.access is None or stores != {node.access.store.name} or node.access.store.name not in written:
            return False
        if not _same_turn(written[node.access.store.name], first, node.access, second):
            return False
        if not all(
            _same_turn(a, first, node.access, second)
            for a in _accesses(first, writing=True)
            if a.store.name == node.access.store.name
        ):
            return False
    return True


def _same_turn(written: Access, first: Block, read: Access, second: Block) -> bool:
    """Whether both loops step along the same axis of an array."""
    if written.shape != read.shape:
        return False
    steps = zip(written.at, read.at, strict=True)
    return any(w is first.counter and r is second.counter for w, r in steps)


def _all(block: Block) -> Iterator[Node]:
    for node in block.nodes:
        if isinstance(node, Block):
            yield from _all(node)
        else:
            yield node


def _accesses(block: Block, writing: bool) -> Iterator[Access]:
    for node in _all(block):
        if node.access is not None and bool(node.writes) == writing:
            yield node.access


def _reads(node: Any) -> set[str]:
    """The names of what a statement reads, or all statements of a block."""
    if isinstance(node, Block):
        inside: set[str] = {operand.name for operand in node.operands if isinstance(operand, (Local, Store))}
        for inner in node.nodes:
            inside |= _reads(inner)
        return inside
    read = {operand.name for operand in node.operands if isinstance(operand, (Local, Store))}
    return read | ({store.name for store in node.writes} if node.access is None else set())


def _writes(node: Any) -> set[str]:
    """The names of the names and stores that a statement sets."""
    if isinstance(node, Block):
        inside: set[str] = set()
        for inner in node.nodes:
            inside |= _writes(inner)
        return inside
    return {each.name for each in (node.local, *node.writes) if each is not None}


def _rename(block: Block, old: Local | None, new: Local | None) -> None:
    """Let the statements of a block use another name."""

    def renamed(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(new if item is old else item for item in items)

    for node in block.nodes:
        node.operands = renamed(node.operands)
        if isinstance(node, Block):
            _rename(node, old, new)
        elif node.access is not None:
            node.access = node.access._replace(at=renamed(node.access.at))


def _key(atom: Any) -> Any:
    return atom.name if isinstance(atom, (Local, Store)) else (type(atom), repr(atom))


def _apart(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two elements, each a store, a shape and an index, are certainly not the same one."""
    if one[0] != other[0]:
        return True
    indices = zip(one[2:], other[2:], strict=True) if one[1] == other[1] else ()
    # The keys of numbers are pairs; those of names may be equal when the program runs.
    return any(isinstance(i, tuple) and isinstance(j, tuple) and i != j for i, j in indices)


def _forward(block: Block) -> None:
    """Read what was written in the same block from the name that it was written from."""
    held: dict[Any, Any] = {}
    instead: dict[str, Any] = {}
    computed: dict[Any, Any] = {}
    for node in block.nodes:
        if isinstance(node, Block):
            for store in _writes(node):
                held = {key: value for key, value in held.items() if key[0] != store}
            continue
        if instead:
            node.operands = tuple(instead.get(getattr(operand, "name", ""), operand) for operand in node.operands)
        access = node.access
        if node.local is not None and not any(isinstance(operand, Store) for operand in node.operands):
            # What two loops computed each for itself is computed once.
            same = computed.setdefault((node.template, *map(_key, node.operands)), node.local)
            if same is not node.local:
                instead[node.local.name] = same
        if access is None:
            held = {key: value for key, value in held.items() if key[0] not in _writes(node)}
            continue
        key = (access.store.name, access.shape, *(_key(instead.get(_key(i), i)) for i in access.at))
        if node.writes:
            held = {other: value for other, value in held.items() if _apart(other, key)}
            held[key] = node.operands[2]
        elif key in held and node.local is not None:
            instead[node.local.name] = held[key]
            node.template, node.operands, node.access = "{0}", (held[key],), None
