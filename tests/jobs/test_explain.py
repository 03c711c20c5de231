import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import ConfigError
from ecgcls.explanation.method import MethodSettings
from ecgcls.jobs.explain import ExplainSettings, explain_run
from ecgcls.jobs.explain_recording import explain_files
from ecgcls.jobs.load import load_run
from ecgcls.runs.find import open_configuration

REQUESTED = ExplainSettings(
    methods=["integrated_gradients", "grad_cam"], class_names=["NORM", "MI"], n_summary=2, n_scorecard=1
)


@pytest.fixture(scope="module")
def one(configuration):
    return open_configuration(configuration / "fold_0")


@pytest.fixture(scope="module")
def explained(one, synthetic_root, tmp_path_factory):
    """What was written for two methods and classes, the table that came back, and what was told."""
    output = tmp_path_factory.mktemp("interpret")
    told = []
    table, _ = explain_run(one, output, replace(REQUESTED, data_root=synthetic_root), tell=told.append)
    return output, table, told


def test_every_picture_has_its_numbers(explained, synthetic_root):
    output, table, _ = explained
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
    _, table, _ = explained
    predictions = pd.read_csv(configuration / "fold_0" / "predictions.csv").set_index("ecg_id")
    for row in table.to_dict("records"):
        truth, prob, decided = predictions.loc[
            row["ecg_id"], [f"{key}_{row['class']}" for key in ("y_true", "y_prob", "y_pred")]
        ]
        assert row["y_prob"] == prob
        assert row["outcome"] == ("T" if decided == truth else "F") + ("P" if decided else "N")


def test_integrated_gradients_add_up_to_the_nets_own_difference(explained, configuration):
    output, table, _ = explained
    run = load_run(configuration / "fold_0")
    net, mean_mv = run.nets[0], run.nets[0].standardizer.mean_mv
    row = table[table["method"] == "integrated_gradients"].iloc[0]
    with np.load(output / row["attribution"]) as arrays:
        column = run.class_names.index(row["class"])
        baseline = mean_mv.expand(-1, 1000)[None]
        difference = net(torch.from_numpy(arrays["signal_mv"])[None])[0, column] - net(baseline)[0, column]
        assert arrays["attribution"].sum() == pytest.approx(float(difference), abs=0.05 * abs(float(difference)) + 0.01)


def test_summaries_and_scorecard_are_written(explained):
    output, table, _ = explained
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
    (record,) = card["records"]
    y_prob = table.set_index(["ecg_id", "class"]).loc[[(record["ecg_id"], record["class"])], "y_prob"].iloc[0]
    for method in card["methods"].values():  # the recalibrated probability, as everywhere else
        assert method["deletion"]["probability"][0] == pytest.approx(y_prob, abs=1e-5)
        assert method["insertion"]["probability"][-1] == pytest.approx(y_prob, abs=1e-5)
    assert json.loads((output / "interpret.json").read_text())["is_complete"] is True


def test_what_is_to_come_is_told_and_then_each_result(explained, one):
    _, table, told = explained
    n_summary = sum(min(2, int(one.tested.y_true[:, one.class_names.index(name)].sum())) for name in ("NORM", "MI"))
    n_maps = len(table) + 2 * (n_summary + 1 + 25)  # one record of the scorecard, which is attributed 25 times more
    (plan,) = [line for line in told if " maps, about " in line]
    assert f" by integrated_gradients, grad_cam: {n_maps} maps, about " in plan
    rows = [line.split() for line in told[told.index(plan) + 2 :][: len(table)]]
    assert sorted(row[-1] for row in rows) == sorted(table["figure"])
    assert {row[3] for row in rows} == {f"{y_prob:.3f}" for y_prob in table["y_prob"]}
    rest = told[told.index(plan) + 2 + len(table) :]
    assert [line.partition(":")[0] for line in rest] == [
        *(f"Summary of {name} by {method}" for name in ("NORM", "MI") for method in REQUESTED.methods),
        *(f"Scorecard of {method}" for method in REQUESTED.methods),
    ]


