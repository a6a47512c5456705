"""What the README points at is there: every picture and page that it links, every name that its Python imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoConfig

from expo.policies.load import resolve
from expo.report.words import METHODS, share

from .test_project_files import exists

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BY_BASE = pd.read_csv(ROOT / "figures" / "by-base-smollm2-135m-letters.csv")
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    inside = [link for link in links if "://" not in link]
    assert len(inside) > 10
    assert [link for link in inside if not (ROOT / link).exists()] == []


def imported(code: str) -> list[str]:
    """The names of ours that some Python imports."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in nodes for alias in node.names]
    return [name for name in names if name.startswith(("expo.", "theory."))]


def test_its_trainer_takes_a_model_that_trl_can_load_without_a_network() -> None:
    (code,) = (block for block in PYTHON if "ExPGRPOTrainer(" in block)
    names = re.findall(r'resolve\("([^"]+)"\)', code)
    assert names
    for name in names:
        AutoConfig.from_pretrained(resolve(name)[0], local_files_only=True)
        # The control: the name alone is none of transformers'.
        with pytest.raises(OSError, match=r"cached files|not a local folder|offline"):
            AutoConfig.from_pretrained(name, local_files_only=True)


def test_its_python_imports_what_is_there() -> None:
    names = [name for code in PYTHON for name in imported(code)]
    assert len(names) > 5
    # A trainer and its configuration may be had from one module, though it imports the second.
    assert [n for n in names if not exists(n)] == ["expo.train.exp_grpo.ExPGRPOConfig"]
    assert not exists(*imported("from expo.gradients.gram import ghost"))


def test_its_example_of_gradients_runs(policy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (code for code in PYTHON if "per_example_gram" in code)
    names: dict[str, object] = {}
    exec(code.replace("Qwen/Qwen2.5-0.5B-Instruct", str(policy_folder)), names)
    gradients = names["gradients"]
    assert gradients.norms.shape == (2,)
    assert (gradients.norms > 0).all()
    assert capsys.readouterr().out
    with pytest.raises(ImportError):
        exec(code.replace("per_example_gram", "ghost"), {})


def trained_rows(readme: str) -> dict[str, list[str]]:
    """The cells of the table of the trained SmolLM2 by method."""
    section = readme[readme.index("**SmolLM2-135M, trained**") :]
    table = re.search(r"(?:^\|.*\|\n)+", section, re.M)
    assert table
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()]
    return {row[0]: row[1:] for row in rows}


def wrong_cells(rows: dict[str, list[str]]) -> list[str]:
    """The cells that are not what the records' table says: accuracies by base, and groups."""
    wrong = []
    for method, of_method in BY_BASE.sort_values("base").groupby("method"):
        accuracies, counts = rows[METHODS[str(method)]][:3], rows[METHODS[str(method)]][3]
        if accuracies != [share(mean) for mean in of_method["mean"]]:
            wrong.append(f"{method}: {accuracies}")
        groups = of_method[["some_right", "groups"]].astype(int)
        if groups["groups"].all():
            some = groups["some_right"].tolist()
            told = f"{some[0]}, {some[1]} and {some[2]} of {groups['groups'].iloc[0]}"
            if not counts.startswith(told):
                wrong.append(f"{method}: {counts}")
    return wrong


def test_its_table_of_trainings_says_what_the_records_say() -> None:
    rows = trained_rows(README)
    assert set(BY_BASE["method"].map(METHODS)) <= set(rows)
    assert wrong_cells(rows) == []
    # The controls: another accuracy, and another count.
    assert wrong_cells(trained_rows(README.replace("| ExP-GRPO | 93 %", "| ExP-GRPO | 95 %"))) != []
    assert wrong_cells(trained_rows(README.replace("1, 2 and 2 of 320", "1, 2 and 3 of 320"))) != []
