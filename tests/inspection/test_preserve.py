"""Each mark that a run can leave, alone: `preserve` must undo it and the comparison must see it."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnkit.inspection.preserve import modules_within, preserve

HOOK_REGISTRATIONS: dict[str, Callable[[nn.Module], Any]] = {
    "forward hook": lambda m: m.register_forward_hook(lambda *_: None),
    "forward hook with keywords": lambda m: m.register_forward_hook(
        lambda *_: None, with_kwargs=True
    ),
    "forward hook always called": lambda m: m.register_forward_hook(
        lambda *_: None, always_call=True
    ),
    "forward pre-hook": lambda m: m.register_forward_pre_hook(lambda *_: None),
    "forward pre-hook with keywords": lambda m: m.register_forward_pre_hook(
        lambda *_: None, with_kwargs=True
    ),
    "backward hook": lambda m: m.register_full_backward_hook(lambda *_: None),
    "backward pre-hook": lambda m: m.register_full_backward_pre_hook(lambda *_: None),
    "non-full backward hook": lambda m: m.register_backward_hook(lambda *_: None),
    "state_dict hook": lambda m: m.register_state_dict_post_hook(lambda *_: None),
    "state_dict pre-hook": lambda m: m.register_state_dict_pre_hook(lambda *_: None),
    "load_state_dict pre-hook": lambda m: m.register_load_state_dict_pre_hook(lambda *_: None),
    "load_state_dict hook": lambda m: m.register_load_state_dict_post_hook(lambda *_: None),
}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(16, 2)
        self.listed = [nn.BatchNorm1d(2)]
        self.calls, self.history = 0, [0]
        self.plain_tensor = torch.ones(2)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.history.append(self.calls)
        x = self.dropout(self.norm(self.conv(x)))
        return self.listed[0](self.head(x.flatten(1)))


def make_model() -> Model:
    torch.manual_seed(0)
    model = Model()
    model.norm.eval()
    model.conv.weight.requires_grad_(False)
    model.conv.register_forward_pre_hook(lambda *_: None, with_kwargs=True)
    model.conv.register_forward_hook(lambda *_: None, with_kwargs=True, always_call=True)
    model(torch.randn(5, 3, 4, 4)).sum().backward()
    return model


def bits(tensor: Tensor | None) -> Any:
    """A tensor's values as bytes, so that NaN equals itself and −0 is not 0."""
    if tensor is None or tensor.is_meta:
        return None
    return tensor.shape, tensor.dtype, tensor.detach().contiguous().numpy().tobytes()


def hooks_of(module: nn.Module) -> dict[str, list[int]]:
    tables = {key: value for key, value in vars(module).items() if "hook" in key}
    return {key: list(value) for key, value in tables.items() if isinstance(value, dict)}


