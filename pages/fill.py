"""Words and numbers apart: texts with `{{function argument key=value}}` where a number stands, and what is typed."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType

Functions = Mapping[str, Callable[..., str]]
WIDTH = 120
_PLACEHOLDER = re.compile(r"\{\{(\w+)([^{}]*)\}\}")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
# What holds digits and is no number: code, addresses, comments, and names with a number in them.
_NO_NUMBERS = (
    _FENCE,
    re.compile(r"<!--.*?-->", re.S),
    _PLACEHOLDER,
    re.compile(r"`[^`]*`"),
    re.compile(r"\]\([^)]*\)"),
    re.compile(
        r"\b(?:Figures?|Figs?|Tables?|Property|Properties|Example|Lemma|Eq|Section|Appendix|Apache|CUDA|Python)"
        r"[ \n-][A-Z]?[.\d]+(?:(?:,| and| to)\s[\d.]+)*"
    ),
    re.compile(r"\b[Ll]evels?\s\d(?:(?:,| and| to| or)\s\d)*"),
    re.compile(r"(?:[^\W\d]|[@*_])[\w@.+-]*"),
    re.compile(r"^\s*\d+\.\s", re.M),
)
_NUMBER = re.compile(r"\d[\d.,]*(?<![.,])")


def functions_of(*modules: ModuleType) -> Functions:
    """The public functions of modules that return text, by their names."""
    return {
        name: f
        for module in modules
        for name, f in vars(module).items()
        if getattr(f, "__module__", "") == module.__name__ and getattr(f, "__annotations__", {}).get("return") == "str"
    }


class PageError(Exception):
    """A text of a page asks for what there is not."""


def fill(words: str, functions: Functions, where: str = "") -> str:
    """The words with what their placeholders stand for.

    Raises:
        PageError: for a function that there is not, or one that fails; named with `where` and the placeholder.
    """

    def filled(match: re.Match[str]) -> str:
        name, arguments = match[1], shlex.split(match[2])
        try:
            named = [a.split("=", 1) for a in arguments if re.match(r"\w+=", a)]
            return functions[name](*(a for a in arguments if not re.match(r"\w+=", a)), **dict(named)) or "\0"
        except (PageError, KeyError, TypeError, ValueError, OSError) as cause:
            raise PageError(f"{where}: {' '.join(match[0].split())}: {type(cause).__name__}: {cause}") from cause

    # A line of placeholders that stand for nothing is no line, and a paragraph of them is none.
    return re.sub(r"^\0+\n\n?", "", _PLACEHOLDER.sub(filled, words), flags=re.M).replace("\0", "")


def wrapped(text: str) -> str:
    """The text with paragraphs and items of lists broken at WIDTH; code, tables, headings and comments as they are."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else _wrapped(part) for part in parts)


def _wrapped(text: str) -> str:
    return "\n".join(line for block in _blocks(text.split("\n")) for line in block)


def _blocks(lines: Iterable[str]) -> Iterable[list[str]]:
    """Each paragraph or item, broken anew; any other line by itself."""
    open_: list[str] = []
    for line in lines:
        begins = re.match(r"\s*(?:[-*]|\d+\.)\s", line)
        apart = not line.strip() or re.match(r"\s*\||[#<>]|!\[|\[!\[", line)
        if begins or apart:
            if open_:
                yield _broken(open_)
            open_ = []
        if apart:
            yield [line]
        else:
            open_.append(line)
    if open_:
        yield _broken(open_)


def _broken(lines: list[str]) -> list[str]:
    first = re.match(r"\s*(?:(?:[-*]|\d+\.)\s)?", lines[0])
    assert first
    text = " ".join(line.strip() for line in lines)[len(first[0].lstrip()) :]
    # What stays on one line: an item would begin at a number with a dot, and code is searched for as it stands.
    text = re.sub(r"`[^`]*`", lambda m: m[0].replace(" ", "\0"), text)
    text = re.sub(r"(?<=\d) (?=%)", "\0", text)
    text = re.sub(r" (?=(?:\d+\.|[-+*#>])(?: |$))", "\0", text)
    broken = textwrap.wrap(text, WIDTH, initial_indent=first[0], subsequent_indent=" " * len(first[0]),
                           break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return [line.replace("\0", " ") for line in broken]


def typed_numbers(words: str, allowed: Iterable[str] = ()) -> list[str]:
    """The numbers of a text that nothing backs, each with its line.

    Args:
        words: a text with placeholders.
        allowed: patterns of what may stand with its numbers; a space in them is any white space.

    0 and 1 are ends of scales, and may stand.
    """

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "~", match[0])

    bare = words
    for pattern in allowed:
        bare = re.sub(pattern.replace(" ", r"\s+"), blank, bare, flags=re.M)
    for kind in _NO_NUMBERS:
        bare = kind.sub(blank, bare)
    lines = words.split("\n")
    return [
        f"{n}: {match[0]} in {lines[n - 1].strip()}"
        for n, line in enumerate(bare.split("\n"), 1)
        for match in _NUMBER.finditer(line)
        if match[0] not in ("0", "1")
    ]


def idle(words: str, allowed: Iterable[str]) -> list[str]:
    """The patterns that allow nothing in a text."""
    return [p for p in allowed if not re.search(p.replace(" ", r"\s+"), words, flags=re.M)]


def read(path: Path) -> str:
    """A text file."""
    return path.read_text(encoding="utf-8")
