"""README.md and docs/ are what their words and the records say, and their words hold no number that nothing backs."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks.page import WORDS
from expo import reproduce
from expo.study import Study
from pages import __main__ as pages
from pages import blocks, first_run, records, tables
from pages.blocks import FIRST_RUN
from pages.fill import PageError, fill, idle, read, typed_numbers, wrapped

PAGES = pages.pages()
OWN = yaml.safe_load(read(pages.SOURCE.parent / "allowed.yaml"))
ids = [source.name for source in PAGES.values()]


@pytest.mark.parametrize(("target", "source"), PAGES.items(), ids=ids)
def test_a_page_is_what_its_words_and_the_records_say(target: Path, source: Path) -> None:
    text = read(target)
    assert pages.rendered(source) == text, f"{target.name} is stale: `make docs` writes it anew"
    assert "{{" not in text
    assert "\n\n\n" not in re.sub(r"^```.*?^```$", "code", text, flags=re.M | re.S)


def test_another_number_in_a_table_makes_the_pages_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(name: str) -> pd.DataFrame:
        found = pd.read_csv(tables.FIGURES / f"{name}.csv", dtype=str, keep_default_na=False)
        if name == "by-base-smollm2-135m-letters":
            found.loc[found["method"] == "none", "mean"] = "0.5"
        return found

    monkeypatch.setattr(tables, "table", changed)
    for name in ("README.md", "RESULTS.md"):
        target = tables.ROOT / ("" if name == "README.md" else "docs") / name
        assert pages.rendered(pages.SOURCE / name) != read(target)


@pytest.mark.parametrize(
    ("correct", "said"),
    [([0, 0, 0], "0 of 12"), ([0, 3, 0], "3 of 12 (of 1 question)"), ([1, 3, 2], "6 of 12 (of 3 questions)")],
)
def test_right_samples_are_of_one_question_or_of_several(
    correct: list[int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "kept", lambda *_: pd.DataFrame({"level": 3, "n": 4, "correct": correct}))
    assert records.right_samples("run", "3") == said


@pytest.mark.parametrize("source", [*PAGES.values(), WORDS], ids=[*ids, WORDS.name])
def test_no_number_is_typed(source: Path) -> None:
    words, allowed = read(source), pages.allowed(source.name)
    assert typed_numbers(words, allowed) == []
    assert idle(words, OWN.get(source.name, {})) == []
    assert all(len(reason) > 5 for reason in allowed.values())
    # The controls: a number in a sentence, and one in a table, in place of a placeholder.
    planted = f"{words}\nAccuracy is 93 % [81, 100] at .85 of 1,728.\n"
    assert [n.split(": ")[1].split()[0] for n in typed_numbers(planted, allowed)] == ["93", "81", "100", "85", "1,728"]
    (first, *_) = re.findall(r"\{\{[^{}]*\}\}", words)
    assert len(typed_numbers(words.replace(first, "0.289", 1), allowed)) == 1


def test_what_is_no_number_of_a_measurement_may_be_typed() -> None:
    for words in (
        "Figure 4, Figures 1 and 4, Property 1, Appendix C.1, Eq 6, level 5, levels 2 to 4, T1, SmolLM2-135M, pass@4",
        "1. An item, `--k 8`, [a link](x/2.md), 0 and 1\n```sh\nrun 3\n```\n",
    ):
        assert typed_numbers(words) == []
    assert typed_numbers("An interval of 95 %", ["95 %"]) == []
    assert typed_numbers("An interval of 95 %", ["90 %"]) == ["1: 95 in An interval of 95 %"]
    assert idle("An interval of 95 %", ["90 %", "of 95"]) == ["90 %"]


@pytest.mark.parametrize(
    ("placeholder", "message"),
    [
        ("{{pc fig4-tiny method=explanation step=7}}", r"no row with \{'method': 'explanation', 'step': '7'"),
        ("{{pci fig4-tiny method=explanation}}", "has 5 rows"),
        ("{{num fig4-tiny methods=explanation}}", "has no column methods, only method, k, base, step"),
        ("{{pc fig4-toy step=0}}", "No such file"),
        ("{{percent fig4-tiny}}", "KeyError: 'percent'"),
        ("{{verdict NO-claim}}", "has no row"),
        ("{{logged '99.9 GiB'}}", "LOG.md does not say '99.9 GiB'"),
        ("{{minutes tiny-never}}", "no study 'tiny-never'"),
        ("{{told gradients-tiny 'the mean cosine is #'}}", "has 'the mean cosine is #' 2 times"),
        ("{{told ledger 'claims of nobody: #'}}", "has 'claims of nobody: #' 0 times"),
        (
            "{{cell table1-smollm2-135m-gsm8k self-explanation weight}}",
            "no row 'self-explanation' with a column 'weight'",
        ),
        ("{{first_run nothing..never}}", "has no line 'nothing'"),
        ("{{picture table1-tiny x}}", "is no picture"),
        ("{{above 0.1 'fig4-tiny method=explanation k=1 step=40'}}", "no longer true: 0.100 is not above 0.269"),
    ],
)
def test_what_cannot_be_filled_in_is_named(placeholder: str, message: str) -> None:
    with pytest.raises(PageError, match=message) as error:
        fill(f"words {placeholder}", pages.FUNCTIONS, "PAGE.md")
    assert str(error.value).startswith("PAGE.md: {{")


def test_table_1_has_the_numbers_of_the_figure() -> None:
    printed = read(tables.FIGURES / "table1-smollm2-135m-gsm8k.md")
    table = blocks.table1("smollm2-135m-gsm8k", "nll_sum", "nll_per_token", "learning_signal", "answer_probability")
    cells = re.findall(r"([✓✗?]) ([+−][^|]*) \|", table)
    assert len(cells) == 20
    verdicts = {"✓": "holds", "✗": "fails", "?": "undecided"}

    def is_printed(mark: str, shown: str) -> bool:
        mean, _, interval = shown.partition(" ")
        line = rf"{re.escape(f'{mark} {verdicts[mark]}: {mean} ')}([^|]*finite-sample )?{re.escape(interval)}, n"
        return re.search(line, printed) is not None

    assert [cell for cell in cells if not is_printed(*cell)] == []
    # The controls: another verdict, and the bootstrap's interval where the other one decides.
    assert not is_printed("✓", "+205 [+177, +234]")
    assert not is_printed("?", "+0.0202 [+0.0102, +0.0320]")


def test_the_first_run_prints_what_the_readme_shows() -> None:
    assert first_run.COMMAND in read(tables.ROOT / "README.md")
    assert first_run.transcript() == read(FIRST_RUN), "`make docs` runs it again"
    # The control: another seed.
    assert first_run.transcript(f"{first_run.COMMAND} --seed 1") != read(FIRST_RUN)


def test_paragraphs_are_wrapped_and_nothing_else_is() -> None:
    long = "word " * 60
    kept = f"# {long}\n\n| {long}|\n\n- x\n\n  | {long}|\n\n```\n{long}\n```\n\n![x]({'y' * 200})\n"
    assert wrapped(kept) == kept
    lines = wrapped(f"- {long}\n  {long}\n- an item\n\n{long}\n").splitlines()
    assert max(map(len, lines)) <= 120
    assert [line[:6] for line in lines if line[:1] == "-"] == ["- word", "- an i"]
    # A number with a dot and a plus sign begin no item, and code stays in one piece.
    at_the_edge = "x " * 57
    for rest in ("in 10. Then", "and + 3"):
        assert not re.search(r"^(10\.|\+)", wrapped(f"{at_the_edge}{rest}"), re.M)
    assert all(line.count("`") != 1 for line in wrapped(f"{at_the_edge}of `a b c d e f`").splitlines())


def test_drawing_the_committed_figures_says_that_pages_are_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "_do_all", lambda *_: None)
    monkeypatch.setattr(reproduce, "_draw", lambda *_: [])
    study = Study("none", "", {}, ())
    for figures in (tmp_path, tables.FIGURES):
        reproduce.reproduce(study, tmp_path, figures)
        assert ("make docs" in capsys.readouterr().out) is (figures == tables.FIGURES)
