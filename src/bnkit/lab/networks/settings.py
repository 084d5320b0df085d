"""The `[network]` table of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DefaultInit(_Table):
    """The weights that the builder gave."""

    name: Literal["default"] = "default"


class NormalInit(_Table):
    """Weights from N(0, std²)."""

    name: Literal["normal"]
    std: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class GlorotInit(_Table):
    """Weights of variance 2/(fan in + fan out); Glorot & Bengio 2010."""

    name: Literal["glorot"]
    distribution: Literal["uniform", "normal"] = "uniform"


class HeInit(_Table):
    """Weights of variance 2/fan in; He et al. 2015."""

    name: Literal["he"]
    distribution: Literal["uniform", "normal"] = "normal"


def _named(value: Any) -> Any:
    """Return a table that needs no key but its name as that table: "he" is { name = "he" }."""
    return {"name": value} if isinstance(value, str) else value


InitSettings = Annotated[
    Annotated[DefaultInit | NormalInit | GlorotInit | HeInit, Field(discriminator="name")],
    BeforeValidator(_named),
]


class NetworkSettings(_Table):
    """Which network a study trains.

    Attributes:
        name: a network of bnkit, or `file.py:attribute` or `package.module:attribute` of a function
            or class that builds one.
        args: keyword arguments for it, besides `input_shape` and `classes`.
        init: weights of its convolutions and linear layers, biases 0, drawn before the arm's
            rewrite; `default` leaves what the builder gave.
    """

    name: Annotated[str, Field(min_length=1)]
    args: Mapping[str, Any] = Field(default_factory=dict)
    init: InitSettings = Field(default_factory=DefaultInit)
