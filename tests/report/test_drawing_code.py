"""The hash of drawing code changes with what is computed or shown, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expo.report import drawing_code
from expo.report.drawing_code import NoCode, code_hash, drawing_function
from expo.report.runs import ROOT

CODE = {
    "expo/report/fig.py": '''"""A picture."""

import numpy as np

from expo.records import Run, method_of
from expo.report import words
from expo.report.artefacts import publish
from expo.report.skeleton import finish as end, Axes
from theory.sums import total

BINS = 30
BINS += 1
UNUSED = 1


def draw_fig(run: Run, out: str) -> None:
    """Draw it."""
    # A word on why.
    end(Panel().plot(BINS, words.number(total(run)), method_of(run)))
    publish(out)


class Panel:
    """A part."""

    def plot(self, *values):
        """Plot."""
        return np.sum(values)
''',
    "expo/report/other.py": "def draw_other():\n    return 1\n",
    "expo/report/words.py": "def number(x):\n    return x\n\n\ndef share(x):\n    return x\n",
    "expo/report/skeleton.py": "from expo.report.style import Axes\n\n\n@cache\ndef finish(x):\n    return Axes\n",
    "expo/report/style.py": "from matplotlib.axes import Axes\n",
    "expo/report/artefacts.py": "def publish(out):\n    return out\n",
    "expo/report/ledger.py": "from theory.ledger import counts\n\n\ndef draw_ledger():\n    return counts()\n",
    "expo/records.py": "class Run:\n    begun = 1\n\n\ndef method_of(run):\n    return 1\n",
    "theory/sums.py": "def total(x):\n    return half(x) * 2\n\n\ndef half(x):\n    return x / 2\n\n\n"
    "def third(x):\n    return x\n",
    "theory/ledger.py": "def counts():\n    return 1\n",
    "theory/claims/1.yaml": "statement: it holds\n",
    "expo/report/toy.py": "from importlib import resources\n\n\ndef draw_toy():\n    return resources\n",
    "expo/policies/bases/ledger.json": "{}\n",
}
FIG, LEDGER, TOY = "expo.report.fig.draw_fig", "expo.report.ledger.draw_ledger", "expo.report.toy.draw_toy"


@pytest.fixture
def is_changed(tmp_path: Path) -> Callable[..., bool]:
    """Whether the hash of a function changes with a change of a file."""

    def hashed(function: str) -> str:
        code_hash.cache_clear()
        drawing_code._read.cache_clear()
        return code_hash(function, tmp_path)

    def change(file: str, old: str, new: str, function: str = FIG) -> bool:
        before, path = hashed(function), tmp_path / file
        assert old in CODE[file]
        path.write_text(CODE[file].replace(old, new, 1))
        after = hashed(function)
        path.write_text(CODE[file])
        return after != before

    for file, text in CODE.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return change


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("expo/report/fig.py", "BINS = 30", "BINS = 31"),
        ("expo/report/fig.py", "BINS += 1", "BINS += 2"),
        ("expo/report/fig.py", "np.sum", "np.mean"),
        ("expo/report/words.py", "def number(x):\n    return x", "def number(x):\n    return -x"),
        ("expo/report/skeleton.py", "return Axes", "return None"),
        ("expo/report/skeleton.py", "@cache\n", ""),
        ("theory/sums.py", "x / 2", "x / 3"),
        # The name of a training's method is shown.
        ("expo/records.py", "return 1", "return 2"),
    ],
)
def test_what_is_computed_or_shown_counts(is_changed: Callable[..., bool], file: str, old: str, new: str) -> None:
    assert is_changed(file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("expo/report/fig.py", "# A word on why.", "# Another word on why."),
        ("expo/report/fig.py", "# A word on why.\n", "# A word on why,\n    # and one more.\n"),
        ("expo/report/fig.py", '"""Draw it."""', '"""Draw it again.\n\n    With more lines.\n    """'),
        ("expo/report/fig.py", "UNUSED = 1", "UNUSED = 2"),
        ("expo/report/other.py", "return 1", "return 2"),
        ("expo/report/words.py", "def share(x):\n    return x", "def share(x):\n    return -x"),
        ("theory/sums.py", "def third(x):\n    return x", "def third(x):\n    return x / 3"),
        # How records are read and artefacts are published.
        ("expo/records.py", "begun = 1", "begun = 2"),
        ("expo/report/artefacts.py", "return out", "return None"),
        ("theory/claims/1.yaml", "it holds", "it fails"),
    ],
)
def test_what_draws_nothing_of_it_does_not_count(
    is_changed: Callable[..., bool], file: str, old: str, new: str
) -> None:
    assert not is_changed(file, old, new)


def test_the_ledger_is_of_all_claims_and_tests(is_changed: Callable[..., bool]) -> None:
    assert is_changed("theory/claims/1.yaml", "it holds", "it fails", LEDGER)
    assert is_changed("theory/sums.py", "x / 2", "x / 3", LEDGER)
    assert not is_changed("expo/report/words.py", "return x", "return -x", LEDGER)


def test_the_files_that_it_reads_count(is_changed: Callable[..., bool]) -> None:
    assert is_changed("expo/policies/bases/ledger.json", "{}", "[]", TOY)
    assert not is_changed("expo/policies/bases/ledger.json", "{}", "[]")
    for pattern in (pattern for patterns in drawing_code._FILES.values() for pattern in patterns):
        assert list(ROOT.glob(pattern)), pattern


def test_a_function_that_is_not_there_is_named() -> None:
    for name in ("expo.report.runs.draw_nothing", "expo.report.nothing.draw_fig2", "expo.records.identity"):
        with pytest.raises(NoCode, match=name.rpartition(".")[2]):
            code_hash(name)


def test_every_function_that_draws_can_be_followed() -> None:
    modules = [p for p in (ROOT / "expo" / "report").rglob("*.py") if "\ndef draw_" in p.read_text(encoding="utf-8")]
    assert len(modules) > 20
    for path in modules:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("def draw_"):
                reached = drawing_code._reached(ROOT, (module, line[4:].partition("(")[0]))
                # Each goes by what all of them are shown in.
                assert ("expo.report.artefacts", "publish") not in reached
                assert len(reached) > 10


def test_outside_of_a_report_nothing_draws() -> None:
    def draw_mine() -> str | None:
        return drawing_function()

    assert draw_mine() is None
