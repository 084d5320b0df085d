"""The loop, the optimizers, and the order in which examples are visited."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.training.batches import Split as Split
    from bnkit.lab.training.batches import to_device as to_device
    from bnkit.lab.training.computation import Computation as Computation
    from bnkit.lab.training.evaluation import Checkpoint as Checkpoint
    from bnkit.lab.training.evaluation import Loss as Loss
    from bnkit.lab.training.loop import TrainingRun as TrainingRun
    from bnkit.lab.training.loop import train as train
    from bnkit.lab.training.settings import TrainingSettings as TrainingSettings

__getattr__, __dir__ = attach(
    __name__,
    {
        "Checkpoint": "bnkit.lab.training.evaluation",
        "Loss": "bnkit.lab.training.evaluation",
        "Computation": "bnkit.lab.training.computation",
        "Split": "bnkit.lab.training.batches",
        "TrainingRun": "bnkit.lab.training.loop",
        "TrainingSettings": "bnkit.lab.training.settings",
        "to_device": "bnkit.lab.training.batches",
        "train": "bnkit.lab.training.loop",
    },
)
