"""Positives that are there already, and what a positive must be."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expo.dataset import write_dataset
from expo.measure.run import measure
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.recipe import MeasureRecipe
from expo.records import Run
from expo.setup import load_problems
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.tasks.problem import DataError, Problem, Skip
from expo.tasks.row import Row
from expo.train.given import Texts, given, read_texts
from expo.train.plan import describe
from expo.train.recipe import read_recipe
from expo.train.run import train
from tests.train.test_run import VALUES

BASE = {**VALUES, "max_steps": 2, "eval_steps": 2, "gradient_problems": 0, "refresh_steps": 0, "levels": [2]}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(read_recipe(dict(BASE)), tmp_path_factory.mktemp("sampled") / "run", progress=False)


def test_another_run_learns_the_same_tokens(sampled: Run, tmp_path: Path) -> None:
    recipe = read_recipe({**BASE, "policy": "tiny-1", "seed": 1, "positive_data": str(sampled.folder)})
    run = train(recipe, tmp_path / "run", progress=False)
    before, after = (
        {
            r["problem"]: (r["text"], list(r["ids"]), r["cot_tokens"], r["status"])
            for _, r in run.read("positives").iterrows()
        }
        for run in (sampled, run)
    )
    assert before == after
    assert len(before) > 15
    # The control: another base's own are others.
    own = train(read_recipe({**BASE, "policy": "tiny-1", "seed": 1}), tmp_path / "own", progress=False)
    assert own.read("positives")["text"].tolist() != run.read("positives")["text"].tolist()
    assert f"texts for {len(before)} of them in {sampled.folder}" in describe(recipe)


@pytest.mark.parametrize(
    "values",
    [
        {"positive_choice": "weighted", "positive_tries": 3, "temperature": 1.0},
        {"positive_tokens": "least_moved"},
    ],
)
def test_a_run_that_learnt_by_weights_or_in_part_is_refused(values: dict[str, Any], tmp_path: Path) -> None:
    few = {"max_steps": 1, "eval_problems": 1, "eval_samples": 1, "probe_problems": 0}
    source = train(read_recipe({**BASE, **few, **values}), tmp_path / "source", progress=False)
    file = source.path("positives.parquet")
    said = f"{re.escape(str(file))}: its positives have weights or masks, .* set positive_choice and positive_tokens"
    for where in (source.folder, file):
        recipe = read_recipe({**BASE, **few, "positive_data": str(where)})
        with pytest.raises(DataError, match=said):
            describe(recipe)
    with pytest.raises(DataError, match=said):
        train(recipe, tmp_path / "run", progress=False)
    # The control: columns of a user's own file are not ours.
    rows = source.read("positives").drop_duplicates("problem").drop(columns="ids")
    rows.assign(weight=0.5, mask="x").to_json(tmp_path / "own.jsonl", orient="records", lines=True)
    assert "texts for 24 of them" in describe(read_recipe({**BASE, "positive_data": str(tmp_path / "own.jsonl")}))


def test_a_dataset_of_explanations_is_learnt(tmp_path: Path) -> None:
    values = {"task": "chain", "policy": "tiny-0", "problems": 24, "levels": [2], "split": "train", "seed": 1}
    run = measure(
        MeasureRecipe(**values, sources=["explanation"], samples=2, max_new_tokens=45),
        tmp_path / "sampled",
        progress=False,
    )
    folder = write_dataset(run, tmp_path / "dataset")
    rows = pd.read_parquet(folder / "data" / "train-00000-of-00001.parquet")
    learnt = train(read_recipe({**BASE, "positive_data": str(folder)}), tmp_path / "run", progress=False).read(
        "positives"
    )
    first = rows.drop_duplicates("problem").set_index("problem")["completion"]
    assert len(learnt) == len(first) == 24
    for row in learnt.itertuples():
        assert row.text.split() == first[row.problem].split()


def test_positives_of_questions_that_no_step_asks_are_counted(tmp_path: Path) -> None:
    recipe = read_recipe({**BASE, "max_steps": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1})
    problems = load_problems(recipe, ChainChecker()).problems
    (asked,) = [problems[i] for i in asked_first(len(problems), seed=1, count=1)]
    other = next(p for p in problems if p is not asked)
    file = tmp_path / "texts.jsonl"

    def learn(name: str, problem: Problem) -> Run:
        text = {"question": problem.question, "explanation": f"a get 1 <ans> {problem.answer}"}
        file.write_text(json.dumps(text) + "\n")
        return train(replace(recipe, positive_data=str(file)), tmp_path / name, progress=False)

    with pytest.raises(
        ValueError, match=r"1 of the 24 problems have positives, but none of the 1 that the training steps use"
    ):
        learn("other", other)
    # The control.
    metrics = learn("asked", asked).read("metrics").set_index("name")["value"]
    assert metrics["exp_sft/scored"] > 0


def asked_first(n: int, *, seed: int, count: int) -> list[int]:
    """The first problems of the first epoch."""
    order = list(range(n))
    random.Random(f"{seed}:0").shuffle(order)
    return order[:count]


def test_texts_are_found_by_question_and_filtered(tmp_path: Path) -> None:
    """The first text that is all that it must be; what the source says of a text counts before the text itself."""
    recipe, checker = read_recipe(dict(BASE)), ChainChecker()
    policy = load_policy("tiny-0", CHAIN)
    problems = load_problems(recipe, checker).problems[:3]
    right, wrong = (f"a get 1 <ans> {a}" for a in (problems[0].answer, "99"))
    rows = [
        {"question": problems[0].question, "explanation": wrong},
        {"question": problems[0].question, "explanation": right},
        {"question": problems[1].question, "explanation": right, "correct": False},
        {"question": "of another task", "explanation": right},
    ]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    every, missing = given(policy, checker, problems, read_texts(str(file), problems)[0], "explanation", [])
    assert every["problem"].tolist() == [problems[0].id, problems[1].id]
    assert every["status"].tolist() == ["wrong", "wrong"]
    assert [m.reason for m in missing] == ["no text for it in positive_data: no positive"]
    # Whatever it stated, it is closed with the answer.
    for text, problem in zip(every["text"], problems, strict=False):
        assert text.split("<ans>")[1].split() == problem.answer.split()
    kept, missing = given(policy, checker, problems, read_texts(str(file), problems)[0], "explanation", ["right"])
    assert kept["status"].tolist() == ["correct"]
    assert missing[0].reason == "its text is not right: no positive"


def test_rows_may_name_their_problems_in_different_columns(tmp_path: Path) -> None:
    problems = load_problems(read_recipe(dict(BASE)), ChainChecker()).problems[:3]
    rows = [
        {"problem": problems[0].id, "text": "a get 1"},
        {"question": problems[1].question, "explanation": "a get 2"},
        {"question": problems[2].question, "text": ""},
    ]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts, skips = read_texts(str(file), problems)
    assert {name: [row.fields["text"] for row in of] for name, of in texts.items()} == {
        problems[0].id: ["a get 1"],
        problems[1].id: ["a get 2"],
    }
    assert [str(skip) for skip in skips] == [f"{file}:3: explanation or text: missing or empty; the row is left out"]


def test_a_filter_takes_the_next_sample(sampled: Run, tmp_path: Path) -> None:
    statuses = sampled.read("positives")["status"]
    # The control: without it some are not right.
    assert 0 < (statuses == "correct").sum() < len(statuses)
    recipe = read_recipe({**BASE, "positive_filter": ["right", "true_steps"], "positive_tries": 4})
    positives = train(recipe, tmp_path / "run", progress=False).read("positives")
    assert (positives["status"] == "correct").all()
    assert (positives["steps"] == positives["steps_true"]).all()
    assert len(positives) > 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"positive": "expert", "positive_data": "x"}, "positive_data applies to sampled positives"),
        (
            {"positive_filter": ["rihgt"]},
            "positive_filter: unknown condition 'rihgt'; choose from right, no_leak, true_steps",
        ),
        ({"positive_data": "x", "refresh_steps": 1}, "refresh_steps: positives from positive_data are not sampled"),
        (
            {"positive_data": "x", "positive_temperature": 0.5},
            "positive_temperature: positives from positive_data are not",
        ),
    ],
)
def test_what_is_no_such_recipe_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe({**BASE, **values})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "q", "answer": "1"}], "no column completion or explanation or text"),
        ([{"text": "a"}], "no column problem or question or prompt"),
        ([{"question": "another", "text": "a"}], "none of the 24 problems has a text.*same task, split and seed"),
    ],
)
def test_a_source_without_texts_is_named(rows: list[dict[str, str]], message: str, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=message):
        describe(read_recipe({**BASE, "positive_data": str(file)}))


def test_bad_rows_are_named_in_the_plan_and_in_the_record(tmp_path: Path) -> None:
    recipe = read_recipe({**BASE, "max_steps": 1})
    problems = load_problems(recipe, ChainChecker()).problems
    good = [json.dumps({"question": p.question, "text": f"a get 1 <ans> {p.answer}"}) for p in problems]
    bad = ["{", json.dumps({"question": "x", "text": ""}), json.dumps({"question": "x", "text": 3}), '{"text": "x"}']
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join([bad[0], *good, *bad[1:], json.dumps({"question": "of another task", "text": "x"})]))
    recipe = read_recipe({**BASE, "max_steps": 1, "positive_data": str(file)})
    plan = describe(recipe)
    assert "24 texts for 24 of them" in plan
    assert f"4 rows left out:\n                {file}:1: line: not JSON: Expecting property name" in plan
    assert "and 1 more" in plan
    skips = train(recipe, tmp_path / "run", progress=False).read("skips")
    assert [(w.rpartition(":")[2], f) for w, f in zip(skips["where"], skips["field"], strict=True)] == [
        ("1", "line"),
        ("26", "text"),
        ("27", "text"),
        ("28", "question"),
    ]
    # The control: without bad rows nothing is left out.
    file.write_text("\n".join(good))
    assert "left out" not in describe(recipe)


@pytest.mark.parametrize(("said", "kept"), [("True", 1), ("false", 0), ("", 1), ("0", 0), (None, 1)])
def test_a_csv_says_in_words_whether_a_text_is_right(said: str | None, kept: int, tmp_path: Path) -> None:
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problem = load_problems(read_recipe(dict(BASE)), checker).problems[0]
    file = tmp_path / "texts.csv"
    row = {"question": problem.question, "text": f"a get 1 <ans> {problem.answer}", "correct": said}
    pd.DataFrame([row]).to_csv(file, index=False)
    frame, _ = given(policy, checker, [problem], read_texts(str(file), [problem])[0], "explanation", ["right"])
    assert len(frame) == kept


def test_a_source_of_bad_lines_alone_shows_what_is_wrong_with_them(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("{\n" * 5)
    with pytest.raises(
        DataError, match=r"(?s)no usable row\n.*5 rows left out:\n.*texts.jsonl:1 and 4 more: line: not JSON: "
    ):
        describe(read_recipe({**BASE, "positive_data": str(file)}))


def texts_of(file: Path, rows: Sequence[dict[str, Any]]) -> tuple[Policy, ChainChecker, Problem, Texts, list[Skip]]:
    """Rows for the first problem, in a file, as they are read."""
    problem = load_problems(read_recipe(dict(BASE)), ChainChecker()).problems[0]
    named = [{"question": problem.question, "text": f"a get 1 <ans> {problem.answer}", **row} for row in rows]
    frame = pd.DataFrame(named)
    if file.suffix == ".csv":
        frame.to_csv(file, index=False)
    elif file.suffix == ".parquet":
        frame.to_parquet(file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in named))
    return load_policy("tiny-0", CHAIN), ChainChecker(), problem, *read_texts(str(file), [problem])


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_numbers_that_a_table_makes_of_true_and_false_are_read(suffix: str, tmp_path: Path) -> None:
    rows = [{"correct": right} for right in (0.0, 1.0, None)]
    policy, checker, problem, texts, skips = texts_of(tmp_path / f"texts.{suffix}", rows)
    assert [row.fields["status"] for row in texts[problem.id]] == ["wrong", "correct", None]
    assert skips == []
    frame, _ = given(policy, checker, [problem], texts, "explanation", ["right"])
    assert len(frame) == 1


def test_a_row_that_says_neither_is_left_out_by_name(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"correct": said} for said in ("maybe", 0.5, True)]
    policy, checker, problem, texts, skips = texts_of(file, rows)
    assert [str(skip) for skip in skips] == [
        f"{file}:1: correct: must be true or false, got 'maybe'; the row is left out",
        f"{file}:2: correct: must be true or false, got '0.5'; the row is left out",
    ]
    # The control.
    assert len(given(policy, checker, [problem], texts, "explanation", ["right"])[0]) == 1


@pytest.mark.parametrize("ids", ["1 2 3", [1, "2"], "x-17"])
def test_ids_that_are_no_tokens_are_passed_by(ids: Any, tmp_path: Path) -> None:
    rows = [{"ids": ids, "cot_tokens": 3}]
    policy, checker, problem, texts, _ = texts_of(tmp_path / "texts.jsonl", rows)
    frame, missing = given(policy, checker, [problem], texts, "explanation", [])
    plain, _ = given(policy, checker, [problem], texts_of(tmp_path / "plain.jsonl", [{}])[3], "explanation", [])
    assert missing == []
    assert list(frame["ids"][0]) == list(plain["ids"][0])


def test_a_run_that_learnt_whole_texts_may_be_read_as_csv(sampled: Run, tmp_path: Path) -> None:
    positives, file = sampled.read("positives"), tmp_path / "positives.csv"
    positives.to_csv(file, index=False)
    recipe = read_recipe({**BASE, "max_steps": 1, "positive_data": str(file)})
    learnt = train(recipe, tmp_path / "run", progress=False).read("positives")
    assert learnt[["problem", "text", "status"]].equals(positives[["problem", "text", "status"]])
    # The control.
    positives.assign(weight=0.5).to_csv(file, index=False)
    with pytest.raises(DataError, match="its positives have weights or masks"):
        describe(recipe)


def test_a_text_that_the_policy_has_no_tokens_for_is_left_out_by_name(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"text": "so zebra is 3"}, {}]
    policy, checker, problem, texts, _ = texts_of(file, rows)
    frame, missing = given(policy, checker, [problem], texts, "explanation", [])
    assert len(frame) == 1
    assert [str(skip) for skip in missing] == [
        f"{file}:1: text: policy 'tiny-0': its tokenizer does not know all words of 'so zebra is 3'; "
        "the row is left out"
    ]
    alone, _ = given(policy, checker, [problem], {problem.id: texts[problem.id][:1]}, "explanation", [])
    assert len(alone) == 0


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("/nowhere/texts.jsonl", "positive_data: /nowhere/texts.jsonl: no such file"),
        ("owner/name:train", r"(?s)positive_data: owner/name: .*Without the hub, give --positive_data a file"),
    ],
)
def test_a_source_that_is_not_there_is_named_with_its_flag(
    where: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(DataError, match=message):
        describe(read_recipe({**BASE, "positive_data": where}))


def test_tokens_that_end_in_another_answer_are_closed_anew(sampled: Run) -> None:
    """As of other data with the same ids: the text is closed with the problem's own answer."""
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    one, other = load_problems(read_recipe(dict(BASE)), checker).problems[:2]
    assert one.answer != other.answer
    row = sampled.read("positives").query("problem == @one.id").iloc[0].to_dict()
    row["ids"] = [int(i) for i in row["ids"]]
    kept, _ = given(policy, checker, [one], {one.id: [Row("x", 0, row)]}, "explanation", [])
    anew, _ = given(policy, checker, [other], {other.id: [Row("x", 0, row)]}, "explanation", [])
    assert kept["ids"][0] == list(row["ids"])
    assert anew["text"][0].split("<ans>")[1].split() == other.answer.split()


def test_a_share_of_problems_without_a_text_has_skips_alone() -> None:
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problem = load_problems(read_recipe(dict(BASE)), checker).problems[0]
    frame, missing = given(policy, checker, [problem], {"another": []}, "explanation", [])
    assert (len(frame), len(missing)) == (0, 1)
