"""Planting changes: each kind is made, each is judged by the tests of its module, a run that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import mutants
from benchmarks.mutants import Broken, Copy, Record, judge
from benchmarks.mutations import mutations

LIBRARY = """
PAIR = divmod(7, 2)

def total(values: list[int]) -> int:
    if len(values) < 1:
        raise ValueError(f"{min(len(values), 1)} < 1")
    return sum(x for x in values)

def ratio(a: float, b: float) -> float:
    return divmod(a, b)[0]
"""
TESTS = """
from toy.library import ratio, total

def test_total():
    assert total([1, 2, 4, 8, 16]) == 31
"""
IMPORTS = """
from toy.library import PAIR

def test_pair():
    assert PAIR == (3, 1)
"""


def changes(line: str) -> set[str]:
    """What a line becomes."""
    return {m.text for m in mutations(line)}


def test_each_kind_of_change_is_made() -> None:
    assert changes("f(a, b, key=c)") == {"f(b, a, key=c)"}
    assert changes("a < b <= c") == {"a <= b <= c", "a < b < c"}
    assert changes("x[a:b]") == {"x[a:]", "x[:b]"}
    assert changes("x[..., :, None]") == {"x[..., None, :]"}
    assert changes("np.stack(x)") == {"np.stack(x, axis=-1)"}
    parts = ("[:4]", "[:8]", "[1:]", "[:-1]")
    assert changes("[f(x) for x in xs]") == {f"[f(x) for x in list(xs){part}]" for part in parts}
    assert changes("x.sum(-2)") == {"x.sum(-1)"} | {f"np.atleast_1d(x)[..., {p[1:-1]}, :].sum(-2)" for p in parts}
    assert changes("np.any(x < 0)") == {"np.any(x <= 0)"} | {
        f"np.any(np.atleast_1d(x < 0)[..., {p[1:-1]}])" for p in parts
    }
    # Columns count bytes, and a name may have more of them than letters.
    assert changes("é = f(π, b)") == {"é = f(b, π)"}


def test_what_says_nothing_is_left_alone() -> None:
    for line in ("max(a, b)", "f(a, a)", "f(a)", "raise ValueError(f(a, b))", "def f(x: g[1:]) -> h[2:]: pass"):
        assert changes(line) == set(), line


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    package = tmp_path / "toy"
    package.mkdir()
    for name, text in {"__init__": "", "library": LIBRARY, "test_library": TESTS, "test_pair": IMPORTS}.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    return package


def copied(package: Path, to: str) -> Copy:
    (folder := package.parent / to).mkdir()
    return Copy(package, folder)


def test_survivors_are_told_and_asked_again_after_a_change_to_a_test(toy: Path) -> None:
    record = toy.parent / "record.jsonl"
    before = judge(copied(toy, "before"), ["library"], Record(record))
    survived = {(row["line"], row["operator"]) for row in before if row["by"] is None}
    # Nothing is asked of `ratio`, nor of one value, and five are fewer than eight.
    assert survived == {(5, "strict"), (7, "only [:8]"), (10, "swapped")}
    # A file that calls no function of the module is asked what happens on import.
    assert [row["by"] for row in before if row["line"] == 2] == ["test_pair"]
    assert {row["by"] for row in before} == {"test_library", "test_pair", None}
    assert len(before) == 7

    asked = (toy / "test_library.py").read_text(encoding="utf-8")
    (toy / "test_library.py").write_text(asked + "    assert ratio(7, 2) == 3\n    assert total([1]) == 1\n")
    known = len(record.read_text(encoding="utf-8").splitlines())
    after = judge(copied(toy, "after"), ["library"], Record(record))
    assert [row["operator"] for row in after if row["by"] is None] == ["only [:8]"]
    # The survivors alone, and that the tests pass.
    assert len(record.read_text(encoding="utf-8").splitlines()) == known + 3 + 1


def test_tests_that_say_nothing_are_refused(toy: Path) -> None:
    asked = (toy / "test_library.py").read_text(encoding="utf-8")
    (toy / "test_library.py").write_text(asked.replace("31", "32"), encoding="utf-8")
    with pytest.raises(Broken, match="test_library fails without any change"):
        judge(copied(toy, "failing"), ["library"], Record(toy.parent / "failing.jsonl"))
    (toy / "test_library.py").write_text(asked.replace("== 31", "or True"), encoding="utf-8")
    with pytest.raises(Broken, match="no test notices that every function of library answers None"):
        judge(copied(toy, "hollow"), ["library"], Record(toy.parent / "hollow.jsonl"))


def test_a_run_that_was_stopped_goes_on(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record, runs = toy.parent / "record.jsonl", 0
    asked = ["--package", str(toy), "--modules", "library", "--record", str(record)]
    called = {"seconds": 0.0, "calls": [("library", 4), ("library", 9)]}
    one = {"test_library": called, "test_pair": {"seconds": 0.0, "calls": []}}

    def run(*_: object, **__: object) -> tuple[str | None, dict[str, mutants.Row]]:
        nonlocal runs
        runs += 1
        if runs == 5:
            raise KeyboardInterrupt
        # The first is without any change, the second with a gross one.
        return (None, one) if runs == 1 else ("test_library", {})

    monkeypatch.setattr(Copy, "run", run)
    assert mutants.main(asked) == 130
    assert f"repeat the command to resume from {record}" in capsys.readouterr().err
    kept = record.read_text(encoding="utf-8")
    # A kill in the middle of a line.
    record.write_text(kept + '{"key": "a', encoding="utf-8")
    assert mutants.main(asked) == 0
    assert runs == 5 + 7 - 2
    assert "7 changes" in (said := capsys.readouterr().out)
    assert "7 killed, 0 never end, 0 survive" in said
    rows = [json.loads(line) for line in kept.splitlines()]
    assert len(rows) == 3
