import logging
import os
import signal
import sys
from pathlib import Path
from typing import Unpack

import pytest

from ecgcls.command.start import check_sweep_folder, run_command
from ecgcls.config import RunsChoice, Text
from ecgcls.errors import ConfigError


def predict(
    *,
    bundle: Path | None,
    input: Text | None,
    output: Path | None,
    repairs: str,
    unusable: str,
    error_rate: float | None,
    device: str,
    trust: Text | None,
    **which: Unpack[RunsChoice],
) -> None:
    print(input, output, sep="|", end="")


@pytest.fixture
def run_predict(monkeypatch, capsys):
    """Run a command with the settings of `predict`; return its input and its output as it gets them."""
    for name in ("HYDRA_FULL_ERROR", "ECGCLS_TRACEBACK"):
        monkeypatch.setenv(name, "0")  # and is what it was afterwards
    handler, handlers, level = signal.getsignal(signal.SIGTERM), logging.root.handlers[:], logging.root.level

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["predict", *arguments])
        run_command(predict)
        return capsys.readouterr().out.split("|")

    yield run
    signal.signal(signal.SIGTERM, handler)
    logging.root.handlers[:], logging.root.level = handlers, level


@pytest.mark.parametrize(
    "text", ["a,b=c d", "it's", "x\\", "\\'", "1,2,3", "my/**/*.hea", "[1,2]", "{a}", "über/ecg", "a:b", "50%", "-3"]
)
def test_a_text_arrives_as_it_was_typed(run_predict, text):
    assert run_predict(f"input={text}") == [text, "None"]


def test_a_text_that_was_quoted_for_hydra_is_left_alone(run_predict):
    assert run_predict("input='a,b'", "output=null") == ["a,b", "None"]


def test_a_path_arrives_as_it_was_typed_too(run_predict):
    assert run_predict("output=a,b=c/[1]") == ["None", "a,b=c/[1]"]


@pytest.mark.parametrize(
    ("override", "is_sweep", "is_refused"),
    [
        ("hydra.sweep.dir=x", True, True),
        ("hydra.sweep.subdir=x", True, True),
        ("++hydra.sweep.subdir=x", False, True),
        ("hydra.run.dir=x", True, True),
        ("hydra.run.dir=x", False, False),
        ("hydra.launcher.n_jobs=1", True, False),
    ],
)
def test_the_runs_of_a_sweep_are_placed_by_their_names_alone(override, is_sweep, is_refused):
    if not is_refused:
        check_sweep_folder([override], is_sweep=is_sweep)
        return
    with pytest.raises(ConfigError, match=r"each run of a sweep has a folder of its own, .*; set output_dir=PATH or"):
        check_sweep_folder([override], is_sweep=is_sweep)


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active"), ({"GOMP_SPINCOUNT": "9"}, None)]
)
def test_threads_sleep_while_they_wait_unless_the_user_says_how(run_predict, monkeypatch, given, expected):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "")  # and is what it was afterwards
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    run_predict("input=a")
    assert os.environ.get("OMP_WAIT_POLICY") == expected
