from __future__ import annotations

import json
from pathlib import Path

import pytest

from expo.records import RecordError, Run
from expo.report.positives.measurements import Measurement, find_measurements, group_by_label, label

from ..records.positives import Make


@pytest.mark.parametrize(
    ("policy", "fields", "expected"),
    [
        ("tiny", {"task": "chain"}, "tiny"),
        ("tiny-12", {"task": "chain"}, "tiny"),
        ("smollm2-135m", {"task": "stories"}, "smollm2-135m"),
        ("smollm2-135m", {"task": "gsm8k"}, "smollm2-135m-gsm8k"),
        ("smollm2-135m", {"task": "gsm8k", "split": "train"}, "smollm2-135m-gsm8k-train"),
        ("runs/bases/model-letters-seed3", {"task": "letters", "split": "rate"}, "model-letters-rate"),
        # Not the same as the model that it was made from.
        ("models/llama-gsm8k", {"task": "gsm8k"}, "llama-gsm8k-gsm8k"),
        ("Qwen/Qwen2.5-3B-Instruct", {"task": "math"}, "qwen2.5-3b-instruct-math"),
        ("/home/someone/My Model", {"task": "stories"}, "my-model"),
        ("models/x_Q4.gguf", {"task": "jsonl", "data": "/data/Exam 1.jsonl"}, "x-q4-exam-1"),
    ],
)
def test_label(make: Make, policy: str, fields: dict[str, str], expected: str):
    record = make("run", policy=policy, **fields)
    assert label(record) == expected
    assert "/home" not in record.title
    assert "/data" not in record.title


def test_what_was_trained_is_labelled_by_its_base(make: Make) -> None:
    run = make("run", policy="runs/mine/exp/model", n=2)
    assert label(Measurement(run.run)).startswith("exp-")
    path = run.run.path("environment.json")
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**facts, "trained_from": "bases/small-seed0"}), encoding="utf-8")
    assert label(Measurement(run.run)).startswith("small-trained")


def test_find_takes_finished_measurements_in_natural_order(make: Make, tmp_path: Path):
    for name in ("tiny-10", "tiny-2"):
        make(name, n=2)
    Run.start(tmp_path / "runs" / "cut", make("tiny-2", n=2).recipe)
    Run.start(tmp_path / "runs" / "training", {"algorithm": "exp-grpo"})
    (tmp_path / "runs" / "notebooks").mkdir()
    records, unfinished = find_measurements(tmp_path / "runs")
    assert [r.name for r in records] == ["tiny-2", "tiny-10"]
    assert unfinished == ["cut"]
    alone, _ = find_measurements(tmp_path / "runs" / "tiny-2")
    assert [r.name for r in alone] == ["tiny-2"]


def test_find_refuses_a_folder_without_runs(tmp_path: Path):
    with pytest.raises(RecordError, match="is not a run folder"):
        find_measurements(tmp_path)


def test_groups_hold_bases_and_sweeps(make: Make):
    records = [
        make("tiny-1", n=2),
        make("tiny-0", n=2),
        make("tiny-0-t0.5", n=2, policy="tiny-0", temperature=0.5, sources=["own", "explanation", "expert"]),
        make("tiny-0-t1.2", n=2, policy="tiny-0", temperature=1.2, k=1),
        make("smollm2-135m", n=2, task="stories"),
    ]
    one, two = group_by_label(records)
    assert (one.label, two.label) == ("smollm2-135m", "tiny")
    assert one.sweeps == ()
    assert [r.name for r in two.runs] == ["tiny-0", "tiny-1"]
    assert [[r.temperature for r in sweep] for sweep in two.sweeps] == [[0.5, 0.9, 1.2]]


def test_runs_that_differ_in_more_than_temperature_are_no_sweep(make: Make):
    for field, value in (
        ("seed", 1),
        ("max_new_tokens", 9),
        ("policy", "tiny-1"),
        ("problems", 3),
    ):
        fields = {"policy": "tiny-0", field: value}
        other = make(f"other-{field}", temperature=0.5, **fields)
        (held,) = group_by_label([make("tiny-0"), other])
        assert held.sweeps == ()
        # Not hidden either: it is shown by itself.
        assert len(held.runs) == 2


def test_without_the_papers_temperature_the_nearest_is_shown(make: Make):
    names = {t: make(f"t{t}", n=2, policy="tiny-0", temperature=t).name for t in (0.2, 0.7, 1.2)}
    (held,) = group_by_label([Measurement(Run(make("x", n=2).run.folder.parent / name)) for name in names.values()])
    assert [r.temperature for r in held.runs] == [0.7]


def test_a_measured_base_of_a_study_is_called_by_its_number(make: Make):
    base, other = make("positives-base-0", n=2, policy="runs/bases/smollm2-135m-letters-seed0"), make("tiny-0", n=2)
    assert (base.subject, other.subject) == ("**base 0** (toy)", "**tiny-0** (toy)")
    assert base.title.startswith("base 0: smollm2-135m-letters-seed0 on chain")
