"""What is pushed of a training: the policy, its record, and a card whose numbers are those of the record."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import huggingface_hub.constants
import pandas as pd
import pytest
import yaml

from expo.cli import main
from expo.evaluate import by_level
from expo.records import RecordError, Run
from expo.train.card import card, files_of, push_model
from expo.train.recipe import read_recipe
from expo.train.run import train
from tests.answering import answer

from .test_run import VALUES

_AS_IT_IS = {"uploadMode": "regular", "shouldIgnore": False}
SHORT = {**VALUES, "max_steps": 2, "eval_steps": 2}


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as takes one commit to an empty repository; what it was given is in `files`."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("content-length") or 0))
        here = "http://127.0.0.1/me/mine"
        if "/preupload/" in self.path:
            answer(self, {"files": [{**f, **_AS_IT_IS} for f in json.loads(asked)["files"]]})
        elif "/commit/" in self.path:
            for line in map(json.loads, asked.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer(self, {"commitUrl": f"{here}/commit/0", "commitOid": "0", "pullRequestUrl": None, "success": True})
        else:
            answer(self, {"url": here})

    def do_GET(self) -> None:
        there = [{"type": "file", "path": path, "size": 1, "oid": "0"} for path in self.files]
        answer(self, there if "/tree/" in self.path else {"id": "me/mine", "sha": "0", "siblings": []})

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(read_recipe(dict(SHORT)), tmp_path_factory.mktemp("card") / "run", progress=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.files.clear()
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield Hub
        server.shutdown()


def test_a_policy_is_pushed_whole_and_only_once(run: Run, hub: type[Hub]) -> None:
    push_model(run, "me/mine")
    assert hub.files["model.safetensors"] == run.path("model", "model.safetensors").read_bytes()
    assert hub.files["record/evaluation.parquet"] == run.path("evaluation.parquet").read_bytes()
    assert {"config.json", "tokenizer.json", "README.md", "record/recipe.yaml"} <= hub.files.keys()
    assert not [name for name in hub.files if name.endswith((".pt", ".bin", ".pth"))]
    assert "record/skips.parquet" not in hub.files
    with pytest.raises(RecordError, match="me/mine, which already holds README"):
        push_model(run, "me/mine")


def test_the_card_says_what_the_record_does(run: Run) -> None:
    evaluation = run.read("evaluation")
    last = by_level(evaluation[evaluation["step"] == 2])[None]
    text = card(run)
    assert f"| 2 | all | {last.n} | {last} |" in text
    assert "**A toy.**" in text
    assert yaml.safe_load(text.split("---")[1])["tags"] == ["expo", "self-explanation", "grpo"]
    assert yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["max_steps"] == 2


def test_a_finished_run_is_pushed_by_the_same_command(
    run: Run, hub: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yaml").write_text(json.dumps(SHORT))
    asked = ["train", "--config", str(tmp_path / "r.yaml"), "--output", str(run.folder)]
    assert main([*asked, "--push_to_hub", "true", "--hub_model_id", "me/mine"]) == 0
    assert "pushed to https://huggingface.co/me/mine" in capsys.readouterr().out
    assert "README.md" in hub.files
    with pytest.raises(SystemExit):
        main([*asked, "--push_to_hub", "true"])
    assert "--push_to_hub true --hub_model_id owner/name" in capsys.readouterr().err
    for name in ("mine", "me/", "https://hub/me/mine"):
        with pytest.raises(SystemExit):
            main([*asked, "--push_to_hub", "true", "--hub_model_id", name])
        assert f"hub_model_id must be owner/name, got {name!r}" in capsys.readouterr().err


def test_a_run_without_its_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no trained policy to push"):
        files_of(Run(tmp_path))


def test_nothing_that_is_pushed_names_a_folder_of_this_machine(tmp_path: Path, policy_folder: Path) -> None:
    rows = [{"question": f"how many? {i}", "answer": str(i)} for i in (1, 2, 3, 4, 4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"task": "jsonl", "data": str(tmp_path / "rows.jsonl"), "policy": str(policy_folder), "positive": "answer"}
    asked |= {"algorithm": "sft", "max_steps": 1, "per_device_train_batch_size": 2, "max_completion_length": 8}
    asked |= {"eval_samples": 1, "use_peft": True, "probe_problems": 1}
    made = train(read_recipe(asked), tmp_path / "run", progress=False)
    # One row is there twice, and is named by its file.
    assert str(tmp_path) in made.read("skips").to_string()
    assert str(policy_folder) in made.path("model", "adapter_config.json").read_text()
    for name, content in files_of(made).items():
        if name.endswith(".parquet"):
            said = pd.read_parquet(content).to_string().encode()
        else:
            said = content if isinstance(content, bytes) else content.read_bytes()
        assert str(tmp_path).encode() not in said, name
        assert str(policy_folder).encode() not in said, name
