"""The toy task `chain`: modular equations in a chain, five levels, generated, with an exact checker.

A problem gives one value and n unknowns, `x_i = (x_{i-1} + b_i) * c_i mod 23`, read left to right:

    question        Q h = 4 ; a = h + 8 * 16 ; g = a + 8 * 12 ; ?
    answer          a 8 g 8
    own dialect     4 + 8 = 12 * 16 get a 8 ; 8 + 8 = 16 * 12 get g 8 ;
    expert dialect  since 4 plus 8 gives 12 , by 16 we get a 8 . since 8 plus 8 gives 16 , by 12 we get g 8 .

Every word is one token. Giving the answer means copying: in both dialects and in the answer, a name stands directly
before its value, and `get` stands only before a named result. Names are random letters: with fixed names, rare letters
would make long chains hard for the wrong reason.

A split is a property of the problem, not of a draw: the hash of a problem's name-free form decides it, so splits never
share a form. Level 1 has only 414 forms; its problems repeat forms under other names. `test` is for final numbers:
nothing may be chosen on it.

A toy: it shows that a phenomenon can appear, and how; it is not evidence for numbers on real tasks.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from expo.tasks.problem import DataError, Problem, Task

MOD = 23
NAMES = "abcdefghijkl"
# level: (number of unknowns, smallest and largest factor c); b is 1..9 at every level.
LEVELS: dict[int, tuple[int, int, int]] = {
    1: (1, 2, 3),
    2: (2, 2, 5),
    3: (3, 4, 8),
    4: (4, 7, 12),
    5: (5, 12, 16),
}
# Shares of the forms, in tenths of the hash range.
SPLITS: dict[str, int] = {"pretrain": 5, "stop": 1, "train": 2, "rate": 1, "test": 1}

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
THINK, ANSWER_CUE = "<think>", "<ans>"
VOCABULARY: tuple[str, ...] = (
    *(PAD, BOS, EOS, THINK, ANSWER_CUE),
    *("Q", "=", "+", "*", ";", "?", "key"),
    *("since", "plus", "gives", ",", "by", "we", "get", "."),
    *NAMES,
    *map(str, range(MOD)),
)
_FAILED_DRAWS = 20_000


@dataclass(frozen=True)
class Chain:
    """`names[0]` is `start`; `names[i]` is `(names[i-1] + b) * c mod 23` with `(b, c) = steps[i-1]`."""

    start: int
    steps: tuple[tuple[int, int], ...]
    names: str

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The start value and the value of each unknown: n + 1 numbers."""
        values = [self.start]
        for b, c in self.steps:
            values.append((values[-1] + b) * c % MOD)
        return tuple(values)

    @property
    def form(self) -> str:
        """The problem up to renaming."""
        return f"{self.start} " + " ".join(f"{b}*{c}" for b, c in self.steps)

    @cached_property
    def split(self) -> str:
        """The split that the form belongs to."""
        draw = int.from_bytes(hashlib.sha256(self.form.encode()).digest()[:8], "big") % sum(SPLITS.values())
        for split, share in SPLITS.items():
            draw -= share
            if draw < 0:
                return split
        raise AssertionError("the shares cover the hash range")

    @property
    def question(self) -> str:
        """`Q h = 4 ; a = h + 8 * 16 ; ?`."""
        links = zip(self.names, self.names[1:], self.steps, strict=False)
        rest = "".join(f"{new} = {old} + {b} * {c} ; " for old, new, (b, c) in links)
        return f"Q {self.names[0]} = {self.start} ; {rest}?"

    @property
    def answer(self) -> str:
        """Every unknown with its value: `a 8 g 8`."""
        return " ".join(f"{name} {value}" for name, value in zip(self.names[1:], self.values[1:], strict=True))

    @property
    def own_steps(self) -> list[str]:
        """The steps in the own dialect, 11 tokens each."""
        return [f"{x} + {b} = {s} * {c} get {name} {y} ;" for x, b, s, c, name, y in self._worked()]

    @property
    def expert_steps(self) -> list[str]:
        """The steps in the expert dialect, 14 tokens each."""
        return [f"since {x} plus {b} gives {s} , by {c} we get {name} {y} ." for x, b, s, c, name, y in self._worked()]

    def _worked(self) -> Iterable[tuple[int, int, int, int, str, int]]:
        for x, y, (b, c), name in zip(self.values, self.values[1:], self.steps, self.names[1:], strict=False):
            yield x, b, (x + b) % MOD, c, name, y


def draw(rng: random.Random, steps: int, low: int, high: int) -> Chain:
    """A uniformly random chain of `steps` unknowns with factors in `low..high`, from any split."""
    pairs = tuple((rng.randint(1, 9), rng.randint(low, high)) for _ in range(steps))
    return Chain(rng.randrange(MOD), pairs, "".join(rng.sample(NAMES, steps + 1)))


def draw_from(rng: random.Random, split: str, steps: int, low: int, high: int) -> Chain:
    """A uniformly random chain from `split`."""
    while (chain := draw(rng, steps, low, high)).split != split:
        pass
    return chain


