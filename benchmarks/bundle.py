"""A bundle against the run that it was made from, on a CPU: ``python -m benchmarks.bundle --ptbxl ROOT RUN ...``.

The same records are given to torch (eager, as `load_run` has it), to onnxruntime (as `load_bundle` has it) and to the
graph with weights of eight bits (`onnxruntime.quantization.quantize_dynamic`), in turns: one at a time, and 256, with
one thread and two. Beside the wall clock stands the CPU time of the process, which other programs disturb less. The
records of the run's validation part tell whether eight bits cost PR-AUC: the paired difference with its interval, and
the largest difference of a probability.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ecgcls import load_bundle, load_run
from ecgcls.bundles.session import open_session
from ecgcls.data.plain_records import read_plain_records
from ecgcls.evaluation.comparison import compare
from ecgcls.evaluation.metrics import OVERALL
from ecgcls.evaluation.predictions import Predictions
from ecgcls.jobs.predictor import Predictor
from ecgcls.runs.predictions_csv import read_predictions
from ecgcls.training.memory import keep_freed_memory

_RESULTS = Path(__file__).parent / "bundle.json"
_SIZES = {1: 100, 256: 2}
"""How often a turn asks for so many records."""
_THREADS = (1, 2)


def measure(
    run_dir: Path, root: Path, folder: Path, *, rounds: int, starts: int, n_compared: int | None
) -> dict[str, Any]:
    """Export a run, unless that is done, and measure it."""
    bundle_dir = folder / f"{run_dir.parents[1].name}-{run_dir.parents[2].name}"
    if not bundle_dir.exists():
        _call("-m", "ecgcls.export", f"run_dir={run_dir}", f"output={bundle_dir}")
    known = read_predictions(run_dir / "predictions.csv")[0].select("val")
    run = load_run(run_dir)
    known, windows_mv = _read(known, root, run)
    rows = [
        {"threads": n_threads, "records": n_records, "by": name} | found
        for n_threads in _THREADS
        for name_of in [_load(run_dir, bundle_dir, n_threads)]
        for n_records in _SIZES
        for name, found in _time(name_of, windows_mv, n_records, n_threads, rounds).items()
    ]
    every, known = _load(run_dir, bundle_dir, 1), _take(known, slice(n_compared))
    answers = {name: one.predict_windows(windows_mv[:n_compared]) for name, one in every.items()}
    return {
        "model": run.info.model,
        "speed": rows,
        "against_onnx": {name: _compare(known, answers[name], answers["onnx"]) for name in ("torch", "int8")},
        "bytes": {
            "best.ckpt": (run_dir / "best.ckpt").stat().st_size,
            **{name: (bundle_dir / name).stat().st_size for name in ("model.safetensors", "model.onnx")},
            "int8": len(_quantize(bundle_dir)),
        },
        "start": _start(run_dir, bundle_dir, starts) if starts else {},
    }


def _read(known: Predictions, root: Path, run: Predictor) -> tuple[Predictions, NDArray[np.float32]]:
    """Read the records of which there is nothing to tell, ``(record, lead, sample)``; the others are left out."""
    files = pd.read_csv(root / "ptbxl_database.csv", index_col="ecg_id")["filename_lr"]
    windows = read_plain_records(
        [root / files[ecg_id] for ecg_id in known.ecg_id.tolist()],
        lead_names=run.lead_names,
        sampling_rate_hz=run.sampling_rate_hz,
        n_samples=run.n_samples,
    )
    kept = np.array([window_mv is not None for window_mv in windows])
    return _take(known, kept), np.concatenate([window_mv for window_mv in windows if window_mv is not None])


def _take(known: Predictions, rows: slice | NDArray[np.bool_]) -> Predictions:
    names = ("ecg_id", "patient_id", "strat_fold", "split", "y_true", "y_prob")
    return Predictions(**{name: getattr(known, name)[rows] for name in names}, class_names=known.class_names)


def _load(run_dir: Path, bundle_dir: Path, n_threads: int) -> dict[str, Predictor]:
    """Return what is compared, by name."""
    bundle = load_bundle(bundle_dir, n_threads=n_threads)
    session = open_session(_quantize(bundle_dir), where="int8", n_threads=n_threads)
    return {"torch": load_run(run_dir), "onnx": bundle, "int8": replace(bundle, session=session)}


def _quantize(bundle_dir: Path) -> bytes:
    """Return the graph with weights of eight bits, and activations that are rounded to as many as it computes."""
    quantized = bundle_dir.with_name(f"{bundle_dir.name}.int8.onnx")
    if not quantized.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(bundle_dir / "model.onnx", quantized, weight_type=QuantType.QUInt8)
    return quantized.read_bytes()


def _time(
    candidates: dict[str, Predictor], windows_mv: NDArray[np.float32], n_records: int, n_threads: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Let each candidate answer in turn; return milliseconds of an answer, by wall clock and by CPU time."""
    torch.set_num_threads(n_threads)
    wall_ms: dict[str, list[float]] = {name: [] for name in candidates}
    cpu_ms: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, one in candidates.items():
            for call in range(_SIZES[n_records]):
                start = (call * n_records) % (len(windows_mv) - n_records)
                batch = windows_mv[start : start + n_records]
                times = time.perf_counter(), time.process_time()
                one.apply_nets(batch)
                if number:  # the first round is for warming up
                    wall_ms[name].append(1e3 * (time.perf_counter() - times[0]))
                    cpu_ms[name].append(1e3 * (time.process_time() - times[1]))
    return {
        name: {
            "median_ms": statistics.median(wall_ms[name]),
            "p99_ms": float(np.quantile(wall_ms[name], 0.99)),
            "cpu_ms": statistics.median(cpu_ms[name]),
            "records_per_s": 1e3 * n_records / statistics.median(wall_ms[name]),
        }
        for name in candidates
    }


