"""Train, test and score what a configuration says, into a run directory; go on where a killed run stopped."""

import contextlib
import logging
import logging.handlers
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from ecgcls.config import identify
from ecgcls.data.folds import PARTS
from ecgcls.data.module import PTBXLDataModule
from ecgcls.data.subgroups import name_groups
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.figures import draw_training_curves, save_figure
from ecgcls.evaluation.metrics import score
from ecgcls.evaluation.predictions import Predictions
from ecgcls.evaluation.results import check_prevalence, write_results
from ecgcls.files import write_atomically, write_json
from ecgcls.fingerprint import hash_records
from ecgcls.gate import STANDARDIZED_ON, check_standardizer, describe_checks, log_official_test
from ecgcls.interruption import was_told_to_stop
from ecgcls.predictions_file import write_csv
from ecgcls.processes import count_started, must_start, read_rank, run_processes
from ecgcls.provenance import describe_provenance
from ecgcls.runs import UNCALIBRATED, RunDirectory, say_title
from ecgcls.tracking import build_loggers, check_installed, log_configuration, log_results
from ecgcls.training.baselines import MetadataBaseline
from ecgcls.training.callbacks import EpochLog, EpochSeed, History
from ecgcls.training.checkpoints import AtomicCheckpointIO
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.gathering import gather_rows, leave_group
from ecgcls.training.memory import keep_freed_memory

log = logging.getLogger(__name__)


def train(config: DictConfig, run: RunDirectory, *, model: str, variant: str, shows_bar: bool = True) -> None:
    """Train, test and score what a configuration says, going on from the last epoch where there is one.

    Parameters
    ----------
    config
        A configuration that `ecgcls.config.check` has passed.
    run
        Where the results go.
    model, variant
        Names for the record: the choice of the group ``model``, and what differs from the defaults.
    shows_bar
        Whether progress is a bar, or a line an epoch; ``trainer.enable_progress_bar=false`` shows neither.

    Raises
    ------
    ConfigError, DataError
        Before anything is written into the run directory, or, if training itself fails, with what was written kept
        for the next try.
    """
    _quiet_lightning()
    keep_freed_memory()
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid
    run.check_writable()
    if not config.overwrite:
        run.check_same_config(config)
    stages = _Stages()
    with _early_log() as early_log, contextlib.ExitStack() as stack:
        pl.seed_everything(config.seed, workers=True, verbose=False)
        title = ", ".join(part for part in (model, variant, f"fold {config.fold}") if part)
        evaluation = _read_evaluation(config)
        check_installed(config)
        trainer = _build_trainer(config, run, title=title, shows_bar=shows_bar)
        starts_others = must_start(n_devices=trainer.num_devices, n_nodes=trainer.num_nodes)
        if starts_others or read_rank() > 0:
            stack.enter_context(_only_errors())  # the first of the processes tells the rest
        data: PTBXLDataModule = instantiate(config.data)(
            task=instantiate(config.task), folds=instantiate(config.folds), fold=config.fold, seed=config.seed
        )
        data.check_shared_by(trainer.num_devices * trainer.num_nodes)
        with stages.time("data"):
            data.prepare_data()
            data.setup()
        check_prevalence(evaluation["prevalence"], data.class_names)
        model_or_net = instantiate(config.model)
        is_baseline = isinstance(model_or_net, MetadataBaseline)
        classifier = None if is_baseline else build_classifier(config, data)
        if classifier is not None and starts_others:
            run_processes(trainer.num_devices)
            return
        if read_rank() > 0:
            if classifier is not None:
                _take_part(config, run, trainer, classifier, data)
            return
        with run.locked():
            if run.is_finished and not config.overwrite:
                return  # another process has done it meanwhile
            info = _open_run(config, run, data) | {"model": model, "variant": variant}
            if classifier is not None:
                info["n_parameters"] = sum(parameter.numel() for parameter in classifier.net.parameters())
            run.write_info(info)
            with _log_to(run.path / "run.log", early_log):
                try:
                    loggers = build_loggers(
                        config, run.path, title=f"{title}, seed {config.seed}", tracking_id=info["tracking_id"]
                    )
                    trainer.loggers = loggers
                    log_configuration(loggers, config, run.path)
                    if classifier is None:
                        info |= _fit_baseline(run, model_or_net, data, stages=stages)
                    else:
                        info |= _train(run, trainer, classifier, data, stages=stages)
                    info |= _score(run, info, data, evaluation, stages=stages)
                    figures = sorted((run.path / "figures").glob("*.png"))
                    log_results(loggers, run.read_metrics(), figures, step=trainer.global_step)
                except BaseException as error:
                    is_stop = isinstance(error, KeyboardInterrupt | SystemExit)  # SystemExit: SLURM's time is up
                    status = "interrupted" if is_stop else "failed"
                    reason = "SIGTERM" if was_told_to_stop() else f"{type(error).__name__}: {error}".strip(": ")
                    with contextlib.suppress(OSError):  # a full disk; the error that is under way tells it
                        run.write_info(info | {"status": status, "error": reason})
                    raise
                run.write_info(info | {"status": "finished", "finished": _now(), "stages_s": stages.seconds})


