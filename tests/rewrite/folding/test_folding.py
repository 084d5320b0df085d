"""fold: right where it folds, and what it says."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import bnkit
from bnkit.errors import ArgumentError, BnkitError, RewriteError
from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.trace import as_call
from bnkit.rewrite import Rewrite
from helpers.drawn import drawn
from helpers.healthy_architectures import HEALTHY


def fused_by_torch(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what importing it uses is deprecated
        from torch.fx.experimental.optimization import fuse
    return fuse(model)


def norms_in(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


def difference(one: nn.Module, other: nn.Module, example: Any) -> float:
    """Return the largest difference of the outputs, in units of the largest output."""
    args, kwargs = as_call(example)
    with torch.no_grad():
        pairs = zip(
            tensors_in(one(*copy.deepcopy(args), **copy.deepcopy(kwargs))),
            tensors_in(other(*copy.deepcopy(args), **copy.deepcopy(kwargs))),
            strict=True,
        )
        return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs)


def folded_all(model: nn.Module, example: Tensor, **options: Any) -> Rewrite:
    """Return the rewrite, all of whose batch norms must have been folded rightly."""
    rewrite = bnkit.fold(model, example, **options)
    assert not rewrite.skipped, str(rewrite)
    assert norms_in(rewrite.model) == 0
    limit = 1e-12 if example.dtype == torch.float64 else 1e-5
    assert difference(model, rewrite.model, example) <= limit
    return rewrite


# Batch norms that each of the well-known architectures keeps, of those that could be thought of.
LEFT = {
    "densenet": 3,  # before concatenations' outputs go into ReLU
    "inception": 1,  # the auxiliary head, which runs in training alone
    "deeplab": 5,  # a backbone's layers that it does not use
    "resnet-pre-activation": 3,
    "densenet-bc": 5,
    "gan-pair": 1,  # the discriminator runs twice
    "detector": 2,  # heads with one conv for all scales
    "repvgg": 1,  # the branch that is a batch norm alone
}


@pytest.mark.parametrize("name", HEALTHY)
def test_well_known_architectures(name: str) -> None:
    torch.manual_seed(0)
    model, example = drawn(HEALTHY[name].build()), HEALTHY[name].example()
    rewrite = bnkit.fold(model, example)
    assert norms_in(rewrite.model) == LEFT.get(name, 0)
    assert difference(model, rewrite.model, example) <= 1e-5
    assert rewrite.relative_difference is not None
    assert rewrite.relative_difference <= 1e-5
    folded = sum("folded into" in change.what for change in rewrite.changes)
    assert folded + len(rewrite.skipped) == norms_in(model)


class TwoNorms(nn.Module):
    """One conv that feeds two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.one(y) + self.two(y)


class OneConvCalledTwice(TwoNorms):
    def forward(self, x: Tensor) -> Tensor:
        return self.one(self.conv(x)) + self.two(self.conv(x))


def test_one_conv_that_feeds_two_batch_norms_which_fuse_gets_wrong() -> None:
    x = torch.randn(4, 3, 8, 8)
    called_twice = drawn(OneConvCalledTwice())
    assert difference(called_twice, fused_by_torch(called_twice), x) > 0.1
    for model, reason in (
        (drawn(TwoNorms()), "the output of conv goes to one and two"),
        (called_twice, "conv is shared: it runs 2 times in a forward"),
    ):
        rewrite = bnkit.fold(model, x)
        assert not rewrite.changes
        assert [item.path for item in rewrite.skipped] == ["one", "two"]
        assert reason in rewrite.skipped[0].reason
        assert rewrite.difference == 0


def test_linear_before_batch_norm_on_three_axes_which_fuse_gets_wrong() -> None:
    model, x = drawn(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6))), torch.randn(4, 6, 5)
    assert difference(model, fused_by_torch(model), x) > 0.1
    rewrite = bnkit.fold(model, x)
    assert rewrite.difference == 0
    assert "the channels of 0 lie on the last axis" in rewrite.skipped[0].reason
    folded_all(model, torch.randn(4, 5))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_affine_or_not_and_bias_or_not(affine: bool, bias: bool) -> None:
    pair = nn.Linear(5, 6, bias=bias), nn.BatchNorm1d(6, affine=affine)
    model = drawn(nn.Sequential(*pair))
    if not affine:
        with pytest.raises((AttributeError, TypeError, RuntimeError)):
            fuse_linear_bn_eval(model[0], model[1])
    rewrite = folded_all(model, torch.randn(8, 5))
    assert rewrite.added_keys == (() if bias else ("0.bias",))
    assert "1.running_mean" in rewrite.removed_keys


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_a_batch_norm_without_weight_or_bias(missing: str) -> None:
    model = drawn(nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)))
    setattr(model[1], missing, None)
    folded_all(model, torch.randn(2, 3, 9))


