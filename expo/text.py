"""Text for display: counts in words, and safe forms of text from models and sources."""

from __future__ import annotations

import re


def install(extra: str) -> str:
    """The command that installs an extra of this package, which is not on a package index."""
    return f"pip install -e '.[{extra}]' in the checkout"


def visible(text: str) -> str:
    """The text with control, formatting and surrogate characters escaped; newlines are kept."""
    text = text.replace("\r\n", "\n").replace("\t", "    ").replace("\u00a0", " ")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


def in_markdown(text: str) -> str:
    """The text as one line of Markdown in which nothing can be read as markup."""
    line = " ".join(visible(text).split())
    return "".join(f"\\{c}" if c in "\\`|*_<>[]" else c for c in line)


def fenced(text: str, language: str = "text") -> str:
    """A Markdown code block whose text cannot be read as markup or end the block."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def is_folder_name(text: str) -> bool:
    """Whether a text can name a folder anywhere: only letters, digits and . _ -."""
    return re.fullmatch(r"[\w-][\w.-]*", text) is not None


def sentence(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def plural(n: int, one: str, many: str | None = None) -> str:
    """`1 run`, `2 runs`; `many` is the plural if it is not `one` with an s."""
    return f"{n} {one if n == 1 else many or one + 's'}"
