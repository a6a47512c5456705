"""The added term: its value, its gradient, and nothing else changed; on the toy, through TRL."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trl
from datasets import Dataset
from trl import GRPOTrainer
from trl.trainer import add_fused_lm_head

from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.policies.scoring import Sample, score
from expo.policies.scoring import whole as whole_sample
from expo.positives.kinds import from_expert
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.train.config import check_whole_groups
from expo.train.exp_grpo import ExPGRPOConfig, ExPGRPOTrainer
from expo.train.parts import whole
from expo.train.positives import as_prompt
from tests.conftest import build

G, PROBLEMS = 4, 8


@pytest.fixture
def toy() -> Policy:
    return load_policy("tiny-0", CHAIN)


def rows_of(policy: Policy, kept: int = PROBLEMS) -> Dataset:
    """Problems with their expert CoTs as positives, but for those past the first `kept`."""
    problems = chain.load("train", PROBLEMS, levels=[2, 3]).problems
    ids = [list(from_expert(policy, p, ChainChecker()).scored.completion) for p in problems]
    return Dataset.from_list(
        [
            {"prompt": as_prompt(policy, p), "problem": p.id, "positive": i if n < kept else None}
            for n, (p, i) in enumerate(zip(problems, ids, strict=True))
        ]
    )


def config(folder: Path, **more: Any) -> ExPGRPOConfig:
    usual = {
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "max_steps": 1,
        "per_device_train_batch_size": PROBLEMS * G,
        "num_generations": G,
        "max_completion_length": 12,
        "temperature": 0.7,
        "loss_type": "grpo",
        "shuffle_dataset": False,
        "dataloader_pin_memory": False,
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "seed": 0,
    }
    return ExPGRPOConfig(output_dir=str(folder), **{**usual, **more})


def nothing(completions: list[str], **_: Any) -> list[float]:
    """No reward: GRPO's own gradient is zero."""
    return [0.0] * len(completions)


def by_place(completions: list[str], **_: Any) -> list[float]:
    """A reward that differs within groups, also where their samples are alike."""
    return [float(i % 3) for i in range(len(completions))]


def trained(policy: Policy, args: ExPGRPOConfig, rows: Dataset, reward: Callable[..., list[float]] = nothing) -> Any:
    trainer = ExPGRPOTrainer(policy.model, [reward], args, rows, processing_class=policy.tokenizer)
    trainer.train()
    return trainer


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def weights(policy: Policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in policy.model.parameters()])


def mean_log_prob(policy: Policy, rows: Dataset, normalization: str = "sequence") -> torch.Tensor:
    """Mean over all problems of log pi(positive | prompt), the slow way; without a positive it is 0."""
    total = torch.zeros(())
    for row in rows:
        if row["positive"]:
            prompt = policy.encode(row["prompt"])
            ids = torch.tensor([prompt + row["positive"]])
            log_probs = policy.model(ids).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            one = log_probs.gather(-1, torch.tensor(row["positive"])[:, None]).sum()
            total = total + (one / len(row["positive"]) if normalization == "token" else one)
    return total / len(rows)


def expected_step(policy: Policy, rows: Dataset, rate: float, normalization: str = "sequence") -> torch.Tensor:
    grads = torch.autograd.grad(mean_log_prob(policy, rows, normalization), list(policy.model.parameters()))
    return rate * torch.cat([g.flatten() for g in grads])


def test_without_the_term_it_is_grpo_to_the_last_bit(tmp_path: Path) -> None:
    ends = []
    for cls, beta in ((GRPOTrainer, 0.0), (ExPGRPOTrainer, 0.0), (ExPGRPOTrainer, 1.0)):
        policy = load_policy("tiny-0", CHAIN)
        args = config(tmp_path, beta_sft=beta, max_steps=2, learning_rate=1e-2, max_grad_norm=1.0)
        trainer = cls(policy.model, [by_place], args, rows_of(policy), processing_class=policy.tokenizer)
        trainer.train()
        ends.append(weights(policy))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], weights(load_policy("tiny-0", CHAIN)))
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("normalization", ["sequence", "token"])
@pytest.mark.parametrize(("batch", "accumulated"), [(32, 1), (16, 2), (8, 4), (4, 8)])
def test_one_step_follows_the_gradient_of_the_mean_log_probability(
    toy: Policy, tmp_path: Path, normalization: str, batch: int, accumulated: int
) -> None:
    rows = rows_of(toy, kept=6)
    rate = 1e-3 if normalization == "sequence" else 0.05
    wanted = expected_step(toy, rows, rate, normalization)
    before = weights(toy)
    args = config(
        tmp_path,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulated,
        sft_normalization=normalization,
        learning_rate=rate,
    )
    trainer = trained(toy, args, rows)
    step = weights(toy) - before
    torch.testing.assert_close(step, wanted, atol=2e-6, rtol=1e-3)
    assert logged(trainer, "exp_sft/scored") == [6.0]
    # A term at the temperature of sampling, or one counted for each sample of a group, would be far off.
    assert not torch.allclose(step, wanted * G, atol=2e-6, rtol=1e-2)


