"""The shapes of the paper's two policies, copied from their `config.json` on the hub, so that planning needs no hub."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

_SHARED = {"tie_word_embeddings": True, "hidden_act": "silu"}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen/Qwen2.5-3B-Instruct": (
        "qwen2",
        {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "max_position_embeddings": 32768,
            **_SHARED,
        },
    ),
    "meta-llama/Llama-3.2-3B-Instruct": (
        "llama",
        {
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 28,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
            **_SHARED,
        },
    ),
}


def known_shape(name: str) -> PretrainedConfig | None:
    """The configuration of one of the two policies, at any revision; None for another policy."""
    if name not in SHAPES:
        return None
    kind, sizes = SHAPES[name]
    return AutoConfig.for_model(kind, **sizes)
