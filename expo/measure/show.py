"""A measurement in the terminal: Table 1's verdicts, and counts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from expo.measure.acts import KINDS, mentions_by_problem, shares
from expo.measure.verdict import MIN_PROBLEMS, PROBABILITY, Comparison, by_problem, hangs_on, own_answers, table1, worth
from expo.measure.weights import WORDS, by_weight, means, on_one_sample
from expo.records import Run
from expo.stats import bootstrap
from expo.terminal import NAMES, TOY, sampled_in, skipped
from expo.text import plural, visible

_COLUMNS = ("tokens", "nll_sum", "nll_per_token", "learning_signal")
_UNITS = {"nll_sum": "per sequence", "nll_per_token": "per token", PROBABILITY: "as a probability"}
MARKS = {"holds": "✓ holds", "fails": "✗ fails", "undecided": "? undecided"}


def show(run: Run) -> str:
    """Means and verdicts of a measurement, as text."""
    samples, recipe, environment = run.read("samples"), run.recipe(), run.environment()
    toy = TOY if environment.get("toy") else ""
    lines = [
        "",
        f"{recipe['policy']} on {recipe['task']}{toy}: {plural(samples['problem'].nunique(), 'problem')}, "
        f"k = {recipe['samples']}, temperature {recipe['temperature']}, seed {recipe['seed']}",
        *sampled_in(run),
        *_fewer(recipe, samples),
        "",
        f"{'positive':<31}{'n':>5}{'tokens':>8}{'NLL/seq':>9}{'NLL/tok':>9}{'signal':>9}{'right':>7}{'cut':>6}{'leak':>6}",
    ]
    for source, rows in samples.groupby("source", sort=False):
        means = {q: float(by_problem(samples, str(source), q).mean()) for q in _COLUMNS}
        right = "-" if rows["correct"].isna().all() else f"{rows['correct'].mean():.2f}"
        lines.append(
            f"{NAMES[str(source)]:<31}{len(rows):>5}{means['tokens']:>8.0f}{means['nll_sum']:>9.1f}"
            f"{means['nll_per_token']:>9.3f}{means['learning_signal']:>9.2f}{right:>7}"
            f"{rows['truncated'].mean():>6.2f}{rows['leak'].mean():>6.2f}"
        )
    lines += [
        "",
        "Table 1, measured: differences of means by problem, in nats, with 95 % bootstrap intervals. Probabilities and",
        "shares also have a finite-sample interval, whose 95 % hold at every n and which decides their verdict:",
        *_comparisons([*table1(samples), *own_answers(samples)]),
        *textwrap.wrap(worth(samples["problem"].nunique()), 110),
    ]
    if samples["problem"].nunique() < MIN_PROBLEMS:
        lines.append(f"  (fewer than {MIN_PROBLEMS} problems decide nothing)")
    return "\n".join([*lines, *_by_weight(run, samples), *_by_token(run, samples), "", *skipped(run)])


def _comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    """Each pair of positives with its comparisons; A against B is not repeated as B against A."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for c in comparisons:
        if c.quantity not in {d.quantity for d in pairs.get((c.reference, c.source), ())}:
            pairs.setdefault((c.source, c.reference), []).append(c)
    lines = []
    for (source, reference), of_pair in pairs.items():
        n = of_pair[0].difference.n
        lines.append(f"  {NAMES[source]} against {NAMES[reference]}, {plural(n, 'problem')}:")
        lines += [_line(c) + (f", n = {c.difference.n}" if c.difference.n != n else "") for c in of_pair]
    return lines


def _line(c: Comparison) -> str:
    bounded = f", finite-sample {c.finite_sample.brackets}" if c.finite_sample else ""
    hangs = hangs_on(c.verdict, visible(c.largest), c.share)
    what = f"    {c.property} {_UNITS.get(c.quantity, '')}".ljust(47)
    return f"{what}{MARKS[c.verdict]:<12} {c.difference}{bounded}" + (hangs and f"; {hangs}")


def _by_weight(run: Run, samples: pd.DataFrame) -> list[str]:
    """How far the prompted sampler is from the posterior; only a sampler at temperature 1 has these weights."""
    told = samples[(samples["source"] == "explanation") & samples["nll_prompted"].notna()]
    if told.empty:
        return []
    if run.recipe()["temperature"] != 1:
        return ["", "Self-explanations can be compared with the posterior pi(c|q, a*) only at --temperature 1."]
    weighed = by_weight(samples)
    if not (found := means(weighed)):
        return ["", "No self-explanation ended, so none can be compared with the posterior; raise max_new_tokens."]
    cut, most, alone_in = len(told) - int(weighed["n"].sum()), int(weighed["n"].max()), on_one_sample(weighed)
    left_out = f"; {cut} of {len(told)} were cut and are left out" if cut else ""
    alone = f" of {most}" + (f"; in {plural(alone_in, 'problem')} one has all the weight" if alone_in else "")
    if most == 1:
        alone = " (1 by definition: each problem has one, whose weight is 1; --samples K gives it K)"
    units = {"effective_samples": alone, "kl_bound": " nats"}
    return [
        "",
        "Self-explanations against the posterior pi(c|q, a*) (means over problems with 95 % bootstrap interval"
        f"{left_out}):",
        *(f"  {WORDS[name]:<66} {interval}{units.get(name, '')}" for name, interval in found.items()),
    ]


def _by_token(run: Run, samples: pd.DataFrame) -> list[str]:
    """Where in the self-explanations the answer acts, as text."""
    if not run.has("tokens"):
        return []
    found = shares(run.read("tokens"), mentions_by_problem(run.recipe()["task"], samples))
    if found.empty:
        return []
    return [
        "",
        "Where the answer acts: shares of |log pi(t|q, a*) - log pi(t|q)| over the tokens of self-explanations:",
        *(
            f"  {KINDS[kind]:<30} {bootstrap(found[f'{kind}/difference'].to_numpy())} of it, "
            f"{found[f'{kind}/tokens'].mean():.3f} of the tokens"
            for kind in KINDS
        ),
    ]


def _fewer(recipe: dict[str, Any], samples: pd.DataFrame) -> list[str]:
    asked, measured = recipe["problems"], samples["problem"].nunique()
    return [f"({measured} of the {asked} problems asked for are available)"] if asked and measured < asked else []