def load(split: str, n: int, seed: int = 0, levels: Iterable[int] = (1, 2, 3, 4, 5)) -> Task:
    """Draw `n` different problems of one split, spread evenly over `levels` and interleaved.

    The same arguments give the same problems, and a larger `n` extends a smaller one. No two problems have
    the same question; two may share a form under different names (level 1 has few forms).

    Raises:
        DataError: for an unknown split or level, a negative or zero `n`, or more problems than the split has.
    """
    wanted = sorted(set(levels))
    if split not in SPLITS:
        raise DataError(f"chain: split: unknown split {split!r}; choose from {', '.join(SPLITS)}")
    if not wanted or not set(wanted) <= set(LEVELS):
        raise DataError(f"chain: levels: unknown level in {wanted}; choose from {sorted(LEVELS)}")
    if n < 1:
        raise DataError(f"chain: problems: must be at least 1, got {n}")
    drawn = [_draw_level(split, -(-(n - i) // len(wanted)), seed, level) for i, level in enumerate(wanted)]
    problems = tuple(drawn[i % len(wanted)][i // len(wanted)] for i in range(n))
    return Task(name="chain", problems=problems, source=f"chain:{split}:{seed}", is_toy=True)


def _draw_level(split: str, n: int, seed: int, level: int) -> list[Problem]:
    rng = random.Random(f"{split}:{seed}:{level}")
    problems: dict[str, Problem] = {}
    failed = 0
    while len(problems) < n:
        chain = draw(rng, *LEVELS[level])
        if chain.split != split or chain.question in problems:
            failed += 1
            if failed > _FAILED_DRAWS:
                raise DataError(
                    f"chain: problems: level {level} of split {split!r} has only about {len(problems)} "
                    f"different problems, but {n} were requested; request fewer or leave level {level} out"
                )
            continue
        failed = 0
        problems[chain.question] = problem_of(chain, level, where=f"chain:{split}:{seed}")
    return list(problems.values())


def problem_of(chain: Chain, level: int | None = None, where: str = "") -> Problem:
    """The `Problem` for a chain; its id is a hash of the question."""
    name = "chain-" + hashlib.sha256(chain.question.encode()).hexdigest()[:12]
    return Problem(
        id=name,
        question=chain.question,
        answer=chain.answer,
        level=level,
        expert_cot=" ".join(chain.expert_steps),
        where=f"{where}:{name}" if where else "",
    )


_NAME, _NUMBER = f"([{NAMES[0]}-{NAMES[-1]}])", r"(\d+)"
_START = re.compile(f"Q {_NAME} = {_NUMBER}")
_LINK = re.compile(f"{_NAME} = {_NAME} \\+ {_NUMBER} \\* {_NUMBER}")


@lru_cache(maxsize=4096)
def parse(question: str) -> Chain:
    """Parse the chain that a question states.

    Raises:
        DataError: if the text is not such a question (wrong grammar, broken chain, repeated name).
    """
    first, *links = question.removesuffix(" ; ?").split(" ; ")
    start = _START.fullmatch(first)
    matches = [_LINK.fullmatch(link) for link in links]
    if start and links and all(matches) and question.endswith(" ; ?"):
        names = start[1] + "".join(m[1] for m in matches if m)
        steps = tuple((int(m[3]), int(m[4])) for m in matches if m)
        chain = Chain(int(start[2]), steps, names)
        # Writing the chain again checks the rest: each link uses the name before it, and numbers are canonical.
        if chain.question == question and len(set(names)) == len(names) and chain.start < MOD:
            return chain
    raise DataError(
        f"chain: question: cannot read {question!r}; it must look like 'Q h = 4 ; a = h + 8 * 16 ; ?' with "
        f"distinct names {NAMES[0]}..{NAMES[-1]}, each link using the name before it"
    )


def own_cot(problem: Problem) -> str:
    """The gold CoT in the policy's own dialect, without the answer."""
    return " ".join(parse(problem.question).own_steps)


def question_prompt(problem: Problem) -> str:
    """The plain prompt: `<bos> {question} <think>`."""
    return f"{BOS} {problem.question} {THINK}"


def hinted_prompt(problem: Problem, answer: str | None = None) -> str:
    """The answer-conditioned prompt `<bos> {question} key {answer} <think>`; `answer` may be a wrong one."""
    return f"{BOS} {problem.question} key {problem.answer if answer is None else answer} {THINK}"


def token_limit(problem: Problem) -> int:
    """The tokens of the longest right completion, in the expert dialect: 16n + 2."""
    return 16 * len(parse(problem.question).steps) + 8


def check_answer(problem: Problem, text: str) -> bool:
    """Whether the text after the last `<ans>`, up to `<eos>` or the end, is exactly the answer."""
    _, cue, rest = text.rpartition(ANSWER_CUE)
    return bool(cue) and rest.partition(EOS)[0].split() == parse(problem.question).answer.split()


def check_steps(problem: Problem, text: str) -> list[tuple[str, bool]]:
    """The steps of a completion's CoT, each with whether it is true for this problem.

    The first word selects the dialect. The i-th step is true if it equals the true chain's i-th step word for word:
    values carried on from an earlier mistake are false, and so is a right result after a wrong sum. An unfinished last
    step and steps past the n-th are false; omitted steps are not listed.
    """
    words = text.rpartition(THINK)[2].partition(ANSWER_CUE)[0].partition(EOS)[0].split()
    chain = parse(problem.question)
    expert = words[:1] == ["since"]
    gold = chain.expert_steps if expert else chain.own_steps
    steps = re.findall(r"[^.]+\.?" if expert else r"[^;]+;?", " ".join(words))
    return [(step.strip(), i < len(gold) and step.strip() == gold[i]) for i, step in enumerate(steps) if step.strip()]


def share_right(problem: Problem, text: str) -> float:
    """True steps divided by the steps needed, or by the steps written if those are more; between 0 and 1."""
    steps = check_steps(problem, text)
    return sum(true for _, true in steps) / max(len(steps), len(parse(problem.question).steps))