def everything(model: Model) -> dict[str, Any]:
    """All that `preserve` promises to put back, as comparable values."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    tensors |= {f"listed.{key}": t for key, t in model.listed[0].named_buffers()}
    tensors["plain"] = model.plain_tensor
    modules = {**dict(model.named_modules()), "listed": model.listed[0]}
    return {
        "values": {name: bits(tensor) for name, tensor in tensors.items()},
        "identities": {name: id(tensor) for name, tensor in tensors.items()},
        "addresses": {name: tensor.data_ptr() for name, tensor in tensors.items()},
        "dtypes": {name: str(tensor.dtype) for name, tensor in tensors.items()},
        "strides": {name: tensor.stride() for name, tensor in tensors.items()},
        "leaves": {name: tensor.is_leaf for name, tensor in tensors.items()},
        "grads": {name: bits(t.grad) for name, t in tensors.items() if t.is_leaf},
        "grad identities": {name: id(t.grad) for name, t in tensors.items() if t.is_leaf},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "training": {name: module.training for name, module in modules.items()},
        "types": {name: type(module).__name__ for name, module in modules.items()},
        "modules": {name: id(module) for name, module in modules.items()},
        "hooks": {name: hooks_of(module) for name, module in modules.items()},
        "full backward": {name: module._is_full_backward_hook for name, module in modules.items()},
        "non-persistent": {
            name: sorted(module._non_persistent_buffers_set) for name, module in modules.items()
        },
        "attributes": {"calls": model.calls, "history": list(model.history)},
        "names": {name: sorted(vars(module)) for name, module in modules.items()},
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),
        "numpy position": np.random.get_state()[2],
        "python": random.getstate(),
    }


def set_attribute(path: str, value: Callable[[], Any]) -> Callable[[Model], None]:
    owner, _, name = path.rpartition(".")
    return lambda model: setattr(model.get_submodule(owner), name, value())


def in_place(change: Callable[[Model], Any]) -> Callable[[Model], None]:
    def mark(model: Model) -> None:
        with torch.no_grad():
            change(model)

    return mark


def transpose_storage(model: Model) -> None:
    model.head.weight.data = model.head.weight.data.t().contiguous().t()


def attach_buffer(model: Model) -> None:
    """A running mean updated without no_grad keeps the graph it was computed with."""
    model.norm.running_mean.add_(model.norm.weight)


def register_at_conv(register: Callable[[nn.Module], Any]) -> Callable[[Model], Any]:
    return lambda model: register(model.conv)


MARKS: dict[str, Callable[[Model], Any]] = {
    "train": lambda m: m.train(),
    "train in a list": lambda m: m.listed[0].eval(),
    "forward": lambda m: m.train()(torch.randn(5, 3, 4, 4, generator=torch.Generator())),
    "parameter values": in_place(lambda m: m.head.weight.add_(1)),
    "sign of zero": in_place(lambda m: m.norm.bias.copysign_(torch.tensor(-1.0))),
    "a NaN": in_place(lambda m: m.head.weight[0, 0].fill_(float("nan"))),
    "buffer values": in_place(lambda m: m.norm.running_mean.add_(1)),
    "values in a list": in_place(lambda m: m.listed[0].running_mean.add_(1)),
    "plain tensor values": in_place(lambda m: m.plain_tensor.add_(1)),
    "buffer exchanged": set_attribute("norm.running_mean", lambda: torch.full((4,), 7.0)),
    "parameter exchanged": set_attribute("head.bias", lambda: nn.Parameter(torch.ones(2))),
    "parameter removed": set_attribute("head.bias", lambda: None),
    "buffer added": lambda m: m.register_buffer("extra", torch.ones(1), persistent=False),
    "requires_grad": lambda m: m.head.weight.requires_grad_(False),
    "requires_grad set": lambda m: m.conv.weight.requires_grad_(True),
    "gradient values": in_place(lambda m: m.head.weight.grad.add_(1)),
    "gradient exchanged": lambda m: setattr(m.head.weight, "grad", torch.ones(2, 16)),
    "gradients removed": lambda m: m.zero_grad(),
    "half": lambda m: m.half(),
    "double": lambda m: m.to(torch.float64),
    "to another device": lambda m: m.to("meta"),
    "data exchanged": lambda m: setattr(m.head.weight, "data", torch.zeros(5, 5)),
    "data moved": lambda m: setattr(m.head.weight, "data", m.head.weight.data.clone()),
    "strides": transpose_storage,
    "buffer in a graph": attach_buffer,
    "submodule exchanged": set_attribute("norm", nn.Identity),
    "submodule added": lambda m: m.add_module("extra", nn.ReLU()),
    "submodule removed": lambda m: delattr(m, "dropout"),
    "attribute": set_attribute("calls", lambda: -1),
    "list attribute": lambda m: m.history.append(-1),
    "class": set_attribute(
        "head.__class__", lambda: nn.modules.linear.NonDynamicallyQuantizableLinear
    ),
    "python random state": lambda m: random.random(),
    "numpy random state": lambda m: np.random.rand(),
    "torch random state": lambda m: torch.rand(1),
    **{name: register_at_conv(register) for name, register in HOOK_REGISTRATIONS.items()},
    "hooks removed": lambda m: [
        value.clear() for key, value in vars(m.conv).items() if key.startswith("_forward")
    ],
}


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    changed = [name for name in before if before[name] != after[name]]
    assert not changed


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("mark", MARKS)
def test_everything_is_put_back(mark: str, raises: bool) -> None:
    model = make_model()
    before = everything(model)
    if raises:
        with pytest.raises(ZeroDivisionError), preserve(model):
            MARKS[mark](model)
            raise ZeroDivisionError
    else:
        with preserve(model):
            MARKS[mark](model)
    assert_same(before, everything(model))


@pytest.mark.parametrize("mark", MARKS)
def test_the_comparison_sees_each_mark(mark: str) -> None:
    model = make_model()
    before = everything(model)
    MARKS[mark](model)
    with pytest.raises(AssertionError, match="not"):
        assert_same(before, everything(model))


def test_the_model_runs_and_trains_as_before_after_all_marks() -> None:
    model = make_model()
    twin = copy.deepcopy(model)
    for name, mark in MARKS.items():
        if name not in ("forward", "submodule removed"):
            with preserve(model):
                mark(model)
    for each in (model, twin):
        torch.manual_seed(1)
        each.zero_grad()
        each(torch.ones(5, 3, 4, 4)).square().sum().backward()
    for kept, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(kept.grad, expected.grad, rtol=0, atol=0)


def test_inputs_are_put_back() -> None:
    images = torch.ones(2, 3)
    with preserve(nn.Identity(), {"images": images}):
        images.mul_(2)
    torch.testing.assert_close(images, torch.ones(2, 3), rtol=0, atol=0)


def test_a_graph_the_user_still_holds_stays_valid() -> None:
    model = make_model().train()
    loss = model(torch.randn(5, 3, 4, 4)).sum()
    with preserve(model), torch.no_grad():
        model.eval()(torch.randn(5, 3, 4, 4))
    loss.backward()


@pytest.mark.parametrize("make", [lambda: nn.LazyLinear(3), lambda: nn.LazyBatchNorm1d()])
def test_a_lazy_module_that_is_initialized_inside_is_lazy_again(
    make: Callable[[], nn.Module],
) -> None:
    model = nn.Sequential(make())
    lazy_type = type(model[0])
    with preserve(model):
        model(torch.zeros(2, 4))
        assert type(model[0]) is not lazy_type
    assert type(model[0]) is lazy_type
    assert model[0].has_uninitialized_params()
    with preserve(model):
        pass
    y = model(torch.zeros(2, 5))
    assert len(y) == 2
    assert type(model[0]) is not lazy_type
    torch.testing.assert_close(model(torch.zeros(2, 5)).shape, y.shape)


def test_modules_in_plain_containers_are_found_once() -> None:
    model = nn.Module()
    inner = nn.ReLU()
    model.items = {"list": [inner, (inner,)]}
    model.items["itself"] = model.items
    model.registered = nn.Sequential(inner)
    assert sorted(map(id, modules_within(model))) == sorted(
        map(id, [model, inner, model.registered])
    )


@pytest.mark.parametrize("name", ["cuda", "xpu"])
def test_the_random_state_of_an_accelerator_in_use_is_put_back(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for accelerators that this machine lacks; the model itself is on none of them."""
    accelerator, states = getattr(torch, name), {"now": ["before"]}
    monkeypatch.setattr(accelerator, "is_initialized", lambda: True)
    monkeypatch.setattr(accelerator, "get_rng_state_all", lambda: states["now"])
    monkeypatch.setattr(accelerator, "set_rng_state_all", lambda new: states.update(now=new))
    with preserve(nn.Identity()):
        states["now"] = ["drawn from"]
    assert states["now"] == ["before"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_random_state_of_a_device_that_holds_only_the_input_is_put_back() -> None:
    x = torch.ones(3, device="cuda")
    before = torch.cuda.get_rng_state()
    with preserve(nn.Dropout(0.5), x):
        nn.functional.dropout(x)
        assert not torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(torch.cuda.get_rng_state(), before)
