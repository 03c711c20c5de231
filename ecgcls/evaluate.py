"""Score a finished run again, or anybody's predictions: ``python -m ecgcls.evaluate --help``."""

from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

from ecgcls.command.start import run_command
from ecgcls.config import DataPlace, RunChoice, Text
from ecgcls.errors import ConfigError
from ecgcls.evaluation.settings import Bootstrap, CalibrationRule, Subgroups, ThresholdRule


class ExternalData(DataPlace):
    """Another data set than the run's own."""

    missing_records: Literal["error", "drop"]
    store_dir: Path | None


def evaluate(
    *,
    split: Literal["test", "val"],
    data: ExternalData,
    intervals: Annotated[dict[str, Any], Bootstrap],
    calibration: Annotated[dict[str, Any], CalibrationRule],
    thresholds: Annotated[dict[str, Any], ThresholdRule],
    subgroups: Annotated[dict[str, Any], Subgroups],
    prevalence: float | dict[str, float] | None,
    records: Text | None,
    predictions: Path | None,
    y_true: Path | None,
    y_prob: Path | None,
    class_names: Text | None,
    patient_id: Path | None,
    values: Literal["probabilities", "logits"],
    device: str,
    trust: Text | None,
    output: Path | None,
    **which: Unpack[RunChoice],
) -> None:
    """Score what the settings name, write the results and print the table."""
    overrides = {
        "intervals": intervals,
        "calibration": calibration,
        "thresholds": thresholds,
        "subgroups": subgroups,
        "prevalence": prevalence,
    }
    files = {"predictions": predictions, "y_true": y_true, "y_prob": y_prob}
    given = [name for name, path in files.items() if path is not None]
    if given and data["root"] is not None:
        raise ConfigError(f"{given[0]} and data.root: expected one of them, what to score")

    from ecgcls.jobs.rescore import name_folder, parse_records, read_predictions_files, rescore, write_rescored
    from ecgcls.jobs.results import format_table, tabulate
    from ecgcls.outputs import check_output, claimed
    from ecgcls.runs.find import choose_configuration
    from ecgcls.runs.leaks import log_official_test

    if given:
        rescored, source = read_predictions_files(
            predictions,
            y_true,
            y_prob,
            class_names=class_names,
            patient_id=patient_id,
            values=values,
            split=split,
            overrides=overrides,
        )
        folder = output or source.with_name(f"{source.stem}_evaluation")
    else:
        one = choose_configuration(**which)
        named = name_folder(split, overrides, root=data["root"], records=records)
        folder = output or one.folder / "evaluate" / named
        check_output(folder, "evaluate")
        if data["root"] is not None:
            from ecgcls.jobs.external import predict_data_set  # torch: stored predictions are scored without it
            from ecgcls.jobs.trust import split_names

            rescored = predict_data_set(
                one,
                root=data["root"],
                missing_records=data["missing_records"],
                store_dir=data["store_dir"],
                split=split,
                device=device,
                overrides=overrides,
                trust=split_names(trust),
            )
        else:
            rescored = rescore(one, split=split, overrides=overrides)
            if split == "test":
                for run, info in zip(one.runs, one.infos, strict=True):
                    log_official_test(run, info, output_dir=which["output_dir"], command="evaluate")
    if records is not None:
        rescored = rescored.narrow(parse_records(records))
    with claimed(folder, "evaluate"):
        write_rescored(rescored, folder)
    table = format_table(tabulate(folder, split))
    print(f"\n{rescored.title} ({len(rescored.predictions)} records):\n{table}\n\n{folder}")


if __name__ == "__main__":
    run_command(evaluate)
