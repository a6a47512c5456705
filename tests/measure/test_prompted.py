"""What the hint makes of a text: its probability under the prompt it was sampled from, weights, and where it acts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from expo.measure.acts import KINDS, kinds_of, mentions_by_problem, mentions_of, shares
from expo.measure.run import measure
from expo.measure.show import show
from expo.measure.weights import (
    against_posterior,
    by_weight,
    effective,
    log_weights,
    normalised,
    on_one_sample,
    posterior_metrics,
)
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.positives.closing import explain_ids
from expo.recipe import MeasureRecipe
from expo.records import Run
from expo.tasks import TASKS
from expo.tasks.problem import Problem

ROWS = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": 2 * i} for i in range(4)]


@pytest.fixture
def recipe(tmp_path: Path, policy_folder: Path) -> MeasureRecipe:
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")
    return MeasureRecipe(
        task="jsonl",
        data=str(data),
        policy=str(policy_folder),
        device="cpu",
        samples=3,
        temperature=1.0,
        max_new_tokens=12,
        token_scores=True,
    )


def directly(policy: Policy, prompt: list[int], ids: list[int]) -> np.ndarray:
    """Log-probabilities of tokens after a prompt, by one plain call of the model."""
    with torch.inference_mode():
        logits = policy.model(torch.tensor([prompt + ids])).logits[0].double()
    log_probs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return log_probs[torch.arange(len(ids)), torch.tensor(ids)].numpy()


@pytest.mark.parametrize("rows", [1, 8])
def test_a_hinted_text_is_scored_under_its_own_prompt(recipe: MeasureRecipe, tmp_path: Path, rows: int) -> None:
    recipe.rows = rows
    run = measure(recipe, tmp_path / "run", progress=False)
    samples, tokens = run.read("samples"), run.read("tokens")
    policy = load_policy(recipe.policy, TASKS["jsonl"].prompts, device="cpu")
    key = ["problem", "source", "index"]
    hinted = samples[samples["hint"] != ""].set_index(key)
    assert set(samples.loc[samples["nll_prompted"].isna(), "source"]) == {"own"} | (
        {"own_correct"} & set(samples["source"])
    )
    assert set(tokens.set_index(key).index) == set(hinted.index)
    compared = 0
    for row in tokens.itertuples():
        of = hinted.loc[(row.problem, row.source, row.index)]
        assert -sum(row.prompted) == pytest.approx(of["nll_prompted"], rel=1e-5)
        assert -sum(row.plain) == pytest.approx(of["nll_cot"], rel=1e-5)
        assert len(row.texts) == len(row.ids)
        assert of["text"].startswith("".join(row.texts))
        if row.source != "explanation":
            continue
        compared += 1
        ids = [int(i) for i in row.ids]
        problem = Problem(row.problem, of["question"], of["reference"])
        wanted = directly(policy, explain_ids(policy, problem), ids)
        np.testing.assert_allclose(row.prompted, wanted, rtol=1e-5, atol=1e-5)
        # The control: under another answer's prompt it has other log-probabilities.
        other = directly(policy, explain_ids(policy, problem, "1234"), ids)
        assert np.abs(other - wanted).max() > 1e-4
    assert compared


def test_measuring_it_changes_no_other_number(recipe: MeasureRecipe, tmp_path: Path) -> None:
    """The same samples and scores with the tokens kept or not; a finished record gets a lost table back."""
    kept = measure(recipe, tmp_path / "kept", progress=False)
    recipe.token_scores = False
    plain = measure(recipe, tmp_path / "plain", progress=False)
    pd.testing.assert_frame_equal(kept.read("samples"), plain.read("samples"))
    assert kept.has("tokens")
    assert not plain.has("tokens")
    before = kept.read("tokens")
    kept.path("tokens.parquet").unlink()
    recipe.token_scores = True
    pd.testing.assert_frame_equal(measure(recipe, tmp_path / "kept", progress=False).read("tokens"), before)


def test_a_record_made_before_is_read_without(recipe: MeasureRecipe, tmp_path: Path) -> None:
    run = measure(recipe, tmp_path / "run", progress=False)
    path = run.path("samples.parquet")
    content = pq.read_table(path)
    pq.write_table(content.drop_columns(["nll_prompted"]), path)
    run.path("tokens.parquet").unlink()
    samples = Run(run.folder).read("samples")
    assert samples["nll_prompted"].isna().all()
    assert against_posterior(samples) == {}
    assert "posterior" not in show(Run(run.folder))


def record(law: np.ndarray, right: np.ndarray, prompted: np.ndarray, own: list[int], told: list[int]) -> pd.DataFrame:
    """Samples of one problem: CoTs of a table, own ones by number and explanations by number."""
    rows = [
        {
            "problem": "p",
            "source": source,
            "hint": "4" if source == "explanation" else "",
            "nll_cot": -np.log(law[c]),
            "learning_signal": np.log(right[c]),
            "nll_prompted": -np.log(prompted[c]) if source == "explanation" else None,
            "truncated": False,
        }
        for source, some in (("own", own), ("explanation", told))
        for c in some
    ]
    return pd.DataFrame(rows)


def test_weights_are_those_of_the_posterior() -> None:
    law, right, prompted = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.4, 0.4])
    samples = record(law, right, prompted, own=[0, 1], told=[0, 1, 2])
    weights = np.exp(log_weights(samples))
    # Each CoT once: by their own probabilities they give J, and the posterior.
    assert (prompted * weights).sum() == pytest.approx((law * right).sum())
    posterior = law * right / (law * right).sum()
    np.testing.assert_allclose(normalised(np.log(prompted * weights)), posterior)
    found = by_weight(samples).loc["p"]
    own = right[:2].mean()
    assert found["gain"] == pytest.approx(right.mean() - own)
    share = weights / weights.sum()
    assert found["gain_weighted"] == pytest.approx(share @ right - own)
    assert found["gain_by_weights"] == pytest.approx(share @ right - right.mean())
    assert found["effective_samples"] == pytest.approx(1 / (share**2).sum())
    # Samples of unlike prompts have a row each; the control is the row above.
    unlike = samples.assign(hint=["", "", "4", "4", "5"])
    assert by_weight(unlike)["n"].tolist() == [2, 1]
    # The bound, with each CoT as often as it is sampled.
    told = [c for c, n in enumerate([1, 2, 2]) for _ in range(n)]
    bound = by_weight(record(law, right, prompted, [0], told)).loc["p", "kl_bound"]
    kl = (prompted * np.log(prompted / posterior)).sum()
    assert bound == pytest.approx(kl - np.log((law * right).sum()))
    assert bound > kl


def test_weights_that_are_all_alike_or_with_one_sample_are_kept_and_counted() -> None:
    none, one = np.full(3, -np.inf), np.array([0.0, -800.0, -np.inf])
    assert normalised(none).tolist() == [1 / 3] * 3
    assert normalised(one).tolist() == [1.0, 0.0, 0.0]
    found = pd.DataFrame({"effective_samples": [effective(normalised(one)), 1.0, 2.0], "n": [3, 1, 3]})
    # A problem with one explanation is none of them.
    assert on_one_sample(found) == 1
    # A problem whose weights are all 0 has no bound; the others have.
    law, right, prompted = np.array([0.5, 0.5]), np.array([0.1, 0.5]), np.array([0.2, 0.8])
    samples = record(law, right, prompted, own=[0], told=[0, 1])
    lost = samples.assign(problem="q", nll_prompted=-np.inf)
    metrics = posterior_metrics(pd.concat([samples, lost], ignore_index=True)).set_index("name")["value"]
    assert metrics.notna().all()
    assert metrics["posterior/problems"] == 2
    assert metrics["posterior/kl_bound"] == by_weight(samples).loc["p", "kl_bound"]


def test_weights_are_those_of_direct_calls_of_the_model(tmp_path: Path) -> None:
    """log w of explanations that ended, from the model alone: the toy's prompts put together by hand."""
    run = measure(toy(), tmp_path / "run", progress=False)
    samples, policy = run.read("samples"), load_policy("tiny-0", TASKS["chain"].prompts)
    weights, compared = log_weights(samples), 0
    for row in samples.loc[weights.index].itertuples():
        question, hinted = (policy.encode(f"<bos> {row.question} {hint}<think>") for hint in ("", f"key {row.hint} "))
        cot, answer = policy.encode(row.cot), policy.encode(f"{row.reference} <eos>")
        cue = policy.encode("<ans>")
        joint = directly(policy, question, [*cot, *cue, *answer])
        wanted = joint[: len(cot)].sum() + joint[-len(answer) :].sum() - directly(policy, hinted, cot).sum()
        assert weights[row.Index] == pytest.approx(wanted, rel=1e-5, abs=2e-5)
        compared += 1
    assert compared > 10