def test_the_logged_nll_is_that_of_scoring_at_temperature_one(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy)
    samples = [Sample(r["problem"], tuple(toy.encode(r["prompt"])), tuple(r["positive"]), 0, (), (1,)) for r in rows]
    scores = score(toy, samples)
    trainer = trained(toy, config(tmp_path, learning_rate=0.0), rows)
    nll = sum(s.nll_sum for s in scores) / len(scores)
    assert logged(trainer, "exp_sft/nll") == pytest.approx([nll], rel=1e-5)
    assert logged(trainer, "exp_sft/loss") == pytest.approx([nll], rel=1e-5)
    tokens = sum(len(s.completion) for s in samples)
    assert logged(trainer, "exp_sft/nll_per_token") == pytest.approx([nll * len(scores) / tokens], rel=1e-5)
    assert logged(trainer, "loss") == pytest.approx([nll], rel=1e-5)


def test_a_batch_without_positives_adds_exactly_nothing(toy: Policy, tmp_path: Path) -> None:
    # One problem a step; only the first has a positive.
    args = config(tmp_path, per_device_train_batch_size=G, max_steps=3, learning_rate=0.0)
    trainer = trained(toy, args, rows_of(toy, kept=1))
    assert logged(trainer, "exp_sft/scored") == [1.0, 0.0, 0.0]
    assert logged(trainer, "loss")[1:] == [0.0, 0.0]
    assert len(logged(trainer, "exp_sft/nll")) == 1


def test_each_problem_counts_once_when_a_generation_serves_many_steps(toy: Policy, tmp_path: Path) -> None:
    args = config(
        tmp_path,
        per_device_train_batch_size=8,
        steps_per_generation=4,
        num_iterations=2,
        max_steps=8,
        learning_rate=0.0,
    )
    scored = logged(trained(toy, args, rows_of(toy)), "exp_sft/scored")
    assert [sum(scored[:4]), sum(scored[4:])] == [PROBLEMS, PROBLEMS]
    assert max(scored[:4]) < PROBLEMS


def test_only_failed_groups_where_asked(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy)
    solved = set(rows["problem"][:3])

    def some(completions: list[str], problem: list[str], **_: Any) -> list[float]:
        return [float(p in solved) for p in problem]

    args = config(tmp_path, sft_failed_groups_only=True, learning_rate=0.0)
    assert logged(trained(toy, args, rows, some), "exp_sft/scored") == [PROBLEMS - 3.0]


def test_the_weight_is_annealed(toy: Policy, tmp_path: Path) -> None:
    betas = {}
    for shape in ("constant", "linear", "cosine"):
        args = config(tmp_path, per_device_train_batch_size=G, max_steps=4, beta_sft=2.0, beta_sft_schedule=shape)
        args.learning_rate = 0.0
        betas[shape] = logged(trained(toy, args, rows_of(toy)), "exp_sft/beta")
    assert betas["constant"] == [2.0] * 4
    assert betas["linear"] == pytest.approx([2.0, 1.5, 1.0, 0.5])
    assert betas["cosine"] == pytest.approx([2.0, 1 + 2**-0.5, 1.0, 1 - 2**-0.5])


def test_gradient_norms_are_logged_on_request(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy)
    norm = float(expected_step(toy, rows, 1.0).norm())
    args = config(tmp_path, max_steps=3, learning_rate=0.0, sft_grad_norm_steps=2)
    trainer = trained(toy, args, rows, by_place)
    assert logged(trainer, "exp_sft/grad_norm") == pytest.approx([norm, norm], rel=1e-4)
    assert all(0 < x < norm for x in logged(trainer, "exp_sft/policy_grad_norm"))


