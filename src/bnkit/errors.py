"""The exceptions of bnkit, drawn once.

    BnkitError
    ├── ArgumentError            (ValueError)    an argument has a value it must not have
    │   ├── ArgumentTypeError    (TypeError)     an argument is of a type it must not be of
    │   └── UnusableArgumentError (RuntimeError) as above, where torch raises RuntimeError
    ├── TensorShapeError         (ValueError)    a tensor of the wrong rank or size
    │   └── TensorAxisError      (IndexError)    a tensor lacks the channel axis
    ├── TensorTypeError          (TypeError)     something that is no tensor
    ├── TensorDtypeError         (NotImplementedError)  a dtype batch norm is not defined for
    ├── TensorMismatchError      (RuntimeError)  tensors that do not fit together
    ├── KernelUnavailableError   (RuntimeError)  a kernel asked for by name cannot run
    ├── TorchScriptError         (RuntimeError)  a layer has no form TorchScript can read
    ├── MissingExtraError        (ImportError)   an optional dependency is not installed
    ├── RewriteError             (ValueError)    a rewrite refuses what it cannot prove
    ├── CheckError               (ValueError)    what a check was given cannot be used
    ├── ForwardError             (RuntimeError)  a model's forward raised on the example
    ├── TargetError              (ValueError)    file.py:attribute or package.module:attribute fails
    ├── StudyError               (ValueError)    a study file is wrong
    ├── DataError                (ValueError)    images or labels cannot be used
    ├── NetworkError             (ValueError)    a network cannot be built or compared
    ├── ProbeError               (ValueError)    a probe cannot be used as it was asked for
    ├── TrialError               (RuntimeError)  a trial raised while it trained
    └── StoreError               (OSError)       results cannot be read or written

Each also derives from the built-in type that PyTorch raises for the same mistake, so code that
catches torch's errors catches ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BnkitError(Exception):
    """Base of all errors of bnkit: what was given, what is required, the remedy, and where.

    Args:
        given: what was found, as a clause without a full stop.
        required: what it should have been, as a clause; may be empty.
        remedy: what to do, as a sentence without a full stop, or a question; may be empty.
        where: path of the layer, or file and key, that the message begins with; may be empty.
    """

    def __init__(
        self, given: str, *, required: str = "", remedy: str = "", where: str = ""
    ) -> None:
        super().__init__(given)
        self.given = given
        self.required = required
        self.remedy = remedy
        self.where = where

    def __str__(self) -> str:
        head = f"{self.where}: {self.given}" if self.where else self.given
        body = f"{head}; {self.required}" if self.required else head
        return f"{_sentence(body)} {_sentence(self.remedy)}" if self.remedy else _sentence(body)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the remedy "Did you mean …?" with the nearest known name, empty if none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


class ArgumentError(BnkitError, ValueError):
    """An argument has a value that it must not have."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of a type it must not be of."""


class UnusableArgumentError(ArgumentError, RuntimeError):
    """An argument whose value torch refuses with a RuntimeError."""


class TensorShapeError(BnkitError, ValueError):
    """A tensor has a rank or size that the operation cannot take."""


class TensorAxisError(TensorShapeError, IndexError):
    """A tensor lacks the channel axis, or its channel axis is empty."""


class TensorTypeError(BnkitError, TypeError, AttributeError):
    """Something that is no tensor stands where a tensor must."""


class TensorDtypeError(BnkitError, NotImplementedError):
    """A tensor of a dtype that batch norm is not defined for."""


class TensorMismatchError(BnkitError, RuntimeError):
    """Tensors that must agree in channels, dtype or device do not."""


class KernelUnavailableError(BnkitError, RuntimeError):
    """A kernel that was asked for by name cannot run on this tensor or machine."""


class TorchScriptError(BnkitError, RuntimeError):
    """A layer has no form that TorchScript can read."""


class MissingExtraError(BnkitError, ImportError):
    """An optional dependency is not installed."""


class RewriteError(BnkitError, ValueError):
    """A rewrite refuses a model, or what came out of it cannot be shown to be right."""


class CheckError(BnkitError, ValueError):
    """What a check was given cannot be used: a rule code, settings, weights, an example, data."""


class ForwardError(BnkitError, RuntimeError):
    """A model's forward raised; the message begins with the layer at which it did."""


class TargetError(BnkitError, ValueError):
    """A target such as `file.py:attribute` cannot be loaded."""


class StudyError(BnkitError, ValueError):
    """A study file or an override of one is wrong."""


class DataError(BnkitError, ValueError):
    """Images, arrays or labels cannot be read or cannot be used."""


class NetworkError(BnkitError, ValueError):
    """A network cannot be built, does not fit the data, or gives nothing to compare."""


class ProbeError(BnkitError, ValueError):
    """A probe cannot be used as it was asked for, or on this network or loop."""


class TrialError(BnkitError, RuntimeError):
    """A trial raised while it trained; trials that had finished are kept."""


class StoreError(BnkitError, OSError):
    """Results cannot be read or written."""
