"""One contract for every net that conf/model names."""

import pytest
import torch
from omegaconf import OmegaConf

from ecgcls.config import CONF_DIR
from ecgcls.jobs.parts import build_net
from ecgcls.models.cnn1d import CNN1D
from ecgcls.models.cnn2d import CNN2D, IMAGE_SIZE, _resize, _spectrogram

BASELINES = {"prevalence", "age_sex"}  # without a net
MODELS = sorted({path.stem for path in (CONF_DIR / "model").glob("*.yaml")} - BASELINES)
SMALL = {"s4d": {"width": 32, "depth": 2}, "lstm_bidir": {"width": 32}}  # at full size a test takes seconds


def build(model, n_leads, n_samples, n_classes, **settings):
    torch.manual_seed(0)
    node = OmegaConf.load(CONF_DIR / "model" / f"{model}.yaml")
    config = {"model": OmegaConf.to_container(OmegaConf.merge(node, SMALL.get(model, {}), settings))}
    return build_net(config, n_leads=n_leads, n_samples=n_samples, n_classes=n_classes)


def count_parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_both_nets_are_there():
    assert {"cnn1d", "cnn2d"} <= set(MODELS)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("n_leads", "n_samples", "n_classes"), [(12, 1000, 5), (12, 5000, 71), (3, 250, 1)])
