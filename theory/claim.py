"""Claims as data: what a claim says, where the paper says it, and which tests judge it.

A claim is an entry of a YAML file in `theory/claims/`. Its tests have roles: `holds` (the claim as it is stated),
`refutes` (a counterexample to it), `amended` (a corrected statement), `instances` (what a stronger test of `holds` or
`amended` shows, checked again on instances; they add nothing to its strength), `negative_controls` (false variants that
the same checker must refute). Two things in the file are a reader's judgement: how a corrected statement differs from
the claim (`amendment`), and how close the claim is to the paper's own words (`fidelity`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CLAIMS = HERE / "claims"
ROLES = ("holds", "refutes", "amended", "instances", "negative_controls")
# How a corrected statement differs from the printed one, and the verdict that follows when it holds and the printed
# one is refuted.
AMENDMENTS = {
    "assumption": "holds under an added assumption",
    "first order": "first order only",
    "reading": "depends on the reading",
    "correction": "refuted",
}
# How near a claim is to the sentence of the paper that it stands for.
FIDELITY = {
    "verbatim": "it says what the sentence says, with no added assumption and no change in meaning",
    "equivalent": "it says the same in other words, or settles what the sentence leaves open without losing anything",
    "related": "an assumption was added, one of several meanings was chosen, or only a part of the sentence is tested",
}
VERDICTS = (
    "proved",
    "exact",
    "sampled",
    "holds under an added assumption",
    "first order only",
    "depends on the reading",
    "refuted",
    "contradicted by the paper's own table",
)
OURS = "beyond the paper"
# What a proof may assume although its claim does not say so: it is part of a symbol's meaning, or true of all numbers.
MEANING = frozenset(
    {
        "probabilities are at least 0 and sum to 1",
        "probabilities are above 0 and sum to 1",
        "X is a probability",
        # Bounds on sums of squares and on variances, for any number of terms; a root is the positive one.
        "a sum of squares",
        "a variance on an interval",
        "a square root",
        "a power of a positive number",
        # A statement that is homogeneous in v may be proved for max v - min v = 1.
        "v scaled to [0, 1]",
        "induction hypothesis",
        # The sum of what the same test proves of each term, and the values that an index may have.
        "terms added up",
        "the index of a term",
    }
)


class ClaimError(ValueError):
    """A claim's file that cannot be used; the message names the file, the field and the fix."""


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
    fidelity: str = ""
    area: str = ""
    reading: str = ""
    assumes: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    counterexample: str = ""
    corrected: str = ""
    amendment: str = ""
    remark: str = ""

    @property
    def ours(self) -> bool:
        """Whether the claim is ours rather than the paper's."""
        return self.where.startswith(OURS)

    @property
    def all_tests(self) -> tuple[str, ...]:
        """Every test that the claim names."""
        return self.named(*ROLES)

    def named(self, *roles: str) -> tuple[str, ...]:
        """The tests of some roles."""
        return tuple(name for role in roles for name in self.tests.get(role, ()))

    def says(self, assumption: str) -> bool:
        """Whether the claim names an assumption of a proof: in `assumes`, or word by word in its statement."""
        if assumption in MEANING or assumption in self.assumes:
            return True
        said = " | ".join(" ".join(text.split()) for text in (self.statement, self.corrected, self.reading))
        # Whole words and numbers, and more than a symbol.
        phrase = rf"(?<![\w/]){re.escape(assumption)}(?![\w/])"
        return len(assumption) > 3 and re.search(phrase, said, re.IGNORECASE) is not None


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
    ordered(claims)
    return claims


def _claim(path: Path, held: Any) -> Claim:
    if not isinstance(held, dict):
        raise ClaimError(f"{path.name}: each claim must be a mapping, got {held!r}")
    name = f"{path.name}: {held.get('id', '?')}"
    _check_fields(name, held)
    tests = held["tests"] or {}
    _check_tests(name, held, tests)
    lists = {k: tuple(map(str, held[k])) for k in ("assumes", "uses") if k in held}
    area = path.stem.lstrip("0123456789_").replace("_", " ")
    roles = {role: tuple(names) for role, names in tests.items()}
    claim = Claim(**{**held, **lists, "id": str(held["id"]), "tests": roles, "area": area})
    _check_fidelity(name, claim)
    return claim


