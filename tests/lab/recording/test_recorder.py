"""The recorder in loops as users write them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bnkit.errors import ArgumentError, ArgumentTypeError, ProbeError, StoreError
from bnkit.lab import Recorder, StudyResult, judge_again
from bnkit.lab.probes import Probe
from bnkit.lab.probes.gradient_norms import GradientNorms
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured

LOSS = nn.functional.cross_entropy
NORMS = {"kind": "gradient-norms", "when": 1}
PERCENTILES = {"kind": "activation-percentiles", "when": 2}
Batch = tuple[Tensor, Tensor]


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    return nn.Sequential(*layers)


def batches(count: int = 4) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 6, 5, generator=generator)
    return [(x, torch.randint(3, (6,), generator=generator)) for x in images]


class Loop:
    """A training loop with what users add to it: accumulation, clipping, autocast, schedules."""

    def __init__(self, probes: Any = None, **given: Any) -> None:
        self.accumulate = given.pop("accumulate", 1)
        self.clip, self.autocast = given.pop("clip", None), given.pop("autocast", False)
        self.network = model()
        self.called = given.pop("wrap", lambda network: network)(self.network)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01
        )
        torch.manual_seed(3)
        self.recorder = None
        if probes is None:
            self._run(lambda *_: None)
        else:
            given.setdefault("optimizer", self.optimizer)
            given.setdefault("loss", LOSS)
            self.recorder = Recorder(self.called, probes, held_out=batches()[0], **given)
            with self.recorder:
                self._run(self.recorder.step)
        self.draw = torch.rand(()).item()

    def _run(self, told: Any) -> None:
        given = batches(4)
        for start in range(0, 4, self.accumulate):
            group = given[start : start + self.accumulate]
            self.optimizer.zero_grad()
            for inputs, labels in group:
                with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                    loss = LOSS(self.called(inputs), labels)
                (loss / len(group)).backward()
            if self.clip:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
            self.optimizer.step()
            told(*group)

    def values(self, metric: str) -> list[float]:
        return [row.value for row in self.recorder.rows if row.metric == metric]


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate": 2},
    "clipped": {"clip": 0.01},
    "autocast": {"autocast": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loop_is_the_same_to_the_last_bit(variant: str) -> None:
    plain = Loop(**VARIANTS[variant])
    probed = Loop([NORMS, PERCENTILES], **VARIANTS[variant])
    for ours, theirs in zip(
        probed.network.state_dict().values(), plain.network.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert probed.draw == plain.draw
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in probed.network.modules())
    assert not probed.optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_norms_are_those_before_clipping_at_the_weights_before_the_update(
    variant: str,
) -> None:
    given = VARIANTS[variant]
    expected = []

    def keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        expected.append(optimizer.param_groups[0]["params"][0].grad.norm().item())

    reference = {key: value for key, value in given.items() if key != "clip"}
    handle = register_optimizer_step_pre_hook(keep)
    try:
        Loop(**reference)
    finally:
        handle.remove()
    found = Loop([NORMS], **given)
    first = [row.value for row in found.recorder.rows if row.layer == "0"]
    assert first[0] == pytest.approx(expected[0], rel=1e-6)
    if "clip" not in given:
        assert first == pytest.approx(expected, rel=1e-6)


def test_a_gradient_that_is_known_to_be_plain_is_not_computed_again() -> None:
    calls = []
    loop_model = model()
    optimizer = torch.optim.SGD(loop_model.parameters(), lr=0.1)
    loop_model.register_forward_hook(lambda *_: calls.append(1))
    with Recorder(loop_model, NORMS, loss=LOSS, optimizer=optimizer) as recorder:
        for inputs, labels in batches(4):
            optimizer.zero_grad()
            LOSS(loop_model(inputs), labels).backward()
            optimizer.step()
            recorder.step((inputs, labels))
    assert len(calls) == 4 + 1, "once, to see that `.grad` is the gradient of the loss given"


def test_a_loss_that_the_loop_adds_to_is_seen_and_the_gradient_computed_again() -> None:
    loop_model = model()
    optimizer = torch.optim.SGD(loop_model.parameters(), lr=0.1)
    expected = []
    with Recorder(loop_model, NORMS, loss=LOSS, optimizer=optimizer) as recorder:
        for inputs, labels in batches(2):
            optimizer.zero_grad()
            loss = LOSS(loop_model(inputs), labels)
            expected.append(
                torch.autograd.grad(loss, loop_model[0].weight, retain_graph=True)[0].norm().item()
            )
            (loss + loop_model[0].weight.square().sum()).backward()
            optimizer.step()
            recorder.step((inputs, labels))
    found = [row.value for row in recorder.rows if row.layer == "0"]
    assert found == pytest.approx(expected, rel=1e-6)


def norms_of_own_loop(
    steps: list[list[Batch]], *, scale: float = 1.0, between: Any = lambda _: None
) -> tuple[list[float], list[float]]:
    """Return the first layer's gradient norms as recorded, and as the mean loss gives them."""
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    expected = []
    with Recorder(network, NORMS, loss=LOSS, optimizer=optimizer) as recorder:
        for step in steps:
            between(network)
            optimizer.zero_grad()
            mean = torch.zeros_like(network[0].weight)
            examples = sum(len(labels) for _, labels in step)
            for inputs, labels in step:
                loss = LOSS(network(inputs), labels)
                (own,) = torch.autograd.grad(loss, network[0].weight, retain_graph=True)
                mean += own * (len(labels) / examples)
                (loss * scale).backward()
            expected.append(mean.norm().item())
            optimizer.step()
            recorder.step(*step)
    return [row.value for row in recorder.rows if row.layer == "0"], expected


