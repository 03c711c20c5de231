"""A SLURM cluster of one node, started for these tests: the launcher's job array, and the batch script of the docs."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.commands import QUICK, REPOSITORY, ecgcls, succeed

pytestmark = pytest.mark.slow
START = Path(__file__).parent / "start_slurm.sh"


@pytest.fixture(scope="module")
def slurm():
    """Return the environment in which the commands of SLURM reach the cluster."""
    if not (shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") and os.geteuid() == 0):
        pytest.skip("no SLURM to start, or nobody who may: apt-get install slurm-wlm munge, as root")
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short, for a socket; and munge's user must reach it
    folder.chmod(0o755)
    try:
        subprocess.run(["bash", START, folder], check=True, timeout=60)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    finally:
        subprocess.run(["bash", START, folder, "stop"], check=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def call(environment, *command):
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=30)
    return done.stdout.strip()


def wait_for(environment, condition, *, timeout_s=400):
    """Return what the condition gives as soon as it gives something."""
    until = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until, (
            f"{call(environment, 'squeue')}\n{call(environment, 'sinfo', '--list-reasons')}"
        )
        time.sleep(0.3)
    return found


def test_a_job_of_the_array_that_is_requeued_resumes_from_its_last_epoch(work, slurm):
    settings = ("fold=0,1,2,3,4", *QUICK, "trainer.max_epochs=30")
    succeed(
        work,
        "-m",
        "experiment=here",
        "hydra/launcher=basic",
        *settings,
        environment={"OMP_NUM_THREADS": "1"},
        is_new=True,
    )
    arguments = ["-m", "experiment=slurm", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", *settings]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "ecgcls.run", *arguments],
        cwd=work,
        env=slurm,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(slurm, lambda: list(work.glob("outputs/slurm/**/fold_0/last.ckpt")))
        jobs = call(slurm, "squeue", "--noheader", "--states=running", "--format=%i").split()
        call(slurm, "scontrol", "requeue", next(job for job in jobs if job.endswith("_0")))  # what a preemption does
        stdout, stderr = sweep.communicate(timeout=300)
    finally:
        sweep.kill()
    assert sweep.returncode == 0, stderr
    assert "5/5" in stdout  # the cross-validation
    assert re.search(r"^Job array \d+ of SLURM", stderr, flags=re.MULTILINE)
    assert {f"Job {number} finished" for number in range(5)} <= set(re.findall(r"Job \d finished", stderr))
    starts = [
        json.loads(path.read_text())["n_starts"] for path in sorted(work.glob("outputs/slurm/**/fold_*/run.json"))
    ]
    assert starts == [2, 1, 1, 1, 1]
    here, there = (pd.read_csv(next(work.glob(f"outputs/{name}/**/cv/predictions.csv"))) for name in ("here", "slurm"))
    pd.testing.assert_frame_equal(there, here, rtol=1e-4, atol=1e-6)


def test_what_slurm_refuses_is_reported_without_a_traceback(work, slurm):
    arguments = (
        "-m",
        "experiment=refused",
        "hydra/launcher=slurm",
        "hydra.launcher.partition=none",
        "fold=0,1",
        *QUICK,
    )
    done = ecgcls(work, *arguments, environment=slurm, is_new=True)
    assert done.returncode == 1
    *of_sbatch, line = done.stderr.splitlines()
    assert all(text.startswith("sbatch: ") for text in of_sbatch)
    assert line.startswith("error: hydra/launcher=slurm: sbatch: error: invalid partition specified: none; sbatch:")


def test_the_batch_script_of_the_docs_is_stopped_and_requeued(work, slurm):
    text = (REPOSITORY / "docs" / "clusters.md").read_text()
    script = next(block for block in re.findall(r"```bash\n(#!.*?)```", text, flags=re.DOTALL) if "75" in block)
    script = re.sub(r"^#SBATCH --gpus.*\n", "", script, flags=re.MULTILINE)  # this node has none
    quick = f"experiment=batch {' '.join(QUICK)} trainer.max_epochs=30"
    script, n = re.subn(r"(python -m ecgcls\.run .*)", rf"\1 {quick}", script)
    assert n == 1
    (work / "job.sh").write_text(script)
    job = call(slurm, "sbatch", "--parsable", f"--chdir={work}", "--cpus-per-task=1", str(work / "job.sh"))
    wait_for(slurm, lambda: list(work.glob("outputs/batch/**/last.ckpt")))
    call(slurm, "scancel", "--signal=TERM", job)  # what --signal=TERM@60 does a minute before the time is up
    (path,) = work.glob("outputs/batch/**/run.json")
    info = wait_for(slurm, lambda: (found := json.loads(path.read_text()))["status"] == "finished" and found)
    assert (info["n_starts"], info["n_processes"]) == (2, 2)
    predictions = pd.read_csv(path.parent / "predictions.csv")
    assert predictions["ecg_id"].is_unique
    assert "stopped by SIGTERM" in next(work.glob("slurm-*.out")).read_text()
