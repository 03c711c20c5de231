"""From a configuration to the plain parts of a run; whatever comes after knows neither Hydra nor a configuration."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.loggers import Logger
from torch import nn

from ecgcls.command.processes import must_start_processes
from ecgcls.config import RunConfig, check_run
from ecgcls.data.initial import Initial
from ecgcls.data.module import ECGDataModule
from ecgcls.data.source import is_simulated, split_settings
from ecgcls.errors import ConfigError
from ecgcls.evaluation.settings import EvaluationSettings
from ecgcls.identity import identify
from ecgcls.jobs.augment import build_augmenter
from ecgcls.jobs.distill import Teacher, read_teacher
from ecgcls.jobs.initialize import Start, read_start
from ecgcls.jobs.logs import BY_ALL, title_job
from ecgcls.jobs.parts import build_net, build_part, settle_data, split_metadata
from ecgcls.jobs.track import check_installed
from ecgcls.jobs.trainer import build_trainer, list_monitors
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo
from ecgcls.runs.init_settings import settle_init
from ecgcls.runs.provenance import describe_provenance
from ecgcls.training.augmentation import Augmenter
from ecgcls.training.baselines import MetadataBaseline
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.contract import check_bfloat16, check_net
from ecgcls.training.distillation import Distillation
from ecgcls.training.finetuning import FineTuner
from ecgcls.training.fitters import BaselineFitter, Fitter, NetFitter
from ecgcls.training.heads import FixedFeatureNet, HeadFitter
from ecgcls.training.losses import make_exclusive
from ecgcls.training.metadata import MetadataNet, take_signal_net
from ecgcls.training.metrics import MacroAUROC, MacroAveragePrecision, MacroF1
from ecgcls.training.monitor import check_monitor, refuse_unscorable
from ecgcls.training.schedules import Schedule
from ecgcls.training.windows import Windows

log = logging.getLogger(__name__)

_N_STEPS = 1_000_000  # of a schedule that is built to see whether it can be; a shorter cycle is no fault


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
    config = settle_init(settle_data(config, tell=partial(log.info, extra=BY_ALL)))
    run.check_own()
    run.check_writable()
    identity = identify(config)
    if not config["overwrite"]:
        run.check_same_config(identity)
    torch.set_num_threads(config["n_threads"])
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    evaluation: EvaluationSettings = build_part("evaluation", config["evaluation"])
    evaluation.thresholds.refuse_unused()
    trackers = {name: build_part(f"logger.{name}", node) for name, node in config["logger"].items()}
    check_installed(trackers)
    trainer = build_trainer(config, run.path, title=title_job(model, variant, config["fold"]), shows_bar=shows_bar)
    starts_processes = must_start_processes(n_devices=trainer.num_devices, n_nodes=trainer.num_nodes)
    start = time.perf_counter()
    beginning, teacher = read_start(config), read_teacher(config)
    if beginning is not None and beginning.tuning.unfreeze_every and trainer.num_devices * trainer.num_nodes > 1:
        raise ConfigError("init.unfreeze_every needs one device: several share only what is trained from the start")
    other = beginning or teacher
    data = build_data(config, initial=None if other is None else other.initial)
    data.check_shared_by(trainer.num_devices * trainer.num_nodes)
    data.prepare_data()
    data.setup()
    seconds = round(time.perf_counter() - start, 3)
    evaluation.prevalence_by_class(data.class_names)  # refuses unknown classes
    model_part = build_part("model", split_metadata(config["model"])[0])
    augment = build_augmenter(config, data)
    is_baseline = isinstance(model_part, MetadataBaseline)
    if is_baseline and other is not None:
        does = "starts" if teacher is None else "learns"
        raise ConfigError(f"{other.initial.key}: model={model} is a baseline, which {does} from no net")
    if teacher is not None:
        teacher.check(data)
    fitter: Fitter = (
        BaselineFitter(model_part)
        if is_baseline
        else choose_fitter(build_classifier(config, data, augment, beginning, teacher), trainer, teacher)
    )
    if isinstance(fitter, HeadFitter):
        _check_fitted_head(config, model, trainer)
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
        data=data.describe() | ({"may_lack_leads": True} if augment.drops_leads and not is_baseline else {}),
        evaluation=evaluation,
        n_parameters=fitter.n_parameters,
        init={} if beginning is None else beginning.describe(data),
        distill={} if teacher is None else teacher.describe(data),
        stages_s={"data": seconds},
        **describe_provenance(),
    )
    return Job(
        run=run,
        info=info,
        config_yaml=OmegaConf.to_yaml(_spell_paths(config)),
        identity=identity,
        data=data,
        fitter=fitter,
        trackers=trackers,
        output_dir=config["output_dir"],
        overwrite=config["overwrite"],
        n_devices=trainer.num_devices if starts_processes and fitter.kind == "net" else 0,
        is_trial=is_trial,
    )


def build_data(config: Mapping[str, Any], *, initial: Initial | None = None) -> ECGDataModule:
    """Build the data module of a fold; its files are not read yet.

    `initial` is what the weights have learned from that a training starts from.
    """
    source, settings = split_settings(config["data"])
    folds = build_part("folds", config["folds"])
    folds.check_fold(config["fold"])
    return ECGDataModule(
        build_part("data", source),
        task=build_part("task", config["task"]),
        folds=folds,
        fold=config["fold"],
        seed=config["seed"],
        metadata=split_metadata(config["model"])[1],
        initial=initial,
        **settings,
    )


def build_classifier(
    config: Mapping[str, Any],
    data: ECGDataModule,
    augment: Augmenter | None = None,
    beginning: Start | None = None,
    teacher: Teacher | None = None,
) -> ECGClassifier:
    """Build the classifier of a configuration for data that are set up: untrained, or with the weights of another."""
    n_classes = len(data.class_names)
    shape = {
        "n_leads": len(data.lead_names),
        "n_samples": data.n_window_samples or data.n_samples,
        "n_classes": n_classes,
    }
    net = build_net(config, **shape)
    check_net(take_signal_net(net), **shape)
    if config["trainer"].get("precision") == "bf16-mixed" and not torch.cuda.is_available():
        check_bfloat16(take_signal_net(net), n_leads=shape["n_leads"], n_samples=shape["n_samples"])
    windows = None if data.n_window_samples is None else Windows(data.n_window_samples, data.window_pooling)
    if isinstance(net, MetadataNet):
        net.scaler.fit(data.metadata[data.cohort.find_part("train")])
    if beginning is not None:
        beginning.put_into(net, data)
    tuner = None if beginning is None else FineTuner(net, beginning.tuning)
    optimizer, schedule = build_part("optimizer", config["optimizer"]), _build_schedule(config)
    try:
        made = optimizer((tuner and tuner.group_parameters(optimizer)) or net.parameters())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"optimizer: {error}") from error
    try:
        schedule.build(made, n_steps=_N_STEPS)
    except Exception as error:
        raise ConfigError(f"scheduler: {str(error) or type(error).__name__}") from error
    metrics = {
        name: build_part(f"metrics.{name}", node)(num_labels=n_classes) for name, node in config["metrics"].items()
    }
    _check_monitors(config, metrics, data)
    standardization = data.standardization if beginning is None else beginning.choose_standardization(data)
    return ECGClassifier(
        net,
        class_names=data.class_names,
        mean_mv=standardization.mean_mv,
        sd_mv=standardization.sd_mv,
        standardized_on=standardization.sha256,
        input_form={
            "lead_names": list(data.lead_names),
            "sampling_rate_hz": data.source.sampling_rate_hz,
            "n_samples": data.n_samples,
            **({} if windows is None else {"windows": windows.describe()}),
            **({"metadata": list(data.metadata_names)} if data.metadata_names else {}),
            **({"may_lack_leads": True} if augment is not None and augment.drops_leads else {}),
        },
        augment=augment,
        distillation=None if teacher is None else Distillation(teacher.weight, is_exclusive=data.task.exclusive),
        windows=windows,
        loss=_build_loss(config, data.pos_weight),
        optimizer=optimizer,
        scheduler=schedule,
        metrics=metrics,
        tuner=tuner,
    )


def choose_fitter(classifier: ECGClassifier, trainer: pl.Trainer, teacher: Teacher | None = None) -> NetFitter:
    """Choose how a net is fitted: by gradients, or its head as a whole where its features are not trained."""
    has_fixed_features = isinstance(take_signal_net(classifier.net), FixedFeatureNet)
    return (HeadFitter if has_fixed_features else NetFitter)(
        classifier, trainer, teacher=None if teacher is None else teacher.answer
    )


def _check_fitted_head(config: RunConfig, model: str, trainer: pl.Trainer) -> None:
    """Refuse settings that only a training by gradients, or in epochs, could follow."""
    others = [name for name in config["callbacks"] if name != "checkpoint"]
    refused = {
        f"callbacks.{''.join(others[:1])}": (others, "there are no epochs that it could follow"),
        "augment": (config.get("augment"), "its features are computed once; set augment=none"),
        "distill.path": (config["distill"]["path"], "its head is fitted to the labels alone"),
        "init.path": (config["init"]["path"], "its head is fitted as a whole and starts from nothing"),
        "model.metadata": (config["model"].get("metadata"), "its head takes features of the ECG alone"),
        "trainer.devices": (trainer.num_devices * trainer.num_nodes > 1, "its head is fitted on one device; set 1"),
        "data.window_s": (config["data"].get("window_s"), "its kernels span whole records; set null"),
    }
    for key, (value, why) in refused.items():
        if value:
            raise ConfigError(f"{key}: not with model={model}: {why}")


def _spell_paths(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose paths are text."""
    spelled = {key: str(value) if isinstance(value, Path) else value for key, value in node.items()}
    return {key: _spell_paths(value) if isinstance(value, dict) else value for key, value in spelled.items()}


