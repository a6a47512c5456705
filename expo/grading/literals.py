"""Answers that are not formulas: dates, times of day, numerals in a base, letters of choices, words."""

from __future__ import annotations

import re

from expo.grading.expression import FUNCTIONS
from expo.grading.forms import Choice, Collection, Date, Form, Numeral, Time, Words

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_MONTH = {name[:n]: i + 1 for i, name in enumerate(MONTHS) for n in (3, len(name))} | {"sept": 9}
_DATE_PART = re.compile(
    r"(?P<number>\d{1,4})(?:st|nd|rd|th)?\b|(?P<month>[A-Za-z]{3,9})\b\.?|(?P<other>,|\bof\b|\bthe\b|\s)"
)
_TIME = re.compile(r"(\d{1,2})(?: ?: ?(\d{2})(?: ?: ?(\d{2}))?)?(?: ?([ap])\.? ?m\.?)?", re.IGNORECASE)
_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16, "binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16, "hex": 16,
}  # fmt: skip
_NUMERAL = re.compile(
    r"(?P<sign>-?) ?\(?(?P<digits>[0-9A-Fa-f]+)\)? ?"
    r"(?:_ ?(?:\{ ?(?:base ?)?\(?(?P<braced>\w+)\)? ?\}|(?P<bare>\d|[a-z]{3,}))"
    r"|\(? ?(?:in )?base[ -](?P<word>\w+) ?\)?|\(? ?(?:in )?(?P<named>binary|octal|decimal|hexadecimal|hex) ?\)?)"
)
# What retracts an answer, or adds another.
DOUBTS = re.compile(r"\b(?:or|maybe|perhaps|possibly|nor|either)\b", re.IGNORECASE)
# What retracts a choice, or adds another.
_OTHERS = re.compile(
    r"\(?\b[A-H]\b[.)]|^\W*[A-H]\W*$|\b[A-H] is\b"
    r"|\b(?:or|and|not|no|wrong|incorrect|nor|false|excluded|rejected|another|also|well|maybe|perhaps)\b"
    r"(?! \w+ (?:are|is) wrong)",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:an?|the) (?=\S)", re.IGNORECASE)


def read_words(text: str) -> Form | None:
    """Read words, the letter of a choice, or letters in a row."""
    remark = re.search(r"[a-z]{3}(\s*\([^()]*\))$", text)
    # One more word may reverse the meaning of a word: True (False).
    if remark and not DOUBTS.search(remark[1]) and " " in remark[1].strip():
        text = text[: remark.start(1)]
    bare = re.sub(r"\\(?:emptyset|varnothing)", "empty set", text)
    if re.fullmatch(r"\(?[A-Za-z]\)?", bare):
        return Choice(bare.strip("()"))
    if re.fullmatch(r"[A-Za-z](?: [A-Za-z])+", bare):
        return Collection(" ", tuple(Choice(letter) for letter in bare.split()))
    if not re.fullmatch(r"[^\W\d_]+(?:['’-][^\W\d_]+)*(?:(?: | & |\. )[^\W\d_]+(?:['’-][^\W\d_]+)*)*\.?", bare):
        return None
    if bare in FUNCTIONS or bare in ("pi", "infinity", "inf", "sqrt") or bare.split()[0].lower() in FUNCTIONS:
        return None
    # sinx, but not "tank" in lower-case words: only before x, t or the name of an angle.
    if bare[-1:] in ("x", "t") and bare[:-1] in FUNCTIONS:
        return None
    # AB is a segment or a product; ab is something else.
    is_name = len(bare) <= 3 and (bare.isupper() or re.search("[aeiou]", bare.lower()) is None or len(bare) < 2)
    return Words((bare,) if is_name else tuple(_ARTICLE.sub("", bare).lower().replace(".", " ").split()))


def choice(text: str) -> str | None:
    """The letter of a choice, which its text may follow: `(C) 12`, `Option C`, `C: 12 apples`."""
    match = re.match(
        r"(?:(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?:? )?"
        r"(?:\( ?([A-Za-z]) ?\)(?=$|[.:]|\s+[\w$\\])|([A-Z])(?=$|[.:)]|\s+(?:because|since|as)\b))",
        text,
        re.IGNORECASE if text[:1] in "oOcCaA" and text[1:2].islower() else 0,
    )
    if match is None or _OTHERS.search(text[match.end() :]):
        return None
    return match[1] or match[2]


def read_date(text: str) -> Form | None:
    """A day or a year, with its month."""
    at, numbers, months = 0, [], []
    while at < len(text):
        part = _DATE_PART.match(text, at)
        if part is None or part.end() == at:
            return None
        at = part.end()
        if part["number"]:
            numbers.append(part["number"])
        elif part["month"]:
            if (month := _MONTH.get(part["month"].lower())) is None:
                return None
            months.append(month)
    if len(months) != 1 or not 1 <= len(numbers) <= 2:
        return None
    years = [int(x) for x in numbers if len(x) == 4 or int(x) > 31]
    days = [int(x) for x in numbers if len(x) < 4 and int(x) <= 31]
    if len(years) > 1 or len(days) > 1:
        return None
    return Date(days[0] if days else None, months[0], years[0] if years else None)


def read_time(text: str) -> Form | None:
    """A time of day."""
    match = _TIME.fullmatch(text)
    if match is None or (match[2] is None and match[4] is None):
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    half = (match[4] or "").lower()
    if hour > (12 if half else 24) or minute > 59 or second > 59:
        return None
    return Time(hour, minute, second, half)


def read_numeral(text: str) -> Form | None:
    """Digits with their base."""
    match = _NUMERAL.fullmatch(text)
    if match is None:
        return None
    name = next(match[group] for group in ("braced", "bare", "word", "named") if match[group])
    base = _BASE_WORDS.get(name.lower()) or (int(name) if name.isdigit() else None)
    digits = match["digits"]
    # x_1 and a_2 are names; F_{16} is a digit.
    if base is None or not (re.search(r"\d", digits) or (base > 10 and digits.isupper())):
        return None
    if not 2 <= base <= 36:
        return None
    return Numeral(match["sign"] + (digits.upper().lstrip("0") or "0"), base)
