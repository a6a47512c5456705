"""Measure this project beside its peers, and write docs/BENCHMARKS.md: all topics, or only the named ones.

python -m benchmarks                        # all; a stopped run resumes
python -m benchmarks sampling scoring       # two topics
python -m benchmarks training/tiny-0        # one comparison
python -m benchmarks --only-draw            # only the page and its figure, from the record
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks import page, record
from benchmarks.record import Row
from benchmarks.routes import RouteError


def measures() -> dict[str, Callable[[], list[Row]]]:
    """Everything that can be measured, by name, in the order of the page."""
    from benchmarks import gradients, grading, growth, preferences, sampling, scoring, training, watching

    topics = (sampling, scoring, training, preferences, watching, gradients, grading)
    of_comparisons = {c.name: (lambda c=c: record.rows_of(c)) for topic in topics for c in topic.comparisons()}
    return of_comparisons | growth.curves()


def main() -> int:
    """Measure what was requested, and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="topics or comparisons")
    parser.add_argument("--only-draw", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    failed = False
    if not asked.only_draw:
        known = measures()
        chosen = [n for n in known if not asked.names or any(f"{n}/".startswith(f"{a}/") for a in asked.names)]
        for name in asked.names:
            if not any(f"{n}/".startswith(f"{name}/") for n in known):
                parser.error(f"{name!r}: unknown; choose from {', '.join(known)}")
        done = {row["command"] for row in record.unfinished()}
        for name in chosen:
            if f"python -m benchmarks {name}" in done:
                continue
            try:
                record.append(known[name]())
            except RouteError as error:
                failed = True
                print(f"{name}: {error}", file=sys.stderr)
        record.finish(known)
    page.write()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
