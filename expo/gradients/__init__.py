"""Exact statistics of the gradients of log pi(c, a|q), over all trainable weights, for real policies."""
