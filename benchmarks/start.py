"""From the shell to the first training step, to the help page and to an error."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.findings import Finding, Setting
from benchmarks.ingest import load_module
from benchmarks.interleave import median_ratio, take_turns

_HERE = Path(__file__).parent.parent
_RUN = [sys.executable, "-m", "ecgcls.run"]


def run_to_first_step(setting: Setting) -> None:
    """Start a run and stop it at its first step."""
    command = [*_RUN, *setting.overrides, "+callbacks.pace._target_=benchmarks.training.Pace"]
    env = dict(os.environ, PYTHONPATH=str(_HERE))
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    try:
        if not any(line.startswith("turn: ") for line in process.stdout):
            raise RuntimeError(process.communicate()[1][-2000:])
    finally:
        process.kill()
        process.wait()


def measure(setting: Setting) -> list[Finding]:
    """Take the time of whole commands; the first step is when the run waits for Pace."""
    load_module(setting).prepare_data()  # the store is finished

    def call(*arguments: str) -> None:
        subprocess.run([*_RUN, *arguments], check=False, capture_output=True)

    seconds = take_turns(
        {
            "import": lambda: subprocess.run([sys.executable, "-c", "import torch, pytorch_lightning"], check=True),
            "first step": lambda: run_to_first_step(setting),
            "--help": lambda: call("--help"),
            "optimizer.lr=fast": lambda: call("optimizer.lr=fast"),
            "trainer.max_epochs=abc": lambda: call("trainer.max_epochs=abc"),
            "model=cnn3d": lambda: call("model=cnn3d"),
        },
        setting.rounds,
    )
    errors = ("optimizer.lr=fast", "trainer.max_epochs=abc", "model=cnn3d")
    return [
        Finding("`import torch, pytorch_lightning`, s", statistics.median(seconds["import"]), "", seconds["import"]),
        Finding("first step, s", statistics.median(seconds["first step"]), "", seconds["first step"]),
        Finding("first step over that import", median_ratio(seconds["first step"], seconds["import"]), "<= 1.5"),
        Finding("`--help`, s", statistics.median(seconds["--help"]), "<= 1.5", seconds["--help"]),
        *(
            Finding(f"the error of `{error}`, s", statistics.median(seconds[error]), "<= 1.5", seconds[error])
            for error in errors
        ),
    ]
