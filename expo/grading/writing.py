r"""The formatting of an answer: characters, fonts, colours and spaces that do not change what it says.

`plain` gives one line in a small language that `expression` and `forms` can read: ASCII and TeX commands, the words of
`\text{}` between spaces, a degree sign as `°`, a currency as its code (`USD 5`).
"""

from __future__ import annotations

import re
import unicodedata

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
        **dict.fromkeys(
            "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
        ),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("·⋅∙•", r" \cdot "),
        **dict.fromkeys("∕⁄／", "/"),
        **dict.fromkeys("‘’ʼ′", "'"),
        **dict.fromkeys("“”„«»「」", '"'),
        "×": r" \times ",
        "÷": "/",
        "√": r"\sqrt ",
        "°": "°",
        "º": "°",
        "˚": "°",
        "℃": "°C",
        "℉": "°F",
        "≤": r" \le ",
        "≥": r" \ge ",
        "⩽": r" \le ",
        "⩾": r" \ge ",
        "≠": r" \ne ",
        "≈": r" \approx ",
        "≅": r" \approx ",
        "±": r" \pm ",
        "∓": r" \mp ",
        "∞": r" \infty ",
        "∪": r" \cup ",
        "∩": r" \cap ",
        "∈": r" \in ",
        "≡": r" \equiv ",
        "∑": r"\sum ",
        "∏": r"\prod ",
        "∅": r" \emptyset ",
        "ℝ": r" \mathbb{R} ",
        "π": r" \pi ",
        "θ": r" \theta ",
        "⌊": r"\lfloor ",
        "⌋": r"\rfloor ",
        "…": "...",
        "。": ".",
        "、": ", ",
    }
)
CURRENCIES = {
    "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "￥": "JPY", "₱": "PHP", "₩": "KRW", "₫": "VND", "₦": "NGN",
    "₽": "RUB", "₹": "INR", "₺": "TRY", "₴": "UAH", "₪": "ILS", "฿": "THB", "₡": "CRC", "₲": "PYG", "₵": "GHS",
}  # fmt: skip
CODES = "|".join(
    (*dict.fromkeys(CURRENCIES.values()), "CNY", "RMB", "CAD", "AUD", "CHF", "SEK", "NOK", "DKK", "PLN", "BRL", "MXN")
)
# Their content is text, or maths in another font.
_FACES = (
    r"text(?:bf|it|rm|normal|tt|sf|sc|up)?|mathrm|mathbf|mathit|mathsf|mathtt|mathnormal|boldsymbol|bm|pmb|emph|underline|mbox|hbox"
    r"|operatorname\*?|ensuremath|fbox|boxed|framebox|Large|large"
)
# Placed before a single letter that TeX sets as text: 5\text{ m} is not a product.
TEXT_LETTER = "\ue000"
_ROW = "\ue001"
_TEXT = ("text", "textrm", "textnormal", "mathrm", "mbox", "hbox")
_COLOUR = r"(?:textcolor|colorbox|color)\s*(?:\[[^\[\]]*\])?\s*\{[^{}]*\}"
_FACE = re.compile(rf"\\(?P<face>{_FACES}|{_COLOUR})\s*(?:\[[^\[\]]*\])?\s*\{{")
_SWITCH = re.compile(
    r"\\(?:bf|rm|it|tt|sf|em|bfseries|itshape|tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge"
    r"|displaystyle|textstyle|scriptstyle|left|right|[bB]igg?[lrm]?|middle|limits|nolimits|mathstrut|strut|nobreak|hfill|quad|qquad"
    r"|thinspace|medspace|thickspace|enspace|hspace\s*\{[^{}]*\}|vspace\s*\{[^{}]*\})(?![a-zA-Z])\.?"
)
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:(?:,\d{3})+|(?: \d{3})+)(?![\d,])(?! \d)")


