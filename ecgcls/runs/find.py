"""Finding runs: from what a command line names to the runs themselves."""

import contextlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Unpack, cast

from ecgcls.config import RunChoice, RunsChoice
from ecgcls.errors import ConfigError, DataError
from ecgcls.identity import suggest
from ecgcls.runs.configuration import Configuration, read_configuration, read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import NAME

log = logging.getLogger(__name__)

LAST = "last"
"""In place of a run's folder: the newest finished run."""
_EXPERIMENT = "default"  # of conf/config.yaml


def choose_configuration(*, is_single_run: bool = False, **which: Unpack[RunChoice]) -> Configuration:
    """Open what a command's settings name: one finished run or, with ``fold=all``, the finished folds together.

    Without `experiment` it is ``default``, without `model` or `variant` the only one or that of the defaults, without
    `fold` 0. `run` is a folder, of a run or (unless `is_single_run`) of a configuration, or ``last``: the newest
    finished run of those that the other settings name. `run_dir` is a folder too. Anything but finished runs is a
    `ConfigError`.
    """
    folder = _choose_folder(**which)
    return read_single(open_run(folder)) if is_single_run else open_configuration(folder)


def choose_members(**which: Unpack[RunsChoice]) -> tuple[list[Configuration], bool]:
    """Open each of the runs that a command's settings name, and tell whether they name a list, that is an ensemble.

    A list, ``[A,B]``, is in `model`, `run` or `run_dir`. One of folders is split at those commas that leave folders, as
    a folder's name may have commas too.
    """
    plain: dict[str, Any] = {key: which.get(key) for key in RunChoice.__annotations__}
    lists: dict[str, list[Any]] = {"model": which["model"]} if isinstance(which["model"], list) else {}
    for key in ("run", "run_dir"):
        if (names := _split_list(plain[key])) is not None:
            lists[key] = [Path(name) for name in names] if key == "run_dir" else names
    if not lists:
        for key in ("average", "weights", "name"):
            if which.get(key) is not None:
                raise ConfigError(f"{key} has no effect on one run; several are run_dir=[A,B] or model=[A,B]")
        return [choose_configuration(**cast(RunChoice, plain))], False
    if len(lists) > 1:
        raise ConfigError(f"{' and '.join(lists)}: expected a list of one of them, which runs")
    ((key, values),) = lists.items()
    if not values or (key == "run" and LAST in values):
        what = "models" if key == "model" else "folders of runs"
        raise ConfigError(f"{key} must be a list of {what}, as [A,B], got [{','.join(map(str, values))}]")
    if key != "model":
        plain["experiment"] = None  # of a list of folders it says where the ensemble stands
    return [choose_configuration(**cast(RunChoice, plain | {key: value})) for value in values], True


def _split_list(value: str | Path | None) -> list[str] | None:
    """Split ``[A,B]`` into what it lists, each part as long as it names a folder; None of what is no list."""
    text = "" if value is None else str(value)
    if not (text.startswith("[") and text.endswith("]")) or Path(text).exists():
        return None
    parts, found = [part.strip() for part in text[1:-1].split(",")], []
    while parts:
        lengths = [n for n in range(len(parts), 0, -1) if Path(",".join(parts[:n])).is_dir()]
        length = lengths[0] if lengths else 1
        found.append(",".join(parts[:length]))
        del parts[:length]
    return [each for each in found if each]


def choose_unfinished(**which: Unpack[RunsChoice]) -> RunDirectory:
    """Open a run that was stopped and has a whole epoch, named as for `choose_configuration`; else a `ConfigError`."""
    plain: Any = {key: which.get(key) for key in RunChoice.__annotations__}
    if isinstance(which["model"], list) or any(_split_list(plain[key]) for key in ("run", "run_dir")):
        raise ConfigError("unfinished=true scores one run that was stopped, got a list of runs")
    is_last = which.get("run") == LAST
    if is_last or which["fold"] == "all":
        asked = f"run={LAST}" if is_last else "fold=all"
        raise ConfigError(f"unfinished=true scores one run that was stopped, got {asked}")
    folder = _choose_folder(**plain)
    stopped = RunDirectory(folder)
    if not stopped.is_begun:
        raise ConfigError(f"{folder}: not the folder of a run; a run's folder is called fold_<k> and has a {NAME}")
    if stopped.is_finished:
        raise ConfigError(f"{folder}: this run is finished: leave out unfinished=true")
    if not stopped.best_checkpoint.is_file():
        raise ConfigError(f"{folder}: no epoch of this run is finished, so there is nothing to score")
    return stopped


