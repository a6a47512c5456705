"""Pretraining of the toy policy `tiny`: recipe, model, tokenizer, data mixture, stop rule, training loop.

Longer than most modules: everything that determines the weights is in one file, covered by the recipe's hash.

One CPU thread, plain torch, deterministic: the recipe determines the weights bit for bit on one machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expo.tasks import chain
from expo.tasks.problem import Problem
from expo.workers import threads

# Training stops at the first check at which every criterion lies within its limits, both included.
STOP_RULE: dict[str, tuple[float, float]] = {
    "direct_l4": (0.2, 1.0),
    "hinted_l5": (0.85, 1.0),
    "hinted_l5_steps": (0.95, 1.0),
    "reads_own_l5": (0.9, 1.0),
    "reads_expert_l3": (0.9, 1.0),
    "reads_expert_l5": (0.9, 1.0),
    # A base that already solves level 5 leaves nothing to show.
    "direct_l5": (0.0, 0.1),
}
# Lengths in a batch differ by a factor of four; each chunk of it is padded only to its own longest row.
CHUNKS = 4
IDS = {word: i for i, word in enumerate(chain.VOCABULARY)}


@dataclass(frozen=True)
class TinyRecipe:
    """Everything that determines the weights. `p_*` are probabilities; `*_levels` are shares of levels 1..5.

    An example is a reading drill (CoT given, loss only on the answer), or else hinted (answer given, loss on CoT and
    answer), or else direct. Hinted and direct CoTs are in the own dialect, except with probability `p_expert`.
    """

    seed: int = 0
    hidden: int = 64
    intermediate: int = 128
    layers: int = 2
    heads: int = 4
    # Short sequences: with the usual 10000, half of a 16-wide head's frequencies never complete a turn within 150
    # tokens.
    rope_theta: float = 200.0
    init_std: float = 0.05
    steps: int = 1200
    batch: int = 128
    lr: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 50
    clip: float = 1.0
    # Tokens to be copied (a drill's answer, a named result under a hint) are few, and each position in a chain is
    # learnt separately; without weights, some position of a long chain comes last or never.
    copy_weight: float = 5.0
    p_reading: float = 0.2
    p_reading_expert: float = 0.6
    reading_levels: tuple[float, ...] = (0.1, 0.15, 0.25, 0.25, 0.25)
    p_hinted: float = 0.45
    hinted_levels: tuple[float, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)
    direct_levels: tuple[float, ...] = (0.36, 0.26, 0.23, 0.14, 0.01)
    # Among direct examples: long but easy chains (1..6 unknowns, factors 2..8) ...
    p_drill: float = 0.2
    # ... and, if the chain is short (up to 3 unknowns), the expert's dialect.
    p_expert: float = 0.03
    check_from: int = 400
    check_every: int = 50
    check_n: int = 128


def recipe_hash(recipe: TinyRecipe) -> str:
    """16 hex digits of a hash of the recipe, the task's definition and the stop rule."""
    example = chain.Chain(4, ((8, 16), (8, 12)), "hag")
    texts = [example.question, example.answer, *example.own_steps, *example.expert_steps]
    task = [chain.VOCABULARY, chain.LEVELS, chain.SPLITS, texts]
    text = json.dumps([asdict(recipe), task, STOP_RULE], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, split at spaces. Without an unknown token, any other word raises an error."""
    words = Tokenizer(models.WordLevel(dict(IDS)))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Added, so that they are found without spaces around them; not special, so that decoding keeps them.
    words.add_tokens([AddedToken(mark, normalized=False) for mark in (chain.THINK, chain.ANSWER_CUE)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=chain.BOS,
        eos_token=chain.EOS,
        pad_token=chain.PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )


def new_model(recipe: TinyRecipe) -> LlamaForCausalLM:
    """An untrained model; its weights are drawn with torch's global generator."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(IDS),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            initializer_range=recipe.init_std,
            max_position_embeddings=256,
            rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
            tie_word_embeddings=False,
            bos_token_id=IDS[chain.BOS],
            eos_token_id=IDS[chain.EOS],
            pad_token_id=IDS[chain.PAD],
        )
    )


