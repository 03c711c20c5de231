"""What an export writes for people and proves of itself, on the folds of a trained net and its own test records."""

import json

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from ecgcls.errors import DataError
from ecgcls.jobs import export_parity
from ecgcls.jobs.check_bundle import check_bundle
from ecgcls.jobs.export import export_bundle, write_sums
from ecgcls.jobs.load import load_configuration
from ecgcls.jobs.load_bundle import load_bundle
from ecgcls.reporting.bundle_card import write_bundle_card
from ecgcls.runs.find import open_configuration

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def one(configuration, work):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)  # where the data set of the runs lies
        yield open_configuration(configuration)


@pytest.fixture(scope="module")
def bundle(one, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    return export_bundle(one, folder, write_card=write_bundle_card)


def test_the_bundle_of_five_folds_says_what_its_runs_reported(bundle, one):
    parity = bundle.info.content["parity"]
    assert (parity["records"], parity["n_records"]) == ("test records of the run", len(one.tested))
    assert parity["largest_difference"] < 1e-5 and parity["from_predictions"] < 1e-5
    results = bundle.info.content["results"]
    assert results["overall"]["roc_auc"]["value"] == pytest.approx(one.scores.overall["roc_auc"])
    assert (results["n_records"], results["folds"]) == (len(one.tested), [0, 1, 2, 3, 4])
    training = bundle.info.content["training_data"]
    for info in one.infos:
        assert training["folds"][str(info.fold)]["train"]["records_sha256"] == info.hash_part("train")


def test_why_there_is_no_likeness_is_told_as_the_run_tells_it(bundle, one):
    told = load_bundle(bundle.path).why_no_likeness
    assert told == load_configuration(one).why_no_likeness and "validation patients, and the run has" in told


def test_the_card_and_the_metadata_are_there_and_tell_no_place(bundle, synthetic_root):
    text = (bundle.path / "README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["model-index"][0]["name"] == bundle.info.content["name"]
    for content in (text, json.dumps(bundle.info.content)):
        assert "not a medical device" in content
        assert str(synthetic_root) not in content and "60_records_seed_0" not in content
    assert "not a medical device" in (bundle.path / "LICENSE").read_text().replace("\n", " ")


def test_the_check_holds_the_example_against_onnxruntime_and_torch(bundle):
    with (bundle.path / "README.md").open("a") as card:  # whoever publishes it fills in what is open
        card.write("Trained by us.")
    found = {each.what: each for each in check_bundle(bundle.path)}
    assert found["example"].on.startswith("onnxruntime") and found["weights"].on.startswith("torch")
    assert all(float(found[what].found.split()[0]) < 1e-5 for what in ("example", "weights"))


def test_weights_of_another_net_are_found(bundle, tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    assert "README.md" not in bundle.sums
    for name in bundle.sums:
        (folder / name).write_bytes(bundle.read(name))
    weights = load_file(folder / "model.safetensors")
    last = next(name for name in reversed(weights) if name.startswith("nets.0.net.") and name.endswith("bias"))
    save_file(weights | {last: weights[last] + np.float32(1)}, folder / "model.safetensors")
    write_sums(folder)
    with pytest.raises(DataError, match=r"torch .* gives the example a probability"):
        check_bundle(folder)
    save_file({last: weights[last]}, folder / "model.safetensors")
    write_sums(folder)
    with pytest.raises(DataError, match=r"config\.json: not the nets of model\.safetensors"):
        check_bundle(folder)


@pytest.mark.parametrize("of", ["torch", "the predictions"])
def test_a_graph_that_says_something_else_is_not_exported(one, tmp_path, monkeypatch, of):
    if of == "torch":
        monkeypatch.setattr(export_parity, "BOUND", -1.0)
    else:  # as if the graph's nets were others than those that predicted
        monkeypatch.setattr(export_parity, "_compare", lambda *_: (0.0, 0.2, 0.2))
    with pytest.raises(DataError, match="nothing was exported"):
        export_bundle(one, tmp_path / "bundle", formats=("onnx",))
    assert not [*tmp_path.iterdir()]
