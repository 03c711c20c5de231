"""Finished and unfinished runs: their folders, what they record, the folds of a configuration, and how to find them."""
