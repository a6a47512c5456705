r"""MATH: competition problems in five levels and seven subjects (Hendrycks et al. 2021).

The worked solutions have no marked end: the answer is in a `\boxed{}` somewhere in the last sentences. Source:
arXiv:2103.03874, under the MIT licence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from expo.tasks.definition import TaskDefinition
from expo.tasks.problem import Problem, Task
from expo.tasks.row import Row, RowError, digest
from expo.tasks.source import Hub, benchmark, collect, selected

HUB = Hub(
    "DigitalLearningGmbH/MATH-lighteval",
    "default",
    "0530c78699ea5e8eb5530600900e1f328b48acad",
    r'{"problem": "What is $7+5$?", "level": "Level 1", "type": "Algebra", "solution": "It is $7+5=\\boxed{12}$."}',
)

_OPEN = r"(?P<open>\\\[|\\\(|\\begin\{|\[asy\])"
_CLOSE = r"(?P<close>\\\]|\\\)|\\end\{[^}]*\}|\[/asy\])"
_PIECES = re.compile(
    rf"(?P<escaped>\\[\\$])|{_OPEN}|{_CLOSE}|(?P<dollar>\$\$?)|(?P<stop>[.!?][)\"'”’]*(?=\s))|(?P<paragraph>\n\s*\n)"
)
_CAPITAL = re.compile(r"\s*[A-Z]")
_RELATION = re.compile(r"[=<>]|\\(?:equiv|approx|cong|leq?|geq?|Rightarrow|implies|iff)(?![a-zA-Z])")
_NAMED = re.compile(r"(?:^|[\s$(\[])\\?[A-Za-z]+\s*&?=\s*$")


@dataclass(frozen=True)
class _Box:
    start: int
    end: int
    content: str


def load(split: str = "test") -> Task:
    r"""Read a split (train has 7,500 rows, test 5,000) from the folder EXPO_DATA if it is set, else from the hub.

    `level` is the 3 of "Level 3", `subject` the type, `answer` the content of the last `\boxed{}` as written. The id is
    a hash of the question, so that a problem keeps its id in any subset. Besides malformed rows, "Level ?" is skipped,
    and so are solutions that box different answers (the three values asked for, say), for which the last box alone
    would be a wrong ground truth. `expert_cot` describes what is kept of the solution.

    Raises:
        DataError: if the split is missing (test rows never replace train), the hub cannot be reached, or no row is
            usable.
    """
    source, rows = benchmark("math", split, HUB)
    return collect("math", source, rows, lambda row: _problem(row, split))


def expert_cot(solution: str) -> str:
    r"""The solution without its final-answer statement and without boxes.

    The sentence of the first box ends the CoT; checks and second solutions after it are dropped. If that sentence only
    states the answer ("Hence there are $\boxed{12}$ ways.", "So $x=\boxed{2}$."), it is dropped too, unless nothing
    precedes it. If it is a step of its own, with a relation sign before the box ("There are $100-82=\boxed{18}$ of
    them."), it is kept, with `\boxed{X}` as X: the last step and its result are reasoning, as they are in GSM8K's
    solutions and in what a model writes.

    Raises:
        RowError: if there is no box, or its brace is never closed.
    """
    boxes = _boxes(solution)
    starts = _sentence_starts(solution)
    start = max(s for s in starts if s <= boxes[0].start)
    end = min((s for s in starts if s >= boxes[0].end), default=len(solution))
    before = solution[:start].strip()
    lead = _NAMED.sub("", solution[start : boxes[0].start])
    if before and not _RELATION.search(lead):
        return before
    kept, at = "", 0
    for box in boxes:
        if box.end <= end:
            kept += solution[at : box.start] + box.content
            at = box.end
    return (kept + solution[at:end]).strip()


def _problem(row: Row, split: str) -> Problem:
    question, solution = row.text("problem"), row.text("solution")
    # MATH-500 has only the number.
    level = str(row.fields["level"]) if isinstance(row.fields.get("level"), int) else row.text("level")
    number = re.fullmatch(r"(?:Level )?([1-5])", level)
    if not number:
        raise RowError("level", f'{level!r} is not one of "Level 1" to "Level 5"')
    boxes = _boxes(solution)
    answer = boxes[-1].content.strip()
    if not answer:
        raise RowError("solution", "the last \\boxed is empty")
    if len({_bare(box.content) for box in boxes}) > 1:
        values = ", ".join(box.content for box in boxes)
        raise RowError(
            "solution", f"the solution boxes different answers ({values}), so the last one is not the whole answer"
        )
    return Problem(
        id=f"math-{split}-{digest(question)}",
        question=question,
        answer=answer,
        level=int(number[1]),
        expert_cot=expert_cot(solution),
        subject=row.optional_text("type" if "type" in row.fields else "subject"),
        where=row.where,
    )


def _boxes(solution: str) -> list[_Box]:
    r"""Every `\boxed{X}`, or `\boxed X` up to the next space or dollar sign; `\fbox` if there is no other."""
    for command in ("boxed", "fbox"):
        boxes: list[_Box] = []
        for match in re.finditer(rf"\\{command}(?![a-zA-Z])\s*", solution):
            if boxes and match.start() < boxes[-1].end:
                continue
            at = match.end()
            if solution.startswith("{", at):
                end = _closing_brace(solution, at)
                content = solution[at + 1 : end - 1]
            else:
                content = re.split(r"[\s$]", solution[at:], maxsplit=1)[0].rstrip(".,")
                end = at + len(content)
            boxes.append(_Box(match.start(), end, content))
        if boxes:
            return boxes
    raise RowError("solution", "no \\boxed answer in the solution")


def _closing_brace(text: str, start: int) -> int:
    """The position after the brace that closes the one at `start`; escaped braces are ignored."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise RowError("solution", "the brace of \\boxed is never closed")


def _bare(answer: str) -> str:
    r"""An answer without what does not change its value: spaces, braces, `\left`, the kind of fraction."""
    return re.sub(r"[\s{}]|\\[!,;]|\\(?:left|right)(?![a-z])|(?<=\\)[dt](?=frac)", "", answer)


def _dangling(text: str) -> set[int]:
    """Dollar signs that do not delimit a formula.

    In a paragraph with an odd number of dollar signs, it is the one whose removal leaves the least prose in formulas.
    """
    found: set[int] = set()
    dollars: list[re.Match[str]] = []
    for piece in [*_PIECES.finditer(text), None]:
        if piece is None or piece.lastgroup == "paragraph":
            if len(dollars) % 2:
                found.add(min(dollars, key=lambda d: _prose(text, [x for x in dollars if x is not d])).start())
            dollars = []
        elif piece.lastgroup == "dollar":
            dollars.append(piece)
    return found


def _prose(text: str, dollars: list[re.Match[str]]) -> int:
    """The number of words in the formulas between these dollar signs."""
    formulas = [text[a.end() : b.start()] for a, b in zip(dollars[::2], dollars[1::2], strict=True)]
    return sum(len(re.findall(r"(?<![\\\w])[a-zA-Z]{2,}", formula)) for formula in formulas)


def _sentence_starts(text: str) -> list[int]:
    """Where sentences start, outside formulas, environments and drawings; 0 is the first.

    A sentence ends at its full stop, which in MATH often stands inside the formula that closes it, and at a
    display, drawing or finished paragraph after which a capital letter follows.
    """
    depth, in_dollars, starts = 0, False, [0]
    no_formula = _dangling(text)
    for piece in _PIECES.finditer(text):
        what, before = piece.lastgroup, text[: piece.start()].rstrip()
        if piece.start() in no_formula:
            continue
        if what == "open":
            depth += 1
        elif what == "dollar" and not in_dollars:
            depth, in_dollars = depth + 1, True
        elif what in ("close", "dollar"):
            depth -= 1
            in_dollars = in_dollars and what != "dollar"
            display = what == "close" and (piece[0] == "[/asy]" or _CAPITAL.match(text, piece.end()))
            if depth == 0 and (before.endswith((".", "!", "?")) or display):
                starts.append(piece.end())
        elif depth == 0 and (what == "stop" or (what == "paragraph" and before.endswith(tuple(".!?:)]$}")))):
            starts.append(piece.end())
    return starts


TASK = TaskDefinition(
    name="math", load=lambda chosen: selected(load(chosen.split), chosen), licence="mit", reads_data_folder=True
)
