import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import expit

from benchmarks.calibration import draw, solve
from benchmarks.findings import Finding, Setting, replace_table, tabulate, write_results
from benchmarks.interleave import Turns, median_ratio, take_turns
from benchmarks.nets import MODELS
from benchmarks.nets import tabulate as tabulate_nets
from ecgcls.config import CONF_DIR
from ecgcls.evaluation.calibration import measure_calibration
from tests.commands import REPOSITORY


@pytest.mark.parametrize(
    ("value", "reach", "is_met"),
    [
        (40.0, ">= 40", True),
        (39.9, ">= 40", False),
        (50_000.0, ">= 40,000", True),
        (1.6, "<= 1.5", False),
        (1, "", None),
    ],
)
def test_a_finding_is_held_against_its_reach(value, reach, is_met):
    assert Finding("speed", value, reach).is_met is is_met


def test_the_table_stands_between_its_marks_and_keeps_what_was_not_measured(tmp_path):
    setting = Setting(tmp_path, n_records=100, rounds=3)
    results = tmp_path / "results.json"
    write_results(results, {"one": [Finding("rate, records/s", 12345.6, ">= 40,000")]}, setting)
    write_results(results, {"two": [Finding("ratio", 1.234)]}, setting)
    assert set(json.loads(results.read_text())) == {"one", "two"}
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    replace_table(readme, tabulate(results))
    text = readme.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| rate, records/s | 12,346 | ≥ 40,000 | missed |" in text
    assert "| ratio | 1.23 |  |  |" in text
    with pytest.raises(SystemExit, match="there is no <!-- nothing -->"):
        replace_table(readme, "", mark="nothing")


def test_candidates_take_turns():
    order = []
    seconds = take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, quiet=True)
    assert order == ["a", "b"] * 3
    assert [len(each) for each in seconds.values()] == [3, 3]
    assert median_ratio([1.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0


def test_processes_take_turns_and_one_that_ends_early_is_told(tmp_path):
    code = "from benchmarks.interleave import answer_turns\nanswer_turns(lambda: print('noise'))"
    env = dict(os.environ, PYTHONPATH=str(REPOSITORY))
    commands = {"a": [sys.executable, "-c", code], "b": [sys.executable, "-c", code]}
    with Turns(commands, log=tmp_path / "log", env=dict.fromkeys(commands, env)) as turns:
        seconds = turns.take(2)
        assert turns.take_together(["a", "b"]) >= 0
    assert [len(each) for each in seconds.values()] == [2, 2]
    broken = {"a": [sys.executable, "-c", "raise SystemExit('broken candidate')"]}
    with pytest.raises(RuntimeError, match="broken candidate"), Turns(broken, log=tmp_path / "log"):
        pass


def test_every_net_that_is_trained_by_epochs_is_measured():
    others = {"prevalence", "age_sex", "minirocket", "random_features"}
    assert {*MODELS} == {path.stem for path in (CONF_DIR / "model").glob("*.yaml")} - others


def test_the_table_of_nets_tells_ratios_within_rounds():
    seconds = {"run": [2.2, 1.0, 4.0], "bare": [2.0, 1.0, 2.0], "32-true": [4.0, 3.0, 2.0], "2 threads": [1.0, 1, 1.0]}
    table = tabulate_nets({"nets": {"cnn1d": {"n_records": 1000, "seconds": seconds}}})
    assert table.splitlines()[0].endswith("| over the bare loop's | 32-true | 2 threads | worth setting |")
    assert table.splitlines()[-1] == "| `cnn1d` | 33 | 1.10 | 2.00 | 0.50 | 2 threads |"


@pytest.mark.slow
def test_an_epoch_of_a_net_is_measured_against_bare_loops(tmp_path):
    command = [
        sys.executable, "-m", "benchmarks.nets", "cnn1d", "--batches", "2", "--batch-size", "16", "--rounds", "1",
        "--folder", str(tmp_path / "folder"), "--results", str(tmp_path / "nets.json"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "nets.json").read_text())["nets"]["cnn1d"]
    assert found["n_records"] == 32
    assert set(found["seconds"]) == {"run", "bare", "32-true", "not fused", "2 threads", "weights channels last"}
    assert all(len(each) == 1 and each[0] > 0 for each in found["seconds"].values())


@pytest.mark.slow
def test_the_command_measures_and_keeps_the_results(tmp_path):
    command = [
        sys.executable, "-m", "benchmarks", "loader", "training", "--records", "200", "--rounds", "1",
        "--folder", str(tmp_path / "folder"), "--results", str(tmp_path / "results.json"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"loader", "training"}
    assert all(finding["value"] > 0 for topic in results.values() for finding in topic["findings"])
    assert results["loader"]["machine"]["cores"] >= 1


def test_the_truth_of_the_simulated_calibration_is_known():
    kind = "2"
    drawn = [draw(kind, "line", 0.2, np.random.default_rng(seed)) for seed in range(20)]
    labels, logits, _ = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    found = measure_calibration(labels[:, None], expit(logits)[:, None], ["class"]).loc["class"]
    truth = solve("line", 0.2)
    assert truth["slope"] == pytest.approx(0.7, abs=1e-6) and truth["oe"] == pytest.approx(1 / 1.3)
    for name in ("slope", "intercept", "oe"):
        assert found[name] == pytest.approx(truth[name], abs=0.04)
