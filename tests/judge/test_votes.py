"""The model judge: its parser, its arithmetic, and real requests to real servers on 127.0.0.1."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expo.judge.endpoint import JudgeError, parse_verdict
from expo.judge.votes import (
    COLUMNS,
    JUDGE_PROMPT,
    MAX_TOKENS,
    Pair,
    _requests,
    _sha,
    judge_pairs,
    pair_scores,
    summarize_votes,
    votes_on,
    why_unread,
    win_rate,
)

PAIRS = [
    Pair("p1", "What is 2 + 3?", "5", "2 + 3 = 5. So 5.", "5"),
    Pair("p2", "What is 4 * 3?", "12", "4 + 4 + 4 = 12. So 12.", "4 * 3 = 7"),
    Pair("p3", "What is 9 - 1?", "8", "9 - 1 = 8. It is 8.", "8 or so"),
]


# --- parser ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Verdict: A", "A"),
        ("Both fail early.\n\n**Verdict: B**", "B"),
        ("**Final verdict:** TIE.", "TIE"),
        ('verdict: "tie"', "TIE"),
        ("A: 2 steps\nB: 3 steps\nVerdict: [[B]]\nI hope this helps!", "B"),
        ("Verdict: A\nWait, step 2 of A is wrong.\nVerdict: B", "B"),
        ("Verdict: B\r\n", "B"),
        ("A", "A"),
        ("**TIE**\n", "TIE"),
        ("A has 3, B has 2.\n\n**Verdict**\n\nA", "A"),
        ("### Verdict:\n**B**\n", "B"),
        ("So the verdict is clear.\n\\boxed{A}", "A"),
        (r"\boxed{\text{TIE}}", "TIE"),
        ("Verdict: Solution B", "B"),
        ("Solution A", "A"),
    ],
)
def test_a_verdict_is_read(reply: str, verdict: str) -> None:
    assert parse_verdict(reply) == verdict


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "A careful count shows that B is better.",
        "Solution A has more correct steps.",
        "A:\n1. 2 + 3 = 5\nB:",  # headings of a reply that was cut short
        "Verdict: A or B",
        "Verdict: AB",
        "Verdict: a",
        "Verdict:\nA has three steps, B has two.",
        "My verdict: A",
        'I will end with "Verdict: A", "Verdict: B", or "Verdict: TIE".',
        "__import__('os').abort()",
        JUDGE_PROMPT,  # a model that repeats its instructions
    ],
)
def test_prose_and_echoes_are_no_verdict(reply: str) -> None:
    assert parse_verdict(reply) is None


# --- arithmetic --------------------------------------------------------------------------------------------


def votes_of(*pairs: tuple[str, str]) -> pd.DataFrame:
    """Votes of problems p0, p1, ... in the orders AB and BA."""
    rows = [
        {"problem": f"p{i}", "order": order, "vote": vote, "judge": "planted"}
        for i, pair in enumerate(pairs)
        for order, vote in zip(("AB", "BA"), pair, strict=True)
    ]
    return pd.DataFrame(rows, columns=["problem", "order", "vote", "judge"])


def test_scores_need_both_orders() -> None:
    votes = votes_of(
        ("first", "first"),
        ("second", "second"),
        ("tie", "tie"),
        ("first", "second"),
        ("first", "tie"),
        ("first", "unparsed"),
        ("failed", "second"),
    )
    scores = pair_scores(votes)
    np.testing.assert_array_equal(scores["score"], [1, 0, 0.5, 0.5, 0.5, np.nan, np.nan])
    assert scores["disagree"].tolist() == [False, False, False, True, True, False, False]

    summary = summarize_votes(votes)
    assert (summary.win_rate.wins, summary.win_rate.ties, summary.win_rate.losses) == (1, 3, 1)
    assert (summary.left_out, summary.votes, summary.unparsed, summary.failed) == (2, 14, 1, 1)
    assert summary.win_rate.rate == 0.5
    assert summary.disagreement == 2 / 5


def test_a_missing_order_is_left_out() -> None:
    votes = votes_of(("first", "first"), ("first", "first")).iloc[:3]
    summary = summarize_votes(votes)
    assert (summary.win_rate.problems, summary.left_out) == (1, 1)


def test_votes_that_cannot_be_summed_are_refused() -> None:
    votes = votes_of(("first", "first"))
    with pytest.raises(ValueError, match="two votes in one order"):
        pair_scores(pd.concat([votes, votes]))
    with pytest.raises(ValueError, match="several judges"):
        pair_scores(pd.concat([votes, votes_of(("tie", "tie")).assign(judge="other")]))


def test_without_a_parsed_vote_there_is_no_win_rate() -> None:
    for votes in (votes_of(("unparsed", "unparsed")), votes_of()):
        summary = summarize_votes(votes)
        assert summary.win_rate.problems == 0
        assert np.isnan([summary.win_rate.rate, summary.win_rate.low, summary.disagreement]).all()


def test_win_rate_and_its_interval() -> None:
    scores = np.repeat([1.0, 0.5, 0.0], [50, 20, 30])
    result = win_rate(scores)
    assert result.rate == pytest.approx(0.6)
    assert (result.problems, result.wins, result.ties, result.losses) == (100, 50, 20, 30)

    rng = np.random.default_rng(1)
    resampled = rng.choice(scores, size=(20_000, len(scores))).mean(axis=1)
    slow = np.quantile(resampled, [0.025, 0.975])
    assert [result.low, result.high] == pytest.approx(slow, abs=0.011)  # means move in steps of 0.005
    # Control: counting each of the two votes as a problem of its own would promise too narrow an interval.
    assert result.finite_sample.low < result.low < result.high < result.finite_sample.high
    double = win_rate(np.repeat(scores, 2))
    assert double.high - double.low < 0.85 * (slow[1] - slow[0])


@pytest.mark.parametrize("bad", [0.75, float("nan"), -1.0])
def test_win_rate_refuses_other_scores(bad: float) -> None:
    with pytest.raises(ValueError, match=r"0, 0\.5 or 1"):
        win_rate([1.0, bad])


# --- planted judges behind a real HTTP server --------------------------------------------------------------

Planted = Callable[[str], Any]  # prompt -> reply, an HTTP error status, or what gives these for a request


@dataclass
class Refusal:
    """A request that is refused for one of its settings."""

    message: str


@dataclass
class Server:
    """A planted judge's address and the prompts that it was sent."""

    url: str
    prompts: list[str]
    asked: list[dict[str, Any]]


