"""`expo reproduce --check`: an artefact that nothing has changed since is the same; each planted change is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expo import provenance
from expo.cli import main
from expo.provenance import Checked, check_figures, show_checked
from expo.recipe import MeasureRecipe
from expo.records import RecordError, Run, to_yaml
from expo.report import artefacts
from expo.report.artefacts import GALLERY, PROVENANCE, read_provenance
from expo.report.gallery import gallery
from expo.report.positives.measurements import group_by_label
from expo.report.positives.table1 import draw_table1
from expo.report.runs import ROOT, recipe_hash
from expo.report.theory.lemma2_gap import draw_lemma2_gap
from expo.study import STUDIES, Study, load_study

from .records.positives import Make


def test_the_figures_of_the_project_are_those_of_its_records_recipes_and_code() -> None:
    assert [artefact for artefact in check_figures(ROOT / "figures", ROOT / "runs") if artefact.stale] == []


def commit(run: Run, name: str = "abc1234") -> None:
    """Let a run be made from a commit of this name."""
    path = run.path("environment.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": name}))


@pytest.fixture
def recipe() -> MeasureRecipe:
    """What the study says of the run; a test may change it."""
    return MeasureRecipe(task="chain", policy="tiny-0", samples=2, problems=4)


@pytest.fixture
def drawn(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: MeasureRecipe) -> Path:
    """The folder of a table of a run of a shipped study, drawn from a commit."""
    study = Study("runs", "", {"tiny-0": recipe}, ())
    monkeypatch.setattr(provenance, "_shipped", lambda name: study if name == "runs" else None)
    measured = make("tiny-0", n=4)
    commit(measured.run)
    draw_table1(*group_by_label([measured]), tmp_path / "figures")
    return tmp_path / "figures"


def check(figures: Path) -> list[Checked]:
    return check_figures(figures, figures.parent)


def edit(figures: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Let the entry of the table have been written in another way."""
    ledger = read_provenance(figures)
    change(ledger["table1-tiny"])
    (figures / PROVENANCE).write_text(json.dumps(ledger))
    (figures / GALLERY).write_text(gallery(ledger))


def the_reason(figures: Path) -> str:
    (artefact,) = check(figures)
    (reason,) = artefact.stale
    return reason


def test_what_nothing_has_changed_since_is_the_same(drawn: Path) -> None:
    assert check(drawn) == [Checked("table1-tiny", ())]
    assert "table1-tiny: same" in show_checked(check(drawn))
    draw_lemma2_gap(drawn)
    assert [artefact.stale for artefact in check(drawn)] == [(), ()]


def test_a_changed_and_a_missing_file_are_found(drawn: Path) -> None:
    table = drawn / "table1-tiny.md"
    table.write_text(table.read_text() + " ")
    assert the_reason(drawn) == "table1-tiny.md was changed after it was drawn: draw it again"
    table.unlink()
    assert the_reason(drawn) == "table1-tiny.md is missing: draw it again"


def test_a_page_of_all_that_is_not_of_the_entries_is_found(drawn: Path) -> None:
    page = drawn / "README.md"
    page.write_text(page.read_text() + " ")
    assert check(drawn)[1:] == [Checked("README.md", ("does not match the entries: draw any of them again",))]


def test_a_file_of_no_artefact_is_found(drawn: Path) -> None:
    (drawn / "fig2-tiny.png").touch()
    assert check(drawn)[1:] == [Checked("fig2-tiny.png", ("provenance.json has no entry for it: delete it",))]


def test_another_record_is_found(drawn: Path) -> None:
    run = Run(drawn.parent / "runs" / "tiny-0")
    run.write("samples", run.read("samples").assign(nll_sum=1.0))
    assert the_reason(drawn) == "the record runs/tiny-0 has changed since (samples): draw it again"


def test_a_record_that_is_not_here_is_said_and_no_fault(drawn: Path) -> None:
    (drawn.parent / "runs").rename(drawn.parent / "elsewhere")
    assert check(drawn) == [Checked("table1-tiny", (), ("runs",))]
    text = show_checked(check(drawn))
    assert "records of study runs are not in this checkout; make them with expo reproduce --study runs" in text
    packed = show_checked([Checked("table1-tiny", (), ("tiny",))])
    assert "records of study tiny are not in this checkout; unpack them with make records" in packed
    assert text.endswith("1 artefact: 1 the same (1 of them with some records not here), 0 stale")


@pytest.mark.parametrize("is_here", [True, False])
def test_another_recipe_in_the_study_is_found(drawn: Path, recipe: MeasureRecipe, is_here: bool) -> None:
    if not is_here:
        (drawn.parent / "runs").rename(drawn.parent / "elsewhere")
    recipe.temperature = 0.5
    which = " (temperature)" if is_here else ""
    assert the_reason(drawn).startswith(f"the recipe of tiny-0 in study runs has changed since{which}: ")
    # How the work is shared out is no other recipe.
    recipe.temperature, recipe.rows = 0.9, 7
    assert check(drawn)[0].stale == ()


