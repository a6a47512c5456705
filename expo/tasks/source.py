"""From the rows of a file or a hub dataset to a `Task`. A row that cannot be used becomes a named `Skip`."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from expo.tasks.definition import Selection
from expo.tasks.problem import DataError, Problem, Skip, Task


class RowError(ValueError):
    """A row that cannot be used. Raised while a row is read; `collect` turns it into a `Skip`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True)
class Row:
    """One object of the source. `number` counts the source's rows from 0, unreadable ones included."""

    where: str
    number: int
    fields: dict[str, Any]
    notices: list[Skip] = field(default_factory=list)

    def text(self, name: str) -> str:
        """The stripped text of a field that must be there.

        Raises:
            RowError: if it is missing, empty or no text.
        """
        value = self.fields.get(name)
        if value is None:
            raise RowError(name, f"missing; the row has the fields {', '.join(self.fields)}")
        if not isinstance(value, str):
            raise RowError(name, f"{kind(value)}, not text; write it in quotes")
        if not value.strip():
            raise RowError(name, "empty")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RowError(name, "holds half of a surrogate pair (a \\ud800 to \\udfff escape)") from None
        return value.strip()

    def optional_text(self, name: str) -> str | None:
        """The text of a field that may be missing or null; an unusable one is noted and left out."""
        if self.fields.get(name) is None:
            return None
        try:
            return self.text(name)
        except RowError as bad:
            self.notices.append(Skip(self.where, name, f"{bad.reason}; the problem is kept without it"))
            return None


@dataclass(frozen=True)
class Hub:
    """A dataset on the hub, at one commit, so that the same rows come back tomorrow."""

    repo: str
    config: str
    revision: str | None = None


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return "null" if value is None else names.get(type(value), "an object")


def digest(question: str) -> str:
    """An id for a question that stays when other rows come or go; runs of white space count as one space."""
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()[:16]


def read_lines(path: Path) -> Iterator[Row | Skip]:
    """Rows of a JSON-lines file in UTF-8, one at a time. Blank lines and a byte-order mark are passed over.

    Raises:
        DataError: if the file is missing, a folder or unreadable.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for line, raw in enumerate(file, 1):
                if line == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                if raw := raw.strip():
                    yield _parse(raw, f"{path}:{line}", number)
                    number += 1
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; name the .jsonl file in it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def benchmark(name: str, split: str, hub: Hub) -> tuple[str, Iterator[Row | Skip]]:
    """The name of a benchmark's source, and its rows.

    They come from `<name>/<split>.jsonl` in the folder EXPO_DATA if it is set, else from the hub. A split is
    never replaced by another, nor a missing file by the hub.

    Raises:
        DataError: if the split is not there, or the hub cannot be reached.
    """
    if folder := os.environ.get("EXPO_DATA"):
        path = Path(folder) / name / f"{split}.jsonl"
        if not path.is_file():
            splits = ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl"))) or "none"
            raise DataError(
                f"{path}: no such file (splits of {name} in EXPO_DATA: {splits}); "
                f"put it there, choose another split, or unset EXPO_DATA to read {hub.repo} from the hub"
            )
        # Where the folder lies is this machine's affair; records and dataset cards are passed on.
        return f"EXPO_DATA/{name}/{split}.jsonl", read_lines(path)
    return f"{hub.repo} ({hub.config}, {split})", _read_hub(name, split, hub)


def collect(name: str, source: str, rows: Iterable[Row | Skip], parse: Callable[[Row], Problem]) -> Task:
    """The task that the rows make, each read by `parse`. Of problems with one id, the first is kept.

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
        first = "".join(f"\n  {skip}" for skip in skipped[:3])
        raise DataError(f"{source}: " + (f"no usable row of {len(skipped)}:{first}" if skipped else "no rows"))
    return Task(name=name, problems=tuple(problems.values()), skipped=tuple(skipped), source=source)


def _duplicate(problem: Problem, first: Problem) -> Skip:
    if problem.question == first.question:
        return Skip(problem.where, "question", f"the same as that of {first.where}; the first is kept")
    return Skip(problem.where, "id", f"{problem.id!r} is taken by {first.where}; the first is kept")


def _parse(raw: bytes, where: str, number: int) -> Row | Skip:
    try:
        value = json.loads(raw.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        return Skip(where, "line", f"not UTF-8 (byte {raw[error.start]:#04x}); save the file as UTF-8")
    except json.JSONDecodeError as error:
        return Skip(where, "line", f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Skip(where, "line", f"not JSON that can be read: {error}")
    if not isinstance(value, dict):
        return Skip(where, "line", f"{kind(value)}, not an object; write one object, {{...}}, in each line")
    return Row(where, number, value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value; write null")


def _read_hub(name: str, split: str, hub: Hub) -> Iterator[Row | Skip]:
    # Imported here: it takes seconds, and a local file needs none of it.
    import datasets

    try:
        data = datasets.load_dataset(hub.repo, hub.config, split=split, revision=hub.revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        offline = ", in offline mode (HF_HUB_OFFLINE)" if datasets.config.HF_HUB_OFFLINE else ""
        raise DataError(
            f"{hub.repo}, config {hub.config}, split {split}: not read from the hub{offline}: {error}\n"
            f"  No hub? Set EXPO_DATA to a folder that has {name}/{split}.jsonl, in the columns of {hub.repo}"
        ) from error
    for number, fields in enumerate(data):
        yield Row(f"{hub.repo}/{hub.config}/{split}:{number}", number, fields)


def selected(task: Task, selection: Selection) -> Task:
    """The problems chosen of a task, without those whose answer cannot be read; each of these is a named skip."""
    task = task.choose(selection.problems, selection.seed, selection.levels)
    if selection.can_parse is None:
        return task
    bad = [p for p in task.problems if not selection.can_parse(p.answer)]
    skips = [Skip(p.where or p.id, "answer", f"{p.answer!r} cannot be read, so nothing can be graded") for p in bad]
    readable = tuple(p for p in task.problems if p not in bad)
    return replace(task, problems=readable, skipped=(*task.skipped, *skips)).choose(None)
