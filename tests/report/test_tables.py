from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from expo.measure.verdict import table1
from expo.records import RecordError, Run
from expo.report.artefacts import GALLERY, PROVENANCE, read_provenance
from expo.report.runs import Record, group, where
from expo.report.tables import draw_table1, section_4_2

from .conftest import Make


def test_table1_shows_what_the_verdicts_say(make: Make, tmp_path: Path):
    record = make("tiny-0")
    made = draw_table1(*group([record]), tmp_path / "figures")
    held = pd.read_csv(tmp_path / "figures" / "table1-tiny.csv", keep_default_na=False)
    expected = [*table1(record.samples), *section_4_2(record.samples)]
    assert held["difference"].tolist() == [c.difference.mean for c in expected]
    assert held["verdict"].tolist() == [c.verdict for c in expected]
    assert len(held) == 6 * 3 + 3
    cells = held[: 6 * 3].set_index(["source", "quantity"])["verdict"]
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
    assert "0 differ" in made.reading


def test_a_reversed_record_reverses_the_table(make: Make, tmp_path: Path):
    made = draw_table1(*group([make("tiny-0", reverse=True)]), tmp_path)
    cells = made.numbers[: 6 * 3].set_index(["source", "quantity"])
    assert cells.loc[("explanation", "nll_sum"), "verdict"] == "fails"
    assert cells.loc[("explanation", "learning_signal"), "verdict"] == "fails"
    assert cells.loc[("explanation", "nll_sum"), "difference"] > 0
    # What the paper prints does not move.
    assert cells.loc[("explanation", "nll_sum"), "paper"] == "✓"
    assert "✗ fails" in made.shown.read_text()
    assert "**holds**" not in made.reading
    assert "differ (self-explanation, in-distribution per sequence" in made.reading


def test_one_problem_decides_nothing(make: Make, tmp_path: Path):
    made = draw_table1(*group([make("tiny-0", n=1)]), tmp_path)
    assert set(made.numbers["verdict"]) == {"undecided"}
    assert "? undecided" in made.shown.read_text()


def test_several_bases_stand_in_blocks(make: Make, tmp_path: Path):
    made = draw_table1(*group([make("tiny-0"), make("tiny-1", seed=1)]), tmp_path)
    assert [line for line in made.shown.read_text().splitlines() if line.startswith("## ")] == [
        "## tiny-0 on chain (toy)",
        "## tiny-1 on chain (toy)",
    ]
    assert set(made.numbers["run"]) == {"tiny-0", "tiny-1"}


def test_a_real_policy_is_not_called_a_toy(make: Make, tmp_path: Path):
    made = draw_table1(*group([make("smollm2-135m", task="stories")]), tmp_path)
    assert "toy" not in made.shown.read_text()


def test_provenance_names_runs_by_hash_and_no_path(make: Make, tmp_path: Path):
    figures = tmp_path / "figures"
    draw_table1(*group([make("tiny-0", n=4)]), figures)
    first = (figures / PROVENANCE).read_bytes()
    draw_table1(*group([make("smollm2-135m", n=4, task="stories")]), figures)
    held = read_provenance(figures)
    assert list(held) == ["table1-smollm2-135m", "table1-tiny"]
    (run,) = held["table1-tiny"]["runs"]
    assert run["run"] == "runs/tiny-0"
    assert (run["problems"], run["samples"], run["temperature"], run["toy"]) == (4, 2, 0.9, True)
    assert len(run["tables"]["samples"]) == 64
    assert sorted(held["table1-tiny"]["files"]) == ["table1-tiny.csv", "table1-tiny.md"]
    assert str(tmp_path) not in (figures / PROVENANCE).read_text()
    # The same again changes nothing; another record changes the hash.
    draw_table1(*group([make("tiny-0", n=4)]), tmp_path / "again")
    assert (tmp_path / "again" / PROVENANCE).read_bytes() == first
    draw_table1(*group([make("tiny-0x", policy="tiny-0", n=4, seed=5)]), figures)
    (other,) = read_provenance(figures)["table1-tiny"]["runs"]
    assert other["tables"]["samples"] != run["tables"]["samples"]


def test_one_page_has_every_artefact_with_its_reading(make: Make, tmp_path: Path):
    toy = draw_table1(*group([make("tiny-0", n=4)]), tmp_path)
    other = draw_table1(*group([make("smollm2-135m", n=4, task="stories")]), tmp_path)
    page = (tmp_path / GALLERY).read_text()
    first, second = page.index("## table1-smollm2-135m\n"), page.index("## table1-tiny (toy)\n")
    assert first < page.index(other.reading) < second < page.index(toy.reading, second)
    assert "[table1-tiny.md](table1-tiny.md)" in page
    # Made again it holds each once.
    draw_table1(*group([make("tiny-0", n=4)]), tmp_path)
    assert (tmp_path / GALLERY).read_text() == page


def test_a_damaged_provenance_is_named_and_nothing_is_written(make: Make, tmp_path: Path):
    (tmp_path / PROVENANCE).write_text("{")
    with pytest.raises(RecordError, match=PROVENANCE):
        draw_table1(*group([make("tiny-0", n=2)]), tmp_path)
    assert not (tmp_path / "table1-tiny.csv").exists()
    (tmp_path / PROVENANCE).write_text(json.dumps([1]))
    with pytest.raises(RecordError, match="no mapping"):
        read_provenance(tmp_path)


def test_a_run_inside_the_repository_is_named_from_its_root():
    root = Path(__file__).parents[2]
    assert where(root / "runs" / "tiny" / "tiny-0") == "runs/tiny/tiny-0"
    assert where(Path("/elsewhere/far/study/run")) == "study/run"


def test_a_toys_table_says_how_many_seeds_were_accepted(make: Make, tmp_path: Path):
    text = draw_table1(*group([make("tiny-0", n=2)]), tmp_path).shown.read_text()
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
    made = draw_table1(*group([Record(Run(record.run.folder))]), tmp_path)
    assert "| own correct CoT | not measured | not measured | not measured |  |  |" in made.shown.read_text()
    assert "Cut at the limit of tokens: 100 % of own CoTs;" in made.reading


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
