"""The recipe of each job whose runs a study makes and a report shows."""

from __future__ import annotations

from expo.recipe import EvaluateRecipe, GradientRecipe, MeasureRecipe
from expo.train.recipe import TrainRecipe

RECIPES: dict[str, type] = {
    "measure": MeasureRecipe,
    "evaluate": EvaluateRecipe,
    "gradients": GradientRecipe,
    "train": TrainRecipe,
}
