from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import bnkit
from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.kernels import kernel_named

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def plain() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2)
    )


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


EXAMPLES = {"without example": None, "with example": IMAGES}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_a_copy_leaves_the_original_untouched_and_undo_restores(example: Tensor | None) -> None:
    model = plain()
    before, shown, random_state = state(model), repr(model), torch.get_rng_state()
    rewrite = bnkit.accelerate(model, example)
    assert torch.equal(random_state, torch.get_rng_state())
    assert repr(model) == shown
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)
    torch.testing.assert_close(state(rewrite.model), before, rtol=0, atol=0)
    assert type(rewrite.model) is nn.Sequential
    assert type(rewrite.model[1]) is bnkit.BatchNormAct2d
    assert type(rewrite.model[2]) is nn.Identity
    assert type(rewrite.model[4]) is bnkit.BatchNorm2d
    restored = rewrite.undo()
    assert repr(restored) == shown
    assert [vars(m).keys() for m in restored.modules()] == [vars(m).keys() for m in model.modules()]
    torch.testing.assert_close(restored(IMAGES), model(IMAGES), rtol=0, atol=0)


def test_in_place_objects_stay_themselves_and_an_optimizer_goes_on() -> None:
    model, reference = plain(), plain()
    seen: list[tuple[int, ...]] = []
    model[4].register_forward_hook(lambda _, __, y: seen.append(tuple(y.shape)))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, reference)]
    layers, parameters = list(model.modules()), list(model.parameters())
    rewrite = bnkit.accelerate(model, IMAGES, inplace=True)
    assert rewrite.model is model
    assert all(a is b for a, b in zip(layers, model.modules(), strict=True))
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    seen.clear()
    for _ in range(3):
        for network, optimizer in zip((model, reference), optimizers, strict=True):
            optimizer.zero_grad()
            network(IMAGES).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(state(model), state(reference))
    assert seen == [(4, 2, 4, 4)] * 3
    rewrite.undo()
    assert [type(m) for m in model] == [type(m) for m in reference]
    torch.testing.assert_close(model.eval()(IMAGES), reference.eval()(IMAGES))


