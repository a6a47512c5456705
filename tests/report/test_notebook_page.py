"""The page of an executed notebook: all that it shows, as text, with nothing loaded and nothing run."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from expo.records import Run
from expo.report.notebook_page import INDEX, executed_in, page_of, write_page
from expo.schema import as_frame

ATTACK = "<script>alert(1)</script><img src=https://x.y/z onerror=alert(1)> ‮ \ud800"


def png(pixels: np.ndarray) -> str:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "png")
    return base64.b64encode(sink.getvalue()).decode()


def notebook(*outputs: dict[str, Any], text: str = "# Title\n\nBody.") -> Any:
    code = nbformat.v4.new_code_cell("x = 1 < 2")
    code.outputs = [nbformat.v4.new_output(**output) for output in outputs]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), code])


def shown(data: dict[str, str]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data}


def loads(page: str) -> list[str]:
    """What a page would load or run."""
    return re.findall(r"<(?:script|link|iframe|object)\b|<img (?!src=\"data:)|@import|url\(", page)


def test_text_tables_code_and_pictures_are_shown() -> None:
    picture = png(np.zeros((4, 4, 3), np.uint8))
    table = "# Table\n\n| a |\n| --- |\n| **b** |"
    stdout = {"output_type": "stream", "name": "stdout", "text": "printed"}
    page = page_of(notebook(shown({"text/markdown": table}), shown({"image/png": picture}), stdout), "In 2 minutes.")
    assert page.count("<h1>Title</h1>") == 1
    for part in (
        "<p>Body.</p>",
        "<h3>Table</h3>",
        "<strong>b</strong>",
        "x = 1 &lt; 2",
        "<pre>printed</pre>",
        "In 2 minutes.",
    ):
        assert part in page
    assert 'src="data:image/png;base64,' in page
    assert loads(page) == []
    assert "default-src 'none'" in page


@pytest.mark.parametrize("kind", ["text/markdown", "text/plain", "stream", "text", "code"])
def test_what_a_model_wrote_is_text(kind: str) -> None:
    attack = ATTACK.encode("utf-8", "replace").decode()
    made = notebook(shown({kind: attack}) if "/" in kind else {"output_type": "stream", "text": attack})
    if kind == "text":
        made = notebook(text=f"# Title\n\n{attack}\n\n[a](javascript:alert(1)) ![b](https://x.y/z)")
    if kind == "code":
        made["cells"][1]["source"] = attack
    page = page_of(made, "")
    assert loads(page) == []
    assert "&lt;script&gt;" in page
    assert "javascript:" not in re.sub(r"\(javascript:[^)]*\)", "", page)
    # The control: what is not escaped is found.
    assert loads(page + ATTACK) == ["<script", "<img "]


def test_links_lead_to_the_web_or_are_text() -> None:
    page = page_of(notebook(text="# T\n\n[web](https://a.b), [file](../figures/ledger.html), `[code](a.md)`"), "")
    assert '<a href="https://a.b">web</a>, file, <code>[code](a.md)</code>' in page


def test_bars_and_warnings_are_left_out() -> None:
    page = page_of(notebook({"output_type": "stream", "name": "stderr", "text": "/home/me/warning"}), "")
    assert "/home/me" not in page


def test_a_picture_takes_less_and_looks_the_same() -> None:
    rng = np.random.default_rng(0)
    lines = np.full((400, 900, 3), 255, np.uint8)
    lines[rng.integers(0, 400, 60), :, :] = rng.integers(0, 255, (60, 1, 3), dtype=np.uint8)
    data = png(lines)
    page = page_of(notebook(shown({"image/png": data})), "")
    (held,) = re.findall(r"base64,([^\"]+)", page)
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(held))).convert("RGB"))
    assert np.abs(drawn.astype(int) - lines).max() < 12
    assert len(held) < len(data)


def test_pages_are_listed_with_what_they_took(tmp_path: Path) -> None:
    write_page(notebook(), tmp_path / "2_positives-tiny.html", "In 2 minutes.")
    write_page(notebook(text="# Other <b>\n"), tmp_path / "1_theory.html", "In 3 minutes | once.")
    listed = (tmp_path / INDEX).read_text(encoding="utf-8")
    assert "| [1_theory](1_theory.html) | Other \\<b\\> | In 3 minutes \\| once. |" in listed
    assert "| [2_positives-tiny](2_positives-tiny.html) | Title | In 2 minutes. |" in listed


def test_minutes_of_trainings_are_those_of_the_records(tmp_path: Path) -> None:
    assert executed_in(notebook(), 90, tmp_path).startswith("Executed in 1.5 minutes on ")
    assert "run" not in executed_in(notebook(), 90, tmp_path).partition("threads")[2]
    for name, seconds in (("a", 60.0), ("b", 120.0)):
        run = Run.start(tmp_path / name, {"policy": "tiny-0", "task": "chain"})
        run.write("timing", as_frame("timing", [{"step": 1, "name": "wall_seconds", "value": seconds}]))
    assert executed_in(notebook(), 90, tmp_path).endswith(
        f"from 2 runs of {tmp_path.name}, whose trainings took 3.0 minutes of steps."
    )
    none = notebook()
    none["cells"][1]["source"] = "RUN = None  # no run is read"
    assert "runs" not in executed_in(none, 90, tmp_path)
