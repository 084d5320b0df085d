"""What commands on a model have in common: TARGET, --shape, --example, --weights, --debug."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnkit.errors import BnkitError, CheckError

if TYPE_CHECKING:
    from bnkit.checker.settings import Settings

TargetArgument = Annotated[
    str,
    typer.Argument(
        help="file.py:attribute or package.module:attribute: a model, or a function that "
        "returns one."
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", help="Shape of the input, such as 8x3x224x224, or 8x16:int64; once per input."
    ),
]
ExampleOption = Annotated[
    str | None,
    typer.Option("--example", help="file.py:make_batch: the input, or a function for it."),
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Weights: safetensors, or a state_dict.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]


@contextlib.contextmanager
def explained(debug: bool) -> Iterator[None]:
    """Show the traceback of an error that bnkit tells of, if it is asked for."""
    try:
        yield
    except BnkitError:
        if debug:
            traceback.print_exc()
        raise


def read_model(target: str, weights: Path | None) -> Any:
    """Return the model that TARGET names, with the weights of a file if one is given."""
    from bnkit.checker.target_model import load_model

    model = load_model(target, Path.cwd())
    if weights is not None:
        from bnkit.checker.weights import load_weights

        load_weights(model, weights)
    return model


def read_example(
    model: Any, shape: list[str] | None, example: str | None, settings: Settings
) -> Any:
    """Return the example of --shape or --example, else of [tool.bnkit]; None without any."""
    from bnkit.checker.target_model import load_example, random_example

    if shape and example:
        raise CheckError("--shape and --example are both given", required="one of them")
    if example:
        return load_example(example, Path.cwd())
    if shape:
        return random_example(model, shape)
    if settings.get("example"):
        return load_example(settings.get("example"), settings.folder)
    stored = settings.get("shape")
    shapes = [stored] if isinstance(stored, str) else stored
    return random_example(model, shapes) if shapes else None
