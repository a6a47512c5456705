"""A policy: a causal language model with its tokenizer, its prompts, and where they came from."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

import jinja2
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expo.policies.engine import Engine
from expo.tasks.prompts import Prompts

# Some chat templates write today's date into every prompt, unless they are told another: this is Llama 3.2's own
# default where there is no clock. A record must not depend on the day.
TEMPLATE_DATE = "26 Jul 2024"
# Before a template: what it asks of the clock is answered with that date.
_NO_CLOCK = "{% macro strftime_now(format) %}" + TEMPLATE_DATE + "{% endmacro %}"
# Qwen3, and Granite and DeepSeek-V3.1, are asked not to think in a hidden part.
TEMPLATE_VARIABLES = {"date_string": TEMPLATE_DATE, "enable_thinking": False, "thinking": False}
# How SentencePiece writes a space.
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class PolicyError(ValueError):
    """A policy that cannot be loaded or used; the message says what was tried and the fix."""


def shown(error: Exception) -> str:
    """An error in a few words."""
    return textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__


@dataclass
class Policy:
    """What is sampled from and scored. `source` says which weights these are, for the record."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: Prompts
    source: str
    # What samples in the model's place, with its weights.
    engine: Engine | None = None
    # The dtype in which its own model samples; None for the model's own.
    sampling_dtype: torch.dtype | None = None
    # The text of a token alone.
    _pieces: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the model's inputs go."""
        return self.model.device

    def as_sampled(self) -> Policy:
        """The policy to sample from: itself, or a copy that has its present weights in its sampling dtype."""
        if self.sampling_dtype in (None, self.model.dtype):
            return self
        # Weights are converted one by one, and not copied first; buffers, such as those for positions, stay exact.
        weights = {
            id(p): torch.nn.Parameter(p.detach().to(self.sampling_dtype), requires_grad=False)
            for p in self.model.parameters()
        }
        return replace(self, model=deepcopy(self.model, weights), sampling_dtype=None)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a completion: those of the generation config, the tokenizer's own, and `end`."""
        ids = self.model.generation_config.eos_token_id
        ids = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
        return frozenset([*ids, self.tokenizer.eos_token_id, *self.end])

    @cached_property
    def end(self) -> tuple[int, ...]:
        """The token that closes the model's turn: what the chat template writes after it, else the tokenizer's end.

        The two differ where a template ends turns by a token of its own (Gemma's <end_of_turn>, Phi-3's <|end|>).
        """
        if self.uses_chat_template:
            turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "ANSWER"}]
            written = self.encode(self._render(turns, add_generation_prompt=False).rpartition("ANSWER")[2].strip())
            if written[:1] and written[0] in self.tokenizer.added_tokens_decoder:
                return (written[0],)
        return (self.tokenizer.eos_token_id,)

    @cached_property
    def vocabulary(self) -> int:
        """Token ids are below this. The model may score more, which are no tokens: rows that round its matrix up."""
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def context(self) -> int:
        """The longest sequence in tokens that the model was built for."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 1 << 30))

    @property
    def uses_chat_template(self) -> bool:
        """Whether prompts are wrapped in the tokenizer's chat template."""
        return self.prompts.chat and bool(self.tokenizer.chat_template)

    @property
    def template_in_words(self) -> str | None:
        """Which chat template wraps prompts; None where the recipe asks for none."""
        if not self.prompts.chat:
            return None
        if not self.tokenizer.chat_template:
            return "none: the tokenizer has none"
        return f"sha256 {hashlib.sha256(self.tokenizer.get_chat_template().encode()).hexdigest()[:12]}"

    def encode(self, text: str) -> list[int]:
        """Tokens of a piece of text, no special tokens added.

        Raises:
            PolicyError: if the tokenizer knows only certain words, and not all of these.
        """
        try:
            return self.tokenizer.encode(text, add_special_tokens=False)
        except Exception as error:  # tokenizers has no narrower one
            if "Missing [UNK] token" not in str(error):
                raise
            raise PolicyError(
                f"policy {self.name!r}: its tokenizer lacks words of {textwrap.shorten(text, 60)!r}"
            ) from error

    def encode_on(self, text: str) -> list[int]:
        """Tokens of a piece of text that goes on after other text.

        SentencePiece tokenizers write a space before whatever they encode; it is the anchor's here, and cut off.
        """
        alone = self.encode(text)
        if not alone or not str(self.tokenizer.convert_ids_to_tokens(alone[0])).startswith(_SPACE):
            return alone
        anchor, ids = self.encode("\n"), self.encode("\n" + text)
        return ids[len(anchor) :] if ids[: len(anchor)] == anchor else alone

    def prompt_ids(self, text: str) -> list[int]:
        """Tokens of a user's turn, ready for the model to answer.

        A chat template writes the begin token itself, so its output gets no second one. Without a template the
        text is the prompt, after the begin token if the tokenizer adds one. Models that can think in a hidden part
        are asked not to: a CoT is what they show.

        Raises:
            PolicyError: if the chat template refuses the turn, or begins a hidden part nevertheless.
        """
        words = self.tokenizer
        if self.uses_chat_template:
            written = self._render([{"role": "user", "content": text}], add_generation_prompt=True)
            if written.rstrip().endswith("<think>"):
                raise PolicyError(
                    f"policy {self.name!r}: its chat template begins every answer with hidden thinking (<think>), in "
                    "which a CoT would be scored as a thought; use a policy or a template that answers openly"
                )
            return self.encode(written)
        # Not `encode` with special tokens, for some tokenizers add an end token too.
        begins = words.bos_token_id is not None and words.encode("")[:1] == [words.bos_token_id]
        return [words.bos_token_id] * begins + self.encode(text)

    def _render(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            # Of several named templates, the default.
            template = self.tokenizer.get_chat_template()
            written: str = self.tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                chat_template=_NO_CLOCK + template,
                **TEMPLATE_VARIABLES,
            )
        except (jinja2.TemplateError, ValueError) as error:
            raise PolicyError(
                f"policy {self.name!r}: its chat template fails: {shown(error)}; fix tokenizer_config.json or "
                "chat_template.jinja, or use none: --prompts '{\"chat\": false}'"
            ) from error
        return written

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion, its end token left off."""
        ids = list(ids)
        if ids and ids[-1] in self.eos_ids:
            ids = ids[:-1]
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def token_ends(self, ids: Sequence[int], text: str) -> list[int]:
        """Where each token of a completion ends in its text, in characters; half a character does not count."""
        for i in set(ids) - self._pieces.keys():
            self._pieces[i] = self.decode([i])
        pieces = [self._pieces[i] for i in ids]
        # The end token is no part of the text; a tokenizer of words writes spaces between them.
        for space in ("", " "):
            if space.join(filter(None, pieces)) == text:
                return list(accumulate(len(p) + len(space) * bool(p and n) for n, p in enumerate(pieces)))
        return self._ends_by_window(ids)

    def _ends_by_window(self, ids: Sequence[int]) -> list[int]:
        """`token_ends` where pieces change beside others: each is decoded after the last that ended a character."""
        ends, length, first, last = [], 0, 0, 0
        for n in range(1, len(ids) + 1):
            known, grown = self.decode(ids[first:last]), self.decode(ids[first:n])
            # A space alone may be written only before what follows it.
            if len(grown) > len(known) and not grown.endswith("\N{REPLACEMENT CHARACTER}"):
                length += len(grown) - len(known)
                first, last = last, n
            ends.append(length)
        return ends


def __getattr__(name: str) -> object:
    if name == "load_policy":
        raise ImportError("expo.policies.policy.load_policy is now expo.policies.load.load_policy")
    raise AttributeError(name)