def test_the_policy_terms_norm_is_logged_without_a_positive_too(toy: Policy, tmp_path: Path) -> None:
    args = config(tmp_path, per_device_train_batch_size=G, max_steps=2, learning_rate=0.0, sft_grad_norm_steps=1)
    trainer = trained(toy, args, rows_of(toy, kept=1), by_place)
    # One problem a step; only the first has a positive, so that the second's norm is that of the policy term alone.
    assert logged(trainer, "exp_sft/scored") == [1, 0]
    assert len(logged(trainer, "exp_sft/grad_norm")) == 1
    both, alone = logged(trainer, "grad_norm")
    assert logged(trainer, "exp_sft/policy_grad_norm")[1:] == pytest.approx([alone], rel=1e-4)
    assert 0 < alone < both


@pytest.mark.parametrize(("norms", "is_more"), [(0, False), (1, True)])
def test_a_step_reads_no_more_of_its_tensors_than_trl_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, norms: int, is_more: bool
) -> None:
    """Each read waits for a GPU. Prompts are read by micro-batch, once a generation, and metrics once a log."""
    reads: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        read = getattr(torch.Tensor, name)

        def reading(self: torch.Tensor, *args: Any) -> Any:
            reads[name] += 1
            return read(self, *args)

        return reading

    # Not `__bool__`: with it transformers looks at the mask of each pass.
    for name in ("item", "tolist", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    found = []
    for beta in (0.0, 1.0):
        policy = load_policy("tiny-0", CHAIN)
        args = config(
            tmp_path,
            beta_sft=beta,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=4,
            sft_grad_norm_steps=norms,
        )
        trainer = ExPGRPOTrainer(policy.model, [by_place], args, rows_of(policy), processing_class=policy.tokenizer)
        reads.clear()
        trainer.train()
        found.append(dict(reads))
    plain, both = found
    # Ids and mask of four micro-batches, and one log.
    plain["tolist"] += 2 * 4 + 1
    # The control: gradient norms are read one by one.
    assert (both != plain) == is_more


def test_a_pass_that_keeps_processes_in_step_is_logged_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a process that has no positive where another has one."""

    def entry() -> tuple[int, dict[str, float]]:
        policy, passes = load_policy("tiny-0", CHAIN), []
        args = config(tmp_path, per_device_train_batch_size=8, gradient_accumulation_steps=4, learning_rate=0.0)
        trainer = ExPGRPOTrainer(
            policy.model, [nothing], args, rows_of(policy, kept=2), processing_class=policy.tokenizer
        )
        scored = trainer._score
        monkeypatch.setattr(trainer, "_score", lambda *given: passes.append(given) or scored(*given))
        trainer.train()
        return len(passes), {k: v for k, v in trainer.state.log_history[0].items() if k.startswith("exp_sft")}

    few, alone = entry()
    monkeypatch.setattr(ExPGRPOTrainer, "_scores", lambda *_: True)
    all_four, in_step = entry()
    assert (few, all_four) == (2, 4)
    assert in_step == alone
    assert alone["exp_sft/scored"] == 2


def test_a_chat_policy_and_positives_as_text(tmp_path: Path) -> None:
    policy = build(dtype=torch.float32)
    rows = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": f"What is {i} + {i}?"}], "positive": f"It is {2 * i}."}
            for i in range(PROBLEMS)
        ]
    )
    trainer = trained(policy, config(tmp_path, learning_rate=0.0), rows)
    prompt = tuple(policy.prompt_ids("What is 3 + 3?"))
    (part,) = trainer.positives[prompt]
    assert part.ids == (*policy.encode("It is 6."), policy.tokenizer.eos_token_id)
    assert logged(trainer, "exp_sft/scored") == [PROBLEMS]


def test_a_text_ends_with_the_token_that_ends_a_turn(tmp_path: Path) -> None:
    """Which is not the tokenizer's end where a template has one of its own."""
    policy = build(dtype=torch.float32)
    # Turns end with <|im_end|>, texts with <|endoftext|>.
    policy.tokenizer.eos_token = "<|endoftext|>"
    rows = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": f"{i} + {i}?"}], "positive": "It is 6."} for i in range(PROBLEMS)]
    )
    trainer = ExPGRPOTrainer(policy.model, [nothing], config(tmp_path), rows, processing_class=policy.tokenizer)
    ends = {part.ids[-1] for (part,) in trainer.positives.values()}
    assert ends == {policy.tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert ends != {policy.tokenizer.eos_token_id}


def test_several_texts_weigh_as_they_are_told(toy: Policy, tmp_path: Path) -> None:
    """The term of a prompt is the sum of its texts' terms, each over the tokens that count, times its weight."""
    rows = rows_of(toy)
    trainer = ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), rows, processing_class=toy.tokenizer)
    first = rows["prompt"][0]
    (one,) = trainer.positives[tuple(toy.encode(first))]
    mask = [i % 2 == 0 for i in range(len(one.ids))]
    parts = [{"ids": list(one.ids), "weight": 0.25}, {"ids": list(one.ids), "mask": mask, "weight": 0.75}]
    trainer.set_positives([first], [parts])
    held = trainer.positives[tuple(toy.encode(first))]
    assert [part.weight for part in held] == [0.25, 0.75]
    prompt = tuple(toy.encode(first))
    with torch.no_grad():
        log_probs, tokens = trainer._score(toy.model, [(prompt, part) for part in held])
    (plain,) = score(toy, [whole_sample(prompt, one.ids, "p")])
    assert log_probs.tolist() == pytest.approx(
        [plain.completion.sum(), plain.completion[np.array(mask)].sum()], rel=1e-4
    )
    assert tokens.tolist() == [len(one.ids), sum(mask)]
    # The control: the mask leaves something out.
    assert abs(log_probs[0] - log_probs[1]) > 0.01


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"ids": [5, 6], "mask": [True]}, "each of the 2 tokens"),
        ({"ids": [5, 6], "mask": [False, False]}, "of which 0 count"),
        ({"ids": [5, 6], "weight": 0.0}, "must be above 0 and finite, got 0.0"),
        ({"ids": [5, 6], "weight": float("nan")}, "must be above 0 and finite"),
        ({"ids": [5, 10**6]}, "token ids below"),
    ],
)
def test_a_part_that_says_nothing_is_refused(toy: Policy, tmp_path: Path, part: dict[str, Any], message: str) -> None:
    rows = rows_of(toy)
    trainer = ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), rows, processing_class=toy.tokenizer)
    with pytest.raises(ValueError, match=message):
        trainer.set_positives(rows["prompt"][:1], [[part]])


