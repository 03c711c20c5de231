import json
import re
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ecgcls.data import plain_records, recordings
from ecgcls.data.recordings import iter_recording
from ecgcls.data.signals import LEADS, Record, read_record
from ecgcls.errors import DataError
from ecgcls.jobs.apply import predict_files
from ecgcls.jobs.prediction_files import PredictionFiles, format_predictions
from tests.data.binary_files import write_dicom, write_edf, write_ishne, write_scp
from tests.data.device_files import INDEPENDENT, write_aecg, write_csv, write_muse, write_sierra


def test_files_are_predicted_as_the_run_did(run, configuration, filenames):
    table = pd.read_csv(configuration / "fold_0" / "predictions.csv").set_index("ecg_id")
    stored = table[table["split"] == "test"].filter(like="y_prob_")
    paths = [filenames[ecg_id] for ecg_id in stored.index]
    found = list(predict_files(run, paths))
    assert [path for path, _ in found] == paths
    y_prob = [list(prediction.y_prob.values()) for _, prediction in found]
    np.testing.assert_allclose(y_prob, stored.to_numpy(), rtol=1e-4)


def test_the_same_ecg_from_any_device_gets_the_same_probabilities(run, filenames, tmp_path):
    signal_mv = read_record(filenames.iloc[0]).signal_uv * 1e-3
    eight = signal_mv[[LEADS.index(name) for name in INDEPENDENT]]
    paths = [
        filenames.iloc[0],
        write_muse(tmp_path / "a.xml", eight, INDEPENDENT, 100),
        write_aecg(tmp_path / "b.xml", signal_mv[::-1], LEADS[::-1], 100, unit="mV"),
        write_sierra(tmp_path / "c.xml", signal_mv, LEADS, 100, uv_per_bit=1.0),
        write_scp(tmp_path / "d", eight, INDEPENDENT, 100, is_packed=True),
        write_dicom(tmp_path / "e", signal_mv, LEADS, 100),
        write_edf(tmp_path / "f", signal_mv * 1e3, LEADS, [100] * 12),
        write_ishne(tmp_path / "g", signal_mv, LEADS, 100),
        write_csv(tmp_path / "h.csv", signal_mv, LEADS, 100, unit="uV"),
    ]
    found = dict(predict_files(run, [*paths, write_muse(tmp_path / "four.xml", signal_mv[:4], LEADS[:4], 100)]))
    refused = found.pop(tmp_path / "four.xml")
    y_prob = np.array([list(prediction.y_prob.values()) for prediction in found.values()])
    np.testing.assert_allclose(y_prob - y_prob[0], 0, atol=1e-3)
    assert [prediction.repairs for prediction in found.values()] == [
        (),
        (derived := "derived III, aVR, aVL, aVF from I and II",),
        ("leads put in order",),
        ("cut off the last 1 s: a calibration pulse of 1 mV in all leads",),
        (derived,),
        *4 * [()],
    ]
    assert "the leads V1, V2, V3, V4, V5, V6 are missing, got I, II, III, aVR" in str(refused)


def test_a_batch_ends_where_it_is_full(run, filenames, monkeypatch):
    paths = list(filenames[:5])
    whole = [prediction.y_prob for _, prediction in predict_files(run, paths)]
    monkeypatch.setattr("ecgcls.jobs.apply.BATCH_SIZE", 2)
    batches = [list(prediction.y_prob.values()) for _, prediction in predict_files(run, paths)]
    np.testing.assert_allclose(batches, [list(each.values()) for each in whole], rtol=1e-4)


def test_a_damaged_file_does_not_stop_the_others(run, filenames, tmp_path):
    good, absent = filenames.iloc[0], tmp_path / "absent"
    (first, prediction), (second, refused), (third, again) = predict_files(run, [good, absent, good])
    assert (first, second, third) == (good, absent, good)
    assert isinstance(refused, DataError)
    assert "absent.hea" in str(refused)
    assert prediction.y_prob == again.y_prob


def test_no_odd_record_ends_a_batch(run, filenames, tmp_path, monkeypatch, write_record):
    """A recording without a standard lead, an absurd rate, a net's infinity, and whatever else a reader raises."""
    good, samples = filenames.iloc[0], read_record(filenames.iloc[1]).signal_uv.T
    write_record(tmp_path / "holter", samples[:, :2], sig_name=["ECG1", "ECG2"], units=["mV"] * 2, fmt=["16"] * 2,
                 adc_gain=[1000.0] * 2, baseline=[0] * 2)  # fmt: skip
    write_record(tmp_path / "fast", samples)
    header = tmp_path / "fast.hea"
    header.write_text(header.read_text().replace("fast 12 100 ", "fast 12 1000000000 "))
    write_record(tmp_path / "inf", samples)
    write_record(tmp_path / "broken", samples)
    net, read, read_plain = run.nets[0], recordings.iter_leads, plain_records.read_plain

    def forward(signal):
        logits = net(signal)
        is_inf = abs(signal - torch.from_numpy(samples.T / 1000)).amax((1, 2)) < 1e-3
        return torch.where(is_inf[:, None], torch.inf, logits)

    def stumble(read, path, *arguments, **options):
        if path.name == "broken":
            raise IndexError("list index out of range")
        return read(path, *arguments, **options)

    monkeypatch.setattr(recordings, "iter_leads", partial(stumble, read))
    monkeypatch.setattr(plain_records, "read_plain", partial(stumble, read_plain))
    odd = nn.Sequential(*net)
    odd.forward = forward
    paths = [good, *(tmp_path / name for name in ("holter", "fast", "inf", "broken")), good]
    found = [result for _, result in predict_files(replace(run, nets=(odd,)), paths)]
    assert found[0].y_prob == pytest.approx(found[-1].y_prob)
    for error, text in zip(
        found[1:-1],
        ("no standard lead .*got ECG1, ECG2", "at most 1000000 Hz", "logits are not finite", "IndexError: list index"),
        strict=True,
    ):
        assert isinstance(error, DataError)
        assert re.search(text, str(error)), error


