"""Numbers from what is no table of figures/: the ledger, benchmarks, recipes, constants of the code, and the log."""

from __future__ import annotations

import importlib
import json
import statistics
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import yaml

from expo.report import paper
from expo.report.words import listed, number
from expo.stats import finite_sample, missed_kind
from expo.tasks.columns import USUAL
from pages.fill import PageError, read
from pages.tables import ROOT, rows
from theory import combined

MINUTES = ROOT / "pages" / "minutes.csv"
RECIPES = ROOT / "expo" / "recipes"


def claims(source: str = "", **where: str) -> str:
    """How many claims of the ledger: of `the paper` or `ours`, and by a verdict."""
    found = rows("ledger", **where)
    return str((found["source"] == source).sum() if source else len(found))


def statements(source: str) -> str:
    """How many different statements the claims of `the paper` or `ours` have."""
    return str(rows("ledger", source=source)["statement"].nunique())


def verdict(claim: str) -> str:
    """What the ledger says of a claim."""
    return str(rows("ledger", claim=claim).iloc[0]["verdict"])


@cache
def _benchmarks() -> list[dict[str, Any]]:
    from benchmarks.record import RECORD, read

    return read(RECORD)


def benchmark(name: str, what: str = "ratio") -> str:
    """Of a comparison `topic/work/peer`: the ratio with its quartiles, the times that ours is `faster`, the `rounds`,
    or `ours_seconds`."""
    (found,) = (r for r in _benchmarks() if r["row"] == name)
    low, high = found["quartiles"]
    if what == "faster":
        return f"{1 / found['ratio']:.1f} [{1 / high:.1f}, {1 / low:.1f}]"
    if what == "rounds":
        return str(len(found["seconds"]["ours"]))
    if what.endswith("_seconds"):
        return number(statistics.median(found["seconds"][what.removesuffix("_seconds")]))
    return f"{found['ratio']:.2f} [{low:.2f}, {high:.2f}]"


def machine(name: str) -> str:
    """What a comparison was measured on."""
    (found,) = (r for r in _benchmarks() if r["row"] == name)
    return f"{found['cores']} cores of an {found['cpu']}"


def recipe(path: str, *keys: str) -> str:
    """A value of a recipe or study of expo/recipes, by its keys: `1e-4` as `0.0001`."""
    found = yaml.safe_load(read(RECIPES / f"{path}.yaml"))
    for key in keys:
        found = found[int(key) if isinstance(found, list) else key]
    return listed([str(x) for x in found]) if isinstance(found, list) else str(found)


def least_and_most(what: str) -> str:
    """What the rule of the bases on letters asks for: `2 %` at most, or `70 %` at least."""
    low, high = yaml.safe_load(read(RECIPES / "studies" / "smollm2-bases.yaml"))["bases"]["accept"][what]
    return f"{100 * (low or high):.0f} %"


def step_samples(path: str) -> str:
    """How many samples a step of a recipe of GRPO has."""
    return str(int(recipe(path, "per_device_train_batch_size")) * int(recipe(path, "gradient_accumulation_steps")))


def how_many_seeds(study: str, run: str) -> str:
    """How many seeds a study runs."""
    return str(len(yaml.safe_load(read(RECIPES / "studies" / f"{study}.yaml"))["runs"][run]["each"]["seed"]))


def tolerance(dtype: str) -> str:
    """How far vLLM may be from the policy, in nats a token."""
    from expo.policies.vllm import TOLERANCES

    return str(TOLERANCES[dtype])


def const(place: str) -> str:
    """A constant of the code, `module.NAME`, or the default of a field, `module.Class.field`."""
    parts = place.split(".")
    split = next(i for i, part in enumerate(parts) if part[:1].isupper() or part[:2] in ("_B", "_C"))
    found: Any = importlib.import_module(".".join(parts[:split]))
    for part in parts[split:]:
        found = getattr(found, part)
    return f"{found:,}" if isinstance(found, int) else str(found)


def columns() -> str:
    """The names by which a column of a user's data is recognised, a line for each field of a problem."""
    return "\n".join(f"- {field}: {', '.join(f'`{name}`' for name in names)}" for field, names in USUAL.items())


def missed(problems: str) -> str:
    """The smallest N such that half of all draws of so many problems hold none of a kind that is 1 problem in N."""
    return str(missed_kind(int(problems)))


def least_difference(problems: str) -> str:
    """The least difference, the same for all problems, whose finite-sample interval lies above 0."""
    n = int(problems)
    return f"{next(x for x in np.arange(1, 1001) / 1000 if finite_sample(np.full(n, x), -1, 1).low > 0):.2f}"


def outweighs(share_: str) -> str:
    """`57 %`: below which share of right samples the added term outweighs GRPO's, at a beta_sft times the length."""
    return f"{100 * float(combined.reach(float(share_), 8, ddof=1)):.0f} %"


def logged(phrase: str) -> str:
    """What docs/LOG.md says, word by word, of a measurement whose record is not kept."""
    if phrase not in " ".join(read(ROOT / "docs" / "LOG.md").split()):
        raise PageError(f"docs/LOG.md does not say {phrase!r}")
    return phrase


def minutes(study: str) -> str:
    """How long a study, or the part of it that was timed, took, by pages/minutes.csv: its records are not kept."""
    found = pd.read_csv(MINUTES).query(f"study == '{study}'")
    if len(found) != 1:
        raise PageError(f"{MINUTES.name} has no study {study!r}")
    return f"{found.iloc[0]['minutes']:.0f}"


def words(split: str) -> str:
    """How many words of the task letters a split has."""
    return str(len(json.loads(read(ROOT / "expo" / "tasks" / "letters.json"))[split]))


def attacks(kind: str) -> str:
    """How many labelled texts of the grader's tests are of kinds that begin with these words."""
    lines = read(ROOT / "tests" / "grading" / "cases.jsonl").splitlines()
    return f"{sum(json.loads(line)['kind'].startswith(kind) for line in lines):,}"


def problems(task: str) -> str:
    """How many problems a shipped task has."""
    from expo.tasks import load_task

    return str(len(load_task(task).problems))


def shape(name: str) -> str:
    """How many weights a base of the toy has: `90k`."""
    from expo.policies.load import load_policy
    from expo.tasks.prompts import TEXT

    return f"{sum(p.numel() for p in load_policy(name, TEXT).model.parameters()) / 1000:.0f}k"


def accepted() -> str:
    """How many pretraining seeds of the toy were accepted."""
    return str(yaml.safe_load(read(ROOT / "expo" / "policies" / "bases" / "ledger.json"))["accepted"])


def contradicted() -> str:
    """The cells of the paper's Table 2 that agree with its caption: `7 of 8`."""
    experts = [i for i, (_, _, kind) in enumerate(paper.TABLE2_COLUMNS) if kind == "expert"]
    cells = [(task, i) for task in paper.TABLE2 for i in experts]
    return f"{sum(not paper.contradicts(*cell) for cell in cells)} of {len(cells)}"
