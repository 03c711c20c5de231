"""Prediction of a folder against the bare forward pass, and of one recording."""

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.findings import Finding, Setting
from benchmarks.interleave import median_ratio, take_turns
from ecgcls import load_run
from ecgcls.data.record_files import find_recordings
from ecgcls.data.recordings import read_recording
from ecgcls.jobs.apply import predict_files
from ecgcls.jobs.loaded import LoadedRun
from ecgcls.training.memory import keep_freed_memory

_N_RECORDS, _BATCH_SIZE, _N_CALLS = 2000, 256, 100


def measure(setting: Setting) -> list[Finding]:
    """Train both nets for an epoch, then let them predict."""
    keep_freed_memory()
    found = []
    paths = find_recordings(str(setting.root / "records100"), sampling_rate_hz=100)[:_N_RECORDS]
    for model in ("cnn1d", "cnn2d"):
        run = _train(setting, model)
        windows = np.concatenate([run.prepare(read_recording(path)).windows_mv for path in paths])
        seconds = take_turns(
            {"bare": partial(_forward, run, windows), "files": partial(_predict_files, run, paths)}, setting.rounds + 1
        )
        bare, files = seconds["bare"][1:], seconds["files"][1:]
        rates = [len(paths) / each for each in files]
        found += [
            Finding(f"{model}: records/s from WFDB files", statistics.median(rates), "", rates),
            Finding(f"{model}: its rate over the bare forward pass's, batch 256", median_ratio(bare, files), ">= 0.8"),
        ]
    run = _train(setting, "cnn1d")
    for rate_hz in (100, 500):
        signal_mv = np.random.default_rng(0).normal(size=(12, rate_hz * 10)).astype(np.float32)

        predict = partial(run.predict, signal_mv, sampling_rate_hz=rate_hz, lead_names=run.lead_names)
        predict()  # the first imports what it needs
        ms = [1e3 * each for each in take_turns({f"{rate_hz} Hz": predict}, _N_CALLS, quiet=True)[f"{rate_hz} Hz"]]
        found.append(Finding(f"one 10 s recording at {rate_hz} Hz, cnn1d, ms", statistics.median(ms), "<= 5"))
    return found


def _train(setting: Setting, model: str) -> LoadedRun:
    """Train a net for an epoch of a few records, unless that is done."""
    outputs = setting.folder / "inference"
    command = [
        sys.executable, "-m", "ecgcls.run", f"model={model}", "data=synthetic", f"data.root={setting.folder / 'small'}",
        "data.n_records=200", "trainer.max_epochs=1", f"output_dir={outputs}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return load_run(next(Path(outputs).glob(f"default/{model}/*/fold_0")))


def _predict_files(run: LoadedRun, paths: list[Path]) -> None:
    list(predict_files(run, paths))


def _forward(run: LoadedRun, windows: np.ndarray) -> None:
    with torch.inference_mode():
        for batch in torch.from_numpy(windows).split(_BATCH_SIZE):
            run.nets[0](batch).sigmoid()