def _build_loss(config: Mapping[str, Any], pos_weight: torch.Tensor) -> nn.Module:
    """Build the loss; where classes exclude each other, the cross entropy that takes the place of a binary one."""
    loss: nn.Module = build_part("loss", config["loss"])(pos_weight)
    return (make_exclusive(loss) or loss) if config["task"].get("exclusive") else loss


def _build_schedule(config: Mapping[str, Any]) -> Schedule:
    """Build the schedule; one that follows a metric follows that which chooses the best epoch, unless told another."""
    node = dict(config["scheduler"])
    interval, monitor = node.pop("interval", None), node.pop("monitor", None)
    schedule = Schedule(build_part("scheduler", node), interval=interval)
    if not schedule.follows_metric:
        if monitor is not None:
            raise ConfigError(f"scheduler.monitor={monitor}: {node['_target_']} follows no metric")
        return schedule
    if interval == "step":
        raise ConfigError(f"scheduler.interval=step: {node['_target_']} follows a metric, which each epoch has once")
    checkpoint = config["callbacks"]["checkpoint"]
    if monitor is None and schedule.mode == checkpoint.get("mode", "min"):
        monitor = checkpoint.get("monitor")
    elif monitor is None:
        if schedule.mode == "max":
            raise ConfigError("scheduler.mode=max: which metric is to rise? Set scheduler.monitor=val/pr_auc")
        monitor = "val/loss"
    return replace(schedule, monitor=monitor)


def _check_monitors(config: Mapping[str, Any], metrics: Mapping[str, Any], data: ECGDataModule) -> None:
    """Refuse a metric that no epoch would have, or that would be nan in each of them, before anything is trained."""
    monitors = list_monitors(config)
    known = ["val/loss", *(f"val/{name}" for name in metrics), "train/loss"]
    for key, monitor in monitors.items():
        check_monitor(key, monitor, known)
    chosen = metrics.get(str(monitors["callbacks.checkpoint.monitor"]).removeprefix("val/"))
    y_val = data.cohort.y_true[data.cohort.find_part("val")]
    is_scorable = ((y_val == 1).any(axis=0) & (y_val == 0).any(axis=0)).any()
    if isinstance(chosen, MacroAveragePrecision | MacroAUROC | MacroF1) and not is_scorable:
        refuse_unscorable(str(monitors["callbacks.checkpoint.monitor"]))