def toy() -> MeasureRecipe:
    """A policy whose samples end."""
    return MeasureRecipe(
        task="chain",
        policy="tiny-0",
        levels=[2, 3],
        problems=6,
        sources=["own", "explanation"],
        samples=3,
        temperature=1.0,
        max_new_tokens=60,
        token_scores=True,
    )


def test_a_cut_sample_has_no_weight(tmp_path: Path) -> None:
    law, right, prompted = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.4, 0.4])
    samples = record(law, right, prompted, own=[0, 1], told=[0, 1, 2])
    cut = samples.assign(truncated=[False, False, False, False, True])
    pd.testing.assert_frame_equal(by_weight(cut), by_weight(samples.iloc[:-1]))
    assert by_weight(cut).loc["p", "effective_samples"] != by_weight(samples).loc["p", "effective_samples"]
    recipe = toy()
    recipe.max_new_tokens = 4
    said = show(measure(recipe, tmp_path / "cut", progress=False))
    assert "No self-explanation ended" in said
    recipe.max_new_tokens = 30
    run = measure(recipe, tmp_path / "some", progress=False)
    told = run.read("samples").query("source == 'explanation'")
    assert 0 < told["truncated"].sum() < len(told)
    assert f"; {told['truncated'].sum()} of {len(told)} were cut and are left out):" in show(run)


