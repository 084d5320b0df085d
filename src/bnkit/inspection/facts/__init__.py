"""What a model is and does, as frozen plain data: no tensors, no model, no torch."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.inspection.facts.data import DataFacts as DataFacts
    from bnkit.inspection.facts.data import ForwardFacts as ForwardFacts
    from bnkit.inspection.facts.graph import CallFacts as CallFacts
    from bnkit.inspection.facts.graph import GraphFacts as GraphFacts
    from bnkit.inspection.facts.model import LayerFacts as LayerFacts
    from bnkit.inspection.facts.model import ModelFacts as ModelFacts
    from bnkit.inspection.facts.model import ModuleFacts as ModuleFacts
    from bnkit.inspection.facts.setup import SetupFacts as SetupFacts
    from bnkit.inspection.facts.steps import StepFacts as StepFacts
    from bnkit.inspection.facts.whole import Facts as Facts

__getattr__, __dir__ = attach(
    __name__,
    {
        "CallFacts": "bnkit.inspection.facts.graph",
        "DataFacts": "bnkit.inspection.facts.data",
        "Facts": "bnkit.inspection.facts.whole",
        "ForwardFacts": "bnkit.inspection.facts.data",
        "GraphFacts": "bnkit.inspection.facts.graph",
        "LayerFacts": "bnkit.inspection.facts.model",
        "ModelFacts": "bnkit.inspection.facts.model",
        "ModuleFacts": "bnkit.inspection.facts.model",
        "SetupFacts": "bnkit.inspection.facts.setup",
        "StepFacts": "bnkit.inspection.facts.steps",
    },
)