def build_classifier(config: DictConfig, data: PTBXLDataModule) -> ECGClassifier:
    """Build the untrained classifier of a configuration for a data module that is set up."""
    n_classes = len(data.class_names)
    try:
        net: nn.Module = instantiate(config.model)(len(data.lead_names), data.n_samples, n_classes)
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"model: {config.model._target_} cannot be built: {cause}") from error
    standardization = data.standardization
    return ECGClassifier(
        net,
        class_names=data.class_names,
        mean_mv=standardization.mean_mv,
        sd_mv=standardization.sd_mv,
        standardized_on=standardization.records_sha256,
        loss=instantiate(config.loss)(data.pos_weight),
        optimizer=instantiate(config.optimizer),
        scheduler=instantiate(config.scheduler),
        metrics={name: instantiate(node)(num_labels=n_classes) for name, node in config.metrics.items()},
    )


def _read_evaluation(config: DictConfig) -> dict[str, Any]:
    """Build the settings of the group ``evaluation``."""
    settings = {name: instantiate(config.evaluation[name]) for name in ("intervals", "calibration", "thresholds")}
    prevalence = config.evaluation.prevalence
    if OmegaConf.is_config(prevalence):
        prevalence = OmegaConf.to_container(prevalence)
    return {**settings, "subgroups": instantiate(config.evaluation.subgroups), "prevalence": prevalence}


def _train(
    run: RunDirectory, trainer: pl.Trainer, classifier: ECGClassifier, data: PTBXLDataModule, *, stages: "_Stages"
) -> dict[str, Any]:
    """Train, predict the validation and the test part, and return what ``run.json`` says of it."""
    resume = run.last_checkpoint if run.last_checkpoint.is_file() else None
    if resume:
        log.info("Going on from %s", resume)
    with stages.time("fit"):
        epochs = _fit(run, trainer, classifier, data, resume=resume)
    with stages.time("test"):
        predictions = _predict(run, trainer, classifier, data)
    write_csv(predictions, run.path / UNCALIBRATED)
    write_atomically(run.path / "history.csv", epochs.to_csv(index=False).encode())
    stored = torch.load(run.best_checkpoint, weights_only=True, map_location="cpu")
    check_standardizer(stored[STANDARDIZED_ON], data.describe())
    pos_weight = getattr(classifier.loss, "pos_weight", None)
    return {
        "n_epochs": len(epochs),
        "best_epoch": stored["epoch"],
        "standardized_on": stored[STANDARDIZED_ON],
        "pos_weight": None if pos_weight is None else pos_weight.cpu().double().tolist(),
    }


def _fit_baseline(
    run: RunDirectory, baseline: MetadataBaseline, data: PTBXLDataModule, *, stages: "_Stages"
) -> dict[str, Any]:
    """Fit a baseline, predict the validation and the test part, and return what ``run.json`` says of it."""
    cohort = data.cohort
    rows = {part: cohort.find_part(part) for part in PARTS}
    with stages.time("fit"):
        baseline.fit(cohort.records.iloc[rows["train"]], cohort.y_true[rows["train"]])
    with stages.time("test"):
        said = {part: baseline.predict(cohort.records.iloc[rows[part]]) for part in PARTS}
    write_csv(_tabulate([(part, rows[part], said[part]) for part in ("val", "test")], data), run.path / UNCALIBRATED)
    scores = {part: score(cohort.y_true[rows[part]], said[part], data.class_names).overall for part in ("train", "val")}
    epoch = {"epoch": 0, "train/loss": scores["train"]["log_loss"], "val/loss": scores["val"]["log_loss"]}
    epoch |= {f"val/{name}": scores["val"][name] for name in ("pr_auc", "roc_auc", "f1_macro", "f1_micro")}
    write_atomically(run.path / "history.csv", pd.DataFrame([epoch]).to_csv(index=False).encode())
    write_json(run.path / "baseline.json", baseline.describe(data.class_names))
    return {
        "n_parameters": baseline.n_parameters,
        "n_epochs": 1,
        "best_epoch": 0,
        "standardized_on": hash_records(cohort.records.index[rows["train"]]),
        "pos_weight": None,
    }