@pytest.mark.parametrize("gradients", [True, False])
def test_a_validation_between_steps_is_no_part_of_a_step(gradients: bool) -> None:
    def validate(network: nn.Module) -> None:
        network.eval()
        with torch.set_grad_enabled(gradients):
            network(batches()[0][0] + torch.rand(()))
        network.train()

    # Twice the loss, so that it is taken again.
    steps = [[batch] for batch in batches(3)]
    found, expected = norms_of_own_loop(steps, scale=2.0, between=validate)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_shorter_last_step_of_accumulation_is_not_taken_for_a_plain_gradient() -> None:
    first, second, third, fourth = batches(4)
    rest = (fourth[0][:2], fourth[1][:2])
    steps = [[first, second], [third, rest], [first]]
    found, expected = norms_of_own_loop(steps, scale=0.5)
    assert found == pytest.approx(expected, rel=1e-5)


class Shift(Probe):
    """How far the weights moved, and the loss before and after."""

    kind = GradientNorms.kind
    needs = frozenset({"update", "learning-rate"})

    def cost(self) -> Cost:
        return Cost(forwards=2, copies=1)

    def measure(self, moment: Moment) -> Iterator[Measured]:
        step = moment.step
        assert step is not None
        after = moment.network[0].weight.detach().clone()
        with step.before_update():
            before = moment.network[0].weight.detach().clone()
        expected = before - step.learning_rate * step.gradient()["0.weight"]
        yield Measured("gradient norm", (after - expected).abs().max().item(), "0")


@pytest.mark.parametrize("rate", ["optimizer", "number", "function"])
def test_the_update_is_the_optimizers_with_or_without_the_optimizer(rate: str) -> None:
    loop_model = model()
    optimizer = torch.optim.SGD(loop_model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    known: dict[str, Any] = {
        "optimizer": {"optimizer": optimizer},
        "number": {"learning_rate": 0.1},
        "function": {"learning_rate": lambda: optimizer.param_groups[0]["lr"]},
    }[rate]
    with Recorder(loop_model, Shift(when=1), loss=LOSS, **known) as recorder:
        for inputs, labels in batches(3):
            optimizer.zero_grad()
            LOSS(loop_model(inputs), labels).backward()
            optimizer.step()
            if rate == "optimizer":
                schedule.step()
            recorder.step((inputs, labels))
    assert len(recorder.rows) == 3
    assert max(row.value for row in recorder.rows) < 1e-6


def test_a_closure_takes_any_batch() -> None:
    def closure(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return LOSS(network(batch["image"]), batch["label"])

    loop_model = model()
    optimizer = torch.optim.SGD(loop_model.parameters(), lr=0.1)
    given = [{"image": x, "label": y} for x, y in batches(2)]
    recorder = Recorder(
        loop_model,
        [NORMS, PERCENTILES],
        closure=closure,
        optimizer=optimizer,
        held_out=given,
    )
    with recorder:
        for batch in given:
            optimizer.zero_grad()
            closure(loop_model, batch).backward()
            optimizer.step()
            recorder.step(batch)
    assert {row.metric for row in recorder.rows} >= {"gradient norm", "activation percentile"}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"probes": "gradient-norm"}, ProbeError, "Did you mean 'gradient-norms'"),
        ({"probes": {"when": 2}}, ProbeError, "kind: Field required"),
        ({"probes": {**NORMS, "layers": "features.*"}}, ProbeError, "0 .Linear., 1 .BatchNorm1d."),
        ({"loss": None}, ProbeError, "probe gradient-norms: it takes the loss"),
        ({"closure": LOSS}, ArgumentError, "both given"),
        ({"probes": PERCENTILES}, ProbeError, "held_out=, a batch or a list"),
        ({"probes": Shift()}, ProbeError, "optimizer=, or learning_rate="),
        ({"probes": [3]}, ProbeError, "3 is no probe; a kind such as"),
        ({"probes": {"kind": "landscape", "layers": "0"}}, ProbeError, "^the probe 'landscape'"),
        ({"optimizer": "sgd"}, ArgumentTypeError, "a str; an optimizer of torch.optim"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Recorder(model(), **{"probes": NORMS, "loss": LOSS, **given})


@pytest.mark.parametrize(
    "probe", ["gradient-norms", "gradient-shift", "landscape", "weight-trajectory"]
)
def test_lazy_layers_are_initialized_first(probe: str) -> None:
    lazy = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(3))
    given = {"loss": LOSS, "learning_rate": 0.1, "training": batches()}
    with pytest.raises(ProbeError, match=r"0\.weight has no values yet.* Run it on a batch first"):
        Recorder(lazy, probe, **given)
    lazy(batches()[0][0])
    Recorder(lazy, probe, **given)


