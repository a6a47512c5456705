"""Records in, pictures and tables out, each with its numbers and the records that they came from.

The subpackages are sorted by what is drawn, and their modules bear the names of the paper's figures and tables.
"""
