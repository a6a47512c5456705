from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pandas as pd

from expo.measure.verdict import own_answers, table1, worth
from expo.records import Run
from expo.report.positives.measurements import Measurement, group_by_label
from expo.report.positives.table1 import draw_table1, section_4_2

from ..records.positives import Make


def test_table1_shows_what_the_verdicts_say(make: Make, tmp_path: Path):
    record = make("tiny-0")
    made = draw_table1(*group_by_label([record]), tmp_path / "figures")
    held = pd.read_csv(tmp_path / "figures" / "table1-tiny.csv", keep_default_na=False)
    expected = [*table1(record.samples), *section_4_2(record.samples), *own_answers(record.samples)]
    assert held["difference"].tolist() == [c.difference.mean for c in expected]
    assert held["verdict"].tolist() == [c.verdict for c in expected]
    assert held["largest"].tolist() == [c.largest for c in expected]
    assert len(held) == 6 * 4 + 4 + 1
    cells = held[: 6 * 4].set_index(["source", "quantity"])["verdict"]
    assert cells["explanation", "nll_sum"] == "holds"
    assert cells["explanation", "learning_signal"] == "holds"
    assert cells["expert", "nll_sum"] == "fails"
    assert cells["own", "learning_signal"] == "fails"
    text = made.shown.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| self-explanation | ✓"))
    assert [c.strip() for c in row.split("|")][-3:-1] == ["✓", "✓"]
    assert "n = 12" in row
    # The paper's marks stand in columns of their own, and the controls have none.
    control = next(line for line in text.splitlines() if line.startswith("| nonsense prefix | "))
    assert [c.strip() for c in control.split("|")][-3:-1] == ["", ""]
    assert "- weaker learning signal than the expert CoT: ? undecided: " in text
    assert "toy" in text.splitlines()[0]
    assert "Skipped: 1 row, 1 for expert_cot (none)." in text
    assert "| self-explanation | 24 | 50 % | 0 % | 24 | 0 | 0 | 0 |" in text
    assert "| own CoT | 24 | 0 % | 0 % | 0 | 0 | 24 | 0 |" in text
    assert "| nonsense prefix | 12 | 0 % | 100 % |" in text
    assert "holds" in made.reading
    assert made.reading.endswith("Of 12 cells that the paper marks, 12 agree with it and 0 differ.")


def test_a_reversed_record_reverses_the_table(make: Make, tmp_path: Path):
    made = draw_table1(*group_by_label([make("tiny-0", reverse=True)]), tmp_path)
    cells = made.numbers[: 6 * 4].set_index(["source", "quantity"])
    assert cells.loc[("explanation", "nll_sum"), "verdict"] == "fails"
    assert cells.loc[("explanation", "learning_signal"), "verdict"] == "fails"
    assert cells.loc[("explanation", "nll_sum"), "difference"] > 0
    # What the paper prints does not move.
    assert cells.loc[("explanation", "nll_sum"), "paper"] == "✓"
    assert "✗ fails" in made.shown.read_text()
    assert "**holds**" not in made.reading
    assert "differ (self-explanation, in-distribution per sequence" in made.reading
    # Of two problems no cell is decided.
    few = draw_table1(*group_by_label([make("tiny-1", n=2)]), tmp_path).reading
    assert few.endswith("12 cells that the paper marks, 0 agree with it, 0 differ and 12 are undecided.")


def test_one_problem_decides_nothing(make: Make, tmp_path: Path):
    made = draw_table1(*group_by_label([make("tiny-0", n=1)]), tmp_path)
    assert set(made.numbers["verdict"]) == {"undecided"}
    assert "? undecided" in made.shown.read_text()


def test_several_bases_stand_in_blocks(make: Make, tmp_path: Path):
    made = draw_table1(*group_by_label([make("tiny-0"), make("tiny-1", seed=1)]), tmp_path)
    assert [line for line in made.shown.read_text().splitlines() if line.startswith("## ")] == [
        "## tiny-0 on chain (toy)",
        "## tiny-1 on chain (toy)",
    ]
    assert set(made.numbers["run"]) == {"tiny-0", "tiny-1"}


