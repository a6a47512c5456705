"""Everything that a page is computed from, as one mapping for JSON: rows of the records, texts, and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from expo.gradients.predictors import distinct
from expo.measure import verdict
from expo.measure.acts import KINDS
from expo.measure.weights import WORDS
from expo.records import RecordError, method_of
from expo.report import paper
from expo.report.colours import COLOURS, method_colour
from expo.report.html import claims, tables
from expo.report.html.provenance import names_of, provenance, setting
from expo.report.html.records import Shown
from expo.report.html.texts import acts, texts_of
from expo.report.toy import TOY
from expo.report.words import MARKS, NAMES, UNITS
from expo.stats import MIN_PROBLEMS
from expo.text import plural, visible

MOST_BYTES = 3_000_000  # of a page
_DASHES = ("", "7 3", "2 2", "9 3 2 3")


@dataclass(frozen=True)
class Payload:
    """The content of a page, and sentences on how many problems and texts were left out to keep it small."""

    content: dict[str, Any]
    left_out: list[str]


def payload(runs: Sequence[Shown], unfinished: Sequence[str], most: int = MOST_BYTES) -> Payload:
    """The content of a page of these runs, at most `most` bytes as JSON.

    Raises:
        RecordError: if even one problem of each run takes more than that; the message says what would take less.
    """
    trained = [i for i, run in enumerate(runs) if "metrics" in run.tables]
    curves = dict(zip(trained, tables.curves([runs[i].tables["metrics"] for i in trained]), strict=True))
    out = [
        {"name": name, **_head(run), "lacks": list(run.lacks)} for name, run in zip(names_of(runs), runs, strict=True)
    ]
    for i, of_run in curves.items():
        out[i]["curves"] = of_run
    content = {**_rules(), "runs": out, "unfinished": list(unfinished)}
    whole = [_tables(run) for run in runs]
    kept = tables.fit(whole, min(tables.ROWS_BYTES, 2 * (most - len(tables.dumps(content))) // 3))
    left_out = []
    for i, (run, before, after) in enumerate(zip(runs, whole, kept, strict=True)):
        said = _said(run, before, after, curves.get(i))
        out[i] |= {"left_out": said, "tables": {table: tables.encode(table, frame) for table, frame in after.items()}}
        left_out += [f"{out[i]['name']}: {sentence}" for sentence in said]
    if (taken := len(tables.dumps(content))) > most:
        raise RecordError(_too_large(runs, kept, taken, most))
    _add_texts(runs, kept, out, most - taken)
    return Payload(content, left_out)


def _too_large(runs: Sequence[Shown], kept: Sequence[dict[str, pd.DataFrame]], taken: int, most: int) -> str:
    """Why a page cannot hold these runs, and what would make it smaller."""
    size, room = f"{taken / 1e6:.1f} MB", f"{most / 1e6:.1f} MB"
    if len(runs) > 1:
        return f"{len(runs)} runs take {size}, but a page holds {room} of them; name fewer"
    rows = {table: int(frame.groupby("problem").size().max()) for table, frame in kept[0].items()}
    largest = max(rows, key=lambda table: rows[table])
    return (
        f"{visible(str(runs[0].run.folder))} takes {size}, but a page holds {room}: a problem has "
        f"{plural(rows[largest], 'row')} of {largest}, and a page shows all of them. Repeat the run in another folder "
        "with fewer samples of each problem."
    )


def _tables(run: Shown) -> dict[str, pd.DataFrame]:
    """The tables of a run to embed, with the numbers that are computed from its tokens only once."""
    of_run = {name: frame for name, frame in run.tables.items() if name in tables.COLUMNS}
    if "tokens" in run.tables:
        of_run["acts"] = acts(run.tables["tokens"], run.tables["samples"], run.recipe["task"])
    if "alignment" in of_run:
        of_run |= _marked(of_run["alignment"], of_run.get("gains"))
    return of_run


def _marked(alignment: pd.DataFrame, gains: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """The tables of gradients with a column `repeated`: whether an earlier positive of the question has its text."""
    alignment = alignment.assign(repeated=~alignment.index.isin(distinct(alignment).index))
    if gains is None:
        return {"alignment": alignment}
    repeated = set(map(tuple, alignment.loc[alignment["repeated"], ["problem", "source"]].to_numpy()))
    pairs = zip(gains["problem"], gains["source"], strict=True)
    return {"alignment": alignment, "gains": gains.assign(repeated=[pair in repeated for pair in pairs])}


def _said(
    run: Shown, before: dict[str, pd.DataFrame], after: dict[str, pd.DataFrame], curves: dict[str, Any] | None
) -> list[str]:
    out = []
    if cut := tables.left_out(before, after):
        kept, of = cut
        out.append(
            f"To stay small, this page holds {kept:,} of the record's {of:,} problems, spread evenly. All its numbers "
            f"are about these problems."
        )
    if curves and len(curves["step"]) < (steps := run.tables["metrics"]["step"].nunique()):
        out.append(f"Curves show {len(curves['step']):,} of {steps:,} steps, spread evenly.")
    return out


def _head(run: Shown) -> dict[str, Any]:
    return {
        "job": run.job,
        "policy": visible(run.policy_name),
        "task": run.task,
        "method": run.method,
        "trained_on": run.trained_on,
        "trained_levels": list(run.recipe.get("levels") or []) if run.trained_on else [],
        "colour": method_colour(method_of(run.recipe)) if run.job == "train" else COLOURS["own"],
        "toy": run.toy,
        "problems_id": _problems_id(run),
        "temperature": run.recipe.get("temperature"),
        "setting": visible(setting(run)),
        "provenance": provenance(run),
    }


def _problems_id(run: Shown) -> list[str]:
    """The task, the data and the split: an id means the same problem in two runs only if all three are equal."""
    recipe = run.recipe
    return [str(x) for x in (recipe["task"], recipe.get("data"), recipe.get("eval_split", recipe.get("split")))]


def _add_texts(runs: Sequence[Shown], kept: Sequence[dict[str, Any]], out: list[dict[str, Any]], room: int) -> None:
    """The texts of the runs that have samples; each gets an equal share of the space."""
    having = [i for i, of_run in enumerate(kept) if "samples" in of_run]
    for turn, i in enumerate(having):
        share = max(0, room) // (len(having) - turn)
        out[i]["texts"], used = texts_of(kept[i]["samples"], runs[i].tables.get("tokens"), runs[i].recipe, share)
        room -= used


def _rules() -> dict[str, Any]:
    """Names, constants and words that the page shares with the toolkit, so that none has to be kept in two places."""
    state = np.random.default_rng(0).bit_generator.state["state"]
    return {
        "generator": {"state": str(state["state"]), "increment": str(state["inc"])},
        "names": NAMES,
        "marks": MARKS,
        "units": UNITS,
        "order": verdict.ORDER,
        "properties": verdict.PROPERTIES,
        "measurements": verdict.MEASUREMENTS,
        "bounded": verdict.BOUNDED,
        "probability": verdict.PROBABILITY,
        "min_problems": MIN_PROBLEMS,
        "hangs": verdict.HANGS,
        "kinds": KINDS,
        "weights": WORDS,
        "table1": paper.TABLE1,
        "licenses": claims.LICENSES,
        "claims": claims.cited(),
        "toy": TOY,
        "looks": {name: _look(i, colour) for i, (name, colour) in enumerate(COLOURS.items())},
        "run_looks": [_look(i, colour) for i in range(len(_DASHES)) for colour in list(COLOURS.values())[:5]],
    }


def _look(i: int, colour: str) -> dict[str, str]:
    """A line's colour and dashes; each alone distinguishes it from its neighbours."""
    return {"colour": colour, "dash": _DASHES[i % len(_DASHES)]}
