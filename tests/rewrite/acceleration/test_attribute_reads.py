from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

from bnkit.rewrite.acceleration.attribute_reads import reads_of


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def run(*args: Any) -> Any:
        return function(*args)

    return run


class Reader(nn.Module):
    def called(self, x: Tensor) -> Any:
        return self.whole(x), self.module.also_whole(x), self.passed_on(x, flag=True)

    def harmless(self) -> Any:
        self.counted.parameters()
        return self.moved.to("cpu")

    def sliced(self, x: Tensor) -> Any:
        return self.features[:3](x)

    def iterated(self, x: Tensor) -> Any:
        return [layer(x) for layer in self.iterated_over]

    def handed_over(self, x: Tensor) -> Any:
        return print(self.argument, x)

    def inside(self) -> Any:
        def closure() -> Any:
            return self.in_closure[0]

        return closure

    @decorated
    def wrapped(self) -> Any:
        return self.in_decorated[0]

    @staticmethod
    def static(model: Any) -> Any:
        return model.in_static[0]

    @property
    def computed(self) -> Any:
        return self.in_property[0]


class Inherits(Reader):
    pass


def test_what_is_not_called_is_read() -> None:
    read = {name for name in reads_of(nn.Sequential(Inherits())) if name != "module"}
    unread = {"whole", "also_whole", "passed_on", "counted", "moved"}
    assert not read & unread
    assert read >= {
        "features",
        "iterated_over",
        "argument",
        "in_closure",
        "in_decorated",
        "in_static",
        "in_property",
    }
    assert reads_of(Inherits())["features"] == "Reader"


def test_torchs_own_code_is_not_read() -> None:
    assert reads_of(nn.Sequential(nn.Linear(2, 2), nn.TransformerEncoderLayer(2, 1))) == {}