def test_a_real_policy_is_not_called_a_toy(make: Make, tmp_path: Path):
    made = draw_table1(*group_by_label([make("smollm2-135m", task="stories")]), tmp_path)
    assert "toy" not in made.shown.read_text()


def test_a_toys_table_says_how_many_seeds_were_accepted(make: Make, tmp_path: Path):
    text = draw_table1(*group_by_label([make("tiny-0", n=2)]), tmp_path).shown.read_text()
    ledger = resources.files("expo") / "policies" / "bases" / "ledger.json"
    if ledger.is_file():
        assert json.loads(ledger.read_text(encoding="utf-8"))["accepted"] in text
    else:
        assert "seeds" not in text


def test_a_source_without_samples_keeps_its_row_and_cuts_are_said(make: Make, tmp_path: Path):
    record = make("tiny-0")
    table = record.run.read("samples")
    table = table[table["source"] != "own_correct"]
    table["truncated"] = table["source"] == "own"
    record.run.write("samples", table)
    made = draw_table1(*group_by_label([Measurement(Run(record.run.folder))]), tmp_path)
    assert f"| own correct CoT{' | not measured' * 4} |  |  |" in made.shown.read_text()
    assert "Cut at the token limit: 100 % of own CoTs;" in made.reading


def test_section_4_2_is_held_against_the_record_too(make: Make):
    record = make("tiny-0")
    table = record.samples.copy()
    chosen = (table["source"] == "explanation").astype("Float64")
    for shift, expected in ((-1.0, "holds"), (1.0, "fails")):
        moved = table.assign(learning_signal=table["learning_signal"] + shift * chosen)
        found = {(c.property, c.reference, c.quantity): c.verdict for c in section_4_2(moved)}
        assert found["weaker learning signal", "expert", "learning_signal"] == expected
    unlikely = table.assign(nll_sum=table["nll_sum"] + 50.0 * chosen)
    found = {(c.property, c.quantity): c.verdict for c in section_4_2(unlikely)}
    assert found["less in-distribution", "nll_sum"] == "holds"
    assert [c.property for c in section_4_2(table[table["source"] != "expert"])] == ["less in-distribution"] * 2


def test_the_table_says_what_its_intervals_are_worth(make: Make, tmp_path: Path):
    record = make("tiny-0")
    made = draw_table1(*group_by_label([record]), tmp_path)
    page = made.shown.read_text()
    assert worth(12) in page
    assert worth(40) not in page
    bounded = made.numbers["finite_sample_low"].notna()
    assert set(made.numbers.loc[bounded, "quantity"]) == {"answer_probability", "correct"}
    (row,) = (line for line in page.splitlines() if line.startswith("| self-explanation | ✓"))
    assert [", finite-sample [" in cell for cell in row.split("|")[2:6]] == [False, False, False, True]
    assert "its own answer is right more often than the own CoT's: ✓ holds: +1.00" in page
    assert "π(a\\*∣q, c) is above that of the own CoT by " in made.reading
    assert " % of it" not in page + made.reading


def test_a_problem_on_which_a_mean_hangs_is_named_and_its_name_is_text(make: Make, tmp_path: Path):
    record = make("tiny-0")
    table = record.run.read("samples")
    evil = "<b>|`x`*"
    table["problem"] = table["problem"].where(table["problem"] != table["problem"].iloc[0], evil)
    is_one = (table["problem"] == evil) & (table["source"] == "explanation")
    table["learning_signal"] = table["learning_signal"].where(~is_one, 60.0)
    record.run.write("samples", table)
    made = draw_table1(*group_by_label([Measurement(Run(record.run.folder))]), tmp_path)
    (row,) = (line for line in made.shown.read_text().splitlines() if line.startswith("| self-explanation | ✓"))
    shown = r"problem \<b\>\|\`x\`\* is 60 % of it"
    assert shown in row
    assert shown in made.reading
    assert evil not in row + made.reading
