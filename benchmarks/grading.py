"""How far the grader of texts can be trusted: on labelled cases by kind, beside plain math-verify, and how fast it is.

`python -m benchmarks.grading` writes its table into docs/GRADING.md.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from expo.grading.answers import AnswerGrader
from expo.grading.math_verify import MathVerify

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "GRADING.md"
BEGIN, END = "<!-- table: python -m benchmarks.grading -->\n", "<!-- end of table -->"
Verdicts = Callable[[str, str], str]


def cases() -> list[dict[str, str]]:
    """The labelled rows of the tests: by kind, and the golden table."""
    folder = ROOT / "tests" / "grading"
    rows = [json.loads(line) for line in (folder / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    golden = [json.loads(line) for line in (folder / "golden_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    rows += [
        {"kind": "the golden table", "gold": r["gold"], "completion": r["text"], "expected": r["status"]}
        for r in golden
    ]
    return rows


def judged(rows: list[dict[str, str]], verdict: Verdicts, name: str) -> tuple[list[str], float]:
    """A verdict on each row, and the rows a second."""
    start = time.perf_counter()
    verdicts = [verdict(row["gold"], row["completion"]) for row in tqdm(rows, desc=name)]
    return verdicts, len(rows) / (time.perf_counter() - start)


def table(rows: list[dict[str, str]], columns: dict[str, list[str]]) -> Iterator[str]:
    """By kind: rows, and of each grader the wrong ones accepted and the right ones not accepted."""
    head = [f"{name}: wrong accepted | {name}: right refused" for name in columns]
    yield f"| kind | wrong, right | {' | '.join(head)} |"
    yield f"| --- | --- |{' --- | --- |' * len(columns)}"
    kinds: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        kinds[row["kind"]].append(i)
    for kind, places in [*sorted(kinds.items()), ("**all**", list(range(len(rows))))]:
        right = [i for i in places if rows[i]["expected"] == "correct"]
        wrong = [i for i in places if rows[i]["expected"] != "correct"]
        cells = [f"{len(wrong)}, {len(right)}"]
        for verdicts in columns.values():
            cells += [
                str(sum(verdicts[i] == "correct" for i in wrong)),
                str(sum(verdicts[i] != "correct" for i in right)),
            ]
        yield f"| {kind} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, and write the table."""
    rows = cases()
    with AnswerGrader() as grader:
        grader.can_parse("1")
        ours, speed = judged(rows, lambda gold, text: str(grader.grade(gold, text).status), "ours")
    with MathVerify() as plain:
        theirs, their_speed = judged(rows, plain.grade, "math-verify")
    text = "\n".join(table(rows, {"ours": ours, "math-verify": theirs}))
    print(f"{text}\n\n{speed:.0f} grades a second, math-verify {their_speed:.0f}, in one run")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
