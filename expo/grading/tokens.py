"""The tokens of arithmetic in free text."""

from __future__ import annotations

import re
from typing import NamedTuple

OPERATORS = frozenset("+-*/^")
OPERANDS = frozenset(("num", "(", "frac", "sqrt"))  # kinds of token that may start a number

# The first alternative that matches is the token.
_GRAMMAR = (
    ("stop", r"^[ \t]*[-*+•](?=\s)|\d+:\d+|[<>!:]=|[-=]{1,3}>|//|\\[{}]|\\q?quad\b"),
    ("nl", r"\n|\\\\"),
    ("word", r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it)|mbox)\s?\{[^{}\n]{0,100}\}"),
    ("skip", r"\s|\*\*(?![\d(])|(?<![\d)])\*\*|\^ ?(?:\\circ\b|\{ ?\\circ ?\})"),
    ("skip", r"\\(?:boxed|left|right|displaystyle)\b|\\[,;:! ]|\\?[$€£¥&]|[°`~]"),
    ("=", r"==?|≈|≅|\\approx\b|\bequals\b"),
    ("frac", r"\\[dtc]?frac"),
    ("sqrt", r"\\sqrt|\bsqrt\b|√"),
    ("num", r"\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+(?:\.{3}|…|\\l?dots)?)?|\.\d+"),
    ("^", r"\^|\*\*"),
    ("square", r"[²³]"),
    ("*", r"[*×·⋅∙]|\\times\b|\\cdot\b|(?<=\d)[xX](?=\d)|\bmultiplied by\b"),
    ("/", r"[/÷∕⁄]|\\div\b|\bdivided by\b"),
    ("+", r"\+|\bplus\b"),
    ("-", r"[-−–]|\bminus\b"),
    ("%", r"\\?%|\bper ?cent\b"),
    ("(", r"[(\[{]"),
    (")", r"[)\]}]"),
    ("word", r"(?!_)[^\W\d][\w'’]*"),
    ("var", r"\\[a-zA-Z]+|_"),
    ("stop", r"."),
)
_TOKEN = re.compile("|".join(f"(?P<k{i}>{pattern})" for i, (_, pattern) in enumerate(_GRAMMAR)), re.MULTILINE)
# A calculator mark of GSM8K after an equals sign, "48/2 = <<48/2=24>>24", repeats the statement.
_MARK = re.compile(r"(= {0,3}\\?\$? {0,3})(<<[^<>\n]{0,200}>>)")


def words(text: str) -> frozenset[str]:
    """The words of a space-separated list."""
    return frozenset(text.split())


_UNIT_LETTERS = words("a A I m g s h L l k K N J W V")
# Short words that may touch a number ("5cm"); other short ones, as in "2ab", are variables.
_TOUCHING = words(
    "cm mm km kg mg ml mL oz lb lbs hr hrs min sec ft yd mi mph kph am pm AM PM st nd rd th USD GB MB TB kW"
)


class Token(NamedTuple):
    """The piece `text[start:end]`, of a kind named in `_GRAMMAR`; "var" stands for an unknown number."""

    kind: str
    text: str
    start: int
    end: int


def tokenize(text: str) -> list[Token]:
    """All tokens of `text`, followed by one of kind "end"."""
    text = _MARK.sub(lambda m: m[1] + " " * len(m[2]), text)
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = _GRAMMAR[int((match.lastgroup or "k0")[1:])][0]
        before = tokens[-1] if tokens else Token("stop", "", -1, -1)
        if kind == "skip" or (kind == "nl" and (before.kind in OPERATORS or before.kind == "=")):
            continue
        if kind == "=" and before.kind == "nl":
            tokens.pop()
        word = match[0]
        if kind == "word":
            touching = before.end == match.start() and before.kind in ("num", ")")
            if word.startswith("\\"):
                word, touching = word[word.index("{") + 1 : -1].strip(), False
            if _is_variable(word, touching):
                kind = "var"
        tokens.append(Token(kind, word, match.start(), match.end()))
    end = Token("end", "", len(text), len(text))
    return [*map(_multiply, [end, *tokens], tokens, [*tokens[1:], end]), end]


def _is_variable(word: str, touching: bool) -> bool:
    if len(word) == 1:
        return touching or word not in _UNIT_LETTERS
    if "_" in word or any(map(str.isdigit, word)) or (word.isupper() and len(word) < 4):
        return True
    return touching and len(word) < 4 and word not in _TOUCHING


def _multiply(before: Token, token: Token, after: Token) -> Token:
    """Turn "x" and "times" into a product between two numbers: "2 x 3", but not "2x = 3" or "three times"."""
    between = before.kind in ("num", ")", "%", "word") and after.kind in OPERANDS
    is_cross = token.text in ("x", "X") and (before.end < token.start or after.kind == "num")
    return token._replace(kind="*") if between and (is_cross or token.text == "times") else token
