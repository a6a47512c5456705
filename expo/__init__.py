"""ExPO toolkit: sample self-explanations, measure positives, train on them, and show what came out."""

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
    "expo.gradients.ghost": "expo.gradients.gram, its ghost per_example_gram",
    "expo.gradients.spans": "expo.gradients.examples, its Span Example",
    "expo.grading.judge": "expo.judge.votes",
    "expo.grading.settle": "expo.grading.string_rules",
    "expo.policies.cache": "expo.policies.kv_cache",
    "expo.policies.prompts": "expo.tasks.prompts, and its CHAIN expo.tasks.chain_task.CHAIN",
    "expo.train.watch": "expo.train.session, expo.train.supply and expo.train.probes",
}


class _Renamed(MetaPathFinder):
    """Names the new module where an old one is imported."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname in _RENAMED:
            raise ModuleNotFoundError(f"{fullname} is now {_RENAMED[fullname]}", name=fullname)


# The first to be asked: a folder that an older version left behind would be taken for the module.
sys.meta_path.insert(0, _Renamed())
