"""Apply a finished run to ECGs: ``python -m ecgcls.predict --help``."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import DictConfig

from ecgcls.command import run_command

if TYPE_CHECKING:
    from ecgcls.inference import LoadedRun, Prediction

_TYPES: dict[str, Any] = {
    "input": str | None,
    "experiment": str,
    "model": str | None,
    "fold": int | Literal["all"],
    "variant": str | None,
    "run_dir": str | None,
    "output_dir": str,
    "output": str | None,
    "device": str,
}
_N_SHOWN = 40  # rows of the table on the screen
_FAILED = 2  # exit code where a record could not be used


def predict_job(config: DictConfig) -> None:
    """Predict what a configuration says and write the results.

    Raises
    ------
    SystemExit
        With code 2 if a record could not be used.
    """
    from ecgcls.config import check_types
    from ecgcls.errors import ConfigError

    settings = check_types(config, _TYPES)
    if settings["input"] is None:
        raise ConfigError("input=PATH is missing: a WFDB record, a folder, a glob or a CSV list of records")
    from ecgcls.runs import choose_folder, name_output

    folder = choose_folder(settings)
    import pandas as pd
    from tqdm import tqdm

    from ecgcls.data.record_files import find_recordings
    from ecgcls.errors import DataError
    from ecgcls.files import write_atomically, write_json
    from ecgcls.inference import load_run, predict_files  # heavy: only once the run is found

    run = load_run(folder, device=settings["device"])
    paths = find_recordings(settings["input"], sampling_rate_hz=run.sampling_rate_hz)
    output = Path(settings["output"] or folder / "predict" / name_output(settings["input"]))
    found, failed = {}, []
    for path, said in tqdm(predict_files(run, paths), total=len(paths), unit=" records", disable=None):
        if isinstance(said, DataError):
            failed.append({"record": str(path), "reason": " ".join(str(said).split())})
        else:
            found[str(path)] = said
    for outdated in ("predictions.csv", "predictions.json", "failed.csv"):
        (output / outdated).unlink(missing_ok=True)
    table = _tabulate(found, run)
    if found:
        write_atomically(output / "predictions.csv", table.to_csv(index=False).encode())
        write_json(output / "predictions.json", _describe(found, run, settings["input"]), rows="records")
        _print(table, found, run)
    if failed:
        write_atomically(output / "failed.csv", pd.DataFrame(failed).to_csv(index=False).encode())
        for failure in failed[:_N_SHOWN]:
            print(f"not used: {failure['record']}: {failure['reason']}", file=sys.stderr)
        print(f"{len(failed)} of {len(paths)} records could not be used: {output / 'failed.csv'}", file=sys.stderr)
    print(output)
    if failed:
        raise SystemExit(_FAILED)


def _tabulate(found: "dict[str, Prediction]", run: "LoadedRun") -> Any:
    """Return one row a record: probabilities, decisions, and what was repaired."""
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"record": path}
        | {f"y_prob_{name}": said.y_prob[name] for name in run.class_names}
        | {f"y_pred_{name}": int(said.y_pred[name]) for name in run.class_names}
        | {"n_windows": len(said.starts_s), "repairs": "; ".join(said.repairs)}
        for path, said in found.items()
    ]
    return pd.DataFrame(rows)


def _describe(found: "dict[str, Prediction]", run: "LoadedRun", source: str) -> dict[str, Any]:
    """Return what stands in ``predictions.json``."""
    info = run.info
    return {
        "run": str(run.path),
        "experiment": info["experiment"],
        "model": info["model"],
        "variant": info["variant"],
        "n_nets": len(run.nets),
        "trained_on_simulated_ecgs": info["synthetic"],
        "input": source,
        "class_names": list(run.class_names),
        "thresholds": run.thresholds,
        "records": [{"record": path} | said.to_dict() for path, said in found.items()],
    }


def _print(table: Any, found: "dict[str, Prediction]", run: "LoadedRun") -> None:
    shown = table[["record"]].copy()
    for name in run.class_names:
        marks = table[f"y_pred_{name}"].map({1: "*", 0: " "})
        shown[name] = table[f"y_prob_{name}"].map("{:.3f}".format) + marks
    print(shown.head(_N_SHOWN).to_string(index=False))
    if len(shown) > _N_SHOWN:
        print(f"... and {len(shown) - _N_SHOWN} more records")
    at = [f"{name} {run.thresholds[name]:.3g}" for name in run.class_names]
    print(f"\n* at or above the class's threshold: {', '.join(at)}")
    for repair, count in Counter(repair for said in found.values() for repair in said.repairs).most_common(20):
        print(f"{count} records: {repair}")
    if run.info["synthetic"]:
        print("The net was trained on simulated ECGs: these numbers say nothing about patients.")


def main() -> None:
    """Run the command line."""
    run_command(
        predict_job, config_name="predict", texts=("input", "run_dir", "output_dir", "output", "variant", "experiment")
    )


if __name__ == "__main__":
    main()
