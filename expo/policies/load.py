"""Loading a policy by name: shipped bases, wheels, GGUF files, folders, the hub; from safetensors only."""

from __future__ import annotations

import hashlib
import re
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from expo.policies.adapters import CONFIG, WEIGHTS, base_of, is_adapter, load_adapter
from expo.policies.names import DTYPE_NAMES, SMOLLM2, SMOLLM2_HUB, SMOLLM2_WHEEL, TINY, cache_dir, nearest, writable
from expo.policies.policy import Policy, PolicyError, shown
from expo.policies.weights import check_weights
from expo.tasks.prompts import Prompts

# Other kinds of layers (linear attention, state-space) keep a recurrent state, which padding would change.
SUPPORTED_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
DTYPES = {name: getattr(torch, name) for name in DTYPE_NAMES}
# The only files fetched from a hub repository: no pickles, no second copy of the weights in a folder or as
# `consolidated`.
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py"]
_HUB_EXTRAS = ["*/*", "consolidated*"]
GIVE = (
    "Give tiny, smollm2-135m, a folder with config.json, a tokenizer and model.safetensors (pickled weights "
    "are not read: they can run code), a .gguf file, or a hub id."
)


def load_policy(
    name: str,
    prompts: Prompts,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """Load `tiny`, `tiny-<k>`, `smollm2-135m`, a folder, a `.gguf` file, or any hub id, in evaluation mode.

    Weights are read from safetensors only. `dtype="auto"` is float32 on a CPU and bfloat16 on a GPU. `revision` applies
    to a hub id; `attn_implementation` is passed to transformers. The folder of a LoRA adapter loads its base with the
    adapter, and the base's tokenizer.

    Raises:
        PolicyError: if no complete policy of that name can be loaded, or it cannot be sampled in batches.
    """
    place = _device(device)
    if dtype not in ("auto", *DTYPES):
        raise PolicyError(f"dtype {dtype!r}: unknown; choose from auto, {', '.join(DTYPES)}")
    kind = DTYPES[("float32" if place.type == "cpu" else "bfloat16") if dtype == "auto" else dtype]
    where, source = resolve(name, revision)
    check_weights(name, Path(where))
    if is_adapter(Path(where)):
        base_name, base_revision = base_of(Path(where))
        if is_adapter(Path(base_name).expanduser()):
            raise PolicyError(f"policy {name!r}: its base {base_name!r} is itself an adapter; merge that one first")
        base = load_policy(
            base_name,
            prompts,
            device=device,
            dtype=dtype,
            revision=base_revision,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
        )
        model = load_adapter(base.model, Path(where)).eval()
        return replace(base, name=name, model=model, source=f"{source} on {base.source}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=trust_remote_code)
        model, report = AutoModelForCausalLM.from_pretrained(
            where,
            dtype=kind,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            ignore_mismatched_sizes=True,  # `_check` names them
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        code = " Its own code runs only with --trust-remote-code." if "custom code" in str(error) else ""
        raise PolicyError(f"policy {name!r}: {shown(error)}{code}\n{GIVE}") from error
    policy = Policy(name, model, tokenizer, prompts, source)
    _check(policy, [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])])
    policy.model = model.to(place).eval()
    return policy


def _device(name: str) -> torch.device:
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(auto if name == "auto" else name)
        torch.empty(0, device=device)
    # The errors of torch for a device that it does not know, was not built for, or does not find.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PolicyError(f"device {name!r}: {shown(error)}; --device auto would choose {auto}") from error
    return device


def _check(policy: Policy, missing: Iterable[str]) -> None:
    """Reject a policy that loads but would be sampled or scored wrongly."""
    if missing := sorted(missing):
        raise PolicyError(
            f"policy {policy.name!r}: its files lack these weights, or hold them in another shape: "
            f"{', '.join(missing[:3])}{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}"
        )
    config = policy.model.config.get_text_config()
    if unknown := set(getattr(config, "layer_types", None) or ()) - SUPPORTED_LAYERS:
        raise PolicyError(
            f"policy {policy.name!r}: layers of kind {', '.join(sorted(unknown))} are not supported, since "
            f"they cannot share a prompt; supported kinds are {', '.join(sorted(SUPPORTED_LAYERS))}"
        )
    if getattr(config, "num_kv_shared_layers", 0):
        raise PolicyError(
            f"policy {policy.name!r}: not supported, since its layers share keys and values, which batches "
            "with shared prompts cannot"
        )
    if policy.tokenizer.eos_token_id is None:
        raise PolicyError(f"policy {policy.name!r}: its tokenizer has no end token; set eos_token")


def resolve(name: str, revision: str | None = None) -> tuple[str, str]:
    """The place of a policy's files, and a description of its weights.

    Raises:
        PolicyError: if there is no such policy, or a `revision` is given for something other than a hub id.
    """
    if revision and not _is_hub_id(name):
        raise PolicyError(f"policy {name!r}: a revision ({revision!r}) applies only to hub ids; leave it out")
    if found := TINY.fullmatch(name):
        from expo.policies import tiny

        folder = tiny.path(int(found[1] or 0))
        return str(folder), f"tiny base, recipe {folder.name}"
    if name == SMOLLM2:
        gguf = wheel_file()
        if gguf is None:
            return _from_hub(SMOLLM2_HUB)
        wheel = f"{SMOLLM2_WHEEL} {metadata.version(SMOLLM2_WHEEL)}"
        return _from_gguf(gguf), f"{SMOLLM2_HUB}, Q4_1 GGUF of the wheel {wheel}, dequantised"
    path = Path(name).expanduser()
    if name.endswith(".gguf"):
        if not path.is_file():
            raise PolicyError(f"policy {name!r}: no such file")
        return _from_gguf(path), f"{path.name}, dequantised, sha256 {_digest([path])}"
    if name and path.is_dir():
        if not any(path.iterdir()):
            raise PolicyError(f"policy {name!r}: this folder is empty\n{GIVE}")
        if not (path / "config.json").exists() and (
            (path / "model" / "config.json").exists() or is_adapter(path / "model")
        ):
            raise PolicyError(f"policy {name!r}: this is a run folder; its policy is in {str(path / 'model')!r}")
        if is_adapter(path):
            base_of(path)
            return str(path), f"adapter {path.resolve().name}, sha256 {_digest([path / CONFIG, path / WEIGHTS])}"
        if not (path / "config.json").exists() and (last := _last_checkpoint(path)):
            raise PolicyError(
                f"policy {name!r}: this training is not finished; repeat its command, or use {str(last)!r}"
            )
        return str(path), f"folder {path.resolve().name}, sha256 {_digest(sorted(path.glob('*.safetensors')))}"
    _check_hub_id(name)
    return _from_hub(name, revision)


def _last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint of a training, given its run folder or `checkpoints` folder."""
    places = (folder if folder.name == "checkpoints" else folder / "checkpoints").glob("checkpoint-*")
    return max(places, key=lambda p: int(p.name.rpartition("-")[2]), default=None)


def where_is(name: str) -> str:
    """A folder or hub id from which a policy's configuration can be read without fetching its weights.

    Raises:
        PolicyError: if there is no such policy, as far as is known without the hub.
    """
    if _is_hub_id(name):
        _check_hub_id(name)
        return name
    return resolve(name)[0]


def _is_hub_id(name: str) -> bool:
    is_other = name == SMOLLM2 or TINY.fullmatch(name) or name.endswith(".gguf") or Path(name).expanduser().is_dir()
    return not is_other


def _check_hub_id(name: str) -> None:
    if re.match(r"https?://", name):
        raise PolicyError(f"policy {name!r}: an endpoint does not score given texts, so it is no policy\n{GIVE}")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise PolicyError(f"policy {name!r}: this is neither a folder here nor a hub id\n{GIVE}")


def _from_hub(repo: str, revision: str | None = None) -> tuple[str, str]:
    """Download once to the hub's own cache; without a network, use what is in the cache."""
    try:
        # The snapshot contacts the repository once; from_pretrained would retry each file for half a minute.
        folder = Path(
            snapshot_download(repo, revision=revision, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_EXTRAS)
        )
    except GatedRepoError as error:
        raise PolicyError(
            f"policy {repo!r}: accept its licence at https://huggingface.co/{repo}, then log in here: hf auth login"
        ) from error
    except (OSError, ValueError) as error:
        at = f" at revision {revision!r}" if revision else ""
        reason = _unreached(error) if isinstance(error, LocalEntryNotFoundError) else shown(error)
        meant = f"; did you mean {near}?" if (near := nearest(repo, [])) else ""
        raise PolicyError(
            f"policy {repo!r}{at}: this is not a folder here, and it cannot be read from the hub: "
            f"{reason}{meant}\n{GIVE} A hub id needs a network, or HF_HOME pointing at a filled cache."
        ) from error
    return str(folder), f"{repo} (hub, commit {folder.name})"


def _unreached(error: LocalEntryNotFoundError) -> str:
    """The reason for a hub failure, shorter than the error's own text, which is about the hub's cache."""
    cause = type(error.__cause__).__name__
    return "offline mode is on (HF_HUB_OFFLINE)" if "Offline" in cause else f"the hub cannot be reached ({cause})"


def _digest(files: Iterable[Path]) -> str:
    """A digest of the content of files: another file under the same name is another policy."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]


def wheel_file() -> Path | None:
    """Find the GGUF file inside the wheel without importing it (its own import needs llama.cpp)."""
    try:
        files = metadata.files(SMOLLM2_WHEEL) or []
    except metadata.PackageNotFoundError:
        return None
    gguf_files = [Path(str(f.locate())) for f in files if f.suffix == ".gguf"]
    return gguf_files[0] if gguf_files and gguf_files[0].is_file() else None


def _from_gguf(file: Path) -> str:
    """Dequantise a GGUF file once to a folder of safetensors; later loads take a tenth of a second."""
    folder = cache_dir() / "gguf" / f"{file.stem}-{_digest([file])}"
    if folder.is_dir():
        return str(folder)
    writable(folder.parent)
    # Written next to its place and renamed into it, so that a killed conversion leaves no half policy under its name.
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as temporary:
        draft = Path(temporary) / "policy"
        try:
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            # Without dequantize=True the weights stay packed and cannot be trained.
            model = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
        # The errors of transformers' reader for a damaged file or an unknown architecture.
        except (OSError, ValueError, LookupError, NotImplementedError, struct.error) as error:
            raise PolicyError(f"policy {str(file)!r}: cannot be read as GGUF: {shown(error)}") from error
        tokenizer.save_pretrained(draft)
        model.save_pretrained(draft)
        try:
            draft.rename(folder)
        except OSError:
            # Another process may have finished first; its folder has the same content.
            if not folder.is_dir():
                raise
    return str(folder)
