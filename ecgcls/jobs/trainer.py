"""From the groups ``trainer`` and ``callbacks`` to Lightning's trainer, or a refusal before anything is trained."""

import functools
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.callbacks import Timer, TQDMProgressBar
from pytorch_lightning.profilers import AdvancedProfiler, SimpleProfiler

from ecgcls.errors import ConfigError
from ecgcls.jobs.parts import build_part
from ecgcls.training.callbacks import EpochSeed, History, LastEpoch, OwnSigterm
from ecgcls.training.checkpoints import AtomicCheckpointIO

_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
_WHOLE_EPOCHS = "a run trains and keeps whole epochs"
_EVERY_RECORD = "a run predicts every record of its validation and test set"
_REFUSED = {  # arguments of Lightning's trainer, the values that change nothing, and why another one is refused
    "fast_dev_run": ((False, 0, None), "it keeps no epoch that could be tested; try trainer.max_epochs=1"),
    "max_steps": ((-1, None), f"{_WHOLE_EPOCHS}; set trainer.max_epochs"),
    "min_steps": ((None, 0), f"{_WHOLE_EPOCHS}; set +trainer.min_epochs"),
    "val_check_interval": ((None, 1.0), f"{_WHOLE_EPOCHS}, each validated at its end"),
    "limit_predict_batches": ((None, 1.0), _EVERY_RECORD),
    "limit_test_batches": ((None, 1.0), _EVERY_RECORD),
    "overfit_batches": ((0, 0.0), "it would validate on training records; try +trainer.limit_train_batches"),
    "callbacks": ((None,), "callbacks have a group of their own, as +callbacks.NAME"),
    "logger": ((None,), "loggers have a group of their own, as logger=csv"),
    "enable_checkpointing": ((None, True), "a run keeps its best and its last epoch"),
    "default_root_dir": ((None,), "a run has a folder of its own; set output_dir"),
    "use_distributed_sampler": ((True, False), "the data module shares out the records"),
}
_POSITIVE = ("limit_val_batches", "limit_train_batches", "accumulate_grad_batches", "min_epochs", "gradient_clip_val")
_OWN = ("dirpath", "filename", "save_last", "every_n_train_steps", "train_time_interval", "save_on_train_epoch_end",
        "enable_version_counter", "save_on_exception", "save_weights_only")  # fmt: skip
"""What a run decides of its checkpoint."""


def build_trainer(config: Mapping[str, Any], folder: Path, *, title: str, shows_bar: bool) -> pl.Trainer:
    """Build a trainer that keeps its checkpoints in a folder; what it, or Lightning, refuses is a `ConfigError`."""
    node = dict(config["trainer"])
    _check_trainer(node)
    shows_progress = node.get("enable_progress_bar", True)
    shows_line = shows_progress and not shows_bar
    best, extra = _build_callbacks(config, folder, every_n_epochs=node.get("check_val_every_n_epoch", 1))
    callbacks = [OwnSigterm(), History(), EpochSeed(config["seed"]), *extra]
    if max_time := node.pop("max_time", None):
        callbacks.append(_call("+trainer.max_time", Timer, duration=_read_time(max_time), interval="epoch"))
    callbacks += [best, LastEpoch(folder, title=title if shows_line else "")]
    if shows_bar and shows_progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    if (profiler := node.get("profiler")) in _PROFILERS:
        node.pop("profiler")
        given: dict[str, Any] = {"profiler": _PROFILERS[profiler](dirpath=folder, filename="profile")}
    else:
        given = {}
    if node.get("enable_model_summary"):
        logging.getLogger("pytorch_lightning.callbacks.model_summary").setLevel(logging.INFO)
    make_trainer = build_part("trainer", node)
    trainer: pl.Trainer = _call(
        "trainer",
        make_trainer,
        callbacks=callbacks,
        logger=False,  # built once the run directory belongs to this process
        default_root_dir=folder,
        enable_progress_bar=shows_progress and shows_bar,
        use_distributed_sampler=False,  # the data module distributes the records, each once
        plugins=[*(make_trainer.keywords.get("plugins") or ()), AtomicCheckpointIO(), *_find_slurm()],
        **given,
    )
    return trainer


