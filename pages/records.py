"""Numbers that are counted in several rows: of the records that are in the repository, and of tables of figures/."""

from __future__ import annotations

from functools import cache

import pandas as pd

from expo.report.gradients.predicted_change import median_ratio
from expo.report.words import interval, number, share
from expo.text import plural
from pages.tables import FIGURES, rows, table

RECORDS = FIGURES / "records"


@cache
def kept(run: str, name: str) -> pd.DataFrame:
    """A table of a record that is in the repository."""
    return pd.read_parquet(RECORDS / run / f"{name}.parquet")


def right_samples(run: str, level: str) -> str:
    """Of the evaluation of a base: `2 of 1,728 (of 1 question)`."""
    found = kept(run, "evaluation").query(f"level == {int(level)}")
    questions = (found["correct"] > 0).sum()
    return f"{found['correct'].sum():,} of {found['n'].sum():,}" + (
        f" (of {plural(questions, 'question')})" if questions else ""
    )


def true_steps(run: str, level: str, step: str) -> str:
    """The share of true steps of an evaluation."""
    found = kept(run, "evaluation").query(f"level == {int(level)} and step == {int(step)}")
    return share(found["steps_true"].sum() / found["steps"].sum())


def accuracy(run: str, levels: str, step: str) -> str:
    """The share of right samples of an evaluation, at a level or at several, `1|2`."""
    found = kept(run, "evaluation").query(f"level in {[int(n) for n in levels.split('|')]} and step == {int(step)}")
    return share(found["correct"].sum() / found["n"].sum())


def cut_samples(run: str, level: str, step: str) -> str:
    """The samples of an evaluation that reached the token limit: `78 of 108`."""
    found = kept(run, "evaluation").query(f"level == {int(level)} and step == {int(step)}")
    return f"{found['truncated'].sum()} of {found['n'].sum()}"


def warmed_up(column: str) -> str:
    """A share of the bases that were warmed up on letters, least to greatest: `95 to 97 %`."""
    found = pd.read_csv(RECORDS / "smollm2-bases" / "bases.csv")[column]
    low, high = share(found.min()), share(found.max())
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def norms(runs: str, name: str) -> str:
    """The least and greatest norm of a term's gradient above 0, over trainings `a,b`."""
    found = pd.concat([kept(run, "metrics") for run in runs.split(",")]).query(f"name == '{name}' and value > 0")
    low, high = (number(x, 2) for x in (found["value"].min(), found["value"].max()))
    return f"{low} to {high}"


def step_minutes(study: str) -> str:
    """How many minutes the steps of a study's trainings took by the clock."""
    tables = [kept(f"{study}/{path.parent.name}", "timing") for path in (RECORDS / study).glob("*/timing.parquet")]
    seconds = pd.concat(tables).query("name == 'wall_seconds'")["value"].sum()
    return f"{seconds / 60:.0f}"


def same_text(run: str, source: str) -> str:
    """The share of a kind's CoTs that are, word for word, an own CoT of the same question."""
    samples = kept(run, "samples")
    own = {(r.problem, r.cot) for r in samples.query("source == 'own'").itertuples()}
    found = samples.query(f"source == '{source}'")
    return share(sum((r.problem, r.cot) in own for r in found.itertuples()) / len(found))


def ends_wrong(run: str, source: str) -> str:
    """The share of a kind's texts that end in a wrong answer."""
    found = kept(run, "samples").query(f"source == '{source}'")
    return share((found["status"] == "wrong").mean())


def doubtful(label: str, size: str) -> str:
    """Positives of predicted-<label> at a length whose change is in doubt, of all: `111 of 157`."""
    found = rows(f"predicted-{label}", size=size)
    return f"{(found['doubtful'] == 'True').sum()} of {len(found)}"


def predicted(label: str, size: str, what: str) -> str:
    """Of the predictions of a length that are more than two standard errors from 0 and not in doubt: `n`, how many have
    the `signs` of the change, or the `median` of change over prediction, with its interval by question."""
    found = rows(f"predicted-{label}", size=size, doubtful="False", few="False")
    numbers = found[["predicted", "predicted_error", "change"]].astype(float).assign(problem=found["problem"])
    numbers = numbers[numbers["predicted"].abs() > 2 * numbers["predicted_error"]]
    if what == "median":
        return interval(median_ratio(numbers))
    return str(len(numbers) if what == "n" else (numbers["predicted"] * numbers["change"] > 0).sum())


def larger(label: str, term: str, sources: str = "") -> str:
    """How many of the right positives, or of those of some kinds, have T1 or T2 clearly larger."""
    found = rows(f"t1-t2-{label}", **({"source": sources} if sources else {}))
    return str((found["larger"] == term).sum())


def lowest_loss(when: str, what: str) -> str:
    """Of the comparisons by dpo-loss-tiny of winners from one base at one rate: `n`, those in which a kind has the
    lowest loss, or in which the arm of the lowest loss is the `best` or has `fallen` with its whole interval."""
    found = table("dpo-loss-tiny")
    found = found[found["method"].str.endswith("_online") == (when == "online")]
    first = [group.iloc[int(group["loss"].astype(float).argmin())] for _, group in found.groupby(["base", "rate"])]
    best = [group["change"].astype(float).max() for _, group in found.groupby(["base", "rate"])]
    if what == "n":
        return str(len(first))
    if what == "best":
        return str(sum(float(a["change"]) == b for a, b in zip(first, best, strict=True)))
    if what == "fallen":
        return str(sum(float(a["high"]) < 0 for a in first))
    return str(sum(a["method"].removeprefix("dpo_").removesuffix("_online") == what for a in first))
