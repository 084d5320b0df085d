"""The `[network]` table of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class NetworkSettings(BaseModel):
    """Which network a study trains.

    Attributes:
        name: a network of bnkit, or `file.py:attribute` or `package.module:attribute` of a function
            or class that builds one.
        args: keyword arguments for it, besides `input_shape` and `classes`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    args: Mapping[str, Any] = Field(default_factory=dict)
