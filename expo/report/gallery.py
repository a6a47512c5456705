"""The page of all artefacts of a folder, in the paper's order: pictures, and links to tables and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from expo.report.toy import MARK


class Kind(NamedTuple):
    """Artefacts that show the same for different runs: how their names begin, and what they show."""

    begins: str  # a regular expression
    title: str
    shows: str


PAPER = (
    Kind("table1", "Table 1", "Has each kind of positive the paper's two properties, likely and helpful?"),
    Kind("fig1", "Figure 1", "Accuracy by level before and after training, and how often a group has a right sample."),
    Kind("fig2", "Figure 2", "How likely self-explanations, expert CoTs and own CoTs are under the policy."),
    Kind("fig3", "Figure 3", "How often the self-explanation has more true steps than the own CoT."),
    Kind("example1", "Example 1", "A question with its own CoT and its self-explanation, step by step."),
    Kind("table2", "Table 2", "Pass@4 of DPO with self-explanations against expert CoTs, offline and online."),
    Kind("fig4", "Figure 4", "Accuracy at the hardest level over training on that level."),
    Kind("fig5", "Figure 5", "Accuracy over training on all levels."),
    Kind("table3", "Table 3", "Pass@k by level of trained policies, beside more samples of the bases."),
    Kind("fig6", "Figure 6", "Pass@4 and loss over DPO, by what is preferred."),
    Kind("fig7", "Figure 7", "Pass@4 of DPO over training, offline and online, at all levels."),
    Kind("fig8", "Figure 8", "Pass@4 of DPO over training, offline and online, at the easy levels."),
    Kind("table4", "Table 4", "Pass@4 at each level after DPO, beside SFT and the bases."),
    Kind("fig9", "Figure 9", "Accuracy at the easy levels over training on all levels."),
)
BEYOND = (
    Kind("property1-temperature", "Likelihood by temperature", "At which sampling temperatures does Property 1 hold?"),
    Kind(
        "where-the-answer-acts",
        "Where the answer acts",
        "Which tokens of a self-explanation the answer makes likelier.",
    ),
    Kind(
        "change",
        "Positives after training",
        "How training changes the likelihood and the help of each kind of positive.",
    ),
    Kind(
        "(posterior|best)",
        "Which self-explanation to train on",
        "The first, one drawn by weight, the likeliest, or parts.",
    ),
    Kind("controls", "Controls of training", "Is it the explanation, or would any positive do?"),
    Kind("(rates|screening|matched|grid)", "Trainings by setting", "Accuracy by method, learning rate and weight."),
    Kind(
        "by-rate", "Trainings by learning rate", "Accuracy of each method at each rate: a method is judged at its best."
    ),
    Kind("by-base", "Trainings one by one", "Accuracy of each base with each method, before and after."),
    Kind("splits", "Trainings by split", "Accuracy on the training questions and on others, before and after."),
    Kind("after-training", "Beyond accuracy", "Length, variety, entropy and calibration before and after training."),
    Kind("example", "A question before and after", "What policies write for one question, by method."),
    Kind("forgetting", "Forgetting", "Accuracy at the levels that were not trained on."),
    Kind(
        "dpo", "DPO in detail", "Loss, drift and accuracy by learning rate, and how likely winners are beside losers."
    ),
    Kind("gradients", "Angles between gradients", "Cosines of gradients of positives, beside what Lemma 1 assumes."),
    Kind("t1-t2", "T1 against T2", "Which of the two terms of Equation 6 decides, measured."),
    Kind("predictors", "What predicts a gain", "Which number of a positive ranks what a step on it gains."),
    Kind(
        "predicted", "Predicted and realised gains", "The change of J after a step against its first-order prediction."
    ),
    Kind("kinds", "Slopes by kind of positive", "How steeply J rises along the gradient of each kind of positive."),
    Kind("slopes", "Slopes over training", "How that slope changes while a policy is trained."),
)
THEORY = (
    Kind("ledger", "The ledger of claims", "Every formal claim of the paper with its verdict and the evidence."),
    Kind("verdicts", "Claims by part of the paper", "What became of the claims of each part of the paper."),
    Kind("t2-over-t1", "Equation 6", "T2 can outweigh T1 where a right sample is unlikely."),
    Kind("lemma1", "Lemma 1", "Where the cross term falls as a positive becomes likelier."),
    Kind("lemma2", "Lemma 2", "What self-explanations gain if Bayes' rule draws them."),
    Kind("prompt-radius", "Lemma 2 for prompts", "How near to Bayes' rule a prompted sampler must be."),
    Kind("appendix-b", "Appendix B of the paper", "A push of one logit against a gradient step."),
    Kind("grpo-weight", "GRPO on hard questions", "How often a group of samples has no signal."),
)
AUDITS = (Kind("audit", "Audits of baselines", "Accuracy of the same samples by grader, token limit and k."),)
OTHERS = (Kind(".*", "Others", "Artefacts that are under no other heading."),)
SECTIONS = {
    "In the paper": PAPER,
    "Not in the paper": BEYOND,
    "Theory": THEORY,
    "Audits": AUDITS,
    "Others": OTHERS,
}
# Where a visitor begins: of these pictures, those that there are.
FIRST = (
    *("fig4-smollm2-135m-letters", "property1-temperature-smollm2-135m-gsm8k", "fig2-smollm2-135m-gsm8k"),
    *("best-posterior-tiny", "verdicts"),
)
_LINKS = {".svg": "SVG", ".html": "page", ".csv": "numbers (CSV)"}


def gallery(ledger: Mapping[str, Mapping[str, Any]]) -> str:
    """The page in Markdown, for all artefacts of a `provenance.json`."""
    held = _by_kind(ledger)
    parts = [
        "# Figures and tables",
        "Made by `expo reproduce` from records. Each reading is computed from the numbers, which are in the CSV.",
        *_first(ledger),
        "## Contents",
        "\n".join(_contents(held, ledger)),
    ]
    for section, kinds in SECTIONS.items():
        if shown := [kind for kind in kinds if held[kind]]:
            parts.append(f"## {section}")
        for kind in shown:
            parts += [f"### {kind.title}", kind.shows]
            parts += [part for name in held[kind] for part in _entry(name, ledger[name])]
    return "\n\n".join(parts) + "\n"


def _first(ledger: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The pictures to begin with; each leads to its place below, where its numbers are."""
    names = [name for name in FIRST if name in ledger]
    shown = [f"[{_image(name, ledger[name])}](#{_anchor(_heading(name, ledger[name]))})" for name in names]
    return ["## Begin here", *shown] if shown else []


