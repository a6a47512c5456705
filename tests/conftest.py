"""Tiny real models, built on the spot: random weights, a byte-level tokenizer, a template; and what tests share."""

from __future__ import annotations

import os

# Read when huggingface_hub is imported. No test reads a hub, and without a network each look takes 20 seconds.
os.environ["HF_HUB_OFFLINE"] = "1"

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from expo.grading.answers import AnswerGrader
from expo.grading.rules import USUAL, Rules
from expo.policies.policy import Policy
from expo.tasks.checker import ARITHMETIC, StepChecker, TextChecker
from expo.tasks.prompts import TEXT

# A shell starts background jobs with Ctrl-C ignored, and what they start inherits it: tests that press it need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that no process is left alone with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LINES = [
    "The answer is \\boxed{12}. Think step by step.",
    "3 * 4 = 12 apples, so there are 12.",
    "Q: how many?\n\n",
]
SHAPES = {
    "llama": {"tie_word_embeddings": False},
    "llama-tied": {"tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 8},
}


def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        LINES,
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = TEMPLATE
    return made


def build(
    shape: str = "llama",
    *,
    chat: bool = True,
    context: int = 512,
    dtype: torch.dtype = torch.float64,
    head_dim: int = 8,
    seed: int = 0,
) -> Policy:
    """A policy of random weights whose next-token distributions are far from uniform."""
    words = tokenizer()
    if not chat:
        words.chat_template = None
    config = AutoConfig.for_model(
        shape.split("-")[0],
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=context,
        initializer_range=0.3,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
        pad_token_id=None,
        **SHAPES[shape],
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    return Policy(shape, model, words, TEXT, "random weights")


@pytest.fixture(params=sorted(SHAPES))
def any_policy(request: pytest.FixtureRequest) -> Policy:
    return build(request.param)


@pytest.fixture
def policy() -> Policy:
    return build()


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy as a hub folder: what a user would name."""
    folder = tmp_path_factory.mktemp("policy")
    made = build(dtype=torch.float32)
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def left_as_found() -> Iterator[None]:
    """What a command sets for its whole process ends with the test: environment, threads, random states."""
    environment, threads = dict(os.environ), torch.get_num_threads()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    # pytest itself takes this one away.
    environment["PYTEST_CURRENT_TEST"] = os.environ.get("PYTEST_CURRENT_TEST", "")
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    torch.set_num_threads(threads)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture(autouse=True, scope="session")
def one_grader() -> Iterator[None]:
    """Commands run in this process share a grader: each would start its own, and wait for it to import sympy.

    How a grader starts and ends its process is told in the tests of graders, which this does not touch.
    """
    graders: dict[tuple[float, Rules], AnswerGrader] = {}

    def begin(self: TextChecker, seconds: float = 5.0, rules: Rules = USUAL, steps: StepChecker = ARITHMETIC) -> None:
        self._rules, self._steps = rules, steps
        self._grader = graders.setdefault((seconds, rules), AnswerGrader(seconds, rules))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextChecker, "__init__", begin)
        patch.setattr(TextChecker, "close", lambda self: None)
        yield
    for grader in graders.values():
        grader.close()
