"""Turn records into pictures and tables, each with its numbers and the records that they came from.

The subpackages are sorted by what they draw, and their modules are named after the paper's figures and tables.
"""