def plain(text: str) -> str:
    """The answer on one line without its formatting; empty if nothing is left."""
    # A new row of a matrix, protected from the handling of a backslash before a symbol.
    text = _raise(text.strip()).replace("\\\\", _ROW)
    text = _fractions(text).translate(_CHARACTERS)
    text = "".join(unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uff5e" else c for c in text)
    text = _faces(text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\langle(?![a-zA-Z])", "(", re.sub(r"\\rangle(?![a-zA-Z])", ")", text))
    text = re.sub(rf"{_ROW} ?\[[\d.]+ ?(?:pt|em|ex|mm|cm)\]", _ROW, text)
    text = re.sub(r"(?<=\d) ?\\Omega(?![a-zA-Z])", " Ω", text)
    # An answer need not say which whole numbers a letter stands for.
    text = re.sub(
        r"[,;]? ?\(?(?:where |for )?(?:any |all )?(?:integers? )?[a-z] ?\\in ?\\mathbb ?\{? ?[ZN] ?\}?\)?$", "", text
    )
    text = re.sub(r"\\(?:lbrace|lbrack)\b", lambda m: r"\{" if "brace" in m[0] else "[", text)
    text = re.sub(r"\\(?:rbrace|rbrack)\b", lambda m: r"\}" if "brace" in m[0] else "]", text)
    text = re.sub(r"\\(?:leqslant|leq|le)(?![a-zA-Z])|<=|=<", r" \\le ", text)
    text = re.sub(r"\\(?:geqslant|geq|ge)(?![a-zA-Z])|>=", r" \\ge ", text)
    text = re.sub(r"\\(?:neq|ne)(?![a-zA-Z])|!=", r" \\ne ", text)
    text = re.sub(r"\\lt(?![a-zA-Z])", " < ", text)
    text = re.sub(r"\\gt(?![a-zA-Z])", " > ", text)
    text = re.sub(r"\\(?:degrees?|textdegree)(?![a-zA-Z])|\^ ?(?:\\circ(?![a-zA-Z])|\{ ?\\circ ?\})", "°", text)
    text = re.sub(r"(?<=\d)(?:\{,\}|,\\!|\\[,:; !]) ?(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<!\\)\\[,:;!>/ ]|~", " ", text)
    for letter, name in (("C", "Celsius"), ("F", "Fahrenheit")):
        text = re.sub(rf"(?:°|\bdegrees?) ?(?:{letter}\b|{name}\b|{name.lower()}\b)", f" {name}", text)
    text = _SWITCH.sub(" ", text)
    text = _currency(text)
    text = re.sub(
        r" ?(?:\\?%|\b(?:per ?cent|pct)\b\.?)(?: ?(?:percentage )?points?\b)?| percentage points?\b", "%", text
    )
    text = re.sub(r"(?<=[\w)}\]])\*\*(?=[\w({\\-])", "^", text).replace("**", " ")
    text = re.sub(r"(?<![\w.\\])(\d+(?:\.\d+)?)[eE]\+?(-?\d+)(?![\w.])", r"\1 \\times 10^{\2}", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = _unmark(text).replace(_ROW, r"\\")
    if not re.search(r"[(\[]|\\\{", text):
        text = _THOUSANDS.sub(lambda m: re.sub("[ ,]", "", m[0]), text)
    return text


def _raise(text: str) -> str:
    raised = f"[{''.join(_RAISED)}]+"
    text = re.sub(raised, lambda m: "^{" + "".join(_RAISED[c] for c in m[0]) + "}", text)
    return re.sub(f"[{''.join(_LOWERED)}]+", lambda m: "_{" + "".join(_LOWERED[c] for c in m[0]) + "}", text)


def _fractions(text: str) -> str:
    def spelled(match: re.Match[str]) -> str:
        over, _, under = unicodedata.normalize("NFKC", match[0]).partition("⁄")
        return rf"\frac{{{over}}}{{{under}}}"

    return re.sub("[¼-¾⅐-⅞]", spelled, text)


def closing(text: str, at: int) -> int | None:
    """The index of the brace that closes the one at `at`; None if none does."""
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0:
            return brace.start()
    return None


def _faces(text: str) -> str:
    # Each round removes one, so there are at most as many rounds as braces.
    while match := _FACE.search(text):
        end = closing(text, match.end() - 1)
        if end is None:
            break
        inner = text[match.end() : end]
        if match["face"].startswith("operatorname"):
            inner = "\\" + inner.strip().lower() + " "
        elif match["face"] in _TEXT and (letter := re.fullmatch(r"\s*([a-zA-Z])(\s*(?:\^.*)?)", inner)):
            # This module does not decide which of them are units.
            inner = f"{TEXT_LETTER}{letter[1]}{letter[2]}"
        text = text[: match.start()] + " " + inner + " " + text[end + 1 :]
    return re.sub(rf"\\{_COLOUR}", " ", text)


def _currency(text: str) -> str:
    while match := re.fullmatch(r"\s*(?:\$\$?(.*?)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\])\s*[.,]?\s*", text, re.DOTALL):
        inner = next(x for x in match.groups() if x is not None)
        if re.search(r"(?<!\\)\$", inner):
            break
        text = inner
    text = re.sub(r"\\\(|\\\)|\\\[|\\\]", " ", text)
    text = re.sub(r"\b(?:US|U\.S\.) ?(?=\\?\$)", "", text)
    text = re.sub(r"\bR[sS]\.? ?(?=\d)|₨", " INR ", text)
    text = re.sub(r"\\(?:pounds|textsterling)(?![a-zA-Z])", " GBP ", text)
    text = re.sub(r"\\(?:euro|texteuro)(?![a-zA-Z])", " EUR ", text)
    text = re.sub(r"\\\$|(?<!\\)\$(?=[ +-]*\.?\d)|(?<=\d)\$(?![^$]*\$)", " USD ", text).replace("$", " ")
    for sign, code in CURRENCIES.items():
        if sign != "$":
            text = text.replace(sign, f" {code} ")
    return re.sub(rf"(?<=\d)({CODES})\b|\b({CODES})(?=\d)", lambda m: f" {m[0]} ", text)


_OPENING = re.compile(
    r"^(?:=>|->|=|:|\\(?:approx|sim|therefore)(?![a-zA-Z])"
    r"|(?:about|approximately|roughly|around|nearly|exactly|only|just)\b) *",
    re.IGNORECASE,
)
_PAIRS = (("**", "**"), ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'"), ("__", "__"), ("_", "_"))


def _unmark(text: str) -> str:
    """Remove quotes, marks of emphasis and full stops around it, and `=` or `about` before it."""
    before = None
    while text != before:
        before = text
        dots = re.search(r"\d\.\d+\.{3}(?=\.?$)", text.strip())
        text = text.strip()[: dots.end()] if dots else text.strip().rstrip(".,;:").strip()
        for left, right in _PAIRS:
            if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
                inner = text[len(left) : -len(right)]
                if left not in inner:
                    text = inner
        text = _OPENING.sub("", text)
        if text.startswith("{") and closing(text, 0) == len(text) - 1 and "," not in text:
            text = text[1:-1]
    return text
