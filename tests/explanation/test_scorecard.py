"""The checks against methods that ought to pass or fail them, scipy, and curves worked by hand."""

import json
import re

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import nn

from ecgcls.errors import ConfigError
from ecgcls.explanation.attribution import attribute
from ecgcls.explanation.scorecard import (
    Completeness,
    Curve,
    Randomisation,
    correlate_ranks,
    delete_and_insert,
    randomise,
    score_method,
    sum_cells,
)
from ecgcls.models.cnn1d import CNN1D
from ecgcls.training.standardizer import Standardizer

RATE_HZ = 100
MEAN_MV = torch.tensor([[0.1], [-0.2], [0.05]])
SD_MV = torch.full((3, 1), 0.3)  # gradients in logit/mV would tell leads of different size apart whatever the weights


def draw_signal(n_records=4, n_samples=200):
    return torch.randn(n_records, 3, n_samples, generator=torch.Generator().manual_seed(0)) * 0.3


@pytest.fixture
def cnn():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(Standardizer(MEAN_MV[:, 0], SD_MV[:, 0]), CNN1D(3, 200, 4)).eval()


def explain_with(method, signal_mv):
    classes = np.arange(len(signal_mv)) % 4
    given = {"baseline_mv": MEAN_MV, "sd_mv": SD_MV, "sampling_rate_hz": RATE_HZ}
    return lambda net: attribute(net, signal_mv, classes, method=method, **given).values


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
    signal_mv = draw_signal()
    ignores = randomise(cnn, lambda net: signal_mv.abs().numpy(), is_signed=False, sampling_rate_hz=RATE_HZ)
    assert ignores.mean_similarity == pytest.approx([1.0] * 8)
    assert not ignores.passes
    (warning,) = ignores.warn()
    assert warning == (
        "the map hardly changes when the weights are shuffled (rank correlation 1.00, limit 0.50): "
        "do not read it as what the net learned"
    )
    gradient = randomise(cnn, explain_with("saliency", signal_mv), is_signed=False, sampling_rate_hz=RATE_HZ)
    assert gradient.mean_similarity[-1] < 0.3
    assert gradient.passes and gradient.warn() == []


