"""Make an ensemble of finished runs: a folder of its own that stands beside them as any other run.

``<experiment>/ensemble/<name>/fold_<k>/`` holds what a run's folder holds but for a net and the waveforms, which its
members have: predictions before recalibration (the mean of the members' recalibrated ones) and after, scores, figures.
Calibrator and thresholds are learned on the mean's predictions of the validation records. Members that are folders of
folds give an ensemble for each fold, and ``cv/``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ecgcls.config import PLAIN_NAME, RunsChoice
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.blending import Average, Blend, Weights
from ecgcls.evaluation.decisions import learn_decisions
from ecgcls.evaluation.metrics import score_predictions
from ecgcls.evaluation.predictions import Predictions
from ecgcls.jobs.cross_validate import cross_validate
from ecgcls.jobs.results import write_results
from ecgcls.runs.attested import hash_uncalibrated
from ecgcls.runs.configuration import Configuration, read_single
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from ecgcls.runs.info import RunInfo
from ecgcls.runs.leaks import describe_checks, log_official_test
from ecgcls.runs.members import blend_members, check_same, describe_members, open_members
from ecgcls.runs.provenance import describe_provenance
from ecgcls.runs.saved import to_plain

log = logging.getLogger(__name__)

MODEL = "ensemble"
"""What stands for the model in an ensemble's folder and in tables."""
_COPIED = ("data", "task", "folds", "evaluation")  # of a member's configuration


@dataclass(frozen=True)
class EnsembleSettings:
    """How members are averaged, what the ensemble is called, and in which experiment it stands.

    `name` None: after its members. `experiment` None: that of the members, if they have the same.
    """

    average: Average = "logits"
    weights: Weights = "equal"
    name: str | None = None
    experiment: str | None = None

    def __post_init__(self) -> None:
        for key in ("name", "experiment"):
            if (name := getattr(self, key)) is not None and not PLAIN_NAME.fullmatch(name):
                raise ConfigError(f"{key} must be a name of letters, digits, '.', '_', '+' and '-', got {name!r}")


def make_ensemble(members: Sequence[Configuration], settings: EnsembleSettings, *, output_dir: Path) -> Configuration:
    """Make an ensemble of runs, or one of each fold of configurations; the order of the members does not matter.

    One that is there and whose members are what they were is returned as it is.

    Raises
    ------
    ConfigError
        If a member is named twice, is an ensemble itself, or cannot be averaged with the others (`runs.members`); if
        the members are of several experiments and none is named; or if the folder holds another ensemble.
    """
    place = _place(members, settings, output_dir)
    keys = {_name_member(one, place): one for one in members}
    if len(keys) < len(members):
        raise ConfigError(f"a run is named twice among the members: {', '.join(str(one.folder) for one in members)}")
    ordered = [keys[key] for key in sorted(keys)]
    node: dict[str, Any] = {"_target_": f"{Blend.__module__}.{Blend.__name__}", "members": sorted(keys)}
    node |= {"average": settings.average, "weights": settings.weights}
    variant = settings.name or _name(ordered, node)
    folder, folds = place / MODEL / variant, _match_folds(ordered)
    made = {fold: RunDirectory(folder / f"fold_{fold}") for fold in folds}
    for fold, run in made.items():
        _check_folder(run, node)
        check_same(folds[fold])
    missing = [fold for fold, run in made.items() if not _is_in_order(run)]
    for fold in missing:
        _make_fold(made[fold], folds[fold], node, fold=fold, variant=variant, output_dir=output_dir)
    if ordered[0].is_single_run:
        return read_single(next(iter(made.values())))
    if missing or not (folder / "cv" / "metrics.json").is_file():
        cross_validate(folder)
    return open_configuration(folder)


def format_members(one: Configuration) -> str:
    """Return what an ensemble is the mean of, with the weights where they were fitted, in words."""
    of = one.info.ensemble
    lines = [f"Mean of the {of['average']} of {len(of['members'])} runs, weights {of['weights']}:"]
    for number, member in enumerate(of["members"]):
        weights = ", ".join(f"{info.ensemble['members'][number]['weight']:.3f}" for info in one.infos)
        lines.append(f"  {weights}  {member['experiment']}/{member['model']}/{member['variant']}".rstrip("/"))
    if of["weights"] == "validation":
        lines.append(
            "The weights were fitted to the validation records, on which calibrator and thresholds are learned, too: "
            "validation scores are the more optimistic, test scores are not"
        )
    return "\n".join(lines)


