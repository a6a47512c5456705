"""Read the form of an answer from its notation alone; nothing is computed, and unknown notation is rejected."""

from __future__ import annotations

import re

from expo.grading import expression
from expo.grading.expression import FUNCTIONS, GREEK, NotMathsError
from expo.grading.forms import Collection, Congruence, Equation, Form, Named, Quantity, Ratio, Relation, Union, Words
from expo.grading.literals import read_date, read_numeral, read_time, read_words
from expo.grading.quantities import quantity, sum_of_units, without_remark
from expo.grading.tokens import words

_NO_NAMES = words(
    "sqrt half twice double triple third quarter not minus negative times plus squared cubed reciprocal root inverse"
    " opposite isn never other except wrong false incorrect"
    " one two three four five six seven eight nine ten"
)
# TeX commands that name a thing, besides Greek letters.
_NAMING = words("angle overline bar vec hat triangle square widehat circ prime mathbb mathcal ell")
_SIGNS = re.compile(r"\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|\\ne(?![a-zA-Z])|<|>")
_SETTER = re.compile(r"^(?P<name>[a-zA-Z]) ?(?:\\in(?![a-zA-Z])) ?")
_BOTH = re.compile(
    r"(?P<name>[a-zA-Z]) ?(?P<first><|>|\\[lg]e(?![a-zA-Z])) ?(?P<a>[^<>=,]{1,60}?) ?(?:,? ?\band\b|,|\\land) "
    r"?(?P=name) ?(?P<second><|>|\\[lg]e(?![a-zA-Z])) ?(?P<b>[^<>=,]{1,60})"
)
_TURNED = {">": "<", r"\ge": r"\le"}
# { x | x > 3 }
_BUILDER = re.compile(
    r"\\?\{ ?(?P<name>[a-zA-Z]) ?(?:\\in ?\\mathbb ?\{? ?R ?\}? ?)?(?:\\mid(?![a-zA-Z])|\||:)"
    r"(?P<condition>[^|{}]*?)\\?\}"
)
_JOINED = re.compile(r" ?[,;]? \b(?:and|or|und)\b ", re.IGNORECASE)
_OR = re.compile(r" ?,? \bor\b | ?\\cup(?![a-zA-Z]) ?|\\lor(?![a-zA-Z])", re.IGNORECASE)


def read(text: str) -> Form:
    """The form of an answer that has been normalised (see `writing.plain`).

    Raises:
        NotMathsError: if it has none.
    """
    if len(text) == 0:
        raise NotMathsError("the answer is empty")
    if (numeral := read_numeral(text)) is not None:
        return numeral
    if (builder := _BUILDER.fullmatch(text)) and _SIGNS.search(builder["condition"]):
        return read(builder["condition"].strip())
    text = without_remark(text)
    for reader in (read_date, read_time, read_words, _several, _set, _congruence, _relation, _equation, _ratio):
        form = reader(text)
        if form is not None:
            return form
    return quantity(text)


def _ratio(text: str) -> Form | None:
    parts = split(re.sub(r"\\(?:colon|ratio)(?![a-zA-Z])|\bto\b(?= ?[-\d\\(a-z])(?! ?the\b)", ":", text), ":")
    if len(parts) < 2 or not all(parts):
        return None
    try:
        return Ratio(tuple(quantity(part) for part in parts))
    except NotMathsError:
        return None


