"""docs/BENCHMARKS.md and its figure, made only from the record and the words of `benchmarks/page.md`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from matplotlib.ticker import LogLocator

from benchmarks.record import PACKAGES, RECORD, Row, read
from benchmarks.routes import ROOT
from expo.report.markdown import markdown_table
from expo.report.picture import Caption, png, sheet
from expo.report.style import Figure, look
from pages.fill import fill

WORDS = ROOT / "benchmarks" / "page.md"
PAGE, FIGURE = ROOT / "docs" / "BENCHMARKS.md", ROOT / "docs" / "benchmarks.png"
AXES = {
    "tokens": "tokens of a completion (135M weights, 4 prompts, 4 samples each)",
    "problems": "prompts (135M weights, 4 samples of 32 tokens each)",
    "gradients": "gradients in a Gram matrix (32 tokens each)",
    "weights": "weights of the model, 4 prompts or gradients",
}
COLOURS = {"sampling": "#0072B2", "scoring": "#D55E00", "Gram matrix": "#009E73", "30M": "#56B4E9"}
COLOURS["smollm2-135m"] = COLOURS["Gram matrix"]


def write() -> None:
    """Write both."""
    rows = read(RECORD)
    PAGE.write_text(page(rows, WORDS.read_text(encoding="utf-8")), encoding="utf-8")
    FIGURE.write_bytes(figure(rows))


def page(rows: Sequence[Row], words: str) -> str:
    """The words, with `{{machine}}`, `{{glance}}`, `{{topic NAME}}` and `{{file NAME}}` filled in."""
    compared = [row for row in rows if row["row"].count("/") == 2]
    functions = {
        "machine": lambda: machine(rows),
        "glance": lambda: glance([row for row in compared if "left_out" not in row]),
        "topic": lambda name: topic([row for row in compared if row["row"].startswith(f"{name}/")]),
        "file": lambda name: (WORDS.parent / name).read_text(encoding="utf-8").strip(),
    }
    return fill(words, functions, WORDS.name)


def machine(rows: Iterable[Row]) -> str:
    """What the rows were measured on: one line, or one for each set of rows."""
    sets: dict[str, list[str]] = {}
    for row in rows:
        versions = ", ".join(f"{p} {row['versions'][p]}" for p in ("python", *PACKAGES))
        where = f"{row['cpu']}, {row['cores']} cores, {row['memory_gib']} GiB, {row['threads']} threads"
        sets.setdefault(f"{where}; {versions}; {row['date']}, commit {row['commit']}", []).append(_comparison(row))
    if len(sets) == 1:
        return f"Measured on: {next(iter(sets))}."
    return "\n".join(f"- {', '.join(dict.fromkeys(names))}: {where}." for where, names in sets.items())


def glance(rows: Iterable[Row]) -> str:
    """One line per comparison."""
    heads = ("", "ours", "seconds", "peer", "seconds", "ours / peer", "quartiles", "rounds", "GiB", "peer's GiB")
    rules = ("---", "---", "--:", "---", "--:", "--:", "--:", "--:", "--:", "--:")
    return markdown_table(heads, map(_line, rows), rules)


def _line(row: Row) -> list[str]:
    low, high = row["quartiles"]
    ours, peer = (_number(statistics.median(row["seconds"][side])) for side in ("ours", "peer"))
    memory = [f"{row['peak_gib'][side]:.2f}" for side in ("ours", "peer")]
    spread = f"{_number(low)} to {_number(high)}"
    rounds = str(len(row["seconds"]["ours"]))
    ratio = _number(row["ratio"])
    told = ratio if low <= 1 <= high else f"**{ratio}**"
    return [_comparison(row), row["ours"], ours, row["peer"], peer, told, spread, rounds, *memory]


def topic(rows: Sequence[Row]) -> str:
    """For each comparison: what was run, the command, and any other results."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(f"- `{row['command']}`: {row['work']}.", []).append(_facts(row))
    return "\n".join("\n".join([head, *filter(None, facts)]) for head, facts in lines.items()) or "*Not in the record.*"


def _facts(row: Row) -> str:
    if "left_out" in row:
        return f"  - {row['peer']} is left out: {row['left_out']}."
    facts = [f"{name}: {_number(value)}" for name, value in row["facts"].items()]
    if "per" in row:
        for side in ("ours", "peer"):
            rates = [n / s for n, s in zip(row["counts"][side], row["seconds"][side], strict=True)]
            facts.append(f"{row[side]} {statistics.median(rates):,.0f} {row['per']}s a second")
    versions = [f"{p} {v}" for p, v in row["versions"].items() if p not in ("python", *PACKAGES)]
    said = [*versions, *facts]
    return f"  - {row['peer']}: {'; '.join(said)}." if said else ""


def _number(value: float) -> str:
    """Three digits, but all digits of a whole number."""
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _size(x: int) -> str:
    return f"{x / 1e6:.0f}M" if x > 1e6 else f"{x / 1e3:.0f}k" if x > 1e4 else str(x)


def _comparison(row: Row) -> str:
    return str(row["command"]).rpartition(" ")[2]


def figure(rows: Sequence[Row]) -> bytes:
    """How seconds grow: a panel for each of AXES, each repeat a dot, medians joined."""
    points = [row for row in rows if row["row"].startswith("growth/")]
    with look():
        return png(_plot(points))


def _plot(points: Sequence[Row]) -> Figure:
    notes = "Both axes are logarithmic. A dot is a repeat; lines join medians. Weights are random, float32."
    drawn, grid = sheet(2, 2, 2.7, Caption("How each cost grows", notes, toy=False))
    for axes, (panel, label) in zip((a for row in grid for a in row), AXES.items(), strict=True):
        of_panel = [p for p in points if p["row"] == f"growth/{panel}"]
        for curve in dict.fromkeys(p["curve"] for p in of_panel):
            own = [p for p in of_panel if p["curve"] == curve]
            color = COLOURS[curve]
            axes.plot([p["x"] for p in own], [statistics.median(p["seconds"]) for p in own], label=curve, color=color)
            for p in own:
                axes.scatter([p["x"]] * len(p["seconds"]), p["seconds"], s=9, color=color)
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds")
        ticks = sorted({p["x"] for p in of_panel})
        axes.set_xticks(ticks, [_size(x) for x in ticks])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        if of_panel:
            axes.legend(fontsize=8)
    return drawn