def read_settings(which: RunsChoice) -> EnsembleSettings:
    """Return what a command's settings say of an ensemble."""
    return EnsembleSettings(
        which["average"] or "logits", which["weights"] or "equal", which["name"], which["experiment"]
    )


def _place(members: Sequence[Configuration], settings: EnsembleSettings, output_dir: Path) -> Path:
    """Return the folder of the experiment in which an ensemble stands."""
    if settings.experiment is not None:
        return output_dir / settings.experiment
    places = {}
    for one in members:
        info = one.info
        above = one.runs[0].path.resolve().parents[2 if info.variant else 1]  # <experiment>/<model>/<variant>/fold_<k>
        places[above] = above.name == info.experiment
    if len(places) > 1 or not all(places.values()):
        raise ConfigError(
            f"the members are not in the folder of one experiment ({', '.join(map(str, places))}): experiment=NAME "
            "says in which the ensemble stands"
        )
    (place,) = places
    return place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place


def _name_member(one: Configuration, place: Path) -> str:
    """Return where a member's folds are, or its only one, seen from the experiment's folder."""
    return Path(os.path.relpath(one.folder.resolve(), place.resolve())).as_posix()


def _name(members: Sequence[Configuration], node: Mapping[str, Any]) -> str:
    """Name an ensemble after its members' models, such as ``2xcnn1d+cnn2d~0a1b2c3d``; two never share a name."""
    counts = Counter(one.info.model for one in members)
    models = "+".join(f"{count}x{model}" if count > 1 else model for model, count in sorted(counts.items()))
    digest = hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()[:8]
    asked = [str(node[key]) for key, usual in (("average", "logits"), ("weights", "equal")) if node[key] != usual]
    return f"{'-'.join([models[:100], *asked])}~{digest}"


def _match_folds(members: Sequence[Configuration]) -> dict[int, list[RunDirectory]]:
    """Return the members of each fold, in order."""
    if len(kinds := {one.is_single_run for one in members}) > 1:
        single = next(one.folder for one in members if one.is_single_run)
        raise ConfigError(f"{single} is one fold, other members are folders of folds: name folds of all, or of none")
    if kinds == {True}:
        return {members[0].info.fold: [one.runs[0] for one in members]}
    folds = [[info.fold for info in one.infos] for one in members]
    for one, own in zip(members, folds, strict=True):
        if own != folds[0]:
            raise ConfigError(
                f"{one.folder} has the finished folds {own}, {members[0].folder} {folds[0]}: train the rest"
            )
    return {fold: [one.runs[number] for one in members] for number, fold in enumerate(folds[0])}


def _check_folder(run: RunDirectory, node: Mapping[str, Any]) -> None:
    """Refuse the folder of another ensemble, or of something else."""
    run.check_own()
    if run.is_begun and (found := to_plain(run.read_config()).get("model")) != node:
        raise ConfigError(f"{run.path} holds another ensemble ({found}): choose another name=NAME")


def _is_in_order(run: RunDirectory) -> bool:
    """Whether an ensemble is there and follows from its members as they are; why not is told."""
    try:
        if not run.is_finished:
            return False
        open_members(run)
        run.attest()
    except DataError as error:
        log.info("Made anew: %s", error)
        return False
    return True


