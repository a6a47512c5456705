"""Grading of texts: final answers, and the arithmetic steps before them. Nothing here knows tasks or policies."""