def test_weights_that_underflow_leave_one_sample() -> None:
    np.testing.assert_allclose(normalised(np.array([-3000.0, -2000.0, -4000.0])), [0, 1, 0])
    assert effective(normalised(np.array([-3000.0, -2000.0, -4000.0]))) == 1
    assert effective(normalised(np.array([-7.0, -7.0]))) == pytest.approx(2)
    assert effective(normalised(np.array([0.0]))) == 1


def test_the_terminal_says_what_the_weights_say(tmp_path: Path) -> None:
    recipe = toy()
    said = show(measure(recipe, tmp_path / "run", progress=False))
    assert "effective sample size of a problem's self-explanations" in said
    assert " of 3\n" in said
    assert "Where the answer acts" in said
    recipe.temperature, recipe.token_scores = 0.9, False
    said = show(measure(recipe, tmp_path / "warm", progress=False))
    assert "only at --temperature 1" in said
    assert "effective sample size" not in said
    recipe.temperature, recipe.samples = 1.0, 1
    assert "1 by definition" in show(measure(recipe, tmp_path / "one", progress=False))


def test_tokens_are_told_apart_by_what_they_say() -> None:
    texts = ["2", " +", " 2", " is", " 4", ",", " not", " 4", "2", "."]
    kinds = kinds_of(texts, ["4"])
    assert kinds == ["number", "rest", "number", "rest", "answer", "rest", "rest", "number", "number", "rest"]
    assert kinds_of(["x", " = ", "4", ".", "5"], ["4"]) == ["rest", "rest", "number", "rest", "number"]
    assert kinds_of(["so ", "4", "2"], ["42"]) == ["rest", "answer", "answer"]


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("it costs 1,234 now", "1234", "1,234"),
        ("it costs 1234 now", "1,234", "1234"),
        ("it costs 4,000 now", "4", ""),
        ("it costs 1,234 now", "234", ""),
        ("x is -4 here", "4", ""),
        ("x is −4 here", "4", ""),
        ("x is -4 here", "-4", "-4"),
        ("10-4 is 6", "4", "4"),
        ("one of 3, 4 or 5", "4", "4"),
        ("it is (4).", "4", "4"),
        ("v4 or 4x", "4", ""),
        (r"so \boxed{\frac{1}{2}}", r"\frac{1}{2}", r"\frac{1}{2}"),
    ],
)
def test_an_answer_is_found_as_a_text_spells_it(text: str, answer: str, found: str) -> None:
    kinds = kinds_of(list(text), mentions_of("stories", answer))
    assert "".join(c for c, kind in zip(text, kinds, strict=True) if kind == "answer") == found


