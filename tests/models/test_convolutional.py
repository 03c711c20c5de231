"""The convolutional nets of the PTB-XL benchmark: parameters, lengths and sums, against numbers worked by hand."""

import pytest
import torch
from torch.nn import functional

from ecgcls.models.convolutional import ConvolutionalNet
from ecgcls.models.fcn_wang import FCNWang
from ecgcls.models.inception1d import Inception1D, InceptionModule
from ecgcls.models.resnet1d_wang import BasicBlock, ResNet1DWang
from ecgcls.models.xresnet1d import Bottleneck, XResNet1D

NETS = {
    "xresnet1d50": XResNet1D,
    "xresnet1d101": lambda *shape: XResNet1D(*shape, blocks=(3, 4, 23, 3)),
    "resnet1d_wang": ResNet1DWang,
    "fcn_wang": FCNWang,
    "inception1d": Inception1D,
}


def head(n_features):
    """BatchNorm, Linear to 128, BatchNorm, Linear to 5, of the maximum and the mean of each feature."""
    n = 2 * n_features
    return 2 * n + (n + 1) * 128 + 2 * 128 + (128 + 1) * 5


def conv(n_in, n_out, kernel_size):
    """A convolution without a bias, with its BatchNorm."""
    return n_in * n_out * kernel_size + 2 * n_out


STEM = conv(12, 32, 5) + conv(32, 32, 5) + conv(32, 64, 5)
INNER = conv(64, 64, 5) + conv(64, 256, 1)
FIRST = conv(64, 64, 1) + INNER + conv(64, 256, 1)  # the only bottleneck whose shortcut has weights
OTHER = conv(256, 64, 1) + INNER
BASIC = conv(128, 128, 5) + conv(128, 128, 3)
BRANCHES = 32 * 32 * (39 + 19 + 9) + 2 * 128
FIRST_MODULE, MODULE = 2 * 12 * 32 + BRANCHES, 2 * 128 * 32 + BRANCHES

N_PARAMETERS = {
    "xresnet1d50": (953_989, STEM + FIRST + 15 * OTHER + head(256)),
    "xresnet1d101": (1_872_261, STEM + FIRST + 32 * OTHER + head(256)),
    "resnet1d_wang": (473_349, conv(12, 128, 7) + 3 * BASIC + 2 * conv(128, 128, 1) + head(128)),
    "fcn_wang": (309_765, conv(12, 128, 8) + conv(128, 256, 5) + conv(256, 128, 3) + head(128)),
    "inception1d": (507_653, FIRST_MODULE + 5 * MODULE + conv(12, 128, 1) + conv(128, 128, 1) + head(128)),
}


@pytest.fixture(params=sorted({*NETS} - {"xresnet1d101"}))  # which is xresnet1d50 with more of the same blocks
def name(request):
    return request.param


def build(name, n_samples=250):
    torch.manual_seed(0)
    return NETS[name](12, n_samples, 5)


def draw(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NETS)
def test_parameters_are_those_of_the_layers(name):
    counts = {sum(each.numel() for each in build(name, n_samples).parameters()) for n_samples in (250, 1000)}
    assert counts == {N_PARAMETERS[name][0]} == {N_PARAMETERS[name][1]}


@pytest.mark.parametrize(
    ("name", "n_samples", "lengths"),
    [
        ("xresnet1d50", 1000, [500, 250, 125, 63, 32]),
        ("xresnet1d50", 250, [125, 63, 32, 16, 8]),
        ("xresnet1d101", 32, [16, 8, 4, 2, 1]),
        ("resnet1d_wang", 1000, [1000, 500, 250]),
        ("resnet1d_wang", 251, [251, 126, 63]),
        ("fcn_wang", 250, [250]),
        ("inception1d", 250, [250]),
    ],
)
def test_the_time_is_halved_where_a_stride_is(name, n_samples, lengths):
    net, found = build(name, n_samples).eval(), []
    for layer in net.features:
        layer.register_forward_hook(lambda layer, inputs, output: found.append(output.shape[-1]))
    with torch.no_grad():
        net(draw(2, 12, n_samples))
    assert list(dict.fromkeys(found)) == lengths


