"""The claims of the ledger that support what a page reads from its numbers, and those that limit it."""

from __future__ import annotations

from theory.claim import load

# For each reading: the claims that it rests on, then those that limit it.
LICENSES: dict[str, tuple[str, ...]] = {
    "in-distribution": ("P1*", "P1-length", "E6-concl"),
    "positive learning signal": ("P2*",),
    "two CoTs": ("P2-rel",),
    "both": ("P12-enough",),
    "explanation": ("L2", "L2-prompt"),
    "posterior": ("ELBO-bound", "WEIGHT-law"),
    "accuracy": ("PASSK",),
    "slope": ("E2", "COV-slope"),
    "t1": ("E6", "E6-dom"),
    "bootstrap": ("COV-boot", "COV-none"),
    "finite-sample": ("COV-bets",),
}


def cited() -> dict[str, dict[str, str]]:
    """Each claim of `LICENSES` by id: its statement, place and verdict, and the corrected statement if there is one.

    Raises:
        KeyError: if the ledger lacks one of them.
    """
    ledger = load()
    wanted = dict.fromkeys(name for names in LICENSES.values() for name in names)
    return {
        name: {
            "statement": ledger[name].statement,
            "where": ledger[name].where,
            "verdict": ledger[name].expected,
            "corrected": ledger[name].corrected,
        }
        for name in wanted
    }