def test_modes_gradients_flags_and_attributes_are_kept() -> None:
    model = plain()
    model[1].eval()
    model[1].weight.requires_grad_(False)
    model[4].note = "mine"
    model[4].weight.grad = torch.ones(2)
    changed = bnkit.accelerate(model, IMAGES, inplace=True).model
    assert [m.training for m in changed] == [True, False, True, True, True]
    assert not changed[1].weight.requires_grad
    assert changed[4].note == "mine"
    assert torch.equal(changed[4].weight.grad, torch.ones(2))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.BatchNorm2d(4, momentum=None, eps=0.1),
        nn.BatchNorm2d(4).requires_grad_(False),
    ],
)
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        # Two programs that no other test needs are compiled for it; the swap asks for no dtype.
        pytest.param(torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_layer_is_swapped(layer: nn.Module, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.LeakyReLU(0.2)).to(dtype)
    x = IMAGES.to(dtype)
    changed = bnkit.accelerate(model, x).model
    assert changed[1].activation == "leaky_relu"
    assert changed[1].negative_slope == 0.2
    for training in (True, False):
        before, after = (copy.deepcopy(m).train(training) for m in (model, changed))
        torch.testing.assert_close(after(x), before(x))


def test_copies_pickles_and_checkpoints_of_the_result_work() -> None:
    changed = bnkit.accelerate(plain()).model.eval()
    file = io.BytesIO()
    torch.save(changed, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(changed), pickle.loads(pickle.dumps(changed)), loaded):
        assert repr(other) == repr(changed)
        torch.testing.assert_close(other(IMAGES), changed(IMAGES), rtol=0, atol=0)
    plain().load_state_dict(changed.state_dict())


class Shared(nn.Module):
    """One batch norm under two names, in a plain list, and in a bound method."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.again = self.norm
        self.listed = [self.norm]
        self.call = self.norm.forward

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.listed[0](self.again(self.norm(x))))


def test_a_shared_layer_stays_one_object_wherever_it_is_held() -> None:
    rewrite = bnkit.accelerate(Shared(), IMAGES)
    changed = rewrite.model
    assert [change.path for change in rewrite.changes] == ["norm"]
    assert type(changed.norm) is bnkit.BatchNorm2d
    assert changed.norm is changed.again is changed.listed[0]
    torch.testing.assert_close(changed(IMAGES), Shared()(IMAGES))


class Positive(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return F.softplus(weight)


def test_a_parametrization_goes_on() -> None:
    model = plain()
    parametrize.register_parametrization(model[1], "weight", Positive())
    rewrite = bnkit.accelerate(model, IMAGES)
    changed = rewrite.model
    assert list(changed.state_dict()) == list(model.state_dict())
    assert isinstance(changed[1], bnkit.BatchNormAct2d)
    torch.testing.assert_close(copy.deepcopy(changed)(IMAGES), copy.deepcopy(model)(IMAGES))
    parametrize.remove_parametrizations(changed[1], "weight")
    assert type(changed[1]) is bnkit.BatchNormAct2d
    assert repr(bnkit.accelerate(model).undo()) == repr(model)


class Narrow(nn.BatchNorm2d):
    """Behaves as torch's: only its arguments are others."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)


class Fused(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class AnyRank(nn.BatchNorm2d):
    def _check_input_dim(self, x: Tensor) -> None:
        pass


def test_a_subclass_without_behaviour_of_its_own_keeps_its_class_and_is_swapped() -> None:
    model = nn.Sequential(Narrow(3), nn.ReLU())
    changed = bnkit.accelerate(model, IMAGES).model
    assert isinstance(changed[0], Narrow)
    assert isinstance(changed[0], bnkit.BatchNormAct2d)
    for other in (changed, copy.deepcopy(changed), pickle.loads(pickle.dumps(changed))):
        assert type(other[0]) is type(changed[0])
        torch.testing.assert_close(other(IMAGES), model(IMAGES))


def replaced_forward() -> nn.Module:
    layer = nn.BatchNorm2d(3)
    layer.forward = F.relu
    return layer


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Fused(3), "is a Fused, which has a forward of its own; derive it from bnkit.BatchNorm2d"),
        (AnyRank(3), "has a _check_input_dim of its own"),
        (nn.SyncBatchNorm(3), "is a SyncBatchNorm"),
        (nn.InstanceNorm2d(3), "is no batch norm"),
        (bnkit.BatchNormAct2d(3), "is bnkit's already"),
        (replaced_forward(), "has forward replaced on the object"),
        (torch.ao.nn.intrinsic.BNReLU2d(nn.BatchNorm2d(3), nn.ReLU()), "belongs to a BNReLU2d"),
        (torch.ao.nn.quantized.BatchNorm2d(3), "none of torch's BatchNorm1d, 2d and 3d"),
    ],
)
def test_what_may_behave_otherwise_is_left_alone_with_the_reason(
    layer: nn.Module, words: str
) -> None:
    model = nn.Sequential(layer, nn.ReLU(), nn.BatchNorm2d(3))
    rewrite = bnkit.accelerate(model)
    assert repr(rewrite.model[0]) == repr(layer)
    assert [change.path for change in rewrite.changes] == ["2"]
    assert [item.path.split(".")[0] for item in rewrite.skipped if words in item.reason] == ["0"]


def test_bnkits_own_plain_layers_get_their_activation_and_twice_changes_nothing() -> None:
    rewrite = bnkit.accelerate(nn.Sequential(bnkit.BatchNorm2d(3), nn.ReLU6()), IMAGES)
    assert rewrite.model[0].activation == "relu6"
    again = bnkit.accelerate(rewrite.model, IMAGES)
    assert again.changes == []
    assert "0: skipped, is bnkit's already" in str(again)


def test_a_layer_that_cannot_run_in_torch_either_is_left_alone() -> None:
    model = plain()
    model[1].weight = nn.Parameter(torch.ones(5))
    rewrite = bnkit.accelerate(model)
    assert type(rewrite.model[1]) is nn.BatchNorm2d
    assert "left alone, because on random input it raised: weight should" in str(rewrite)


def test_a_layer_that_has_diverged_is_swapped_as_it_is() -> None:
    model = plain()
    model[1].running_var.fill_(float("nan"))
    assert len(bnkit.accelerate(model, IMAGES).changes) == 4


def test_the_meta_device_has_nothing_to_check() -> None:
    rewrite = bnkit.accelerate(plain().to("meta"))
    assert type(rewrite.model[4]) is bnkit.BatchNorm2d
    assert "swapped without a check" in str(rewrite)


