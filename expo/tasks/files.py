"""Rows of a user's data: JSON lines, a JSON array, CSV, parquet, a folder of `save_to_disk`, or a hub dataset."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from textwrap import shorten
from typing import Any, NoReturn

from expo.tasks.problem import DataError, Skip
from expo.tasks.row import Row, kind
from expo.text import plural

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?::(?P<split>[\w.-]+))?")
# Traces of TeX whose backslash JSON read as the start of an escape: \frac becomes a form feed and "rac".
_EATEN = re.compile(
    r"[\x08\x0c](?=[a-zA-Z])"
    r"|\t(?=(?:ext|times|imes|heta|an|au|o|frac|riangle|tfrac|op)(?:bf|it|rm)?(?![a-z]))"
    r"|\n(?=(?:eq|abla|eg|leq|parallel|mid|subseteq)(?![a-z]))|\n(?=u(?=[ _^}=$]))"
    r"|\r(?=(?:ho|ight|angle|floor|ceil|vert)(?![a-z]))"
)
_ESCAPES = {"\x08": "b", "\x0c": "f", "\t": "t", "\n": "n", "\r": "r"}


def read_rows(data: str, flag: str = "--data") -> Iterator[Row | Skip]:
    """Read the rows of a source, one at a time; `flag` is the flag that gives the source.

    A path that does not exist and looks like `owner/name`, `owner/name:split` or `owner/name:config:split` is a dataset
    on the hub; the default split is `test`. If `owner` is also a folder here, the split must be given.

    Raises:
        DataError: if it is missing, unreadable, or of an unknown kind.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        return _saved(path)
    is_file_name = data.lower().removesuffix(".gz").endswith(SUFFIXES)
    if not path.exists() and not is_file_name and (hub := _HUB.fullmatch(data)):
        if path.parent.is_dir() and ":" not in data:
            raise DataError(
                f"{data}: {path.parent}/ is a folder here without {path.name}; to use a dataset on the hub, "
                f"add its split: {data}:test"
            )
        return _hub(hub["repo"], hub["config"], hub["split"], flag)
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ".jsonl"
    if suffix == ".json":
        return _array(path)
    if suffix in (".csv", ".tsv"):
        return _csv(path, "\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        return _parquet(path)
    return read_lines(path)


def read_lines(path: Path) -> Iterator[Row | Skip]:
    """Read the rows of a JSON-lines file in UTF-8, with or without gzip. Blank lines and a byte-order mark are ignored.

    Raises:
        DataError: if the file is missing, a folder or unreadable.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line, raw in enumerate(file, 1):
                if line == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                if raw := raw.strip():
                    yield _parse(raw, f"{path}:{line}", number)
                    number += 1
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder; give the .jsonl file in it") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def eaten(text: str) -> str | None:
    r"""What JSON made of TeX with single backslashes, and the fix; None if there is no trace of it."""
    match = _EATEN.search(text)
    if match is None:
        return None
    escape = _ESCAPES[match[0]]
    rest = re.compile("[a-zA-Z]+").match(text, match.end())
    name = escape + (rest[0] if rest else "")
    return rf"JSON read the \{escape} of \{name} as one character; write \\{name} in the file, with two backslashes"


def _parse(raw: bytes, where: str, number: int) -> Row | Skip:
    try:
        value = json.loads(raw.decode(), parse_constant=_no_constant, parse_float=Decimal)
    except UnicodeDecodeError as error:
        return Skip(where, "line", f"not UTF-8 (byte {raw[error.start]:#04x}); save the file as UTF-8")
    except json.JSONDecodeError as error:
        return Skip(where, "line", f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, ArithmeticError, RecursionError) as error:
        return Skip(where, "line", f"cannot read this JSON: {error}")
    if not isinstance(value, dict):
        return Skip(where, "line", f"{kind(value)}, not an object; write one object, {{...}}, per line")
    return _of_json(where, number, value)


def _of_json(where: str, number: int, value: dict[str, Any]) -> Row:
    spoiled = {name: why for name, text in value.items() if isinstance(text, str) and (why := eaten(text))}
    return Row(where, number, value, spoiled=spoiled)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value; write null")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).removeprefix(codecs.BOM_UTF8).decode()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _array(path: Path) -> Iterator[Row | Skip]:
    text = _text(path)
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=Decimal)
    except json.JSONDecodeError as error:
        # JSON lines in a file named .json.
        if error.msg == "Extra data":
            yield from read_lines(path)
            return
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise DataError(f"{path}: cannot read this JSON: {error}") from None
    if not isinstance(value, list):
        raise DataError(f"{path}: {kind(value)}, not a list of rows; write [{{...}}, {{...}}] or one object per line")
    for number, row in enumerate(value):
        where = f"{path}:[{number}]"
        if isinstance(row, dict):
            yield _of_json(where, number, row)
        else:
            yield Skip(where, "row", f"{kind(row)}, not an object")


def _csv(path: Path, delimiter: str) -> Iterator[Row | Skip]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    number = 0
    try:
        header = next(reader, None)
        if not header:
            raise DataError(f"{path}: the file is empty; its first line must name the columns")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise DataError(f"{path}:1: the column {twice!r} appears twice; rename one")
        for values in reader:
            where = f"{path}:{reader.line_num}"
            if not values:
                continue
            if len(values) != len(header):
                cells, columns = plural(len(values), "cell"), plural(len(header), "column")
                yield Skip(where, "row", f"{cells}, but the header names {columns}")
            else:
                yield Row(where, number, {n: v if v.strip() else None for n, v in zip(header, values, strict=True)})
            number += 1
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not valid CSV: {error}") from None


def _parquet(path: Path) -> Iterator[Row | Skip]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            rows = pq.read_table(file).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None
    for number, row in enumerate(rows):
        yield Row(f"{path}:[{number}]", number, row)


def _saved(path: Path) -> Iterator[Row | Skip]:
    import datasets

    if not any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        raise DataError(
            f"{path}: this folder was not written by save_to_disk; give a file in it "
            f"({', '.join(SUFFIXES)}, or one of these with .gz)"
        )
    try:
        data = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read by datasets.load_from_disk: {error}") from None
    if isinstance(data, datasets.DatasetDict):
        raise DataError(
            f"{path}: has the splits {', '.join(data)}; give the folder of one of them, such as "
            f"{path / next(iter(data))}"
        )
    for number, fields in enumerate(data):
        yield Row(f"{path}:[{number}]", number, fields)


def _hub(repo: str, config: str | None, split: str | None, flag: str) -> Iterator[Row | Skip]:
    import datasets

    if split is None and config is not None:
        config, split = None, config
    split = split or "test"
    try:
        data = datasets.load_dataset(repo, config, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{repo}: no such file here, and it cannot be read from the hub (config {config or 'default'}, "
            f"split {split}): {shorten(str(error), 300)}\n  Without the hub, give {flag} a file"
        ) from error
    for number, fields in enumerate(data):
        yield Row(f"{repo}:{split}:{number}", number, fields)
