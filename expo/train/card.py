"""A trained policy for the hub: its files, the record it comes from, and a card computed from the record."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from expo.evaluate import by_level
from expo.hub import upload
from expo.policies.adapters import CONFIG, is_adapter
from expo.policies.names import public, public_fields
from expo.records import RecordError, Run, to_yaml
from expo.text import fenced

RECORD = "record"


def push_model(run: Run, repo: str) -> None:
    """Push a finished training run to a new or empty hub repository: `model/`, a card, and the record.

    Raises:
        ConnectionError: if the hub cannot be reached or refuses.
        RecordError: if the run has not finished or has lost its model, or the repository already holds files.
    """
    upload(files_of(run), repo, "model", str(run.folder))


def files_of(run: Run) -> dict[str, Path | bytes]:
    """The files to push, by their path in the repository. None of them mentions a folder of this machine.

    Raises:
        RecordError: if the run has not finished or has lost its model.
    """
    model = run.path("model")
    if not run.has("evaluation") or not model.is_dir():
        raise RecordError(f"{run.folder} has no trained policy to push; repeat its training command first")
    files: dict[str, Path | bytes] = {p.name: p for p in sorted(model.iterdir()) if p.is_file()}
    if is_adapter(model):
        said = json.loads((model / CONFIG).read_text(encoding="utf-8"))
        said["base_model_name_or_path"] = public(said["base_model_name_or_path"])
        files[CONFIG] = (json.dumps(said, indent=2) + "\n").encode()
    # Skips name the file and line of each row left out.
    files |= {f"{RECORD}/{p.name}": p for p in sorted(run.folder.glob("*.parquet")) if p.stem != "skips"}
    files[f"{RECORD}/recipe.yaml"] = to_yaml(public_fields(run.recipe())).encode()
    files["README.md"] = card(run).encode()
    return files


def card(run: Run) -> str:
    """The model card: what was trained on what, and the accuracy before and after, with n, k, seed and intervals."""
    recipe, facts, evaluation = public_fields(run.recipe()), run.environment(), run.read("evaluation")
    adapter = is_adapter(run.path("model"))
    base = recipe["policy"]
    head = {
        "license": "other",
        "library_name": "peft" if adapter else "transformers",
        "tags": ["expo", "self-explanation", recipe["algorithm"]],
        # The hub accepts only its own ids.
        **({"base_model": base} if base.count("/") == 1 and not Path(base).exists() else {}),
    }
    samples = int(evaluation["n"].min())
    rows = []
    for step in sorted({evaluation["step"].min(), evaluation["step"].max()}):
        for level, accuracy in by_level(evaluation[evaluation["step"] == step]).items():
            rows.append(f"| {step} | {'all' if level is None else level} | {accuracy.n} | {accuracy} |")
    toy = "\n**A toy.** It shows a mechanism; it is not evidence about real tasks.\n"
    what = "A LoRA adapter" if adapter else "A policy"
    written = to_yaml(recipe)
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
            f"# {base} trained by {recipe['algorithm'].upper()}, positive: {recipe['positive']}",
            *([toy] if facts.get("toy") else []),
            f"\n{what} trained on {public(str(facts['task']))}, after ExPO (Zhou et al.). Base: "
            f"{facts.get('weights') or base}. The licences of the base and of the questions apply.",
            f"\n## Accuracy\n\n{samples} samples per problem at temperature {recipe['eval_temperature']:g}, "
            f"seed {facts['seed']}; 95 % intervals over problems.\n\n| step | level | problems | accuracy |",
            "| --- | --- | --- | --- |",
            *rows,
            f"\nEvery number is computed from the tables in `{RECORD}/`.",
            f"\n## Recipe\n\n{fenced(written.rstrip(), 'yaml')}\n",
        ]
    )
