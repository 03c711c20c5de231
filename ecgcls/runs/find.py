"""Finding runs: from what a command line names to the runs themselves."""

import hashlib
import re
from pathlib import Path
from typing import Literal

from ecgcls.config import RunConfig
from ecgcls.errors import ConfigError
from ecgcls.identity import suggest
from ecgcls.runs.configuration import Configuration, read_configuration, read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import NAME


def place_run(config: RunConfig, *, model: str, variant: str) -> Path:
    """Return the folder of a run, whether it is there or not."""
    return config["output_dir"] / config["experiment"] / model / variant / f"fold_{config['fold']}"


def choose_configuration(
    *,
    output_dir: Path,
    experiment: str,
    model: str | None,
    fold: int | Literal["all"],
    variant: str | None,
    run_dir: Path | None,
    is_single_run: bool = False,
) -> Configuration:
    """Open what a command's settings name: one finished run or, with ``fold=all``, all folds of a configuration.

    Without `model` or `variant` it must be the only one, or that of the defaults. `run_dir` is the folder itself, of a
    run or (unless `is_single_run`) of a configuration. Anything but finished runs is a `ConfigError`.
    """
    if run_dir is not None:
        if not run_dir.is_dir():
            raise ConfigError(f"run_dir: there is no folder {run_dir}")
        return read_single(open_run(run_dir)) if is_single_run else open_configuration(run_dir)
    folder = _find_configuration(find_experiment(output_dir, experiment), model=model, variant=variant, fold=fold)
    return open_configuration(folder if fold == "all" else folder / f"fold_{fold}")


def choose_unfinished(
    *,
    output_dir: Path,
    experiment: str,
    model: str | None,
    fold: int | Literal["all"],
    variant: str | None,
    run_dir: Path | None,
) -> RunDirectory:
    """Open a run that was stopped and has a whole epoch, named as for `choose_configuration`; else a `ConfigError`."""
    if run_dir is None:
        if fold == "all":
            raise ConfigError("unfinished=true scores one run, got fold=all")
        experiment_folder = find_experiment(output_dir, experiment)
        run_dir = _find_configuration(experiment_folder, model=model, variant=variant, fold=fold) / f"fold_{fold}"
    run = RunDirectory(run_dir)
    if not run.is_begun:
        raise ConfigError(f"{run_dir}: not the folder of a run; a run's folder is called fold_<k> and has a {NAME}")
    if run.is_finished:
        raise ConfigError(f"{run_dir}: this run is finished: leave out unfinished=true")
    if not run.best_checkpoint.is_file():
        raise ConfigError(f"{run_dir}: no epoch of this run is finished, so there is nothing to score")
    return run


def _find_configuration(folder: Path, *, model: str | None, variant: str | None, fold: int | Literal["all"]) -> Path:
    """Find the folder of one configuration of an experiment, among those that have this fold."""
    places = _list_folds(folder)
    models = sorted({place.relative_to(folder).parts[0] for place in places if place != folder})
    if model is None:
        if len(models) != 1:
            raise ConfigError(f"{folder} has runs of {', '.join(models) or 'no model'}: choose one with model=NAME")
        model = models[0]
    elif model not in models:
        raise ConfigError(f"{folder}: no run of model={model}{suggest(model, models)}")
    of_model = {place: folds for place, folds in places.items() if (folder / model) in (place, *place.parents)}
    found = {
        place.relative_to(folder / model): place for place, folds in of_model.items() if fold == "all" or fold in folds
    }
    names = [str(name) for name in found if name != Path()]
    if not found:
        folds = sorted({each for folds in of_model.values() for each in folds})
        there = ", ".join(f"fold_{each}" for each in folds)
        raise ConfigError(f"{folder / model}: no run of fold={fold}; the folds here: {there}")
    if variant is not None:
        if Path(variant) not in found:
            raise ConfigError(f"{folder / model}: no run of variant={variant!r}{suggest(variant, names)}")
        return found[Path(variant)]
    if Path() in found or len(found) == 1:
        return found.get(Path(), next(iter(found.values())))
    raise ConfigError(
        f"{folder / model} has {len(found)} variants: choose one with variant=NAME, one of {' or '.join(names)}"
    )


def find_experiment(output_dir: Path, experiment: str) -> Path:
    """Find the folder of an experiment, or refuse its name with the near matches."""
    folder = output_dir / experiment
    if not folder.is_dir():
        there = [path.name for path in output_dir.glob("[!.]*") if _list_folds(path)] if output_dir.is_dir() else []
        raise ConfigError(f"{folder}: no such experiment{suggest(experiment, sorted(there))}")
    return folder


def open_configuration(path: Path) -> Configuration:
    """Open the folder of a finished run, or of a configuration whose folds are all finished; else a `ConfigError`."""
    if RunDirectory(path).is_begun or path not in _list_folds(path):
        return read_single(open_run(path))
    configuration = read_configuration(path)
    if not configuration.runs:
        raise ConfigError(f"{path}: no finished fold here")
    if not configuration.is_complete:
        raise ConfigError(f"{path}: {configuration.missing}; fold=all needs all of them")
    return configuration


def open_run(path: Path) -> RunDirectory:
    """Open the folder of a finished run; anything else is a `ConfigError`."""
    run = RunDirectory(path)
    if not run.is_begun:
        folds = _list_folds(path).get(path)
        inner = f"; did you mean {path}/fold_{folds[0]}?" if folds else ""
        hint = inner or f"; a run's folder is called fold_<k> and has a {NAME}"
        raise ConfigError(f"{path}: not the folder of a run{hint}")
    if (status := run.read_info().status) != "finished":
        raise ConfigError(f"{path}: this run is {status}, not finished; the command that began it resumes it")
    return run


def list_configurations(folder: Path) -> list[Configuration]:
    """Read every configuration below a folder, in the order of their folders."""
    return [read_configuration(place) for place in _list_folds(folder)]


def name_output(source: str | Path) -> str:
    """Name a folder of results after a path that was typed; two paths never share one."""
    path = Path(source).absolute()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "input"
    return f"{stem[:60]}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _list_folds(folder: Path) -> dict[Path, list[int]]:
    """Return the numbers of the folds, finished or not, in each folder of a configuration at or below a folder."""
    places: dict[Path, list[int]] = {}
    for path in sorted(folder.rglob(f"fold_*/{NAME}")):
        number = path.parent.name.removeprefix("fold_")
        places.setdefault(path.parent.parent, []).append(int(number) if number.isdecimal() else -1)
    return {place: sorted(folds) for place, folds in sorted(places.items())}