def _check_fidelity(name: str, claim: Claim) -> None:
    if claim.fidelity not in (("",) if claim.ours else tuple(FIDELITY)):
        rule = f"is for claims of the paper alone, not '{OURS}'" if claim.ours else f"must be {', '.join(FIDELITY)}"
        raise ClaimError(f"{name}: fidelity {rule}; got {claim.fidelity!r}")
    if claim.assumes and claim.fidelity in ("verbatim", "equivalent"):
        raise ClaimError(f"{name}: adds an assumption to the sentence, so its fidelity is related")
    chosen = "has a reading" if claim.reading else claim.expected if "reading" in claim.expected else ""
    if chosen and claim.fidelity == "verbatim":
        raise ClaimError(f"{name}: {chosen}, so its fidelity is not verbatim")


def _check_fields(name: str, held: Mapping[str, Any]) -> None:
    known = set(Claim.__dataclass_fields__) - {"area"}
    if unknown := sorted(set(held) - known):
        raise ClaimError(f"{name}: no field {', '.join(unknown)}; the fields are {', '.join(sorted(known))}")
    if missing := sorted({"id", "where", "statement", "expected", "tests"} - set(held)):
        raise ClaimError(f"{name}: the field {', '.join(missing)} is missing")
    if held["expected"] not in VERDICTS:
        raise ClaimError(f"{name}: expected must be one of {', '.join(VERDICTS)}, got {held['expected']!r}")
    if held.get("amendment", "") not in ("", *AMENDMENTS):
        raise ClaimError(f"{name}: amendment must be one of {', '.join(AMENDMENTS)}")


def _check_tests(name: str, held: Mapping[str, Any], tests: Mapping[str, Any]) -> None:
    if "twins" in tests:
        raise ClaimError(f"{name}: the role twins is called negative_controls now; rename it")
    if unknown := sorted(set(tests) - set(ROLES)):
        raise ClaimError(f"{name}: no role {', '.join(unknown)}; the roles are {', '.join(ROLES)}")
    for name_of, value in [*held.items(), *tests.items()]:
        if name_of in ("assumes", "uses", *ROLES) and not isinstance(value, list):
            raise ClaimError(f"{name}: {name_of} must be a list, got {value!r}")
    if not any(tests.get(role) for role in ("holds", "refutes", "amended")):
        raise ClaimError(f"{name}: names no test")
    holds = tests.get("holds") or tests.get("amended")
    if holds and not tests.get("negative_controls"):
        raise ClaimError(
            f"{name}: something is said to hold, but no negative control shows that its checker can refute; name one"
        )
    if tests.get("instances") and not holds:
        raise ClaimError(f"{name}: `instances` are of something that holds; name its test in `holds` or `amended`")
    amended = [bool(tests.get("amended")), bool(held.get("amendment")), bool(held.get("corrected"))]
    if any(amended) and not (all(amended) and tests.get("refutes")):
        raise ClaimError(f"{name}: `amended` and `refutes` tests, `amendment` and `corrected` come together")
    if tests.get("refutes") and not held.get("counterexample"):
        raise ClaimError(
            f"{name}: has tests in `refutes` without its counterexample in words; add `counterexample: ...`"
        )


def ordered(claims: Mapping[str, Claim]) -> list[str]:
    """Ids, ordered so that each claim comes after all those that it uses.

    Raises:
        ClaimError: for claims that use each other in a circle.
    """
    done: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in open_:
            circle = " uses ".join([*open_[open_.index(name) :], name])
            raise ClaimError(f"{circle}: a circle; take one of these uses out")
        open_.append(name)
        for used in claims[name].uses:
            visit(used)
        open_.remove(name)
        done.append(name)

    for name in claims:
        visit(name)
    return done
