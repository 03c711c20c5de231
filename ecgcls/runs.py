"""A run directory: build and train what a configuration says, and keep all that is needed to defend the result.

``outputs/<experiment>/<model>/<variant>/fold_<k>/`` holds

- ``.hydra/config.yaml``: the resolved configuration, readable without this package;
- ``run.json``: status, versions, git commit, what the data were, seed, wall time of each stage;
- ``best.ckpt``, ``last.ckpt``: the epoch with the best validation score, and the one to go on from;
- ``predictions.csv``: what the best net says about every record of validation and test;
- ``metrics.json``, ``metrics_by_class.csv``, ``history.csv``, ``figures/``: computed from the predictions and epochs;
- ``run.log``.

The `<variant>` says what differs from the defaults; it is absent where nothing does.
"""

import json
import logging
import logging.handlers
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from ecgcls import __version__
from ecgcls.config import identify
from ecgcls.data.module import PTBXLDataModule
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.figures import draw_training_curves, save_figure
from ecgcls.evaluation.predictions import Predictions, write_atomically
from ecgcls.evaluation.results import write_json, write_results
from ecgcls.training.callbacks import EpochSeed, History
from ecgcls.training.classifier import ECGClassifier

log = logging.getLogger(__name__)

_PACKAGES = (
    "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "wfdb", "numpy", "pandas", "scikit-learn",
)  # fmt: skip


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder and what stands in it."""

    path: Path

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
        """Whether the run ended and its results are all there."""
        return self.read_info().get("status") == "finished"

    def read_info(self) -> dict[str, Any]:
        """Return ``run.json``; empty where there is none."""
        try:
            info: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DataError(f"{self.path / 'run.json'}: damaged ({error}); train anew with overwrite=true") from error
        return info

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Replace ``run.json``."""
        write_json(self.path / "run.json", info)

    def read_config(self) -> DictConfig:
        """Return the run's own resolved configuration."""
        config = OmegaConf.load(self.path / ".hydra" / "config.yaml")
        assert isinstance(config, DictConfig)
        return config

    def read_predictions(self) -> Predictions:
        """Return what the best net said about the validation and the test part."""
        return Predictions.from_csv(self.path / "predictions.csv")

    def read_metrics(self) -> dict[str, Any]:
        """Return ``metrics.json``."""
        metrics: dict[str, Any] = json.loads((self.path / "metrics.json").read_text())
        return metrics

    def check_same_config(self, config: DictConfig) -> None:
        """Refuse another configuration than the one this folder was made for.

        Raises
        ------
        ConfigError
            Naming the keys that differ.
        """
        if not (self.path / ".hydra" / "config.yaml").is_file():
            return
        there, asked = identify(self.read_config()), identify(config)
        differing = sorted(key for key in there.keys() | asked.keys() if there.get(key) != asked.get(key))
        if differing:
            key = differing[0]
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise ConfigError(
                f"{self.path} holds a run of another configuration ({key}: {there.get(key)} there, {asked.get(key)} "
                f"asked{more}): choose another experiment=NAME, or train anew with overwrite=true"
            )


def place_run(config: DictConfig, *, model: str, variant: str) -> RunDirectory:
    """Say where the run of a configuration stands."""
    folder = Path(config.output_dir) / config.experiment / model / variant / f"fold_{config.fold}"
    return RunDirectory(folder)


def train(config: DictConfig, run: RunDirectory, *, model: str, variant: str) -> None:
    """Train, test and score what a configuration says, going on from the last epoch where there is one.

    Parameters
    ----------
    config
        A configuration that `ecgcls.config.check` has passed.
    run
        Where the results go.
    model, variant
        Names for the record: the choice of the group ``model``, and what differs from the defaults.

    Raises
    ------
    ConfigError, DataError
        Before anything is written into the run directory, or, if training itself fails, with what was written kept
        for the next try.
    """
    _quiet_lightning()
    _check_writable(run.path)
    if not config.overwrite:
        run.check_same_config(config)
    stages = _Stages()
    with _early_log() as early_log:
        pl.seed_everything(config.seed, workers=True, verbose=False)
        history = History()
        trainer = _build_trainer(config, run, history)
        data: PTBXLDataModule = instantiate(config.data)(
            task=instantiate(config.task), folds=instantiate(config.folds), fold=config.fold, seed=config.seed
        )
        with stages.time("data"):
            data.prepare_data()
            data.setup()
        classifier = build_classifier(config, data)
        with _locked(run.path):
            info = _open_run(config, run, data, classifier) | {"model": model, "variant": variant}
            run.write_info(info)
            with _log_to(run.path / "run.log", early_log):
                try:
                    result = _train_and_score(config, run, data, classifier, trainer, history, info, stages)
                    run.write_info(info | result | {"status": "finished", "finished": _now()})
                except BaseException as error:
                    reason = f"{type(error).__name__}: {error}".strip(": ")
                    log.debug("Stopped by %s", reason, exc_info=True)
                    run.write_info(info | {"status": "failed", "error": reason})
                    raise


