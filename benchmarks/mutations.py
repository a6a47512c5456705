"""Changes to a module's source that a suite with small or plain instances misses.

They complement mutmut's own: swapped arguments of a call, terms left out after the first four or eight, all but the
first or the last term left out, a bound of a slice left out, another axis, a strict comparison in place of a loose one.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

# The part that is kept of the terms of a sum, a loop or an array.
PARTS = ("[:4]", "[:8]", "[1:]", "[:-1]")
_REDUCTIONS = {"sum", "max", "min", "all", "any", "mean", "std", "prod"}
_LOOSER = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
# Swapped, these say the same, or what no test needs to refuse.
_SYMMETRIC = {"maximum", "minimum", "logaddexp", "max", "min", "isinstance", "swapaxes", "broadcast_shapes"}
_AXES = {-1: 0, -2: -1, 0: -1}


@dataclass(frozen=True)
class Mutation:
    """A change of the source at `line` and `column`, by an operator; `text` is the whole source with it."""

    line: int
    column: int
    operator: str
    before: str
    after: str
    text: str


def mutations(source: str) -> list[Mutation]:
    """All changes of a source, in its order, each another text."""
    found: dict[str, Mutation] = {}
    for node, iterated in _nodes(ast.parse(source)):
        for operator, new in (*_changes(node), *(_parts(node) if iterated else ())):
            mutation = _planted(source, node, operator, new)
            if mutation.text != source:
                found.setdefault(mutation.text, mutation)
    return sorted(found.values(), key=lambda m: (m.line, m.column))


def _nodes(node: ast.AST, iterated: bool = False) -> Iterator[tuple[ast.expr, bool]]:
    """The expressions that compute, and whether a loop goes over them; what messages and types say is left out."""
    if isinstance(node, ast.Raise):
        return
    if isinstance(node, ast.expr):
        yield node, iterated
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child, name == "iter")


def _planted(source: str, node: ast.expr, operator: str, new: ast.expr) -> Mutation:
    # Columns count bytes.
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + (node.end_col_offset or 0)
    raw, after = source.encode(), ast.unparse(new)
    text = (raw[:start] + after.encode() + raw[end:]).decode()
    return Mutation(node.lineno, node.col_offset, operator, ast.unparse(node), after, text)


def _changes(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Call):
        yield from _swapped(node)
        yield from _reduced(node)
    elif isinstance(node, ast.Compare):
        yield from _looser(node)
    elif isinstance(node, ast.Subscript):
        yield from _unsliced(node)


def _swapped(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Neighbouring positional arguments in each other's place."""
    if _name(call) in _SYMMETRIC or any(isinstance(a, ast.Starred) for a in call.args):
        return
    for i in range(len(call.args) - 1):
        new = copy.deepcopy(call)
        new.args[i], new.args[i + 1] = new.args[i + 1], new.args[i]
        yield "swapped", new


def _parts(iterable: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """A loop over a part of its terms."""
    for part in PARTS:
        yield f"only {part}", _read(f"list({ast.unparse(iterable)}){part}")


def _reduced(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """An array reduced over a part of an axis; what names an axis, along another."""
    if not isinstance(call.func, ast.Attribute):
        return
    numpy = isinstance(call.func.value, ast.Name) and call.func.value.id == "np"
    reduces = _name(call) in _REDUCTIONS and (not numpy or bool(call.args))
    at, axis = _axis(call, numpy)
    if reduces:
        # An axis given as a tuple has the last one in it.
        last = axis if axis is not None else -1
        for part in PARTS:
            taken = f"{part[1:-1]}" if last == 0 else f"..., {part[1:-1]}{', :' * (-last - 1)}"
            new = copy.deepcopy(call)
            assert isinstance(new.func, ast.Attribute)
            if numpy:
                new.args[0] = _read(f"np.atleast_1d({ast.unparse(call.args[0])})[{taken}]")
            else:
                new.func.value = _read(f"np.atleast_1d({ast.unparse(call.func.value)})[{taken}]")
            yield f"only {part}", new
    if (reduces or numpy) and axis in _AXES:
        new = copy.deepcopy(call)
        if at is None:
            next(k for k in new.keywords if k.arg == "axis").value = _read(str(_AXES[axis]))
        else:
            new.args[at] = _read(str(_AXES[axis]))
        yield "axis", new
    if numpy and _name(call) in ("stack", "concatenate") and not call.keywords:
        new = copy.deepcopy(call)
        new.keywords = [ast.keyword("axis", _read("-1"))]
        yield "axis", new


def _axis(call: ast.Call, numpy: bool) -> tuple[int | None, int | None]:
    """Which axis a call names, with the place of the positional argument that does."""
    for keyword in call.keywords:
        if keyword.arg == "axis":
            return None, _whole(keyword.value)
    at = 2 if _name(call) == "take_along_axis" else int(numpy)
    positional = _name(call) in (*_REDUCTIONS, "take_along_axis") and len(call.args) > at
    return at, _whole(call.args[at]) if positional else None


def _looser(node: ast.Compare) -> Iterator[tuple[str, ast.expr]]:
    for i, sign in enumerate(node.ops):
        if other := _LOOSER.get(type(sign)):
            new = copy.deepcopy(node)
            new.ops[i] = other()
            yield "strict", new


def _unsliced(node: ast.Subscript) -> Iterator[tuple[str, ast.expr]]:
    """A slice without one of its bounds, a new axis in another place."""
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for i, part in enumerate(parts):
        for bound in ("lower", "upper") if isinstance(part, ast.Slice) else ():
            if getattr(part, bound) is not None:
                new = copy.deepcopy(node)
                held = new.slice.elts[i] if isinstance(new.slice, ast.Tuple) else new.slice
                setattr(held, bound, None)
                yield "slice", new
    if isinstance(node.slice, ast.Tuple) and any(isinstance(p, ast.Constant) and p.value is None for p in parts):
        new = copy.deepcopy(node)
        assert isinstance(new.slice, ast.Tuple)
        new.slice.elts = [*new.slice.elts[:-2], new.slice.elts[-1], new.slice.elts[-2]]
        yield "axis", new


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _read(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _whole(node: ast.expr) -> int | None:
    """A whole number that is written out."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if type(value) is int else None