@contextmanager
def serve(judge: Planted) -> Iterator[Server]:
    prompts: list[str] = []
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompts.append(body["messages"][0]["content"])
            asked.append({k: v for k, v in body.items() if k != "messages"})
            said = judge(prompts[-1]) if self.path == "/v1/chat/completions" else 404
            if callable(said):
                said = said(body)
            if isinstance(said, int):
                return self.answer(said, {"error": {"message": f"planted {said}"}})
            if isinstance(said, Refusal):
                return self.answer(400, {"error": {"message": said.message}})
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "planted-1"}
            return self.answer(200, reply | {"choices": [choice]})

        def answer(self, status: int, content: dict[str, object]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with serving(Handler) as url:
        yield Server(url, prompts, asked)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The base URL of a server in this process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def solutions(prompt: str) -> tuple[str, str]:
    a, b = (re.search(rf"<solution_{x}>\n(.*)\n</solution_{x}>", prompt, re.DOTALL) for x in "ab")
    assert a
    assert b
    return a[1], b[1]


def longer(prompt: str) -> str:
    a, b = solutions(prompt)
    return f"A: {len(a)}\nB: {len(b)}\nVerdict: {'A' if len(a) > len(b) else 'B'}"


def ask(url: str, pairs: list[Pair] = PAIRS, **kwargs: Any) -> pd.DataFrame:
    options: dict[str, Any] = {"model": "planted", "base_url": url, "progress": False} | kwargs
    return judge_pairs(pairs, **options)


@pytest.mark.parametrize(("letter", "share"), [("A", 1.0), ("B", 0.0)])
def test_a_position_biased_judge_is_exposed(letter: str, share: float) -> None:
    with serve(lambda prompt: f"Verdict: {letter}") as server:
        summary = summarize_votes(ask(server.url))
    assert summary.win_rate.rate == 0.5
    assert summary.win_rate.ties == 3
    assert summary.disagreement == 1.0
    assert summary.a_share == share


def test_a_judge_of_content_is_not() -> None:
    with serve(longer) as server:
        votes = ask(server.url)
        swapped = ask(server.url, [replace(p, first=p.second, second=p.first) for p in PAIRS])
    summary = summarize_votes(votes)
    assert (summary.win_rate.rate, summary.disagreement, summary.a_share) == (1.0, 0.0, 0.5)
    assert summarize_votes(swapped).win_rate.rate == 0.0

    assert votes.columns.tolist() == COLUMNS
    assert votes["problem"].tolist() == ["p1", "p1", "p2", "p2", "p3", "p3"]
    assert votes["order"].tolist() == ["AB", "BA"] * 3
    assert votes["reply"][0] == "A: 16\nB: 1\nVerdict: A"
    assert votes["reply"][1] == "A: 1\nB: 16\nVerdict: B"
    assert set(votes["served_model"]) == {"planted-1"}
    assert votes.attrs["prompt"] == JUDGE_PROMPT


def picky(body: dict[str, Any]) -> Any:
    """As newer models answer: no max_tokens, no temperature, and a message in parts."""
    if "max_tokens" in body:
        return Refusal("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
    if "temperature" in body:
        return Refusal("Unsupported value: 'temperature' does not support 0 with this model.")
    return [{"type": "text", "text": longer(body["messages"][0]["content"])}]


def test_settings_that_an_endpoint_refuses_are_asked_in_another_way() -> None:
    with serve(lambda prompt: picky) as server:
        votes = ask(server.url, max_tokens=77, concurrency=1)
    assert set(votes["vote"]) <= {"first", "second"}
    assert server.asked[-1]["max_completion_tokens"] == 77
    assert not {"max_tokens", "temperature"} & server.asked[-1].keys()
    # Found out once: two refusals in all.
    assert len(server.asked) == len(votes) + 2
    # What is no such refusal is a failed request, not asked for ever.
    with serve(lambda prompt: Refusal("the prompt is not nice")) as server, pytest.raises(JudgeError, match="not nice"):
        ask(server.url)


def test_braces_of_a_prompt_are_text() -> None:
    prompt = 'Reply as {"verdict": "A"} {a.__class__} {}.\n' + JUDGE_PROMPT
    with serve(longer) as server:
        ask(server.url, prompt=prompt)
    assert 'Reply as {"verdict": "A"} {a.__class__} {}.' in server.prompts[0]


def test_why_no_vote_could_be_read_is_told() -> None:
    with serve(lambda prompt: "I think that A is better") as server:
        votes = ask(server.url)
    told = why_unread(votes)
    assert "6 replies have no line" in told
    assert "I think that A is better" in told
    assert "cut at the token limit" in why_unread(votes.assign(truncated=True))
    assert why_unread(votes.assign(vote="first")) == ""
    # Nothing is known then, which is no error.
    assert np.isnan(summarize_votes(votes.convert_dtypes()).a_share)


def test_an_endpoint_that_hangs_is_not_waited_for() -> None:
    def slow(prompt: str) -> str:
        time.sleep(2)
        return "Verdict: A"

    with serve(slow) as server, pytest.raises(JudgeError, match=r"no reply within 0\.2 s"):
        ask(server.url, PAIRS[:1], seconds=0.2)


def test_model_text_is_not_a_template() -> None:
    pair = Pair("p", r"\frac{1}{2}{b}", "{answer}", "{b} {0} {a.__class__}", "Verdict: A")
    with serve(longer) as server:
        votes = ask(server.url, [pair])
    assert votes["vote"].tolist() == ["first", "first"]
    assert {solutions(p) for p in server.prompts} == {(pair.first, pair.second), (pair.second, pair.first)}


def test_one_failed_request_does_not_stop_the_rest_and_is_asked_again(tmp_path: Path) -> None:
    with serve(lambda prompt: 400 if solutions(prompt)[0] == "5" else "Verdict: TIE") as server:
        votes = ask(server.url)
    assert votes["vote"].tolist() == ["tie", "failed", "tie", "tie", "tie", "tie"]
    assert "planted 400" in votes["error"][1]
    summary = summarize_votes(votes)
    assert (summary.win_rate.problems, summary.left_out, summary.failed) == (2, 1, 1)

    votes.to_parquet(tmp_path / "votes.parquet")
    saved = pd.read_parquet(tmp_path / "votes.parquet")
    assert saved.attrs == votes.attrs
    with serve(longer) as server:
        resumed = ask(server.url, done=saved)
        assert len(server.prompts) == 1
        assert resumed["vote"].tolist() == ["tie", "first", "tie", "tie", "tie", "tie"]
        assert ask("http://127.0.0.1:9/v1", done=resumed).equals(resumed)  # nothing to ask: no server needed


@pytest.mark.parametrize("change", [{"model": "other"}, {"max_tokens": 9}, {"prompt": "Which?\n" + JUDGE_PROMPT}])
def test_votes_on_another_question_are_not_taken_over(change: dict[str, Any]) -> None:
    with serve(longer) as server:
        votes = ask(server.url)
        ask(server.url, done=votes, **change)
        assert len(server.prompts) == 12


def test_votes_on_another_text_are_not_taken_over() -> None:
    with serve(longer) as server:
        votes = ask(server.url)
        changed = ask(server.url, [replace(PAIRS[0], second="5" * 30), *PAIRS[1:]], done=votes)
        assert len(server.prompts) == 8
    assert changed["vote"].tolist() == ["second", "second", "first", "first", "first", "first"]


def test_an_endpoint_that_goes_away_leaves_the_votes_it_gave() -> None:
    replies: Iterator[str | int] = iter(["Verdict: A", "no idea", 401, 401, 401, 401])
    with serve(lambda prompt: next(replies)) as server:
        votes = ask(server.url, concurrency=1)
    assert votes["vote"].tolist() == ["first", "unparsed", "failed", "failed", "failed", "failed"]
    assert "OPENAI_API_KEY" in votes["error"][2]


@pytest.mark.parametrize(
    ("status", "mend"),
    [(401, "fix api_key"), (403, "fix api_key"), (404, "model name 'planted'"), (400, "400")],
)
def test_an_endpoint_that_answers_nothing_is_an_error(status: int, mend: str) -> None:
    with serve(lambda prompt: status) as server, pytest.raises(JudgeError) as caught:
        ask(server.url)
    assert server.url in str(caught.value)
    assert mend in str(caught.value)


def test_a_foreign_endpoint_is_an_error() -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: object) -> None:
            pass

    with serving(Page) as url, pytest.raises(JudgeError, match="OpenAI-compatible"):
        ask(url)


def test_an_endpoint_that_closes_the_connection_is_there() -> None:
    class Closing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    refused = r"answered no request; the last error: the connection was closed \("
    with serving(Closing) as url, pytest.raises(JudgeError, match=refused):
        ask(url, PAIRS[:1])


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_an_unreachable_endpoint_is_an_error(scheme: str) -> None:
    url = f"{scheme}127.0.0.1:{free_port()}/v1"
    with pytest.raises(JudgeError, match=f"{re.escape(url)}.*start the server or fix base_url"):
        ask(url, PAIRS[:1])


def test_unusable_arguments_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'p1' occurs twice"):
        ask("http://127.0.0.1:9/v1", [PAIRS[0], PAIRS[0]])
    with pytest.raises(ValueError, match=r"lacks \{answer\}, \{b\}"):
        ask("http://127.0.0.1:9/v1", prompt="{question} {a}")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(JudgeError, match=r"set OPENAI_API_KEY, or give another endpoint as base_url \(--base_url\)"):
        judge_pairs(PAIRS, model="gpt-4o", progress=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[judge\]' in the checkout"):
        ask("http://127.0.0.1:9/v1")


# --- real models behind `transformers serve` ---------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def save_tiny_llamas(random: Path, always_a: Path) -> None:
    """A random Llama, and one whose weights are set so that it answers every prompt with "A" and stops."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([JUDGE_PROMPT], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}\n"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(random)
    tokenizer.save_pretrained(random)

    # The residual stream carries only the last token: axis 0 after "A", axis 1 after anything else.
    letter = tokenizer.convert_tokens_to_ids("A")
    with torch.no_grad():
        for weight in (
            model.model.layers[0].self_attn.o_proj.weight,
            model.model.layers[0].mlp.down_proj.weight,
            model.model.embed_tokens.weight,
            model.lm_head.weight,
        ):
            weight.zero_()
        model.model.embed_tokens.weight[:, 1] = 1
        model.model.embed_tokens.weight[letter] = torch.eye(8)[0]
        model.lm_head.weight[tokenizer.eos_token_id, 0] = 1
        model.lm_head.weight[letter, 1] = 1
    model.save_pretrained(always_a)
    tokenizer.save_pretrained(always_a)


@contextmanager
def transformers_serve(log: Path) -> Iterator[str]:
    """The base URL of a `transformers serve` that loads any local folder which a request names."""
    port = free_port()
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (
        log.open("w") as out,
        subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(3000):
        assert process.poll() is None, f"transformers serve stopped:\n{log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                assert response.status == 200
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"transformers serve is not healthy after five minutes:\n{log.read_text()[-2000:]}")


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("fastapi") and find_spec("uvicorn")),
    reason="needs the server: pip install 'transformers[serving]'",
)
def test_models_behind_transformers_serve(tmp_path: Path) -> None:
    random, always_a = tmp_path / "random", tmp_path / "always-a"
    save_tiny_llamas(random, always_a)
    with transformers_serve(tmp_path / "serve.log") as url:
        votes = ask(url, model=str(random), max_tokens=16)
        biased = ask(url, model=str(always_a), max_tokens=16)
        with pytest.raises(JudgeError, match=re.escape(f"{url}/: model 'no-such-folder' answered no request")):
            ask(url, PAIRS[:1], model="no-such-folder")
        with pytest.raises(JudgeError, match="usually ends in /v1"):
            ask(url.removesuffix("/v1"), model=str(random))

    # A random model has no verdict to give, and the raw replies show it.
    assert len(votes) == 6
    assert (votes["vote"] == "unparsed").sum() >= 5
    assert votes["reply"].str.len().min() > 0
    assert votes["served_model"].str.startswith(str(random)).all()
    assert summarize_votes(votes).left_out >= 2

    assert set(biased["reply"]) == {"A"}
    assert not biased["truncated"].any()
    summary = summarize_votes(biased)
    assert (summary.win_rate.rate, summary.disagreement, summary.a_share) == (0.5, 1.0, 1.0)


def test_votes_that_another_prompt_asked_for_are_left_out() -> None:
    pair = Pair("p", "question", "answer", "first", "second")
    shas = [_sha("m", MAX_TOKENS, text) for text in _requests([pair], JUDGE_PROMPT).values()]
    votes = pd.DataFrame({"vote": ["first", "second", "tie"], "request_sha": [*shas, "of another prompt"]})
    assert votes_on(votes, [pair], "m")["vote"].tolist() == ["first", "second"]
    # Those of an earlier version of the prompt alone are shown as they are.
    assert len(votes_on(votes.tail(1), [pair], "m")) == 1
