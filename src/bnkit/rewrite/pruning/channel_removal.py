"""Taking channels out of a model's layers, and what stood in them into those that took them in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bnkit.rewrite.edits import Edits
from bnkit.rewrite.folding.fold_obstacles import LINEAR_KINDS
from bnkit.rewrite.pruning.channel_groups import ChannelGroup, Indices, owners
from bnkit.rewrite.pruning.channel_products import Consumer, Products

_CONV = nn.modules.conv._ConvNd
_TRANSPOSED = nn.modules.conv._ConvTransposeNd


def indices_of(groups: Sequence[ChannelGroup], removed: Sequence[Sequence[int]]) -> Indices:
    """Return which indices of which axes go with the channels that are removed."""
    found: Indices = {}
    for group, numbers in zip(groups, removed, strict=True):
        for number in numbers:
            for key, indices in group.channels[number].items():
                found.setdefault(key, []).extend(indices)
    return {key: sorted(indices) for key, indices in found.items()}


def remove_channels(edits: Edits, indices: Indices) -> dict[str, tuple[int, int]]:
    """Take indices out of parameters and buffers; return layer → output channels before and after.

    Args:
        edits: of the model.
        indices: (name, axis) → what goes.
    """
    held, by_name = owners(edits.model), dict[str, list[tuple[int, list[int]]]]()
    for (name, axis), gone in indices.items():
        by_name.setdefault(name, []).append((axis, gone))
    channels: dict[str, tuple[int, int]] = {}
    touched: dict[str, nn.Module] = {}
    for name in [name for name in held if name in by_name]:
        module, key = held[name]
        path = name.rpartition(".")[0]
        old = getattr(module, key).detach()
        new = old
        for axis, gone in by_name[name]:
            new = new.index_select(axis, kept(old.shape[axis], gone).to(old.device))
        before = _outputs(module)
        if key in module._parameters:
            edits.set_parameter(module, key, new)
        else:
            edits.set_buffer(module, key, new)
        touched[path] = module
        if before is not None and key == "weight":
            channels[path] = (before, before)
    for path, module in touched.items():
        _state_sizes(edits, module)
        if path in channels:
            channels[path] = (channels[path][0], _outputs(module) or 0)
    return {path: counts for path, counts in channels.items() if counts[0] != counts[1]}


def kept(size: int, gone: Sequence[int]) -> Tensor:
    """Return the indices that stay."""
    stays = torch.ones(size, dtype=torch.bool)
    stays[list(gone)] = False
    return stays.nonzero().flatten()


def _outputs(module: nn.Module) -> int | None:
    found = getattr(module, "out_channels", getattr(module, "out_features", None))
    return found if isinstance(found, int) else None


def _state_sizes(edits: Edits, module: nn.Module) -> None:
    """Set the attributes of a layer that state the sizes of its parameters."""
    sizes: dict[str, int] = {}
    if isinstance(module, _CONV):
        rows, columns = module.weight.shape[:2]
        groups = module.groups
        is_transposed = isinstance(module, _TRANSPOSED)
        if groups > 1 and module.in_channels == groups:  # depthwise
            groups = rows if is_transposed else rows * groups // module.out_channels
        inputs, outputs = (rows, columns * groups) if is_transposed else (columns * groups, rows)
        sizes = {"in_channels": inputs, "out_channels": outputs, "groups": groups}
    elif isinstance(module, nn.Linear):
        sizes = {"in_features": module.weight.shape[1], "out_features": module.weight.shape[0]}
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        tensor = next((t for t in (module.weight, module.running_mean) if t is not None), None)
        sizes = {} if tensor is None else {"num_features": len(tensor)}
    elif isinstance(module, nn.PReLU):
        sizes = {"num_parameters": len(module.weight)}
    for name, size in sizes.items():
        if getattr(module, name) != size:
            edits.set_attribute(module, name, size)


@dataclass
class Absorption:
    """What became of the constants of removed channels.

    Attributes:
        layers: path of a layer → where its constants went, in words.
        unknown: paths of layers that took in removed channels that are no constant.
        padded: paths of layers around whose input zeros stand, where the constants do not hold.
        uneven: paths of layers whose constants hold on average alone, for transposed convolutions.
    """

    layers: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    padded: list[str] = field(default_factory=list)
    uneven: list[str] = field(default_factory=list)


def absorb(edits: Edits, products: Products, indices: Indices) -> Absorption:
    """Add what removed channels contribute as constants to the biases of what took them in.

    A layer without a bias whose output goes to one batch norm alone has that batch norm's running
    mean shifted instead; another gets a bias.

    Args:
        edits: of the model, its channels not yet removed.
        products: of its trace.
        indices: what will be removed.
    """
    done, held = Absorption(), owners(edits.model)
    for name, axis in sorted(products.takers & set(indices)):
        calls = products.consumers(name)
        path = name.rpartition(".")[0]
        found = [_shift(call, indices[name, axis]) for call in calls]
        if not found or any(not torch.equal(shift, found[0][0]) for shift, _ in found):
            done.unknown.append(path)
            continue
        shift, is_known = found[0]
        if not is_known:
            done.unknown.append(path)
        gone = indices[name, axis]
        if any(_is_among(call.uneven, call, gone) for call in calls):
            done.uneven.append(path)
        elif any(_is_among(call.edges, call, gone) for call in calls):
            done.padded.append(path)
        if not shift.any():
            continue
        where = _add(edits, products, held, name, shift, indices)
        if where:
            done.layers[path] = where
        else:
            done.unknown.append(path)
    return done


def _shift(call: Consumer, gone: Sequence[int]) -> tuple[Tensor, bool]:
    """Return what the removed inputs add to each output, and whether all are constants."""
    outputs, per_group = call.gain.shape
    columns = _columns(call, gone)
    constants = call.constant.reshape(call.groups, -1)[:, columns]
    is_known = not bool(constants.isnan().any())
    gains = call.gain.reshape(call.groups, outputs // call.groups, per_group)[:, :, columns]
    shift = torch.einsum("goi,gi->go", gains, constants.nan_to_num(0.0))
    return shift.flatten(), is_known


def _is_among(inputs: Tensor, call: Consumer, gone: Sequence[int]) -> bool:
    """Return whether some of the inputs that go, and have a constant beside zero, are given."""
    both = inputs & (call.constant.nan_to_num(0.0) != 0)
    return bool(both.reshape(call.groups, -1)[:, _columns(call, gone)].any())


def _columns(call: Consumer, gone: Sequence[int]) -> list[int]:
    """Return which inputs of each group go."""
    if call.groups > 1:
        return sorted({index % call.gain.shape[1] for index in gone})
    return list(gone)


def _add(
    edits: Edits,
    products: Products,
    held: dict[str, tuple[nn.Module, str]],
    name: str,
    shift: Tensor,
    indices: Indices,
) -> str:
    """Add constants to a layer's output; return where they went, empty if nowhere."""
    module, key = held[name]
    is_layer = isinstance(module, nn.Linear | _CONV)
    if key != "weight" or not is_layer or not shift.isfinite().all():
        return ""
    path = name.rpartition(".")[0]
    bias = module._parameters.get("bias")
    if bias is not None:
        if f"{path}.bias".lstrip(".") not in held or _is_tied(edits.model, bias):
            return ""
        edits.set_values(bias, (bias.detach().cpu().double() + shift).to(bias.dtype))
        return "its bias"
    readers = products.readers.get(name, [])
    mean = readers[0].removeprefix("=") if len(readers) == 1 and readers[0][:1] == "=" else ""
    if mean and len(products.consumers(name)) == 1 and products.norm_calls.get(mean) == 1:
        norm, buffer = held[mean]
        old = norm._buffers[buffer]
        assert old is not None
        edits.set_values(old, (old.cpu().double() - shift).to(old.dtype))
        return f"the running mean of {mean.rpartition('.')[0]}"
    if type(module).forward not in _OWN_FORWARDS:
        return ""  # another forward may not read a bias
    out = 1 if isinstance(module, _TRANSPOSED) else 0
    gone = _gone_outputs(module, indices.get((name, out), []), out)
    weight = module.weight
    assert isinstance(weight, Tensor)
    value = shift[kept(len(shift), gone)].to(weight.dtype).to(weight.device)
    edits.set_parameter(module, "bias", value, requires_grad=weight.requires_grad)
    return "a bias that it did not have"


def _gone_outputs(module: nn.Module, gone: Sequence[int], axis: int) -> list[int]:
    """Return which outputs go with indices of a weight's output axis."""
    if axis == 0 or not isinstance(module, _CONV):
        return list(gone)
    size = module.weight.shape[1]
    return [group * size + index for group in range(module.groups) for index in gone]


_OWN_FORWARDS = {kind.forward for kind in LINEAR_KINDS}


def _is_tied(model: nn.Module, tensor: Tensor) -> bool:
    places = [t for m in model.modules() for t in m._parameters.values() if t is tensor]
    return len(places) > 1
