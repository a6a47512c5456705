"""README.md and docs/ point at what is there, and what they show is run: links, commands, Python, and its results."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoConfig

from expo.cli import JOBS, main
from expo.policies.load import resolve
from expo.records import Run

from .test_project_files import exists

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = [
    code
    for page in PAGES
    for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
]
FEW = ["--problems", "2", "--samples", "1", "--max_new_tokens", "8", "--device", "cpu"]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub writes them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead to no file, or to no heading of one."""
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))
    found = []
    for link in (link for link in links if "://" not in link):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert broken(page, text) == []
    planted = f"{text}\n[a](no/where.md) [b]({page.name}#no-such-heading)"
    assert broken(page, planted) == ["no/where.md", f"{page.name}#no-such-heading"]


def test_the_readme_is_a_page() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    prose = [line for line in lines if not line.startswith(("|", "![", "expo "))]
    assert max(map(len, prose)) <= 120


def imported(code: str) -> list[str]:
    """The names of ours that some Python imports."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in nodes for alias in node.names]
    return [name for name in names if name.startswith(("expo.", "theory."))]


def test_python_imports_what_is_there() -> None:
    names = {name for code in PYTHON for name in imported(code)}
    assert len(names) > 5
    # A trainer and its configuration may be had from one module, and a module from its package.
    assert [n for n in names if not exists(n)] == ["expo.train.exp_grpo.ExPGRPOConfig"]
    assert not exists(*imported("from expo.gradients.gram import ghost"))


def test_the_trainers_take_a_model_that_trl_can_load_without_a_network() -> None:
    codes = [code for code in PYTHON if "ExPGRPOTrainer(" in code]
    names = [name for code in codes for name in re.findall(r'resolve\("([^"]+)"\)', code)]
    assert len(codes) == len(names) == 2
    for name in set(names):
        AutoConfig.from_pretrained(resolve(name)[0], local_files_only=True)
        # The control: the name alone is none of transformers'.
        with pytest.raises(OSError, match=r"cached files|not a local folder|offline"):
            AutoConfig.from_pretrained(name, local_files_only=True)


def test_the_trainer_of_the_readme_takes_a_step(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    assert len([line for line in code.splitlines() if line]) <= 8
    exec(code.replace('"smollm2-135m"', repr(str(policy_folder))), {})
    assert "exp_sft/nll" in capsys.readouterr().out


def test_the_example_of_gradients_runs(policy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (code for code in PYTHON if "per_example_gram" in code)
    names: dict[str, object] = {}
    exec(code.replace("Qwen/Qwen2.5-0.5B-Instruct", str(policy_folder)), names)
    gradients = names["gradients"]
    assert gradients.norms.shape == (2,)  # type: ignore[attr-defined]
    assert (gradients.norms > 0).all()  # type: ignore[attr-defined]
    assert capsys.readouterr().out
    with pytest.raises(ImportError):
        exec(code.replace("per_example_gram", "ghost"), {})


def test_the_example_of_theory_gives_what_it_says() -> None:
    (code,) = (code for code in PYTHON if "from theory import" in code)
    names: dict[str, object] = {}
    exec(code, names)
    said = re.findall(r"^(lemma.*?)  # ([\d/.-]+)", code, re.M)
    assert [str(eval(line, names)) for line, _ in said] == [number for _, number in said]
    assert len(said) == 3


def commands(text: str) -> list[list[str]]:
    """The commands of `expo` that a page shows, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words[1:] for line in lines if (words := shlex.split(line, comments=True))[:1] == ["expo"]]


def test_the_readmes_own_data_is_measured(policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = [
        {"question": f"What is {n} + 1?", "answer": str(n + 1), "expert_cot": f"{n} + 1 = {n + 1}."} for n in (1, 2)
    ]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine), encoding="utf-8")
    svamp = [["Ann has 2 pens.", f"How many are {n} more?", 2 + n, f"( 2 + {n} )"] for n in (1, 2)]
    pd.DataFrame(svamp, columns=["Body", "Question", "Answer", "Equation"]).to_csv("svamp.csv", index=False)
    measured = [c for c in commands(README) if c[0] == "measure" and "jsonl" in c]
    assert len(measured) == 2
    for n, command in enumerate(measured):
        command = [word.replace("smollm2-135m", str(policy_folder)) for word in command]
        flags = [*FEW, "--policy", str(policy_folder), "--output"]
        assert main([*command, *flags, f"run-{n}"]) == 0
        assert set(Run(Path(f"run-{n}")).read("samples")["source"]) >= {"own", "explanation", "expert"}
        # The control: a file or a column that there is not.
        wrong = [word.replace("mine.", "yours.").replace("Body", "Story") for word in command]
        assert main([*wrong, *flags, "other"]) != 0


def test_the_readmes_training_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = (c for c in commands(README) if c[0] == "train")
    few = ["--problems", "8", "--max_steps", "1", "--eval_problems", "5", "--output", str(tmp_path / "toy")]
    assert main([*command, *few]) == 0
    assert (tmp_path / "toy" / "model").is_dir()
    assert "record:" in capsys.readouterr().out


def strangers(text: str) -> set[str]:
    """The jobs of a page's commands that there are not."""
    return {command[0] for command in commands(text)} - set(JOBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_jobs_that_there_are(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert strangers(text) == set()
    assert strangers(f"{text}\n```sh\nexpo measur --task chain\n```\n") == {"measur"}
