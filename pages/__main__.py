"""`python -m pages` writes README.md and docs/ anew. `make docs` makes the first run of the README before that."""

from __future__ import annotations

from pathlib import Path

import yaml

from pages import blocks, facts, records, tables
from pages.fill import fill, functions_of, read, wrapped

SOURCE = Path(__file__).parent / "source"
FUNCTIONS = functions_of(tables, records, facts, blocks)


def pages() -> dict[Path, Path]:
    """Each page and the words that it is made of."""
    return {tables.ROOT / ("" if p.stem == "README" else "docs") / p.name: p for p in sorted(SOURCE.glob("*.md"))}


def rendered(source: Path) -> str:
    """A page with its numbers."""
    return wrapped(fill(read(source), FUNCTIONS, source.name))


def allowed(name: str) -> dict[str, str]:
    """The phrases with typed numbers that a page may have, each with the reason: those of all pages, and its own."""
    listed = yaml.safe_load(read(SOURCE.parent / "allowed.yaml"))
    return listed["all"] | listed.get(name, {})


def main() -> None:
    """Write all pages."""
    from benchmarks import page

    for target, source in pages().items():
        target.write_text(rendered(source), encoding="utf-8")
    page.write()


if __name__ == "__main__":
    main()
