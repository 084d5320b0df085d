"""The validation passes what is right, refuses what is wrong, and can do so on every result."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bnkit.bench import validation
from bnkit.bench.cases import Case
from bnkit.bench.inputs import EPS, inputs_of
from bnkit.bench.peers import bnkit_peer, torch_peer
from bnkit.bench.validation import ResultError, compare, refusal, results_of

CASES = [
    Case((7, 5, 3, 3), operation="bn-add-relu", layout="channels-last"),
    Case((13, 4), operation="bn-relu", dtype="bfloat16"),
    Case((5, 3, 4), operation="bn", dtype="float64", mode="eval"),
    Case((3, 4, 2, 3, 2), operation="bn-relu", passes="forward", mode="eval"),
]


def results(case):
    inputs = inputs_of(case)
    by_peer = {
        "bnkit": results_of(bnkit_peer(case, inputs), case),
        "torch": results_of(torch_peer(case, inputs), case),
    }
    return inputs, by_peer


def verdict(case, inputs, by_peer):
    return refusal("bnkit", by_peer, compare(case, inputs, by_peer))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_right_passes(case):
    assert verdict(case, *results(case)) == ""


def test_the_truth_is_torch_s_in_float64_on_any_part_of_the_channels():
    case = Case((7, 5, 3, 3), operation="bn-add-relu")
    inputs = inputs_of(case)
    layer = torch.nn.BatchNorm2d(5, eps=EPS, dtype=torch.float64)
    names = ("weight", "bias", "running_mean", "running_var")
    layer.load_state_dict({name: getattr(inputs, name) for name in names}, strict=False)
    x, residual = (v.detach().double().requires_grad_() for v in (inputs.x, inputs.residual))
    y = torch.relu(layer(x) + residual)
    wanted = (x, residual, layer.weight, layer.bias)
    grads = torch.autograd.grad(y, wanted, inputs.grad_output.double())
    truth = validation._truth(case, inputs, slice(1, 4))
    expected = dict(
        zip(("grad_x", "grad_residual", "grad_weight", "grad_bias"), grads, strict=True),
        y=y.detach(),
        running_mean=layer.running_mean,
        running_var=layer.running_var,
    )
    assert truth.keys() == expected.keys()
    for name, value in expected.items():
        part = value[:, 1:4] if value.dim() > 1 else value[1:4]
        torch.testing.assert_close(truth[name], part, msg=name)


def test_every_channel_is_held_against_the_truth(monkeypatch):
    monkeypatch.setattr(validation, "_CHUNK_VALUES", 150)
    case = CASES[0]
    assert [(part.start, part.stop) for part in validation._chunks(case)] == [
        (0, 2),
        (2, 4),
        (4, 5),
    ]
    inputs, by_peer = results(case)
    assert verdict(case, inputs, by_peer) == ""
    for channel in range(5):
        wrong = {name: dict(found) for name, found in by_peer.items()}
        y = wrong["bnkit"]["y"].clone()
        y[3, channel, 1, 2] += 1e-4
        wrong["bnkit"]["y"] = y
        assert "wrong: y is off by" in verdict(case, inputs, wrong)


@pytest.mark.parametrize(
    "name",
    ["y", "grad_x", "grad_residual", "grad_weight", "grad_bias", "running_mean", "running_var"],
)
@pytest.mark.parametrize("defect", ["shifted", "nan", "cut short"])
def test_each_result_can_be_refused(name, defect):
    inputs, by_peer = results(CASES[0])
    value = by_peer["bnkit"][name].clone()
    if defect == "cut short":
        value = value[:-1]
    else:
        at = (0,) * value.dim()
        value[at] = float("nan") if defect == "nan" else value[at] + 1e-3
    by_peer["bnkit"] = by_peer["bnkit"] | {name: value}
    said = verdict(CASES[0], inputs, by_peer)
    assert said.startswith(f"wrong: {name} ")


def test_a_batch_that_is_not_counted_is_refused():
    inputs, by_peer = results(CASES[0])
    by_peer["bnkit"] = by_peer["bnkit"] | {"num_batches_tracked": torch.tensor(0)}
    said = verdict(CASES[0], inputs, by_peer)
    assert said == "wrong: num_batches_tracked is 0, and torch's 1"


def test_eight_units_in_the_last_place_pass_and_more_do_not():
    found = ResultError(torch.float32, torch.float32, largest=3.0)
    unit = 2 * torch.finfo(torch.float32).eps
    assert found.unit == unit
    for units, is_right in ((8, True), (9, False)):
        found.errors = {"torch": 0.5 * unit, "bnkit": units * unit}
        assert (found.errors["bnkit"] <= found.allowed()) is is_right
    found.errors = {"torch": 100 * unit, "bnkit": 125 * unit}
    assert found.errors["bnkit"] <= found.allowed()
    assert found.in_units() == {"torch": 100, "bnkit": 125, "allowed": 125}


def test_the_compiler_is_refused_only_for_what_is_plainly_wrong():
    found = ResultError(torch.float32, torch.bfloat16, largest=1.0, errors={"torch": 0.0})
    assert found.allowed("compile") == 64 * torch.finfo(torch.bfloat16).eps
    assert found.allowed() == 8 * torch.finfo(torch.float32).eps


def test_the_gradient_is_zero_where_rounding_decides_the_sign():
    case = Case((64, 3, 8, 8), dtype="bfloat16")
    inputs = inputs_of(case)
    layer = SimpleNamespace(**{n: getattr(inputs, n).double() for n in ("weight", "bias")})
    x = inputs.x.detach().double()
    before = torch.nn.functional.batch_norm(
        x, None, None, layer.weight, layer.bias, training=True, eps=EPS
    )
    nearest = before.abs()[inputs.grad_output != 0].min()
    assert nearest >= 3.9 * torch.finfo(torch.bfloat16).eps * before.abs().max()
    share = float((inputs.grad_output == 0).double().mean())
    assert 0 < share < 0.2
