"""The task `letters`: the last letter of each of n words, generated, with an exact checker.

    question        What are the last letters of food wind stone?
    answer          d, d, e
    own dialect     food ends in d. wind ends in d. stone ends in e.
    expert dialect  the final character of food is d; the final character of wind is d; ...

A level is the number of words. A language model sees each word as one token, not its letters, so a word's last letter
is a fact to learn; with the answer in the prompt it only has to be copied. The words are in three disjoint sets, and
each set has every last letter equally often:

    warmup      to teach the own dialect, in which the worked solutions of these splits are
    train       to be learnt in some combinations and tested in others
    new         never trained

A split is a property of the problem, not of a draw: its words determine the set, and a hash of them the split within
the set. `test` and `new` are for final numbers: nothing may be chosen on them.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from expo.tasks.checker import StepChecker
from expo.tasks.definition import Selection, TaskDefinition
from expo.tasks.exact import ExactChecker
from expo.tasks.problem import DataError, Problem, Skip, Task
from expo.tasks.prompts import Prompts

# Splits by word set, each with its share of the set's combinations in tenths.
SPLITS: dict[str, dict[str, int]] = {
    "warmup": {"warmup": 8, "known": 2},
    "train": {"train": 6, "rate": 2, "test": 2},
    "new": {"new": 10},
}
SET_OF = {split: words for words, splits in SPLITS.items() for split in splits}
LEVELS = (1, 2, 3)
DEFAULT_PROBLEMS = 150
_FAILED_DRAWS = 20_000
_QUESTION = "What are the last letters of {}?"
_FORMAT = '{"warmup": ["read", ...], "train": ["food", ...], "new": ["bird", ...]}'

LETTERS = Prompts(
    question="{question}",
    explain="{question} They are ({answer}).",
    nonsense="{question} They are ({nonsense}).",
    answer_cue="\nAnswer: (",
    answer_end=")",
)


def question_of(words: Sequence[str]) -> str:
    """`What are the last letters of food wind?`."""
    return _QUESTION.format(" ".join(words))


def words_of(question: str) -> list[str]:
    """The words that a question asks about; none if the text is not such a question."""
    before, after = map(re.escape, _QUESTION.split("{}"))
    found = re.fullmatch(f"{before}([a-z]+(?: [a-z]+)*){after}", question)
    return found[1].split() if found else []


def answer_of(words: Sequence[str]) -> str:
    """The last letters: `d, d`."""
    return ", ".join(word[-1] for word in words)


def own_steps(words: Sequence[str]) -> list[str]:
    """The steps in the own dialect."""
    return [f"{word} ends in {word[-1]}." for word in words]


def expert_steps(words: Sequence[str]) -> list[str]:
    """The steps in the expert dialect."""
    steps = [f"the final character of {word} is {word[-1]};" for word in words]
    return [*steps[:-1], steps[-1].replace(";", ".")]


def check_steps(problem: Problem, cot: str) -> list[tuple[str, bool]]:
    """The steps of a CoT, each with its truth: the i-th must be the true i-th step in either dialect.

    Steps past the last word are false; omitted steps are not listed.
    """
    words = words_of(problem.question)
    steps = [step.strip() for step in re.findall(r"[^.;\n]*\w[^.;\n]*[.;]?", cot)]
    gold = [{s.rstrip(".;") for s in pair} for pair in zip(own_steps(words), expert_steps(words), strict=True)]
    return [(s, i < len(gold) and " ".join(s.rstrip(".;").split()) in gold[i]) for i, s in enumerate(steps)]


def fault(problem: Problem) -> tuple[str, str] | None:
    """The field that makes a problem's steps uncheckable, and the reason, if any."""
    words = words_of(problem.question)
    if not words:
        return "question", f"cannot read the question; it must look like {question_of(['food', 'wind'])!r}"
    if len(letters := problem.answer.strip().split(", ")) != len(words):
        return "answer", f"the answer has {len(letters)} letters, but the question has {len(words)} words"
    if problem.answer.strip() != (right := answer_of(words)):
        return "answer", f"the words end in {right}, but the answer is {problem.answer}"
    return None


STEPS = StepChecker(check_steps, "each word with its letter", fault)


class LettersChecker(ExactChecker):
    """The checker of letters: exact match of the answer, and every step against the word at its position."""

    def wrong_answer(self, problem: Problem, others: Sequence[Problem], seed: int) -> str | None:
        """See `Checker`: each letter is replaced by another letter that ends a word of the problems."""
        rng = random.Random(f"{seed}:{problem.id}")
        letters = sorted({letter for p in others for letter in p.answer.split(", ")})
        drawn = [[c for c in letters if c != letter] for letter in problem.answer.split(", ")]
        return ", ".join(map(rng.choice, drawn)) if all(drawn) else None

    def nonsense(self, problem: Problem, seed: int) -> str:
        """See `Checker`: as many digits as the answer has letters."""
        rng = random.Random(f"nonsense:{seed}:{problem.id}")
        return ", ".join(str(rng.randrange(10)) for _ in problem.answer.split(", "))


