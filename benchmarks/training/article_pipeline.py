"""The Hindi-digits article's pipeline as published: what a study is timed against.

Image files are opened and decoded by PIL anew in each epoch, one by one, in a `DataLoader`;
networks have torch's layers; predictions are gathered in Python lists for scikit-learn's
`accuracy_score`; one arm trains after the other. Torchvision, which the article takes `Grayscale`
and `ToTensor` from, is not needed: `to_tensor` does the same work.

Source: Kashaboina 2024; its `train_model` follows Raff 2022, "Inside Deep Learning", chapter 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import accuracy_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

BATCH_SIZE = 32
LEARNING_RATE = 0.001
SEED = 5842
FILTERS = 16
CLASSES = 10


class Digits(Dataset[tuple[Tensor, int]]):
    """A folder of images, `<digit>/*.png`; each is decoded whenever it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*/*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file = self.files[index]
        with Image.open(file) as image:
            return to_tensor(image.convert("L")), int(file.parent.name)


def to_tensor(image: Image.Image) -> Tensor:
    """Return a grey image as (1, H, W) float32 in [0, 1], as torchvision's ToTensor does."""
    array = torch.from_numpy(np.array(image, np.uint8, copy=True))
    array = array.view(image.size[1], image.size[0], 1)
    return array.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def three_convs(with_batch_norm: bool) -> nn.Sequential:
    """Return the article's network for images of 32×32."""
    layers: list[nn.Module] = []
    for channels in (1, FILTERS, FILTERS):
        layers.append(nn.Conv2d(channels, FILTERS, 3, padding=1))
        if with_batch_norm:
            layers.append(nn.BatchNorm2d(FILTERS))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, CLASSES))


def run_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    loss_function: Callable[[Tensor, Tensor], Tensor],
    results: dict[str, list[float]],
    prefix: str,
) -> None:
    """Go once through a loader, train if the model is in training mode, and add the metrics."""
    running_loss: list[float] = []
    y_true: list[int] = []
    y_pred: list[list[float]] = []
    for inputs, labels in loader:
        y_hat = model(inputs)
        loss = loss_function(y_hat, labels)
        if model.training:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        running_loss.append(loss.item())
        y_true.extend(labels.detach().cpu().numpy().tolist())
        y_pred.extend(y_hat.detach().cpu().numpy().tolist())
    predicted = np.argmax(np.asarray(y_pred), axis=1)
    results[f"{prefix} loss"].append(float(np.mean(running_loss)))
    results[f"{prefix} accuracy"].append(float(accuracy_score(y_true, predicted)))


def train_model(
    model: nn.Module, train_loader: DataLoader[Any], test_loader: DataLoader[Any], epochs: int
) -> dict[str, list[float]]:
    """Train one network and return its metrics after each epoch."""
    names = ("train loss", "train accuracy", "test loss", "test accuracy", "w1", "w2")
    results: dict[str, list[float]] = {name: [] for name in names}
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss_function = nn.CrossEntropyLoss()
    last_conv = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)][-1]
    for _ in range(epochs):
        model.train()
        run_epoch(model, optimizer, train_loader, loss_function, results, "train")
        model.eval()
        with torch.no_grad():
            run_epoch(model, optimizer, test_loader, loss_function, results, "test")
        results["w1"].append(last_conv.weight[3, 4, 1, 0].item())
        results["w2"].append(last_conv.weight[3, 8, 1, 0].item())
    return results


def run(folder: Path, epochs: int) -> dict[str, dict[str, list[float]]]:
    """Train both arms, one after the other, and return arm → metrics after each epoch."""
    torch.manual_seed(SEED)
    train_loader = DataLoader(Digits(folder / "train"), batch_size=BATCH_SIZE, shuffle=True)
    test_loader = DataLoader(Digits(folder / "test"), batch_size=BATCH_SIZE)
    return {
        arm: train_model(three_convs(arm == "with"), train_loader, test_loader, epochs)
        for arm in ("without", "with")
    }
