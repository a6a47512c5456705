from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from expo.records import RecordError
from expo.report.artefacts import GALLERY, PROVENANCE, read_provenance
from expo.report.positives.measurements import group_by_label
from expo.report.positives.table1 import draw_table1

from .records.positives import Make


def test_provenance_names_runs_by_hash_and_no_path(make: Make, tmp_path: Path):
    figures = tmp_path / "figures"
    draw_table1(*group_by_label([make("tiny-0", n=4)]), figures)
    first = (figures / PROVENANCE).read_bytes()
    draw_table1(*group_by_label([make("smollm2-135m", n=4, task="stories")]), figures)
    held = read_provenance(figures)
    assert list(held) == ["table1-smollm2-135m", "table1-tiny"]
    (run,) = held["table1-tiny"]["runs"]
    assert run["run"] == "runs/tiny-0"
    assert (run["problems"], run["samples"], run["temperature"], run["toy"]) == (4, 2, 0.9, True)
    assert len(run["tables"]["samples"]) == 64
    assert sorted(held["table1-tiny"]["files"]) == ["table1-tiny.csv", "table1-tiny.md"]
    assert str(tmp_path) not in (figures / PROVENANCE).read_text()
    # The same again changes nothing; another record changes the hash.
    draw_table1(*group_by_label([make("tiny-0", n=4)]), tmp_path / "again")
    assert (tmp_path / "again" / PROVENANCE).read_bytes() == first
    draw_table1(*group_by_label([make("tiny-0x", policy="tiny-0", n=4, seed=5)]), figures)
    (other,) = read_provenance(figures)["table1-tiny"]["runs"]
    assert other["tables"]["samples"] != run["tables"]["samples"]


def test_one_page_has_every_artefact_with_its_reading(make: Make, tmp_path: Path):
    toy = draw_table1(*group_by_label([make("tiny-0", n=4)]), tmp_path)
    other = draw_table1(*group_by_label([make("smollm2-135m", n=4, task="stories")]), tmp_path)
    page = (tmp_path / GALLERY).read_text()
    first, second = page.index("## table1-smollm2-135m\n"), page.index("## table1-tiny (toy)\n")
    assert first < page.index(other.reading) < second < page.index(toy.reading, second)
    assert "](table1-tiny.md)" in page
    # Made again it holds each once.
    draw_table1(*group_by_label([make("tiny-0", n=4)]), tmp_path)
    assert (tmp_path / GALLERY).read_text() == page


def test_a_damaged_provenance_is_named_and_nothing_is_written(make: Make, tmp_path: Path):
    (tmp_path / PROVENANCE).write_text("{")
    with pytest.raises(RecordError, match=PROVENANCE):
        draw_table1(*group_by_label([make("tiny-0", n=2)]), tmp_path)
    assert not (tmp_path / "table1-tiny.csv").exists()
    (tmp_path / PROVENANCE).write_text(json.dumps([1]))
    with pytest.raises(RecordError, match="no mapping"):
        read_provenance(tmp_path)


PUBLISHER = """
import sys
import pandas as pd
from expo.report.artefacts import publish
for i in range(25):
    publish(sys.argv[1], f"{sys.argv[2]}-{i}", [], pd.DataFrame({"x": [i]}), {".md": "text"}, "reading")
"""


def test_two_processes_publish_into_one_folder(tmp_path: Path) -> None:
    both = [subprocess.Popen([sys.executable, "-c", PUBLISHER, str(tmp_path), name]) for name in "ab"]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert len(json.loads((tmp_path / PROVENANCE).read_text(encoding="utf-8"))) == 50
