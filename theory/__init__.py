"""The paper's formal claims as functions and proofs-by-test. Stands alone: imports neither torch nor expo."""
