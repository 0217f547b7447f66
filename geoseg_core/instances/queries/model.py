"""Object queries that read the token layers of a geometry network: each becomes one thing, the same in every view.

"SegVGGT: Joint 3D Reconstruction and Instance Segmentation from Multi-View Images" (2026), sections 3.1 to 3.3. Image
tokens never look at queries, so the queries can be run after the network, on the layers that it returns. In each layer
a query looks at the tokens of all views, camera and register tokens included (equation 2), then at the other queries:

    q <- q + Cross(LN q, LN tokens);  q <- q + Self(LN q);  q <- q + MLP(LN q)

The mask of query q in view v is sigmoid(<mask(q), F_v>), F the instance features (equation 3).

Departures: a query passes an MLP before the product, since the features have fewer channels than it has; in training
what it says after each layer is wanted, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.instances.queries.config import QueryConfig
from geoseg_core.layers.attention import Block, LayerNorm, Mlp
from geoseg_core.layers.products import attend


@dataclass(frozen=True, eq=False)
class DrawnCells:
    """Cells of the masks of all views, the same ones for all scenes.

    Attributes:
        numbers: (N,) int64, places in the flat masks V * h * w.
        size: (h, w) of the whole masks.
    """

    numbers: Tensor
    size: tuple[int, int]

    def of(self, maps: Tensor) -> Tensor:
        """(B, C, V, h, w) -> (B, C, 1, 1, N): these cells as one view of one row."""
        return maps.flatten(2)[..., self.numbers][:, :, None, None]


@dataclass(frozen=True, eq=False)
class QueryOutput:
    """What the queries say of B scenes of V views.

    Attributes:
        class_logits: (B, Q, K + 1) of the classes and, last, of no object.
        mask_logits: (B, Q, V, h, w), or (B, Q, 1, 1, N) of drawn cells alone.
        view_shares: (L, B, Q, V) how much of its attention each query gave to each view, in each layer that was looked
            at; None where nobody asked.
        earlier: what the queries would have said after each layer before the last; empty where nobody asked.
        drawn: the cells that the masks are of; None: all.
    """

    class_logits: Tensor
    mask_logits: Tensor
    view_shares: Tensor | None = None
    earlier: tuple["QueryOutput", ...] = ()
    drawn: DrawnCells | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the whole masks."""
        return self.drawn.size if self.drawn else (self.mask_logits.shape[-2], self.mask_logits.shape[-1])


class CrossAttention(nn.Module):
    """Multi-head attention of queries to the tokens of all views."""

    def __init__(self, width: int, token_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.kv_proj = nn.Linear(token_width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor, shares: bool) -> tuple[Tensor, Tensor | None]:
        """queries (B, Q, D) and tokens (B, V, P, C) -> (B, Q, D) and, if asked for, the shares of the views (B, Q, V).

        A view's share is the sum of the attention over its tokens, mean over the heads.
        """
        views = tokens.shape[1]
        query = self.q_proj(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, Q, d)
        pair = self.kv_proj(tokens.flatten(1, 2)).unflatten(-1, (2, self.heads, -1))
        key, value = pair.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, V*P, d)
        if not shares:
            return self._join(attend(query, key, value)), None
        weights = (query * query.shape[-1] ** -0.5 @ key.mT).float().softmax(dim=-1)
        share = weights.mean(dim=1).unflatten(-1, (views, -1)).sum(dim=-1)
        return self._join(weights.to(value.dtype) @ value), share

    def _join(self, mixed: Tensor) -> Tensor:
        return self.proj(mixed.transpose(1, 2).flatten(2))


class QueryLayer(nn.Module):
    """Queries look at the tokens of one layer of the network, then at each other."""

    def __init__(self, config: QueryConfig) -> None:
        super().__init__()
        self.norm, self.token_norm = LayerNorm(config.width), LayerNorm(config.token_width)
        self.cross = CrossAttention(config.width, config.token_width, config.heads)
        self.block = Block(config.width, config.heads, config.mlp_ratio, layer_scale=False)

    def forward(self, queries: Tensor, tokens: Tensor, shares: bool) -> tuple[Tensor, Tensor | None]:
        """As `CrossAttention`."""
        change, share = self.cross(self.norm(queries), self.token_norm(tokens), shares)
        return self.block(queries + change), share


