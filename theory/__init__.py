"""The formal claims of the ExPO paper as functions and proofs-by-test.

Probabilities are given exactly (`fractions.Fraction`, `int`) or as float64, single or batched on the leading axes, and
functions return the same kind: exact in, exact out. Those that use a logarithm or a root return float64, and say so.
`pytest theory/` tests the claims; `theory.ledger` holds the results. This package imports neither torch nor expo.
"""
