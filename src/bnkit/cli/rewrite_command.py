"""What the commands that rewrite a model share: reading it, printing the account, writing it."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnkit._files import cannot_write
from bnkit.cli.model_options import (
    DebugOption,
    ExampleOption,
    ShapeOption,
    TargetArgument,
    WeightsOption,
    explained,
    read_example,
    read_model,
)
from bnkit.cli.output_format import FormatOption, OutputFormat, print_json, print_text
from bnkit.errors import CheckError, RewriteError

if TYPE_CHECKING:
    from bnkit.rewrite.result import Rewrite

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Where to write the changed model: .safetensors (weights and changes, for "
        "bnkit.load) or .pt2 (an export).",
    ),
]
LayersOption = Annotated[
    list[str] | None,
    typer.Option("--layers", help="Layers by path or pattern, such as 'layer1.*' (default all)."),
]
_ENDINGS = (".safetensors", ".pt2")


# The options of every command that changes a model, by the names of their parameters.
_SHARED = {
    "shape": ShapeOption,
    "example": ExampleOption,
    "weights": WeightsOption,
    "out": OutOption,
    "format_": FormatOption,
    "debug": DebugOption,
}
_DEFAULTS = {"format_": OutputFormat.TEXT, "debug": False}


def rewrite_command(make: Callable[..., Any]) -> Callable[..., None]:
    """Return the command that reads a model, has it changed, prints the account, and writes it.

    Args:
        make: (model, example or None, its own options …) → the rewrite; the model may be changed
            in place. A parameter named as a shared option, such as `shape`, is given that one.

    Returns:
        A command with TARGET, the options of `make` and those that all share; its help is that of
        `make`. It raises a BnkitError for the user's mistakes; nothing has been written then.
    """
    own = list(inspect.signature(make, eval_str=True).parameters.values())[2:]

    def command(target: str, **given: Any) -> None:
        options = {parameter.name: given[parameter.name] for parameter in own}
        shared = {name: given[name] for name in _SHARED}
        _run(lambda model, inputs: make(model, inputs, **options), target, **shared)

    command.__name__, command.__doc__ = make.__name__, make.__doc__
    parameters = [_parameter("target", TargetArgument)]
    parameters += [each.replace(kind=_KEYWORD) for each in own if each.name not in _SHARED]
    parameters += [
        _parameter(name, option).replace(default=_DEFAULTS.get(name))
        for name, option in _SHARED.items()
    ]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, _KEYWORD, annotation=annotation)


def _run(
    make: Callable[[Any, Any], Rewrite],
    target: str,
    *,
    shape: list[str] | None,
    example: str | None,
    weights: Path | None,
    out: Path | None,
    format_: OutputFormat,
    debug: bool,
) -> None:
    with explained(debug), contextlib.redirect_stdout(sys.stderr):
        from bnkit.checker.settings import read_settings

        if out is not None:
            _refuse_unwritable(out)
        settings = read_settings(Path.cwd())
        model = read_model(target, weights or settings.path("weights"))
        inputs = read_example(model, shape, example, settings)
        rewrite = make(model, inputs)
        if out is not None:
            rewrite.save(out, inputs)
    if format_ is OutputFormat.JSON:
        print_json(_as_dict(rewrite, target, out))
        return
    print_text(str(rewrite))
    print_text(f"written: {out}" if out else "nothing was written; --out FILE writes the model")


def required(example: Any, seen: str) -> Any:
    """Return the example that a rewrite cannot do without.

    Args:
        example: as read; None if there is none.
        seen: what a run on it shows.

    Raises:
        CheckError: there is none.
    """
    if example is None:
        raise CheckError(
            "there is no input",
            required=f"one forward shows {seen}",
            remedy="Give --shape, such as 8x3x224x224, or --example file.py:make_batch; either may "
            "stand in pyproject.toml under [tool.bnkit]",
        )
    return example


def _refuse_unwritable(out: Path) -> None:
    """Refuse a file that could not be written before anything slow is done."""
    if out.suffix not in _ENDINGS:
        raise RewriteError(
            f"--out {out}", required=f"a file whose name ends in {' or '.join(_ENDINGS)}"
        )
    if not out.parent.is_dir():
        raise cannot_write(out, FileNotFoundError(f"there is no folder {out.parent}"))
    if out.is_dir():
        raise cannot_write(out, IsADirectoryError("it is a folder"))
    if not os.access(out.parent, os.W_OK):
        raise cannot_write(out, PermissionError(f"the folder {out.parent} is not writable"))


def _as_dict(rewrite: Rewrite, target: str, out: Path | None) -> dict[str, Any]:
    return {
        "rewrite": rewrite.name,
        "model": target,
        "changes": [{"path": item.path, "what": item.what} for item in rewrite.changes],
        "skipped": [{"path": item.path, "reason": item.reason} for item in rewrite.skipped],
        "difference": rewrite.difference,
        "relative_difference": rewrite.relative_difference,
        "added_keys": list(rewrite.added_keys),
        "removed_keys": list(rewrite.removed_keys),
        "notes": rewrite.notes,
        **rewrite.report(),
        "out": None if out is None else str(out),
    }
