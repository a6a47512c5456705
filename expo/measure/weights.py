"""How far the prompted sampler mu(c|q, a*) is from the posterior pi(c|q, a*), by the importance weights of its samples.

A self-explanation has the weight w = pi(c|q) pi(a*|q, c) / mu(c|q, a*). Its mean is J = pi(a*|q), and samples
weighted by it are samples of the posterior, for which Lemma 2 holds. All this is at temperature 1, and takes it that
after the same CoT both prompts end it alike, for c is read up to its final-answer statement. A sample that was cut has
no end, and so no weight. Logs are in nats.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from expo.policies.scoring import Score
from expo.stats import Interval, bootstrap

WORDS = {
    "effective_samples": "effective sample size of a problem's self-explanations",
    "kl_bound": "upper bound on the KL of their sampler to the posterior",
    "gain": "mean pi(a*|q, c) less that of own CoTs, as sampled",
    "gain_weighted": "the same, samples weighted towards the posterior",
}


def log_weights(samples: pd.DataFrame) -> pd.Series:
    """log w of each self-explanation that ended and was scored under its prompt; the index is that of `samples`."""
    ended = ~samples["truncated"].astype(bool)
    rows = samples[(samples["source"] == "explanation") & samples["nll_prompted"].notna() & ended]
    return (rows["learning_signal"] - rows["nll_cot"] + rows["nll_prompted"]).astype(float)


def log_weight(plain: Score, cot: int, prompted: np.ndarray) -> float:
    """log w of one self-explanation, whose first `cot` tokens are its CoT, from its scores under both prompts."""
    return float(plain.completion[:cot].sum() + plain.learning_signal - prompted.sum())


def normalised(log_w: np.ndarray) -> np.ndarray:
    """Weights that sum to 1; the largest never underflows."""
    w = np.exp(log_w - log_w.max())
    return w / w.sum()


def effective(weights: np.ndarray) -> float:
    """How many samples of equal weight these are worth: 1 / sum of squares, between 1 and their number."""
    return float(1 / np.square(weights).sum())


def by_weight(samples: pd.DataFrame) -> pd.DataFrame:
    """Of each problem that has explanations with weights and own CoTs: `WORDS`, and `n` explanations."""
    log_w = log_weights(samples)
    own = samples[samples["source"] == "own"]
    of_own = own["learning_signal"].astype(float).map(np.exp).groupby(own["problem"]).mean()
    rows = []
    for problem, logs in log_w.groupby(samples["problem"], sort=False):
        weights = normalised(logs.to_numpy())
        signal = np.exp(samples.loc[logs.index, "learning_signal"].to_numpy(dtype=float))
        rows.append(
            {
                "problem": problem,
                "n": len(logs),
                "effective_samples": effective(weights),
                # KL(mu || post) = log J - E_mu log w, and log J is at most 0.
                "kl_bound": -float(logs.mean()),
                "gain": float(signal.mean()) - of_own.get(problem, np.nan),
                "gain_weighted": float(weights @ signal) - of_own.get(problem, np.nan),
            }
        )
    return pd.DataFrame(rows, columns=["problem", "n", *WORDS]).set_index("problem")


def against_posterior(samples: pd.DataFrame) -> dict[str, Interval]:
    """Each of `WORDS` as a mean over problems with its interval; empty for a record without weights."""
    found = by_weight(samples)
    return {name: bootstrap(found[name].dropna().to_numpy()) for name in WORDS if found[name].notna().any()}