def scripted() -> nn.Module:
    with pytest.warns(DeprecationWarning):
        return nn.Sequential(torch.jit.script(nn.Sequential(nn.BatchNorm2d(3))), nn.BatchNorm2d(3))


def test_torchscript_is_left_alone_and_cannot_be_traced() -> None:
    model = scripted()
    rewrite = bnkit.accelerate(model, inplace=True)
    assert [item.path for item in rewrite.skipped] == ["0.0"]
    assert type(model[1]) is bnkit.BatchNorm2d
    with pytest.raises(RewriteError, match=r"0: is TorchScript.*Leave out example_args"):
        bnkit.accelerate(model, IMAGES)


class ReadsClass(nn.Module):
    """Gives something else once its layer is of another class."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.norm(x))
        return y if type(self.norm) is nn.BatchNorm2d else 1.001 * y


class ReadsActivation(ReadsClass):
    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.norm(x))
        return y if isinstance(self.activation, nn.ReLU) else y - 1e-3


def test_fusions_after_which_the_network_differs_are_taken_back() -> None:
    model = ReadsActivation()
    rewrite = bnkit.accelerate(model, IMAGES)
    assert [type(m) for m in rewrite.model.children()] == [bnkit.BatchNorm2d, nn.ReLU]
    assert "norm: skipped, not fused with its ReLU, because then output 0 in eval mode differs" in (
        str(rewrite)
    )
    assert rewrite.difference is not None
    assert rewrite.difference < 1e-5
    assert repr(rewrite.undo()) == repr(model)


def broken_forward() -> nn.Module:
    return nn.Sequential(nn.Conv2d(7, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("make", "example", "words"),
    [
        (lambda: nn.Sequential(nn.LayerNorm(2)), None, "has no batch norm, only LayerNorm"),
        (lambda: nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d()), None, "uninitialized"),
        (broken_forward, IMAGES, "^0: the network raised RuntimeError on the example: Given group"),
        (plain, IMAGES.to("meta"), "is on cpu|on device cpu|device"),
        (ReadsClass, IMAGES, "with bnkit's layers output 0 in eval mode differs by"),
    ],
)
@pytest.mark.parametrize("inplace", [False, True])
def test_what_cannot_be_made_fast_is_refused_and_nothing_is_changed(
    make: Callable[[], nn.Module], example: Tensor | None, words: str, inplace: bool
) -> None:
    model = make()
    shown = repr(model)
    with pytest.raises(RewriteError, match=words):
        bnkit.accelerate(model, example, inplace=inplace)
    assert repr(model) == shown


@pytest.mark.parametrize(
    ("model", "example", "words"),
    [
        (lambda x: x, None, "model is a function"),
        (nn.BatchNorm2d, None, "model is the class BatchNorm2d.*Make an object"),
        (plain(), 3, "example_args is a int"),
    ],
)
def test_arguments_of_another_type_are_refused(model: Any, example: Any, words: str) -> None:
    with pytest.raises(ArgumentTypeError, match=words):
        bnkit.accelerate(model, example)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(context: Callable[[], Any]) -> None:
    with context():
        rewrite = bnkit.accelerate(plain(), IMAGES)
    assert [change.path for change in rewrite.changes] == ["1", "4", "1", "2"]
    assert rewrite.skipped == []


def test_one_value_per_channel_is_compared_in_eval_mode_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    rewrite = bnkit.accelerate(model, torch.randn(1, 3))
    assert type(rewrite.model[1]) is bnkit.BatchNormAct1d
    assert "not compared in training mode, where the network raised: Expected more" in str(rewrite)


def test_a_compiled_network_is_accelerated_and_compiled_anew() -> None:
    program = Path(__file__).with_name("accelerated_and_compiled.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all compiled\n"


@pytest.mark.parametrize("example", [None, torch.randn(2, 3, 16, 16)], ids=["alone", "example"])
def test_a_wrong_kernel_is_found_though_the_check_is_small(
    monkeypatch: pytest.MonkeyPatch, example: Tensor | None
) -> None:
    kernel = type(kernel_named("numba"))
    right = kernel.fused_forward

    def wrong(*arguments: Any, **keywords: Any) -> Any:
        found = right(*arguments, **keywords)
        return found._replace(y=found.y * 1.001)

    monkeypatch.setattr(kernel, "fused_forward", wrong)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    with pytest.raises(RewriteError, match=r"differs from torch's by .* \(kernel numba\)"):
        bnkit.accelerate(model, example)