def _by_kind(ledger: Mapping[str, Any]) -> dict[Kind, list[str]]:
    """The names of each kind, toys last; a name belongs to the first kind whose beginning fits."""
    held: dict[Kind, list[str]] = {kind: [] for kinds in SECTIONS.values() for kind in kinds}
    for name in sorted(ledger, key=lambda name: (_is_toy(ledger[name]), name)):
        held[next(kind for kind in held if re.match(f"({kind.begins})(-|$)", name))].append(name)
    return held


def _contents(held: Mapping[Kind, Sequence[str]], ledger: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each artefact below its section and kind: what a picture found, the name of a table."""
    lines = []
    for section, kinds in SECTIONS.items():
        if shown := [kind for kind in kinds if held[kind]]:
            lines.append(f"- [{section}](#{_anchor(section)})")
        for kind in shown:
            lines.append(f"  - {kind.title}")
            for name in held[kind]:
                heading = _heading(name, ledger[name])
                lines.append(f"    - [{_finding(ledger[name]) or heading}](#{_anchor(heading)})")
    return lines


def _finding(entry: Mapping[str, Any]) -> str:
    """The heading of a picture without its figure in the paper, as the words of a link; empty for a table."""
    found = re.sub(r"^After the paper's [^,]+, ", "", str(entry.get("heading", "")))
    return re.sub(r"([][])", r"\\\1", re.sub("^on the toy", "On the toy", found))


def _entry(name: str, entry: Mapping[str, Any]) -> list[str]:
    """A picture or a link to a page, links to its other files, and its reading, which opens with a click."""
    files = {PurePath(file).suffix: file for file in entry["files"]}
    picture, page = files.get(".png"), files.get(".md")
    shown = [_image(name, entry)] if picture else [f"[**The table**]({page})"] if page else []
    links = " · ".join(f"[{words}]({files[suffix]})" for suffix, words in _LINKS.items() if suffix in files)
    parts = [f"#### {_heading(name, entry)}", *shown, links]
    if reading := entry.get("reading"):
        parts += ["<details><summary>In words</summary>", reading, *filter(None, [entry.get("setting")]), "</details>"]
    return parts


def _image(name: str, entry: Mapping[str, Any]) -> str:
    """The picture; who does not see it reads its finding."""
    return f"![{re.sub(r'[][]', '', entry.get('heading', name))}]({name}.png)"


def _heading(name: str, entry: Mapping[str, Any]) -> str:
    return name + MARK * _is_toy(entry)


def _is_toy(entry: Mapping[str, Any]) -> bool:
    return any(run.get("toy") for run in entry["runs"])


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
