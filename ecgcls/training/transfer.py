"""Weights of one net put into another, as far as they fit: layer by layer, by name and shape, and the input by lead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ecgcls.errors import ConfigError, DataError
from ecgcls.training.layers import find_head
from ecgcls.training.metadata import MetadataNet, take_signal_net

State = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Contract:
    """What a net takes and returns; None: not known."""

    lead_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None


@dataclass
class Taken:
    """What was taken of a net's layers, each by its name in the state dict."""

    layers: list[str] = field(default_factory=list)
    """Whole."""
    by_lead: dict[str, str] = field(default_factory=dict)
    """In part, those of the same leads: which."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Of the new net: they start as those of any net, and why."""
    unused: list[str] = field(default_factory=list)
    """Of the other net: the new one has none of that name."""


def take_weights(net: nn.Module, weights: Mapping[str, Tensor], *, own: Contract, other: Contract) -> Taken:
    """Put what fits of another net's state dict into a net.

    A layer is taken as a whole or not at all, if names and shapes of its tensors agree. The head, whose rows are
    classes, is taken if both nets have the same classes in the same order; of the first layer, or of those that the net
    names in an attribute ``lead_layers``, if their columns are leads, those of the leads that both have. What concerns
    metadata is not taken.

    Raises
    ------
    ConfigError
        If no layer with weights fits.
    DataError
        If a weight that would be taken is not finite.
    """
    signal_net = take_signal_net(net)
    ours, theirs = _group(signal_net.state_dict()), _group(_take_signal_weights(weights))
    head, takes_leads = find_head(signal_net), _list_lead_layers(signal_net, ours)
    taken, n_weights = Taken(), 0
    for name, state in ours.items():
        found = theirs.get(name)
        why = "" if found is not None else "the other net has none of that name"
        if found is not None and found.keys() != state.keys():
            why = f"it has {', '.join(state)}, that of the other net {', '.join(found)}"
        elif name == head and not _have_same_classes(own, other):
            why = _tell_classes(own, other)
        if found is None or why:
            taken.left_out[name] = why
            continue
        columns = _match_leads(state, found, own, other) if name in takes_leads else None
        if columns is not None:
            if not columns:
                taken.left_out[name] = f"no lead in common ({_list(own.lead_names)}, there {_list(other.lead_names)})"
                continue
            _copy_leads(state, found, columns, name, n_leads=(len(own.lead_names or ()), len(other.lead_names or ())))
            if len(columns) < len(own.lead_names or ()) or len(columns) < len(other.lead_names or ()):
                taken.by_lead[name] = _tell_leads(columns, own, other)
            else:
                taken.layers.append(name)
        elif [each.shape for each in state.values()] != [found[key].shape for key in state]:
            taken.left_out[name] = _tell_shapes(state, found)
            continue
        else:
            for key, tensor in state.items():
                _copy(tensor, found[key], f"{name}.{key}")
            taken.layers.append(name)
        n_weights += any(tensor.dim() > 1 for tensor in state.values())
    taken.unused.extend(name for name in theirs if name not in ours)
    if isinstance(net, MetadataNet):
        taken.left_out["metadata"] = "what concerns metadata starts anew"
    if not n_weights:
        name, why = next(iter(taken.left_out.items()), ("all", "no layer has weights"))
        raise ConfigError(f"init: nothing fits of {len(theirs)} layers there; {name}: {why}")
    return taken


def take_columns(values: Tensor, own: Sequence[str], other: Sequence[str]) -> Tensor:
    """Return the values of leads, ``(lead, ...)`` of `other`, in the order of `own`."""
    position = {name: number for number, name in enumerate(other)}
    return values[[position[name] for name in own]]


def _group(state: Mapping[str, Tensor]) -> State:
    """Group a state dict by the module that a tensor belongs to."""
    grouped: State = {}
    for key, tensor in state.items():
        name, _, own = key.rpartition(".")
        grouped.setdefault(name, {})[own] = tensor
    return grouped


def _take_signal_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of the part of a net that takes the signal, as `take_signal_net`."""
    if not any(key.startswith("scaler.") for key in weights):
        return dict(weights)
    return {key.removeprefix("net."): each for key, each in weights.items() if key.startswith("net.")}


def _list_lead_layers(net: nn.Module, state: State) -> tuple[str, ...]:
    """Name the layers that take the leads: those that the net names, or the first with weights."""
    named: tuple[str, ...] = tuple(getattr(net, "lead_layers", ()))
    first = (name for name, own in state.items() if any(tensor.dim() > 1 for tensor in own.values()))
    return named or (next(first, ""),)


def _have_same_classes(own: Contract, other: Contract) -> bool:
    return own.class_names == other.class_names


def _match_leads(
    state: Mapping[str, Tensor], found: Mapping[str, Tensor], own: Contract, other: Contract
) -> list[tuple[int, int]] | None:
    """Return which columns of the first layer are which of the other net's; None if its columns are no leads."""
    if own.lead_names is None or other.lead_names is None or own.lead_names == other.lead_names:
        return None
    here, there = (next(each for each in layer.values() if each.dim() > 1) for layer in (state, found))
    if (here.shape[1], there.shape[1]) != (len(own.lead_names), len(other.lead_names)):
        return None
    rest_here, rest_there = (each.shape[:1] + each.shape[2:] for each in (here, there))
    if rest_here != rest_there:
        return None
    position = {name: number for number, name in enumerate(other.lead_names)}
    return [(number, position[name]) for number, name in enumerate(own.lead_names) if name in position]


def _copy_leads(
    state: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    columns: Sequence[tuple[int, int]],
    name: str,
    *,
    n_leads: tuple[int, int],
) -> None:
    for key, tensor in state.items():
        if tensor.dim() < 2 or (tensor.shape[1], found[key].shape[1]) != n_leads:  # such as an LSTM's own state
            _copy(tensor, found[key], f"{name}.{key}")
            continue
        for here, there in columns:
            _copy(tensor[:, here], found[key][:, there], f"{name}.{key}")


def _copy(tensor: Tensor, value: Tensor, name: str) -> None:
    if not value.isfinite().all():
        raise DataError(f"init: {name} of the other net has values that are not finite")
    with torch.no_grad():
        tensor.copy_(value)


def _list(names: Sequence[str] | None) -> str:
    names = names or ()
    return ", ".join(names[:12]) + ", ..." * (len(names) > 12)


def _tell_classes(own: Contract, other: Contract) -> str:
    if other.class_names is None:
        return "which classes it is of there is not known"
    return f"its classes are {_list(own.class_names)}, there {_list(other.class_names)}"


def _tell_leads(columns: Sequence[tuple[int, int]], own: Contract, other: Contract) -> str:
    names = own.lead_names or ()
    both = [names[here] for here, _ in columns]
    new = [name for name in names if name not in both]
    return f"{_list(both)} of {len(other.lead_names or ())} leads" + f"; new: {_list(new)}" * bool(new)


def _tell_shapes(state: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    key = next(key for key in state if state[key].shape != found[key].shape)
    return f"its {key} has shape {tuple(state[key].shape)}, there {tuple(found[key].shape)}"
