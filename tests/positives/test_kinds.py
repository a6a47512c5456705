"""Positives on real tokenizers: where a CoT ends, what the final answer is, what the hint was."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from expo.policies.engine import Completion
from expo.policies.policy import Policy
from expo.positives.kinds import from_expert, from_sample, requests
from expo.tasks import chain
from expo.tasks.chain_task import ChainChecker
from expo.tasks.checker import TextChecker
from expo.tasks.problem import Problem
from tests.conftest import build

CHECKER = TextChecker()
PROBLEM = Problem("p", "How many apples are 3 times 4 apples?", "12", 1, "There are 3 * 4 = 12 apples.")


def completion(policy: Policy, text: str, ended: bool = True) -> Completion:
    ids = policy.encode(text)
    return Completion((*ids, policy.tokenizer.eos_token_id) if ended else tuple(ids), truncated=not ended)


@pytest.fixture(scope="module")
def checker() -> TextChecker:
    return CHECKER


@pytest.mark.parametrize(
    ("text", "cot"),
    [
        ("3 * 4 = 12.\n\nThe answer is \\boxed{7}.", "3 * 4 = 12."),
        ("We add. The answer is \\boxed{7}. Thanks!", "We add."),
        ("So it is 7.", "So it is 7."),
        ("\\boxed{7}", ""),
        ("", ""),
        ("Größe: 3 × 4 → 12 🍎. The answer is \\boxed{12}.", "Größe: 3 × 4 → 12 🍎."),
        (
            "The answer is 7. " + "We add one more. " * 4,
            "The answer is 7. " + "We add one more. " * 3 + "We add one more.",
        ),
        ("Broken off in the answer: \\boxed{1", "Broken off in the answer: \\boxed{1"),
    ],
)
@pytest.mark.parametrize("ended", [True, False])
def test_an_explanation_ends_in_the_right_answer_whatever_it_said(
    policy: Policy, checker: TextChecker, text: str, cot: str, ended: bool
) -> None:
    got = from_sample(policy, PROBLEM, "explanation", 0, "12", completion(policy, text, ended), checker)
    assert got.cot_text.rstrip() == cot
    assert policy.decode(got.scored.completion) == got.cot_text + "\n\nThe answer is \\boxed{12}"
    assert got.scored.completion[-1] in policy.eos_ids
    assert got.scored.inline
    assert policy.decode(got.scored.answer) == "12}"
    # The CoT's tokens are those that were sampled, not a new tokenisation of its text.
    assert got.scored.completion[: got.scored.cot] == completion(policy, text, ended).ids[: got.scored.cot]


def test_an_own_cot_is_scored_as_sampled(policy: Policy, checker: TextChecker) -> None:
    sampled = completion(policy, "3 + 4 = 7. The answer is \\boxed{7}.")
    got = from_sample(policy, PROBLEM, "own", 0, "", sampled, checker)
    assert got.scored.completion == sampled.ids
    assert not got.scored.inline
    assert policy.decode(got.scored.answer) == "12}"
    assert policy.decode(sampled.ids[: got.scored.cot]).rstrip() == "3 + 4 = 7."


def test_all_are_scored_under_the_plain_question(policy: Policy, checker: TextChecker) -> None:
    sampled = completion(policy, "7")
    own, hinted = (from_sample(policy, PROBLEM, s, 0, "", sampled, checker) for s in ("own", "explanation"))
    assert own.scored.prompt == hinted.scored.prompt == from_expert(policy, PROBLEM, CHECKER).scored.prompt
    assert "12" not in policy.decode(own.scored.prompt)


def test_hints_are_in_the_prompts_that_should_have_them(policy: Policy) -> None:
    counts = {"own": 1, "explanation": 2, "wrong_explanation": 1, "nonsense": 1}
    asked = {source: (hint, r) for source, hint, r in requests(policy, PROBLEM, [PROBLEM], counts, 10, 0, CHECKER)}
    prompts = {source: policy.tokenizer.decode(r.prompt_ids) for source, (_, r) in asked.items()}
    assert "answer is 12" in prompts["explanation"]
    assert "answer is 12" not in prompts["own"] + prompts["nonsense"] + prompts["wrong_explanation"]
    wrong = asked["wrong_explanation"][0]
    assert wrong != "12"
    assert f"answer is {wrong}." in prompts["wrong_explanation"]
    assert asked["nonsense"][0] in prompts["nonsense"]
    assert asked["explanation"][1].n == 2
    assert len({r.key for _, r in asked.values()}) == 4
    assert [s for s, *_ in requests(policy, PROBLEM, [PROBLEM], {"own": 1}, 10, 0, CHECKER)] == ["own"]


@pytest.mark.parametrize("answer", ["12", "1", "-4", "0", "987654"])
def test_a_wrong_number_is_wrong_near_and_fixed(answer: str) -> None:
    for seed in range(50):
        problem = Problem(f"p{seed}", "q", answer)
        wrong = CHECKER.wrong_answer(problem, [], seed)
        assert wrong == CHECKER.wrong_answer(problem, [], seed)
        assert 1 <= abs(int(wrong) - int(answer)) <= 9
        assert int(answer) <= 0 or int(wrong) > 0


def test_another_answer_stands_in_for_what_is_no_number() -> None:
    others = [Problem(f"o{i}", "q", a) for i, a in enumerate(["\\frac{1}{2}", "x+1", "Monday"])]
    assert {CHECKER.wrong_answer(others[0], others, s) for s in range(20)} == {"x+1", "Monday"}
    assert CHECKER.wrong_answer(others[0], others[:1], 0) is None


def test_another_writing_of_the_right_answer_is_not_wrong() -> None:
    others = [Problem(f"o{i}", "q", a) for i, a in enumerate(["\\frac{1}{2}", "0.5", "1/2", "\\dfrac12", "Monday"])]
    assert {CHECKER.wrong_answer(others[0], others, s) for s in range(20)} == {"Monday"}


def test_a_chain_keeps_its_names_and_moves_every_value() -> None:
    for problem in chain.load("test", 20).problems:
        right, wrong = problem.answer.split(), ChainChecker().wrong_answer(problem, [], 0).split()
        assert right[::2] == wrong[::2]
        assert all(a != b and 0 <= int(b) < 23 for a, b in zip(right[1::2], wrong[1::2], strict=True))
        said = ChainChecker().nonsense(problem, 0).split()
        assert len(said) == len(right)
        assert not set(said[::2]) & set(problem.question.split())


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("Since the answer is 18, we work backwards.", True),
        ("The correct answer is 18. To reach it, add.", True),
        ("We are given that the final answer is 18.", True),
        ("To get the provided answer we add 9 and 9.", True),
        ("Knowing the answer is 4, check 2 + 2.", True),
        ("9 + 9 = 18. The answer is \\boxed{18}.", False),
        ("9 + 9 = 18, so the correct answer is 18. Done.", False),
        ("The correct answer is 18.", False),
        ("The key step is to add 2 and 3.", False),
        ("She is given 4 apples. 4 + 4 = 8.", False),
        ("We want to know how many. Add 3 and 4. So the answer is 7.", False),
    ],
)
def test_leaks(text: str, leak: bool) -> None:
    assert CHECKER.is_leak(text) is leak


def test_a_leak_on_the_chain_is_the_hint_word() -> None:
    assert ChainChecker().is_leak("4 + 8 = 12 key a 8 <ans> a 8")
    assert not ChainChecker().is_leak("4 + 8 = 12 * 16 get a 8 ; <ans> a 8")


def test_expert_cots_close_like_the_rest(policy: Policy) -> None:
    got = from_expert(policy, PROBLEM, CHECKER)
    text = policy.decode(got.scored.completion)
    assert re.fullmatch(r"There are 3 \* 4 = 12 apples\.\n\nThe answer is \\boxed\{12\}", text)


def test_a_positive_closes_with_the_end_of_the_turn(policy: Policy) -> None:
    assert from_expert(policy, PROBLEM, CHECKER).scored.completion[-1:] == policy.end


def merging(policy: Policy) -> Policy:
    """With one token for the end of a sentence and the line breaks after it, as Qwen and Llama 3 have."""
    vocab = {c: i for i, c in enumerate([*sorted(ByteLevel.alphabet()), "ĊĊ", ".ĊĊ", "<end>"])}
    words = Tokenizer(BPE(vocab, [("Ċ", "Ċ"), (".", "ĊĊ")]))
    words.pre_tokenizer, words.decoder = ByteLevel(add_prefix_space=False, use_regex=False), ByteLevelDecoder()
    made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    made.chat_template = policy.tokenizer.chat_template
    return replace(policy, tokenizer=made)


@pytest.mark.parametrize("written", ["It is 12.\n\nThe answer is \\boxed{7}.", "It is 12. The answer is 7."])
def test_every_positive_goes_on_in_the_tokens_of_its_text(policy: Policy, written: str) -> None:
    policy = merging(policy)
    want = [*policy.encode("It is 12.\n\nThe answer is \\boxed{12}"), *policy.end]
    assert want != [*policy.encode("It is 12."), *policy.encode("\n\nThe answer is \\boxed{12}"), *policy.end]
    sampled = Completion((*policy.encode(written), *policy.end), truncated=False)
    explained = from_sample(policy, PROBLEM, "explanation", 0, "12", sampled, CHECKER)
    expert = from_expert(policy, Problem("p", "q", "12", 1, "It is 12."), CHECKER)
    assert list(explained.scored.completion) == list(expert.scored.completion) == want
    assert explained.cot_text == expert.cot_text == "It is 12."
    own = from_sample(policy, PROBLEM, "own", 0, "", sampled, CHECKER)
    assert own.scored.completion == sampled.ids
    branch = own.scored.completion[: own.scored.cot] + own.scored.cue + own.scored.answer
    assert list(branch) == want[:-1]


def test_an_expert_cot_is_cut_at_its_final_answer_too(policy: Policy) -> None:
    stated = Problem("p", "q", "12", 1, "There are 3 * 4 = 12 apples.\n\nThe answer is \\boxed{12}.")
    assert (
        from_expert(policy, stated, CHECKER).scored.completion
        == from_expert(policy, PROBLEM, CHECKER).scored.completion
    )
    bare = Problem("p", "q", "12", 1, "The answer is 12.")
    assert from_expert(policy, bare, CHECKER).cot_text == bare.expert_cot


def test_without_a_template_something_stands_between_prompt_and_expert() -> None:
    policy = build(chat=False)
    scored = from_expert(policy, PROBLEM, CHECKER).scored
    assert policy.decode(scored.prompt + scored.completion[:2]).partition("\\boxed{}.")[2].startswith("\n")
