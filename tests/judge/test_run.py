"""Judging a finished run: votes are never asked for twice, and never lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from expo.judge.endpoint import JudgeError
from expo.judge.run import SLICE, judge
from expo.records import RecordError, Run
from expo.schema import TABLES
from tests.answering import answer

asked: list[str] = []


class FirstIsBetter(BaseHTTPRequestHandler):
    """An endpoint that answers A, and counts."""

    said = "Verdict: A"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        asked.append(self.path)
        message = {"role": "assistant", "content": self.said}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
        answer(self, reply)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), FirstIsBetter) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def record(folder: Path, problems: int, sources: tuple[str, ...] = ("own", "explanation")) -> Run:
    run = Run.start(folder, {"task": "stories"})
    rows = [
        dict.fromkeys(TABLES["samples"], None)
        | {"problem": f"p{i:02d}", "source": s, "index": 0, "question": "q", "reference": "1", "cot": f"{s} {i}"}
        for i in range(problems)
        for s in sources
    ]
    run.write("samples", pd.DataFrame(rows))
    return run


def test_no_vote_is_asked_for_twice_or_lost(url: str, tmp_path: Path) -> None:
    run = record(tmp_path / "run", SLICE + 5)
    said = judge(run, "m", url, None, progress=False)
    assert len(asked) == 2 * (SLICE + 5)
    assert f"over {SLICE + 5} problems" in said
    votes = run.read("votes")
    assert len(votes) == 2 * (SLICE + 5)
    assert judge(run, "m", url, None, progress=False) == said
    assert "over 3 problems" in judge(run, "m", url, 3, progress=False)
    assert len(asked) == 2 * (SLICE + 5)
    assert len(run.read("votes")) == len(votes)
    judge(run, "other", url, 3, progress=False)
    assert run.read("votes")["judge"].value_counts().to_dict() == {"m": len(votes), "other": 6}


def test_votes_that_none_can_read_are_an_error(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = record(tmp_path / "run", 2)
    with monkeypatch.context() as patch:
        patch.setattr(FirstIsBetter, "said", "I like both.")
        for _ in range(2):
            with pytest.raises(
                JudgeError, match=r"m: no problem has two votes .*: 4 replies have no line.*I like both"
            ):
                judge(run, "m", url, None, progress=False)
    assert set(run.read("votes")["vote"]) == {"unparsed"}
    # The control: another judge, whose votes can be read.
    assert judge(run, "n", url, None, progress=False).startswith("n: self-explanation wins")


def test_a_run_without_pairs_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no problem with both own and explanation"):
        judge(record(tmp_path / "run", 3, ("own",)), "m", url, None, progress=False)
    with pytest.raises(ValueError, match="problems must be at least 1"):
        judge(record(tmp_path / "two", 3), "m", url, -1, progress=False)
    assert not asked


def test_the_record_of_a_training_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "groups.parquet").touch()
    with pytest.raises(RecordError, match="is not a record of expo measure, which expo judge needs"):
        judge(run, "planted", "http://127.0.0.1:1/v1", None, progress=False)
