"""Policies: loading one, its prompts, sampling from it, and scoring under it."""