def list_monitors(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that Lightning's own callbacks and the scheduler name, by key."""
    nodes = {f"callbacks.{name}": node for name, node in config["callbacks"].items()}
    nodes["scheduler"] = config["scheduler"]
    lightning = "pytorch_lightning.callbacks."
    return {
        f"{key}.monitor": node["monitor"]
        for key, node in nodes.items()
        if node.get("monitor") is not None and (key == "scheduler" or str(node["_target_"]).startswith(lightning))
    } | {"callbacks.checkpoint.monitor": nodes["callbacks.checkpoint"].get("monitor")}


def _check_trainer(node: Mapping[str, Any]) -> None:
    """Refuse what would leave a run without an epoch to keep, or without a record to predict."""
    for name, (harmless, why) in _REFUSED.items():
        if name in node and (type(node[name]), node[name]) not in [(type(value), value) for value in harmless]:
            raise ConfigError(f"trainer.{name}={node[name]}: {why}")
    n_epochs, every = node.get("max_epochs"), node.get("check_val_every_n_epoch", 1)
    if not isinstance(n_epochs, int) or n_epochs < 1:
        hint = "; for as many as it takes, a large number and callbacks=early_stopping" * (n_epochs in (-1, None))
        raise ConfigError(f"trainer.max_epochs must be at least 1, got {n_epochs}{hint}")
    if not isinstance(every, int) or not 1 <= every <= n_epochs:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch must be in 1..{n_epochs} (trainer.max_epochs), got {every}: an epoch "
            "that is not validated cannot be the best"
        )
    for name in _POSITIVE:
        if name in node and node[name] is not None and not node[name] > 0:
            raise ConfigError(f"trainer.{name} must be more than 0, got {node[name]}")
    if (least := node.get("min_epochs") or 1) > n_epochs:
        raise ConfigError(f"trainer.min_epochs must be at most {n_epochs} (trainer.max_epochs), got {least}")


def _build_callbacks(config: Mapping[str, Any], folder: Path, *, every_n_epochs: int) -> tuple[Any, list[pl.Callback]]:
    """Build the callback that keeps the best epoch, and the others of the configuration."""
    nodes = dict(config["callbacks"])
    if "checkpoint" not in nodes:
        raise ConfigError(
            "callbacks.checkpoint is missing: a run keeps its best epoch; see conf/callbacks/default.yaml"
        )
    node = nodes.pop("checkpoint")
    if own := [name for name in _OWN if node.get(name) is not None]:
        raise ConfigError(f"callbacks.checkpoint.{own[0]}: a run decides this itself, it keeps best.ckpt and last.ckpt")
    if (save_top_k := node.get("save_top_k", 1)) != 1:
        raise ConfigError(f"callbacks.checkpoint.save_top_k={save_top_k}: a run keeps one best epoch, best.ckpt")
    if node.get("monitor") is None:
        raise ConfigError("callbacks.checkpoint.monitor: which metric makes an epoch the best? Such as val/pr_auc")
    place = {
        "dirpath": folder,
        "filename": "best",
        "save_on_train_epoch_end": True,  # the epoch is then complete: a resumed run begins with the next
        "enable_version_counter": False,
        "every_n_epochs": node.get("every_n_epochs") or every_n_epochs,
    }
    best = _call("callbacks.checkpoint", build_part("callbacks.checkpoint", node), **place)
    return best, [_build_callback(f"callbacks.{name}", node) for name, node in nodes.items()]


def _build_callback(key: str, node: Mapping[str, Any]) -> pl.Callback:
    """Build a callback; ``_partial_: true`` makes no difference."""
    built = build_part(key, node)
    callback = _call(key, built) if isinstance(built, functools.partial) else built
    if not isinstance(callback, pl.Callback):
        raise ConfigError(f"{key}: expected a pytorch_lightning.Callback, got {type(callback).__name__}")
    return callback


def _call(key: str, make: Callable[..., Any], **arguments: Any) -> Any:
    """Call what makes a part; whatever it raises is about the settings that it was given."""
    try:
        return make(**arguments)
    except Exception as error:
        raise ConfigError(f"{key}: {' '.join(str(error).split()) or type(error).__name__}") from error


def _read_time(given: Any) -> Any:
    """Return a time as Lightning's timer takes it."""
    return _call("+trainer.max_time", timedelta, **given) if isinstance(given, Mapping) else given


def _find_slurm() -> list[SLURMEnvironment]:
    """Leave requeueing to SLURM: a run resumes from its last whole epoch, Lightning would from the middle of one."""
    is_of_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if is_of_slurm else []
