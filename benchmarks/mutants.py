"""Which changes to a library its tests do not notice: `python -m benchmarks.mutants`, after mutmut in `make mutants`.

One change of `benchmarks.mutations` at a time is planted in a temporary copy. The test files that import the module and
call the changed function run until one fails, the fastest first. The changes that none notices are listed.

Every outcome is recorded as soon as it is known, so a stopped run resumes where it was. After a change to a module, all
of its mutations are tested again; after a change to a test, those that survived.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import gc
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.mutations import mutations

ROOT = Path(__file__).parent.parent
# Every function returns None: a test that does not notice that checks nothing.
GROSS = """
for _name, _value in list(globals().items()):
    if type(_value).__name__ == "function" and _value.__module__ == __name__:
        globals()[_name] = lambda *_args, **_kwargs: None
"""
# The set in which functions say that they are called.
MARK = "called_by_a_test"
# A test file that takes this many times its CPU seconds, plus some more, is assumed never to end.
TIMES, MORE = 10, 20
# How a process ends in which a test failed: by pytest's codes for failures, interruptions (a failing import is one) and
# its own errors, set apart from those of Python; or because its time was up.
PYTEST = 100
FAILED = {PYTEST + 1: "", PYTEST + 2: "", PYTEST + 3: "", -signal.SIGXCPU: " (never ends)"}
# Without garbage collection between tests and without other packages' plugins, which take most of a small file's time.
OPTIONS = ("-x", "-q", *(f"-pno:{plugin}" for plugin in ("cacheprovider", "unraisableexception", "threadexception")))
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["hypothesis", "numpy", "pytest", "sympy", "z3"])

Row = dict[str, Any]


class Broken(Exception):
    """The tests fail without any change, or do not notice a gross one, so their other outcomes mean nothing."""


class Copy:
    """A copy of a package with its tests, in which one module at a time is changed."""

    def __init__(self, package: Path, folder: Path) -> None:
        self.package, self.folder = package.name, folder
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        if (settings := package.parent / "pyproject.toml").exists():
            shutil.copy2(settings, folder)
        self.sources = {p.stem: p.read_text(encoding="utf-8") for p in sorted(package.glob("*.py"))}

    @contextmanager
    def planted(self, module: str, text: str) -> Iterator[None]:
        """The module with another text, and then its own again."""
        path = self.folder / self.package / f"{module}.py"
        path.write_text(text, encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(self.sources[module], encoding="utf-8")
            # A compiled file could be mistaken for the next text, which may have the same size and second.
            for compiled in path.parent.glob(f"__pycache__/{module}.*"):
                compiled.unlink()

    def run(self, limits: Mapping[str, float]) -> tuple[str | None, dict[str, Row]]:
        """The first test file that fails, None if all pass; of each that passes its CPU seconds and what it called.

        `limits` has the CPU seconds that each file may take. What is called says only a module that is `marked`.
        """
        told, tell = _forks.Pipe(duplex=False)
        process = _forks.Process(target=_judge, args=(self.folder, self.package, dict(limits), tell), daemon=True)
        process.start()
        tell.close()
        passed: dict[str, Row] = {}
        try:
            while True:
                file, passed_row = told.recv()
                passed[file] = passed_row
        except EOFError:
            process.join()
        finally:
            process.kill()
        if process.exitcode == 0:
            return None, passed
        failed = next(file for file in limits if file not in passed)
        if process.exitcode not in FAILED:
            raise Broken(f"{self.said}{failed} ended with {process.exitcode}, which says nothing of the change")
        return failed + FAILED[process.exitcode], passed

    @property
    def said(self) -> str:
        """What pytest said in the last run."""
        path = self.folder / "said"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def importing(self, modules: Sequence[str]) -> list[str]:
        """The test files that import one of these modules, or one that does."""
        imports = {name: self._imported(source) for name, source in self.sources.items()}
        found = set(modules)
        while more := {name for name in imports if imports[name] & found} - found:
            found |= more
        return sorted(name for name in found if name.startswith("test_"))

    def asking(self, files: Mapping[str, Row], module: str, function: int | None) -> dict[str, Row]:
        """The test files that call a function, known by its first line; for None, those that import the module."""
        if function is None:
            return {file: files[file] for file in self.importing([module])}
        return {file: known for file, known in files.items() if [module, function] in map(list, known["calls"])}

    def _imported(self, source: str) -> set[str]:
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module]
        dotted = [f"{node.module}.{alias.name}".split(".") for node in nodes for alias in node.names]
        return {parts[1] for parts in dotted if parts[0] == self.package}


def _judge(folder: Path, package: str, limits: dict[str, float], tell: Any) -> None:
    """Run test files in this process until one fails, and report on each that passes."""
    os.chdir(folder)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode = False
    sys.path.insert(0, str(folder))
    gc.freeze()
    with (folder / "said").open("w", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    import pytest

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for file, limit in limits.items():
        begun, called = sum(os.times()[:2]), set[tuple[str, int]]()
        setattr(builtins, MARK, called)
        resource.setrlimit(resource.RLIMIT_CPU, (int(begun + limit) + 1, resource.RLIM_INFINITY))
        if code := pytest.main([*OPTIONS, f"{package}/{file}.py"]):
            os._exit(int(code) + PYTEST)
        tell.send((file, {"seconds": sum(os.times()[:2]) - begun, "calls": sorted(called)}))
    os._exit(0)


def marked(source: str, module: str) -> str:
    """The source of a module whose functions say that they are called, by the module's name and their first lines."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            says = ast.parse(f"__import__('builtins').{MARK}.add(({module!r}, {_first(node)}))").body
            node.body[1 if ast.get_docstring(node) else 0 : 0] = says
    return ast.unparse(tree)


