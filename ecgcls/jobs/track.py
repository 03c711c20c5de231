"""Experiment trackers: Lightning's loggers, given the configuration, the results and the figures of a run.

A tracker is a second place to look at a run; nothing is read back from it.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from ecgcls.errors import ConfigError
from ecgcls.runs.info import RunInfo

_RUN_ID = "ecgcls.tracking_id"  # an MLflow tag
_PACKAGES = {"TensorBoardLogger": "tensorboard", "MLFlowLogger": "mlflow", "WandbLogger": "wandb"}


def check_installed(trackers: Mapping[str, Callable[..., Logger]]) -> None:
    """Refuse a tracker whose package is absent, before minutes are spent on the data."""
    for name, make in trackers.items():
        package = _PACKAGES.get(_name_class(make))
        if package and find_spec(package) is None:
            raise ConfigError(
                f"logger={name}: {package} is not installed; pip install 'ecgcls[{package}]', or choose another logger"
            )


def open_trackers(
    trackers: Mapping[str, Callable[..., Logger]], info: RunInfo, folder: Path, *, output_dir: Path
) -> list[Logger]:
    """Open the trackers of the run in a folder; a run that is resumed is resumed in its trackers too."""
    title = ", ".join(part for part in (info.model, info.variant, f"fold {info.fold}", f"seed {info.seed}") if part)
    of_wandb = {"name": title, "group": info.experiment, "id": info.tracking_id, "resume": "allow"}
    return [
        _open_mlflow(make, output_dir, title=title, tracking_id=info.tracking_id)
        if _name_class(make) == "MLFlowLogger"
        else make(save_dir=folder, **(of_wandb if _name_class(make) == "WandbLogger" else {}))
        for make in trackers.values()
    ]


def log_results(
    loggers: Sequence[Logger], scores: Mapping[str, Any], *, parts: Sequence[str], figures: Sequence[Path], step: int
) -> None:
    """Log the final scores of some parts of ``metrics.json``, as ``scored/<part>/<metric>``, and figures.

    `step` is the optimizer's last step, where they are shown.
    """
    flat = {
        f"scored/{part}/{name}": float(value)
        for part in parts
        for name, value in scores[part]["overall"].items()
        if isinstance(value, int | float)
    }
    for logger in loggers:
        logger.log_metrics(flat, step=step)
        for path in figures:
            _log_figure(logger, path, step=step)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()  # the next run of this process is another run there


def _name_class(make: Any) -> str:
    return getattr(make, "func", make).__name__  # what a partial makes


def _open_mlflow(make: Any, output_dir: Path, *, title: str, tracking_id: str) -> MLFlowLogger:
    """Open the run in MLflow that has this id, or create it."""
    from mlflow.exceptions import MlflowException

    output_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(output_dir / ".mlflow.lock"):  # jobs side by side would create the tables, or the experiment, twice
        try:
            logger: MLFlowLogger = make(run_name=title, tags={_RUN_ID: tracking_id})
            client, tag = logger._mlflow_client, f"tags.`{_RUN_ID}` = '{tracking_id}'"
            experiment = client.get_experiment_by_name(logger._experiment_name)
            if experiment is not None and (found := client.search_runs([experiment.experiment_id], tag)):
                logger = make(run_id=found[0].info.run_id)
            _ = logger.experiment
        except MlflowException as error:
            uri = make.keywords.get("tracking_uri")
            raise ConfigError(f"logger.mlflow.tracking_uri: {uri} cannot be used ({error.message})") from error
    return logger


def _log_figure(logger: Logger, path: Path, *, step: int) -> None:
    if isinstance(logger, MLFlowLogger):
        logger.experiment.log_artifact(logger.run_id, str(path), artifact_path="figures")
    elif isinstance(logger, WandbLogger):
        logger.log_image(f"figures/{path.stem}", [str(path)])
    elif isinstance(logger, TensorBoardLogger):
        from matplotlib.image import imread

        logger.experiment.add_image(f"figures/{path.stem}", imread(path), global_step=step, dataformats="HWC")
