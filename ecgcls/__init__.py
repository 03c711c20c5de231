"""Config-driven experiments with 12-lead ECG classifiers on PTB-XL."""

__version__ = "0.1.0"
