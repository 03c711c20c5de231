"""Whole commands against deepecgkit: the same net, files, epochs and batch size."""

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.findings import Finding, Setting
from benchmarks.interleave import median_ratio, take_turns
from benchmarks.start import run_to_first_step

_EPOCHS, _BATCH_SIZE = 10, 16
_HERE = Path(__file__).parent


def measure(setting: Setting) -> list[Finding]:
    """Time both on the real records, then up to the first step on the simulated ones; nothing without deepecgkit."""
    if setting.deepecg is None:
        return []
    found = []
    own = setting.folder / "rival"
    if setting.ptbxl is not None:
        ptbxl = setting.ptbxl
        ours = [
            sys.executable, "-m", "ecgcls.run", f"data.root={ptbxl}", f"data.batch_size={_BATCH_SIZE}",
            f"trainer.max_epochs={_EPOCHS}", f"output_dir={own / 'ecgcls'}", "overwrite=true",
            f"data.store_dir={own / 'store'}",
        ]  # fmt: skip

        def run_ours() -> None:
            shutil.rmtree(own / "store", ignore_errors=True)  # so that the store is built each time
            subprocess.run(ours, check=True, capture_output=True)

        seconds = take_turns({"deepecg": lambda: _train(setting, ptbxl), "ecgcls": run_ours}, setting.rounds)
        found += [
            Finding(f"real records, {_EPOCHS} epochs: ecgcls, s", statistics.median(seconds["ecgcls"])),
            Finding(f"real records, {_EPOCHS} epochs: deepecgkit, s", statistics.median(seconds["deepecg"])),
            Finding("times as fast", median_ratio(seconds["deepecg"], seconds["ecgcls"]), ">= 2"),
        ]
    n_rounds = max(1, setting.rounds // 2)  # minutes each
    seconds = take_turns(
        {
            "deepecg": lambda: _train(setting, setting.root, to_first_step=True),
            "ecgcls": lambda: run_to_first_step(setting),
        },
        n_rounds,
    )
    return [
        *found,
        Finding(
            f"all simulated records, to the first step ({n_rounds} rounds): ecgcls, s",
            statistics.median(seconds["ecgcls"]),
        ),
        Finding(
            f"all simulated records, to the first step ({n_rounds} rounds): deepecgkit, s",
            statistics.median(seconds["deepecg"]),
        ),
        Finding("times as fast", median_ratio(seconds["deepecg"], seconds["ecgcls"]), ">= 10"),
    ]


def _train(setting: Setting, root: Path, *, to_first_step: bool = False) -> None:
    output = setting.folder / "rival" / "deepecgkit"
    shutil.rmtree(output, ignore_errors=True)
    command: Sequence[str] = [
        str(setting.deepecg), "--import", str(_HERE / "deepecgkit_plugin.py"), "train", "-m", "cnn1d", "-d", "ptbxl",
        "--data-dir", str(root), "--epochs", str(_EPOCHS), "--batch-size", str(_BATCH_SIZE), "--multi-label",
        "--accelerator", "cpu", "-o", str(output),
    ]  # fmt: skip
    if not to_first_step:
        subprocess.run(command, check=True, capture_output=True, env=dict(os.environ, MPLBACKEND="agg"))
        return
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        if not any("first step" in line for line in process.stdout):
            raise RuntimeError("deepecgkit ended before its first step")
    finally:
        process.kill()
        process.wait()
