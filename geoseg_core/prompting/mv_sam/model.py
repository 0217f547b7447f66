"""The decoder of MV-SAM (Jeong et al., "MV-SAM: Multi-view Promptable Segmentation using Pointmap Guidance", 2026):
prompts in any views, and what an image encoder and a geometry encoder say of all views, to masks in all views.

    cells = image embedding;  places = code of their 3-D points;  tokens = [mask, code + kind of each prompted point]
    for each view alone: tokens and cells look at each other (the two-way decoder of SAM)

A point that was marked in one view reaches the others by its place alone, which all views share; so the masks do not
depend on the order of the views, nor that of a view on the others.

Departures: a point also tells what the image embedding is where it lies (`looks`), since predicted point maps of few
views are coarse; masks are drawn by products with the cells and with finer features, not by transposed convolutions of
the cells, which costs little for many views; with `guides`, convolutions add to them what can be computed of places and
prompts (prompting/mv_sam/guides.py); a box is given as a map beside the mask, not as two corners, which lie on other
things. What masks and boxes say reaches their own view alone, but for guides, which carry masks to where descriptors
match: prompting/mv_sam/asking.py makes points of it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.tiny.matching import coarse_logits
from geoseg_core.layers.two_way import ChannelNorm, Mlp, TwoWay
from geoseg_core.prompting.mv_sam.config import MvSamConfig
from geoseg_core.prompting.mv_sam.guides import OTHER_MAPS, PLACE, GuidePlaces, GuidePoints, Guides
from geoseg_core.prompting.mv_sam.positions import Frame, PlaceCode, cell_places, frame_of, projected

# Kinds of points; the last one stands where a prompt has fewer points than others.
NEGATIVE, POSITIVE, NOTHING = 0, 1, -1
# Channels of what is given as a map: the mask and the box, each -1 outside, 1 inside, 0 where none is given.
MASK, BOX = 0, 1
# Cells of a map for one of the image embedding, each way.
DENSE = 4
# First logit of every pixel: most are of something else.
FIRST_LOGIT = -2.0


@dataclass(frozen=True, eq=False)
class Matching:
    """What tells which places of B scenes of V views are the same: the coarse descriptors (B, V, D, h, w) of the small
    geometry network, and its logit (B,) of a place that the other view does not show."""

    descriptors: Tensor
    nowhere: Tensor


@dataclass(frozen=True, eq=False)
class SceneEmbedding:
    """What is known of B scenes of V views before anybody points. S and s are the strides of the configuration.

    Attributes:
        image: (B, V, C, H/S, W/S)
        fine: (B, V, D, H/s, W/s)
        points: (B, V, H, W, 3) in any frame that all views share; NaN where unknown.
        confidence: (B, V, H, W), higher is better.
        projections: (B, V, 3, 4) from that frame to places in each image, 0 to 1 across it, times depth; None unless
            positions are 2-D.
        matching: which places are the same; None where nobody knows, and then guides do without.
    """

    image: Tensor
    fine: Tensor
    points: Tensor
    confidence: Tensor
    projections: Tensor | None = None
    matching: Matching | None = None

    def of_views(self, views: list[int]) -> "SceneEmbedding":
        """Some views alone."""
        projections = None if self.projections is None else self.projections[:, views]
        told = self.matching
        matching = None if told is None else Matching(told.descriptors[:, views], told.nowhere)
        image, fine, points, confidence = self.image, self.fine, self.points, self.confidence
        return SceneEmbedding(
            image[:, views], fine[:, views], points[:, views], confidence[:, views], projections, matching
        )


@dataclass(frozen=True, eq=False)
class ScenePrompts:
    """K prompts to each of B scenes, of P points at most, in any views.

    Attributes:
        kinds: (B, K, P) int64: POSITIVE, NEGATIVE or NOTHING.
        views: (B, K, P) int64
        pixels: (B, K, P, 2) int64, column and row.
        dense: (B, K, V, 2, 4H/S, 4W/S) of MASK and BOX; None if there is none.
    """

    kinds: Tensor
    views: Tensor
    pixels: Tensor
    dense: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scene as all its prompts need it: cells and their codes (B, V, N, C), N = h * w = `size`, the frame, and what
    guides need, if there are any."""

    cells: Tensor
    codes: Tensor
    size: tuple[int, int]
    frame: Frame
    scene: SceneEmbedding
    guided: GuidePlaces | None = None

    def of_views(self, views: list[int]) -> "Prepared":
        """Some views alone, in the frame of all."""
        scene, guided = self.scene.of_views(views), self.guided and self.guided.of_views(views)
        return Prepared(self.cells[:, views], self.codes[:, views], self.size, self.frame, scene, guided)


