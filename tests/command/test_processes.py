"""Two processes train one net: told apart by the environment, and held against one process."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from ecgcls.command.processes import count_started, must_start_processes, read_rank
from ecgcls.errors import ConfigError
from tests.commands import QUICK, Started, ecgcls, succeed, write_third_party

TWO = ("trainer.devices=2", "trainer.strategy=ddp")


@pytest.fixture
def environment(monkeypatch):
    """The environment of a process that nobody has started together with others."""
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "rank", "n_started"),
    [
        ({}, 0, 1),
        ({"RANK": "1", "WORLD_SIZE": "4"}, 1, 4),  # torchrun
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3"}, 2, 3),  # srun
        ({"RANK": "3"}, 0, 1),  # somebody's own variable
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, 0, 1),  # a batch script without srun runs one process
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, 1, 2),  # torchrun in SLURM
    ],
)
def test_a_process_knows_its_number(environment, variables, rank, n_started):
    for name, value in variables.items():
        environment.setenv(name, value)
    assert (read_rank(), count_started()) == (rank, n_started)


def test_processes_are_started_where_they_can_be_and_are_not_there(environment):
    assert not must_start_processes(n_devices=1, n_nodes=1)
    assert must_start_processes(n_devices=2, n_nodes=1)
    with pytest.raises(ConfigError, match=r"num_nodes=2 need 4 processes, .* srun --nodes=2 --ntasks-per-node=2"):
        must_start_processes(n_devices=2, n_nodes=2)
    environment.setenv("WORLD_SIZE", "4")
    assert not must_start_processes(n_devices=2, n_nodes=2)
    with pytest.raises(ConfigError, match="need 1 processes, 4 were started"):
        must_start_processes(n_devices=1, n_nodes=1)


def test_a_batch_that_cannot_be_shared_out_is_refused_in_one_line(work):
    done = ecgcls(work, "experiment=odd", *QUICK, *TWO, "data.batch_size=15")
    assert done.returncode == 1
    line = "error: data.batch_size=15 cannot be shared out evenly over 2 devices; 16 can\n"
    assert done.stderr.endswith(line)
    assert not (work / "outputs" / "odd").exists()


@pytest.mark.slow
def test_two_processes_predict_each_record_as_one_does(work, tmp_path):
    environment, search_path = write_third_party(tmp_path)  # a net whose training does not depend on how a batch is cut
    arguments = (search_path, "model=linear", "fold=0,1", *QUICK, "trainer.max_epochs=4")
    for name, devices in (("one_device", ()), ("two_devices", TWO)):
        succeed(work, "-m", f"experiment={name}", *arguments, *devices, environment=environment)
    n_even = 0
    for fold in (0, 1):
        one, two = (
            next((work / "outputs" / name / "linear").glob(f"*/fold_{fold}")) for name in ("one_device", "two_devices")
        )
        expected, found = (pd.read_csv(run / "predictions_uncalibrated.csv") for run in (one, two))
        assert found["ecg_id"].tolist() == expected["ecg_id"].tolist()  # each once, and none twice to fill a batch
        infos = [json.loads((run / "run.json").read_text()) for run in (one, two)]
        assert [info["n_processes"] for info in infos] == [1, 2]
        assert infos[1]["command"][2:4] == ["ecgcls.run", "-m"]  # what was typed
        if infos[0]["data"]["parts"]["train"]["n_records"] % 2:
            continue  # a record is twice in the last batch of an epoch
        n_even += 1
        pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)
        histories = [pd.read_csv(run / "history.csv") for run in (one, two)]
        pd.testing.assert_frame_equal(histories[1], histories[0], rtol=1e-4, atol=1e-6)
    assert n_even == 1


@pytest.mark.slow
def test_sigterm_ends_all_processes_and_the_same_command_resumes(work):
    arguments = ("experiment=stopped", *QUICK, *TWO, "trainer.enable_progress_bar=false", "trainer.max_epochs=200")
    with Started(work, *arguments) as started:
        until = time.monotonic() + 300
        while not list(work.glob("outputs/stopped/**/last.ckpt")) and time.monotonic() < until:
            time.sleep(0.2)
        os.kill(started.pid, signal.SIGTERM)
        stopped = started.wait()
    assert stopped.returncode == 75, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "stopped by SIGTERM; the same command resumes from the last epoch"
    (path,) = work.glob("outputs/stopped/**/run.json")
    assert "experiment=stopped" not in _list_commands()
    run = path.parent
    assert not (run / "predictions.csv").exists()
    done = succeed(work, *arguments)
    assert "Resuming from" in done.stderr
    assert json.loads(path.read_text())["status"] == "finished"
    assert len(pd.read_csv(run / "history.csv")) == 200


def _list_commands():
    """Return the command lines of all processes of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(path.read_text(errors="replace"))
    return "\n".join(found)
