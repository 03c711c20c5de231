import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import ConfigError
from ecgcls.jobs.explain import ExplainSettings, explain_run
from ecgcls.jobs.load import load_run
from ecgcls.outputs import claimed
from ecgcls.runs.find import open_configuration

REQUESTED = ExplainSettings(
    methods=["integrated_gradients", "grad_cam"], class_names=["NORM", "MI"], n_summary=2, n_scorecard=1
)


@pytest.fixture(scope="module")
def one(configuration):
    return open_configuration(configuration / "fold_0")


@pytest.fixture(scope="module")
def explained(one, synthetic_root, tmp_path_factory):
    """What was written for two methods and classes, and the table that came back."""
    output = tmp_path_factory.mktemp("interpret")
    table, _ = explain_run(one, output, replace(REQUESTED, data_root=synthetic_root))
    return output, table


def test_every_picture_has_its_numbers(explained, synthetic_root):
    output, table = explained
    filenames = pd.read_csv(synthetic_root / "ptbxl_database.csv").set_index("ecg_id")["filename_lr"]
    pd.testing.assert_frame_equal(pd.read_csv(output / "records.csv", keep_default_na=False), table)
    assert set(table["method"]) == {"integrated_gradients", "grad_cam"}
    assert set(table["class"]) == {"NORM", "MI"}
    for row in table.itertuples():
        assert (output / row.figure).read_bytes()[:4] == b"\x89PNG"
        with np.load(output / row.attribution) as arrays:
            assert arrays["attribution"].shape == (12, 1000)
            assert tuple(arrays["lead_names"]) == LEADS
            assert (int(arrays["ecg_id"]), str(arrays["class_name"])) == (row.ecg_id, row[2])
            expected_uv = read_record(synthetic_root / filenames[row.ecg_id]).signal_uv
            np.testing.assert_allclose(arrays["signal_mv"], expected_uv * 1e-3, rtol=1e-6)


def test_outcomes_are_those_of_the_runs_predictions(explained, configuration):
    _, table = explained
    predictions = pd.read_csv(configuration / "fold_0" / "predictions.csv").set_index("ecg_id")
    for row in table.to_dict("records"):
        truth, prob, decided = predictions.loc[
            row["ecg_id"], [f"{key}_{row['class']}" for key in ("y_true", "y_prob", "y_pred")]
        ]
        assert row["y_prob"] == prob
        assert row["outcome"] == ("T" if decided == truth else "F") + ("P" if decided else "N")


def test_integrated_gradients_add_up_to_the_nets_own_difference(explained, configuration):
    output, table = explained
    run = load_run(configuration / "fold_0")
    net, mean_mv = run.nets[0], run.nets[0].standardizer.mean_mv
    row = table[table["method"] == "integrated_gradients"].iloc[0]
    with np.load(output / row["attribution"]) as arrays:
        column = run.class_names.index(row["class"])
        baseline = mean_mv.expand(-1, 1000)[None]
        difference = net(torch.from_numpy(arrays["signal_mv"])[None])[0, column] - net(baseline)[0, column]
        assert arrays["attribution"].sum() == pytest.approx(float(difference), abs=0.05 * abs(float(difference)) + 0.01)


def test_summaries_and_scorecard_are_written(explained):
    output, _ = explained
    by_lead = pd.read_csv(output / "by_lead.csv")
    shares = by_lead.groupby(["method", "class"])["share"].sum()
    np.testing.assert_allclose(shares, 1.0, atol=1e-6)
    by_beat = pd.read_csv(output / "by_beat.csv")
    phases = [column for column in by_beat if column.endswith("_share")]
    np.testing.assert_allclose(by_beat[phases].sum(axis=1), 1.0, atol=1e-6)
    card = json.loads((output / "scorecard.json").read_text())
    assert set(card["methods"]) == {"integrated_gradients", "grad_cam"}
    assert card["methods"]["grad_cam"]["completeness"] is None
    assert (output / "figures" / "scorecard.png").is_file()
    assert (output / "figures" / "integrated_gradients" / "by_lead.png").is_file()
    assert not (output / "figures" / "grad_cam" / "by_lead.png").exists()  # cnn1d's knows no leads


def test_chosen_records_replace_what_was_there(one, synthetic_root, tmp_path):
    ecg_id = int(one.tested.ecg_id[0])
    with claimed(tmp_path, "interpret"):
        (tmp_path / "figures" / "old").mkdir(parents=True)
        (tmp_path / "figures" / "old" / "a.png").touch()
    (tmp_path / "figures" / "mine.png").touch()
    (tmp_path / "kept.txt").touch()
    settings = ExplainSettings(
        methods=["saliency"],
        class_names=["MI"],
        records=str(ecg_id),
        n_summary=0,
        n_scorecard=0,
        data_root=synthetic_root,
    )
    table, warnings = explain_run(one, tmp_path, settings)
    assert table[["ecg_id", "class", "method"]].to_numpy().tolist() == [[ecg_id, "MI", "saliency"]]
    assert not (tmp_path / "figures" / "old").exists()
    assert (tmp_path / "kept.txt").exists()
    assert (tmp_path / "figures" / "mine.png").exists()
    assert not (tmp_path / "scorecard.json").exists()
    assert warnings == []


def test_another_data_set_is_refused(one, synthetic_root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(synthetic_root, other, ignore=shutil.ignore_patterns("records*", ".ecgcls"))
    table = other / "ptbxl_database.csv"
    table.write_text(table.read_text().replace("1", "2", 1))
    with pytest.raises(ConfigError, match=r"is not the table that .* was trained on; .*data\.root=PATH"):
        explain_run(one, tmp_path / "out", replace(REQUESTED, data_root=other))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": ["salience"]}, "method: there is no 'salience'; did you mean saliency"),
        ({"methods": []}, "method is empty"),
        ({"class_names": ["AFIB"]}, "classes: this run has no class AFIB"),
    ],
)
def test_what_cannot_be_explained_is_reported(one, synthetic_root, tmp_path, changed, message):
    with pytest.raises(ConfigError, match=message):
        explain_run(
            one,
            tmp_path,
            replace(REQUESTED, data_root=synthetic_root, **changed),
        )
    assert list(tmp_path.iterdir()) == []
