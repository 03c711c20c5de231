"""The layers of nets in order of depth, listed by hand beside them."""

import pytest
import torch
from torch import nn

from ecgcls.models.cnn1d import CNN1D
from ecgcls.models.cnn2d import CNN2D
from ecgcls.models.resnet1d_wang import ResNet1DWang
from ecgcls.training.layers import find_head, split_layers
from ecgcls.training.metadata import MetadataNet


class Block(nn.Module):
    """As of a residual net: a layer as a whole."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)


class Residual(nn.Module):
    """Its head is made first, and it has a weight of its own."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(1, 4, 1))
        self.norm = nn.BatchNorm1d(2)
        self.stem = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU())
        self.stages = nn.ModuleList([nn.Sequential(Block(), Block()), nn.Dropout(0.5)])


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (CNN1D(12, 100, 5), ["features.0", "features.4", "features.8", "head.0", "head.3"]),
        (CNN2D(12, 1000, 5), ["features.0", "features.4", "features.8", "head.0", "head.3"]),
        (Residual(), ["stem.0", "stages.0.0", "stages.0.1", "fc"]),
        (ResNet1DWang(12, 250, 5), ["features.0", "features.3", "features.4", "features.5", "head.2", "head.6"]),
        (nn.Linear(3, 2), [""]),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 3, 1)), ["0", "2"]),
    ],
)
def test_layers_come_in_order_of_depth_and_the_head_is_the_last(net, expected):
    layers = split_layers(net)
    assert [layer.name for layer in layers] == expected
    assert find_head(net) == expected[-1]
    listed = [parameter for layer in layers for parameter in layer.parameters]
    assert {*listed} == {*net.parameters()}  # each of them, once
    assert len(listed) == len({*listed})


def test_what_has_no_weights_belongs_to_the_layer_before_it():
    net = Residual()
    stem, _, last, head = split_layers(net)
    assert stem.modules == (net.norm, *net.stem)
    assert net.scale in {*stem.parameters}
    assert last.modules == (net.stages[0][1], net.stages[1])
    assert head.modules == (net.fc,)
    features = split_layers(CNN1D(12, 100, 5))
    assert [type(each).__name__ for each in features[0].modules] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert [type(each).__name__ for each in features[-2].modules] == ["Linear", "ReLU", "Dropout"]


def test_what_concerns_metadata_is_trained_with_the_head():
    net = MetadataNet(CNN1D(12, 100, 5), columns=["age"], n_classes=5)
    layers = split_layers(net)
    assert [layer.name for layer in layers][-1] == "head.3"
    assert {*net.metadata.parameters()} < {*layers[-1].parameters}
    assert {*(each for layer in layers for each in layer.parameters)} == {*net.parameters()}
