"""Marking a toy as one: only this module decides whether something is a toy, and which words say so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from typing import Any, Protocol


class Recorded(Protocol):
    """A run with a recorded recipe and environment."""

    @property
    def recipe(self) -> dict[str, Any]:
        """Its resolved recipe."""

    @property
    def environment(self) -> dict[str, Any]:
        """Its environment and inputs."""


def _bases() -> str:
    """How many pretraining seeds of the toy were accepted."""
    # `expo.policies.tiny.ledger` reads the same file, but imports torch, which takes seconds for one line of text.
    shipped = resources.files("expo") / "policies" / "bases" / "ledger.json"
    return f"Pretraining of its bases: {json.loads(shipped.read_text(encoding='utf-8'))['accepted']}."


TOY = f"A toy: it shows a mechanism, and is no evidence for the paper's numbers. {_bases()}"

MARK = " (toy)"


def any_toy(runs: Iterable[Recorded]) -> bool:
    """Whether any of these runs is of a toy, so that everything shown about them must say so."""
    return any(bool(run.environment.get("toy", run.recipe["task"] == "chain")) for run in runs)


def marked(text: str, runs: Iterable[Recorded]) -> str:
    """A heading or a name, followed by `MARK` if it is of a toy."""
    return f"{text}{MARK}" if any_toy(runs) else text


def warned(text: str, runs: Iterable[Recorded], between: str) -> str:
    """A text, followed by the sentence `TOY` if it is about a toy."""
    return f"{text}{between}{TOY}" if any_toy(runs) else text


def remarked(text: str, runs: Iterable[Recorded]) -> str:
    """A reading, followed by a single word if it is about a toy."""
    return f"{text} Toy." if any_toy(runs) else text


def banner(runs: Iterable[Recorded]) -> list[str]:
    """The first paragraph of a toy's page; empty for any other."""
    return [f"**{TOY}**"] if any_toy(runs) else []


def beside_paper(others: str, runs: Iterable[Recorded]) -> str:
    """How the paper's numbers, which are for `others`, are introduced beside those of these runs."""
    return f"{others}; never to be compared with the toy's" if any_toy(runs) else "as printed"