def test_positives_can_be_replaced(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy)
    trainer = ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), rows, processing_class=toy.tokenizer)
    trainer.set_positives(rows["prompt"][:2], [[5, 6], None])
    held = [trainer.positives.get(tuple(toy.encode(p))) for p in rows["prompt"]]
    assert held[0] == whole((5, 6))
    assert held[1] is None
    assert held[2] == whole(rows["positive"][2])


def test_a_reward_that_raises_names_its_sample(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy)
    broken = rows["problem"][2]

    def fails(completions: list[str], problem: list[str], **_: Any) -> list[float]:
        if broken in problem:
            raise ZeroDivisionError("no such thing")
        return [0.0] * len(completions)

    with pytest.raises(RuntimeError, match="reward function fails raised ZeroDivisionError: no such thing") as caught:
        trained(toy, config(tmp_path), rows, fails)
    assert rows["prompt"][2][-60:] in str(caught.value)
    assert rows["prompt"][3][-60:] not in str(caught.value)


def test_a_prompt_that_is_not_the_dataset_s_stops_the_training(toy: Policy, tmp_path: Path) -> None:
    """As where a chat template puts in the date, and midnight has come."""
    rows = rows_of(toy)
    trainer = ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), rows, processing_class=toy.tokenizer)
    trainer.train_dataset = rows.map(lambda row: {"prompt": f"{row['prompt']} <think>"})
    with pytest.raises(
        RuntimeError, match=r"a prompt in the batch does not match any prompt of train_dataset.*<think> <think>"
    ):
        trainer.train()


