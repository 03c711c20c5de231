"""The launcher on a Ray cluster that it starts, and on one that is there."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.commands import QUICK, ecgcls, succeed

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def head(tmp_path):
    """Start the head of a cluster; return its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("ray"), "start", "--head", f"--port={port}", "--num-cpus=2", "--block"]
    options = ["--include-dashboard=false", "--disable-usage-stats"]
    with (tmp_path / "ray.log").open("w") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log, env=os.environ, text=True)
        try:
            until = time.monotonic() + 90
            while "Ray runtime started" not in (tmp_path / "ray.log").read_text() and time.monotonic() < until:
                time.sleep(0.3)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def test_a_sweep_on_a_local_cluster_completes_the_cross_validation(work):
    succeed(work, "-m", "experiment=here", "fold=0,1,2,3,4", *QUICK)
    shutil.copytree(work / "outputs" / "here", work / "outputs" / "ray")
    for folder in ("fold_0", "fold_1", "cv"):
        (found,) = work.glob(f"outputs/ray/cnn1d/*/{folder}")
        shutil.rmtree(found)
    done = succeed(work, "-m", "experiment=ray", "hydra/launcher=ray", "fold=0,1", *QUICK, is_new=True)
    assert "5/5" in done.stdout
    expected, found = (
        pd.read_csv(next(work.glob(f"outputs/{name}/**/cv/predictions.csv"))) for name in ("here", "ray")
    )
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)


def test_a_cluster_that_is_there_is_named_by_its_address(work, head):
    address = f"hydra.launcher.ray.init.address=127.0.0.1:{head}"
    arguments = ("-m", "experiment=ray_address", "hydra/launcher=ray", address, "fold=0,1", *QUICK)
    done = succeed(work, *arguments, environment={"RAY_AUTH_MODE": "token"}, is_new=True)
    assert len(list(work.glob("outputs/ray_address/**/predictions.csv"))) == 2
    assert "Job 1 finished" in done.stderr


def test_a_cluster_that_is_not_there_is_one_line(work):
    arguments = ("-m", "experiment=nowhere", "hydra/launcher=ray", "hydra.launcher.ray.init.address=127.0.0.1:9")
    done = ecgcls(work, *arguments, "fold=0,1", *QUICK)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: hydra.launcher.ray.init.address=127.0.0.1:9: no answer (")
