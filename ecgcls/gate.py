"""The leakage gate: what a run has learned from, held against what it is tested on.

Before training `ecgcls.data` refuses a patient, or a waveform, in two parts. Here stands the rest: the standardiser
must have been fitted on the training part, calibrator and thresholds on the validation part (each carries the
fingerprint of its records), and each look at PTB-XL's official test fold is written into a log that stays with the
experiments.
"""

import csv
import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from ecgcls.data.leakage import MIN_CORRELATION
from ecgcls.errors import DataError
from ecgcls.evaluation.predictions import Predictions
from ecgcls.files import STANDARDIZED_ON

__all__ = ["STANDARDIZED_ON", "check_standardizer", "describe_checks", "log_official_test", "read_log"]

log = logging.getLogger(__name__)

OFFICIAL_TEST_FOLD = 10
"""The strat_fold that PTB-XL's authors recommend for testing."""
LOG_NAME = "official_test_fold.csv"
"""The log's name, in the folder that holds the experiments."""
_COLUMNS = (
    "time", "command", "experiment", "model", "variant", "fold", "seed", "config_sha256", "run", "n_records",
    "database_sha256",
)  # fmt: skip


def check_standardizer(fitted_on: str | None, data: Mapping[str, Any]) -> None:
    """Refuse a standardiser that was fitted on other records than the training part.

    Parameters
    ----------
    fitted_on
        The fingerprint that the checkpoint carries; None where it carries none (version 0.1.0), which is let pass.
    data
        ``data`` of ``run.json``.

    Raises
    ------
    DataError
        If so.
    """
    expected = data["parts"]["train"].get("records_sha256")
    if fitted_on is None or expected is None:
        return
    if fitted_on != expected:
        raise DataError(
            "leak: the standardiser was fitted on other records than the run's training part (fingerprint "
            f"{fitted_on[:12]}, expected {expected[:12]}): its scores are not to be trusted; train anew with "
            "overwrite=true"
        )


def describe_checks(data: Mapping[str, Any], *, standardized_on: str, learned_on: str) -> dict[str, Any]:
    """Return what ``run.json`` says was checked; whatever stands there was found in order."""
    parts = data["parts"]
    return {
        "patients": {"in_two_parts": 0, "compared": sum(part["n_patients"] for part in parts.values())},
        "waveforms": {
            "in_two_parts": 0,
            "left_out": data["n_copies_left_out"],
            "min_correlation": MIN_CORRELATION,
            "compared": sum(part["n_records"] for part in parts.values()),
        },
        "standardizer": {"fitted_on": "train", "records_sha256": standardized_on},
        "calibrator_and_thresholds": {"fitted_on": "val", "records_sha256": learned_on},
    }


def log_official_test(
    tested: Predictions,
    info: Mapping[str, Any],
    *,
    run: Path,
    output_dir: Path,
    config: Mapping[str, Any],
    command: str,
) -> dict[str, int] | None:
    """Write into the log that the official test fold was scored.

    Parameters
    ----------
    tested
        The predictions that are scored.
    info
        ``run.json`` of the run that made them.
    run, output_dir
        Its folder, and that of the experiments, which holds the log.
    config
        What the result depends on.
    command
        Which command scores.

    Returns
    -------
    dict or None
        ``n_records`` of the official test fold, and how often it was scored before and by how many configurations; None
        where none of its records is scored, or the ECGs are simulated.
    """
    n_records = int((tested.strat_fold == OFFICIAL_TEST_FOLD).sum())
    if not n_records or info["synthetic"]:
        return None
    database = info["data"]["fingerprint"].get("ptbxl_database.csv", "")
    plain = {key: value for key, value in config.items() if key not in ("fold", "data.root")}
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        **{key: info[key] for key in ("experiment", "model", "variant", "fold", "seed")},
        "config_sha256": hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest(),
        "run": str(run),
        "n_records": n_records,
        "database_sha256": database,
    }
    path = output_dir / LOG_NAME
    output_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(output_dir / f".{LOG_NAME}.lock"):
        before = read_log(output_dir)
        before = before[before["database_sha256"] == database]
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            if not file.tell():
                writer.writeheader()
            writer.writerow(entry)
    counts = {
        "n_records": n_records,
        "n_scored_before": len(before),
        "n_configurations_before": int(before["config_sha256"].nunique()),
    }
    log.info(
        "%d records of the official test fold are scored; so were they %d times before, by %d configurations (%s)",
        n_records,
        counts["n_scored_before"],
        counts["n_configurations_before"],
        path,
    )
    return counts


def read_log(output_dir: Path) -> pd.DataFrame:
    """Read the log of the official test fold; empty where there is none."""
    path = output_dir / LOG_NAME
    if not path.is_file():
        return pd.DataFrame(columns=list(_COLUMNS))
    return pd.read_csv(path, dtype={"config_sha256": str, "database_sha256": str}, keep_default_na=False)
