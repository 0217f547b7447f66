"""The recipes, by name."""

import importlib
from dataclasses import dataclass

from geoseg_core.errors import BadConfig
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.task import Task


@dataclass(frozen=True)
class Recipe:
    """Where a recipe's task and config are defined; its module is imported only when it is asked for."""

    name: str
    summary: str
    module: str
    task: str
    config: str

    def task_type(self) -> type[Task]:
        """The class of its task."""
        found: type[Task] = getattr(importlib.import_module(self.module), self.task)
        return found

    def config_type(self) -> type[TrainingConfig]:
        """The class of its settings."""
        found: type[TrainingConfig] = getattr(importlib.import_module(self.module), self.config)
        return found


RECIPES = (
    Recipe(
        "vggt",
        "a VGGT of any size: cameras, depth, points and tracks",
        "geoseg_core.training.recipes.vggt",
        "VggtTask",
        "VggtRecipe",
    ),
    Recipe(
        "vggt-1b",
        "heads of VGGT-1B for one's own cameras, its trunk frozen (loop.weights=FILE)",
        "geoseg_core.training.recipes.vggt",
        "VggtTask",
        "Vggt1bRecipe",
    ),
    Recipe(
        "segvggt",
        "SegVGGT: things found by object queries on VGGT-1B, and its geometry with them (loop.weights=FILE)",
        "geoseg_core.training.recipes.segvggt",
        "SegVggtTask",
        "SegVggtRecipe",
    ),
    Recipe(
        "iggt",
        "IGGT: features that tell instances apart on VGGT-1B, and its geometry with them (loop.weights=FILE)",
        "geoseg_core.training.recipes.iggt",
        "IggtTask",
        "IggtRecipe",
    ),
    Recipe(
        "tiny",
        "the small network that comes with geoseg: depth, focal lengths and places that match",
        "geoseg_core.training.recipes.tiny",
        "TinyTask",
        "TinyRecipe",
    ),
    Recipe(
        "union-head",
        "masks carried between views, on the features of the small network",
        "geoseg_core.training.recipes.union_head",
        "UnionHeadTask",
        "UnionHeadRecipe",
    ),
    Recipe(
        "union-memory",
        "the memory with which the union head finds objects again, on the features of the small network",
        "geoseg_core.training.recipes.union_memory",
        "UnionMemoryTask",
        "UnionMemoryRecipe",
    ),
    Recipe(
        "tiny-instances",
        "things found in all views together by object queries, on the tokens of the small network",
        "geoseg_core.training.recipes.tiny_instances",
        "TinyInstancesTask",
        "TinyInstancesRecipe",
    ),
    Recipe(
        "tiny-joint",
        "the same together with the small network, whose attention is adapted (lora.rank=0: as it is)",
        "geoseg_core.training.recipes.tiny_joint",
        "TinyJointTask",
        "TinyJointRecipe",
    ),
    Recipe(
        "tiny-mv-sam",
        "MV-SAM: prompts in any views to masks in all of them, on the features of the small network",
        "geoseg_core.training.recipes.tiny_mv_sam",
        "TinyMvSamTask",
        "TinyMvSamRecipe",
    ),
    Recipe(
        "mv-sam",
        "MV-SAM at its published size, on SAM 2 or EdgeTAM and points of any encoder, from single photographs",
        "geoseg_core.training.recipes.mv_sam",
        "MvSamTask",
        "MvSamRecipe",
    ),
)


def recipe_named(name: str) -> Recipe:
    """Look a recipe up.

    Raises:
        BadConfig: there is none of that name.
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise BadConfig(f"expected a recipe (one of {', '.join(each.name for each in RECIPES)}), got {name!r}")