def test_chosen_records_replace_what_was_there(one, synthetic_root, tmp_path):
    ecg_id = int(one.tested.ecg_id[0])
    settings = ExplainSettings(
        methods=["saliency"],
        class_names=["MI"],
        records=str(ecg_id),
        n_summary=0,
        n_scorecard=0,
        data_root=synthetic_root,
    )
    explain_run(one, tmp_path, replace(settings, methods=["grad_cam"]))
    (tmp_path / "kept.txt").touch()
    (tmp_path / "figures" / "mine.png").touch()
    table, warnings = explain_run(one, tmp_path, settings)
    assert table[["ecg_id", "class", "method"]].to_numpy().tolist() == [[ecg_id, "MI", "saliency"]]
    assert not (tmp_path / "figures" / "grad_cam").exists()
    assert (tmp_path / "kept.txt").exists()
    assert (tmp_path / "figures" / "mine.png").exists()
    assert not (tmp_path / "scorecard.json").exists()
    assert warnings == []


def test_a_folder_with_anything_else_is_refused_and_left_alone(one, synthetic_root, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").touch()
    for output in (tmp_path, one.folder):
        before = sorted(output.rglob("*"))
        with pytest.raises(ConfigError, match="not one of interpret's results; name a new folder"):
            explain_run(one, output, replace(REQUESTED, data_root=synthetic_root))
        assert sorted(output.rglob("*")) == before


@pytest.fixture(scope="module")
def own(synthetic_root):
    """Two simulated ECGs, mV, one after the other."""
    paths = sorted(synthetic_root.glob("records100/*/*.hea"))[:2]
    return np.concatenate([read_record(path.with_suffix("")).signal_uv * 1e-3 for path in paths], axis=1)


def test_ones_own_recording_is_explained_by_the_window_that_decides(configuration, own):
    run = load_run(configuration / "fold_0")
    found = run.explain(own[::-1], sampling_rate_hz=100, lead_names=LEADS[::-1], classes=["MI", "CD"])
    prediction = run.predict(own, sampling_rate_hz=100, lead_names=LEADS)
    assert found.prediction.to_dict()["y_prob"] == prediction.y_prob
    assert list(found.attribution) == list(found.window) == ["MI", "CD"]
    for name, values in found.attribution.items():
        number = found.window[name]
        assert number == prediction.windows[:, run.class_names.index(name)].argmax()
        signal_mv = own[:, 1000 * number : 1000 * (number + 1)]
        np.testing.assert_allclose(found.signal_mv[name], signal_mv, atol=1e-6)
        assert values.shape == (12, 1000)
        alone = run.explain(signal_mv, sampling_rate_hz=100, lead_names=LEADS, classes=[name])
        np.testing.assert_allclose(values, alone.attribution[name], atol=1e-6)
    unasked = run.explain(own, sampling_rate_hz=100, lead_names=LEADS)
    held = [name for name, is_held in prediction.y_pred.items() if is_held]
    assert list(unasked.attribution) == (held or [max(prediction.y_prob, key=prediction.y_prob.get)])
    with pytest.raises(ConfigError, match="this run has no class AFIB"):
        run.explain(own, sampling_rate_hz=100, lead_names=LEADS, classes=["AFIB"])
    several = replace(run, nets=run.nets * 2)
    with pytest.raises(ConfigError, match="holds 2 nets, expected one to explain"):
        several.explain(own, sampling_rate_hz=100, lead_names=LEADS)


def test_record_files_are_explained_one_by_one(configuration, synthetic_root, tmp_path):
    run = load_run(configuration / "fold_0")
    good = sorted(synthetic_root.glob("records100/*/*.hea"))[0].with_suffix("")
    told, settings = [], MethodSettings()
    paths = [tmp_path / "gone", good]
    asked = {"methods": ["saliency"], "class_names": ["MI"], "settings": settings, "tell": told.append}
    table, failures = explain_files(run, paths, tmp_path / "out", **asked)
    assert list(failures) == [str(tmp_path / "gone")]
    failed = pd.read_csv(tmp_path / "out" / "failed.csv")
    assert failed.to_numpy().tolist() == [[str(tmp_path / "gone"), failures[str(tmp_path / "gone")]]]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "records.csv", keep_default_na=False), table)
    (row,) = table.to_dict("records")
    assert (row["record"], row["class"], row["method"]) == (str(good), "MI", "saliency")
    expected = run.explain(
        read_record(good).signal_uv * 1e-3, sampling_rate_hz=100, lead_names=LEADS, classes=["MI"], method="saliency"
    )
    assert row["y_prob"] == pytest.approx(expected.prediction.y_prob["MI"])
    with np.load(tmp_path / "out" / row["attribution"]) as arrays:
        np.testing.assert_allclose(arrays["attribution"], expected.attribution["MI"], rtol=1e-4, atol=1e-7)
    assert (tmp_path / "out" / row["figure"]).read_bytes()[:4] == b"\x89PNG"
    assert told[-1].split()[-1] == row["figure"]


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
