"""The report: one HTML page over all runs of an experiment. Its prose is in the templates, ``*.jinja``."""
