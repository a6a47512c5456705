"""Pictures of the theory, computed by the closed forms of `theory` and from no run; their numbers lie beside them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expo.report.artefacts import Artefact, png, publish
from expo.report.style import COLOURS, GREY, INK, Axes, Figure, look, sheet
from theory import grpo, improvement, lemma1, lemma2, shifts

BLUE, ORANGE, GREEN = COLOURS["explanation"], COLOURS["expert"], COLOURS["own_correct"]
_NOTE = "Closed forms of toy policies; no model was run."
# Corners of the simplex of three trajectories: 1 on the left, 2 on the right, 3 on top.
_CORNERS = np.array([[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]])


def _save(out: Path | str, name: str, figure: Figure, numbers: pd.DataFrame, reading: str) -> Artefact:
    return publish(out, name, (), numbers, {".png": png(figure)}, reading)


def draw_band(out: Path | str) -> Artefact:
    """Write `lemma1-band`: where Lemma 1's inner product falls as z_j moves (claims L1-b, L1-band)."""
    share = np.linspace(0, 1, 201)
    # π_j itself does not enter: only the shares q', 1 - q' of the other two.
    three = lemma1.threshold(np.stack([share * 0 + 0.5, share / 2, (1 - share) / 2], -1), 0, 1)
    rows = [{"panel": "L = 3", "x": x, "low": t, "high": t} for x, t in zip(share, three, strict=True)]
    for L in (2, 3, 4, 6, 10, 20, 50, 100, 1000):
        spread = lemma1.threshold(_rest(share, L, spread=True), 0, 1)
        peaked = lemma1.threshold(_rest(share, L, spread=False), 0, 1)
        rows.append({"panel": "all L", "x": L, "low": spread.min(), "high": peaked.max()})
    numbers = pd.DataFrame(rows)
    low, high = (3 - np.sqrt(2)) / 4, 0.75
    with look():
        notes = (
            "Only the logit z_j moves. Grey: the printed threshold 1/2. Orange: where 'if and only if π_j < 1/2' is "
            f"wrong.\nRight: the range of the true threshold over all laws of the others. {_NOTE}"
        )
        figure, ((left, right),) = sheet(1, 2, 3.1, "Lemma 1: when does the cross term fall with π_j?", notes, False)
        left.plot(share, three, color=BLUE, lw=2)
        left.fill_between(share, three, 0.5, color=ORANGE, alpha=0.35, lw=0)
        left.text(0.5, 0.2, "falls", ha="center")
        left.text(0.5, 0.85, "rises", ha="center")
        left.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of j' among the other two, q'", ylabel="probability π_j")
        left.set_title("three trajectories: true threshold in blue")
        band = numbers[numbers["panel"] == "all L"]
        right.vlines(band["x"], band["low"], band["high"], color=ORANGE, lw=5, alpha=0.5)
        right.plot(band["x"], band["low"], "o", color=BLUE, ms=4)
        right.plot(band["x"], band["high"], "o", color=BLUE, ms=4)
        for y, text in ((low, "(3 − √2)/4"), (high, "3/4")):
            right.axhline(y, color=BLUE, ls=":", lw=1)
            right.text(1.1, y, text, color=BLUE, fontsize=8, va="bottom")
        right.set(xscale="log", xlim=(1, 2000), ylim=(0.3, 0.85), xlabel="trajectories L", ylabel="threshold")
        right.set_title("range of the threshold")
        for axes in (left, right):
            axes.axhline(0.5, color=GREY, lw=1.5)
    reading = (
        f"The printed threshold 1/2 is exact for L = 2 and where the others are equally likely. Else the true one lies "
        f"anywhere between {low:.3f} and {high:.2f}: it depends on how the rest is spread and on which j' is meant."
    )
    return _save(out, "lemma1-band", figure, numbers, reading)


def _rest(share: np.ndarray, L: int, *, spread: bool) -> np.ndarray:
    """Policies with π_j = 1/2, j' with each share of the rest, what is left on one other or spread over all."""
    if L == 2:
        return np.full((len(share), 2), 0.5)
    others = np.zeros((len(share), L - 2))
    others[:, : L - 2 if spread else 1] = ((1 - share) / ((L - 2) if spread else 1))[:, None]
    return np.concatenate([np.full((len(share), 1), 0.5), share[:, None] / 2, others / 2], axis=1)