def build_classifier(config: DictConfig, data: PTBXLDataModule) -> ECGClassifier:
    """Build the untrained classifier of a configuration for a data module that is set up."""
    n_classes = len(data.class_names)
    try:
        net: nn.Module = instantiate(config.model)(len(data.lead_names), data.n_samples, n_classes)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"model: {config.model._target_} cannot be built: {cause}") from error
    mean_mv, sd_mv = data.mean_sd_mv
    return ECGClassifier(
        net,
        class_names=data.class_names,
        mean_mv=mean_mv,
        sd_mv=sd_mv,
        loss=instantiate(config.loss)(data.pos_weight),
        optimizer=instantiate(config.optimizer),
        scheduler=instantiate(config.scheduler),
        metrics={name: instantiate(node)(num_labels=n_classes) for name, node in config.metrics.items()},
    )


def _train_and_score(
    config: DictConfig,
    run: RunDirectory,
    data: PTBXLDataModule,
    classifier: ECGClassifier,
    trainer: pl.Trainer,
    history: History,
    info: dict[str, Any],
    stages: "_Stages",
) -> dict[str, Any]:
    """Do the work between a run's start and its end; return what ``run.json`` says of it."""
    with stages.time("fit"):
        resume = str(run.last_checkpoint) if run.last_checkpoint.is_file() else None
        if resume:
            log.info("Going on from %s", resume)
        trainer.fit(classifier, datamodule=data, ckpt_path=resume, weights_only=True)
    epochs = history.table  # now: testing restores the callbacks of the best epoch
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not run.best_checkpoint.is_file():
        raise ConfigError(f"{run.path}: training saved no best.ckpt; is {config.callbacks.checkpoint.monitor} logged?")
    best = str(run.best_checkpoint)
    with stages.time("test"):
        trainer.test(classifier, datamodule=data, ckpt_path=best, verbose=False, weights_only=True)
        batches = trainer.predict(classifier, datamodule=data, ckpt_path=best, weights_only=True)
    with stages.time("score"):
        predictions = _collect(batches, data)
        predictions.to_csv(run.path / "predictions.csv")
        checkpoint = torch.load(best, weights_only=True, map_location="cpu")
        pos_weight = getattr(classifier.loss, "pos_weight", None)
        test = write_results(
            run.path,
            predictions,
            title=f"{info['model']}, fold {config.fold}, test" + (" (simulated ECGs)" if info["synthetic"] else ""),
            pos_weight=None if pos_weight is None else pos_weight.cpu().double().numpy(),
        )
        write_atomically(run.path / "history.csv", epochs.to_csv(index=False).encode())
        curves = draw_training_curves(epochs, best_epoch=checkpoint["epoch"])
        save_figure(curves, run.path / "figures" / "training_curves.png")
    if test.undefined:
        log.warning("Not scored in test: %s", ", ".join(f"{name} ({why})" for name, why in test.undefined.items()))
    return {"n_epochs": len(epochs), "best_epoch": checkpoint["epoch"], "stages_s": stages.seconds}


