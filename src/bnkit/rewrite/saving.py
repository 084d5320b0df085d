"""A rewrite into a file: weights with the list of changes, or an exported program."""

from __future__ import annotations

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnkit._files import write_whole
from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, as_call
from bnkit.rewrite.kept_in_eval import is_kept_class
from bnkit.rewrite.result import Rewrite
from bnkit.rewrite.steps import Step, as_json

# Keys of the metadata of a .safetensors file.
FORMAT, FORMAT_VERSION = "bnkit", "1"
NAME, STEPS, CHANGES, TIED, KINDS = "rewrite", "steps", "changes", "tied", "kinds"


def as_path(file: Any) -> Path:
    """Return a file's path.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        return Path(file)
    except TypeError:
        raise ArgumentTypeError(
            f"file is a {type(file).__name__}", required="a path, as text or pathlib.Path"
        ) from None


def save(rewrite: Rewrite, file: Path, example: Example | None = None) -> None:
    """Write a rewrite's model; see `Rewrite.save`."""
    writers = {".safetensors": _save_weights, ".pt2": _save_program}
    if file.suffix not in writers:
        raise RewriteError(
            f"cannot write {file}: its ending is {file.suffix or 'missing'}",
            required=".safetensors (weights and the list of changes, for bnkit.load) or .pt2 (a "
            "program of torch.export)",
        )
    writers[file.suffix](rewrite, file, example)


def _save_weights(rewrite: Rewrite, file: Path, _: Example | None) -> None:
    past = rewrite._past()
    steps: list[Step] = []
    for each in past:
        if each.steps is None:
            raise RewriteError(
                f"the changes of {each.name or 'this rewrite'} cannot be replayed from a file",
                remedy="Save the state_dict, and make the rewrite again on the model that loads it",
            )
        steps += each.steps
    tensors, tied = _distinct_tensors(rewrite.model)
    metadata = {
        FORMAT: FORMAT_VERSION,
        NAME: " + ".join(each.name for each in past),
        STEPS: as_json(steps),
        CHANGES: json.dumps([change for each in past for change in each.changes]),
        TIED: json.dumps(tied),
        KINDS: json.dumps(kinds_of(rewrite.model)),
    }
    write_whole(file, partial(_write_tensors, tensors, metadata))


def kinds_of(model: nn.Module) -> dict[str, str]:
    """Return path → kind for the modules that are torch's or bnkit's, and for those kept in eval.

    Of a user's own the name says little: a file that is run has another each time.
    """
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        kind = type(module)
        home = kind.__module__.split(".")[0]
        kept = "kept in eval mode: " if is_kept_class(kind) else ""
        if kept or home in ("torch", "bnkit"):
            found[path] = f"{kept}{home}.{kind.__name__}"
    return found


def _write_tensors(tensors: dict[str, Tensor], metadata: dict[str, str], file: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, file, metadata)
    except SafetensorError as error:  # what an OSError of its own comes as
        raise OSError(str(error)) from error


def _distinct_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return key → tensor, and for further keys of the same tensor the first of them."""
    found: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for key, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise RewriteError(
                f"the model keeps a {type(value).__name__} in its state_dict, under {key}",
                required=".safetensors holds tensors and nothing else",
                remedy="Write .pt2, or leave out what get_extra_state returns",
            )
        if value.is_meta:
            raise RewriteError(f"{key} is on the meta device and has no values")
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and place in first:
            tied[key] = first[place]
            continue
        first[place] = key
        # safetensors takes neither views of each other nor gaps.
        found[key] = value.detach().clone(memory_format=torch.contiguous_format)
    return found, tied


def _save_program(rewrite: Rewrite, file: Path, example: Example | None) -> None:
    if example is None:
        raise RewriteError(
            "a .pt2 needs an example input",
            required="torch.export runs the model once",
            remedy="Give example_args; on the command line --shape or --example",
        )
    model = rewrite.model
    with preserve(model, example):
        model.eval()
        program = _exported(model, example)
    write_whole(file, partial(_write_program, program))


def _write_program(program: torch.export.ExportedProgram, file: Path) -> None:
    try:
        torch.export.save(program, file)
    except RuntimeError as error:  # what torch's archive writer raises for an OSError
        raise OSError(str(error).splitlines()[0]) from error


def _exported(model: nn.Module, example: Example) -> torch.export.ExportedProgram:
    """Return the exported program; the first axis of each input is free if the model allows it."""
    args, kwargs = as_call(example)
    free = torch.export.Dim.AUTO
    shapes = torch.utils._pytree.tree_map(
        lambda value: {0: free} if isinstance(value, Tensor) and value.dim() else None,
        (tuple(args), dict(kwargs)),
    )
    tries: list[Any] = [_by_name(model, *shapes), None]
    for shape in tries:
        try:
            return torch.export.export(model, tuple(args), dict(kwargs), dynamic_shapes=shape)
        except Exception as error:
            failure = error
    raise RewriteError(
        f"torch.export cannot export the model: {str(failure).splitlines()[0]}",
        remedy="Write .safetensors, which bnkit.load reads into a fresh model",
    ) from failure


def _by_name(model: nn.Module, args: Any, kwargs: Any) -> Any:
    names = list(inspect.signature(model.forward).parameters)
    return dict(zip(names, args, strict=False)) | kwargs