@pytest.mark.parametrize(("name", "width"), [("fcn_wang", 14), ("resnet1d_wang", 37), ("inception1d", 229)])
def test_a_feature_sees_as_many_samples_as_the_kernels_add_up_to(name, width):
    """1 + 7 + 4 + 2; 1 + 6 + 4 + 2 + 4 + 2 x 2 + 2 x 4 + 4 x 2 with two strides; 1 + 6 x 38."""
    net = build(name, 600).eval()
    for each in net.features.parameters():
        torch.nn.init.constant_(each, 1 / each[0].numel())  # all paths add
    signal = torch.ones(1, 12, 600, requires_grad=True)
    features = net.features(signal[:, :, None])
    features[0, 0, 0, features.shape[-1] // 2].backward()
    assert int((signal.grad[0] > 0).any(dim=0).sum()) == width


@pytest.mark.parametrize("is_bf16", [False, True])
def test_channels_stay_last_in_every_layer(name, is_bf16):
    net, wrong = build(name), []

    def look(layer, inputs, output):
        if not output.is_contiguous(memory_format=torch.channels_last):
            wrong.append(layer)

    for layer in net.features.modules():
        layer.register_forward_hook(look)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        net(draw(2, 12, 250))
    assert wrong == []


def test_a_signal_in_another_memory_order_is_the_same_signal(name):
    net, signal = build(name).eval(), draw(2, 12, 250)
    other = signal.transpose(1, 2).contiguous().transpose(1, 2)  # as (batch, sample, lead) in memory
    with torch.no_grad():
        torch.testing.assert_close(net(other), net(signal), rtol=1e-5, atol=1e-5)


def test_half_precision_gives_about_the_same(name):
    net, signal = build(name).eval(), draw(2, 12, 250)
    with torch.no_grad():
        exact = net(signal)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(signal)
    assert rounded.dtype == torch.float32  # those of half precision would tie
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_every_weight_gets_a_gradient(name):
    net = build(name)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # those that start as 0 keep gradients from what is before them
    functional.binary_cross_entropy_with_logits(net(draw(4, 12, 250)), torch.ones(4, 5)).backward()
    assert [path for path, each in net.named_parameters() if not each.grad.abs().sum() > 0] == []


def test_weights_start_as_kaiming_says(name):
    net = build(name)
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and weight.numel() > 10_000:
            assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.05)
            assert module.bias is None or not module.bias.any()


def test_fcn_wang_looks_3_samples_back_and_4_ahead():
    net, signal = build("fcn_wang"), draw(2, 12, 50)
    expected = functional.conv1d(functional.pad(signal, (3, 4)), net.features[0].weight[:, :, 0])
    torch.testing.assert_close(net.features[0](signal[:, :, None])[:, :, 0], expected)


def test_the_head_is_given_the_maximum_and_the_mean_over_time():
    net = ConvolutionalNet(torch.nn.Identity(), 2, n_leads=2, n_samples=4, n_classes=3, dropout=0.5)
    net.head = torch.nn.Identity()
    assert net(torch.tensor([[[1.0, 2.0, 6.0, -1.0], [0.0, 0.0, 0.0, -4.0]]])).tolist() == [[6.0, 0.0, 2.0, -1.0]]


def test_an_untrained_bottleneck_passes_on_what_came_in():
    image = draw(2, 256, 1, 5).relu()
    torch.testing.assert_close(Bottleneck(256, stride=1)(image), image)
    halved = torch.stack([image[..., 0:2].mean(-1), image[..., 2:4].mean(-1), image[..., 4]], dim=-1)
    torch.testing.assert_close(Bottleneck(256, stride=2)(image), halved)
    first = Bottleneck(64, stride=1).eval()
    shortcut = functional.conv1d(image[:, :64, 0], first.shortcut[0].weight[:, :, 0]) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(first(image[:, :64])[:, :, 0], shortcut.relu())