# What lies beside a right sample, the rest diffuse: colour, mass of the other right trajectories and the largest share
# of it that one has, mass on one wrong trajectory.
_BESIDE = {
    "one other right of 10 %, one wrong of 90 %": (GREEN, Fraction(1, 10), 1, Fraction(9, 10)),
    "one other right of e⁻²⁰, failures diffuse": (BLUE, Fraction(1, 485165195), 1, Fraction(0)),
    "others right 10 % in all, everything diffuse": (ORANGE, Fraction(1, 10), 0, Fraction(0)),
}


def draw_leaving(out: Path | str) -> Artefact:
    """Write `t2-over-t1`: T2 against T1 as a right sample leaves the distribution (claims E6-dom, E6-sqrt)."""
    rows = []
    for name, (_, right, share, wrong) in _BESIDE.items():
        for power in range(2, 61):
            x = Fraction(1, 2**power)
            # The rest keeps its proportions while the sample grows.
            others = (1 - x) * right
            first, second = improvement.from_sums(
                x, 1, others + x, (others * share) ** 2 + x * x, ((1 - x) * wrong) ** 2
            )
            rows.append({"case": name, "pi_j": float(x), "t1": float(first), "t2": float(second)})
    numbers = pd.DataFrame(rows)
    numbers["ratio"] = numbers["t2"].abs() / numbers["t1"]
    numbers["gain"] = numbers["t1"] + numbers["t2"]
    with look():
        notes = (
            "A right sample j that gets ever less likely, the others in fixed proportion. T1 is the sample's own term, "
            f"T2 all others' (Eq 6).\nThe paper takes T1 to dominate: the grey half-plane. {_NOTE}"
        )
        figure, ((left, right_axes),) = sheet(
            1, 2, 3.1, "T1 need not dominate where the sample is unlikely", notes, False
        )
        for name, (colour, *_) in _BESIDE.items():
            part = numbers[numbers["case"] == name]
            left.plot(part["pi_j"], part["ratio"], color=colour, lw=1.8, label=name)
            right_axes.plot(part["pi_j"], part["gain"], color=colour, lw=1.8)
        left.axhspan(1e-10, 1, color=GREY, alpha=0.15, lw=0)
        left.set(xscale="log", yscale="log", ylim=(1e-9, 1e18), xlabel="probability π_j", ylabel="|T2| / T1")
        left.legend(fontsize=7.5, loc="upper right")
        left.set_title("|T2| against T1")
        right_axes.set(xscale="log", xlabel="probability π_j", ylabel="T1 + T2: rate of J")
        right_axes.set_title("what a step on the sample gains")
    reading = (
        "T1 falls with π_j, T2 need not: with one other right trajectory of 10 % and one wrong one of 90 %, a sample "
        "of probability 10⁻¹⁸ still gains 0.072, nearly all of it by T2. Dominance is lost about where another "
        "trajectory passes the square root of π_j."
    )
    return _save(out, "t2-over-t1", figure, numbers, reading)


