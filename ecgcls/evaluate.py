"""Score a run again, a bundle on other data, or anybody's predictions: ``python -m ecgcls.evaluate --help``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from ecgcls.command.arguments import refuse_unused
from ecgcls.command.start import run_command
from ecgcls.config import DataPlace, RunsChoice, Text
from ecgcls.errors import ConfigError
from ecgcls.evaluation.settings import Bootstrap, LocalCalibration, Subgroups, ThresholdRule

if TYPE_CHECKING:
    from ecgcls.runs.configuration import Configuration


class ExternalData(DataPlace):
    """Another data set than the run's own."""

    missing_records: Literal["error", "drop"]
    bad_records: Literal["error", "drop"]
    repairs: Literal["note", "refuse_doubtful", "refuse"]
    shorter: Literal["refuse", "pad"]
    known_records: Literal["error", "drop"]
    store_dir: Path | None


def evaluate(
    *,
    bundle: Path | None,
    split: Literal["test", "val"],
    unfinished: bool,
    data: ExternalData,
    intervals: Annotated[dict[str, Any], Bootstrap],
    calibration: Annotated[dict[str, Any], LocalCalibration],
    thresholds: Annotated[dict[str, Any], ThresholdRule],
    subgroups: Annotated[dict[str, Any], Subgroups],
    prevalence: float | dict[str, float] | None,
    error_rate: float | None,
    records: Text | None,
    leads: list[str] | str | None,
    predictions: Path | None,
    y_true: Path | None,
    y_prob: Path | None,
    class_names: Text | None,
    patient_id: Path | None,
    values: Literal["probabilities", "logits"],
    device: str,
    trust: Text | None,
    output: Path | None,
    **which: Unpack[RunsChoice],
) -> None:
    """Score what the settings name, write the results and print the table."""
    local = {name: calibration.pop(name) for name in ("share", "seed")}
    overrides = {
        "intervals": intervals,
        "calibration": calibration,
        "thresholds": thresholds,
        "subgroups": subgroups,
        "prevalence": prevalence,
    }
    if error_rate is not None:
        from ecgcls.evaluation.conformal import check_error_rate

        check_error_rate(error_rate)
    files = {"predictions": predictions, "y_true": y_true, "y_prob": y_prob}
    given = [name for name, path in files.items() if path is not None]
    is_elsewhere = "_target_" in data or data["root"] is not None
    elsewhere = "data.root" if data["root"] is not None else "data="
    if unfinished and (given or is_elsewhere):
        raise ConfigError(f"unfinished=true scores a run on its own data: leave out {(given or [elsewhere])[0]}")
    if leads is not None:
        refuse_unused(
            {name: path for name, path in files.items() if path is not None}
            | {elsewhere: is_elsewhere or None, "unfinished": unfinished or None, "error_rate": error_rate}
            | {"prevalence": prevalence},
            "with leads=, which scores the nets of a finished run on its own data",
        )
    if bundle is not None:
        of_runs = {name: value for name, value in which.items() if name != "output_dir"}
        refuse_unused(
            of_runs | files | {"unfinished": unfinished or None, "leads": leads, "split": split.replace("test", "")},
            "with bundle=, whose nets are scored on another data set",
        )
        if not is_elsewhere:
            raise ConfigError("bundle= has no stored predictions: data.root=PATH is missing, on which to score it")
    if given and is_elsewhere:
        raise ConfigError(f"{given[0]} and {elsewhere}: expected one of them, what to score")
    of_arrays = {"class_names": class_names, "patient_id": patient_id, "values": values.replace("probabilities", "")}
    of_data = {
        "data.missing_records": data["missing_records"].replace("error", ""),
        "data.shorter": data["shorter"].replace("refuse", ""),
        "data.known_records": data["known_records"].replace("drop", ""),
        "data.store_dir": data["store_dir"],
        "device": device.replace("cpu", ""),
    }
    if given:
        of_runs = {name: value for name, value in which.items() if name != "output_dir"}
        refuse_unused(of_runs | of_data | {"error_rate": error_rate}, f"with {given[0]}=, which needs no run")
        if predictions is not None:
            unused = {**files, **of_arrays, "predictions": None}
            refuse_unused(unused, "with predictions=, a table that has it all")
        elif split != "test":
            raise ConfigError(f"split={split} has no effect on arrays, which have no split: all their rows are test")
    else:
        refuse_unused(of_arrays, "without y_true= and y_prob=")
        if not is_elsewhere:
            if unfinished or leads is not None:  # the nets predict again
                del of_data["device"], of_data["data.store_dir"]
            if unfinished:
                refuse_unused({"error_rate": error_rate}, "with unfinished=true, whose validation is not over")
            refuse_unused(of_data, "without data.root=: the run's stored predictions are scored")
    if not is_elsewhere:
        refuse_unused({f"calibration.{name}": value for name, value in local.items()}, "without another data set")

    from ecgcls.files import name_file
    from ecgcls.jobs.external_notes import find_data_set, format_notes
    from ecgcls.jobs.rescore import name_folder, parse_records, read_predictions_files, rescore, write_rescored
    from ecgcls.jobs.score_table import format_table, tabulate
    from ecgcls.jobs.trust import split_names
    from ecgcls.outputs import check_output, claimed
    from ecgcls.runs.find import choose_members, choose_unfinished
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
    elif unfinished:
        from ecgcls.jobs.trust import split_names
        from ecgcls.jobs.unfinished import score_unfinished

        stopped = choose_unfinished(**which)
        name = f"{name_folder(split, overrides, root=None, records=records)}-unfinished"
        folder = output or stopped.path / "evaluate" / name
        check_output(folder, "evaluate")
        rescored = score_unfinished(
            stopped,
            split=split,
            overrides=overrides,
            device=device,
            output_dir=which["output_dir"],
            store_dir=data["store_dir"],
            trust=split_names(trust),
        )
    elif bundle is not None:
        from ecgcls.jobs.external import predict_data_set
        from ecgcls.jobs.tested import load_tested_bundle
        from ecgcls.outputs import place_results

        named = name_folder(
            split, overrides, root=find_data_set(data), records=records, error_rate=error_rate, local=local
        )
        folder = output or place_results(bundle, which["output_dir"]) / "evaluate" / named
        check_output(folder, "evaluate")
        nets = load_tested_bundle(bundle, device=device, trust=split_names(trust))
        rescored = predict_data_set(
            nets, data=data, split=split, overrides=overrides, local=local, error_rate=error_rate
        )
    else:
        members, is_ensemble = choose_members(**which)
        one = members[0]
        if is_ensemble:
            from ecgcls.jobs.ensemble import format_members, make_ensemble, read_settings

            if leads is not None:
                raise ConfigError("leads= scores single nets: leave it out, or name one run")
            one = make_ensemble(members, read_settings(which), output_dir=which["output_dir"])
            print(f"\n{format_members(one)}")
        place = find_data_set(data) if is_elsewhere else None
        named = name_folder(split, overrides, root=place, records=records, error_rate=error_rate, local=local)
        if leads is not None:
            named = f"{named}-leads-{name_file(leads if isinstance(leads, str) else '-'.join(leads))}"
        if (
            is_ensemble
            and not is_elsewhere
            and (named, output) == ("test", None)
            and not _changes(intervals, subgroups)
        ):
            return _show_own(one)
        folder = output or one.folder / "evaluate" / named
        check_output(folder, "evaluate")
        if leads is not None:
            how: dict[str, Any] = {"overrides": overrides, "device": device, "trust": split_names(trust)}
            how["store_dir"] = data["store_dir"]
            how |= {"split": split, "records": records, "output_dir": which["output_dir"]}
            return _score_subsets(one, leads, folder, **how)
        if is_elsewhere:
            from ecgcls.jobs.external import predict_data_set
            from ecgcls.jobs.load import load_tested  # torch: stored predictions are scored without it

            tested = load_tested(one, device=device, trust=split_names(trust))
            how = {"overrides": overrides, "local": local, "error_rate": error_rate}
            rescored = predict_data_set(tested, data=data, split=split, **how)
            if len(own := rescored.own_tests):
                own_tests = one.runs[0].read_predictions("test").take(own)
                command, output_dir = "evaluate data.root", which["output_dir"]
                log_official_test(one.runs[0], one.info, output_dir=output_dir, command=command, tested=own_tests)
        else:
            rescored = rescore(one, split=split, overrides=overrides, error_rate=error_rate)
            if split == "test":
                for run, info in zip(one.runs, one.infos, strict=True):
                    log_official_test(run, info, output_dir=which["output_dir"], command="evaluate")
    if records is not None:
        rescored = rescored.narrow(parse_records(records))
    with claimed(folder, "evaluate"):
        write_rescored(rescored, folder)
    rule = rescored.settings.thresholds.rule
    table = format_table(tabulate(folder, split, rule=rule, not_tuned=rescored.not_tuned))
    stated = _format_stated(folder, split)
    if error_rate is not None:
        stated += _format_sets(folder, error_rate)
    print(f"\n{rescored.title} ({len(rescored.predictions)} records):\n{table}\n{stated}")
    if is_elsewhere:
        print(format_notes(rescored))
    print(folder)


