"""Policies: load one, its prompts, sampling from it, scoring under it."""
