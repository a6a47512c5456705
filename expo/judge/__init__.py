"""A model as judge of chains of thought: its votes, and what they amount to."""
