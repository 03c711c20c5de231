"""A run directory: build and train what a configuration says, and keep all that is needed to defend the result.

``outputs/<experiment>/<model>/<variant>/fold_<k>/`` holds

- ``.hydra/config.yaml``: the resolved configuration, readable without this package;
- ``run.json``: status, versions, git commit, what the data were, seed, wall time of each stage;
- ``best.ckpt``, ``last.ckpt``: the epoch with the best validation score, and the one to go on from;
- ``predictions.csv``: what the run says about every record of validation and test: recalibrated, and decided at its
  thresholds; ``predictions_uncalibrated.csv``: the best net's own probabilities;
- ``metrics.json``, ``metrics_by_class.csv``, ``history.csv``, ``figures/``: computed from the predictions and epochs;
- ``run.log``.

The `<variant>` says what differs from the defaults; it is absent where nothing does.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from ecgcls.config import identify, suggest
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.decisions import Decisions
from ecgcls.evaluation.predictions import THRESHOLD, Predictions
from ecgcls.files import write_json
from ecgcls.predictions_file import read_csv

UNCALIBRATED = "predictions_uncalibrated.csv"
"""What the net itself said, before recalibration."""


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
        except (FileNotFoundError, NotADirectoryError):  # a file in the folder's place is `check_writable`'s to tell
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
        """Return what the run says about the validation and the test part."""
        return read_csv(self.path / "predictions.csv")

    def read_uncalibrated(self) -> Predictions:
        """Return what the best net itself said; runs of version 0.1.0 were not recalibrated."""
        path = self.path / UNCALIBRATED
        return read_csv(path) if path.is_file() else self.read_predictions()

    def read_decisions(self) -> Decisions | None:
        """Return the run's calibrator and thresholds; None for runs of version 0.1.0."""
        info = self.read_info()
        return Decisions.from_dict(info["decisions"], info["thresholds"]) if "decisions" in info else None

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
        # A key that the run lacks came with a later version, and its default is what the run did: any other value would
        # have another folder.
        differing = sorted(key for key in there if there[key] != asked.get(key))
        if differing:
            key = differing[0]
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise ConfigError(
                f"{self.path} holds a run of another configuration ({key}: {there.get(key)} there, {asked.get(key)} "
                f"asked{more}): choose another experiment=NAME, or train anew with overwrite=true"
            )

    def tabulate_test(self) -> pd.DataFrame:
        """Return the test metrics, a row a class and one for their macro average."""
        return tabulate(self.read_metrics()["test"], read_intervals(self.path))

    def check_writable(self) -> None:
        """Refuse a folder that cannot be written, before minutes are spent on the data."""
        existing = next(parent for parent in (self.path, *self.path.absolute().parents) if parent.exists())
        if not existing.is_dir():
            raise ConfigError(f"output_dir: {existing} is a file, {self.path} cannot be made; set output_dir=PATH")
        if not os.access(existing, os.W_OK):
            raise ConfigError(f"output_dir: {existing} cannot be written (no permission); set output_dir=PATH")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep a second process out of it; the lock goes with the process, however it ends."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"output_dir: {self.path} cannot be made ({error.strerror}); set output_dir=PATH"
            ) from error
        try:
            with FileLock(lock, timeout=0):
                yield
        except Timeout:
            holder = self.read_info().get("process", {"host": "?", "pid": "?"})
            raise ConfigError(
                f"{self.path}: another process is training this run (process {holder['pid']} on {holder['host']} holds "
                f"{lock}); wait for it, or choose another experiment=NAME"
            ) from None

    def empty(self) -> None:
        """Remove all that the folder holds."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def place_run(config: DictConfig, *, model: str, variant: str) -> RunDirectory:
    """Say where the run of a configuration stands."""
    folder = Path(config.output_dir) / config.experiment / model / variant / f"fold_{config.fold}"
    return RunDirectory(folder)


def choose_folder(settings: Mapping[str, Any]) -> Path:
    """Return the folder that a command's settings name: of a run or, with ``fold=all``, of a configuration.

    Parameters
    ----------
    settings
        ``run_dir``, or ``output_dir``, ``experiment``, ``model``, ``fold`` and ``variant``.

    Raises
    ------
    ConfigError
        If there is no such run, more than one, or one that is not finished.
    """
    fold = settings["fold"]
    if settings["run_dir"] is not None:
        path = Path(settings["run_dir"])
        if not path.is_dir():
            raise ConfigError(f"run_dir: there is no folder {path}")
        return path
    named = {"experiment": settings["experiment"], "model": settings["model"], "variant": settings["variant"]}
    output_dir = Path(settings["output_dir"])
    if fold == "all":
        return find_configuration(output_dir, **named)
    return find_run(output_dir, fold=fold, **named).path


def name_output(source: str) -> str:
    """Name a folder of results after a path that was typed; two paths never share one."""
    path = Path(source).absolute()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "input"
    return f"{stem[:60]}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def find_run(output_dir: Path, *, experiment: str, model: str | None, fold: int, variant: str | None) -> RunDirectory:
    """Find the finished run that a command line names.

    Parameters
    ----------
    output_dir, experiment
        Where runs lie, and under which experiment.
    model
        The choice of the group ``model``; None is enough where the experiment has one.
    fold
        Which fold.
    variant
        What differs from the defaults, as in the folder's name. None means the run of the defaults, or the only one.

    Raises
    ------
    ConfigError
        If there is no such run, more than one, or one that is not finished.
    """
    folder = find_configuration(output_dir, experiment=experiment, model=model, variant=variant, fold=fold)
    return open_run(folder / f"fold_{fold}")


def find_configuration(
    output_dir: Path, *, experiment: str, model: str | None, variant: str | None, fold: int | None = None
) -> Path:
    """Find the folder that holds the folds of one configuration.

    Parameters
    ----------
    fold
        Only folders that have this fold count; None: any.

    Raises
    ------
    ConfigError
        If there is none, or more than one.
    """
    folder = find_experiment(output_dir, experiment)
    models = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.rglob("fold_*/run.json")))
    if model is None:
        if len(models) != 1:
            raise ConfigError(f"{folder} has runs of {', '.join(models) or 'no model'}: say which with model=NAME")
        model = models[0]
    elif model not in models:
        raise ConfigError(f"{folder}: no run of model={model}{suggest(model, models)}")
    wanted = "fold_*" if fold is None else f"fold_{fold}"
    found = {
        path.parent.parent.relative_to(folder / model): path.parent.parent
        for path in sorted((folder / model).rglob(f"{wanted}/run.json"))
    }
    names = [str(name) for name in found if name != Path()]
    if not found:
        folds = sorted({path.parent.name for path in (folder / model).rglob("fold_*/run.json")})
        raise ConfigError(f"{folder / model}: no run of fold={fold}; there are {', '.join(folds)}")
    if variant is not None:
        if Path(variant) not in found:
            raise ConfigError(f"{folder / model}: no run of variant={variant!r}{suggest(variant, names)}")
        return found[Path(variant)]
    if Path() in found or len(found) == 1:
        return found.get(Path(), next(iter(found.values())))
    raise ConfigError(
        f"{folder / model} has {len(found)} variants: say which with variant=NAME, one of {' or '.join(names)}"
    )


def find_experiment(output_dir: Path, experiment: str) -> Path:
    """Find the folder of an experiment.

    Raises
    ------
    ConfigError
        If there is none, with the near matches.
    """
    folder = output_dir / experiment
    if not folder.is_dir():
        there = [path.name for path in output_dir.glob("[!.]*") if path.is_dir()] if output_dir.is_dir() else []
        raise ConfigError(f"{folder}: no such experiment{suggest(experiment, sorted(there))}")
    return folder


def open_run(path: Path) -> RunDirectory:
    """Open the folder of a finished run.

    Raises
    ------
    ConfigError
        If it is no run's folder, or the run is not finished.
    """
    run = RunDirectory(path)
    info = run.read_info()
    if not info:
        inner = sorted(found.name for found in path.glob("fold_*") if (found / "run.json").is_file())
        hint = (
            f"; did you mean {path / inner[0]}?" if inner else "; a run's folder is called fold_<k> and has a run.json"
        )
        raise ConfigError(f"{path}: not the folder of a run{hint}")
    if info["status"] != "finished":
        raise ConfigError(
            f"{path}: this run is {info['status']}, not finished; the command that began it goes on with it"
        )
    return run


def list_folds(configuration: Path) -> list[RunDirectory]:
    """Open all folds of a configuration, in order.

    Raises
    ------
    ConfigError
        If a fold is missing or not finished.
    """
    paths = sorted(configuration.glob("fold_*/run.json"))
    if not paths:
        raise ConfigError(f"{configuration}: no folds here, fold_0 and so on")
    n_folds = len(RunDirectory(paths[0].parent).read_config().folds.test)
    return [open_run(configuration / f"fold_{fold}") for fold in range(n_folds)]


def tabulate(scores: Mapping[str, Any], intervals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the scores of one split, as in ``metrics.json``: a row a class and one for their macro average.

    Parameters
    ----------
    scores
        Of the split.
    intervals
        As `read_intervals` gives them; they stand behind PR-AUC and ROC-AUC, with a ``!`` where the class has too few
        positive or negative records for the interval to be relied on.
    """
    columns = {"n_positive": "positives", "pr_auc": "PR-AUC", "roc_auc": "ROC-AUC", "f1": "F1"}
    table = pd.DataFrame(scores["by_class"]).T[list(columns)].rename(columns=columns)
    overall = scores["overall"]
    table.loc["macro"] = [overall["n_positive"], overall["pr_auc"], overall["roc_auc"], overall["f1_macro"]]
    table = table.astype(float).astype({"positives": int})
    if intervals is not None:
        for metric in ("roc_auc", "pr_auc"):
            of_metric = intervals.xs(metric, level="metric").rename(index={"overall": "macro"})
            texts = [_say_interval(of_metric.loc[name]) for name in table.index]
            label = f"{100 * float(of_metric['level'].iloc[0]):g} %"
            table.insert(list(table.columns).index(columns[metric]) + 1, label, texts, allow_duplicates=True)
    return table


