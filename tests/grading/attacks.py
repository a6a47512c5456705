"""Right answers made wrong, and right answers written otherwise: what a grader must refuse and accept.

Each attack names itself and gives an answer. All are made from the text of the gold answer alone, by rules under
which the result is surely another value (or surely the same).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from fractions import Fraction

Attack = tuple[str, str]
_INTEGER = re.compile(r"(?<![\w.\\{}_])\d+(?![\w.}]|\\)|(?<=\{)\d+(?=\})|(?<=[,( ])\d+(?=[,) ])")
_ANY_INTEGER = re.compile(r"(?<![.\d])\d+(?![.\d])")
_VARIABLE = re.compile(
    r"(?<![\\a-zA-Z{])[a-df-hj-zA-DF-Z](?![a-zA-Z])|(?<![\\a-zA-Z])[a-df-hj-z](?=[a-z]?(?![a-zA-Z]))"
)
_UNITS = ("cm", "kg", "hours", "dollars", "feet", "miles", "seconds", "euros", "liters")
_UNIT = re.compile(r"\b(cm|kg|hours|dollars|square feet|feet|km/h|miles per hour|apples|children tickets)\b")
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*")


def is_words(gold: str) -> bool:
    return re.fullmatch(r"\\text\{.*\}|[A-Z](,[A-Z])*|.*April.*", gold) is not None


def wrong(gold: str) -> Iterator[Attack]:
    """Answers that are surely wrong for the gold answer."""
    yield from _wrong_words(gold)
    if is_words(gold):
        return
    spans = [m.span() for m in _ANY_INTEGER.finditer(gold)]
    for start, end in spans:
        digits = gold[start:end]
        # A zero factor or an index of a sum may hide a change; these golds have neither.
        for name, new in _other_integers(digits):
            yield f"{name} at {start}", gold[:start] + new + gold[end:]
    if (
        re.search(r"\d", gold)
        and not re.search(r"[,=<>_:]|\\[a-z]*mod|\\le|\\cup|\\ne|\\begin|^[(\[\\]*\{?0", gold)
        and gold.strip("0$")
    ):
        yield (
            "the other sign",
            gold[1:] if gold.startswith("-") else f"-({gold})" if "+" in gold or "-" in gold[1:] else f"-{gold}",
        )
    yield from _other_values(gold)
    yield from _wrong_letters(gold)
    yield from _wrong_signs(gold)
    yield from _wrong_brackets(gold)
    yield from _wrong_units(gold)
    yield from _wrong_parts(gold)


def _other_values(gold: str) -> Iterator[Attack]:
    """Something added to a single formula, or done to it."""
    more = r"[=<>:_]|\\text|\\le|\\ne|\\cup|\\pm|mod|[\[({],|\bApril|\\begin|%|apples|miles|hours|dollars"
    if re.search(more, gold) or "," in re.sub(r"(?<=\d),(?=\d{3})", "", gold):
        return
    for constant in ("1", r"\frac{1}{1000}", r"\sqrt{2}", "x", r"10^{-9}"):
        yield f"plus {constant}", f"{gold} + {constant}"
    yield "twice", f"2 \\cdot ({gold})" if gold != "0" else "2"
    yield "squared and one", f"({gold})^2 + 1"
    if gold.isdigit():
        for word in ("tenths", "million", "dozen", "below zero", "base two", "x", "PM"):
            if gold != "0":
                yield f"{word} after it", f"{gold} {word}"


def _other_integers(digits: str) -> Iterator[tuple[str, str]]:
    n = int(digits)
    for step in (1, 2, 9):
        yield f"{step} more", str(n + step)
    if n > 1:
        yield "1 less", str(n - 1)
    if n > 1:
        yield "a digit more", f"{digits}5"
    if len(digits) > 1 and digits[::-1] != digits and digits[-1] != "0" and digits[0] != "0":
        yield "digits reversed", digits[::-1]
    if len(digits) > 1 and digits[0] != "0":
        yield "a digit lost", digits[:-1]


def _wrong_words(gold: str) -> Iterator[Attack]:
    if gold == r"\text{odd}":
        yield "another word", r"\text{even}"
    for other in ("Tuesday", "even", "parabola", "infinitely many solutions", "neither", "B", "D", "17", "x"):
        if is_words(gold) and "April" not in gold and other.lower() not in gold.lower():
            yield f"{other} for it", other
    if re.fullmatch(r"[A-Z](,[A-Z])*", gold) and "," in gold:
        yield "one left out", gold.rpartition(",")[0]
    for old, new in (("increase", "decrease"), ("north", "south"), ("April", "May"), ("p.m.", "a.m.")):
        if old in gold:
            yield f"{new} for {old}", gold.replace(old, new)


def _wrong_letters(gold: str) -> Iterator[Attack]:
    if re.search(r"\\text|\\begin|apples|hours|dollars|miles|_\{?\d|mod|\\sum|[A-Z]_", gold):
        return
    letters = sorted({m[0] for m in _VARIABLE.finditer(gold)})
    if not letters:
        return
    for letter in letters:
        for other in ("q", "w", "z", "v"):
            if other not in gold:
                yield f"{other} for {letter}", _rename(gold, letter, other)
        if letter.swapcase() not in letters and letter.swapcase() not in ("e", "E", "i", "I"):
            yield f"{letter.swapcase()} for {letter}", _rename(gold, letter, letter.swapcase())
    if len(letters) > 1 and not re.search("[=<>]", gold):
        yield "a letter left out", _rename(gold, letters[0], "1")


def _rename(gold: str, old: str, new: str) -> str:
    return re.sub(rf"(?<![\\a-zA-Z]){old}|(?<=(?<!\\)(?<![a-zA-Z])[a-z]){old}(?![a-zA-Z])|(?<=[\d)}}]){old}", new, gold)


def _wrong_signs(gold: str) -> Iterator[Attack]:
    for i, char in enumerate(gold):
        if (
            char in "+-"
            and i
            and gold[i - 1] not in "(,^{[=: "
            and not gold[i:].startswith("-\\infty")
            and "\\text" not in gold
        ):
            yield f"sign at {i}", gold[:i] + ("-" if char == "+" else "+") + gold[i + 1 :]
    for old, new in (
        (r"\sin", r"\cos"),
        (r"\cos", r"\sin"),
        (r"\tan", r"\cos"),
        (r"\ln", ""),
        (r"\sqrt", ""),
        ("pi", "theta"),
    ):
        if old in gold and not (old == r"\sin" and r"\cos" in gold) and not (old == r"\cos" and r"\sin" in gold):
            yield f"{new or 'nothing'} for {old}", gold.replace(old, new) if new else gold.replace(old, "", 1)
    for old, new in ((">", "<"), ("<", ">"), (r"\le", r"\ge"), (r"\ne", "="), (">", r"\ge"), (r"\le", "<")):
        if old in gold and "\\left" not in gold and "p." not in gold:
            yield f"{new} for {old}", gold.replace(old, f" {new} ")


def _wrong_brackets(gold: str) -> Iterator[Attack]:
    pairs = re.fullmatch(r"([\[(])(.*)([\])])", gold)
    if pairs is None or r"\cup" in gold or "," not in gold or "),(" in gold:
        return
    others = [f"{a}{pairs[2]}{b}" for a in "([" for b in ")]" if (a, b) != (pairs[1], pairs[3])]
    for other in others:
        yield "other brackets", other
    yield "a set", rf"\{{{pairs[2]}\}}"


def _wrong_units(gold: str) -> Iterator[Attack]:
    found = _UNIT.search(gold)
    if found is None:
        return
    for unit in _UNITS:
        if unit not in found[0]:
            yield f"{unit} for {found[0]}", gold.replace(found[0], unit).replace("^2", "")
    if "^2" in gold:
        yield "another power", gold.replace("^2", "^3")
        yield "a cubed unit", gold.replace(r"\text{ cm}^2", r"\text{ cubic cm}")


def _wrong_parts(gold: str) -> Iterator[Attack]:
    inner = re.fullmatch(r"(\\\{|[\[(])?(.*?)(\\\}|[\])])?", gold)
    assert inner
    if r"\cup" in gold or "),(" in gold or "," not in re.sub(r"(?<=\d),(?=\d{3})", "", gold) or ("(" in inner[2]):
        return
    items = inner[2].split(",")
    left, right = inner[1] or "", inner[3] or ""
    if len(items) > 2 or not left:
        yield "an item left out", left + ",".join(items[:-1]) + right
    yield "an item twice", left + ",".join([*items, items[-1]]) + right
    yield "an item more", left + ",".join([*items, "1001"]) + right
    if left in ("(", "[") and items[::-1] != items and len(items) == len(set(items)):
        yield "the other order", left + ",".join(items[::-1]) + right


# ---- the same, otherwise written


def equal(gold: str) -> Iterator[Attack]:
    """Answers that are surely right for the gold answer."""
    yield "itself", gold
    yield "in dollars", f"${gold}$" if "$" not in gold else gold
    yield "in brackets of TeX", rf"\({gold}\)"
    yield "display", rf"\[{gold}\]"
    yield "with a stop", f"{gold}."
    yield "spaces", f"  {gold}  "
    yield "bold", f"**{gold}**"
    yield "in an inner box", rf"\boxed{{{gold}}}"
    yield (
        "thin spaces",
        gold.replace(" ", r"\,") if r"\,\text" not in gold and not re.search(r"[a-z] [a-z]|\\[a-z]+ ", gold) else gold,
    )
    yield "displaystyle", rf"\displaystyle {gold}"
    yield "coloured", rf"\color{{red}}{{{gold}}}"
    yield "approximately", f"\\approx {gold}" if re.fullmatch(r"-?\d+", gold) else gold
    if "-" in gold:
        yield "a Unicode minus", gold.replace("-", "−")
        yield "a hyphen", gold.replace("-", "‑")
    if r"\frac" in gold:
        yield "dfrac", re.sub(r"\\d?frac", r"\\dfrac", gold)
        yield "tfrac", re.sub(r"\\d?frac", r"\\tfrac", gold)
    if "(" in gold and r"\text" not in gold and gold.count("(") == gold.count(")"):
        yield "left and right", gold.replace("(", r"\left(").replace(")", r"\right)")
        yield "big", gold.replace("(", r"\bigl( ").replace(")", r" \bigr)")
    if r"\pi" in gold:
        yield "a Unicode pi", gold.replace(r"\pi", "π")
    if r"^\circ" in gold:
        yield "a degree sign", gold.replace(r"^\circ", "°")
        yield "braces round circ", gold.replace(r"^\circ", r"^{\circ}")
    if "^2" in gold and r"\text" not in gold:
        yield "raised", re.sub(r"\^2(?!\d)", "²", gold)
    if r"\infty" in gold:
        yield "a Unicode infinity", gold.replace(r"\infty", "∞")
    if r"\cup" in gold:
        yield "a Unicode union", gold.replace(r"\cup", " ∪ ")
        yield "the other order", r"\cup".join(gold.split(r"\cup")[::-1])
        yield "or", r" \text{ or } ".join(gold.split(r"\cup"))
    for old, new in (
        (r"\le ", "≤"),
        (r"\ge ", "≥"),
        (r"\ne ", "≠"),
        (r"\times", "×"),
        (r"\cdot", "·"),
        (r"\%", "%"),
        (r"\%", " percent"),
    ):
        if old in gold:
            yield f"{new} for {old}", gold.replace(old, new)
    yield from _equal_numbers(gold)
    yield from _equal_lists(gold)
    yield from _equal_words(gold)
    if "," in gold and r"\!" not in gold:
        yield "spaces after commas", re.sub(r",(?!\d{3}(?!\d))", ", ", gold)
    if re.fullmatch(r"[-+()\d\w^*/]+", gold) and re.search("[a-z]", gold) and "_" not in gold and "=" not in gold:
        yield "spaced signs", re.sub(r"(?<=[\w)])([-+])", r" \1 ", gold)


def _equal_numbers(gold: str) -> Iterator[Attack]:
    value = _fraction(gold)
    if value is None:
        return
    n, d = value.numerator, value.denominator
    yield "as TeX fraction", rf"\frac{{{n}}}{{{d}}}"
    yield "as plain fraction", f"{n}/{d}"
    for k in (2, 3, 10):
        yield f"widened by {k}", rf"\frac{{{n * k}}}{{{d * k}}}"
    yield "named", rf"x = \frac{{{n}}}{{{d}}}"
    yield "in words", f"The answer is {n}/{d}"
    yield "a sum", rf"\frac{{{n - d}}}{{{d}}} + 1"
    yield "a product", rf"\frac{{{n}}}{{{2 * d}}} \cdot 2"
    yield "in brackets", f"({n})/({d})"
    if d == 1:
        for unit in ("dollars", "cm", r"\text{ apples}", r"\text{ kg}", "units", "people"):
            yield f"with {unit}", f"{n} {unit}"
        yield "money", rf"\${n}" if n >= 0 else rf"-\${-n}"
        yield "decimal", f"{n}.0"
        yield "decimals", f"{n}.00"
        yield "a chain", f"{n - 1} + 1 = {n}"
        if abs(n) >= 1000:
            yield "separated", f"{n:,}"
            yield "separated by TeX", f"{n:,}".replace(",", "{,}")
            yield "thin", f"{n:,}".replace(",", r"\,")
    if set(_primes(d)) <= {2, 5}:
        places = 6 if d > 1 else 1
        yield "as a decimal", f"{float(value):.{places}f}"
    if n < 0:
        yield "the sign above", rf"\frac{{-{-n}}}{{{d}}}"
        yield "the sign below", rf"\frac{{{-n}}}{{-{d}}}"


def _fraction(gold: str) -> Fraction | None:
    match = re.fullmatch(r"(-?)(?:\\d?frac\{(\d+)\}\{(\d+)\}|([\d,]+(?:\.\d+)?))", gold)
    if match is None or (match[4] and "," in match[4] and not re.fullmatch(r"\d{1,3}(?:,\d{3})+", match[4])):
        return None
    value = Fraction(match[4].replace(",", "")) if match[4] else Fraction(int(match[2]), int(match[3]))
    return -value if match[1] else value


def _primes(n: int) -> Iterator[int]:
    for p in range(2, n + 1):
        while n % p == 0:
            yield p
            n //= p


def _equal_lists(gold: str) -> Iterator[Attack]:
    inner = re.fullmatch(r"(\\\{)?([^()\[\]]*?)(\\\})?", gold)
    if inner is None or "," not in re.sub(r"(?<=\d),(?:\\!)?(?=\d{3})", "", inner[2]) or is_words(gold):
        return
    items = inner[2].split(",")
    left, right = inner[1] or "", inner[3] or ""
    rng = random.Random(gold)
    for _ in range(3):
        shuffled = rng.sample(items, len(items))
        yield "another order", left + ", ".join(shuffled) + right
    yield "without or with braces", ", ".join(items) if left else r"\{" + ", ".join(items) + r"\}"
    if not left:
        yield "and", ", ".join(items[:-1]) + r" \text{ and } " + items[-1]
        yield "or in words", ", ".join(items[:-1]) + " or " + items[-1]


def _equal_words(gold: str) -> Iterator[Attack]:
    if text := re.fullmatch(r"\\text\{([^(].*)\}", gold):
        yield "bare", text[1]
        yield "another case", text[1].upper() if len(text[1]) > 3 else text[1]
        yield "bold text", rf"\textbf{{{text[1]}}}"
        yield "rm", rf"\mathrm{{{text[1]}}}" if " " not in text[1] else text[1]
    letter = re.fullmatch(r"(?:\\text\{)?\(?([A-E])\)?\}?", gold)
    if letter:
        for form in ("({})", "{}.", r"\text{{({})}}", "Option {}", r"\textbf{{({})}}", "({}) 12 apples", "{}: because"):
            yield f"as {form}", form.format(letter[1])
