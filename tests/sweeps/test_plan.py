"""The shares of a sweep's jobs: worked by hand."""

import json
import os
import subprocess
import sys

import pytest

from ecgcls.sweeps.plan import make_plan
from ecgcls.sweeps.reports import list_reports

CLAIM = """
import os, sys, time
from pathlib import Path
from ecgcls.sweeps.plan import claim_gpu
claim_gpu(Path(sys.argv[1]), 2)
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("jobs", "machine", "n_at_a_time"),
    [
        (5, {"n_cores": 2}, 2),
        (5, {"n_cores": 16}, 5),
        (10, {"n_cores": 8, "n_threads": 4}, 2),
        (1, {"n_cores": 4}, 1),
        (5, {"n_cores": 2, "n_threads": 8}, 1),
        (5, {"n_cores": 4, "n_at_a_time": 1}, 1),
        (5, {"n_cores": 16, "n_gpus": 1}, 1),  # an only GPU has one job at a time
        (5, {"n_cores": 16, "n_gpus": 1, "n_at_a_time": 2}, 2),  # unless the user asks for more
        (5, {"n_cores": 16, "n_gpus": 4}, 4),
    ],
)
def test_jobs_share_the_cores_and_never_have_more_threads_than_there_are(jobs, machine, n_at_a_time):
    assert make_plan(jobs, **machine).n_at_a_time == n_at_a_time


def test_processes_claim_the_gpu_with_the_fewest_claims(tmp_path):
    processes = []
    try:
        for _ in range(4):
            process = subprocess.Popen(
                [sys.executable, "-c", CLAIM, str(tmp_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
            )
            processes.append((process, process.stdout.readline().strip()))
        assert [gpu for _, gpu in processes] == ["0", "1", "0", "1"]
    finally:
        for process, _ in processes:
            process.kill()
            process.wait()


def test_the_jobs_of_a_sweep_have_the_threads_of_a_run_that_is_alone(work, sweep):
    (folder,) = [
        path.parent for path in (work / "outputs" / ".sweeps").glob("*/plan.json") if _is_of(path, "outputs/sweep/")
    ]
    reports = list_reports(folder)
    assert len(reports) == json.loads((folder / "plan.json").read_text())["n_jobs"] == 10
    for report in reports:
        assert json.loads((work / report.run / "run.json").read_text())["n_threads"] == 1
    assert "epoch 1 of" not in sweep  # progress goes to standard error


def _is_of(plan, folder):
    return all(report.run.startswith(folder) for report in list_reports(plan.parent))
