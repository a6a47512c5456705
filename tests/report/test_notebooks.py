from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from expo.records import Run, to_yaml
from expo.report.artefacts import PROVENANCE
from expo.report.notebooks import NotebookError, execute, figures_of, runs_of
from expo.report.runs import ROOT

from .records.dpo import ARMS, write_arm
from .records.gradients import write_gradients, write_trained
from .records.positives import Make
from .records.trainings import write_study

NOTEBOOK = ROOT / "notebooks" / "2_positives.ipynb"
PAIRS = ROOT / "notebooks" / "3_exp-dpo.ipynb"
GRADIENTS = ROOT / "notebooks" / "5_gradients.ipynb"
QUICKSTART = ROOT / "notebooks" / "0_quickstart.ipynb"
TRAININGS = ROOT / "notebooks" / "4_exp-grpo.ipynb"


def notebook(path: Path, *cells: str) -> Path:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(made, path)
    return path


def test_the_notebook_shows_every_artefact(make: Make, tmp_path: Path):
    make("tiny-0", n=10, judged=0.8)
    make("tiny-0-t0.5", n=10, policy="tiny-0", temperature=0.5)
    make("smollm2-135m", n=10, task="stories", reverse=True)
    figures, out = tmp_path / "figures", tmp_path / "out" / "2_positives.ipynb"
    execute(NOTEBOOK, tmp_path / "runs", figures, out)
    names = [f"{name}-{label}" for name in ("table1", "fig2", "fig3", "example1") for label in ("tiny", "smollm2-135m")]
    names.append("property1-temperature-tiny")
    assert sorted(json.loads((figures / PROVENANCE).read_text())) == sorted(names)
    for name in names:
        assert (figures / f"{name}.csv").is_file()
    executed = nbformat.read(out, as_version=4)
    text = str(executed)
    assert "in-distribution **holds**" in text
    # The reversed record is read in reversed words.
    assert "in-distribution **fails**" in text
    assert str(tmp_path) not in text
    pictures = [o for c in executed.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert len(pictures) == 5


def said(executed: Path) -> str:
    """What an executed notebook says under its cells."""
    cells = nbformat.read(executed, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "\n".join(output["data"].get("text/markdown", "") for output in outputs if "data" in output)


def test_the_quickstart_reads_a_run(make: Make, tmp_path: Path):
    make("tiny-0", n=12)
    figures, out = tmp_path / "figures", tmp_path / "out.ipynb"
    execute(QUICKSTART, tmp_path / "runs", figures, out)
    text = out.read_text(encoding="utf-8")
    # Of the record, an expert CoT is the least likely.
    assert "The likeliest is **" in said(out)
    # Nobody has guessed.
    assert "Your guess" not in said(out)
    assert "expert CoT is the likeliest" not in text
    assert text.count("✓ holds") == 2
    # The figures of the project are of larger records.
    assert not figures.exists()
    # The opposite record has the opposite verdicts.
    make("tiny-0", n=12, reverse=True)
    execute(QUICKSTART, tmp_path / "runs", figures, out)
    assert out.read_text(encoding="utf-8").count("✗ fails") == 2


@pytest.mark.slow
def test_the_quickstart_measures_where_there_is_no_run(tmp_path: Path):
    execute(QUICKSTART, tmp_path / "runs", tmp_path / "figures", tmp_path / "out.ipynb")
    text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    assert "n = 20 problems of chain" in text
    assert "Verdict: " in text
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_notebook_of_gradients_answers_each_question(tmp_path: Path):
    runs, figures = tmp_path / "gradients", tmp_path / "figures"
    write_gradients(runs / "tiny-0")
    for positive, slope in (("explanation", 1.0), ("none", 0.5)):
        write_trained(runs, "tiny-0", positive, slope)
    execute(GRADIENTS, runs, figures, tmp_path / "out.ipynb")
    names = ["gradients", "kinds", "predicted", "predictors", "t1-t2"]
    assert set(json.loads((figures / PROVENANCE).read_text())) == {f"{name}-tiny" for name in names}
    # Of two questions there is no interval, and of more there is a picture.
    assert "no picture: at least 10 questions" in said(tmp_path / "out.ipynb")
    for path in runs.glob("*/recipe.yaml"):
        path.write_text(path.read_text().replace("gradient_problems: 2", "gradient_problems: 12"))
    execute(GRADIENTS, runs, figures, tmp_path / "more.ipynb")
    assert "slopes-grpo-all-levels-tiny" in json.loads((figures / PROVENANCE).read_text())
    text = (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    assert "Lemma 1 expects a cosine of 0.200" in text  # S2 is 1/4
    assert "step of 0.1: for 27 of 27 positives" in text


@pytest.mark.slow
def test_the_notebook_of_pairs_shows_pictures_or_a_grid(tmp_path: Path):
    runs, figures = tmp_path / "tiny", tmp_path / "figures"
    for base in ("tiny-0", "tiny-1"):
        for (source, refresh), (end, gain) in ARMS.items():
            write_arm(runs, base, source, refresh, end, gain)
    execute(PAIRS, runs, figures, tmp_path / "out.ipynb")
    assert {"dpo-diagnostics-tiny", "fig6-tiny", "table2-tiny"} <= set(json.loads((figures / PROVENANCE).read_text()))
    assert "Accuracy of **offline ExP-DPO** minus that of **offline DPO with expert CoT**" in (
        tmp_path / "out.ipynb"
    ).read_text(encoding="utf-8")
    # At a second rate of one arm they are a grid.
    faster = tmp_path / "faster"
    write_arm(faster, "tiny-0", "explanation", 0, 0.2, 1.0, rate=1e-3)
    (run,) = faster.iterdir()
    run.rename(runs / f"{run.name}-fast")
    runs = runs.rename(tmp_path / "tiny-dpo-rates")
    execute(PAIRS, runs, tmp_path / "grid", tmp_path / "out.ipynb")
    assert "dpo-rates-tiny" in json.loads((tmp_path / "grid" / PROVENANCE).read_text())
    assert "The highest accuracy of a single run is " in (tmp_path / "out.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(NOTEBOOK.parent.glob("*.ipynb")), ids=lambda p: p.stem)
def test_it_begins_with_the_run_and_asks_before_it_answers(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    assert first.startswith("RUN = ")
    words = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert words.count("**Question.**") >= 1
    assert words.count("**What would change our mind.**") >= 1


def test_a_notebook_reads_and_draws_where_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("EXPO_RUNS", "EXPO_FIGURES"):
        monkeypatch.delenv(name, raising=False)
    assert runs_of(tmp_path) == tmp_path
    assert figures_of(tmp_path) == tmp_path / "figures"
    assert not any(runs_of(None).iterdir())
    # Records that the project shows have their figures drawn by `expo reproduce` alone.
    assert not figures_of(ROOT / "figures" / "records" / "smollm2").is_relative_to(ROOT)
    monkeypatch.setenv("EXPO_RUNS", str(tmp_path / "asked"))
    monkeypatch.setenv("EXPO_FIGURES", str(ROOT / "figures"))
    assert runs_of(tmp_path) == tmp_path / "asked"
    assert figures_of(tmp_path) == ROOT / "figures"


@pytest.mark.slow
def test_the_notebook_of_trainings_shows_curves_or_a_grid(tmp_path: Path):
    runs, figures = tmp_path / "tiny", tmp_path / "figures"
    write_study(runs, "all", None)
    write_study(runs, "level5", [5])
    execute(TRAININGS, runs, figures, tmp_path / "out.ipynb")
    curves = ["by-base-tiny", "fig1-tiny", "fig4-tiny", "fig5-tiny", "fig9-tiny", "forgetting-tiny", "table3-tiny"]
    assert sorted(json.loads((figures / PROVENANCE).read_text())) == curves
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert " %) ends above GRPO SFT-GT-CoT (" in str(executed)
    assert len([o for c in executed.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]) == 5
    # Another study's artefacts have other names.
    shutil.copytree(runs, tmp_path / "tiny-long")
    execute(TRAININGS, tmp_path / "tiny-long", tmp_path / "long", tmp_path / "out.ipynb")
    names = set(json.loads((tmp_path / "long" / PROVENANCE).read_text()))
    assert {"fig4-long-tiny", "forgetting-long-tiny"} <= names
    assert not names & set(curves)
    # Where nothing was trained on all levels, Figure 1 and Table 3 are of the rest.
    hard = tmp_path / "hard" / "tiny"
    write_study(hard, "level5", [5])
    execute(TRAININGS, hard, tmp_path / "of-hard", tmp_path / "out.ipynb")
    names = set(json.loads((tmp_path / "of-hard" / PROVENANCE).read_text()))
    assert names == {"by-base-tiny", "fig1-tiny", "fig4-tiny", "forgetting-tiny", "table3-tiny"}
    # All levels that were evaluated were trained on: there is none to forget.
    for run in hard.iterdir():
        evaluation = Run(run).read("evaluation")
        Run(run).write("evaluation", evaluation[evaluation["level"] >= 4])
        recipe = {**Run(run).recipe(), "levels": [4, 5]}
        (run / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    execute(TRAININGS, hard, tmp_path / "of-two", tmp_path / "out.ipynb")
    assert names - set(json.loads((tmp_path / "of-two" / PROVENANCE).read_text())) == {"forgetting-tiny"}
    runs = runs.rename(tmp_path / "tiny-rates")
    write_study(runs, "level5-fast", [5], rate=1e-3)
    execute(TRAININGS, runs, tmp_path / "grid", tmp_path / "out.ipynb")
    assert sorted(json.loads((tmp_path / "grid" / PROVENANCE).read_text())) == ["by-rate-rates-tiny", "rates-tiny"]


@pytest.mark.parametrize("path", sorted(NOTEBOOK.parent.glob("*.ipynb")), ids=lambda p: p.stem)
def test_it_is_committed_without_outputs(path: Path):
    held = nbformat.read(path, as_version=4)
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in held.cells)


def test_a_failing_cell_is_shown_and_nothing_saved(tmp_path: Path):
    path = notebook(tmp_path / "bad.ipynb", "x = 1", "raise ValueError('no such thing')")
    with pytest.raises(NotebookError, match=r"bad\.ipynb: cell 2 failed with ValueError: no such thing"):
        execute(path, tmp_path, tmp_path, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()


def test_the_kernel_is_this_interpreter_whatever_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    checks = "import os, sys, expo\nprint(sys.executable, os.environ['EXPO_RUNS'], expo.__file__)"
    path = notebook(tmp_path / "ok.ipynb", checks)
    execute(path, tmp_path / "r", tmp_path / "f", tmp_path / "out.ipynb")
    (cell,) = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert cell.outputs[0].text.split() == [sys.executable, str(tmp_path / "r"), str(ROOT / "expo" / "__init__.py")]


def test_a_missing_notebook_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such notebook"):
        execute(tmp_path / "none.ipynb", tmp_path, tmp_path, tmp_path / "out.ipynb")