def say_table(table: pd.DataFrame) -> str:
    """Return a table of scores as text, and what its marks mean."""
    text = table.to_string(float_format="{:.3f}".format)
    is_marked = "!\n" in f"{text}\n" or " ! " in text
    return f"{text}\n! too few positive or negative records for the interval to be relied on" if is_marked else text


def read_intervals(folder: Path) -> pd.DataFrame | None:
    """Read ``intervals.csv``, indexed by class and metric; None where there is none."""
    path = folder / "intervals.csv"
    if not path.is_file():
        return None
    return pd.read_csv(path, keep_default_na=False, na_values=[""], index_col=["class", "metric"])


def _say_interval(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return ""
    return f"[{row['low']:.3f}, {row['high']:.3f}]" + ("" if row["is_supported"] else " !")


def read_thresholds(runs: Sequence[RunDirectory], class_names: Sequence[str]) -> dict[str, float]:
    """Return by class from what probability on it is predicted: the mean over the runs, 0.5 where none is stored.

    Parameters
    ----------
    runs
        One, or the folds of a configuration. A run stores its own under ``thresholds`` in ``run.json``.
    class_names
        The classes.
    """
    stored = [run.read_info().get("thresholds", {}) for run in runs]
    return {name: sum(thresholds.get(name, THRESHOLD) for thresholds in stored) / len(stored) for name in class_names}


def say_title(info: Mapping[str, Any]) -> str:
    """Name a run in a figure's title from what ``run.json`` says."""
    return f"{info['model']}, fold {info['fold']}" + (" (simulated ECGs)" if info["synthetic"] else "")
