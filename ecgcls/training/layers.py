"""The layers of any net in order of depth, without its author having to list them.

Children come in the order in which the net's constructor made them, as nets are written; of a ``Sequential`` (and of
whatever the head is in) each child is a layer, any other module, such as a residual block, is one as a whole. What has
no weights of its own to multiply with, such as batch normalization, belongs to the layer before it. The head, which
makes logits of features, is the last ``Linear`` and always the last layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ecgcls.training.metadata import MetadataNet, take_signal_net


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer: a module with those that belong to it."""

    name: str
    """Of its first module with weights, as in the net's state dict."""
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]


def split_layers(net: nn.Module) -> list[Layer]:
    """Split a net into its layers, from the signal to the head, which all parameters of metadata belong to."""
    signal_net = take_signal_net(net)
    head_name = find_head(signal_net)
    head = signal_net.get_submodule(head_name)
    groups: list[tuple[str, list[nn.Module]]] = []
    waiting: list[nn.Module] = []
    for name, module in _walk(signal_net, "", head):
        if module is head:
            continue
        if _has_weights(module):
            groups.append((name, [*waiting, module]))
            waiting = []
        elif groups:
            groups[-1][1].append(module)
        else:
            waiting.append(module)
    beside = [net.metadata] if isinstance(net, MetadataNet) else []
    groups.append((head_name, [*waiting, head, *beside]))
    taken: set[nn.Parameter] = set()
    layers: list[Layer] = []
    for name, modules in reversed(groups):  # a weight that two layers share is of the later one
        own = [each for module in modules for each in module.parameters() if each not in taken]
        if len(layers) == len(groups) - 1:
            own += [each for each in net.parameters() if each not in taken and each not in {*own}]
        taken.update(own)
        layers.append(Layer(name, tuple(modules), tuple(own)))
    return layers[::-1]


def find_head(net: nn.Module) -> str:
    """Return the name of the module that makes logits of features: the last ``Linear``, or the last with weights."""
    with_weights = [name for name, module in net.named_modules() if any(p.dim() > 1 for p in _own(module))]
    linear = [name for name in with_weights if isinstance(net.get_submodule(name), nn.Linear)]
    return (linear or with_weights or [""])[-1]


def _walk(module: nn.Module, prefix: str, head: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if child is not head and (isinstance(child, nn.Sequential | nn.ModuleList) or head in child.modules()):
            yield from _walk(child, f"{prefix}{name}.", head)
        else:
            yield f"{prefix}{name}", child


def _has_weights(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _own(module: nn.Module) -> Iterator[nn.Parameter]:
    return module.parameters(recurse=False)
