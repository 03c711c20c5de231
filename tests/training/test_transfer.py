"""Which weights of a net get into another one, and which do not and why."""

import pytest
import torch
from torch import nn

from ecgcls.errors import ConfigError, DataError
from ecgcls.models.cnn1d import CNN1D
from ecgcls.models.cnn2d import CNN2D
from ecgcls.models.inception1d import Inception1D
from ecgcls.models.lstm_bidir import LSTMBidir
from ecgcls.training.metadata import MetadataNet
from ecgcls.training.transfer import Contract, take_columns, take_weights

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CLASSES = ("NORM", "MI")
TWELVE = Contract(LEADS, CLASSES)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(1)
    net = CNN1D(12, 64, 2, width=4)
    net(torch.randn(4, 12, 64))  # so that batch normalization has statistics of its own
    return net.state_dict()


def same(net, weights, *names):
    own = net.state_dict()
    return all(torch.equal(own[key], weights[key]) for key in weights if key.startswith(names))


def test_a_net_with_the_same_leads_and_classes_is_taken_as_a_whole(weights):
    net = CNN1D(12, 500, 2, width=4)  # of another length
    taken = take_weights(net, weights, own=TWELVE, other=TWELVE)
    assert same(net, weights, "")
    layers = ["features.0", "features.1", "features.4", "features.5", "features.8", "features.9", "head.0", "head.3"]
    assert (taken.layers, taken.by_lead, taken.left_out, taken.unused) == (layers, {}, {}, [])


@pytest.mark.parametrize("classes", [("MI", "NORM"), ("NORM", "CD"), ("NORM", "MI", "CD")])
def test_a_head_of_other_classes_starts_anew_whatever_its_shape(weights, classes):
    net = CNN1D(12, 64, len(classes), width=4)
    before = net.head[3].weight.clone()
    taken = take_weights(net, weights, own=Contract(LEADS, classes), other=TWELVE)
    assert [*taken.left_out] == ["head.3"]
    assert taken.left_out["head.3"] == f"its classes are {', '.join(classes)}, there NORM, MI"
    assert torch.equal(net.head[3].weight, before)
    assert same(net, weights, "features", "head.0")


def test_the_input_is_taken_by_lead(weights):
    leads = ("V5", "X", "II")
    net = CNN1D(3, 64, 2, width=4)
    before = net.features[0].weight[:, 1].clone()
    taken = take_weights(net, weights, own=Contract(leads, CLASSES), other=TWELVE)
    assert taken.by_lead == {"features.0": "V5, II of 12 leads; new: X"}
    kernel, there = net.features[0].weight, weights["features.0.weight"]
    assert torch.equal(kernel[:, 0], there[:, 10])
    assert torch.equal(kernel[:, 2], there[:, 1])
    assert torch.equal(kernel[:, 1], before)
    assert torch.equal(net.features[0].bias, weights["features.0.bias"])
    turned = CNN1D(12, 64, 2, width=4)  # the same leads in another order
    taken = take_weights(turned, weights, own=Contract(LEADS[::-1], CLASSES), other=TWELVE)
    assert torch.equal(turned.features[0].weight, there.flip(1))
    assert (taken.layers[0], taken.by_lead) == ("features.0", {})
    other = take_weights(CNN1D(1, 64, 2, width=4), weights, own=Contract(("X",), CLASSES), other=TWELVE)
    assert other.left_out["features.0"].startswith("no lead in common (X, there I, II")


@pytest.mark.parametrize("leads", [("V5", "II"), LEADS[::-1]])
def test_of_an_lstm_only_what_multiplies_leads_is_taken_by_lead(leads):
    torch.manual_seed(0)
    there = LSTMBidir(12, 64, 2, width=5).state_dict()
    net = LSTMBidir(len(leads), 64, 2, width=5)
    take_weights(net, there, own=Contract(leads, CLASSES), other=TWELVE)
    columns = [LEADS.index(lead) for lead in leads]
    for key, own in net.state_dict().items():
        expected = there[key][:, columns] if key in ("lstm.weight_ih_l0", "lstm.weight_ih_l0_reverse") else there[key]
        assert torch.equal(own, expected), key


def test_every_layer_that_takes_leads_is_taken_by_lead():
    weights, net = Inception1D(12, 64, 2).state_dict(), Inception1D(2, 64, 2)
    other, own = Contract(LEADS, CLASSES), Contract(("V2", "I"), CLASSES)
    taken = take_weights(net, weights, own=own, other=other)
    layers = ["features.0.path.0.bottleneck", "features.0.path.0.pooled.1", "features.0.shortcut.0"]
    assert taken.by_lead == dict.fromkeys(layers, "V2, I of 12 leads")
    for name in layers:
        assert torch.equal(net.get_submodule(name).weight, weights[f"{name}.weight"][:, [7, 0]])
    assert taken.left_out == {}


def test_what_has_another_name_or_shape_is_named(weights):
    net = CNN1D(12, 64, 2, width=4)
    net.features[4] = nn.Conv2d(4, 8, (1, 9), padding="same")
    net.attention = nn.Linear(8, 8)
    taken = take_weights(net, weights | {"old.weight": torch.ones(2, 2)}, own=TWELVE, other=TWELVE)
    assert taken.left_out["features.4"] == "its weight has shape (8, 4, 1, 9), there (8, 4, 1, 5)"
    assert taken.left_out["attention"] == "the other net has none of that name"
    assert taken.unused == ["old"]


def test_a_head_of_unknown_classes_is_not_taken_and_metadata_is_left_aside(weights):
    net = MetadataNet(CNN1D(12, 64, 2, width=4), columns=["age"], n_classes=2)
    taken = take_weights(net, weights, own=TWELVE, other=Contract())
    assert taken.left_out == {
        "head.3": "which classes it is of there is not known",
        "metadata": "what concerns metadata starts anew",
    }
    assert same(net.net, weights, "features", "head.0")
    plain = CNN1D(12, 64, 2, width=4)
    take_weights(plain, net.state_dict(), own=TWELVE, other=TWELVE)
    assert same(plain, net.net.state_dict(), "")


def test_that_nothing_fits_or_is_no_number_is_an_error(weights):
    with pytest.raises(ConfigError, match=r"init: nothing fits of 8 layers there; features\.0: its weight has shape"):
        take_weights(CNN2D(12, 1000, 2), weights, own=TWELVE, other=TWELVE)
    with pytest.raises(ConfigError, match=r"nothing fits of 1 layers there; features\.0: the other net has none"):
        take_weights(CNN1D(12, 64, 2), {"x.weight": torch.ones(1, 1)}, own=TWELVE, other=TWELVE)
    broken = weights | {"head.0.bias": torch.full((8,), torch.nan)}
    with pytest.raises(DataError, match=r"head\.0\.bias of the other net has values that are not finite"):
        take_weights(CNN1D(12, 64, 2, width=4), broken, own=TWELVE, other=TWELVE)


def test_values_by_lead_follow_the_names():
    values = torch.arange(12)[:, None]
    assert take_columns(values, ("V6", "I"), LEADS).ravel().tolist() == [11, 0]
