"""Numbers and steps that the paper prints, with their places, and the arithmetic that the claims about them need."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import product

Cell = tuple[str, str, str]

# Table 2, lines 270 and 271: per benchmark, from left to right.
TABLE2 = {
    "MATH": ("45.7", "38.7", "50.2", "53.6", "54.3", "43.7", "60.4", "49.3"),
    "GSM8K": ("71.2", "63.7", "81.5", "74.4", "80.1", "69.6", "85.4", "76.3"),
}
# Table 4, lines 496 and 497; its header, lines 494 and 495, says which column is which.
TABLE4 = {
    "MATH": ("45.7", "38.7", "50.2", "53.6", "54.3", "43.7", "60.4", "49.3"),
    "GSM8K": ("71.2", "63.7", "81.5", "74.4", "80.1", "69.6", "85.4", "76.3"),
}
COLUMNS = tuple(product(("LLaMA", "Qwen"), ("offline", "online"), ("self-explanation", "expert")))

# Table 3, lines 299 to 305: MATH levels 1 to 5, percentages, Qwen2.5-3B-Instruct.
LEVEL_SIZES = (437, 894, 1131, 1214, 1324)
TABLE3 = {
    "ExP-GRPO pass@4": (96, 91, 86, 76, 23),
    "GRPO SFT-GT-CoT pass@4": (95, 89, 83, 65, 12),
    "GRPO pass@4": (91, 84, 77, 39, 2),
    "Base pass@64": (97, 88, 75, 32, 4),
    "Base pass@128": (97, 93, 80, 42, 9),
}
# A percentage printed without decimals may be off by this much.
ROUNDING = Fraction(1, 200)

# Names of the Qwen model, by line.
QWEN_NAMES = {
    34: "Qwen2.5-3B-Instruct",
    212: "Qwen2 3B-Instruct",
    245: "Qwen2 3B-Instruct",
    268: "Qwen2.5-3B-Instruct",
    278: "Qwen2.5-3B-Instruct",
    295: "Qwen2.5-3B-Instruct",
    307: "Qwen2.5-3B-Instruct",
    437: "QWEN-2.5-3B-instruct",
    439: "QWEN-2.5-3B-instruct",
    504: "Qwen2.5-3B-Instruct",
    509: "Qwen2.5-3B-Instruct",
}

# The box of Example 1, line 449: both sides of each card.
BOX = ("BB", "BB", "BB", "BR", "RR", "RR")
# Everything that the two answers state about it, as often as they do and in their order, except for what the question
# gives (the cards of each kind, two sides each): (line, quantity, value).
SELF_EXPLANATION = (
    (467, "red sides of red cards", Fraction(4)),
    (467, "red sides of mixed cards", Fraction(1)),
    (469, "red sides", Fraction(5)),
    (473, "red sides", Fraction(5)),
    (473, "sides", Fraction(6)),
    (475, "P(red)", Fraction(5, 6)),
    (477, "red sides of red cards", Fraction(4)),
    (477, "red sides of mixed cards", Fraction(1)),
    (479, "red sides of red cards", Fraction(4)),
    (479, "red sides", Fraction(5)),
    (481, "P(other red | red)", Fraction(4, 5)),
    (483, "red sides", Fraction(5)),
    (483, "sides", Fraction(6)),
    (483, "cards red on both sides", Fraction(4)),
    (483, "red sides of mixed cards", Fraction(1)),
    (483, "P(other red | red)", Fraction(4, 5)),
)
STANDARD_COT = (
    (455, "red sides of red cards", Fraction(4)),
    (455, "red sides of mixed cards", Fraction(1)),
    (455, "red sides", Fraction(5)),
    (457, "sides of black cards", Fraction(6)),
    (457, "sides of red cards", Fraction(4)),
    (457, "sides", Fraction(10)),
    (459, "red sides", Fraction(5)),
    (459, "red sides of red cards", Fraction(5)),
    (459, "red sides", Fraction(5)),
    (459, "red sides of red cards", Fraction(5)),
    (459, "P(other red | red)", Fraction(1)),
    (461, "P(other red | red)", Fraction(1)),
)


def table4(benchmark: str, model: str, scheme: str) -> dict[str, Fraction]:
    """The two printed pass@4 of a cell of Table 4, in percent, by winner: self-explanation or expert."""
    row = dict(zip(COLUMNS, TABLE4[benchmark], strict=True))
    return {winner: Fraction(row[model, scheme, winner]) for winner in ("self-explanation", "expert")}


def cells() -> dict[Cell, dict[str, Fraction]]:
    """All eight cells of Table 4 by (benchmark, model, scheme). Claim T2."""
    keys = product(TABLE4, ("LLaMA", "Qwen"), ("offline", "online"))
    return {key: table4(*key) for key in keys}


def online_gain(benchmark: str, model: str, winner: str) -> Fraction:
    """Online minus offline pass@4 of Table 4, in points. Claims T2-on, F8."""
    return table4(benchmark, model, "online")[winner] - table4(benchmark, model, "offline")[winner]


def share(levels: tuple[int, ...], over: str = "GRPO pass@4", slack: Fraction = Fraction(0)) -> Fraction:
    """Share of ExP-GRPO's gain over a method that lies in some levels of Table 3. Claim T3-maj.

    `slack` in [-1, 1] moves every printed percentage by that part of `ROUNDING`, those of the chosen levels in favour
    of them and those of the others against: the least share is at -1, the largest at 1.
    """
    for level in levels:
        _level(level)
    if not -1 <= slack <= 1:
        raise ValueError(f"slack must lie in [-1, 1], got {slack}")
    gains: dict[bool, Fraction] = {True: Fraction(0), False: Fraction(0)}
    for level, (n, a, b) in enumerate(zip(LEVEL_SIZES, TABLE3["ExP-GRPO pass@4"], TABLE3[over], strict=True), start=1):
        chosen = level in levels
        gains[chosen] += n * (Fraction(a - b, 100) + (1 if chosen else -1) * slack * 2 * ROUNDING)
    return gains[True] / (gains[True] + gains[False])


def spread(level: int) -> int:
    """Best minus worst of the three trained methods at a level of Table 3, in points. Claim T3-easy."""
    column = [TABLE3[name][_level(level) - 1] for name in TABLE3 if name.endswith("pass@4")]
    return max(column) - min(column)


def rate(name: str, level: int) -> Fraction:
    """A printed percentage of Table 3 as a fraction."""
    return Fraction(TABLE3[name][_level(level) - 1], 100)


def _level(level: int) -> int:
    if level not in range(1, 6):
        raise ValueError(f"level must be from 1 to 5, got {level!r}")
    return level


def box() -> Mapping[str, Fraction]:
    """The true values of the quantities of Example 1, counted over all (card, side) of the box. Claim EX1."""
    seen = [(card[side], card[1 - side]) for card in BOX for side in (0, 1)]
    red = [pair for pair in seen if pair[0] == "R"]
    both = [pair for pair in red if pair[1] == "R"]
    return {
        "sides": Fraction(len(seen)),
        "red sides": Fraction(len(red)),
        "red sides of red cards": Fraction(len(both)),
        "red sides of mixed cards": Fraction(len(red) - len(both)),
        "sides of black cards": Fraction(2 * BOX.count("BB")),
        "sides of red cards": Fraction(2 * BOX.count("RR")),
        "cards red on both sides": Fraction(BOX.count("RR")),
        "P(red)": Fraction(len(red), len(seen)),
        "P(other red | red)": Fraction(len(both), len(red)),
    }
