"""recalibrate: statistics of what each layer received, on data and models of every kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import bnkit
from bnkit.errors import ArgumentError, ArgumentTypeError, ForwardError, RewriteError
from bnkit.rewrite import Rewrite
from helpers.architectures import BasicBlock


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
    )


def images(*sizes: int, offset: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 9, 9, generator=generator) * 2 + offset for size in sizes]


def received(model: nn.Module, batches: list[Any], eval_layers: tuple[str, ...] = ()) -> dict:
    """Return path → (mean, unbiased variance, M), by hooks of its own on a copy of the model."""
    model = copy.deepcopy(model).eval()
    parts: dict[str, list[Tensor]] = {}
    for path, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.training = path not in eval_layers
            layer.register_forward_pre_hook(
                lambda _, args, path=path: parts.setdefault(path, []).append(args[0].clone())
            )
    with torch.no_grad():
        for batch in batches:
            model(batch)
    values = {
        path: torch.cat([p.transpose(0, 1).flatten(1) for p in found], 1).double()
        for path, found in parts.items()
    }
    return {path: (x.mean(1), x.var(1), x.shape[1]) for path, x in values.items()}


def assert_statistics(model: nn.Module, expected: dict, rtol: float = 1e-6) -> None:
    assert expected
    for path, (mean, var, _) in expected.items():
        layer = model.get_submodule(path)
        torch.testing.assert_close(layer.running_mean.double(), mean, rtol=rtol, atol=1e-7)
        torch.testing.assert_close(layer.running_var.double(), var, rtol=rtol, atol=0)


@pytest.mark.parametrize("mode", [True, False])
def test_statistics_are_those_of_all_values_with_a_ragged_last_batch(mode: bool) -> None:
    model, batches = network().train(mode), images(8, 8, 3)
    rewrite = bnkit.recalibrate(model, batches)
    assert_statistics(rewrite.model, received(model, batches))
    assert [shift.values for shift in rewrite.shifts] == [19 * 49, 19 * 25]
    assert rewrite.model[1].num_batches_tracked == 3
    assert rewrite.model[1].momentum == 0.1
    assert all(module.training is mode for module in rewrite.model.modules())
    assert "running mean off by up to" in str(rewrite)
    assert rewrite.difference is not None
    assert rewrite.difference > 0


def test_mean_over_std_of_1e4() -> None:
    model, batches = nn.Sequential(nn.BatchNorm2d(3)), images(8, 64, 5, offset=2e4)
    assert_statistics(bnkit.recalibrate(model, batches).model, received(model, batches), 3e-7)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 29), min_size=1, max_size=5, unique=True))
def test_one_layer_gets_the_same_however_the_data_are_cut(cuts: list[int]) -> None:
    x = images(30)[0].double()
    model = nn.Sequential(nn.BatchNorm2d(3)).double()
    whole = bnkit.recalibrate(model, [x]).model[0]
    cut = bnkit.recalibrate(model, list(x.tensor_split(sorted(cuts)))).model[0]
    torch.testing.assert_close(whole.running_mean, cut.running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(whole.running_var, cut.running_var, rtol=1e-12, atol=0)


def test_the_shift_says_how_far_the_statistics_were_off() -> None:
    model, batches = nn.Sequential(nn.BatchNorm2d(3)), images(50)
    shift = bnkit.recalibrate(model, batches).shifts[0]
    mean, var, count = received(model, batches)["0"]
    assert shift.mean_shift == pytest.approx(float((mean / (var + 1e-5).sqrt()).abs().max()))
    assert shift.largest_ratio == pytest.approx(float(var.max() + 1e-5) / (1 + 1e-5))
    assert (shift.path, shift.values, shift.calls) == ("0", count, 1)


# What torch's update_bn gets wrong, beside ours.


def test_update_bn_weighs_batches_alike_and_drops_the_spread_of_their_means() -> None:
    batches = [torch.randn(32, 2) - 10, torch.randn(32, 2) + 10, torch.randn(2, 2) * 4]
    theirs, ours = nn.Sequential(nn.BatchNorm1d(2)), nn.Sequential(nn.BatchNorm1d(2))
    update_bn(batches, theirs)
    true = torch.cat(batches).double().var(0)
    assert (theirs[0].running_var.double() < true / 5).all()
    found = bnkit.recalibrate(ours, batches).model[0].running_var
    torch.testing.assert_close(found.double(), true, rtol=1e-6, atol=0)


def test_dropout_is_off_and_frozen_layers_are_as_they_were() -> None:
    model, batches = network().train(), images(8, 8)
    model[1].eval()
    model[1].running_mean.fill_(0.3)
    rewrite = bnkit.recalibrate(model, batches)
    assert_statistics(rewrite.model, {"5": received(model, batches, ("1",))["5"]})
    assert torch.equal(rewrite.model[1].running_mean, model[1].running_mean)
    assert [item.path for item in rewrite.skipped] == ["1"]
    assert "frozen" in rewrite.skipped[0].reason
    frozen = bnkit.freeze(network(), "1").model.eval()
    assert [s.path for s in bnkit.recalibrate(frozen, batches).shifts] == ["5"]


def test_momentum_none_survives_an_exception() -> None:
    model = network()
    model[1].momentum = 0.25
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ForwardError, match=r"^0: forward raised RuntimeError on batch 2 of data"):
        bnkit.recalibrate(model, [*images(4), torch.randn(2, 4, 9, 9)], inplace=True)
    assert model[1].momentum == 0.25
    assert "forward" not in vars(model[1])
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


# What data can be.


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, image: Tensor, scale: float = 1.0) -> Tensor:
        return self.body(image * scale)  # type: ignore[no-any-return]


BATCHES = images(6, 5)
WHOLE = torch.cat(BATCHES)


def generated() -> Iterator[Tensor]:
    yield from BATCHES


@pytest.mark.parametrize(
    "data",
    [
        [(x, torch.zeros(len(x))) for x in BATCHES],
        [{"image": x, "label": 3} for x in BATCHES],
        generated(),
        DataLoader(TensorDataset(WHOLE, torch.zeros(11)), batch_size=6),
    ],
    ids=["labels", "mappings", "generator", "loader"],
)
def test_batches_are_taken_as_the_forward_takes_them(data: Any) -> None:
    model = Named()
    expected = {f"body.{path}": found for path, found in received(model.body, BATCHES).items()}
    assert_statistics(bnkit.recalibrate(model, data).model, expected)


@pytest.mark.parametrize("data", [WHOLE, (WHOLE, torch.zeros(11)), WHOLE.numpy()])
def test_samples_are_put_into_batches(data: Any) -> None:
    shift = bnkit.recalibrate(Named(), data, batch_size=4).shifts[0]
    assert (shift.values, shift.calls) == (11 * 49, 3)


def test_forward_fn_runs_any_batch() -> None:
    model = network()
    data = [["ignored", {"x": x}] for x in BATCHES]
    rewrite = bnkit.recalibrate(model, data, forward_fn=lambda m, batch: m(batch[1]["x"]))
    assert_statistics(rewrite.model, received(model, BATCHES))


class TakesMapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        batch["x"].add_(1)
        return self.norm(batch["x"])  # type: ignore[no-any-return]


def test_a_forward_may_take_the_mapping_itself_and_write_into_it() -> None:
    data = [{"x": torch.arange(8.0).view(4, 2)}]
    layer = bnkit.recalibrate(TakesMapping(), data).model.norm
    torch.testing.assert_close(layer.running_mean, torch.tensor([4.0, 5.0]))
    assert torch.equal(data[0]["x"], torch.arange(8.0).view(4, 2))


# Awkward layers and models.


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False)  # type: ignore[no-any-return]


def test_checkpointing_counts_nothing_twice() -> None:
    rewrite = bnkit.recalibrate(Checkpointed(), BATCHES)
    assert [shift.calls for shift in rewrite.shifts] == [2, 2]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.unused = nn.BatchNorm1d(2), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.norm.forward(x) * 3 + 7)  # type: ignore[no-any-return]


def test_all_calls_count_and_layers_that_do_not_run_are_named() -> None:
    x = torch.randn(50, 2)
    rewrite = bnkit.recalibrate(Twice(), [x])
    assert (rewrite.shifts[0].values, rewrite.shifts[0].calls) == (100, 2)
    torch.testing.assert_close(rewrite.model.norm.running_mean, (x.mean(0) + 7) / 2)
    assert [(item.path, item.reason) for item in rewrite.skipped] == [
        ("unused", "it did not run, and keeps its statistics")
    ]


class Own(nn.BatchNorm2d):
    """A batch norm that moves its statistics by its own rule, by assignment."""

    def forward(self, input: Tensor) -> Tensor:
        self.running_mean = self.running_mean + 1  # type: ignore[operator]
        return super().forward(input)


@pytest.mark.parametrize(
    "layer",
    [
        nn.SyncBatchNorm(3),
        bnkit.BatchNorm2d(3),
        bnkit.BatchNormAct2d(3),
        Own(3),
        nn.BatchNorm2d(3, momentum=None),
        nn.BatchNorm2d(3, affine=False),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_of_every_kind(layer: nn.Module) -> None:
    model = nn.Sequential(layer)
    mean, var = WHOLE.mean((0, 2, 3)), WHOLE.var((0, 2, 3))
    rewrite = bnkit.recalibrate(model, BATCHES)
    assert_statistics(rewrite.model, {"0": (mean.double(), var.double(), 0)})
    half = bnkit.adapt(model, BATCHES, weight=0.5).model[0].running_mean
    torch.testing.assert_close(half, (layer.running_mean + mean) / 2)
    assert type(rewrite.model[0]) is type(layer)


def test_untracked_statistics_are_left() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False))
    rewrite = bnkit.recalibrate(model, BATCHES)
    assert [item.path for item in rewrite.skipped] == ["1"]
    chosen = bnkit.recalibrate(BasicBlock(3, 3), BATCHES, layers="*1")
    assert [shift.path for shift in chosen.shifts] == ["bn1"]


# What is refused.


def test_half_precision_statistics_that_overflow_are_refused() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2).half()).eval()
    x = torch.randn(8, 2).half() * 500
    with pytest.raises(RewriteError, match=r"^0: its running_var would be .* float16"):
        bnkit.recalibrate(model, [x])
    fine = bnkit.recalibrate(model, [x / 100]).model[0]
    torch.testing.assert_close(fine.running_var, (x / 100).float().var(0).half(), rtol=2e-3, atol=0)


REFUSED: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ([], {}, RewriteError, "data holds no batch"),
    (iter([]), {}, RewriteError, "data holds no batch"),
    (3, {}, RewriteError, "data is a int"),
    (BATCHES, {"forward_fn": 3}, ArgumentTypeError, "forward_fn is a int"),
    (BATCHES, {"batch_size": 0}, ArgumentError, "batch_size=0"),
    (BATCHES, {"layers": "layer9"}, RewriteError, "The nearest are"),
    (iter(BATCHES), {"sequential": True}, RewriteError, "Give a list of the batches"),
    (BATCHES, {"forward_fn": lambda *_: None}, RewriteError, "none of the batch norms ran"),
    ([BATCHES[0] * float("nan")], {}, RewriteError, "^1: received NaN or infinite"),
    ([torch.full((2, 3, 9, 9), float("inf"))], {"sequential": True}, RewriteError, "^1: received"),
    ([torch.randn(1, 3, 5, 5)], {}, RewriteError, "^5: received one value.*sequential=True"),
    ([torch.randn(1, 3, 5, 5)], {"sequential": True}, RewriteError, "^5: .* all of the data"),
]


@pytest.mark.parametrize(("data", "options", "error", "message"), REFUSED)
def test_bad_input_is_refused_and_the_model_is_as_it_was(
    data: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = network()
    before, attributes = copy.deepcopy(model.state_dict()), dict(vars(model[1]))
    with pytest.raises(error, match=message):
        bnkit.recalibrate(model, data, inplace=True, **options)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert vars(model[1]) == attributes


def test_an_interrupt_leaves_the_model_as_it_was() -> None:
    model = network()
    before, attributes = copy.deepcopy(model.state_dict()), dict(vars(model[1]))

    def interrupted() -> Iterator[Tensor]:
        yield BATCHES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bnkit.recalibrate(model, interrupted(), inplace=True)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert vars(model[1]) == attributes
    assert model[1].training


@pytest.mark.parametrize("name", ["recalibrate", "adapt", "freeze", "unfreeze"])
def test_what_was_made_in_inference_mode_is_not_changed_in_place(name: str) -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.BatchNorm1d(3))
    if name == "unfreeze":
        with torch.inference_mode():
            bnkit.freeze(model, inplace=True)
    data = [torch.randn(8, 3)]
    call: dict[str, Callable[..., Rewrite]] = {
        "recalibrate": lambda **options: bnkit.recalibrate(model, data, **options),
        "adapt": lambda **options: bnkit.adapt(model, data, weight=1, **options),
        "freeze": lambda **options: bnkit.freeze(model, **options),
        "unfreeze": lambda **options: bnkit.unfreeze(model, **options),
    }
    with pytest.raises(
        RewriteError, match=rf"^0\.\w+: was made in inference.*{name.capitalize()} a copy"
    ):
        call[name](inplace=True)
    rewrite = call[name]()
    assert rewrite.changes
    rewrite.undo()
    with torch.inference_mode():
        assert call[name](inplace=True).changes


def test_no_module_and_no_batch_norm_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="model is a int"):
        bnkit.recalibrate(3, BATCHES)  # type: ignore[arg-type]
    with pytest.raises(RewriteError, match="no batch norm"):
        bnkit.recalibrate(nn.Linear(1, 1), BATCHES)
