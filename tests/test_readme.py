"""What the README points at is there: every picture and page that it links, every name that its Python imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .test_project_files import exists

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
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
