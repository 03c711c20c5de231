"""From WFDB files and CSV tables to batches of labeled ECGs, split by patient."""
