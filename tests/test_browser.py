"""The helper that shows pages in Chromium: scripts have run, and whatever a page logs is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import dump, needs_chromium

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">{policy}<title>x</title></head>
<body><p>before</p><script>{script}</script></body></html>"""
POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'">"""


@needs_chromium
def test_a_page_is_dumped_after_its_scripts_with_its_fragment(tmp_path: Path) -> None:
    page = tmp_path / "a page.html"
    page.write_text(PAGE.format(policy="", script="document.querySelector('p').textContent = location.hash"))
    assert "<p>#level=3</p>" in dump(page, "level=3")
    assert "<p></p>" in dump(page)


@needs_chromium
@pytest.mark.parametrize(
    ("policy", "script", "message"),
    [
        ("", "throw Error('broken')", "Uncaught Error: broken"),
        ("", "console.warn('take care')", "take care"),
        (POLICY, "1", "Executing inline script violates"),
    ],
)
def test_whatever_a_page_logs_is_an_error(tmp_path: Path, policy: str, script: str, message: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(policy=policy, script=script))
    with pytest.raises(AssertionError, match=f"page.html logs to the console: .*{message}"):
        dump(page)
