"""The card of a bundle, held against the runs that it is of: the head for programs, and the text for readers."""

import re
from dataclasses import replace

import markdown
import pytest
import yaml

from ecgcls.errors import ConfigError
from ecgcls.evaluation.settings import Bootstrap, EvaluationSettings, Subgroups
from ecgcls.jobs.export import check_place
from ecgcls.jobs.export_facts import describe_calibration, describe_formats, measure, name_bundle
from ecgcls.reporting.bundle_card import describe_card, format_bundle_card
from ecgcls.runs.configuration import read_configuration
from tests.bundles.hand_made import make_metadata, write_bundle
from tests.reporting.conftest import CLASSES
from tests.reporting.outline import Outline


@pytest.fixture(scope="module")
def one(tmp_path_factory, write_configuration):
    """Two of three folds."""
    quick = {"evaluation": EvaluationSettings(intervals=Bootstrap(50), subgroups=Subgroups(min_records=1000))}
    return read_configuration(
        write_configuration(tmp_path_factory.mktemp("cards") / "demo", "cnn1d", folds=(0, 2), info=quick)
    )


def describe(one, **changed):
    """What `ecgcls.jobs.export` would say of the bundle."""
    classes = [
        {"name": name, "description": "", "scp_codes": [], "snomed_ct": [], "threshold": one.thresholds[name]}
        for name in one.class_names
    ]
    code = {"code": "426783006", "name": "sinus rhythm", "relation": "broader"}
    classes[0] |= {"description": "normal ECG", "scp_codes": ["NORM"], "snomed_ct": [code]}
    form = {"lead_names": ["I", "II"], "sampling_rate_hz": 100, "unit": "mV", "n_samples": 1000, "min_samples": 250}
    form |= {"window": {"n_samples": 250, "pooling": "logits"}, "metadata": ["age"], "may_lack_leads": False}
    parts = {part: {"n_records": 10, "n_patients": 9} for part in ("train", "val", "test")}
    training = {"name": "Simulated ECGs of ecgcls", "license": "MIT", "is_synthetic": True}
    training |= {"fingerprint": {"signals": "5" * 64}, "folds": {"0": parts, "2": parts}}
    parity = {"records": "test records of the run", "n_records": 40, "largest_difference": 3e-7, "bound": 1e-4}
    return {
        "name": "cnn1d-demo",
        "calibration": describe_calibration(one.infos),
        "license": "MIT",
        "references": ["A. Author: A title."],
        "input": form | {"shorter": "refuse"},
        "classes": classes,
        "nets": {"n": 2},
        "training_data": training,
        "results": measure(one),
        "parity": parity | {"from_predictions": None, "runtime": "onnxruntime 1.32.0"},
    } | changed


def write(one, **changed):
    text = format_bundle_card(one, describe(one, **changed), file_names=["model.onnx", "certainty_0.npz"])
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


@pytest.fixture(scope="module")
def card(one):
    """Head and text."""
    return write(one)


def test_the_head_is_what_the_hub_reads(one, card):
    head, _ = card
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == ("mit", "ecgcls", "other")
    assert {"ecg", "onnx", "simulated-data"} <= set(head["tags"]) and "datasets" not in head
    (index,) = head["model-index"]
    (result,) = index["results"]
    assert (index["name"], result["dataset"]["name"]) == ("cnn1d-demo", "Simulated ECGs of ecgcls")
    values = {each["type"]: each["value"] for each in result["metrics"]}
    for name, key in (("average_precision", "pr_auc"), ("roc_auc", "roc_auc"), ("f1", "f1_macro")):
        assert values[name] == pytest.approx(one.scores.overall[key], abs=5e-5)


def test_real_data_are_named_and_their_terms_are_open_where_nobody_knows_them(one):
    known = describe(one)["training_data"] | {"name": "PTB-XL", "license": "CC BY 4.0", "is_synthetic": False}
    head = describe_card(describe(one, training_data=known))
    assert head["datasets"] == ["ptb-xl"] and "simulated-data" not in head["tags"]
    head, body = write(one, training_data=known | {"name": "", "license": ""})
    assert "datasets" not in head
    assert "**Open:** which data set this is" in body and "**Open:** under which terms" in body


def test_the_text_opens_with_what_it_is_not(card):
    _, body = card
    outline = Outline(markdown.markdown(body, extensions=["tables"]))
    assert outline.text.index("Research software, not a medical device.") < outline.text.index("How to use it")
    assert "The ECGs are simulated" in outline.text
    assert body.count("**Open:**") >= 5


