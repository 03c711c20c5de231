import json
import re
from dataclasses import fields

import pytest

from ecgcls.errors import DataError
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.info import RunInfo

WHOLE = RunInfo(
    status="interrupted",
    error="SIGTERM",
    experiment="e",
    model="cnn1d",
    variant="seed=1",
    fold=3,
    seed=1,
    kind="baseline",
    synthetic=True,
    started="2026-01-01T10:00:00+00:00",
    finished="2026-01-01T11:00:00+00:00",
    n_starts=2,
    tracking_id="abc",
    n_processes=4,
    n_threads=8,
    command=["python", "-m", "ecgcls.run", "experiment=É"],
    process={"pid": 7},
    machine={"n_cpus": 2},
    versions={"torch": "2.13.0"},
    git={"commit": "abc", "modified": True},
    data={"class_names": ["MI"], "parts": {"val": {"records_sha256": "5"}}, "flat": None},
    evaluation=EvaluationSettings(intervals=Bootstrap(level=0.1 + 0.2), prevalence={"MI": 0.02}),
    n_parameters=9,
    n_epochs=2,
    best_epoch=1,
    standardized_on="0" * 64,
    fingerprints={"net": "1" * 64},
    pos_weight=[1 / 3, 20.0],
    thresholds={"MI": 2 / 3},
    decisions={"learned_on": {"n_records": 3}},
    leakage={"patients": {"in_two_parts": 0}},
    init={"source": {"path": "pre/fold_0", "fold": 0}, "taken": {"left_out": {"head.3": "its classes"}}},
    distill={"source": {"path": "teacher/fold_0", "fold": 0}, "weight": 0.5},
    ensemble={"average": "logits", "weights": "equal", "members": []},
    stages_s={"fit": 1.234},
)


def test_run_json_is_read_as_it_was_written(tmp_path):
    run, defaults = RunDirectory(tmp_path), RunInfo(status="running")
    unchanged = [each.name for each in fields(RunInfo) if getattr(WHOLE, each.name) == getattr(defaults, each.name)]
    assert unchanged == []  # a field that is not written would be read as its default
    for info in (WHOLE, defaults):
        run.write_info(info)
        assert run.read_info() == info
        stored = json.loads((tmp_path / "run.json").read_text())
        assert stored == info.to_dict()
        absent = set() if info is WHOLE else {"distill", "ensemble"}  # of a run that is neither
        assert list(stored) == [each.name for each in fields(RunInfo) if each.name not in absent]


def test_every_field_is_documented():
    section = re.search(r"Attributes\n\s+-+\n(.*)", RunInfo.__doc__, flags=re.DOTALL)[1]
    names = re.findall(r"^ {4}(\w[\w, ]*)$", section, flags=re.MULTILINE)  # in the depth of the class's docstring
    assert [name for line in names for name in line.split(", ")] == [each.name for each in fields(RunInfo)]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"status": "fini', "Unterminated string"),
        ('{"status": "finished", "n_epoch": 3}', "unknown key 'n_epoch'"),
        ('{"fold": 3}', "status"),
        ('{"status": "finished", "evaluation": {"interval": {}}}', "interval: no such setting"),
        ('{"status": "finished", "evaluation": {"intervals": {"level": 2}}}', r"intervals\.level must be between 0"),
        ('{"status": "finished", "evaluation": {"intervals": {"seed": "a"}}}', r"evaluation\.intervals\.seed: "),
        ('{"status": "finished", "thresholds": {"MI": "0.5"}}', "thresholds: "),
        ('{"status": "done"}', "status: "),
        ('{"status": "finished", "started": "yesterday"}', "started: Invalid isoformat"),
        ('{"status": "finished", "data": {"class_names": ["MI", "MI"]}}', r"data\.class_names must be different names"),
        ('{"status": "finished", "data": {"n_samples": 0}}', r"data\.n_samples must be above 0, got 0"),
        ('{"status": "finished", "data": {"parts": {"val": {"n_records": "7"}}}}', r"data\.parts\.val\.n_records: "),
        ('{"status": "finished", "stages_s": {"fit": NaN}}', "a number must be finite"),
    ],
)
def test_a_damaged_run_json_is_named(tmp_path, text, match):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=rf"run\.json: damaged .*{match}.*retrain with overwrite=true"):
        _ = RunDirectory(tmp_path).is_finished


def test_run_json_is_strict_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunDirectory(tmp_path).write_info(RunInfo(status="running", stages_s={"fit": float("nan")}))
    assert not (tmp_path / "run.json").exists()


def test_simulated_ecgs_are_marked_in_titles():
    assert RunInfo(status="finished", model="cnn1d", fold=2).title == "cnn1d, fold 2"
    assert WHOLE.title == "cnn1d, fold 3 (simulated ECGs)"