def test_grouped_transposed_convs_which_fuse_refuses() -> None:
    for rank, kind, norm in (
        (1, nn.ConvTranspose1d, nn.BatchNorm1d),
        (2, nn.ConvTranspose2d, nn.BatchNorm2d),
        (3, nn.ConvTranspose3d, nn.BatchNorm3d),
    ):
        model = drawn(nn.Sequential(kind(4, 6, 3, 2, 1, groups=2), norm(6)))
        with pytest.raises(RuntimeError):
            fuse_conv_bn_eval(model[0], model[1], transpose=True)
        folded_all(model, torch.randn(2, 4, *(5,) * rank))


def test_a_batch_norm_before_a_padded_conv() -> None:
    model, x = drawn(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1))), None
    x = torch.randn(2, 3, 9, 8)
    rewrite = bnkit.fold(model, x)
    assert "pads with zeros" in rewrite.skipped[0].reason
    # What folding it as if nothing were padded gives: right inside, wrong on the border.
    inside = copy.deepcopy(model)
    inside[1].padding = (0, 0)
    plain = bnkit.fold(inside, x).model
    plain[1].padding = (1, 1)
    with torch.no_grad():
        off = (plain(x) - model(x)).abs()
    assert off[..., 1:-1, 1:-1].max() < 1e-5
    assert off.max() > 0.05
    corrected = folded_all(model, x, border="correct")
    assert "with a correction of the border" in corrected.changes[0].what
    for size in ((1, 1), (5, 12), (20, 3)):
        assert difference(model, corrected.model, torch.randn(2, 3, *size)) <= 1e-5


def test_a_batch_norm_before_a_padded_conv_whose_shift_is_zero_is_exact() -> None:
    model = drawn(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)))
    nn.init.zeros_(model[0].running_mean)
    nn.init.zeros_(model[0].bias)
    folded_all(model, torch.randn(2, 3, 9, 8))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_that_repeats_values_is_exact(mode: str) -> None:
    conv = nn.Conv2d(4, 6, 3, 2, padding=2, groups=2, padding_mode=mode)
    folded_all(drawn(nn.Sequential(nn.BatchNorm2d(4), conv)), torch.randn(2, 4, 9, 8))


@pytest.mark.parametrize("padding", ["valid", "same", 0])
def test_paddings_by_name(padding: Any) -> None:
    model = drawn(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=padding)))
    x = torch.randn(2, 4, 9, 8)
    assert bool(bnkit.fold(model, x).skipped) == (padding == "same")
    folded_all(model, x, border="correct")


def test_chains_are_folded_one_after_the_other() -> None:
    layers = (nn.BatchNorm1d(5), nn.Linear(5, 6), nn.Identity(), nn.BatchNorm1d(6))
    more = (nn.BatchNorm1d(6), nn.ReLU(), nn.BatchNorm1d(6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    model = drawn(nn.Sequential(*layers, *more).double())
    rewrite = folded_all(model, torch.randn(8, 5, dtype=torch.float64))
    assert [c.path for c in rewrite.changes] == ["0", "3", "4", "7", "6"]


def test_two_batch_norms_before_a_padded_conv() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    layers = (nn.BatchNorm2d(4), nn.BatchNorm2d(4), conv, nn.BatchNorm2d(4))
    folded_all(drawn(nn.Sequential(*layers)), torch.randn(2, 4, 5, 6), border="correct")


def test_of_a_fused_layer_the_addition_and_the_activation_stay() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), bnkit.BatchNormAct2d(3, "relu6")

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x), x)  # type: ignore[no-any-return]

    folded_all(drawn(Block()), 4 * torch.randn(2, 3, 5, 5))
    fused_first = nn.Sequential(bnkit.BatchNormAct2d(3), nn.Conv2d(3, 4, 1))
    rewrite = bnkit.fold(drawn(fused_first), torch.randn(2, 3, 5, 5))
    assert "an activation stands between" in rewrite.skipped[0].reason


