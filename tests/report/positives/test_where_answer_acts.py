"""Where the answer acts: the numbers are the record's, the text is shown whole and as text, and shares add up to 1."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expo.measure.run import measure
from expo.recipe import MeasureRecipe
from expo.records import Run
from expo.report.positives.measurements import Group, Measurement, group_by_label
from expo.report.positives.where_answer_acts import FALLBACK, RULE, draw_where_answer_acts, runs_with_tokens
from expo.text import visible

EVIL = "</pre><script>alert(1)</script> ``` \n# heading <img src=x> &amp; \u202e\x1b[31m"


class Shown(HTMLParser):
    """The elements of a page and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = MeasureRecipe(
        task="chain",
        policy="tiny-0",
        levels=[2],
        problems=6,
        sources=["own", "explanation"],
        samples=2,
        max_new_tokens=60,
        token_scores=True,
    )
    return measure(recipe, tmp_path_factory.mktemp("acts") / "tiny-0", progress=False)


def group_of(run: Run) -> Group:
    (group,) = group_by_label([Measurement(run)])
    return group


def test_numbers_are_the_records_and_shares_add_up(record: Run, tmp_path: Path) -> None:
    made = draw_where_answer_acts(group_of(record), tmp_path)
    text = made.numbers[made.numbers["part"] == "text"]
    tokens = record.read("tokens")
    shown = "".join(text["text"])
    (row,) = [r for _, r in tokens.iterrows() if r["index"] == 0 and "".join(r["texts"]) == shown][:1]
    np.testing.assert_allclose(text["difference"], np.array(row["prompted"]) - np.array(row["plain"]))
    for part in ("difference", "tokens"):
        shares = made.numbers[made.numbers["part"] == part]
        assert shares["mean"].sum() == pytest.approx(1)
        assert (shares["n"] == 6).all()
    assert "a toy" in made.shown.read_text().lower()
    assert "how |log μ − log π| is shared among the tokens of self-explanations, over 6 problems: " in made.reading
    page = Shown()
    page.feed(made.shown.with_suffix(".html").read_text())
    assert visible(shown) in page.text
    # The likeliest gain comes first.
    listed = re.findall(r"^ *([+-][\d.]+)  ", made.shown.with_suffix(".md").read_text(), flags=re.M)
    assert [abs(float(d)) for d in listed] == sorted((abs(float(d)) for d in listed), reverse=True)
    assert float(listed[0]) == pytest.approx(text["difference"].iloc[text["difference"].abs().argmax()], abs=0.006)


def test_the_first_right_one_is_shown(record: Run, tmp_path: Path) -> None:
    samples = record.read("samples")
    first = samples[(samples["source"] == "explanation") & (samples["index"] == 0)].sort_values("problem")
    rule = RULE if (first["status"] == "correct").any() else FALLBACK
    assert rule in draw_where_answer_acts(group_of(record), tmp_path).shown.read_text()
    other = Run(tmp_path / "run")
    other.folder.mkdir()
    for path in record.folder.iterdir():
        if path.is_file():
            (other.folder / path.name).write_bytes(path.read_bytes())
    other.write("samples", samples.assign(status="wrong"))
    assert FALLBACK in draw_where_answer_acts(group_of(other), tmp_path).shown.read_text()


def test_what_a_model_wrote_is_shown_as_text(record: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    for path in record.folder.iterdir():
        if path.is_file():
            (run.folder / path.name).write_bytes(path.read_bytes())
    tokens, samples = run.read("tokens"), run.read("samples")
    run.write("tokens", tokens.assign(texts=[[EVIL, *list(texts)[1:]] for texts in tokens["texts"]]))
    run.write("samples", samples.assign(question=EVIL, reference=EVIL))
    made = draw_where_answer_acts(group_of(run), tmp_path)
    page = Shown()
    page.feed(made.shown.with_suffix(".html").read_text())
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count(visible(EVIL)) == 3
    blocks = re.split(r"^````text$|^````$", made.shown.with_suffix(".md").read_text(), flags=re.M)
    assert "<script>" not in "".join(blocks[::2])
    assert "<script>" in "".join(blocks[1::2])


def test_a_record_without_tokens_has_nothing_to_show(record: Run, tmp_path: Path) -> None:
    assert runs_with_tokens([group_of(record)])
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    for path in record.folder.iterdir():
        if path.is_file() and path.name != "tokens.parquet":
            (run.folder / path.name).write_bytes(path.read_bytes())
    assert not runs_with_tokens([group_of(run)])
    run.write("tokens", record.read("tokens").iloc[:0])
    assert not runs_with_tokens([group_of(run)])
    assert isinstance(run.read("tokens"), pd.DataFrame)
