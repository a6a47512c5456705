"""An executed notebook as one HTML page that loads nothing and runs nothing, and the list of these pages."""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expo.environment import processor
from expo.records import Run, locked, write_atomic
from expo.report.markdown import markdown_table
from expo.report.page import page
from expo.report.words import number
from expo.text import in_markdown, install, plural

if TYPE_CHECKING:
    from markdown_it.token import Token

INDEX = "README.md"
COLOURS = 128  # of a picture: those it is drawn in, and the shades at the edges of letters
_STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #222; }
img { max-width: 100%; } table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: .2rem .5rem; text-align: left; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; font-size: 13px; white-space: pre-wrap; }
ul { margin: .3rem 0; }
summary { cursor: pointer; color: #666; font-size: 13px; }
"""


def write_page(notebook: Any, out: Path, about: str) -> None:
    """Write an executed notebook to `out`, and list it in the `README.md` next to it.

    Args:
        notebook: as nbformat reads it, with its outputs.
        out: a file that ends in `.html`.
        about: how long it took, and on which machine.

    Raises:
        ImportError: if markdown-it-py is missing.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.parent, wait=True):
        write_atomic(out, page_of(notebook, about))
        write_atomic(out.parent / INDEX, _index(out.parent))


def page_of(notebook: Any, about: str) -> str:
    """The page: rendered text, folded code, embedded pictures; whatever a model wrote is shown as text."""
    title = _title(notebook)
    parts = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            # The page's title is above all of them.
            parts.append(_markdown(cell["source"].removeprefix(f"# {title}\n")))
        elif cell["cell_type"] == "code":
            parts.append(f"<details><summary>code</summary><pre>{html.escape(cell['source'])}</pre></details>")
            # Progress bars and warnings are not shown.
            parts += [_output(output) for output in cell["outputs"] if output.get("name") != "stderr"]
    return page(title, about, _STYLE, "\n".join(parts))


def _title(notebook: Any) -> str:
    found = (re.match(r"# (.+)", cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return next((heading[1] for heading in found if heading), "Notebook")


def _output(output: Any) -> str:
    if "text" in output:
        return f"<pre>{html.escape(output['text'])}</pre>"
    data = output.get("data", {})
    if "image/png" in data:
        return f'<p><img src="data:image/png;base64,{_smaller(data["image/png"])}" alt="the picture"></p>'
    if "text/html" in data:
        return str(data["text/html"])
    if "text/markdown" in data:
        return _markdown(data["text/markdown"], below=2)
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"


def _smaller(image: str) -> str:
    """A PNG in base64 with fewer colours, at a third of its size; it looks the same."""
    from PIL import Image

    sink = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(image))) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(sink, "png", optimize=True)
    return base64.b64encode(sink.getvalue()).decode()


def _markdown(text: str, below: int = 0) -> str:
    """Markdown as HTML. HTML in it is shown as text, and only links to the web or within the page remain links.

    Its headings are moved down by `below` levels.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise ImportError(f"pages of notebooks need {error.name}: {install('notebooks')}", name=error.name) from error
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = renderer.parse(text)
    for token in tokens:
        token.children = list(_with_links(token.children or ()))
        if token.type.startswith("heading_"):
            token.tag = f"h{min(int(token.tag[1:]) + below, 6)}"
    return str(renderer.renderer.render(tokens, renderer.options, {}))


def _with_links(tokens: Iterable[Token]) -> Iterator[Token]:
    """The tokens of a line, without links to files: the notebook is not in the page's folder."""
    is_kept = True
    for token in tokens:
        if token.type == "link_open":
            is_kept = str(token.attrGet("href")).startswith(("https://", "http://", "#"))
        if is_kept or not token.type.startswith("link_"):
            yield token


def executed_in(notebook: Any, seconds: float, runs: Path) -> str:
    """How long a notebook took to execute and on which machine, and how long the trainings that it shows took.

    A notebook whose `RUN` is None shows no runs.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    text = f"Executed in {number(seconds / 60, 2)} minutes on {processor()}, {threads} of its {os.cpu_count()} threads"
    shows_none = any(cell["source"].startswith("RUN = None") for cell in notebook["cells"])
    found = [] if shows_none else [Run(folder.parent) for folder in runs.glob("*/recipe.yaml")]
    tables = [run.read("timing") for run in found if run.has("timing")]
    steps = sum(float(table.loc[table["name"] == "wall_seconds", "value"].sum()) for table in tables)
    trained = f", whose trainings took {number(steps / 60, 2)} minutes of steps" if steps else ""
    return f"{text}, from {plural(len(found), 'run')} of {runs.name}{trained}." if found else f"{text}."


def _index(folder: Path) -> str:
    rows = []
    for path in sorted(folder.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        title, about = (re.search(pattern, text) for pattern in (r"<h1>(.*?)</h1>", r"</h1>\n<p>(.*?)</p>"))
        words = [in_markdown(html.unescape(found[1])) if found else "" for found in (title, about)]
        rows.append([f"[{path.stem}]({path.name})", *words])
    table = markdown_table(["page", "notebook", "executed"], rows)
    return f"# Executed notebooks\n\nMade by `expo reproduce`, each of one study. A page loads nothing.\n\n{table}\n"
