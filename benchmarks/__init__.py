"""Timings against peers, on the same work, in one run: `make bench`; and what the tests miss: `make mutants`.

Never part of the tests.
"""