def test_layers_are_shuffled_one_after_the_other_from_the_output_down(cnn):
    seen = []

    def explain(net):
        seen.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return draw_signal(1).numpy()

    before = {name: tensor.clone() for name, tensor in cnn.state_dict().items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = randomise(cnn, explain, is_signed=False, sampling_rate_hz=RATE_HZ, n_seeds=1)
    assert torch.equal(torch.get_rng_state(), state)
    # Without the standardiser, ReLU and pooling, which hold no parameters.
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
    explain = explain_with("saliency", draw_signal(2))
    given = {"is_signed": False, "sampling_rate_hz": RATE_HZ, "n_seeds": 2, "max_stages": 3}
    first, again = (randomise(cnn, explain, seed=5, **given) for _ in range(2))
    assert first.layers == ("1.features.9", "1.features.4", "1.features.0")
    assert first.similarity.shape == (3, 2, 2)
    assert (first.similarity == again.similarity).all()
    assert np.abs(first.similarity - randomise(cnn, explain, seed=6, **given).similarity).max() > 1e-3
    assert np.abs(first.similarity[:, 0] - first.similarity[:, 1]).max() > 1e-3  # each cascade has its own shuffles


def test_magnitudes_decide_and_signs_are_told(cnn):
    """A signed map whose size never changes and whose sign is drawn anew for every net."""
    rng = np.random.default_rng(0)
    size = np.abs(draw_signal(2).numpy()).repeat(10, axis=2)  # each cell of ten samples has one sign
    found = randomise(
        cnn,
        lambda net: size * rng.choice([-1, 1], size=(2, 3, 200)).repeat(10, axis=2),
        is_signed=True,
        sampling_rate_hz=RATE_HZ,
    )
    assert found.mean_similarity[-1] == pytest.approx(1)
    assert not found.passes
    assert found.sign_similarity is not None and abs(found.sign_similarity[-1].mean()) < 0.3
    assert re.search(r"do not read the size .*; their signs do change \(-?0\.\d\d\)", found.warn()[0])


def test_a_map_without_ranks_is_not_judged(cnn):
    signal_mv = draw_signal(2)
    constant = randomise(cnn, lambda net: np.ones((2, 3, 200)), is_signed=False, sampling_rate_hz=RATE_HZ)
    assert constant.to_dict()["similarity"] == [None] * 8
    assert not constant.passes
    assert constant.warn() == ["the map is the same everywhere, so nothing can be said about it with shuffled weights"]
    gradient = explain_with("saliency", signal_mv)

    def blind_to_the_first(net):
        maps = gradient(net)
        maps[0] = 0
        return maps

    partly = randomise(cnn, blind_to_the_first, is_signed=False, sampling_rate_hz=RATE_HZ)
    whole = randomise(cnn, gradient, is_signed=False, sampling_rate_hz=RATE_HZ)
    assert partly.mean_similarity == pytest.approx(whole.similarity[:, :, 1].mean(axis=1).tolist())
    assert partly.passes
    assert partly.warn()[0].startswith("in 24 of 48 comparisons with shuffled weights a map is the same everywhere")


def test_a_net_without_parameters_cannot_be_shuffled():
    with pytest.raises(ConfigError, match="no parameters: there is nothing to shuffle"):
        randomise(nn.Flatten(), lambda net: np.ones((1, 1, 10)), is_signed=False, sampling_rate_hz=RATE_HZ)


class WeightedSum(nn.Module):
    """Two leads of four samples, one class."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 1.0, -0.5, -0.5], [0.25, 0.25, 1.5, 1.5]]))

    def forward(self, signal_mv):
        return (signal_mv * self.weight).sum(dim=(1, 2))[:, None]


def test_curves_by_hand():
    """Cells of two samples count 2, -1, 0.5 and 3; the baseline counts nothing."""
    net, signal_mv = WeightedSum().eval(), torch.ones(2, 2, 4)
    terms = net.weight.detach().expand(2, 2, 4).numpy()
    given = {"baseline_mv": torch.zeros(2, 1), "sampling_rate_hz": RATE_HZ, "cell_s": 0.02, "n_steps": 4}
    deletion, insertion = delete_and_insert(net, signal_mv, [0, 0], terms, is_signed=True, **given)
    assert deletion.share.tolist() == insertion.share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    deleted = scipy.special.expit([4.5, 1.5, -0.5, -1.0, 0.0])
    inserted = scipy.special.expit([0.0, 3.0, 5.0, 5.5, 4.5])
    assert deletion.probability == pytest.approx(np.stack([deleted] * 2))
    assert insertion.probability == pytest.approx(np.stack([inserted] * 2))
    gain = (deletion.random - deletion.probability)[0]
    assert deletion.advantage[0] == pytest.approx(0.25 * (gain[:-1] + gain[1:]).sum() / 2)
    assert insertion.advantage.min() > 0 and deletion.advantage.min() > 0
    # By magnitude -1 ranks before 0.5.
    by_size, _ = delete_and_insert(net, signal_mv, [0, 0], terms, is_signed=False, **given)
    assert by_size.probability[0] == pytest.approx(scipy.special.expit([4.5, 1.5, -0.5, 0.5, 0.0]))
    # With every order of the four cells, the random curve is the mean over subsets.
    many, _ = delete_and_insert(net, signal_mv, [0, 0], terms, is_signed=True, n_random=500, **given)
    one_left_out = scipy.special.expit(4.5 - np.array([2, -1, 0.5, 3])).mean()
    assert many.random[:, 1] == pytest.approx(one_left_out, abs=0.03)


class OneLead(nn.Module):
    """Sees the first second of lead 1; class 0 likes it high, class 1 low."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(6.0))

    def forward(self, signal_mv):
        seen = self.scale * signal_mv[:, 1, :100].mean(dim=1)
        return torch.stack([seen, -seen], dim=1)


def test_the_true_map_beats_chance_and_the_inverted_one_loses():
    net = OneLead().eval()
    signal_mv = draw_signal(6) + 1.0
    classes = [0] * 6
    given = {"baseline_mv": torch.zeros(3, 1), "sampling_rate_hz": RATE_HZ}
    truth = attribute(net, signal_mv, classes, method="integrated_gradients", sd_mv=SD_MV, **given).values
    for curve in delete_and_insert(net, signal_mv, classes, truth, is_signed=True, **given):
        assert curve.advantage.min() > 0.05
        assert curve.interval[0] > 0.05 and curve.passes and curve.warn() == []
    for curve in delete_and_insert(net, signal_mv, classes, -truth, is_signed=True, **given):
        assert curve.interval[1] < -0.05 and not curve.passes
        (warning,) = curve.warn()
        verb = {"deletion": "deleting", "insertion": "inserting"}[curve.name]
        assert re.match(rf"{verb} what it ranks first does not .* \(advantage -0\.\d+, 95 % interval -0\.", warning)


def test_a_map_without_an_opinion_is_no_better_than_chance():
    """Ties are broken at random: in the order of the leads the net's own lead 0 would come first, a gain of 0.3."""

    class FirstLead(OneLead):
        def forward(self, signal_mv):
            return super().forward(signal_mv[:, [1, 0, 2]])

    signal_mv, classes = draw_signal(60) + 1.0, [0] * 60
    given = {"is_signed": True, "baseline_mv": torch.zeros(3, 1), "sampling_rate_hz": RATE_HZ}
    for curve in delete_and_insert(FirstLead().eval(), signal_mv, classes, np.ones((60, 3, 200)), **given):
        assert abs(curve.advantage.mean()) < 0.03


def test_curves_are_seeded_and_a_record_is_judged_without_the_others(cnn):
    signal_mv, classes = draw_signal(), [0, 1, 2, 3]
    values = explain_with("saliency", signal_mv)(cnn)
    given = {"baseline_mv": MEAN_MV, "sampling_rate_hz": RATE_HZ, "is_signed": False, "n_random": 2}
    state = torch.get_rng_state()
    first, again = (delete_and_insert(cnn, signal_mv, classes, values, seed=1, **given) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert [curve.to_dict() for curve in first] == [curve.to_dict() for curve in again]
    fewer = delete_and_insert(cnn, signal_mv[:2], classes[:2], values[:2], seed=1, **given)
    assert fewer[0].random == pytest.approx(first[0].random[:2], abs=1e-6)
    other = delete_and_insert(cnn, signal_mv, classes, values, seed=2, **given)
    assert np.abs(other[0].random - first[0].random).max() > 1e-6


def test_the_interval_is_that_of_a_bootstrap_over_records():
    net, signal_mv = OneLead().eval(), draw_signal(12) * 4
    given = {"baseline_mv": torch.zeros(3, 1), "sampling_rate_hz": RATE_HZ}
    values = np.abs(signal_mv.numpy())
    for curve in delete_and_insert(net, signal_mv, [0] * 12, values, is_signed=True, **given):
        theirs = scipy.stats.bootstrap(
            (curve.advantage,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(0)
        ).confidence_interval
        width = theirs.high - theirs.low
        assert curve.interval == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)


def test_what_is_tried_on_one_record_never_passes():
    flat = np.zeros((1, 3))
    curve = Curve("deletion", np.array([0, 0.5, 1]), flat, flat + 0.5, (0.5, 0.5))
    assert curve.advantage == pytest.approx([0.5])
    assert not curve.passes
    assert curve.warn() == ["deletion was tried on one record, which says nothing about others"]


def test_completeness_goes_by_the_median_and_names_how_many_fail():
    good = Completeness(np.array([0.01, 0.02, 0.05]), np.array([32, 32, 64]), 0.05)
    assert good.passes and good.warn() == []
    some = Completeness(np.array([0.01, 0.02, 0.30]), np.array([32, 32, 1024]), 0.05)
    assert some.to_dict() == {"relative_error": [0.01, 0.02, 0.30], "limit": 0.05, "n_steps": 1024, "passes": True}
    assert some.warn() == [
        "the values do not sum to the logit's difference in 1 of 3 records (relative error above 0.05, median 0.020, "
        "1024 steps)"
    ]
    assert not Completeness(np.array([0.01, 0.2, 0.3]), np.array([32, 64, 64]), 0.05).passes


@pytest.mark.parametrize("method", ["integrated_gradients", "grad_cam"])
def test_the_card_has_its_shape(cnn, method):
    signal_mv, classes = draw_signal(), np.array([0, 1, 2, 3])
    given = {"method": method, "baseline_mv": MEAN_MV, "sd_mv": SD_MV, "sampling_rate_hz": RATE_HZ, "n_randomised": 1}
    card = score_method(cnn, signal_mv, classes, **given)
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert list(card) == ["randomisation", "deletion", "insertion", "completeness", "warnings"]
    assert set(card["randomisation"]) == {"layers", "similarity", "limit", "passes"}
    assert len(card["randomisation"]["layers"]) == len(card["randomisation"]["similarity"]) == 8
    assert card["randomisation"]["limit"] == 0.5
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
    assert score_method(cnn, signal_mv, classes, **given) == card


def test_settings_reach_the_method(cnn):
    given = {"baseline_mv": MEAN_MV, "sd_mv": SD_MV, "sampling_rate_hz": RATE_HZ, "n_randomised": 1}
    signal_mv, classes = draw_signal(2), [0, 1]
    last, first = (
        score_method(cnn, signal_mv, classes, method="grad_cam", layer=layer, **given)
        for layer in ("1.features.10", "1.features.2")
    )
    assert last["deletion"]["probability"] != first["deletion"]["probability"]
    with pytest.raises(ConfigError, match=r"no layer '1\.feature\.2'"):
        score_method(cnn, signal_mv, classes, method="grad_cam", layer="1.feature.2", **given)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"values": np.ones((4, 3, 100))}, r"values must have the signals' shape \(4, 3, 200\), got \(4, 3, 100\)"),
        ({"cell_s": 0.001}, "cell_s must be at least one sample, 0.01 s, got 0.001"),
    ],
)
def test_what_cannot_be_scored_is_refused(cnn, changes, match):
    given = {"values": np.ones((4, 3, 200)), "is_signed": True, "baseline_mv": MEAN_MV, "sampling_rate_hz": RATE_HZ}
    with pytest.raises(ConfigError, match=match):
        delete_and_insert(cnn, draw_signal(), [0, 1, 2, 3], **(given | changes))


def test_randomisation_takes_the_mean_over_seeds_and_records():
    similarity = np.array([[[0.9, 0.7]], [[0.6, np.nan]]])  # two stages, one seed, two records
    found = Randomisation(("head", "features"), similarity, None, 0.5)
    assert found.to_dict() == {
        "layers": ["head", "features"],
        "similarity": [pytest.approx(0.8), pytest.approx(0.6)],
        "limit": 0.5,
        "passes": False,
    }
    assert found.warn()[0].startswith("the map changes too little when the weights are shuffled (rank correlation 0.60")
