"""What a net takes beside the signal is held fixed, each record with its own."""

import pytest
import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.attribution import METHODS, attribute
from ecgcls.explanation.faithfulness import delete_and_insert
from ecgcls.explanation.method import MethodSettings
from tests.explanation.nets import ask, build, draw_signal


class Amplified(nn.Module):
    """A net whose logits are multiplied by a number that comes with each record."""

    def __init__(self):
        super().__init__()
        self.net = build("cnn1d")

    def forward(self, signal_mv, metadata):
        return self.net(signal_mv) * metadata


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_each_records_own(method):
    settings = MethodSettings(window_s=0.5, stride_s=0.5, n_noisy=3, tolerance=1.0)
    signal_mv, classes, factors = draw_signal(), [0, 1, 2], torch.tensor([[1.0], [2.0], [5.0]])
    net = Amplified().eval()
    plain = attribute(ask(net.net, signal_mv, classes), method, settings)
    found = attribute(ask(net, signal_mv, classes, metadata=factors), method, settings)
    assert abs(plain.values).max() > 0
    expected = torch.from_numpy(plain.values) * factors[..., None]
    torch.testing.assert_close(torch.from_numpy(found.values), expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(found.logit), torch.from_numpy(plain.logit) * factors[:, 0])
    baseline_logit = torch.from_numpy(plain.baseline_logit) * factors[:, 0]
    torch.testing.assert_close(torch.from_numpy(found.baseline_logit), baseline_logit)


def test_deletion_takes_each_records_own():
    query = ask(Amplified().eval(), draw_signal(), [0, 1, 2], metadata=torch.tensor([[0.0], [1.0], [0.0]]))
    deletion, _ = delete_and_insert(query, draw_signal().numpy(), is_signed=True, n_steps=3)
    assert (deletion.probability[[0, 2]] == 0.5).all()
    assert (deletion.probability[1] != 0.5).all()


def test_metadata_of_another_number_of_records_are_refused():
    with pytest.raises(ConfigError, match=r"metadata must be \(record, column\), \(3, ...\), got \(2, 1\)"):
        ask(Amplified().eval(), draw_signal(), [0, 1, 2], metadata=torch.ones(2, 1))