def _encode(text: str) -> list[int]:
    return [IDS[word] for word in text.split()]


class Example(NamedTuple):
    """Token ids and each token's weight in the loss; 0 for the prompt."""

    ids: list[int]
    weights: list[float]


def example(recipe: TinyRecipe, rng: random.Random) -> Example:
    """A pretraining example from the `pretrain` split."""

    def of_level(shares: Sequence[float]) -> chain.Chain:
        return chain.draw_from(rng, "pretrain", *chain.LEVELS[rng.choices(range(1, 6), shares)[0]])

    if rng.random() < recipe.p_reading:
        c = of_level(recipe.reading_levels)
        steps = c.expert_steps if rng.random() < recipe.p_reading_expert else c.own_steps
        prompt = [chain.BOS, c.question, chain.THINK, *steps, chain.ANSWER_CUE]
        target = [c.answer, chain.EOS]
    elif rng.random() < recipe.p_hinted:
        c = of_level(recipe.hinted_levels)
        prompt = [chain.BOS, c.question, "key", c.answer, chain.THINK]
        target = [*c.own_steps, chain.ANSWER_CUE, c.answer, chain.EOS]
    else:
        is_drill = rng.random() < recipe.p_drill
        c = chain.draw_from(rng, "pretrain", rng.randint(1, 6), 2, 8) if is_drill else of_level(recipe.direct_levels)
        is_expert = len(c.steps) <= 3 and rng.random() < recipe.p_expert
        prompt = [chain.BOS, c.question, chain.THINK]
        target = [*(c.expert_steps if is_expert else c.own_steps), chain.ANSWER_CUE, c.answer, chain.EOS]
    given, scored = _encode(" ".join(prompt)), _encode(" ".join(target))
    if prompt[-1] == chain.ANSWER_CUE:
        weights = [recipe.copy_weight] * len(scored)
    elif "key" in prompt:
        # A name and its value follow each marker.
        copied = [IDS["get"] in scored[max(0, i - 2) : i] for i in range(len(scored))]
        weights = [recipe.copy_weight if c else 1.0 for c in copied]
    else:
        weights = [1.0] * len(scored)
    return Example(given + scored, [0.0] * len(given) + weights)


