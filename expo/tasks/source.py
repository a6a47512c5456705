"""Turn the rows of a file or a hub dataset into a `Task`. A row that cannot be used becomes a `Skip`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

from expo.tasks.definition import Selection
from expo.tasks.files import read_lines
from expo.tasks.problem import DataError, Problem, Skip, Task, in_lines
from expo.tasks.row import Row, RowError


@dataclass(frozen=True)
class Hub:
    """A dataset on the hub, pinned to a commit so that the rows never change; `row` is an example row, as JSON."""

    repo: str
    config: str
    revision: str | None = None
    row: str = ""


def benchmark(name: str, split: str, hub: Hub) -> tuple[str, Iterator[Row | Skip]]:
    """The name of a benchmark's source, and its rows.

    They come from `<name>/<split>.jsonl` in the folder EXPO_DATA if it is set, else from the hub. A split is never
    replaced by another, and a missing file never by the hub.

    Raises:
        DataError: if the split is missing, or the hub cannot be reached.
    """
    if folder := os.environ.get("EXPO_DATA"):
        path = Path(folder).expanduser() / name / f"{split}.jsonl"
        if not path.is_file():
            splits = ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl"))) or "none"
            raise DataError(
                f"{path}: no such file (splits of {name} in EXPO_DATA: {splits}); "
                f"put it there, choose another split, or unset EXPO_DATA to read {hub.repo} from the hub\n"
                f"  Each line holds a row: {hub.row}"
            )
        # The folder's location is private to this machine, but records and dataset cards are shared.
        return f"EXPO_DATA/{name}/{split}.jsonl", read_lines(path)
    return f"{hub.repo} ({hub.config}, {split})", _read_hub(name, split, hub)


def collect(name: str, source: str, rows: Iterable[Row | Skip], parse: Callable[[Row], Problem]) -> Task:
    """Build a task from rows, each read by `parse`. Among problems with the same id, the first is kept.

    Raises:
        DataError: if no row is usable; the message shows the first skips.
    """
    problems: dict[str, Problem] = {}
    skipped: list[Skip] = []
    for row in rows:
        if isinstance(row, Skip):
            skipped.append(row)
            continue
        try:
            problem = parse(row)
        except RowError as bad:
            skipped.append(Skip(row.where, bad.field, bad.reason))
            continue
        if taken := problems.get(problem.id):
            skipped.append(_duplicate(problem, taken))
            continue
        problems[problem.id] = problem
        skipped += row.notices
    if not problems:
        first = "".join(f"\n  {line}" for line in in_lines(skipped, 3))
        which = "its only row is not" if len(skipped) == 1 else f"none of the {len(skipped)} rows is"
        raise DataError(f"{source}: " + (f"{which} usable:{first}" if skipped else "no rows"))
    return Task(name=name, problems=tuple(problems.values()), skipped=tuple(skipped), source=source)


def _duplicate(problem: Problem, first: Problem) -> Skip:
    if problem.question == first.question:
        return Skip(problem.where, "question", f"the same as in {first.where}; the first is kept")
    return Skip(problem.where, "id", f"{problem.id!r} is already used by {first.where}; the first is kept")


def _read_hub(name: str, split: str, hub: Hub) -> Iterator[Row | Skip]:
    # Imported here because it takes seconds, and a local file does not need it.
    import datasets

    try:
        data = datasets.load_dataset(hub.repo, hub.config, split=split, revision=hub.revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        offline = ", in offline mode (HF_HUB_OFFLINE)" if datasets.config.HF_HUB_OFFLINE else ""
        raise DataError(
            f"{hub.repo}, config {hub.config}, split {split}: cannot be read from the hub{offline}: "
            f"{shorten(str(error), 300)}\n  Without the hub, set EXPO_DATA to a folder that has "
            f"{name}/{split}.jsonl; each line holds a row: {hub.row}"
        ) from error
    for number, fields in enumerate(data):
        yield Row(f"{hub.repo}/{hub.config}/{split}:{number}", number, fields)


def selected(task: Task, selection: Selection) -> Task:
    """Choose problems of a task, without those whose answer cannot be read; each of these is recorded as a skip."""
    task = task.choose(selection.problems, selection.seed, selection.levels)
    if selection.can_parse is None:
        return task
    bad = [p for p in task.problems if not selection.can_parse(p.answer)]
    skips = [
        Skip(p.where or p.id, "answer", f"the grader cannot read {p.answer!r}, so nothing could be graded against it")
        for p in bad
    ]
    readable = tuple(p for p in task.problems if p not in bad)
    return replace(task, problems=readable, skipped=(*task.skipped, *skips)).choose(None)
