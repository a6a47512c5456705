"""Which of several samples becomes the positive: each rule against its own words, and the draw against its weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.measure.choice import Graded, choose, mask_tokens
from expo.measure.prompted import score_prompted
from expo.policies.engine import Completion
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import score
from expo.positives.kinds import from_sample, requests
from expo.schema import as_frame
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.train.config import settings_of
from expo.train.recipe import CHOICES, read_recipe
from expo.train.run import train
from expo.train.show import _chosen, _moved, show
from tests.train.test_run import VALUES

K = 6


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tiny-0", CHAIN)


@pytest.fixture(scope="module")
def candidates(policy: Policy) -> list[list[Graded]]:
    """K explanations of each of ten problems, unlike each other: the third level is hard for this base."""
    problems, checker = chain.load("train", 10, levels=[3]).problems, ChainChecker()
    asked = [(p, *requests(policy, p, problems, {"explanation": K}, 60, 0, checker)[0]) for p in problems]
    done = sample(policy, [r for *_, r in asked], temperature=1.0, seed=0)
    return [
        [(from_sample(policy, p, source, k, hint, c, checker), None) for k, c in enumerate(group)]
        for (p, source, hint, _), group in zip(asked, done, strict=True)
    ]


def test_the_first_is_the_first_and_the_best_the_best(policy: Policy, candidates: list[list[Graded]]) -> None:
    assert [c.place for c in choose(policy, candidates, "first", 0)] == [0] * 10
    by = {
        "best_signal": lambda s: s.learning_signal,
        "best_joint": lambda s: float(s.completion.sum()),
    }
    for how, value in by.items():
        chosen = choose(policy, candidates, how, 0)
        for group, c in zip(candidates, chosen, strict=True):
            values = [value(s) for s in score(policy, [p.scored for p, _ in group])]
            assert c.positive is group[c.place][0]
            assert values[c.place] == max(values)
        # The control: it is not the first in all.
        assert any(c.place for c in chosen)


def test_another_sample_with_the_first_text_is_no_other_text(policy: Policy, candidates: list[list[Graded]]) -> None:
    first = candidates[0][0]
    draws = [choose(policy, [[first, first]], "posterior", seed)[0] for seed in range(20)]
    assert {c.place for c in draws} == {0, 1}
    assert all(c.first_text for c in draws)
    # The control: what is likeliest is mostly another text.
    likeliest = choose(policy, candidates, "best_joint", 0)
    texts = [group[c.place][0].text == group[0][0].text for group, c in zip(candidates, likeliest, strict=True)]
    assert [c.first_text for c in likeliest] == texts
    assert not all(texts)


def weights_of(policy: Policy, group: list[Graded]) -> np.ndarray:
    """w = pi(c|q) pi(a*|q, c) / mu(c|q, a*), from scores of one text at a time."""
    logs = []
    for p, _ in group:
        (plain,), prompted = score(policy, [p.scored]), score_prompted(policy, [p])[p.scored.key]
        logs.append(plain.completion[: p.scored.cot].sum() + plain.answer.sum() - prompted.sum())
    w = np.exp(np.array(logs) - max(logs))
    return w / w.sum()


def test_the_posterior_is_drawn_by_its_weights(policy: Policy, candidates: list[list[Graded]]) -> None:
    weights = [weights_of(policy, group) for group in candidates]
    # One whose weights are neither all alike nor all with one sample.
    at = int(np.argmin([abs(w.max() - 0.6) for w in weights]))
    assert 0.2 < weights[at].max() < 0.95
    group, w = candidates[at], weights[at]
    draws = [choose(policy, [group], "posterior", seed)[0] for seed in range(300)]
    counts = Counter(c.place for c in draws)
    shares = np.array([counts[i] / len(draws) for i in range(K)])
    # Five standard errors of a share.
    assert (np.abs(shares - w) <= 5 * np.sqrt(w * (1 - w) / len(draws)) + 1e-9).all()
    # The control: an even draw is refuted by the same bound.
    assert (np.abs(shares - 1 / K) > 5 * np.sqrt((1 / K) * (1 - 1 / K) / len(draws))).any()
    assert draws[0].effective_samples == pytest.approx(1 / (w**2).sum(), rel=1e-4)
    assert draws[0].weight_entropy == pytest.approx(-(w[w > 0] * np.log(w[w > 0])).sum(), rel=1e-3, abs=1e-6)
    assert draws[0].candidates == K
    # The same seed draws the same, whatever the other problems are.
    chosen = choose(policy, candidates, "posterior", 3)
    assert chosen[at].place == draws[3].place


def test_all_are_learnt_by_their_weights(policy: Policy, candidates: list[list[Graded]]) -> None:
    chosen = choose(policy, candidates, "weighted", 0)
    for group in candidates:
        of = [c for c in chosen if c.positive.problem.id == group[0][0].problem.id]
        w = weights_of(policy, group)
        np.testing.assert_allclose([c.weight for c in of], [w[c.place] for c in of], rtol=1e-4)
        assert sum(c.weight for c in of) == pytest.approx(1)
        assert [c.positive for c in of] == [group[c.place][0] for c in of]
    assert len(chosen) > len(candidates)


@pytest.mark.parametrize("how", CHOICES)
def test_an_empty_explanation_may_be_chosen(policy: Policy, candidates: list[list[Graded]], how: str) -> None:
    problem = candidates[0][0][0].problem
    empty, alone = (
        from_sample(policy, problem, "explanation", k, problem.answer, Completion(policy.end, False), ChainChecker())
        for k in (K, K + 1)
    )
    assert empty.scored.cot == 0
    chosen = choose(policy, [[(empty, None), *candidates[0]], [(alone, None)]], how, 0)
    assert chosen[-1].positive is alone
    if how == "weighted":
        w = weights_of(policy, [(empty, None), *candidates[0]])
        np.testing.assert_allclose([c.weight for c in chosen[:-1]], [w[c.place] for c in chosen[:-1]], rtol=1e-4)
    assert chosen[-1].weight == 1
    assert chosen[-1].effective_samples in (None, 1.0)
    assert mask_tokens(policy, [empty], "least_moved")[0] == [True] * len(empty.scored.completion)


def test_one_candidate_has_all_the_weight(policy: Policy, candidates: list[list[Graded]]) -> None:
    (chosen,) = choose(policy, [candidates[0][:1]], "posterior", 0)
    assert (chosen.place, chosen.candidates) == (0, 1)
    assert (chosen.effective_samples, chosen.weight_entropy) == (1.0, 0.0)
    assert choose(policy, [], "posterior", 0) == []


def test_the_halves_of_a_cot_are_told_apart_by_what_the_hint_moves(
    policy: Policy, candidates: list[list[Graded]]
) -> None:
    positives = [p for p, _ in candidates[0]]
    assert mask_tokens(policy, positives, "all") == [None] * K
    least, most = (mask_tokens(policy, positives, which) for which in ("least_moved", "most_moved"))
    prompted = score_prompted(policy, positives)
    plain = score(policy, [p.scored for p in positives])
    for p, s, kept, dropped in zip(positives, plain, least, most, strict=True):
        assert kept is not None
        assert dropped is not None
        cot = p.scored.cot
        moved = np.abs(prompted[p.scored.key] - s.completion[:cot])
        assert [a != b for a, b in zip(kept[:cot], dropped[:cot], strict=True)] == [True] * cot
        assert sum(kept[:cot]) == (cot + 1) // 2
        assert moved[np.array(kept[:cot])].max() <= moved[np.array(dropped[:cot])].min()
        # Cue, answer and end token are in both.
        assert kept[cot:] == dropped[cot:] == [True] * (len(p.scored.completion) - cot)
        assert len(kept) == len(p.scored.completion)
    (half,) = mask_tokens(policy, positives[:1], "random_half")
    assert half == mask_tokens(policy, positives[:1], "random_half")[0]
    cot = positives[0].scored.cot
    assert half is not None
    assert sum(half[:cot]) == (cot + 1) // 2
    assert all(half[cot:])
    assert half not in (least[0], most[0])
    # The control: the hint moves some more than others.
    assert any(
        np.ptp(prompted[p.scored.key] - s.completion[: p.scored.cot]) > 0.01
        for p, s in zip(positives, plain, strict=True)
    )


@pytest.mark.parametrize("which", ["least_moved", "most_moved", "random_half"])
@pytest.mark.parametrize("algorithm", ["grpo", "sft"])
def test_tokens_that_do_not_count_are_not_learnt(which: str, algorithm: str, tmp_path: Path) -> None:
    values = {**VALUES, "max_steps": 2, "eval_steps": 2, "gradient_problems": 0, "refresh_steps": 0}
    if algorithm == "sft":
        values = {k: v for k, v in values.items() if k != "num_generations"} | {"algorithm": "sft"}
    run = train(read_recipe({**values, "positive_tokens": which}), tmp_path / "run", progress=False)
    positives = run.read("positives")
    for row in positives.itertuples():
        assert len(row.mask) == len(row.ids)
        assert sum(row.mask) < len(row.ids)
    whole = train(read_recipe(values), tmp_path / "whole", progress=False)
    assert whole.read("positives")["mask"].isna().all()
    pd.testing.assert_series_equal(whole.read("positives")["text"], positives["text"])
    # The control: they are learnt otherwise.
    first, second = (
        r.read("metrics").query("name.str.contains('loss')", engine="python")["value"].iloc[0] for r in (run, whole)
    )
    assert first != second


@pytest.mark.parametrize("how", CHOICES[1:])
def test_a_training_says_how_its_positives_were_chosen(how: str, tmp_path: Path) -> None:
    values = {**VALUES, "max_steps": 2, "eval_steps": 2, "gradient_problems": 0, "refresh_steps": 0}
    recipe = read_recipe({**values, "positive_choice": how, "positive_tries": 4, "temperature": 1.0})
    run = train(recipe, tmp_path / "run", progress=False)
    positives = run.read("positives")
    assert positives["candidates"].between(1, 4).all()
    assert (positives["place"] < positives["candidates"]).all()
    assert positives["place"].max() > 0
    by_weight = how in ("posterior", "weighted")
    assert positives["effective_samples"].notna().all() == by_weight
    assert (positives["problem"].duplicated().any()) == (how == "weighted")
    np.testing.assert_allclose(positives.groupby("problem")["weight"].sum().astype(float), 1, rtol=1e-6)
    said = show(run)
    assert ("positives all of 4 samples" if how == "weighted" else f"positives chosen by {how} of") in said
    assert ("effective sample size" in said) == by_weight
    # A problem counts once, whatever the number of its texts.
    scored = run.read("metrics").query("name == 'exp_sft/scored'")["value"]
    np.testing.assert_allclose(scored, scored.round(), atol=1e-5)


def chosen(rows: list[tuple[str, int, list[int], float, int, float]], how: str) -> str:
    """What is said of positives: problem, place, ids, weight, candidates, effective samples."""
    table = [
        {"step": 0, "problem": problem, "place": place, "ids": ids, "weight": weight}
        | {"candidates": of, "effective_samples": worth, "weight_entropy": np.log(worth)}
        for problem, place, ids, weight, of, worth in rows
    ]
    return "\n".join(_chosen(as_frame("positives", table), {"positive_choice": how, "positive_tries": 4}))


def test_the_record_says_how_often_a_choice_differs_from_the_first() -> None:
    """Of all by weight the text with most of it, and each problem once, whatever the number of its texts."""
    weighted = [
        # Four times the same text.
        *[("alike", i, [5, 6], 0.25, 4, 4.0) for i in range(4)],
        # Three times the first text, together more than the heaviest sample.
        *[("together", i, [5, 6], 0.2, 4, 3.6) for i in range(3)],
        ("together", 3, [7], 0.4, 4, 3.6),
        # The first weighs next to nothing, and is not there.
        ("without", 1, [8], 1.0, 2, 1.0),
        # Two texts with the same weight, of which the first comes first.
        ("tied", 0, [9, 9], 0.5, 2, 2.0),
        ("tied", 1, [8], 0.5, 2, 2.0),
    ]
    said = chosen(weighted, "weighted")
    assert said.startswith("positives all of 4 samples learnt with weights:\n  step 0: n = 4 problems, 3.0 acceptable")
    assert "differs from the first sample in 25% of problems; effective sample size 2.65 [" in said
    assert f"entropy of the weights {np.mean(np.log([4, 3.6, 1, 2])):.3g} [" in said
    # In any order of the rows; and the control, where another text weighs more.
    assert chosen(weighted[::-1], "weighted") == said
    assert "in 50% of problems" in chosen([*weighted, ("together", 4, [7], 0.4, 4, 3.6)], "weighted")
    drawn = [("a", 0, [5], 1.0, 4, 2.0), ("b", 2, [5], 1.0, 4, 2.0), ("c", 0, [7], 1.0, 1, 1.0)]
    # Records of before do not say whether the text is another one.
    assert "3.0 acceptable samples each; a sample other than the first in 33% of" in chosen(drawn, "posterior")
    same = as_frame(
        "positives", [{"problem": "b", "place": 2, "first_text": True}, {"problem": "c", "first_text": False}]
    )
    assert _moved(same, "posterior") == "a text other than the first in 50%"


def of_algorithm(algorithm: str) -> dict[str, Any]:
    """A recipe that says nothing of temperatures."""
    values = {k: v for k, v in VALUES.items() if algorithm == "grpo" or k != "num_generations"}
    return {**values, "algorithm": algorithm, "refresh_steps": 0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"positive_choice": "best"}, "positive_choice: unknown choice 'best'; choose from first, posterior"),
        ({"positive_choice": "right"}, r"for right ones, set positive_filter: \[right\]"),
        (
            {"positive_choice": "best_signal", "positive": "expert", "refresh_steps": 0},
            r"positive_choice applies to sampled positives \(.*\), not to expert; leave it out",
        ),
        (
            {"positive_choice": "best_signal", "positive_data": "x", "refresh_steps": 0, "positive_tries": 1},
            "positive_choice: positives from positive_data are not sampled; leave it out",
        ),
        (
            {"positive_tokens": "least_moved", "positive_data": "x", "refresh_steps": 0, "positive_tries": 1},
            "positive_tokens: positives from positive_data are learnt whole; leave it out",
        ),
        *(
            (
                {"positive_choice": how, "positive_tries": 1, "temperature": 1.0},
                f"positive_choice {how}: nothing to choose with one sample; set positive_tries to at least 2, or",
            )
            for how in CHOICES[1:]
        ),
        ({"positive_choice": "posterior", "positive": "nonsense"}, "only explanations have weights, not nonsense"),
        ({"positive_choice": "posterior", "temperature": 0.9}, r"not 0\.9; set positive_temperature: 1\.0"),
        ({"positive_choice": "posterior", "positive_temperature": 0.5}, "not 0.5"),
        (
            {**of_algorithm("sft"), "positive_choice": "weighted", "positive_tries": 4},
            "positive_choice weighted: only for grpo; sft learns one text per problem",
        ),
        (
            {"positive_tokens": "half"},
            "positive_tokens: unknown value 'half'; choose from all, least_moved, most_moved, random_half",
        ),
        ({"positive_tokens": "most_moved", "positive": "own_correct"}, "applies only to texts with a hint"),
        (
            {**of_algorithm("dpo"), "positive_tokens": "most_moved"},
            "positive_tokens: dpo compares whole texts",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe(values if "algorithm" in values else {**VALUES, "positive_tries": 4, **values})


@pytest.mark.parametrize(("algorithm", "usual"), [("grpo", 1.0), ("dpo", 0.9), ("sft", 0.9)])
def test_weights_are_of_samples_at_temperature_one(algorithm: str, usual: float) -> None:
    """Whichever temperature the algorithm samples at unless it is told."""
    values = {**of_algorithm(algorithm), "positive_choice": "posterior", "positive_tries": 2}
    assert settings_of(algorithm, read_recipe(of_algorithm(algorithm)).trl, "explanation", "x").temperature == usual
    for given, temperature in (({}, usual), ({"temperature": 1.0}, 1.0), ({"temperature": 0.5}, 0.5)):
        if temperature == 1:
            read_recipe({**values, **given})
            continue
        with pytest.raises(ValueError, match=f"not {temperature}; set positive_temperature: 1.0"):
            read_recipe({**values, **given})
        read_recipe({**values, **given, "positive_temperature": 1.0})
