"""Timings against peers, on the same work, in one run: `make bench`. Never part of the tests."""
