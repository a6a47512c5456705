"""The formal claims of the ExPO paper as functions and proofs-by-test.

Probabilities are given exactly (`fractions.Fraction`, `int`) or as float64, single or batched on the leading axes, and
functions answer in kind: exact in, exact out, but for those with a logarithm or a root in them, which say that they
answer in float64. `pytest theory/` tests the claims; `theory.ledger` holds what came out. Stands alone: imports neither
torch nor expo.
"""