def _open_run(
    config: DictConfig, run: RunDirectory, data: PTBXLDataModule, classifier: ECGClassifier
) -> dict[str, Any]:
    """Prepare the folder, new or of a killed run, and return what ``run.json`` says at the start."""
    former = run.read_info() if not config.overwrite else {}
    if config.overwrite and run.path.exists():
        _empty(run.path)
    described = data.describe()
    if former and former["data"]["fingerprint"] != described["fingerprint"]:
        raise ConfigError(
            f"{run.path}: the data have changed since this run began; train anew with overwrite=true, or under "
            "another experiment=NAME"
        )
    write_atomically(run.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(config, resolve=True).encode())
    return {
        "status": "running",
        "experiment": config.experiment,
        "fold": config.fold,
        "seed": config.seed,
        "started": former.get("started", _now()),
        "n_starts": former.get("n_starts", 0) + 1,
        "process": {"host": socket.gethostname(), "pid": os.getpid()},
        "command": [Path(sys.executable).name, *sys.orig_argv[1:]],
        "synthetic": type(data).__name__ == "SyntheticDataModule",
        "n_parameters": sum(parameter.numel() for parameter in classifier.net.parameters()),
        "versions": {
            "ecgcls": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "machine": {"platform": platform.platform(), "n_threads": torch.get_num_threads()},
        "git": _find_git_commit(),
        "data": described,
    }


def _build_trainer(config: DictConfig, run: RunDirectory, history: History) -> pl.Trainer:
    nodes = dict(config.callbacks)
    checkpoint = instantiate(nodes.pop("checkpoint"))(
        dirpath=run.path,
        filename="best",
        save_last=True,
        save_on_train_epoch_end=True,  # the epoch is then whole: a resumed run begins with the next
        enable_version_counter=False,
    )
    callbacks = [history, EpochSeed(config.seed), *(instantiate(node) for node in nodes.values()), checkpoint]
    loggers = [instantiate(node)(save_dir=run.path) for node in config.logger.values()]
    try:
        trainer: pl.Trainer = instantiate(config.trainer)(
            callbacks=callbacks, logger=loggers or False, default_root_dir=run.path
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"trainer: {error}") from error
    return trainer


def _collect(batches: Any, data: PTBXLDataModule) -> Predictions:
    """Turn the batches of the validation and the test loader into one row a record."""
    tables = []
    for split, of_split in zip(("val", "test"), batches, strict=True):
        rows = torch.cat([batch["record"] for batch in of_split]).cpu().numpy()
        y_prob = torch.cat([batch["y_prob"] for batch in of_split]).float().cpu().numpy()
        if not np.isfinite(y_prob).all():
            raise DataError("the net's probabilities are not finite: training diverged; try a smaller optimizer.lr")
        tables.append((split, rows, y_prob))
    rows = np.concatenate([rows for _, rows, _ in tables])
    records = data.cohort.records.iloc[rows]
    return Predictions(
        ecg_id=records.index.to_numpy(),
        patient_id=records["patient_id"].to_numpy(),
        strat_fold=records["strat_fold"].to_numpy(),
        split=np.concatenate([np.full(len(rows), split) for split, rows, _ in tables]),
        y_true=data.cohort.y_true[rows],
        y_prob=np.concatenate([y_prob for *_, y_prob in tables]),
        class_names=data.class_names,
    )


class _Stages:
    """Wall time of each stage, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second process out of a run directory; the lock goes with the process, however it ends."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output_dir: {folder} cannot be made ({error.strerror}); set output_dir=PATH") from error
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout:
        raise ConfigError(f"{folder}: another process is training this run (lock {path})") from None


@contextmanager
def _early_log() -> Iterator[logging.handlers.MemoryHandler]:
    """Hold the log of the time before the run directory exists."""
    handler = logging.handlers.MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


@contextmanager
def _log_to(path: Path, early: logging.handlers.MemoryHandler) -> Iterator[None]:
    """Write the log to a file too, what was said early first."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    early.setTarget(handler)
    early.flush()
    logging.getLogger().removeHandler(early)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _check_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before minutes are spent on the data."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise ConfigError(f"output_dir: {existing} is a file, {folder} cannot be made in it; set output_dir=PATH")
    if not os.access(existing, os.W_OK):
        raise ConfigError(f"output_dir: {existing} cannot be written (no permission); set output_dir=PATH")


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _find_git_commit() -> dict[str, Any] | None:
    """Return the commit of this package's own checkout; None where it is installed from a wheel."""
    package = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _quiet_lightning() -> None:
    """Keep what matters of Lightning's messages."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches come from mapped memory, in this process
        ".*Checkpoint directory .* exists and is not empty.*",  # a run that goes on
        ".*LeafSpec.*",
        ".*treespec.*",
        ".*You called `self.log.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def tabulate_test(run: RunDirectory) -> pd.DataFrame:
    """Return the test metrics of a finished run, a row a class and their macro average."""
    test = run.read_metrics()["test"]
    columns = {"n_positive": "positives", "pr_auc": "PR-AUC", "roc_auc": "ROC-AUC", "f1": "F1"}
    table = pd.DataFrame(test["by_class"]).T[list(columns)].rename(columns=columns)
    overall = test["overall"]
    table.loc["macro"] = [overall["n_positive"], overall["pr_auc"], overall["roc_auc"], overall["f1_macro"]]
    return table.astype(float).astype({"positives": int})