def normalize(signal):
    return functional.batch_norm(signal, None, None, training=True)


def test_a_trained_bottleneck_adds_three_convolutions():
    block, image = Bottleneck(256, stride=2), draw(3, 256, 1, 11)
    torch.nn.init.ones_(block.path[-1].weight)
    weights = [each.weight[:, :, 0] for each in block.path if isinstance(each, torch.nn.Conv2d)]
    inner = normalize(functional.conv1d(image[:, :, 0], weights[0])).relu()
    inner = normalize(functional.conv1d(inner, weights[1], stride=2, padding=2)).relu()
    added = normalize(functional.conv1d(inner, weights[2]))
    kept = functional.avg_pool1d(image[:, :, 0], 2, ceil_mode=True)
    torch.testing.assert_close(block(image)[:, :, 0], (added + kept).relu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_basic_block_adds_two_convolutions(stride):
    block, image = BasicBlock(stride=stride), draw(3, 128, 1, 11)
    inner = functional.conv1d(image[:, :, 0], block.path[0].weight[:, :, 0], stride=stride, padding=2)
    added = normalize(functional.conv1d(normalize(inner).relu(), block.path[3].weight[:, :, 0], padding=1))
    kept = image[:, :, 0]
    if stride == 2:
        kept = normalize(functional.conv1d(kept, block.shortcut[0].weight[:, :, 0], stride=2))
    torch.testing.assert_close(block(image)[:, :, 0], (added + kept).relu(), rtol=1e-4, atol=1e-4)


def test_an_inception_module_is_four_branches_side_by_side():
    module, image = InceptionModule(12), draw(3, 12, 1, 50)
    signal = image[:, :, 0]
    squeezed = functional.conv1d(signal, module.bottleneck.weight[:, :, 0])
    found = [
        functional.conv1d(squeezed, branch.weight[:, :, 0], padding=padding)
        for branch, padding in zip(module.branches, (19, 9, 4), strict=True)
    ]
    highest = functional.pad(signal, (1, 1), value=-torch.inf).unfold(-1, 3, 1).amax(-1)
    found.append(functional.conv1d(highest, module.pooled[1].weight[:, :, 0]))
    expected = normalize(torch.cat(found, dim=1)).relu()
    torch.testing.assert_close(module(image)[:, :, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: XResNet1D(12, 31, 5), "XResNet1D halves the time five times: n_samples must be at least 32, got 31"),
        (lambda: XResNet1D(12, 250, 5, blocks=(3, 4, 6)), r"must be four numbers of at least 1, got \[3, 4, 6\]"),
        (lambda: XResNet1D(12, 250, 5, blocks=(3, 4, 0, 3)), r"must be four numbers of at least 1, got \[3, 4, 0, 3\]"),
        (lambda: ResNet1DWang(12, 6, 5), "ResNet1DWang's first kernel is 7: n_samples must be at least 7, got 6"),
        (lambda: FCNWang(12, 7, 5), "FCNWang's first kernel is 8: n_samples must be at least 8, got 7"),
        (lambda: Inception1D(12, 38, 5), "Inception1D's longest kernel is 39: n_samples must be at least 39, got 38"),
        (lambda: FCNWang(12, 250, 5, dropout=1.5), "between 0 and 1, but got 1.5"),
    ],
)
def test_impossible_nets_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("name", "n_samples"), [("xresnet1d50", 32), ("resnet1d_wang", 7), ("fcn_wang", 8), ("inception1d", 39)]
)
def test_the_shortest_signal_is_taken(name, n_samples):
    assert NETS[name](1, n_samples, 2)(draw(2, 1, n_samples)).isfinite().all()


def test_a_map_over_time_is_the_same_for_every_lead():
    found = NETS["fcn_wang"](3, 8, 5).map_to_leads(torch.tensor([[[0.0, 4.0]]]))  # values in the middle of each half
    assert found.tolist() == [[[0.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.0]] * 3]
