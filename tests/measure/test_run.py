"""The whole path on a real (random) model: data in, record out, stopped and gone on with."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from expo import chunks as chunks_module
from expo import environment
from expo import setup as set_up_module
from expo.measure import run as run_module
from expo.measure.run import measure
from expo.measure.show import show
from expo.policies.policy import PolicyError
from expo.recipe import MeasureRecipe
from expo.records import RecordError, Run
from expo.tasks.problem import DataError

ROWS = [
    {
        "id": f"q{i}",
        "question": f"What is {i} + {i}?",
        "answer": 2 * i,
        "level": 1 + i % 2,
        "expert_cot": f"{i} + {i} = {2 * i}.",
    }
    for i in range(6)
]


@pytest.fixture
def recipe(tmp_path: Path, policy_folder: Path) -> MeasureRecipe:
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")
    return MeasureRecipe(
        task="jsonl",
        data=str(data),
        policy=str(policy_folder),
        device="cpu",
        samples=2,
        max_new_tokens=12,
        chunk=2,
        rows=8,
    )


def test_missing_expert_cots_are_told_before_anything_is_sampled(
    recipe: MeasureRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "no problem has an expert CoT, so Property 1 is not measured"
    measure(recipe, tmp_path / "with", progress=False)
    assert told not in capsys.readouterr().err
    rows = [{**row, "expert_cot": None} for row in ROWS]
    Path(str(recipe.data)).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(recipe, tmp_path / "without", progress=False, on_step=stop)
    assert told in capsys.readouterr().err


def test_a_record_holds_every_positive(recipe: MeasureRecipe, tmp_path: Path) -> None:
    run = measure(recipe, tmp_path / "run", progress=False)
    samples = pd.read_parquet(run.path("samples.parquet"))
    counts = samples.groupby("source").size().to_dict()
    own_correct = counts.pop("own_correct", 0)
    assert counts == {"own": 12, "explanation": 12, "expert": 6, "wrong_explanation": 6, "nonsense": 6}
    assert own_correct == int(samples.loc[samples["source"] == "own", "correct"].sum())
    assert (samples["nll_sum"] / samples["tokens"]).sub(samples["nll_per_token"]).abs().max() < 1e-9
    assert (samples["learning_signal"] < 0).all()
    assert samples.loc[samples["source"] == "expert", ["steps", "steps_true"]].eq(1).all(axis=None)
    closed = samples[samples["source"] != "own"]
    assert all(t.endswith(f"\\boxed{{{a}}}") for t, a in zip(closed["text"], closed["reference"], strict=True))
    environment = run.environment()
    assert environment["problems"] == 6
    # A file of this machine stands by its name alone.
    assert environment["task"] == Path(str(recipe.data)).name
    assert environment["dtype"] == "float32"
    assert run.recipe()["prompts"]["question"].startswith("{question}")
    said = show(run)
    # Each pair once: the own CoT is not told against the two that are told against it.
    assert [line.strip() for line in said.splitlines() if line.endswith(", 6 problems:")] == [
        "self-explanation c~ against expert CoT c_E, 6 problems:",
        "self-explanation c~ against own CoT c, 6 problems:",
        "expert CoT c_E against own CoT c, 6 problems:",
        *(
            f"{of} against {other}, 6 problems:"
            for of in ("explanation of a wrong answer", "nonsense prefix")
            for other in ("expert CoT c_E", "own CoT c")
        ),
    ]
    assert said.count("positive learning signal as a probability") == 4
    metrics = run.read("metrics").set_index("name")["value"]
    assert metrics["own/samples"] == 12


def test_a_stopped_run_goes_on_to_the_same_numbers(
    recipe: MeasureRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure(recipe, tmp_path / "whole", progress=False).read("samples")
    chunk, calls = run_module._chunk, []

    def stop_at_second(*args: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return chunk(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "_chunk", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            measure(recipe, tmp_path / "run", progress=False)
    stopped = Run(tmp_path / "run")
    assert stopped.shards("samples") == {"0000"}
    with pytest.raises(RecordError, match="not finished"):
        stopped.read("samples")
    resumed = measure(recipe, tmp_path / "run", progress=False).read("samples")
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
    other = measure(replace(recipe, seed=1), tmp_path / "other", progress=False).read("samples")
    assert not other["nll_sum"].equals(whole["nll_sum"])


def test_a_run_that_ran_out_of_memory_goes_on_with_fewer_rows_but_not_with_other_versions(
    recipe: MeasureRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> object:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "_chunk", full)
        with pytest.raises(RuntimeError):
            measure(recipe, tmp_path / "run", progress=False)
    with monkeypatch.context() as patched:
        patched.setattr(environment, "version_of", lambda package: "0.0.1")
        with pytest.raises(
            RecordError, match=r"unfinished run that started under other conditions \(.*packages\.transformers: "
        ):
            measure(recipe, tmp_path / "run", progress=False)
    fewer = measure(replace(recipe, rows=3), tmp_path / "run", progress=False).read("samples")
    whole = measure(recipe, tmp_path / "whole", progress=False).read("samples")
    pd.testing.assert_frame_equal(fewer, whole, check_exact=False, rtol=1e-5)


def test_a_finished_run_is_not_run_again(
    recipe: MeasureRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(recipe, tmp_path / "run", progress=False)
    monkeypatch.setattr(set_up_module, "load", lambda *_: pytest.fail("loaded the policy again"))
    measure(recipe, tmp_path / "run", progress=False)
    with pytest.raises(RecordError, match=r"a different recipe \(temperature: 0.9 -> 0.5\)"):
        measure(replace(recipe, temperature=0.5), tmp_path / "run", progress=False)


def test_a_table_that_was_deleted_is_made_again(
    recipe: MeasureRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measure(recipe, tmp_path / "run", progress=False)
    before = {table: run.read(table) for table in ("metrics", "skips")}
    for table in before:
        run.path(f"{table}.parquet").unlink()
    monkeypatch.setattr(set_up_module, "load", lambda *_: pytest.fail("loaded the policy again"))
    again = measure(recipe, tmp_path / "run", progress=False)
    for table, frame in before.items():
        pd.testing.assert_frame_equal(again.read(table), frame, check_exact=True)


def test_data_that_changed_is_not_passed_off_as_measured(recipe: MeasureRecipe, tmp_path: Path) -> None:
    measure(recipe, tmp_path / "run", progress=False)
    assert recipe.data is not None
    data = Path(recipe.data)
    data.write_text(data.read_text(encoding="utf-8").replace("What is 3 + 3?", "What is 4 + 2?"), encoding="utf-8")
    with pytest.raises(RecordError, match="finished run on different problems: the data has changed"):
        measure(recipe, tmp_path / "run", progress=False)


def test_what_cannot_be_measured_is_skipped_by_name_and_the_rest_kept(recipe: MeasureRecipe, tmp_path: Path) -> None:
    assert recipe.data is not None
    data = Path(recipe.data)
    bad = [
        '{"question": "broken',
        json.dumps({"question": "no answer?", "answer": ""}),
        json.dumps({"question": "long " * 400, "answer": 1}),
        json.dumps({"question": "Long solution?", "answer": 3, "expert_cot": "1 + 1 = 2. " * 200}),
        json.dumps({"question": "Empty solution?", "answer": 3, "expert_cot": ""}),
        json.dumps({"question": "level?", "answer": 3, "level": "hard", "expert_cot": "1 + 2 = 3."}),
        json.dumps({"question": "no sense?", "answer": "{{{"}),
        json.dumps(ROWS[0]),
    ]
    data.write_bytes(data.read_bytes() + "\n".join(bad).encode() + b'\n{"question": "\xff", "answer": 1}\n')
    run = measure(recipe, tmp_path / "run", progress=False)
    skips = run.read("skips")
    assert skips["where"].str.contains("mine.jsonl:").all()
    assert {int(w.rpartition(":")[2]): f for w, f in zip(skips["where"], skips["field"], strict=True)} == {
        7: "line",
        8: "answer",
        9: "question",
        10: "expert_cot",
        11: "expert_cot",
        12: "level",
        13: "answer",
        14: "question",
        15: "line",
    }
    samples = run.read("samples")
    assert {row["id"] for row in ROWS} <= set(samples["problem"])
    assert samples["problem"].nunique() == 9
    assert samples.loc[samples["source"] == "expert", "problem"].nunique() == 7
    assert "skipped: 9 rows or fields\n" in show(run)
    assert skips["reason"].str.endswith("; no --max_new_tokens fits").tolist().count(True) == 1


def test_a_limit_that_is_too_long_is_named_with_the_one_that_fits(tmp_path: Path) -> None:
    recipe = MeasureRecipe(task="chain", policy="tiny-0", problems=2, max_new_tokens=300, samples=1)
    with pytest.raises(DataError, match="no problem could be measured: all were skipped; the first ones:") as refused:
        measure(recipe, tmp_path / "long", progress=False)
    fits = [int(n) for n in re.findall(r"the context of 256; --max_new_tokens (\d+) fits", str(refused.value))]
    assert len(fits) == 2
    measured = measure(replace(recipe, max_new_tokens=min(fits)), tmp_path / "fits", progress=False)
    assert measured.read("samples")["problem"].nunique() == 2
    # The control: with one token more, one problem has no room.
    more = measure(replace(recipe, max_new_tokens=min(fits) + 1), tmp_path / "more", progress=False)
    assert more.read("samples")["problem"].nunique() == 1


def test_a_problem_without_a_wrong_answer_is_measured_without_that_control(
    recipe: MeasureRecipe, tmp_path: Path
) -> None:
    data = tmp_path / "words.jsonl"
    data.write_text('{"question": "Even or odd: 4?", "answer": "even", "id": "e"}\n')
    run = measure(replace(recipe, data=str(data), problems=None), tmp_path / "run", progress=False)
    assert "wrong_explanation" not in set(run.read("samples")["source"])
    assert {"own", "explanation", "nonsense"} <= set(run.read("samples")["source"])
    assert "no other answer" in run.read("skips")["reason"].str.cat()


def test_a_nan_stops_the_run_with_the_sample_named(recipe: MeasureRecipe, tmp_path: Path, policy_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    with torch.no_grad():
        model.get_input_embeddings().weight[:] = float("nan")
    broken = tmp_path / "broken"
    model.save_pretrained(broken)
    for file in policy_folder.glob("tok*"):
        (broken / file.name).write_bytes(file.read_bytes())
    with pytest.raises(FloatingPointError, match=r"q\d/\w+: a logit of the next token is not finite"):
        measure(replace(recipe, policy=str(broken)), tmp_path / "run", progress=False)
    assert not Run(tmp_path / "run").has("samples")


def test_a_text_policy_cannot_read_the_toy(recipe: MeasureRecipe, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="does not fit"):
        measure(replace(recipe, task="chain", data=None), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(recipe: MeasureRecipe, tmp_path: Path) -> None:
    one = measure(recipe, tmp_path / "one", progress=False).read("samples")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    steps: list[int] = []
    try:
        # The same 8 rows a process.
        wide = replace(recipe, rows=16)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks_module, "MIN_ROWS", 8)
            patch.setattr(chunks_module, "MIN_BYTES", 0)
            two = measure(wide, tmp_path / "two", progress=False, on_step=lambda: steps.append(1)).read("samples")
    finally:
        torch.set_num_threads(threads)
    assert len(steps) > len(ROWS)
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)


def test_only_a_small_model_on_a_cpu_is_spread(policy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = set_up_module.load(MeasureRecipe(policy=str(policy_folder)), "cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert chunks_module.processes_for(policy, "auto", 64, 7) == 1
    monkeypatch.setattr(chunks_module, "MIN_BYTES", 0)
    assert chunks_module.processes_for(policy, "auto", 64, 7) == 2
    assert chunks_module.processes_for(policy, "auto", 256, 3) == 3
    assert chunks_module.processes_for(policy, "auto", 16, 7) == 1
    monkeypatch.setattr(chunks_module, "MAX_BYTES", 1)
    assert chunks_module.processes_for(policy, "auto", 64, 7) == 1


def test_each_gpu_has_a_process_unless_one_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    policy: Any = SimpleNamespace(device=torch.device("cuda"), engine=None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert chunks_module.processes_for(policy, "auto", 64, 7) == 4
    assert chunks_module.processes_for(policy, "auto", 64, 3) == 3
    assert chunks_module.processes_for(policy, "cuda:1", 64, 7) == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert chunks_module.processes_for(policy, "auto", 64, 7) == 1


def test_another_dtype_to_sample_in_changes_samples_alone(recipe: MeasureRecipe, tmp_path: Path) -> None:
    plain = measure(recipe, tmp_path / "plain", progress=False)
    run = measure(replace(recipe, sampling_dtype="bfloat16"), tmp_path / "run", progress=False)
    error = run.environment()["sampling_error"]
    assert error["tokens"] > 0
    assert 0 < error["mean"] <= error["max"] < 0.5
    assert "sampling_error" not in plain.environment()
    told = rf"\(sampled in bfloat16 from a policy in float32; .* differ by {error['mean']:.2g} nats per token"
    assert re.search(told, show(run))
    assert "sampled in" not in show(plain)
    # The texts that both drew have one score, that of float32: in bfloat16 it would be another by this much.
    key = ["problem", "source", "index", "text"]
    both = plain.read("samples").merge(run.read("samples"), on=key)
    assert {"own", "expert"} <= set(both["source"])
    assert both["nll_sum_x"].tolist() == pytest.approx(both["nll_sum_y"].tolist(), rel=1e-5)
    assert error["mean"] > 1e-4 * both["nll_per_token_x"].mean()


def test_an_unknown_dtype_to_sample_in_is_named(recipe: MeasureRecipe) -> None:
    with pytest.raises(ValueError, match=r"sampling_dtype: unknown dtype 'int3'; choose from float32"):
        replace(recipe, sampling_dtype="int3")
