"""Reports on the theory: the ledger of claims, and pictures of closed forms."""
