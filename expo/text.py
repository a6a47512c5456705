"""Text to be shown: numbers of things in words, and what a model or a source wrote, which may hold anything."""

from __future__ import annotations

import re


def install(extra: str) -> str:
    """The command that brings an extra of this package, which is on no index."""
    return f"pip install -e '.[{extra}]' in the checkout"


def visible(text: str) -> str:
    """The text with control, formatting and surrogate characters written as escapes; newlines stay."""
    text = text.replace("\r\n", "\n").replace("\t", "    ").replace("\u00a0", " ")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


def in_markdown(text: str) -> str:
    """The text in one line of Markdown in which nothing can be read as markup."""
    line = " ".join(visible(text).split())
    return "".join(f"\\{c}" if c in "\\`|*_<>[]" else c for c in line)


def fenced(text: str, language: str = "text") -> str:
    """A Markdown code block in which nothing of the text can be read as markup, nor end the block."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def is_folder_name(text: str) -> bool:
    """Whether a text can name a folder anywhere: letters, digits and . _ - only."""
    return re.fullmatch(r"[\w-][\w.-]*", text) is not None


def plural(n: int, one: str, many: str | None = None) -> str:
    """`1 run`, `2 runs`; `many` where it is not `one` with an s."""
    return f"{n} {one if n == 1 else many or one + 's'}"
