"""ExP-GRPO's trainer for a session: prompts with their positives in training order, and the reward."""

from __future__ import annotations

import random

import pandas as pd
from datasets import Dataset

from expo.policies.policy import Policy, PolicyError
from expo.positives.closing import question_ids
from expo.tasks import Task
from expo.train.config import ExPGRPOConfig
from expo.train.engine import keep_base
from expo.train.exp_grpo import ExPGRPOTrainer
from expo.train.own_reward import own_reward
from expo.train.parts import parts_of
from expo.train.positives import as_prompt
from expo.train.rewards import AnswerReward
from expo.train.session import Session, shard_of
from expo.train.steps import generations_in


def grpo_trainer(
    session: Session, args: ExPGRPOConfig, reward: AnswerReward, positives: pd.DataFrame
) -> ExPGRPOTrainer:
    """The trainer, which learns these positives in addition to the policy's own samples.

    Raises:
        ValueError: if no problem in the training steps has a positive.
        PolicyError: if TRL would tokenise prompts differently from positives and evaluations.
    """
    policy, task = session.policy, session.task
    prompts = dataset(policy, task, positives, args)
    if args.beta_sft > 0 and not any(prompts["positive"]):
        raise ValueError(
            f"{positives['problem'].nunique()} of the {len(task.problems)} problems have positives, but "
            f"none of the {len(set(prompts['problem']))} that the training steps use. Set more steps or "
            f"more {'texts' if session.recipe.positive_data else 'positive_tries'}; "
            f"{session.run.file('skips', shard_of(0))} says why the other problems have none"
        )
    # The dataset holds all epochs: TRL's own shuffling restarts when a run resumes, which would change the order.
    args.num_train_epochs = 1
    no_tokens = list(range(policy.vocabulary, policy.model.config.get_text_config().vocab_size))
    # vLLM has no such setting.
    if no_tokens and not args.use_vllm:
        given = args.generation_kwargs or {}
        args.generation_kwargs = {**given, "suppress_tokens": [*no_tokens, *(given.get("suppress_tokens") or ())]}
    own = own_reward(session.recipe.reward) if session.recipe.reward else None
    function = own.function if own else reward
    trainer = ExPGRPOTrainer(policy.model, [function], args, prompts, processing_class=policy.tokenizer)
    if own:
        trainer.reward_funcs[0] = own.graded_beside(trainer.reward_funcs[0], reward)
    if args.use_vllm:
        keep_base(trainer)
    first = task.problems[0]
    if trainer.prompt_ids(as_prompt(policy, first)) != tuple(question_ids(policy, first)):
        raise PolicyError(
            "TRL's prompts differ from those of positives and evaluations; remove chat_template_kwargs and "
            "chat_template_path from the recipe, or today's date from the template"
        )
    return trainer


def dataset(policy: Policy, task: Task, positives: pd.DataFrame, args: ExPGRPOConfig) -> Dataset:
    """Prompts with their positives in training order, each epoch shuffled by seed."""
    rows = []
    for p, parts in zip(task.problems, parts_of(positives, task.problems), strict=True):
        about = {"problem": p.id, "answer": p.answer, "level": p.level}
        rows.append({"prompt": as_prompt(policy, p), "positive": parts, **about})
    wanted = generations_in(len(rows), args) * (args.generation_batch_size // args.num_generations)
    order: list[int] = []
    for epoch in range(-(-wanted // len(rows))):
        indices = list(range(len(rows)))
        random.Random(f"{args.seed}:{epoch}").shuffle(indices)
        order += indices
    return Dataset.from_list([rows[i] for i in order[:wanted]])
