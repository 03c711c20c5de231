"""What is refused when a run is built, before a folder is made or a signal is read."""

import pytest
import torch

from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.build import build_job
from ecgcls.runs.directory import RunDirectory
from tests.in_process import configure, fit


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("fold=7", r"fold must be in 0\.\.4, got 7"),
        ("fold=-1", r"fold must be in 0\.\.4, got -1"),
        ("experiment=../x", r"experiment must be a name"),
        ("seed=-1", r"seed must be in 0\.\.4294967295, got -1"),
        ("task.k=0", r"task\.k must be at least 1, got 0"),
        ("folds.test=[[1,2]]", r"must list the same number of folds, got 5 and 1"),
        ("folds.test=[[11],[1],[2],[4],[6]]", r"a strat_fold must be in 1\.\.10, got 11"),
        ("folds.test=[[3],[1],[2],[4],[6]]", r"distinct strat_folds for val and test"),
        ("data.batch_size=0", r"data\.batch_size must be at least 1, got 0"),
        ("evaluation.intervals.level=2", r"intervals\.level must be between 0 and 1, got 2"),
        ("evaluation.prevalence=0", r"prevalence of all classes must be between 0 and 1, got 0"),
        ("~callbacks.checkpoint", r"callbacks\.checkpoint is missing"),
        ("+trainer.fast_dev_run=-1", r"trainer\.fast_dev_run=-1: it keeps no epoch"),
    ],
)
def test_a_value_out_of_its_range_is_refused_before_the_data_are_looked_for(tmp_path, override, match):
    with pytest.raises(ConfigError, match=match) as refused:
        fit(tmp_path / "fold_0", tmp_path / "nowhere", override)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_gpu_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="trainer: "):
        fit(tmp_path / "fold_0", tmp_path / "nowhere", "trainer.accelerator=gpu")


def test_the_official_split_has_one_fold(tmp_path):
    with pytest.raises(ConfigError, match="fold must be 0, got 1"):
        fit(tmp_path / "fold_0", tmp_path / "nowhere", "folds=official", "fold=1")


def test_a_failing_data_set_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        fit(tmp_path / "outputs" / "fold_0", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_prevalence_of_an_unknown_class_is_refused(synthetic_root, tmp_path):
    with pytest.raises(ConfigError, match="prevalence: there is no class AFIB, expected one of NORM, MI"):
        fit(tmp_path / "fold_0", synthetic_root, "evaluation.prevalence={AFIB: 0.1}")
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_the_optimizer_refuses_leaves_nothing(synthetic_root, tmp_path):
    with pytest.raises(ConfigError, match=r"optimizer: .*-1"):
        fit(tmp_path / "fold_0", synthetic_root, "optimizer.lr=-1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "match"),
    [
        (
            "callbacks.checkpoint.monitor=val/pr_auk",
            r"checkpoint\.monitor: no metric val/pr_auk; did you mean val/pr_auc",
        ),
        ("~metrics.pr_auc", r"callbacks\.checkpoint\.monitor: no metric val/pr_auc; did you mean val/roc_auc"),
        ("scheduler=plateau", r"scheduler\.monitor: no metric val/x"),
    ],
)
def test_a_metric_that_no_epoch_has_is_refused_before_training(synthetic_root, tmp_path, override, match):
    more = ("scheduler.monitor=val/x",) if "plateau" in override else ()
    with pytest.raises(ConfigError, match=match):
        fit(tmp_path / "fold_0", synthetic_root, override, *more)
    assert list(tmp_path.iterdir()) == []


def test_a_net_that_cannot_be_built_leaves_nothing(synthetic_root, tmp_path):
    config = configure(synthetic_root, "model=cnn2d", "model.image=spectrogram")
    config["model"]["_target_"] = f"{__name__}.refuse"
    with pytest.raises(ConfigError, match=r"model: .*refuse cannot be built: needs longer ECGs"):
        build_job(config, RunDirectory(tmp_path / "fold_0"), model="cnn2d")
    assert list(tmp_path.iterdir()) == []


def refuse(n_leads, n_samples, n_classes, **settings):
    raise ValueError("needs longer ECGs")


def test_a_job_knows_what_it_will_record(synthetic_root, tmp_path):
    config = configure(synthetic_root, "fold=1", "seed=3", "experiment=e", "evaluation.intervals.level=0.9")
    job = build_job(config, RunDirectory(tmp_path / "fold_1"), model="cnn1d", variant="seed=3")
    info = job.info
    assert (info.status, info.kind, info.n_parameters) == ("running", "net", 46_757)
    assert (info.experiment, info.model, info.variant, info.fold, info.seed) == ("e", "cnn1d", "seed=3", 1, 3)
    assert info.evaluation.intervals.level == 0.9
    assert info.data == job.data.describe()
    assert not info.synthetic  # the tables of a data set say nothing of how it was made; data=synthetic would
    assert "${" not in job.config_yaml
    assert not job.run.path.exists()
