"""Records in, pictures and tables out, each with its numbers and the records that they came from."""
