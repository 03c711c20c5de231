"""A finished run as nets that are ready to predict: ``run = ecgcls.load_run(path)`` and ``run.predict(...)``.

The net is rebuilt from the run's own saved configuration, its weights and its preprocessing come from ``best.ckpt``.
The training data need not be there. The run may be anybody's: nothing in its folder is executed (`ecgcls.jobs.trust`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ecgcls.data.seen import merge
from ecgcls.errors import ConfigError, DataError
from ecgcls.files import CLASS_NAMES, INPUT_FORM, STANDARDIZED_ON, check_archive
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.jobs.parts import build_net, split_metadata
from ecgcls.jobs.tested import Tested
from ecgcls.jobs.trust import check_names, take_trusted
from ecgcls.runs.configuration import Configuration
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from ecgcls.runs.info import RunInfo
from ecgcls.runs.leaks import check_standardizer
from ecgcls.training.standardizer import StandardizedNet, Standardizer, hash_weights, take_own
from ecgcls.training.windows import Windows

_ABSENT: dict[str, Any] = {"metadata": [], "may_lack_leads": False, "windows": None}
"""What a run has that says nothing of it."""


def load_run(path: str | Path, *, device: str = "cpu", trust: Sequence[str] = ()) -> LoadedRun:
    """Load a finished run, or all folds of a configuration, whose probabilities are then averaged.

    Parameters
    ----------
    path
        A run's folder (``.../fold_0``), or the folder that holds ``fold_0``, ``fold_1``, ...
    device
        Where the nets compute: ``cpu``, ``cuda``, ...
    trust
        Packages besides ecgcls whose nets the run may use, as ``("mylab",)``: whatever it names in them is called.

    Raises
    ------
    ConfigError
        If there is no finished run, the folds differ in what they take or predict, there is no such device, or the net
        is of a package that is not trusted.
    DataError
        If a file of the run is missing or damaged, or not the one that the run wrote.
    """
    return load_configuration(open_configuration(Path(path)), device=device, trust=check_names(trust))


def load_configuration(one: Configuration, *, device: str = "cpu", trust: Sequence[str] = ()) -> LoadedRun:
    """Load the nets of a run, or of all folds, as `load_run` does."""
    if one.info.kind == "ensemble":
        from ecgcls.jobs.load_ensemble import load_ensemble  # which loads its members by this function

        return load_ensemble(one, device=device, trust=trust)
    first = one.info.data
    for run, info in zip(one.runs, one.infos, strict=True):
        for key in (
            "class_names",
            "lead_names",
            "sampling_rate_hz",
            "n_samples",
            "windows",
            "metadata",
            "may_lack_leads",
        ):
            if info.data.get(key) != first.get(key):
                raise ConfigError(
                    f"{one.folder}: the folds cannot be averaged, their {key} differ: {first.get(key)} in "
                    f"{one.runs[0].path.name}, {info.data.get(key)} in {run.path.name}"
                )
    nets = tuple(move(load_net(run, trust=trust), device) for run in one.runs)
    for run in one.runs:
        run.attest()
    return LoadedRun(
        path=one.folder,
        nets=nets,
        class_names=one.info.class_names,
        lead_names=tuple(first["lead_names"]),
        metadata_names=tuple(first.get("metadata", ())),
        sampling_rate_hz=first["sampling_rate_hz"],
        n_samples=first["n_samples"],
        may_lack_leads=first.get("may_lack_leads", False),
        pads=one.runs[0].read_config().get("data", {}).get("shorter") == "pad",
        thresholds=one.thresholds,
        calibrators=tuple(info.read_decisions().calibrator for info in one.infos),
        info=one.info,
        folds="" if one.is_single_run else one.folds,
        runs=one.runs,
    )


def load_tested(one: Configuration, *, device: str = "cpu", trust: Sequence[str] = ()) -> Tested:
    """Load the nets of a run, or of all folds, to test them on another data set.

    An ensemble whose members take different input is a `ConfigError`: all records of a data set are of one form.
    """
    from ecgcls.jobs.load_ensemble import check_one_input

    net = load_configuration(one, device=device, trust=trust)
    check_one_input(net)
    standardizer_mv = None
    is_refitted = one.info.kind == "net" and one.info.init.get("standardizer", "refit") == "refit"
    if one.is_single_run and is_refitted:
        mean, sd = (values.cpu().numpy().ravel() for values in next(net.nets[0].children()).state_dict().values())
        standardizer_mv = mean, sd
    seen = merge([run.read_seen() for run in net.learned or one.runs])
    return Tested(net, take_trusted(one.runs[0].read_config(), "task", trust=trust), seen, one, standardizer_mv)


def move(net: StandardizedNet, device: str) -> StandardizedNet:
    """Move a net to a device; one that is not there is a `ConfigError`."""
    try:
        return net.to(device)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise ConfigError(f"device={device}: {str(error).splitlines()[0]}") from error


def load_net(run: RunDirectory, *, trust: Sequence[str] = ()) -> StandardizedNet:
    """Rebuild the net of a run with the weights of its best epoch, the standardizer before it.

    It takes ``(batch, lead, sample)`` in mV, and ``(batch, column)`` where the run has metadata; it returns logits
    ``(batch, class)``, and is in evaluation mode without gradients of its parameters. A net that cannot be built, or a
    checkpoint that is not its own, is a `ConfigError`.
    """
    info = run.read_info()
    if info.kind == "ensemble":
        raise ConfigError(f"{run.path}: an ensemble has no net of its own; name the folder of one of its members")
    if info.kind == "baseline":
        raise ConfigError(
            f"{run.path}: a baseline has no net that could be applied or explained; its predictions.csv and "
            "baseline.json hold everything it knows"
        )
    windows = Windows(**info.data["windows"]) if info.data.get("windows") else None
    n_leads, n_classes = len(info.data["lead_names"]), len(info.class_names)
    n_samples = info.data["n_samples"] if windows is None else windows.n_samples
    try:
        config = run.read_config()
        groups = {group: take_trusted(config, group, trust=trust) for group in ("model", "task")}
        columns = split_metadata(groups["model"])[1]
    except ConfigError as error:
        raise ConfigError(f"{run.path}: {error}") from error
    make_net = partial(build_net, groups, n_leads=n_leads, n_samples=n_samples, n_classes=n_classes)
    path = run.check_file("best.ckpt")
    with _explained(path):
        check_archive(path)
        stored = torch.load(path, weights_only=True, map_location="cpu")
        weights = take_own(stored["state_dict"])
        if not trust:
            check_shapes(make_net, weights)
    try:
        net = make_net()
    except ConfigError as error:
        raise ConfigError(f"{run.path}: {error}") from error
    whole = StandardizedNet(Standardizer(torch.zeros(n_leads), torch.ones(n_leads)), net, windows=windows)
    with _explained(path):
        whole.load_state_dict(weights)
        if not isinstance(fitted_on := stored[STANDARDIZED_ON], str):
            raise DataError(f"{STANDARDIZED_ON} must be text, got {fitted_on!r}")
        _check_contract(stored, info, columns)
        values = weights["standardizer.mean_mv"].numpy(), weights["standardizer.sd_mv"].numpy()
    check_standardizer(fitted_on, info, values)
    if (found := hash_weights(weights)) != (expected := info.fingerprints.get("net", found)):
        raise DataError(
            f"{path}: other weights than the run trained (fingerprint {found[:12]}, expected {expected[:12]} by "
            "run.json); get the run's own file, or retrain with overwrite=true"
        )
    return whole.eval().requires_grad_(False)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong with a checkpoint that it cannot be loaded."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # a damaged file raises whatever the unpickler stumbles over
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(
            f"{path}: cannot be loaded into this run's net ({why}); retrain with overwrite=true"
        ) from error


def check_shapes(make_net: Callable[[], nn.Module], weights: Mapping[str, Any]) -> None:
    """Refuse a net of other weights before it takes any memory: a configuration can ask for a net of any size."""
    try:
        with torch.device("meta"):
            outline = make_net().state_dict()
    except ConfigError as error:
        if "overflow" in str(error):  # a shape that no memory could hold
            raise
        return  # it needs numbers to be built; or what is wrong with it is said then
    for key, weight in outline.items():
        if (found := getattr(weights.get(f"net.{key}"), "shape", None)) != weight.shape:
            there = "no" if found is None else f"shape {tuple(found)}, not {tuple(weight.shape)}, of"
            raise DataError(f"it has {there} {key}")


def _check_contract(stored: Mapping[str, Any], info: RunInfo, columns: Sequence[str]) -> None:
    """Hold what ``run.json`` and the configuration say of classes and input against what the net was trained with."""
    said: dict[str, Any] = {"class_names": list(info.class_names)}
    said |= {key: info.data.get(key, absent) for key, absent in _ABSENT.items()}
    said |= {key: info.data[key] for key in ("lead_names", "sampling_rate_hz", "n_samples")}
    for key, trained in {"class_names": stored[CLASS_NAMES], **_ABSENT, **stored[INPUT_FORM]}.items():
        if said.get(key) != trained:
            raise DataError(f"it was trained with {key} {trained}, run.json has {said.get(key)}")
    if said["metadata"] != list(columns):
        raise DataError(f"it was trained with metadata {said['metadata']}, config.yaml has {list(columns)}")
