"""``manifest.json``: the SHA-256 of each file that a finished run's results come from, ``run.json`` included.

It is written just before ``run.json`` says that the run is finished, so a finished run has one. It tells a damaged or
mixed-up folder from a whole one; it is no signature, whoever changes a file on purpose can change it too.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ecgcls.data.seen import INIT_FILES
from ecgcls.errors import DataError
from ecgcls.files import write_json
from ecgcls.runs.saved import damaged, read_json

NAME = "manifest.json"
SEALED = (
    "best.ckpt", "baseline.json", "predictions.csv", "predictions_uncalibrated.csv", "groups.csv", "likelihoods.csv",
    "history.csv", "metrics.json", "metrics_by_class.csv", "label_noise.csv", "intervals.csv", "confusion_matrix.csv",
    "reliability.csv", "calibration.csv", "calibration_curves.csv", "decision_curves.csv", "subgroups.csv",
    "repairs.csv", "left_out.csv", ".hydra/config.yaml", "likeness.npz",
    "waveforms/train.npz", "waveforms/val.npz", "waveforms/test.npz", "waveforms/unlabeled.npz",
    *(f"waveforms/{name}" for name in INIT_FILES),
)  # fmt: skip
"""The files that are listed, those of them that the run has."""

_MAX_BYTES = 100_000


def write_manifest(folder: Path, *, run_json: bytes) -> None:
    """List the files in a run's folder, and what its ``run.json`` holds or is about to hold."""
    digests = {name: hash_file(folder / name) for name in SEALED if (folder / name).is_file()}
    write_json(folder / NAME, {"sha256": digests | {"run.json": hashlib.sha256(run_json).hexdigest()}})


def add_to_manifest(folder: Path, names: Iterable[str]) -> None:
    """List files that were added to a finished run; the others stay as they are listed."""
    write_json(folder / NAME, {"sha256": read_manifest(folder) | {name: hash_file(folder / name) for name in names}})


def read_manifest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each listed file; empty where there is no manifest."""
    path = folder / NAME
    if not path.exists():
        return {}
    digests = read_json(path, max_bytes=_MAX_BYTES)["sha256"]
    known = {*SEALED, "run.json"}
    if not isinstance(digests, dict) or not digests.keys() <= known or "run.json" not in digests:
        raise damaged(path, "it does not list the files of a run")
    return digests


def check_present(folder: Path) -> None:
    """Refuse a finished run that lacks one of its files."""
    digests = read_manifest(folder)
    if not digests:
        raise DataError(
            f"{folder}: no {NAME}, which a finished run has: an earlier version of ecgcls has trained it; retrain with "
            "overwrite=true"
        )
    if missing := [name for name in digests if not (folder / name).exists()]:
        raise DataError(f"{folder / missing[0]}: missing, though the run is finished; overwrite=true retrains it")


def check_same(folder: Path, name: str) -> None:
    """Refuse a file that is listed with another SHA-256."""
    expected = read_manifest(folder).get(name)
    if expected is not None and (found := hash_file(folder / name)) != expected:
        raise DataError(
            f"{folder / name}: not the file that the run wrote (SHA-256 {found[:12]}, expected {str(expected)[:12]} by "
            f"{NAME}): changed, or of another run; get the run's own file, or retrain with overwrite=true"
        )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
