"""Where the numbers of a run come from: its command, recipe, weights, data and versions, without paths."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

import pandas as pd

from expo.jobs import RECIPES
from expo.policies.names import public, public_fields
from expo.records import defaults_of, to_yaml
from expo.report.html.records import Shown
from expo.report.runs import table_hashes
from expo.tasks import TASKS
from expo.text import plural, visible

_FACTS = {
    "commit": "commit of the toolkit",
    "expo": "version of the toolkit",
    "weights": "weights",
    "trained_from": "policy before any training",
    "data_sha256": "SHA-256 of the problems",
    "grader": "rules of grading",
    "chat_template": "chat template",
    "device": "device",
    "dtype": "dtype",
    "gpu": "GPU",
    "machine": "machine",
    "threads": "threads",
    "processes": "processes",
    "python": "Python",
}


def provenance(run: Shown) -> dict[str, Any]:
    """What a reader needs to reproduce the record: `command`, `recipe` (YAML) and `facts`, pairs of name and value."""
    environment, recipe = run.environment, public_fields(run.recipe)
    facts = [[name, _word(environment[key])] for key, name in _FACTS.items() if environment.get(key) is not None]
    facts += [[name, version] for name, version in environment.get("packages", {}).items() if version]
    facts += [[f"SHA-256 of {table}.parquet", digest] for table, digest in table_hashes(run.run).items()]
    if (seconds := _seconds(run)) is not None:
        name = "wall-clock seconds" if run.job == "train" else "seconds, summed over processes"
        facts.insert(0, [name, f"{seconds:.0f}"])
    return {"command": _command(run, recipe), "recipe": visible(to_yaml(recipe)), "facts": facts}


def _word(value: Any) -> str:
    return visible(public(value) if isinstance(value, str) else str(value))


def _seconds(run: Shown) -> float | None:
    """How long it took, if the record says so."""
    if not run.run.has("timing"):
        return None
    timing = run.run.read("timing")
    spent = timing[timing["name"].isin(("wall_seconds", "seconds"))]["value"].dropna()
    return float(spent.sum()) if len(spent) else None


def _command(run: Shown, recipe: dict[str, Any]) -> str:
    """The command with all flags that differ from their defaults; prompts, which have no flag, are in the recipe."""
    usual = _defaults(run)
    flags = []
    for name, value in recipe.items():
        if name in ("prompts", "stop_after") or value is None or value == usual.get(name):
            continue
        words = [_flag(v) for v in value] if isinstance(value, list) else [_flag(value)]
        flags.append(" ".join([f"--{name}", *map(shlex.quote, words)]))
    return " ".join([f"expo {run.job}", *flags])


def _defaults(run: Shown) -> dict[str, Any]:
    """The defaults of a recipe's fields; the number of new tokens is the task's own."""
    recipe = RECIPES[run.job]
    made = {f.name: f.default_factory() for f in fields(recipe) if f.default_factory is not MISSING}
    if run.recipe["task"] in TASKS:
        tokens = TASKS[run.recipe["task"]].max_new_tokens
        made |= {"max_new_tokens": tokens, "max_completion_length": tokens}
    return defaults_of(recipe) | made


def _flag(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else visible(str(value))


def names_of(runs: Sequence[Shown]) -> list[str]:
    """A unique name for each run: its folder, if necessary with its parent folder or a number."""
    folders = [run.run.folder.resolve() for run in runs]
    count = Counter(folder.name for folder in folders)
    names = [f"{at.parent.name}/{at.name}" if count[at.name] > 1 else at.name for at in folders]
    seen: Counter[str] = Counter()
    out = []
    for name in map(visible, names):
        seen[name] += 1
        out.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return out


def setting(run: Shown) -> str:
    """n, k, temperature and seed of a run, in words."""
    recipe = run.recipe
    main = next(iter(run.tables.values()))
    words = [f"n = {plural(main['problem'].nunique(), 'problem')} of {run.task}"]
    samples = recipe.get("samples") or recipe.get("eval_samples")
    if run.job == "gradients":
        words.append(f"2 x {recipe['rollouts']} rollouts each")
    elif "evaluation" in run.tables:
        words.append(f"k = {plural(int(run.tables['evaluation']['n'].min()), 'sample')} each")
    elif samples:
        words.append(f"k = {plural(samples, 'sample')} each")
    temperature = recipe.get("eval_temperature", recipe.get("temperature"))
    if temperature is not None and not pd.isna(temperature):
        words.append(f"temperature {temperature:g}")
    return ", ".join([*words, f"seed {run.environment.get('seed', recipe.get('seed'))}"])
