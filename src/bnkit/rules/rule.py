"""What a rule is, and what it finds.

A new rule is one file in this folder, named as the rule with underscores: `redundant_bias.py` for
`redundant-bias`. It holds a function `find(facts)` and, below it, `RULE = Rule(…, find=find)`; the
registry finds it there. Its cases go to `tests/rule_cases/redundant_bias.py`, and `make fix` writes
its page in docs/rules. What a rule reads:

    need  in `Facts`                      where the facts come from
    M     facts.model                     inspection/walk.py
    G     facts.graph                     inspection/read_graph.py, one traced forward
    F     facts.forward                   the same forward, if it ran on the user's data
    D     facts.data                      inspection/data_pass.py
    T     facts.setup                     inspection/read_setup.py
    S     facts.steps                     bnkit.watch, a context around a training loop

A rule is called only if what it needs was given; the rest of `facts` may be None. F and D rules
judge only layers for which `facts.is_trained(layer)` holds, or calls that have a
`facts.trained_norm(call)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from bnkit.inspection.facts.whole import Facts

ERROR, WARNING, INFO = "E", "W", "I"
SEVERITIES = (ERROR, WARNING, INFO)
# What a remedy does to the function that the network computes; empty if none is automatic.
EXACT, EVAL_EQUIVALENT, NEEDS_RETRAINING = "exact", "eval-equivalent", "needs-retraining"
SAFETIES = (EXACT, EVAL_EQUIVALENT, NEEDS_RETRAINING, "")
# As safety of one finding: its remedy is not the rule's automatic one.
BY_HAND = "by hand"


@dataclass(frozen=True)
class Finding:
    """One mistake, at one layer.

    Attributes:
        code, name: of the rule.
        layer: path of the layer that is to be changed; empty for the model itself.
        severity: "E", "W" or "I".
        message: what was found there, with its numbers; a sentence.
        remedy: what to do; a sentence.
        safety: "exact", "eval-equivalent" or "needs-retraining" if the remedy can be applied by
            itself; else empty.
        silenced: the reason for which the user silenced it; empty if it counts.
    """

    code: str
    name: str
    layer: str
    severity: str
    message: str
    remedy: str
    safety: str = ""
    silenced: str = ""

    def silence(self, reason: str) -> Finding:
        """Return this finding as silenced for a reason."""
        return replace(self, silenced=reason)


Find = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule and all that its page says.

    Attributes:
        code: such as "BN401".
        name: what it flags, such as "redundant-bias".
        severity: that of a finding unless it says another.
        needs: letters of M, G, F, D, T, S: `A+B` needs both, `A/B` either.
        find: facts → findings; a pure function.
        flags: what it flags, in a sentence or two.
        why: why that matters.
        fine: when it is fine.
        before, after: code with the mistake and without.
        remedy: what to do, unless a finding says another.
        source: paper, documentation or issue that the rule rests on.
        safety: of the remedy; see `Finding`.
        requires: fields of the facts that must not be None beyond `needs`, such as
            "setup.batch_size"; a rule that needs T names at least one.
        thresholds: name → default; read with `rule.threshold(facts, name)`.
        severities: all that its findings can have; (severity,) if empty.
        lacks: facts that hold all of that → what is too little or unfit in them, as a clause that
            begins with "needs"; empty if the rule can judge by them.
    """

    code: str
    name: str
    severity: str
    needs: str
    find: Find = field(repr=False)
    flags: str
    why: str
    fine: str
    before: str
    after: str
    remedy: str
    source: str
    safety: str = ""
    requires: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    severities: tuple[str, ...] = ()
    lacks: Callable[[Facts], str] | None = field(default=None, repr=False)

    def finding(
        self, layer: str, message: str, *, severity: str = "", remedy: str = "", safety: str = ""
    ) -> Finding:
        """Return a finding of this rule; what is left out is the rule's own."""
        severity = severity or self.severity
        assert severity in (self.severities or (self.severity,)), (self.code, severity)
        return Finding(
            self.code,
            self.name,
            layer,
            severity,
            message,
            remedy or self.remedy,
            "" if safety == BY_HAND else safety or self.safety,
        )

    def threshold(self, facts: Facts, name: str) -> float:
        """Return a threshold: the user's, else the default."""
        return facts.thresholds.get(self.code, {}).get(name, self.thresholds[name])

    def missing(self, facts: Facts) -> str:
        """Return what was not given that the rule needs, as a clause; empty if it can run."""
        for alternatives in self.needs.split("+"):
            letters = alternatives.split("/")
            if not any(_has(facts, letter) for letter in letters):
                return f"needs {' or '.join(dict.fromkeys(NEEDS[letter] for letter in letters))}"
        for path in self.requires:
            if _value(facts, path) is None:
                return f"needs {INPUTS[path]}"
        return "" if self.lacks is None else self.lacks(facts)


# Letter → what to give, as a check says it.
NEEDS = {
    "M": "a model",
    "G": "an example input (example_args=, --shape or --example)",
    "F": "real data (data=, --data)",
    "D": "real data (data=, --data)",
    "T": "the training set-up",
    "S": "some training steps (bnkit.watch)",
}
# Field of the facts → what to give.
INPUTS = {
    "setup.optimizer": "the optimizer (optimizer=)",
    "setup.loader": "the training loader (loader=)",
    "setup.batch_size": "the training batch size (batch_size=, --batch-size or loader=)",
    "setup.accumulation_steps": "the batches per optimizer step (accumulation_steps=)",
    "setup.total_steps": "the number of optimizer steps (total_steps=)",
    "setup.target_dtype": "the dtype it is to run in (target_dtype=)",
    "setup.conversion": "the conversion that is planned (conversion=)",
    "setup.averaging": "a model of averaged weights (torch.optim.swa_utils.AveragedModel)",
    "setup.rank_differences": "a process group of several ranks that all call the check together",
    "data.domains": "data of several domains (domains=)",
    "data.gap": "data that runs in both modes (data=, --data)",
}
_HOMES = {"G": "graph", "F": "forward", "D": "data", "S": "steps"}


def _has(facts: Facts, letter: str) -> bool:
    return letter not in _HOMES or getattr(facts, _HOMES[letter]) is not None


def _value(facts: Facts, path: str) -> object:
    value: object = facts
    for part in path.split("."):
        value = None if value is None else getattr(value, part)
    return value
