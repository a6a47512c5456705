"""Whether a statement and a negative control of it are one piece of code: else the control guards something else.

Read from the sources of the tests. Both must reach a function that states something: one that draws no instance, and
that few claims use, as `mean` is used by many.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from theory.ledger import HERE, Claim

# Claims that may use a function that is part of a statement; what more of them use is a tool.
_MOST = 4
Function = tuple[str, str]


def untied(claims: Mapping[str, Claim], folder: Path = HERE) -> dict[str, list[str]]:
    """By claim, the tests of what holds that share no statement with any of its negative controls."""
    reached = {test: _reached(folder, *_split(test)) for claim in claims.values() for test in claim.all_tests}
    users: dict[Function, set[str]] = {}
    for claim in claims.values():
        for test in claim.all_tests:
            for function in reached[test]:
                users.setdefault(function, set()).add(claim.id)
    stating = {function for function, of in users.items() if len(of) <= _MOST}
    found: dict[str, list[str]] = {}
    for name, claim in claims.items():
        controls = [reached[test] & stating for test in claim.tests.get("negative_controls", ())]
        for role in ("holds", "amended"):
            for test in claim.tests.get(role, ()):
                if not any(reached[test] & control for control in controls):
                    found.setdefault(name, []).append(f"{test} shares no statement with any negative control")
    return found


def _split(test: str) -> Function:
    file, _, name = test.partition("::")
    return file.removesuffix(".py"), name


def _reached(folder: Path, module: str, test: str) -> frozenset[Function]:
    """The functions of the tests that a test reaches, itself and those that draw instances left out."""
    seen: set[Function] = set()
    waiting = [(module, test)]
    while waiting:
        here = waiting.pop()
        functions, imported = _module(folder, here[0])
        if here in seen or here[1] not in functions:
            continue
        seen.add(here)
        names = {node.id for node in ast.walk(functions[here[1]]) if isinstance(node, ast.Name)}
        waiting += [imported.get(name, (here[0], name)) for name in names]
    return frozenset(f for f in seen if not f[1].startswith("test_") and not _draws(folder, f))


def _draws(folder: Path, function: Function) -> bool:
    arguments = _module(folder, function[0])[0][function[1]].args.args
    return any(argument.arg == "pick" for argument in arguments)


@cache
def _module(folder: Path, name: str) -> tuple[dict[str, ast.FunctionDef], dict[str, Function]]:
    """The functions of a module of tests, and those that it imports from others."""
    path = folder / f"{name}.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    imported = {
        alias.asname or alias.name: (node.module.removeprefix("theory."), alias.name)
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("theory.test_")
        for alias in node.names
    }
    return functions, imported
