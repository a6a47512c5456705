"""The dataset folder: `datasets` reads it back as it was, its card says what it is, and nothing else is overwritten."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import datasets
import huggingface_hub
import pandas as pd
import pytest
import yaml

from expo.dataset import COLUMNS, push, write_dataset
from expo.recipe import MeasureRecipe
from expo.records import RecordError, Run
from expo.schema import TABLES
from tests.answering import answer

TEXTS = [
    "We add: 3 + 4 = 7.",
    "---\nlicense: none\n---\n# A heading\n```yaml\ntask: x\n```",
    "<script>alert(1)</script> &amp; <b>bold</b> | cell | cell |",
    "naïve 漢字 🙂 \u202eright to left\u202c e\u0301 \x85 \u2028 \ufeff\ufffd",
    'tab\t, "quotes", \\boxed{\\frac{1}{2}}, nul \x00, bell \x07, \r\n line',
    "",
]


def samples(texts: list[str] = TEXTS, source: str = "explanation") -> pd.DataFrame:
    frame = pd.DataFrame({name: [None] * len(texts) for name in TABLES["samples"]})
    return frame.assign(
        problem=[f"p{i // 2}" for i in range(len(texts))],
        level=[1 + i if i else None for i in range(len(texts))],
        source=source,
        question=[f"Question: {t}" for t in texts],
        reference="7",
        text=[f"{t}\n\nThe answer is \\boxed{{7}}" for t in texts],
        cot=texts,
        answer=["7" if i % 3 else "8" for i in range(len(texts))],
        tokens=range(10, 10 + len(texts)),
        nll_sum=1.25,
        learning_signal=-0.5,
        correct=[bool(i % 3) for i in range(len(texts))],
        leak=[i == 1 for i in range(len(texts))],
        truncated=False,
    )


def record(folder: Path, frame: pd.DataFrame | None = None, toy: bool = False, **asked: Any) -> Run:
    recipe = MeasureRecipe(task="chain" if toy else "gsm8k", sources=["explanation"], **asked).resolved()
    facts = {"task": "gsm8k/test.jsonl", "toy": toy, "weights": "folder p, sha256 0123456789ab"}
    run = Run.start(folder, recipe, **facts)
    run.write("samples", samples() if frame is None else frame)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return record(tmp_path / "run")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def loaded(folder: Path, cache: Path) -> datasets.Dataset:
    return datasets.load_dataset(str(folder), split="train", cache_dir=str(cache))


@pytest.mark.usefixtures("no_network")
def test_no_network_is_no_network() -> None:
    # create_connection would leave its socket to the garbage collector, whose warning is an error here.
    with socket.socket() as tried, pytest.raises(AssertionError, match="a connection was tried"):
        tried.connect(("127.0.0.1", 1))


@pytest.mark.usefixtures("no_network")
def test_datasets_reads_back_every_text_as_it_was(run: Run, tmp_path: Path) -> None:
    folder = write_dataset(run, tmp_path / "out")
    rows = loaded(folder, tmp_path / "cache")
    assert rows.column_names == list(COLUMNS)
    assert rows["explanation"][:] == TEXTS
    assert rows["question"][:] == [f"Question: {t}" for t in TEXTS]
    assert rows["completion"][0] == "We add: 3 + 4 = 7.\n\nThe answer is \\boxed{7}"
    assert rows[0]["answer"] == "7"
    assert rows[0]["sampled_answer"] == "8"
    assert rows["level"][:] == [None, 2, 3, 4, 5, 6]
    assert rows["correct"][:] == [False, True, True, False, True, True]
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "data" / "train-00000-of-00001.parquet")[["problem", "tokens", "nll_sum"]],
        run.read("samples")[["problem", "tokens", "nll_sum"]],
    )


def test_only_explanations_are_rows(tmp_path: Path) -> None:
    mixed = pd.concat([samples(["mine"], "own"), samples(["shown"]), samples(["theirs"], "expert")])
    folder = write_dataset(record(tmp_path / "run", mixed), tmp_path / "out")
    assert loaded(folder, tmp_path / "cache")["explanation"][:] == ["shown"]
    with pytest.raises(RecordError, match="has no self-explanations; measure again with explanation in --sources"):
        write_dataset(record(tmp_path / "none", samples(["mine"], "own")), tmp_path / "none-out")
    assert not (tmp_path / "none-out").exists()


def head_and_body(folder: Path) -> tuple[dict[str, Any], str]:
    _, head, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_card_states_recipe_model_licence_and_counts(run: Run, tmp_path: Path) -> None:
    head, body = head_and_body(write_dataset(run, tmp_path / "out"))
    assert head["license"] == "mit"
    assert "Self-explanations of smollm2-135m on gsm8k" in body
    assert "Weights: folder p, sha256 0123456789ab." in body
    assert "the model's licence applies to what it wrote" in body
    for count in (
        "rows: 6",
        "problems: 3",
        "own answer is a*: 4",
        "say that they were given the answer: 1",
        "reached the token limit: 0",
    ):
        assert f"- {count}\n" in body
    for name in COLUMNS:
        assert f"- `{name}`: " in body
    assert "A toy" not in body
    held = body.partition("```yaml\n")[2].rpartition("```")[0]
    assert yaml.safe_load(held) == run.recipe()


def test_the_card_of_a_toy_and_of_a_user_s_own_data_say_so(tmp_path: Path) -> None:
    head, body = head_and_body(write_dataset(record(tmp_path / "toy", toy=True), tmp_path / "a"))
    assert head["license"] == "apache-2.0"
    assert "**A toy.**" in body
    own = Run.start(tmp_path / "own", MeasureRecipe(task="jsonl", data="x.jsonl").resolved(), task="x.jsonl", toy=False)
    own.write("samples", samples())
    head, body = head_and_body(write_dataset(own, tmp_path / "b"))
    assert head["license"] == "other"
    assert "state that of your own data" in body
    # A name that begins as ours does is not ours.
    for i, policy in enumerate(("tinyllama-ft", "tiny-org/llama-70b", "smollm2-135m-mine")):
        foreign = Run.start(
            tmp_path / f"r{i}", MeasureRecipe(task="stories", policy=policy).resolved(), task="s", toy=False
        )
        foreign.write("samples", samples())
        assert head_and_body(write_dataset(foreign, tmp_path / f"d{i}"))[0]["license"] == "other"


def test_the_card_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    policy, data = tmp_path / "secret" / "my-model", tmp_path / "secret" / "mine.jsonl"
    recipe = MeasureRecipe(task="jsonl", data=str(data), policy=str(policy)).resolved()
    own = Run.start(tmp_path / "own", recipe, task=str(data), toy=False)
    own.write("samples", samples())
    _, body = head_and_body(write_dataset(own, tmp_path / "b"))
    assert "secret" not in body
    assert "Self-explanations of my-model on jsonl" in body
    assert "Questions: mine.jsonl." in body


def test_a_prompt_cannot_break_the_card(tmp_path: Path) -> None:
    prompt = "---\n```\n````\n# {question}\n<b>"
    run = record(tmp_path / "run", prompts={"question": prompt})
    head, body = head_and_body(write_dataset(run, tmp_path / "out"))
    assert head["license"] == "mit"
    fence = body.rstrip().rpartition("\n")[2]
    assert set(fence) == {"`"}
    inside = body.partition(f"{fence}yaml\n")[2].rpartition(fence)[0]
    assert fence not in inside
    assert yaml.safe_load(inside)["prompts"]["question"] == prompt


def test_writing_the_same_again_changes_nothing(run: Run, tmp_path: Path) -> None:
    folder = write_dataset(run, tmp_path / "out")
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nChecked by hand.\n")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert write_dataset(run, folder) == folder
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_what_a_killed_call_left_is_completed(run: Run, tmp_path: Path) -> None:
    whole = write_dataset(run, tmp_path / "whole")
    killed = tmp_path / "killed"
    (killed / "data").mkdir(parents=True)
    (killed / "data" / ".train-00000-of-00001.parquet.77.tmp").write_bytes(b"PAR1")
    write_dataset(run, killed)
    (killed / "README.md").unlink()
    write_dataset(run, killed)
    assert (killed / "README.md").read_text() == (whole / "README.md").read_text()


@pytest.mark.parametrize("name", ["notes.txt", "README.md", "data/train-00000-of-00001.parquet", ".git/config"])
def test_a_foreign_folder_is_left_alone(run: Run, tmp_path: Path, name: str) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(RecordError, match="out already holds other files; choose another --dataset"):
        write_dataset(run, tmp_path / "out")
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == [path]
    assert path.read_text() == "mine"


def test_another_run_s_dataset_is_left_alone(run: Run, tmp_path: Path) -> None:
    folder = write_dataset(run, tmp_path / "out")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    other = record(tmp_path / "other", samples([*TEXTS[:-1], "other"]))
    with pytest.raises(RecordError, match="already holds other files"):
        write_dataset(other, folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RecordError, match="already holds other files"):
        write_dataset(run, tmp_path / "file")


def test_an_unfinished_run_gives_no_dataset(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", MeasureRecipe().resolved())
    run.write("samples", samples(), "0000")
    with pytest.raises(RecordError, match="not finished"):
        write_dataset(run, tmp_path / "out")
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["schema"] == 1


@pytest.mark.parametrize(("repo", "message"), [("me/mine", "refused|Connect"), ("a/b/c", "Repo id must")])
def test_a_push_that_fails_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: str, message: str
) -> None:
    folder = write_dataset(run, tmp_path / "out")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ConnectionError, match=f"out was not pushed to {repo}: .*({message}).*repeat the command"):
        push(folder, repo)


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as answers that a repository exists and holds a README."""

    asked: ClassVar[list[str]] = []

    def _answer(self, content: object) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("content-length") or 0))
        answer(self, content)

    def do_POST(self) -> None:
        self._answer({"url": f"http://127.0.0.1:{self.server.server_port}/datasets/me/mine"})

    def do_GET(self) -> None:
        self._answer([{"type": "file", "path": "README.md", "size": 1, "oid": "0"}])

    def log_message(self, *args: object) -> None:
        pass


def test_a_push_leaves_a_filled_repository_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(run, tmp_path / "out")
    with HTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(RecordError, match=r"out was not pushed to me/mine, which already holds README\.md"):
            push(folder, "me/mine")
        hub.shutdown()
    assert [request.split("?")[0] for request in Hub.asked] == [
        "POST /api/repos/create",
        "GET /api/datasets/me/mine/tree/main",
    ]
