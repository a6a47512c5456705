"""The last number of a text, whatever the text states: many harnesses use it as the answer for GSM8K."""

from __future__ import annotations

import re

# Close to flexible-extract of lm-evaluation-harness (lm_eval/tasks/gsm8k/gsm8k.yaml), which also accepts dots without a
# digit as a number.
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def last_number(text: str) -> str | None:
    """The last number, without dollar signs and thousands separators; None if there is none."""
    found = [n.replace("$", "").replace(",", "").rstrip(".") for n in _NUMBER.findall(text)]
    return next((n for n in reversed(found) if re.search(r"\d", n)), None)
