"""How far the prompted sampler mu(c|q, a*) is from the posterior pi(c|q, a*), by the importance weights of its samples.

A self-explanation has the weight w = pi(c|q) pi(a*|q, c) / mu(c|q, a*). Its mean is J = pi(a*|q), and samples
weighted by it are samples of the posterior, for which Lemma 2 holds. All this is at temperature 1, and takes it that
after the same CoT both prompts end it alike, for c is read up to its final-answer statement. A sample that was cut has
no end, and so no weight. Logs are in nats.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from expo.measure.verdict import as_metrics
from expo.policies.scoring import Score
from expo.stats import Interval, bootstrap

WORDS = {
    "effective_samples": "effective sample size of a problem's self-explanations",
    "kl_bound": "estimate of an upper bound on their sampler's KL to the posterior",
    "gain": "mean pi(a*|q, c) less that of own CoTs, as sampled",
    "gain_weighted": "the same, samples weighted towards the posterior",
    "gain_by_weights": "what the weights add to it",
}
# An effective sample size of so little more than 1 is that of one sample.
_ONE = 1.01


def log_weights(samples: pd.DataFrame) -> pd.Series:
    """log w of each self-explanation that ended and was scored under its prompt; the index is that of `samples`."""
    ended = ~samples["truncated"].astype(bool)
    rows = samples[(samples["source"] == "explanation") & samples["nll_prompted"].notna() & ended]
    return (rows["learning_signal"] - rows["nll_cot"] + rows["nll_prompted"]).astype(float)


def log_weight(plain: Score, cot: int, prompted: np.ndarray) -> float:
    """log w of one self-explanation, whose first `cot` tokens are its CoT, from its scores under both prompts."""
    return float(plain.completion[:cot].sum() + plain.learning_signal - prompted.sum())


def normalised(log_w: np.ndarray) -> np.ndarray:
    """Weights that sum to 1; the largest never underflows, and of weights that are all 0 each is alike."""
    if log_w.max() == -np.inf:
        return np.full(len(log_w), 1 / len(log_w))
    w = np.exp(log_w - log_w.max())
    return w / w.sum()


def effective(weights: np.ndarray) -> float:
    """How many samples of equal weight these are worth: 1 / sum of squares, between 1 and their number."""
    return float(1 / np.square(weights).sum())


def by_weight(samples: pd.DataFrame) -> pd.DataFrame:
    """Of each problem that has explanations with weights and own CoTs: `WORDS`, and `n` explanations.

    A problem whose explanations were given unlike hints has a row for each hint.
    """
    log_w = log_weights(samples)
    own = samples[samples["source"] == "own"]
    of_own = own["learning_signal"].astype(float).map(np.exp).groupby(own["problem"]).mean()
    rows = []
    # Weights of samples from unlike prompts are no weights of one sampler.
    hints = samples["hint"].fillna("")
    for (problem, _), logs in log_w.groupby([samples["problem"], hints], sort=False):
        weights = normalised(logs.to_numpy())
        signal = np.exp(samples.loc[logs.index, "learning_signal"].to_numpy(dtype=float))
        own_mean = of_own.get(problem, np.nan)
        gain, gain_weighted = float(signal.mean()) - own_mean, float(weights @ signal) - own_mean
        rows.append(
            {
                "problem": problem,
                "n": len(logs),
                "effective_samples": effective(weights),
                # KL(mu || post) = log J - E_mu log w, and log J is at most 0.
                "kl_bound": -float(logs.mean()),
                "gain": gain,
                "gain_weighted": gain_weighted,
                "gain_by_weights": gain_weighted - gain,
            }
        )
    return pd.DataFrame(rows, columns=["problem", "n", *WORDS]).set_index("problem")


def on_one_sample(found: pd.DataFrame) -> int:
    """Of how many problems with several explanations one has all the weight."""
    return int(((found["effective_samples"] < _ONE) & (found["n"] > 1)).sum())


def posterior_metrics(samples: pd.DataFrame) -> pd.DataFrame:
    """`against_posterior` as rows of `metrics`: `posterior/<name>` with `/low` and `/high`, and how many problems."""
    found = by_weight(samples)
    rows: list[tuple[str, float]] = []
    if len(found):
        rows.append(("posterior/problems", float(found.index.nunique())))
        rows.append(("posterior/on_one_sample", float(on_one_sample(found))))
    for name, interval in means(found).items():
        rows += as_metrics(f"posterior/{name}", interval)
    return pd.DataFrame([(0, *row) for row in rows], columns=["step", "name", "value"])


def against_posterior(samples: pd.DataFrame) -> dict[str, Interval]:
    """Each of `WORDS` as a mean over problems with its interval; empty for a record without weights."""
    return means(by_weight(samples))


def means(found: pd.DataFrame) -> dict[str, Interval]:
    """The same from what `by_weight` found. Where all weights of a problem are 0 it has no bound."""
    of_problem = found.replace([np.inf, -np.inf], np.nan).groupby(level=0, sort=False).mean()
    return {name: bootstrap(of_problem[name].dropna().to_numpy()) for name in WORDS if of_problem[name].notna().any()}
