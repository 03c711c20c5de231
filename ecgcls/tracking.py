"""Experiment trackers: Lightning's loggers, told the configuration, the results and the figures of a run.

A tracker is a second place to look at a run; nothing is read back from it.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from ecgcls.config import identify
from ecgcls.errors import ConfigError

_RUN_ID = "ecgcls.tracking_id"  # an MLflow tag


_PACKAGES = {"TensorBoardLogger": "tensorboard", "MLFlowLogger": "mlflow", "WandbLogger": "wandb"}


def check_installed(config: DictConfig) -> None:
    """Refuse a logger whose package is absent, before minutes are spent on the data.

    Raises
    ------
    ConfigError
        Naming the extra that brings it.
    """
    for name, node in config.logger.items():
        package = _PACKAGES.get(str(node._target_).rpartition(".")[2])
        if package and find_spec(package) is None:
            raise ConfigError(
                f"logger={name}: {package} is not installed; pip install 'ecgcls[{package}]', or choose another logger"
            )


def build_loggers(config: DictConfig, run_path: Path, *, title: str, tracking_id: str) -> list[Logger]:
    """Build the loggers of a configuration; a run that goes on, goes on in its trackers too.

    Parameters
    ----------
    config
        The configuration; its group ``logger`` holds the loggers.
    run_path
        The run directory.
    title
        What the run is called in a tracker.
    tracking_id
        What the run is known by in a tracker, the same whenever it goes on.

    Raises
    ------
    ConfigError
        If a tracker's server refuses.
    """
    return [
        _build_logger(node, config, run_path, title=title, tracking_id=tracking_id) for node in config.logger.values()
    ]


@rank_zero_only
def log_configuration(loggers: Sequence[Logger], config: DictConfig, run_path: Path) -> None:
    """Tell the trackers the settings that a result depends on, and the name of the run directory."""
    for logger in loggers:
        logger.log_hyperparams({**identify(config), "experiment": config.experiment, "run_dir": str(run_path)})


@rank_zero_only
def log_results(loggers: Sequence[Logger], scores: dict[str, Any], figures: Sequence[Path], *, step: int) -> None:
    """Tell the trackers the final scores, ``scored/<part>/<metric>``, and hand them the figures.

    Parameters
    ----------
    loggers
        The trackers.
    scores
        As in ``metrics.json``, by part.
    figures
        Image files.
    step
        The optimiser's step at which they stand.
    """
    flat = {
        f"scored/{part}/{name}": float(value)
        for part, of_part in scores.items()
        for name, value in of_part["overall"].items()
        if isinstance(value, int | float)
    }
    for logger in loggers:
        logger.log_metrics(flat, step=step)
        for path in figures:
            _log_figure(logger, path, step=step)
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()  # the next run of this process is another run there


def _build_logger(node: DictConfig, config: DictConfig, run_path: Path, *, title: str, tracking_id: str) -> Logger:
    make = instantiate(node)
    target = str(node._target_).rpartition(".")[2]
    if target == "MLFlowLogger":
        return _open_mlflow(make, Path(config.output_dir), title=title, tracking_id=tracking_id)
    of_wandb = {"name": title, "group": config.experiment, "id": tracking_id, "resume": "allow"}
    logger: Logger = make(save_dir=run_path, **(of_wandb if target == "WandbLogger" else {}))
    return logger


def _open_mlflow(make: Any, output_dir: Path, *, title: str, tracking_id: str) -> MLFlowLogger:
    """Open the run in MLflow that has this id, or begin it."""
    from mlflow.exceptions import MlflowException

    output_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(output_dir / ".mlflow.lock"):  # jobs side by side would make the tables, or the experiment, twice
        try:
            logger: MLFlowLogger = make(run_name=title, tags={_RUN_ID: tracking_id})
            experiment = logger._mlflow_client.get_experiment_by_name(logger._experiment_name)
            if experiment is not None:
                found = logger._mlflow_client.search_runs(
                    [experiment.experiment_id], f"tags.`{_RUN_ID}` = '{tracking_id}'"
                )
                if found:
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
