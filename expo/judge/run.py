"""A model judge over a finished run: votes are saved as they arrive, in the folder of the samples."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from expo.judge.endpoint import JudgeError
from expo.judge.votes import JUDGE_PROMPT, MAX_TOKENS, SECONDS, Pair, judge_pairs, summarize_votes, why_unread
from expo.records import RecordError, Run, write_atomic
from expo.schema import as_frame
from expo.text import plural

# Pairs between two saves.
SLICE = 20


def pairs(samples: pd.DataFrame) -> list[Pair]:
    """The first self-explanation against the first own CoT of each problem that has both."""
    first = samples[samples["index"] == 0].set_index("problem")
    own = first[first["source"] == "own"][["question", "reference", "cot"]]
    explanation = first[first["source"] == "explanation"]["cot"].rename("explanation")
    both = own.join(explanation, how="inner").sort_index()
    columns = [both[c].astype(str) for c in ("question", "reference", "explanation", "cot")]
    return [Pair(*texts) for texts in zip(both.index.astype(str), *columns, strict=True)]


def judge(
    run: Run,
    model: str,
    base_url: str | None,
    problems: int | None,
    *,
    max_tokens: int = MAX_TOKENS,
    seconds: float = SECONDS,
    progress: bool = True,
) -> str:
    """Ask for the votes that the run does not have yet; returns the win rate in words.

    Raises:
        JudgeError, RecordError: as documented in their modules; JudgeError also if no vote can be read, and RecordError
            for a run without pairs.
        ValueError: if `problems` is below 1.
    """
    if problems is not None and problems < 1:
        raise ValueError(f"problems must be at least 1, got {problems}")
    if run.has("groups") or run.has("evaluation"):
        raise RecordError(f"{run.folder} is not a record of expo measure, which expo judge needs")
    asked = pairs(run.read("samples"))[:problems]
    if not asked:
        raise RecordError(
            f"{run.folder} has no problem with both own and explanation; measure again with both in --sources"
        )
    with run.writing():
        options = {"max_tokens": max_tokens, "seconds": seconds, "progress": progress}
        return _judge(run, asked, model, base_url, options)


def _judge(run: Run, asked: list[Pair], model: str, base_url: str | None, options: dict[str, Any]) -> str:
    votes_before = run.read("votes") if run.has("votes") else as_frame("votes")
    by_model = votes_before["judge"] == model
    mine, others = votes_before[by_model], votes_before[~by_model]
    about = {
        "prompt": JUDGE_PROMPT,
        "temperature": 0,
        "compares": "c~ (first) with c (second), CoTs only, sample 0 of each",
    }
    write_atomic(run.path("judge.json"), json.dumps(about, indent=2) + "\n")
    for i in range(0, len(asked), SLICE):
        votes = judge_pairs(asked[i : i + SLICE], model=model, base_url=base_url, done=mine, **options)
        # Votes on other problems are kept, and so are those of an earlier prompt on the same problems until they are
        # asked again.
        mine = pd.concat([mine, votes], ignore_index=True).drop_duplicates(["problem", "order"], keep="last")
        run.write("votes", pd.concat([others, mine], ignore_index=True))
    mine = mine[mine["problem"].isin([p.problem for p in asked])]
    s = summarize_votes(mine)
    unread = why_unread(mine)
    if not s.win_rate.problems:
        raise JudgeError(
            f"{model}: no problem has two votes that could be read: {unread}; replies: {run.path('votes.parquet')}"
        )
    return (
        f"{model}: self-explanation wins {s.win_rate.rate:.2f} [{s.win_rate.low:.2f}, {s.win_rate.high:.2f}], "
        f"finite-sample {s.win_rate.finite_sample.brackets}, "
        f"over {plural(s.win_rate.problems, 'problem')} (wins {s.win_rate.wins}, ties or disagreement "
        f"{s.win_rate.ties}, losses {s.win_rate.losses}); the order changed the vote in {s.disagreement:.2f}, "
        f"{s.a_share:.2f} of the decided votes went to the text shown first; "
        f"{s.unparsed} of {s.votes} votes unparsed, {s.failed} failed"
        + (f"\nunreadable: {unread}" if unread else "")
        + f"\nvotes: {run.path('votes.parquet')}"
    )
