"""CONTRIBUTING's examples are taken from the page and run; its lists of modules are complete; what is stale fails."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import util
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from expo import tasks
from expo.cli import JOBS, main
from expo.recipe import MeasureRecipe
from expo.records import Run
from expo.report.artefacts import read_provenance
from expo.report.words import NAMES
from expo.schema import as_frame
from expo.tasks import TASKS, load_task
from expo.tasks.problem import DataError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOUBLES, LENGTHS, MIXED = "expo/tasks/doubles.py", "expo/report/positives/lengths.py", "theory/test_mixed_groups.py"
FEW = ["--problems", "2", "--max_new_tokens", "8", "--samples", "1"]


@dataclass(frozen=True)
class Block:
    """A fenced block of the page, and the heading that it stands under."""

    heading: str
    language: str
    title: str
    code: str


SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.M)}
BLOCKS = [
    Block(heading, *fenced)
    for heading, text in SECTIONS.items()
    for fenced in re.findall(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", text, re.M | re.S)
]


def block(title: str) -> str:
    (code,) = (b.code for b in BLOCKS if b.title == title)
    return code


def commands(*headings: str) -> list[list[str]]:
    """The commands of sections, without comments."""
    lines = [line for b in BLOCKS if b.language == "sh" and b.heading in headings for line in b.code.splitlines()]
    return [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]


def module(name: str, code: str, folder: Path) -> ModuleType:
    """The module of an example, from a file of its own."""
    path = folder / f"{name.rpartition('.')[2]}.py"
    path.write_text(code, encoding="utf-8")
    spec = util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    made = util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def apply(root: Path, diff: str, without: str = "") -> None:
    """Apply a diff of the page; each of its old lines must be there, once."""
    for part in re.split(r"^--- ", diff, flags=re.M)[1:]:
        name, _, hunks = part.partition("\n")
        path = root / name
        text = path.read_text(encoding="utf-8")
        for hunk in hunks.split("@@\n"):
            lines = hunk.splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
            assert text.count(old) == 1, f"stale: {name} does not have, once,\n{old}"
            text = text.replace(old, new)
        if name != without:
            path.write_text(text, encoding="utf-8")


@contextmanager
def imported_from(folder: Path) -> Iterator[None]:
    """`expo` as it is in another folder; what it imports from elsewhere stays loaded."""

    def loaded() -> dict[str, ModuleType]:
        return {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "expo"}

    ours, finders = loaded(), list(sys.meta_path)
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(ours)
        sys.meta_path[:] = finders
        sys.path.remove(str(folder))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of `expo`, to be changed."""
    shutil.copytree(ROOT / "expo", tmp_path / "copy" / "expo", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


@pytest.fixture
def doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The task of the page, registered."""
    made = module("expo.tasks.doubles", block(DOUBLES), tmp_path)
    monkeypatch.setitem(sys.modules, "expo.tasks.doubles", made)
    monkeypatch.setattr(tasks, "doubles", made, raising=False)
    monkeypatch.setitem(TASKS, "doubles", made.TASK)
    return made


def code_of(arguments: list[str]) -> int | str | None:
    """The exit code of `expo`."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


# A task.


def test_the_commands_of_a_new_task_run(doubles: ModuleType, policy_folder: Path, tmp_path: Path) -> None:
    runs = {}
    for arguments in commands("Add a task"):
        assert arguments[0] == "expo"
        run = runs[arguments[1]] = Run(tmp_path / arguments[1])
        more = ["--policy", str(policy_folder), *FEW, "--device", "cpu", "--output", str(run.folder)]
        assert main([*arguments[1:], *more]) == 0
    evaluation, samples = runs["evaluate"].read("evaluation"), runs["measure"].read("samples")
    assert evaluation["problem"].str.startswith("double-").all()
    assert evaluation["level"].isin([1, 2]).all()
    experts = samples[samples["source"] == "expert"]
    assert len(experts) == 2
    assert (experts["steps_true"] == 1).all()


def test_an_unregistered_task_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["evaluate", "--task", "doubles"]) == 2
    assert "unknown task 'doubles'" in capsys.readouterr().err