def _score(
    run: RunDirectory, info: dict[str, Any], data: PTBXLDataModule, evaluation: dict[str, Any], *, stages: "_Stages"
) -> dict[str, Any]:
    """Recalibrate, choose thresholds, score and draw; return what ``run.json`` says of it."""
    title = say_title(info)
    with stages.time("score"):
        uncalibrated = run.read_uncalibrated()
        decisions = learn_decisions(
            uncalibrated.select("val"),
            calibration=evaluation["calibration"],
            thresholds=evaluation["thresholds"],
            pos_weight=info["pos_weight"],
        )
        decisions.check_learned_on(info["data"]["parts"]["val"]["records_sha256"])
        for name, why in decisions.not_tuned.items():
            log.info("Threshold of %s: %g, not tuned (%s in validation)", name, decisions.thresholds[name], why)
        predictions = decisions.apply(uncalibrated)
        write_csv(predictions, run.path / "predictions.csv")
        groups = name_groups(data.cohort.records)
        test = write_results(
            run.path,
            predictions,
            title=f"{title}, test",
            threshold=[decisions.thresholds[name] for name in predictions.class_names],
            uncalibrated=uncalibrated,
            pos_weight=info["pos_weight"],
            intervals=evaluation["intervals"],
            prevalence=evaluation["prevalence"],
            groups=groups if len(groups.columns) else None,
            subgroups=evaluation["subgroups"],
        )
        curves = draw_training_curves(pd.read_csv(run.path / "history.csv"), best_epoch=info["best_epoch"], title=title)
        save_figure(curves, run.path / "figures" / "training_curves.png")
    if test.undefined:
        log.warning("Not scored in test: %s", ", ".join(f"{name} ({why})" for name, why in test.undefined.items()))
    checks = describe_checks(info["data"], standardized_on=info["standardized_on"], learned_on=decisions.records_sha256)
    config = run.read_config()
    official = log_official_test(
        predictions.select("test"),
        info,
        run=run.path,
        output_dir=Path(config.output_dir),
        config=identify(config),
        command="run",
    )
    return {
        "thresholds": dict(decisions.thresholds),
        "decisions": decisions.to_dict(),
        "leakage": checks | {"official_test_fold": official},
    }


def _take_part(
    config: DictConfig, run: RunDirectory, trainer: pl.Trainer, classifier: ECGClassifier, data: PTBXLDataModule
) -> None:
    """Do this process's share of a net that several processes train; the first one writes."""
    trainer.loggers = [DummyLogger() for _ in config.logger]
    is_new = config.overwrite or not run.last_checkpoint.is_file()
    _fit(run, trainer, classifier, data, resume=None if is_new else run.last_checkpoint)
    _predict(run, trainer, classifier, data)


def _fit(
    run: RunDirectory, trainer: pl.Trainer, classifier: ECGClassifier, data: PTBXLDataModule, *, resume: Path | None
) -> pd.DataFrame:
    """Train, from a checkpoint where there is one; return the metrics of each epoch."""
    try:
        trainer.fit(classifier, datamodule=data, ckpt_path=str(resume) if resume else None, weights_only=True)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error
    except SystemExit as stopped:  # what Lightning makes of a Ctrl-C
        raise KeyboardInterrupt from stopped
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not run.best_checkpoint.is_file():
        raise ConfigError(f"{run.path}: training saved no best.ckpt; does callbacks.checkpoint.monitor exist?")
    history = next(callback for callback in trainer.callbacks if isinstance(callback, History))  # type: ignore[attr-defined]
    return history.table.copy()  # testing restores the callbacks of the best epoch


