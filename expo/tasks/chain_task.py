"""The toy task `chain` as a task: its prompts, and how its texts are checked."""

from __future__ import annotations

import random
from collections.abc import Sequence

from expo.grading.answers import Grade, Status
from expo.tasks import chain
from expo.tasks.definition import Selection, TaskDefinition
from expo.tasks.problem import Problem, Task
from expo.tasks.prompts import Prompts

DEFAULT_PROBLEMS = 150

CHAIN = Prompts(
    question="<bos> {question} <think>",
    explain="<bos> {question} key {answer} <think>",
    nonsense="<bos> {question} key {nonsense} <think>",
    answer_cue="<ans>",
    answer_end="<eos>",
    chat=False,
)


class ChainChecker:
    """The toy's checker: exact match of the answer, and every step against the true chain."""

    leak_rule = "the text contains the word 'key'"
    grader: str | None = None
    judged = "arithmetic"

    def can_parse(self, answer: str) -> bool:
        """See `Checker`; every answer was generated."""
        return True

    def fault(self, problem: Problem) -> tuple[str, str] | None:
        """See `Checker`; every problem was generated."""
        return None

    def cot_end(self, text: str) -> int:
        """See `Checker`."""
        at = text.rfind(chain.ANSWER_CUE)
        return len(text) if at < 0 else at

    def grade(self, pairs: Sequence[tuple[Problem, str]], truncated: Sequence[bool] = ()) -> list[Grade]:
        """See `Checker`. `truncated` has no effect: a truncated answer lacks values."""
        out = []
        for problem, text in pairs:
            _, cue, answer = text.rpartition(chain.ANSWER_CUE)
            if not cue:
                out.append(Grade(Status.UNPARSED, None))
            else:
                right = chain.check_answer(problem, f"{text} {chain.EOS}")
                out.append(Grade(Status.CORRECT if right else Status.WRONG, answer.strip()))
        return out

    def steps(self, problem: Problem, cot: str) -> list[tuple[str, bool]]:
        """See `Checker`."""
        return chain.check_steps(problem, cot)

    def is_leak(self, text: str) -> bool:
        """See `Checker`; decided by `leak_rule`."""
        return "key" in text.split()

    def wrong_answer(self, problem: Problem, others: Sequence[Problem], seed: int) -> str | None:
        """See `Checker`: each value of the answer is shifted by 1 to 22 modulo 23."""
        rng = random.Random(f"{seed}:{problem.id}")
        return " ".join(
            word if i % 2 == 0 else str((int(word) + rng.randint(1, chain.MOD - 1)) % chain.MOD)
            for i, word in enumerate(problem.answer.split())
        )

    def nonsense(self, problem: Problem, seed: int) -> str:
        """See `Checker`: as many names and values as the answer has, with names of no unknown."""
        rng = random.Random(f"nonsense:{seed}:{problem.id}")
        free = [name for name in chain.NAMES if name not in problem.question.split()]
        unknowns = len(problem.answer.split()) // 2
        return " ".join(f"{rng.choice(free)} {rng.randrange(chain.MOD)}" for _ in range(unknowns))

    def close(self) -> None:
        """See `Checker`; there is nothing to end."""


def _load(selection: Selection) -> Task:
    levels = sorted(set(selection.levels or chain.LEVELS))
    return chain.load(selection.split, selection.problems or DEFAULT_PROBLEMS, seed=selection.seed, levels=levels)


def _pairs(answer: str) -> list[str]:
    """A name with its value, in the form of a step."""
    words = answer.split()
    return [f"{name} {value}" for name, value in zip(words[::2], words[1::2], strict=True)]


TASK = TaskDefinition(
    name="chain",
    load=_load,
    licence="apache-2.0",
    prompts=CHAIN,
    checker=lambda _: ChainChecker(),
    vocabulary=frozenset(chain.VOCABULARY),
    mentions=_pairs,
    # The usual 256 would fill the whole context of its policies.
    max_new_tokens=100,
)