class MvSam(nn.Module):
    """SceneEmbedding and ScenePrompts -> mask logits (B, K, V, H/s, W/s).

    Raises:
        BadConfig: attention to all views at once with places that differ from view to view.
    """

    def __init__(self, config: MvSamConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MvSamConfig()
        if config.attention == "full" and config.positions == "2d":
            raise BadConfig("positions=2d: expected attention=single, since places differ by view, got full")
        width = config.width
        self.from_image = nn.Linear(config.image, width)
        dimensions = 2 if config.positions == "2d" else 3
        self.place_code = PlaceCode(dimensions, width, config.frequency, config.low_share > 0)
        self.kinds = nn.Parameter(torch.randn(2, width))
        self.looks = nn.Linear(width, width) if config.looks else None
        self.mask_token = nn.Parameter(torch.randn(width))
        self.no_dense = nn.Parameter(torch.zeros(width))
        self.dense = nn.Sequential(
            nn.Conv2d(2, config.dense // 4, 2, 2), ChannelNorm(config.dense // 4), nn.GELU(),
            nn.Conv2d(config.dense // 4, config.dense, 2, 2), ChannelNorm(config.dense), nn.GELU(),
            nn.Conv2d(config.dense, width, 1),
        )  # fmt: skip
        self.transformer = TwoWay(width, config.inner, config.hidden, config.heads, config.blocks)
        self.on_cells = Mlp(width, width, width)
        self.on_fine = Mlp(width, width, config.fine)
        self.first = nn.Parameter(torch.tensor(FIRST_LOGIT))
        self.guides = Guides(config.fine) if config.guides else None

    def forward(self, scene: SceneEmbedding, prompts: ScenePrompts) -> Tensor:
        """Both steps.

        Raises:
            BadInput: as `prepare`.
        """
        return self.decode(self.prepare(scene), prompts)

    def prepare(self, scene: SceneEmbedding) -> Prepared:
        """All that no prompt changes.

        Raises:
            BadInput: shapes that do not fit each other or the configuration.
        """
        self._check(scene)
        config, stride = self.config, self.config.stride
        size = (scene.image.shape[-2], scene.image.shape[-1])
        middle = slice(stride // 2, None, stride)
        points, confidence = scene.points[:, :, middle, middle], scene.confidence[:, :, middle, middle]
        frame = frame_of(points.flatten(1, 3), confidence.flatten(1), config.standardised, config.low_share)
        uncertain = frame.uncertain(points, confidence)
        cells = self.from_image(scene.image.flatten(3).mT)
        if config.positions == "2d":
            where = 2 * cell_places(size, points.device).expand(*points.shape[:4], 2) - 1
        else:
            where = frame.standard(points)
        codes = self._placed(where, uncertain).flatten(2, 3)
        return Prepared(cells, codes, size, frame, scene, self._guide_places(scene, frame))

    def decode(self, prepared: Prepared, prompts: ScenePrompts) -> Tensor:
        """Mask logits (B, K, V, H/s, W/s)."""
        batch, count, views = *prompts.kinds.shape[:2], prepared.cells.shape[1]
        tokens, known = self._tokens(prepared, prompts)  # (B, K, V or 1, T, C), (B, K, T)
        cells = prepared.cells[:, None] + self._dense(prompts)
        cells = cells.expand(-1, count, -1, -1, -1)  # (B, K, V, N, C)
        places = prepared.codes[:, None].expand_as(cells)
        if self.config.attention == "single":
            tokens = tokens.expand(-1, -1, views, -1, -1)
            known = known[:, :, None].expand(-1, -1, views, -1).flatten(0, 2)
            looked, state = self.transformer(cells.flatten(0, 2), tokens.flatten(0, 2), places.flatten(0, 2), known)
            asked = looked[:, 0].unflatten(0, (batch, count, views))
        else:
            flat, where = (each.flatten(2, 3).flatten(0, 1) for each in (cells, places))
            looked, state = self.transformer(flat, tokens[:, :, 0].flatten(0, 1), where, known.flatten(0, 1))
            asked = looked[:, 0].unflatten(0, (batch, count))[:, :, None].expand(-1, -1, views, -1)
        logits = self._drawn(prepared, asked, state.reshape(*cells.shape))
        return logits if self.guides is None else logits + self._guided(prepared, prompts, logits)

    def _drawn(self, prepared: Prepared, asked: Tensor, state: Tensor) -> Tensor:
        """Masks of tokens (B, K, V, C) on the cells as they became (B, K, V, N, C) and on the finer features."""
        fine = prepared.scene.fine
        drawn = self.on_fine(asked).transpose(1, 2) @ fine.flatten(3)  # (B, V, K, M)
        rough = (state @ self.on_cells(asked)[..., None])[..., 0].unflatten(-1, prepared.size)  # (B, K, V, h, w)
        scale = asked.shape[-1] ** -0.5
        larger = F.interpolate(rough.flatten(0, 1), fine.shape[-2:], mode="bilinear", align_corners=False)
        drawn = drawn.transpose(1, 2).unflatten(-1, fine.shape[-2:])
        return self.first + scale * (drawn + larger.unflatten(0, rough.shape[:2]))

    def _guide_places(self, scene: SceneEmbedding, frame: Frame) -> GuidePlaces | None:
        """The places of all views, PLACE pixels apart."""
        if self.guides is None:
            return None
        middle = slice(PLACE // 2, None, PLACE)
        points = frame.standard(scene.points[:, :, middle, middle])
        if self.config.positions != "3d":
            points = torch.full_like(points, math.nan)
        features = F.avg_pool2d(scene.fine.flatten(0, 1), PLACE // self.config.fine_stride)
        return self.guides.places(features.unflatten(0, scene.fine.shape[:2]), points)

    def _guided(self, prepared: Prepared, prompts: ScenePrompts, logits: Tensor) -> Tensor:
        """What guides add to logits (B, K, V, h, w)."""
        assert self.guides is not None and prepared.guided is not None
        places, prompts = prepared.guided, with_a_point(prompts)
        size = (places.looks.shape[-2], places.looks.shape[-1])
        columns, rows = (prompts.pixels // PLACE).unbind(-1)
        cell = (prompts.views * size[0] + rows) * size[1] + columns
        looks = taken(places.looks.movedim(2, -1).flatten(1, 3), cell.flatten(1)).unflatten(1, cell.shape[1:])
        points = prepared.frame.standard(self._prompted(prepared.scene, prompts)[0])
        if self.config.positions != "3d":
            points = torch.full_like(points, math.nan)
        of_kind = torch.stack([prompts.kinds == kind for kind in (NEGATIVE, POSITIVE)])
        told = GuidePoints(of_kind, looks, points, prompts.views, torch.stack((rows, columns), dim=-1))
        chances = F.adaptive_avg_pool2d(logits.sigmoid().flatten(0, 1), size).unflatten(0, logits.shape[:2])
        others = [chances[:, :, :, None], logits.new_zeros(*logits.shape[:3], OTHER_MAPS - 1, *size)]
        if prompts.dense is not None:
            dense = F.adaptive_avg_pool2d(prompts.dense.flatten(0, 2), size).unflatten(0, logits.shape[:3])
            others[1:] = [dense, carried(prepared.scene.matching, dense[:, :, :, MASK])[:, :, :, None]]
        added = self.guides(places, told, torch.cat(others, dim=3))
        larger = F.interpolate(added.flatten(0, 1), logits.shape[-2:], mode="bilinear", align_corners=False)
        return larger.unflatten(0, logits.shape[:2])

    def _tokens(self, prepared: Prepared, prompts: ScenePrompts) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, V or 1, T, C): the mask's, then the points', and which of them are there (B, K, T)."""
        scene, frame, config = prepared.scene, prepared.frame, self.config
        points, confidence = self._prompted(scene, prompts)
        uncertain = frame.uncertain(points, confidence)[:, :, None]  # (B, K, 1, P)
        if config.positions == "2d":
            assert scene.projections is not None
            where = 2 * projected(points, scene.projections).transpose(2, 3) - 1  # (B, K, V, P, 2)
        else:
            where = frame.standard(points)[:, :, None]
        told = self._placed(where, uncertain.expand(where.shape[:-1]))
        told = told + self.kinds[prompts.kinds.clamp(min=0)][:, :, None]
        if self.looks is not None:
            columns, rows = (prompts.pixels // config.stride).unbind(-1)
            cell = (prompts.views * prepared.size[0] + rows) * prepared.size[1] + columns
            seen = taken(prepared.cells.flatten(1, 2), cell.flatten(1)).unflatten(1, cell.shape[1:])
            told = told + self.looks(seen)[:, :, None]
        mask = self.mask_token.expand(*told.shape[:3], 1, -1)
        known = F.pad(prompts.kinds != NOTHING, (1, 0), value=True)
        return torch.cat((mask, told), dim=3), known

    def _prompted(self, scene: SceneEmbedding, prompts: ScenePrompts) -> tuple[Tensor, Tensor]:
        """The places of prompted points in space (B, K, P, 3), and how well they are known (B, K, P)."""
        height, width = scene.points.shape[2:4]
        columns, rows = prompts.pixels.unbind(-1)
        numbers, shape = ((prompts.views * height + rows) * width + columns).flatten(1), rows.shape
        points = taken(scene.points.flatten(1, 3), numbers).unflatten(1, shape[1:])
        return points, scene.confidence.flatten(1).gather(1, numbers).unflatten(1, shape[1:])

    def _placed(self, where: Tensor, uncertain: Tensor) -> Tensor:
        """Codes (..., C) of coordinates (..., D), 0 where places do not count."""
        if self.config.positions == "none":
            return self.mask_token.new_zeros(*where.shape[:-1], self.config.width)
        codes: Tensor = self.place_code(where, uncertain)
        return codes

    def _dense(self, prompts: ScenePrompts) -> Tensor:
        """(B, K, V, N, C), or (C,) where no map is given: what maps say of each cell."""
        if prompts.dense is None:
            return self.no_dense
        told = self.dense(prompts.dense.flatten(0, 2)).flatten(2).mT.unflatten(0, prompts.dense.shape[:3])
        given = prompts.dense.flatten(3).any(dim=-1)[..., None, None]
        return torch.where(given, told, self.no_dense)

    def _check(self, scene: SceneEmbedding) -> None:
        config = self.config
        batch, views, height, width = scene.points.shape[:4]
        wanted = {
            "image": (batch, views, config.image, height // config.stride, width // config.stride),
            "fine": (batch, views, config.fine, height // config.fine_stride, width // config.fine_stride),
            "confidence": (batch, views, height, width),
        }
        for name, shape in wanted.items():
            if (got := tuple(getattr(scene, name).shape)) != shape:
                raise BadInput(f"{name}: expected {shape} for points of {height}x{width} pixels, got {got}")
        if config.positions == "2d" and scene.projections is None:
            raise BadInput("projections: expected those of all views for positions in the images, got none")


def with_a_point(prompts: ScenePrompts) -> ScenePrompts:
    """With one point of no kind, if there are no points."""
    if prompts.kinds.shape[-1]:
        return prompts
    kinds, views = F.pad(prompts.kinds, (0, 1), value=NOTHING), F.pad(prompts.views, (0, 1))
    return ScenePrompts(kinds, views, F.pad(prompts.pixels, (0, 0, 0, 1)), prompts.dense)


@torch.no_grad()
def carried(matching: Matching | None, masks: Tensor) -> Tensor:
    """Masks (B, K, V, h, w), positive inside, 0 in views that have none, as the other views match them: the chance that
    a place shows what is inside; 0 where nobody knows."""
    found = torch.zeros_like(masks)
    if matching is None:
        return found
    count, views, size = *masks.shape[1:3], matching.descriptors.shape[-2:]
    inside = (F.adaptive_avg_pool2d(masks.flatten(0, 1), (size[0], size[1])) > 0).to(masks.dtype)
    inside = inside.unflatten(0, masks.shape[:2]).flatten(3)  # (B, K, V, N)
    said = matching.descriptors.flatten(3).mT  # (B, V, N, D)
    for source in inside.flatten(3).any(dim=-1).flatten(0, 1).any(dim=0).nonzero().ravel().tolist():
        others = [view for view in range(views) if view != source]
        if not others:
            break
        asked = said[:, others].flatten(1, 2)
        logits = coarse_logits(asked, matching.descriptors[:, source], matching.nowhere[:, None, None])
        chances = logits.float().softmax(dim=-1)[..., :-1]
        shown = (chances.to(masks.dtype) @ inside[:, :, source].mT).mT  # (B, K, V' * N)
        maps = shown.unflatten(-1, (len(others), *size)).flatten(0, 1)
        larger = F.interpolate(maps, masks.shape[-2:], mode="bilinear", align_corners=False)
        found[:, :, others] = torch.maximum(found[:, :, others], larger.unflatten(0, (-1, count)))
    return found


def taken(rows: Tensor, numbers: Tensor) -> Tensor:
    """Rows (B, N, C) by their numbers (B, M): (B, M, C)."""
    return rows.gather(1, numbers[..., None].expand(-1, -1, rows.shape[-1]))
