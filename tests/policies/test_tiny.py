"""The toy policy: tokenizer, pretraining data, stop rule, determinism, and the shipped bases."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from expo.policies import tiny, tiny_pretrain
from expo.policies.tiny_pretrain import IDS, STOP_RULE, TinyRecipe
from expo.tasks import chain

SHORT = TinyRecipe(seed=7, steps=20, batch=16, check_n=4)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tiny.TinyResult:
    return tiny.build(SHORT, tmp_path_factory.mktemp("short") / "base")


@pytest.fixture(scope="module")
def untrained() -> LlamaForCausalLM:
    with tiny_pretrain.one_thread():
        torch.manual_seed(0)
        return tiny_pretrain.new_model(TinyRecipe()).eval()


def texts() -> list[str]:
    return [
        f"{prompt(p)} {cot} <ans> {p.answer} <eos>"
        for p in chain.load("stop", 25).problems
        for prompt in (chain.question_prompt, chain.hinted_prompt)
        for cot in (chain.own_cot(p), p.expert_cot)
    ]


# Tokenizer


def test_text_survives_the_tokenizer_word_for_word(short: tiny.TinyResult) -> None:
    for tokenizer in (tiny_pretrain.tokenizer(), AutoTokenizer.from_pretrained(short.folder)):
        assert {word: tokenizer.encode(word) for word in chain.VOCABULARY} == {w: [i] for w, i in IDS.items()}
        for text in texts():
            ids = tokenizer.encode(text)
            assert ids == [IDS[word] for word in text.split()]
            assert tokenizer.decode(ids) == text
            kept = " ".join(w for w in text.split() if w not in ("<bos>", "<eos>"))
            assert tokenizer.decode(ids, skip_special_tokens=True) == kept


def test_cues_are_found_without_spaces_and_unknown_words_refused() -> None:
    tokenizer = tiny_pretrain.tokenizer()
    assert tokenizer.encode("a 8 ;<ans>a 8<eos>") == tokenizer.encode("a 8 ; <ans> a 8 <eos>")
    for unknown in ("23", "x", "Since", "8;", "<unk>"):
        with pytest.raises(Exception, match="UNK"):
            tokenizer.encode(f"a {unknown}")


# Pretraining data


def test_examples_are_of_the_pretrain_split_and_score_the_right_part() -> None:
    rng, kinds = random.Random(0), dict.fromkeys(("reading", "hinted", "expert", "direct"), 0)
    for _ in range(2000):
        ids, weights = tiny_pretrain.example(TinyRecipe(), rng)
        words, skip = [chain.VOCABULARY[i] for i in ids], weights.count(0)
        assert len(ids) == len(weights)
        assert not any(weights[:skip])
        prompt, target = " ".join(words[:skip]), " ".join(words[skip:])
        copied = " ".join(w for w, weight in zip(words, weights, strict=True) if weight == TinyRecipe().copy_weight)
        question, _, rest = prompt.removeprefix("<bos> ").partition(" ?")
        c = chain.parse(question + " ?")
        p = chain.problem_of(c)
        assert c.split == "pretrain"
        if rest.endswith("<ans>"):
            kinds["reading"] += 1
            assert target == copied == f"{p.answer} <eos>"
            assert chain.share_right(p, prompt) == 1
        else:
            kind = "hinted" if "key" in rest else "expert" if target.startswith("since") else "direct"
            kinds[kind] += 1
            assert copied == (p.answer if kind == "hinted" else "")
            assert prompt == (chain.hinted_prompt if kind == "hinted" else chain.question_prompt)(p)
            assert chain.share_right(p, target) == 1
            assert chain.check_answer(p, target)
            assert target.endswith(" <eos>")
    recipe = TinyRecipe()
    assert kinds["reading"] / 2000 == pytest.approx(recipe.p_reading, abs=0.03)
    assert kinds["hinted"] / 2000 == pytest.approx((1 - recipe.p_reading) * recipe.p_hinted, abs=0.03)
    assert 0 < kinds["expert"] < 40


def test_loss_of_padded_chunks_is_the_loss_of_the_rows(untrained: LlamaForCausalLM) -> None:
    rng = random.Random(1)
    examples = [tiny_pretrain.example(TinyRecipe(), rng) for _ in range(24)]
    assert len({len(e.ids) for e in examples}) > 6

    def by_row(shift: int, weigh: bool = True) -> float:
        total = 0.0
        for e in examples:
            log_p = untrained(input_ids=torch.tensor([e.ids])).logits[0].log_softmax(-1)
            scored = [i for i, weight in enumerate(e.weights) if weight][shift:]
            total -= sum((e.weights[i] if weigh else 1) * log_p[i - 1, e.ids[i]].item() for i in scored)
        return total

    with torch.no_grad():
        chunked = sum(tiny_pretrain.loss_sum(untrained, *c).item() for c in tiny_pretrain.chunks(examples))
        assert chunked == pytest.approx(by_row(0), rel=1e-5)
        # Controls: one target too few, and weights left out.
        assert chunked != pytest.approx(by_row(1), rel=1e-3)
        assert chunked != pytest.approx(by_row(0, weigh=False), rel=1e-3)


# Measuring


def test_sampling_follows_the_model(untrained: LlamaForCausalLM) -> None:
    prompts = [chain.question_prompt(p) for p in chain.load("stop", 6, levels=[2]).problems]
    cold = tiny_pretrain.sample(untrained, prompts, 8, 1e-4, torch.Generator().manual_seed(0))
    for prompt, text in zip(prompts, cold, strict=True):
        ids = [IDS[w] for w in prompt.split()]
        for word in text.split():
            best = untrained(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()
            assert word == chain.VOCABULARY[best]
            ids.append(int(best))

    def warm(seed: int) -> list[str]:
        return tiny_pretrain.sample(untrained, prompts, 8, 1.0, torch.Generator().manual_seed(seed))

    assert warm(0) == warm(0) != warm(1)
    uneven = [prompts[0], chain.hinted_prompt(chain.load("stop", 1).problems[0])]
    with pytest.raises(ValueError, match="equal lengths"):
        tiny_pretrain.sample(untrained, uneven, 8, 1.0, torch.Generator())


def test_sampling_stops_at_the_end_token_and_at_the_limit(untrained: LlamaForCausalLM) -> None:
    prompts = [chain.question_prompt(p) for p in chain.load("stop", 64, levels=[1]).problems]
    found = tiny_pretrain.sample(untrained, prompts, 60, 1.0, torch.Generator().manual_seed(0))
    ended = [text for text in found if text.endswith("<eos>")]
    assert 0 < len(ended) < len(found)
    assert all(text.count("<eos>") == 1 for text in ended)
    assert {len(text.split()) for text in found if text not in ended} == {60}


@pytest.mark.parametrize("expert", [False, True])
def test_reading_is_the_mean_probability_of_the_answer(short: tiny.TinyResult, expert: bool) -> None:
    model = LlamaForCausalLM.from_pretrained(short.folder).eval()
    problems = chain.load("stop", 3, levels=[2]).problems
    by_hand = []
    for p in problems:
        cot = p.expert_cot if expert else chain.own_cot(p)
        ids = [IDS[w] for w in f"<bos> {p.question} <think> {cot} <ans>".split()]
        probability = 1.0
        for word in f"{p.answer} <eos>".split():
            probability *= model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)[IDS[word]].item()
            ids.append(IDS[word])
        by_hand.append(probability)
    value = tiny_pretrain.reading(model, problems, expert)
    assert value == pytest.approx(sum(by_hand) / 3, rel=1e-3)
    assert value != pytest.approx(tiny_pretrain.reading(model, problems, not expert), rel=1e-3)


# Stop rule


def test_an_untrained_model_is_refused(short: tiny.TinyResult) -> None:
    assert not short.accepted
    assert set(short.missed) == set(STOP_RULE) - {"direct_l5"}


@pytest.mark.parametrize("name", STOP_RULE)
def test_every_criterion_can_refuse(name: str) -> None:
    just = {name: least for name, (least, _) in STOP_RULE.items()}
    assert tiny_pretrain.missed(just) == []
    least, most = STOP_RULE[name]
    for planted in (least - 1e-3, most + 1e-3, float("nan")):
        assert tiny_pretrain.missed(just | {name: planted}) == [name]


# Building


def test_the_same_recipe_gives_the_same_bytes(short: tiny.TinyResult, tmp_path: Path) -> None:
    random_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    again = tiny.build(SHORT, tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads
    assert again.values == short.values
    assert weights(again.folder) == weights(short.folder)
    other = tiny.build(replace(SHORT, seed=8), tmp_path / "other")
    assert weights(other.folder) != weights(short.folder)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_base_is_built_once_and_cached_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPO_CACHE", str(tmp_path))
    quick = replace(SHORT, steps=1, batch=4)
    first = tiny.build(quick)
    assert first.folder == tmp_path / "tiny" / tiny_pretrain.recipe_hash(quick)
    written = (first.folder / "model.safetensors").stat().st_mtime_ns
    assert tiny.build(quick) == first
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == written
    assert [f.name for f in (tmp_path / "tiny").iterdir()] == [first.folder.name]
    with pytest.raises(FileExistsError, match="does not hold the base of recipe"):
        tiny.build(replace(quick, seed=9), first.folder)


def test_the_hash_sees_every_field_and_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    base = TinyRecipe()
    hashes = {tiny_pretrain.recipe_hash(base)}
    for name, value in vars(base).items():
        changed = replace(base, **{name: (*value[:-1], 0.5) if isinstance(value, tuple) else value + 1})
        hashes.add(tiny_pretrain.recipe_hash(changed))
    monkeypatch.setitem(STOP_RULE, "direct_l4", (0.3, 1.0))
    hashes.add(tiny_pretrain.recipe_hash(base))
    assert len(hashes) == len(vars(base)) + 2


# Shipped bases

SHIPPED = sorted(tiny.BASES.glob("tiny-*"))


def test_the_ledger_counts_every_seed() -> None:
    ledger = tiny.ledger()
    accepted = [entry for entry in ledger["seeds"] if entry["base"] is not None]
    assert ledger["accepted"] == f"{len(accepted)} of {len(ledger['seeds'])} seeds accepted"
    assert len(accepted) >= 3
    assert [folder.name for folder in SHIPPED] == [f"tiny-{entry['base']}" for entry in accepted]
    for entry in ledger["seeds"]:
        assert entry["missed"] == tiny_pretrain.missed(entry["stop"])
        assert (entry["base"] is None) == bool(entry["missed"]) == ("test" not in entry)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_base_is_what_it_says(folder: Path) -> None:
    index = int(folder.name.removeprefix("tiny-"))
    about = json.loads((folder / "tiny.json").read_text())
    entry = next(entry for entry in tiny.ledger()["seeds"] if entry["base"] == index)
    # Equal hashes mean that `path` gives the shipped folder and trains nothing.
    assert about["recipe_hash"] == tiny_pretrain.recipe_hash(TinyRecipe(seed=entry["seed"]))
    assert tiny.path(index) == folder
    assert {name: c["value"] for name, c in about["criteria"].items()} == entry["stop"]
    generation = json.loads((folder / "generation_config.json").read_text())
    assert not {"do_sample", "temperature", "top_k", "top_p", "repetition_penalty"} & set(generation)

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size == len(chain.VOCABULARY)
    easy = chain.load("stop", 32, levels=[1]).problems
    assert tiny_pretrain.solve(model, easy, hinted=False, temperature=0.7, seed=0)[0] >= 0.9


def test_there_is_no_base_beyond_the_accepted() -> None:
    for index in (-1, len(SHIPPED)):
        with pytest.raises(ValueError, match="no such base"):
            tiny.path(index)


@pytest.mark.skipif(os.environ.get("EXPO_REBUILD") != "1", reason="takes minutes; set EXPO_REBUILD=1 to train")
def test_training_again_gives_the_shipped_bytes(tmp_path: Path) -> None:
    seed = next(entry["seed"] for entry in tiny.ledger()["seeds"] if entry["base"] == 0)
    again = tiny.build(TinyRecipe(seed=seed), tmp_path / "again")
    assert again.accepted
    assert weights(again.folder) == weights(tiny.BASES / "tiny-0")
