"""The toy task: generator, splits, parsing, and the exact checkers with planted mistakes."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expo.tasks import chain
from expo.tasks.problem import DataError, Problem

chains = st.integers(1, 6).flatmap(
    lambda n: st.builds(
        chain.Chain,
        st.integers(0, chain.MOD - 1),
        st.tuples(*[st.tuples(st.integers(1, 9), st.integers(2, 16))] * n),
        st.permutations(chain.NAMES).map(lambda names: "".join(names[: n + 1])),
    )
)
problems = chains.map(chain.problem_of)


def solved_by_hand(question: str) -> dict[str, int]:
    """An independent reader of the question's words: name to value, in order."""
    words = question.split()[1:-1]
    known: dict[str, int] = {}
    for left, right in (s.split(" = ") for s in " ".join(words).strip(" ;").split(" ; ")):
        if " " in right:
            old, plus, b, times, c = right.split()
            assert (plus, times) == ("+", "*")
            known[left] = (known[old] + int(b)) * int(c) % 23
        else:
            known[left] = int(right)
    return known


def without_names(question: str) -> str:
    """The question up to renaming, by another route than `Chain.form`."""
    order = list(dict.fromkeys(re.findall(r"\b[a-l]\b", question)))
    return " ".join(str(order.index(w)) + "#" if w in order else w for w in question.split())


def corrupt(data: st.DataObject, text: str) -> str:
    """`text` with one word replaced by another of the vocabulary."""
    words = text.split()
    i = data.draw(st.integers(0, len(words) - 1), label="position")
    words[i] = data.draw(st.sampled_from([w for w in chain.VOCABULARY if w != words[i]]), label="planted")
    return " ".join(words)


def test_the_documented_problem() -> None:
    p = chain.problem_of(chain.parse("Q h = 4 ; a = h + 8 * 16 ; g = a + 8 * 12 ; ?"))
    assert p.answer == "a 8 g 8"
    assert chain.own_cot(p) == "4 + 8 = 12 * 16 get a 8 ; 8 + 8 = 16 * 12 get g 8 ;"
    assert p.expert_cot == ("since 4 plus 8 gives 12 , by 16 we get a 8 . since 8 plus 8 gives 16 , by 12 we get g 8 .")
    assert chain.question_prompt(p) == f"<bos> {p.question} <think>"
    assert chain.hinted_prompt(p) == f"<bos> {p.question} key a 8 g 8 <think>"
    assert chain.hinted_prompt(p, "a 1 g 2") == f"<bos> {p.question} key a 1 g 2 <think>"


@pytest.mark.parametrize("split", chain.SPLITS)
def test_problems_are_right_and_of_their_level(split: str) -> None:
    task = chain.load(split, 50)
    assert task.is_toy
    for p in task.problems:
        assert p.level is not None
        steps, low, high = chain.LEVELS[p.level]
        c = chain.parse(p.question)
        assert len(c.steps) == steps
        assert all(1 <= b <= 9 and low <= factor <= high for b, factor in c.steps)
        (_, start), *unknowns = solved_by_hand(p.question).items()
        assert start == c.start
        assert p.answer == " ".join(f"{name} {value}" for name, value in unknowns)


def test_load_is_deterministic_even_and_extends() -> None:
    big, small = chain.load("train", 203, seed=3), chain.load("train", 60, seed=3)
    assert big.problems[:60] == small.problems
    assert [sum(p.level == level for p in big.problems) for level in chain.LEVELS] == [41, 41, 41, 40, 40]
    for field in ("id", "question"):
        assert len({getattr(p, field) for p in big.problems}) == 203
    assert {p.question for p in chain.load("train", 60, seed=4).problems}.isdisjoint(
        p.question for p in small.problems if p.level == 5
    )
    assert {p.level for p in chain.load("train", 8, levels=(5, 2)).problems} == {2, 5}


def forms_by_split(split_of: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for question, split in split_of.items():
        found.setdefault(split, set()).add(without_names(question))
    return found


def overlap(forms: dict[str, set[str]]) -> int:
    return sum(map(len, forms.values())) - len(set().union(*forms.values()))


def test_splits_share_no_form() -> None:
    drawn = {p.question: split for split in chain.SPLITS for p in chain.load(split, 1000).problems}
    assert len(drawn) == 5000
    assert overlap(forms_by_split(drawn)) == 0
    # Control: a split by the hash of the question with its names leaks level 1, and the test sees it.
    leaky = {q: str(hashlib.sha256(q.encode()).digest()[0] % 5) for q in drawn}
    assert overlap(forms_by_split(leaky)) > 100


def test_splits_have_their_shares_of_level_1() -> None:
    forms = [chain.Chain(x, ((b, c),), "ab") for x in range(23) for b in range(1, 10) for c in (2, 3)]
    assert len({c.form for c in forms}) == 414
    for split, share in chain.SPLITS.items():
        assert sum(c.split == split for c in forms) == pytest.approx(41.4 * share, rel=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dev", 5), "split"),
        (("train", 0), "problems: must be at least 1, got 0"),
        (("train", 5, 0, (6,)), "levels"),
        (("train", 5, 0, ()), "levels"),
        (("test", 10_000, 0, (1,)), "level 1 of split 'test' has only about"),
    ],
)
def test_impossible_requests_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        chain.load(*arguments)


