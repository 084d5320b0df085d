"""Facts about the modules of a model: what a walk finds, without a forward (need M)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

Scalar = bool | int | float | str | None | tuple[int | float | str, ...]

# Near 1 with a small spread: γ as DCGAN and pix2pix initialize it, N(1, 0.02).
_INITIAL_SPREAD = 0.05


@dataclass(frozen=True)
class TensorFacts:
    """A parameter or buffer of a normalization layer.

    Attributes:
        shape: its axes.
        dtype: such as "float32".
        device: such as "cpu" or "cuda:0"; "meta" if it has no values.
        requires_grad: whether it is trained.
        values: one float per channel; empty for another rank than 1, and on the meta device.
    """

    shape: tuple[int, ...]
    dtype: str
    device: str
    requires_grad: bool
    values: tuple[float, ...]


@dataclass(frozen=True)
class LayerFacts:
    """One normalization layer.

    Attributes:
        path: its first path in the model; empty if it is the model itself.
        paths: all of its paths; more than one if it is shared between modules.
        type_name: its class, such as "BatchNorm2d".
        home: the module that defines the class, such as "torch.nn.modules.batchnorm".
        kind: "batch", "sync" (batch norm over processes), "frozen" (somebody's batch norm that is
            no subclass of torch's and holds running statistics), "instance", "group", "layer",
            "rms", "local-response".
        channels: C; None where the layer has none.
        ranks: ranks of input that torch's namesake takes, such as (2, 3); empty if unknown.
        eps: added to the variance.
        momentum: weight of the NEW batch; None for the plain average of all batches.
        training: whether it is in training mode.
        track_running_stats: the flag, whatever buffers there are.
        weight, bias: γ and β; None if there is none.
        running_mean, running_var: the running statistics; None if there are none.
        batches_tracked: value of the counter; None if there is none.
        has_own_forward: whether its class replaces the forward of torch's or bnkit's layer.
        children: paths, relative to the layer, of modules inside it.
        hooks: kinds of the hooks registered on it, such as "forward", "backward".
        parametrized: names of its parametrized tensors.
    """

    path: str
    paths: tuple[str, ...]
    type_name: str
    home: str
    kind: str
    channels: int | None
    ranks: tuple[int, ...]
    eps: float
    momentum: float | None
    training: bool
    track_running_stats: bool
    weight: TensorFacts | None
    bias: TensorFacts | None
    running_mean: TensorFacts | None
    running_var: TensorFacts | None
    batches_tracked: int | None
    has_own_forward: bool = False
    children: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    parametrized: tuple[str, ...] = ()

    @property
    def is_batch_norm(self) -> bool:
        """Whether it is torch's batch norm or a subclass of it, over one or many processes."""
        return self.kind in ("batch", "sync")

    @property
    def has_statistics(self) -> bool:
        """Whether it holds running statistics."""
        return self.running_mean is not None and self.running_var is not None

    @property
    def updates_statistics(self) -> bool:
        """Whether a forward, in the mode it is in now, moves its running statistics."""
        moves = self.training and self.track_running_stats and self.momentum != 0
        return moves and self.has_statistics

    @property
    def has_moved(self) -> bool:
        """Whether its running variance has left its initial 1, or batches are counted.

        A mean alone may have taken up a bias that was dropped (`bnkit.fix`).
        """
        if self.batches_tracked:
            return True
        if self.running_mean is None or self.running_var is None:
            return False
        return any(value != 1 for value in self.running_var.values)

    @property
    def has_trained_parameters(self) -> bool:
        """Whether γ or β hold what no common initialization leaves there.

        Initial are: β the same in all channels; γ 0 or 1 in all channels, or, with such a β, drawn
        close around 1.
        """
        if self.bias is not None and len(set(self.bias.values)) > 1:
            return True
        if self.weight is None or not self.weight.values:
            return False
        values = self.weight.values
        if set(values) in ({0.0}, {1.0}):
            return False
        mean = sum(values) / len(values)
        spread = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        is_drawn = len(set(values)) > 1 and spread <= _INITIAL_SPREAD
        return not (is_drawn and abs(mean - 1) <= _INITIAL_SPREAD)


@dataclass(frozen=True)
class ParameterFacts:
    """One parameter of the model.

    Attributes:
        name: its first name, such as "layer1.0.bn1.weight".
        names: all of its names; more than one if it is tied, or its module shared.
        shape, dtype, device, requires_grad: as of a tensor.
    """

    name: str
    names: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    device: str
    requires_grad: bool

    @property
    def size(self) -> int:
        """Number of values."""
        product = 1
        for axis in self.shape:
            product *= axis
        return product


@dataclass(frozen=True)
class ModuleFacts:
    """One module of the model, of whatever kind.

    Attributes:
        path, paths, type_name, home, training, hooks, parametrized: as of `LayerFacts`.
        family: what it does, one of `inspection.families`: "conv", "linear", "dropout" …
        options: its settings that rules ask for: p, kernel_size, stride, padding, padding_mode,
            dilation, groups, batch_first, inplace …
        parameters: own name, such as "weight" → name of the parameter in the model
            (`ModelFacts.parameter`); a tied one has its first name.
        has_own_forward: whether its class replaces the forward of torch's or bnkit's layer.
        largest_weights: max |weight| of each output channel of a conv or linear layer; empty
            unless a rule was given a dtype to hold them against.
    """

    path: str
    paths: tuple[str, ...]
    type_name: str
    home: str
    family: str
    training: bool
    options: Mapping[str, Scalar] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    hooks: tuple[str, ...] = ()
    parametrized: tuple[str, ...] = ()
    has_own_forward: bool = False
    largest_weights: tuple[float, ...] = ()

    @property
    def has_bias(self) -> bool:
        """Whether it has a bias that is a parameter of its own."""
        return "bias" in self.parameters


@dataclass(frozen=True)
class ModelFacts:
    """A model without a forward.

    Attributes:
        type_name: class of the model.
        training: whether the model itself is in training mode.
        norms: its normalization layers, in the order of `named_modules`.
        modules: all of its modules, these included.
        parameters: all of its parameters, each once.
        wrappers: classes that wrap the model proper, outermost first, such as
            "DistributedDataParallel", "AveragedModel".
        weights_loaded: whether the user says that trained weights were loaded.
    """

    type_name: str
    training: bool
    norms: tuple[LayerFacts, ...]
    modules: tuple[ModuleFacts, ...]
    parameters: tuple[ParameterFacts, ...]
    wrappers: tuple[str, ...] = ()
    weights_loaded: bool = False

    @cached_property
    def batch_norms(self) -> tuple[LayerFacts, ...]:
        """The layers that are torch's batch norms or subclasses."""
        return tuple(layer for layer in self.norms if layer.is_batch_norm)

    def layer(self, path: str) -> LayerFacts | None:
        """Return the normalization layer at a path, any of its paths."""
        return self._layers.get(path)

    def module(self, path: str) -> ModuleFacts | None:
        """Return the module at a path, any of its paths."""
        return self._modules.get(path)

    def parameter(self, name: str) -> ParameterFacts | None:
        """Return the parameter of a name, any of its names."""
        return self._parameters.get(name)

    @cached_property
    def _layers(self) -> dict[str, LayerFacts]:
        return {path: layer for layer in self.norms for path in layer.paths}

    @cached_property
    def _modules(self) -> dict[str, ModuleFacts]:
        return {path: module for module in self.modules for path in module.paths}

    @cached_property
    def _parameters(self) -> dict[str, ParameterFacts]:
        return {name: parameter for parameter in self.parameters for name in parameter.names}
