"""Apply a finished run, or a bundle, to ECGs: ``python -m ecgcls.predict --help``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from ecgcls.command.arguments import refuse_unused
from ecgcls.command.start import run_command
from ecgcls.config import RunsChoice, Text
from ecgcls.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ecgcls.jobs.predictor import Predictor

_FAILED = 2  # exit code if some records could not be used


def predict(
    *,
    bundle: Path | None,
    input: Text | None,
    repairs: Literal["note", "refuse_doubtful", "refuse"],
    unusable: Literal["note", "refuse"],
    error_rate: float | None,
    output: Path | None,
    device: str,
    trust: Text | None,
    **which: Unpack[RunsChoice],
) -> None:
    """Predict what the settings name, write the results and print the table.

    Raises
    ------
    SystemExit
        With code 2 if some records could not be used.
    """
    if input is None:
        raise ConfigError("input=PATH is missing: a file of an ECG, a folder, a glob, a list of records or a ZIP file")
    from ecgcls.evaluation.conformal import check_error_rate
    from ecgcls.outputs import check_output, claimed, name_output, place_results

    if error_rate is not None:
        check_error_rate(error_rate)
    run: Predictor
    if bundle is None:
        run = _load_run(which, device=device, trust=trust)
        place = run.path
    else:
        from ecgcls.jobs.load_bundle import load_bundle

        of_runs = {name: value for name, value in which.items() if name != "output_dir"}
        refuse_unused(
            of_runs | {"trust": trust}, "with bundle=: a bundle holds its own nets, and no code of others is run"
        )
        run = load_bundle(bundle, device=device)
        place = place_results(bundle, which["output_dir"])
    from tqdm import tqdm

    from ecgcls.data.archives import unpacked
    from ecgcls.data.record_files import find_recordings
    from ecgcls.files import printable
    from ecgcls.jobs.apply import predict_files
    from ecgcls.jobs.prediction_files import PredictionFiles, format_predictions
    from ecgcls.training.memory import keep_freed_memory

    keep_freed_memory()
    folder = output or place / "predict" / name_output(input)
    check_output(folder, "predict")
    with unpacked(input) as source:

        def say(text: object) -> str:
            """Name a ZIP file instead of the temporary folder with its content."""
            return str(text).replace(source, input)

        try:
            paths = find_recordings(source, sampling_rate_hz=run.sampling_rate_hz, shown=input)
        except ConfigError as error:
            raise ConfigError(say(error)) from error
        with claimed(folder, "predict"), PredictionFiles(folder, run=run, source=input, error_rate=error_rate) as files:
            results = predict_files(run, paths, repairs=repairs, error_rate=error_rate, unusable=unusable)
            for path, result in tqdm(results, total=len(paths), unit=" records", disable=None):
                if isinstance(result, DataError):
                    files.fail(say(path), say(result))
                else:
                    files.add(say(path), result)
    if files.n_predicted:
        print(format_predictions(files, run))
    for record, reason in files.failed.items():
        print(f"not used: {printable(record)}: {printable(reason)}", file=sys.stderr)
    if files.n_failed:
        print(f"{files.n_failed} of {len(paths)} records could not be used: {folder / 'failed.csv'}", file=sys.stderr)
    print(folder)
    if files.n_failed:
        raise SystemExit(_FAILED)


def _load_run(which: RunsChoice, *, device: str, trust: str | None) -> "Predictor":
    """Load what the settings name of runs: one, the mean of folds, or an ensemble."""
    from ecgcls.jobs.trust import split_names
    from ecgcls.runs.find import choose_members

    members, is_ensemble = choose_members(**which)
    one = members[0]
    if is_ensemble:
        from ecgcls.jobs.ensemble import make_ensemble, read_settings

        one = make_ensemble(members, read_settings(which), output_dir=which["output_dir"])
    from ecgcls.jobs.load import load_configuration

    return load_configuration(one, device=device, trust=split_names(trust))


if __name__ == "__main__":
    run_command(predict)