def read_words(path: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Read the word sets of a file, or the shipped ones.

    Raises:
        DataError: if the file cannot be read, a set is missing, or a word is invalid or listed twice.
    """
    name = str(path or "the word sets")
    try:
        text = (path or resources.files("expo") / "tasks" / "letters.json").read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError) as cause:
        raise DataError(f"{name}: cannot be read: {cause}; it must hold {_FORMAT}") from cause
    if not isinstance(content, dict) or set(content) != set(SPLITS):
        raise DataError(f"{name}: it must hold the sets {', '.join(SPLITS)}, such as {_FORMAT}")
    for words, listed in content.items():
        if not isinstance(listed, list) or not listed:
            raise DataError(f"{name}: {words} must be a list of words, got {listed!r:.80}")
        for word in listed:
            if not isinstance(word, str) or not re.fullmatch("[a-z]{2,}", word):
                raise DataError(f"{name}: {words}: {word!r} must be two or more lowercase letters, a to z")
    counts = Counter(word for listed in content.values() for word in listed)
    if double := [word for word, n in counts.items() if n > 1]:
        sets = dict.fromkeys(words for words, listed in content.items() if double[0] in listed)
        where = f"in {' and in '.join(sets)}" if len(sets) > 1 else f"twice in {next(iter(sets))}"
        raise DataError(f"{name}: {double[0]!r} is {where}; list each word once")
    return {words: tuple(listed) for words, listed in content.items()}


def split_of(words: Sequence[str], word_set: str) -> str:
    """The split of a combination of a set's words."""
    shares = SPLITS[word_set]
    draw = int.from_bytes(hashlib.sha256(" ".join(words).encode()).digest()[:8], "big") % sum(shares.values())
    for split, share in shares.items():
        draw -= share
        if draw < 0:
            return split
    raise AssertionError("the shares cover the hash range")


def load(
    split: str, n: int, seed: int = 0, levels: Iterable[int] = LEVELS, words: dict[str, tuple[str, ...]] | None = None
) -> Task:
    """Draw `n` different problems of one split, spread over `levels` and interleaved; no problem repeats a word.

    A level with fewer problems than its share gives all it has, and the others give more. The same arguments give the
    same problems, and a larger `n` extends a smaller one within each level.

    Raises:
        DataError: for an unknown split or level, a level beyond the words, or more problems than the split has.
    """
    if n < 1:
        raise DataError(f"letters: problems: must be at least 1, got {n}")
    if split not in SET_OF:
        raise DataError(f"letters: split: unknown split {split!r}; choose from {', '.join(SET_OF)}")
    pool = (words or read_words())[SET_OF[split]]
    wanted = sorted(set(levels))
    if not wanted or wanted[0] < 1 or wanted[-1] > len(pool):
        raise DataError(
            f"letters: levels: {wanted} must be between 1 and {len(pool)}, the number of words in the set "
            f"{SET_OF[split]}"
        )
    drawn: dict[int, list[Problem]] = {}
    left = n
    # The smallest level first: the others make up for what it lacks.
    for i, level in enumerate(wanted):
        drawn[level] = _draw_level(split, pool, -(-left // (len(wanted) - i)), seed, level)
        left -= len(drawn[level])
    if left > 0:
        raise DataError(
            f"letters: problems: {n} requested, but split {split} has only about {n - left} with levels "
            f"{wanted}; request fewer, or other levels"
        )
    longest = max(map(len, drawn.values()))
    mixed = [drawn[level][i] for i in range(longest) for level in wanted if i < len(drawn[level])]
    return Task(name="letters", problems=tuple(mixed), source=f"letters:{split}:{seed}")


def _draw_level(split: str, pool: Sequence[str], n: int, seed: int, level: int) -> list[Problem]:
    rng = random.Random(f"{split}:{seed}:{level}")
    problems: dict[str, Problem] = {}
    failed = 0
    while len(problems) < min(n, math.perm(len(pool), level)) and failed < _FAILED_DRAWS:
        words = rng.sample(pool, level)
        question = question_of(words)
        if question in problems or split_of(words, SET_OF[split]) != split:
            failed += 1
            continue
        failed = 0
        problems[question] = _problem(words, split)
    return list(problems.values())


def _problem(words: Sequence[str], split: str) -> Problem:
    question = question_of(words)
    name = f"letters-{split}-" + hashlib.sha256(question.encode()).hexdigest()[:12]
    steps = own_steps(words) if SET_OF[split] == "warmup" else expert_steps(words)
    return Problem(name, question, answer_of(words), level=len(words), expert_cot=" ".join(steps), where=name)


def unfit(task: Task, encode: Callable[[str], Sequence[int]]) -> dict[str, Skip]:
    """Problems with a word of several tokens, with or without a space before it, which would reveal its letters."""

    @cache
    def tokens(word: str) -> int:
        return max(len(encode(word)), len(encode(" " + word)))

    found = {p.id: word for p in task.problems for word in words_of(p.question) if tokens(word) > 1}
    reason = "{!r} is {} tokens in this policy's tokenizer, not one; replace it in a word file given by --data"
    return {name: Skip(name, "question", reason.format(word, tokens(word))) for name, word in found.items()}


def _load(selection: Selection) -> Task:
    words = read_words(Path(selection.data).expanduser()) if selection.data else None
    n = DEFAULT_PROBLEMS if selection.problems is None else selection.problems
    task = load(selection.split, n, selection.seed, selection.levels or LEVELS, words)
    if selection.can_parse and not all(selection.can_parse(p.answer) for p in task.problems):
        raise DataError(
            f"letters: answers such as {task.problems[-1].answer!r} contain prompts.answer_end; choose another "
            "answer_end"
        )
    return task


TASK = TaskDefinition(
    name="letters",
    load=_load,
    licence="apache-2.0",
    prompts=LETTERS,
    checker=lambda prompts: LettersChecker(prompts, STEPS),
    reads_file=True,
    unfit=unfit,
    about_splits=(
        "`test` has the words that were trained on, in other combinations; `new` words that were never trained on; "
        "`known` those that a base was warmed up on."
    ),
    max_new_tokens=40,
)
