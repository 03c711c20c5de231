"""From a configuration to the plain parts of a run; whatever comes after knows neither Hydra nor a configuration."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ecgcls.command.processes import must_start_processes
from ecgcls.config import RunConfig, check_run
from ecgcls.data.module import ECGDataModule
from ecgcls.data.source import is_simulated, split_settings
from ecgcls.errors import ConfigError
from ecgcls.evaluation.settings import EvaluationSettings
from ecgcls.identity import identify
from ecgcls.jobs.parts import build_net, build_part
from ecgcls.jobs.track import check_installed
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from ecgcls.runs.provenance import describe_provenance
from ecgcls.training.baselines import MetadataBaseline
from ecgcls.training.callbacks import EpochLog, EpochSeed, History
from ecgcls.training.checkpoints import AtomicCheckpointIO
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.fitters import BaselineFitter, Fitter, NetFitter


@dataclass(frozen=True)
class Job:
    """The parts of a run that is to be trained, its data set up.

    `info` is what is known before it starts, `identity` what its result depends on. `n_devices` processes have to be
    started on this machine, one per device (0: none). The test scores of a trial of a search are shown to nobody.
    """

    run: RunDirectory
    info: RunInfo
    config_yaml: str
    identity: Mapping[str, Any]
    data: ECGDataModule
    fitter: Fitter
    trackers: Mapping[str, Callable[..., Logger]]
    output_dir: Path
    overwrite: bool
    n_devices: int = 0
    is_trial: bool = False


def build_job(
    config: RunConfig,
    run: RunDirectory,
    *,
    model: str,
    variant: str = "",
    shows_bar: bool = False,
    is_trial: bool = False,
) -> Job:
    """Build the parts of a run, its data included, and change nothing in its folder.

    `config` has passed `ecgcls.config.check_arguments`; whatever else is wrong with it, with the folder or with the
    data is a `ConfigError` or `DataError`. Progress is a bar or a line per epoch; ``trainer.enable_progress_bar=false``
    shows neither.
    """
    check_run(config)
    run.check_writable()
    identity = identify(config)
    if not config["overwrite"]:
        run.check_same_config(identity)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    evaluation: EvaluationSettings = build_part("evaluation", config["evaluation"])
    trackers = {name: build_part(f"logger.{name}", node) for name, node in config["logger"].items()}
    check_installed(trackers)
    title = ", ".join(part for part in (model, variant, f"fold {config['fold']}") if part)
    trainer = build_trainer(config, run.path, title=title, shows_bar=shows_bar)
    starts_processes = must_start_processes(n_devices=trainer.num_devices, n_nodes=trainer.num_nodes)
    start = time.perf_counter()
    data = build_data(config)
    data.check_shared_by(trainer.num_devices * trainer.num_nodes)
    data.prepare_data()
    data.setup()
    seconds = round(time.perf_counter() - start, 3)
    evaluation.prevalence_by_class(data.class_names)  # refuses unknown classes
    model_part = build_part("model", config["model"])
    is_baseline = isinstance(model_part, MetadataBaseline)
    fitter = BaselineFitter(model_part) if is_baseline else NetFitter(build_classifier(config, data), trainer)
    info = RunInfo(
        status="running",
        experiment=config["experiment"],
        model=model,
        variant=variant,
        fold=config["fold"],
        seed=config["seed"],
        kind=fitter.kind,
        synthetic=data.source.is_synthetic or is_simulated(data.source.root),
        n_threads=torch.get_num_threads(),
        data=data.describe(),
        evaluation=evaluation,
        n_parameters=fitter.n_parameters,
        stages_s={"data": seconds},
        **describe_provenance(),
    )
    return Job(
        run=run,
        info=info,
        config_yaml=OmegaConf.to_yaml({**config, "output_dir": str(config["output_dir"])}),
        identity=identity,
        data=data,
        fitter=fitter,
        trackers=trackers,
        output_dir=config["output_dir"],
        overwrite=config["overwrite"],
        n_devices=trainer.num_devices if starts_processes and fitter.kind == "net" else 0,
        is_trial=is_trial,
    )


def build_data(config: Mapping[str, Any]) -> ECGDataModule:
    """Build the data module of a fold; its files are not read yet."""
    source, settings = split_settings(config["data"])
    folds = build_part("folds", config["folds"])
    folds.check_fold(config["fold"])
    return ECGDataModule(
        build_part("data", source),
        task=build_part("task", config["task"]),
        folds=folds,
        fold=config["fold"],
        seed=config["seed"],
        **settings,
    )


def build_classifier(config: Mapping[str, Any], data: ECGDataModule) -> ECGClassifier:
    """Build the untrained classifier of a configuration for data that are set up."""
    n_classes = len(data.class_names)
    net = build_net(config, n_leads=len(data.lead_names), n_samples=data.n_samples, n_classes=n_classes)
    optimizer = build_part("optimizer", config["optimizer"])
    try:
        optimizer(net.parameters())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"optimizer: {error}") from error
    standardization = data.standardization
    return ECGClassifier(
        net,
        class_names=data.class_names,
        mean_mv=standardization.mean_mv,
        sd_mv=standardization.sd_mv,
        standardized_on=standardization.records_sha256,
        loss=build_part("loss", config["loss"])(data.pos_weight),
        optimizer=optimizer,
        scheduler=build_part("scheduler", config["scheduler"]),
        metrics={
            name: build_part(f"metrics.{name}", node)(num_labels=n_classes) for name, node in config["metrics"].items()
        },
    )


def build_trainer(config: Mapping[str, Any], folder: Path, *, title: str, shows_bar: bool) -> pl.Trainer:
    """Build a trainer that keeps its checkpoints in a folder; what Lightning refuses is a `ConfigError`."""
    nodes = dict(config["callbacks"])
    if "checkpoint" not in nodes:
        raise ConfigError(
            "callbacks.checkpoint is missing: a run keeps its best epoch; see conf/callbacks/default.yaml"
        )
    place: dict[str, Any] = {
        "dirpath": folder,
        "save_on_train_epoch_end": True,  # the epoch is then complete: a resumed run begins with the next
        "enable_version_counter": False,
    }
    best = build_part("callbacks.checkpoint", nodes.pop("checkpoint"))(filename="best", **place)
    last = ModelCheckpoint(filename="last", **place)  # save_last=True would leave out the epochs that are no better
    extra = [build_part(f"callbacks.{name}", node) for name, node in nodes.items()]
    callbacks = [History(), EpochSeed(config["seed"]), *extra, best, last]
    shows_progress = config["trainer"].get("enable_progress_bar", True)
    if shows_progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20) if shows_bar else EpochLog(title))
    make_trainer = build_part("trainer", config["trainer"])
    try:
        trainer: pl.Trainer = make_trainer(
            callbacks=callbacks,
            logger=False,  # built once the run directory belongs to this process
            default_root_dir=folder,
            enable_progress_bar=shows_progress and shows_bar,
            use_distributed_sampler=False,  # the data module distributes the records, each once
            plugins=[*(make_trainer.keywords.get("plugins") or ()), AtomicCheckpointIO(), *_find_slurm()],
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"trainer: {error}") from error
    return trainer


def _find_slurm() -> list[SLURMEnvironment]:
    """Leave requeueing to SLURM: a run resumes from its last whole epoch, Lightning would from the middle of one."""
    is_of_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if is_of_slurm else []