def test_a_probe_that_finds_nothing_is_warned_about() -> None:
    loop_model = model().requires_grad_(False)
    loop_model[4].requires_grad_(True)
    recorder = Recorder(loop_model, [{**NORMS, "layers": "0"}], loss=LOSS)
    with pytest.warns(UserWarning, match="found nothing to record. It looked at 0"), recorder:
        LOSS(loop_model(batches()[0][0]), batches()[0][1]).backward()
        recorder.step(batches()[0])
    assert recorder.rows == []


@pytest.mark.parametrize(
    ("when", "remedy"),
    [("end", r"in steps\.$"), ("epoch", r"in steps, or the recorder steps_per_epoch=\.$")],
)
def test_a_probe_of_a_step_that_is_never_known_to_be_the_last_says_so(
    when: str, remedy: str
) -> None:
    recorder = Recorder(model(), {"kind": "gradient-norms", "when": when}, loss=LOSS)
    with pytest.warns(UserWarning, match=f'a step: give it "when" {remedy}'), recorder:
        recorder.step(batches()[0])


def test_a_closure_that_calls_the_model_by_its_own_name_sees_it_move() -> None:
    loop_model = model()
    before = [(each.detach().clone(), each._version) for each in loop_model.parameters()]

    def closure(_: nn.Module, batch: Batch) -> Tensor:
        return LOSS(loop_model(batch[0]), batch[1])

    probe = {"kind": "loss-surface", "when": [0], "points": 2}
    with Recorder(loop_model, probe, closure=closure, training=batches()) as recorder:
        pass
    assert len({row.value for row in recorder.rows}) == 4
    for here, (kept, version) in zip(loop_model.parameters(), before, strict=True):
        assert torch.equal(here, kept)
        assert here._version == version


def test_an_optimizer_that_takes_no_step_is_named() -> None:
    loop_model = model()
    other = torch.optim.SGD(loop_model.parameters(), lr=0.1)
    recorder = Recorder(loop_model, NORMS, loss=LOSS, optimizer=other)
    with pytest.warns(UserWarning, match="that took no step"), recorder:
        recorder.step(batches()[0])


@pytest.mark.parametrize("kind", ["loss-surface", "generalization-gap", "train-eval-gap"])
def test_no_probe_takes_a_loss_that_is_no_scalar(kind: str) -> None:
    def loss(output: Tensor, labels: Tensor) -> Tensor:
        return LOSS(output, labels, reduction="none")

    given = {"held_out": batches(), "training": batches()}
    recorder = Recorder(model(), {"kind": kind, "when": 1}, loss=loss, **given)
    with pytest.raises(ProbeError, match=r"of shape \(6,\).*mean\(\)"), recorder:
        pass


def test_a_step_outside_or_without_batch_is_refused() -> None:
    recorder = Recorder(model(), NORMS, loss=LOSS)
    with pytest.raises(ProbeError, match="is not open"):
        recorder.step(batches()[0])
    with pytest.raises(ProbeError, match="step 1 was given no batch"), recorder:
        recorder.step()


def test_a_loss_that_is_not_scalar_is_refused() -> None:
    loop_model = model()
    with (
        pytest.raises(ProbeError, match=r"of shape \(6, 3\)"),
        Recorder(loop_model, NORMS, loss=lambda output, _: output) as recorder,
    ):
        recorder.step(batches()[0])