def test_the_test_of_a_new_task_tells_right_from_wrong(
    doubles: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = module("test_doubles", block("tests/tasks/test_doubles.py"), tmp_path)
    names = [name for name in vars(test) if name.startswith("test_")]
    assert names
    for name in names:
        getattr(test, name)()
    # A task whose problems all have one answer is noticed.
    alike = tuple(p.__class__(p.id, p.question, "2") for p in doubles.PROBLEMS)
    monkeypatch.setattr(doubles, "PROBLEMS", alike)
    with pytest.raises(AssertionError):
        getattr(test, names[0])()


def test_the_lines_that_register_a_task_do(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="no task named 'doubles'"):
        load_task("doubles")
    (copied / DOUBLES).write_text(block(DOUBLES), encoding="utf-8")
    apply(copied, block("register"))
    with imported_from(copied):
        from expo.cli import main as main_there
        from expo.tasks import load_task as load_there

        assert [p.answer for p in load_there("doubles", levels=[1]).problems] == [str(2 * n) for n in range(1, 10)]
        with pytest.raises(SystemExit):
            main_there(["evaluate", "--help"])
    assert "jsonl, doubles" in " ".join(capsys.readouterr().out.split())
    assert "doubles" not in TASKS


# A policy.


def test_a_folder_is_a_policy(policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ((_, *arguments),) = commands("Add a policy")
    more = ["--max_new_tokens", "8", "--device", "cpu", "--output", str(tmp_path / "run")]
    assert code_of([*arguments, *more]) == 1
    assert "neither a folder here" in capsys.readouterr().err
    assert code_of([a.replace("path/to/folder", str(policy_folder)) for a in arguments] + more) == 0
    assert len(Run(tmp_path / "run").read("evaluation")) == 5


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def naming(root: Path, word: str) -> set[str]:
    """The modules that have a name or a string."""
    found = set()
    for path in sorted((root / "expo").rglob("*.py")):
        for node in ast.walk(tree(path)):
            if word in (getattr(node, "id", None), getattr(node, "value", None)):
                found.add(path.relative_to(root).as_posix())
    return found


def modules_in(text: str) -> set[str]:
    return set(re.findall(r"expo/[\w/]+\.py", text))


def test_all_modules_that_a_shipped_policy_touches_are_named() -> None:
    assert modules_in(SECTIONS["Add a policy"]) == naming(ROOT, "SMOLLM2") | {"expo/recipe.py"}
    assert '"tiny, tiny-<k>, smollm2-135m,' in (ROOT / "expo" / "recipe.py").read_text(encoding="utf-8")


# A positive.


@pytest.mark.parametrize("without", ["", *sorted(modules_in(block("positive")))])
def test_each_line_of_a_new_positive_is_needed(
    copied: Path, without: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(copied, block("positive"), without)
    ((_, *arguments),) = commands("Add a positive")
    run = tmp_path / "run"
    with imported_from(copied):
        from expo.cli import main as main_there
        from expo.records import Run as RunThere

        try:
            code = main_there([*arguments, *FEW, "--output", str(run)])
        # A kind that is not known, and one without a name.
        except (SystemExit, KeyError):
            code = None
        shown = capsys.readouterr().out
        done = RunThere(run)
        samples, metrics = (done.read(t) if done.has(t) else pd.DataFrame() for t in ("samples", "metrics"))
    found = (
        code == 0,
        not samples.empty and (samples["source"] == "repeated").sum() == 2,
        not metrics.empty and (metrics["name"] == "repeated/samples").any(),
        "repeated question" in shown,
    )
    assert all(found) is (not without), found


def test_all_modules_that_a_positive_touches_are_named(tmp_path: Path) -> None:
    sampled, _, _ = SECTIONS["Add a positive"].partition("A kind that is not sampled")
    assert modules_in(sampled) == naming(ROOT, "wrong_explanation")
    (tmp_path / "expo").mkdir()
    (tmp_path / "expo" / "planted.py").write_text('KINDS = ("own", "wrong_explanation")\n')
    assert naming(tmp_path, "wrong_explanation") == {"expo/planted.py"}


def test_the_default_kinds_are_those_of_the_schema(copied: Path) -> None:
    apply(copied, block("positive"))
    with imported_from(copied):
        from expo.recipe import MeasureRecipe as RecipeThere

        assert RecipeThere().sources == [*MeasureRecipe().sources, "repeated"]


# A claim.

PLANTED = """
- id: UNTRUE
  where: beyond the paper
  statement: one that its test refutes
  expected: exact
  tests:
    holds: ["test_planted.py::test_untrue"]
    negative_controls: ["test_mixed_groups.py::test_mixed_control_lower_bound"]
- id: IDLE
  where: beyond the paper
  statement: one whose negative control holds
  expected: exact
  tests: {holds: ["test_mixed_groups.py::test_mixed"], negative_controls: ["test_planted.py::test_idle_control"]}
"""
PLANTED_TESTS = """
from theory.evidence import for_all, negative_control
from theory.test_mixed_groups import bounded, bounded_lower, groups

def test_untrue() -> None:
    for_all(bounded_lower, groups)

def test_idle_control() -> None:
    negative_control(bounded, groups)
"""


def test_the_claim_is_green_and_planted_ones_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "theory"
    (folder / "claims").mkdir(parents=True)
    for path in (ROOT / "theory").glob("*.py"):
        if not path.name.startswith("test_"):
            shutil.copy(path, folder)
    (folder / "claims" / "1.yaml").write_text(block("theory/claims/6_grpo.yaml"))
    (folder / "claims" / "2.yaml").write_text(PLANTED)
    (tmp_path / MIXED).write_text(block(MIXED))
    (folder / "test_planted.py").write_text(PLANTED_TESTS)
    command = [sys.executable, "-m", "pytest", "theory", "--ledger=ledger.json", "--renew", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    ledger = json.loads((tmp_path / "ledger.json").read_text())["claims"]
    assert ledger["GROUP-mixed"]["problems"] == []
    assert ledger["GROUP-mixed"]["verdict"] == "exact"
    assert ledger["GROUP-mixed"]["evidence"][-1] == "1 negative control refuted"
    assert ledger["UNTRUE"]["problems"][0] == "test_planted.py::test_untrue failed"
    assert ledger["IDLE"]["problems"][0] == "test_planted.py::test_idle_control failed"


def unnamed(section: str) -> set[str]:
    """The files of claims that a section does not name, and the names of files that are not there."""
    return set(re.findall(r"`(\d_\w+)`", section)) ^ {p.stem for p in (ROOT / "theory" / "claims").glob("*.yaml")}


def test_all_files_of_claims_are_named() -> None:
    section = SECTIONS["Add a claim"]
    assert unnamed(section) == set()
    assert unnamed(section.replace("`7_shifts`", "`7_shift`")) == {"7_shifts", "7_shift"}


# A figure.


def record(folder: Path, tokens: Mapping[str, int]) -> None:
    run = Run.start(folder, MeasureRecipe(task="chain", policy="tiny-0", problems=2).resolved(), toy=True, seed=0)
    rows = [
        {"problem": problem, "level": 1, "source": source, "index": 0, "tokens": n + more}
        for problem, more in (("a", 0), ("b", 2))
        for source, n in tokens.items()
    ]
    run.write("samples", as_frame("samples", rows))


@pytest.mark.parametrize("longest", ["expert", "explanation"])
def test_the_figure_shows_its_record(longest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {"own": 10, "explanation": 10, "expert": 10, longest: 30}
    record(tmp_path / "runs" / "tiny-0", tokens)
    monkeypatch.setenv("EXPO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("EXPO_FIGURES", str(tmp_path / "figures"))
    notebook = json.loads((ROOT / "notebooks" / "2_positives.ipynb").read_text(encoding="utf-8"))
    run, setup, *_ = ("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    names: dict[str, object] = {}
    exec(run, names)
    exec(setup, names)
    draw = module("expo.report.positives.lengths", block(LENGTHS), tmp_path).draw_lengths
    exec(block("notebooks/2_positives.ipynb"), {**names, "draw_lengths": draw})
    numbers = pd.read_csv(tmp_path / "figures" / "lengths-tiny.csv")
    assert dict(zip(numbers["source"], numbers["tokens"], strict=True)) == {s: n + 1 for s, n in tokens.items()}
    assert (tmp_path / "figures" / "lengths-tiny.png").read_bytes().startswith(b"\x89PNG")
    entry = read_provenance(tmp_path / "figures")["lengths-tiny"]
    assert entry["runs"][0]["run"] == "runs/tiny-0"
    assert entry["reading"] == f"The longest: {NAMES[longest]}, 31.0 tokens in tiny-0."


# The page itself.


@pytest.mark.parametrize(
    ("title", "now", "before"),
    [
        (DOUBLES, "import TaskDefinition", "import Definition"),
        (DOUBLES, "has_splits=", "splits="),
        (LENGTHS, "import Group", "import Groups"),
    ],
)
def test_a_stale_example_fails(title: str, now: str, before: str, tmp_path: Path) -> None:
    assert now in block(title)
    with pytest.raises((ImportError, TypeError)):
        module("stale", block(title).replace(now, before), tmp_path)


@pytest.mark.parametrize("title", ["register", "positive"])
def test_a_stale_diff_fails(title: str, copied: Path) -> None:
    apply(copied, block(title))
    with pytest.raises(AssertionError, match="stale: expo/"):
        apply(copied, block(title))


def faults(command: list[str]) -> list[str]:
    """What a command of the page names and there is not."""
    program, *arguments = command
    if program == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
        return [a for a in arguments if a not in targets]
    if program == "pytest":
        markers = re.search(r"^markers = \[\s*\"(\w+):", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
        assert markers
        options = {"-m": f"not {markers[1]}", "-n": "2"}
        given = dict(pairwise(arguments))
        bad = [given[o] for o, value in options.items() if given.get(o, value) != value]
        flags = re.findall(
            r'addoption\("(--\w+)", action', (ROOT / "theory" / "conftest.py").read_text(encoding="utf-8")
        )
        known = {*options, *options.values(), *flags, *(b.title for b in BLOCKS)}
        return bad + [a for a in arguments if a not in known and a not in bad and not (ROOT / a).exists()]
    if program == "expo":
        return [a for a in arguments[:1] if a not in JOBS]
    return [] if command == [".", ".venv/bin/activate"] else [program]


def test_commands_are_there() -> None:
    of_page = commands(*SECTIONS)
    assert len(of_page) > 9
    assert [(c, found) for c in of_page if (found := faults(c))] == []
    stale = ["make tests", "pytest tests/task", 'pytest -m "not slwo" tests', "expo measur --task chain", "tox"]
    stale += ["pytest theory/test_mixed_group.py", "pytest theory/ --renw"]
    assert [c for c in stale if not faults(shlex.split(c))] == []


def defined(source: str) -> set[str]:
    """The names that a module defines, and those of its classes as `Class.name`."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for name in defined(ast.unparse(ast.Module(node.body, [])))}
        if isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return names


def missing_names(page: str) -> list[str]:
    """Of `path` (`name`, ...) and `name` of `path`: the names that the module does not define."""
    pairs = [*re.findall(r"`(expo/[\w/]+\.py)`\s\(([^)]*)\)", page)]
    pairs += [(path, names) for names, path in re.findall(r"((?:`\w+`(?:\sand\s)?)+)\sof\s`(expo/[\w/]+\.py)`", page)]
    assert len(pairs) > 5
    return [
        f"{path}: {name}"
        for path, names in pairs
        for name in re.findall(r"`(\w+)`", names)
        if name not in defined((ROOT / path).read_text(encoding="utf-8"))
    ]


def test_paths_and_names_are_there() -> None:
    new = {b.title for b in BLOCKS if b.language == "python"}
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    paths = set(re.findall(r"`((?:expo|theory|tests|docs|notebooks)/?[\w./]*)`", text)) - {"expo", "theory"}
    assert len(paths) > 20
    assert [p for p in sorted(paths - new) if not (ROOT / p).exists()] == []
    assert missing_names(text) == []
    assert missing_names(text.replace("`where_is`", "`place_of`")) == ["expo/policies/load.py: place_of"]


def order_of(flow: str) -> list[list[str]]:
    """The modules and packages of the diagram, from the first that may be imported to the last that imports."""
    *lines, anywhere = re.sub(r" *#.*", "", flow).strip().splitlines()
    return [group.split() for line in (anywhere, " ".join(lines)) for group in line.split("→") if group.strip()]


def backward(root: Path, order: list[list[str]]) -> list[str]:
    """The imports that go against the diagram."""
    place = {name: i for i, group in enumerate(order) for name in group}
    found = []
    for path in sorted((root / "expo").rglob("*.py")):
        own = path.relative_to(root / "expo").with_suffix("").parts[0]
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"expo.{n}" for n in names] if node.module == "expo" else [node.module or ""]
            imported = {n.split(".")[1] for n in names if n.startswith("expo.")} - {own}
            found += [f"{own} imports {n}" for n in imported if place.get(n, 99) >= place.get(own, 99)]
    return found


def test_data_flows_one_way(tmp_path: Path) -> None:
    order = order_of(block("flow"))
    rooms = {p.stem for p in (ROOT / "expo").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert {name for group in order for name in group} == rooms - {"__init__"}
    assert backward(ROOT, order) == []
    (tmp_path / "expo" / "grading").mkdir(parents=True)
    (tmp_path / "expo" / "grading" / "planted.py").write_text("def f():\n    from expo.report import runs\n")
    (tmp_path / "expo" / "records.py").write_text("import expo.tasks\n")
    assert backward(tmp_path, order) == ["grading imports report", "records imports tasks"]
    imports = re.compile(r"^\s*(from|import) expo\b", re.M)
    assert [p.name for p in (ROOT / "theory").glob("*.py") if imports.search(p.read_text(encoding="utf-8"))] == []
