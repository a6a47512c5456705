"""Self-explanations as a dataset folder: parquet and a card, readable with `datasets.load_dataset`."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import yaml

from expo.hub import upload
from expo.policies.names import SMOLLM2, TINY, public
from expo.records import DRAFT, RecordError, Run, to_yaml, write_atomic
from expo.tasks import TASKS, checker_of
from expo.text import fenced

COLUMNS = {
    "problem": "id of the problem in its task",
    "question": "the question q",
    "answer": "its ground-truth answer a*",
    "level": "difficulty level, where the task has one",
    "explanation": "the self-explanation c~, sampled from the question with a*, without the final-answer statement",
    "completion": "(c~, a*) as scored: c~, the answer cue, a* and its closing mark, without the end token",
    "sampled_answer": "the answer given in the sampled text itself",
    "correct": "whether that answer is a*",
    "tokens": "tokens of the completion, including the end token",
    "nll_sum": "-log pi(c~, a*|q), nats per sequence, under the plain question prompt, temperature 1",
    "nll_per_token": "the same, divided by the number of tokens",
    "learning_signal": "log pi(a*|q, c~), nats",
    "leak": "whether the explanation says that it was given the answer",
    "truncated": "whether the sample reached the token limit",
    "steps": "arithmetic statements found in the explanation",
    "steps_true": "how many of them are true",
}


def check_folder(folder: Path) -> None:
    """Check that a new dataset can be written to a folder.

    Raises:
        RecordError: if the folder already holds a file.
    """
    if folder.exists() and (not folder.is_dir() or any(p.is_file() for p in folder.rglob("*"))):
        raise RecordError(f"{folder} already holds files; choose another --dataset")


def write_dataset(run: Run, folder: Path) -> Path:
    """Write the run's self-explanations to `folder` (README.md and data/train-00000-of-00001.parquet).

    Raises:
        RecordError: if the run has no self-explanations, or the folder holds anything other than this dataset.
    """
    samples = run.read("samples")
    rows = samples[samples["source"] == "explanation"]
    if rows.empty:
        raise RecordError(f"{run.folder} has no self-explanations; measure again with explanation in --sources")
    renamed = {"reference": "answer", "cot": "explanation", "text": "completion", "answer": "sampled_answer"}
    frame = rows.rename(columns=renamed)[list(COLUMNS)]
    parquet, readme = folder / "data" / "train-00000-of-00001.parquet", folder / "README.md"
    if not _is_free(folder, parquet, readme, frame):
        raise RecordError(f"{folder} already holds other files; choose another --dataset")
    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    write_atomic(parquet, sink.getvalue())
    # An existing card may have been edited by hand.
    if not readme.exists():
        write_atomic(readme, card(run, frame))
    return folder


def _is_free(folder: Path, parquet: Path, readme: Path, frame: pd.DataFrame) -> bool:
    """Whether the folder is empty or holds only parts of this dataset, as after a killed call."""
    if not folder.exists():
        return True
    if not folder.is_dir() or any(
        p.is_file() and p not in (parquet, readme) and not p.name.endswith(DRAFT) for p in folder.rglob("*")
    ):
        return False
    return _holds(parquet, frame) if parquet.exists() else not readme.exists()


def _holds(parquet: Path, frame: pd.DataFrame) -> bool:
    """Whether a file holds these rows, compared by value: other pandas versions write other bytes."""
    try:
        return pd.read_parquet(parquet).equals(frame.reset_index(drop=True))
    except (OSError, ValueError):
        return False


def card(run: Run, frame: pd.DataFrame) -> str:
    """The dataset card: what the rows are, how they were made, their counts and licence."""
    recipe, facts = run.recipe(), run.environment()
    policy = public(recipe["policy"])
    task = TASKS[recipe["task"]]
    licence = task.licence
    # We cannot grant a licence for texts written by a model whose licence we do not know.
    known = TINY.fullmatch(recipe["policy"]) or recipe["policy"] == SMOLLM2
    head = {
        "license": licence if known else "other",
        "task_categories": ["text-generation"],
        "tags": ["self-explanation", "expo"],
    }
    counts = {
        "rows": len(frame),
        "problems": frame["problem"].nunique(),
        "samples per problem": recipe["samples"],
        "own answer is a*": int(frame["correct"].sum()),
        "say that they were given the answer": int(frame["leak"].sum()),
        "reached the token limit": int(frame["truncated"].sum()),
    }
    toy = (
        "\n**A toy.** These rows show a mechanism; they are not evidence about real tasks.\n"
        if facts.get("toy")
        else ""
    )
    written = to_yaml({**recipe, "data": recipe["data"] and public(recipe["data"]), "policy": policy})
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# Self-explanations of {policy} on {recipe['task']}\n{toy}",
        "A self-explanation is what a model writes when it is shown a question together with its answer "
        "(ExPO, Zhou et al.).",
        f"\nQuestions: {public(facts['task'])}. Weights: {facts.get('weights') or policy}. Licence of the questions: "
        f"{licence}{' (state that of your own data)' if licence == 'other' else ''}; "
        "the model's licence applies to what it wrote.",
        "\n## Counts\n",
        *(f"- {name}: {value}" for name, value in counts.items()),
        "\n## Columns\n",
        *(f"- `{name}`: {text}" for name, text in COLUMNS.items()),
        f"\nA leak is counted if {checker_of(recipe).leak_rule}.",
        f"\n## Recipe\n\n{fenced(written.rstrip(), 'yaml')}\n",
    ]
    return "\n".join(lines)


def push(folder: Path, repo: str) -> None:
    """Push a dataset folder to a new or empty repository on the hub; a new one is private.

    Raises:
        ConnectionError: if the hub cannot be reached or refuses.
        RecordError: if the repository already holds files; they are left unchanged.
    """
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(DRAFT))
    files: dict[str, Path | bytes] = {str(p.relative_to(folder)): p for p in found}
    upload(files, repo, "dataset", str(folder))
