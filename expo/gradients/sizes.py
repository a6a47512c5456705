"""How much to compute at once, by device: a CPU is fastest within its cache, a GPU with large amounts."""

from __future__ import annotations

import torch

from expo.environment import free_machine_memory

# Size of the part of N gradients that is computed at once. A part that fits the cache is multiplied before it leaves
# it.
_CACHE_BYTES, _PART_BYTES, _GPU_PART_BYTES = 16 << 20, 1 << 28, 1 << 30
# Products with fewer rows of a matrix than this are slow, whatever the cache.
_ROWS = 32
# With this, SmolLM2-135M and 64 examples of 150 tokens stay within 8 GiB.
_MOST_GRAPH_BYTES = 4 << 30


def batch_tokens(device: torch.device) -> int:
    """The tokens, including padding, that a block runs on at once."""
    return 4096 if device.type == "cuda" else 1024


def head_tokens(device: torch.device) -> int:
    """The tokens whose logits are held at once."""
    return 512 if device.type == "cuda" else 128


def part_rows(device: torch.device, row: int) -> int:
    """The rows of a matrix whose N gradients are held at once; one row of all N takes `row` bytes."""
    if device.type == "cuda":
        # A share of the total memory: asking for the free memory at each layer would wait for the GPU.
        share = torch.cuda.get_device_properties(device).total_memory // 64
        return max(1, min(max(_PART_BYTES, share), _GPU_PART_BYTES) // row)
    return max(1, min(max(_CACHE_BYTES // row, _ROWS), _PART_BYTES // row))


def graph_bytes(device: torch.device) -> int:
    """The bytes for the kept graphs of blocks: half of the free memory, on a CPU at most 4 GiB."""
    return _free(device) // 2 if device.type == "cuda" else min(_free(device) // 2, _MOST_GRAPH_BYTES)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        # Memory that the allocator holds but nothing uses is free too.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    return free_machine_memory()
