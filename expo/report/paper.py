"""What the paper prints, as data with its place; shown beside measurements, but never in one column with them.

Zhou, Li, Zhang and Leqi (2025): "ExPO: Unlocking Hard Reasoning with Self-Explanation-Guided Reinforcement
Learning".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What a picture of the paper shows according to its caption, in our words, and what it leaves unsaid."""

    where: str
    model: str
    shows: str
    direction: str
    unsaid: str

    def __str__(self) -> str:
        return f"The paper's {self.where} ({self.model}): {self.shows}; {self.direction}. Not said: {self.unsaid}."


IN_DISTRIBUTION = "in-distribution"
LEARNING_SIGNAL = "positive learning signal"

# Table 1 (Section 4.2): whether a kind of positive has a property. The controls are not in the paper.
TABLE1: dict[str, dict[str, bool]] = {
    "explanation": {IN_DISTRIBUTION: True, LEARNING_SIGNAL: True},
    "expert": {IN_DISTRIBUTION: False, LEARNING_SIGNAL: True},
    "own": {IN_DISTRIBUTION: True, LEARNING_SIGNAL: False},
}

# The summary at the end of Section 4.2 says more about the self-explanation than Table 1: claim, quantity, what it is
# compared with, and the sign of the difference.
SECTION_4_2: tuple[tuple[str, str, str, int], ...] = (
    ("weaker learning signal", "learning_signal", "expert", -1),
    ("weaker learning signal", "answer_probability", "expert", -1),
    ("less in-distribution", "nll_sum", "own", 1),
    ("less in-distribution", "nll_per_token", "own", 1),
)

FIG2 = Claim(
    where="Figure 2",
    model='"Qwen2 3B-Instruct", test split (elsewhere the paper says Qwen2.5-3B-Instruct)',
    shows="negative log-likelihood of self-explanation and expert CoT",
    direction="significantly lower for the self-explanation (Section 4.2)",
    unsaid="whether per sequence or per token, how many problems and samples, and the interval",
)

FIG3 = Claim(
    where="Figure 3",
    model='"Qwen2 3B-Instruct", test split',
    shows="GPT-4o's win rate of the self-explanation over the own CoT in the number of correct steps",
    direction="self-explanation rated significantly higher (Section 4.2)",
    unsaid="the judge's prompt, the order of the two texts, how ties count, the number of problems",
)

FIG1 = Claim(
    where="Figure 1",
    model="Qwen2.5-3B-Instruct, MATH",
    shows="accuracy by level of base and trained policies; positive and negative samples of levels 4 and 5",
    direction="GRPO strengthens what the base can do, ExPO also finds positives where it cannot",
    unsaid="numbers, seeds and intervals",
)
FIG4 = Claim(
    where="Figure 4",
    model="Qwen2.5-3B-Instruct, Llama-3.2-3B-Instruct",
    shows="accuracy on level-5 questions of MATH's test set over steps, trained on level 5",
    direction="ExP-GRPO above GRPO SFT-GT-CoT and GRPO",
    unsaid="samples a question, the group size, and whether the three seeds are of the order of data or of sampling",
)
FIG5 = Claim(
    where="Figure 5",
    model="Qwen2.5-3B-Instruct, Llama-3.2-3B-Instruct",
    shows="accuracy on MATH's test set over steps, trained on all levels",
    direction="ExP-GRPO above GRPO SFT-GT-CoT and GRPO",
    unsaid="samples a question and the group size",
)
FIG9 = Claim(
    where="Figure 9 (Appendix C.5)",
    model="Qwen2.5-3B-Instruct, Llama-3.2-3B-Instruct",
    shows="accuracy on GSM8K's test set over steps",
    direction="ExP-GRPO above GRPO SFT-GT-CoT and GRPO",
    unsaid="what the policies were trained on",
)