def _choose_folder(
    *,
    output_dir: Path,
    experiment: str | None,
    model: str | None,
    fold: int | Literal["all"] | None,
    variant: str | None,
    run_dir: Path | None,
    run: str | None = None,
) -> Path:
    """Return the folder of the run, or with ``fold=all`` of the configuration, that a command's settings name."""
    if run is not None and run_dir is not None:
        raise ConfigError("run and run_dir: expected one of them, which run")
    named = {"experiment": experiment, "model": model, "variant": variant}
    if run == LAST:
        found = find_last(output_dir, **named, fold=None if fold == "all" else fold)
        return found.parent if fold == "all" else found
    key, path = ("run", Path(run)) if run is not None else ("run_dir", run_dir)
    if path is not None:
        return _check_folder(key, path, fold=fold, named=named)
    fold = 0 if fold is None else fold
    found = _find_configuration(
        find_experiment(output_dir, experiment or _EXPERIMENT), model=model, variant=variant, fold=fold
    )
    return found if fold == "all" else found / f"fold_{fold}"


def find_last(
    output_dir: Path,
    *,
    experiment: str | None = None,
    model: str | None = None,
    variant: str | None = None,
    fold: int | None = None,
) -> Path:
    """Return the folder of the finished run that ended last, among those that these name; None is any."""
    folder = output_dir if experiment is None else find_experiment(output_dir, experiment)
    named = {"model": model, "variant": variant, "fold": fold}
    ended: list[tuple[str, Path]] = []
    for path in folder.rglob(f"fold_*/{NAME}"):
        with contextlib.suppress(DataError):  # a damaged one is not the newest finished one
            info = RunDirectory(path.parent).read_info()
            if info.is_finished and all(value in (None, getattr(info, name)) for name, value in named.items()):
                ended.append((info.finished or "", path.parent))
    if not ended:
        asked = ", ".join(f"{name}={value}" for name, value in named.items() if value is not None)
        raise ConfigError(f"run={LAST}: no finished run in {folder}{f' with {asked}' if asked else ''}")
    last = max(ended)[1]
    log.info("run=%s: %s", LAST, last)
    return last


def _check_folder(key: str, path: Path, *, fold: int | Literal["all"] | None, named: Mapping[str, str | None]) -> Path:
    """Return the folder of the run or configuration that a path names, or refuse what contradicts it."""
    if not path.is_dir():
        raise ConfigError(f"{key}: there is no folder {path}{list_beside(path)}")
    for name, value in named.items():
        if value is not None:
            raise ConfigError(
                f"{name}={value} has no effect with {key}: the folder says which run; leave out one of them"
            )
    if RunDirectory(path).is_begun:
        if fold is not None and path.resolve().name != f"fold_{fold}":
            raise ConfigError(
                f"{key}: {path} is one fold, and fold={fold} another; fold=all goes with its parent folder"
            )
        return path
    return path if fold in (None, "all") else path / f"fold_{fold}"


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
    if not found:
        folds = sorted({each for folds in of_model.values() for each in folds})
        there = ", ".join(f"fold_{each}" for each in folds)
        raise ConfigError(f"{folder / model}: no run of fold={fold}; the folds here: {there}")
    if variant is not None:
        return _choose_variant(folder / model, variant, found, fold=fold)
    if Path() in found or len(found) == 1:
        return found.get(Path(), next(iter(found.values())))
    raise ConfigError(
        f"{folder / model} has {len(found)} variants: choose one with variant=NAME",
        choices=_list_variants(found, fold=fold),
    )


def _choose_variant(folder: Path, variant: str, found: Mapping[Path, Path], *, fold: int | Literal["all"]) -> Path:
    """Return the folder of a variant, which is given as it is listed, or as a folder that was pasted."""
    if Path(variant) in found:
        return found[Path(variant)]
    pasted = Path(variant).parent if re.fullmatch(r"fold_\d+", Path(variant).name) else Path(variant)
    places = [path.resolve() for path in (pasted, folder / pasted, folder.parent / pasted, folder.parents[1] / pasted)]
    for place in found.values():
        if place.resolve() in places:
            return place
    names = [str(name) for name in found if name != Path()]
    near = suggest(variant, names)
    if near.startswith("; did you mean"):
        raise ConfigError(f"{folder}: no run of variant={variant!r}{near}")
    raise ConfigError(
        f"{folder}: no run of variant={variant!r}; there are {len(found)}", choices=_list_variants(found, fold=fold)
    )


