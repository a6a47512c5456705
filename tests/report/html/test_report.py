"""The page in a real browser: its numbers are Python's, under every filter; whatever a text holds stays a text."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.cli import main
from expo.evaluate import by_level
from expo.gradients.predictors import unit_slopes
from expo.measure.acts import mentions_by_problem, share_metrics
from expo.measure.verdict import summary
from expo.measure.weights import posterior_metrics
from expo.records import RecordError, Run
from expo.report.html import build, tables
from expo.report.html.build import write_report
from expo.report.html.records import shown_runs
from expo.stats import bootstrap_questions

from ...browser import dump, needs_chromium
from ..records.gradients import write_gradients
from ..records.positives import Make, samples
from ..records.trainings import BASE, levels, write

HOSTILE = "</script><script>document.title='taken'</script><img src=http://example.org/x> \u202eabc \x1b[31m & <b>"


def random_samples(n: int = 40, k: int = 3) -> pd.DataFrame:
    """Samples whose numbers have no pattern, some of them cut, leaking, wrong or without a weight."""
    rng, rows = np.random.default_rng(1), samples(n, k)
    size = len(rows)
    rows["nll_sum"] = rng.gamma(3, 10, size)
    rows["nll_per_token"] = rng.gamma(3, 0.2, size)
    rows["nll_cot"] = rng.gamma(3, 9, size)
    rows["learning_signal"] = -rng.gamma(1, 1.5, size)
    hinted = rows["source"].isin(["explanation", "wrong_explanation", "nonsense"])
    rows["nll_prompted"] = pd.Series(rng.gamma(3, 8, size)).where(hinted & (rng.random(size) > 0.1))
    rows["truncated"] = rng.random(size) < 0.3
    rows["leak"] = rng.random(size) < 0.2
    rows["correct"] = pd.Series(rng.random(size) < 0.5).astype("boolean").where(rows["source"] != "expert")
    return rows


def random_tokens(rows: pd.DataFrame) -> pd.DataFrame:
    """Each self-explanation token by token."""
    rng, out = np.random.default_rng(2), []
    for row in rows[rows["source"] == "explanation"].to_dict("records"):
        texts = re.findall(r"\S+\s*", row["cot"])
        plain, prompted = -rng.gamma(1, 1, len(texts)), -rng.gamma(1, 1, len(texts))
        key = {name: row[name] for name in ("problem", "source", "index")}
        out.append({**key, "ids": list(range(len(texts))), "texts": texts, "plain": plain, "prompted": prompted})
    return pd.DataFrame(out)


@pytest.fixture
def record(make: Make) -> Run:
    run = make("tiny-0", n=40, k=3, temperature=1.0, token_scores=True).run
    rows = random_samples()
    run.write("samples", rows)
    run.write("tokens", random_tokens(rows))
    return run


def shown(page: Path, fragment: str = "") -> dict[str, float]:
    """The numbers that the page shows, by name."""
    found = re.findall(r'<data data-name="([^"]*)" value="([^"]*)"', dump(page, f"numbers=1&{fragment}"))
    return {html.unescape(name): float(value.replace("Infinity", "inf")) for name, value in found}


def computed(run: Run, rows: pd.DataFrame) -> dict[str, float]:
    """The numbers of these samples by Python."""
    left = set(zip(rows["problem"], rows["source"], rows["index"], strict=True))
    tokens = run.read("tokens")
    keys = zip(tokens["problem"], tokens["source"], tokens["index"], strict=True)
    tokens = tokens[[key in left for key in keys]]
    parts = [summary(rows), posterior_metrics(rows), share_metrics(tokens, mentions_by_problem("chain", rows))]
    found = pd.concat(parts)
    return dict(zip(found["name"], found["value"].astype(float), strict=True))


def check_same(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    assert set(ours) == set(theirs)
    assert ours
    for name, value in theirs.items():
        same = math.isclose(ours[name], value, rel_tol=1e-9, abs_tol=1e-9) or (
            math.isnan(value) and math.isnan(ours[name])
        )
        assert same, f"{name}: {ours[name]} is shown, {value} computed"


FILTERS = {
    "": lambda rows: rows,
    "level=3": lambda rows: rows[rows["level"] == 3],
    "cut=1": lambda rows: rows[~rows["truncated"]],
    "leak=1": lambda rows: rows[~rows["leak"]],
    "right=1": lambda rows: rows[rows["correct"].fillna(True)],
    "level=2&cut=1&leak=1&right=1": lambda rows: rows[
        (rows["level"] == 2) & ~rows["truncated"] & ~rows["leak"] & rows["correct"].fillna(True)
    ],
}


@needs_chromium
@pytest.mark.parametrize("fragment", FILTERS)
def test_the_numbers_of_a_measurement_are_pythons(record: Run, fragment: str, tmp_path: Path):
    page, _ = write_report([record.folder], tmp_path / "page.html")
    found = shown(page, fragment)
    check_same(found, computed(record, FILTERS[fragment](record.read("samples"))))
    # The check can fail: other rows have other numbers.
    with pytest.raises(AssertionError):
        check_same(found, computed(record, record.read("samples").iloc[7:]))


@needs_chromium
def test_the_numbers_of_trainings_and_gradients_are_pythons(tmp_path: Path):
    recipe = {**BASE, "policy": "tiny-0", "positive": "explanation"}
    write(tmp_path / "one", recipe, {0: levels(0.02), 10: levels(0.4)})
    gradients = write_gradients(tmp_path / "two")
    page, _ = write_report([tmp_path / "one", tmp_path / "two"], tmp_path / "page.html")
    expected: dict[str, float] = {}

    def add(name: str, of: Any) -> None:
        if of.n:
            expected.update({name: of.mean, f"{name}/low": of.low, f"{name}/high": of.high})

    evaluation = Run(tmp_path / "one").read("evaluation")
    for step, rows in evaluation.groupby("step"):
        for k in (1, 2, 4, 8):
            for level, of in by_level(rows, k).items():
                add(f"one/step {step}/{'all' if level is None else f'level {level}'}/pass@{k}", of)
    alignment = gradients.read("alignment")
    for source, rows in alignment.assign(unit=unit_slopes(alignment)).groupby("source"):
        add(f"two/step 0/slope/{source}", bootstrap_questions(rows.set_index("problem")["unit"]))
    found = shown(page)
    check_same(found, expected)
    expected["two/step 0/slope/own"] += 1e-6
    with pytest.raises(AssertionError, match="slope/own"):
        check_same(found, expected)


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


def test_nothing_is_loaded_from_elsewhere(record: Run, tmp_path: Path):
    page, _ = write_report([record.folder], tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    loads = r"<(link|iframe|img|object)|\s(src|href)=|@import|url\("
    assert not re.search(loads, text)
    # The check can fail.
    assert re.search(loads, text.replace("</style>", "@import 'x'</style>"))


def test_a_large_record_is_shown_in_part(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    rows = random_samples(100, 4)
    times = 100_000 // len(rows) + 1
    many = pd.concat([rows.assign(problem=rows["problem"] + f"-{i}") for i in range(times)], ignore_index=True)
    run.write("samples", many)
    page, left_out = write_report([run.folder], tmp_path / "page.html")
    assert page.stat().st_size <= 3_000_000
    kept, of = map(int, re.findall(r"[\d,]+", left_out[0].replace(",", ""))[1:3])
    assert of == many["problem"].nunique()
    assert 500 < kept < of
    # A small one is shown whole.
    run.write("samples", rows)
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
    with pytest.raises(RecordError, match=r"tiny-1 has not finished\. Unless it is running, give its command again"):
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


def test_the_command_writes_beside_the_run_and_over_nothing_of_the_users(
    make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    run = make("tiny-0").run
    page = run.path("report.html")
    assert main(["report", str(run.folder)]) == 0
    assert f"report: {page}" in capsys.readouterr().out
    # Its own page is made anew, a file of the user's is not.
    assert main(["report", str(run.folder)]) == 0
    page.write_text("my notes", encoding="utf-8")
    assert main(["report", str(run.folder)]) == 1
    assert f"{page} exists and is not a report" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "my notes"
    assert main(["report", str(tmp_path / "nothing")]) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_provenance_names_the_command_and_no_path_of_the_machine(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12, temperature=0.5, policy=str(tmp_path / "weights")).run
    assert str(tmp_path) in run.path("recipe.yaml").read_text(encoding="utf-8")
    page, _ = write_report([run.folder], tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert "--policy weights" in text
    assert "expo measure --task chain" in text
    assert "--temperature 0.5" in text
    assert str(tmp_path) not in text


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
def test_kinds_of_points_differ_in_shape(tmp_path: Path):
    page, _ = write_report([write_gradients(tmp_path / "two").folder], tmp_path / "page.html")
    (figure,) = re.findall(r"<figure>(?:(?!</figure>).)*realised.*?</figure>", dump(page, "numbers=1"), re.DOTALL)
    shapes = re.findall(r'<path d="([^"]*)" transform[^>]* fill="([^"]*)"', figure)
    assert len({shape for shape, _ in shapes}) == 4
    legend = re.search('class="legend".*?</ul>', figure, re.DOTALL)
    assert legend
    assert "expert CoT" in legend[0]


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


@needs_chromium
def test_the_first_screen_says_what_the_filters_leave_out(record: Run, tmp_path: Path):
    page, _ = write_report([record.folder], tmp_path / "page.html")
    said = "A part of the rows, chosen by the filters: level 2 only, without leaks."
    assert said in dump(page, "numbers=1&level=2&leak=1")
    # A level that no record has is none.
    assert ">A part of the rows" not in (dom := dump(page, "numbers=1&level=99"))
    assert 'data-name="own/nll_sum"' in dom


def test_runs_without_a_folder_in_common_need_a_file(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = [make("tiny-0").run.folder, make("tiny-1").run.folder]
    assert write_report(runs)[0] == runs[0].parent / "report.html"
    monkeypatch.setattr("os.path.commonpath", lambda paths: "/")
    with pytest.raises(RecordError, match="no folder in common; name the page's file with --output"):
        write_report(runs)
    assert write_report(runs, tmp_path / "page.html")[0].is_file()


_CHOICE = """
const choice = [...document.querySelectorAll("#distributions select")].at(-1);
choice.value = "tokens";
choice.dispatchEvent(new Event("change"));
state.cut = true;
render();
"""


@needs_chromium
def test_a_filter_keeps_what_a_reader_chose(record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def chosen(*dropped: str) -> set[str]:
        asset = build._asset
        for part in dropped:
            assert part in asset("page.js")

        def changed(name: str) -> str:
            text = asset(name)
            for part in dropped:
                text = text.replace(part, "")
            return text + (_CHOICE if name == "page.js" else "")

        with monkeypatch.context() as patch:
            patch.setattr(build, "_asset", changed)
            page, _ = write_report([record.folder], tmp_path / "page.html")
        dom = dump(page, "numbers=1")
        section = re.search('<section id="distributions".*?</section>', dom, re.DOTALL)
        assert section
        return set(re.findall('<option value="([^"]*)" selected', section[0]))

    assert chosen() == {"tokens"}
    assert chosen("chosen[label] = value;") == {"nll_per_token"}


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
