"""The worked example: one batch through batch normalization, every step with its numbers."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.explain.agreement import Agreement as Agreement
    from bnkit.explain.batch import Batch as Batch
    from bnkit.explain.batch import example_batch as example_batch
    from bnkit.explain.batch_file import read_batch as read_batch
    from bnkit.explain.page import render_html as render_html
    from bnkit.explain.render import render_json as render_json
    from bnkit.explain.render import render_text as render_text
    from bnkit.explain.worked_example import Inference as Inference
    from bnkit.explain.worked_example import WorkedExample as WorkedExample
    from bnkit.explain.worked_example import work_through as work_through

__getattr__, __dir__ = attach(
    __name__,
    {
        "Agreement": "bnkit.explain.agreement",
        "Batch": "bnkit.explain.batch",
        "Inference": "bnkit.explain.worked_example",
        "WorkedExample": "bnkit.explain.worked_example",
        "example_batch": "bnkit.explain.batch",
        "read_batch": "bnkit.explain.batch_file",
        "render_html": "bnkit.explain.page",
        "render_json": "bnkit.explain.render",
        "render_text": "bnkit.explain.render",
        "work_through": "bnkit.explain.worked_example",
    },
)
