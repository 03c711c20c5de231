"""What the documentation says to type, and the site that it becomes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ecgcls
from tests.commands import REPOSITORY, succeed
from tests.documents import (
    NEEDS_NO_RUN,
    copy_records,
    list_documents,
    read_blocks,
    read_commands,
    train_quickly,
    use_finished_run,
)

README, *PAGES = [page for page in list_documents() if page.name != "clusters.md"]  # tests/cluster/ has a cluster
EXTENDING = REPOSITORY / "docs" / "extending.md"


def list_commands(*, of_extending=False):
    """List the commands of the pages that the README does not have already, each once."""
    pages = [EXTENDING] if of_extending else [page for page in PAGES if page != EXTENDING]
    found = dict.fromkeys(command for page in pages for command in read_commands(page))
    return [command for command in found if command not in read_commands(README)]


def is_run(command):
    return command.startswith(NEEDS_NO_RUN)


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stdout + done.stderr
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) > len(PAGES)  # and the one that says "not found"
    fetched = re.compile(
        r"<(?:script|img|link rel=\"(?:stylesheet|preconnect|icon)\")[^>]*(?:src|href)=\"(?:https?:)?//"
    )
    assert not [page for page in pages if fetched.search(page.read_text())]


def test_every_download_of_the_pages_is_one_of_the_readme():
    assert not [command for command in list_commands() if command.startswith("python -m ecgcls.download")]


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in list_commands() if is_run(command)])
def test_every_run_of_the_pages_works(work, command):
    instead = {}
    if "fold=0,1,2,3,4" in command:
        instead["fold"] = "0"
    if "hydra.sweeper.n_trials" in command:
        instead["hydra.sweeper.n_trials"] = "2"
    train_quickly(work, command, experiment=f"docs-{list_commands().index(command)}", instead=instead)


@pytest.fixture(scope="session")
def theirs(work, configuration):
    """Write a run's test predictions as somebody else might have them."""
    table = pd.read_csv(configuration / "fold_0" / "predictions.csv").query("split == 'test'")
    noise = np.random.default_rng(0).uniform(0, 0.2, len(table))
    table.assign(y_prob_MI=table["y_prob_MI"] * (1 - noise)).to_csv(work / "theirs.csv", index=False)
    np.save(work / "T.npy", table[["y_true_NORM", "y_true_MI"]].to_numpy())
    np.save(work / "P.npy", table[["y_prob_NORM", "y_prob_MI"]].to_numpy())
    np.save(work / "WHO.npy", table["patient_id"].to_numpy())


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in list_commands() if not is_run(command)])
def test_every_other_command_of_the_pages_works(work, sweep, configuration, theirs, synthetic_root, tmp_path, command):
    copy_records(synthetic_root, tmp_path)
    stands_for = {"input": str(tmp_path), "data.root": str(synthetic_root)}
    if "a=default/cnn1d/fold_0" in command:
        stands_for["a"] = str(configuration / "fold_0")
    else:
        stands_for |= {"a": "sweep/cnn1d", "b": "sweep/cnn2d"}
    needs_data = "ecgcls.labels" in command and "data.root" not in command
    more = ["data=synthetic", "data.n_records=60"] if needs_data else []
    use_finished_run(work, command, stands_for=stands_for, more=more)


def run_blocks(page, folder, places):
    """Run the Python lines of a page in a folder, and return what they define.

    A block that begins with a path, as ``# mylab/nets.py``, is written there instead.
    """
    defined = {}
    for language in ("yaml", "python"):
        for block in read_blocks(page, language):
            named = re.match(r"# (\S+\.(?:py|yaml))", block)
            if named:
                path = folder / named[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block)
                continue
            for said, place in places.items():
                block = block.replace(said, str(place))
            exec(compile(block, str(page), "exec"), defined)
    return defined


@pytest.fixture
def places(configuration, synthetic_root):
    """Where what the pages name lies in the tests."""
    return {
        "outputs/default/cnn1d/data=synthetic/fold_0": configuration / "fold_0",
        "outputs/default/cnn1d/fold_0": configuration / "fold_0",
        "data/synthetic/1000_records_seed_0": synthetic_root,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page != EXTENDING and read_blocks(page, "python")],
    ids=lambda page: page.stem,
)
def test_the_python_lines_of_the_pages_work(page, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_blocks(page, tmp_path, places)
    assert capsys.readouterr().out


@pytest.mark.slow
def test_the_weights_elsewhere_say_what_load_run_says(places, tmp_path, capsys):
    defined = run_blocks(REPOSITORY / "docs" / "runs.md", tmp_path, places)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    run = ecgcls.load_run(defined["run"])
    said = run.predict(defined["signal_mv"][0].numpy(), sampling_rate_hz=100, lead_names=run.lead_names)
    assert {name: float(y_prob) for name, y_prob, _ in shown} == pytest.approx(said.y_prob, abs=1e-5)
    assert {name: y_pred == "True" for name, _, y_pred in shown} == said.y_pred


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    """The package and the data set that the page about extending tells to write."""
    folder = tmp_path_factory.mktemp("extension")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run_blocks(EXTENDING, folder, {})
    finally:
        os.chdir(before)
    for package in ("mylab", "mylab/conf"):
        (folder / package / "__init__.py").touch()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", list_commands(of_extending=True))
def test_what_the_page_about_extending_adds_works(extension, command):
    if "data.root" not in command:
        train_quickly(extension, command, experiment="added")
        return
    _, _, module, *typed = shlex.split(command)
    quick = ["trainer.max_epochs=1", "trainer.accelerator=cpu"] if module == "ecgcls.run" else []
    done = succeed(extension, *typed, *quick, command=module.removeprefix("ecgcls."))
    assert "AFIB" in done.stdout