def test_a_template_that_writes_the_date_writes_one_for_the_whole_training(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy).map(lambda row: {"messages": [{"role": "user", "content": row["prompt"]}]})
    rows = rows.remove_columns("prompt").rename_column("messages", "prompt")
    llama = Path(trl.__file__).parent / "chat_templates" / "llama3_2.jinja"
    assert "date_string" in llama.read_text(encoding="utf-8")
    # The toy has no words for a date.
    dated = "{% if date_string == '' %}{{ date_string }}{% endif %}{{ messages[0]['content'] }}"

    def given(template: str, **kwargs: Any) -> dict[str, Any]:
        words = copy.deepcopy(toy.tokenizer)
        words.chat_template = template
        args = config(tmp_path, **kwargs)
        return dict(ExPGRPOTrainer(toy.model, [nothing], args, rows, processing_class=words).chat_template_kwargs)

    assert given(dated) == {"date_string": datetime.now().strftime("%d %b %Y")}
    assert given(dated, chat_template_kwargs={"date_string": "a day"}) == {"date_string": "a day"}
    # The control: one that knows no date is given none.
    assert given("{{ messages[0]['content'] }}") == {}


def test_a_group_must_be_on_one_process(tmp_path: Path) -> None:
    args = config(tmp_path, per_device_train_batch_size=8, num_generations=8)
    check_whole_groups(args)
    # As on two processes, where TRL allows it.
    args.per_device_train_batch_size = 4
    with pytest.raises(ValueError, match=r"num_generations \(8\) must divide .*\(4 x 1 = 4\)"):
        check_whole_groups(args)


def test_two_positives_for_one_prompt_are_refused(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy).to_list()
    twice = Dataset.from_list([*rows, rows[0]])
    assert len(ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), twice, processing_class=toy.tokenizer).positives)
    other = Dataset.from_list([*rows, {**rows[0], "positive": [5, 6]}])
    with pytest.raises(ValueError, match="two positives for the prompt"):
        ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), other, processing_class=toy.tokenizer)


def test_failed_groups_need_a_reward_that_is_seen(toy: Policy, tmp_path: Path) -> None:
    async def later(completions: list[str], **_: Any) -> list[float]:
        return [0.0] * len(completions)

    for rewards in ([later], None):
        with pytest.raises(ValueError, match="needs a plain function as the first of reward_funcs"):
            ExPGRPOTrainer(
                toy.model,
                rewards,
                config(tmp_path, sft_failed_groups_only=True),
                rows_of(toy),
                processing_class=toy.tokenizer,
            )
    trained(toy, config(tmp_path, sft_failed_groups_only=True, beta_sft=0.0), rows_of(toy))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"beta_sft": -1.0}, "beta_sft must be at least 0 and finite, got -1.0"),
        ({"beta_sft": float("nan")}, "beta_sft must be at least 0 and finite"),
        ({"beta_sft_schedule": "step"}, "beta_sft_schedule must be one of constant, linear, cosine; got 'step'"),
        ({"sft_normalization": "sum"}, "sft_normalization must be one of sequence, token; got 'sum'"),
        ({"sft_grad_norm_steps": -1}, "sft_grad_norm_steps must be at least 0"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **more)


def test_no_positive_at_all_stops_clearly(toy: Policy, tmp_path: Path) -> None:
    rows = rows_of(toy)
    for dataset, message in (
        (rows.rename_column("positive", "positives"), "needs a column `positive`.* it has `prompt`, `problem`, `pos"),
        (rows_of(toy, kept=0), "none of the 8 prompts has a positive"),
    ):
        with pytest.raises(ValueError, match=message):
            ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), dataset, processing_class=toy.tokenizer)
        args = config(tmp_path, beta_sft=0.0)
        ExPGRPOTrainer(load_policy("tiny-0", CHAIN).model, [nothing], args, dataset, processing_class=toy.tokenizer)


def test_what_is_no_positive_is_refused_with_its_prompt(toy: Policy, tmp_path: Path) -> None:
    trainer = ExPGRPOTrainer(toy.model, [nothing], config(tmp_path), rows_of(toy), processing_class=toy.tokenizer)
    prompt = rows_of(toy)["prompt"][0]
    context, words = toy.context, len(toy.tokenizer)
    for wrong in (7, [1, words], [0.5], [[1]]):
        with pytest.raises(ValueError, match=f"a positive must be text, token ids below {words}, or None; got"):
            trainer.set_positives([prompt], [wrong])  # type: ignore[list-item]
    fits = context - len(trainer.prompt_ids(prompt))
    trainer.set_positives([prompt], [[1] * fits])
    with pytest.raises(ValueError, match=f"has {context + 1} tokens, more than the model's context of {context}: "):
        trainer.set_positives([prompt], [[1] * (fits + 1)])


