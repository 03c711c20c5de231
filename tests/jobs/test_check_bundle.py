"""A bundle is checked file by file, and says of its example what it is expected to say."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.special import expit

from ecgcls.data.lead_sets import LEADS
from ecgcls.data.sample_tables import read_table
from ecgcls.errors import ConfigError, DataError
from ecgcls.jobs.check_bundle import EXAMPLE, EXPECTED, check_bundle
from ecgcls.jobs.export_example import format_example
from tests.bundles.hand_made import N_SAMPLES, seal, write_bundle


@pytest.fixture
def bundle(tmp_path):
    """A bundle of two classes whose logits are the mean of the example and its opposite."""
    folder = tmp_path / "bundle"
    write_bundle(folder)
    (folder / EXAMPLE).write_text(format_example(LEADS, 100, N_SAMPLES))
    mean = float(read_table(folder / EXAMPLE).signal_mv.mean())
    expect(folder, {"MI": expit(mean), "CD": expit(-mean)})
    return folder


def expect(folder, probabilities):
    (folder / EXPECTED).write_text(json.dumps({"probabilities": probabilities}))
    seal(folder)


def test_a_bundle_that_says_what_it_should_is_whole(bundle):
    (bundle / "notes.txt").write_text("mine")
    (bundle / "README.md").write_text("the card")
    found = {each.what: (each.on, each.found) for each in check_bundle(bundle)}
    assert found["checksums"][0] == f"{len((bundle / 'SHA256SUMS.txt').read_text().splitlines())} files"
    assert found["example"][0].startswith("onnxruntime ") and "away from what is expected" in found["example"][1]
    assert float(found["example"][1].split()[0]) < 1e-6
    assert found["other files"] == ("notes.txt", "not of the bundle")
    assert found["model card"][1].startswith("there, not checked")


def test_a_probability_further_away_than_the_bound_is_refused(bundle):
    stored = json.loads((bundle / EXPECTED).read_text())["probabilities"]
    expect(bundle, stored | {"CD": stored["CD"] + 0.9e-4})
    check_bundle(bundle)
    expect(bundle, stored | {"CD": stored["CD"] + 1.1e-4})
    with pytest.raises(DataError, match=r"gives the example a probability of 0\.\d+ for CD, expected 0\.\d+ \(allowed"):
        check_bundle(bundle)


@pytest.mark.parametrize(
    ("stored", "match"),
    [({"MI": 0.5}, "not those of metadata"), ({"MI": "x", "CD": 1}, "no probabilities"), ([], "no probabilities"),
     ({"MI": np.nan, "CD": 0.5}, "for MI")],
)  # fmt: skip
def test_what_is_expected_must_fit_the_classes(bundle, stored, match):
    expect(bundle, stored)
    with pytest.raises(DataError, match=match):
        check_bundle(bundle)


def test_any_changed_file_is_found(bundle):
    (bundle / EXAMPLE).write_text((bundle / EXAMPLE).read_text().replace("1", "2", 1))
    with pytest.raises(DataError, match=r"example\.csv: not the file that the bundle was made with"):
        check_bundle(bundle)


def test_a_net_of_another_package_is_built_if_it_is_trusted(bundle):
    net = {"model": {"_target_": "mylab.nets.Net"}, "window": None}
    (bundle / "config.json").write_text(json.dumps({"nets": [net]}))
    save_file({"nets.0.net.weight": np.zeros(1)}, bundle / "model.safetensors")
    seal(bundle)
    with pytest.raises(ConfigError, match=r"mylab\.nets\.Net is not built"):
        check_bundle(bundle)
    with pytest.raises(ConfigError, match="No module named 'mylab'"):
        check_bundle(bundle, trust=["mylab"])
