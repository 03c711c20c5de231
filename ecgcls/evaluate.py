"""Score a finished run again, or anybody's predictions: ``python -m ecgcls.evaluate --help``."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig

from ecgcls.command import run_command

if TYPE_CHECKING:
    from ecgcls.rescoring import Evaluated

log = logging.getLogger(__name__)

_TYPES: dict[str, Any] = {
    "experiment": str,
    "model": str | None,
    "fold": int | Literal["all"],
    "variant": str | None,
    "run_dir": str | None,
    "output_dir": str,
    "split": Literal["test", "val"],
    "data.root": str | None,
    "data.missing_records": Literal["error", "drop"],
    "data.store_dir": str | None,
    "intervals.n_resamples": int,
    "intervals.level": float,
    "intervals.method": Literal["expanded", "percentile", "bca"],
    "intervals.lost_class": Literal["redraw", "nan"],
    "intervals.min_positives": int,
    "intervals.seed": int,
    "calibration.method": Literal["none", "temperature", "platt", "isotonic", "best"] | None,
    "thresholds.rule": Literal["f1", "youden", "sensitivity", "specificity", "cost", "fixed"] | None,
    "thresholds.sensitivity": float,
    "thresholds.specificity": float,
    "thresholds.cost_ratio": float,
    "thresholds.fixed": float,
    "thresholds.min_positives": int,
    "prevalence": float | None,
    "records": str | None,
    "predictions": str | None,
    "y_true": str | None,
    "y_prob": str | None,
    "class_names": str | None,
    "patient_id": str | None,
    "values": Literal["probabilities", "logits"],
    "device": str,
    "output": str | None,
}
_TEXTS = (
    "experiment", "variant", "run_dir", "output_dir", "data.root", "data.store_dir", "records", "predictions", "y_true",
    "y_prob", "class_names", "patient_id", "output",
)  # fmt: skip


def evaluate_job(config: DictConfig) -> None:
    """Score what a configuration says and write the results."""
    from ecgcls.config import check_types

    settings = check_types(config, _TYPES)
    from ecgcls.errors import ConfigError

    given = [key for key in ("predictions", "y_true", "y_prob") if settings[key] is not None]
    if given and settings["data.root"] is not None:
        raise ConfigError(f"{given[0]} and data.root: expected one of them, what to score")
    if given:
        evaluated, output = _read_files(settings)
    else:
        evaluated, output = _read_run(settings)
    output = Path(settings["output"] or output)
    from ecgcls.evaluation.intervals import Bootstrap
    from ecgcls.evaluation.results import write_confusion_matrices, write_results
    from ecgcls.predictions_file import write_csv
    from ecgcls.runs import read_intervals, say_table, tabulate

    if given and (settings["calibration.method"] or settings["thresholds.rule"]):
        raise ConfigError("calibration and thresholds are learned on a run's validation part: not of predictions files")
    said = evaluated.predictions
    split = str(said.split[0])
    write_csv(said, output / "predictions.csv")
    title, threshold = evaluated.title, evaluated.threshold
    more = {"source": evaluated.source}
    scores = write_results(
        output,
        said,
        title=title,
        draw=split,
        threshold=threshold,
        uncalibrated=evaluated.uncalibrated,
        intervals=Bootstrap(**_select(settings, "intervals")),
        prevalence=settings["prevalence"],
        more=more,
    )
    write_confusion_matrices(output / "figures", said, threshold=threshold, title=title)
    for name, why in scores.undefined.items():
        log.warning("Not scored: %s (%s)", name, why)
    table = say_table(tabulate(scores.to_dict(), read_intervals(output)))
    print(f"\n{evaluated.title} ({len(said)} records):\n{table}\n\n{output}")


def _select(settings: dict[str, Any], group: str) -> dict[str, Any]:
    """Return the settings below a dotted key."""
    return {key.partition(".")[2]: value for key, value in settings.items() if key.startswith(f"{group}.")}


def _read_run(settings: dict[str, Any]) -> "tuple[Evaluated, Path]":
    """Return the predictions of a run, stored or made now, and where their scores go."""
    from ecgcls.runs import choose_folder, name_output

    folder, split, root = choose_folder(settings), settings["split"], settings["data.root"]
    from ecgcls.evaluation.recalibration import CalibrationRule
    from ecgcls.evaluation.thresholds import ThresholdRule
    from ecgcls.rescoring import narrow, parse_records, predict_data_set, read_cross_validation, read_run

    if root is not None:
        evaluated = predict_data_set(
            folder,
            root=Path(root),
            split=split,
            missing_records=settings["data.missing_records"],
            store_dir=Path(settings["data.store_dir"]) if settings["data.store_dir"] else None,
            device=settings["device"],
        )
        name = f"{split}-{name_output(root)}"
    else:
        calibration = CalibrationRule(settings["calibration.method"]) if settings["calibration.method"] else None
        rule = ThresholdRule(**_select(settings, "thresholds")) if settings["thresholds.rule"] else None
        is_run = (folder / "run.json").is_file()
        evaluated = (read_run if is_run else read_cross_validation)(
            folder, split=split, calibration=calibration, thresholds=rule
        )
        if split == "test":
            _log_official_test(folder, Path(settings["output_dir"]))
        parts = [settings["calibration.method"] or "", *(str(v) for v in (rule.describe() if rule else {}).values())]
        name = "-".join([split, *filter(None, parts)])
    if settings["prevalence"] is not None:
        name += f"-prevalence-{settings['prevalence']:g}"
    if settings["records"] is not None:
        evaluated = narrow(evaluated, parse_records(settings["records"]))
        name += f"-records-{name_output(settings['records'])}"
    return evaluated, folder / "evaluate" / name


def _log_official_test(folder: Path, output_dir: Path) -> None:
    """Write into the log of the official test fold that it is scored again."""
    from ecgcls.config import identify
    from ecgcls.gate import log_official_test
    from ecgcls.runs import list_folds, open_run

    for run in [open_run(folder)] if (folder / "run.json").is_file() else list_folds(folder):
        log_official_test(
            run.read_predictions().select("test"),
            run.read_info(),
            run=run.path,
            output_dir=output_dir,
            config=identify(run.read_config()),
            command="evaluate",
        )


def _read_files(settings: dict[str, Any]) -> "tuple[Evaluated, Path]":
    """Return predictions that somebody else made, and where their scores go."""
    from ecgcls.errors import ConfigError

    absent = [key for key in ("y_true", "y_prob", "class_names") if settings[key] is None]
    if settings["predictions"] is None and absent:
        raise ConfigError(f"{absent[0]} is missing: y_true, y_prob and class_names go together")
    from ecgcls.predictions_file import read_arrays, read_predictions
    from ecgcls.rescoring import Evaluated, narrow, parse_records

    if settings["predictions"] is not None:
        path = Path(settings["predictions"])
        predictions, assumptions = read_predictions(path)
        predictions = predictions.select(settings["split"])
    else:
        path = Path(settings["y_prob"])
        names = [name.strip() for name in settings["class_names"].strip("[]").split(",")]
        predictions, assumptions = read_arrays(
            Path(settings["y_true"]),
            path,
            names,
            patient_id_path=Path(settings["patient_id"]) if settings["patient_id"] else None,
            values=settings["values"],
        )
    for assumption in assumptions:
        log.warning("%s: %s", path, assumption)
    evaluated = Evaluated(predictions, path.name, {"predictions": str(path), "assumptions": assumptions})
    if settings["records"] is not None:
        evaluated = narrow(evaluated, parse_records(settings["records"]))
    return evaluated, path.with_name(f"{path.stem}_evaluation")


def main() -> None:
    """Run the command line."""
    run_command(evaluate_job, config_name="evaluate", texts=_TEXTS)


if __name__ == "__main__":
    main()
