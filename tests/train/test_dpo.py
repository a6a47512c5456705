"""ExP-DPO: its pairs, its rounds, and that TRL's own trainer does the rest."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from trl import DPOTrainer

from expo.policies.load import DTYPES, load_policy
from expo.policies.policy import Policy
from expo.policies.scoring import Sample, score
from expo.positives.closing import question_ids
from expo.records import Run
from expo.study import STUDIES
from expo.tasks import chain, checker_for
from expo.tasks.chain_task import CHAIN
from expo.train import rounds as rounds_module
from expo.train import supply as supply_module
from expo.train.dpo import restore
from expo.train.pairs import in_order, make_pairs, order
from expo.train.positives import make
from expo.train.recipe import read_recipe
from expo.train.run import train
from expo.train.show import show
from tests.conftest import build
from tests.train.kills import fork, kill_and_go_on, same

VALUES = {
    "algorithm": "dpo",
    "task": "chain",
    "policy": "tiny-0",
    "levels": [4, 5],
    "problems": 24,
    "eval_problems": 10,
    "eval_samples": 2,
    "probe_problems": 3,
    "gradient_problems": 2,
    "gradient_rollouts": 4,
    "refresh_steps": 4,
    "max_steps": 8,
    "save_steps": 2,
    "eval_steps": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_completion_length": 100,
    "learning_rate": 3e-4,
    "gradient_checkpointing": False,
    "seed": 1,
}
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(read_recipe(dict(VALUES)), tmp_path_factory.mktemp("whole") / "run", progress=False)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tiny-0", CHAIN)


def log_probs(policy: Policy, run: Run, pairs: pd.DataFrame, side: str) -> np.ndarray:
    problems = {p.id: p for p in chain.load("train", 24, levels=[4, 5], seed=1).problems}
    samples = []
    for p in pairs.to_dict("records"):
        ids = tuple(int(i) for i in p[f"{side}_ids"])
        prompt = tuple(question_ids(policy, problems[p["problem"]]))
        samples.append(Sample(p["problem"], prompt, ids, len(ids) - 1, (), ids[-1:]))
    return np.array([-s.nll_sum for s in score(policy, samples)])


def test_losers_keep_the_temperature_of_the_policy_s_own_samples(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"winners": set(), "losers": set()}  # type: ignore[var-annotated]

    def spied(name: str, function: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            seen[name].add(more["temperature"])
            return function(*args, **more)

        return call

    monkeypatch.setattr(supply_module, "make", spied("winners", make))
    monkeypatch.setattr(supply_module, "make_pairs", spied("losers", make_pairs))
    few = {"max_steps": 2, "refresh_steps": 0, "gradient_problems": 0, "eval_problems": 1}
    run = train(read_recipe({**VALUES, **few, "positive_temperature": 0.5}), tmp_path / "run", progress=False)
    assert seen == {"winners": {0.5}, "losers": {0.9}}
    assert run.has("pairs")


def test_metrics_to_be_watched_have_each_step_of_all_rounds_once(whole: Run) -> None:
    lines = whole.path("metrics.jsonl").read_text(encoding="utf-8").splitlines()
    said = [json.loads(line) for line in lines]
    assert [line["step"] for line in said if "loss" in line] == list(range(1, 9))
    accuracies = [line["step"] for line in said if "eval_accuracy" in line]
    assert accuracies == sorted(whole.read("evaluation")["step"].unique())


def test_pairs_are_sampled_anew_each_round_and_the_reference_stays(whole: Run, policy: Policy) -> None:
    pairs = whole.read("pairs")
    assert sorted(pairs["step"].unique()) == [0, 4]
    trained = load_policy(str(whole.path("model")), CHAIN)
    for side in ("winner", "loser"):
        for _, held in pairs.groupby("step"):
            scored = log_probs(policy, whole, held, side)
            np.testing.assert_allclose(held[f"ref_{side}"].to_numpy(float), scored, atol=1e-3)
        # Were it the policy of the time, this would not be so.
        assert np.abs(log_probs(trained, whole, pairs, side) - pairs[f"ref_{side}"].to_numpy(float)).max() > 1
    winners, first = pairs[pairs["step"] == 4], pairs[pairs["step"] == 0].set_index("problem")
    again = [p for p in winners.to_dict("records") if p["problem"] in first.index]
    assert any(p["winner"] != first.loc[p["problem"], "winner"] for p in again)
    assert (pairs["winner"].str.contains("<ans>")).all()
    assert not whole.has("groups")


def test_trl_logs_what_the_pairs_say(whole: Run) -> None:
    metrics = whole.read("metrics").pivot(index="step", columns="name", values="value")
    assert metrics.loc[1, "loss"] == pytest.approx(math.log(2), abs=1e-5)
    margins = whole.read("margins")
    assert set(zip(margins["step"], margins["sampled"], strict=True)) == {(0, 0), (4, 0), (8, 0), (8, 4)}
    before = margins[margins["step"] == 0]
    np.testing.assert_allclose(before["winner"].to_numpy(float), before["ref_winner"].to_numpy(float), atol=1e-3)
    after = margins[margins["step"] == 8]
    assert np.abs(after["winner"].to_numpy(float) - after["ref_winner"].to_numpy(float)).max() > 0.1
    assert metrics["learning_rate"].is_monotonic_decreasing


def test_gradients_are_measured_on_problems_of_the_first_round(whole: Run) -> None:
    alignment, first = whole.read("alignment"), whole.read("positives", "000000").set_index("problem")["ids"]
    assert set(alignment["step"]) == {0, 4, 8}
    assert alignment["problem"].nunique() == 2
    assert set(alignment["problem"]) <= set(first.index)
    winners = alignment[(alignment["source"] == "explanation") & (alignment["step"] == 0)].set_index("problem")["ids"]
    assert len(winners) == 2
    assert all(list(ids) == list(first[problem]) for problem, ids in winners.items())
    assert (whole.read("gradients")["norm"] > 0).all()


def test_pairs_and_right_losers_are_counted(whole: Run) -> None:
    pairs = whole.read("pairs")
    for step in (0, 4):
        held = pairs[pairs["step"] == step]
        right = int((held["loser_status"] == "correct").sum())
        assert f"pairs sampled at step {step}: {len(held)}, of which {right} have a right loser" in show(whole)


def test_one_optimizer_and_schedule_go_through_all_rounds(whole: Run) -> None:
    held = torch.load(whole.path("checkpoints", "checkpoint-8", "optimizer.pt"), weights_only=True)
    assert {int(s["step"]) for s in held["state"].values()} == {8}


def test_a_pair_is_learnt_by_its_own_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Policy) -> None:
    seen = []
    usual = DPOTrainer.compute_loss

    def seeing(self: DPOTrainer, model: object, inputs: dict[str, torch.Tensor], **kwargs: object) -> object:
        seen.append(inputs)
        assert type(self) is DPOTrainer
        assert self.ref_model is None
        return usual(self, model, inputs, **kwargs)

    monkeypatch.setattr(DPOTrainer, "compute_loss", seeing)
    values = {**VALUES, "refresh_steps": 0, "max_steps": 3, "save_steps": 3, "gradient_accumulation_steps": 1}
    run = train(read_recipe(values), tmp_path / "run", progress=False)
    pairs = run.read("pairs")
    assert pairs["step"].eq(0).all()
    problems = chain.load("train", 24, levels=[4, 5], seed=1).problems
    # 24 problems, 12 places: the first half of an epoch, as the seed shuffles it.
    shuffled = list(problems)
    random.Random("1:0").shuffle(shuffled)
    held = pairs.set_index("problem", drop=False)
    names = [p.id for p in shuffled[:12] if p.id in held.index]
    assert len(names) > 9
    expected = held.loc[(names + names)[:12]]
    at = {p.id: p for p in problems}
    for step, inputs in enumerate(seen):
        for side, half in zip(("winner", "loser"), inputs["input_ids"].chunk(2), strict=True):
            mask = inputs["attention_mask"].chunk(2)[side == "loser"].bool()
            for row, kept, (_, pair) in zip(half, mask, expected.iloc[4 * step : 4 * step + 4].iterrows(), strict=True):
                prompt = question_ids(policy, at[pair["problem"]])
                assert row[kept].tolist() == [*prompt, *map(int, pair[f"{side}_ids"])]
    assert len(seen) == 3


STOPS = ["pairs 4", *(pytest.param(at, marks=slow) for at in ("end", "pairs 0", "step 1", "step 4", "step 6"))]


@pytest.mark.parametrize("stopped_at", STOPS)
def test_a_run_stopped_anywhere_ends_the_same(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    from expo.train import run as run_module
    from expo.train.callbacks import Recorder

    kind, _, number = stopped_at.partition(" ")
    owner, name = {
        "pairs": (rounds_module, "in_order"),
        "step": (Recorder, "on_step_begin"),
        "end": (run_module, "join_tables"),
    }[kind]
    usual = getattr(owner, name)

    def stopping(*args: object, **kwargs: object) -> object:
        at = {
            "pairs": lambda: str(args[0]["step"].iloc[0]),  # type: ignore[index]
            "step": lambda: str(args[2].global_step),  # type: ignore[attr-defined]
            "end": lambda: "",
        }[kind]()
        if at == number:
            raise KeyboardInterrupt
        return usual(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping)
        with pytest.raises(KeyboardInterrupt):
            train(read_recipe(dict(VALUES)), tmp_path / "run", progress=False)
    assert not Run(tmp_path / "run").has("evaluation")
    same(whole, train(read_recipe(dict(VALUES)), tmp_path / "run", progress=False))


@slow
def test_a_killed_run_goes_on(whole: Run, tmp_path: Path) -> None:
    kill_and_go_on(fork, VALUES, whole, tmp_path)


def winners(policy: Policy, problems: tuple, kind: str) -> pd.DataFrame:
    with_checker = checker_for("chain")
    frame, _ = make(policy, with_checker, problems, problems, kind, tries=1, temperature=0.9, max_new_tokens=60, seed=0)
    return frame


def pairs_of(policy: Policy, problems: tuple, positives: pd.DataFrame, **more: object) -> tuple:
    settings = {"right_losers": True, "tries": 1, "temperature": 0.9, "max_new_tokens": 60, "seed": 0, "step": 0}
    return make_pairs(policy, checker_for("chain"), problems, positives, **{**settings, **more})  # type: ignore[arg-type]


def test_losers_that_are_right_are_kept_or_dropped_and_counted(policy: Policy) -> None:
    easy = chain.load("train", 12, levels=[1]).problems
    held = winners(policy, easy, "answer")
    kept, missing = pairs_of(policy, easy, held)
    assert len(kept) == 12
    assert not missing
    assert (kept["loser_status"] == "correct").sum() == kept["right"].sum() > 6
    wrong, missing = pairs_of(policy, easy, held, right_losers=False, tries=2)
    assert len(wrong) + len(missing) == 12
    assert not (wrong["loser_status"] == "correct").any()
    assert {s.reason for s in missing} == {"no sample is wrong (2 samples): no loser, no pair"}
    assert {s.field for s in missing} == {"loser"}


def test_a_winner_that_is_its_loser_is_no_pair(policy: Policy) -> None:
    easy = chain.load("train", 4, levels=[1]).problems
    held = winners(policy, easy, "answer")
    losers, _ = pairs_of(policy, easy, held)
    held["ids"] = losers["loser_ids"].to_numpy()
    found, missing = pairs_of(policy, easy, held)
    assert not len(found)
    assert {s.reason for s in missing} == {"winner and loser are the same: no pair"}


def test_the_bare_answer_has_no_cot(policy: Policy) -> None:
    (p,) = chain.load("train", 1, levels=[2]).problems
    held = winners(policy, (p,), "answer")
    assert held["text"].tolist() == [f"<ans> {p.answer}"]
    assert held["cot_tokens"].tolist() == [0]


def test_missing_pairs_are_made_up_by_those_of_the_round() -> None:
    problems = chain.load("train", 4, levels=[1]).problems
    a, b, c, d = problems
    pairs = pd.DataFrame({"problem": [c.id, a.id, d.id]})
    # b has none.
    assert in_order(pairs, [b, a, d, c, a, b])["problem"].tolist() == [a.id, d.id, c.id, a.id, a.id, d.id]


def test_the_order_goes_through_all_problems_before_it_repeats_one() -> None:
    problems = chain.load("train", 4, levels=[1]).problems
    found = order(problems, 10, 0)
    assert {p.id for p in found[:4]} == {p.id for p in found[4:8]} == {p.id for p in problems}
    assert found[:4] != found[4:8]
    assert found == order(problems, 20, 0)[:10]
    assert found != order(problems, 10, 1)


@slow
def test_what_was_logged_in_a_round_is_kept_and_skips_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"refresh_steps": 3, "max_steps": 6, "logging_steps": 4, "save_steps": 4, "eval_steps": 6}
    values = {**VALUES, **more, "levels": [1, 5], "right_losers": False}
    uninterrupted = train(read_recipe(dict(values)), tmp_path / "whole", progress=False)
    losses = uninterrupted.read("metrics").query("name == 'loss'")
    assert losses["step"].tolist() == [3, 4, 6]
    skips = uninterrupted.read("skips")
    assert "loser" in set(skips["field"])
    usual = Run.write

    def stopping(self: Run, table: str, frame: pd.DataFrame, part: str | None = None) -> None:
        if table == "pairs" and part == "000003":
            raise KeyboardInterrupt
        usual(self, table, frame, part)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(read_recipe(dict(values)), tmp_path / "run", progress=False)
    again = train(read_recipe(dict(values)), tmp_path / "run", progress=False)
    same(uninterrupted, again)


def none_later(*args: Any, **kwargs: Any) -> Any:
    found, missing = make_pairs(*args, **kwargs)
    return (found.iloc[:0], missing) if kwargs["step"] else (found, missing)


@pytest.fixture(scope="module")
def one_round(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose second round has no pair."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supply_module, "make_pairs", none_later)
        return train(read_recipe(dict(VALUES)), tmp_path_factory.mktemp("one-round") / "run", progress=False)


def test_a_later_round_without_pairs_ends_the_training(one_round: Run) -> None:
    evaluation = one_round.read("evaluation")
    assert evaluation["step"].max() == 4
    assert one_round.path("model", "model.safetensors").exists()
    told_once(one_round, 4)


def told_once(run: Run, step: int) -> None:
    """What the policy scores at a step is told, and only once."""
    said = [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()]
    (accuracy,) = [line["eval_accuracy"] for line in said if line["step"] == step and "eval_accuracy" in line]
    rows = run.read("evaluation").query("step == @step")
    assert accuracy == pytest.approx(rows["correct"].sum() / rows["n"].sum())


@slow
def test_a_later_round_without_pairs_says_what_it_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no evaluation was due at the step that it ends with."""
    monkeypatch.setattr(supply_module, "make_pairs", none_later)
    run = train(read_recipe({**VALUES, "eval_steps": 3}), tmp_path / "run", progress=False)
    assert set(run.read("evaluation")["step"]) == {0, 3, 4}
    told_once(run, 4)


