"""ExP-GRPO on TRL: `GRPOTrainer` with the paper's added term, log pi(c~, a*|q) (Section 5.2).

Longer than most modules: the trainer is one class, to be read next to TRL's.

    trainer = ExPGRPOTrainer(model, reward_funcs=reward, args=ExPGRPOConfig("out"), train_dataset=dataset)

The dataset is GRPO's with one more column, `positive`: what the policy should learn for that prompt, (c~, a*), as text
or token ids. Where it is None or empty the term is zero. It may hold several texts, as a list of {"ids", "mask",
"weight"}: `mask` says for each token whether it counts, and the term is the weighted sum over the texts. With
`beta_sft=0` this is `GRPOTrainer`, bit for bit.

The loss of an optimizer step over P problems, each with G samples, is

    GRPO's loss  -  beta_sft / P * sum over problems of log pi(positive | prompt)

or, with `sft_normalization="token"`, that divided by the number of the positive's tokens. Each problem's term is
computed once for its G samples. It uses temperature 1, as in the paper's formula, while TRL's own log-probabilities use
the sampling temperature. `loss_type` changes how TRL sums its policy term over samples and tokens; the added term is
always the mean over problems.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import math
import random
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import GRPOTrainer
from trl.trainer import add_fused_lm_head

from expo.policies.adapters import without_wrapper
from expo.policies.policy import Policy
from expo.tasks.prompts import TEXT
from expo.train.config import ExPGRPOConfig, check_whole_groups
from expo.train.parts import Part, Tokens, several, whole
from expo.train.rewards import BadReward
from expo.train.sharding import compute_precisely, gathered

Pair = tuple[Tokens, Part]  # a prompt and a text to learn for it
# Passed in place of True to ask for the second fused head.
_AT_ONE = "temperature 1"


class ExPGRPOTrainer(GRPOTrainer):
    """GRPO with the ExP-SFT term. Takes the arguments of `GRPOTrainer`.

    Logged separately: `exp_sft/loss` (what the term adds to the loss), `exp_sft/nll` and `exp_sft/nll_per_token` (nats,
    of the scored positives, at temperature 1), `exp_sft/scored` (positives per step), `exp_sft/beta`; on request
    `exp_sft/grad_norm` and `exp_sft/policy_grad_norm` (each of one micro-batch, mean over those of a step).

    Raises:
        ValueError: if `beta_sft` is above 0 and there are no positives; if a prompt has two, or one that is not tokens
            or is too long; or if a process's share of a generation batch is not a whole number of groups.
        RuntimeError: if a reward function raises (the message names the sample), or if a batch has a prompt that
            differs from the dataset's prompts as tokenised at the start of training.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: ExPGRPOConfig | None = None,
        train_dataset: Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        args = args or ExPGRPOConfig("ExP-GRPO")
        rewards = [] if reward_funcs is None else reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        watched = [self._watched(r, i == 0) for i, r in enumerate(rewards)]
        if args.sft_failed_groups_only and not (rewards and watched[0] is not rewards[0]):
            raise ValueError("sft_failed_groups_only needs a plain function as the first of reward_funcs")
        super().__init__(model, watched or None, args, train_dataset, **kwargs)
        self.positives: dict[Tokens, tuple[Part, ...]] = {}
        self._prompt_ids: dict[str, Tokens] = {}
        self._known: set[Tokens] = set()
        self._solved: set[Tokens] = set()
        self._places: list[list[Tokens]] = []
        self._pending: list[dict[str, Any]] = []
        # Called with True when the sampling of a generation starts, and with False when it is sampled and graded.
        self.on_sampling: Callable[[bool], object] = lambda _: None
        compute_precisely(self.accelerator)
        if args.beta_sft == 0:
            return
        check_whole_groups(args)
        if not isinstance(train_dataset, Dataset) or "positive" not in train_dataset.column_names:
            raise ValueError(
                "train_dataset needs a column `positive`, the text or the token ids of (c~, a*) for each prompt "
                "(`expo sample` writes them as `completion`), or beta_sft=0 for plain GRPO; it has "
                f"{_columns(train_dataset)}"
            )
        template = self.chat_template or getattr(self.processing_class, "chat_template", None)
        if "date_string" in str(template):
            # Llama 3.2's template writes today's date; prompts keep the date on which this process started.
            today = datetime.now().strftime("%d %b %Y")
            self.chat_template_kwargs = {"date_string": today, **(args.chat_template_kwargs or {})}
        _check_one_each(train_dataset)
        self.set_positives(train_dataset["prompt"], train_dataset["positive"])
        if not self.positives:
            raise ValueError(
                f"none of the {len(train_dataset)} prompts has a positive. Check the data, or use beta_sft=0"
            )
        base = self.accelerator.unwrap_model(self.model)
        _add_head_at_one(without_wrapper(base), args.cast_lm_head_to_fp32)

    def set_positives(
        self, prompts: Iterable[Any], positives: Iterable[str | Sequence[int] | Sequence[Mapping[str, Any]] | None]
    ) -> None:
        """Replace the positives of these prompts; None or empty removes them.

        A text is tokenised as the continuation of the prompt and closed with the token that ends the model's turn; ids
        are used as they are. For several texts as mappings, see the module docstring.
        """
        for prompt, positive in zip(prompts, positives, strict=True):
            name = _name(prompt)
            if name not in self._prompt_ids:
                self._prompt_ids[name] = self.prompt_ids(prompt)
                self._known.add(self._prompt_ids[name])
            if isinstance(positive, str):
                asked = replace(TEXT, chat=not isinstance(prompt, str))
                policy = Policy("the policy", self.model, self.processing_class, asked, "given to the trainer")
                ids = policy.encode_on(positive)
                positive = [*ids, *policy.end] if ids else ids
            if not positive:
                self.positives.pop(self._prompt_ids[name], None)
                continue
            texts = [part for part in positive if isinstance(part, Mapping)] if isinstance(positive, Sequence) else []
            if texts:
                parts = several(name, [{**text, "ids": self._checked(name, text["ids"])} for text in texts])
            else:
                parts = whole(self._checked(name, positive))
            self.positives[self._prompt_ids[name]] = parts

    def _checked(self, name: str, positive: Any) -> Tokens:
        """A positive as token ids.

        Raises:
            ValueError: if it is not a valid positive, or exceeds the model's context together with its prompt; the
                message names the prompt.
        """
        words = len(self.processing_class)
        if not isinstance(positive, Sequence) or not all(isinstance(i, int) and 0 <= i < words for i in positive):
            raise ValueError(
                f"a positive must be text, token ids below {words}, or None; got {positive!r:.100} for the "
                f"prompt {name[-300:]!r}"
            )
        config = self.accelerator.unwrap_model(self.model).config.get_text_config()
        context = getattr(config, "max_position_embeddings", math.inf)
        tokens = len(self._prompt_ids[name]) + len(positive)
        if tokens > context:
            raise ValueError(
                f"a prompt with its positive has {tokens} tokens, more than the model's context of "
                f"{context}: {name[-300:]!r}"
            )
        return tuple(positive)

    def prompt_ids(self, prompt: Any) -> Tokens:
        """A prompt's ids as TRL computes them; `compute_loss` raises for a batch with other ids."""
        if isinstance(prompt, str):
            return tuple(self.processing_class(text=[prompt])["input_ids"][0])
        rendered = self.processing_class.apply_chat_template(
            conversation=[prompt],
            tools=self.tools or None,
            chat_template=self.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **self.chat_template_kwargs,
        )
        return tuple(rendered["input_ids"][0])

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.on_sampling(True)
        try:
            # Otherwise FSDP2 would gather each layer again for each token.
            with gathered(self.model_wrapped):
                return super()._generate_and_score_completions(inputs)
        finally:
            self.on_sampling(False)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """GRPO's loss of a micro-batch, plus the term of the problems assigned to it."""
        loss: Tensor = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        beta = self.beta_sft()
        if beta == 0 or not self.model.training:
            return loss
        pairs = self._due()
        weight = self.args.num_generations / (len(inputs["prompt_ids"]) * self.current_gradient_accumulation_steps)
        entry = {"step": self.state.global_step, "beta": beta}
        if not self._scores(pairs):
            self._pending.append(entry | self._grad_norms(model, policy_grad_norm=loss))
            return loss
        # A stand-in with weight 0 keeps the processes in step.
        scored = pairs or [_stand_in(inputs)]
        weights = torch.tensor([part.weight for _, part in scored], device=self.accelerator.device)
        log_probs, tokens = self._score(model, scored)
        used = log_probs / tokens if self.args.sft_normalization == "token" else log_probs
        term = -beta * weight * (weights * used).sum()
        # Read only when logged, since each read waits for the device.
        sums = [term, weights.sum(), -(weights * log_probs).sum(), (weights * tokens).sum()]
        entry["sums"] = torch.stack(sums).detach()
        self._pending.append(entry | self._grad_norms(model, policy_grad_norm=loss, grad_norm=term))
        return loss + term

    def beta_sft(self) -> float:
        """The term's weight at the current step."""
        done = self.state.global_step / max(self.state.max_steps, 1)
        shape = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return self.args.beta_sft * max(shape[self.args.beta_sft_schedule], 0.0)

    def _due(self) -> list[Pair]:
        """The prompts whose term this micro-batch computes, with each of their positives."""
        place = self._step % self.args.steps_per_generation
        if place == 0:
            self._places = self._share_out()
        prompts = self._places[place]
        due = [p for p in prompts if p in self.positives and p not in self._solved]
        return [(p, part) for p in due for part in self.positives[p]]

    def _share_out(self) -> list[list[Tokens]]:
        """Assign a generation's prompts to the micro-batches that compute their term, in the same way on every process.

        If one process has a second pass, all have: so the k-th of n prompts is assigned to the micro-batch at fraction
        k / n, whichever samples that holds. The starting point is drawn again for each generation, so that each of its
        optimizer steps gets terms in turn. The order is that of one sample per prompt, chosen by seed, step and prompt.
        """
        order: list[Tokens] = []
        seen: dict[Tokens, int] = {}
        for prompt in self._prompts_sampled():
            count = seen.get(prompt, 0)
            seen[prompt] = (count + 1) % self.args.num_generations
            name = f"{self.args.seed}:{self.state.global_step}:{prompt}"
            if count == random.Random(name).randrange(self.args.num_generations):
                order.append(prompt)
        places: list[list[Tokens]] = [[] for _ in self._buffered_inputs]
        first = random.Random(f"{self.args.seed}:{self.state.global_step}").randrange(len(places))
        for k, prompt in enumerate(order):
            places[(first + k * len(places) // len(order)) % len(places)].append(prompt)
        return places

    def _prompts_sampled(self) -> Iterator[Tokens]:
        """The prompt of each sample of a generation, in TRL's order.

        Raises:
            RuntimeError: for a prompt whose positive cannot be found.
        """
        for inputs in self._buffered_inputs:
            for ids, mask in zip(inputs["prompt_ids"].tolist(), inputs["prompt_mask"].tolist(), strict=True):
                prompt = tuple(itertools.compress(ids, mask))
                if prompt not in self._known:
                    raise RuntimeError(
                        "a prompt in the batch does not match any prompt of train_dataset as tokenised at "
                        "the start, so it has no known positive: "
                        f"{self.processing_class.decode(prompt)[-300:]!r}. If the chat template writes the "
                        "date, fix it with chat_template_kwargs"
                    )
                yield prompt

    def _scores(self, pairs: list[Any]) -> bool:
        """Whether this micro-batch has a second pass: if any process has one, all must, to stay in step."""
        if self.accelerator.num_processes == 1:
            return bool(pairs)
        flag = torch.tensor(float(bool(pairs)), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum").item())

    def _score(self, model: Any, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """log pi of the counted tokens of each positive, in nats, and their number; each of shape (pairs,)."""
        width = max(len(prompt) + len(part.ids) for prompt, part in pairs)
        ids = torch.zeros(len(pairs), width, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        mask = torch.zeros_like(ids)
        for i, (prompt, part) in enumerate(pairs):
            end = len(prompt) + len(part.ids)
            ids[i, :end] = torch.tensor(prompt + part.ids)
            labels[i, len(prompt) : end] = torch.where(torch.tensor(part.mask), torch.tensor(part.ids), -100)
            mask[i, :end] = 1
        # All before the pass: each copy waits for the work already given to the device.
        ids, mask, labels = (given.to(self.accelerator.device) for given in (ids, mask, labels))
        with self.accelerator.autocast():
            outputs = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=_AT_ONE)
        return outputs.log_probs.float().sum(-1), (labels != -100).sum(-1)

    def _grad_norms(self, model: Any, **terms: Tensor) -> dict[str, float]:
        every = self.args.sft_grad_norm_steps
        if not every or self.state.global_step % every:
            return {}
        weights = [p for p in model.parameters() if p.requires_grad]
        norms = {}
        for name, value in terms.items():
            grads = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            # Each loss is already divided by the number of micro-batches.
            scale = self.current_gradient_accumulation_steps
            norms[name] = scale * float(torch.stack([g.norm() for g in grads if g is not None]).norm())
        return norms

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, with the term's metrics."""
        if self._pending and self.model.training:
            logs = {**logs, **self._drain()}
        super().log(logs, start_time)

    def _drain(self) -> dict[str, float]:
        """Metrics of the micro-batches since the last log, over all processes."""
        pending, self._pending = self._pending, []
        steps = len({p["step"] for p in pending})
        none = torch.zeros(4, dtype=torch.float64, device=self.accelerator.device)
        sums = sum((p["sums"] for p in pending if "sums" in p), none)
        processes = self.accelerator.num_processes
        loss, scored, nll, tokens = self.accelerator.reduce(sums, reduction="sum").tolist()
        out = {
            "exp_sft/loss": loss / steps / processes,
            "exp_sft/scored": scored / steps,
            "exp_sft/beta": pending[-1]["beta"],
        }
        if scored:
            out |= {"exp_sft/nll": nll / scored, "exp_sft/nll_per_token": nll / tokens}
        for name in ("grad_norm", "policy_grad_norm"):
            if norms := [p[name] for p in pending if name in p]:
                out[f"exp_sft/{name}"] = sum(norms) / len(norms)
        return out

    def _watched(self, reward: Any, is_first: bool) -> Any:
        """Wrap a reward function: its failure names the sample, its rewards mark the groups that need no term."""
        if not hasattr(reward, "__name__") or inspect.iscoroutinefunction(reward):
            return reward

        @functools.wraps(reward)
        def watched(prompts: list[Any], completions: list[Any], **kwargs: Any) -> list[float | None]:
            try:
                rewards: list[float | None] = reward(prompts=prompts, completions=completions, **kwargs)
            except BadReward:
                raise
            except Exception as error:
                raise RuntimeError(_which(reward, prompts, completions, kwargs, error)) from error
            if is_first and self.args.sft_failed_groups_only and self.model.training and self.positives:
                known = [self._prompt_ids[_name(p)] for p in prompts]
                self._solved -= set(known)
                self._solved |= {ids for ids, r in zip(known, rewards, strict=True) if r is not None and r > 0}
            return rewards

        return watched


def _columns(dataset: Any) -> str:
    return ", ".join(f"`{name}`" for name in getattr(dataset, "column_names", None) or ()) or "no columns"


def _check_one_each(dataset: Dataset) -> None:
    positives: dict[str, Any] = {}
    for prompt, positive in zip(dataset["prompt"], dataset["positive"], strict=True):
        name = _name(prompt)
        if positives.setdefault(name, positive) != positive:
            raise ValueError(
                f"train_dataset has two positives for the prompt {name[-300:]!r}; keep one row per prompt, "
                "or replace its positive between steps with set_positives"
            )


def _name(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)


def _stand_in(inputs: dict[str, Tensor]) -> Pair:
    """Some prompt and token of the micro-batch, for a pass with weight 0."""
    prompt = inputs["prompt_ids"][0][inputs["prompt_mask"][0].bool()]
    return tuple(prompt.tolist()), Part((int(inputs["completion_ids"][0, 0]),), (True,), 0.0)


def _which(
    reward: Callable[..., Any], prompts: list[Any], completions: list[Any], kwargs: dict[str, Any], error: Exception
) -> str:
    """Find the sample on which a reward function raises, by passing one sample at a time."""
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        sample = {k: [v[i]] if isinstance(v, list) and len(v) == len(prompts) else v for k, v in kwargs.items()}
        try:
            reward(prompts=[prompt], completions=[completion], **sample)
        except Exception as alone:
            return (
                f"reward function {reward.__name__} raised {type(alone).__name__}: {alone}\n"
                f"prompt {_name(prompt)[-300:]!r}\ncompletion {_name(completion)[:300]!r}"
            )
    return (
        f"reward function {reward.__name__} raised {type(error).__name__}: {error} for the whole batch, but "
        "not for any single sample"
    )


def _add_head_at_one(model: Any, cast_to_fp32: bool) -> None:
    """A second fused head at temperature 1, next to TRL's, which uses the sampling temperature."""
    sampling = model.forward
    add_fused_lm_head(model, temperature=1.0, cast_lm_head_to_fp32=cast_to_fp32)
    at_one = model.forward

    # With the signature of the class, against which `generate` checks its arguments.
    @functools.wraps(type(model).forward)
    def forward(_: Any, *args: Any, fused_lm_head: bool | str = False, **kwargs: Any) -> Any:
        if fused_lm_head == _AT_ONE:
            return at_one(*args, fused_lm_head=True, **kwargs)
        return sampling(*args, fused_lm_head=fused_lm_head, **kwargs)

    model.forward = types.MethodType(forward, model)
