"""TensorBoard and Trackio hold what a training logs, and its samples as tables: `make test-trackers`."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from expo.evaluate import by_level
from expo.records import Run
from expo.report.runs import ROOT

from .test_run import VALUES

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tensorboard", "trackio"))), reason="make test-trackers runs it"
)


def test_trackers_hold_accuracies_the_added_term_and_completions(tmp_path: Path) -> None:
    more = {"max_steps": 4, "eval_steps": 2, "report_to": ["tensorboard", "trackio"], "log_completions": True}
    (tmp_path / "r.yaml").write_text(json.dumps({**VALUES, **more}))
    places = {"TENSORBOARD_LOGGING_DIR": str(tmp_path / "board"), "TRACKIO_DIR": str(tmp_path / "trackio")}
    command = [sys.executable, "-m", "expo.cli", "train", "--config", str(tmp_path / "r.yaml")]
    command += ["--output", str(tmp_path / "run")]
    done = subprocess.run(
        command, env={**os.environ, **places}, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run(tmp_path / "run")
    evaluation, metrics = run.read("evaluation"), run.read("metrics")
    accuracies = [by_level(evaluation[evaluation["step"] == step])[None].mean for step in (0, 2, 4)]
    nll = metrics[metrics["name"] == "exp_sft/nll"]["value"].tolist()
    assert len(nll) == 4

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("eval/accuracy")] == [
        (step, pytest.approx(a)) for step, a in zip((0, 2, 4), accuracies, strict=True)
    ]
    assert [e.value for e in board.Scalars("train/exp_sft/nll")] == pytest.approx(nll)

    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        logged = [json.loads(content) for (content,) in database.execute("select metrics from metrics order by step")]
    assert [row["eval/accuracy"] for row in logged if "eval/accuracy" in row] == pytest.approx(accuracies)
    assert [row["train/exp_sft/nll"] for row in logged if "train/exp_sft/nll" in row] == pytest.approx(nll)
    tables = [row["completions"]["_value"] for row in logged if "completions" in row]
    assert tables
    assert {"prompt", "completion", "answer"} <= tables[0][0].keys()
