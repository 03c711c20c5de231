"""Leaks: what a run has learned from, compared with what it is tested on.

Before training `ecgcls.data` refuses a patient, or a waveform, in two parts. Here is the rest: the standardizer must
have been fitted on the training part, calibrator and thresholds on the validation part (each carries the fingerprint of
its records), and each evaluation on PTB-XL's official test fold is written into a log beside the experiments.
"""

import csv
import errno
import hashlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from numpy.typing import ArrayLike

from ecgcls.data.leakage import MIN_CORRELATION
from ecgcls.errors import DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.files import hash_standardizer
from ecgcls.identity import identify
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo

log = logging.getLogger(__name__)

OFFICIAL_TEST_FOLD = 10
"""The strat_fold that PTB-XL's authors recommend for testing."""
LOG_NAME = "official_test_fold.csv"
"""The log's name, in the folder that holds the experiments."""
_COLUMNS = (
    "time", "command", "experiment", "model", "variant", "fold", "seed", "config_sha256", "run", "n_records",
    "database_sha256",
)  # fmt: skip


def check_standardizer(fitted_on: str, info: RunInfo, values: tuple[ArrayLike, ArrayLike] | None) -> None:
    """Refuse a standardizer that was fitted on other records or signals than the training part's, or changed since.

    `fitted_on` is its fingerprint, `values` its mean and standard deviation by lead; None: of a baseline.
    """
    if info.init.get("standardizer") == "own" and values is not None:
        expected = hash_standardizer(info.init["source"]["weights_sha256"], *values)
    elif values is None or not info.covers_content:
        expected = info.hash_part("train")
    else:
        expected = hash_standardizer(info.hash_part("train", "signals"), *values)
    if fitted_on != expected or info.standardized_on not in ("", expected):
        found = fitted_on if fitted_on != expected else info.standardized_on
        raise DataError(
            "leak: the standardizer was fitted on other records than the run's training part, or changed since "
            f"(fingerprint {found[:12]}, expected {expected[:12]}): its scores cannot be trusted; retrain with "
            "overwrite=true"
        )


def describe_checks(info: RunInfo, *, learned_on: str) -> dict[str, Any]:
    """Return what ``run.json`` records as checked and found in order; `learned_on` is of the decisions."""
    parts = info.data["parts"]
    return {
        "patients": {"in_two_parts": 0, "compared": sum(part["n_patients"] for part in parts.values())},
        "waveforms": {
            "in_two_parts": 0,
            "left_out": info.data["n_copies_left_out"],
            "min_correlation": MIN_CORRELATION,
            "compared": sum(part["n_records"] for part in parts.values()),
        },
        "standardizer": {
            **(
                {"fitted_on": "init", "weights_sha256": info.init["source"]["weights_sha256"]}
                if info.init.get("standardizer") == "own"
                else {"fitted_on": "train", "records_sha256": info.hash_part("train")}
            ),
            "sha256": info.standardized_on,
        },
        "calibrator_and_thresholds": {"fitted_on": "val", "records_sha256": learned_on},
    }


def log_official_test(
    run: RunDirectory, info: RunInfo, *, output_dir: Path, command: str, tested: Predictions | None = None
) -> dict[str, int] | None:
    """Write into the log in `output_dir` that a run's test predictions of the official test fold were scored.

    `tested` are these predictions; None: those that the run has stored.

    Returns
    -------
    dict or None
        ``n_records`` of the official test fold, and how often it was scored before and by how many configurations; None
        where none of its records is scored, the ECGs are simulated, or the data are not PTB-XL in its own layout.
    """
    tested = run.read_predictions("test") if tested is None else tested
    n_records = int((tested.strat_fold == OFFICIAL_TEST_FOLD).sum())
    database = info.data["fingerprint"].get("ptbxl_database.csv")
    if not n_records or info.synthetic or database is None:
        return None
    plain = {key: value for key, value in identify(run.read_config()).items() if key != "fold"}
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        **{key: getattr(info, key) for key in ("experiment", "model", "variant", "fold", "seed")},
        "config_sha256": hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest(),
        "run": str(run.path),
        "n_records": n_records,
        "database_sha256": database,
    }
    path = output_dir / LOG_NAME
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(output_dir / f".{LOG_NAME}.lock"):
            before = read_log(output_dir)
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, _COLUMNS)
                if not file.tell():
                    writer.writeheader()
                writer.writerow(entry)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        log.warning("%s: cannot be written (%s), so this look at the official test fold is not kept", path, error)
        before = read_log(output_dir)
    before = before[before["database_sha256"] == database]
    n_before, n_configurations = len(before), int(before["config_sha256"].nunique())
    log.info(
        "Scoring %d records of the official test fold; it has been scored %d time%s before, by %d configuration%s (%s)",
        n_records, n_before, "s" * (n_before != 1), n_configurations, "s" * (n_configurations != 1), path,
    )  # fmt: skip
    return {"n_records": n_records, "n_scored_before": n_before, "n_configurations_before": n_configurations}


def read_log(output_dir: Path) -> pd.DataFrame:
    """Read the log of the official test fold; empty where there is none."""
    path = output_dir / LOG_NAME
    if not path.is_file():
        return pd.DataFrame(columns=list(_COLUMNS))
    try:
        table = pd.read_csv(path, dtype={"config_sha256": str, "database_sha256": str}, keep_default_na=False)
        return table[list(_COLUMNS)]
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0]}); restore it, or move it elsewhere") from error
