"""The last number of a text, whatever the text states: what many harnesses take for the answer of GSM8K."""

from __future__ import annotations

import re

# Nearly as flexible-extract of lm-evaluation-harness looks for it (lm_eval/tasks/gsm8k/gsm8k.yaml), which also takes
# dots without a digit for a number.
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def last_number(text: str) -> str | None:
    """The last number, without dollar signs and thousands separators; None if there is none."""
    found = [n.replace("$", "").replace(",", "").rstrip(".") for n in _NUMBER.findall(text)]
    return next((n for n in reversed(found) if re.search(r"\d", n)), None)
