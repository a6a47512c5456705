"""The ledger: what is not a claim is rejected, and no verdict is stronger than its tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from theory import ledger
from theory.claim import HERE, Claim, ClaimError, load
from theory.ledger import Note, Outcome, counts, judge, orphans

EXACT, PROVED, SAMPLED, TABLE = (
    {"strength": s, "size": "1", "refutes": False, "met": 1} for s in ("exact", "proved", "sampled", "table")
)
REFUTED, BY_TABLE = ({**n, "refutes": True} for n in (EXACT, TABLE))
PASSED, CONTROL = Outcome(True, (EXACT,)), Outcome(True, (REFUTED,))

HOLDS = """
- id: A
  where: line 1
  fidelity: verbatim
  statement: one
  expected: exact
  tests: {holds: ["t.py::a"], negative_controls: ["t.py::b"]}
"""


def claim(**changes: object) -> Claim:
    base = Claim("A", "line 1", "one", "exact", {"holds": ("t.py::a",), "negative_controls": ("t.py::b",)})
    return replace(base, **changes)  # type: ignore[arg-type]


def verdict(of: Claim, **outcomes: Outcome) -> tuple[str, tuple[str, ...]]:
    entry = judge({of.id: of}, {f"t.py::{name}": o for name, o in outcomes.items()})[of.id]
    return entry.verdict, entry.problems


def test_every_named_test_exists_and_every_test_of_a_claim_is_named_once() -> None:
    here = {p.name: functions(p) for p in HERE.glob("test_*.py")}
    for c in load().values():
        assert len(set(c.all_tests)) == len(c.all_tests), c.id
        for name in c.all_tests:
            file, _, function = name.partition("::")
            assert file in here, f"{c.id}: {name}"
            assert function in here[file], f"{c.id}: {name}"


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_a_claim_is_as_strong_as_its_weakest_check() -> None:
    assert verdict(claim(), a=PASSED, b=CONTROL) == ("exact", ())
    proved, proved_and_exact = Outcome(True, (PROVED,)), Outcome(True, (PROVED, EXACT))
    assert verdict(claim(expected="proved"), a=proved, b=CONTROL) == ("proved", ())
    # One small proof does not lift what is exact.
    assert verdict(claim(), a=proved_and_exact, b=CONTROL) == ("exact", ())
    parts = claim(tests={"holds": ("t.py::a", "t.py::c"), "negative_controls": ("t.py::b",)}, expected="sampled")
    two = {"a": proved, "b": CONTROL, "c": Outcome(True, (SAMPLED, REFUTED))}
    assert verdict(parts, **two) == ("sampled", ())
    # Instances of what is proved take nothing away, but they have to pass and to leave evidence.
    roles = {"holds": ("t.py::a",), "instances": ("t.py::c",), "negative_controls": ("t.py::b",)}
    also = claim(tests=roles, expected="proved")
    assert verdict(also, **two) == ("proved", ())
    assert verdict(also, **{**two, "c": Outcome(True, (REFUTED,))}) == ("undecided", ("t.py::c left no evidence",))


def test_strength_is_handed_on_to_what_uses_a_claim() -> None:
    of = {"holds": ("t.py::p",), "negative_controls": ("t.py::b",)}
    claims = {
        "A": claim(),
        "B": claim(id="B", tests=of, uses=("A",)),
        "C": claim(id="C", tests=of, uses=("B",), expected="proved"),
        "D": claim(id="D", tests=of, expected="proved"),
    }
    outcomes = {"t.py::a": PASSED, "t.py::b": CONTROL, "t.py::p": Outcome(True, (PROVED,))}
    found = judge(claims, outcomes)
    assert [e.verdict for e in found.values()] == ["exact", "exact", "undecided", "proved"]
    assert [e.strength for e in found.values()] == ["exact", "exact", "exact", "proved"]
    (problem,) = found["C"].problems
    assert problem.startswith("expected 'proved', the tests show 'exact', as B, which it uses: prove it for any size")
    # What is refuted by a counterexample hands on what it uses, and nothing of its own.
    refuted = claim(tests={"refutes": ("t.py::b",)}, expected="refuted")
    by_it = judge({"A": refuted, "B": claim(id="B", tests=of, uses=("A",), expected="proved")}, outcomes)
    assert [(e.verdict, e.strength) for e in by_it.values()] == [("refuted", ""), ("proved", "proved")]


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        (
            {**EXACT, "strength": "certain"},
            "has the unknown strength 'certain'; note one of proved, exact, table, sampled",
        ),
        ({**EXACT, "met": 0}, "rests on no instance: 1; note one of met, rows, instances, constraints, identities"),
        (
            {**PROVED, "assuming": ["J > 0", "rare ones", "Odd cases", "X is a probability", "pi_j = 1/2"]},
            "proves it given 'pi_j = 1/2', which the claim does not say: list it in `assumes`, or do without",
        ),
        *(
            (
                {**PROVED, "assuming": [said]},
                f"proves it given {said!r}, which the claim does not say: list it in `assumes`, or do without",
            )
            for said in ("", "of", "dd cases", "cases 1", "m = 1")
        ),
    ],
)
def test_evidence_that_is_none_is_named(note: Note, problem: str) -> None:
    of = claim(statement="It holds of odd\n  cases 1/2, m = 1/3.", assumes=("J > 0",), reading="rare ones")
    assert verdict(of, a=Outcome(True, (note,)), b=CONTROL) == ("undecided", (f"t.py::a {problem}",))


def test_evidence_of_no_claim_is_named() -> None:
    outcomes = {"t.py::a": PASSED, "t.py::b": CONTROL, "t.py::c": PASSED, "t.py::d": Outcome(True), "u.py::a": PASSED}
    assert orphans({"A": claim()}, outcomes) == {"t.py::c": ["leaves evidence but belongs to no claim; name it in one"]}


def test_the_papers_claims_are_counted_apart() -> None:
    ours = claim(id="C", where="beyond the paper (line 1)", statement="two")
    claims = {"A": claim(fidelity="verbatim"), "B": claim(id="B", fidelity="related"), "C": ours}
    assert counts(judge(claims, {"t.py::a": PASSED, "t.py::b": CONTROL})) == {
        "of the paper": {
            "claims": 2,
            "statements": 1,
            "verdicts": {"exact": 2},
            "fidelity": {"verbatim": 1, "related": 1},
        },
        "beyond the paper": {"claims": 1, "statements": 1, "verdicts": {"exact": 1}, "fidelity": {}},
    }


@pytest.mark.parametrize(
    ("outcomes", "problem"),
    [
        ({"a": PASSED}, "t.py::b did not run"),
        ({"a": PASSED, "b": Outcome(False, (REFUTED,))}, "t.py::b failed"),
        ({"a": Outcome(True), "b": CONTROL}, "t.py::a left no evidence"),
        ({"a": CONTROL, "b": CONTROL}, "t.py::a left no evidence"),
        ({"a": PASSED, "b": PASSED}, "t.py::b left no counterexample"),
        (
            {"a": Outcome(True, (SAMPLED,)), "b": CONTROL},
            "expected 'exact', the tests show 'sampled', as t.py::a: prove it for any size (size='any ...'), or expect "
            "less; an instance of what a stronger test shows goes under `instances`",
        ),
        ({"a": Outcome(True, (PROVED,)), "b": CONTROL}, "expected 'exact', the tests show 'proved': expect it"),
    ],
)
def test_a_fault_makes_a_claim_undecided(outcomes: dict[str, Outcome], problem: str) -> None:
    assert verdict(claim(), **outcomes) == ("undecided", (problem,))


def test_what_rests_on_a_fault_is_not_green() -> None:
    claims = {"A": claim(), "B": claim(id="B", uses=("A",)), "C": claim(id="C", uses=("B",))}
    sound = judge(claims, {"t.py::a": PASSED, "t.py::b": CONTROL})
    assert all(e.green for e in sound.values())
    broken = judge({**claims, "A": claim(expected="proved")}, {"t.py::a": PASSED, "t.py::b": CONTROL})
    assert [e.green for e in broken.values()] == [False, False, False]
    assert broken["C"].problems == ("uses B, which is not green",)


@pytest.mark.parametrize(
    ("roles", "amendment", "note", "expected"),
    [
        (("refutes",), "", REFUTED, "refuted"),
        (("refutes",), "", BY_TABLE, "contradicted by the paper's own table"),
        (("holds", "refutes"), "", EXACT, "depends on the reading"),
        (("refutes", "amended"), "reading", EXACT, "depends on the reading"),
        (("refutes", "amended"), "first order", EXACT, "first order only"),
        (("refutes", "amended"), "assumption", EXACT, "holds under an added assumption"),
        (("refutes", "amended"), "correction", EXACT, "refuted"),
        (("holds",), "", TABLE, "exact"),
    ],
)
def test_roles_decide_the_verdict(
    roles: tuple[str, ...], amendment: str, note: dict[str, str | bool], expected: str
) -> None:
    held = claim(tests={role: (f"t.py::{role}",) for role in roles}, amendment=amendment, expected=expected)
    outcomes = {role: Outcome(True, ({**note, "refutes": role == "refutes"},)) for role in roles}
    assert verdict(held, **outcomes) == (expected, ())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("statement: one", "statment: one", "no field statment"),
        ("  fidelity: verbatim\n", "", "fidelity must be verbatim, equivalent, related; got ''"),
        ("fidelity: verbatim", "fidelity: literal", "fidelity must be verbatim, equivalent, related; got 'literal'"),
        (
            "fidelity: verbatim",
            "fidelity: [verbatim]",
            r"must be verbatim, equivalent, related; got \['verbatim'\]",
        ),
        ("where: line 1", "where: beyond the paper (line 1)", "fidelity is for claims of the paper alone"),
        ("fidelity: verbatim", "fidelity: verbatim\n  reading: one", "has a reading, so its fidelity is not verbatim"),
        (
            "expected: exact",
            "expected: depends on the reading",
            "depends on the reading, so its fidelity is not",
        ),
        (
            "fidelity: verbatim",
            "fidelity: verbatim\n  assumes: [J > 0]",
            "adds an assumption to the sentence",
        ),
        (
            "fidelity: verbatim",
            "fidelity: equivalent\n  assumes: [J > 0]",
            "adds an assumption to the sentence",
        ),
        ("holds:", "instances:", "names no test"),
        ("  statement: one\n", "", "field statement is missing"),
        ("expected: exact", "expected: true", "expected must be one of"),
        ('{holds: ["t.py::a"], negative_controls: ["t.py::b"]}', "{}", "names no test"),
        (', negative_controls: ["t.py::b"]', "", "no negative control"),
        ("holds:", "proves:", "no role proves"),
        ("negative_controls:", "twins:", "twins is called negative_controls now"),
        ("holds:", "refutes:", "without its counterexample"),
        ("holds:", "amended:", "come together"),
        ("expected: exact", "expected: exact\n  uses: [Z]", "uses Z, which no file states"),
        ("expected: exact", "expected: exact\n  uses: [A]", "A uses A: a circle; take one of these uses out"),
        ("expected: exact", "expected: exact\n  uses:", "uses must be a list"),
        ("expected: exact", "expected: exact\n  assumes: J > 0", "assumes must be a list"),
        ('["t.py::a"]', "t.py::a", "holds must be a list"),
        ("- id: A", "- id: [", "not YAML"),
    ],
)
def test_a_file_that_is_no_claim_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in HOLDS
    (tmp_path / "a.yaml").write_text(HOLDS.replace(old, new, 1))
    with pytest.raises(ClaimError, match=message):
        load(tmp_path)


def test_no_claims_are_no_green_ledger(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="no claims there"):
        load(tmp_path)


def test_a_claim_stands_once(tmp_path: Path) -> None:
    (tmp_path / "1_first_area.yaml").write_text(HOLDS)
    assert load(tmp_path)["A"].area == "first area"
    (tmp_path / "2.yaml").write_text(HOLDS)
    with pytest.raises(ClaimError, match="A stands twice"):
        load(tmp_path)


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    claims = load()
    both = Outcome(True, (EXACT, REFUTED))
    entries = judge(claims, {name: both for c in claims.values() for name in c.all_tests})
    ledger.write(entries, tmp_path / "ledger.json")
    assert ledger.read(tmp_path / "ledger.json") == entries


RUN = """
from theory import evidence
from theory.relations import eq, ge

