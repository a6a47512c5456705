"""The sentences of the first screen: none of them says more than the numbers beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expo.measure.verdict import by_problem
from expo.records import Run
from expo.report.html.build import write_report
from expo.stats import Interval, bootstrap, finite_sample

from ...browser import dump, needs_chromium
from ..records.gradients import write_gradients
from ..records.positives import Make
from ..records.trainings import BASE, levels, write

pytestmark = needs_chromium


def answer(runs: list[Run], page: Path, fragment: str = "numbers=1") -> str:
    """The words of the first screen."""
    dom = dump(write_report([run.folder for run in runs], page)[0], fragment)
    found = re.search(r'<section id="answer".*?</section>', dom, re.DOTALL)
    assert found
    return re.sub(
        r"\s+", " ", html.unescape(re.sub(r"</(p|li|ul|ol|h2|div)>|<[^>]*>", lambda m: "\n" * bool(m[1]), found[0]))
    )


def changed(run: Run, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Run:
    run.write("samples", change(run.read("samples")))
    return run


def test_a_property_that_was_not_measured_does_not_hold(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    assert "Both properties hold by every measure: self-explanation, own correct CoT." in answer(
        [run], tmp_path / "page.html"
    )
    changed(run, lambda rows: rows[rows["source"] != "expert"])
    said = answer([run], tmp_path / "page.html")
    assert "This record cannot say whether a kind has both: it lacks expert CoTs" in said
    assert "No kind of positive" not in said
    assert "Property 1 was not measured. Property 2: it raises log π(a*|q, c)" in said
    # A column without a value is no measurement either.
    changed(run, lambda rows: rows.assign(learning_signal=np.nan))
    said = answer([run], tmp_path / "page.html")
    assert "at least one is undecided or missing: self-explanation, own CoT," in said
    assert "it raises log" not in said


def test_where_no_kind_has_both_the_closest_is_named_and_what_n_can_decide(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run

    def weak(rows: pd.DataFrame) -> pd.DataFrame:
        """Own CoTs so good that no probability can be raised by much."""
        own = rows["source"].isin(["own", "own_correct"])
        return rows.assign(learning_signal=rows["learning_signal"].mask(own, np.log(0.9)).mask(~own, np.log(0.95)))

    changed(run, weak)
    said = answer([run], tmp_path / "page.html")
    assert "No kind of positive has both properties by every measure. The closest are self-explanation, explan" in said
    assert "3 of 4 measures hold, none fails, and 1 is undecided or missing." in said
    found = re.search(r"With 12 problems, .* at least (0\.\d+) if all are equal", said)
    assert found
    # The control: a little less leaves Python's interval undecided, too.
    assert finite_sample(np.full(12, float(found[1]) + 0.002), -1, 1).low > 0
    assert finite_sample(np.full(12, float(found[1]) - 0.002), -1, 1).low < 0


def test_many_cut_samples_are_said_before_the_answer(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    changed(run, lambda rows: rows.assign(truncated=False))
    assert "Many samples were cut" not in answer([run], tmp_path / "page.html")
    changed(run, lambda rows: rows.assign(truncated=rows["source"] == "explanation"))
    said = answer([run], tmp_path / "page.html")
    assert "Many samples were cut at the token limit: self-explanation 100 %. A cut text" in said
    assert said.index("Many samples were cut") < said.index("The paper asks")
    # A few are no reason to warn.
    few = run.read("samples")["problem"].drop_duplicates()[:2]
    changed(run, lambda rows: rows.assign(truncated=rows["problem"].isin(few)))
    assert "Many samples were cut" not in answer([run], tmp_path / "page.html")


def test_an_undecided_difference_has_no_direction(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    assert "Self-explanation. Property 1: it is more likely than the expert CoT by" in answer(
        [run], tmp_path / "page.html"
    )

    def shaken(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.astype({"nll_sum": float})
        own = (rows["source"] == "explanation").to_numpy()
        order = pd.factorize(rows["problem"])[0]
        return rows.assign(nll_sum=rows["nll_sum"].where(~own, 100.0 + 300.0 * (order % 2 - 0.45)))

    said = (
        answer([changed(run, shaken)], tmp_path / "page.html")
        .partition("Self-explanation.")[2]
        .partition("Property 2")[0]
    )
    assert "is not shown to be more or less likely than the expert CoT (a difference of" in said
    assert "nats per sequence; ? undecided)" in said


@pytest.mark.parametrize("shift", [0.05, -0.05])
def test_the_problems_that_would_decide_do_so_and_fewer_do_not(make: Make, tmp_path: Path, shift: float):
    rng, run = np.random.default_rng(0), make("tiny-0", n=20, k=1).run

    def noisy(rows: pd.DataFrame) -> pd.DataFrame:
        chance = 0.5 + shift * (rows["source"] == "explanation").to_numpy() + rng.uniform(-0.2, 0.2, len(rows))
        return rows.assign(learning_signal=np.log(chance))

    rows = changed(run, noisy).read("samples")
    said = answer([run], tmp_path / "page.html").partition("Self-explanation.")[2].partition("Expert CoT.")[0]

    def needed(measure: str) -> int:
        found = re.search(rf"Property 2 {measure} would be decided with about ([\d,]+) problems instead of 20", said)
        assert found, said
        return int(found[1].replace(",", ""))

    def decides(quantity: str, interval: Callable[..., Interval], copies: int, *bounds: float) -> bool:
        gaps = by_problem(rows, "explanation", quantity) - by_problem(rows, "own", quantity)
        of = interval(np.tile(gaps.to_numpy(float), copies), *bounds)
        return bool(of.low * of.high > 0)

    copies = -(-needed("as a probability") // 20)
    assert decides("answer_probability", finite_sample, copies, -1, 1)
    assert not decides("answer_probability", finite_sample, copies - 1, -1, 1)
    copies = -(-needed("in nats") // 20)
    assert decides("learning_signal", bootstrap, copies + 1)
    assert not decides("learning_signal", bootstrap, max(1, copies - 2))


def test_each_reading_has_its_own_claims(make: Make, tmp_path: Path):
    said = answer([make("tiny-0", n=12).run], tmp_path / "page.html")
    claims = {
        kind: said.partition(f"{kind}. Property 1")[2].partition("Claims of the ledger")[2].partition(" What holds")[0]
        for kind in ("Self-explanation", "Own CoT")
    }
    assert "L2 (proved)" in claims["Self-explanation"]
    assert "P2* (exact)" in claims["Self-explanation"]
    # The own CoT is compared with a self-explanation, of which P2*, a comparison with J, says nothing.
    assert "P2*" not in claims["Own CoT"].partition("beyond the paper")[0]
    assert "L2 (" not in claims["Own CoT"].partition("beyond the paper")[0]


def test_slopes_of_few_problems_say_so_and_no_result_is_dropped(tmp_path: Path):
    runs = [write_gradients(tmp_path / f"run-{i}") for i in range(8)]
    few = runs[0].read("alignment")
    runs[0].write("alignment", few[few["problem"] < "q5"])
    said = answer(runs, tmp_path / "page.html")
    assert "run-0: slopes of J were measured on 5 problems; fewer than 10 decide nothing." in said
    assert "run-0: a small step" not in said
    assert "run-1: a small step along the own CoT raises J" in said
    assert "5 more results" in said
    assert len(re.findall(r"run-\d: a small step along", said)) == 28


def test_what_a_training_gains_is_in_percentage_points(tmp_path: Path):
    recipe = {**BASE, "policy": "tiny-0", "positive": "explanation"}
    write(tmp_path / "one", {**recipe, "levels": [4, 5]}, {0: levels(0.02), 10: levels(0.9)})
    said = answer([Run(tmp_path / "one")], tmp_path / "page.html")
    assert said.startswith("What did the training change?")
    assert "one: after 10 steps of ExP-GRPO on levels 4, 5, accuracy on all levels is higher" in said
    alone = re.search(r"On levels 4, 5 alone: ([\d.]+) % \[.*?\] before, ([\d.]+) % \[.*?\] after\.", said)
    assert alone
    rows = Run(tmp_path / "one").read("evaluation").query("level >= 4")
    means = (rows["correct"] / rows["n"]).groupby(rows["step"]).mean()
    assert [float(x) for x in alone.groups()] == pytest.approx(100 * means.to_numpy(), abs=0.5)
    found = re.search(r"a paired difference of ([\d.]+) \[([\d.]+), ([\d.]+)\] percentage points", said)
    assert found
    of = finite_sample(gains(tmp_path / "one"), -1)
    assert [float(x) for x in found.groups()] == pytest.approx([100 * x for x in (of.mean, of.low, of.high)], rel=5e-3)


def test_a_gain_on_few_problems_is_not_shown_by_a_bootstrap(tmp_path: Path):
    recipe = {**BASE, "policy": "tiny-0", "positive": "explanation"}
    write(tmp_path / "one", recipe, {0: levels(0.02), 10: levels(0.4)})
    values = gains(tmp_path / "one")
    assert bootstrap(values).low > 0 > finite_sample(values, -1).low
    said = answer([Run(tmp_path / "one")], tmp_path / "page.html")
    assert "on all levels, accuracy is not shown to differ" in said
    # It was trained on all levels that it was evaluated on.
    assert "alone:" not in said


def gains(folder: Path) -> np.ndarray:
    """What each problem gains from step 0 to step 10, in the record's order."""
    rows = Run(folder).read("evaluation").assign(rate=lambda frame: frame["correct"] / frame["n"])
    wide = rows.pivot(index="problem", columns="step", values="rate")
    return (wide[10] - wide[0])[rows["problem"].unique()].to_numpy(float)


def test_the_answer_stands_before_what_the_page_lacks(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    changed(run, lambda rows: rows[rows["source"] != "expert"])
    said = answer([run], tmp_path / "page.html")
    assert said.startswith("Which positives should I train on?")
    assert said.index("The paper asks") < said.index("The record has no expert CoT")