def test_the_end_token_is_trained_on_though_it_pads(tmp_path: Path) -> None:
    """A policy loaded anew, with a padding token in its settings, would not train that token's row."""
    held = build("llama-tied", dtype=torch.float32)
    held.tokenizer.pad_token = held.tokenizer.eos_token
    assert held.model.get_input_embeddings().padding_idx is None
    held.model.save_pretrained(tmp_path / "one")
    for p in held.model.parameters():
        p.data.add_(1.0)
    trainer_was = held.model
    restore(held, tmp_path / "one")
    assert held.model is trainer_was
    assert held.model.get_input_embeddings().padding_idx is None
    again = build("llama-tied", dtype=torch.float32).model.state_dict()
    assert all(again[name].equal(p) for name, p in held.model.state_dict().items())
    (tmp_path / "two").mkdir()
    with pytest.raises(RuntimeError, match=r"lacks the weights \['model.embed_tokens.weight'"):
        restore(held, tmp_path / "two")


def test_a_round_without_pairs_stops_clearly(tmp_path: Path) -> None:
    values = {**VALUES, "levels": [5], "positive": "own_correct", "problems": 4, "refresh_steps": 0}
    with pytest.raises(
        ValueError,
        match=r"no problem of the round from step 0 has a pair \(4 tried\): all were left out, for example .*000000",
    ):
        train(read_recipe(values), tmp_path / "run", progress=False)


