"""Occlusion of a linear net, where each window counts what it hides."""

import numpy as np
import pytest

from tests.explanation.nets import MEAN_MV, Linear, draw_signal, explain


@pytest.fixture
def linear():
    return Linear().eval()


def test_occlusion_of_a_linear_net_sums_the_terms_that_are_hidden(linear):
    signal_mv, classes = draw_signal(), [0, 1, 0]
    terms = (linear.weight.detach()[classes] * (signal_mv - MEAN_MV[:, None])).numpy()
    by_lead = np.broadcast_to(terms.sum(axis=2, keepdims=True), terms.shape)
    assert explain(linear, signal_mv, classes, "occlusion_lead").values == pytest.approx(by_lead, abs=1e-4)
    # Windows of 20 samples, one after the other.
    by_window = terms.reshape(3, 3, 5, 20).sum(axis=3).repeat(20, axis=2)
    settings = {"window_s": 0.2, "stride_s": 0.2}
    assert explain(linear, signal_mv, classes, "occlusion", **settings).values == pytest.approx(by_window, abs=1e-4)
    by_time = np.broadcast_to(by_window.sum(axis=1, keepdims=True), terms.shape)
    assert explain(linear, signal_mv, classes, "occlusion_time", **settings).values == pytest.approx(by_time, abs=1e-4)


def test_where_windows_overlap_a_sample_gets_their_mean(linear):
    signal_mv = draw_signal(1)
    terms = (linear.weight.detach()[0] * (signal_mv[0] - MEAN_MV[:, None])).numpy()
    found = explain(linear, signal_mv, [0], "occlusion", window_s=0.2, stride_s=0.1).values[0]
    first, second = terms[1, :20].sum(), terms[1, 10:30].sum()
    assert found[1, 5] == pytest.approx(first, abs=1e-4)
    assert found[1, 15] == pytest.approx((first + second) / 2, abs=1e-4)
