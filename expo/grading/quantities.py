"""Read a formula with its suffix: a percent sign, a scale word, a unit, a remark in brackets."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from expo.grading import expression
from expo.grading.expression import FUNCTIONS, Node, NotMathsError
from expo.grading.forms import Quantity
from expo.grading.literals import DOUBTS
from expo.grading.rational import exact
from expo.grading.tokens import words
from expo.grading.units import Unit, parse_unit
from expo.grading.writing import CODES, TEXT_LETTER

_SCALES: dict[str, int | Fraction] = {
    "dozen": 12, "dozens": 12, "hundred": 100, "hundreds": 100, "thousand": 10**3, "thousands": 10**3, "million": 10**6,
    "millions": 10**6, "mil": 10**6, "billion": 10**9, "billions": 10**9, "trillion": 10**12, "trillions": 10**12,
    "score": 20,
    "half": Fraction(1, 2), "halves": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4),
    "fourth": Fraction(1, 4), "fifth": Fraction(1, 5), "sixth": Fraction(1, 6), "seventh": Fraction(1, 7),
    "eighth": Fraction(1, 8), "ninth": Fraction(1, 9), "tenth": Fraction(1, 10), "eleventh": Fraction(1, 11),
    "twelfth": Fraction(1, 12),
    "hundredth": Fraction(1, 100), "thousandth": Fraction(1, 1000), "millionth": Fraction(1, 10**6),
}  # fmt: skip
_SCALES |= {f"{name}s": size for name, size in _SCALES.items() if isinstance(size, Fraction) and name[-1] != "s"}
_SCALE = re.compile(rf"^[ -](?P<word>{'|'.join(sorted(_SCALES, key=len, reverse=True))})\b", re.IGNORECASE)
# Words that say which of two opposites the number is.
SENSES = words(
    "increase decrease increased decreased profit loss gain lost gained north south east west northeast "
    "northwest southeast southwest up down higher lower above below before after ahead behind clockwise "
    "counterclockwise anticlockwise forward backward early late won debt credit deposit withdrawal positive "
    "negative faster slower older younger taller shorter rise fall drop deficit surplus win inward outward "
    "inside outside upward upwards downward downwards later earlier fast slow heavier lighter longer warmer colder"
    " saved spent owed earned uphill downhill hotter cooler"
)
# These do too, but can also mean "that remain", and are often omitted.
LIGHT = words("left right more less fewer extra additional")
_MATHS_WORDS = words(
    "over times plus minus by mod pi sqrt root squared cubed divided multiplied equals factorial choose infinity"
)
_FUNCTION_WORDS = FUNCTIONS.keys() - {"min", "max", "sec"}
# In brackets, these mean that the answer is wrong, or another one.
_REMARKS = words(
    "alternatively actually also could wrong not rejected answer incorrect false excluded invalid never instead but"
    " except maybe perhaps thousand million billion trillion hundred dozen factorial negative"
)
_ONES = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_COUNTED = {word: str(n) for n, word in enumerate(_ONES)}
_COUNTED |= {word: str(n) for word, n in _TENS.items()}
_COUNTED |= {f"{ten}-{one}": str(n + m) for ten, n in _TENS.items() for m, one in enumerate(_ONES[1:10], 1)}
_DIRECTED = {"below zero": -1, "below freezing": -1, "above zero": 1, "under zero": -1}
_DEGREES = Unit((("angle", 1),))
MAX_UNIT = 60
_TAIL = re.compile(r"[ -]?[^\W\d_¢][\w ./'’^{}¢-]*|¢|[ -][^\W\d_\ue000].*|[ -]?\ue000.*|°.*|/.*")


def quantity(text: str) -> Quantity:
    """Read a formula with its suffix: percent, a scale word, a unit, a remark in brackets.

    Raises:
        NotMathsError: if it is not one.
    """
    text = text.strip()
    sign = 1
    for ending, direction in _DIRECTED.items():
        if text.endswith(ending):
            text, sign = re.sub(r" ?\bdegrees?$", "", text[: -len(ending)].strip()), direction
            break
    text = re.sub(r"^(?:USD|EUR|GBP)(?= ?(?:USD|EUR|GBP))", "", text)
    # Another dollar's code says more than the dollar sign.
    text = re.sub(r"^([-+]?) ?USD ?(.+?) ?\b(CAD|AUD|MXN)$", r"\1\2 \3", text)
    text = re.sub(rf"^([-+]?) ?({CODES})\b ?([-+]?.*)$", lambda m: f"{m[1]}{m[3]} {m[2]}", text).strip()
    text = re.sub(r"((?<!1)1(?=st)|(?<!1)2(?=nd)|(?<!1)3(?=rd)|(?:1[123]|[04-9])(?=th))[a-z]{2}$", r"\1", text)
    text = re.sub(r"% of (?:the )?(?=[\d\\])", r"% \\times ", text)
    text = without_remark(text)
    text = re.sub(r"\bmetric tons?\b", "tonnes", text)
    found = _split_unit(text) or _whole(text)
    if found is None:
        # Parsed again to raise its own error.
        expression.parse(text)
        raise NotMathsError(f"{text!r} is not understood")
    if sign < 0:
        return Quantity(("*", expression.number(-1), found.node), found.unit, found.percent, found.places, found.senses)
    return found


def sum_of_units(text: str) -> Quantity | None:
    """18 dollars and 50 cents; 5 feet 6 inches; 1 and a half: one number stated in parts."""
    if half := re.fullmatch(r"(\d+) and (?:a half|half|one half)(?P<unit>(?: [a-zA-Z]+)*)", text):
        return _with_unit(expression.number(Fraction(int(half[1])) + Fraction(1, 2)), half["unit"])
    mixed = re.fullmatch(r"(\d+) and (\d+)/(\d+)(?P<unit>(?: [a-zA-Z]+)*)", text)
    if mixed and int(mixed[2]) < int(mixed[3]):
        return _with_unit(expression.number(int(mixed[1]) + Fraction(int(mixed[2]), int(mixed[3]))), mixed["unit"])
    parts = re.findall(r"(\d+(?:\.\d+)?) ([a-zA-Z]+)\b", text)
    if len(parts) < 2 or not re.fullmatch(r"(?:\d+(?:\.\d+)? [a-zA-Z]+(?:,? and |, | |$))+", text):
        return None
    units = [parse_unit(" " + name) for _, name in parts]
    first = units[0]
    if first is None or not first.powers or any(u is None or u.powers != first.powers or u.named for u in units):
        return None
    factors = [u.factor for u in units if u]
    if any(a <= b for a, b in pairwise(factors)):
        return None
    total = sum((Fraction(n) * f for (n, _), f in zip(parts, factors, strict=True)), Fraction(0)) / factors[0]
    return Quantity(expression.number(total), first)


def _with_unit(node: Node, tail: str) -> Quantity | None:
    unit = parse_unit(tail) if tail else Unit()
    return None if unit is None else Quantity(node, unit)


def _whole(text: str) -> Quantity | None:
    percent = text.endswith("%")
    try:
        node = expression.parse(text[:-1] if percent else text)
    except NotMathsError:
        return None
    decimal = re.fullmatch(r"[-+]? ?\d*\.(\d+)", text.rstrip("%"))
    unit = _DEGREES if re.fullmatch(r"[^a-zA-Z]*°", text) else Unit()
    return Quantity(node, unit, percent, len(decimal[1]) if decimal else 0)


def _split_unit(text: str) -> Quantity | None:
    for match in re.finditer(r"(?<=[\w)}\]%!°])(?=[^\d])", text):
        at = match.start()
        head, tail = text[:at].strip(), text[at:]
        # No unit is longer, and each split is parsed again.
        if len(tail) > MAX_UNIT:
            continue
        if tail[:1] in ")}]" or not _TAIL.fullmatch(tail) or head.endswith("\\"):
            continue
        if tail[0].isalpha() and re.search(r"\\[a-zA-Z]*$", head):
            continue
        if (scale := _SCALE.match(tail)) is not None:
            factor, tail = Fraction(_SCALES[scale["word"].lower()]), tail[scale.end() :]
            tail = re.sub(r"^ of (?:a |an )?", " ", tail)
        else:
            factor = Fraction(1)
        found = _whole(head)
        if found is None:
            continue
        said = frozenset(re.findall(r"[^\W\d_]+", tail.lower()))
        if said & _MATHS_WORDS or said & _FUNCTION_WORDS or said & _SCALES.keys():
            continue
        senses = said & (SENSES | LIGHT) if tail[:1] in (" ", "-") else frozenset()
        senses |= frozenset(re.findall(r"(?<=[\d ])(?:BCE?|AD|CE)\b", tail))
        kept = re.sub(rf"(?i)\b(?:{'|'.join(sorted(senses))})\b", " ", tail) if senses else tail
        kept = re.sub(r" +", " ", kept).rstrip()
        letters = re.findall(r"[^\W\d_]+", kept)
        if len(letters) > 1 and all(len(x) == 1 and x.isascii() for x in letters) and "/" not in kept:
            continue
        if letters and len(letters[0]) == 1 and letters[0].isascii() and not _is_set_apart(head, kept):
            continue
        unit = parse_unit(kept) if kept.strip() else Unit()
        if unit is None:
            continue
        node = found.node if factor == 1 else ("*", found.node, expression.number(factor))
        return Quantity(node, unit, found.percent, found.places if factor == 1 else 0, senses)
    return None


def _is_set_apart(head: str, tail: str) -> bool:
    """Whether a single letter is surely not a factor: it was in TeX's text, or followed a plain number."""
    return (
        TEXT_LETTER in tail or re.search(r"[a-zA-Z\\]", re.sub(r"(?<=\d) ?(?:[xX]|\\times) ?(?=\d)", "", head)) is None
    )


