"""A finished run as nets that are ready to predict: ``run = ecgcls.load_run(path)`` and ``run.predict(...)``.

The net is rebuilt from the run's own saved configuration, its weights and its preprocessing come from ``best.ckpt``.
The training data need not be there.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.files import STANDARDIZED_ON
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.parts import build_net
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from ecgcls.runs.leaks import check_standardizer
from ecgcls.training.standardizer import Standardizer


def load_run(path: str | Path, *, device: str = "cpu") -> LoadedRun:
    """Load a finished run, or all folds of a configuration, whose probabilities are then averaged.

    Parameters
    ----------
    path
        A run's folder (``.../fold_0``), or the folder that holds ``fold_0``, ``fold_1``, ...
    device
        Where the nets compute: ``cpu``, ``cuda``, ...

    Raises
    ------
    ConfigError
        If there is no finished run, the folds differ in what they take or predict, or there is no such device.
    """
    return load_configuration(open_configuration(Path(path)), device=device)


def load_configuration(one: Configuration, *, device: str = "cpu") -> LoadedRun:
    """Load the nets of a run, or of all folds, as `load_run` does."""
    first = one.info.data
    for run, info in zip(one.runs, one.infos, strict=True):
        for key in ("class_names", "lead_names", "sampling_rate_hz", "n_samples"):
            if info.data[key] != first[key]:
                raise ConfigError(
                    f"{one.folder}: the folds cannot be averaged, their {key} differ: {first[key]} in "
                    f"{one.runs[0].path.name}, {info.data[key]} in {run.path.name}"
                )
    try:
        nets = tuple(load_net(run).to(device) for run in one.runs)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise ConfigError(f"device={device}: {str(error).splitlines()[0]}") from error
    return LoadedRun(
        path=one.folder,
        nets=nets,
        class_names=one.info.class_names,
        lead_names=tuple(first["lead_names"]),
        sampling_rate_hz=first["sampling_rate_hz"],
        n_samples=first["n_samples"],
        thresholds=one.thresholds,
        calibrators=tuple(info.read_decisions().calibrator for info in one.infos),
        info=one.info,
    )


def load_net(run: RunDirectory) -> nn.Sequential:
    """Rebuild the net of a run with the weights of its best epoch, the standardizer before it.

    It takes ``(batch, lead, sample)`` in mV, returns logits ``(batch, class)``, and is in evaluation mode without
    gradients of its parameters. A net that cannot be built, or a checkpoint that is not its own, is a `ConfigError`.
    """
    info = run.read_info()
    if info.kind == "baseline":
        raise ConfigError(
            f"{run.path}: a baseline has no net that could be applied or explained; its predictions.csv and "
            "baseline.json hold everything it knows"
        )
    n_leads, n_samples, n_classes = len(info.data["lead_names"]), info.data["n_samples"], len(info.class_names)
    try:
        net = build_net(run.read_config(), n_leads=n_leads, n_samples=n_samples, n_classes=n_classes)
    except ConfigError as error:
        raise ConfigError(f"{run.path}: {error}") from error
    whole = nn.Sequential(OrderedDict(standardizer=Standardizer(torch.zeros(n_leads), torch.ones(n_leads)), net=net))
    try:
        stored = torch.load(run.best_checkpoint, weights_only=True, map_location="cpu")
        weights = stored["state_dict"]
        whole.load_state_dict({key: weights[key] for key in weights if key.startswith(("standardizer.", "net."))})
        fitted_on = stored[STANDARDIZED_ON]
    except Exception as error:  # a damaged file raises whatever the unpickler stumbles over
        raise ConfigError(
            f"{run.best_checkpoint}: cannot be loaded into this run's net ({str(error).splitlines()[0]})"
        ) from error
    check_standardizer(fitted_on, info)
    return whole.eval().requires_grad_(False)
