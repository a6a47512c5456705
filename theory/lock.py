"""A record in `theory/claims/lock.json` of what the claims say and what their evidence rests on.

A test can be made to show less without failing: fewer proofs, one more assumption, a narrower guard, fewer instances. A
claim can be changed into a different one, or deleted with its tests. So every full run compares claims and tests with
the file, and fails if they differ. `pytest theory/ --renew` rewrites the file; its diff shows a reader what changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from theory.claim import CLAIMS, Claim
from theory.ledger import Outcome

LOCK = CLAIMS / "lock.json"
IN_LOCK = "claims/lock.json"
ADD = f"is not in {IN_LOCK} yet; to add it: pytest theory/ --renew"
RENEW = "if this is intended: pytest theory/ --renew"
# Words for readers may change freely.
_NOT_KEPT = ("size",)

Lock = dict[str, dict[str, Any]]


def lock_of(claims: Mapping[str, Claim], outcomes: Mapping[str, Outcome]) -> Lock:
    """What is kept of a run: a checksum of the text of each claim, and what each of its tests rests on."""
    tests = sorted({test for claim in claims.values() for test in claim.all_tests})
    return {
        "claims": {name: _checksum(claim) for name, claim in claims.items()},
        "tests": {test: _rests_on(outcomes[test]) for test in tests if test in outcomes},
    }


def _checksum(claim: Claim) -> str:
    written = json.dumps({k: v for k, v in asdict(claim).items() if k != "area"}, sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def _rests_on(outcome: Outcome) -> list[dict[str, Any]]:
    return [{k: v for k, v in note.items() if k not in _NOT_KEPT} for note in outcome.notes]


def read(path: Path = LOCK) -> Lock:
    """The lock, or an empty one if there is no file yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"claims": {}, "tests": {}}


def write(lock: Lock, path: Path = LOCK) -> None:
    """Save a lock, with one line per claim and per test, so that a diff is easy to read."""
    parts = []
    for part, held in lock.items():
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in sorted(held.items()))
        parts.append(f' "{part}": {{\n{lines}\n }}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def changes(kept: Lock, now: Lock, claims: Mapping[str, Claim]) -> dict[str, list[str]]:
    """What differs from the lock, by claim. A removed claim is listed by its name."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(kept["claims"]) | set(now["claims"])):
        before, after = kept["claims"].get(name), now["claims"].get(name)
        if before != after:
            gone, changed = f"it is in {IN_LOCK}, but no file states it", f"its text differs from that in {IN_LOCK}"
            problem = f"it {ADD}" if before is None else f"{gone if after is None else changed}; {RENEW}"
            found.setdefault(name, []).append(problem)
    for name, claim in claims.items():
        for test in claim.all_tests:
            before, after = kept["tests"].get(test), now["tests"].get(test)
            if after is not None and before != after:
                problem = ADD if before is None else f"{_difference(before, after)} as in {IN_LOCK}; {RENEW}"
                found.setdefault(name, []).append(f"{test} {problem}")
    return found


def _difference(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    if len(before) != len(after):
        return f"makes {len(after)} checks, not {len(before)}"
    old, new = next((a, b) for a, b in zip(before, after, strict=True) if a != b)
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return ", ".join(f"has {name} {new.get(name)!r}, not {old.get(name)!r}" for name in changed)
