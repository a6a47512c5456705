"""How reliable the grader of texts is on labelled cases by kind, beside plain math-verify, and how fast it is.

`python -m benchmarks grading` measures its speed; `python -m benchmarks.grading` writes the table that docs/GRADING.md
shows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from tqdm import tqdm

from benchmarks.routes import MOST_ROUNDS, ROOT, Comparison, Route, Work
from benchmarks.worker import Turn
from expo.grading.answers import AnswerGrader
from expo.grading.math_verify import MathVerify

TABLE = ROOT / "benchmarks" / "grading-table.md"
EVERY = MOST_ROUNDS


def comparisons() -> list[Comparison]:
    """Labelled texts, others in each round, since both remember what they have seen."""
    work = f"{len(cases()) // EVERY} labelled texts of the tests, others in each round"
    routes = (Route("expo", by_grader), Route("math-verify", by_math_verify, "math-verify"))
    return [Comparison("grading/texts", work, routes, facts=_agreement)]


def _agreement(ours: list[Turn], peer: list[Turn]) -> dict[str, float]:
    labels = [row["expected"] for i in range(len(ours)) for row in _texts(i)]
    own, theirs = ([verdict for turn in turns for verdict in turn.value] for turns in (ours, peer))
    both = [(a, b) for a, b in zip(own, theirs, strict=True) if {a, b} <= {"correct", "wrong"}]
    milliseconds = [1e3 * sum(turn.seconds for turn in turns) / len(labels) for turns in (ours, peer)]
    return {
        "texts": len(labels),
        "ms a text, ours": milliseconds[0],
        "ms a text, the peer": milliseconds[1],
        "texts that both decide": len(both),
        "of these alike": sum(a == b for a, b in both),
        "as labelled, ours": sum(a == b for a, b in zip(own, labels, strict=True)),
        "as labelled, the peer": sum(a == b for a, b in zip(theirs, labels, strict=True)),
    }


def _texts(turn: int) -> list[dict[str, str]]:
    return cases()[turn::EVERY]


def by_grader() -> Work:
    """A verdict on each text of a round, by this project's grader."""
    grader, rounds = AnswerGrader(), map(_texts, range(EVERY))
    grader.can_parse("1")
    return lambda: [str(grader.grade(row["gold"], row["completion"]).status) for row in next(rounds)]


def by_math_verify() -> Work:
    """The same with math-verify alone."""
    plain, rounds = MathVerify(), map(_texts, range(EVERY))
    plain.grade("1", "The answer is 1")
    return lambda: [plain.grade(row["gold"], row["completion"]) for row in next(rounds)]


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


def table(rows: list[dict[str, str]], columns: dict[str, list[str]]) -> Iterator[str]:
    """By kind: how many rows are wrong and right, and of each grader the wrong ones accepted and right ones refused."""
    yield f"| kind | rows | {' | '.join(columns)} |"
    yield f"| --- | --: |{' --: |' * len(columns)}"
    kinds: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        kinds[row["kind"]].append(i)
    for kind, places in [*sorted(kinds.items()), ("**all**", list(range(len(rows))))]:
        right = [i for i in places if rows[i]["expected"] == "correct"]
        wrong = [i for i in places if rows[i]["expected"] != "correct"]
        cells = [f"{len(wrong)}, {len(right)}"]
        for verdicts in columns.values():
            accepted, refused = (verdicts[i] == "correct" for i in wrong), (verdicts[i] != "correct" for i in right)
            cells.append(f"{sum(accepted)}, {sum(refused)}")
        yield f"| {kind} | {' | '.join(cells)} |"


def main() -> None:
    """Judge all texts, and write the table."""
    rows = cases()
    with AnswerGrader() as grader, MathVerify() as plain:
        columns = {"ours": lambda gold, text: str(grader.grade(gold, text).status), "math-verify": plain.grade}
        found = {
            name: [verdict(r["gold"], r["completion"]) for r in tqdm(rows, desc=name)]
            for name, verdict in columns.items()
        }
    text = "\n".join(table(rows, found))
    print(text)
    TABLE.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