def test_a_run_that_the_study_has_no_more_is_found(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_shipped", lambda _: Study("runs", "", {}, ()))
    assert the_reason(drawn).startswith("study runs no longer has a run tiny-0")
    # Runs of no shipped study have no recipe to be compared with.
    monkeypatch.setattr(provenance, "_shipped", lambda _: None)
    assert check(drawn)[0].stale == ()


def test_a_record_of_another_recipe_than_was_drawn_is_found(drawn: Path) -> None:
    run = Run(drawn.parent / "runs" / "tiny-0")
    run.path("recipe.yaml").write_text(to_yaml({**run.recipe(), "seed": 8}))
    assert the_reason(drawn) == "the record runs/tiny-0 has another recipe than when it was drawn: draw it again"


def test_other_code_is_found(drawn: Path) -> None:
    edit(drawn, lambda entry: entry.update(code="0" * 64))
    assert the_reason(drawn) == "the code of expo.report.positives.table1.draw_table1 has changed since: draw it again"
    edit(drawn, lambda entry: entry.update(drawn_by="expo.report.positives.table1.draw_nothing"))
    assert "draw_nothing, which drew it, no longer exists" in the_reason(drawn)


def test_a_run_of_an_uncommitted_tree_is_found(drawn: Path) -> None:
    edit(drawn, lambda entry: entry["runs"][0].update(commit="abc1234-dirty"))
    assert the_reason(drawn).startswith("1 run made from uncommitted code, abc1234-dirty (runs/tiny-0): ")


@pytest.mark.parametrize("without", ["code", "drawn_by", "recipe", "study"])
def test_an_entry_that_notes_less_is_found(drawn: Path, without: str) -> None:
    edit(drawn, lambda entry: [of.pop(without, None) for of in (entry, *entry["runs"])])
    assert the_reason(drawn) == "drawn by a version that did not record recipes and code: draw it again"


def test_the_command_ends_in_1_if_anything_is_stale(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "--check", "--figures", str(drawn), "--runs", str(drawn.parent)]
    assert main(command) == 0
    (drawn / "table1-tiny.csv").write_text("")
    assert main(command) == 1
    assert "table1-tiny: stale\n  table1-tiny.csv was changed" in capsys.readouterr().out
    assert main(["reproduce", "--check", "--figures", str(drawn.parent)]) == 1
    assert f"{drawn.parent} has no provenance.json" in capsys.readouterr().err


def test_only_figures_of_the_project_refuse_a_run_of_an_uncommitted_tree(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = make("tiny-0", n=4)
    commit(measured.run, "abc1234-dirty")
    monkeypatch.setattr(artefacts, "OWN_FIGURES", tmp_path / "project")
    with pytest.raises(RecordError, match="runs/tiny-0: its code was changed and not committed"):
        draw_table1(*group_by_label([measured]), tmp_path / "project")
    assert not (tmp_path / "project").exists()
    draw_table1(*group_by_label([measured]), tmp_path / "mine")
    commit(measured.run)
    draw_table1(*group_by_label([make("tiny-0", n=4)]), tmp_path / "project")


def test_only_the_first_differences_of_an_artefact_are_listed() -> None:
    def lines(n: int) -> list[str]:
        return show_checked([Checked("fig1", tuple(f"reason {i}" for i in range(n)))]).splitlines()[1:-1]

    assert lines(3) == ["  reason 0", "  reason 1", "  reason 2"]
    assert lines(5) == ["  reason 0", "  reason 1", "  reason 2", "  and 2 more differences"]


def test_the_records_of_the_project_have_the_recipes_of_its_studies() -> None:
    """What is compared by a hash alone is compared with what the runs were made by."""
    records = ROOT / "figures" / "records"
    for study in (load_study(path.stem) for path in STUDIES.glob("smollm2*.yaml")):
        for name, recipe in study.runs.items():
            run = Run(records / study.name / name)
            if run.path("recipe.yaml").exists():
                assert recipe_hash(run.recipe()) == recipe_hash(recipe.resolved())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"policy": "runs/smollm2/first-base-0/model"}, {"policy": "first-base-0"}, True),
        ({"policy": "runs/smollm2-bases/smollm2-135m-letters-seed0"}, {"policy": "base-0"}, True),
        ({"policy": "runs/smollm2-bases/smollm2-135m-letters-seed1"}, {"policy": "base-0"}, False),
        ({"policy": "Qwen/Qwen2.5-3B"}, {"policy": "Qwen2.5-3B"}, False),
        ({"policy": "tiny-0", "beta": 1}, {"policy": "tiny-0", "beta": 1.0}, True),
        ({"policy": "tiny-0", "beta": 1}, {"policy": "tiny-0", "beta": True}, False),
        ({"policy": "tiny-0", "rows": 8}, {"policy": "tiny-0", "rows": 9}, True),
        ({"policy": "tiny-0", "levels": [1, 2]}, {"policy": "tiny-0", "levels": [1]}, False),
    ],
)
def test_a_recipe_is_the_same_wherever_the_policy_is(one: dict, other: dict, is_same: bool) -> None:
    assert (recipe_hash(one) == recipe_hash(other)) is is_same
