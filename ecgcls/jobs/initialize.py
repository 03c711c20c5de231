"""The net that a training starts from: its weights, what it has learned from, and what of it was taken."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ecgcls.config import RunConfig
from ecgcls.data.initial import Initial
from ecgcls.data.module import ECGDataModule, Standardization
from ecgcls.data.seen import GROUPS, name_group, read_seen
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import check_archive, hash_standardizer
from ecgcls.runs.origin import Origin, find_origin
from ecgcls.training.finetuning import FineTuning
from ecgcls.training.layers import split_layers
from ecgcls.training.standardizer import hash_weights, take_own
from ecgcls.training.transfer import Contract, Taken, take_columns, take_weights

log = logging.getLogger(__name__)

_STANDARDIZER = ("standardizer.mean_mv", "standardizer.sd_mv")


@dataclass(eq=False)
class Start:
    """What a training starts from, and how it goes on.

    Attributes
    ----------
    origin, weights, contract
        Which run or file; its state dict, that of a net with names as the net has them; what it takes and returns.
    sampling_rate_hz, n_samples
        What it takes; None: not known.
    initial
        What it has learned from.
    tuning
        Which layers are trained, when and at which rate.
    standardizer
        ``refit``, or ``own``: that of the origin.
    taken
        What `put_into` has taken.
    """

    origin: Origin
    weights: Mapping[str, Tensor]
    contract: Contract
    initial: Initial
    tuning: FineTuning
    standardizer: str
    sampling_rate_hz: float | None = None
    n_samples: int | None = None
    taken: Taken | None = None

    def put_into(self, net: nn.Module, data: ECGDataModule) -> None:
        """Put what fits into a net for these data, and log it; ConfigError if nothing does.

        What is frozen must have been taken.
        """
        own = Contract(tuple(data.lead_names), tuple(data.class_names))
        weights = {key.removeprefix("net."): each for key, each in self.weights.items() if key.startswith("net.")}
        taken = take_weights(net, weights, own=own, other=self.contract)
        self.taken = taken
        n_taken = len(taken.layers) + len(taken.by_lead)
        log.info("init: %d of %d layers taken of %s", n_taken, n_taken + len(taken.left_out), self.origin.name)
        for name, why in taken.by_lead.items():
            log.info("init: %s: taken by lead: %s", name, why)
        for name, why in taken.left_out.items():
            log.info("init: %s starts anew: %s", name, why)
        if taken.unused:
            log.info("init: not used: %s", ", ".join(taken.unused))
        for note in self.list_notes(data):
            log.info("init: %s", note)
        if self.tuning.freeze == "backbone":
            self._check_frozen(net, taken)

    def list_notes(self, data: ECGDataModule) -> list[str]:
        """Return in words what the net was trained with otherwise than it is now."""
        notes = []
        rate_hz, there = data.source.sampling_rate_hz, self.contract.lead_names
        if self.sampling_rate_hz is None or there is None:
            notes.append("leads and sampling rate of these weights are not known: taken as they are")
            return notes
        if self.sampling_rate_hz != rate_hz:
            notes.append(f"trained at {self.sampling_rate_hz:g} Hz, here {rate_hz:g} Hz: a kernel spans another time")
        if there != tuple(data.lead_names):
            notes.append(f"trained with the leads {', '.join(there)}, here {', '.join(data.lead_names)}")
        return notes

    def choose_standardization(self, data: ECGDataModule) -> Standardization:
        """Return the standardizer: of the training part of these data, or the origin's own by lead.

        A ConfigError if the origin has none, or not for each lead.
        """
        if self.standardizer == "refit":
            return data.standardization
        names = self.contract.lead_names
        if names is None or any(key not in self.weights for key in _STANDARDIZER):
            raise ConfigError(f"init.standardizer=own: {self.origin.name} has no standardizer; set refit")
        if absent := [name for name in data.lead_names if name not in names]:
            raise ConfigError(
                f"init.standardizer=own: {self.origin.name} has never seen lead {', '.join(absent)} (it has "
                f"{', '.join(names)}); set init.standardizer=refit"
            )
        mean, sd = (take_columns(self.weights[key], data.lead_names, names).ravel() for key in _STANDARDIZER)
        return Standardization(mean, sd, hash_standardizer(self.origin.weights_sha256, mean.numpy(), sd.numpy()))

    def describe(self, data: ECGDataModule) -> dict[str, Any]:
        """Return what ``run.json`` says of it."""
        assert self.taken is not None and data.compared is not None
        earlier: list[dict[str, Any]] = []
        if self.origin.run is not None and (before := self.origin.run.read_info().init):
            earlier = [before["source"], *before["earlier"]]
        return {
            "source": self.origin.describe(),
            "earlier": earlier,
            "taken": asdict(self.taken),
            "notes": self.list_notes(data),
            "standardizer": self.standardizer,
            "known_records": data.compared.describe(),
        }

    def _check_frozen(self, net: nn.Module, taken: Taken) -> None:
        layers = split_layers(net)[:-1]
        if not layers:
            raise ConfigError("init.freeze=backbone: this net has one layer, nothing would be frozen")
        names = {id(module): name for name, module in net.named_modules()}
        frozen = {names[id(each)] for layer in layers for module in layer.modules for each in module.modules()}
        new = {name: f"starts anew ({why})" for name, why in taken.left_out.items()}
        new |= {name: why for name, why in taken.by_lead.items() if "new: " in why}
        for name, why in new.items():
            if name in frozen or f"net.{name}" in frozen:
                raise ConfigError(f"init.freeze=backbone would freeze what was never trained: {name}: {why}; set none")


def read_start(config: RunConfig) -> Start | None:
    """Read what ``init=`` names; None where it names nothing.

    Raises
    ------
    ConfigError
        As `ecgcls.runs.origin.find_origin`.
    DataError
        If weights or waveforms are damaged, or are not those that the run has written.
    """
    origin, init = find_origin(config), config.get("init")
    if origin is None or init is None:
        return None
    tuning = FineTuning(init["freeze"], init["unfreeze_every"], init["lr_decay"])
    shared: dict[str, Any] = {"origin": origin, "tuning": tuning, "standardizer": init["standardizer"]}
    if origin.run is None:
        seen = None if init["seen"] is None else _read_folder(init["seen"])
        initial = Initial(origin.name, seen, init["known_records"])
        return Start(**shared, weights=_read_safetensors(origin.path), contract=Contract(), initial=initial)
    info = origin.run.read_info()
    return Start(
        **shared,
        weights=_read_checkpoint(origin),
        contract=Contract(tuple(info.data["lead_names"]), tuple(info.class_names)),
        initial=Initial(origin.name, origin.run.read_seen(), init["known_records"]),
        sampling_rate_hz=info.data["sampling_rate_hz"],
        n_samples=info.data["n_samples"],
    )


def _read_checkpoint(origin: Origin) -> dict[str, Tensor]:
    """Read the weights of a run's best epoch, which are data: nothing in them is executed."""
    assert origin.run is not None
    path = origin.run.check_file("best.ckpt")
    try:
        check_archive(path)
        weights = take_own(torch.load(path, weights_only=True, map_location="cpu")["state_dict"])
        if not all(isinstance(each, Tensor) for each in weights.values()):
            raise ValueError("its state_dict has something that is no tensor")
    except OSError:
        raise
    except Exception as error:  # a damaged file raises whatever the unpickler stumbles over
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"init: {path}: damaged ({why}); get the run's own file, or train it again") from error
    expected = origin.run.read_info().fingerprints.get("net")
    if expected is not None and (found := hash_weights(weights)) != expected:
        raise DataError(
            f"init: {path}: other weights than the run trained (fingerprint {found[:12]}, expected {expected[:12]} by "
            "run.json); get the run's own file"
        )
    return weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict, of a net or, with ``net.`` before each name, of a checkpoint; its names then begin so."""
    try:
        weights = load_file(path)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"init: {path}: no file in the format safetensors ({' '.join(str(error).split())})") from error
    own = take_own(weights)
    return own if any(key.startswith("net.") for key in own) else {f"net.{key}": each for key, each in weights.items()}


def _read_folder(folder: Path) -> Any:
    """Read the folder ``waveforms/`` of a run."""
    if not folder.is_dir():
        raise ConfigError(f"init.seen: there is no folder {folder}; expected the waveforms/ of a run")
    return read_seen([folder / name_group(part) for part in GROUPS], sorted(folder.glob("init*.npz")))
