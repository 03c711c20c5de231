"""The report: one HTML page over all runs of an experiment."""
