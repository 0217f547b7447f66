"""VGGT over time: each new frame set of a rig is encoded once, in the light of those before it, at a constant cost.

Causal attention with kept keys and values follows StreamVGGT (Zhuo et al., 2025); the fixed budget is the idea of
InfiniteVGGT. A new set's tokens attend in every global block to themselves, to the first sets of the sequence (anchors)
and to the last few (window). Nothing that was encoded changes afterwards. Only the first view of the first set has the
camera token of frame 0, so all sets share one world. The camera head, to which the order of frames means nothing, runs
over the camera tokens of all sets that are held; the other heads see the new set alone.
"""

import logging
from dataclasses import replace

import numpy as np
import torch

from geoseg_core.errors import BadInput
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.network_input import Placement
from geoseg_core.geometry.predicted import first_camera_world
from geoseg_core.geometry.streaming.cache import MIB, KeyValueCache, SetSizes
from geoseg_core.geometry.streaming.config import StreamingConfig
from geoseg_core.geometry.streaming.still_views import StillViews
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtScene, predicted_cameras, predicted_views
from geoseg_core.geometry.vggt.model import VggtOutput
from geoseg_core.results import ScaleState
from geoseg_core.views import FrameSet

log = logging.getLogger(__name__)


class StreamingEncoder:
    """Frame sets of one rig in the order of time to scenes in one world.

    The world is the frame of the first view of the sequence's first set, or that view's known pose where there is one;
    poses that are known later are not looked at.

    Order: sets must not get older. One that is older than the newest by `max_gap_s` at most is late; it is refused and
    changes nothing. Equal stamps are in order, so sets without stamps are.

    A new sequence starts, with a new world and nothing kept, when
      - the stamps jump on by more than `max_gap_s` (the scene may be another), or back by more (a recording that starts
        again, a simulation that was reset);
      - cameras come, go or change places, or the size of an image changes;
      - `reset` was called.
    `sequence` counts them, and a line in the log says why: the world may have jumped.

    Memory: keys, values and camera tokens of the anchors, the window and the new set take `held_bytes`, allocated when
    a sequence starts and at most `budget_mib`; where the budget has no room for the whole window, the window is
    shorter, which the log says too. A view of 518x392 pixels takes VGGT-1B 102 MB in bf16. Besides, one network input
    and its patch tokens are kept for each view.

    Attributes:
        sequence: number of the current sequence, from 1; 0 before the first set.
        started_because: why it was started.
        still: how many embeddings were reused.
    """

    name = "vggt_streaming"

    def __init__(
        self,
        encoder: VggtEncoder,
        config: StreamingConfig = StreamingConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self.encoder, self.config = encoder, config
        self.sequence, self.started_because = 0, ""
        self.still = StillViews(max(encoder.model.config.patch // 2, 1), config.change)
        self._cache: KeyValueCache | None = None
        self._first: FrameSet | None = None
        self._newest_ns = 0

    @torch.inference_mode()
    def encode(self, frames: FrameSet) -> EncodedScene:
        """Cameras and depth of the views of a new set, which need no calibration.

        Raises:
            BadInput: a late set, an image too thin for the network, more views than the encoder's memory has room for,
                or a sequence that the budget has no room for. Nothing has changed then.
        """
        placements = self.encoder.place(frames)
        reason = self._reason_to_start(frames)
        cache = self._start(frames, placements, reason) if reason else self._cache
        assert cache is not None
        trunk, grid = self.encoder.model.aggregator, self.encoder.grid(placements)
        cache.begin()
        with self.encoder.config.trunk_types(self.encoder.device):
            patches = self.still.embed(self.encoder.images(frames, placements), trunk.embed)
            tokens = trunk.aggregate(patches, 1, grid, self.encoder.layers_kept, cache)
        output, to_world = self._read(tokens, cache, placements)
        views = predicted_views(output, frames, placements, to_world)
        cache.commit()
        self._newest_ns = frames.stamp_ns
        return VggtScene(self.encoder, frames, views, ScaleState(), placements, patches, tokens)

    def reset(self) -> None:
        """Let the next set start a new sequence."""
        self._cache = None
        self.still.forget()

    @property
    def held_sets(self) -> tuple[int, ...]:
        """Numbers of the sets of this sequence that the next one can see: the anchors, then the newest ones."""
        return self._cache.held if self._cache is not None else ()

    @property
    def held_bytes(self) -> int:
        """Bytes allocated for what is kept of earlier sets."""
        return self._cache.nbytes if self._cache is not None else 0

    def _reason_to_start(self, frames: FrameSet) -> str:
        """Why a new sequence starts with this set; empty where it does not."""
        if self._first is None or self._cache is None or not self._cache.started:
            return "there was none, or it was reset"
        step_s, limit_s = (frames.stamp_ns - self._newest_ns) / 1e9, self.config.max_gap_s
        if -limit_s <= step_s < 0:
            raise BadInput(
                f"expected a frame set not older than the last, got one that is {-step_s:.3f} s older; drop late sets, "
                f"or call reset() to start again"
            )
        if abs(step_s) > limit_s:
            return f"the stamps jumped by {step_s:.3f} s"
        if layout(frames) != layout(self._first):
            return f"cameras and image sizes changed from {layout(self._first)} to {layout(frames)}"
        return ""

    def _start(self, frames: FrameSet, placements: list[Placement], reason: str) -> KeyValueCache:
        sizes, config = self._sizes(placements), self.config
        slots = sizes.slots(config.anchors, config.window, config.budget_mib)
        if self.sequence:
            log.warning("a new sequence of frame sets starts, in a world of its own: %s", reason)
        if (window := slots - config.anchors - 1) < config.window:
            needed = -(-(config.anchors + config.window + 1) * sizes.nbytes // MIB)
            log.warning("a window of %d sets needs budget_mib %d, not %d; it has %d sets", config.window, needed,
                        config.budget_mib, window)  # fmt: skip
        self.reset()  # frees the old memory before the new one is allocated
        self._cache = KeyValueCache(sizes, slots, config.anchors, self.encoder.device)
        self._first, self.started_because = frames, reason
        self.sequence += 1
        return self._cache

    def _sizes(self, placements: list[Placement]) -> SetSizes:
        sizes, grid = self.encoder.model.config, self.encoder.grid(placements)
        trunk, running = sizes.aggregator, self.encoder.config
        return SetSizes(
            layers=max(self.encoder.layers_kept) + 1,
            heads=trunk.heads,
            head_dim=sizes.width // trunk.heads,
            views=len(placements),
            tokens=1 + trunk.registers + grid[0] * grid[1],
            camera_width=2 * sizes.width,
            dtype=torch.bfloat16 if running.precision == "autocast" else running.dtype,
            camera_dtype=running.dtype,
        )

    def _read(
        self, tokens: TokenLayers, cache: KeyValueCache, placements: list[Placement]
    ) -> tuple[VggtOutput, np.ndarray]:
        """Depth and poses of the new set, and what brings the network's world to that of the sequence."""
        assert self._first is not None
        model, number = self.encoder.model, self.encoder.model.config.aggregator.depth - 1
        cameras, own = cache.remember_cameras(tokens.layers[number][:, :, 0])
        together = model.read(TokenLayers({number: cameras[:, :, None]}, 1, tokens.grid), ("camera",))
        poses, _ = predicted_cameras(together.pose_encodings[-1][0], placements[0].canvas)
        output = model.read(tokens, ("depth",), frame_chunk=self.encoder.config.frame_chunk)
        encodings = [each[:, own] for each in together.pose_encodings]
        return replace(output, pose_encodings=encodings), first_camera_world(self._first, poses)


def layout(frames: FrameSet) -> tuple[tuple[str, tuple[int, int]], ...]:
    """Cameras of a set in their order, and the sizes of their images."""
    return tuple((view.camera, view.size) for view in frames.views)
