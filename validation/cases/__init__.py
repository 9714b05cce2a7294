"""The cases: one claim a file, with a docstring that reads as the claim."""
