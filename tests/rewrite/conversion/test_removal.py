from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import bnkit
from bnkit import remove
from bnkit.errors import RewriteError
from bnkit.rewrite import Change
from helpers.architectures import CASES
from helpers.healthy_architectures import HEALTHY


class PreActivation(nn.Module):
    """A block whose batch norms read sums of convolutions built without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv1(F.relu(self.norm1(x)))
        x = self.conv2(F.relu(self.norm2(x)))
        return self.head(x.mean((2, 3)))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)
        self.norm = nn.BatchNorm1d(3)
        self.again = self.norm

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.linear(self.norm(self.linear(x))))


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def materialized(model: nn.Module, x: Tensor) -> nn.Module:
    with torch.no_grad():
        model(x)
    return model


IMAGES = torch.randn(4, 3, 8, 8)
KINDS = {
    "sequential": (lambda: materialized(plain(), IMAGES), IMAGES),
    "pre-activation": (PreActivation, IMAGES),
    "shared": (Shared, torch.randn(5, 3)),
    "root": (lambda: nn.BatchNorm2d(3), IMAGES),
}


@pytest.mark.parametrize("case", KINDS)
def test_a_copy_leaves_the_original_untouched_and_undo_restores(case: str) -> None:
    make, x = KINDS[case]
    model = make()
    before, repr_before = state(model), repr(model)
    expected = copy.deepcopy(model).eval()(x)
    rewrite = remove(model, x)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in rewrite.model.modules())
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)
    assert repr(model) == repr_before
    restored = rewrite.undo()
    assert repr(restored) == repr_before
    torch.testing.assert_close(state(restored), before, rtol=0, atol=0)
    torch.testing.assert_close(restored.eval()(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("case", [case for case in KINDS if case != "root"])
def test_in_place_changes_the_model_and_undo_restores_it(case: str) -> None:
    make, x = KINDS[case]
    model = make()
    before, repr_before = state(model), repr(model)
    rewrite = remove(model, x, inplace=True)
    assert rewrite.model is model
    assert repr(model) != repr_before
    rewrite.undo()
    assert repr(model) == repr_before
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


def test_remaining_weights_are_equal_bit_for_bit() -> None:
    model = PreActivation()
    before = state(model)
    after = remove(model, IMAGES).model.state_dict()
    common = before.keys() & after.keys()
    assert common == {"stem.weight", "conv1.weight", "conv2.weight", "head.weight"}
    for key in common:
        assert torch.equal(before[key], after[key])


def test_feeding_layers_get_a_bias_of_zeros_and_others_do_not() -> None:
    removed = remove(PreActivation(), IMAGES).model
    assert removed.head.bias is None, "no batch norm reads the head"
    assert removed.conv2.bias is None, "no batch norm reads the last convolution"
    for layer in (removed.stem, removed.conv1):
        torch.testing.assert_close(layer.bias.detach(), torch.zeros(4), rtol=0, atol=0)
        assert layer.bias.requires_grad


@pytest.mark.parametrize("between", [nn.ReLU(), nn.PReLU(), nn.AvgPool2d(2), nn.Dropout2d(0.3)])
def test_feeding_layers_are_found_through_layers_that_apply_no_weights(between: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), between, nn.BatchNorm2d(4))
    assert remove(model, IMAGES).model[0].bias is not None


def test_a_normalized_input_has_its_own_bias_and_stops_the_search() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.GroupNorm(2, 4), nn.ReLU(), nn.BatchNorm2d(4)
    )
    assert remove(model, IMAGES).model[0].bias is None


def test_transposed_convolutions_get_one_bias_per_output_channel() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6))
    assert remove(model, IMAGES).model[0].bias.shape == (6,)


def test_the_account_names_every_change() -> None:
    rewrite = remove(PreActivation(), IMAGES)
    assert [change.path for change in rewrite.changes] == ["norm1", "norm2", "stem", "conv1"]
    assert rewrite.difference is not None
    assert "norm1: batch norm removed" in str(rewrite)


def test_the_difference_is_measured() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1)).double()
    model[0].running_mean.fill_(3.0)
    x = torch.zeros(2, 1, dtype=torch.float64)
    rewrite = remove(model, x)
    assert rewrite.difference == pytest.approx(3 / (1 + 1e-5) ** 0.5)


def test_modes_and_random_state_are_left_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[0].eval()
    random_state = torch.get_rng_state()
    remove(model, torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(random_state, torch.get_rng_state())
    assert [m.training for m in model] == [False, True, True]


class Fused(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.norm(x), None, None, training=True)


class ReadsWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) * self.norm.weight.mean()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "no batch norm"),
        (nn.Sequential(Fused(3)), "0: is a Fused, a batch norm with a forward of its own"),
        (Functional(), "calls batch norm as a function"),
        (ReadsWeight(), "must not read a batch norm's parameters"),
        (
            nn.Sequential(nn.Conv2d(7, 4, 3), nn.BatchNorm2d(4)),
            "raised RuntimeError on the example",
        ),
    ],
)
@pytest.mark.parametrize("inplace", [False, True])
def test_what_cannot_be_proved_is_refused_and_nothing_is_changed(
    model: nn.Module, words: str, inplace: bool
) -> None:
    before, repr_before = state(model), repr(model)
    with pytest.raises(RewriteError, match=words):
        remove(model, IMAGES, inplace=inplace)
    assert repr(model) == repr_before
    torch.testing.assert_close(state(model), before, rtol=0, atol=0)


class TakesPixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, *, pixels: Tensor) -> Tensor:
        FORWARDS.append(1)
        return self.norm(pixels)


FORWARDS: list[int] = []


def test_an_example_can_be_keyword_arguments() -> None:
    assert remove(TakesPixels(), {"pixels": IMAGES}).changes == [
        Change("norm", "batch norm removed")
    ]


def test_four_forwards_are_run() -> None:
    FORWARDS.clear()
    remove(TakesPixels(), {"pixels": IMAGES})
    assert len(FORWARDS) == 4
    assert "Cost: four forwards" in (remove.__doc__ or "")


def test_what_is_skipped_stands_in_the_account() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    model[0].register_forward_hook(lambda *_: None)
    assert "0: skipped, the hooks" in str(remove(model, IMAGES))


def test_what_a_layer_fused_stays_when_its_batch_norm_goes() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.norm = bnkit.BatchNormAct2d(3, "leaky_relu", negative_slope=0.2)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x), x)

    x = torch.randn(4, 3, 8, 8)
    block = Block()
    removed = remove(block, x)
    expected = nn.functional.leaky_relu(block.conv(x) + x, 0.2)
    torch.testing.assert_close(removed.model(x), expected)
    torch.testing.assert_close(removed.undo()(x), block(x))


NETWORKS = {**HEALTHY, **{name: case for name, case in CASES.items() if name not in HEALTHY}}
# All of whose batch norms stand beside a conv or linear layer of its own in eval mode.
ALL_FOLD = {
    *("resnet", "vgg", "mobilenet-v2", "mobilenet-v3", "efficientnet", "unet-2d", "unet-3d"),
    *("pointnet", "discriminator", "data-parallel", "graph-module", "shufflenet"),
    *("resnet-bottleneck", "mobilenet-v3-excite", "efficientnet-stochastic-depth", "generator"),
    *("inception-branches", "audio", "conformer", "mlp", "video"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_with_scales_folded_eval_mode_gives_what_it_gave(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = NETWORKS[name].build(), NETWORKS[name].example()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    draw(norms)
    rewrite = remove(model, x, fold_scale=True)
    folded = [c.path for c in rewrite.changes if "its scale and shift folded" in c.what]
    left = [s.reason for s in rewrite.skipped if "without folding its scale, because" in s.reason]
    assert len(folded) + len(left) == len(norms)
    assert (name in ALL_FOLD) == (not left)
    assert not any(isinstance(m, type(norms[0])) for m in rewrite.model.modules())
    assert rewrite.relative_difference is not None
    if all("never ran" in reason for reason in left):
        assert rewrite.relative_difference < 1e-5
    else:
        assert rewrite.relative_difference > 1e-4
    before, after = state(model), state(rewrite.undo())
    torch.testing.assert_close(before, after, rtol=0, atol=0)


def draw(norms: Iterable[nn.Module]) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in norms:
            for tensor in (layer.weight, layer.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (layer.bias, layer.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)


@given(
    data=st.data(),
    axes=st.integers(0, 3),
    transposed=st.booleans(),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    affine=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_pair_folds_exactly(
    data: st.DataObject, axes: int, transposed: bool, groups: int, bias: bool, affine: bool
) -> None:
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    kinds = kinds if transposed else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    channels = groups * data.draw(st.integers(1, 3))
    options = {"groups": groups, "bias": bias, "padding": data.draw(st.integers(0, 1))}
    linear = nn.Linear(4, channels, bias=bias)
    if axes:
        linear = kinds[axes - 1](4, channels, 2, **options)
    norm = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][axes](
        channels, affine=affine
    )
    model = nn.Sequential(linear, norm).double().eval()
    if affine:
        draw([norm])
    norm.running_mean.normal_(10, 3)
    norm.running_var.uniform_(1e-3, 30)
    x = torch.randn(3, 4, *[3] * axes, dtype=torch.float64)
    rewrite = remove(model, x, fold_scale=True)
    torch.testing.assert_close(rewrite.model(x), model(x), rtol=1e-12, atol=1e-12)
    assert not rewrite.skipped


class Unfoldable(nn.Module):
    """One of everything of which folding the scale would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(6))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(6))
        self.convs[1].weight = self.convs[5].weight
        self.convs[2].register_forward_hook(lambda *_: None)
        nn.utils.parametrizations.spectral_norm(self.convs[3])
        self.norms[4] = nn.BatchNorm2d(3, track_running_stats=False)
        self.tokens, self.token_norm = nn.Linear(8, 8), nn.BatchNorm1d(24)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convs[0](x)
        x = self.norms[0](y) + y
        for number in range(1, 5):
            x = self.norms[number](self.convs[number](x))
        x = self.norms[5](F.relu(self.convs[5](x)))
        return self.token_norm(self.tokens(x).flatten(1, 2))