def chunks(examples: Sequence[Example]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batch rows of similar length: ids, and each token's weight in the loss, both of shape (rows, longest).

    Right padding needs no mask under causal attention.
    """
    ordered = sorted(examples, key=lambda e: len(e.ids))
    size = math.ceil(len(ordered) / CHUNKS)
    for i in range(0, len(ordered), size):
        part = ordered[i : i + size]
        width = len(part[-1].ids)
        ids = [e.ids + [IDS[chain.PAD]] * (width - len(e.ids)) for e in part]
        weights = [e.weights + [0.0] * (width - len(e.ids)) for e in part]
        yield torch.tensor(ids), torch.tensor(weights)


def loss_sum(model: LlamaForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the negative log-probabilities of a chunk's tokens, in nats."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return losses @ weights[:, 1:].flatten()


@torch.no_grad()
def sample(
    model: LlamaForCausalLM,
    prompts: Sequence[str],
    limit: int,
    temperature: float,
    generator: torch.Generator,
) -> list[str]:
    """One completion per prompt from the full softmax, up to `<eos>` (kept) or `limit` tokens.

    This has its own loop, so that the stop rule's values do not change with the toolkit's sampler.

    Raises:
        ValueError: if the prompts differ in length (those of one level and kind have equal length).
    """
    rows = [_encode(p) for p in prompts]
    if len({len(row) for row in rows}) != 1:
        raise ValueError("sample: prompts must have equal lengths; group them by level and kind of prompt")
    ids, cache = torch.tensor(rows), None
    columns: list[Tensor] = []
    done = torch.zeros(len(rows), dtype=torch.bool)
    while len(columns) < limit and not done.all():
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        ids = torch.multinomial((out.logits[:, -1] / temperature).softmax(-1), 1, generator=generator)
        columns.append(ids[:, 0])
        done |= ids[:, 0] == IDS[chain.EOS]
    texts = (" ".join(chain.VOCABULARY[i] for i in row) for row in torch.stack(columns, 1).tolist())
    return [before + end for before, end, _ in (text.partition(chain.EOS) for text in texts)]


def solve(
    model: LlamaForCausalLM, problems: Sequence[Problem], hinted: bool, temperature: float, seed: int
) -> tuple[float, float]:
    """Accuracy and share of right steps for one completion per problem; all problems are of one level."""
    prompt = chain.hinted_prompt if hinted else chain.question_prompt
    generator = torch.Generator().manual_seed(seed)
    texts = sample(model, [prompt(p) for p in problems], chain.token_limit(problems[0]), temperature, generator)
    pairs = list(zip(problems, texts, strict=True))
    accuracy = sum(chain.check_answer(p, text) for p, text in pairs) / len(pairs)
    return accuracy, sum(chain.share_right(p, text) for p, text in pairs) / len(pairs)


@torch.no_grad()
def reading(model: LlamaForCausalLM, problems: Sequence[Problem], expert: bool) -> float:
    """Mean of `pi(a* | q, CoT)` over problems of one level, for the gold CoT in one dialect.

    Probability of the answer and `<eos>` after the cue, at temperature 1, in 0..1.
    """
    rows, n = [], len(_encode(problems[0].answer)) + 1
    for p in problems:
        cot = p.expert_cot if expert else chain.own_cot(p)
        rows.append(_encode(f"{chain.question_prompt(p)} {cot} {chain.ANSWER_CUE} {p.answer} {chain.EOS}"))
    ids = torch.tensor(rows)
    log_p = model(input_ids=ids, use_cache=False).logits[:, -n - 1 : -1].log_softmax(-1)
    return log_p.gather(-1, ids[:, -n:, None]).sum((1, 2)).exp().mean().item()


def criteria(model: LlamaForCausalLM, n: int) -> dict[str, float]:
    """The stop rule's values on `n` problems per level of the `stop` split (direct T .7, hinted T .9)."""
    l3, l4, l5 = (chain.load("stop", n, levels=[level]).problems for level in (3, 4, 5))
    hinted, hinted_steps = solve(model, l5, hinted=True, temperature=0.9, seed=0)
    return {
        "direct_l4": solve(model, l4, hinted=False, temperature=0.7, seed=1)[0],
        "hinted_l5": hinted,
        "hinted_l5_steps": hinted_steps,
        "reads_own_l5": reading(model, l5, expert=False),
        "reads_expert_l3": reading(model, l3, expert=True),
        "reads_expert_l5": reading(model, l5, expert=True),
        "direct_l5": solve(model, l5, hinted=False, temperature=0.7, seed=2)[0],
    }


def missed(values: dict[str, float]) -> list[str]:
    """The criteria that are outside the stop rule's limits (or not a number); empty if the rule is met."""
    return [name for name, (least, most) in STOP_RULE.items() if not least <= values[name] <= most]


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread, since sums depend on the number of threads; restores torch's global state."""
    with threads(1), torch.random.fork_rng(devices=[]):
        yield


def train(recipe: TinyRecipe) -> tuple[LlamaForCausalLM, list[dict[str, float]]]:
    """Train until the stop rule is met or the steps are used up; returns the model and the values of every check."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    model = new_model(recipe)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay
    )
    checks: list[dict[str, float]] = []
    bar = tqdm(range(1, recipe.steps + 1), desc=f"tiny, seed {recipe.seed}")
    for step in bar:
        rate = recipe.lr * min(1, step / recipe.warmup) * (1 + math.cos(math.pi * step / recipe.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        examples = [example(recipe, rng) for _ in range(recipe.batch)]
        total = sum(sum(e.weights) for e in examples)
        for ids, weights in chunks(examples):
            (loss_sum(model, ids, weights) / total).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        if step == recipe.steps or (step >= recipe.check_from and step % recipe.check_every == 0):
            values = criteria(model, recipe.check_n)
            checks.append({"step": step, **values})
            bar.set_postfix_str(" ".join(f"{name} {value:.2f}" for name, value in values.items()))
            if not missed(values):
                break
    bar.close()
    return model.eval(), checks