def split(text: str, marks: str) -> list[str]:
    """The parts between marks that are outside all brackets."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in marks and depth <= 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]


def _bracketed(text: str) -> tuple[str, list[str]] | None:
    bare = text.replace(r"\{", "{").replace(r"\}", "}")
    if len(bare) < 3 or bare[0] not in "([{" or bare[-1] not in ")]}":
        return None
    depth = 0
    for i, char in enumerate(bare):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and i < len(bare) - 1:
            return None
    if depth:
        return None
    inside = bare[1:-1].strip()
    inside = _JOINED.sub(", ", inside) if bare[0] == "{" or "," in inside else inside
    items = split(inside, ",;")
    return (bare[0] + bare[-1], items) if len(items) > 1 or bare[0] == "{" else None


def _several(text: str) -> Form | None:
    mixed = sum_of_units(text)
    if mixed is not None:
        return mixed
    if signed := re.search(r"\\pm(?![a-zA-Z])|\\mp(?![a-zA-Z])|\+/-|\+-", text):
        other = {r"\pm": "+-", r"\mp": "-+"}.get(signed[0], "+-")
        both = []
        for sign, opposite in ((other[0], other[1]), (other[1], other[0])):
            one = re.sub(r"\\pm(?![a-zA-Z])|\+/-|\+-", f" {sign} ", text)
            one = re.sub(r"\\mp(?![a-zA-Z])", f" {opposite} ", one)
            both.append(re.sub(r"^ \+ |(?<=[(,=]) \+ ", " ", one).strip())
        return _list([item for one in both for item in split(one, ",;")])
    if bracketed := _bracketed(text):
        kind, items = bracketed
        if not any(items):
            return Words(("empty", "set"))
        return Collection(kind, tuple(read(item) for item in items))
    if _OR.search(text) and (union := _union(text)):
        return union
    if bounds := _BOTH.fullmatch(text):
        return _between(bounds)
    if ";" in text and len(groups := split(text, ";")) > 1:
        return _list(groups)
    joined = _JOINED.sub(", ", text)
    joined = re.sub(r"^(?:both|either) |,\s*(?=,)", "", joined).strip(" ,")
    items = split(joined, ",")
    if len(items) > 1:
        if not all(items):
            raise NotMathsError(f"an item is empty in {text!r}")
        return _list(items)
    if re.fullmatch(r"-?\d+(?:\.\d+)?(?: -?\d+(?:\.\d+)?)+", text):
        return Collection(" ", tuple(quantity(item) for item in text.split()))
    return None


def _between(both: re.Match[str]) -> Form | None:
    """Combine x > 2 and x < 5 into 2 < x < 5; None if both bounds are on the same side."""
    bounds = {both["first"]: both["a"], both["second"]: both["b"]}
    low = next((sign for sign in bounds if sign in (">", r"\ge")), None)
    high = next((sign for sign in bounds if sign in ("<", r"\le")), None)
    if low is None or high is None:
        return None
    return _relation(f"{bounds[low]} {_TURNED[low]} {both['name']} {high} {bounds[high]}")


def _list(items: list[str]) -> Form:
    forms = [read(item) for item in items]
    if all(isinstance(form, Named) and len(form.names) == 1 for form in forms):
        names = tuple(form.names[0] for form in forms)  # type: ignore[union-attr]
        values = tuple(form.values[0] for form in forms)  # type: ignore[union-attr]
        if len(set(names)) == len(names):
            return Named(names, values)
        if len(set(names)) == 1:
            return Collection(",", values)
    elif isinstance(forms[0], Named) and not any(isinstance(form, Named) for form in forms[1:]):
        # x = 1, 2
        return Collection(",", (*forms[0].values, *forms[1:]))
    # 5 and 6 cm: the unit applies to all.
    last = forms[-1]
    if (
        isinstance(last, Quantity)
        and last.unit.powers
        and all(isinstance(f, Quantity) and f.unit.blank for f in forms[:-1])
    ):
        forms = [Quantity(f.node, last.unit, f.percent, f.places, f.senses) for f in forms if isinstance(f, Quantity)]
    return Collection(",", tuple(forms))


def _union(text: str) -> Form | None:
    parts = [part.strip() for part in _OR.split(text)]
    try:
        forms = tuple(_subset(part) for part in parts)
    except NotMathsError:
        return None
    return Union(forms) if all(forms) else None  # type: ignore[arg-type]


def _subset(text: str) -> Form | None:
    if (bracketed := _bracketed(text)) and len(bracketed[1]) == 2 and bracketed[0] != "{}":
        return read(text)
    if bracketed and bracketed[0] == "{}":
        return read(text)
    return _relation(text) if _SIGNS.search(text) else None


def _set(text: str) -> Form | None:
    if re.fullmatch(r"\\\{ ?\\\}", text):
        return Words(("empty", "set"))
    if re.fullmatch(
        r"(?:[a-zA-Z] ?\\in ?)?(?:\\mathbb ?\{? ?R ?\}?|\( ?- ?\\infty ?, ?\\infty ?\))|all real(?:s| numbers)?",
        text,
    ):
        return Union((Collection("()", (quantity(r"-\infty"), quantity(r"\infty"))),))
    if setter := _SETTER.match(text):
        return read(text[setter.end() :])
    return None


def _congruence(text: str) -> Form | None:
    match = re.fullmatch(
        r"(?P<left>.*?)(?:\\(?:p?mod|pod)(?![a-zA-Z])|\( ?(?:mod|\\bmod|\\mod) ?(?=[^()]*\)$)) ?"
        r"\{?(?P<modulus>[\w ]+)\}? ?\)?",
        text,
    )
    if match is None or r"\bmod" in match["left"] or match["left"].rstrip().endswith(r"\b"):
        return None
    left = [side.strip() for side in re.split(r"\\equiv(?![a-zA-Z])|=", match["left"])]
    if not left[-1]:
        return None
    modulus = expression.parse(match["modulus"])
    value = expression.parse(left[-1])
    if len(left) == 1:
        return Congruence(value, modulus)
    if len(left) == 2 and is_name(left[0]):
        return Named((left[0].replace(" ", ""),), (Congruence(value, modulus),))
    if len(left) == 2:
        # The comparison decides whether it is true: both sides, and the modulus.
        return Equation((rf"({left[0]}) \bmod ({match['modulus']})", left[1]))
    return None


def is_name(text: str) -> bool:
    r"""Whether a side of an equation only names a thing: x, f(2), (x, y), \angle ABC, total cost."""
    text = text.strip()
    if re.search(r"\d", re.sub(r"_ ?(?:\{[^{}]*\}|\w)|\([^()]*\)", "", text)) or not re.search(r"[a-zA-Z]", text):
        return False
    if re.fullmatch(r"\\frac ?\{ ?[A-Z]{1,3} ?\} ?\{ ?[A-Z]{1,3} ?\}|[A-Z]{2} ?/ ?[A-Z]{2}", text):
        return True
    if re.search(
        r"[-+*^<>{}]", re.sub(r"_ ?\{[^{}]*\}|\([^()]*\)|\\[a-z]+\{[A-Za-z]+\}|(?<=[a-z])-(?=[a-z])", "", text)
    ):
        return False
    if re.search(r"/|\|", text):
        return False
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    if commands - _NAMING - GREEK or ("Delta" in commands and text != r"\Delta"):
        return False
    said = set(re.findall("[a-z]+", text.lower()))
    if said & (FUNCTIONS.keys() | _NO_NAMES) or re.search(r"n't\b|\b(?:square|cube|log) of\b", text):
        return False
    if re.fullmatch(r"\((?: ?[a-zA-Z] ?,)+ ?[a-zA-Z] ?\)", text):
        return True
    # Brackets belong to a name if they hold the argument of a function or a probability: f(2), P(A), never x(x - 1).
    bare = re.sub(r"(?:(?<=[fghkpqFGHPQRSTVCNAEDLMWf])|(?<=[a-z]{3}))('{0,2}) ?\([^()]*\)", "", text)
    if "," in bare or "(" in bare:
        return False
    # Letters side by side are a product, except for a segment such as "AB"; "ab" and "xyz" are not names.
    return not re.fullmatch(r"[a-z]{2}|[b-df-hj-np-tv-z]{3}|e|i", bare.strip())


def _equation(text: str) -> Form | None:
    # The = of \sum_{k=1} is inside braces.
    sides = split(text.replace("==", "="), "=")
    if len(sides) < 2:
        return None
    if not all(sides):
        raise NotMathsError(f"a side is empty in {text!r}")
    if len(sides) == 2:
        for name, value in (sides, sides[::-1]):
            if is_name(name) and (value == sides[1] or not is_name(value)):
                return _named(_name(name), read(value))
    return Equation(tuple(sides))


def _named(name: str, value: Form) -> Named:
    """x = 5; (x, y) = (1, 2) names both."""
    letters = re.fullmatch(r"\(([a-zA-Z](?:,[a-zA-Z])+)\)", name)
    if letters and isinstance(value, Collection) and value.kind == "()":
        names = tuple(letters[1].split(","))
        if len(names) == len(value.items) == len(set(names)):
            return Named(names, value.items)
    return Named((name,), (value,))


def _name(text: str) -> str:
    return re.sub(r"\\(?:overline|bar|vec)|[{} ]", "", text)


def _relation(text: str) -> Form | None:
    signs = _SIGNS.findall(text)
    if not signs:
        return None
    if len(split(text, "=")) > 1:
        return Equation(tuple(split(text, "=")))
    sides = [expression.parse(side) for side in _SIGNS.split(text)]
    return Relation(tuple(sides), tuple(signs))
