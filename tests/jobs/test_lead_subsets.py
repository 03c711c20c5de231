"""A run on a data set of three leads, trained with lead dropout: its scores and predictions with fewer of them."""

import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.signals import read_record
from ecgcls.errors import ConfigError, DataError
from ecgcls.evaluation.intervals import bootstrap
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings
from ecgcls.jobs.lead_subsets import ScoredSubsets, choose_subsets, score_subsets, write_subsets
from ecgcls.jobs.load import load_run
from ecgcls.jobs.score_table import describe_mark
from ecgcls.runs.find import open_configuration
from ecgcls.runs.predictions_csv import read_predictions
from tests.figures.examples import make
from tests.in_process import fit

OWN = ("I", "II", "V2")


def test_the_whole_comes_first_and_every_set_once():
    assert choose_subsets("challenge", LEADS) == {
        "all 12": LEADS,
        "challenge6": LEADS[:6],
        "challenge4": ("I", "II", "III", "V2"),
        "challenge3": ("I", "II", "V2"),
        "challenge2": ("I", "II"),
    }
    assert choose_subsets("v2+i", OWN) == {"all 3": OWN, "I+V2": ("I", "V2")}
    with pytest.raises(ConfigError, match="leads: none of precordial is among the net's leads, I, II"):
        choose_subsets(["precordial"], ("I", "II"))
    with pytest.raises(ConfigError, match="leads: no lead or set of leads 'chalenge2'; did you mean challenge2"):
        choose_subsets(["chalenge2"], LEADS)


def test_an_interval_of_few_patients_is_marked_in_the_table_the_file_and_the_figure(tmp_path):
    subsets = {"all 2": ("I", "II"), "I": ("I",)}
    many = make(1, 200)
    few = many.take(many.ecg_id[:12])
    predictions = {"all 2": many, "I": few}
    scored = ScoredSubsets("t", subsets, subsets, predictions, EvaluationSettings(intervals=Bootstrap(20)), {})
    table = write_subsets(scored, tmp_path)
    assert [text.endswith("] !") for text in table["ROC-AUC"]] == [False, True]
    assert describe_mark(table.to_string(), "leads.csv").endswith("see n_patients in leads.csv")
    assert not describe_mark(table.iloc[:1].to_string(), "leads.csv")
    rows = pd.read_csv(tmp_path / "leads.csv").set_index(["subset", "class", "metric"])["is_supported"]
    assert rows[:, "overall", "roc_auc"].to_dict() == {"all 2": True, "I": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory, synthetic_root):
    """The simulated data set as a device of three leads would have recorded it."""
    root = tmp_path_factory.mktemp("three") / "ecgs"
    shutil.copytree(synthetic_root, root, ignore=shutil.ignore_patterns(".ecgcls"))
    for header in root.rglob("*.hea"):
        signal_uv = read_record(header.with_suffix("")).signal_uv[[1, 7, 0]]
        wfdb.wrsamp(
            header.stem, fs=100, units=["mV"] * 3, sig_name=["II", "V2", "I"], d_signal=signal_uv.T, fmt=["16"] * 3,
            adc_gain=[1000.0] * 3, baseline=[0] * 3, write_dir=str(header.parent),
        )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("run") / "fold_0"
    leads = ("data.leads=[V2,I,II]", "augment=lead_dropout", "augment.lead_dropout.probability=0.6")
    fit(folder, root, *leads, "trainer.max_epochs=1", "model.width=4", "seed=3")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return load_run(folder)


def read_window(root, run, which):
    """The windows ``(record, lead, sample)`` of test records in mV, in the order of the net's leads."""
    filenames = pd.read_csv(root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]
    names = [filenames[ecg_id] for ecg_id in which]
    return np.stack([wfdb.rdsamp(str(root / name))[0].T[[2, 0, 1]] for name in names]).astype(np.float32)


def apply_by_hand(run, windows_mv, absent):
    """The net's logits where absent leads are 0 after standardization."""
    standardizer, net = run.nets[0]
    standardized = standardizer(torch.from_numpy(windows_mv))
    standardized[:, absent] = 0
    return net(standardized).double().numpy()


