"""The scorecard of a method, and the completeness of integrated gradients."""

import json

import numpy as np
import pytest
import torch

from ecgcls.errors import ConfigError
from ecgcls.explanation.attribution import METHODS, saliency
from ecgcls.explanation.method import Method, MethodSettings
from ecgcls.explanation.scorecard import N_SHUFFLES, Completeness, score_method
from tests.explanation.nets import EVEN_SD_MV, ask, draw_signal


def test_completeness_goes_by_the_median_and_names_how_many_fail():
    good = Completeness(np.array([0.01, 0.02, 0.05]), np.array([32, 32, 64]), 0.05)
    assert good.passes and good.list_warnings() == []
    some = Completeness(np.array([0.01, 0.02, 0.30]), np.array([32, 32, 1024]), 0.05)
    assert some.to_dict() == {"relative_error": [0.01, 0.02, 0.30], "limit": 0.05, "n_steps": 1024, "passes": True}
    assert some.list_warnings() == [
        "the values do not sum to the logit's difference in 1 of 3 records (relative error above 0.05, median 0.020, "
        "1024 steps)"
    ]
    assert not Completeness(np.array([0.01, 0.2, 0.3]), np.array([32, 64, 64]), 0.05).passes


@pytest.mark.parametrize("method", ["integrated_gradients", "grad_cam"])
def test_the_card_has_its_shape(cnn, method):
    signal_mv, classes = draw_signal(4, 200), np.array([0, 1, 2, 3])
    query = ask(cnn, signal_mv, classes, sd_mv=EVEN_SD_MV)
    card = score_method(query, method, n_randomized=1)
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert list(card) == ["randomization", "deletion", "insertion", "completeness", "warnings"]
    assert set(card["randomization"]) == {"layers", "similarity", "limit", "passes"}
    assert len(card["randomization"]["layers"]) == len(card["randomization"]["similarity"]) == 8
    assert card["randomization"]["limit"] == 0.5
    for name in ("deletion", "insertion"):
        assert set(card[name]) == {"share", "probability", "random", "advantage", "interval", "passes"}
        assert len(card[name]["share"]) == len(card[name]["probability"]) == len(card[name]["random"]) == 21
        low, high = card[name]["interval"]
        assert low <= card[name]["advantage"] <= high
    with torch.no_grad():
        y_prob = cnn(signal_mv).sigmoid()[range(4), classes].mean().item()
    assert card["deletion"]["probability"][0] == pytest.approx(y_prob, abs=1e-6)
    assert card["insertion"]["probability"][-1] == pytest.approx(y_prob, abs=1e-6)
    if method == "integrated_gradients":
        assert set(card["completeness"]) == {"relative_error", "limit", "n_steps", "passes"}
        assert len(card["completeness"]["relative_error"]) == 4
    else:
        assert card["completeness"] is None
    assert all(warning.startswith(f"{method}: ") for warning in card["warnings"])
    assert score_method(query, method, n_randomized=1) == card


def test_settings_reach_the_method(cnn):
    query = ask(cnn, draw_signal(2, 200), [0, 1])
    last, first = (
        score_method(query, "grad_cam", MethodSettings(layer=layer), n_randomized=1)
        for layer in ("1.features.10", "1.features.2")
    )
    assert last["deletion"]["probability"] != first["deletion"]["probability"]
    with pytest.raises(ConfigError, match=r"no layer '1\.feature\.2'"):
        score_method(query, "grad_cam", MethodSettings(layer="1.feature.2"))


def test_a_slow_method_is_bounded(cnn, monkeypatch):
    """Of eight records a slow one explains two with shuffled weights, and any other four."""
    asked = []

    def explain(query, settings):
        asked.append((len(query), settings.stride_s))
        return saliency(query, settings)

    query = ask(cnn, draw_signal(8, 200), [0] * 8)
    for is_slow, n_records in ((True, 2), (False, 4)):
        monkeypatch.setitem(METHODS, "counted", Method("counted", "", "", False, explain, is_slow))
        asked.clear()
        score_method(query, "counted", MethodSettings(window_s=0.2, stride_s=0.1))
        assert asked == [(8, 0.1)] + [(n_records, 0.2)] * (N_SHUFFLES + 1)
