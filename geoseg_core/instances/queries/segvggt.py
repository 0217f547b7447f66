"""SegVGGT: VGGT with object queries that read all its layers; each becomes one thing, the same in every view.

"SegVGGT: Joint 3D Reconstruction and Instance Segmentation from Multi-View Images" (2026). A DPT head makes instance
features at half the size of the images; the queries and their masks are those of `QueryDecoder`. Image tokens never
look at queries, so geometry is exactly that of a VGGT with the same weights, and what both have is named as there.

The published text has lost some numbers. Taken here: 400 queries, as the methods have that it follows in this
(SPFormer, Relation3D), of the tokens' width; 256 channels of the instance features, those of VGGT's DPT heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geoseg_core.config import setting
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.geometry.vggt.config import HEADS, VggtConfig
from geoseg_core.geometry.vggt.model import FRAME_CHUNK, Vggt, VggtOutput
from geoseg_core.instances.queries.config import QueryConfig
from geoseg_core.instances.queries.model import QueryDecoder, QueryOutput
from geoseg_core.layers.dpt import Dpt, DptConfig

# Pixels of the image for one of the instance features.
DOWN_RATIO = 2
# What it has beside a VGGT.
NEW = ("feature_head.", "decoder.")


def queries_of_vggt() -> QueryConfig:
    """Queries for the released VGGT-1B."""
    return QueryConfig(token_width=1024, token_layers=24, queries=400, width=1024, heads=16, features=256)


@dataclass(frozen=True)
class SegVggtConfig(VggtConfig):
    """Sizes of the whole model."""

    heads: tuple = setting(("camera", "depth"), "the heads of VGGT that are built", choices=HEADS)
    feature_head: DptConfig = field(default_factory=DptConfig)
    queries: QueryConfig = field(default_factory=queries_of_vggt)


@dataclass(frozen=True, eq=False)
class SegVggtOutput(VggtOutput):
    """What VGGT's heads and the queries say.

    Attributes:
        queries: their masks are of half the size of the images.
    """

    queries: QueryOutput | None = None


class SegVggt(Vggt):
    """A Vggt whose token layers are also read by object queries.

    Raises:
        BadConfig: queries of other sizes than the tokens and features that they read.
    """

    config: SegVggtConfig

    def __init__(self, config: SegVggtConfig | None = None) -> None:
        config = config or SegVggtConfig()
        queries = config.queries
        wanted = (config.width, config.aggregator.depth, config.feature_head.features)
        got = (queries.token_width, queries.token_layers, queries.features)
        if got != wanted:
            raise BadConfig(
                f"queries: expected token_width, token_layers and features of the trunk and the feature head, "
                f"{wanted}, got {got}; set them"
            )
        super().__init__(config)
        self.feature_head = Dpt(config.feature_head, 2 * config.width, 0, patch=config.patch, down_ratio=DOWN_RATIO)
        self.decoder = QueryDecoder(queries)

    def forward(
        self,
        images: Tensor,
        heads: Sequence[str] = ("camera", "depth"),
        queries_px: Tensor | None = None,
        keep_layers: Sequence[int] = (),
        frame_chunk: int = FRAME_CHUNK,
        shares: bool = False,
        steps: bool = False,
        cells: int = 0,
    ) -> SegVggtOutput:
        """As `Vggt`, and what the object queries say; `shares`, `steps` and `cells` as in `QueryDecoder`."""
        layers = sorted({*keep_layers, *self.layers_of_queries()})
        output = super().forward(images, heads, queries_px, layers, frame_chunk)
        return SegVggtOutput(**vars(output), queries=self.instances(output.tokens, frame_chunk, shares, steps, cells))

    def layers_of_queries(self) -> set[int]:
        """The token layers that `instances` reads."""
        return {*self.config.queries.layers, *self.config.feature_head.layers}

    def instances(
        self,
        tokens: TokenLayers,
        frame_chunk: int = FRAME_CHUNK,
        shares: bool = False,
        steps: bool = False,
        cells: int = 0,
    ) -> QueryOutput:
        """What the object queries say of token layers."""
        config = self.config
        first = next(iter(tokens.layers.values()))
        with torch.autocast(first.device.type, enabled=False):
            features = self._dense(self.feature_head, tokens, config.feature_head.layers, frame_chunk)
        # The second half: tokens after the global attention.
        after_global = {number: tokens.layers[number][..., config.width :] for number in config.queries.layers}
        output: QueryOutput = self.decoder(after_global, features, shares, steps, cells)
        return output