def _first(function: ast.FunctionDef) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


class Record:
    """What is already known: one JSON object per line; for each key the last one counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held: dict[str, Row] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            # A killed run may have left half a line.
            if line.endswith("}"):
                row = json.loads(line)
                self.held[row["key"]] = row

    def keep(self, row: Row) -> None:
        """Write a row at once."""
        self.held[row["key"]] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def checked(copy: Copy, modules: Sequence[str], record: Record) -> dict[str, Row]:
    """The time and calls of each test file, once all pass and those of each module notice a gross change to it.

    Raises:
        Broken: if they do not.
    """
    key = f"checked {_sum(str(copy.sources))} {' '.join(modules)}"
    if key not in record.held:
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(copy.planted(module, marked(copy.sources[module], module)))
            failed, files = copy.run(dict.fromkeys(copy.importing(modules), 600.0))
        if failed:
            raise Broken(f"{copy.said}{failed} fails without any change")
        for module in modules:
            with copy.planted(module, copy.sources[module] + GROSS):
                if copy.run(_limits(copy.asking(files, module, None)))[0] is None:
                    raise Broken(f"no test notices that every function of {module} answers None")
        record.keep({"key": key, "files": files})
    return dict(record.held[key]["files"])


def _limits(files: Mapping[str, Row]) -> dict[str, float]:
    """The CPU seconds that each test file may take, the fastest first."""
    fastest = sorted(files, key=lambda file: files[file]["seconds"])
    return {file: TIMES * files[file]["seconds"] + MORE for file in fastest}


def judge(copy: Copy, modules: Sequence[str], record: Record) -> list[Row]:
    """Plant every change that is not recorded yet, and keep its outcome; returns the rows of all of them."""
    files = checked(copy, modules, record)
    tests = _sum("".join(copy.sources[name] for name in copy.sources if name not in modules))
    planned = [(module, m) for module in modules for m in mutations(copy.sources[module])]
    rows: list[Row] = []
    with tqdm(planned, unit="change", mininterval=1) as bar:
        for module, m in bar:
            bar.set_postfix_str(f"{sum(r['by'] is None for r in rows)} survive, {module}:{m.line}", refresh=False)
            key = _sum(f"{module} {m.text}")
            row = record.held.get(key)
            if row is None or (row["by"] is None and row["tests"] != tests):
                asking = copy.asking(files, module, _function(copy.sources[module], m.line))
                with copy.planted(module, m.text):
                    by, _ = copy.run(_limits(asking))
                row = {"key": key, "tests": tests, "module": module, "by": by}
                row |= {"line": m.line, "operator": m.operator, "before": m.before, "after": m.after}
                record.keep(row)
            rows.append(row)
    return rows


def _function(source: str, line: int) -> int | None:
    """The first line of the outermost function or method that a line is part of; None for what runs on import."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return min((_first(f) for f in functions if f.lineno <= line <= (f.end_lineno or 0)), default=None)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def report(rows: Sequence[Row], say: Callable[[str], Any] = print) -> None:
    """The survivors, and how many there are of all."""
    for r in rows:
        if r["by"] is None:
            say(f"{r['module']}:{r['line']} {r['operator']}: {r['before']}  →  {r['after']}")
    survived, endless = sum(r["by"] is None for r in rows), sum("never ends" in (r["by"] or "") for r in rows)
    kinds = Counter(r["operator"] for r in rows)
    say(f"{len(rows):,} changes ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))})")
    say(f"{len(rows) - survived - endless:,} killed, {endless} never end, {survived} survive")


def main(arguments: Sequence[str] | None = None) -> int:
    """Test the modules that mutmut changes, or some of them, and print what survives."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--modules", nargs="+", default=[Path(path).stem for path in settings["only_mutate"]])
    parser.add_argument("--package", type=Path, default=ROOT / settings["source_paths"][0])
    parser.add_argument("--record", type=Path, default=ROOT / "build" / "mutants.jsonl")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = judge(Copy(asked.package.resolve(), Path(folder)), asked.modules, Record(asked.record))
        except Broken as broken:
            print(broken, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\nstopped; repeat the command to resume from {asked.record}", file=sys.stderr)
            return 130
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
