"""Runs that are killed, each at a named event, end as one that nobody disturbed."""

import functools
import json
import logging
import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from ecgcls.training.callbacks import EpochSeed
from tests.commands import QUICK, Started, ecgcls, succeed

ARGUMENTS = (*QUICK, "trainer.max_epochs=4", "trainer.enable_progress_bar=false")
EVENTS = {  # where in the writing of a file, its name, what must be in it, and the how many-th time in this process
    "while the configuration is written": ("halfway", "config.yaml", b"", 1),
    "after run.json says running": ("after", "run.json", b"", 1),
    "in the middle of the second epoch": (),
    "after best.ckpt, before last.ckpt": ("after", "best.ckpt", b"", 1),
    "while the first last.ckpt is written": ("halfway", "last.ckpt", b"", 1),
    "while a later last.ckpt is written": ("halfway", "last.ckpt", b"", 2),
    "after the last epoch": ("after", "history.csv", b"", 1),
    "while the net's own predictions are written": ("halfway", "predictions_uncalibrated.csv", b"", 1),
    "while the predictions are written": ("halfway", "predictions.csv", b"", 1),
    "while the scores are written": ("halfway", "metrics.json", b"", 1),
    "before run.json says finished": ("halfway", "run.json", b'"status": "finished"', 1),
}
IN_A_ROW = (
    "after best.ckpt, before last.ckpt",
    "while the first last.ckpt is written",
    "in the middle of the second epoch",
    "while a later last.ckpt is written",
    "while the predictions are written",
    "before run.json says finished",
)