def statement(x, zero=False):
    return eq(x, 0) if zero else {truth}

def test_a() -> None:
    evidence.for_all(statement, lambda pick: pick({low}, 40), 50)

def test_b() -> None:
    evidence.negative_control(lambda x: statement(x, True), lambda pick: pick(0, 40), 50)
"""


@pytest.mark.parametrize(
    ("truth", "low", "code"),
    [
        ("ge(x, 0)", 0, 0),
        ("eq(x, 0)", 0, 1),
        # Hollow: a bare True, sides that do not vary, a domain of one instance.
        ("True", 0, 1),
        ("eq(0, 0)", 0, 1),
        ("ge(x, 0)", 40, 1),
    ],
)
def test_a_run_fails_with_a_claim_that_is_not_green(tmp_path: Path, truth: str, low: int, code: int) -> None:
    folder = tmp_path / "theory"
    (folder / "claims").mkdir(parents=True)
    for path in HERE.glob("*.py"):
        if not path.name.startswith("test_"):
            (folder / path.name).write_text(path.read_text())
    (folder / "test_t.py").write_text(RUN.format(truth=truth, low=low))
    (folder / "claims" / "a.yaml").write_text(re.sub(r"t\.py::", "test_t.py::test_", HOLDS))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "theory", "--ledger=ledger.json", "--renew"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert ("A is not green: test_t.py::test_a failed" in done.stdout) == bool(code)
    assert (tmp_path / "ledger.json").exists()


def test_importing_the_theory_brings_no_torch_no_toolkit_and_no_test_tools() -> None:
    program = "import sys, theory, theory.inputs, theory.policies, theory.improvement; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=HERE.parent, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & {"torch", "expo", "pytest", "hypothesis", "sympy", "z3", "scipy", "yaml"}
