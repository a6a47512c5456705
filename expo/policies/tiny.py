"""The toy policy `tiny`: a two-layer Llama with 90,000 weights, trained from scratch on the toy task `chain`.

Pretraining gives it what the phenomena need: it solves the low levels and hardly ever level 5, explains a given answer
with right steps, and reads a CoT of either dialect (the answer follows from the CoT). A stop rule on the `stop` split
selects the first checkpoint at which all of that holds; a seed that never gets there is rejected and counted. `bases/`
ships the accepted ones; `bases/ledger.json` lists every seed tried.

    python -m expo.policies.tiny --seeds 0 1 2      # train, apply the stop rule, write bases and ledger

A seed takes minutes on one core. Seeds that miss the rule mostly do not reach level 4 before the learning rate decays,
or never learn to copy at one position of a long chain: positions are learnt one by one.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import LlamaForCausalLM

from expo.policies.names import BASES, cache_dir
from expo.policies.tiny_pretrain import (
    STOP_RULE,
    TinyRecipe,
    missed,
    one_thread,
    reading,
    recipe_hash,
    sample,
    solve,
    tokenizer,
    train,
)
from expo.tasks import chain


@dataclass(frozen=True)
class TinyResult:
    """A trained base: the checkpoint's step, its criteria, and the criteria it missed."""

    folder: Path
    recipe: TinyRecipe
    step: int
    values: dict[str, float]
    missed: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether the stop rule is met."""
        return not self.missed


def build(recipe: TinyRecipe, folder: Path | None = None) -> TinyResult:
    """Train a base into `folder` (by default in the cache, under the recipe's hash) unless it exists.

    Takes minutes on one CPU thread. On one machine and one version of torch, the same recipe gives the same weights,
    byte for byte. A base that missed the stop rule is written too, with the criteria it missed.

    Raises:
        FileExistsError: if `folder` holds anything other than this recipe's base.
    """
    folder = folder or cache_dir() / "tiny" / recipe_hash(recipe)
    if _holds(folder, recipe):
        return _read(folder)
    if folder.exists():
        raise FileExistsError(
            f"{folder}: does not hold the base of recipe {recipe_hash(recipe)}; delete it or choose another folder"
        )
    with one_thread():
        model, checks = train(recipe)
    last = {name: checks[-1][name] for name in STOP_RULE}
    about = {
        "recipe_hash": recipe_hash(recipe),
        "recipe": asdict(recipe),
        "step": checks[-1]["step"],
        "missed": missed(last),
        "criteria": {k: {"value": v, "limits": STOP_RULE[k], "n": recipe.check_n} for k, v in last.items()},
        "checks": checks,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.machine(),
        },
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    draft.chmod(0o755)
    model.save_pretrained(draft)
    tokenizer().save_pretrained(draft)
    (draft / "tiny.json").write_text(json.dumps(about, indent=1) + "\n")
    try:
        draft.rename(folder)
    except OSError:
        # Another process may have built the same base meanwhile.
        shutil.rmtree(draft)
        if not _holds(folder, recipe):
            raise
    return _read(folder)


def _holds(folder: Path, recipe: TinyRecipe) -> bool:
    about = folder / "tiny.json"
    return about.is_file() and json.loads(about.read_text())["recipe_hash"] == recipe_hash(recipe)


def _read(folder: Path) -> TinyResult:
    about = json.loads((folder / "tiny.json").read_text())
    recipe: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["recipe"].items()}
    values = {name: entry["value"] for name, entry in about["criteria"].items()}
    return TinyResult(folder, TinyRecipe(**recipe), about["step"], values, tuple(about["missed"]))


def ledger() -> dict[str, Any]:
    """Every pretraining seed tried, with outcome, criteria and test numbers, as shipped.

    `accepted` has the form "k of n seeds accepted".
    """
    about: dict[str, Any] = json.loads((BASES / "ledger.json").read_text())
    return about


def path(seed_index: int = 0) -> Path:
    """The folder of the `seed_index`-th accepted base: as shipped, or built now if the code's recipe has changed.

    Raises:
        ValueError: if there is no such base, or the changed recipe misses the stop rule with its seed.
    """
    seeds = [entry["seed"] for entry in ledger()["seeds"] if entry["base"] is not None]
    if not 0 <= seed_index < len(seeds):
        raise ValueError(f"tiny-{seed_index}: no such base; the accepted ones are tiny-0 to tiny-{len(seeds) - 1}")
    recipe = TinyRecipe(seed=seeds[seed_index])
    shipped = BASES / f"tiny-{seed_index}"
    result = build(recipe, shipped if _holds(shipped, recipe) else None)
    if not result.accepted:
        raise ValueError(
            f"tiny-{seed_index}: seed {recipe.seed} no longer reaches {', '.join(result.missed)} with the "
            "code's recipe; find seeds that do by running `python -m expo.policies.tiny --seeds ...`"
        )
    return result.folder


def measure(model: LlamaForCausalLM, n: int = 256, n_pass: int = 64, k: int = 128) -> dict[str, float]:
    """Measure what a base can do on the `test` split. No choice may depend on it: it is a report, never a criterion.

    Per level, over `n` problems: accuracy and share of right steps (one sample; direct T .7, hinted T .9) and mean
    `pi(a*|q, CoT)` for both dialects. At level 5, pass@k: the share of `n_pass` problems with a right answer among `k`
    samples at T .7.
    """
    values: dict[str, float] = {}
    for level in chain.LEVELS:
        problems = chain.load("test", n, levels=[level]).problems
        for arm, hinted, temperature in (("direct", False, 0.7), ("hinted", True, 0.9)):
            accuracy, steps = solve(model, problems, hinted, temperature, seed=level)
            values |= {f"{arm}_l{level}": accuracy, f"{arm}_l{level}_steps": steps}
        values[f"reads_own_l{level}"] = reading(model, problems, expert=False)
        values[f"reads_expert_l{level}"] = reading(model, problems, expert=True)
    generator = torch.Generator().manual_seed(0)
    solved = 0
    for p in tqdm(chain.load("test", n_pass, levels=[5]).problems, desc=f"pass@{k}"):
        texts = sample(model, [chain.question_prompt(p)] * k, chain.token_limit(p), 0.7, generator)
        solved += any(chain.check_answer(p, text) for text in texts)
    return values | {f"pass{k}_l5": solved / n_pass}


def rebuild(seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """Decide every seed on the `stop` split, then measure the accepted ones on `test` once; returns the ledger.

    Replaces the bases in `out`: `out/tiny-<k>` is the k-th accepted seed, `out/ledger.json` lists all seeds.
    """
    entries: list[dict[str, Any]] = []
    accepted: list[Path] = []
    for seed in seeds:
        result = build(TinyRecipe(seed=seed))
        outcome = {"step": result.step, "missed": list(result.missed), "stop": result.values}
        entries.append({"seed": seed, "base": len(accepted) if result.accepted else None, **outcome})
        verdict = "accepted" if result.accepted else f"REJECTED ({', '.join(result.missed)})"
        print(f"seed {seed}, step {result.step}: {verdict}: {_row(result.values)}", flush=True)
        if result.accepted:
            accepted.append(out / f"tiny-{len(accepted)}")
            shutil.rmtree(accepted[-1], ignore_errors=True)
            shutil.copytree(result.folder, accepted[-1])
    for stale in set(out.glob("tiny-*")) - set(accepted):
        shutil.rmtree(stale)
    for entry in entries:
        if entry["base"] is not None:
            with one_thread():
                model = LlamaForCausalLM.from_pretrained(accepted[entry["base"]]).eval()
                entry["test"] = measure(model)
            print(f"tiny-{entry['base']} on test: {_row(entry['test'])}", flush=True)
    about = {
        "accepted": f"{len(accepted)} of {len(entries)} seeds accepted",
        "n": {"stop": TinyRecipe().check_n, "test": 256, "test_pass128_l5": 64},
        "seeds": entries,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "ledger.json").write_text(json.dumps(about, indent=1) + "\n")
    return about


def _row(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


def main(argv: Sequence[str] | None = None) -> None:
    """Train bases from several seeds, apply the stop rule, and write the accepted ones with their ledger."""
    parser = argparse.ArgumentParser(prog="python -m expo.policies.tiny", description=main.__doc__)
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="pretraining seeds, all of them counted (default: those of the ledger)"
    )
    parser.add_argument("--out", type=Path, default=BASES, help="folder for tiny-<k>/ and ledger.json")
    args = parser.parse_args(argv)
    seeds = args.seeds or [entry["seed"] for entry in ledger()["seeds"]]
    print(rebuild(seeds, args.out)["accepted"])


if __name__ == "__main__":
    main()
