"""A model as judge of chains of thought: its votes, and the statistics over them."""
