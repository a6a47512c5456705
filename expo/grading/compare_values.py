"""Compare single values: quantities, letters, words, dates, times, ratios, numerals, remainders.

Each function takes the gold form and the answer's form, and returns True, False, None if undecidable, a `Ruling` of its
own, or `NEXT` to leave the decision to another.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from expo.grading import numeric
from expo.grading.equality import equal
from expo.grading.expression import Node, number, parse
from expo.grading.forms import Choice, Congruence, Date, Form, Numeral, Quantity, Ratio, Time, Words
from expo.grading.quantities import LIGHT
from expo.grading.rational import exact, free, has
from expo.grading.tokens import words
from expo.grading.units import UNITS, Unit

# A decimal with this many places is right to half a unit of the sixth place, and to one part in a million.
PLACES = 6
# How far a number may be off, as a fraction of the gold.
tolerance: ContextVar[float] = ContextVar("tolerance", default=0.0)


class Ruling(NamedTuple):
    """True, False, or None if undecidable; `rule` says in words what decided."""

    right: bool | None
    rule: str


NEXT = object()
_NO_SOLUTION = re.compile(r"no (?:real )?(?:solutions?|roots?)|empty set", re.IGNORECASE)
_NUMBER_WORDS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand "
    "million half"
)


def quantities(gold: Quantity, answer: Quantity) -> Ruling:
    """Compare a formula and its unit with another."""
    for said, missing in ((gold.senses - answer.senses, "answer"), (answer.senses - gold.senses, "gold")):
        if said and gold.senses and answer.senses:
            return Ruling(False, f"{_listed(gold.senses)} is not {_listed(answer.senses)}")
        if said - LIGHT:
            return Ruling(None, f"{_listed(said)} is missing in the {missing}")
    if gold.percent or answer.percent:
        return _percent(gold, answer)
    gold, answer = _letter_as_unit(answer, gold), _letter_as_unit(gold, answer)
    a, b = gold.unit, answer.unit
    if not a.blank and not b.blank:
        if a.powers and b.powers and a.powers != b.powers:
            return Ruling(False, "different units")
        if a.powers and b.powers and a.factor != b.factor:
            scaled = [("*", x.node, number(x.unit.factor)) for x in (gold, answer)]
            return Ruling(equal(*scaled), "the values in a common unit")
        if not a.powers and not b.powers and not (set(a.named) <= set(b.named) or set(b.named) <= set(a.named)):
            return Ruling(False, "different things are counted")
        if bool(a.powers) != bool(b.powers):
            return Ruling(False, "a unit in place of a count")
    return Ruling(_same_value(gold, answer), "values" if a.blank and b.blank else "the values, ignoring the unit")


def _letter_as_unit(other: Quantity, product: Quantity) -> Quantity:
    """5m, read as a product, is 5 metres if the other side is a length."""
    if not product.unit.blank or len(product.node) != 3 or product.node[0] != "*" or product.node[2][0] != "v":
        return product
    dimension, factor = UNITS.get(product.node[2][1], ("", Fraction(1)))
    if other.unit.powers != ((dimension, 1),):
        return product
    return replace(product, node=product.node[1], unit=Unit(other.unit.powers, factor))


def _listed(words: frozenset[str]) -> str:
    return " ".join(sorted(words))


def _percent(gold: Quantity, answer: Quantity) -> Ruling:
    if not (gold.unit.blank and answer.unit.blank):
        return Ruling(False, "a percentage in place of a unit")
    bare = [replace(x, percent=False) for x in (gold, answer)]
    if gold.percent and answer.percent:
        return Ruling(_same_value(*bare), "percentages")
    hundredth = [replace(x, node=("*", x.node, number(Fraction(1, 100))), places=0) for x in bare]
    if gold.percent:
        right = _same_value(*bare) or _same_value(hundredth[0], bare[1])
    else:
        right = _same_value(*bare) or _same_value(bare[0], hundredth[1])
    return Ruling(right, "a percent sign on only one side: a unit, or a hundredth")


def _same_value(gold: Quantity, answer: Quantity) -> bool:
    places = min(filter(None, (gold.places, answer.places)), default=0)
    node = _one_imaginary(gold.node, answer.node)
    share = Fraction(tolerance.get())
    known = not (free(gold.node) or free(node) or has(gold.node, "log") or has(node, "log"))
    if (places >= PLACES or share) and known:
        a, b = _as_fraction(gold.node), _as_fraction(node)
        if a is not None and b is not None:
            return a == b or abs(a - b) <= share * abs(a) or (places >= PLACES and _near(a, b))
    return equal(gold.node, node)


def _near(a: Fraction, b: Fraction) -> bool:
    gap = abs(a - b)
    return gap <= Fraction(1, 2_000_000) and gap * 1_000_000 <= abs(a)


def _as_fraction(node: Node) -> Fraction | None:
    if (value := exact(node)) is not None:
        return value
    result = numeric.value(node, {"log": 1})
    return None if result.imag != 0 else Fraction(str(result.real))


def _one_imaginary(gold: Node, answer: Node) -> Node:
    """The answer with j as its imaginary unit if the gold has i."""
    if has(gold, "i") and not has(answer, "i") and "j" in free(answer) - free(gold):
        return replaced(answer, ("v", "j"), ("c", "i"))
    return answer


def replaced(node: Node, old: Node, new: Node) -> Node:
    """A formula with one node replaced by another."""
    if node == old:
        return new
    return tuple(replaced(x, old, new) if isinstance(x, tuple) else x for x in node)


def word_lists(gold: Words, answer: Words) -> bool:
    """Compare words, ignoring case. There are several ways of saying that there is no solution."""
    a, b = (re.sub("does not exist", "dne", " ".join(form.words), flags=re.IGNORECASE) for form in (gold, answer))
    a, b = a.replace("DNE", "dne"), b.replace("DNE", "dne")
    if _NO_SOLUTION.fullmatch(a) and _NO_SOLUTION.fullmatch(b):
        return True
    # xy and yx are the same product; letters that may be a word are not.
    product = re.fullmatch(r"[b-df-hj-np-tv-z]{2,3}", a) and len(gold.words) == len(answer.words) == 1
    return a == b or bool(product and sorted(a) == sorted(b))


def dates(gold: Date, answer: Date) -> bool:
    """Compare days."""
    return gold == answer


def times(gold: Time, answer: Time) -> bool:
    """Compare times of day; a.m. or p.m. may be omitted."""
    if gold.half and answer.half and gold.half != answer.half:
        return False
    a, b = gold.hour, answer.hour
    if gold.half != answer.half:
        # 15:30 is 3:30 p.m.
        half = gold.half or answer.half
        a, b = (h if h > 12 else h % 12 + 12 * (half == "p") for h in (a, b))
    elif gold.half:
        a, b = a % 12, b % 12
    return (a, gold.minute, gold.second) == (b, answer.minute, answer.second)


def ratios(gold: Ratio, answer: Ratio) -> bool | None:
    """Compare ratios with the same number of parts, up to a factor."""
    if len(gold.parts) != len(answer.parts):
        return False
    for ratio in (gold, answer):
        # 2 cm : 3 m is not 2:3.
        if len({(part.unit.powers, part.unit.factor, part.percent) for part in ratio.parts}) > 1:
            return None
    a, b = gold.parts, answer.parts
    zeros = [[exact(x.node) == 0 for x in parts] for parts in (a, b)]
    if zeros[0] != zeros[1] or all(zeros[1]):
        return False
    cross = [equal(("*", a[0].node, b[i].node), ("*", b[0].node, a[i].node)) for i in range(1, len(a))]
    return all(cross)


def ratio_of_time(gold: Ratio, answer: Time) -> object:
    """10:30 in place of 1:3, if the gold is a ratio."""
    if answer.half or len(gold.parts) != 2 or answer.second:
        return NEXT
    if answer.hour == 0 or answer.minute == 0:
        return False
    return equal(("*", gold.parts[0].node, number(answer.minute)), ("*", number(answer.hour), gold.parts[1].node))


def ratio_as_quotient(gold: Form, answer: Form) -> object:
    """2/3 in place of 2:3."""
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    assert isinstance(ratio, Ratio)
    assert isinstance(other, Quantity)
    # 1:2 is 1/2 only if it is written as a fraction: 3:2 in place of 1.5 says something else.
    quotient = exact(other.node)
    if len(ratio.parts) != 2 or other.places or quotient is None or quotient.denominator == 1:
        return False
    return equal(other.node, ("*", ratio.parts[0].node, ("^", ratio.parts[1].node, number(-1))))


def numerals(gold: Numeral, answer: Numeral) -> bool:
    """Compare digits in the same base."""
    return gold == answer


def numeral_and_number(gold: Form, answer: Form) -> bool:
    """A numeral in place of a bare number: only in base 10."""
    numeral, other = (gold, answer) if isinstance(gold, Numeral) else (answer, gold)
    assert isinstance(numeral, Numeral)
    assert isinstance(other, Quantity)
    # Base 10 need not be named.
    return numeral.base == 10 and exact(other.node) == int(numeral.digits)


def congruences(gold: Congruence, answer: Congruence) -> bool:
    """Compare remainders."""
    gap = exact(("+", gold.node, ("*", number(-1), answer.node)))
    modulus = exact(gold.modulus)
    return (
        equal(gold.modulus, answer.modulus)
        and gap is not None
        and bool(modulus)
        and (gap / (modulus or 1)).denominator == 1
    )


def congruence_for_number(gold: Quantity, answer: Congruence) -> bool:
    """4 (mod 9) in place of 4: the remainder itself."""
    value, modulus = exact(answer.node), exact(answer.modulus)
    is_reduced = value is None or modulus is None or 0 <= value < modulus
    return is_reduced and equal(gold.node, answer.node)


def number_for_congruence(gold: Congruence, answer: Quantity) -> bool:
    """4 in place of 4 (mod 9)."""
    return equal(gold.node, answer.node)


def number_words(gold: Form, answer: Words) -> object:
    """Words in place of a number: number words are not read."""
    if len(answer.words) <= 4 and set(answer.words) & _NUMBER_WORDS and isinstance(gold, Quantity):
        return Ruling(None, "a number written in words is not read")
    return False


def letters(gold: Choice, answer: Choice) -> bool:
    """Compare letters."""
    return gold.letter == answer.letter


def letter_as_variable(gold: Choice | Quantity, answer: Choice | Quantity) -> bool:
    """A letter in place of a formula."""
    a, b = (Quantity(parse(x.letter)) if isinstance(x, Choice) else x for x in (gold, answer))
    return _same_value(a, b)


def word_as_product(gold: Form, answer: Form) -> object:
    """`xy`, read as a word, in place of a formula: a product of letters."""
    word, other = (gold, answer) if isinstance(gold, Words) else (answer, gold)
    assert isinstance(word, Words)
    assert isinstance(other, Quantity)
    if len(word.words) != 1 or len(word.words[0]) > 3 or not free(other.node):
        return NEXT
    nodes = [parse(x.words[0]) if isinstance(x, Words) else x.node for x in (gold, answer)]  # type: ignore[union-attr]
    return equal(*nodes)
