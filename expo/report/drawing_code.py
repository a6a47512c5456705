"""The code that draws an artefact, as a hash that changes when what it computes or shows may change.

Starting from the `draw_...` function, the hash covers every top-level definition that it reaches by name, within the
modules that compute or draw, and the files that those modules read. Comments and docstrings do not count, since they
do not change what is drawn.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

from expo.report.runs import ROOT

# Code that reads, runs or publishes records is not covered: it changes often, and draws nothing.
_COMPUTES_OR_DRAWS = (
    *("expo.report", "expo.stats", "expo.text", "expo.measure", "expo.gradients.predictors"),
    *("expo.judge.votes", "expo.audit", "expo.records.method_of", "theory"),
)
_PUBLISHES = ("expo.report.artefacts", "expo.report.drawing_code", "expo.report.notebooks")
# Files that modules read, below the root. What the ledger shows depends on all tests of the theory.
_FILES = {
    "theory.ledger": ("theory/*.py", "theory/claims/*.yaml"),
    "expo.report.theory.ledger_page": ("expo/report/theory/ledger_page.css", "expo/report/theory/ledger_page.js"),
    "expo.report.toy": ("expo/policies/bases/ledger.json",),
}

Place = tuple[str, str]  # a module, and the name of a top-level definition in it


class NoCode(LookupError):
    """There is no such function."""


def drawing_function() -> str | None:
    """The dotted name of the outermost `draw_...` of a report that is currently running; None outside of one."""
    frame: FrameType | None = inspect.currentframe()
    found = None
    while frame:
        module, name = str(frame.f_globals.get("__name__")), frame.f_code.co_name
        if name.startswith("draw_") and module.startswith("expo.report."):
            found = f"{module}.{name}"
        frame = frame.f_back
    return found


@cache
def code_hash(function: str, root: Path = ROOT) -> str:
    """The hash of the code below `root` that a function, given by its dotted name, reaches.

    Raises:
        NoCode: if there is no such function.
    """
    module, _, name = function.rpartition(".")
    start = _resolve(root, module, name)
    if start is None:
        raise NoCode(function)
    reached = _reached(root, start)
    parts = [f"{module}.{name}\n{_read(root, module).text_of(name)}" for module, name in sorted(reached)]
    patterns = {pattern for module, _ in reached for pattern in _FILES.get(module, ())}
    files = {path for pattern in patterns for path in root.glob(pattern)}
    parts += [path.read_text(encoding="utf-8") for path in sorted(files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _reached(root: Path, start: Place) -> set[Place]:
    """All definitions that a definition reaches, including itself."""
    reached, waiting = {start}, [start]
    while waiting:
        module, name = waiting.pop()
        found = {_resolve(root, *used) for used in _read(root, module).uses(root, name)}
        new = {place for place in found if place is not None} - reached
        reached |= new
        waiting += new
    return reached


def _resolve(root: Path, module: str, name: str) -> Place | None:
    """Where a module's name is defined, if that is in code that computes or draws."""
    if module in _PUBLISHES or not any(f"{module}.{name}.".startswith(f"{scope}.") for scope in _COMPUTES_OR_DRAWS):
        return None
    if _path(root, module) is None:
        return None
    read = _read(root, module)
    if name in read.defined:
        return module, name
    return _resolve(root, *read.imported[name]) if name in read.imported else None


def _path(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@dataclass(frozen=True)
class _Module:
    """A module's top-level definitions, and the origins of the names that it imports."""

    name: str
    lines: list[str]
    defined: dict[str, list[ast.stmt]]
    imported: dict[str, Place]

    def text_of(self, name: str) -> str:
        """The source of all statements that define a name."""
        spans = [(self._first_line(node) - 1, node.end_lineno) for node in self.defined[name]]
        return "\n".join(line for begin, end in spans for line in self.lines[begin:end] if line)

    @staticmethod
    def _first_line(node: ast.stmt) -> int:
        return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])

    def uses(self, root: Path, name: str) -> Iterator[Place]:
        """The names that a definition mentions, each with its module."""
        for node in (node for statement in self.defined[name] for node in ast.walk(statement)):
            if isinstance(node, ast.Name):
                yield self.name, node.id
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = ".".join(self.imported.get(node.value.id, ()))
                if module and _path(root, module):
                    yield module, node.attr


@cache
def _read(root: Path, module: str) -> _Module:
    path = _path(root, module)
    assert path is not None, "asked by _resolve"
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _bound_by(statement):
            defined.setdefault(name, []).append(statement)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    imported = {alias.asname or alias.name: (str(node.module), alias.name) for node in imports for alias in node.names}
    return _Module(module, _without_comments(source, tree), defined, imported)


def _bound_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Expr):
        return set()
    names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
    return {node.id for node in names if isinstance(node.ctx, ast.Store)}


def _without_comments(source: str, tree: ast.Module) -> list[str]:
    """The lines of a source; those with only comments or docstrings are emptied."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            for row in range(docstring.lineno - 1, docstring.end_lineno or docstring.lineno):
                lines[row] = ""
    return [line.rstrip() for line in lines]
