"""A few completions of a training run to read: `completions.md`."""

from __future__ import annotations

from expo.records import Run
from expo.text import fenced, visible


def completions(run: Run, problems: int = 3) -> str:
    """The answers to some watched training problems at each measured step, as Markdown.

    Each own sample is followed by its grade and by the NLL (nats per token) of the positive under the policy at that
    step.
    """
    probes = run.read("probes")
    toy = " (toy)" if run.environment().get("toy") else ""
    lines = [f"# Completions of training problems{toy}", "", "As sampled during training, uncut."]
    for i, problem in enumerate(list(dict.fromkeys(probes["problem"]))[:problems], 1):
        of_problem = probes[probes["problem"] == problem]
        first = of_problem.iloc[0]
        lines += [
            "",
            f"## Problem {i}",
            "",
            fenced(visible(f"{problem}\n\n{first['question']}\n\n{first['reference']}")),
        ]
        for step, at in of_problem.groupby("step"):
            own, learnt = at[at["source"] == "own"].iloc[0], at[at["source"] != "own"]
            after = "".join(
                f"; its positive ({r['source']}): {r['nll_per_token']:.3g} nats per token" for _, r in learnt.iterrows()
            )
            lines += ["", f"**step {step}**: {own['status']}{after}", "", fenced(visible(str(own["text"])))]
        for _, r in of_problem[of_problem["source"] != "own"].drop_duplicates("text").iterrows():
            lines += [
                "",
                f"**positive** ({r['source']}), seen at step {r['step']}",
                "",
                fenced(visible(str(r["text"]))),
            ]
    return "\n".join(lines) + "\n"