def at_event(name, act):
    """Call a function at an event; the process is that of a command."""
    if not EVENTS[name]:
        in_second_epoch(act)
        return
    moment, file, content, n_left = EVENTS[name]
    write_bytes, replace = Path.write_bytes, Path.replace

    def is_event(path, written):
        nonlocal n_left
        if re.sub(r"^\.|\.\d+\.tmp$", "", path.name) != file or content not in written:
            return False
        n_left -= 1
        return n_left == 0

    def write(self, written):
        if moment == "halfway" and is_event(self, written):
            write_bytes(self, written[: len(written) // 2])
            act()
        return write_bytes(self, written)

    def rename(self, target):
        renamed = replace(self, target)
        if moment == "after" and is_event(renamed, b""):
            act()
        return renamed

    Path.write_bytes, Path.replace = write, rename


def in_second_epoch(act):
    """Call a function before the third batch of the second epoch."""
    seed = EpochSeed.on_train_batch_start

    def start_batch(self, trainer, pl_module, batch, batch_idx):
        seed(self, trainer, pl_module, batch, batch_idx)
        if (trainer.current_epoch, batch_idx) == (1, 2):
            act()

    EpochSeed.on_train_batch_start = start_batch


def kill_at(name):
    at_event(name, functools.partial(os.kill, os.getpid(), signal.SIGKILL))


def kill_after_line(epoch):
    """Kill the process of a command as soon as the line of an epoch is on the screen."""
    handle = logging.StreamHandler.emit

    def emit(self, record):
        handle(self, record)
        if f"epoch {epoch} of" in record.getMessage():
            os.kill(os.getpid(), signal.SIGKILL)

    logging.StreamHandler.emit = emit


def pause(reached):
    """Wait for a signal in the middle of the second epoch."""

    def act():
        reached.set()
        signal.pause()

    in_second_epoch(act)


@pytest.fixture(scope="module")
def whole(work):
    """A run that nobody disturbed."""
    return work / succeed(work, "experiment=undisturbed", *ARGUMENTS).stdout.strip().splitlines()[-1]


def assert_same(run, whole):
    """Hold a run against the undisturbed one: equal but for the last bit of a sum, which another process may round."""
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert not list(run.rglob("*.tmp"))
    assert _list_files(run) == _list_files(whole)
    for file in ("history.csv", "predictions_uncalibrated.csv", "predictions.csv", "metrics_by_class.csv"):
        expected, found = (pd.read_csv(folder / file) for folder in (whole, run))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)


def _list_files(run):
    """List a run's own files; a logger has a folder for each start."""
    paths = (path.relative_to(run) for path in run.rglob("*"))
    return {str(path) for path in paths if path.parts[0] != "log"}


def kill(work, experiment, event):
    killed = ecgcls(work, f"experiment={experiment}", *ARGUMENTS, before=functools.partial(kill_at, event))
    assert killed.returncode == -signal.SIGKILL, f"not killed {event}: {killed.stderr[-3000:]}"


def finish(work, experiment):
    done = succeed(work, f"experiment={experiment}", *ARGUMENTS)
    return work / done.stdout.strip().splitlines()[-1], done


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(work, whole):
    for event in IN_A_ROW:
        kill(work, "killed", event)
    run, done = finish(work, "killed")
    assert "trained already" in done.stderr  # nothing but run.json was missing
    assert json.loads((run / "run.json").read_text())["n_starts"] == len(IN_A_ROW) + 1
    assert_same(run, whole)


def test_the_epoch_whose_line_was_read_is_on_disk(work):
    arguments = (*QUICK, "trainer.max_epochs=4", "experiment=read")
    killed = ecgcls(work, *arguments, before=functools.partial(kill_after_line, 2))
    assert killed.returncode == -signal.SIGKILL
    assert "epoch 2 of 4" in killed.stderr
    (last,) = (work / "outputs" / "read").rglob("last.ckpt")
    assert torch.load(last, weights_only=True)["epoch"] == 1  # they count from 0


@pytest.mark.slow
def test_a_killed_run_is_scored_as_it_is_and_goes_on_with_the_next_epoch(work):
    arguments = (*QUICK, "trainer.max_epochs=4", "experiment=scored")
    ecgcls(work, *arguments, before=functools.partial(kill_after_line, 2))
    scored = succeed(work, "experiment=scored", "unfinished=true", "intervals.n_resamples=2", command="evaluate")
    assert re.search(r"test, unfinished: epoch [12] of 4 \(", scored.stdout)
    done = succeed(work, *arguments)
    assert re.findall(r"epoch (\d) of 4", done.stderr) == ["3", "4"]
    idle = succeed(work, *arguments, "logger=none", "trainer.enable_model_summary=true", "n_threads=2")
    assert "trainer.enable_model_summary=true, n_threads=2: no effect on a finished run" in idle.stdout


@pytest.mark.slow
def test_a_fold_has_the_same_predictions_alone_and_anywhere_in_a_sweep(work):
    arguments = (*QUICK, "evaluation.intervals.n_resamples=2", "evaluation.subgroups.n_resamples=2")
    succeed(work, "experiment=alone", "fold=0", *arguments)
    succeed(work, "-m", "experiment=first", "fold=0,1,2", *arguments)
    succeed(work, "-m", "experiment=last", "fold=2,1,0", *arguments)
    for file in ("predictions.csv", "history.csv"):
        alone, first, last = (
            next((work / "outputs" / experiment).rglob(f"fold_0/{file}")).read_bytes()
            for experiment in ("alone", "first", "last")
        )
        assert alone == first == last


@pytest.mark.slow
@pytest.mark.parametrize("event", EVENTS)
def test_a_run_killed_at_an_event_ends_as_one_that_was_not(work, whole, event):
    experiment = f"killed_{list(EVENTS).index(event)}"
    kill(work, experiment, event)
    assert_same(finish(work, experiment)[0], whole)


@pytest.mark.slow
def test_sigterm_asks_for_another_try_and_a_second_process_learns_who_trains(work, whole):
    reached = multiprocessing.get_context("forkserver").Event()
    with Started(work, "experiment=sigterm", *ARGUMENTS, before=functools.partial(pause, reached)) as started:
        assert reached.wait(120)
        second = ecgcls(work, "experiment=sigterm", *ARGUMENTS)
        os.kill(started.pid, signal.SIGTERM)
        first = started.wait()
    assert first.returncode == 75, first.stderr
    assert first.stderr.endswith("stopped by SIGTERM; the same command resumes from the last epoch\n")
    assert second.returncode == 1
    assert f"another process is training this run (process {started.pid} on " in second.stderr
    (run,) = (work / "outputs" / "sigterm").rglob("fold_0")
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 0
    assert_same(finish(work, "sigterm")[0], whole)


@pytest.mark.slow
def test_the_processes_of_a_sweep_end_with_it(work):
    arguments = ("-m", "fold=0,1", "hydra.launcher.n_jobs=2", "experiment=orphans", *QUICK, "trainer.max_epochs=2000")
    with Started(work, *arguments, "trainer.enable_progress_bar=false") as started:
        assert wait_until(lambda: len(list(work.glob("outputs/orphans/**/last.ckpt"))) == 2)
        children = [path for path in Path("/proc").glob("[0-9]*/stat") if read_stat(path)[1:2] == [str(started.pid)]]
        os.kill(started.pid, signal.SIGKILL)
    assert len(children) >= 2
    assert wait_until(lambda: all(read_stat(path)[:1] in ([], ["Z"]) for path in children))


def read_stat(path):
    """Return state, parent and more of a process; nothing if it has ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def wait_until(holds):
    until = time.monotonic() + 60
    while not (held := holds()) and time.monotonic() < until:
        time.sleep(0.2)
    return held
