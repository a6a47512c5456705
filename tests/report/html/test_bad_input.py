"""Records that lack something, are too large, damaged or hostile: a page that says so, or an error with the file."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.records import RecordError, Run, to_yaml
from expo.report.html import build, tables
from expo.report.html.build import write_report
from expo.report.html.records import shown_runs

from ...browser import dump, needs_chromium
from ..records.positives import Make
from ..records.trainings import BASE, levels, write
from .made import check_same, computed, random_samples, shown

HOSTILE = "</script><script>document.title='taken'</script><img src=http://example.org/x> \u202eabc \x1b[31m & <b>"


@needs_chromium
def test_a_text_stays_a_text(record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = record.read("samples")
    for column in ("question", "cot", "reference", "answer"):
        rows[column] = HOSTILE
    rows["text"] = rows["cot"] + " so"
    rows["problem"] = rows["problem"] + HOSTILE
    tokens = record.read("tokens")
    tokens["problem"] = tokens["problem"] + HOSTILE
    record.write("samples", rows)
    record.write("tokens", tokens)
    page, _ = write_report([record.folder], tmp_path / "page.html")

    def check() -> None:
        dom = dump(page, "numbers=1")
        assert dom.count("<script") == 2
        assert "<img" not in dom
        assert "taken" not in re.search("<title>(.*)</title>", dom)[1]  # type: ignore[index]
        assert "\u202e" not in dom
        assert "&lt;img src" in dom

    check()
    # The check can fail: without the escapes of `dumps` the text ends the data.
    monkeypatch.setattr(build, "dumps", lambda value: json.dumps(value))
    write_report([record.folder], tmp_path / "page.html")
    with pytest.raises(AssertionError):
        check()


def shown_of(sentence: str) -> tuple[int, int]:
    """How many problems a page says that it holds, and of how many."""
    kept, of = re.findall(r"holds ([\d,]+) of the record's ([\d,]+) problems", sentence)[0]
    return int(kept.replace(",", "")), int(of.replace(",", ""))


def test_a_large_record_is_shown_in_part(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    rows = random_samples(100, 4)
    times = 100_000 // len(rows) + 1
    many = pd.concat([rows.assign(problem=rows["problem"] + f"-{i}") for i in range(times)], ignore_index=True)
    run.write("samples", many)
    page, left_out = write_report([run.folder], tmp_path / "page.html")
    assert page.stat().st_size <= 3_000_000
    kept, of = shown_of(left_out[0])
    assert of == many["problem"].nunique()
    assert 500 < kept <= tables.MOST_PROBLEMS < of
    # A small one is shown whole.
    run.write("samples", rows)
    assert not write_report([run.folder], tmp_path / "page.html")[1]


def test_more_problems_than_a_browser_resamples_in_seconds_are_shown_in_part(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    rows = random_samples(100, 1)
    rows = rows[rows["source"].isin(["own", "explanation"])]
    many = pd.concat([rows.assign(problem=rows["problem"] + f"-{i}") for i in range(14)], ignore_index=True)
    problems = list(dict.fromkeys(many["problem"]))
    run.write("samples", many)
    page, (said,) = write_report([run.folder], tmp_path / "page.html")
    assert shown_of(said) == (1_000, len(problems))
    content = json.loads(re.search('id="data">(.*)</script>', page.read_text(encoding="utf-8"))[1])  # type: ignore[index]
    (of_run,) = content["runs"]
    assert [f"tiny-0: {sentence}" for sentence in of_run["left_out"]] == [said]
    assert len(of_run["tables"]["samples"]["problem"]["of"]) == 1_000
    # One that has just as many is shown whole: it is not its size that leaves some out.
    run.write("samples", many[many["problem"].isin(problems[:1_000])])
    assert not write_report([run.folder], tmp_path / "page.html")[1]


def test_problems_are_left_out_evenly():
    rows = random_samples(40, 1)
    (kept,) = tables.fit([{"samples": rows}], len(tables.dumps(tables.encode("samples", rows))) // 4)
    places = [list(dict.fromkeys(rows["problem"])).index(p) for p in dict.fromkeys(kept["samples"]["problem"])]
    assert 8 <= len(places) <= 10
    assert places[0] == 0
    assert places[-1] == 39
    # Of each of them all rows are there.
    assert (kept["samples"].groupby("problem").size() == 6).all()


def test_what_a_record_lacks_is_said(make: Make, tmp_path: Path):
    run = make("tiny-0", n=1, leveled=False).run
    text = write_report([run.folder], tmp_path / "page.html")[0].read_text(encoding="utf-8")
    assert "The problems have no levels" in text
    assert "The record has 1 problem." in text
    other = make("tiny-1", n=12, temperature=1.0).run
    text = write_report([other.folder], tmp_path / "page.html")[0].read_text(encoding="utf-8")
    assert "The problems have no levels" not in text
    assert "The record has 12 problems" not in text


def test_an_unfinished_run_is_named_beside_a_finished_one(make: Make, tmp_path: Path):
    done, begun = make("tiny-0").run, make("tiny-1").run
    begun.path("samples.parquet").unlink()
    page, left_out = write_report([done.folder.parent], tmp_path / "page.html")
    assert "tiny-1 has not finished" in left_out[0]
    assert "tiny-1 has not finished" in page.read_text(encoding="utf-8")
    with pytest.raises(RecordError, match=r"tiny-1 has not finished\. Unless it is still running, repeat its command"):
        write_report([begun.folder])


def test_a_damaged_record_and_one_of_another_schema_are_named(make: Make, monkeypatch: pytest.MonkeyPatch):
    run = make("tiny-0").run
    monkeypatch.setattr("expo.records.SCHEMA", 99)
    with pytest.raises(RecordError, match=r"samples.parquet has schema version 1, but this toolkit reads 99"):
        write_report([run.folder])
    monkeypatch.undo()
    run.path("samples.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(RecordError, match=r"samples.parquet is damaged"):
        write_report([run.folder])


@needs_chromium
@pytest.mark.parametrize("column", ["learning_signal", "nll_sum", "nll_per_token", "nll_cot", "nll_prompted"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_record_with_values_that_are_not_finite_is_shown(
    record: Run, column: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows, tokens = record.read("samples"), record.read("tokens")
    rows.loc[rows["source"] == "own", column] = value
    rows.loc[rows.index[-3:], column] = value
    tokens.at[0, "prompted"] = [value] * len(tokens.at[0, "texts"])
    record.write("samples", rows)
    record.write("tokens", tokens)
    page, _ = write_report([record.folder], tmp_path / "page.html")
    assert 'id="provenance"' in dump(page, "numbers=1")
    # The check can fail: a picture drawn from such a value logs an error, or makes none of the page.
    if column == "nll_per_token" and math.isinf(value):
        asset = build._asset
        monkeypatch.setattr(build, "_asset", lambda name: asset(name).replace(".filter(Number.isFinite)", ""))
        write_report([record.folder], page)
        with pytest.raises(AssertionError):
            assert 'id="provenance"' in dump(page, "numbers=1")


@needs_chromium
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_the_difference_of_two_infinities_counts_in_no_comparison(record: Run, value: float, tmp_path: Path):
    rows = record.read("samples")
    rows.loc[rows["problem"].isin(rows["problem"].unique()[:2]), "learning_signal"] = value
    record.write("samples", rows)
    page, _ = write_report([record.folder], tmp_path / "page.html")
    with np.errstate(invalid="ignore"):
        expected = computed(record, rows)
    check_same(shown(page), expected)


@needs_chromium
def test_runs_in_folders_of_one_name_are_told_apart(make: Make, tmp_path: Path):
    one, other = make("tiny-0", n=12).run, make("tiny-1", n=13).run
    twin = other.folder.parent.parent / "others" / "tiny-0"
    twin.parent.mkdir()
    other.folder.rename(twin)
    page, _ = write_report([one.folder, twin, one.folder], tmp_path / "page.html")
    assert "<title>runs/tiny-0, others/tiny-0" in page.read_text(encoding="utf-8")
    # The same run is shown once, however often it is given.
    assert len(re.findall("tiny-0</option>", dump(page, "numbers=1"))) == 2
    for name, problems in (("runs/tiny-0", 12), ("others/tiny-0", 13)):
        assert shown(page, f"run={name}")["own/problems"] == problems


def test_runs_without_a_folder_in_common_need_a_file(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = [make("tiny-0").run.folder, make("tiny-1").run.folder]
    assert write_report(runs)[0] == runs[0].parent / "report.html"
    monkeypatch.setattr("os.path.commonpath", lambda paths: "/")
    with pytest.raises(RecordError, match="no folder in common; name the page's file with --output"):
        write_report(runs)
    assert write_report(runs, tmp_path / "page.html")[0].is_file()


def test_many_runs_stay_within_the_size_of_a_page(tmp_path: Path):
    for i in range(6):
        write(tmp_path / f"run-{i}", {**BASE, "policy": f"tiny-{i}"}, {0: levels(0.02), 10: levels(0.4)})
    runs, _ = shown_runs([tmp_path])
    whole, left_out = build.page(runs)
    assert not left_out
    least = len(whole) - 4_000
    made, left_out = build.page(runs, most=least)
    assert len(made.encode()) <= least
    assert len(left_out) == 6
    with pytest.raises(RecordError, match=r"6 runs take [\d.]+ MB, but a page holds [\d.]+ MB of them; name fewer"):
        build.page(runs, most=len(build.page(runs[:1])[0]))


def test_a_problem_with_too_many_samples_is_named_as_such(make: Make):
    run = make("tiny-0", n=12).run
    rows = random_samples(1, 1)
    own = rows[rows["source"] == "own"]
    run.write("samples", own)
    room = len(build.page(shown_runs([run.folder])[0])[0]) + 100_000
    run.write("samples", pd.concat([own] * 3_000, ignore_index=True).assign(index=range(3_000)))
    said = (
        r"^\S+/tiny-0 takes \d\.\d MB, but a page holds \d\.\d MB: a problem has 3000 rows of samples, .* "
        "with fewer samples of each problem"
    )
    with pytest.raises(RecordError, match=said):
        build.page(shown_runs([run.folder])[0], most=room)


def change_recipe(run: Run, **fields: object) -> None:
    """Overwrite fields of a record's recipe; None drops one."""
    recipe = {name: value for name, value in {**run.recipe(), **fields}.items() if value is not None}
    run.path("recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")


