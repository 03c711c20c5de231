"""Writes a data set of simulated ECGs in PTB-XL's shape, so that it takes the same path as the real one.

Task: ``data=synthetic`` must run end to end on a laptop without a download, and a net must have something to
learn. What is written is what PTB-XL has: ``ptbxl_database.csv`` (28 columns), ``scp_statements.csv``, and
WFDB records in ``records100/`` or ``records500/`` (format 16, 1000 per mV, so one unit is a microvolt; one
folder a thousand records). Beside them stand ``SYNTHETIC.json``, which says what was asked, and a README.

The rooms, in the order in which a record passes them:

- `plan`: who has which statements, records and strat_fold, from `statements` (PTB-XL's table) and `diagnosis`
  (which of them a patient gets); a `spec.EcgSpec` says what one record shall show.
- `beat`: lobes, a normal and an ectopic beat; `pathology`: what the statements change in the patient's beat.
- `rhythm`: when the beats come; `noise`: what the electrodes add.
- `signal`: all of it together, ten seconds of the leads in `leads`.
- `records` and `tables`: WFDB files and CSV; `write`: the whole data set under a lock.

Conventions: a patient's records share diagnosis, heart and strat_fold, and differ in rate, rhythm and noise.
The mix of superclasses follows PTB-XL (NORM 44 %, MI 25, STTC 24, CD 22, HYP 12, none 2), and so do the
likelihoods: 0 for form and rhythm, 15 to 100 for diagnoses, lower where the change is subtle.

References
----------
- Wagner et al. PTB-XL, a large publicly available electrocardiography dataset. Scientific Data 7, 154 (2020).
  https://doi.org/10.1038/s41597-020-0495-6
- Sechidis, Tsoumakas, Vlahavas. On the stratification of multi-label data. ECML PKDD 2011: the strat_folds.
- WFDB header format: https://physionet.org/physiotools/wag/header-5.htm
"""

from ecgcls.data.synthetic.source import Synthetic
from ecgcls.data.synthetic.write import GENERATOR_VERSION, MAX_RECORDS, MIN_RECORDS, write_synthetic

__all__ = ["GENERATOR_VERSION", "MAX_RECORDS", "MIN_RECORDS", "Synthetic", "write_synthetic"]
