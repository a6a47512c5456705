"""Timings against peers on the same work, in one run (`make bench`), and what the tests miss (`make mutants`).

These are never part of the tests.
"""
