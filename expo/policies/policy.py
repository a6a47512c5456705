"""A policy: a causal language model with its tokenizer, its prompts, and their origin."""

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

# Some chat templates write today's date into every prompt unless they are given another one. This is Llama 3.2's own
# default for a machine without a clock. A record must not depend on the day.
TEMPLATE_DATE = "26 Jul 2024"
# Prepended to a template, so that its clock always returns that date.
_NO_CLOCK = "{% macro strftime_now(format) %}" + TEMPLATE_DATE + "{% endmacro %}"
# Tells Qwen3, Granite and DeepSeek-V3.1 not to think in a hidden part.
TEMPLATE_VARIABLES = {"date_string": TEMPLATE_DATE, "enable_thinking": False, "thinking": False}
# SentencePiece's character for a space.
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class PolicyError(ValueError):
    """A policy that cannot be loaded or used; the message says what was tried and how to fix it."""


def shown(error: Exception) -> str:
    """A short form of an error's message."""
    return textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__


@dataclass
class Policy:
    """A model to sample from and score with. `source` describes its weights for the record."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: Prompts
    source: str
    # Samples in place of the model, with its weights.
    engine: Engine | None = None
    # The dtype in which the policy's own model samples; None means the model's own.
    sampling_dtype: torch.dtype | None = None
    # The text of a single token.
    _pieces: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """The device for the model's inputs."""
        return self.model.device

    def as_sampled(self) -> Policy:
        """The policy to sample from: itself, or a copy of its current weights in its sampling dtype."""
        if self.sampling_dtype in (None, self.model.dtype):
            return self
        # Weights are converted one by one, without copying them first; buffers, such as those for positions, stay
        # exact.
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
        """The token that closes the model's turn: the one that its chat template writes, else the tokenizer's end.

        The two differ if a template ends turns with a special token (Gemma's <end_of_turn>, Phi-3's <|end|>).
        """
        if self.uses_chat_template:
            turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "ANSWER"}]
            written = self.encode(self._render(turns, add_generation_prompt=False).rpartition("ANSWER")[2].strip())
            if written[:1] and written[0] in self.tokenizer.added_tokens_decoder:
                return (written[0],)
        return (self.tokenizer.eos_token_id,)

    @cached_property
    def vocabulary(self) -> int:
        """Token ids are below this. The model may score more ids, which are not tokens: rows that pad its matrix."""
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def context(self) -> int:
        """The maximum sequence length of the model, in tokens."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 1 << 30))

    @property
    def uses_chat_template(self) -> bool:
        """Whether prompts are wrapped in the tokenizer's chat template."""
        return self.prompts.chat and bool(self.tokenizer.chat_template)

    @property
    def template_in_words(self) -> str | None:
        """The chat template that wraps prompts; None if the recipe asks for none."""
        if not self.prompts.chat:
            return None
        if not self.tokenizer.chat_template:
            return "none: the tokenizer has none"
        return f"sha256 {hashlib.sha256(self.tokenizer.get_chat_template().encode()).hexdigest()[:12]}"

    def encode(self, text: str) -> list[int]:
        """Tokenise a piece of text, without adding special tokens.

        Raises:
            PolicyError: if the tokenizer has a fixed vocabulary of words that lacks some of these.
        """
        try:
            return self.tokenizer.encode(text, add_special_tokens=False)
        except Exception as error:  # tokenizers raises nothing narrower
            if "Missing [UNK] token" not in str(error):
                raise
            raise PolicyError(
                f"policy {self.name!r}: its tokenizer does not know all words of {textwrap.shorten(text, 60)!r}"
            ) from error

    def encode_on(self, text: str) -> list[int]:
        """Tokenise a piece of text that continues other text.

        SentencePiece tokenizers write a space before any text they encode; here an anchor takes that space and is cut
        off.
        """
        alone = self.encode(text)
        if not alone or not str(self.tokenizer.convert_ids_to_tokens(alone[0])).startswith(_SPACE):
            return alone
        anchor, ids = self.encode("\n"), self.encode("\n" + text)
        return ids[len(anchor) :] if ids[: len(anchor)] == anchor else alone

    def prompt_ids(self, text: str) -> list[int]:
        """Tokenise a user's turn, ready for the model to answer.

        A chat template writes the begin token itself, so none is added to its output. Without a template the text is
        the prompt, after the begin token if the tokenizer adds one. Models that can think in a hidden part are asked
        not to: a CoT must be visible.

        Raises:
            PolicyError: if the chat template fails, or starts a hidden part anyway.
        """
        words = self.tokenizer
        if self.uses_chat_template:
            written = self._render([{"role": "user", "content": text}], add_generation_prompt=True)
            if written.rstrip().endswith("<think>"):
                raise PolicyError(
                    f"policy {self.name!r}: its chat template starts every answer with hidden thinking "
                    "(<think>), so a CoT would be scored as part of it; use a policy or a template that "
                    "answers openly"
                )
            return self.encode(written)
        # Not `encode` with special tokens, since some tokenizers also add an end token.
        begins = words.bos_token_id is not None and words.encode("")[:1] == [words.bos_token_id]
        return [words.bos_token_id] * begins + self.encode(text)

    def _render(self, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            # Among several named templates, the default.
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
        """The text of a completion, without its end token."""
        ids = list(ids)
        if ids and ids[-1] in self.eos_ids:
            ids = ids[:-1]
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def token_ends(self, ids: Sequence[int], text: str) -> list[int]:
        """The end of each token of a completion in its text, in characters; an incomplete character does not count."""
        for i in set(ids) - self._pieces.keys():
            self._pieces[i] = self.decode([i])
        pieces = [self._pieces[i] for i in ids]
        # The end token is not part of the text; a tokenizer of words writes spaces between them.
        for space in ("", " "):
            if space.join(filter(None, pieces)) == text:
                return list(accumulate(len(p) + len(space) * bool(p and n) for n, p in enumerate(pieces)))
        return self._ends_by_window(ids)

    def _ends_by_window(self, ids: Sequence[int]) -> list[int]:
        """`token_ends` if a token's text depends on others: decodes from the last token that ended a character."""
        ends, length, first, last = [], 0, 0, 0
        for n in range(1, len(ids) + 1):
            known, grown = self.decode(ids[first:last]), self.decode(ids[first:n])
            # Some tokenizers write a space only together with what follows it.
            if len(grown) > len(known) and not grown.endswith("\N{REPLACEMENT CHARACTER}"):
                length += len(grown) - len(known)
                first, last = last, n
            ends.append(length)
        return ends


def __getattr__(name: str) -> object:
    if name == "load_policy":
        raise ImportError("expo.policies.policy.load_policy is now expo.policies.load.load_policy")
    raise AttributeError(name)
