"""The words, colours and order of the ledger's pages."""

from __future__ import annotations

from collections.abc import Mapping

from theory.ledger import STRENGTHS, Entry

# What each verdict means, in the order in which verdicts are listed.
MEANS = {
    "proved": "by z3 or sympy, for any size that the claim is about",
    "exact": "in rational arithmetic on all instances that were drawn, or by a proof for the given sizes",
    "sampled": "in floating point, within a derived tolerance",
    "holds under an added assumption": "it fails as printed, and holds with an assumption that the paper does not make",
    "first order only": "it fails as printed, and holds to first order",
    "depends on the reading": "one reading of it holds, and another fails",
    "refuted": "it has a counterexample, the smallest one that a search of its domain finds",
    "contradicted by the paper's own table": "the printed numbers say otherwise",
    "undecided": "a test is missing, has failed, or shows something other than expected",
}
# Light enough to write on: readers who cannot tell red from green can still tell blue, yellow and orange apart.
COLOURS = {
    "proved": "#84BEE8",
    "exact": "#A8D1F2",
    "sampled": "#C6E2F9",
    "holds under an added assumption": "#F7EC86",
    "first order only": "#F7EC86",
    "depends on the reading": "#F7EC86",
    "refuted": "#F0A45F",
    "contradicted by the paper's own table": "#E58B50",
    "undecided": "#B8B8B8",
}
# So that nobody depends on the colours: what holds, what holds in part, and what fails.
SYMBOLS = {
    "proved": "✓",
    "exact": "✓",
    "sampled": "✓",
    "holds under an added assumption": "◐",
    "first order only": "◐",
    "depends on the reading": "◐",
    "refuted": "✗",
    "contradicted by the paper's own table": "✗",
    "undecided": "?",
}
LEGEND = (
    "Each verdict is computed from the tests that ran. A claim is as strong as the weakest of its tests and of the "
    "claims that it uses, and it is undecided if one of these is not as expected. If a printed claim fails and a "
    "corrected one holds, the verdict says how the two differ, and the strength of what holds is in brackets. "
    "Everything that is said to hold has a negative control, a false variant that the same kind of check refuted. "
    "Claims 'beyond the paper' are ours. A claim of the paper says how near our statement is to the paper's sentence. "
    "A reader judged this nearness, and how a corrected claim differs from a printed one; no test decides them."
)
_TITLES = {
    "improvement": "Policy improvement (Section 3.2, Eqs 1 to 6)",
    "lemma1": "Lemma 1 (Section 3.2, Appendix A)",
    "properties": "Properties 1 and 2 (Sections 3.2 and 3.3)",
    "lemma2": "Self-explanations and Lemma 2 (Section 4, Appendix A)",
    "objectives": "DPO, the ExP-SFT term and KL (Sections 4.1 and 5)",
    "grpo": "GRPO and ExP-GRPO (Sections 1 and 5.2)",
    "shifts": "Probability shifts (Appendix B)",
    "printed": "Printed numbers and the example (Section 6, Appendix C)",
    "passk": "Pass@k",
    "practice": "What the theory means for a training",
    "statistics": "Statistics of a measurement",
    "weights": "Weights, choices and masks of a positive",
}


def part_title(area: str) -> str:
    """The title of a part, which holds the claims of one file."""
    return _TITLES.get(area, area)


def by_part(entries: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    """The claims by area, in the order of the files."""
    parts: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        parts.setdefault(entry.claim.area, {})[name] = entry
    return parts


def shown_verdict(entry: Entry) -> str:
    """The verdict, followed by the strength of what holds if the verdict does not give it."""
    silent = entry.strength and entry.green and entry.verdict not in STRENGTHS
    return f"{entry.verdict} ({entry.strength})" if silent else entry.verdict
