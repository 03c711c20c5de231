"""What one recording is answered, against a predictor whose answer is known."""

import io
import json
import zipfile

import numpy as np
import pytest
import wfdb
from scipy.special import expit

from ecgcls.data.lead_sets import LEADS
from tests.serving.conftest import make_csv, make_stand


def post(client, *files, **fields):
    return client.post("/api/predict", files=[("file", each) for each in files], data=fields)


def test_a_recording_is_answered(client, table):
    answer = post(client, ("my ecg.csv", table))
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    found = answer.json()
    high, low = found["classes"]
    # by hand: 1 mV in the stretch that counts gives the logit 10 - 5
    assert (high["name"], high["is_predicted"], low["is_predicted"]) == ("HIGH", True, False)
    np.testing.assert_allclose([high["logit"], low["logit"]], [5, -5], atol=1e-5)
    np.testing.assert_allclose([high["probability"], low["probability"]], expit([5.0, -5.0]), atol=1e-6)
    assert low["threshold"] == 0.25 and high["certainty"] is None
    assert found["recording"] == {
        "name": "my ecg.csv", "sampling_rate_hz": 100.0, "duration_s": 10.0, "lead_names": list(LEADS), "metadata": {}
    }  # fmt: skip
    assert len(found["windows"]) == 1 and "medical device" in found["notice"]


def test_leads_are_spelled_as_usual(client):
    found = post(client, ("a.csv", make_csv(leads=(*LEADS[:3], "AVR", *LEADS[4:])))).json()
    assert found["recording"]["lead_names"] == [*LEADS]


def test_the_signal_is_drawn_as_recorded(client):
    limb = ("I", "II", *LEADS[6:])
    found = post(client, ("a.csv", make_csv(rate_hz=1000, leads=limb))).json()
    drawn = found["signal"]
    assert [lead["name"] for lead in drawn["leads"]] == list(LEADS)
    assert [lead["name"] for lead in drawn["leads"] if lead["is_derived"]] == ["III", "aVR", "aVL", "aVF"]
    assert (drawn["sampling_rate_hz"], drawn["is_resampled"], drawn["is_whole"]) == (500.0, True, True)
    assert "1000 Hz" in drawn["note"] and any("resampled from 1000 to 100 Hz" in text for text in found["repairs"])
    one, two, three = (np.array(drawn["leads"][row]["mv"]) for row in range(3))
    assert len(one) == 5000
    np.testing.assert_allclose(three, two - one, atol=2e-3)  # Einthoven, each rounded to 0.001
    np.testing.assert_allclose(two[2250:2750], 1.0, atol=1e-2)  # 4.5 to 5.5 s


def test_a_long_recording_is_cut_and_drawn_in_parts(client):
    table = make_csv(duration_s=65.0)
    found = post(client, ("a.csv", table), draw_from_s="40").json()
    assert [window["start_s"] for window in found["windows"]] == [0, 10, 20, 30, 40, 50, 55]
    first = found["windows"][0]["probabilities"][0]
    assert first == pytest.approx(expit(5), abs=1e-6) and found["windows"][1]["probabilities"][0] < 0.1
    drawn = found["signal"]
    assert (drawn["start_s"], drawn["duration_s"], drawn["is_whole"]) == (40, 25, False)
    assert "25 s of 65 s" in drawn["note"]
    refused = post(client, ("a.csv", table), draw_from_s="65")
    assert refused.status_code == 400 and "below 65 s" in refused.json()["error"]
    assert post(client, ("a.csv", table), draw="false").json()["signal"] is None


def test_a_class_depends_on_the_stretch_that_its_net_looks_at(client):
    """Lead II is 1 mV in 2 of 10 s: flat, it loses most of what the logit is made of."""
    table = make_csv()
    bands = post(client, ("a.csv", table), attribution=["HIGH", "LOW"]).json()["attribution"]
    assert [band["class_name"] for band in bands] == ["HIGH", "LOW"]
    high, low = (np.array(band["values"]) for band in bands)
    centers_s = bands[0]["start_s"] + (np.arange(len(high)) + 0.5) * bands[0]["step_s"]
    inside = (centers_s > 4.2) & (centers_s < 5.8)
    outside = (centers_s < 3.8) | (centers_s > 6.2)
    mean_mv = np.loadtxt(io.BytesIO(table), delimiter=",", skiprows=2)[:, 1].mean()
    expected = 10 * (1 - mean_mv) * 20 / 200  # 20 of the 200 samples that count become the lead's mean
    np.testing.assert_allclose(high[inside], expected, atol=1e-3)
    np.testing.assert_allclose(high[outside], 0, atol=1e-3)
    np.testing.assert_allclose(low, -high, atol=1e-4)
    by_lead = {lead["name"]: np.abs(lead["values"]).max() for lead in bands[0]["leads"]}
    assert by_lead["II"] == pytest.approx(2 * expected, abs=1e-3) and by_lead["V1"] == 0
    assert bands[0]["unit"] == "change of the logit" and bands[0]["caveat"]


