import json

import pytest
from omegaconf import OmegaConf

from ecgcls.errors import ConfigError, DataError
from ecgcls.runs.directory import RunDirectory, find_run, name_output, open_run, place_run


@pytest.fixture
def config():
    return OmegaConf.create(
        {"experiment": "e", "output_dir": "o", "fold": 2, "seed": 0, "overwrite": False, "optimizer": {"lr": 0.1}}
    )


def test_a_run_stands_under_experiment_model_variant_and_fold(config):
    assert str(place_run(config, model="cnn1d", variant="").path) == "o/e/cnn1d/fold_2"
    assert str(place_run(config, model="cnn1d", variant="seed=1").path) == "o/e/cnn1d/seed=1/fold_2"


def test_an_absent_run_is_not_finished(tmp_path):
    assert not RunDirectory(tmp_path / "none").is_finished


@pytest.mark.parametrize(("status", "finished"), [("running", False), ("failed", False), ("finished", True)])
def test_run_json_says_whether_a_run_is_finished(tmp_path, status, finished):
    run = RunDirectory(tmp_path)
    run.write_info({"status": status})
    assert run.is_finished is finished


def test_a_damaged_run_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "fini')
    with pytest.raises(DataError, match=r"run\.json: damaged .*overwrite=true"):
        _ = RunDirectory(tmp_path).is_finished


def test_run_json_is_strict_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunDirectory(tmp_path).write_info({"loss": float("nan")})
    assert not (tmp_path / "run.json").exists()
    RunDirectory(tmp_path).write_info({"loss": None})
    assert json.loads((tmp_path / "run.json").read_text()) == {"loss": None}


def test_another_configuration_is_refused_by_its_key(tmp_path, config):
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(config, tmp_path / ".hydra" / "config.yaml")
    run = RunDirectory(tmp_path)
    run.check_same_config(OmegaConf.merge(config, {"output_dir": "elsewhere", "overwrite": True}))
    with pytest.raises(ConfigError, match=r"another configuration \(optimizer\.lr: 0\.1 there, 0\.2 asked\)"):
        run.check_same_config(OmegaConf.merge(config, {"optimizer": {"lr": 0.2}}))


def test_a_second_process_is_kept_out(tmp_path):
    run = RunDirectory(tmp_path / "fold_0")
    with (
        run.locked(),
        pytest.raises(ConfigError, match="another process is training this run"),
        RunDirectory(tmp_path / "fold_0").locked(),
    ):
        pass
    with run.locked():
        pass  # the lock was given back


def test_a_file_in_the_way_of_the_output_folder_is_named(tmp_path):
    (tmp_path / "outputs").write_text("not a folder")
    with pytest.raises(ConfigError, match=r"output_dir: .*outputs is a file, .*fold_0 cannot be made"):
        RunDirectory(tmp_path / "outputs" / "e" / "fold_0").check_writable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


@pytest.fixture
def outputs(tmp_path):
    """Three finished runs of cnn1d (two variants), one of cnn2d that is still running."""
    for place, status in [
        ("e/cnn1d/fold_0", "finished"),
        ("e/cnn1d/seed=1/fold_0", "finished"),
        ("e/cnn1d/seed=1/fold_3", "finished"),
        ("e/cnn2d/optimizer.lr=0.1/fold_0", "running"),
        ("other/cnn2d/optimizer.lr=0.1/fold_0", "finished"),
    ]:
        (tmp_path / place).mkdir(parents=True)
        RunDirectory(tmp_path / place).write_info({"status": status})
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"experiment": "e", "model": "cnn1d", "fold": 0, "variant": None}, "e/cnn1d/fold_0"),
        ({"experiment": "e", "model": "cnn1d", "fold": 0, "variant": "seed=1"}, "e/cnn1d/seed=1/fold_0"),
        ({"experiment": "e", "model": "cnn1d", "fold": 3, "variant": None}, "e/cnn1d/seed=1/fold_3"),
        ({"experiment": "other", "model": None, "fold": 0, "variant": None}, "other/cnn2d/optimizer.lr=0.1/fold_0"),
    ],
)
def test_a_run_is_found_by_what_names_it(outputs, asked, place):
    assert find_run(outputs, **asked).path == outputs / place


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"experiment": "othr"}, "othr: no such experiment; did you mean other"),
        ({"model": None}, "has runs of cnn1d, cnn2d: say which with model=NAME"),
        ({"model": "cnn3d"}, "no run of model=cnn3d; did you mean"),
        ({"fold": 4}, "no run of fold=4; there are fold_0, fold_3"),
        ({"variant": "seed=2"}, "no run of variant='seed=2'; did you mean seed=1"),
        ({"model": "cnn2d"}, "this run is running, not finished"),
    ],
)
def test_a_run_that_cannot_be_found_is_told(outputs, changed, message):
    asked = {"experiment": "e", "model": "cnn1d", "fold": 0, "variant": None}
    with pytest.raises(ConfigError, match=message):
        find_run(outputs, **(asked | changed))


def test_two_variants_are_never_guessed(outputs):
    RunDirectory(outputs / "e/cnn1d/fold_0").empty()
    (outputs / "e/cnn1d/seed=2/fold_0").mkdir(parents=True)
    RunDirectory(outputs / "e/cnn1d/seed=2/fold_0").write_info({"status": "finished"})
    with pytest.raises(ConfigError, match="has 2 variants: say which with variant=NAME, one of seed=1 or seed=2"):
        find_run(outputs, experiment="e", model="cnn1d", fold=0, variant=None)


def test_another_folder_than_a_runs_is_told(outputs):
    with pytest.raises(ConfigError, match=r"not the folder of a run; did you mean .*seed=1/fold_0\?"):
        open_run(outputs / "e/cnn1d/seed=1")
    with pytest.raises(ConfigError, match=r"a run's folder is called fold_<k> and has a run\.json"):
        open_run(outputs)


def test_results_of_two_inputs_have_two_names():
    assert name_output("a/ecgs") == name_output("a/./ecgs")
    assert name_output("a/ecgs") != name_output("b/ecgs")
    assert name_output("my/**/*_hr.hea").startswith("_hr-")
