"""Measuring positives: NLL, learning signal, and the verdicts that they support."""
