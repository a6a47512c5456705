from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from expo.measure.verdict import by_problem, compare
from expo.measure.winrate import step_wins
from expo.records import Run
from expo.report.artefacts import Artefact, png
from expo.report.figures import BINS, draw_fig2, draw_fig3, fig2, fig3
from expo.report.runs import Group, Record, group
from expo.report.style import look, notes_of
from expo.report.temperature import DIFFERENCE, draw_temperature, temperature
from expo.report.words import TOY

from .conftest import Make, writer

LABELS = ("heading", "notes", True)


def written(path: Path) -> pd.DataFrame:
    """A CSV read back."""
    held = pd.read_csv(path)
    if "verdict" in held:
        held["verdict"] = held["verdict"].fillna("")
    return held.astype({"level": "Int64", "unparsed": "Int64", "failed": "Int64"}) if "level" in held else held


def keep(record: Record, wanted: Callable[[pd.DataFrame], Any]) -> Record:
    """The record with only the rows that are wanted."""
    table = record.run.read("samples")
    record.run.write("samples", table[wanted(table)])
    return Record(Run(record.run.folder))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """A base with a judge and three temperatures, and a base with everything reversed."""
    make = writer(tmp_path_factory.mktemp("swept"))
    made = [make("tiny-0", judged=0.9), make("tiny-1", reverse=True)]
    for t, shift in ((0.5, -0.1), (1.2, 0.4)):
        made.append(make(f"tiny-0-t{t}", policy="tiny-0", temperature=t, shift=shift))
    (held,) = group(made)
    return held


@pytest.fixture(scope="module")
def drawn(swept: Group, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artefact]:
    """The three pictures of it."""
    out = tmp_path_factory.mktemp("drawn")
    return {f.__name__: f(swept, out) for f in (draw_fig2, draw_fig3, draw_temperature)}


def test_every_picture_is_its_csv_and_nothing_else(drawn: dict[str, Artefact]):
    for made, picture in zip(drawn.values(), (fig2, fig3, temperature), strict=True):
        held = written(made.shown.with_suffix(".csv"))
        with look():
            shown, from_csv = png(picture(made.numbers, *LABELS)), png(picture(held, *LABELS))
            column = "rate" if "rate" in held else "value" if "value" in held else "mean"
            planted = held.assign(**{column: held[column].where(held.index != 0, held[column] * 1.5 + 0.1)})
            assert png(picture(planted, *LABELS)) != shown
        assert from_csv == shown
        assert shown.startswith(b"\x89PNG")


def test_drawing_again_gives_the_same_bytes_whatever_the_users_style(
    swept: Group, drawn: dict[str, Artefact], tmp_path: Path
):
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 300}):
        for draw in (draw_fig2, draw_fig3, draw_temperature):
            assert draw(swept, tmp_path).shown.read_bytes() == drawn[draw.__name__].shown.read_bytes()


def test_fig2_counts_every_sample_once(swept: Group, drawn: dict[str, Artefact]):
    numbers = drawn["draw_fig2"].numbers
    assert set(numbers["run"]) == {"tiny-0", "tiny-1"}
    samples = swept.runs[0].samples
    for quantity in ("nll_sum", "nll_per_token"):
        for source in ("own", "explanation", "expert"):
            held = numbers[
                (numbers["run"] == "tiny-0") & (numbers["quantity"] == quantity) & (numbers["source"] == source)
            ]
            bins, mean = held[held["kind"] == "bin"], held[held["kind"] == "mean"]
            values = samples.loc[samples["source"] == source, quantity].astype(float)
            assert len(bins) == BINS
            assert bins["samples"].sum() == len(values)
            assert bins["value"].sum() == pytest.approx(1)
            for row in bins.to_dict("records"):
                last = row["right"] == bins["right"].max()
                inside = (values >= row["left"]) & ((values <= row["right"]) if last else (values < row["right"]))
                assert row["samples"] == inside.sum()
            assert mean["value"].tolist() == [by_problem(samples, source, quantity).mean()]


def test_fig2_reads_the_reversed_record_as_reversed(drawn: dict[str, Artefact]):
    one, other = drawn["draw_fig2"].reading.split("\n\n")
    assert "**tiny-0** (toy)" in one
    assert "**holds**" in one
    assert "**fails**" not in one
    assert "**fails**" in other
    assert "**holds**" not in other


