"""Pages as headless Chromium shows them, after their scripts have run."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
# Chromium's log gives every message of a page's console the same severity, so a page is expected to log nothing.
_MESSAGE = re.compile(r":CONSOLE[:(]\d+\)?\] (.*)")


def dump(path: Path, fragment: str = "") -> str:
    """The page's DOM as HTML, after its scripts have run at `path#fragment`.

    Raises:
        AssertionError: if the page logged anything to the console, an error of a script or of its security policy too.
        subprocess.CalledProcessError: if Chromium failed.
    """
    assert CHROMIUM is not None, "mark the test with needs_chromium"
    url = path.resolve().as_uri() + (f"#{fragment}" if fragment else "")
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        command += [f"--user-data-dir={profile}", "--dump-dom", url]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    messages = _MESSAGE.findall(done.stderr)
    assert not messages, f"{path.name} logs to the console: {'; '.join(messages)}"
    return done.stdout
