"""What holds of all pictures of positives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from expo.records import Run
from expo.report.artefacts import Artefact
from expo.report.picture import Caption, png
from expo.report.positives.fig2 import draw_fig2, plot_fig2
from expo.report.positives.fig3 import draw_fig3, plot_fig3
from expo.report.positives.measurements import Group, Measurement, group_by_label, notes_of, over_levels
from expo.report.positives.temperature import DIFFERENCE, draw_temperature, plot_temperature
from expo.report.style import look
from expo.report.toy import TOY

from ..captions import two_lines
from ..records.positives import Make

CAPTION = Caption("heading", "notes", toy=True)


def written(path: Path) -> pd.DataFrame:
    """A CSV read back."""
    held = pd.read_csv(path)
    if "verdict" in held:
        held["verdict"] = held["verdict"].fillna("")
    return held.astype({"level": "Int64", "unparsed": "Int64", "failed": "Int64"}) if "level" in held else held


def keep(record: Measurement, wanted: Callable[[pd.DataFrame], Any]) -> Measurement:
    """The record with only the rows that are wanted."""
    table = record.run.read("samples")
    record.run.write("samples", table[wanted(table)])
    return Measurement(Run(record.run.folder))


def test_every_picture_is_its_csv_and_nothing_else(drawn: dict[str, Artefact]):
    for made, picture in zip(drawn.values(), (plot_fig2, plot_fig3, plot_temperature), strict=True):
        held = written(made.shown.with_suffix(".csv"))
        with look():
            shown, from_csv = png(picture(made.numbers, CAPTION)), png(picture(held, CAPTION))
            column = "rate" if "rate" in held else "value" if "value" in held else "mean"
            planted = held.assign(**{column: held[column].where(held.index != 0, held[column] * 1.5 + 0.1)})
            assert png(picture(planted, CAPTION)) != shown
        assert from_csv == shown
        assert shown.startswith(b"\x89PNG")


def test_drawing_again_gives_the_same_bytes_whatever_the_users_style(
    swept: Group, drawn: dict[str, Artefact], tmp_path: Path
):
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 300}):
        for draw in (draw_fig2, draw_fig3, draw_temperature):
            assert draw(swept, tmp_path).shown.read_bytes() == drawn[draw.__name__].shown.read_bytes()


def test_a_record_without_expert_cots_is_drawn_and_says_so(make: Make, tmp_path: Path):
    def rest(table: pd.DataFrame) -> Any:
        return table["source"] != "expert"

    records = [make("a", policy="tiny-0"), make("b", policy="tiny-0", temperature=0.5)]
    (held,) = group_by_label([keep(record, rest) for record in records])
    assert "no problem has both" in draw_fig2(held, tmp_path).reading
    made = draw_temperature(held, tmp_path)
    assert set(made.numbers.loc[made.numbers["what"] == DIFFERENCE, "verdict"]) == {"undecided"}


def test_pictures_call_a_toy_a_toy_and_name_their_setting(swept: Group, drawn: dict[str, Artefact], make: Make):
    numbers = drawn["draw_fig2"].numbers
    notes = notes_of(swept.runs, "About.")
    assert notes.splitlines() == ["About.", "n = 12 problems of chain, k = 2 samples, seed 0, T = 0.9."]
    # Runs are named by their policies, and only where their settings differ.
    other_size = notes_of([*swept.runs, make("positives-7", policy="tiny-2", n=5)], "About.")
    assert "; tiny-2: n = 5 problems" in other_size
    assert "tiny-0, tiny-1: n = 12 problems" in other_size
    assert "positives-7" not in other_size
    other = make("c", policy="tiny-0", sampling_dtype="bfloat16")
    assert "seed 0, sampled in bfloat16, T = " in notes_of([other], "About.")
    caption = Caption.of(swept.runs, "heading", notes)
    assert caption.notes.splitlines() == [*notes.splitlines(), TOY]
    texts = [t.get_text() for t in plot_fig2(numbers, caption).texts]
    assert texts == ["heading", caption.notes, "toy"]
    runs = [make("smollm2-135m", task="stories")]
    real = Caption.of(runs, "heading", notes_of(runs, "About."))
    assert "toy" not in real.notes
    assert [t.get_text() for t in plot_fig2(numbers, real).texts] == ["heading", real.notes]


def test_captions_have_two_lines_at_most(swept: Group, captions: list[Caption], tmp_path: Path):
    for draw in (draw_fig2, draw_fig3, draw_temperature):
        draw(swept, tmp_path)
    assert [two_lines(caption) for caption in captions] == [True] * 3
    assert not two_lines(replace(captions[0], notes=" And more of it." * 12 + captions[0].notes))


def test_a_heading_names_the_levels_that_were_measured(make: Make):
    one, some, every, without = (
        make(name, policy="tiny-0", **given)
        for name, given in {"a": {"levels": [3]}, "b": {"levels": [2, 3]}, "c": {}, "d": {"leveled": False}}.items()
    )
    assert [over_levels([run]) for run in (one, some, every, without)] == [
        *(" at level 3", " averaged over levels 2, 3", " averaged over all levels", "")
    ]


def test_one_problem_can_be_drawn(make: Make, tmp_path: Path):
    (held,) = group_by_label([make("a", policy="tiny-0", n=1), make("b", policy="tiny-0", n=1, temperature=0.5)])
    assert "undecided" in draw_fig2(held, tmp_path).reading
    assert "undecided" in draw_fig3(held, tmp_path).reading
    assert "undecided" in draw_temperature(held, tmp_path).reading