@pytest.mark.parametrize("name", ["task", "policy"])
def test_a_recipe_without_its_task_or_policy_is_named_as_damaged(make: Make, name: str):
    run = make("tiny-0").run
    change_recipe(run, **{name: None})
    said = rf"tiny-0/recipe.yaml is damaged \(it names no {name}\); add what is missing, or delete the run folder"
    with pytest.raises(RecordError, match=said):
        write_report([run.folder])


def test_a_record_of_a_task_that_is_not_installed_is_shown_without_marks(record: Run, tmp_path: Path):
    def texts() -> tuple[str, dict[str, Any]]:
        page = write_report([record.folder], tmp_path / "page.html")[0].read_text(encoding="utf-8")
        content = json.loads(re.search('id="data">(.*)</script>', page)[1])  # type: ignore[index]
        return page, content["runs"][0]["texts"]

    unmarked = "The task mine is not installed here, so the steps of the texts are not marked."
    page, known = texts()
    assert unmarked not in page
    assert any(len(text["parts"]) > 1 for text in known["rows"].values())
    change_recipe(record, task="mine")
    page, unknown = texts()
    assert unmarked in page
    assert unknown["judged"] is None
    assert unknown["rows"].keys() >= known["rows"].keys()
    cots = record.read("samples")["cot"]
    assert all(text["parts"] == [[cots[int(place)], None]] for place, text in unknown["rows"].items())
