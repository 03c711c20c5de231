"""A run directory: everything that is needed to defend the result of one fold.

``outputs/<experiment>/<model>/<variant>/fold_<k>/`` holds

- ``.hydra/config.yaml``: the resolved configuration, readable without this package;
- ``run.json``: status, versions, git commit, data, seed, time of each stage; see `ecgcls.runs.info.RunInfo`;
- ``best.ckpt``, ``last.ckpt``: the epoch with the best validation score, and the one to resume from;
- ``predictions.csv``: validation and test predictions of each record, recalibrated, with the decisions at the run's
  thresholds; ``predictions_uncalibrated.csv``: the best net's own probabilities;
- ``waveforms/``: by what the records of each part are known again in other data; see `ecgcls.data.seen`;
- ``repairs.csv``, ``left_out.csv``, where there is anything to list: what was changed in a record or is doubtful about
  it, and which records cannot be used or repeat another;
- ``likeness.npz``: what the training records look like; see `ecgcls.data.likeness`;
- ``manifest.json``: the SHA-256 of the files that a finished run's results come from; see `ecgcls.runs.manifest`;
- ``groups.csv``: the subgroups that each of these records belongs to; ``likelihoods.csv``: how likely each of their
  positive labels is, where a statement says less than 100 %;
- ``metrics.json``, ``metrics_by_class.csv``, ``history.csv``, ``figures/``: computed from predictions and epochs;
- ``run.log``.

The ``<variant>`` says what differs from the defaults; there is no such folder where nothing does.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ecgcls.data.likeness import Likeness, read_likeness
from ecgcls.data.seen import GROUPS, INIT_FILES, SeenRecords, name_group, read_seen
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.checks import check_ids
from ecgcls.evaluation.predictions import Predictions
from ecgcls.files import check_regular, encode_csv, format_json, restore, write_atomically
from ecgcls.identity import flatten, identify
from ecgcls.runs import manifest
from ecgcls.runs.attested import attest, check_seen
from ecgcls.runs.info import NAME, RunInfo
from ecgcls.runs.own_folder import CONFIG, OwnFolder
from ecgcls.runs.predictions_csv import read_csv, write_csv
from ecgcls.runs.saved import Node, check_types, damaged, read_json, read_yaml

_WAVEFORMS = "waveforms"
_CONFIG_TYPES: dict[str, Any] = {
    "experiment": str, "fold": int, "seed": int, "folds": {"test": list}, "task": dict, "model": dict,
    "data": {"_target_": str, "root": str, "sampling_rate_hz": int}, "optimizer": dict, "loss": dict, "trainer": dict,
}  # fmt: skip
_MAX_BYTES = {CONFIG: 500_000, NAME: 20_000_000, "best.ckpt": 20_000_000_000}
_MAX_TABLE_BYTES = 4_000_000_000
_ATTESTED: set[tuple[str, str]] = set()  # what this process has found in order


class RunDirectory(OwnFolder):
    """One run's folder and the files in it."""

    @property
    def best_checkpoint(self) -> Path:
        """The epoch with the best validation score."""
        return self.path / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The last finished epoch."""
        return self.path / "last.ckpt"

    @property
    def is_finished(self) -> bool:
        """Whether the run ended; that it says so and one of its files is missing is a `DataError`."""
        return self.is_begun and self.read_info().is_finished

    def read_info(self) -> RunInfo:
        """Return ``run.json``, of a finished run only if its files are there; a damaged one is a `DataError`."""
        path = self.path / NAME
        info = RunInfo.from_dict(read_json(path, max_bytes=_MAX_BYTES[NAME]), where=str(path))
        if info.is_finished:  # else the manifest is of a process that was killed before it said so
            manifest.check_present(self.path)
            manifest.check_same(self.path, NAME)
        return info

    def write_info(self, info: RunInfo) -> None:
        """Replace ``run.json``; of a finished run the manifest comes first, any other has none."""
        content = format_json(info.to_dict())
        if info.is_finished:
            manifest.write_manifest(self.path, run_json=content)
        else:
            (self.path / manifest.NAME).unlink(missing_ok=True)
        write_atomically(self.path / NAME, content)

    def seal(self) -> None:
        """List the files as they are in the manifest."""
        manifest.write_manifest(self.path, run_json=(self.path / NAME).read_bytes())

    def check_file(self, name: str, *, missing_ok: bool = False) -> Path:
        """Return the path of a file of the run; refuse one that is no file, too large, or not as the run left it."""
        path = self.path / name
        try:
            check_regular(path, max_bytes=_MAX_BYTES.get(name, _MAX_TABLE_BYTES))
            manifest.check_same(self.path, name)
        except FileNotFoundError as error:
            if not missing_ok:
                raise DataError(f"{path}: this file of the run is missing; retrain with overwrite=true") from error
        return path

    def read_config(self) -> Node:
        """Return the run's own resolved configuration, as data; a damaged one is a `DataError`.

        It was resolved when it was saved: one with an interpolation, ``${...}``, is refused.
        """
        path = self.check_file(CONFIG)
        config = read_yaml(path, max_bytes=_MAX_BYTES[CONFIG])
        for key, value in flatten(config):
            if "${" in str(value):
                raise damaged(path, f"{key}: a saved configuration has no interpolation, got {value!r}")
        check_types(config, _CONFIG_TYPES, where=str(path))
        return config

    def write_config(self, text: str) -> None:
        """Keep the resolved configuration, as YAML."""
        write_atomically(self.path / CONFIG, text.encode())

    def hash_predictions(self) -> str:
        """Return the SHA-256 of ``predictions.csv``."""
        return manifest.hash_file(self.check_file("predictions.csv"))

    def read_predictions(self, split: str | None = None, *, is_calibrated: bool = True) -> Predictions:
        """Return the run's predictions of its ``val`` or ``test`` part, or of both; or those before recalibration."""
        self.attest()
        predictions = self._read_predictions(is_calibrated)
        return predictions if split is None else predictions.select(split)

    def _read_predictions(self, is_calibrated: bool) -> Predictions:
        path = self.check_file(self._predictions(is_calibrated))
        return _parse(path, manifest.hash_file(path), self._has_names)

    @property
    def _has_names(self) -> bool:
        """Whether the records have names: those of its parts may happen to be numbers."""
        return self.is_begun and self.read_info().data.get("ids") == "text"

    def _read_ids(self, texts: pd.Series) -> pd.Index:
        ids = check_ids("ecg_id", texts.map(restore))
        return pd.Index(ids.astype(str) if self._has_names else ids, name="ecg_id")

    def attest(self) -> None:
        """Refuse a finished run whose results do not follow from one another; see `ecgcls.runs.attested`."""
        if not self.is_begun or not (info := self.read_info()).is_finished:
            return
        listed = manifest.read_manifest(self.path)
        key = str(self.path.resolve()), json.dumps(listed, sort_keys=True)
        if key in _ATTESTED or not (info.decisions or info.covers_content):
            return
        for name in listed:
            self.check_file(name, missing_ok=True)
        attest(
            info,
            run_json=self.path / NAME,
            config=(self.path / CONFIG, self.read_config()),
            uncalibrated=(self.path / self._predictions(False), self._read_predictions(False)),
            calibrated=(self.path / self._predictions(True), self._read_predictions(True)),
        )
        if info.kind == "ensemble":
            from ecgcls.runs.members import check_members  # which reads its members as this class does

            check_members(self, self._read_predictions(False))
        _ATTESTED.add(key)

    def write_predictions(self, predictions: Predictions, *, is_calibrated: bool = True) -> None:
        """Replace the predictions of both parts."""
        write_csv(predictions, self.path / self._predictions(is_calibrated))

    def _predictions(self, is_calibrated: bool) -> str:
        return "predictions.csv" if is_calibrated else "predictions_uncalibrated.csv"

    def read_groups(self) -> pd.DataFrame:
        """Return the subgroups of the predicted records: by ecg_id, a column of text per grouping."""
        path = self.check_file("groups.csv")
        try:
            groups = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
            return groups.set_index(self._read_ids(groups.pop("ecg_id"))).map(restore, na_action="ignore")
        except (ValueError, KeyError) as error:
            raise damaged(path, error) from error

    def write_groups(self, groups: pd.DataFrame) -> None:
        """Replace the subgroups of the predicted records."""
        write_atomically(self.path / "groups.csv", encode_csv(groups.rename_axis("ecg_id")))

    def read_seen(self) -> SeenRecords:
        """Return the waveforms of the run's data set, each with its part."""
        if not self.has_seen:
            raise DataError(
                f"{self.path}: no {_WAVEFORMS}/, by which records that it has learned from are known in other data: an "
                "earlier version of ecgcls has trained it; repeat its command, which adds them without training"
            )
        init = [f"{_WAVEFORMS}/{name}" for name in INIT_FILES if (self.path / _WAVEFORMS / name).exists()]
        groups = [f"{_WAVEFORMS}/{name_group(part)}" for part in GROUPS]
        seen = read_seen(*([self.check_file(name) for name in names] for names in (groups, init)))
        check_seen(self.path / _WAVEFORMS, seen, self.read_info())
        return seen

    def write_seen(self, seen: SeenRecords) -> None:
        """Replace the waveforms of the run's data set, also of a run that an earlier version finished without them."""
        seen.write(self.path / _WAVEFORMS)
        if self.is_finished:
            names = [f"{_WAVEFORMS}/{name}" for name in (*map(name_group, GROUPS), *INIT_FILES[: len(seen.init)])]
            manifest.add_to_manifest(self.path, names)

    @property
    def has_seen(self) -> bool:
        """Whether the run keeps the waveforms of its data set; those of earlier versions do not."""
        return (self.path / _WAVEFORMS).is_dir()

    def read_likelihoods(self) -> pd.DataFrame | None:
        """Return the likelihoods of the predicted records' labels, as written; None of a run that has kept none."""
        path = self.check_file("likelihoods.csv", missing_ok=True)
        if not path.exists():
            return None
        try:
            table = pd.read_csv(path, keep_default_na=False, dtype={"ecg_id": str}, converters={"class": restore})
            table["ecg_id"] = self._read_ids(table["ecg_id"])
            return table.astype({"likelihood": float})[["ecg_id", "class", "likelihood"]]
        except (ValueError, KeyError) as error:
            raise damaged(path, error) from error

    def write_likelihoods(self, likelihoods: pd.DataFrame) -> None:
        """Replace the likelihoods of the predicted records' labels: ``ecg_id``, ``class`` and ``likelihood``."""
        write_atomically(self.path / "likelihoods.csv", encode_csv(likelihoods, index=False))

    def read_likeness(self) -> Likeness | None:
        """Return what the training records look like; None if the run has not kept it."""
        path = self.check_file("likeness.npz", missing_ok=True)
        return read_likeness(path) if path.exists() else None

    def read_history(self) -> pd.DataFrame:
        """Return losses and metrics, one row per epoch."""
        path = self.check_file("history.csv")
        try:
            history = pd.read_csv(path)
            if "epoch" not in history or not all(is_numeric_dtype(history[name]) for name in history):
                raise DataError("expected a column epoch, and numbers in every column")
            return history
        except ValueError as error:
            raise damaged(path, error) from error

    def write_history(self, history: pd.DataFrame) -> None:
        """Replace the table of epochs."""
        write_atomically(self.path / "history.csv", history.to_csv(index=False).encode())

    def read_metrics(self) -> Node:
        """Return ``metrics.json``."""
        return read_json(self.check_file("metrics.json"), max_bytes=_MAX_TABLE_BYTES)

    def check_same_config(self, identity: Mapping[str, Any]) -> None:
        """Refuse a folder that was made for another configuration; `identity` is from `ecgcls.identity.identify`."""
        if not self.is_begun and not (self.path / CONFIG).is_file():
            return
        existing = identify(self.read_config())
        differing = [key for key in sorted(existing.keys() | identity.keys()) if existing.get(key) != identity.get(key)]
        if differing:
            key = differing[0]
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise ConfigError(
                f"{self.path} holds a run of another configuration ({key}: {existing.get(key)} there, "
                f"{identity.get(key)} requested{more}): choose another experiment=NAME, or retrain with overwrite=true"
            )

    def check_same_data(self, fingerprint: Mapping[str, str]) -> None:
        """Refuse a run that was trained on other data; `fingerprint` is a SHA-256 by name of table or signals."""
        if not self.is_begun:
            return
        trained_on = self.read_info().data.get("fingerprint", {})
        differing = [name for name, digest in fingerprint.items() if trained_on.get(name, digest) != digest]
        if differing:
            raise ConfigError(
                f"{self.path}: this run was trained on other data ({', '.join(differing)} differ): retrain with "
                "overwrite=true, or choose another experiment=NAME"
            )


@lru_cache(maxsize=8)
def _parse(path: Path, sha256: str, has_names: bool) -> Predictions:
    """Read a predictions file of this content, which takes a second for many classes, once."""
    return read_csv(path).with_names() if has_names else read_csv(path)
