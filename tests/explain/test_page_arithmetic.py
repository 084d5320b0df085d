"""The arithmetic of the page against torch, for random inputs, in a browser: float64, 1e-12."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bnkit.explain.page import ASSETS

SHAPES = [(2, 3, 3, 3), (7, 1, 1, 1), (5, 4, 1, 6), (1, 6, 2, 5), (3, 12, 4, 1), (2, 1, 1, 1)]
# Each case: scale and offset of the values, eps, momentum.
SETTINGS: list[tuple[float, float, float, float | None]] = [
    (1.0, 0.0, 1e-5, 0.1),
    (10.0, 200.0, 1e-3, None),
    (1e-3, -5.0, 1e-12, 1.0),
    (3e4, 0.5, 0.5, 0.37),
]
STEPS = 4
TOLERANCE = 1e-12

COMPUTE = """(cases) => cases.map(({ batch, layer, groups, steps }) => {
  const history = arithmetic.runningHistory(batch, layer, steps, false);
  const by = (kind) => arithmetic.normalizeBy(kind, batch, layer.eps, groups).normalized;
  const trained = arithmetic.train(batch, layer);
  return {
    y: trained.output, mean: trained.mean, variance: trained.variance,
    unbiased: trained.unbiasedVariance,
    runningMean: history.at(-1).mean, runningVar: history.at(-1).variance,
    inference: arithmetic.infer(batch, layer, history.at(-1)),
    layer: by("layer"), instance: by("instance"), group: by("group"),
    sigmoid: batch.values.map(arithmetic.sigmoid),
    slope: batch.values.map(arithmetic.sigmoidSlope),
  };
})"""


def make_case(number: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    shape = SHAPES[number % len(SHAPES)]
    scale, offset, eps, momentum = SETTINGS[number % len(SETTINGS)]

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator)

    channels = shape[1]
    return {
        "x": random(*shape) * scale + offset,
        "weight": random(channels),
        "bias": random(channels) * 3,
        "running_mean": random(channels),
        "running_var": random(channels).square() + 0.1,
        "eps": eps,
        "momentum": momentum,
        "groups": next(size for size in (4, 3, 2, 1) if channels % size == 0),
    }


def for_page(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "batch": {"shape": list(case["x"].shape), "values": case["x"].ravel().tolist()},
        "layer": {
            "weight": case["weight"].tolist(),
            "bias": case["bias"].tolist(),
            "runningMean": case["running_mean"].tolist(),
            "runningVar": case["running_var"].tolist(),
            "eps": case["eps"],
            "momentum": case["momentum"],
        },
        "groups": case["groups"],
        "steps": STEPS,
    }


def by_torch(case: dict[str, Any]) -> dict[str, torch.Tensor]:
    x, eps = case["x"], case["eps"]
    layer = torch.nn.BatchNorm2d(
        x.shape[1], eps=eps, momentum=case["momentum"], dtype=torch.float64
    )
    names = ("weight", "bias", "running_mean", "running_var")
    layer.load_state_dict(
        {name: case[name] for name in names} | {"num_batches_tracked": torch.tensor(0)}
    )
    with torch.no_grad():
        for _ in range(STEPS):
            y = layer.train()(x)
        inference = layer.eval()(x)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    axes = (0, 2, 3)
    z = x.clone().requires_grad_()
    torch.sigmoid(z).sum().backward()
    assert z.grad is not None
    instance = (x - x.mean((2, 3), keepdim=True)) / (
        x.var((2, 3), correction=0, keepdim=True) + eps
    ).sqrt()
    return {
        "y": y,
        "mean": x.mean(axes),
        "variance": x.var(axes, correction=0),
        "unbiased": x.var(axes),
        "runningMean": layer.running_mean,
        "runningVar": layer.running_var,
        "inference": inference,
        "layer": F.layer_norm(x, x.shape[1:], eps=eps),
        "instance": instance,
        "group": F.group_norm(x, case["groups"], eps=eps),
        "sigmoid": torch.sigmoid(x),
        "slope": z.grad,
    }


def magnitude(case: dict[str, Any], name: str, expected: torch.Tensor) -> float:
    """Return the size of the numbers that a quantity is made of, of which 1e-12 may be lost.

    The normalized values come from x − mean, times 1/√var: allowed is an error of 1e-14 of x there,
    which is what some tens of roundings can do.
    """
    largest = float(expected.abs().max())
    if name == "slope":
        return max(largest, 0.25)  # torch computes it from 1 − σ
    axes = {"layer": (1, 2, 3), "instance": (2, 3), "group": (2, 3)}.get(name, (0, 2, 3))
    if name in ("y", "inference", "layer", "instance", "group"):
        x = case["x"]
        invstd = (x.var(axes, correction=0) + case["eps"]).rsqrt()
        return max(largest, 1e-2 * float((invstd * x.abs().amax(axes)).max()))
    return largest


def assert_agrees(computed: list[float], expected: torch.Tensor, name: str, size: float) -> None:
    """Compare to 1e-12 of the numbers that the quantity is made of."""
    found = torch.tensor(computed, dtype=torch.float64).reshape(expected.shape)
    torch.testing.assert_close(
        found,
        expected,
        rtol=TOLERANCE,
        atol=TOLERANCE * size,
        msg=lambda text: f"{name}: {text}",
    )


@pytest.fixture(scope="module")
def computed(browser):
    cases = [make_case(number) for number in range(24)]
    page = browser.new_page()
    source = (ASSETS / "arithmetic.js").read_text("utf-8")
    results = page.evaluate(
        f"(cases) => {{ {source}; return ({COMPUTE})(cases); }}", [for_page(case) for case in cases]
    )
    page.close()
    return list(zip(cases, results, strict=True))


def test_the_arithmetic_is_torchs(computed):
    for case, found in computed:
        for name, expected in by_torch(case).items():
            assert_agrees(found[name], expected, name, magnitude(case, name, expected))


def test_the_comparison_can_fail(computed):
    case, found = computed[0]
    wrong = [value * (1 + 1e-10) for value in found["y"]]
    with pytest.raises(AssertionError, match="y:"):
        assert_agrees(wrong, by_torch(case)["y"], "y", 0.0)
