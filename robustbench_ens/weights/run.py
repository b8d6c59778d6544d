"""Training runs: recipes with seeds, trained or not. It imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_ens.config.recipes import Recipe


@dataclass(frozen=True)
class TrainingRun:
    """A recipe with a seed: an ensemble that is trained, or will be."""

    recipe: Recipe
    seed: int

    @property
    def id(self) -> str:
        """The name of the run in outcomes, such as ``digits/dverge-3#0``."""
        return f"{self.recipe.label}#{self.seed}"

    @property
    def key(self) -> tuple[str, int]:
        """The key of its weights: the hash of the recipe that it is trained by, and the seed."""
        return self.recipe.trained.hash, self.seed

    @property
    def trained(self) -> TrainingRun:
        """The run that trains its sub-models: itself, unless its recipe only combines those of another."""
        recipe = self.recipe.trained
        return self if recipe is self.recipe else TrainingRun(recipe, self.seed)

    @property
    def parent(self) -> TrainingRun | None:
        """The run that it starts from, or none."""
        return None if self.recipe.parent is None else TrainingRun(self.recipe.parent, self.seed)

    @property
    def dataset(self) -> str:
        """The dataset it is trained on."""
        return self.recipe.settings.dataset

    @property
    def max_pixels(self) -> int:
        """The most pixels of an image of its dataset."""
        return self.recipe.settings.max_pixels

    @property
    def sub_models(self) -> int:
        """The number of its sub-models."""
        return self.recipe.settings.sub_models

    @property
    def method(self) -> str:
        """The training method."""
        return self.recipe.settings.method

    @property
    def hash(self) -> str:
        """The recipe's hash."""
        return self.recipe.hash

    @property
    def lineage(self) -> list[str]:
        """The initialisations that it descends from."""
        return self.recipe.lineage(self.seed)

    @property
    def where(self) -> str:
        """The name of the run in errors."""
        return f"recipe {self.recipe.label!r}"
