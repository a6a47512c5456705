"""ExPO toolkit: sample self-explanations, measure positives, train on them, and show the results."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

__version__ = "0.1.0"

_RENAMED = {
    "expo.tables": "expo.schema",
    "expo.measure.recipe": "expo.recipe",
    "expo.measure.gradients": "expo.gradients; there ghost.ghost is gram.per_example_gram, spans.Span examples.Example",
    "expo.measure.alignment": "expo.gradients.alignment",
    "expo.measure.enumeration": "expo.gradients.enumeration",
    "expo.measure.predictors": "expo.gradients.predictors",
    "expo.measure.gain": "expo.gradients.run",
    "expo.measure.judging": "expo.judge.run",
    "expo.grading.judge": "expo.judge.votes",
    "expo.grading.settle": "expo.grading.compare",
    "expo.grading.string_rules": "expo.grading.compare",
    "expo.policies.cache": "expo.policies.kv_cache",
    "expo.policies.prompts": "expo.tasks.prompts, and its CHAIN expo.tasks.chain_task.CHAIN",
    "expo.report.curves": "expo.report.training: fig1, curves, table3 and changes",
    "expo.report.diagnostics": "expo.report.dpo.diagnostics",
    "expo.report.example": "expo.report.positives.example1",
    "expo.report.figures": "expo.report.positives: fig2 and fig3",
    "expo.report.gains": "expo.report.gradients: predicted_change and predictors",
    "expo.report.grid": "expo.report.training.grid",
    "expo.report.kinds": "expo.report.gradients.kinds",
    "expo.report.ledger": "expo.report.theory.ledger",
    "expo.report.preferences": "expo.report.dpo: table2, table4 and fig6",
    "expo.report.rates": "expo.report.dpo: by_rate, loss and drift",
    "expo.report.slopes": "expo.report.gradients.slopes",
    "expo.report.tables": "expo.report.positives.table1",
    "expo.report.temperature": "expo.report.positives.temperature",
    "expo.train.watch": "expo.train.session, expo.train.supply and expo.train.probes",
}


class _Renamed(MetaPathFinder):
    """Name the new module when an old one is imported."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname in _RENAMED:
            # Not ModuleNotFoundError, which `from expo import tables` would swallow without naming the new module.
            raise ImportError(f"{fullname} is now {_RENAMED[fullname]}", name=fullname)


# This comes first: otherwise a folder left by an older version would be taken for the module.
sys.meta_path.insert(0, _Renamed())
