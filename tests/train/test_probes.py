"""What is measured of a policy while it is trained, beyond its accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expo.evaluate import count, evaluate
from expo.policies.load import load_policy
from expo.policies.sampling import sample
from expo.records import Run
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker
from expo.train.recipe import read_recipe
from expo.train.run import train
from tests.train.test_run import VALUES

BASE = {**VALUES, "max_steps": 4, "eval_steps": 4, "gradient_problems": 0, "refresh_steps": 0, "probe_problems": 12}


@pytest.mark.parametrize("more", [{}, {"use_peft": True, "lora_dropout": 0.0}])
def test_own_samples_are_scored_under_the_initial_policy(more: dict[str, object], tmp_path: Path) -> None:
    values = {**BASE, **more, "probe_initial": True, "learning_rate": 3e-3}
    probes = train(read_recipe(values), tmp_path / "run", progress=False).read("probes")
    own = probes[probes["source"] == "own"]
    first, last = own[own["step"] == 0], own[own["step"] == 4]
    np.testing.assert_allclose(first["nll_initial"].astype(float), first["nll_sum"].astype(float), rtol=1e-5, atol=1e-5)
    # The mean of log pi - log pi_0 over own samples is the KL to the initial policy.
    assert (last["nll_initial"] - last["nll_sum"]).mean() > 0
    assert probes.loc[probes["source"] != "own", "nll_initial"].isna().all()


def test_of_two_trainings_the_second_is_compared_with_the_policy_before_the_first(tmp_path: Path) -> None:
    values = {**BASE, "probe_initial": True, "learning_rate": 3e-3}
    first = train(read_recipe(values), tmp_path / "first", progress=False)
    again = {**values, "policy": str(first.path("model"))}
    probes = train(read_recipe(again), tmp_path / "again", progress=False).read("probes")
    own = probes[(probes["source"] == "own") & (probes["step"] == 0)]
    # Before its own first step it is as far away as the first training has gone.
    assert (own["nll_initial"] - own["nll_sum"]).mean() > 0.1
    learnt = first.read("probes")
    learnt = learnt[(learnt["source"] == "own") & (learnt["step"] == 4)]
    assert (learnt["nll_initial"] - learnt["nll_sum"]).mean() > 0.1


def test_probes_for_the_kl_are_sampled_at_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[float] = []

    def recorded(*given: object, temperature: float, **more: object) -> object:
        asked.append(temperature)
        return sample(*given, temperature=temperature, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("expo.train.probes.sample", recorded)
    values = {**BASE, "temperature": 0.9, "max_steps": 1}
    train(read_recipe(values), tmp_path / "without", progress=False)
    assert set(asked) == {0.9}
    asked.clear()
    train(read_recipe({**values, "probe_initial": True}), tmp_path / "with", progress=False)
    assert set(asked) == {1.0}


def test_without_asking_none_is(tmp_path: Path) -> None:
    probes = train(read_recipe(BASE), tmp_path / "run", progress=False).read("probes")
    assert probes["nll_initial"].isna().all()
    assert (probes["nll_first"] > 0).all()


def test_leaks_and_texts_that_differ_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problems = chain.load("test", 4, levels=[3]).problems
    monkeypatch.setattr(type(checker), "is_leak", lambda self, text: "1" in text)
    completions = evaluate(policy, checker, problems, samples=6, temperature=1.0, max_new_tokens=60, seed=0, rows=8)
    table = count(completions)
    for problem, rows in completions.groupby("problem"):
        of = table[table["problem"] == problem].iloc[0]
        assert of["leaks"] == sum("1" in text for text in rows["text"])
        assert of["distinct"] == len(set(rows["text"]))
    assert 4 < table["distinct"].sum() < 24
    # The control: cold samples are alike.
    cold = evaluate(policy, checker, problems, samples=2, temperature=0.01, max_new_tokens=60, seed=0, rows=8)
    assert set(count(cold)["distinct"]) == {1}


def test_a_record_made_before_says_nothing_of_it(tmp_path: Path) -> None:
    run = train(read_recipe(BASE), tmp_path / "run", progress=False)
    for table in ("evaluation", "probes"):
        frame = run.read(table)
        run.write(table, frame.drop(columns=["leaks", "distinct", "nll_initial"], errors="ignore"))
        assert frame.columns.equals(Run(run.folder).read(table).columns)
    assert Run(run.folder).read("evaluation")["leaks"].isna().all()
