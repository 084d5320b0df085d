"""`bnkit.watch`: what it leaves behind, which is nothing, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnkit
from bnkit.errors import CheckError
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.trace import as_call
from helpers.architectures import CASES as ARCHITECTURES
from helpers.rule_case import conv_net, images
from helpers.watched import Net, backward, finish, loss_of, plain


def marks(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    hooks = [
        {key: list(value) for key, value in vars(module).items() if "hook" in key and value}
        for module in model.modules()
    ]
    own = {key: list(value) for key, value in vars(optimizer).items() if "hook" in key}
    of_tensors = [
        (p._backward_hooks, p._post_accumulate_grad_hooks, p.requires_grad)
        for p in model.parameters()
    ]
    modes = [module.training for module in model.modules()]
    names = [sorted(vars(module)) for module in model.modules()]
    return hooks, own, of_tensors, modes, names


@pytest.mark.parametrize("raises", [False, True])
def test_it_leaves_no_marks(raises: bool) -> None:
    model = Net(use_reentrant=False)
    optimizer = torch.optim.Adam(model.parameters())
    plain(model, optimizer)
    before, random = marks(model, optimizer), torch.get_rng_state()
    if raises:
        with pytest.raises(ValueError, match="mine"), bnkit.watch(model, optimizer) as watched:
            plain(model, optimizer)
            raise ValueError("mine")
    else:
        with bnkit.watch(model, optimizer) as watched:
            plain(model, optimizer)
    assert marks(model, optimizer) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert [finding.code for finding in watched.report.findings] == ["BN306", "BN306"]


def test_a_watched_loop_computes_what_it_computes_without() -> None:
    results = []
    for is_watched in (False, True):
        torch.manual_seed(0)
        model = Net(use_reentrant=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if is_watched:
            with bnkit.watch(model, optimizer):
                for _ in range(3):
                    plain(model, optimizer)
        else:
            for _ in range(3):
                plain(model, optimizer)
        results.append(copy.deepcopy(model.state_dict()))
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_other_hooks_stay() -> None:
    model, calls = Net(), []
    model.body[1].register_forward_hook(lambda *_: calls.append(1))
    parameter = model.head.weight
    parameter.register_post_accumulate_grad_hook(lambda _: calls.append(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with bnkit.watch(model, optimizer):
        plain(model, optimizer)
    plain(model, optimizer)
    assert sorted(calls) == [1, 1, 2, 2]


def test_without_a_step_the_rules_are_not_run() -> None:
    model = Net()
    with bnkit.watch(model, torch.optim.SGD(model.parameters(), lr=0.1)) as watched:
        backward(model)
    assert watched.steps is None
    assert {item.code for item in watched.report.not_run} >= {"BN305", "BN306"}


def test_accumulation_is_seen_and_told_as_bn505() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with bnkit.watch(model, optimizer) as watched:
        for _ in range(2):
            backward(model)
            backward(model)
            finish(optimizer)
        assert watched.report.findings  # within the loop too
    assert watched.steps is not None
    assert watched.steps.accumulated == (2, 2)
    assert {finding.code for finding in watched.report.findings} == {"BN505"}
    report = bnkit.check(model, steps=watched.steps, select="BN3")
    assert {"BN305", "BN306"} <= set(report.ran)


def test_accumulation_with_scaled_gradients_and_several_losses() -> None:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    with bnkit.watch(model, optimizer, accumulation_steps=3) as watched:
        for _ in range(3):
            backward(model)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        finish(optimizer)
    assert {finding.code for finding in watched.report.findings} == {"BN505"}


def test_a_forward_that_raises_is_told_apart() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with bnkit.watch(model, optimizer) as watched:
        for _ in range(2):
            with pytest.raises(RuntimeError):
                model(torch.ones(1))
            plain(model, optimizer)
    assert watched.report.findings == ()
    assert watched.steps is not None
    assert watched.steps.layers[0].updates == (1, 1)


def test_layers_without_a_counter_and_compiled_calls_are_counted() -> None:
    model = nn.Sequential(conv_net(), nn.Conv2d(5, 2, 1))
    model[0][1].num_batches_tracked = None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    unhooked = model[0][4]
    with bnkit.watch(model, optimizer) as watched:
        for _ in range(2):
            x = model[0][3](model[0][:3](images()))
            # As compiled code does, past the hooks.
            model[1](unhooked.forward(x)).sum().backward()
            finish(optimizer)
    assert watched.steps is not None
    assert [layer.updates for layer in watched.steps.layers] == [(1, 1), (1, 1)]
    assert watched.report.findings == ()


class Wrapped(torch.optim.Optimizer):
    """As the optimizers of libraries for mixed precision: it holds the one that steps."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.optimizer = inner

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)


def test_a_wrapped_optimizer_is_watched() -> None:
    model = Net(use_reentrant=False)
    optimizer = Wrapped(torch.optim.SGD(model.parameters(), lr=0.1))
    with bnkit.watch(model, optimizer) as watched:
        plain(model, optimizer)
    assert {finding.code for finding in watched.report.findings} == {"BN306"}


def test_statistics_that_come_and_go_are_not_written() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    layer = model.body[4]
    held = layer.running_mean, layer.running_var, layer.num_batches_tracked
    with bnkit.watch(model, optimizer) as watched:
        layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        plain(model, optimizer)
        layer.running_mean, layer.running_var, layer.num_batches_tracked = held
        model.double()
        backward(model, images().double())
        finish(optimizer)
    assert watched.report.findings == ()


def test_a_silence_counts() -> None:
    model = Net(use_reentrant=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    silence = [{"code": "BN306", "layer": "*", "reason": "memory"}]
    with bnkit.watch(model, optimizer, silence=silence) as watched:
        plain(model, optimizer)
    assert watched.report.exit_code == 0
    assert {finding.silenced for finding in watched.report.findings} == {"memory"}


def test_what_cannot_be_watched_is_refused() -> None:
    model = conv_net()
    with pytest.raises(CheckError, match="optimizer is a int"):
        bnkit.watch(model, 3)
    with pytest.raises(CheckError, match="model is a int"):
        bnkit.watch(3, torch.optim.SGD(model.parameters()))  # type: ignore[arg-type]
    watched = bnkit.watch(model, torch.optim.SGD(model.parameters()))
    with watched:
        pass
    with pytest.raises(CheckError, match="was entered before"), watched:
        pass


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "recurrent"])
def test_well_known_architectures_train_without_findings(name: str) -> None:
    torch.manual_seed(0)
    model = ARCHITECTURES[name].build().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with bnkit.watch(model, optimizer) as watched:
        for _ in range(2):
            args, kwargs = as_call(ARCHITECTURES[name].example())
            losses = [loss_of(y) for y in tensors_in(model(*args, **kwargs)) if y.requires_grad]
            sum(losses, torch.zeros(())).backward()
            finish(optimizer)
    assert watched.report.findings == ()


def test_compiled_models_are_counted() -> None:
    model = Net()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with bnkit.watch(compiled, optimizer) as watched:
        for _ in range(2):
            loss_of(compiled(images())).backward()
            finish(optimizer)
    assert watched.report.findings == ()
    assert watched.steps is not None
    assert watched.steps.layers[0].updates == (1, 1)


def test_a_model_without_batch_norm_is_fine() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with bnkit.watch(model, optimizer) as watched:
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    assert watched.report.exit_code == 0
    assert not any(isinstance(module, _BatchNorm) for module in model.modules())