@given(chains)
def test_parse_inverts_question(c: chain.Chain) -> None:
    assert chain.parse(c.question) == c


@pytest.mark.parametrize(
    "question",
    [
        "",
        "What is 2 + 2?",
        "Q h = 4 ; ?",
        "Q h = 4 ; a = h + 8 * 16",
        "Q h = 4 ; a = h + 8 * 16 ; ? ?",
        "Q h = 23 ; a = h + 8 * 16 ; ?",
        "Q h = 04 ; a = h + 8 * 16 ; ?",
        "Q h = 4 ; h = h + 8 * 16 ; ?",
        "Q h = 4 ; a = h + 8 * 16 ; g = h + 8 * 12 ; ?",
        "Q h = 4 ; z = h + 8 * 16 ; ?",
        "Q h = 4 ;  a = h + 8 * 16 ; ?",
    ],
)
def test_parse_refuses_other_text(question: str) -> None:
    with pytest.raises(DataError, match="question"):
        chain.parse(question)


@given(problems)
def test_gold_passes_in_both_dialects_within_the_limit(p: Problem) -> None:
    n = len(chain.parse(p.question).steps)
    for cot in (chain.own_cot(p), p.expert_cot or ""):
        completion = f"{cot} <ans> {p.answer} <eos>"
        assert len(completion.split()) <= chain.token_limit(p) - 6
        assert chain.check_answer(p, completion)
        assert [true for _, true in chain.check_steps(p, completion)] == [True] * n
        assert " ".join(text for text, _ in chain.check_steps(p, completion)) == cot
        assert chain.share_right(p, completion) == 1
        # The same with its prompt in front, and with the end token already taken off.
        assert chain.share_right(p, f"{chain.hinted_prompt(p)} {completion}") == 1
        assert chain.check_answer(p, completion.removesuffix(" <eos>"))


@given(problems, st.booleans(), st.data())
def test_one_wrong_word_in_the_cot_is_seen(p: Problem, expert: bool, data: st.DataObject) -> None:
    cot = corrupt(data, (p.expert_cot or "") if expert else chain.own_cot(p))
    assert chain.share_right(p, f"{cot} <ans> {p.answer} <eos>") < 1


@given(problems, st.data())
def test_one_wrong_word_in_the_answer_is_seen(p: Problem, data: st.DataObject) -> None:
    planted = corrupt(data, p.answer)
    # An end token cuts the answer short, which is as wrong; a second cue or a name changes it.
    assert not chain.check_answer(p, f"{chain.own_cot(p)} <ans> {planted} <eos>")


def test_answers_are_read_after_the_last_cue_up_to_the_end() -> None:
    p = chain.problem_of(chain.parse("Q h = 4 ; a = h + 8 * 16 ; g = a + 8 * 12 ; ?"))
    assert chain.check_answer(p, "<ans> a 1 g 1 <ans> a 8 g 8 <eos> a 9")
    assert chain.check_answer(p, "4 + 8 = 12 ;<ans>a 8 g 8<eos>")
    for wrong in ("a 8 g 8", "", "<ans>", "<ans> a 8", "<ans> a 8 g 8 a 8", "<ans> g 8 a 8", "<ans> a 8 g 08"):
        assert not chain.check_answer(p, wrong)


def test_steps_are_judged_against_the_true_chain() -> None:
    p = chain.problem_of(chain.parse("Q h = 4 ; a = h + 8 * 16 ; g = a + 8 * 12 ; ?"))

    def verdicts(text: str) -> list[bool]:
        return [true for _, true in chain.check_steps(p, text)]

    first, second = "4 + 8 = 12 * 16 get a 8 ;", "8 + 8 = 16 * 12 get g 8 ;"
    assert verdicts(f"{first} {second}") == [True, True]
    # Right result under a wrong sum; a mistake carried on; steps swapped; the other dialect half-way.
    assert verdicts(f"4 + 8 = 13 * 16 get a 8 ; {second}") == [False, True]
    assert verdicts("4 + 8 = 12 * 16 get a 9 ; 9 + 8 = 17 * 12 get g 20 ;") == [False, False]
    assert verdicts(f"{second} {first}") == [False, False]
    assert verdicts(f"{first} since 8 plus 8 gives 16 , by 12 we get g 8 .") == [True, False]
    # Unfinished, superfluous and missing steps.
    assert verdicts(f"{first} 8 + 8 = 16 *") == [True, False]
    assert verdicts(f"{first} {second} {second}") == [True, True, False]
    assert chain.share_right(p, f"{first} {second} {second}") == pytest.approx(2 / 3)
    assert chain.share_right(p, first) == 0.5
    assert verdicts("") == []
    assert chain.share_right(p, "<ans> a 8 g 8") == 0
