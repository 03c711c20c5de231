"""Apply a finished run to ECGs: ``python -m ecgcls.predict --help``."""

import sys
from pathlib import Path
from typing import Literal, Unpack

from ecgcls.command.start import run_command
from ecgcls.config import RunsChoice, Text
from ecgcls.errors import ConfigError, DataError

_FAILED = 2  # exit code if some records could not be used


def predict(
    *,
    input: Text | None,
    repairs: Literal["note", "refuse"],
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
    from ecgcls.runs.find import choose_members

    if error_rate is not None:
        check_error_rate(error_rate)

    members, is_ensemble = choose_members(**which)
    one = members[0]
    if is_ensemble:
        from ecgcls.jobs.ensemble import make_ensemble, read_settings

        one = make_ensemble(members, read_settings(which), output_dir=which["output_dir"])
    from tqdm import tqdm

    from ecgcls.data.archives import unpacked
    from ecgcls.data.record_files import find_recordings
    from ecgcls.files import printable
    from ecgcls.jobs.apply import predict_files
    from ecgcls.jobs.load import load_configuration
    from ecgcls.jobs.prediction_files import PredictionFiles, format_predictions
    from ecgcls.jobs.trust import split_names
    from ecgcls.outputs import check_output, claimed, name_output

    run = load_configuration(one, device=device, trust=split_names(trust))
    folder = output or one.folder / "predict" / name_output(input)
    check_output(folder, "predict")
    with unpacked(input) as source:

        def say(text: object) -> str:
            """Name a ZIP file instead of the temporary folder with its content."""
            return str(text).replace(source, input)

        try:
            paths = find_recordings(source, sampling_rate_hz=run.sampling_rate_hz)
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


if __name__ == "__main__":
    run_command(predict)
