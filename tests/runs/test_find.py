from pathlib import Path

import pytest
import yaml

from ecgcls.errors import ConfigError
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.find import choose_configuration, choose_members, list_configurations, open_run
from ecgcls.runs.info import RunInfo
from ecgcls.runs.origin import find_origin
from ecgcls.runs.place import place_run

CHOICE = {"experiment": "e", "model": "cnn1d", "fold": 0, "variant": None, "run_dir": None}
NOTHING = dict.fromkeys(CHOICE)


@pytest.fixture
def outputs(tmp_path):
    """Finished runs of cnn1d, of two variants, and of cnn2d, one of which is still running."""
    for place, status in [
        ("e/cnn1d/fold_0", "finished"),
        ("e/cnn1d/seed=1/fold_0", "finished"),
        ("e/cnn1d/seed=1/fold_3", "finished"),
        ("e/cnn2d/optimizer.lr=0.1/fold_0", "running"),
        ("other/cnn2d/optimizer.lr=0.1/fold_0", "finished"),
        ("other/cnn2d/optimizer.lr=0.1/fold_1", "finished"),
    ]:
        write_run(tmp_path / place, status=status, n_folds=2 if place.startswith("other") else 5)
    return tmp_path


def write_run(folder, *, status="finished", n_folds=5):
    run = RunDirectory(folder)
    run.write_config(yaml.safe_dump({"folds": {"test": [[1]] * n_folds}}))
    run.write_info(RunInfo(status=status, fold=int(folder.name.removeprefix("fold_"))))


def test_a_run_is_placed_under_experiment_model_variant_and_fold():
    config = {"experiment": "e", "output_dir": Path("o"), "fold": 2}
    assert place_run(config, model="cnn1d", variant="") == Path("o/e/cnn1d/fold_2")
    assert place_run(config, model="cnn1d", variant="seed=1") == Path("o/e/cnn1d/seed=1/fold_2")


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ({}, "e/cnn1d/fold_0"),
        ({"variant": "seed=1"}, "e/cnn1d/seed=1/fold_0"),
        ({"fold": 3}, "e/cnn1d/seed=1/fold_3"),
        ({"experiment": "other", "model": None}, "other/cnn2d/optimizer.lr=0.1/fold_0"),
    ],
)
def test_a_run_is_found_by_what_names_it(outputs, choice, place):
    found = choose_configuration(output_dir=outputs, **(CHOICE | choice))
    assert found.folder == found.runs[0].path == outputs / place
    assert found.is_single_run
    again = choose_configuration(output_dir=Path("nowhere"), **(NOTHING | {"run_dir": outputs / place}))
    assert again.runs == found.runs


@pytest.mark.parametrize("key", ["run_dir", "run"])
def test_a_list_names_several_runs_whose_folders_may_have_commas(outputs, key):
    write_run(outputs / "e/cnn1d/seed=2,lr=0.1/fold_0")
    places = [outputs / "e/cnn1d/seed=2,lr=0.1/fold_0", outputs / "e/cnn1d/fold_0"]
    value = f"[{places[0]}, {places[1]}]"
    nothing = NOTHING | dict.fromkeys(("average", "weights", "name"))
    named = {key: Path(value) if key == "run_dir" else value}
    members, is_ensemble = choose_members(**(nothing | {"output_dir": outputs} | named))
    assert is_ensemble and [one.folder for one in members] == places
    members, is_ensemble = choose_members(**(nothing | {"output_dir": outputs, "run_dir": places[1]}))
    assert not is_ensemble and [one.folder for one in members] == places[1:]
    with pytest.raises(ConfigError, match="average has no effect on one run"):
        choose_members(**(nothing | {"output_dir": outputs, "run_dir": places[1], "average": "logits"}))
    with pytest.raises(ConfigError, match=r"must be a list of folders of runs, as \[A,B\], got \[\]"):
        choose_members(**(nothing | {"output_dir": outputs, "run_dir": Path("[]")}))


def test_a_list_of_models_names_the_run_of_each(outputs):
    which = NOTHING | dict.fromkeys(("average", "weights", "name")) | {"output_dir": outputs, "experiment": "e"}
    write_run(outputs / "e/cnn2d/fold_0")
    members, is_ensemble = choose_members(**(which | {"model": ["cnn1d", "cnn2d"], "fold": 0}))
    assert is_ensemble and [one.folder for one in members] == [
        outputs / f"e/{net}/fold_0" for net in ("cnn1d", "cnn2d")
    ]


def test_all_folds_are_found_together(outputs):
    choice = CHOICE | {"experiment": "other", "model": "cnn2d", "fold": "all"}
    found = choose_configuration(output_dir=outputs, **choice)
    assert [run.path.name for run in found.runs] == ["fold_0", "fold_1"]
    assert not found.is_single_run
    place = outputs / "other/cnn2d/optimizer.lr=0.1"
    assert choose_configuration(output_dir=outputs, **(NOTHING | {"run_dir": place})).runs == found.runs
    assert choose_configuration(output_dir=outputs, **(NOTHING | {"run": str(place), "fold": 1})).runs == found.runs[1:]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"experiment": "othr"}, "othr: no such experiment; did you mean other"),
        ({"model": None}, "has runs of cnn1d, cnn2d: choose one with model=NAME"),
        ({"model": "cnn3d"}, "no run of model=cnn3d; did you mean"),
        ({"fold": 4}, "no run of fold=4; the folds here: fold_0, fold_3"),
        ({"variant": "seed=2"}, "no run of variant='seed=2'; did you mean seed=1"),
        ({"model": "cnn2d"}, "this run is running, not finished"),
        ({"model": "cnn2d", "fold": "all"}, "no finished fold here"),
        ({"run_dir": Path("nowhere")}, "run_dir: there is no folder nowhere"),
        ({"run_dir": Path(), "run": "last"}, "run and run_dir: expected one of them"),
        ({"run": "."}, "experiment=e has no effect with run: the folder says which run"),
        ({"run": "last", "fold": 4}, "run=last: no finished run in .*e with model=cnn1d, fold=4"),
    ],
)
def test_a_run_that_cannot_be_found_is_reported(outputs, choice, message):
    with pytest.raises(ConfigError, match=message):
        choose_configuration(output_dir=outputs, **(CHOICE | choice))