def test_net_maps_leads_and_samples_to_logits(model, n_leads, n_samples, n_classes):
    net = build(model, n_leads, n_samples, n_classes).eval()
    logits = net(torch.randn(4, n_leads, n_samples))
    assert logits.shape == (4, n_classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("model", MODELS)
def test_a_record_is_scored_the_same_alone_and_in_a_batch(model):
    net = build(model, 12, 1000, 5).eval()
    signal = torch.randn(6, 12, 1000)
    with torch.no_grad():
        alone = torch.cat([net(one[None]) for one in signal])
        torch.testing.assert_close(net(signal), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_a_net_with_metadata_starts_as_the_net_and_learns_from_both(model):
    plain = build(model, 3, 250, 2).eval()
    net = build(model, 3, 250, 2, metadata=["age", "sex"]).eval()
    signal, metadata = torch.randn(4, 3, 250), torch.tensor([[1.0, 0.0], [-1.0, 1.0], [3.0, 1.0], [torch.nan, 0.0]])
    torch.testing.assert_close(net(signal, metadata), plain(signal))
    torch.nn.init.ones_(net.metadata[-1].weight)
    found = net(signal, metadata)
    assert found.shape == (4, 2)
    added = net.metadata(net.scaler(metadata))
    assert len(set(added[:, 0].tolist())) == 4
    torch.testing.assert_close(found, plain(signal) + added)
    found.sum().backward()
    assert all(each.grad is not None for each in net.parameters() if each.requires_grad)


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_learns(model):
    net = build(model, 12, 1000, 5)
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(torch.randn(8, 12, 1000)), torch.ones(8, 5))
    loss.backward()
    learning = [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert learning
    assert [name for name, parameter in learning if parameter.grad is None] == []


@pytest.mark.parametrize("model", MODELS)
def test_every_lead_matters(model):
    net = build(model, 12, 1000, 5).eval()
    signal = torch.randn(1, 12, 1000)
    without = signal.repeat(12, 1, 1)
    without[range(12), range(12)] = 0
    with torch.no_grad():
        assert (net(without) != net(signal)).any(dim=1).all()


def test_cnn1d_has_the_published_number_of_parameters():
    assert count_parameters(CNN1D(12, 1000, 5)) == 46_757


@pytest.mark.parametrize("image", ["resize", "spectrogram"])
def test_cnn2d_has_the_published_number_of_parameters(image):
    assert count_parameters(CNN2D(12, 1000, 5, image=image)) == 6_613


@pytest.mark.parametrize("make_image", [_resize, _spectrogram])
@pytest.mark.parametrize("n_samples", [1000, 5000])
def test_the_image_has_its_size(make_image, n_samples):
    assert make_image(torch.randn(2, 12, n_samples)).shape == (2, 1, *IMAGE_SIZE)


def test_resize_keeps_the_leads_from_top_to_bottom():
    leads = torch.arange(12.0)[None, :, None].expand(1, 12, 1000)
    column = _resize(leads)[0, 0, :, 100]
    assert column[0] == 0
    assert column[-1] == 11
    assert (column.diff() >= 0).all()


def test_spectrogram_puts_a_tone_into_its_lead_and_frequency():
    time_s = torch.arange(1000) / 100
    signal = torch.zeros(1, 12, 1000)
    signal[0, 5] = torch.sin(2 * torch.pi * 25.0 * time_s)  # half of the Nyquist frequency, in the sixth of 12 leads
    rows = _spectrogram(signal)[0, 0].mean(dim=1)
    height_of_a_lead = IMAGE_SIZE[0] / 12
    assert abs(rows.argmax().item() + 0.5 - (5 + 0.5) * height_of_a_lead) < 1.5


def burst(n_leads, n_samples, lead, middle):
    """A tone of 0.3 s at 100 Hz in one lead, largest in its middle."""
    signal = torch.zeros(1, n_leads, n_samples)
    shape = torch.hann_window(31, periodic=False) * torch.cos(torch.arange(-15, 16) * torch.pi / 4)
    signal[0, lead, middle - 15 : middle + 16] = shape
    return signal


@pytest.mark.parametrize("image", ["resize", "spectrogram"])
@pytest.mark.parametrize(
    ("n_leads", "n_samples", "lead", "middle"),
    [
        (12, 1000, 0, 100),
        (12, 1000, 7, 613),
        (12, 1000, 11, 975),
        (12, 5000, 4, 4000),
        (3, 250, 1, 61),
        (8, 1003, 7, 20),
    ],
)
def test_what_lies_in_the_image_comes_back_to_its_lead_and_time(image, n_leads, n_samples, lead, middle):
    net = CNN2D(n_leads, n_samples, 5, image=image)
    in_image = net._make_image(burst(n_leads, n_samples, lead, middle))[:, 0]
    back = net.map_to_leads(in_image)[0]
    assert back.shape == (n_leads, n_samples)
    assert back.max(dim=1).values.argmax() == lead
    assert abs(int(back[lead].argmax()) - middle) <= 2 + n_samples / IMAGE_SIZE[1]


@pytest.mark.parametrize("image", ["resize", "spectrogram"])
def test_a_coarse_map_comes_back_to_its_lead_and_time(image):
    net = CNN2D(12, 1000, 5, image=image)
    in_image = net._make_image(burst(12, 1000, 5, 400))
    coarse = torch.nn.functional.avg_pool2d(in_image, 4)[:, 0]  # 16 rows, 64 columns
    back = net.map_to_leads(coarse)[0]
    assert back.max(dim=1).values.argmax() == 5
    assert abs(int(back[5].argmax()) - 400) <= 1000 / 64


@pytest.mark.parametrize("width", [256, 128, 32])
@pytest.mark.parametrize(
    ("image", "column"),
    [
        ("resize", lambda sample, width: (sample + 0.5) / 1000 * width - 0.5),
        (
            "spectrogram",
            lambda sample, width: (sample / 4 + 0.5) / 251 * width - 0.5,
        ),  # 251 frames, one every 4 samples
    ],
)
def test_every_sample_gets_the_value_of_its_column(image, column, width):
    net = CNN2D(12, 1000, 5, image=image)
    columns = torch.arange(width, dtype=torch.float32).expand(1, 16, width)
    back = net.map_to_leads(columns)[0]
    inner = torch.arange(100, 900)
    assert back[:, inner] == pytest.approx(column(inner, width).expand(12, -1), abs=0.02)


@pytest.mark.parametrize("image", ["resize", "spectrogram"])
def test_every_lead_gets_the_mean_of_its_rows(image):
    net = CNN2D(12, 1000, 5, image=image)
    rows = torch.arange(12.0).repeat_interleave(8)[None, :, None].expand(1, 96, 64)  # 8 rows a lead
    back = net.map_to_leads(rows)[0]
    assert back[:, 500] == pytest.approx(torch.arange(12.0), abs=0.15)


@pytest.mark.parametrize("image", ["resize", "spectrogram"])
def test_the_way_back_adds_nothing_to_a_checkpoint(image):
    net = CNN2D(12, 1000, 5, image=image)
    assert {name.split(".")[0] for name in net.state_dict()} == {"features", "head"}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: CNN1D(12, 7, 5), "n_samples must be at least 8, got 7"),
        (lambda: CNN2D(12, 20, 5, image="spectrogram"), "at least 32 samples, got 20"),
        (lambda: CNN2D(12, 1000, 5, image="wavelet"), "resize or spectrogram, got wavelet"),
    ],
)
def test_impossible_nets_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_cnn1d_computes_what_the_classic_one_dimensional_layers_do():
    net = build("cnn1d", 12, 1000, 5, dropout=0.0)
    blocks = [
        layer
        for n_in, n_out, k in ((12, 32, 7), (32, 64, 5), (64, 128, 3))
        for layer in (
            torch.nn.Conv1d(n_in, n_out, k, padding="same"),
            torch.nn.BatchNorm1d(n_out),
            torch.nn.ReLU(),
            torch.nn.MaxPool1d(2),
        )
    ]
    classic = torch.nn.Sequential(*blocks)
    own = net.features.state_dict()
    classic.load_state_dict({name: own[name].reshape(value.shape) for name, value in classic.state_dict().items()})
    signal = torch.randn(4, 12, 1000, generator=torch.Generator().manual_seed(1))
    logits = net(signal)
    expected = net.head(classic(signal).mean(dim=-1))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    logits.square().sum().backward(retain_graph=True)
    expected.square().sum().backward()
    for mine, other in zip(net.features.parameters(), classic.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.reshape(other.shape), other.grad, rtol=1e-3, atol=1e-3)
