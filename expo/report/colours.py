"""A colour for each kind of positive and each method, the same in every picture and page.

The first six are from Okabe and Ito (2008). `tests/report/test_style.py` computes how far apart all of them look.
"""

from __future__ import annotations

from expo.report.words import plain_method

# In the order of NAMES. A test compares all that can appear in one picture, also as colour-blind readers see them.
COLOURS = {
    "explanation": "#0072B2",
    "expert": "#D55E00",
    "own": "#444444",
    "own_correct": "#009E73",
    "wrong_explanation": "#CC79A7",
    "nonsense": "#56B4E9",
    "answer": "#7A2E00",
    "posterior": "#2A14B4",
    "best_signal": "#2D003C",
    "best_joint": "#96C369",
    "right": "#0F4B69",
}
METHOD_COLOURS = {**COLOURS, "none": COLOURS["own"], "base": "#BBBBBB", "again": "#6E6E7D"}
METHOD_COLOURS |= {
    f"{algorithm}_{source}": colour for algorithm in ("sft", "dpo") for source, colour in COLOURS.items()
}
METHOD_COLOURS["sft_explanation+none"] = "#96C369"
METHOD_COLOURS |= {f"dpo_{source}_online": colour for source, colour in COLOURS.items()}


def method_colour(method: str) -> str:
    """The colour of a method is that of its positives. A variant has the colour of its method."""
    return METHOD_COLOURS.get(method) or METHOD_COLOURS[plain_method(method)]


def line_style(method: str) -> str:
    """Dotted without own samples (SFT), dashed if pairs are resampled while the policy is trained."""
    plain = plain_method(method)
    if plain.startswith("sft_") and "+" not in plain:
        return ":"
    return "--" if plain.endswith("_online") else "-"
