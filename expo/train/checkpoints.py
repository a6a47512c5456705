"""The checkpoints of a training run: complete and damaged ones, and the last, from which a run resumes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from expo.policies.adapters import is_adapter, name_base
from expo.policies.weights import bad_weights
from expo.records import DRAFT, RecordError, Run, write_atomic
from expo.train.chunks import drop_chunks_after

# A file inside a checkpoint.
MARK = "expo-checkpoint-is-whole"
# Tables that are kept in memory during training and written with each checkpoint.
BUFFERED = ("metrics", "timing", "groups")
# Tables with one shard for each step at which they were written; tables written at the same steps are grouped. The last
# one marks the run as finished.
TOGETHER = (BUFFERED, ("skips", "positives", "pairs"), ("probes", "margins", "alignment", "gradients", "evaluation"))
BY_STEP = tuple(table for tables in TOGETHER for table in tables)


def step_of(checkpoint: Path | None) -> int:
    """The number of steps done when a checkpoint was made; 0 for None."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def whole_checkpoints(run: Run) -> dict[int, Path]:
    """The checkpoints that were written completely, by step, oldest first."""
    by_step = {step_of(p.parent): p.parent for p in run.path("checkpoints").glob(f"checkpoint-*/{MARK}")}
    return dict(sorted(by_step.items()))


def last_checkpoint(run: Run) -> Path | None:
    """The last complete checkpoint, if any. Anything that a stopped run wrote after it is deleted.

    Raises:
        RecordError: if it has changed since it was written.
    """
    whole = whole_checkpoints(run)
    last = max(whole, default=0)
    if last and (bad := damaged(whole[last])):
        before = [step for step in whole if step < last]
        raise RecordError(
            f"{bad} has changed since it was saved. Delete {whole[last]}/ and repeat the command; it resumes from "
            + (f"step {before[-1]}" if before else "the start")
        )
    for folder in run.path("checkpoints").glob("checkpoint-*"):
        if folder not in whole.values():
            shutil.rmtree(folder)
    for table in BY_STEP:
        for shard in run.shards(table):
            if int(shard) > last:
                run.file(table, shard).unlink()
    drop_chunks_after(run, last)
    return whole.get(last)


def is_last(checkpoint: Path | None) -> bool:
    """Whether all steps are done; resuming the trainer from there would take one more."""
    if checkpoint is None:
        return False
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return bool(state["global_step"] >= state["max_steps"])


def mark_whole(checkpoint: Path) -> None:
    """Mark a checkpoint as complete once every process has written its part, and record the size of each file."""
    write_atomic(checkpoint / MARK, json.dumps(_sizes(checkpoint)))


def damaged(checkpoint: Path) -> Path | None:
    """Name a file of the checkpoint that is missing or has another size than when it was marked as complete."""
    sizes, mark = _sizes(checkpoint), checkpoint / MARK
    try:
        # An empty mark was written by a version that did not record sizes.
        written: dict[str, int] = json.loads(mark.read_text(encoding="utf-8") or "{}")
    except ValueError:
        return mark
    return next((checkpoint / name for name, size in written.items() if sizes.get(name) != size), None)


def _sizes(checkpoint: Path) -> dict[str, int]:
    """The size in bytes of each file of a checkpoint."""
    return {
        str(p.relative_to(checkpoint)): p.stat().st_size
        for p in sorted(checkpoint.rglob("*"))
        if p.is_file() and p.name != MARK
    }


def keep_model(run: Run, step: int) -> None:
    """Copy the policy after `step`, without files that only training needs, to the run's `model` unless it exists.

    A finished run whose model was deleted gets it back, if its last checkpoint is unchanged.

    Raises:
        RecordError: if its weights are there but incomplete.
    """
    checkpoint, model = whole_checkpoints(run).get(step), run.path("model")
    is_whole = checkpoint is not None and not damaged(checkpoint)
    if model.exists() and (bad := bad_weights(model)):
        fix = f"delete {model}/ and repeat the command, which copies it from the checkpoint of step {step}"
        anew = f"no complete checkpoint of step {step} is left to copy it from; delete {run.folder}/ to train again"
        raise RecordError(f"{bad[0]} is {bad[1]}; {fix if is_whole else anew}")
    if model.exists() or checkpoint is None or not is_whole:
        return
    draft = run.path(f"model{DRAFT}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(checkpoint, draft, ignore=_for_training_alone)
    if is_adapter(draft):
        commit = re.search(r"\(hub, commit (\w+)\)", run.environment().get("weights") or "")
        name_base(draft, run.recipe()["policy"], commit[1] if commit else None)
    draft.rename(model)


def _for_training_alone(_: str, names: list[str]) -> list[str]:
    # Optimizer, schedule, random states and settings are pickles; ZeRO keeps its parts in one folder per step. The
    # README.md is peft's, an unfilled template.
    endings, beginnings = (".pt", ".bin", ".pth"), ("global_step", "trainer_state", "README.md", MARK)
    return [n for n in names if n.endswith(endings) or n.startswith(beginnings)]