def test_what_is_certain_is_said_where_patients_suffice(client, table):
    high, low = post(client, ("a.csv", table), error_rate="0.1").json()["classes"]
    assert (high["certainty"], high["certainty_note"]) == ("yes", "")
    assert low["certainty"] is None and "too few validation patients" in low["certainty_note"]


def test_a_bundle_without_sets_says_so(open_client, table):
    stand = make_stand()
    vars(stand)["conformals"] = ()
    client = open_client(stand)
    found = post(client, ("a.csv", table), error_rate="0.1").json()
    assert found["error_rate"] is None and "no scores of validation" in found["classes"][0]["certainty_note"]
    assert client.get("/api/bundle").json()["can_be_certain"] is False


def test_what_the_user_says_of_the_patient_counts(open_client, table):
    client = open_client(make_stand(metadata_names=("age",)))
    found = post(client, ("a.csv", table), metadata=json.dumps({"age": 2})).json()
    assert found["recording"]["metadata"] == {"age": 2}
    assert found["classes"][0]["logit"] == pytest.approx(7, abs=1e-5)
    unknown = post(client, ("a.csv", table)).json()
    assert unknown["recording"]["metadata"] == {"age": None}
    assert any("age is not known" in text for text in unknown["repairs"])


@pytest.fixture
def record(tmp_path):
    """Return the header and the signal file of a WFDB record, named r.hea and r.dat."""
    signal = np.loadtxt(io.BytesIO(make_csv(0.0)), delimiter=",", skiprows=2)
    form = {"units": ["mV"] * 12, "sig_name": list(LEADS), "fmt": ["16"] * 12, "comments": ["Age: 3"]}
    wfdb.wrsamp("r", 100, p_signal=signal, write_dir=str(tmp_path), **form)
    return [(name, (tmp_path / name).read_bytes()) for name in ("r.hea", "r.dat")]


def test_a_wfdb_record_is_two_files_or_a_zip(open_client, record):
    client = open_client(make_stand(metadata_names=("age",)))
    found = post(client, *record).json()
    assert found["recording"]["name"] == "r" and found["recording"]["metadata"] == {"age": 3}
    assert found["classes"][0]["logit"] == pytest.approx(-2, abs=1e-2)  # 0 mV gives -5, and the age 3
    packed = zip_files(record)
    again = post(client, ("r.zip", packed)).json()
    assert again["classes"] == found["classes"] and again["recording"]["name"] == "r.zip/r"


def test_files_that_do_not_fit_together_are_refused(client, record, table):
    for files, words in [
        (record[:1], "r.dat"),
        (record[1:], "send the file .hea"),
        ([*record, ("other.csv", table)], "2 recordings"),
        ([*record, ("notes.txt", b"hello")], "do not belong to r: notes.txt"),
        ([record[0], ("r.dat", record[1][1][:-100])], "r.dat"),  # truncated
    ]:
        answer = post(client, *files)
        assert answer.status_code == 422 and words in answer.json()["error"], answer.text


def test_a_batch_is_answered_line_by_line(client, record, table):
    files = [("b/one.csv", table), ("bad.csv", b"I,II\n1,x\n"), ("all.zip", zip_files(record))]
    answer = client.post("/api/batch", files=[("file", each) for each in files], data={"error_rate": "0.1"})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3] and {line["n_records"] for line in lines} == {3}
    by_name = {line["record"]: line for line in lines}
    assert by_name["b/one.csv"]["answer"]["classes"][0]["certainty"] == "yes"
    assert by_name["all.zip/r"]["answer"]["classes"][0]["is_predicted"] is False
    assert by_name["b/one.csv"]["answer"]["signal"] is None and by_name["bad.csv"]["error"]
    assert client.get("/healthz").json()["waiting"] == 0


def zip_files(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return packed.getvalue()
