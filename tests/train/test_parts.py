"""What several texts with weights and masks add to GRPO's loss, against sums that are written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer

from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.tasks.chain_task import CHAIN
from expo.train.exp_grpo import ExPGRPOTrainer
from tests.train.test_exp_grpo import PROBLEMS, by_place, config, rows_of, trained

BETA = 0.5


@pytest.fixture
def toy() -> Policy:
    return load_policy("tiny-0", CHAIN)


def of_tokens(policy: Policy, prompt: str, ids: list[int]) -> torch.Tensor:
    """log pi of each token of a text after its prompt, at temperature 1."""
    before = policy.encode(prompt)
    with torch.no_grad():
        log_probs = policy.model(torch.tensor([before + ids])).logits[0].log_softmax(-1)
    return log_probs[len(before) - 1 : -1].gather(-1, torch.tensor(ids)[:, None])[:, 0]


def added(policy: Policy, folder: Path, rows: Dataset, monkeypatch: pytest.MonkeyPatch, **more: Any) -> float:
    """What one step's losses are above those of GRPO, which are computed by TRL on the way."""
    losses: dict[type, list[float]] = {}
    for cls in (GRPOTrainer, ExPGRPOTrainer):

        def noted(*args: Any, cls: type = cls, of: Any = cls.compute_loss, **kwargs: Any) -> torch.Tensor:
            loss: torch.Tensor = of(*args, **kwargs)
            losses.setdefault(cls, []).append(loss.item())
            return loss

        monkeypatch.setattr(cls, "compute_loss", noted)
    trained(policy, config(folder, beta_sft=BETA, learning_rate=0.0, **more), rows, by_place)
    monkeypatch.undo()
    assert len(losses[GRPOTrainer]) == len(losses[ExPGRPOTrainer]) > 0
    return sum(losses[ExPGRPOTrainer]) - sum(losses[GRPOTrainer])


@pytest.mark.parametrize("normalization", ["sequence", "token"])
@pytest.mark.parametrize(("batch", "accumulated"), [(32, 1), (8, 4)])
def test_each_text_counts_by_its_weight(
    toy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normalization: str, batch: int, accumulated: int
) -> None:
    """beta / P times the sum of w_i log pi_i: of three texts, of two of which one has a mask, and of one alone."""
    rows = rows_of(toy)
    prompts, (a, b, c, *_) = rows["prompt"], rows["positive"]
    odd = [i % 2 == 1 for i in range(len(a))]
    positives: list[list[dict[str, Any]] | None] = [
        [{"ids": a, "weight": 0.7}, {"ids": b, "weight": 0.2}, {"ids": c, "weight": 0.1}],
        [{"ids": b, "weight": 0.4}, {"ids": a, "weight": 0.6, "mask": odd}],
        [{"ids": c}],
        *[None] * (PROBLEMS - 3),
    ]
    total = 0.0
    for prompt, texts in zip(prompts, positives, strict=True):
        for text in texts or ():
            counted = of_tokens(toy, prompt, text["ids"])[torch.tensor(text.get("mask") or [True] * len(text["ids"]))]
            total += text.get("weight", 1.0) * float(counted.sum() if normalization == "sequence" else counted.mean())
    given = rows.remove_columns("positive").add_column("positive", positives)
    more = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated}
    found = added(toy, tmp_path, given, monkeypatch, **more, sft_normalization=normalization)
    assert found == pytest.approx(-BETA / PROBLEMS * total, rel=1e-5)


@pytest.mark.parametrize("normalization", ["sequence", "token"])
def test_a_masked_text_counts_by_its_counted_tokens_alone(
    toy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normalization: str
) -> None:
    rows = rows_of(toy)
    (prompt, *_), (ids, *_) = rows["prompt"], rows["positive"]
    of_each = of_tokens(toy, prompt, ids)
    found = []
    for mask in ([i < 3 for i in range(len(ids))], [i >= 3 for i in range(len(ids))]):
        positives = [[{"ids": ids, "mask": mask}], *[None] * (PROBLEMS - 1)]
        given = rows.remove_columns("positive").add_column("positive", positives)
        found.append(added(toy, tmp_path, given, monkeypatch, sft_normalization=normalization))
    wanted = [of_each[:3], of_each[3:]]
    values = [float(of.sum() if normalization == "sequence" else of.mean()) for of in wanted]
    assert found == pytest.approx([-BETA / PROBLEMS * value for value in values], rel=1e-5)
    # The control: the halves are not alike.
    assert abs(found[0] - found[1]) > 0.01
