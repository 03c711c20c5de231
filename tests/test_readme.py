"""The README: its commands work, its links lead somewhere, and it stays short."""

import re

import pytest

from tests.commands import MODULES, REPOSITORY, succeed
from tests.documents import README, copy_records, name_command, read_commands, train_quickly, use_finished_run

COMMANDS = read_commands(README)
RUNS = [command for command in COMMANDS if name_command(command) == "run"]
OTHERS = [command for command in COMMANDS if name_command(command) not in ("run", "runs", "download")]


def test_it_fits_on_a_few_screens():
    assert len(README.read_text().splitlines()) <= 150


def test_it_has_a_line_for_every_command():
    # bundles have lines of their own, outside the list of commands
    assert set(re.findall(r"python -m ecgcls\.(\w+)", README.read_text())) == set(MODULES)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_every_link_and_every_path_leads_to_a_file(document):
    path = REPOSITORY / document
    text = path.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert not [link for link in links if not (path.parent / link).exists()]
    named = re.findall(r"`((?:ecgcls|tests|conf|docs)/[\w/.]+)`", text)
    assert not [name for name in named if not (REPOSITORY / name).exists()]


def _mark_long(command):
    """Mark what takes a quarter of a minute; tests of their own explain and make ensembles, too."""
    is_long = "interpret" in command or "model=[" in command
    return pytest.param(command, marks=pytest.mark.slow) if is_long else command


@pytest.mark.parametrize("command", [_mark_long(command) for command in OTHERS])
def test_every_command_works_on_a_finished_run(work, sweep, synthetic_root, tmp_path, command):
    copy_records(synthetic_root, tmp_path)
    instead = {"input": str(tmp_path), "data.root": str(synthetic_root), "a": "sweep/cnn1d", "b": "sweep/cnn2d"}
    use_finished_run(work, command, instead=instead)


def test_all_runs_are_listed(work, sweep):
    listed = succeed(work, command="runs").stdout
    assert listed.count("sweep/cnn1d") == listed.count("sweep/cnn2d") == 5


def _mark_slow(command):
    """Mark what trains more than one run."""
    return pytest.param(command, marks=pytest.mark.slow) if " -m " in command.partition("ecgcls.run")[2] else command


@pytest.mark.parametrize("command", [_mark_slow(command) for command in RUNS])
def test_every_run_works(work, command):
    train_quickly(work, command, experiment=f"readme-{RUNS.index(command)}")