def _make_fold(
    run: RunDirectory,
    members: Sequence[RunDirectory],
    node: Mapping[str, Any],
    *,
    fold: int,
    variant: str,
    output_dir: Path,
) -> None:
    """Average, recalibrate, choose thresholds, score and draw."""
    started, clock = _now(), time.perf_counter()
    mean, blend = blend_members(members, average=node["average"], weights=node["weights"])
    config = _make_config(members[0], node, experiment=run.path.absolute().parents[2].name, fold=fold)
    info = replace(
        _describe(members, experiment=config["experiment"], variant=variant, fold=fold),
        started=started,
        ensemble=describe_members(members, blend, weights=node["weights"], folder=run.path),
    )
    with run.locked():
        run.clear()
        run.path.joinpath("figures").mkdir(exist_ok=True)
        run.write_info(info)
        text = yaml.safe_dump(config, sort_keys=False)
        run.write_config(text)
        run.write_predictions(mean, is_calibrated=False)
        uncalibrated = run.read_predictions(is_calibrated=False)
        scored = _score(run, uncalibrated, info, Configuration(run.path, tuple(members), 1))
        fingerprints = {"predictions": hash_uncalibrated(uncalibrated)}
        fingerprints["config"] = hashlib.sha256(text.encode()).hexdigest()
        official = log_official_test(run, scored, output_dir=output_dir, command="evaluate")
        stages = {**scored.stages_s, "score": round(time.perf_counter() - clock, 3)}
        leakage = scored.leakage | {"official_test_fold": official}
        run.write_info(
            replace(
                scored,
                status="finished",
                finished=_now(),
                fingerprints=fingerprints,
                leakage=leakage,
                stages_s=stages,
            )
        )


def _score(run: RunDirectory, uncalibrated: Predictions, info: RunInfo, members: Configuration) -> RunInfo:
    """Write predictions, scores and figures; return what is known then."""
    settings = info.evaluation
    decisions = learn_decisions(
        uncalibrated.select("val"),
        calibration=settings.calibration,
        thresholds=settings.thresholds,
        own_thresholds=info.own_thresholds,
    )
    decisions.check_learned_on(info.hash_part("val"))
    predictions = decisions.apply(uncalibrated)
    run.write_predictions(predictions)
    run.write_groups(members.groups.loc[predictions.ecg_id])
    if (likelihoods := members.likelihoods) is not None:
        run.write_likelihoods(likelihoods)
    write_results(
        run.path,
        predictions,
        title=f"{info.title}, test",
        threshold=[decisions.thresholds[name] for name in predictions.class_names],
        uncalibrated=uncalibrated,
        settings=settings,
        groups=members.groups,
        likelihoods=likelihoods,
    )
    val = score_predictions(predictions.select("val")).overall
    run.write_history(pd.DataFrame([{"epoch": 0, **{f"val/{key}": val[key] for key in ("pr_auc", "roc_auc")}}]))
    checks = describe_checks(info, learned_on=decisions.records_sha256)
    checks["standardizer"] = {"fitted_on": "train", "of": "each member"}
    return replace(info, thresholds=dict(decisions.thresholds), decisions=decisions.to_dict(), leakage=checks)


def _describe(members: Sequence[RunDirectory], *, experiment: str, variant: str, fold: int) -> RunInfo:
    """Return what an ensemble's ``run.json`` has of its members: the first one's data, the largest training part."""
    infos = [member.read_info() for member in members]
    data: dict[str, Any] = to_plain(infos[0].data)
    data["parts"]["train"] = to_plain(
        max((info.data["parts"]["train"] for info in infos), key=lambda part: part["n_records"])
    )
    if metadata := sorted({name for info in infos for name in info.data.get("metadata", [])}):
        data["metadata"] = metadata
    data.pop("windows", None)
    return RunInfo(
        status="running",
        experiment=experiment,
        model=MODEL,
        variant=variant,
        fold=fold,
        seed=infos[0].seed,
        kind="ensemble",
        synthetic=any(info.synthetic for info in infos),
        **describe_provenance(),
        data=data,
        evaluation=infos[0].evaluation,
        n_parameters=sum(info.n_parameters for info in infos),
        stages_s={"fit": math.fsum(info.stages_s["fit"] for info in infos)},
    )


def _make_config(member: RunDirectory, node: Mapping[str, Any], *, experiment: str, fold: int) -> dict[str, Any]:
    """Return the configuration of an ensemble: a member's data, task, folds and evaluation, and what is averaged."""
    own = to_plain(member.read_config())
    return {
        "experiment": experiment,
        "fold": fold,
        "seed": own["seed"],
        "model": dict(node),
        **{key: own[key] for key in _COPIED if key in own},
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