def test_two_variants_are_never_guessed(outputs):
    RunDirectory(outputs / "e/cnn1d/fold_0").clear()
    write_run(outputs / "e/cnn1d/seed=2/fold_0")
    write_run(outputs / "e/cnn1d/a_failed_one/fold_0", status="failed")
    with pytest.raises(ConfigError, match=r"has 3 variants: choose one with variant=NAME$") as refused:
        choose_configuration(output_dir=outputs, **CHOICE)
    assert refused.value.choices == ("seed=1", "seed=2", "a_failed_one (failed)")


@pytest.mark.parametrize("pasted", ["e/cnn1d/seed=1", "e/cnn1d/seed=1/fold_0", "cnn1d/seed=1/"])
def test_a_folder_pasted_as_a_variant_is_that_variant(outputs, monkeypatch, pasted):
    for text in (pasted, str(outputs / "e/cnn1d/seed=1")):
        found = choose_configuration(output_dir=outputs, **(CHOICE | {"variant": text}))
        assert found.folder == outputs / "e/cnn1d/seed=1/fold_0"


def test_the_last_run_is_the_finished_one_that_ended_last(outputs):
    order = ["other/cnn2d/optimizer.lr=0.1/fold_0", "e/cnn1d/seed=1/fold_3", "e/cnn1d/fold_0", "e/cnn1d/seed=1/fold_0"]
    for hour, place in enumerate(order):
        run = RunDirectory(outputs / place)
        _, model, *variant, fold = place.split("/")
        info = {"model": model, "variant": "".join(variant), "fold": int(fold[-1])}
        run.write_info(RunInfo(status="finished", finished=f"2026-01-01T{hour:02}:00:00+00:00", **info))
    last = NOTHING | {"run": "last"}
    for named, place in [
        ({}, order[3]),
        ({"fold": 3}, order[1]),
        ({"model": "cnn2d"}, order[0]),
        ({"experiment": "e", "variant": ""}, order[2]),
    ]:
        assert choose_configuration(output_dir=outputs, **(last | named)).folder == outputs / place
    folds = choose_configuration(output_dir=outputs, **(last | {"fold": "all"})).runs
    assert [run.path.name for run in folds] == ["fold_0", "fold_3"]


def test_the_finished_folds_are_opened_and_the_missing_ones_are_told(outputs, caplog):
    found = choose_configuration(output_dir=outputs, **(CHOICE | {"variant": "seed=1", "fold": "all"}))
    assert [run.path.name for run in found.runs] == ["fold_0", "fold_3"]
    assert found.folds == "2/5 folds"
    assert "2 of 5 folds finished, fold=1,2,4 missing" in caplog.text


def test_another_folder_than_a_runs_is_reported(outputs):
    with pytest.raises(ConfigError, match=r"not the folder of a run; did you mean .*seed=1/fold_0\?"):
        open_run(outputs / "e/cnn1d/seed=1")
    (outputs / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"a run's folder is called fold_<k> and has a run\.json"):
        open_run(outputs / "empty")
    with pytest.raises(ConfigError, match="not the folder of a run; the folders of runs below it are") as refused:
        choose_configuration(output_dir=outputs, **(NOTHING | {"run": str(outputs / "other/cnn2d")}))
    assert refused.value.choices == (f"{outputs / 'other/cnn2d/optimizer.lr=0.1'} (fold_0, fold_1)",)
    with pytest.raises(ConfigError, match=r"did you mean .*other/cnn2d/optimizer\.lr=0\.1/fold_1\?"):
        choose_configuration(output_dir=outputs, **(NOTHING | {"run": str(outputs / "other/cnn2d/fold_1")}))
    with pytest.raises(ConfigError, match=r"init: there is no .*; did you mean .*lr=0\.1/fold_1\?"):
        find_origin({"init": {"path": outputs / "other/cnn2d/fold_1"}})
    where = NOTHING | {"run_dir": outputs / "e/cnn1d/seed=1", "is_single_run": True}
    with pytest.raises(ConfigError, match=r"not the folder of a run; did you mean .*seed=1/fold_0\?"):
        choose_configuration(output_dir=outputs, **where)
    with pytest.raises(ConfigError, match=r"fold_1: no such folder; the folds there: fold_0, fold_3"):
        open_run(outputs / "e/cnn1d/seed=1/fold_1")
    with pytest.raises(ConfigError, match=r"fold_0 is one fold, and fold=1 another"):
        choose_configuration(output_dir=outputs, **(NOTHING | {"run": str(outputs / "e/cnn1d/fold_0"), "fold": 1}))


def test_every_configuration_of_an_experiment_is_listed(outputs):
    found = list_configurations(outputs / "e")
    assert [one.folder for one in found] == [
        outputs / "e/cnn1d",
        outputs / "e/cnn1d/seed=1",
        outputs / "e/cnn2d/optimizer.lr=0.1",
    ]
    assert [len(one.runs) for one in found] == [1, 2, 0]
    assert found[2].unfinished == {0: "running"}
