"""What every layer promises with every kernel: a drop-in for its torch namesake."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.kernels import use_kernel
from helpers.problems import DTYPES, drawn

# A new layer: its class, torch's namesake, and shapes that it takes.
LAYERS = (
    (bnkit.BatchNorm1d, nn.BatchNorm1d, ((7, 3), (4, 3, 5))),
    (bnkit.BatchNorm2d, nn.BatchNorm2d, ((4, 3, 5, 6),)),
    (bnkit.BatchNorm3d, nn.BatchNorm3d, ((4, 3, 2, 3, 5),)),
)


class QuietNoisyBatchNorm2d(bnkit.NoisyBatchNorm2d):
    """Without its noise it is all that the others are; its draws are in its own tests."""

    adds_noise = False


# Layers that have options of their own, so that they neither look like torch's nor are named so.
RELATED = ((QuietNoisyBatchNorm2d, nn.BatchNorm2d, ((4, 3, 5, 6),)),)
KERNELS = ("auto", "reference", "numba")

Pair = tuple[nn.Module, nn.Module]


def each_of(layers: Iterable[tuple[Any, Any, tuple[tuple[int, ...], ...]]]) -> Any:
    return pytest.mark.parametrize(
        ("ours", "torchs", "shape"),
        [(own, torch_own, shape) for own, torch_own, shapes in layers for shape in shapes],
        ids=lambda value: getattr(value, "__name__", str(value)),
    )


every_layer = each_of(LAYERS)
every_layer_and_relative = each_of((*LAYERS, *RELATED))
# The options that decide what a layer normalizes with and what it keeps.
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"momentum": None},
    {"momentum": 1.0},
    {"affine": False},
    {"track_running_stats": False},
    {"eps": 1e-2, "momentum": 0.4},
)


@pytest.fixture(params=KERNELS, autouse=True)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    with use_kernel(request.param):
        yield request.param


def batch(shape: tuple[int, ...], step: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return (torch.randn(shape, generator=generator) * (1 + step % 3) + step % 5).to(dtype)


def twins(ours: type[nn.Module], torchs: type[nn.Module], **options: Any) -> Pair:
    """Return a layer and its namesake with equal, uncommon parameters and buffers."""
    pair = ours(3, **options), torchs(3, **options)
    state = {}
    for name, value in pair[1].state_dict().items():
        if value.is_floating_point():
            state[name] = (drawn((3,), torch.float64).square() + 0.25).to(value.dtype)
        else:
            state[name] = value
    for layer in pair:
        layer.load_state_dict(state)
    return pair


def assert_same_state(pair: Pair, m: int = 64) -> None:
    """Compare the state dictionaries: keys, order, dtypes, values."""
    own, torch_own = (layer.state_dict() for layer in pair)
    assert list(own) == list(torch_own)
    for name, value in own.items():
        eps = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        torch.testing.assert_close(
            value, torch_own[name], rtol=8 * eps, atol=8 * eps * m**0.5, msg=name
        )


def assert_same_step(pair: Pair, x: Tensor) -> None:
    """Run both on x, backward included, and compare outputs and gradients."""
    eps, m = torch.finfo(x.dtype).eps, max(x.numel() // 3, 1)
    results = []
    for layer in pair:
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        y = layer(leaf)
        grad_output = torch.linspace(-1, 2, y.numel()).view_as(y).to(y.dtype)
        grads = torch.autograd.grad(y, (leaf, *layer.parameters()), grad_output)
        results.append((y, *grads))
    for own, torch_own in zip(*results, strict=True):
        assert own.dtype == torch_own.dtype
        torch.testing.assert_close(own, torch_own, rtol=16 * eps, atol=16 * eps * m**0.5)


@every_layer_and_relative
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_every_state_of_tracking_and_mode(
    ours: Any, torchs: Any, shape: tuple[int, ...], options: dict[str, Any], training: bool
) -> None:
    pair = twins(ours, torchs, **options)
    for layer in pair:
        layer.train(training)
    for step in (1, 2):
        assert_same_step(pair, batch(shape, step))
        assert_same_state(pair)


@every_layer
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("tracked_first", [True, False])
def test_tracking_flipped_after_construction(
    ours: Any,
    torchs: Any,
    shape: tuple[int, ...],
    tracked_first: bool,
    momentum: float | None,
    training: bool,
) -> None:
    pair = twins(ours, torchs, track_running_stats=tracked_first, momentum=momentum)
    for layer in pair:
        layer.track_running_stats = not tracked_first
        layer.train(training)
    assert_same_step(pair, batch(shape, 1))
    assert_same_state(pair)


@every_layer
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("counted", [True, False])
def test_buffers_set_to_none(
    ours: Any,
    torchs: Any,
    shape: tuple[int, ...],
    counted: bool,
    momentum: float | None,
    training: bool,
) -> None:
    pair = twins(ours, torchs, momentum=momentum)
    for layer in pair:
        if counted:
            layer.running_mean = layer.running_var = None
        else:
            layer.num_batches_tracked = None
        layer.train(training)
    assert_same_step(pair, batch(shape, 1))
    assert_same_state(pair)


@every_layer
@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_buffers_after_steps_1_2_3_and_50(
    ours: Any, torchs: Any, shape: tuple[int, ...], momentum: float | None
) -> None:
    pair = twins(ours, torchs, momentum=momentum)
    for step in range(1, 51):
        for layer in pair:
            layer(batch(shape, step))
        if step in (1, 2, 3, 50):
            assert_same_state(pair, m=64 * step)


@every_layer
def test_momentum_none_is_the_plain_average(ours: Any, torchs: Any, shape: tuple[int, ...]) -> None:
    layer, axes = ours(3, momentum=None), (0, *range(2, len(shape)))
    batches = [batch(shape, step) for step in range(5)]
    for x in batches:
        layer(x)
    means = torch.stack([x.mean(axes) for x in batches])
    variances = torch.stack([x.var(axes, correction=1) for x in batches])
    torch.testing.assert_close(layer.running_mean, means.mean(0))
    torch.testing.assert_close(layer.running_var, variances.mean(0))


# Parameters as narrow as the input are rare: each such dtype is met in one layout of the programs
# that are compiled for it, and in the other where time is no matter.
RARE_IN = {torch.float16: (4, 3, 5, 6), torch.bfloat16: (7, 3)}


@pytest.mark.parametrize(
    ("ours", "torchs", "shape", "dtype", "parameter_dtype"),
    [
        pytest.param(
            *(own, torch_own, shape, dtype, parameter_dtype),
            marks=pytest.mark.slow
            if dtype == parameter_dtype and RARE_IN.get(dtype, shape) != shape
            else (),
        )
        for own, torch_own, shapes in LAYERS
        for shape in shapes
        for dtype in DTYPES
        for parameter_dtype in dict.fromkeys((dtype, torch.promote_types(dtype, torch.float32)))
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_every_dtype(
    ours: Any,
    torchs: Any,
    shape: tuple[int, ...],
    training: bool,
    dtype: torch.dtype,
    parameter_dtype: torch.dtype,
) -> None:
    pair = twins(ours, torchs, dtype=parameter_dtype)
    for layer in pair:
        layer.train(training)
    assert_same_step(pair, batch(shape, 1, dtype))
    assert_same_state(pair)


@every_layer_and_relative
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_an_empty_batch_and_empty_axes(
    ours: Any, torchs: Any, shape: tuple[int, ...], training: bool
) -> None:
    pair = twins(ours, torchs)
    for layer in pair:
        layer.train(training)
    assert_same_step(pair, torch.empty(0, *shape[1:]))
    if len(shape) > 2:
        assert_same_step(pair, torch.empty(*shape[:2], 0, *shape[3:]))
    assert_same_state(pair)


@every_layer_and_relative
def test_the_state_dictionary_goes_both_ways(
    ours: Any, torchs: Any, shape: tuple[int, ...]
) -> None:
    for source, target in ((torchs, ours), (ours, torchs)):
        full, blank = source(3), target(3)
        full(batch(shape, 3))
        blank.load_state_dict(full.state_dict())
        assert_same_state((blank, full))
        torch.testing.assert_close(
            blank.eval()(batch(shape, 4)), full.eval()(batch(shape, 4)), rtol=1e-5, atol=1e-5
        )


@every_layer_and_relative
def test_a_checkpoint_from_before_the_counter_loads(
    ours: Any, torchs: Any, shape: tuple[int, ...]
) -> None:
    state = torchs(3).state_dict()
    del state["num_batches_tracked"]
    state._metadata[""]["version"] = 1
    layer = ours(3)
    layer.load_state_dict(state)
    assert layer.num_batches_tracked.item() == 0


@every_layer_and_relative
def test_copies_and_pickles_are_the_same_layer(
    ours: Any, torchs: Any, shape: tuple[int, ...]
) -> None:
    layer = twins(ours, torchs, momentum=None)[0]
    layer(batch(shape, 1))
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False),
    ):
        assert type(other) is ours
        assert other.running_mean is not layer.running_mean
        assert_same_state((other, layer))
        torch.testing.assert_close(other(batch(shape, 2)), copy.deepcopy(layer)(batch(shape, 2)))


@every_layer
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_looks_like_torchs(
    ours: Any, torchs: Any, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    layer, namesake = ours(3, **options), torchs(3, **options)
    assert repr(layer) == repr(namesake)
    assert isinstance(layer, torchs)
    assert ours.__name__ == torchs.__name__
    parameters = [inspect.signature(kind).parameters for kind in (ours, torchs)]
    for own, torch_own in zip(*(p.values() for p in parameters), strict=True):
        assert (own.name, own.default, own.kind) == (
            torch_own.name,
            torch_own.default,
            torch_own.kind,
        )


@every_layer
def test_the_input_can_be_named_as_in_torch(ours: Any, torchs: Any, shape: tuple[int, ...]) -> None:
    x = batch(shape, 1)
    torch.testing.assert_close(ours(3)(input=x), torchs(3)(input=x))


@every_layer
def test_gradcheck_and_gradgradcheck(ours: Any, torchs: Any, shape: tuple[int, ...]) -> None:
    x = drawn((3, 2, *[2] * (len(shape) - 2)), torch.float64).requires_grad_()
    layer = ours(2, dtype=torch.float64, track_running_stats=False)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


@every_layer_and_relative
def test_functional_call_takes_other_parameters(
    ours: Any, torchs: Any, shape: tuple[int, ...]
) -> None:
    x, results = batch(shape, 1), []
    for layer in twins(ours, torchs):
        layer.eval()
        state = {name: value.detach() + 1 for name, value in layer.state_dict().items()}
        results.append(torch.func.functional_call(layer, state, (x,)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


@every_layer_and_relative
def test_moving_to_another_dtype_and_device_keeps_the_class(
    ours: Any, torchs: Any, shape: tuple[int, ...]
) -> None:
    layer = ours(3).double()
    assert layer.weight.dtype == layer.running_var.dtype == torch.float64
    on_meta = ours(3, device="meta")
    assert on_meta.weight.device.type == "meta"
    materialized = on_meta.to_empty(device="cpu")
    materialized.reset_parameters()
    assert materialized.running_var.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("index", "memory_format"),
    [(1, torch.channels_last), (2, torch.channels_last_3d)],
    ids=["2d", "3d"],
)
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_channels_last_in_gives_channels_last_out(
    index: int, memory_format: torch.memory_format, training: bool, dtype: torch.dtype
) -> None:
    ours, torchs, (shape,) = LAYERS[index]
    x = batch(shape, 1, dtype).contiguous(memory_format=memory_format)
    pair = twins(ours, torchs)
    for layer in pair:
        layer.train(training)
        assert layer(x).is_contiguous(memory_format=memory_format)
    assert_same_step(pair, x)


def test_a_helper_that_compares_states_can_fail() -> None:
    pair = bnkit.BatchNorm1d(3), nn.BatchNorm1d(3)
    assert_same_state(pair)
    pair[0](torch.randn(4, 3))
    with pytest.raises(AssertionError, match="running_mean"):
        assert_same_state(pair)


def test_a_helper_that_compares_steps_can_fail() -> None:
    pair = bnkit.BatchNorm1d(3, eps=1e-5), nn.BatchNorm1d(3, eps=2e-3)
    with pytest.raises(AssertionError, match="not close"):
        assert_same_step(pair, torch.randn(4, 3))
