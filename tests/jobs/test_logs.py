import io
import logging

import pytest

from ecgcls.jobs.logs import BY_ALL, hold_log, name_lines, write_log

LOG = logging.getLogger("ecgcls.test_logs")


@pytest.fixture
def screen(monkeypatch):
    """What is on the screen, by a root logger as a command has it."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(message)s"))
    monkeypatch.setattr(logging.root, "handlers", [handler])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    return handler.stream


@pytest.mark.parametrize("is_first", [True, False])
def test_lines_of_a_sweep_name_their_job_and_what_all_say_is_said_once(screen, tmp_path, is_first):
    with hold_log() as early, name_lines("cnn1d, fold 1", is_first=is_first):
        LOG.info("columns: %s", "guessed", extra=BY_ALL)
        LOG.warning("Left out 11 records")
        LOG.info("cnn1d, fold 1: epoch 1 of 3")
        with write_log(early, tmp_path / "run.log"):
            LOG.info("written")
    LOG.info("after the job")
    assert screen.getvalue().splitlines() == [
        *["cnn1d, fold 1: columns: guessed"] * is_first,
        "cnn1d, fold 1: Left out 11 records",
        "cnn1d, fold 1: epoch 1 of 3",
        "cnn1d, fold 1: written",
        "after the job",
    ]
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.partition("test_logs: ")[2] for line in lines] == [
        "columns: guessed",
        "Left out 11 records",
        "cnn1d, fold 1: epoch 1 of 3",
        "written",
    ]