def test_a_later_round_without_pairs_is_told(one_round: Run, whole: Run) -> None:
    assert "ended after step 4 of 8: no problem of the next round had a pair" in show(one_round)
    assert "ended after" not in show(whole)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"positive": "none"}, "positive: dpo learns from positives; choose a kind other than none"),
        ({"loser_tries": 0}, "loser_tries must be at least 1"),
        ({"beta": 0}, "beta must be above 0, or nothing is learnt from a pair; got 0"),
        ({"precompute_ref_log_probs": True}, "precompute_ref_log_probs: pairs are scored before each round anyway"),
        ({"max_length": 30}, "max_length, ld_alpha: the record needs log-probabilities of whole sequences"),
        ({"ld_alpha": 0.5}, "max_length, ld_alpha"),
        ({"eval_strategy": "steps"}, "eval_strategy: a run evaluates before its first step"),
    ],
)
def test_a_wrong_recipe_is_named(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe({**VALUES, **more})


def test_rounds_must_make_up_the_steps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"refresh_steps \(3\) must divide the number of steps \(8\)"):
        train(read_recipe({**VALUES, "refresh_steps": 3}), tmp_path / "run", progress=False)


@pytest.mark.parametrize(("dtype", "moves"), [(None, 1.0), ("bfloat16", 0.0)])
def test_bfloat16_weights_would_round_a_step_of_the_papers_rate_away(dtype: str | None, moves: float) -> None:
    """AdamW moves a weight by about the learning rate; half of bfloat16's spacing at 0.02 is 100 times 5e-7."""
    recipe = read_recipe(yaml.safe_load((STUDIES.parent / "qwen2.5-3b" / "exp-dpo.yaml").read_text(encoding="utf-8")))
    torch.manual_seed(0)
    weight = torch.nn.Parameter((0.02 * torch.randn(10_000)).clamp(-0.06, 0.06).to(DTYPES[dtype or recipe.dtype]))
    weight.data[weight.abs() < 0.002] = 0.01
    before = weight.detach().clone()
    optimizer = torch.optim.AdamW([weight], lr=recipe.trl["learning_rate"])
    for _ in range(10):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
    assert (weight != before).float().mean() == pytest.approx(moves, abs=0.02)
