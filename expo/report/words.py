"""Numbers and verdicts in words, the same in every table, picture and notebook."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from expo.stats import Interval

NAMES = {
    "explanation": "self-explanation",
    "expert": "expert CoT",
    "own": "own CoT",
    "own_correct": "own correct CoT",
    "wrong_explanation": "explanation of a wrong answer",
    "nonsense": "nonsense prefix",
    "answer": "bare answer",
    "posterior": "self-explanation drawn by weight",
    "best_signal": "self-explanation with the best learning signal",
    "best_joint": "likeliest self-explanation",
    "right": "self-explanation with a right answer",
}
# Trainings in the order of the paper's tables, then controls, then those without own samples, then DPO.
METHODS = {
    "explanation": "ExP-GRPO",
    "expert": "GRPO SFT-GT-CoT",
    "none": "GRPO",
    "sft_explanation+none": "GRPO after SFT on explanations",
    "own_correct": "GRPO + own correct CoT",
    "wrong_explanation": "GRPO + explanation of a wrong answer",
    "nonsense": "GRPO + nonsense prefix",
    "answer": "GRPO + bare answer",
    "sft_explanation": "SFT on explanations",
    "sft_expert": "SFT-GT-CoT",
    "sft_own_correct": "SFT on own correct CoTs",
    "sft_wrong_explanation": "SFT on explanations of wrong answers",
    "sft_nonsense": "SFT on nonsense prefixes",
    "sft_answer": "SFT on bare answers",
    **{
        f"dpo_{source}{suffix}": f"{sampling} {name}"
        for source, name in (
            ("explanation", "ExP-DPO"),
            ("expert", "DPO with expert CoT"),
            ("answer", "DPO with bare answer"),
            ("own_correct", "DPO with own correct CoT"),
            ("wrong_explanation", "DPO with explanation of a wrong answer"),
            ("nonsense", "DPO with nonsense prefix"),
        )
        for suffix, sampling in (("", "offline"), ("_online", "online"))
    },
    "again": "from a trained policy",
}
# What `method_of` appends to a method: which of several samples is learnt, and which of its tokens.
_CHOICES = {
    "posterior": "drawn by weight",
    "weighted": "all by weight",
    "best_signal": "best learning signal",
    "best_joint": "likeliest",
}
_TOKENS = {
    "least_moved": "tokens that the answer moves least",
    "most_moved": "tokens that the answer moves most",
    "random_half": "a random half of the tokens",
}
_VARIANT = re.compile(
    rf"(.+?)(?:_({'|'.join(_CHOICES)})_(\d+))?(?:_({'|'.join(_TOKENS)}))?(_failed)?(_right)?(_online)?"
)
UNITS = {"nll_sum": "per sequence", "nll_per_token": "per token", "answer_probability": "as a probability"}
MARKS = {"holds": "✓", "fails": "✗", "undecided": "?"}


class _Variant(NamedTuple):
    """A method of METHODS, or a name that is not one, and what `method_of` appended to it."""

    method: str
    choice: str = ""
    k: int = 0
    tokens: str = ""
    failed: bool = False
    right: bool = False

    @classmethod
    def of(cls, method: str) -> _Variant:
        """A method split into its parts."""
        found = _VARIANT.fullmatch(method)
        name, choice, k, tokens, failed, right, online = found.groups("") if found else [""] * 7
        return cls(name + online, choice, int(k or 0), tokens, bool(failed), bool(right))


def is_method(method: str) -> bool:
    """Whether this is the name of a training method."""
    return _Variant.of(method).method in METHODS


def plain_method(method: str) -> str:
    """The method of METHODS of which this one is a variant."""
    return _Variant.of(method).method


def method_order(method: str) -> tuple[int, ...]:
    """Methods in the order of METHODS, each with its variants, after everything that is not trained."""
    v = _Variant.of(method)
    place = list(METHODS).index(v.method) if v.method in METHODS else -1
    choices, tokens = (["", *known] for known in (_CHOICES, _TOKENS))
    return place, v.right, v.failed, tokens.index(v.tokens), choices.index(v.choice), v.k


def method_name(method: object) -> str:
    """The name of a method; for a base, that it is not trained."""
    v = _Variant.of(str(method))
    if v.method not in METHODS:
        return "before training"
    chosen = f"{_CHOICES[v.choice]} of {v.k}" if v.choice else ""
    right = "explanations with a right answer" if v.right else ""
    failed = "only where no sample is right" if v.failed else ""
    # No commas: names stand in lists.
    variant = "; ".join(filter(None, [chosen, right, failed, _TOKENS.get(v.tokens, "")]))
    return METHODS[v.method] + (f" ({variant})" if variant else "")


def verdict_mark(verdict: str) -> str:
    """`✓ holds`, `✗ fails` or `? undecided`."""
    return f"{MARKS[verdict]} {verdict}"


def number(x: float, digits: int = 3) -> str:
    """Three significant digits, no exponent for numbers of moderate size, a true minus sign."""
    if math.isnan(x):
        return "–"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == 0:
        return "0"
    text = f"{abs(x):.{digits - 1}e}"
    exponent = int(text.partition("e")[2])
    if -4 <= exponent < 6:
        text = f"{abs(x):.{max(0, digits - 1 - exponent)}f}"
    return f"−{text}" if x < 0 else text


def signed(x: float) -> str:
    """`number` with a plus sign if it is positive."""
    return f"+{number(x)}" if x > 0 else number(x)


def interval(estimate: Interval, sign: bool = False, finite_sample: Interval | None = None) -> str:
    """`−1.20 [−1.50, −0.900]`, the 95 % interval in brackets; one problem has none.

    With a second interval of the same mean: `0.60 [0.51, 0.69], finite-sample [0.45, 0.74]`.
    """
    second = f", finite-sample {_brackets(finite_sample, sign)}" if finite_sample else ""
    return f"{(signed if sign else number)(estimate.mean)} {_brackets(estimate, sign)}{second}"


def _brackets(estimate: Interval, sign: bool) -> str:
    show = signed if sign else number
    return f"[{show(estimate.low)}, {show(estimate.high)}]" if estimate.n != 1 else "[of one problem]"


def share(x: float) -> str:
    """A share as a percentage, with tenths below 10 %."""
    return "–" if math.isnan(x) else f"{100 * x:.1f} %" if 0 < x < 0.0995 else f"{100 * x:.0f} %"


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"


def levels_in_words(levels: Iterable[int] | None) -> str:
    """`level 3`, `levels 1, 2`, or the words for all levels."""
    named = [str(level) for level in levels or ()]
    return f"{'level' if len(named) == 1 else 'levels'} {', '.join(named)}" if named else "all levels"


def spanned(counts: Iterable[int]) -> str:
    """`6 to 27`, or `40` if all are the same."""
    ordered = sorted(counts)
    return f"{ordered[0]} to {ordered[-1]}" if ordered[0] != ordered[-1] else f"{ordered[0]}"