def test_every_class_has_its_row_with_codes_threshold_and_scores(one, card):
    _, body = card
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines() if "|" in line]
    (norm, *_), (scored, *_) = [[row for row in rows if row[0] == CLASSES[0] and len(row) == n] for n in (5, 10)]
    assert norm == [CLASSES[0], "normal ECG", "NORM", "426783006 sinus rhythm (broader)", "0.500"]
    by_class = one.scores.by_class.loc[CLASSES[0]]
    assert scored[3].startswith(f"{by_class['pr_auc']:.3f} [")
    assert scored[6].startswith(f"{by_class['sensitivity']:.3f}")
    assert int(scored[2]) == by_class["n_positive"]
    assert sum("the label's owner knows" in row[1] for row in rows if len(row) == 5) == 2


def test_no_place_and_no_command_of_the_machine_is_told(one, card):
    _, body = card
    assert str(one.info.data["root"]) not in body and "my data" not in body and "ecgcls.run" not in body
    assert not re.search(r"(?<![\w.:/])/(tmp|home|root|work)/", body)


def test_files_are_listed_that_are_there(card):
    _, body = card
    listed = re.findall(r"^\| `([^`]+)` \|", body.partition("## In this folder")[2], re.MULTILINE)
    assert listed == ["model.onnx", "certainty_*.npz", "README.md", "SHA256SUMS.txt"]


def test_what_was_not_recalibrated_is_not_called_calibrated(one, card):
    def say(*methods, weight=None):
        infos = []
        for method in methods:
            by_class = {name: {"method": method} for name in CLASSES}
            decisions = one.info.decisions | {"calibrator": {"by_class": by_class}}
            pos_weight = None if weight is None else [weight] * len(CLASSES)
            infos.append(replace(one.info, decisions=decisions, pos_weight=pos_weight))
        return describe_calibration(infos)

    assert say("platt") == "probabilities (recalibrated on the validation records)"
    assert say("unweighted", weight=2.0) == "probabilities (not recalibrated; only the loss's weight is taken out)"
    assert say("unweighted", weight=1.0) == say("none", weight=2.0) == "probabilities (not recalibrated)"
    n = len(CLASSES)
    assert f"in {n} of {2 * n} cases" in say("isotonic", "none")
    assert "the mean itself: neither recalibrated nor tested" in say("temperature", "temperature")
    _, body = card
    assert describe_calibration(one.infos) in body and "calibrated probabilities" not in body.partition("## Limits")[0]


def test_formats_of_input_and_output_are_those_of_monai():
    formats = describe_formats(["I", "V1"], ["age"], [{"name": "MI", "description": "infarction"}])
    signal, beside = formats["inputs"]["signal_mv"], formats["inputs"]["metadata"]
    assert signal["channel_def"] == {"0": "I, mV", "1": "V1, mV"} and signal["modality"] == "EKG"
    assert (signal["num_channels"], beside["num_channels"]) == (2, 1)
    assert formats["outputs"]["probabilities"]["channel_def"] == {"0": "MI: infarction"}
    required = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"}
    assert all(required <= each.keys() for group in formats.values() for each in group.values())


def test_the_names_of_bundles_tell_them_apart_and_stay_short(one):
    info = replace(one.info, variant="", synthetic=False, finished="2026-11-26T10:00:00+00:00")
    assert name_bundle(info, "PTB-XL") == "cnn1d-demo-PTB-XL-2026-11-26"
    assert name_bundle(replace(info, variant="seed=1"), "PTB-XL") == "cnn1d-demo-PTB-XL-seed=1"
    assert name_bundle(replace(info, synthetic=True, variant="v" * 100), "x" * 100) == "cnn1d-demo-simulated-2026-11-26"
    assert name_bundle(replace(info, finished=None), "") == "cnn1d-demo"


def test_a_bundle_of_another_run_is_not_replaced(one, tmp_path):
    metadata = make_metadata()
    metadata["nets"] |= {"experiment": "demo", "model": "cnn1d", "variant": one.info.variant, "folds": "1/3 folds"}
    metadata["training_data"]["fingerprint"] = dict(one.info.data["fingerprint"])
    check_place(write_bundle(tmp_path / "same", metadata=metadata), one)
    metadata["nets"]["model"] = "inception1d"
    with pytest.raises(ConfigError, match=r"a bundle of another run \(model inception1d, here cnn1d\); name a new"):
        check_place(write_bundle(tmp_path / "other", metadata=metadata), one)
    metadata["nets"]["model"] = "cnn1d"
    metadata["training_data"]["fingerprint"]["signals"] = "0" * 64
    with pytest.raises(ConfigError, match=r"another run \(signals 000000000000, here"):
        check_place(write_bundle(tmp_path / "signals", metadata=metadata), one)