def _list_variants(found: Mapping[Path, Path], *, fold: int | Literal["all"]) -> list[str]:
    """Return the variants with what became of them, the finished ones first, the failed ones last."""
    described = []
    for name, place in found.items():
        one = read_configuration(place)
        has_fold = any(fold in ("all", info.fold) for info in one.infos)
        state = one.state if fold == "all" else one.unfinished.get(fold, "")
        is_failed = "failed" in state and not has_fold
        described.append((not has_fold, is_failed, str(name) if name != Path() else "(the defaults)", state))
    return [f"{name} ({state})" if state else name for *_, name, state in sorted(described)]


def find_experiment(output_dir: Path, experiment: str) -> Path:
    """Find the folder of an experiment, or refuse its name with the near matches."""
    folder = output_dir / experiment
    if not folder.is_dir():
        there = [path.name for path in output_dir.glob("[!.]*") if _list_folds(path)] if output_dir.is_dir() else []
        raise ConfigError(f"{folder}: no such experiment{suggest(experiment, sorted(there))}")
    return folder


def open_configuration(path: Path) -> Configuration:
    """Open the folder of a finished run, or of a configuration, whose finished folds count; else a `ConfigError`."""
    if RunDirectory(path).is_begun or path not in _list_folds(path):
        return read_single(open_run(path))
    configuration = read_configuration(path)
    if not configuration.runs:
        raise ConfigError(f"{path}: no finished fold here ({configuration.state})")
    if not configuration.is_complete:
        log.warning("%s: %s; what follows is of the finished ones", path, configuration.missing)
    return configuration


def open_run(path: Path) -> RunDirectory:
    """Open the folder of a finished run; anything else is a `ConfigError`."""
    run = RunDirectory(path)
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder{list_beside(path)}")
    if not run.is_begun:
        raise _say_not_a_run(path)
    if (status := run.read_info().status) != "finished":
        raise ConfigError(
            f"{path}: this run is {status}, not finished; the command that began it resumes it, and evaluate "
            "unfinished=true scores the best epoch so far"
        )
    return run


def _say_not_a_run(path: Path) -> ConfigError:
    """Return the error for a folder that is none of a run or of folds; it lists the folders of folds that are below."""
    below = _list_folds(path)
    if folds := below.get(path):
        return ConfigError(f"{path}: not the folder of a run; did you mean {path}/fold_{folds[0]}?")
    if below:
        listed = tuple(f"{place} ({', '.join(f'fold_{fold}' for fold in folds)})" for place, folds in below.items())
        return ConfigError(f"{path}: not the folder of a run; the folders of runs below it are", choices=listed)
    return ConfigError(f"{path}: not the folder of a run; a run's folder is called fold_<k> and has a {NAME}")


def list_beside(path: Path) -> str:
    """Return the folds that are there, or the folders of runs, in place of one that was never trained."""
    number = re.fullmatch(r"fold_(\d+)", path.name)
    below = _list_folds(path.parent) if number and path.parent.is_dir() else {}  # any other may be anywhere
    if folds := below.get(path.parent):
        return f"; the folds there: {', '.join(f'fold_{fold}' for fold in folds)}"
    near = [place / path.name for place, folds in below.items() if number and int(number[1]) in folds]
    return f"; did you mean {' or '.join(map(str, near[:3]))}?" if near else ""


def list_configurations(folder: Path) -> list[Configuration]:
    """Read every configuration below a folder, in the order of their folders."""
    return [read_configuration(place) for place in _list_folds(folder)]


def _list_folds(folder: Path) -> dict[Path, list[int]]:
    """Return the numbers of the folds, finished or not, in each folder of a configuration at or below a folder."""
    places: dict[Path, list[int]] = {}
    for path in sorted(folder.rglob(f"fold_*/{NAME}")):
        number = path.parent.name.removeprefix("fold_")
        places.setdefault(path.parent.parent, []).append(int(number) if number.isdecimal() else -1)
    return {place: sorted(folds) for place, folds in sorted(places.items())}