def draw_gap(out: Path | str) -> Artefact:
    """Write `lemma2-gap`: Lemma 2's gap against the variance of X (claim L2)."""
    rng = np.random.default_rng(0)
    n = 600
    prior = rng.dirichlet(np.ones(4), n)
    level = rng.choice([0.03, 0.1, 0.3, 0.6], n)
    x = rng.beta(2 * level[:, None] + 0.05, 2 * (1 - level[:, None]) + 0.05, (n, 4))
    J = (prior * x).sum(-1)
    post = lemma2.posterior(prior, x)
    variance = (prior * (x - J[:, None]) ** 2).sum(-1)
    numbers = pd.DataFrame({"J": J, "variance": variance, "gap": (post * x).sum(-1) - J, "tv": lemma2.tv(post, prior)})
    worst = float(np.abs(numbers["gap"] - variance / J).max())
    with look():
        notes = (
            f"{n} random models of 4 CoTs; X_c = π(a*|q, c), J its mean. Gap: mean of X under the posterior minus J. "
            f"c~ drawn by Bayes' rule, which a prompt with the answer need not follow. {_NOTE}"
        )
        figure, ((left, right),) = sheet(1, 2, 3.1, "Lemma 2: the gap is Var(X) / J", notes, False)
        shown: dict[str, Any] = {"c": np.log10(J), "cmap": "cividis", "vmin": -2, "vmax": 0, "s": 9, "lw": 0}
        left.scatter(variance, numbers["gap"], **shown)
        for j in (0.05, 0.2, 0.8):
            left.plot([0, 0.25], [0, 0.25 / j], color=GREY, lw=0.8)
            left.text(min(0.2, 0.9 * j) + 0.004, min(0.2, 0.9 * j) / j - 0.02, f"J = {j}", fontsize=8, va="top")
        left.set(xlim=(0, 0.25), ylim=(0, 1), xlabel="variance of X under π(c|q)", ylabel="gap")
        left.set_title("at most 1 − J, steeper on hard questions")
        points = right.scatter(numbers["tv"], numbers["gap"], **shown)
        right.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        right.set(xlim=(0, 1), ylim=(0, 1), xlabel="total variation of c~ from π(c|q)", ylabel="gap")
        right.set_title("a large gap needs distance")
        figure.colorbar(points, ax=right, label="log₁₀ J", extend="min")
    reading = (
        f"In all {n} models the gap is the variance over J (largest difference {worst:.0e}), and never above the "
        "distance between self-explanations and own CoTs: what gains much cannot stay close."
    )
    return _save(out, "lemma2-gap", figure, numbers, reading)


def draw_radius(out: Path | str) -> Artefact:
    """Write `prompt-radius`: how far a prompted sampler may be from Bayes' rule (claim L2-prompt)."""
    prior, x = np.array([0.55, 0.4, 0.05]), np.array([0.1, 0.5, 0.9])
    mu = np.random.default_rng(0).dirichlet(np.ones(3), 1500)
    post = lemma2.posterior(prior, x)
    distance, gap = lemma2.tv(mu, post), (mu * x).sum(-1) - (prior * x).sum()
    numbers = pd.DataFrame({"tv": distance, "gap": gap})
    safe, exact = float(lemma2.tv_radius(prior, x)), float(lemma2.critical_tv(prior, x))
    with look():
        notes = (
            "One model: π = (.55, .4, .05), X = (.1, .5, .9). Each point is a way to sample explanations, as prompting "
            f"might: 1,500 at random. Below 0 Lemma 2 fails. {_NOTE}"
        )
        figure, ((axes,),) = sheet(
            1, 1, 3.2, "Lemma 2 for prompted explanations: how near is near enough?", notes, False
        )
        below = gap < 0
        axes.scatter(distance[~below], gap[~below], s=7, lw=0, color=BLUE, label="self-explanations are better")
        axes.scatter(distance[below], gap[below], s=7, lw=0, color=ORANGE, label="worse than own CoTs")
        axes.axhline(0, color=INK, lw=0.8)
        axes.axvline(safe, color=GREY, ls=":", lw=1.5, label=f"simple radius Var(X) / (J R) = {safe:.3f}")
        axes.axvline(exact, color=GREY, lw=1.5, label=f"exact radius = {exact:.3f}")
        axes.set(xlabel="total variation from the posterior", ylabel="mean of X minus J", xlim=(0, 0.9))
        axes.legend(fontsize=8, loc="upper left", frameon=True, framealpha=1, edgecolor="none")
    assert not below[distance < exact].any()
    reading = (
        f"Of these random samplers {100 * below.mean():.0f} % are worse than own CoTs, and none within the exact "
        f"radius {exact:.3f}. Only that near to Bayes' rule is Lemma 2 guaranteed for a prompt."
    )
    return _save(out, "prompt-radius", figure, numbers, reading)


