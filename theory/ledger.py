"""The ledger: verdicts computed from the tests that ran.

A verdict is computed from the roles of the claim's tests (`theory/claim.py`) and from what the checkers recorded. The
claim's file says what is expected, and a test run fails if the two differ. A claim is as strong as the
weakest of its tests and of the claims that it uses.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from theory.claim import AMENDMENTS, HERE, ROLES, VERDICTS, Claim, load, ordered

REFUTING = ("refutes", "negative_controls")
# What is said to hold; `instances` of it do not count.
HOLDING = ("holds", "amended")
# The strength of what a checker found to hold, as a place in VERDICTS. Sums over printed numbers are exact.
STRENGTHS = {"proved": 0, "exact": 1, "table": 1, "sampled": 2}
WEAKEST = max(STRENGTHS.values())
# What evidence that something holds may rest on.
_RESTS_ON = ("met", "rows", "instances", "constraints", "identities")

Note = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a test, and what its checkers recorded."""

    passed: bool
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A claim with its computed verdict. `green`: every test ran and passed, the verdict is the expected one, and all
    that the claim uses is green.

    `strength` is how strongly what holds is shown, by its own tests and by all that it uses; empty if nothing holds.
    """

    claim: Claim
    verdict: str
    evidence: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    strength: str = ""

    @property
    def green(self) -> bool:
        """Whether nothing is wrong with the claim's record."""
        return not self.problems


def judge(
    claims: Mapping[str, Claim], outcomes: Mapping[str, Outcome], changed: Mapping[str, list[str]] | None = None
) -> dict[str, Entry]:
    """The ledger: every claim with the verdict that the outcomes support, and everything that is wrong with its record.

    `changed` lists for each claim what differs from the lock.
    """
    entries: dict[str, Entry] = {}
    reached: dict[str, int] = {}
    for name in ordered(claims):
        claim = claims[name]
        problems = [*_faults(claim, outcomes), *(changed or {}).get(name, [])]
        problems += [f"uses {used}, which is not green" for used in claim.uses if not entries[used].green]
        reached[name] = max([_own(claim, outcomes), *(reached[used] for used in claim.uses)])
        verdict = _verdict(claim, outcomes, reached[name])
        if not problems and verdict != claim.expected:
            why = _weakest(claim, outcomes, reached) if verdict in VERDICTS[: WEAKEST + 1] else ""
            problems.append(f"expected {claim.expected!r}, the tests show {verdict!r}{why}")
        strength = VERDICTS[reached[name]] if claim.named(*HOLDING) else ""
        shown = "undecided" if problems else verdict
        entries[name] = Entry(claim, shown, _evidence(claim, outcomes), tuple(problems), strength)
    return {name: entries[name] for name in claims}


def _faults(claim: Claim, outcomes: Mapping[str, Outcome]) -> list[str]:
    """What is wrong with the claim's tests, whatever they show."""
    faults = [f"{t} did not run" for t in claim.all_tests if t not in outcomes]
    faults += [f"{t} failed" for t in claim.all_tests if t in outcomes and not outcomes[t].passed]
    for role in ROLES:
        for t in claim.named(role):
            if t not in outcomes:
                continue
            notes = _left(outcomes[t], role)
            if not notes:
                faults.append(f"{t} left no {'counterexample' if role in REFUTING else 'evidence'}")
            faults += [f"{t} {fault}" for note in notes if role not in REFUTING for fault in _note_faults(claim, note)]
    return faults


def _note_faults(claim: Claim, note: Note) -> list[str]:
    """What is wrong with evidence that something holds."""
    faults = []
    if note["strength"] not in STRENGTHS:
        faults.append(f"has the unknown strength {note['strength']!r}; note one of {', '.join(STRENGTHS)}")
    if not any(note.get(on) for on in _RESTS_ON):
        faults.append(f"rests on no instance: {note['size']}; note one of {', '.join(_RESTS_ON)}")
    for name in note.get("assuming", ()):
        if not claim.says(name):
            faults.append(
                f"proves it given {name!r}, which the claim does not say: list it in `assumes`, or do without"
            )
    return faults


def _left(outcome: Outcome, role: str) -> list[Note]:
    """The notes of a test that count for its role."""
    return [n for n in outcome.notes if bool(n["refutes"]) == (role in REFUTING)]