FIG6 = Claim(
    where="Figure 6 (Appendix C.3)",
    model="Llama-3.2-3B-Instruct, MATH",
    shows="pass@4 and loss over steps, with the ground-truth answer or the self-explanation preferred",
    direction="the loss of standard DPO falls fast and low without accuracy, that of ExP-DPO smoothly and with it",
    unsaid="beta, the steps, seeds and intervals; no curve for expert CoTs, of which Section 6.1 says the same",
)
FIG7 = Claim(
    where="Figure 7 (Appendix C.4)",
    model="Qwen2.5-3B-Instruct, Llama-3.2-3B-Instruct, MATH",
    shows="accuracy over steps of ExP-DPO offline and online",
    direction="online above offline",
    unsaid="how often the pairs are sampled anew, seeds and intervals",
)
FIG8 = Claim(
    where="Figure 8 (Appendix C.4)",
    model="Qwen2.5-3B-Instruct, Llama-3.2-3B-Instruct, GSM8K",
    shows="accuracy over steps of ExP-DPO offline and online",
    direction="online above offline, and faster",
    unsaid="how often the pairs are sampled anew, seeds and intervals",
)

# Table 2 (Section 6.1) and again Table 4 (Appendix C.4): pass@4 in per cent, of (model, when, winner).
TABLE2 = {
    "MATH": ("45.7", "38.7", "50.2", "53.6", "54.3", "43.7", "60.4", "49.3"),
    "GSM8K": ("71.2", "63.7", "81.5", "74.4", "80.1", "69.6", "85.4", "76.3"),
}
TABLE2_COLUMNS = tuple(
    (model, when, kind)
    for model in ("Llama-3.2-3B-Instruct", "Qwen2.5-3B-Instruct")
    for when in ("offline", "online")
    for kind in ("explanation", "expert")
)


def contradicts(task: str, column: int) -> bool:
    """Whether a cell of Table 2 contradicts its caption: an expert CoT is above the self-explanation beside it."""
    kind, values = TABLE2_COLUMNS[column][2], TABLE2[task]
    return kind == "expert" and float(values[column]) > float(values[column - 1])


# Table 3 (Section 6.2), in per cent: Qwen2.5-3B-Instruct on MATH's test set, levels 1 to 5. Method, k.
TABLE3_PROBLEMS = (437, 894, 1131, 1214, 1324)
TABLE3: dict[tuple[str, int], tuple[int, ...]] = {
    ("explanation", 4): (96, 91, 86, 76, 23),
    ("expert", 4): (95, 89, 83, 65, 12),
    ("none", 4): (91, 84, 77, 39, 2),
    ("base", 64): (97, 88, 75, 32, 4),
    ("base", 128): (97, 93, 80, 42, 9),
}


@dataclass(frozen=True)
class Printed:
    """A base's score as printed somewhere."""

    model: str
    task: str
    measure: str
    value: str
    where: str


def printed_baselines() -> tuple[Printed, ...]:
    """Scores of bases from this paper and others, with protocols that differ from ours."""
    base = TABLE3[("base", 128)]
    mean = sum(n * value for n, value in zip(TABLE3_PROBLEMS, base, strict=True)) / sum(TABLE3_PROBLEMS)
    qwen, smol = "Qwen2.5-3B-Instruct", "SmolLM2-135M-Instruct"
    harness = "lm-evaluation-harness, zero-shot, flexible-extract"
    return (
        Printed(qwen, "MATH, all levels", "pass@128", f"{mean:.1f} %", "the paper's Table 3, weighted by its problems"),
        Printed(qwen, "MATH", "one answer", "65.9 %", "Qwen2.5 Technical Report (arXiv:2412.15115)"),
        Printed(smol, "GSM8K", "one answer, 5-shot", "1.4 %", "its model card"),
        Printed(
            smol,
            "GSM8K",
            f"one answer, {harness}",
            "0.38 %",
            "the card of lldois/SmolLM2-135M-Reasoning-SLERP-Champion",
        ),
    )


EXAMPLE1 = Claim(
    where="Example 1, in full in Appendix C.2",
    model="not named",
    shows="a question of MATH where the own CoT ends in a wrong step and the self-explanation in a right one",
    direction="own CoT 1 of 3 steps right, self-explanation 3 of 3, as the authors mark them",
    unsaid="how the question was chosen",
)
