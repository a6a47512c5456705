"""A table of many trainings: every method at every learning rate and weight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from expo.report.accuracy import bases_text, mean_accuracy, mean_by_base, share_of_true_steps, summary, with_interval
from expo.report.artefacts import Artefact
from expo.report.markdown import markdown_table, write_table
from expo.report.training.setting import weights_note
from expo.report.trainings import (
    EvaluatedRun,
    before_training,
    check_averageable,
    check_comparable,
    label,
    levels_of,
    training_steps,
)
from expo.report.words import listed, method_name, method_order, number, share, spanned

COLUMNS = ["trained_on", "method", "rate", "beta", "level", "mean", "low", "high", "lowest", "highest"]
COLUMNS += ["steps_true", "bases", "problems", "n", "split"]

# As a level, this means all of them together.
ALL = "all"

# The training levels, method, learning rate and weight of a training.
Setting = tuple[str, str, float, float]
# Training levels and method -> the best rate and weight there.
Best = dict[tuple[str, str], tuple[float, float]]


def draw_grid(name: str, runs: Sequence[EvaluatedRun], out: Path | str) -> Artefact:
    """Write `<name>-<label>.md` and `.csv`: accuracy by level of every method, rate and weight at the last step.

    `steps_true` is the share of true steps: low accuracy with true steps is a failure to copy, not to reason.
    """
    # Their training levels may differ.
    for trained_on in {run.levels for run in runs}:
        check_comparable([run for run in runs if run.levels == trained_on])
    levels: list[int | str] = [*levels_of(runs)]
    hardest = [ALL, *levels][-1]
    if len(levels) != 1:
        levels.append(ALL)
    numbers, chosen = _numbers(runs, levels), best(runs)
    return write_table(
        out,
        f"{name}-{label(runs)}",
        runs,
        numbers,
        title=f"Trainings: {name}, {label(runs)}",
        parts=[_about(runs, numbers, hardest), _table(numbers, chosen, hardest)],
        reading=_read(numbers, chosen, hardest),
    )


def best(runs: Sequence[EvaluatedRun]) -> Best:
    """The learning rate and weight with the highest mean accuracy, for each method and set of training levels.

    The accuracy is that on the training levels at the last step: (levels, method) -> (rate, weight). For equal means it
    is the lowest rate and weight; there is none if these levels were not evaluated.
    """
    highest: dict[tuple[str, str], tuple[float, float, float]] = {}
    for (trained_on, method, rate, beta), alike in by_setting(runs).items():
        mean = mean_accuracy(alike, alike[0].trained_levels)
        if mean > highest.get((trained_on, method), (-1.0, 0.0, 0.0))[0]:
            highest[trained_on, method] = (mean, rate, beta)
    return {key: (rate, beta) for key, (_, rate, beta) in highest.items()}


def by_setting(runs: Sequence[EvaluatedRun]) -> dict[Setting, list[EvaluatedRun]]:
    """The runs of each setting, in the order of tables.

    Raises:
        ValueError: if runs of one setting differ in more than base and seed, or one ended early.
    """
    settings: dict[Setting, list[EvaluatedRun]] = {}
    for run in runs:
        settings.setdefault((run.levels, run.method, run.rate, run.beta), []).append(run)
    for alike in settings.values():
        check_averageable(alike)
    return dict(sorted(settings.items(), key=lambda item: (item[0][0], method_order(item[0][1]), *item[0][2:])))


def _numbers(runs: Sequence[EvaluatedRun], levels: Sequence[int | str]) -> pd.DataFrame:
    settings = by_setting(runs)
    rows = []
    for trained_on in dict.fromkeys(setting[0] for setting in settings):
        bases = before_training(run for run in runs if run.levels == trained_on)
        rows += [_row((trained_on, "base", 0.0, 0.0), bases, level, 0) for level in levels]
        rows += [
            _row(setting, alike, level)
            for setting, alike in settings.items()
            if setting[0] == trained_on
            for level in levels
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(setting: Setting, runs: Sequence[EvaluatedRun], level: int | str, step: int | None = None) -> dict[str, Any]:
    levels = None if level == ALL else [int(level)]
    steps_true = mean_by_base(
        runs, [share_of_true_steps(run, run.last_step if step is None else step, levels) for run in runs]
    )
    return {
        **dict(zip(COLUMNS[:4], setting, strict=True)),
        "level": level,
        **summary(runs, step, levels),
        "steps_true": sum(steps_true) / len(steps_true),
        "split": runs[0].recipe["eval_split"],
    }


def _about(runs: Sequence[EvaluatedRun], numbers: pd.DataFrame, hardest: int | str) -> str:
    first = runs[0]
    by_level = numbers[numbers["level"] != ALL]
    a_level = f"{spanned(by_level['problems'])} problems a level" if len(by_level) else ""
    problems = a_level or f"{numbers['problems'].iloc[0]} problems"
    return (
        f"Accuracy after {training_steps(runs)}, on the "
        f"split `{first.recipe['eval_split']}`: {_spread(numbers)}. "
        f"{problems}, {first.sampling}, "
        f"seed {first.seed}{'' if _has_one_base(numbers) else '; intervals over problems are in the CSV'}. *Steps* is "
        f"the share of true steps at {_where(hardest)}. In bold: of each method with several, the {_choice(numbers)} "
        f"with the highest mean accuracy on the levels that it was trained on.{weights_note(runs)}"
    )


def _has_one_base(numbers: pd.DataFrame) -> bool:
    return int(numbers["bases"].max()) == 1


def _has_weights(numbers: pd.DataFrame) -> bool:
    return bool(numbers["beta"].gt(0).any())


def _weight(numbers: pd.DataFrame) -> str:
    """What the second number of a setting is: the weight of the added term or, of DPO, its beta."""
    is_dpo = numbers.loc[numbers["beta"] > 0, "method"].str.startswith("dpo_")
    return "beta" if is_dpo.all() else "weight or beta" if is_dpo.any() else "weight"


def _choice(numbers: pd.DataFrame) -> str:
    return f"rate and {_weight(numbers)}" if _has_weights(numbers) else "rate"


def _spread(numbers: pd.DataFrame) -> str:
    if _has_one_base(numbers):
        return "one base, in brackets the 95 % bootstrap interval by problem"
    return "the mean over bases, and in parentheses the lowest and highest base"


def _cell(row: pd.Series, one_base: bool) -> str:
    if one_base:
        return with_interval(row)
    return f"{share(row['mean'])} {bases_text(row)}"


def _where(level: int | str) -> str:
    return "all levels" if level == ALL else f"level {level}"


def _table(numbers: pd.DataFrame, chosen: Best, hardest: int | str) -> str:
    levels = [str(level) if level == ALL else f"level {level}" for level in dict.fromkeys(numbers["level"])]
    weights = [_weight(numbers)] * _has_weights(numbers)
    heads = ["trained on", "method", "rate", *weights, *levels, "steps", "bases"]
    table = []
    for (trained_on, method, rate, beta), rows in numbers.groupby(COLUMNS[:4], sort=False):
        last = rows[rows["level"] == hardest].iloc[0]
        several = numbers[(numbers["trained_on"] == trained_on) & (numbers["method"] == method)]
        is_chosen = chosen.get((str(trained_on), str(method))) == (rate, beta)
        mark = "**" if is_chosen and len(several[["rate", "beta"]].drop_duplicates()) > 1 else ""
        values = [f"{mark}{value:g}{mark}" for value in (rate, beta)][: 1 + len(weights)]
        setting = method_name(method) + "".join(f" | {v}" if rate else " |" for v in values)
        cells = [_cell(r, _has_one_base(numbers)) for _, r in rows.iterrows()]
        table.append([str(trained_on), setting, *cells, share(last["steps_true"]), str(last["bases"])])
    return markdown_table(heads, table, ["---", "---", *["--:"] * (len(heads) - 2)])


def _read(numbers: pd.DataFrame, chosen: Best, hardest: int | str) -> str:
    sentences = []
    means = numbers[numbers["level"] == hardest].set_index(COLUMNS[:4])["mean"]
    for trained_on in dict.fromkeys(levels for levels, _ in chosen):
        methods = [
            f"{method_name(method)} {share(float(means[trained_on, method, rate, beta]))} "
            f"(rate {rate:g}{f', {_weight(numbers)} {number(beta)}' if beta else ''})"
            for (levels, method), (rate, beta) in chosen.items()
            if levels == trained_on
        ]
        sentences.append(
            f"Trained on {trained_on}, accuracy at {_where(hardest)}, each method at its best {_choice(numbers)}: "
            f"{listed(methods)}."
        )
    return " ".join(sentences)
