"""Whether an answer is right for a gold answer, and the rule that settled it.

Both are first read as forms, from their notation alone (see `reading`). Forms of different kinds are compared only if a
rule here says that one can stand for the other. Undecidable cases are unsure, and never right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from expo.grading import compare_parts as parts
from expo.grading import compare_values as values
from expo.grading import regions
from expo.grading.compare_values import Ruling
from expo.grading.expression import NotMathsError
from expo.grading.forms import (
    Choice,
    Collection,
    Congruence,
    Date,
    Equation,
    Form,
    Named,
    Numeral,
    Quantity,
    Ratio,
    Relation,
    Time,
    Union,
    Words,
)
from expo.grading.literals import choice
from expo.grading.rational import NoValueError
from expo.grading.reading import is_name, read
from expo.grading.writing import plain

Kinds = tuple[type | tuple[type, ...], type | tuple[type, ...]]
_CALLED = {
    Quantity: "a number or formula", Choice: "a letter", Words: "words", Date: "a date", Time: "a time of day",
    Ratio: "a ratio",
    Numeral: "a numeral with its base", Congruence: "a remainder", Collection: "a collection", Named: "a named value",
    Equation: "an equation", Relation: "an inequality", Union: "a set of numbers",
}  # fmt: skip
_ANY = (Quantity, Choice, Words, Date, Time, Ratio, Numeral, Congruence, Collection, Named, Equation, Relation, Union)
Judge = Callable[[Any, Any], object]


def _in_parts(judge: Callable[[Any, Any, parts.Compare], object]) -> Judge:
    return lambda gold, answer: judge(gold, answer, compare)


# The first rule that decides wins.
_RULES: tuple[tuple[Kinds, str, Judge], ...] = (
    ((Quantity, Quantity), "values", values.quantities),
    ((Choice, Choice), "letters", values.letters),
    ((Choice, Quantity), "a letter as a variable", values.letter_as_variable),
    ((Quantity, Choice), "a letter as a variable", values.letter_as_variable),
    ((Words, Words), "words", values.word_lists),
    ((Words, Quantity), "letters as a product", values.word_as_product),
    ((Quantity, Words), "letters as a product", values.word_as_product),
    ((Date, Date), "dates", values.dates),
    ((Time, Time), "times of day", values.times),
    ((Ratio, Ratio), "ratios", values.ratios),
    ((Ratio, Time), "ratios", values.ratio_of_time),
    ((Ratio, Quantity), "a ratio as a fraction", values.ratio_as_quotient),
    ((Quantity, Ratio), "a ratio as a fraction", values.ratio_as_quotient),
    ((Numeral, Numeral), "numerals in a base", values.numerals),
    ((Numeral, Quantity), "a numeral must name its base", values.numeral_and_number),
    ((Quantity, Numeral), "the question does not ask for a base", values.numeral_and_number),
    ((Congruence, Congruence), "remainders", values.congruences),
    ((Quantity, Congruence), "a remainder's value", values.congruence_for_number),
    ((Congruence, Quantity), "a remainder's value", values.number_for_congruence),
    ((Named, Named), "named values", _in_parts(parts.both_named)),
    ((Equation, Named), "equations", _in_parts(parts.named_for_equation)),
    ((_ANY, Named), "a named value", _in_parts(parts.named_for_value)),
    ((Named, _ANY), "the value of a named quantity", _in_parts(parts.value_for_named)),
    ((Equation, Equation), "equations", _in_parts(parts.two_equations)),
    ((_ANY, Equation), "the right side of an equation", _in_parts(parts.equation_for_value)),
    ((Relation, Relation), "inequalities", regions.relations),
    (((Relation, Union), (Collection, Relation, Union)), "sets of numbers", regions.regions),
    ((Collection, (Relation, Union)), "sets of numbers", regions.regions),
    ((Collection, Collection), "collections", _in_parts(parts.collections)),
    ((Quantity, Collection), "the rows of a matrix", _in_parts(parts.matrix_of_rows)),
    ((Collection, _ANY), "a set of one", _in_parts(parts.single_set)),
    ((_ANY, Collection), "a set of one", _in_parts(parts.single_set)),
    ((Quantity, Words), "words for a number", values.number_words),
)


def settle(gold: str, answer: str, tolerance: float = 0.0) -> Ruling:
    """The ruling on an answer as written; numbers may be off by `tolerance`, a fraction of the gold.

    Raises:
        NotMathsError: if the gold answer cannot be read.
    """
    values.tolerance.set(tolerance)
    wanted, given = plain(gold), plain(answer)
    form = read(wanted)
    if not given:
        return Ruling(None, "the answer is empty")
    if _squeezed(wanted) == _squeezed(given):
        return Ruling(True, "the same text")
    if isinstance(form, Choice) and form.letter.isupper() and (letter := choice(given)):
        # For a multiple choice the case does not matter; R and r are two variables.
        alike = letter == form.letter or (letter.upper() == form.letter.upper() and form.letter.upper() in "ABCDEFGH")
        return Ruling(alike, "the letter of a choice")
    try:
        if len(sides := given.split(r"\approx")) == 2:
            return _approximated(form, *(side.strip() for side in sides))
        return compare(form, read(given))
    except NotMathsError as error:
        return Ruling(None, str(error))
    except NoValueError as error:
        return Ruling(None, f"no value can be computed: {error}")
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, RecursionError) as error:
        # Policies produce answers that no test covers; an unforeseen error means not right.
        return Ruling(None, f"the comparison failed: {type(error).__name__}")


def _approximated(gold: Form, exact: str, decimal: str) -> Ruling:
    r"""2\sqrt{3} \approx 3.46 is read as the exact side if the decimal is close to it; x \approx 5 is 5."""
    if not exact or is_name(exact):
        return compare(gold, read(decimal))
    ruling = compare(gold, read(exact))
    before = values.tolerance.set(0.01)
    is_near = compare(read(exact), read(decimal)).right
    values.tolerance.reset(before)
    return ruling if is_near or not ruling.right else Ruling(None, f"{decimal!r} is not close to {exact!r}")


def _squeezed(text: str) -> str:
    """The text without spaces that separate nothing."""
    return re.sub(r"(?<!\w) | (?!\w)", "", text)


def compare(gold: Form, answer: Form) -> Ruling:
    """The ruling on two forms.

    Raises:
        NoValueError: if a value needed for the decision cannot be computed.
    """
    for kinds, rule, judge in _RULES:
        if isinstance(gold, kinds[0]) and isinstance(answer, kinds[1]):
            right = judge(gold, answer)
            if isinstance(right, Ruling):
                return right
            if right is None or isinstance(right, bool):
                return Ruling(right, rule)
    return Ruling(False, f"{_called(answer)} in place of {_called(gold)}")


def _called(form: Form) -> str:
    return _CALLED[type(form)]


@lru_cache(maxsize=4096)
def readable(gold: str) -> bool:
    """Whether a gold answer has a form, and each formula in it has a value."""
    try:
        read(plain(gold))
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError):
        return False
    return True
