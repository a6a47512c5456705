"""The page in a real browser: its numbers are Python's, under every filter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.cli import main
from expo.evaluate import by_level
from expo.gradients.predictors import distinct, joined, unit_slopes
from expo.records import Run
from expo.report.html import build
from expo.report.html.build import write_report
from expo.report.words import number, share
from expo.schema import as_frame
from expo.stats import bootstrap_questions

from ...browser import dump, needs_chromium
from ..records.gradients import write_gradients
from ..records.positives import Make
from ..records.trainings import BASE, levels, write
from .made import check_same, computed, shown

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
    right = distinct(alignment)[lambda rows: rows["slope_error"].notna() & rows["reward"]]
    t1 = 10.0 ** right["log10_t1"].astype(float)
    ratios = np.log10((right["slope"] - t1).abs() / t1)
    expected |= {"two/step 0/log10 of |T2| over T1/positives": len(ratios)}
    expected |= {"two/step 0/log10 of |T2| over T1": ratios.mean()}
    rows = joined(alignment, gradients.read("gains"), 0.1)
    rows = rows[rows["predicted_error"].notna() & rows["change_error"].notna()]
    clear = rows[rows["predicted"].abs() > 2 * rows["predicted_error"]]
    same = int((np.sign(clear["predicted"]) == np.sign(clear["change"])).sum())
    # Of q0 nothing was predicted, and a wrong explanation repeats the expert's text.
    assert len(rows) == 27
    expected |= {"two/length 0.1/predictions": 27, "two/length 0.1/clear predictions": len(clear)}
    expected |= {"two/length 0.1/of the predicted sign": same}
    found = shown(page)
    check_same(found, expected)
    for name in ("two/step 0/slope/own", "two/step 0/log10 of |T2| over T1", "two/length 0.1/predictions"):
        with pytest.raises(AssertionError, match=re.escape(name)):
            check_same(found, {**expected, name: expected[name] + 1e-6})


@needs_chromium
def test_runs_on_other_problems_are_not_paired(tmp_path: Path):
    recipe = {**BASE, "policy": "tiny-0", "positive": "explanation"}
    write(tmp_path / "one", {**recipe, "data": "a.jsonl"}, {0: levels(0.02), 10: levels(0.4)})
    write(tmp_path / "two", {**recipe, "data": "b.jsonl"}, {0: levels(0.02), 10: levels(0.4)})
    write(tmp_path / "three", {**recipe, "data": "a.jsonl", "seed": 1}, {0: levels(0.02), 10: levels(0.4)})
    page, _ = write_report([tmp_path / name for name in ("one", "two", "three")], tmp_path / "page.html")
    rows = re.findall(r'<th scope="row">(two|three)</th>(.*?)</tr>', dump(page, "numbers=1"))
    assert [(name, "other problems" in row) for name, row in rows] == [("two", True), ("three", False)]


@needs_chromium
def test_a_level_alone_has_its_shares_of_cut_samples(tmp_path: Path):
    write(tmp_path / "one", {**BASE, "policy": "tiny-0", "positive": "explanation"}, {0: levels(0.02)})
    page, _ = write_report([tmp_path / "one"], tmp_path / "page.html")
    for fragment, row in (("", "all levels"), ("level=5", "level 5")):
        found = re.search(rf'<th scope="row">{row}</th>(.*?)</tr>', dump(page, f"numbers=1&{fragment}"))
        assert found
        assert re.sub("<.*?>", " ", found[1]).split()[-4:] == ["0", "%", "0", "%"]


@needs_chromium
def test_numbers_are_rounded_as_in_tables(tmp_path: Path):
    shares = [*(i / 400 for i in range(401)), 0.0625, 0.0995]
    numbers = [0.625, 2.125, 2.375, 2.675, 12.25, 999.5, 1234.5, 0.001125, -0.375, 1e-5, 0]
    write(tmp_path / "one", {**BASE, "policy": "tiny-0", "positive": "explanation"}, {0: levels(0.02)})
    page, _ = write_report([tmp_path / "one"], tmp_path / "page.html")
    script = f"""<script>document.body.append(el("p", {{ id: "rounded" }},
        JSON.stringify([{shares}.map(percent), {numbers}.map((x) => number(x))])));</script>"""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text()) + script
    page.write_text(text)
    found = re.search(r'<p id="rounded">(.*?)</p>', dump(page))
    assert found
    assert json.loads(found[1]) == [[share(x) for x in shares], [number(x) for x in numbers]]


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


def test_the_command_writes_beside_the_run_and_over_nothing_of_the_users(
    make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    run = make("tiny-0").run
    page = run.path("report.html")
    assert main(["report", str(run.folder)]) == 0
    assert f"report: {page}" in capsys.readouterr().out
    # It replaces its own page, but not a user's file.
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
    # These have their defaults, whose values come from a list and from the task.
    (command,) = re.findall(r'"expo measure --task chain[^"]*"', text)
    assert "--sources" not in command
    assert "--max_new_tokens" not in command
    assert str(tmp_path) not in text


def test_what_was_left_out_of_the_data_is_said_without_paths(make: Make, tmp_path: Path):
    run = make("tiny-0", n=12).run
    assert "1 row or field of the data was left out: expert_cot (f:1)." in page_of(run, tmp_path)
    skips = [{"where": f"{tmp_path}/f.csv:{i}", "field": "answer", "reason": f"as in {tmp_path}"} for i in (3, 4)]
    run.write("skips", pd.DataFrame(skips))
    text = page_of(run, tmp_path)
    assert "2 rows or fields of the data were left out: answer (f.csv:3 and 1 more)." in text
    assert str(tmp_path) not in text
    # The control: nothing was left out.
    run.write("skips", as_frame("skips"))
    assert "of the data w" not in page_of(run, tmp_path)


def page_of(run: Run, folder: Path) -> str:
    return write_report([run.folder], folder / "page.html")[0].read_text(encoding="utf-8")


@needs_chromium
def test_kinds_of_points_differ_in_shape(tmp_path: Path):
    page, _ = write_report([write_gradients(tmp_path / "two").folder], tmp_path / "page.html")
    (figure,) = re.findall(r"<figure>(?:(?!</figure>).)*realised.*?</figure>", dump(page, "numbers=1"), re.DOTALL)
    shapes = re.findall(r'<path d="([^"]*)" transform[^>]* fill="([^"]*)"', figure)
    # The explanations of wrong answers repeat other texts, which count once.
    assert len({shape for shape, _ in shapes}) == 3
    legend = re.search('class="legend".*?</ul>', figure, re.DOTALL)
    assert legend
    assert "expert CoT" in legend[0]


@needs_chromium
def test_the_first_screen_says_what_the_filters_leave_out(record: Run, tmp_path: Path):
    page, _ = write_report([record.folder], tmp_path / "page.html")
    said = "The filters keep only part of the rows: level 2 only, without leaks."
    assert said in dump(page, "numbers=1&level=2&leak=1")
    # A level that no record has is none.
    assert ">The filters keep only part" not in (dom := dump(page, "numbers=1&level=99"))
    assert 'data-name="own/nll_sum"' in dom


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
