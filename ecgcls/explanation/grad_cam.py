"""Grad-CAM: where a convolutional block responds with what the class needs, brought back to leads and samples.

A net that makes an image of the leads maps it back itself, with a method ``map_to_leads`` that takes
``(batch, height, width)`` and returns ``(batch, lead, sample)``; of any other net every lead of a record has the same
values. It may name the layer that Grad-CAM takes by default, in an attribute ``grad_cam_layer``: of a residual net the
last convolution is only one summand of what its last block gives.

References
----------
Selvaraju et al. Grad-CAM: visual explanations from deep networks via gradient-based localization. ICCV 2017.
https://doi.org/10.1109/ICCV.2017.74
"""

import difflib
from itertools import takewhile
from typing import Any

from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional

from ecgcls.errors import ConfigError
from ecgcls.explanation.method import Maps, MethodSettings, Query

_FOLLOWS_A_CONVOLUTION = (
    nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.ReLU, nn.ReLU6,
    nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Tanh,
)  # fmt: skip


def grad_cam(query: Query, settings: MethodSettings) -> Maps:
    """Channels of `settings.layer`, weighted by their mean gradients; only what speaks for the class.

    Raises
    ------
    ConfigError
        There is no such layer, or its output is no map over time nor an image that the net can map back.
    """
    name = settings.layer or _find_last_block(query.net)
    try:
        layer = query.net.get_submodule(name)
    except AttributeError:
        raise ConfigError(f"grad_cam: the net has no layer {name!r}; {_list_layers(query.net, name)}") from None
    cam = LayerGradCam(query.logits, layer).attribute(
        query.leaf_mv, query.class_index, additional_forward_args=query.metadata, relu_attributions=True
    )
    n_leads, n_samples = query.signal_mv.shape[1:]
    windows: Any = getattr(query.net, "windows", None)
    n_mapped = n_samples if windows is None else windows.n_samples  # the rows of a map are then windows
    if isinstance(cam, Tensor) and cam.ndim == 3:  # (record, 1, time)
        values = functional.interpolate(cam, n_mapped, mode="linear", align_corners=False).detach()
        values = values if windows is None else windows.join(values, n_samples)
        return Maps(values.expand(-1, n_leads, -1))
    if isinstance(cam, Tensor) and cam.ndim == 4:  # (record, 1, height, width)
        for module in query.net.modules():
            map_to_leads: Any = getattr(module, "map_to_leads", None)
            if map_to_leads is not None:
                values = map_to_leads(cam[:, 0].detach())
                return Maps(values if windows is None else windows.join(values, n_samples))
        raise ConfigError(
            "grad_cam: the net works on an image and cannot map it back to the leads; choose another method, such as "
            "smoothgrad, or give the net a method map_to_leads that takes (batch, height, width) and returns (batch, "
            "lead, sample), as CNN2D has"
        )
    shape = tuple(cam.shape) if isinstance(cam, Tensor) else "several tensors"
    raise ConfigError(
        f"grad_cam: the layer {name} gives no map over time or an image (Grad-CAM of it: {shape}); choose another: "
        f"{_list_layers(query.net, name)}"
    )


def _find_last_block(net: nn.Module) -> str:
    """Name the net's own choice, or the last convolution, or what comes right after it of norms and activations."""
    modules = dict(net.named_modules())
    for name, module in modules.items():
        if hasattr(module, "grad_cam_layer"):
            return f"{name}.{module.grad_cam_layer}".removeprefix(".")
    convolutions = [name for name, module in modules.items() if isinstance(module, nn.Conv1d | nn.Conv2d)]
    if not convolutions:
        raise ConfigError(
            "grad_cam needs a convolution and this net has none; choose another method, such as smoothgrad, or a layer "
            f"that gives (record, channel, time): "
            f"{_list_layers(net)}"
        )
    last = convolutions[-1]
    parent = last.rpartition(".")[0]
    if not isinstance(modules[parent], nn.Sequential):
        return last
    siblings = [name for name in list(modules)[list(modules).index(last) + 1 :] if name.rpartition(".")[0] == parent]
    return [last, *takewhile(lambda name: isinstance(modules[name], _FOLLOWS_A_CONVOLUTION), siblings)][-1]


def _list_layers(net: nn.Module, near: str = "") -> str:
    """List the layers there are, or of many those whose names are similar."""
    names = [name for name, module in net.named_modules() if not list(module.children())]
    if len(names) > 30:
        names = difflib.get_close_matches(near, names, n=10, cutoff=0.0)
    return f"there are {', '.join(names)}"
