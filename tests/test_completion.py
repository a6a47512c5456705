"""Completion as a shell does it: what is offered after what has been typed, and that nothing is started for it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from expo.cli import JOBS, main
from expo.completion import SHELLS, VALUES, script
from expo.recipe import EvaluateRecipe, MeasureRecipe
from expo.tasks import TASKS
from expo.train.config import PairsDPOConfig
from expo.train.recipe import TrainRecipe


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        (folder / shell).write_text(script(shell, JOBS), encoding="utf-8")
    return {shell: folder / shell for shell in SHELLS}


def offered(file: Path, *words: str, folder: Path | None = None) -> list[str]:
    """What bash offers for the last of these words, in a bash that finds no other program."""
    said = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _expo; printf "%s\\n" "${COMPREPLY[@]}"'
    bash = [shutil.which("bash"), "--norc", "--noprofile", "-c", said, "bash", file, "expo", *words]
    done = subprocess.run(bash, env={"PATH": "/nowhere"}, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], list(JOBS)),
        (["me"], ["measure"]),
        (["measure", "--tas"], ["--task"]),
        (["measure", "--task", ""], list(TASKS)),
        (["measure", "--task", "g"], ["gsm8k"]),
        # As bash breaks --task=g.
        (["measure", "--task", "=", "g"], ["gsm8k"]),
        (["measure", "--task", "="], list(TASKS)),
        (["measure", "--policy", "tiny-"], ["tiny-0", "tiny-1", "tiny-2"]),
        (["measure", "--sources", "own", "ex"], ["explanation", "expert"]),
        (["measure", "--token_scores", ""], ["true", "false"]),
        (["measure", "--token-scores", "t"], ["true"]),
        # `sample` has one kind of positives.
        (["sample", "--sour"], []),
        (["measure", "--sour"], ["--sources"]),
        (["train", "--positive_choice", "best"], ["best_signal", "best_joint"]),
        (["train", "--beta_sft_s"], ["--beta_sft_schedule"]),
        # Of another algorithm than the usual one.
        (["train", "--max_prompt", ""], []),
        (["train", "--ld_al"], ["--ld_alpha"]),
        (["evaluate", "--bef"], ["--before"]),
        (["reproduce", "--study", "tiny-p"], ["tiny-posterior"]),
        (["completion", "--shell", "z"], ["zsh"]),
        # The controls: no such job, flag or value, and another job's flag.
        (["mesure", "--ta"], []),
        (["measure", "--tasc"], []),
        (["measure", "--task", "x"], []),
        (["grade", "--tas"], []),
    ],
)
def test_bash_offers_what_begins_so(scripts: dict[str, Path], words: list[str], expected: list[str]) -> None:
    assert offered(scripts["bash"], *words) == expected


def test_where_nothing_is_offered_files_are(scripts: dict[str, Path]) -> None:
    said = subprocess.run(
        ["bash", "--norc", "-c", f"source {scripts['bash']}; complete -p expo"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "complete -o bashdefault -o default -F _expo expo\n"
    assert offered(scripts["bash"], "measure", "--data", "") == []


@pytest.mark.parametrize(("job", "recipe"), [("measure", MeasureRecipe), ("evaluate", EvaluateRecipe)])
def test_every_flag_of_a_job_is_offered(scripts: dict[str, Path], job: str, recipe: type) -> None:
    known = {f"--{f.name}" for f in fields(recipe)} | {"--output", "--config"}
    more = {"--before"} if job == "evaluate" else set()
    assert set(offered(scripts["bash"], job, "--")) == known | more


def test_those_of_every_algorithm_are_offered(scripts: dict[str, Path]) -> None:
    offers = set(offered(scripts["bash"], "train", "--"))
    assert {f"--{f.name}" for f in (*fields(TrainRecipe), *fields(PairsDPOConfig)) if f.name != "trl"} <= offers


def test_each_value_is_of_a_flag(scripts: dict[str, Path]) -> None:
    flags = {flag for job in JOBS for flag in offered(scripts["bash"], job, "--")}
    assert {f"--{name}" for name in VALUES} <= flags
    assert "--planted" not in flags


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_can_read_theirs(scripts: dict[str, Path], shell: str, tmp_path: Path) -> None:
    if not (found := shutil.which(shell)):
        pytest.skip(f"{shell} is not installed")
    check = [found, "-n"] if shell == "zsh" else [found, "--no-execute"]
    assert subprocess.run([*check, scripts[shell]]).returncode == 0
    (tmp_path / "planted").write_text("if (")
    assert subprocess.run([*check, tmp_path / "planted"], capture_output=True).returncode != 0


def test_fish_offers_jobs_flags_and_values(scripts: dict[str, Path]) -> None:
    said = scripts["fish"].read_text(encoding="utf-8").splitlines()
    of_measure = "complete -c expo -n '__fish_seen_subcommand_from measure' -l"
    assert f"{of_measure} task -x -a '{' '.join(TASKS)}'" in said
    assert f"{of_measure} data -r -F" in said
    assert f"{of_measure} policy -r -F -a 'smollm2-135m tiny-0 tiny-1 tiny-2'" in said
    if fish := shutil.which("fish"):
        asked = f"source {scripts['fish']}; complete -C 'expo measure --task g'"
        done = subprocess.run([fish, "--no-config", "-c", asked], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["gsm8k"]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], scripts: dict[str, Path]) -> None:
    assert main(["completion", "--shell", "bash"]) == 0
    assert capsys.readouterr().out == scripts["bash"].read_text(encoding="utf-8")
    assert main(["completion", "--shell", "tcsh"]) == 1
    assert "shell: unknown shell 'tcsh'; choose from bash, zsh, fish" in capsys.readouterr().err
