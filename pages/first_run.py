"""`python -m pages.first_run` runs the first command of the README on the toy again, and keeps what it prints."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from pages.blocks import FIRST_RUN
from pages.tables import ROOT

COMMAND = "expo measure --task chain --policy tiny-0 --problems 20 --sources own explanation expert --output runs/first"


def transcript(command: str = COMMAND) -> str:
    """The command and what it prints, in a folder of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-m", "expo.cli", *shlex.split(command)[1:]]
        done = subprocess.run(program, cwd=Path(folder), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return f"$ {command}\n{done.stdout}"


if __name__ == "__main__":
    FIRST_RUN.write_text(transcript(), encoding="utf-8")
