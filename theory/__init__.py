"""The formal claims of the ExPO paper as functions and proofs-by-test.

Every function takes probabilities either exactly (`fractions.Fraction`, `int`) or as float64, single or batched on the
leading axes, and answers in kind: exact in, exact out. `pytest theory/` tests the claims; `theory.ledger` holds what
came out. Stands alone: imports neither torch nor expo.
"""
