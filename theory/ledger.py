"""The ledger: claims as data, and verdicts computed from the tests that ran.

A claim is one YAML file in `theory/claims/`. Its tests have roles: `holds` (the claim as printed), `refutes` (a
counterexample to it), `amended` (a corrected statement), `negative_controls` (false variants that the same checker must
refute). What was shown is worked out from these and from what the checkers put on record; a claim's file says what is
expected, and a test run fails where the two differ. One thing is a reader's judgement and stands in the file: how a
corrected statement differs from the printed one (`amendment`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CLAIMS = HERE / "claims"
ROLES = ("holds", "refutes", "amended", "negative_controls")
# How a corrected statement differs from the printed one, and the verdict that follows when it holds and the printed
# one is refuted.
AMENDMENTS = {
    "assumption": "holds under an added assumption",
    "first order": "first order only",
    "reading": "ambiguous by reading",
    "correction": "refuted",
}
REFUTING = ("refutes", "negative_controls")
# The strength of what a checker found to hold, as a place in VERDICTS. Sums over printed numbers are exact.
STRENGTHS = {"proved": 0, "exact": 1, "table": 1, "sampled": 2}
VERDICTS = (
    "proved",
    "exact",
    "sampled",
    "holds under an added assumption",
    "first order only",
    "ambiguous by reading",
    "refuted",
    "contradicted by the paper's own table",
)


Note = Mapping[str, str | bool]


class ClaimError(ValueError):
    """A claim's file that cannot be used; names the file, the field and the fix."""


@dataclass(frozen=True)
class Claim:
    """One claim. `where` is a place in the paper, or 'beyond the paper'; `tests` maps a role to names file::test.

    `area` is the claim's file, without the number that orders the files.
    """

    id: str
    where: str
    statement: str
    expected: str
    tests: Mapping[str, tuple[str, ...]]
    area: str = ""
    reading: str = ""
    assumes: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    counterexample: str = ""
    corrected: str = ""
    amendment: str = ""
    remark: str = ""

    @property
    def all_tests(self) -> tuple[str, ...]:
        """Every test that the claim names."""
        return tuple(name for role in ROLES for name in self.tests.get(role, ()))


@dataclass(frozen=True)
class Outcome:
    """How a test ended, and what its checkers put on record."""

    passed: bool
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A claim with its computed verdict. `green`: every test ran and passed, the verdict is the expected one, and all
    that the claim uses is green."""

    claim: Claim
    verdict: str
    evidence: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def green(self) -> bool:
        """Whether nothing is wrong with the claim's record."""
        return not self.problems


def load(folder: Path = CLAIMS) -> dict[str, Claim]:
    """All claims by id, in the order of their files.

    Raises:
        ClaimError: for a file that cannot be read, a field that is unknown or missing, a claim without a test, an
            unknown id in `uses`, or a circle of uses.
    """
    import yaml

    claims: dict[str, Claim] = {}
    if not (paths := sorted(folder.glob("*.yaml"))):
        raise ClaimError(f"{folder}: no claims there; run from a checkout, pip install -e .")
    for path in paths:
        try:
            held = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ClaimError(f"{path.name}: not YAML: {error}") from error
        for entry in held if isinstance(held, list) else [held]:
            claim = _claim(path, entry)
            if claim.id in claims:
                raise ClaimError(f"{path.name}: {claim.id} stands twice")
            claims[claim.id] = claim
    for claim in claims.values():
        if unknown := sorted(set(claim.uses) - set(claims)):
            raise ClaimError(f"{claim.id}: uses {', '.join(unknown)}, which no file states")
    _ordered(claims)
    return claims


def _claim(path: Path, held: Any) -> Claim:
    file = path.name
    if not isinstance(held, dict):
        raise ClaimError(f"{file}: each claim must be a mapping, got {held!r}")
    known = set(Claim.__dataclass_fields__) - {"area"}
    name = f"{file}: {held.get('id', '?')}"
    if unknown := sorted(set(held) - known):
        raise ClaimError(f"{name}: no field {', '.join(unknown)}; the fields are {', '.join(sorted(known))}")
    if missing := sorted({"id", "where", "statement", "expected", "tests"} - set(held)):
        raise ClaimError(f"{name}: the field {', '.join(missing)} is missing")
    if held["expected"] not in VERDICTS:
        raise ClaimError(f"{name}: expected must be one of {', '.join(VERDICTS)}, got {held['expected']!r}")
    if held.get("amendment", "") not in ("", *AMENDMENTS):
        raise ClaimError(f"{name}: amendment must be one of {', '.join(AMENDMENTS)}")
    tests = held["tests"] or {}
    if "twins" in tests:
        raise ClaimError(f"{name}: the role twins is called negative_controls now; rename it")
    if unknown := sorted(set(tests) - set(ROLES)):
        raise ClaimError(f"{name}: no role {', '.join(unknown)}; the roles are {', '.join(ROLES)}")
    for name_of, value in [*held.items(), *tests.items()]:
        if name_of in ("assumes", "uses", *ROLES) and not isinstance(value, list):
            raise ClaimError(f"{name}: {name_of} must be a list, got {value!r}")
    tests = {role: tuple(names) for role, names in tests.items()}
    if not any(tests.get(role) for role in ("holds", "refutes", "amended")):
        raise ClaimError(f"{name}: names no test")
    if (tests.get("holds") or tests.get("amended")) and not tests.get("negative_controls"):
        raise ClaimError(
            f"{name}: something is said to hold, but no negative control shows that its checker can refute"
        )
    amended = [bool(tests.get("amended")), bool(held.get("amendment")), bool(held.get("corrected"))]
    if any(amended) and not (all(amended) and tests.get("refutes")):
        raise ClaimError(f"{name}: `amended` and `refutes` tests, `amendment` and `corrected` come together")
    if tests.get("refutes") and not held.get("counterexample"):
        raise ClaimError(f"{name}: is refuted without its counterexample in words")
    lists = {k: tuple(map(str, held[k])) for k in ("assumes", "uses") if k in held}
    area = path.stem.lstrip("0123456789_").replace("_", " ")
    return Claim(**{**held, **lists, "id": str(held["id"]), "tests": tests, "area": area})