def test_a_long_record_is_predicted_in_parts(run, filenames, tmp_path, monkeypatch, write_record):
    """As if it were in memory as a whole, though it is read block by block, and resampled."""
    samples = np.concatenate([read_record(path).signal_uv.T for path in filenames[:4]])
    write_record(tmp_path / "long", samples[:3900], fs=128)
    whole = run.predict(samples[:3900].T / 1000, sampling_rate_hz=128, lead_names=LEADS)
    monkeypatch.setattr("ecgcls.jobs.apply.BATCH_SIZE", 1)
    monkeypatch.setattr("ecgcls.jobs.apply.iter_recording", partial(iter_recording, block_s=7.0))
    ((_, found),) = predict_files(run, [tmp_path / "long"])
    assert found.starts_s == whole.starts_s == (0.0, 10.0, 20.0, 20.47)
    np.testing.assert_allclose(found.windows, whole.windows, rtol=1e-4)
    assert list(found.y_logit.values()) == pytest.approx(list(whole.y_logit.values()), abs=1e-4)
    assert found.repairs[-2:] == whole.repairs[-2:]


def test_memory_does_not_grow_with_the_length_of_a_record(run, filenames, monkeypatch):
    samples = read_record(filenames.iloc[0]).signal_uv
    block = Record(np.tile(samples, 10), 100.0, has_checksums=False)  # 100 s

    def measure(n_blocks):
        def iter_leads(path, choose, *, block_s):
            choose(LEADS)
            return (block._replace(signal_uv=block.signal_uv.copy()) for _ in range(n_blocks))

        monkeypatch.setattr(recordings, "iter_leads", iter_leads)
        tracemalloc.start()
        ((_, found),) = predict_files(run, [filenames.iloc[0].with_name("long")])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found.starts_s) == 10 * n_blocks
        return peak

    monkeypatch.setattr("ecgcls.jobs.apply.BATCH_SIZE", 20)
    assert measure(32) < 1.5 * measure(8)


def write(folder, run, found, failures=()):
    with PredictionFiles(folder, run=run, source="typed") as files:
        for record, prediction in found.items():
            files.add(record, prediction)
        for record in failures:
            files.fail(record, "no such\n file")
    return files


def test_predictions_are_written_with_what_could_not_be_used(run, filenames, tmp_path):
    found = {str(path): prediction for path, prediction in predict_files(run, filenames[:2])}
    write(tmp_path, run, found, ["absent"])
    assert pd.read_csv(tmp_path / "failed.csv").to_dict("records") == [{"record": "absent", "reason": "no such file"}]
    table = pd.read_csv(tmp_path / "predictions.csv")
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert [record["record"] for record in content["records"]] == table["record"].tolist() == list(found)
    for row, record, prediction in zip(table.to_dict("records"), content["records"], found.values(), strict=True):
        assert (record["y_prob"], record["y_logit"]) == (prediction.y_prob, prediction.y_logit)
        assert {name: row[f"y_prob_{name}"] for name in run.class_names} == prediction.y_prob
        assert {name: row[f"y_logit_{name}"] for name in run.class_names} == prediction.y_logit
        assert {name: bool(row[f"y_pred_{name}"]) for name in run.class_names} == prediction.y_pred
    assert (content["n_nets"], content["input"], content["thresholds"]) == (1, "typed", run.thresholds)
    assert content["is_complete"]
    write(tmp_path, run, {}, ["absent"])
    assert [path.name for path in tmp_path.iterdir()] == ["failed.csv"]  # nothing of the earlier call is left


def test_results_can_be_read_while_the_command_runs(run, filenames, tmp_path):
    ((path, prediction),) = predict_files(run, filenames[:1])
    with pytest.raises(KeyboardInterrupt), PredictionFiles(tmp_path, run=run, source="typed") as files:
        for number in (1, 2):
            files.add(str(path), prediction)
            assert len(pd.read_csv(tmp_path / "predictions.csv")) == number
            lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
            assert [json.loads(line)["y_prob"] for line in lines] == [prediction.y_prob] * number
        raise KeyboardInterrupt
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert (len(content["records"]), content["is_complete"]) == (2, False)


def test_a_predicted_class_is_marked(run, filenames, tmp_path):
    ((path, prediction),) = predict_files(run, filenames[:1])
    text = format_predictions(write(tmp_path, run, {str(path): prediction}), run)
    for name, is_predicted in prediction.y_pred.items():
        assert f"{prediction.y_prob[name]:.3f}{'*' if is_predicted else ' '}" in f"{text.splitlines()[1]} ", name
