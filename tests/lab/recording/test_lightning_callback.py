"""The callback in `Trainer.fit`: the same training, and the same records as by hand."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab import ProbeCallback, StudyResult

warnings.filterwarnings("ignore", module="lightning_utilities")
lightning = pytest.importorskip("pytorch_lightning", reason="the extra `lightning` is missing")
LOSS = nn.functional.cross_entropy
NORMS = {"kind": "gradient-norms", "when": 1}
PERCENTILES = {"kind": "activation-percentiles", "when": "epoch"}


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        )
        self.logged = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = LOSS(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def log(self, *args: Any, **kwargs: Any) -> None:
        self.logged += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Manual(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def loader() -> torch.utils.data.DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(24, 5, generator=generator)
    labels = torch.randint(3, (24,), generator=generator)
    data = torch.utils.data.TensorDataset(images, labels)
    return torch.utils.data.DataLoader(data, batch_size=6)


def fit(module: Any, callback: Any = None, **given: Any) -> Any:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.manual_seed(5)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback] if callback else [],
        **given,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, loader())
    return module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_is_the_same_to_the_last_bit_and_recorded(accumulate: int, tmp_path: Path) -> None:
    held_out = next(iter(loader()))
    callback = ProbeCallback([NORMS, PERCENTILES], held_out=held_out, out=tmp_path)
    plain = fit(Classifier(), accumulate_grad_batches=accumulate)
    probed = fit(Classifier(), callback, accumulate_grad_batches=accumulate)
    for ours, theirs in zip(probed.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert probed.logged == plain.logged
    metrics = StudyResult.read(tmp_path).metrics
    steps = sorted(metrics.filter(metric="gradient norm")["step"].unique())
    assert steps == list(range(1, 8 // accumulate + 1))
    epochs = metrics.filter(metric="activation percentile")["epoch"].unique()
    assert sorted(epochs) == [0, 1, 2]


def test_norms_are_those_of_the_steps() -> None:
    expected = []

    class Watching(Classifier):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            expected.append(self.net[0].weight.grad.norm().item())

    callback = ProbeCallback(NORMS)
    fit(Watching(), callback)
    found = [row.value for row in callback.recorder.rows if row.layer == "net.0"]
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_module_that_steps_itself_needs_a_closure() -> None:
    with pytest.raises(ProbeError, match="Manual steps its optimizers in training_step"):
        fit(Manual(), ProbeCallback(NORMS))


def test_an_exception_keeps_what_was_recorded(tmp_path: Path) -> None:
    class Failing(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if batch_idx == 2 and self.trainer.global_step == 2:
                raise KeyError("no such thing")
            return super().training_step(batch, batch_idx)

    with pytest.raises(KeyError):
        fit(Failing(), ProbeCallback(NORMS, out=tmp_path))
    stored = StudyResult.read(tmp_path)
    assert stored.metrics["step"].max() == 2
    assert stored.stored.notes == ["The loop was left by KeyError after step 2."]
