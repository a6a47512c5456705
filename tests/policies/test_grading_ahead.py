"""Samples are graded while others are sampled, each text once, and as they are graded after."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event
from typing import Any

import pytest

from expo.evaluate import evaluate
from expo.grading.answers import Grade
from expo.policies.grading_ahead import GradingAhead
from expo.policies.load import load_policy
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.tasks.problem import Problem


class Watched(ChainChecker):
    """Says that it has graded, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.graded, self.texts = Event(), 0

    def grade(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool] = ()) -> list[Grade]:
        self.texts += len(pairs)
        grades = super().grade(pairs, truncated)
        self.graded.set()
        return grades


def sampled_while_grading(seconds: float) -> list[bool]:
    """Whether a grade was there when each sample but the first ended, waited for this long."""
    checker, problems = Watched(), chain.load("test", 2, levels=[2]).problems
    found: list[bool] = []

    def finished() -> None:
        found.append(bool(found) and checker.graded.wait(seconds))

    settings: dict[str, Any] = {"samples": 3, "temperature": 1.0, "max_new_tokens": 40, "seed": 0}
    table = evaluate(load_policy("tiny-0", CHAIN), checker, problems, on_finished=finished, **settings)
    by_hand = ChainChecker().grade(
        [(p, text) for p in problems for text in table.loc[table["problem"] == p.id, "text"]],
        table["truncated"].tolist(),
    )
    assert table["status"].tolist() == [g.status.value for g in by_hand]
    return found[1:]


def test_samples_are_graded_while_others_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(sampled_while_grading(60))
    # The control: graded when all are sampled, none is there before.
    monkeypatch.setattr(GradingAhead, "begin", lambda *_: None)
    monkeypatch.setattr(GradingAhead, "grades", lambda ahead, pairs, cut: ahead._checker.grade(pairs, cut))
    assert not any(sampled_while_grading(0.05))


def test_a_text_is_graded_once() -> None:
    checker = Watched()
    (problem,) = chain.load("test", 1).problems
    with GradingAhead(checker) as ahead:
        ahead.begin(problem, "1", False)
        assert len(ahead.grades([(problem, "1"), (problem, "1"), (problem, "2")], [False] * 3)) == 3
    assert checker.texts == 2
    # The control: a text that was cut is another one.
    with GradingAhead(checker) as ahead:
        ahead.grades([(problem, "1"), (problem, "1")], [False, True])
    assert checker.texts == 4


def test_a_stop_does_not_wait_for_what_is_not_graded() -> None:
    checker, begun, go_on = Watched(), Event(), Event()

    class Slow(ChainChecker):
        def grade(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool] = ()) -> list[Grade]:
            begun.set()
            go_on.wait(60)
            time.sleep(0.01)
            return checker.grade(pairs, truncated)

    (problem,) = chain.load("test", 1).problems
    with GradingAhead(Slow()) as ahead:
        for i in range(100):
            ahead.begin(problem, f"{i}", False)
        begun.wait(60)
        go_on.set()
    assert checker.texts < 100


def test_what_a_grader_raises_is_raised() -> None:
    class Broken(ChainChecker):
        def grade(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool] = ()) -> list[Grade]:
            raise ValueError("no such answer")

    (problem,) = chain.load("test", 1).problems
    with pytest.raises(ValueError, match="no such answer"), GradingAhead(Broken()) as ahead:
        ahead.grades([(problem, "1")], [False])