def draw_arrows(out: Path | str) -> Artefact:
    """Write `appendix-b`: a push of one logit against a gradient step (claims B3, B4)."""
    grid = np.array([(i, j, 16 - i - j) for i in range(1, 15) for j in range(1, 16 - i)]) / 16
    push = shifts.first_order(grid, np.broadcast_to([1.0, 0, 0], grid.shape).copy())
    step = shifts.gradient_step(grid, 0)
    frames = []
    for kind, change in (("logit push", push), ("gradient step", step)):
        columns = {f"pi_{k + 1}": grid[:, k] for k in range(3)} | {f"d_{k + 1}": change[:, k] for k in range(3)}
        frames.append(pd.DataFrame({"kind": kind, **columns}))
    numbers = pd.concat(frames, ignore_index=True)
    rises = (step[:, 1:] > 1e-12).any(-1)
    with look():
        notes = (
            "Trajectory 1 is pushed up. Arrows: direction of change, length to the power 1/2. Orange: another rises "
            f"too,\nwhich App. B excludes. Each corner has all mass on one of three trajectories. {_NOTE}"
        )
        figure, (row,) = sheet(1, 2, 3.4, "Appendix B: pushing one logit is not a gradient step", notes, False)
        for axes, (kind, change) in zip(row, (("logit push", push), ("gradient step", step)), strict=True):
            _arrows(axes, grid, change, np.any(change[:, 1:] > 1e-12, axis=-1))
            axes.set_title(kind)
    reading = (
        "A push of one logit lowers every other probability. The gradient step that training takes does not: in "
        f"{rises.sum()} of {len(grid)} places it raises one of the others, taking from the most likely one."
    )
    return _save(out, "appendix-b", figure, numbers, reading)


def _arrows(axes: Axes, grid: np.ndarray, change: np.ndarray, red: np.ndarray) -> None:
    at, move = grid @ _CORNERS, change @ _CORNERS
    length = np.linalg.norm(move, axis=1, keepdims=True)
    move = move / np.sqrt(np.maximum(length, 1e-12))
    colours = np.where(red, ORANGE, BLUE)
    axes.quiver(*at.T, *move.T, color=colours, angles="xy", scale=7, width=0.004)
    axes.plot(*np.vstack([_CORNERS, _CORNERS[:1]]).T, color=GREY, lw=1)
    for (x, y), text in zip(_CORNERS, ("1", "2", "3"), strict=True):
        axes.text(x, y + (0.03 if y else -0.03), text, ha="center", va="bottom" if y else "top")
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.1, 0.95), aspect="equal")
    axes.axis("off")


def draw_weight(out: Path | str) -> Artefact:
    """Write `grpo-weight`: w_G(p) and the probability of no signal (claims G-weight, G-signal)."""
    p = np.logspace(-4, np.log10(0.5), 200)
    groups = (2, 4, 8, 16, 64)
    numbers = pd.concat(
        [
            pd.DataFrame({"G": G, "p": p, "weight": grpo.weight(p, G), "no_signal": grpo.no_signal(p, G)})
            for G in groups
        ],
        ignore_index=True,
    )
    at = float(grpo.no_signal(np.array([0.01]), 8)[0])
    with look():
        notes = (
            "p: probability that one sample is right. Advantages with the group's standard deviation, no clipping, "
            f"theta = theta_old, samples of one length.\nDotted: the limit sqrt(G − 1) as p goes to 0. {_NOTE}"
        )
        figure, ((left, right),) = sheet(
            1, 2, 3.1, "GRPO on hard questions: no signal, or a weighted one", notes, False
        )
        for i, G in enumerate(groups):
            part = numbers[numbers["G"] == G]
            shade = str(0.75 - 0.17 * i)
            right.plot(part["p"], part["weight"], color=shade, lw=1.8, label=f"G = {G}")
            right.axhline(np.sqrt(G - 1), color=shade, lw=0.8, ls=":")
            left.plot(part["p"], part["no_signal"], color=shade, lw=1.8)
        left.set(xscale="log", ylim=(0, 1), xlabel="p", ylabel="probability of a group without signal")
        left.set_title("all G samples wrong, or all right")
        right.set(xscale="log", xlabel="p", ylim=(0, 9.5), ylabel="w_G(p)")
        right.set_title("mean gradient: w_G(p) times grad J")
        right.legend(fontsize=8, ncols=3, loc="upper right")
    reading = (
        f"At p = 1 % and G = 8, {100 * at:.0f} % of groups give no gradient. Those that do weigh a rare success by up "
        "to sqrt(G − 1): where all samples have one length, the mean gradient is that of J times w_G(p), which stays "
        "bounded where ExP-SFT's 1/J does not."
    )
    return _save(out, "grpo-weight", figure, numbers, reading)


PICTURES = (draw_band, draw_leaving, draw_gap, draw_radius, draw_arrows, draw_weight)