@pytest.mark.slow
def test_a_subset_is_scored_as_a_net_whose_other_leads_are_zero(root, folder, run, tmp_path, caplog):
    one = open_configuration(folder)
    assert one.info.data["lead_names"] == list(OWN) and one.info.data["may_lack_leads"]
    how = {"split": "test", "overrides": {}, "device": "cpu"}
    scored = score_subsets(one, ["V2", "limb"], **how)
    assert "trained with all of its leads" not in caplog.text
    assert scored.subsets == {"all 3": OWN, "V2": ("V2",), "limb": ("I", "II")}
    stored = one.tested
    np.testing.assert_allclose(scored.predictions["all 3"].y_prob, stored.y_prob, atol=1e-6)
    assert np.array_equal(scored.predictions["all 3"].y_pred, stored.y_pred)
    raw = apply_by_hand(run, read_window(root, run, stored.ecg_id), [0, 1])
    expected = run.calibrators[0].apply_logits(raw, run.class_names)
    np.testing.assert_allclose(scored.predictions["V2"].y_logit, expected, atol=1e-5)
    table = write_subsets(scored, tmp_path)
    assert list(table.index) == ["all 3", "V2", "limb"]
    rows = pd.read_csv(tmp_path / "leads.csv").set_index(["subset", "class", "metric"])
    again = read_predictions(tmp_path / "predictions_V2.csv")[0]
    arrays = again.y_true, again.y_prob, again.patient_id, again.class_names
    more = {"y_pred": again.y_pred, "y_logit": again.y_logit}
    measured = bootstrap(*arrays, **more, settings=one.evaluation.intervals)
    for key in ("pr_auc", "f1_macro"):
        assert rows.loc[("V2", "overall", key), "value"] == pytest.approx(measured.loc[("overall", key), "value"])
    assert (tmp_path / "figures" / "leads.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_recording_may_lack_leads_if_the_net_has_learned_to_do_without(root, run):
    (window_mv,) = read_window(root, run, run.runs[0].read_predictions("test").ecg_id[:1])
    form = {"sampling_rate_hz": 100}
    found = run.predict(window_mv[2:], lead_names=["V2"], **form)
    raw = apply_by_hand(run, window_mv[None], [0, 1])
    logit = run.calibrators[0].apply_logits(raw, run.class_names)[0]
    assert list(found.y_logit.values()) == pytest.approx(logit.tolist(), abs=1e-5)
    assert any("without I, II, as the net has learned to do" in repair for repair in found.repairs)
    told = run.explain(window_mv[2:], lead_names=["V2"], **form)
    assert all(np.isfinite(values).all() for values in told.attribution.values())
    more = np.concatenate([window_mv, window_mv[:1]])  # a lead that the net does not take
    same = run.predict(more, lead_names=[*OWN, "V6"], **form)
    assert same.y_prob == run.predict(window_mv, lead_names=OWN, **form).y_prob
    assert not any("V6" in repair for repair in same.repairs)
    with pytest.raises(DataError, match="the leads I, II, V2 are missing, got V3"):
        run.predict(window_mv[2:], lead_names=["V3"], **form)


@pytest.mark.slow
def test_a_net_that_has_not_learned_it_is_scored_with_a_warning(configuration, synthetic_root, tmp_path, caplog):
    one = open_configuration(configuration / "fold_0")
    with caplog.at_level(logging.WARNING):
        how = {"overrides": {}, "device": "cpu", "store_dir": tmp_path / "store"}
        scored = score_subsets(one, "challenge2", split="test", **how)
    assert any((tmp_path / "store").iterdir())
    assert "was trained with all of its leads in every record" in caplog.text
    assert scored.subsets["challenge2"] == LEADS[:6] and scored.given["challenge2"] == ("I", "II")
    assert "III, aVR, aVL, aVF" in write_subsets(scored, tmp_path).loc["challenge2", "derived"]