def _tests(claim: Claim, outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    """How strong each test of what holds is, as a place in VERDICTS: as strong as the weakest of its checks."""
    return {
        t: max((STRENGTHS.get(n["strength"], WEAKEST) for n in _left(outcomes[t], role)), default=WEAKEST)
        for role in HOLDING
        for t in claim.named(role)
        if t in outcomes
    }


def _own(claim: Claim, outcomes: Mapping[str, Outcome]) -> int:
    """How strongly the claim's own tests show it; a counterexample by itself leaves nothing open."""
    return max(_tests(claim, outcomes).values(), default=0)


def _weakest(claim: Claim, outcomes: Mapping[str, Outcome], reached: Mapping[str, int]) -> str:
    """Which tests or used claims limit the strength of the claim, and what to do."""
    level = reached[claim.id]
    if claim.expected not in VERDICTS[:level]:
        return ": expect it"
    by = [t for t, strength in _tests(claim, outcomes).items() if strength == level]
    by += [f"{used}, which it uses" for used in claim.uses if reached[used] == level]
    return (
        f", as {' and '.join(by)}: prove it for any size (size='any ...'), or expect less; "
        "an instance of what a stronger test shows goes under `instances`"
    )


def _evidence(claim: Claim, outcomes: Mapping[str, Outcome]) -> tuple[str, ...]:
    shown = [
        f"{role}: {n['strength']}, {n['size']}"
        for role in ROLES[:-1]
        for t in claim.named(role)
        if t in outcomes
        for n in _left(outcomes[t], role)
    ]
    controls = len(claim.named("negative_controls"))
    told = [f"{controls} negative control{'s' * (controls > 1)} refuted"] if controls else []
    return (*dict.fromkeys(shown), *told)


def _verdict(claim: Claim, outcomes: Mapping[str, Outcome], reached: int) -> str:
    if claim.named("amended"):
        return AMENDMENTS[claim.amendment]
    if claim.named("holds") and claim.named("refutes"):
        return "depends on the reading"
    if refuting := claim.named("refutes"):
        notes = [n for t in refuting if t in outcomes for n in _left(outcomes[t], "refutes")]
        by_table = any(n["strength"] == "table" for n in notes)
        return "contradicted by the paper's own table" if by_table else "refuted"
    return VERDICTS[reached]


def orphans(claims: Mapping[str, Claim], outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Tests that leave evidence but belong to no claim, in files that have tests of a claim."""
    named = {test for claim in claims.values() for test in claim.all_tests}
    files = {test.partition("::")[0] for test in named}
    return {
        test: ["leaves evidence but belongs to no claim; name it in one"]
        for test, outcome in outcomes.items()
        if outcome.notes and test not in named and test.partition("::")[0] in files
    }


def counts(entries: Mapping[str, Entry]) -> dict[str, dict[str, Any]]:
    """The number of claims with each verdict, separately for the paper's and ours.

    Claims that read one sentence in several ways count as one statement.
    """
    found: dict[str, dict[str, Any]] = {}
    for whose, ours in (("of the paper", False), ("beyond the paper", True)):
        held = [entry for entry in entries.values() if entry.claim.ours is ours]
        found[whose] = {
            "claims": len(held),
            "statements": len({" ".join(entry.claim.statement.split()) for entry in held}),
            "verdicts": dict(Counter(entry.verdict for entry in held)),
            "fidelity": dict(Counter(entry.claim.fidelity for entry in held if not ours)),
        }
    return found


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
    """Save a ledger as JSON: `counts`, and what was found for each claim."""
    found = {
        name: {
            "ours": e.claim.ours,
            "fidelity": e.claim.fidelity,
            "verdict": e.verdict,
            "strength": e.strength,
            "evidence": e.evidence,
            "problems": e.problems,
        }
        for name, e in entries.items()
    }
    held = {"counts": counts(entries), "claims": found}
    path.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Entry]:
    """A saved ledger, joined to the claims as they stand in their files."""
    held = json.loads(path.read_text(encoding="utf-8"))["claims"]
    claims = load()
    return {
        name: Entry(claims[name], e["verdict"], tuple(e["evidence"]), tuple(e["problems"]), e["strength"])
        for name, e in held.items()
        if name in claims
    }