@pytest.mark.parametrize("kind", [bnkit.BatchNorm2d, nn.SyncBatchNorm])
def test_other_batch_norms(kind: type[nn.Module]) -> None:
    folded_all(drawn(nn.Sequential(nn.Conv2d(3, 4, 3), kind(4))), torch.randn(2, 3, 5, 5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_dtype(dtype: torch.dtype) -> None:
    model = drawn(nn.Sequential(nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6)).to(dtype))
    x = torch.randn(2, 8, 7, 7, dtype=dtype)
    rewrite = bnkit.fold(model, x)
    assert not rewrite.skipped, str(rewrite)
    assert {p.dtype for p in rewrite.model.parameters()} == {dtype}
    with torch.no_grad():
        exact, found = copy.deepcopy(model).double()(x.double()), rewrite.model(x).double()
    assert (found - exact).abs().max() <= 4 * torch.finfo(dtype).eps * exact.abs().max()


def test_what_float16_cannot_hold_is_left() -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).half())
    model[1].running_var.fill_(0.0)
    model[1].eps = 1e-12
    rewrite = bnkit.fold(model, torch.zeros(1, 3, 2, 2).half())
    assert "not finite in float16" in rewrite.skipped[0].reason
    assert not rewrite.changes


def test_variances_of_almost_nothing_count_eps() -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=1e-3)))
    model[1].running_var.copy_(torch.tensor([0.0, 1e-20, 1e-3, 1.0]))
    folded_all(model, torch.randn(2, 3, 5, 5))


def test_layers_choose_batch_norms_or_what_they_go_into() -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
                                nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))  # fmt: skip
    x = torch.randn(2, 3, 9, 9)
    for layers, path in (("1", "1"), ("0", "1"), (["4"], "4"), ("3", "4")):
        rewrite = bnkit.fold(model, x, layers=layers)
        assert [c.path for c in rewrite.changes] == [path]
        assert not rewrite.skipped
    with pytest.raises(RewriteError, match=r"The nearest are"):
        bnkit.fold(model, x, layers="layer9")


@pytest.mark.parametrize(
    ("prepare", "example", "options", "message"),
    [
        (nn.Module.train, torch.zeros(1, 3, 5, 5), {}, r"Call model\.eval\(\) first"),
        (nn.Module.eval, None, {}, "no example"),
        (nn.Module.eval, torch.zeros(1, 2, 5, 5), {}, "raised RuntimeError on the example"),
        (nn.Module.eval, torch.zeros(1, 3, 5, 5), {"border": "pad"}, "border is 'pad'"),
        (lambda m: m.eval().to("meta"), torch.zeros(1, 3, 5, 5), {}, "on the meta device"),
        (lambda m: m.__setitem__(1, nn.ReLU()), torch.zeros(1, 3, 5, 5), {}, "no batch norm"),
    ],
)
def test_bad_input(prepare: Any, example: Any, options: Any, message: str) -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    prepare(model)
    with pytest.raises(BnkitError, match=message):
        bnkit.fold(model, example, **options)


def test_no_example_is_an_argument_error() -> None:
    with pytest.raises(ArgumentError, match="Give example_args"):
        bnkit.fold(drawn(nn.Sequential(nn.BatchNorm2d(3))))


@pytest.mark.parametrize(
    ("example", "options", "message"),
    [
        (torch.zeros(0, 3, 5, 5), {}, r"without samples, of shape \(0, 3, 5, 5\)"),
        ((torch.zeros(2, 3, 0, 5),), {}, "without samples"),
        (torch.zeros(1, 3, 5, 5), {"layers": []}, "holds no pattern"),
    ],
)
def test_what_proves_or_chooses_nothing_is_refused(
    example: Any, options: Any, message: str
) -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    with pytest.raises(ArgumentError, match=message):
        bnkit.fold(model, example, **options)


def test_outputs_without_values_prove_nothing() -> None:
    class Chosen(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x)
            return y[y > 1e9]

    model = drawn(Chosen(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    with pytest.raises(RewriteError, match="outputs on the example hold no values"):
        bnkit.fold(model, torch.randn(1, 3, 5, 5))


def test_torchscript_and_lazy_modules_are_refused() -> None:
    pair = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    x = torch.zeros(1, 3, 5, 5)
    with pytest.warns(DeprecationWarning), pytest.raises(RewriteError, match="is TorchScript"):
        bnkit.fold(torch.jit.script(pair), x)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4)).eval()
    with pytest.raises(RewriteError, match="uninitialized"):
        bnkit.fold(lazy, x)


@pytest.mark.parametrize("border", ["refuse", "correct"])
def test_the_result_can_be_exported(border: Any, tmp_path: Path) -> None:
    model = drawn(
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    )
    x = torch.randn(2, 3, 9, 8)
    rewrite = bnkit.fold(model, x, border=border)
    rewrite.save(tmp_path / "folded.pt2", x)
    program = torch.export.load(tmp_path / "folded.pt2").module()
    more = torch.randn(5, 3, 9, 8)
    torch.testing.assert_close(program(more), rewrite.model(more))


def test_it_says_that_the_result_is_for_inference() -> None:
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    assert "for inference" in str(bnkit.fold(model, torch.randn(1, 3, 5, 5)))
