r"""What the writing of two answers alone decides; math-verify judges the rest.

math-verify 0.9 compares values well and written forms badly: it drops base subscripts, reads `(0,1)` as the
set `{0,1}`, takes "5 million" for 5 once it stands in `\text{}`. The rules here settle those on strings,
before a symbolic engine sees anything:

- Writing is free: TeX spacing, `$`, `\text{}`, currency signs, thousands separators, a trailing full stop.
- Units are free: "18 dollars", "5 cm^2", `45^\circ` are 18, 5 and 45. Words of value are not: "5 million".
- A percent sign that only one side has is a unit or a hundredth: 50% is right for 50 and for 0.5.
- Decimals are exact unless six places are printed, and then right to that: 0.333 is not 1/3, 0.333333 is.
- `(a,b)`, `[a,b]`, `[a,b)`, `(a,b]` and `{a,b}` are five different things. A list without brackets is a set;
  it also passes for a tuple that has the same order.
- A based numeral equals only the same digits in the same base; base 10 may go unsaid.
- Words are compared as words, letter case aside; `x = 5` is right for `5`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

_DEGREE = r"\^ ?(?:\\circ\b|\{ ?\\circ ?\})"
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}

# In this order; each pattern rewrites the whole answer.
_WRITING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[−–]", "-"),
        (r"×", r"\\times "),
        (r"°|\\degrees?\b", r"^\\circ "),
        (r"π|(?<![\\a-zA-Z])pi\b", r"\\pi "),
        (r"∞|\binfinity\b", r"\\infty "),
        (r"∪", r"\\cup "),
        (r"√\(?(\w+)\)?", r"\\sqrt{\1}"),
        (r"\*\*(?=[\d({])", "^"),
        # A separator of thousands that TeX spells out: 1{,}234, 1,\!234, 1\,234.
        (r"(?<=\d)(?:\{,\}|,\\!|\\[,!:; ])+(?=\d{3}(?!\d))", ""),
        (r"\\?[$€£¥]|\bUSD\b|\*\*", " "),
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle)(?![a-zA-Z])|(?<!\\)\\[,;:! ]|\\q?quad\b|~", " "),
        (r"\\[dtc]frac", r"\\frac"),
        (r"\\frac\s*(\d|\\[a-zA-Z]+)\s*(\d|\\[a-zA-Z]+)", r"\\frac{\1}{\2}"),
        (r"\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it)|mbox)\s*\{([^{}]*)\}", r" \1 "),
        (r"\s+", " "),
        (r" ?(?:\\?%|\bper ?cent\b)", "%"),
        (r" ?,? \b(?:and|or) ", ", "),
        (rf"(?<=\d) ?\b({'|'.join(_SCALES)})\b", r" \\times 10^{\1}"),
        (r"(?<![\w.\\])(\d+(?:\.\d+)?)[eE]\+?(-?\d+)(?![\w.])", r"\1 \\times 10^{\2}"),
        (r"\^ ?(-?\d{2,})", r"^{\1}"),
        (r"^([+-]?\d+) (\d+)/(\d+)", r"\1\\frac{\2}{\3}"),
        # math-verify reads cos 58° as cos(58); alone, the sign is a unit.
        (rf"^([^a-zA-Z\\]+){_DEGREE} ?$", r"\1"),
        (rf"(\d+(?:\.\d+)?) ?{_DEGREE}", r"(\\frac{\1\\pi}{180})"),
        (r"(?<=[\dA-F])_\{? ?\(?10\)? ?\}?(?!\d)", ""),
        (r"^[a-zA-Z] ?\\in\b", ""),
    )
)
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:(?:,\d{3})+|(?: \d{3})+)(?![\d,])")
_UNIT = re.compile(r"(?<=[\d.})])([a-zA-Z /'.-]+)(?:\^ ?(?:[23]|\{[23]\}))?$")
_UNIT_LETTERS = frozenset("mgshlLVWJNFKC")
# What follows a number and changes its value is no unit.
_VALUE_WORD = re.compile(
    r"\b(?:over|times|plus|minus|by|mod|pi|sqrt|sin|cos|tan|log|ln|squared|cubed|dozens?|half|halves|thirds?"
    r"|quarters?|fourths?|fifths?|hundreds|thousands|millions|billions|trillions)\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[a-z .'-]*[a-z]{3}[a-z .'-]*", re.IGNORECASE)
_LETTER = re.compile(r"\(?([a-z])\)?", re.IGNORECASE)
_BASED = re.compile(r"\b([0-9A-F]+)_(?:\{ ?\(?([^{}()]*)\)? ?\}|(\w))")
_HALF_DAY = re.compile(r"\b([ap])\.? ?m\b", re.IGNORECASE)
# The left side of an equation that says what a thing is called: x, f(2), (x, y), \angle ABC.
_NAME = re.compile(r"(?!\d)(?:(?!\\(?:frac|sqrt|cdot|times))[^-+*/^<>])+")
_EQUALS = re.compile(r"(?<![<>!:=])=(?!=)")
_NUMBER = re.compile(r"([+-]?) ?(?:(\d+\.?\d*|\.\d+)|(\d+) ?/ ?(\d+)|\\frac ?\{ ?(\d+) ?\} ?\{ ?(\d+) ?\})")

Equal = Callable[[str, str], bool]


def clean(answer: str) -> str:
    """The answer on one line, without what is only writing; empty when nothing else is there."""
    text = answer.strip().removeprefix(r"\(").removesuffix(r"\)").removeprefix(r"\[").removesuffix(r"\]")
    while match := re.fullmatch(r"\s*\\[bf]?box(?:ed)?\s*\{(.*)\}\s*", text, re.DOTALL):
        text = match[1]
    for pattern, replacement in _WRITING:
        text = pattern.sub(replacement, text)
    for word, power in _SCALES.items():
        text = text.replace(f"10^{{{word}}}", f"10^{{{power}}}")
    text = text.strip().rstrip(" .,;:")
    if not re.search(r"[(\[]|\\\{", text):
        text = _THOUSANDS.sub(lambda m: re.sub("[ ,]", "", m[0]), text)
    return text.strip()


def without_unit(text: str) -> str:
    """`text`, cleaned, without the words of a unit after its number: "5 cm^2" is "5", "2x" stays."""
    text = re.sub(r"(?<=\d) [ap]\.? ?m\.?$", "", text)
    match = _UNIT.search(text)
    if match is None or re.search("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text[: match.start()])):
        return text
    words = re.findall("[a-zA-Z]+", match[1])
    glued = match[1][0] != " "
    if not words or (len(words[0]) == 1 and (glued or words[0] not in _UNIT_LETTERS)):
        return text
    return text if _VALUE_WORD.search(match[1]) else text[: match.start()].rstrip()


def number(text: str) -> tuple[Fraction, int] | None:
    r"""The value of an integer, a decimal, `a/b` or `\frac{a}{b}`, and how many decimals it prints; else None."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, plain, a, b, c, d = match.groups()
    try:
        value = Fraction(plain) if plain else Fraction(int(a or c), int(b or d))
    except ZeroDivisionError:
        return None
    return -value if sign == "-" else value, len((plain or "").partition(".")[2])


