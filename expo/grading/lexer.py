"""The tokens of a formula in TeX or plain notation."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from expo.grading.tokens import words

MAX_TOKENS = 600
FUNCTIONS = {
    **{name: name for name in words("sin cos tan cot sec csc sinh cosh tanh ln log exp arcsin arccos arctan sgn")},
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log10",
}  # fmt: skip
# The names of Greek letters in TeX, after the backslash.
GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
)
_TOKEN = re.compile(
    r"[\s\ue000]*(?:(?P<num>\d+(?:\.\d+)?(?:\.\.\.|\\l?dots|\\cdots)?|\.\d+)"
    r"|(?P<cmd>\\[a-zA-Z]+|\\[{}|\\])|(?P<word>[a-zA-Z]+)|(?P<sym>[-+*/^_!|()\[\]{}&°'%=]))"
)
_REPEATING = re.compile(r"(\d*\.\d*)(?:\\(?:overline|bar|dot)\s*\{?(\d+)\}?|\((\d+)\)(?![\d(]))")


class NotMathsError(ValueError):
    """Text that is not a formula of the known grammar."""


class Token(NamedTuple):
    """A piece of a formula; `spaced` says whether a space precedes it.

    The kinds are: a number ("num"), a repeating decimal ("repeat"), a command ("cmd"), a letter ("word"), a function in
    plain notation ("func"), any other word ("unknown"), a symbol ("sym"), the "end".
    """

    kind: str
    text: str
    spaced: bool


def tokenize(formula: str) -> list[Token]:
    """Split a formula into tokens, followed by one of kind "end".

    Raises:
        NotMathsError: if a character cannot be part of a formula, or there are too many tokens.
    """
    tokens: list[Token] = []
    at, formula = 0, formula.rstrip()
    while at < len(formula):
        start = at + len(formula[at:]) - len(formula[at:].lstrip())
        if repeat := _REPEATING.match(formula, start):
            tokens.append(Token("repeat", f"{repeat[1]} {repeat[2] or repeat[3]}", start > at))
            at = repeat.end()
            continue
        match = _TOKEN.match(formula, at)
        if match is None:
            raise NotMathsError(f"{formula[at:].strip()[:1]!r} in {formula!r} is not understood")
        kind = match.lastgroup or ""
        text, spaced = match[kind], match[0] != match[kind]
        if kind == "word" and not _names_environment(tokens):
            glued = at > 0 and formula[at - 1].isdigit() and not spaced
            tokens += _letters(text, spaced, glued)
        else:
            tokens.append(Token(kind, text, spaced))
        at = match.end()
    if len(tokens) > MAX_TOKENS:
        raise NotMathsError(f"a formula of more than {MAX_TOKENS} tokens is not read")
    return [*tokens, Token("end", "", False)]


def _names_environment(tokens: list[Token]) -> bool:
    r"""Whether the next token is the name in `\begin{pmatrix}`."""
    return len(tokens) > 1 and tokens[-1].text == "{" and tokens[-2].text in (r"\begin", r"\end")


def repeating(whole: str, digits: str) -> Fraction:
    """0.1(6) is 1/6: the decimal `whole`, then `digits` repeated forever."""
    places = len(whole.partition(".")[2])
    start = Fraction(whole if whole.strip(".") else "0")
    return start + Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)


def dotted(text: str) -> Fraction:
    """0.333... repeats its last digit or digits; at least two equal ones must show which."""
    digits = re.match(r"\d+\.\d+", text)
    if digits is None:
        raise NotMathsError(f"dots in {text!r}")
    repeat = re.fullmatch(r"(\d+\.\d*?)(\d{1,6}?)\2+(\d*)", digits[0])
    if repeat is None or not repeat[2].startswith(repeat[3]):
        raise NotMathsError(f"nothing repeats in {text!r}")
    return repeating(repeat[1], repeat[2])


def _letters(word: str, spaced: bool, glued: bool) -> list[Token]:
    """The tokens of a run of letters: a function, or variables side by side; other words are rejected."""
    if word in FUNCTIONS or word in ("sqrt", "pi", "mod", "infinity", "inf"):
        return [Token("func", FUNCTIONS.get(word, word), spaced)]
    if len(word) > 3 and not glued:
        for name in sorted({*FUNCTIONS, "sqrt"}, key=len, reverse=True):
            if word.startswith(name) and len(word) - len(name) == 1:
                return [Token("func", FUNCTIONS.get(name, name), spaced), Token("word", word[-1], False)]
    if len(word) >= 4 and not glued:
        return [Token("unknown", word, spaced)]
    if word == "pi" or word.startswith("pi"):
        return [Token("func", "pi", spaced), *(Token("word", c, False) for c in word[2:])]
    return [Token("word", c, spaced and i == 0) for i, c in enumerate(word)]
