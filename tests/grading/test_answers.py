"""Answers: extraction, the golden table of verdicts, and a worker that can be killed and never left behind."""

import gc
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from math_verify import parse, verify

from expo.grading import answers
from expo.grading.answers import AnswerGrader, Grade, Status, UnparsableGold, extract

GOLDEN = [json.loads(line) for line in Path(__file__).with_name("golden_answers.jsonl").read_text().splitlines()]
# What math-verify 0.9 is known to take for right; each must stay a case that it gets wrong and we do not.
NAMED_FALSE_POSITIVES = [
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    (r"\{0,1\}", "(0,1)"),
    ("(0,1)", r"\{0,1\}"),
    ("11_2", "11"),
    ("11", "11_2"),
    (r"\cos 58^\circ", r"\cos 58"),
    ("0.00000001", "0.00000002"),
    ("5", r"5\text{ million}"),
]


# Half a minute of work.
HANG = "+".join([r"\sum_{k=1}^{2000}\sin(x+\cos(\sin(\cos(\sin k))))"] * 20)


def boxed(answer: str) -> str:
    return rf"The answer is \boxed{{{answer}}}."


def bare_math_verify(gold: str, text: str) -> str:
    """What math-verify says by itself."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    found = parse(text, parsing_timeout=None)
    if not found:
        return "unparsed"
    return "correct" if verify(parse(f"${gold}$", parsing_timeout=None), found, timeout_seconds=None) else "wrong"


@pytest.fixture(scope="module")
def grader():
    with AnswerGrader(seconds=60) as it:
        yield it


@pytest.fixture
def hasty(grader, monkeypatch):
    """The same grader, with less time while the test runs."""
    monkeypatch.setattr(grader, "seconds", 0.5)
    return grader


# The golden table


def test_golden_table_is_large_and_has_no_duplicates():
    assert len(GOLDEN) >= 80
    assert len({(row["gold"], row["text"]) for row in GOLDEN}) == len(GOLDEN)
    assert {row["status"] for row in GOLDEN} == set(Status) - {Status.TIMEOUT}


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['note']}: {row['gold'][:20]}")
def test_golden(grader, row):
    assert grader.grade(row["gold"], row["text"]).status == row["status"]


def test_golden_column_of_bare_math_verify():
    for row in GOLDEN:
        if row["bare"] != "hangs":
            assert bare_math_verify(row["gold"], row["text"]) == row["bare"], row


def test_own_rules_are_needed():
    differ = [row for row in GOLDEN if row["bare"] != row["status"]]
    assert sum(row["bare"] == "correct" for row in differ) >= 10, "false positives of bare math-verify"
    assert sum(row["bare"] == "wrong" for row in differ) >= 10, "false negatives of bare math-verify"


@pytest.mark.parametrize(("gold", "answer"), NAMED_FALSE_POSITIVES)
def test_named_false_positives(grader, gold, answer):
    assert bare_math_verify(gold, boxed(answer)) == "correct", "math-verify repairs this now: drop the row"
    assert grader.grade(gold, boxed(answer)).status is Status.WRONG
    assert grader.grade(gold, boxed(gold)).status is Status.CORRECT


def test_gold_comes_first(grader):
    # An equation is no value, but its right-hand side answers a question for one.
    assert grader.grade("5", boxed("x = 5")).status is Status.CORRECT
    assert grader.grade("5", boxed("x + y = 5")).status is Status.WRONG
    assert grader.grade("x + y = 5", boxed("5")).status is Status.WRONG


# Extraction

PROSE = "She has 16 - 3 = 13 eggs. "


@pytest.mark.parametrize(
    ("text", "answer", "statement"),
    [
        (PROSE + r"The answer is \boxed{13}.", "13", r"The answer is \boxed{13}."),
        (PROSE + "So,\n**The answer is \\boxed{13}.**", "13", "**The answer is \\boxed{13}.**"),
        (
            PROSE + "The final answer is:\n\n\\[\n\\boxed{13}\n\\]",
            "13",
            "The final answer is:\n\n\\[\n\\boxed{13}\n\\]",
        ),
        (PROSE + "**Final Answer**\n\n$\\boxed{13}$", "13", "**Final Answer**\n\n$\\boxed{13}$"),
        (PROSE + "Thus her share is 13$\n\\boxed{13}", "13", "\\boxed{13}"),
        (PROSE + "Hence\n$$\\boxed{13}$$", "13", "$$\\boxed{13}$$"),
        (r"\boxed{5}. Wait: \boxed{\{1, \frac{2}{3}\}}", r"\{1, \frac{2}{3}\}", r"Wait: \boxed{\{1, \frac{2}{3}\}}"),
        (PROSE + r"\fbox{13}", "13", r"\fbox{13}"),
        (PROSE + r"It is \boxed 7.", "7", r"It is \boxed 7."),
        (PROSE + "The answer is $13 per day.", "$13 per day", "The answer is $13 per day."),
        (PROSE + r"The answer is $\frac{1}{2}$ of it.", r"\frac{1}{2}", r"The answer is $\frac{1}{2}$ of it."),
        (PROSE + r"The answer is $\$1,\!300$.", r"\$1,\!300", r"The answer is $\$1,\!300$."),
        (PROSE + "The answer is 3.5.", "3.5", "The answer is 3.5."),
        (PROSE + "The answer is 13, because 16 - 3 = 13.", "13", "The answer is 13, because 16 - 3 = 13."),
        (PROSE + "The answer is that she has 13 eggs.", "13", "The answer is that she has 13 eggs."),
        (PROSE + "**Answer:** 13", "13", "**Answer:** 13"),
        (PROSE + "The answer is (C) 12 eggs.", "(C)", "The answer is (C) 12 eggs."),
        (PROSE + "The answer is Monday.", "Monday", "The answer is Monday."),
        ("The answer is 3. No, the answer is 4.", "4", "No, the answer is 4."),
        (PROSE + "\n#### 1,300", "1,300", "#### 1,300"),
        (PROSE + "Her answer is 14, but\n#### 13\n", "13", "#### 13\n"),
        (PROSE + "\n####\nThe answer is 13", "13", "The answer is 13"),
        ("so 5-3=2 and 1,300 eggs", "1,300", ""),
        (r"so it is \frac{3}{4}", r"\frac{3}{4}", ""),
    ],
)
def test_extract(text, answer, statement):
    found, start = extract(text)
    assert found == answer
    assert text[start:] == statement


@pytest.mark.parametrize(
    "text", ["", "I cannot say.", r"13. The answer is \boxed{13", r"\boxed{5} or \boxed{", "\\boxed"]
)
def test_extract_finds_nothing(text):
    assert extract(text) is None


def test_extract_keeps_the_last_statement_only():
    text = PROSE + boxed("12") + " " + boxed("13")
    answer, start = extract(text)
    assert (answer, text[:start]) == ("13", PROSE + boxed("12") + " ")


def test_searches_are_linear():
    # A quadratic search would need hours here, not fractions of a second.
    for seed in (
        "\\boxed{",
        "{",
        "answer ",
        "answer:\n",
        "answer is \\(",
        "$",
        "1,",
        "#",
        "x. ",
        "\n",
        "\\frac{1}",
        " ",
    ):
        extract(seed * (100_000 // len(seed)))


def test_long_answers_are_unparsed(grader):
    assert grader.grade("1", boxed("1+" * 50_000 + "1")).status is Status.UNPARSED
    assert grader.grade("1", "x" * 100_000 + boxed("1")).status is Status.CORRECT
    assert not grader.can_parse("1" * (answers.MAX_CHARS + 1))


# Gold answers


@pytest.mark.parametrize("gold", ["", "  ", "$$", "???", r"\frac{1}{", "3+"])
def test_unparsable_gold(grader, gold):
    assert not grader.can_parse(gold)
    with pytest.raises(UnparsableGold, match=re.escape(repr(gold))):
        grader.grade(gold, boxed("5"))


@pytest.mark.parametrize("gold", ["5", "1,234", r"\text{no solution}", "3032_5", r"28\%", "(1,2)", "A, C", "x=9"])
def test_parsable_gold(grader, gold):
    assert grader.can_parse(gold)


# The worker


def worker_of(grader):
    grader.can_parse("1")
    return psutil.Process(grader._worker.pid)


def test_worker_is_started_once_and_memory_bound():
    with AnswerGrader() as grader:
        worker = worker_of(grader)
        assert grader.grade("2", boxed("2")).status is Status.CORRECT
        assert worker_of(grader) == worker
        soft, _ = worker.rlimit(psutil.RLIMIT_AS)
        assert 0 < soft <= 4 * 2**30


def test_timeout_kills_and_the_next_grade_starts_anew(hasty, monkeypatch):
    before = worker_of(hasty)
    assert hasty.grade("7", boxed(HANG)) == Grade(Status.TIMEOUT, HANG)
    assert not before.is_running(), "killed and reaped: no zombie either"
    monkeypatch.setattr(hasty, "seconds", 60)
    assert hasty.grade("5", boxed("5.0")).status is Status.CORRECT
    assert worker_of(hasty) != before


def test_a_worker_that_died_between_grades_is_replaced(grader):
    worker_of(grader).kill()
    grader._worker.wait()
    assert grader.grade("6", boxed("6")).status is Status.CORRECT


def test_a_worker_that_dies_while_it_reads_is_asked_again(grader, monkeypatch):
    running, kills = AnswerGrader._running, iter([True, False])

    def killed(self):
        worker = running(self)
        if next(kills):
            worker.kill()
            worker.wait()
        return worker

    monkeypatch.setattr(AnswerGrader, "_running", killed)
    assert grader.can_parse("17")
    assert not list(kills)


def test_close_leaves_no_process():
    grader = AnswerGrader()
    worker = worker_of(grader)
    grader.close()
    grader.close()
    assert not worker.is_running()
    with pytest.raises(RuntimeError, match="closed"):
        grader.grade("1", boxed("1"))


def test_a_forgotten_grader_leaves_no_process():
    grader = AnswerGrader()
    worker = worker_of(grader)
    del grader
    gc.collect()
    assert not worker.is_running()


def test_threads_share_a_grader(grader):
    pairs = [(str(i % 7), boxed(str(i % 5))) for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        grades = list(pool.map(lambda pair: grader.grade(*pair), pairs))
    assert grades == [grader.grade(*pair) for pair in pairs]
    assert [g.status is Status.CORRECT for g in grades] == [i % 7 == i % 5 for i in range(200)]


def test_no_alarm_in_this_process(grader):
    handler = signal.getsignal(signal.SIGALRM)
    thread = threading.Thread(target=grader.grade, args=("x^2-1", boxed("(x-1)(x+1)")))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def interrupt_when_busy(worker):
    idle = worker.cpu_times().user
    while worker.cpu_times().user < idle + 0.1:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_spoils_no_later_grade():
    """The interrupted comparison would reply "wrong" or never; the next one must get its own reply."""
    with AnswerGrader(seconds=60) as grader:
        worker = worker_of(grader)
        threading.Thread(target=interrupt_when_busy, args=(worker,)).start()
        with pytest.raises(KeyboardInterrupt):
            grader.grade("5", boxed(HANG))
        assert not worker.is_running()
        assert grader.grade("5", boxed("5")).status is Status.CORRECT
        assert os.getpgid(grader._worker.pid) != os.getpgid(0), "Ctrl-C at the terminal goes to our group alone"


PARENT = r"""
import sys
from expo.grading.answers import AnswerGrader
grader = AnswerGrader()
grader.can_parse("1")
print(grader._worker.pid, flush=True)
sys.stdin.read()
"""
CHILD = {
    "stdin": subprocess.PIPE,
    "stdout": subprocess.PIPE,
    "env": os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
}


def test_an_idle_worker_dies_with_its_parent():
    with subprocess.Popen([sys.executable, "-c", PARENT], **CHILD) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    worker.wait(timeout=60)


def test_a_hanging_worker_ends_by_itself():
    """So that one whose parent was killed does not hang on for ever."""
    request = {"gold": "5", "answer": HANG, "seconds": 0.2}
    with subprocess.Popen([sys.executable, "-m", "expo.grading.worker"], **CHILD) as worker:
        worker.stdin.write(json.dumps(request).encode() + b"\n")
        worker.stdin.flush()
        try:
            assert worker.wait(timeout=120) == -signal.SIGPROF
        finally:
            worker.kill()


def test_a_worker_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"expo\.grading\.worker"):
        AnswerGrader().grade("1", boxed("1"))


def test_a_worker_that_others_keep_waiting_is_not_timed_out(hasty):
    """Only its own CPU time counts: a limit by the clock would call this right answer a time-out."""
    worker = worker_of(hasty)
    worker.suspend()
    threading.Timer(2 * hasty.seconds, worker.resume).start()
    assert hasty.grade("8", boxed("8.00")).status is Status.CORRECT


def test_a_worker_without_any_cpu_time_stops_the_run(hasty, monkeypatch):
    worker = worker_of(hasty)
    worker.suspend()
    with monkeypatch.context() as patch:
        patch.setattr(answers, "PATIENCE", 2)
        with pytest.raises(TimeoutError, match="CPU time"):
            hasty.grade("8", boxed("8.000"))
    assert not worker.is_running()
    assert hasty.grade("8", boxed("8.000")).status is Status.CORRECT


def test_verdicts_are_remembered(hasty):
    assert hasty.grade("8", boxed(HANG)).status is Status.TIMEOUT
    before = worker_of(hasty)
    assert hasty.grade("8", boxed(HANG)).status is Status.TIMEOUT
    assert worker_of(hasty) == before, "asked once, killed once"


# Real data


def golds(name: str) -> list[str]:
    if "EXPO_DATA" not in os.environ:
        pytest.skip("EXPO_DATA is unset: no folder with gsm8k/test.jsonl and math/test.jsonl")
    rows = [json.loads(line) for line in (Path(os.environ["EXPO_DATA"]) / name).read_text().splitlines()]
    found = [extract(row.get("answer") or row["solution"])[0] for row in rows]
    if "gsm8k" in name:
        assert found == [row["answer"].rpartition("####")[2].strip() for row in rows]
    return found


@pytest.mark.parametrize("name", ["gsm8k/test.jsonl", "math/test.jsonl"])
def test_every_gold_is_right_for_itself_and_wrong_for_the_next(grader, name):
    answers_ = golds(name)
    mine = [(gold, boxed(gold)) for gold in answers_]
    others = [(gold, boxed(other)) for gold, other in pairwise(answers_) if gold != other]
    assert [pair for pair in mine if grader.grade(*pair).status is not Status.CORRECT] == []
    assert [pair for pair in others if grader.grade(*pair).status is not Status.WRONG] == []
