"""The tokens of a formula, written in TeX or plainly."""

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
    """Text that is no formula of the known grammar."""


class Token(NamedTuple):
    """A piece of a formula; `spaced` says whether a space stands before it.

    The kinds: a number ("num"), a decimal that repeats ("repeat"), a command ("cmd"), a letter ("word"), a function
    written plainly ("func"), a word that is none ("unknown"), a sign ("sym"), the "end".
    """

    kind: str
    text: str
    spaced: bool


def tokenize(formula: str) -> list[Token]:
    """All tokens of a formula, and one of kind "end".

    Raises:
        NotMathsError: where a character belongs to no formula, or there are too many.
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
            raise NotMathsError(f"{formula[at:].strip()[:1]!r} is not understood in {formula!r}")
        kind = match.lastgroup or ""
        text, spaced = match[kind], match[0] != match[kind]
        if kind == "word" and not _names_environment(tokens):
            glued = at > 0 and formula[at - 1].isdigit() and not spaced
            tokens += _letters(text, spaced, glued)
        else:
            tokens.append(Token(kind, text, spaced))
        at = match.end()
    if len(tokens) > MAX_TOKENS:
        raise NotMathsError(f"a formula of more than {MAX_TOKENS} signs is not read")
    return [*tokens, Token("end", "", False)]


def _names_environment(tokens: list[Token]) -> bool:
    r"""Whether what comes is the name in `\begin{pmatrix}`."""
    return len(tokens) > 1 and tokens[-1].text == "{" and tokens[-2].text in (r"\begin", r"\end")


def repeating(whole: str, digits: str) -> Fraction:
    """0.1(6) is 1/6: the decimal `whole`, then `digits` for ever."""
    places = len(whole.partition(".")[2])
    start = Fraction(whole if whole.strip(".") else "0")
    return start + Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)


def dotted(text: str) -> Fraction:
    """0.333... repeats its last digit or digits; with fewer than two alike nothing tells what."""
    digits = re.match(r"\d+\.\d+", text)
    if digits is None:
        raise NotMathsError(f"dots in {text!r}")
    repeat = re.fullmatch(r"(\d+\.\d*?)(\d{1,6}?)\2+(\d*)", digits[0])
    if repeat is None or not repeat[2].startswith(repeat[3]):
        raise NotMathsError(f"nothing repeats in {text!r}")
    return repeating(repeat[1], repeat[2])


def _letters(word: str, spaced: bool, glued: bool) -> list[Token]:
    """The tokens of a run of letters: a function, or variables side by side; words are refused."""
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
