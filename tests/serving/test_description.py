"""What the server says of its bundle and of itself."""

from dataclasses import replace

from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.serving import interface
from ecgcls.serving.app import make_app
from ecgcls.serving.description import list_unknown
from ecgcls.serving.guard import is_loopback
from tests.serving.conftest import CLASSES, make_stand

FACTS = {
    "name": "five classes",
    "version": "1.2",
    "license": "MIT",
    "training_data": {"name": "somebody's ECGs", "license": "CC BY 4.0"},
    "decisions": {"threshold_rule": {"rule": "f1", "fixed": None, "min_positives": 10}},
    "classes": [{"name": "LOW", "description": "low voltage", "snomed_ct": [{"code": "251146004", "name": "Low QRS"}]}],
    "parity": {"n_records": 40, "largest_difference": 2e-7, "bound": 1e-4, "runtime": "onnxruntime 1"},
}


def test_a_bundle_is_described(open_client):
    found = open_client(make_stand(metadata_names=("age",)), facts=FACTS).get("/api/bundle").json()
    assert (found["name"], found["version"], found["license"]) == (
        "five classes", "1.2", "MIT; training data: CC BY 4.0"
    )  # fmt: skip
    assert found["threshold_rule"] == "f1 (min_positives 10)" and found["training_data"] == "somebody's ECGs"
    high, low = found["classes"]
    assert (high["threshold"], high["description"], high["n_patients"]) == (0.5, "", [20, 20])
    assert (low["description"], low["n_patients"]) == ("low voltage", [37, 3])
    assert low["snomed_ct"] == [{"code": "251146004", "name": "Low QRS"}]
    assert found["parity"] == {"n_records": 40, "records": "", "largest_difference": 2e-7, "bound": 1e-4}
    assert found["input"]["metadata"] == ["age"] and found["input"]["duration_s"] == 10
    assert found["limits"]["max_upload_mb"] == 64 and found["formats"][0] == "WFDB"


def test_what_nets_cannot_know_is_said(open_client, table):
    def read(stand):
        client = open_client(stand)
        found = client.get("/api/bundle").json()
        answer = client.post("/api/predict", files=[("file", ("a.csv", table))]).json()
        assert answer["is_synthetic"] == found["is_synthetic"]
        return found["is_synthetic"], {each["topic"]: each["says"] for each in found["unknown"]}

    is_synthetic, plain = read(make_stand())
    assert "HIGH, LOW" in plain["Classes"] and "faster than 50 Hz" in plain["Leads and time"]
    assert "told nothing" in plain["The patient"] and "Patients" not in plain and not is_synthetic
    stand = make_stand(metadata_names=("age", "sex"))
    is_synthetic, made_up = read(replace(stand, info=replace(stand.info, synthetic=True)))
    assert is_synthetic and "made-up ECGs" in made_up["Patients"]
    assert "told age and sex and nothing else" in made_up["The patient"]


def test_only_what_was_fitted_is_called_calibrated():
    def tell(*methods, **changed):
        fits = ({name: {"method": method} for name, method in zip(CLASSES, pair, strict=True)} for pair in methods)
        stand = make_stand(calibrators=tuple(Calibrator("platt", own) for own in fits), **changed)
        return {each.topic: each.says for each in list_unknown(stand, "X")}["Populations"]

    nothing = "Probabilities are not calibrated: nothing was fitted to validation records"
    assert tell(("none", "none")).startswith(f"{nothing}. ")
    assert tell(("unweighted", "unweighted")).startswith(f"{nothing}, only the loss's class weights were taken out. ")
    two = tell(("platt", "platt"), ("platt", "unweighted"))
    assert "calibrated (platt) on validation records of the training data (X), each of the 2 nets by itself" in two
    assert "not, or not in each net, those of LOW." in two


def test_thresholds_that_were_never_tuned_are_told(open_client):
    stand = make_stand()
    decisions = {"threshold_rule": {"rule": "f1"}, "not_tuned": {"LOW": "3 positive records, fewer than 10"}}
    members = {"members": [{"model": "cnn1d"}, {"model": "cnn2d"}]}
    info = replace(stand.info, decisions=decisions, ensemble=members, variant="a=1", finished="2026-01-02T03:04:05Z")
    found = open_client(replace(stand, info=info)).get("/api/bundle").json()
    assert [each["threshold_note"] for each in found["classes"]] == ["", "3 positive records, fewer than 10"]
    assert (found["members"], found["variant"], found["trained"]) == (["cnn1d", "cnn2d"], "a=1", "2026-01-02")


def test_the_interface_describes_itself_without_the_internet(open_client, tmp_path, monkeypatch):
    client = open_client()
    described = client.get("/openapi.json").json()
    assert {"/api/predict", "/api/batch", "/api/bundle", "/healthz"} == {*described["paths"]}
    form = described["paths"]["/api/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "metadata", "error_rate", "attribution", "draw", "draw_from_s"} == {*form["properties"]}
    assert "PredictAnswer" in described["components"]["schemas"]
    (tmp_path / "swagger-ui-bundle.js").write_text("let here;")
    monkeypatch.setattr(interface, "find_files", lambda: tmp_path)
    shown = open_client()
    page = shown.get("/docs")
    assert "//" not in page.text.replace("<!doctype", "") and "onload" not in page.text
    assert shown.get("/docs/files/swagger-ui-bundle.js").text == "let here;"
    assert "openapi.json" in shown.get("/docs/start.js").text
    monkeypatch.setattr(interface, "find_files", lambda: None)
    assert "pip install fastapi-offline" in open_client().get("/docs").text


def test_addresses():
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "ecg.example.org")] == [False] * 4


def test_the_app_needs_no_facts():
    assert make_app(make_stand())
