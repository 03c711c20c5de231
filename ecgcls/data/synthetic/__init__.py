"""Simulated ECGs, written as a data set in PTB-XL's layout and read like the real one.

``data=synthetic`` runs every command on a laptop without a download, and gives a net something to learn. It has what
PTB-XL has: ``ptbxl_database.csv`` (28 columns), ``scp_statements.csv``, and WFDB records in ``records100/`` or
``records500/`` (format 16, 1000 per mV, so one unit is a microvolt; one folder per thousand records). Beside them are
``SYNTHETIC.json``, with the settings, and a README.

A record passes `plan`, which says who has which statements, `pathology`, which changes the lobes of a `beat`, `rhythm`,
`leads` (and their noise) and `signal`, and is written by `write`, with the `tables`. Nothing here is from a patient.

Conventions: a patient's records share diagnosis, heart and strat_fold, and differ in rate, rhythm and noise. The mix of
superclasses follows PTB-XL (NORM 44%, MI 25, STTC 24, CD 22, HYP 12, none 2), and so do the likelihoods: 0 for form
and rhythm, 15 to 100 for diagnoses, lower if the change is subtle.

References
----------
- Wagner et al. PTB-XL, a large publicly available electrocardiography dataset. Scientific Data 7, 154 (2020).
  https://doi.org/10.1038/s41597-020-0495-6
- Sechidis, Tsoumakas, Vlahavas. On the stratification of multi-label data. ECML PKDD 2011: the strat_folds.
- WFDB header format: https://physionet.org/physiotools/wag/header-5.htm
"""

from ecgcls.data.synthetic.write import Synthetic, write_synthetic

__all__ = ["Synthetic", "write_synthetic"]
