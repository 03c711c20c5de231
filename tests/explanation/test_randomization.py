"""Shuffled weights against maps that ought to change or stay, and against scipy."""

import re

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.faithfulness import sum_cells
from ecgcls.explanation.randomization import Randomization, correlate_ranks, randomize
from tests.explanation.nets import EVEN_SD_MV, RATE_HZ, draw_signal, explain


def explain_with(method, signal_mv):
    classes = np.arange(len(signal_mv)) % 4
    return lambda net: explain(net, signal_mv, classes, method, sd_mv=EVEN_SD_MV).values


def test_rank_correlation_agrees_with_scipy():
    rng = np.random.default_rng(0)
    values, others = rng.integers(0, 9, size=(2, 5, 3, 40)).astype(float)  # many ties
    expected = [scipy.stats.spearmanr(one.ravel(), other.ravel())[0] for one, other in zip(values, others, strict=True)]
    assert correlate_ranks(values, others) == pytest.approx(expected)
    values[2] = 7.0
    assert np.isnan(correlate_ranks(values, others)).tolist() == [False, False, True, False, False]


def test_cells_are_sums_and_the_last_may_be_short():
    values = np.arange(14.0).reshape(1, 2, 7)
    assert sum_cells(values, 3).tolist() == [[[3, 12, 6], [24, 33, 13]]]


def test_a_map_that_ignores_the_net_fails_and_a_gradient_passes(cnn):
    signal_mv = draw_signal(4, 200)
    ignores = randomize(cnn, lambda net: signal_mv.abs().numpy(), is_signed=False, sampling_rate_hz=RATE_HZ)
    assert ignores.mean_similarity == pytest.approx([1.0] * 8)
    assert not ignores.passes
    (warning,) = ignores.list_warnings()
    assert warning == (
        "the map hardly changes when the weights are shuffled (rank correlation 1.00, limit 0.50): "
        "do not read it as what the net learned"
    )
    gradient = randomize(cnn, explain_with("saliency", signal_mv), is_signed=False, sampling_rate_hz=RATE_HZ)
    assert gradient.mean_similarity[-1] < 0.3
    assert gradient.passes and gradient.list_warnings() == []


def test_layers_are_shuffled_one_after_the_other_from_the_output_down(cnn):
    seen = []

    def explain(net):
        seen.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return draw_signal(1, 200).numpy()

    before = {name: tensor.clone() for name, tensor in cnn.state_dict().items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = randomize(cnn, explain, is_signed=False, sampling_rate_hz=RATE_HZ, n_seeds=1)
    assert torch.equal(torch.get_rng_state(), state)
    # Without the standardizer, ReLU and pooling, which hold no parameters.
    assert found.layers == (
        "1.head.3", "1.head.0", "1.features.9", "1.features.8", "1.features.5", "1.features.4", "1.features.1",
        "1.features.0",
    )  # fmt: skip
    assert len(seen) == 9
    for stage, layer in enumerate(found.layers, start=1):
        changed = {name for name, tensor in seen[stage].items() if not torch.equal(tensor, seen[stage - 1][name])}
        assert changed <= {f"{layer}.weight", f"{layer}.bias"}
        if "features.1" not in layer and layer not in (
            "1.features.5",
            "1.features.9",
        ):  # fresh batch norms are all 1 or 0
            assert f"{layer}.weight" in changed
    for name, tensor in seen[-1].items():
        assert torch.equal(tensor.flatten().sort().values, before[name].flatten().sort().values)  # the same values
        assert torch.equal(cnn.state_dict()[name], before[name])  # the net itself is left alone
        if "running" in name or "_mv" in name:
            assert torch.equal(tensor, before[name])


def test_the_cascade_is_seeded_and_may_be_gathered_into_fewer_stages(cnn):
    explain = explain_with("saliency", draw_signal(2, 200))
    given = {"is_signed": False, "sampling_rate_hz": RATE_HZ, "n_seeds": 2, "max_stages": 3}
    first, again = (randomize(cnn, explain, seed=5, **given) for _ in range(2))
    assert first.layers == ("1.features.9", "1.features.4", "1.features.0")
    assert first.similarity.shape == (3, 2, 2)
    assert (first.similarity == again.similarity).all()
    assert np.abs(first.similarity - randomize(cnn, explain, seed=6, **given).similarity).max() > 1e-3
    assert np.abs(first.similarity[:, 0] - first.similarity[:, 1]).max() > 1e-3  # each cascade has its own shuffles


def test_magnitudes_decide_and_signs_are_reported(cnn):
    """A signed map whose size never changes and whose sign is drawn again for every net."""
    rng = np.random.default_rng(0)
    size = np.abs(draw_signal(2, 200).numpy()).repeat(10, axis=2)  # each cell of ten samples has one sign
    found = randomize(
        cnn,
        lambda net: size * rng.choice([-1, 1], size=(2, 3, 200)).repeat(10, axis=2),
        is_signed=True,
        sampling_rate_hz=RATE_HZ,
    )
    assert found.mean_similarity[-1] == pytest.approx(1)
    assert not found.passes
    assert found.sign_similarity is not None and abs(found.sign_similarity[-1].mean()) < 0.3
    assert re.search(r"do not read the size .*; their signs do change \(-?0\.\d\d\)", found.list_warnings()[0])


def test_a_map_without_ranks_is_not_judged(cnn):
    signal_mv = draw_signal(2, 200)
    constant = randomize(cnn, lambda net: np.ones((2, 3, 200)), is_signed=False, sampling_rate_hz=RATE_HZ)
    assert constant.to_dict()["similarity"] == [None] * 8
    assert not constant.passes
    assert constant.list_warnings() == [
        "the map is the same everywhere, so shuffled weights cannot be compared with it"
    ]
    gradient = explain_with("saliency", signal_mv)

    def blind_to_the_first(net):
        maps = gradient(net)
        maps[0] = 0
        return maps

    partly = randomize(cnn, blind_to_the_first, is_signed=False, sampling_rate_hz=RATE_HZ)
    whole = randomize(cnn, gradient, is_signed=False, sampling_rate_hz=RATE_HZ)
    assert partly.mean_similarity == pytest.approx(whole.similarity[:, :, 1].mean(axis=1).tolist())
    assert partly.passes
    assert partly.list_warnings()[0].startswith(
        "in 24 of 48 comparisons with shuffled weights a map is the same everywhere"
    )


def test_a_net_without_parameters_cannot_be_shuffled():
    with pytest.raises(ConfigError, match="no parameters: there is nothing to shuffle"):
        randomize(nn.Flatten(), lambda net: np.ones((1, 1, 10)), is_signed=False, sampling_rate_hz=RATE_HZ)


def test_randomization_takes_the_mean_over_seeds_and_records():
    similarity = np.array([[[0.9, 0.7]], [[0.6, np.nan]]])  # two stages, one seed, two records
    found = Randomization(("head", "features"), similarity, None, 0.5)
    assert found.to_dict() == {
        "layers": ["head", "features"],
        "similarity": [pytest.approx(0.8), pytest.approx(0.6)],
        "limit": 0.5,
        "passes": False,
    }
    (warning,) = found.list_warnings()[:1]
    assert warning.startswith("the map changes too little when the weights are shuffled (rank correlation 0.60")
