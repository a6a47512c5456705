from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from expo.report.gradients.runs import by_policy, find_gradients, notes_of

from ..records.gradients import write_gradients


def test_runs_of_different_settings_are_not_joined(tmp_path: Path) -> None:
    write_gradients(tmp_path / "runs" / "one")
    write_gradients(tmp_path / "runs" / "two", max_new_tokens=40)
    with pytest.raises(ValueError, match="gradients of tiny: the runs one, two differ in max_new_tokens"):
        by_policy(find_gradients(tmp_path / "runs"))


def test_policies_of_one_name_are_not_joined(tmp_path: Path) -> None:
    def found(**more: Any) -> list[Any]:
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        for name in ("a", "b"):
            run = write_gradients(tmp_path / "runs" / name)
            for file, held in (
                ("recipe.yaml", {**run.recipe(), "policy": f"runs/{name}/model"}),
                ("environment.json", {**run.environment(), "toy": False, **more}),
            ):
                run.path(file).write_text(yaml.safe_dump(held) if file.endswith("yaml") else json.dumps(held))
        return find_gradients(tmp_path / "runs")

    with pytest.raises(ValueError, match="the runs a, b are of different policies of one name"):
        by_policy(found())
    # A trained policy bears its run's name, and a toy's is none of the bases.
    assert list(by_policy(found(trained_from="tiny-0", toy=True))) == ["a-chain", "b-chain"]


def test_a_run_that_was_cut_short_is_not_shown(tmp_path: Path) -> None:
    run = write_gradients(tmp_path / "runs" / "one")
    run.path("gradients.parquet").unlink()
    assert find_gradients(tmp_path / "runs") == []


def test_a_caption_tells_policies_and_seeds_apart(tmp_path: Path) -> None:
    write_gradients(tmp_path / "runs" / "one")
    alone = notes_of(find_gradients(tmp_path / "runs"), "About.")
    assert "each of" not in alone
    assert alone.endswith("seed 0.")
    write_gradients(tmp_path / "runs" / "two", seed=1)
    both = notes_of(find_gradients(tmp_path / "runs"), "About.")
    assert "policies" not in both
    assert both.endswith("seeds 0 and 1.")
