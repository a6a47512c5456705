"""Notebooks on records: where one reads and draws, what it displays, and its execution in a fresh kernel."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expo.records import write_atomic
from expo.report.artefacts import Artefact
from expo.report.runs import ROOT
from expo.text import install

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

CELL_SECONDS = 600
START_SECONDS = 300  # to start a kernel on a busy machine


class NotebookError(RuntimeError):
    """A cell that failed; the message names the notebook and the cell, and holds the cell's own error."""


def execute(notebook: Path | str, runs: Path | str, figures: Path | str, out: Path | str) -> Any:
    """Run a notebook from top to bottom on the records in `runs`, save the executed copy to `out`, and return it.

    The kernel is this interpreter, and finds this copy of the toolkit. The notebook reads `EXPO_RUNS` and
    writes its artefacts into `EXPO_FIGURES`. Nothing is saved to `out` if a cell fails.

    Raises:
        NotebookError: if a cell fails, dies or takes longer than `CELL_SECONDS`.
        FileNotFoundError: if there is no such notebook.
        ImportError: if nbclient, nbformat or ipykernel is missing.
    """
    try:
        import ipykernel  # noqa: F401
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ImportError as error:
        raise ImportError(f"notebooks need {error.name}: {install('notebooks')}", name=error.name) from error
    notebook, out = Path(notebook).resolve(), Path(out)
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook}: no such notebook")
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        content,
        km=_kernel(),
        timeout=CELL_SECONDS,
        startup_timeout=START_SECONDS,
        record_timing=False,  # So that the same records give the same copy.
        resources={"metadata": {"path": str(notebook.parent)}},
    )
    try:
        # nbclient cleans up only managers that it made, unless told to.
        client.execute(cleanup_kc=True, env=_environment(Path(runs).resolve(), Path(figures).resolve()))
    except CellExecutionError as error:
        raise NotebookError(f"{notebook.name}: {_failed_cell(content)}\n{_plain(str(error))}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise NotebookError(f"{notebook.name}: {_plain(str(error))}") from error
    write_atomic(out, nbformat.writes(content))
    return content


def runs_of(run: Path | str | None) -> Path:
    """The folder whose runs a notebook shows: the one from `expo reproduce`, else the `RUN` of its first cell.

    `RUN` is the folder of one or several runs, or None for an empty temporary folder.
    """
    return Path(os.environ.get("EXPO_RUNS") or run or tempfile.mkdtemp(prefix="expo-runs-"))


def figures_of(runs: Path) -> Path:
    """Where a notebook draws: the folder from `expo reproduce`, else the folder `figures` next to the runs.

    For runs that cannot be written to, or that the project shows, it is a temporary folder: only `expo reproduce` draws
    the project's own figures.
    """
    if asked := os.environ.get("EXPO_FIGURES"):
        return Path(asked)
    is_own = not runs.resolve().is_relative_to(ROOT / "figures") and os.access(runs, os.W_OK)
    figures = runs / "figures" if is_own else Path(tempfile.mkdtemp(prefix="expo-figures-"))
    say(f"Pictures, tables and their numbers go to `{figures}`.")
    return figures


def say(text: str) -> None:
    """Display text in Markdown, such as a number that a cell has computed."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def show(artefact: Artefact) -> None:
    """Display an artefact in a notebook, with its reading below."""
    from IPython.display import HTML, Image, Markdown, display

    if artefact.shown.suffix == ".png":
        # At half its size in pixels, so that it is sharp on dense screens.
        display(Image(filename=str(artefact.shown), width=900))
    elif artefact.shown.suffix == ".html":
        # Only its body: its style is meant for a whole page.
        body = artefact.shown.read_text(encoding="utf-8").partition("<body>")[2].rpartition("</body>")[0]
        display(HTML(body))
    else:
        display(Markdown(artefact.shown.read_text(encoding="utf-8")))
    display(Markdown("\n\n".join(filter(None, (artefact.reading, artefact.setting)))))


def _kernel() -> AsyncKernelManager:
    """A manager whose only kernel is this interpreter: a `python3` installed elsewhere cannot take its place."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class OnlyThis(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            module = ["-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(
                argv=[sys.executable, *module],
                display_name=kernel_name,
                language="python",
                metadata={"supported_encryption": ["curve"]},
            )

    # Not over a local port, since other users of the machine could listen to it.
    return AsyncKernelManager(kernel_spec_manager=OnlyThis(), transport_encryption="auto")


def _environment(runs: Path, figures: Path) -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "EXPO_RUNS": str(runs),
        "EXPO_FIGURES": str(figures),
        # The user's own backend may not be installed, and no window is opened here.
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def _failed_cell(content: Any) -> str:
    for number, cell in enumerate(content.cells, 1):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                return f"cell {number} failed with {output.ename}: {output.evalue}"
    return "a cell failed"


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
