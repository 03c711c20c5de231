"""Runs that are killed at random moments, twenty in all."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.commands import QUICK, succeed

ARGUMENTS = (*QUICK, "trainer.max_epochs=60", "trainer.enable_progress_bar=false")
N_KILLS = 4


@pytest.fixture(scope="module")
def whole(work):
    """A run that nobody disturbed."""
    return work / succeed(work, "experiment=undisturbed", *ARGUMENTS).stdout.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(work, whole, seed):
    rng = np.random.default_rng(seed)
    name = f"killed_{seed}"
    n_killed = 0
    for number in rng.permutation([signal.SIGKILL, signal.SIGTERM] * (N_KILLS // 2)):
        process = subprocess.Popen(
            [sys.executable, "-m", "ecgcls.run", f"experiment={name}", *ARGUMENTS],
            cwd=work,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=rng.uniform(1, 14))  # of some 7 s to the first epoch, and 10 s of epochs
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            n_killed += 1
        assert process.wait(timeout=60) in (0, 75, -signal.SIGKILL, -signal.SIGTERM)
    assert n_killed > 0
    killed = work / succeed(work, f"experiment={name}", *ARGUMENTS).stdout.strip().splitlines()[-1]
    assert json.loads((killed / "run.json").read_text())["status"] == "finished"
    assert not list(Path(killed).rglob("*.tmp"))
    for file in ("history.csv", "predictions_uncalibrated.csv"):
        expected, found = (pd.read_csv(run / file) for run in (whole, killed))
        # Two processes may round the last bit of a sum differently.
        pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)