def without_remark(text: str) -> str:
    """Remove a remark in brackets that repeats the value, in words or otherwise: 18 (eighteen), 18 (9*2)."""
    match = re.fullmatch(r"(?P<value>.*[^\s(\[,+*/^=-])(?P<space> ?)[(\[](?P<remark>[^()\[\]]*)[)\]]", text)
    if match is None:
        return text
    value, remark = match["value"].strip(), match["remark"].strip()
    if _says_again(value, re.sub(r"^(?:or|=|i\.e\.|that is)[,:]? ?", "", remark)):
        return value
    if re.match(r"(?:since|because|as)\b|not [-\d]", remark):
        return value
    # Remarks in words are handled elsewhere.
    if not re.search(r"[\d\\]|^[a-zA-Z]$", value):
        return text
    if DOUBTS.search(remark) or not re.search(r"[^\W\d_]{3}", re.sub(r"\\[a-zA-Z]+", "", remark)):
        return text
    unit = parse_unit(" " + remark)
    said = set(re.findall("[a-z]+", remark.lower()))
    if unit is None or said & (FUNCTIONS.keys() | _MATHS_WORDS | _REMARKS | _SCALES.keys()):
        return text
    if unit.powers and re.search(rf"\b(?:{CODES})\b", value):  # $5 (euros)
        return text
    # 5 (miles): the unit, if there is none yet.
    return f"{value} {remark}" if unit.powers and re.fullmatch(r"[-+]? ?[\d.,/\\{}frac]+", value) else value


def _says_again(value: str, remark: str) -> bool:
    """Whether a remark repeats the value: 18 (9*2), 18 (eighteen), 1/2 (or 0.5)."""
    if _COUNTED.get(remark.lower()) == value:
        return True
    try:
        said, again = exact(expression.parse(value)), exact(expression.parse(remark))
    except NotMathsError:
        return False
    return said is not None and said == again
