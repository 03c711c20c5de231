"""From WFDB files and CSV tables to batches of labelled, patient-split ECGs."""