def _changes(*settings: Mapping[str, object]) -> bool:
    """Whether any of the settings is given."""
    return any(value is not None for each in settings for value in each.values())


def _show_own(one: "Configuration") -> None:
    """Print the scores that an ensemble has in its own folder."""
    from ecgcls.jobs.score_table import format_table, tabulate

    folder = one.folder if one.is_single_run else one.folder / "cv"
    not_tuned = {name for info in one.infos for name in info.read_decisions().not_tuned}
    table = format_table(tabulate(folder, "test", rule=one.evaluation.thresholds.rule, not_tuned=not_tuned))
    stated = _format_stated(folder, "test")
    print(f"\n{one.title}, test ({len(one.tested)} records):\n{table}\n{stated}\n{folder}")


def _score_subsets(
    one: "Configuration",
    leads: str | list[str],
    folder: Path,
    *,
    split: Literal["test", "val"],
    records: str | None,
    output_dir: Path,
    **how: Any,
) -> None:
    """Score subsets of the leads, write the results and print the table."""
    from ecgcls.jobs.lead_subsets import score_subsets, write_subsets
    from ecgcls.jobs.rescore import parse_records
    from ecgcls.jobs.score_table import describe_mark
    from ecgcls.outputs import claimed
    from ecgcls.runs.leaks import log_official_test

    scored = score_subsets(one, leads, split=split, **how)
    if split == "test":
        for run, info in zip(one.runs, one.infos, strict=True):
            log_official_test(run, info, output_dir=output_dir, command="evaluate leads")
    if records is not None:
        scored = scored.narrow(parse_records(records))
    with claimed(folder, "evaluate"):
        table = write_subsets(scored, folder)
    n_records = len(next(iter(scored.predictions.values())))
    text = table.to_string()
    if note := describe_mark(text, "leads.csv"):
        text = f"{text}\n{note}"
    print(f"\n{scored.title} ({n_records} records), by the leads that are there:\n{text}\n\n{folder}")


def _format_stated(folder: Path, split: str) -> str:
    """Return the predictive values at the stated prevalence as text; empty where none was stated."""
    import pandas as pd

    table = pd.read_csv(folder / "metrics_by_class.csv", keep_default_na=False, na_values=[""])
    if "stated_prevalence" not in table:
        return ""
    names = {"class": "", "stated_prevalence": "prevalence", "precision_at_stated": "PPV", "npv_at_stated": "NPV"}
    shown = table.loc[(table["split"] == split) & table["stated_prevalence"].notna(), list(names)]
    text = shown.rename(columns=names).to_string(index=False, float_format="{:.3f}".format)
    return f"\nPredictive values at the stated prevalence:\n{text}\n"


def _format_sets(folder: Path, error_rate: float) -> str:
    import pandas as pd

    from ecgcls.jobs.certainty import format_certainty

    return format_certainty(
        pd.read_csv(folder / "conformal.csv", dtype={"class": str}, keep_default_na=False, na_values=[""]), error_rate
    )


if __name__ == "__main__":
    run_command(evaluate)
