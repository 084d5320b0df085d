"""The `[data]` table of a study file."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from bnkit.lab.data.names import GIVEN, SOURCES


def _one_or_more(value: Any, info: ValidationInfo) -> Any:
    """Return a single number as a tuple of one, so that 0.5 and [0.5] are the same setting."""
    if isinstance(value, int | float):
        return (value,)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(
            f"data.{info.field_name} = {value!r}; one number, or a list of one per channel"
        )
    return value


def _height_and_width(value: Any) -> Any:
    """Return a single size as (height, width), so that 28 and [28, 28] are the same setting."""
    if isinstance(value, int):
        return (value, value)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"data.image_size = {value!r}; one whole number, or [height, width]")
    return value


# Strict: without it pydantic takes true for 1 and "32" for 32.
Whole = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[int, Field(gt=0, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], BeforeValidator(_one_or_more)]
Size = Annotated[tuple[Positive, Positive], BeforeValidator(_height_and_width)]


class DataSettings(BaseModel):
    """Which images a study trains on, and how they are prepared.

    Attributes:
        name: `digits`, `iris`, `wine` and `breast-cancer` come with scikit-learn; `mnist`,
            `cifar-10` and `hindi-digits` lie in the data folder; `folder` is an image folder,
            `arrays` an .npz file; `given` stands for arrays that Python code hands over.
        path: the image folder or .npz file.
        batch_size: images per optimizer step.
        drop_last: leave out the last, smaller batch of an epoch.
        image_size: (height, width) that images are resized to, or one number for both; None keeps
            their size.
        colour: `grey` or `rgb`; None keeps what the files are (grey if all of them are).
        mean, std: subtracted, then divided by, after scaling to [0, 1]; one number, or one per
            channel.
        scaling: `standardise` or `mean-normalise`: each channel or feature by the mean and spread
            of the training examples; None leaves the values.
        test_share: share held out per class where the data has no test split of its own.
        split_seed: seed of that split, and of the next two.
        train_examples, test_examples: how many of a split are used, each class in proportion; None
            uses all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: Path | None = None
    batch_size: Positive = 32
    drop_last: bool = False
    image_size: Size | None = None
    colour: Literal["grey", "rgb"] | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    scaling: Literal["standardise", "mean-normalise"] | None = None
    test_share: Annotated[Number, Field(gt=0, lt=1)] = 0.2
    split_seed: Whole = 0
    train_examples: Positive | None = None
    test_examples: Positive | None = None

    @model_validator(mode="after")
    def _name_is_known(self) -> Self:
        if self.name not in SOURCES and self.name != GIVEN:
            near = get_close_matches(self.name, SOURCES, n=1)
            hint = f'. Did you mean "{near[0]}"?' if near else ""
            raise ValueError(f'data.name = "{self.name}"; one of {", ".join(SOURCES)}{hint}')
        return self

    @model_validator(mode="after")
    def _path_fits_name(self) -> Self:
        needs_path = self.name in SOURCES and SOURCES[self.name].needs_path
        if needs_path and self.path is None:
            raise ValueError(f'data.name = "{self.name}" needs data.path')
        if not needs_path and self.path is not None:
            raise ValueError(f'data.name = "{self.name}" {self._place()} and takes no data.path')
        return self

    def _place(self) -> str:
        if self.name == GIVEN:
            return "is handed over in Python"
        if SOURCES[self.name].is_stored:
            return "lies in the data folder (--data-dir, or BNKIT_DATA_DIR)"
        return "is built in"

    @model_validator(mode="after")
    def _std_is_positive(self) -> Self:
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(
                f"data.std = {list(self.std)}; values are divided by it, "
                "so each must be greater than 0"
            )
        return self

    @model_validator(mode="after")
    def _one_scaling(self) -> Self:
        if self.scaling is not None and (self.mean is not None or self.std is not None):
            given = "data.mean" if self.mean is not None else "data.std"
            raise ValueError(
                f'data.scaling = "{self.scaling}" and {given} are both given; scaling takes mean '
                "and spread from the training examples, so leave one of the two out"
            )
        return self
