"""What is shown of the theory: the ledger of claims, and pictures of closed forms."""