def test_the_answer_of_the_toy_is_found_step_by_step(tmp_path: Path) -> None:
    recipe = MeasureRecipe(
        task="chain", policy="tiny-0", levels=[2], problems=6, sources=["explanation"], samples=2, token_scores=True
    )
    run = measure(recipe, tmp_path / "run", progress=False)
    tokens, samples = run.read("tokens"), run.read("samples")
    mentions = mentions_by_problem("chain", samples)
    said = 0
    for _, row in tokens.iterrows():
        kinds = kinds_of(list(row["texts"]), mentions[row["problem"]])
        told = "".join(t for t, kind in zip(row["texts"], kinds, strict=True) if kind == "answer").split()
        pairs = [pair.split() for pair in mentions[row["problem"]]]
        assert all([name, value] in pairs for name, value in zip(told[::2], told[1::2], strict=True))
        said += len(told) // 2
    right = int(samples["correct"].sum())
    # A right one states each value in a step.
    assert said >= 2 * right > 0
    # The control: of the answer as one text nothing is found.
    whole = {problem: [answer] for problem, answer in zip(samples["problem"], samples["reference"], strict=True)}
    assert not shares(tokens, whole)["answer/tokens"].any()


def test_every_sample_is_two_steps_and_a_copy_is_none(tmp_path: Path) -> None:
    steps: list[int] = []
    recipe = toy()
    recipe.sources, recipe.token_scores = ["own", "explanation", "expert", "own_correct"], False
    samples = measure(recipe, tmp_path / "run", progress=False, on_step=lambda: steps.append(1)).read("samples")
    counts = samples.groupby("source").size()
    assert counts["own_correct"] > 0
    assert len(steps) == 2 * (counts["own"] + counts["explanation"]) + counts["expert"]


def test_shares_say_where_the_answer_acts() -> None:
    rows = [
        {
            "problem": "p",
            "source": "explanation",
            "index": 0,
            "texts": ["it", " is", " 4"],
            "plain": [-1.0, -1.0, -5.0],
            "prompted": [-1.5, -1.5, -1.0],
        },
        {"problem": "p", "source": "nonsense", "index": 0, "texts": ["4"], "plain": [-1.0], "prompted": [-9.0]},
        # Nothing to share out.
        {"problem": "q", "source": "explanation", "index": 0, "texts": ["a"], "plain": [-1.0], "prompted": [-1.0]},
    ]
    found = shares(pd.DataFrame(rows), {"p": ["4"], "q": ["1"]})
    assert list(found.index) == ["p"]
    assert found.loc["p", "answer/difference"] == pytest.approx(0.8)
    assert found.loc["p", "answer/tokens"] == pytest.approx(1 / 3)
    for what in ("difference", "tokens"):
        assert sum(found.loc["p", f"{kind}/{what}"] for kind in KINDS) == pytest.approx(1)
