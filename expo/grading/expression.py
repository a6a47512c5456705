r"""A parser of formulas in TeX or plain notation, which builds a small tree and rejects what it does not know.

Nodes are tuples: ("n", Fraction), ("v", name), ("c", "pi" | "e" | "i" | "oo"), ("+", a, b, ...), ("*", a, b, ...),
("^", a, b), ("f", name, a, ...), ("sum" | "prod", variable, from, to, body), ("m", rows) for a matrix.

More than 300 lines: the methods of one recursive descent parser, which call each other throughout.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from expo.grading.lexer import FUNCTIONS, GREEK, NotMathsError, Token, dotted, repeating, tokenize

MAX_DEPTH = 60


Node = tuple[Any, ...]
TRIG = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_TIMES = frozenset(("*", r"\cdot", r"\times", r"\ast"))


def number(value: int | Fraction) -> Node:
    """The node of a number."""
    return ("n", Fraction(value))


def parse(text: str) -> Node:
    """Parse a formula into a tree.

    Raises:
        NotMathsError: if it is not a formula; the message has the part that is not understood.
    """
    parser = _Parser(text)
    node = parser.sum()
    if parser.take(r"\choose"):
        node = ("f", "binom", node, parser.sum())
    if parser.peek() != ("end", ""):
        raise NotMathsError(f"{parser.peek()[1]!r} in {text!r} is not understood")
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.at = self.depth = self.in_function = self.bars = 0

    # ---- tokens

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        kind, text, _ = self.tokens[min(self.at + ahead, len(self.tokens) - 1)]
        return kind, text

    def take(self, *texts: str) -> str | None:
        if self.peek()[0] in ("sym", "cmd") and self.peek()[1] in texts:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def need(self, *texts: str) -> None:
        if not self.take(*texts):
            raise NotMathsError(f"{texts[0]!r} is missing in {self.text!r}")

    # ---- grammar, loosest first

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotMathsError("too deep")
        terms = [self.term()]
        while sign := self.take("+", "-"):
            term = self.term()
            terms.append(term if sign == "+" else ("*", number(-1), term))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("+", *terms)

    def term(self, stop_at_function: bool = False) -> Node:
        if sign := self.take("+", "-"):
            inner = self.term(stop_at_function)
            return inner if sign == "+" else ("*", number(-1), inner)
        factors = [self.factor()]
        while True:
            kind, text = self.peek()
            if text in _TIMES and kind in ("sym", "cmd"):
                if stop_at_function:
                    break
                self.at += 1
                factors.append(self.signed())
            elif kind == "word" and text in ("x", "X") and self.is_cross():
                self.at += 1
                factors.append(self.signed())
            elif text in ("/", r"\div") and kind in ("sym", "cmd"):
                if stop_at_function and not self.is_plain_quotient():
                    break
                self.at += 1
                factors.append(("^", self.signed(), number(-1)))
            elif text in (r"\bmod", r"\mod") or (kind, text) == ("func", "mod"):
                self.at += 1
                left = factors[0] if len(factors) == 1 else ("*", *factors)
                factors = [("f", "mod", left, self.factor())]
            elif self.begins_factor() and not (stop_at_function and self.is_function()):
                factors.append(self.side_by_side())
            else:
                break
        return factors[0] if len(factors) == 1 else ("*", *factors)

    def side_by_side(self) -> Node:
        """A factor without a preceding sign. Two numbers in a row are a mixed number or an error, not a product."""
        last = self.tokens[self.at - 1]
        if self.peek()[0] in ("num", "repeat"):
            if last.kind in ("num", "repeat"):
                raise NotMathsError(f"two numbers in a row in {self.text!r}")
            # (2)3 is a product, x^{2}3 is an error.
            if last.text in ("]", "}", "°", "'") or (last.text == "!" and self.peek(1)[1] != "!"):
                raise NotMathsError(f"a number after {last.text!r} in {self.text!r}")
        return self.factor()

    def signed(self) -> Node:
        if sign := self.take("+", "-"):
            inner = self.signed()
            return inner if sign == "+" else ("*", number(-1), inner)
        return self.factor()

    def is_cross(self) -> bool:
        """Whether the letter x here is a times sign, between two numbers: `3 x 10^8`, `3x4`."""
        before, after = self.tokens[self.at - 1], self.peek(1)
        if before[0] != "num" and before[1] != ")":
            return False
        return after[0] == "num" and (self.tokens[self.at][2] == self.tokens[self.at + 1][2])

    def is_plain_quotient(self) -> bool:
        return self.peek(1)[0] == "num" or self.peek(1)[1] in (r"\pi",)

    def is_function(self) -> bool:
        kind, text = self.peek()
        return kind == "func" or (kind == "cmd" and text[1:] in FUNCTIONS)

    def begins_factor(self) -> bool:
        kind, text = self.peek()
        if kind in ("num", "repeat", "word", "func"):
            return text != "mod"
        if kind == "sym":
            return text in "({[" or (text == "|" and not self.bars)
        if kind == "cmd":
            return text not in _TIMES and text not in (
                r"\}", r"\rfloor", r"\rceil", r"\rvert", r"\div",
                r"\bmod", r"\pmod", r"\mod", r"\\", r"\end", r"\choose",
            )  # fmt: skip
        return False

    def factor(self) -> Node:
        """A primary with its exponents and suffixes."""
        first = self.at
        base = self.primary()
        mixed = self.mixed(first)
        if mixed is not None:
            return mixed
        return self.behind(base)

    def behind(self, base: Node) -> Node:
        while True:
            if self.take("!"):
                if self.peek()[1] == "!":
                    raise NotMathsError("a double factorial")
                base = ("f", "factorial", base)
            elif self.take("°"):
                if self.in_function:
                    base = ("*", base, ("c", "pi"), ("n", Fraction(1, 180)))
            elif self.take("^"):
                exponent = self.script()
                base = ("^", base, exponent)
            elif self.take("%"):
                base = ("*", base, ("n", Fraction(1, 100)))
            else:
                return base

    def mixed(self, first: int) -> Node | None:
        r"""4\frac{1}{2} or 3 1/5, starting at the token `first`; None if there is none."""
        whole = self.tokens[first]
        if whole[0] != "num" or not whole[1].isdigit() or self.at != first + 1:
            return None
        before = self.tokens[first - 1] if first else Token("start", "", False)
        if before[1] in ("^", "_", "/") or before[0] == "num":
            return None
        if self.peek()[1] == r"\frac":
            match = re.match(r"\\frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))", self.rest_text())
            over, under = (int(match[1] or match[2]), int(match[3] or match[4])) if match else (0, 0)
            if match is None or not under:
                return None
            if over >= under:
                raise NotMathsError(f"a mixed number or a product in {self.text!r}")
            self.primary()
        elif (
            self.peek()[0] == "num" and self.tokens[self.at][2] and self.peek(1)[1] == "/" and self.peek(2)[0] == "num"
        ):
            over_text, under_text = self.peek()[1], self.peek(2)[1]
            if not (over_text.isdigit() and under_text.isdigit()):
                return None
            over, under = int(over_text), int(under_text)
            if not under or over >= under:
                raise NotMathsError(f"no mixed number in {self.text!r}")
            self.at += 3
        else:
            return None
        return ("n", Fraction(whole[1]) + Fraction(over, under))

    def rest_text(self) -> str:
        return "".join(t for _, t, _ in self.tokens[self.at : self.at + 12])

    def script(self) -> Node:
        """The content of an exponent: a group, or a single symbol."""
        if self.take("{"):
            return self.group("}")
        if sign := self.take("-", "+"):
            inner = self.script()
            return ("*", number(-1), inner) if sign == "-" else inner
        kind, text = self.peek()
        if kind == "num" or kind in ("word", "func", "cmd") or text == "(":
            inner = self.primary()
            if self.peek()[1] == "^":
                self.at += 1
                return ("^", inner, self.script())
            if self.peek()[1] == "!":
                raise NotMathsError(f"an exponent with '!' in {self.text!r}")
            return inner
        raise NotMathsError(f"no exponent in {self.text!r}")

    def group(self, *close: str) -> Node:
        before, self.bars = self.bars, 0
        inner = self.sum()
        if self.take(r"\choose"):
            inner = ("f", "binom", inner, self.sum())
        self.need(*close)
        self.bars = before
        return inner

    def primary(self) -> Node:
        kind, text = self.peek()
        self.at += 1
        if kind == "num":
            if not text[-1].isdigit():
                return ("n", dotted(text))
            return ("n", Fraction(text))
        if kind == "repeat":
            whole, digits = text.split()
            return ("n", repeating(whole, digits))
        if kind == "func":
            return self.function(text)
        if kind == "word":
            return self.letter(text)
        if kind == "sym":
            if text in "([{":
                return self.group({"(": ")", "[": "]", "{": "}"}[text])
            if text == "|":
                return self.bar("|")
        if kind == "cmd":
            return self.command(text[1:])
        self.at -= 1
        if kind == "unknown":
            raise NotMathsError(f"the word {text!r} is not a formula")
        raise NotMathsError(f"{text or 'the end'!r} in {self.text!r} is not understood")

    def bar(self, close: str) -> Node:
        before, self.bars = self.bars, self.bars + 1
        inner = self.sum()
        self.need(close, "|", r"\rvert", r"\vert")
        self.bars = before
        return ("f", "abs", inner)

    def letter(self, name: str) -> Node:
        subscript = self.subscript()
        while self.take("'"):
            subscript += "'"
        if not subscript:
            if name in ("e", "i"):
                return ("c", name)
            if name in ("f", "g", "h", "F", "G") and self.peek()[1] == "(" and not self.tokens[self.at][2]:
                self.at += 1
                return ("f", f"{name}()", self.group(")"))
        return ("v", name + subscript)

    def subscript(self) -> str:
        if not self.take("_"):
            return ""
        if self.take("{"):
            inside, depth = "", 1
            while depth:
                kind, text = self.peek()
                if kind == "end":
                    raise NotMathsError(f"a subscript does not end in {self.text!r}")
                self.at += 1
                depth += (text == "{") - (text == "}")
                inside += text if depth else ""
            return "_" + inside
        kind, text = self.peek()
        if kind not in ("num", "word", "func", "cmd"):
            raise NotMathsError(f"no subscript in {self.text!r}")
        self.at += 1
        return "_" + text

    def command(self, name: str) -> Node:
        if name == "frac":
            over, under = self.argument(), self.argument()
            return ("*", over, ("^", under, number(-1)))
        if name == "sqrt":
            index: Node = number(2)
            if self.take("["):
                index = self.group("]")
            return ("^", self.argument(), ("^", index, number(-1)))
        if name == "pi":
            return ("c", "pi")
        if name == "infty":
            return ("c", "oo")
        if name in ("overline", "vec", "hat", "bar", "widehat", "mathbb", "mathcal", "overrightarrow"):
            raise NotMathsError(f"\\{name} in {self.text!r}")
        if name in GREEK:
            return self.letter(f"\\{name}")
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name in ("binom", "dbinom", "tbinom"):
            return ("f", "binom", self.argument(), self.argument())
        if name in ("sum", "prod"):
            return self.series(name)
        if name == "lfloor":
            inner = self.group(r"\rfloor")
            return ("f", "floor", inner)
        if name == "lceil":
            return ("f", "ceil", self.group(r"\rceil"))
        if name in ("lvert", "vert"):
            return self.bar(r"\rvert")
        if name == "begin":
            return self.matrix()
        raise NotMathsError(f"\\{name} in {self.text!r} is not understood")

    def argument(self) -> Node:
        r"""A TeX argument: a group, or one symbol, such as only the 7 of \frac72. In plain notation also `(...)`."""
        if self.take("{"):
            return self.group("}")
        if self.take("("):
            return self.group(")")
        kind, text, spaced = self.tokens[self.at]
        if kind == "num":
            taken = re.match(r"\d", text) if self.tokens[self.at - 1][1] != r"\sqrt" else re.match(r".+", text)
            if taken is None:
                raise NotMathsError(f"no argument in {self.text!r}")
            digits = taken[0]
            if len(digits) == len(text):
                self.at += 1
            else:
                self.tokens[self.at] = Token(kind, text[len(digits) :], spaced)
                # The token before the rest has changed.
                self.tokens.insert(self.at, Token(kind, digits, spaced))
                self.at += 1
            return ("n", Fraction(digits))
        if kind in ("word", "cmd"):
            return self.primary()
        raise NotMathsError(f"no argument in {self.text!r}")

    def function(self, name: str) -> Node:
        if name in ("sqrt", "pi", "infinity", "inf"):
            return self.command({"infinity": "infty", "inf": "infty"}.get(name, name))
        base = exponent = None
        if name in ("log", "ln") and self.take("_"):
            base = self.script() if self.peek()[1] in ("{", "(") else self.argument()
        if self.take("^"):
            exponent = self.script()
            if exponent in (number(-1), ("*", number(-1), number(1))):
                name, exponent = _INVERSE.get(name, ""), None
                if not name:
                    raise NotMathsError(f"an inverse in {self.text!r}")
        if name == "log" and self.take("_"):
            base = self.script() if self.peek()[1] == "{" else self.argument()
        self.in_function += name in TRIG
        arguments = self.arguments(name)
        self.in_function -= name in TRIG
        if base is not None:
            value: Node = ("*", ("f", "ln", *arguments), ("^", ("f", "ln", base), number(-1)))
        elif name == "log10":
            value = ("*", ("f", "ln", *arguments), ("^", ("f", "ln", number(10)), number(-1)))
        elif name == "exp":
            value = ("^", ("c", "e"), *arguments)
        else:
            value = ("f", name, *arguments)
        return value if exponent is None else ("^", value, exponent)

    def arguments(self, name: str) -> list[Node]:
        if self.peek()[1] in ("(", "{", "["):
            close = {"(": ")", "{": "}", "[": "]"}[self.peek()[1]]
            self.at += 1
            return [self.group(close)]
        if sign := self.take("-", "+"):
            inner = self.term(stop_at_function=True)
            return [("*", number(-1), inner) if sign == "-" else inner]
        return [self.term(stop_at_function=True)]

    def series(self, name: str) -> Node:
        self.need("_")
        self.need("{")
        kind, variable = self.peek()
        if kind != "word":
            raise NotMathsError(f"no index in {self.text!r}")
        self.at += 1
        self.need("=")
        low = self.group("}")
        self.need("^")
        high = self.script()
        body = self.term()
        return ("sum" if name == "sum" else "prod", variable, low, high, body)

    def matrix(self) -> Node:
        rows: list[list[Node]] = [[]]
        self.need("{")
        name = ""
        while not self.take("}"):
            if self.peek()[0] == "end":
                raise NotMathsError("begin")
            name += self.peek()[1]
            self.at += 1
        if name == "array":
            self.need("{")
            while not self.take("}"):
                if self.peek()[0] == "end":
                    raise NotMathsError("array")
                self.at += 1
        elif name not in ("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix"):
            raise NotMathsError(f"{name} in {self.text!r}")
        while True:
            rows[-1].append(self.sum())
            if self.take("&"):
                continue
            if self.take(r"\\"):
                if self.peek()[1] == r"\end":
                    break
                rows.append([])
                continue
            break
        self.need(r"\end")
        self.need("{")
        while not self.take("}"):
            if self.peek()[0] == "end":
                raise NotMathsError("end")
            self.at += 1
        if name.startswith(("v", "V")) or len({len(row) for row in rows}) > 1:
            raise NotMathsError(f"a determinant or ragged rows in {self.text!r}")
        return ("m", tuple(map(tuple, rows)))
