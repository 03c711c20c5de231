"""The teacher of a distillation: another run's net, what it has learned from, and its answers for training records."""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ecgcls.config import RunConfig
from ecgcls.data.initial import Initial
from ecgcls.data.module import ECGDataModule
from ecgcls.data.seen import merge
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import write_arrays
from ecgcls.jobs.load import load_configuration, load_net, move
from ecgcls.jobs.load_ensemble import LoadedEnsemble
from ecgcls.runs.configuration import read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.members import open_members
from ecgcls.runs.origin import Origin, find_origin
from ecgcls.training.standardizer import StandardizedNet

log = logging.getLogger(__name__)

NAME = "teacher.npz"
"""The file in the run's folder that keeps the teacher's answers for a start that goes on."""
_BATCH_SIZE = 128  # records


@dataclass(frozen=True, eq=False)
class Teacher:
    """A finished run whose answers another net learns from.

    Attributes
    ----------
    origin, initial
        Which run, of a net or of an ensemble; what it has learned from.
    weight
        Its share of the loss.
    trust
        Packages whose nets it may be, see `ecgcls.jobs.trust`.
    """

    origin: Origin
    initial: Initial
    weight: float
    trust: Sequence[str] = ()

    def check(self, data: ECGDataModule) -> None:
        """Refuse a teacher of other classes, or one that takes another input; a ConfigError."""
        assert self.origin.run is not None
        info = self.origin.run.read_info()
        if {*info.class_names} != {*data.class_names}:
            raise ConfigError(
                f"distill: {self.origin.name} knows the classes {', '.join(info.class_names)}, expected "
                f"{', '.join(data.class_names)}: a teacher is trained for the same task"
            )
        own = {
            "lead_names": list(data.lead_names),
            "sampling_rate_hz": data.source.sampling_rate_hz,
            "n_samples": data.n_samples,
            "metadata": list(data.metadata_names),
        }
        for key, value in own.items():
            if (there := info.data.get(key, [])) != value:
                raise ConfigError(f"distill: {self.origin.name} takes {key} {there}, expected {value}, as this run has")

    def answer(self, data: ECGDataModule, folder: Path, device: str = "cpu") -> NDArray[np.float32]:
        """Return probabilities ``(record, class)`` of the cohort's training records, nan elsewhere.

        They are read from `folder` where it has them for the same records and signals, and written there.
        """
        assert self.origin.run is not None
        rows, path = data.cohort.find_part("train"), folder / NAME
        content = f"{self.origin.weights_sha256} {data.standardization.sha256} {' '.join(data.class_names)}"
        key = hashlib.sha256(content.encode()).hexdigest()
        logits = _read(path, key, (len(rows), len(data.class_names)))
        if logits is None:
            logits = self._ask(data, rows, device)
            write_arrays(path, {"key": np.array(key), "logits": logits})
        y_prob = np.full((len(data.cohort.records), len(data.class_names)), np.nan, np.float32)
        y_prob[rows] = torch.from_numpy(logits).sigmoid().numpy()
        return y_prob

    def describe(self, data: ECGDataModule) -> dict[str, Any]:
        """Return what ``run.json`` says of it."""
        assert data.compared is not None
        known = data.compared.describe()
        return {"source": self.origin.describe(), "weight": self.weight, "known_records": known}

    def _ask(self, data: ECGDataModule, rows: NDArray[np.int64], device: str) -> NDArray[np.float32]:
        """Return the teacher's logits of records in the order of the run's classes."""
        run = self.origin.run
        assert run is not None
        start = time.perf_counter()
        run.attest()
        net = self._load(run, device)
        in_store = data.store.find_rows(data.cohort.records.index[rows])
        logits = []
        with torch.inference_mode():
            for first in range(0, len(rows), _BATCH_SIZE):
                chosen = slice(first, first + _BATCH_SIZE)
                signal = torch.from_numpy(data.store.read_mv(in_store[chosen])).to(device)
                beside = None
                if data.metadata_names:
                    beside = torch.from_numpy(data.metadata[rows[chosen]]).float().to(device)
                logits.append(net(signal, beside).float().cpu())
        every = torch.cat(logits)
        if not every.isfinite().all():
            raise DataError(f"distill: {self.origin.name}: logits that are not finite")
        seconds = time.perf_counter() - start
        log.info("distill: %s has answered for %d training records, %.1f s", self.origin.name, len(rows), seconds)
        theirs = run.read_info().class_names
        found: NDArray[np.float32] = every[:, [theirs.index(name) for name in data.class_names]].numpy()
        return found

    def _load(self, run: RunDirectory, device: str) -> StandardizedNet:
        """Load the net, or the nets of an ensemble as one."""
        if run.read_info().kind != "ensemble":
            return move(load_net(run, trust=self.trust), device)
        loaded = load_configuration(read_single(run), device=device, trust=self.trust)
        if isinstance(loaded, LoadedEnsemble):
            raise ConfigError(f"distill: {run.path}: its members take different input; name one of them")
        return loaded.nets[0]


def read_teacher(config: RunConfig) -> Teacher | None:
    """Read what ``distill=`` names; None where it names nothing.

    Raises
    ------
    ConfigError
        As `ecgcls.runs.origin.find_origin`; or where ``init=`` names a net too.
    """
    origin = find_origin(config, "distill")
    if origin is None or origin.run is None:
        return None
    if (config.get("init") or {}).get("path") is not None:
        raise ConfigError("distill: a run that starts from a net (init=) learns from no teacher; leave out one of both")
    members = open_members(origin.run) if origin.run.read_info().kind == "ensemble" else [origin.run]
    seen = merge([member.read_seen() for member in members]) if len(members) > 1 else members[0].read_seen()
    package = str(config["model"]["_target_"]).partition(".")[0]
    return Teacher(
        origin,
        Initial(origin.name, seen, config["distill"]["known_records"], key="distill"),
        config["distill"]["weight"],
        trust=() if package in ("ecgcls", "torch") else (package,),
    )


def _read(path: Path, key: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return logits that are kept, if they are those of this key; a file that is damaged is written anew."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            logits = stored["logits"]
            return logits if str(stored["key"]) == key and logits.shape == shape else None
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged archive raises
        log.warning("%s: damaged (%s); the teacher is asked again", path, " ".join(str(error).split()))
        return None