def test_what_is_relied_on_in_trl(toy: Policy, tmp_path: Path) -> None:
    """The public points that this trainer hangs on; a new TRL that moves one fails here first."""
    assert list(inspect.signature(GRPOTrainer.compute_loss).parameters) == [
        "self",
        "model",
        "inputs",
        "return_outputs",
        "num_items_in_batch",
    ]
    assert list(inspect.signature(GRPOTrainer.log).parameters)[:2] == ["self", "logs"]
    assert {"temperature", "cast_lm_head_to_fp32"} <= set(inspect.signature(add_fused_lm_head).parameters)
    seen: list[dict[str, Any]] = []

    class Seeing(ExPGRPOTrainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append({**inputs, "accumulated": self.current_gradient_accumulation_steps})
            return super().compute_loss(model, inputs, *args, **kwargs)

    args = config(tmp_path, per_device_train_batch_size=8, gradient_accumulation_steps=4)
    rows = rows_of(toy)
    Seeing(toy.model, [nothing], args, rows, processing_class=toy.tokenizer).train()
    assert [s["accumulated"] for s in seen] == [4] * 4
    prompts = [
        tuple(ids[mask.bool()].tolist())
        for s in seen
        for ids, mask in zip(s["prompt_ids"], s["prompt_mask"], strict=True)
    ]
    # Each micro-batch holds whole rows, and a generation each prompt G times.
    assert {p: prompts.count(p) for p in prompts} == {tuple(toy.encode(p)): G for p in rows["prompt"]}


@pytest.mark.parametrize(("micro", "iterations", "steps"), [(16, 1, 1), (4, 1, 1), (8, 1, 2), (4, 2, 2)])
def test_terms_are_spread_over_micro_batches_whatever_samples_are_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: int, iterations: int, steps: int
) -> None:
    """All processes have a second pass where one has: n problems take n micro-batches at equal distances."""
    passes: list[tuple[int, tuple[Any, ...]]] = []
    scored = ExPGRPOTrainer._score

    def watched(self: Any, model: Any, pairs: Any) -> Any:
        passes.append((self._step, tuple(prompt for prompt, *_ in pairs)))
        return scored(self, model, pairs)

    monkeypatch.setattr(ExPGRPOTrainer, "_score", watched)
    policy = load_policy("tiny-0", CHAIN)
    args = config(
        tmp_path,
        per_device_train_batch_size=PROBLEMS * G // micro,
        gradient_accumulation_steps=micro // (steps // iterations),
        steps_per_generation=micro,
        num_iterations=iterations,
        max_steps=steps,
    )
    trained(policy, args, rows_of(policy))
    places = sorted({step % micro for step, _ in passes})
    assert len(places) == min(micro, PROBLEMS)
    assert {b - a for a, b in itertools.pairwise(places)} == {max(1, micro // PROBLEMS)}
    # Every problem once in each pass over a generation.
    for iteration in range(iterations):
        learnt = [p for step, prompts in passes if step // micro == iteration for p in prompts]
        assert len(learnt) == len(set(learnt)) == PROBLEMS


def test_a_term_is_not_always_of_the_same_step_of_its_generation(toy: Policy, tmp_path: Path) -> None:
    """One problem to four optimizer steps: each has its turn, the same on every process."""
    args = config(tmp_path, per_device_train_batch_size=G, steps_per_generation=4, num_generations=4 * G)
    trainer = ExPGRPOTrainer(toy.model, [nothing], args, rows_of(toy), processing_class=toy.tokenizer)
    ids = torch.tensor([trainer.prompt_ids(rows_of(toy)["prompt"][0])] * G)
    trainer._buffered_inputs = [{"prompt_ids": ids, "prompt_mask": torch.ones_like(ids)}] * 4
    places = []
    for step in range(20):
        trainer.state.global_step = step
        shared = trainer._share_out()
        assert shared == trainer._share_out()
        (place,) = [i for i, prompts in enumerate(shared) if prompts]
        places.append(place)
    assert set(places) == {0, 1, 2, 3}