def test_fig3_shows_the_step_checker_and_the_judge(swept: Group, drawn: dict[str, Artefact]):
    made = drawn["draw_fig3"]
    rows = made.numbers[made.numbers["run"] == "tiny-0"]
    expected = step_wins(swept.runs[0].samples)
    checker = rows[rows["judge"].str.startswith("step checker")]
    assert checker["rate"].tolist() == [w.rate.mean for w in expected]
    assert checker["level"].fillna(0).tolist() == [w.level or 0 for w in expected]
    judge = rows[(rows["judge"] == "judge-1") & rows["level"].isna()].iloc[0]
    assert (judge["n"], judge["left_out"], judge["unparsed"], judge["failed"]) == (11, 1, 1, 0)
    assert sorted(rows.loc[rows["judge"] == "judge-1", "level"].dropna()) == [1, 2, 3, 4, 5]
    one, other = made.reading.split("\n\n")
    assert "step checker, count: 1.00 [1.00, 1.00] over 12 problems, **wins**" in one
    assert "judge-1" in one
    assert "1 left out" in one
    assert "**loses**" in other
    assert "judge-1" not in other


def test_without_levels_there_is_one_panel(make: Make, tmp_path: Path):
    (held,) = group([make("tiny-0", leveled=False, judged=0.5)])
    made = draw_fig3(held, tmp_path)
    assert made.numbers["level"].isna().all()
    assert len(fig3(made.numbers, *LABELS).axes) == 1


def test_temperature_has_a_verdict_at_each(swept: Group, drawn: dict[str, Artefact]):
    made = drawn["draw_temperature"]
    numbers = made.numbers
    assert set(numbers["sweep"]) == {"tiny-0 on chain"}
    gaps = numbers[(numbers["what"] == DIFFERENCE) & (numbers["quantity"] == "nll_sum")]
    assert gaps["temperature"].tolist() == [0.5, 0.9, 1.2]
    (sweep,) = swept.sweeps
    expected = [compare(r.samples, "explanation", "expert", "nll_sum") for r in sweep]
    assert gaps[["mean", "low", "high", "n"]].to_numpy().tolist() == [[e.mean, e.low, e.high, e.n] for e in expected]
    assert gaps["verdict"].tolist() == ["holds"] * 3
    assert "holds at 0.5" in made.reading


def test_a_verdict_that_turns_with_the_temperature_is_seen(make: Make, tmp_path: Path):
    records = [make("a", policy="tiny-0"), make("b", policy="tiny-0", temperature=1.5, reverse=True)]
    made = draw_temperature(*group(records), tmp_path)
    assert "per sequence holds at 0.9" in made.reading
    assert "fails at 1.5" in made.reading


def test_without_a_sweep_there_is_no_temperature_picture(make: Make, tmp_path: Path):
    with pytest.raises(ValueError, match="no two runs differ in temperature alone"):
        draw_temperature(*group([make("tiny-0")]), tmp_path)


def test_a_record_without_expert_cots_is_drawn_and_says_so(make: Make, tmp_path: Path):
    def rest(table: pd.DataFrame) -> Any:
        return table["source"] != "expert"

    records = [make("a", policy="tiny-0"), make("b", policy="tiny-0", temperature=0.5)]
    (held,) = group([keep(record, rest) for record in records])
    assert "no problem has both" in draw_fig2(held, tmp_path).reading
    made = draw_temperature(held, tmp_path)
    assert set(made.numbers.loc[made.numbers["what"] == DIFFERENCE, "verdict"]) == {"undecided"}


def test_pictures_call_a_toy_a_toy_and_name_their_setting(swept: Group, drawn: dict[str, Artefact], make: Make):
    numbers = drawn["draw_fig2"].numbers
    notes = notes_of(swept.runs, "About.")
    assert notes.splitlines() == [
        "About.",
        "tiny-0, tiny-1: n = 12 problems of chain, k = 2 samples, seed 0, T = 0.9.",
        TOY,
    ]
    texts = [t.get_text() for t in fig2(numbers, "heading", notes, True).texts]
    assert texts == ["heading", notes, "toy"]
    real = notes_of([make("smollm2-135m", task="stories")], "About.")
    assert "toy" not in real
    assert [t.get_text() for t in fig2(numbers, "heading", real, False).texts] == ["heading", real]


def test_unequal_lengths_can_reverse_the_two_nlls(make: Make, tmp_path: Path):
    record = make("tiny-0")
    table = record.run.read("samples")
    is_explanation = table["source"] == "explanation"
    table["nll_sum"] = table["nll_sum"].where(~is_explanation, 1000.0 + np.arange(len(table)))
    record.run.write("samples", table)
    made = draw_fig2(*group([Record(Run(record.run.folder))]), tmp_path)
    assert "**fails**" in made.reading
    assert "**holds**" in made.reading


def test_one_problem_can_be_drawn(make: Make, tmp_path: Path):
    (held,) = group([make("a", policy="tiny-0", n=1), make("b", policy="tiny-0", n=1, temperature=0.5)])
    assert "undecided" in draw_fig2(held, tmp_path).reading
    assert "undecided" in draw_fig3(held, tmp_path).reading
    assert "undecided" in draw_temperature(held, tmp_path).reading