def _compare(known: Predictions, logits: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """Return by how much PR-AUC (macro) differs, with its interval, and the largest difference of a probability."""
    one, two = (
        replace(known, y_prob=expit(each), y_pred=(each >= 0).astype(np.int8), y_logit=each) for each in (logits, other)
    )
    row: Any = compare([one], [two]).loc[(OVERALL, "pr_auc")]
    found = {name: float(row[name]) for name in ("a", "b", "difference", "low", "high")}
    return found | {"records": len(known), "largest_difference": float(np.abs(expit(logits) - expit(other)).max())}


def _start(run_dir: Path, bundle_dir: Path, starts: int) -> dict[str, dict[str, float]]:
    """Return seconds from the shell to an answer: by a run, by its bundle, and by the bundle's own reader."""
    load = (
        "import sys, numpy as np, ecgcls; one = ecgcls.{}(sys.argv[1]); one.predict_windows(np.ones((1, 12, {}), 'f4'))"
    )
    n_samples = json.loads((bundle_dir / "metadata.json").read_text())["input"]["n_samples"]
    commands = {
        "load_run": partial(_call, "-c", load.format("load_run", n_samples), str(run_dir)),
        "load_bundle": partial(_call, "-c", load.format("load_bundle", n_samples), str(bundle_dir)),
        "predict.py": partial(_call, str(bundle_dir / "predict.py"), str(bundle_dir / "example.csv")),
    }
    return {name: _time_process(command, starts) for name, command in commands.items()}


def _time_process(call: Callable[[], None], starts: int) -> dict[str, float]:
    wall_s, cpu_s = [], []
    for _ in range(starts):
        times, start = os.times(), time.perf_counter()
        call()
        after = os.times()
        wall_s.append(time.perf_counter() - start)
        cpu_s.append(after.children_user + after.children_system - times.children_user - times.children_system)
    return {"wall_s": statistics.median(wall_s), "cpu_s": statistics.median(cpu_s)}


def _call(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def tabulate(found: list[dict[str, Any]]) -> str:
    """Return the speed as a Markdown table."""
    rows = [
        {"model": one["model"], "records": each["records"], "threads": each["threads"]}
        | {f"{each['by']}, ms": f"{each['median_ms']:.3g} ({each['p99_ms']:.3g}); {each['cpu_ms']:.3g}"}
        for one in found
        for each in one["speed"]
    ]
    table = pd.DataFrame(rows).groupby(["model", "records", "threads"], sort=False).first().reset_index()
    lines = [[*table.columns], ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure each run and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundle", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs of whole records")
    parser.add_argument("--ptbxl", type=Path, required=True, help="the real records that they were trained on")
    parser.add_argument(
        "--folder", type=Path, default=Path("/tmp/ecgcls-bundles"), help="for bundles (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3, help="starts from the shell (default: %(default)s)")
    parser.add_argument("--compared", type=int, help="records that PR-AUC is compared on (default: all)")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    keep_freed_memory()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    how = {"rounds": arguments.rounds, "starts": arguments.starts, "n_compared": arguments.compared}
    found = []
    for run in arguments.runs:
        found.append(measure(run, arguments.ptbxl, arguments.folder, **how))
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
        arguments.results.write_text(json.dumps({"machine": machine, "found": found}, indent=2) + "\n")
    print(tabulate(found))


if __name__ == "__main__":
    main()
