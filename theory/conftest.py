"""Collect what the checkers note in each test, judge the claims after a full run, and fail unless all are green."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from theory import claim, evidence, ledger, lock, ties

PARTIAL = "Claims are judged only in a run of all of the theory's tests: pytest theory/ -n 2"


class _Recorder:
    """Collects the outcomes of one test run and judges the claims by them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.outcomes: dict[str, ledger.Outcome] = {}
        self.entries: dict[str, ledger.Entry] = {}
        self.gone: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, test = report.nodeid.partition("::")
        if Path(file).parent.name not in ("theory", ""):
            return
        name = f"{Path(file).name}::{test.partition('[')[0]}"
        before = self.outcomes.get(name, ledger.Outcome(True))
        # The last phase's report has the notes, under xdist too.
        notes: list[Any] = [v for k, v in report.user_properties if k == "evidence" and report.when == "teardown"]
        self.outcomes[name] = ledger.Outcome(before.passed and report.passed, (*before.notes, *notes))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self._is_whole():
            for option in ("--ledger", "--renew"):
                if self.config.getoption(option):
                    raise pytest.UsageError(f"{option} needs all tests of the theory: pytest theory/ {option}")
            return
        claims = claim.load()
        now = lock.lock_of(claims, self.outcomes)
        if self.config.getoption("--renew"):
            lock.write(now)
        # Counts are those of a plain run.
        changed = {} if evidence.scale > 1 else lock.changes(lock.read(), now, claims)
        for name, problems in ties.untied(claims).items():
            changed.setdefault(name, []).extend(problems)
        changed |= ledger.orphans(claims, self.outcomes)
        entries = self.entries = ledger.judge(claims, self.outcomes, changed)
        self.gone = {name: problems for name, problems in changed.items() if name not in claims}
        if path := self.config.getoption("--ledger"):
            ledger.write(entries, Path(path))
        if session.exitstatus == 0 and (self.gone or not all(e.green for e in entries.values())):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not (entries := self.entries):
            if self.outcomes and not self._is_whole():
                terminalreporter.write_line(PARTIAL)
            return
        terminalreporter.section("claims")
        for whose, of in ledger.counts(entries).items():
            told = ", ".join(f"{n} {verdict}" for verdict, n in of["verdicts"].items())
            near = ", ".join(f"{n} {word}" for word, n in of["fidelity"].items())
            near = f"; nearness to its sentences: {near}" if near else ""
            terminalreporter.write_line(f"{of['claims']} {whose}, {of['statements']} statements: {told}{near}")
        for name, problems in {**{name: e.problems for name, e in entries.items()}, **self.gone}.items():
            for problem in problems:
                terminalreporter.write_line(f"{name} is not green: {problem}")

    def _is_whole(self) -> bool:
        """Whether this run covers all tests of the theory. Only then is it a fault if a test did not run."""
        o = self.config.option
        if any(getattr(o, x, False) for x in ("collectonly", "keyword", "deselect", "lf", "stepwise")):
            return False
        # None of the theory's tests is slow, as `pytest_itemcollected` sees to.
        if o.markexpr not in ("", "not slow"):
            return False
        asked = (Path(self.config.invocation_params.dir, a) for a in self.config.args)
        return any(p.is_dir() and claim.HERE.is_relative_to(p.resolve()) for p in asked)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("theory")
    group.addoption("--ledger", metavar="FILE", help="write the ledger of the paper's claims to this JSON file")
    group.addoption("--renew", action="store_true", help="write what the claims say and rest on to claims/lock.json")
    group.addoption("--thorough", action="store_true", help="100 times the instances of every claim")


def pytest_configure(config: pytest.Config) -> None:
    try:
        claim.load()
    except claim.ClaimError as error:
        # Before any test: otherwise it would be reported only at the end, after minutes.
        raise pytest.UsageError(str(error)) from None
    evidence.scale = 100 if config.getoption("--thorough") else 1
    # Under xdist the workers' reports come to the controller.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Recorder(config))


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.get_closest_marker("slow"):
        raise pytest.UsageError(f"{item.nodeid}: the claims are judged by all tests of the theory, so none may be slow")


@pytest.fixture(autouse=True)
def _noted(record_property: Callable[[str, object], None]) -> Iterator[None]:
    evidence.notes.clear()
    yield
    for n in evidence.notes:
        record_property("evidence", n)
