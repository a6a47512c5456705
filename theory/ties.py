"""Whether a statement and its negative control share their code: otherwise the control guards something else.

This is read from the sources of the tests. Every check of a test must share with a control a function that states
something. Such a function draws no instance, and only few claims use it (`mean`, for example, is used by many).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from theory.claim import HERE, Claim

# The most claims that may use a function that is part of a statement. A function that more claims use is a tool.
_MOST = 4
# Checkers that leave evidence that something holds.
_CHECKERS = ("for_all", "proved", "identity", "sweep", "every")
_CURE = "let both call one function, with one place changed"
Function = tuple[str, str]


def untied(claims: Mapping[str, Claim], folder: Path = HERE) -> dict[str, list[str]]:
    """For each claim, the checks of `holds` and `amended` that share no statement with any of its negative controls."""
    reached = {t: _reached(folder, [_split(t)]) for claim in claims.values() for t in claim.all_tests}
    users: dict[Function, set[str]] = {}
    for claim in claims.values():
        for test in claim.all_tests:
            for function in reached[test]:
                users.setdefault(function, set()).add(claim.id)
    stating = {function for function, of in users.items() if len(of) <= _MOST}
    found: dict[str, list[str]] = {}
    for name, claim in claims.items():
        controls = [reached[test] & stating for test in claim.named("negative_controls")]
        for test in claim.named("holds", "amended", "instances"):
            if not any(reached[test] & control for control in controls):
                found.setdefault(name, []).append(f"{test} shares no statement with any negative control; {_CURE}")
                continue
            for check, states in _checks(folder, *_split(test)):
                if not any(states & control for control in controls):
                    found.setdefault(name, []).append(
                        f"{test}: {check} shares no statement with any negative control; {_CURE}"
                    )
    return found


def _split(test: str) -> Function:
    file, _, name = test.partition("::")
    return file.removesuffix(".py"), name


def _checks(folder: Path, module: str, test: str) -> Iterator[tuple[str, frozenset[Function]]]:
    """The checks that a test itself makes, each with the functions that it reaches."""
    functions, imported = _module(folder, module)
    if test not in functions:
        return
    # What a local name stands for.
    local: dict[str, set[str]] = {}
    for node in ast.walk(functions[test]):
        if isinstance(node, ast.Assign):
            for name in {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}:
                local.setdefault(name, set()).update(_names(node.value))
    for node in ast.walk(functions[test]):
        if isinstance(node, ast.Call) and _called(node) in _CHECKERS:
            names = {name for argument in [*node.args, *node.keywords] for name in _names(argument)}
            names |= {more for name in names for more in local.get(name, ())}
            yield ast.unparse(node)[:60], _reached(folder, [imported.get(n, (module, n)) for n in names])


def _called(node: ast.Call) -> str:
    """The name of the function that is called, with or without its module."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _names(node: ast.AST) -> set[str]:
    """The names that are read in a node, except those of its own arguments and local variables."""
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    own = {n.id for n in names if not isinstance(n.ctx, ast.Load)}
    return {n.id for n in names} - own - {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}


def _reached(folder: Path, start: list[Function]) -> frozenset[Function]:
    """The functions that some functions reach, including themselves, but not tests or functions that draw instances."""
    seen: set[Function] = set()
    waiting = list(start)
    while waiting:
        here = waiting.pop()
        functions, imported = _module(folder, here[0])
        if here in seen or here[1] not in functions:
            continue
        seen.add(here)
        waiting += [imported.get(name, (here[0], name)) for name in _names(functions[here[1]])]
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