def same_number(gold: tuple[Fraction, int], answer: tuple[Fraction, int]) -> bool:
    """Equal, or as near as a decimal with six or more places comes: to 5e-7 and to one part in a million."""
    gap = abs(gold[0] - answer[0])
    places = min(filter(None, (gold[1], answer[1])), default=0)
    return gap == 0 or (places >= 6 and gap <= Fraction(1, 2_000_000) and gap * 1_000_000 <= abs(gold[0]))


def is_words(text: str) -> bool:
    """Whether a cleaned answer is plain words, such as "neither" or "no solution"."""
    return _WORDS.fullmatch(text) is not None


def split_list(text: str) -> list[str]:
    """The parts between the commas and semicolons that stand outside all brackets."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in ",;" and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]


def container(text: str) -> tuple[str, list[str]]:
    r"""The kind of collection that `text` is, and its items.

    The kind is the pair of brackets around it all ("()", "[)", ..., "{}" with or without backslashes),
    "," for a list without brackets, "" for a single thing.
    """
    bare = text.replace(r"\{", "{").replace(r"\}", "}").replace(r"\lbrace", "{").replace(r"\rbrace", "}")
    if len(bare) > 2 and bare[0] in "([{" and bare[-1] in ")]}":
        depth = 0
        for i, char in enumerate(bare):
            depth += (char in "([{") - (char in ")]}")
            if depth == 0:
                items = split_list(bare[1:-1])
                if i == len(bare) - 1 and len(items) > 1:
                    return bare[0] + bare[-1], items
                break
    items = split_list(text)
    return (",", items) if len(items) > 1 else ("", [text])


def compare_strings(gold: str, answer: str, equal: Equal) -> bool | None:
    """Whether `answer` is right for `gold` (both cleaned), or None where their writing does not decide it.

    `equal` compares the parts of collections, equations and percentages: one level of this function and
    what it leaves open.
    """
    if "".join(gold.split()) == "".join(answer.split()):
        return True
    if _based(gold) != _based(answer) or not _same_half_day(gold, answer):
        return False
    gold, answer = without_unit(gold), without_unit(answer)
    gold_value, answer_value = number(gold), number(answer)
    if gold_value is not None and answer_value is not None:
        return same_number(gold_value, answer_value)
    if gold.endswith("%") or answer.endswith("%"):
        return _compare_percent(gold, answer, equal)
    if (by_words := _compare_words(gold, answer)) is not None:
        return by_words
    if (by_items := _compare_collections(gold, answer, equal)) is not None:
        return by_items
    return _compare_equation(gold, answer, equal)


def _based(text: str) -> list[tuple[str, str]]:
    numerals = (m for m in _BASED.finditer(text) if re.search(r"\d", m[1]))
    return sorted((m[1].lstrip("0"), (m[2] or m[3]).strip()) for m in numerals)


def _same_half_day(gold: str, answer: str) -> bool:
    halves = [_HALF_DAY.findall(text.lower()) for text in (gold, answer)]
    return halves[0] == halves[1] or not all(halves)


def _compare_percent(gold: str, answer: str, equal: Equal) -> bool:
    if gold.endswith("%") and answer.endswith("%"):
        return equal(gold[:-1], answer[:-1])
    if gold.endswith("%"):
        return equal(gold[:-1], answer) or equal(rf"\frac{{{gold[:-1]}}}{{100}}", answer)
    return equal(gold, answer[:-1]) or equal(gold, rf"\frac{{{answer[:-1]}}}{{100}}")


def _compare_words(gold: str, answer: str) -> bool | None:
    gold_letter, answer_letter = _LETTER.fullmatch(gold), _LETTER.fullmatch(answer)
    if gold_letter and answer_letter:
        return gold_letter[1].lower() == answer_letter[1].lower()
    if is_words(gold):
        return gold.lower().split() == answer.lower().split()
    return None


def _compare_collections(gold: str, answer: str, equal: Equal) -> bool | None:
    (gold_kind, gold_items), (kind, items) = container(gold), container(answer)
    if not gold_kind or not kind or r"\pm" in gold + answer:
        return None
    accepted = {"()": ("()", ","), "{}": ("{}", ","), ",": (",", "{}")}.get(gold_kind, (gold_kind,))
    if kind not in accepted or len(items) != len(gold_items):
        return False
    if gold_kind not in ("{}", ","):
        return all(map(equal, gold_items, items))
    for wanted in gold_items:
        match = next((i for i, item in enumerate(items) if equal(wanted, item)), None)
        if match is None:
            return False
        del items[match]
    return True


def _compare_equation(gold: str, answer: str, equal: Equal) -> bool | None:
    gold_sides, sides = _EQUALS.split(gold), _EQUALS.split(answer)
    if len(gold_sides) == 1 and len(sides) > 1:
        return equal(gold, sides[-1].strip())
    if len(gold_sides) > 1 and len(sides) == 1:
        named = _NAME.fullmatch(gold_sides[0].strip()) is not None
        return named and equal(gold_sides[-1].strip(), answer)
    return None