def _open_run(config: DictConfig, run: RunDirectory, data: PTBXLDataModule) -> dict[str, Any]:
    """Prepare the folder, new or of a killed run, and return what ``run.json`` says at the start."""
    former = run.read_info() if not config.overwrite else {}
    if config.overwrite and run.path.exists():
        run.empty()
    for left_over in run.path.rglob(".*.tmp"):  # of a process that was killed while it wrote
        left_over.unlink()
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
        "tracking_id": former.get("tracking_id", uuid.uuid4().hex),
        "n_starts": former.get("n_starts", 0) + 1,
        "synthetic": type(data).__name__ == "SyntheticDataModule",
        "n_processes": count_started(),
        "n_threads": torch.get_num_threads(),
        **describe_provenance(),
        "data": described,
    }


def _build_trainer(config: DictConfig, run: RunDirectory, *, title: str, shows_bar: bool) -> pl.Trainer:
    nodes = dict(config.callbacks)
    if "checkpoint" not in nodes:
        raise ConfigError(
            "callbacks.checkpoint is missing: a run keeps its best epoch; see conf/callbacks/default.yaml"
        )
    checkpoint = instantiate(nodes.pop("checkpoint"))(
        dirpath=run.path,
        filename="best",
        save_last=True,
        save_on_train_epoch_end=True,  # the epoch is then whole: a resumed run begins with the next
        enable_version_counter=False,
    )
    callbacks = [History(), EpochSeed(config.seed), *(instantiate(node) for node in nodes.values()), checkpoint]
    shows_progress = config.trainer.get("enable_progress_bar", True)
    if shows_progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20) if shows_bar else EpochLog(title))
    make_trainer = instantiate(config.trainer)
    try:
        trainer: pl.Trainer = make_trainer(
            callbacks=callbacks,
            logger=False,  # built once the run directory is this process's own
            default_root_dir=run.path,
            enable_progress_bar=shows_progress and shows_bar,
            use_distributed_sampler=False,  # the data module shares out the records, each once
            plugins=[*(make_trainer.keywords.get("plugins") or ()), AtomicCheckpointIO(), *_find_slurm()],
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"trainer: {error}") from error
    return trainer


def _predict(run: RunDirectory, trainer: pl.Trainer, classifier: ECGClassifier, data: PTBXLDataModule) -> Predictions:
    """Return what the best epoch's net says of the validation and the test part, one row a record."""
    best = str(run.best_checkpoint)
    trainer.test(classifier, datamodule=data, ckpt_path=best, verbose=False, weights_only=True)
    batches = trainer.predict(classifier, datamodule=data, ckpt_path=best, weights_only=True)
    tables = []
    for split, of_split in zip(("val", "test"), cast(list[Any], batches), strict=True):
        rows, y_prob = gather_rows(
            torch.cat([batch["record"] for batch in of_split]).cpu(),
            torch.cat([batch["y_prob"] for batch in of_split]).float().cpu(),
        )
        if not np.isfinite(y_prob).all():
            raise DataError("the net's probabilities are not finite: training diverged; try a smaller optimizer.lr")
        tables.append((split, rows, y_prob))
    leave_group()
    return _tabulate(tables, data)


def _find_slurm() -> list[SLURMEnvironment]:
    """Leave requeueing to SLURM: a run goes on from its last whole epoch, Lightning would from the middle of one."""
    is_of_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if is_of_slurm else []


def _tabulate(tables: list[tuple[str, NDArray[np.int64], NDArray[np.float64]]], data: PTBXLDataModule) -> Predictions:
    """Put split, rows of the cohort and probabilities together, a row a record."""
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
def _early_log() -> Iterator[logging.handlers.MemoryHandler]:
    """Hold the log of the time before the run directory exists."""
    handler = logging.handlers.MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


@contextmanager
def _only_errors() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class _LogFile(logging.FileHandler):
    """A log that goes without what a full disk does not take; the run's own files tell of it."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


@contextmanager
def _log_to(path: Path, early: logging.handlers.MemoryHandler) -> Iterator[None]:
    """Write the log to a file too, what was said early first."""
    handler = _LogFile(path)
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


def _quiet_lightning() -> None:
    """Keep what matters of Lightning's messages."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches come from mapped memory, in this process
        ".*Checkpoint directory .* exists and is not empty.*",  # a run that goes on
        ".*LeafSpec.*",
        ".*treespec.*",
        ".*You called `self.log.*",
        ".*sync_dist=True.*",  # what is logged is the mean over the processes already
        ".*`srun` command is available.*",  # on a cluster's login node, or in a job of one process
    ):
        warnings.filterwarnings("ignore", message=message)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
