"""How far the prompted sampler mu(c|q, a*) is from the posterior pi(c|q, a*), from importance weights.

A self-explanation has the weight w = pi(c|q) pi(a*|q, c) / mu(c|q, a*). Its mean is J = pi(a*|q), and weighted samples
are samples of the posterior, for which Lemma 2 holds. All of this is at temperature 1, and assumes that both prompts
end the same CoT alike, since c is read up to its final-answer statement. A truncated sample has no end, and so no
weight. Logs are in nats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from expo.measure.verdict import as_metrics
from expo.stats import Interval, bootstrap

if TYPE_CHECKING:
    from expo.policies.scoring import Score

WORDS = {
    "effective_samples": "effective sample size of a problem's self-explanations",
    "kl_bound": "estimate of an upper bound on their sampler's KL to the posterior",
    "gain": "mean pi(a*|q, c) minus that of own CoTs, as sampled",
    "gain_weighted": "the same, samples weighted towards the posterior",
    "gain_by_weights": "what the weights add to it",
}
# An effective sample size this close to 1 counts as that of one sample.
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
    """Normalise weights to sum to 1; the largest never underflows, and if all are 0 they become equal."""
    if log_w.max() == -np.inf:
        return np.full(len(log_w), 1 / len(log_w))
    w = np.exp(log_w - log_w.max())
    return w / w.sum()


def effective(weights: np.ndarray) -> float:
    """Effective sample size: 1 / sum of squares, between 1 and the number of samples."""
    return float(1 / np.square(weights).sum())


def by_weight(samples: pd.DataFrame) -> pd.DataFrame:
    """For each problem with weighted explanations and own CoTs: the quantities in `WORDS`, and `n` explanations.

    A problem whose explanations had different hints has a row for each hint.
    """
    log_w = log_weights(samples)
    own = samples[samples["source"] == "own"]
    of_own = own["learning_signal"].astype(float).map(np.exp).groupby(own["problem"]).mean()
    rows = []
    # Weights of samples from different prompts are not weights of one sampler.
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
    """The number of problems with several explanations in which one has all the weight."""
    return int(((found["effective_samples"] < _ONE) & (found["n"] > 1)).sum())


def posterior_metrics(samples: pd.DataFrame) -> pd.DataFrame:
    """`against_posterior` as rows of `metrics`: `posterior/<name>`, `/low` and `/high`, and the number of problems."""
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
    """The same, from the result of `by_weight`. A problem whose weights are all 0 has no bound."""
    of_problem = found.replace([np.inf, -np.inf], np.nan).groupby(level=0, sort=False).mean()
    return {name: bootstrap(of_problem[name].dropna().to_numpy()) for name in WORDS if of_problem[name].notna().any()}
