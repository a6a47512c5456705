"""Changelog, citation and commit hooks say what is so: each names what is there, and a planted fault is found."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from expo import _RENAMED
from expo.report import paper

ROOT = Path(__file__).parent.parent
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[tuple[str, str]]:
    """Old and new of a table of the changelog."""
    text = CHANGELOG.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [(old, new) for old, new in cells[2:]]


def dotted(cell: str) -> list[str]:
    """The dotted names of a cell; `.name` stands for a name beside the one before it."""
    names: list[str] = []
    for name in re.findall(r"`([\w.]+)", cell):
        if name.startswith("."):
            names.append(names[0].rpartition(".")[0] + name)
        elif name.startswith(("expo.", "theory.")):
            names.append(name)
    return names


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or defined in one (an import does not count); nothing is imported for it."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        for path in (ROOT.joinpath(*parts[:n]).with_suffix(".py"), ROOT.joinpath(*parts[:n], "__init__.py")):
            if path.is_file():
                return _defines(ast.parse(path.read_text(encoding="utf-8")).body, parts[n:])
    return False


def _defines(body: list[ast.stmt], path: list[str]) -> bool:
    if not path:
        return True
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == path[0]:
            return _defines(node.body, path[1:])
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(n, ast.Name) and n.id == path[0] for target in targets for n in ast.walk(target)):
            return len(path) == 1
    return False


@pytest.mark.parametrize("heading", ["Modules", "Names"])
def test_new_names_are_there_and_old_ones_are_not(heading: str) -> None:
    table = rows(heading)
    assert len(table) > 20
    assert [name for _, new in table for name in dotted(new) if not exists(name)] == []
    gone = [name for old, _ in table if "(one module)" not in old for name in dotted(old)]
    assert len(gone) > 20
    assert [name for name in gone if exists(name)] == []


def test_what_there_is_not_is_found() -> None:
    assert exists("expo.tasks.checker.Checker.leak_rule")
    for name in ("expo.tasks.checker.Checker.leek_rule", "expo.tasks.chequer", "expo.evaluate.bootstrap"):
        assert not exists(name)
    assert dotted("`expo.a.b`, `.c` and `x=`") == ["expo.a.b", "expo.a.c"]


def test_marked_modules_name_the_new_one() -> None:
    marked = {name: dotted(new) for old, new in rows("Modules") if "†" in old for name in dotted(old)}
    assert set(_RENAMED) <= set(marked)
    for old, new in marked.items():
        with pytest.raises(ImportError, match=rf" is now .*{new[0].rpartition('.')[2]}"):
            importlib.import_module(old)
    # A module that was never there has no such error.
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("expo.measure.never")


def hooks(text: str) -> list[str]:
    return [hook["entry"] for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]]


def style(makefile: str) -> list[str]:
    target = re.search(r"^style:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert target
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in target[1].splitlines()]


def test_a_commit_is_judged_as_make_style_does() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert hooks(text) == style(makefile)
    assert len(hooks(text)) == 3
    assert re.search(r"^VENV := \.venv$", makefile, re.M)
    assert all(not hook["pass_filenames"] for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"])
    assert hooks(text.replace(" --check", "")) != style(makefile)
    assert hooks(text) != style(makefile.replace("$(BIN)/mypy", "$(BIN)/mypy --strict"))


def title_is_of(title: str, text: str | None) -> bool:
    return title in " ".join((text or "").split())


def test_the_citation_is_that_of_project_and_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["abstract"] == project["description"]
    (reference,) = citation["references"]
    assert title_is_of(reference["title"], paper.__doc__)
    assert not title_is_of(reference["title"].replace("Guided", "Driven"), paper.__doc__)
    names = [author["family-names"] for author in reference["authors"]]
    assert title_is_of(f"{', '.join(names[:-1])} and {names[-1]} ({reference['year']})", paper.__doc__)
    # What nobody has checked is not made up.
    assert not {"doi", "identifiers", "url"} & {*citation, *reference}


@pytest.mark.parametrize("line", ["from expo import tables", "from expo.measure import gain", "import expo.tables"])
def test_every_form_of_import_names_the_new_module(line: str) -> None:
    with pytest.raises(ImportError, match=r" is now expo\."):
        exec(line, {})