def test_what_does_not_fold_is_removed_with_the_reason() -> None:
    rewrite = remove(Unfoldable(), IMAGES, fold_scale=True)
    found = {s.path: s.reason for s in rewrite.skipped if "without folding" in s.reason}
    expected = {
        "norms.0": "the output of convs.0 goes to norms.0 and torch.Tensor.add",
        "norms.1": "weight of convs.1 is tied to convs.5.weight",
        "norms.2": "convs.2 has a hook",
        "norms.4": "has no running statistics",
        "norms.5": "the channels of tokens lie on the last axis",
        "token_norm": "no conv or linear layer stands next to it",
    }
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        assert words in found[path]
    folded = [change for change in rewrite.changes if "folded" in change.what]
    assert folded == [Change("norms.3", "its scale and shift folded into convs.4")]


def test_biases_are_left_out_where_they_are_not_wanted() -> None:
    rewrite = remove(PreActivation(), IMAGES, restore_bias=False)
    assert rewrite.model.stem.bias is None
    assert [change.path for change in rewrite.changes] == ["norm1", "norm2"]


class ActivatesWhenCalled(nn.BatchNorm2d):
    def __call__(self, x: Tensor) -> Tensor:
        return F.relu(super().__call__(x))


def test_what_runs_when_a_layer_is_called_is_never_stripped() -> None:
    replaced = nn.Sequential(nn.BatchNorm2d(3))
    replaced[0].forward = lambda x: F.relu(nn.BatchNorm2d.forward(replaced[0], x))
    with pytest.raises(RewriteError, match="0: has forward replaced on the object"):
        remove(replaced, IMAGES)
    with pytest.raises(RewriteError, match="0: is a ActivatesWhenCalled"):
        remove(nn.Sequential(ActivatesWhenCalled(3)), IMAGES)
