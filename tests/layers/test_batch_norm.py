"""The layers' own: construction, mistakes with torch's types, tools that must keep working."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import bnkit
from bnkit.errors import ArgumentError, BnkitError
from bnkit.layers import batch_norm as module

PAIRS = [
    (bnkit.BatchNorm1d, nn.BatchNorm1d),
    (bnkit.BatchNorm2d, nn.BatchNorm2d),
    (bnkit.BatchNorm3d, nn.BatchNorm3d),
]
X = torch.randn(2, 3, 4, 4)


def error_of(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # the tests compare its type
        function()
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((-1,), {}, "num_features=-1; it must not be negative"),
        ((2.5,), {}, r"num_features=2\.5; it must be a whole number"),
        (("3",), {}, "num_features='3'; it must be a whole number"),
        ((None,), {}, "num_features=None"),
        ((True,), {}, "num_features=True"),
        ((3,), {"dtype": torch.int32}, r"dtype=torch\.int32; parameters need a floating-point"),
    ],
    ids=str,
)
def test_what_torch_cannot_build_has_torchs_type_and_our_words(
    arguments: tuple[Any, ...], keywords: dict[str, Any], message: str
) -> None:
    torchs = error_of(lambda: nn.BatchNorm2d(*arguments, **keywords))
    with pytest.raises(ArgumentError, match=f"^BatchNorm2d: got {message}") as caught:
        bnkit.BatchNorm2d(*arguments, **keywords)
    assert isinstance(caught.value, type(torchs))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"eps": -1.0}, r"eps=-1\.0; it must not be negative"),
        ({"eps": "a"}, "eps='a'; it must be a number"),
        ({"eps": None}, "eps=None; it must be a number"),
        ({"momentum": "a"}, "momentum='a'; it must be a number or None"),
    ],
    ids=str,
)
def test_what_torch_could_never_run_fails_at_construction(
    keywords: dict[str, Any], message: str
) -> None:
    torchs = error_of(lambda: nn.BatchNorm2d(3, **keywords)(X))
    with pytest.raises(ArgumentError, match=f"^BatchNorm2d: got {message}") as caught:
        bnkit.BatchNorm2d(3, **keywords)
    assert isinstance(caught.value, type(torchs))


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((0,), {}),
        ((-1,), {"affine": False, "track_running_stats": False}),
        ((3,), {"eps": 0.0}),
        ((3,), {"momentum": 2.0}),
        ((3,), {"momentum": -1}),
        ((3,), {"eps": torch.tensor(1e-3)}),
        ((3,), {"eps": float("nan")}),
        ((3,), {"bias": False}),
    ],
    ids=str,
)
def test_what_torch_accepts_is_legal(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    assert repr(bnkit.BatchNorm2d(*arguments, **keywords)) == repr(
        nn.BatchNorm2d(*arguments, **keywords)
    )


def test_an_error_that_construction_cannot_explain_comes_through() -> None:
    with pytest.raises(RuntimeError, match="nowhere") as caught:
        bnkit.BatchNorm2d(3, device="nowhere")
    assert not isinstance(caught.value, BnkitError)


def test_without_torchs_bias_keyword_leaving_the_bias_out_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TORCH_TAKES_BIAS", False)
    assert bnkit.BatchNorm2d(3).bias is not None
    with pytest.raises(ArgumentError, match=r"bias=False with torch .* needs torch 2\.13"):
        bnkit.BatchNorm2d(3, bias=False)


def test_without_a_bias_it_computes_what_torch_computes() -> None:
    ours, torchs = bnkit.BatchNorm2d(3, bias=False), nn.BatchNorm2d(3, bias=False)
    assert list(ours.state_dict()) == list(torchs.state_dict())
    torch.testing.assert_close(ours(X), torchs(X))


@pytest.mark.parametrize(
    ("index", "x", "message"),
    [
        (0, X, r"which has 4 axes; BatchNorm1d takes \(N, C\) or \(N, C, L\).*use BatchNorm2d"),
        (1, X[0], r"which has 3 axes; BatchNorm2d takes \(N, C, H, W\).*x\.unsqueeze\(0\)"),
        (2, X, r"BatchNorm3d takes \(N, C, D, H, W\).*x\.unsqueeze\(0\)"),
        (2, X[0], "For .* use BatchNorm1d"),
        (1, torch.tensor(1.0), r"shape \(\), which has 0 axes"),
        (1, X[:, :2], "2 channels on its second axis"),
        (1, X.int(), "dtype int32"),
        (1, X.double(), "float64 with running_mean float32"),
        (1, X.to("meta"), "x on meta"),
        (1, [1.0], "x of type list"),
        (1, X.numpy(), r"x of type numpy\.ndarray"),
        (1, None, "x of type NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("training", [True, False])
def test_a_wrong_input_has_torchs_type_and_our_words(
    index: int, x: Any, message: str, training: bool
) -> None:
    ours, torchs = (kind(3).train(training) for kind in PAIRS[index])
    expected = error_of(lambda: torchs(x))
    with pytest.raises(BnkitError, match=message) as caught:
        ours(x)
    assert isinstance(caught.value, type(expected))


def test_one_value_per_channel_trains_not_but_evaluates() -> None:
    ours, torchs = (kind(3) for kind in PAIRS[1])
    x = X[:1, :, :1, :1]
    expected = error_of(lambda: torchs(x))
    with pytest.raises(BnkitError, match="one value per channel") as caught:
        ours(x)
    assert isinstance(caught.value, type(expected))
    torch.testing.assert_close(ours.eval()(x), torchs.eval()(x))


def test_a_refused_input_leaves_the_layer_as_it_was() -> None:
    layer = bnkit.BatchNorm2d(3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(BnkitError, match="one value"):
        layer(X[:1, :, :1, :1])
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, before[name], msg=name)


def test_one_running_statistic_alone_is_torchs_error() -> None:
    for training in (True, False):
        layers = [kind(3).train(training) for kind in PAIRS[1]]
        for layer in layers:
            layer.running_mean = None
        expected = error_of(lambda: layers[1](X))  # noqa: B023 - called at once
        with pytest.raises(BnkitError, match="running_mean None") as caught:
            layers[0](X)
        assert isinstance(caught.value, type(expected))


def test_eps_zero_trains_not_but_evaluates() -> None:
    layer = bnkit.BatchNorm2d(3, eps=0.0)
    with pytest.raises(ArgumentError, match="training needs eps > 0"):
        layer(X)
    torch.testing.assert_close(layer.eval()(X), X)


def test_a_subclass_may_take_other_ranks() -> None:
    class AnyRank(bnkit.BatchNorm2d):
        def _check_input_dim(self, input: Tensor) -> None:
            pass

    torch.testing.assert_close(AnyRank(3)(X[..., 0]), nn.BatchNorm1d(3)(X[..., 0]))


def test_torchs_conversion_to_synchronised_layers_takes_ours() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), bnkit.BatchNorm2d(3, eps=1e-3))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted[1], nn.SyncBatchNorm)
    assert converted[1].eps == 1e-3


def test_torchs_fusion_folds_ours_into_a_convolution() -> None:
    conv, layer = nn.Conv2d(3, 3, 3), bnkit.BatchNorm2d(3)
    for step in range(3):
        layer(torch.randn(4, 3, 5, 5) + step)
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), layer.eval())
    torch.testing.assert_close(fused(X), layer(conv(X)), rtol=1e-4, atol=1e-5)


def test_fx_keeps_it_whole() -> None:
    layer = bnkit.BatchNorm2d(3).eval()
    traced = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 3, 1), layer).eval())
    assert ("call_module", "1") in {(node.op, node.target) for node in traced.graph.nodes}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_takes_it_as_torchs() -> None:
    layer = bnkit.BatchNorm2d(3)
    layer(X)
    scripted = torch.jit.script(nn.Sequential(layer))
    scripted.eval()
    torch.testing.assert_close(scripted(X), layer.eval()(X))


def test_vmap_over_eval_mode_is_torchs() -> None:
    layer, batched = bnkit.BatchNorm2d(3).eval(), torch.randn(5, 2, 3, 4, 4)
    got = torch.func.vmap(layer)(batched)
    torch.testing.assert_close(got, torch.stack([layer(x) for x in batched]))


def test_a_whole_model_runs_against_the_float64_truth() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), bnkit.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    x = torch.randn(8, 3, 4, 4)
    grads = []
    for kernel in ("auto", "reference"):
        with bnkit.use_kernel(kernel):
            y = model(x)
        grads.append(torch.autograd.grad(y.square().sum(), tuple(model.parameters())))
    for own, truth in zip(*grads, strict=True):
        torch.testing.assert_close(own, truth, rtol=1e-4, atol=1e-4)
