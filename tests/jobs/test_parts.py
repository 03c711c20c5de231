"""A finished run is found again wherever its data set lies, and is never taken for a result of other data."""

import shutil

import pandas as pd
import pytest

from ecgcls.config import check_arguments
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.parts import build_net, build_part, check_repeated
from ecgcls.run import run as run_command
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import open_configuration
from tests.commands import succeed

SETTINGS = ("hydra.run.dir=mine/first", "model=prevalence", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def placed(synthetic_root, tmp_path_factory):
    """A working directory with a finished run in the folder that was typed for it."""
    folder = tmp_path_factory.mktemp("placed")
    done = succeed(folder, f"data.root={synthetic_root}", *SETTINGS)
    assert done.stdout.strip().splitlines()[-1] == "mine/first"
    return folder


@pytest.fixture(scope="module")
def run(placed):
    return RunDirectory(placed / "mine" / "first")


@pytest.fixture
def moved(synthetic_root, tmp_path):
    """The tables of the run's data set at another place, without the signals."""
    shutil.copytree(synthetic_root, tmp_path / "moved", ignore=shutil.ignore_patterns("records*", ".ecgcls"))
    return tmp_path / "moved"


def request(run, **changed):
    """Return the run's own configuration, as it is requested again, with other settings of the data."""
    config = run.read_config()
    return check_arguments(run_command, config | {"data": config["data"] | changed})


def test_hydra_run_dir_places_a_single_run(placed, run):
    assert run.is_finished
    assert run.read_config()["model"]["_target_"] == "ecgcls.training.baselines.MetadataBaseline"
    assert not list(placed.glob("outputs/*/"))
    assert open_configuration(run.path).runs == (run,)


def test_a_finished_run_is_found_again_after_its_data_have_moved(placed, run, moved):
    before = (run.path / "run.json").read_bytes()
    done = succeed(placed, f"data.root={moved}", *SETTINGS)
    assert "Finished already: mine/first (overwrite=true retrains)" in done.stdout
    assert (run.path / "run.json").read_bytes() == before
    assert not list(placed.glob("outputs/*/"))


def test_a_finished_run_needs_no_data(run, tmp_path):
    check_repeated(run, request(run, root=str(tmp_path / "nowhere")))


def test_a_finished_run_is_not_the_result_of_other_data(run, moved):
    table = pd.read_csv(moved / "ptbxl_database.csv")
    table.iloc[:-1].to_csv(moved / "ptbxl_database.csv", index=False)
    expected = r"mine/first: this run was trained on other data \(ptbxl_database\.csv differ\): retrain with overwrite"
    with pytest.raises(ConfigError, match=expected) as refused:
        check_repeated(run, request(run, root=str(moved)))
    assert "\n" not in str(refused.value)


def test_a_finished_run_is_not_the_result_of_another_configuration(run):
    with pytest.raises(ConfigError, match=r"another configuration \(data\.batch_size: 16 there, 32 requested\)"):
        check_repeated(run, request(run, batch_size=32))


def test_the_refusal_of_a_part_comes_through_as_it_is():
    with pytest.raises(ConfigError, match=r"^intervals\.level must be between 0 and 1, got 2$"):
        build_part("evaluation.intervals", {"_target_": "ecgcls.evaluation.intervals.Bootstrap", "level": 2})
    with pytest.raises(DataError, match=r"^damaged$"):
        build_part("x", {"_target_": f"{__name__}.refuse"})
    with pytest.raises(ConfigError, match=r"^optimizer: .*Adam"):
        build_part("optimizer", {"_target_": "torch.optim.Adam"})


def refuse():
    raise DataError("damaged")


def test_a_net_is_built_for_the_signals_and_classes():
    config = {"model": {"_target_": "ecgcls.models.cnn1d.CNN1D", "_partial_": True}}
    net = build_net(config, n_leads=12, n_samples=1000, n_classes=5)
    assert sum(parameter.numel() for parameter in net.parameters()) == 46_757
    config["model"]["_target_"] = "ecgcls.models.nowhere.Net"
    with pytest.raises(ConfigError, match=r"model: ecgcls\.models\.nowhere\.Net cannot be built: "):
        build_net(config, n_leads=12, n_samples=1000, n_classes=5)