def _ordered(claims: Mapping[str, Claim]) -> list[str]:
    """Ids so that each stands after all that it uses."""
    done: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in open_:
            raise ClaimError(f"{' uses '.join([*open_[open_.index(name) :], name])}: a circle")
        open_.append(name)
        for used in claims[name].uses:
            visit(used)
        open_.remove(name)
        done.append(name)

    for name in claims:
        visit(name)
    return done


def judge(
    claims: Mapping[str, Claim], outcomes: Mapping[str, Outcome], changed: Mapping[str, list[str]] | None = None
) -> dict[str, Entry]:
    """The ledger: every claim with the verdict that the outcomes support and all that is wrong with its record.

    `changed` has what differs from the lock, by claim.
    """
    entries: dict[str, Entry] = {}
    for name in _ordered(claims):
        claim = claims[name]
        problems = [f"{t} did not run" for t in claim.all_tests if t not in outcomes]
        problems += [f"{t} failed" for t in claim.all_tests if t in outcomes and not outcomes[t].passed]
        problems += [
            f"{t} left no {'counterexample' if role in REFUTING else 'evidence'}"
            for role in ROLES
            for t in claim.tests.get(role, ())
            if t in outcomes and not _left(outcomes[t], role)
        ]
        problems += (changed or {}).get(name, [])
        problems += [f"uses {used}, which is not green" for used in claim.uses if not entries[used].green]
        verdict, evidence = _verdict(claim, outcomes)
        if not problems and verdict != claim.expected:
            problems.append(f"expected {claim.expected!r}, the tests show {verdict!r}")
        entries[name] = Entry(claim, "undecided" if problems else verdict, evidence, tuple(problems))
    return {name: entries[name] for name in claims}


def _left(outcome: Outcome, role: str) -> list[Note]:
    """The notes of a test that speak for its role."""
    return [n for n in outcome.notes if bool(n["refutes"]) == (role in REFUTING)]


def _verdict(claim: Claim, outcomes: Mapping[str, Outcome]) -> tuple[str, tuple[str, ...]]:
    notes = {role: [_left(outcomes[t], role) for t in claim.tests.get(role, ()) if t in outcomes] for role in ROLES}
    shown = [f"{role}: {n['strength']}, {n['size']}" for role in ROLES[:3] for test in notes[role] for n in test]
    controls = len(claim.tests.get("negative_controls", ()))
    evidence = (
        *dict.fromkeys(shown),
        *([f"{controls} negative control{'s' * (controls > 1)} refuted"] if controls else []),
    )
    if claim.tests.get("amended"):
        return AMENDMENTS[claim.amendment], evidence
    if claim.tests.get("holds") and claim.tests.get("refutes"):
        return "ambiguous by reading", evidence
    if claim.tests.get("refutes"):
        by_table = any(n["strength"] == "table" for test in notes["refutes"] for n in test)
        return "contradicted by the paper's own table" if by_table else "refuted", evidence
    # Each test shows a part of the claim, by its strongest means; the claim is as strong as its weakest part.
    parts = [min((STRENGTHS[str(n["strength"])] for n in test), default=len(VERDICTS)) for test in notes["holds"]]
    weakest = max(parts, default=len(VERDICTS))
    return VERDICTS[weakest] if weakest < len(VERDICTS) else "undecided", evidence


def run(*arguments: str) -> dict[str, Entry]:
    """Run `pytest theory/` in processes of its own, as many as there are cores, and read the ledger that it writes.

    Raises:
        RuntimeError: if the tests did not end in a ledger; shows what they printed last.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "ledger.json"
        command = [sys.executable, "-m", "pytest", str(HERE), "-p", "no:cacheprovider", f"--ledger={out}", *arguments]
        if find_spec("xdist"):
            command += ["-n", "auto"]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
        if not out.exists():
            raise RuntimeError(f"the tests of the theory left no ledger:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return read(out)


def write(entries: Mapping[str, Entry], path: Path) -> None:
    """Save a ledger as JSON."""
    held = {name: {"verdict": e.verdict, "evidence": e.evidence, "problems": e.problems} for name, e in entries.items()}
    path.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Entry]:
    """A saved ledger, joined to the claims as they stand in their files."""
    held = json.loads(path.read_text(encoding="utf-8"))
    claims = load()
    return {
        name: Entry(claims[name], e["verdict"], tuple(e["evidence"]), tuple(e["problems"]))
        for name, e in held.items()
        if name in claims
    }
