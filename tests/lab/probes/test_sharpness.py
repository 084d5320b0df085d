"""Sharpness against the eigenvalues of the whole Hessian, and of quadratics in closed form."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnkit.errors import ProbeError
from bnkit.lab.probes.sharpness import Sharpness, largest_eigenvalue, random_vector
from bnkit.layers import BatchNorm1d
from lab.probes.probed_networks import LOSS, Taken

SHARP = Sharpness(when=1, iterations=300, tolerance=1e-10)


def largest_of_hessian(taken: Taken) -> float:
    """Return the largest eigenvalue of the Hessian, all of whose rows are computed."""
    model = copy.deepcopy(taken.before)
    for module in model.modules():
        if isinstance(module, BatchNorm1d):
            module.track_running_stats = False  # its buffers are no matter
            module.running_mean = module.running_var = module.num_batches_tracked = None
    named = dict(model.named_parameters())
    sizes = [each.numel() for each in named.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = [p.view_as(w) for p, w in zip(flat.split(sizes), named.values(), strict=True)]
        total = torch.zeros((), dtype=flat.dtype)
        for share, (inputs, target), state in zip(
            taken.shares, taken.batches, taken.random_states, strict=True
        ):
            torch.set_rng_state(state)
            output = functional_call(model, dict(zip(named, parts, strict=True)), (inputs,))
            total = total + share * LOSS(output, target)
        return total

    flat = torch.cat([each.detach().reshape(-1) for each in named.values()])
    hessian = torch.autograd.functional.hessian(loss, flat)
    return float(torch.linalg.eigvalsh(hessian)[-1])


@pytest.mark.parametrize("sizes", [(12,), (8, 5)], ids=["whole", "accumulated"])
def test_equals_the_eigenvalue_of_the_whole_hessian(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    layers = nn.Linear(3, 4), BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 3)
    given = [(torch.randn(n, 3, dtype=torch.float64), torch.randint(3, (n,))) for n in sizes]
    taken = Taken(nn.Sequential(*layers).double(), SHARP, given)
    found = taken.found["sharpness", None, None]
    assert found == pytest.approx(largest_of_hessian(taken), rel=1e-5)
    assert taken.found["sharpness residual", None, None] < 1e-3


def test_attention_and_recurrence_have_second_derivatives() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.recurrence = nn.GRU(4, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x, _ = self.attention(x, x, x, need_weights=False)
            return self.recurrence(x)[0][:, -1]

    given = torch.randn(4, 5, 4, dtype=torch.float64), torch.randint(3, (4,))
    probe = Sharpness(when=1, iterations=3)
    assert math.isfinite(Taken(Both().double(), probe, [given]).found["sharpness", None, None])


def test_a_quadratic_in_closed_form() -> None:
    # L = ½ Σ (sᵢwᵢ)², whose Hessian is diag(sᵢ²)
    model = nn.Linear(3, 1, bias=False).double()
    scales = torch.diag(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64))
    given = scales, torch.zeros(3)
    taken = Taken(model, SHARP, [given], loss=lambda output, _: 0.5 * output.square().sum())
    assert taken.found["sharpness", None, None] == pytest.approx(9.0, rel=1e-9)


@pytest.mark.parametrize(
    ("eigenvalues", "largest"),
    [([1.0, 5.0, -2.0], 5.0), ([1.0, -5.0, 2.0], 2.0), ([-3.0, -1.0, -2.0], -1.0), ([0, 0, 0], 0)],
)
def test_the_largest_eigenvalue_is_not_the_one_largest_in_size(
    eigenvalues: list[float], largest: float
) -> None:
    diagonal = torch.tensor(eigenvalues, dtype=torch.float64)
    begin = random_vector({"w": diagonal}, 0)
    found = largest_eigenvalue(lambda v: {"w": diagonal * v["w"]}, begin, 500, 1e-14)
    assert found.value == pytest.approx(largest, abs=1e-6)


def test_a_loss_without_a_second_derivative_in_torch_is_refused() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(context: object, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context: object, grad: Tensor) -> Tensor:
            return grad * 2

    class Wrapped(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(super().forward(x).tanh())

    given = torch.randn(4, 3, dtype=torch.float64), torch.randint(3, (4,))
    with pytest.raises(ProbeError, match="cannot be differentiated twice"):
        Taken(nn.Sequential(Wrapped(3, 3)).double(), SHARP, [given])


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ProbeError, match="at least 1 iteration"):
        Sharpness(iterations=0)
