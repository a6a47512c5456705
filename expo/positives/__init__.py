"""Positives: own CoTs, self-explanations, expert CoTs and the controls, each closed with the right answer."""