class QueryDecoder(nn.Module):
    """Token layers and instance features of B scenes of any number of views -> QueryOutput."""

    def __init__(self, config: QueryConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or QueryConfig()
        self.queries = nn.Parameter(torch.randn(1, config.queries, config.width))
        self.layers = nn.ModuleList(QueryLayer(config) for _ in config.layers)
        self.norm = LayerNorm(config.width)
        self.class_head = Mlp(config.width, config.width, config.classes + 1)
        self.mask_head = Mlp(config.width, config.width, config.features)

    def forward(
        self, tokens: Mapping[int, Tensor], features: Tensor, shares: bool = False, steps: bool = True, cells: int = 0
    ) -> QueryOutput:
        """Classes and masks.

        Args:
            tokens: layer number -> (B, V, P, C) after the global attention; at least the layers `config.layers`.
            features: (B, V, D, h, w)
            shares: whether to say how the attention is spread over the views, which takes the slow way through it.
            steps: whether to say with it what the queries would have said after each layer.
            cells: masks at so many cells of all views alone, drawn anew; 0, or more than there are: at all.

        Raises:
            BadInput: layers that are missing, or shapes that do not fit each other or the configuration.
        """
        self._check(tokens, features)
        queries = self.queries.expand(len(features), -1, -1)
        spread, passed = [], []
        for layer, number in zip(self.layers, self.config.layers, strict=True):
            queries, share = layer(queries, tokens[number], shares)
            if share is not None:
                spread.append(share)
                passed.append(queries)
        maps = features.transpose(1, 2)
        drawn = drawn_cells(maps, cells) if 0 < cells < maps[0, 0].numel() else None
        read = partial(self._read, maps=drawn.of(maps) if drawn else maps, drawn=drawn)
        if not shares:
            return read(queries, shares=None, earlier=())
        along = torch.stack(spread)
        earlier = tuple(read(each, shares=along, earlier=()) for each in passed[:-1]) if steps else ()
        return read(queries, shares=along, earlier=earlier)

    def _read(
        self,
        queries: Tensor,
        maps: Tensor,
        drawn: DrawnCells | None,
        shares: Tensor | None,
        earlier: tuple[QueryOutput, ...],
    ) -> QueryOutput:
        """What queries (B, Q, C) say, with masks at the places of maps (B, D, V, h, w)."""
        queries = self.norm(queries)
        masks = (self.mask_head(queries) @ maps.flatten(2)).unflatten(2, maps.shape[2:])
        return QueryOutput(self.class_head(queries), masks, shares, earlier, drawn)

    def _check(self, tokens: Mapping[int, Tensor], features: Tensor) -> None:
        config = self.config
        missing = [number for number in config.layers if number not in tokens]
        if missing:
            raise BadInput(
                f"expected token layers {config.layers}, got {sorted(tokens)}; let the network keep {missing}"
            )
        if features.ndim != 5 or features.shape[2] != config.features:
            raise BadInput(
                f"expected features (B, V, {config.features}, h, w), got {tuple(features.shape)}; "
                "take the head that the decoder was made for"
            )
        for number in config.layers:
            shape = tuple(tokens[number].shape)
            if shape[:2] != tuple(features.shape[:2]) or shape[3] != config.token_width:
                raise BadInput(
                    f"expected token layer {number} (B, V, P, {config.token_width}) with (B, V) = "
                    f"{tuple(features.shape[:2])} as the features, got {shape}; take both of one network"
                )


def drawn_cells(maps: Tensor, count: int) -> DrawnCells:
    """`count` cells of maps (B, D, V, h, w), drawn at random."""
    numbers = torch.randperm(maps[0, 0].numel(), device=maps.device)[:count]
    return DrawnCells(numbers, (maps.shape[-2], maps.shape[-1]))
