"""ExPO toolkit: sample self-explanations, measure positives, train on them, and show what came out."""

__version__ = "0.1.0"
