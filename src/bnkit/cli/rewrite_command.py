"""What the commands that rewrite a model share: reading it, printing the account, writing it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnkit._files import cannot_write
from bnkit.cli.model_options import explained, read_example, read_model
from bnkit.cli.output_format import OutputFormat, print_json, print_text
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


def run_rewrite(
    make: Callable[[Any, Any], Rewrite],
    *,
    target: str,
    shape: list[str] | None,
    example: str | None,
    weights: Path | None,
    out: Path | None,
    format_: OutputFormat,
    debug: bool,
) -> None:
    """Read the model, rewrite it, print the account, and write it if --out is given.

    Args:
        make: (model, example or None) → the rewrite; the model may be changed in place.
        target, shape, example, weights, out, format_, debug: as the commands' options.

    Raises:
        BnkitError: a message for the user; nothing has been written then.
    """
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
            remedy="Give --shape, such as 8x3x224x224, or --example file.py:make_batch",
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