def test_what_was_recorded_is_kept_when_the_loop_is_left_by_an_exception(tmp_path: Path) -> None:
    loop_model = model()
    optimizer = torch.optim.SGD(loop_model.parameters(), lr=0.1)
    with (
        pytest.raises(KeyboardInterrupt),
        Recorder(loop_model, NORMS, loss=LOSS, optimizer=optimizer, out=tmp_path) as recorder,
    ):
        for inputs, labels in batches(3):
            LOSS(loop_model(inputs), labels).backward()
            optimizer.step()
            recorder.step((inputs, labels))
            if len(recorder.rows) > 4:
                raise KeyboardInterrupt
    result = StudyResult.read(tmp_path)
    assert result.metrics.filter(metric="gradient norm")["step"].max() == 2
    assert result.stored.notes == ["The loop was left by KeyboardInterrupt after step 2."]


def test_a_probe_that_was_never_due_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="'gradient-norms' ran at no time.*The loop took 4 steps"):
        Loop([{"kind": "gradient-norms", "when": [99]}])


def test_nan_is_recorded_and_the_loop_goes_on() -> None:
    loop_model = model()
    with torch.no_grad():
        loop_model[0].bias[0] = math.nan
    optimizer = torch.optim.SGD(loop_model.parameters(), lr=0.1)
    with Recorder(
        loop_model, [NORMS, PERCENTILES], loss=LOSS, optimizer=optimizer, held_out=batches()[0]
    ) as recorder:
        for inputs, labels in batches(2):
            LOSS(loop_model(inputs), labels).backward()
            optimizer.step()
            recorder.step((inputs, labels))
    assert any(math.isnan(row.value) for row in recorder.rows)
    assert {row.step for row in recorder.rows} == {0, 1, 2}


def test_epochs_are_counted_or_told() -> None:
    counted = Loop([{"kind": "gradient-norms", "when": "epoch"}], steps_per_epoch=2)
    assert [(row.step, row.epoch) for row in counted.recorder.rows if row.layer == "0"] == [
        (2, 1),
        (4, 2),
    ]
    loop_model = model()
    recorder = Recorder(
        loop_model,
        {"kind": "activation-percentiles", "when": "epoch"},
        held_out=[list(batch) for batch in batches(2)],
    )
    with recorder:
        for _ in range(2):
            recorder.step()
            recorder.step()
            recorder.end_epoch()
    places = {(row.step, row.epoch) for row in recorder.rows if row.key == "50"}
    assert places == {(0, 0), (2, 1), (4, 2)}


def test_folder_report_and_scalars(tmp_path: Path) -> None:
    written = []

    class Writer:
        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            written.append((tag, scalar_value, global_step))

    first = Loop([NORMS, PERCENTILES], out=tmp_path, arm="first", writer=Writer())
    Loop([NORMS, PERCENTILES], out=tmp_path, arm="second")
    again = Loop([NORMS, PERCENTILES], out=tmp_path, arm="second")
    assert len(written) == len(first.recorder.rows)
    assert ("gradient norm/0", first.values("gradient norm")[0], 1) in written
    result = judge_again(tmp_path)
    assert [trial.arm for trial in result.trials] == ["first", "second"]
    assert result.metrics.height == len(first.recorder.rows) + len(again.recorder.rows)
    page = again.recorder.report().read_text("utf-8")
    assert "gradient norm" in page
    assert again.recorder.report(tmp_path / "x.html").is_file()
    with pytest.raises(StoreError, match="holds the study 'recording'"):
        Loop(NORMS, out=tmp_path, name="other")


def test_a_report_without_a_folder(tmp_path: Path) -> None:
    recorder = Loop(NORMS).recorder
    assert "gradient norm" in recorder.report(tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(ArgumentError, match="no folder"):
        recorder.report()
    assert recorder.frame().columns[:3] == ["step", "epoch", "metric"]


def test_a_loader_that_shuffles_draws_nothing_of_the_loops() -> None:
    loader = torch.utils.data.DataLoader(batches(3), shuffle=True, batch_size=None)
    network, state = model(), torch.get_rng_state()
    Recorder(network, PERCENTILES, held_out=loader)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_compiled_model_is_probed_uncompiled() -> None:
    compiled = Loop([NORMS], wrap=lambda network: torch.compile(network, backend="eager"))
    plain = Loop([NORMS])
    assert compiled.values("gradient norm") == pytest.approx(plain.values("gradient norm"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not any(m._forward_pre_hooks for m in compiled.network.modules())
