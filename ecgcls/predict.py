"""Apply a finished run to ECGs: ``python -m ecgcls.predict --help``."""

import sys
from pathlib import Path
from typing import Unpack

from ecgcls.command.start import run_command
from ecgcls.config import RunChoice, Text
from ecgcls.errors import ConfigError, DataError

_FAILED = 2  # exit code if some records could not be used


def predict(
    *, input: Text | None, output: Path | None, device: str, trust: Text | None, **which: Unpack[RunChoice]
) -> None:
    """Predict what the settings name, write the results and print the table.

    Raises
    ------
    SystemExit
        With code 2 if some records could not be used.
    """
    if input is None:
        raise ConfigError("input=PATH is missing: a WFDB record, a folder, a glob or a CSV list of records")
    from ecgcls.runs.find import choose_configuration, name_output

    one = choose_configuration(**which)
    from tqdm import tqdm

    from ecgcls.data.record_files import find_recordings
    from ecgcls.jobs.apply import MAX_SHOWN, format_predictions, predict_files, write_predictions
    from ecgcls.jobs.load import load_configuration
    from ecgcls.jobs.trust import split_names
    from ecgcls.outputs import check_output, claimed

    run = load_configuration(one, device=device, trust=split_names(trust))
    paths = find_recordings(input, sampling_rate_hz=run.sampling_rate_hz)
    folder = output or one.folder / "predict" / name_output(input)
    check_output(folder, "predict")
    predictions, failures = {}, {}
    for path, result in tqdm(predict_files(run, paths), total=len(paths), unit=" records", disable=None):
        if isinstance(result, DataError):
            failures[str(path)] = " ".join(str(result).split())
        else:
            predictions[str(path)] = result
    with claimed(folder, "predict"):
        write_predictions(folder, predictions, failures, run=run, source=input)
    if predictions:
        print(format_predictions(predictions, run))
    for record, reason in list(failures.items())[:MAX_SHOWN]:
        print(f"not used: {record}: {reason}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(paths)} records could not be used: {folder / 'failed.csv'}", file=sys.stderr)
    print(folder)
    if failures:
        raise SystemExit(_FAILED)


if __name__ == "__main__":
    run_command(predict)
