import argparse
import json

import pandas as pd
import pytest

from benchmarks.ptbxl import RECIPES, TASKS, Job, _split, estimate_minutes, read_run, tabulate
from tests.commands import REPOSITORY

RESULT = {
    "net": "xresnet1d50", "task": "all", "split": "official", "settings": ["trainer.max_epochs=20"],
    "test": {"pr_auc": [0.41234, 0.4, 0.43], "roc_auc": [0.925, 0.92, 0.93]}, "val": {"pr_auc": 0.4, "roc_auc": 0.9},
    "n_parameters": 1234567, "n_epochs": 20, "minutes": 61.2, "n_starts": 1, "n_threads": 2, "commit": "abc",
    "machine": {"cpu": "A", "cores": 2, "torch": "2.13.0"},
}  # fmt: skip


def test_every_net_has_a_row_and_every_row_a_net():
    nets = {path.stem for path in (REPOSITORY / "conf" / "model").glob("*.yaml")}
    assert {name.partition("+")[0] for name in RECIPES} == nets - {"age_sex", "prevalence", "random_features"}


def test_rows_are_named_at_the_command_line():
    split = _split(RECIPES)
    assert split("cnn1d+small,cnn2d") == ["cnn1d+small", "cnn2d"]
    assert split("cnn1d") == ["cnn1d"]
    with pytest.raises(argparse.ArgumentTypeError, match=r"cnn3d: expected some of cnn1d, cnn1d\+small, "):
        split("cnn1d,cnn3d")


def test_a_run_is_read_as_it_stands_in_its_files(tmp_path):
    info = {"best_epoch": 1, "n_parameters": 5, "n_epochs": 2, "stages_s": {"fit": 90.0}, "n_starts": 1, "n_threads": 1}
    (tmp_path / "run.json").write_text(json.dumps({**info, "git": {"commit": "abc"}}))
    rows = [("overall", "pr_auc", 0.5, 0.4, 0.6), ("overall", "roc_auc", 0.7, 0.65, 0.75), ("NORM", "pr_auc", 1, 1, 1)]
    pd.DataFrame(rows, columns=["class", "metric", "value", "low", "high"]).to_csv(tmp_path / "intervals.csv")
    epochs = {"epoch": [0, 1], "val/pr_auc": [0.3, 0.45], "val/roc_auc": [0.6, 0.68]}
    pd.DataFrame(epochs).to_csv(tmp_path / "history.csv", index=False)
    found = read_run(Job("cnn1d", "rhythm", "official"), tmp_path)
    assert found["test"] == {"pr_auc": [0.5, 0.4, 0.6], "roc_auc": [0.7, 0.65, 0.75]}
    assert (found["val"], found["minutes"]) == ({"pr_auc": 0.45, "roc_auc": 0.68}, 1.5)


def test_the_page_has_what_was_measured_apart_from_what_others_published():
    page = tabulate([RESULT])
    own, published = page.split("### Published by others")
    assert "### `task=all`: trained on strat_folds 1 to 8, chosen on 9, tested on 10" in own
    row = (
        "| xresnet1d50 | 0.412 [0.400, 0.430] | 0.925 [0.920, 0.930] | 1,234,567 | 20 | 61 | `trainer.max_epochs=20` |"
    )
    assert row in own and "on A, 2 cores" in own
    assert "| xresnet1d101 | 0.928 | 0.925 | Strodthoff et al. 2021" in published
    assert "rhythm" not in own


def test_time_left_is_that_of_the_same_nets():
    jobs = [Job("xresnet1d50", task, "official") for task in TASKS] + [Job("s4d", "all", "official")]
    assert estimate_minutes(jobs, [RESULT]) == "about 367 minutes left, and 1 jobs of which nothing is known"
