"""Trainings that learn from another run's answers, on simulated ECGs."""

import json
import shutil

import numpy as np
import pytest
import torch

from ecgcls.errors import ConfigError, DataError
from ecgcls.identity import identify
from ecgcls.jobs.build import build_job
from ecgcls.jobs.load import load_run
from ecgcls.runs.directory import RunDirectory
from ecgcls.runs.init_settings import settle_init
from tests.in_process import configure, fit

pytestmark = pytest.mark.slow
SETTINGS = (
    "trainer.max_epochs=1", "model.width=4", "evaluation.intervals.n_resamples=2", "evaluation.subgroups.n_resamples=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def teacher(synthetic_root, tmp_path_factory):
    return fit(tmp_path_factory.mktemp("teacher") / "fold_0", synthetic_root, *SETTINGS, "data.window_s=2.5")


def build(teacher, root, folder, *overrides):
    config = configure(root, *SETTINGS, f"distill.path='{teacher.path}'", *overrides)
    return build_job(config, RunDirectory(folder), model="cnn1d")


def test_a_student_learns_from_what_the_teacher_says_of_its_training_records(teacher, synthetic_root, tmp_path):
    distill = f"distill.path='{teacher.path}'"
    student = fit(tmp_path / "student", synthetic_root, *SETTINGS, distill, "distill.weight=1", "augment=mixup")
    alone = fit(tmp_path / "alone", synthetic_root, *SETTINGS)
    info, source = student.read_info(), teacher.read_info()
    assert info.distill["source"]["weights_sha256"] == source.fingerprints["net"]
    assert info.distill["known_records"]["in_test"] == 0 and "distill" not in json.loads(
        (alone.path / "run.json").read_text()
    )
    first, second = (torch.load(run.best_checkpoint, weights_only=True)["state_dict"] for run in (student, alone))
    assert first.keys() == second.keys()
    assert not torch.equal(first["net.head.3.weight"], second["net.head.3.weight"])
    job = build(teacher, synthetic_root, tmp_path / "x")
    rows, data = job.data.cohort.find_part("train"), job.data
    asked = job.fitter.teacher(data, student.path, "cpu")  # which has kept them
    signal = data.store.read_mv(data.store.find_rows(data.cohort.records.index[rows]))
    expected = load_run(teacher.path).nets[0](torch.from_numpy(signal)).sigmoid().numpy()
    np.testing.assert_allclose(asked[rows], expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(np.delete(asked, rows, axis=0)).all()
    (student.path / "teacher.npz").write_bytes(b"half")
    np.testing.assert_array_equal(job.fitter.teacher(data, student.path, "cpu"), asked)  # asked again


def test_a_teacher_that_has_learned_from_test_records_is_refused(teacher, synthetic_root, tmp_path):
    with pytest.raises(DataError, match=r"test records are among those that distill \(cnn1d, fold 0 of default\)"):
        build(teacher, synthetic_root, tmp_path / "x", "fold=1")


@pytest.mark.parametrize(
    ("overrides", "match"),
    [(("task=subdiagnostic", "task.absent_classes=drop"), "a teacher is trained for the same task"),
     (("data.leads=[I,II]",), r"takes lead_names \['I', .* as this run has"),
     (("init.path='{path}'",), "leave out one of both")],
)  # fmt: skip
def test_a_teacher_that_does_not_fit_is_refused(teacher, synthetic_root, tmp_path, overrides, match):
    with pytest.raises(ConfigError, match=match):
        build(teacher, synthetic_root, tmp_path / "x", *(each.format(path=teacher.path) for each in overrides))


def test_the_identity_is_of_the_teacher_s_weights_wherever_they_are(teacher, synthetic_root, tmp_path):
    moved = shutil.copytree(teacher.path, tmp_path / "fold_0")
    here, there = (
        identify(settle_init(configure(synthetic_root, *SETTINGS, f"distill.path='{path}'")))
        for path in (teacher.path, moved)
    )
    assert here == there and here["distill.source"].startswith("cnn1d-") and here["distill.weight"] == 0.5
    assert not any(key.startswith("distill") for key in identify(settle_init(configure(synthetic_root))))
    with pytest.raises(ConfigError, match=r"distill\.weight=0\.3 has no effect without a teacher"):
        settle_init(configure(synthetic_root, "distill.weight=0.3"))
