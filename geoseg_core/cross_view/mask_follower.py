"""Follows masks by a network that matches views: RGB alone, no depth, no calibration.

A prompt is carried into all views of its set, or answered in all of them at once (MV-SAM). From then on each camera's
mask is carried from the set in which that camera saw the object best, with the features that were kept of it, and from
the last one where that does not find it for sure; so errors do not add up from set to set. A camera that lost the
object, or never saw it, gets the mask of the camera that sees it best. A mask that is not trusted is shown with its
score but not kept, so an object that was hidden is looked for as it was seen last. A correction goes back through the
last sets to where the object went wrong, so that cameras that do not see it now remember it right.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.agreement import with_agreement
from geoseg_core.cross_view.carrier import Asked, Found, MaskCarrier, Sighting, in_network, nothing
from geoseg_core.cross_view.config import MaskFollowerConfig
from geoseg_core.cross_view.followed import transfer_cloud, transfer_track, transfer_views
from geoseg_core.cross_view.followed_mask import FollowedMask, restored_masks, stored_masks
from geoseg_core.cross_view.follower import SAME_THING, TrackedObject
from geoseg_core.cross_view.history import History
from geoseg_core.cross_view.reprojection import visibility
from geoseg_core.cross_view.same_things import best_label
from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.cross_view.union_head.looks import MatchedScene
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.overlap import mask_iou
from geoseg_core.geometry.alignment.aligner import as_encoded
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.instances.lifting import instance, oriented_box
from geoseg_core.instances.store import Stored
from geoseg_core.instances.voxels import lab
from geoseg_core.moment import Moment
from geoseg_core.prompting.image_regions import image_mask
from geoseg_core.prompts import Prompt
from geoseg_core.results import ObjectMask, PromptResult, ViewMasks, Visibility

if TYPE_CHECKING:
    from geoseg_core.prompting.mv_sam.prompter import Prompter

# Masks that overlap more are of one object, if not exactly the same.
SAME = 0.5
KEPT_POINTS = 2000


class MaskFollower:
    """Keeps the contract of `Follower`.

    Args:
        new_id: gives an id that nothing else has.
        prompter: answers prompts in all views; without one they become a mask in their own view, which is carried.
    """

    def __init__(
        self, carrier: MaskCarrier, config: MaskFollowerConfig, new_id: Callable[[], int],
        prompter: "Prompter | None" = None,
    ) -> None:
        self.carrier, self.config, self._new_id, self.prompter = carrier, config, new_id, prompter
        self.method = carrier.method
        self._things: dict[int, FollowedMask] = {}
        self._history = History(config.replayed_sets)
        self._newest: tuple[Moment, dict[int, list[ObjectMask]]] | None = None
        self._frame = 0

    def masks(self, moment: Moment) -> tuple[ViewMasks, ...]:
        """All followed objects in every view."""
        found = self._now(moment)
        return tuple(
            ViewMasks(camera, tuple(found[number][index] for number in sorted(found)))
            for index, camera in enumerate(moment.scene.frames.cameras)
        )

    def segment(self, moment: Moment, prompt: Prompt, views: Sequence[int] | None = None) -> PromptResult:
        """The prompted object in every view; nothing is remembered."""
        return self._result(moment, self._carried(moment, prompt, views=views), 0, "")

    def track(
        self, moment: Moment, prompt: Prompt, object_id: int, label: str, views: Sequence[int] | None = None
    ) -> PromptResult:
        """Follow the prompted object, or correct a live one.

        A prompt on an object that is followed already gives that object's id, and marks it in one more view; a prompt
        on an instance gives the instance's id.
        """
        now, transfer = self._now(moment), self._carried(moment, prompt, object_id, views)
        source, stamp_ns = moment.scene.frames.index(prompt.camera), moment.scene.frames.stamp_ns
        is_correction = bool(object_id)
        if is_correction:
            # What was remembered of it led to a mask that had to be corrected.
            self._things[object_id].forget()
            self.carrier.forget(object_id)
        else:
            object_id = self._same(moment, transfer.masks[source][0], source) or known_instance(moment, transfer)
            if object_id in now:
                transfer = with_known(transfer, now[object_id], source)
        object_id = object_id or self._new_id()
        thing = self._things.get(object_id) or FollowedMask(object_id, "", stamp_ns, stamp_ns)
        thing.label = label or thing.label
        scene = matched_scene(moment)
        found = [
            Found(masks[0], in_network(masks[0], scene, view), float(transfer.scores[view, 0]))
            for view, masks in enumerate(transfer.masks)
        ]
        thing.saw(self._kept(scene, moment, thing, found, features_of(scene)))
        if is_correction:
            self._replay(thing, prompt.camera)
        self.carrier.remember(object_id, thing.newest, self._frame, prompt.camera)
        self._things[object_id] = thing
        result = self._result(moment, transfer, object_id, thing.label)
        now[object_id] = [view.masks[0] for view in result.views]
        return result

    def forget(self, object_id: int) -> None:
        """Stop to follow an object."""
        del self._things[object_id]
        self.carrier.forget(object_id)
        if self._newest is not None:
            self._newest[1].pop(object_id, None)

    def objects(self) -> list[TrackedObject]:
        """The objects that are followed now."""
        return [TrackedObject(thing.object_id, thing.label, thing.last_seen_ns) for thing in self._things.values()]

    def sizes(self, moment: Moment) -> Iterator[tuple[str, float]]:
        """Label and longest edge of each object that is seen now."""
        for thing in self._things.values():
            if thing.label and thing.last_seen_ns == moment.scene.frames.stamp_ns and len(thing.points):
                yield thing.label, float(oriented_box(thing.points, upwards(moment)).size.max())

    def reset(self) -> None:
        """Forget every object."""
        self._things.clear()
        self.carrier.reset()
        self._history.clear()
        self._newest = None

    @property
    def held_bytes(self) -> int:
        """Memory of the carrier, and of how cameras saw the objects; features that objects share count once."""
        maps = {id(each.maps): each.maps.nbytes for thing in self._things.values() for _, each in thing.sightings()}
        return self.carrier.held_bytes + sum(maps.values())

    def shrink(self) -> None:
        """Corrections do not go back any more through the sets so far; the carrier remembers half as much."""
        self._history.clear()
        self.carrier.shrink()

    def flush_camera(self, camera: str) -> None:
        """Forget how one camera saw things."""
        for thing in self._things.values():
            thing.forget(camera)
        self.carrier.forget_camera(camera)
        self._history.clear()
        self._newest = None

    def move_world(self, moved: Similarity) -> None:
        """The world or its unit is another one from now on."""
        for thing in self._things.values():
            thing.points = moved.apply(thing.points)

    def stored(self) -> Stored:
        """All objects with what was kept of each camera; features in half precision. The carrier's memory is made of
        them again, as its numbers mean nothing to other weights."""
        return stored_masks(list(self._things.values()))

    def read(self, stored: Stored) -> list[FollowedMask]:
        """The objects as they were stored."""
        return restored_masks(stored)

    def restore(self, things: Sequence[FollowedMask]) -> None:
        """Follow these objects."""
        self._things, self._newest = {thing.object_id: thing for thing in things}, None
        self._history.clear()
        self.carrier.reset()
        for thing in things:
            self.carrier.remember(thing.object_id, thing.newest, self._frame)

    def _now(self, moment: Moment) -> dict[int, list[ObjectMask]]:
        """The masks of all objects in the views of a set; found once."""
        if self._newest is None or self._newest[0] is not moment:
            self._frame += 1
            self._newest = (moment, self._followed(moment))
        return self._newest[1]

    @torch.inference_mode()
    def _followed(self, moment: Moment) -> dict[int, list[ObjectMask]]:
        if not self._things:
            return {}
        scene = matched_scene(moment)
        found = self._over_time(scene)
        self._between_views(scene, found)
        self._history.add(scene, found)
        maps, result = features_of(scene), {}
        for number, thing in self._things.items():
            kept = self._kept(scene, moment, thing, found[number], maps)
            thing.saw(kept)
            self.carrier.remember(number, kept, self._frame)
            masks = [
                ObjectMask(number, each.mask, each.score, state, thing.label)
                for each, state in zip(found[number], self._states(moment, thing, found[number]), strict=True)
            ]
            result[number] = with_agreement(moment.scene.views, masks, moment.labels)
        return result

    def _over_time(self, scene: MatchedScene) -> dict[int, list[Found]]:
        """Every object in every view, as its camera saw it best and, where that does not find it for sure, as it did
        last; empty masks where it never did. A mask is trusted as far as it and the one that it comes from are."""
        found = {number: [nothing(scene, view) for view in range(len(scene.frames.views))] for number in self._things}
        trust: dict[tuple[int, int], float] = defaultdict(float)
        for best in (True, False):
            asked = [
                each for each in self._sighted(scene, best) if trust[each.object_id, each.view] < self.config.sure_score
            ]
            for each, mask in zip(asked, self.carrier.over_time(scene, asked, self._frame), strict=True):
                place, trusted = (each.object_id, each.view), mask.score * each.sighting.score
                if trusted > trust[place]:
                    trust[place], found[each.object_id][each.view] = trusted, mask
        return found

    def _sighted(self, scene: MatchedScene, best: bool) -> Iterator[Asked]:
        """All objects in every view whose camera saw them before: as it did best, or as it did last if not then."""
        for number, thing in self._things.items():
            for view, camera in enumerate(scene.frames.cameras):
                sighting = (thing.best if best else thing.newest).get(camera)
                if sighting is None or not can_meet(sighting, scene, view):
                    continue
                if best or sighting is not thing.best[camera]:
                    yield Asked(number, sighting, view)

    def _between_views(self, scene: MatchedScene, found: dict[int, list[Found]]) -> None:
        """Views that lost an object get the mask of the view that sees it best, if that is trusted, unless more is
        expected of their own; all objects that are seen best in one view at once."""
        by_source: dict[int, list[int]] = {}
        for number, views in found.items():
            scores = [each.score for each in views]
            if max(scores) >= self.config.least_score > min(scores):
                by_source.setdefault(int(np.argmax(scores)), []).append(number)
        for source, numbers in by_source.items():
            given = [number for number in numbers if can_be_carried(scene, source, found[number][source].mask)]
            if not given:
                continue
            masks = np.stack([found[number][source].mask for number in given])
            carried = self.carrier.between_views(scene, source, masks, given, self._frame)
            for row, number in enumerate(given):
                for view, known in enumerate(found[number]):
                    score = float(carried.scores[view, row])
                    if known.score < self.config.least_score and known.score < score:
                        mask = carried.masks[view][row]
                        found[number][view] = Found(mask, in_network(mask, scene, view), score)

    def _kept(
        self, scene: MatchedScene, moment: Moment, thing: FollowedMask, found: Sequence[Found], maps: list[Tensor]
    ) -> dict[str, Sighting]:
        """The masks that are trusted, by camera; the thing is where they show it.

        Args:
            maps: the features of each view, which all things share.
        """
        points, kept = [], {}
        for index, (each, camera) in enumerate(zip(found, scene.frames.cameras, strict=True)):
            if each.score < self.config.least_score or not each.seen.any():
                continue
            kept[camera] = Sighting(maps[index], each.seen, each.score, index == 0)
            shown = moment.scene.views[index].points[each.mask]
            points.append(shown[np.isfinite(shown[:, 0])])
            thing.last_seen_ns = scene.frames.stamp_ns
        if points:
            together = np.concatenate(points)
            thing.points = together[:: 1 + len(together) // KEPT_POINTS]
        return kept

    def _replay(self, thing: FollowedMask, camera: str) -> None:
        """Follow a corrected object back from the camera in which it was corrected, to where the mask that was found
        then is the one that is found now. Other cameras that have no trusted mask of it get that of the newest set in
        which they see it."""
        sighting = thing.newest.get(camera)
        for past in self._history.backwards(thing.object_id):
            cameras = past.scene.frames.cameras
            if sighting is None or camera not in cameras or set(cameras) <= set(thing.newest):
                return
            source = cameras.index(camera)
            if not can_meet(sighting, past.scene, source):
                return
            (found,) = self.carrier.over_time(past.scene, [Asked(thing.object_id, sighting, source)], self._frame)
            if found.score < self.config.least_score or not can_be_carried(past.scene, source, found.mask):
                return
            if mask_iou(found.seen, past.seen[thing.object_id][source]) > SAME:
                return
            maps = features_of(past.scene)
            sighting = Sighting(maps[source], found.seen, found.score, source == 0)
            carried = self.carrier.between_views(past.scene, source, found.mask[None])
            for view, other in enumerate(cameras):
                score = float(carried.scores[view, 0])
                if other not in thing.newest and score >= self.config.least_score:
                    seen = in_network(carried.masks[view][0], past.scene, view)
                    thing.saw({other: Sighting(maps[view], seen, score, view == 0)})

    def _states(self, moment: Moment, thing: FollowedMask, found: Sequence[Found]) -> list[Visibility]:
        views = moment.scene.views
        return [visibility(each.mask, thing.points, view) for each, view in zip(found, views, strict=True)]

    def _carried(
        self, moment: Moment, prompt: Prompt, object_id: int = 0, views: Sequence[int] | None = None
    ) -> TransferredMasks:
        """The prompted mask in every view; points alone correct the mask that the object has now."""
        scene = matched_scene(moment)
        source = scene.frames.index(prompt.camera)
        if object_id and prompt.is_points_alone:
            prompt = replace(prompt, mask=self._now(moment)[object_id][source].mask)
        prompt.check(scene.frames)
        if self.prompter is not None and not prompt.has_mask:
            return answered(moment, self.prompter, prompt, views)
        mask = image_mask(scene.frames.views[source].image, prompt)
        if self.prompter is not None:
            return answered(moment, self.prompter, replace(prompt, mask=mask, box_px=None), views)
        if len(scene.frames.views) > 1:
            return self.carrier.between_views(scene, source, mask[None])
        return TransferredMasks((mask[None],), np.array([[Visibility.VISIBLE]]), np.ones((1, 1)))

    def _same(self, moment: Moment, mask: np.ndarray, view: int) -> int:
        """The object whose mask overlaps a true one (H, W) as far as can be expected of it; 0 = none."""
        for number, masks in self._now(moment).items():
            known = masks[view]
            if mask_iou(mask, known.mask) >= min(max(known.score, SAME), SAME_THING):
                return number
        return 0

    def _result(self, moment: Moment, transfer: TransferredMasks, object_id: int, label: str) -> PromptResult:
        scene = moment.scene
        cloud = transfer_cloud(scene, transfer, object_id, self.config.cloud_points)
        track = transfer_track(scene.frames, transfer, cloud.xyz, lab(cloud.rgb))
        measured = instance(track, upwards(moment), 0.0, object_id, len(cloud.xyz)) if track else None
        given = transfer_views(scene.frames, transfer, object_id, label)
        masks = with_agreement(scene.views, [view.masks[0] for view in given], moment.labels)
        views = tuple(ViewMasks(view.camera, (mask,)) for view, mask in zip(given, masks, strict=True))
        return PromptResult(scene.frames, object_id, views, cloud, measured, scene.scale)


def answered(
    moment: Moment, prompter: "Prompter", prompt: Prompt, asked: Sequence[int] | None = None
) -> TransferredMasks:
    """What a network finds for a prompt in every view, or in those that are asked.

    Raises:
        BadInput: nothing in the view that was prompted, or all of it.
    """
    found = prompter.answer(moment.promptable(prompter), [prompt], asked)
    views, marked = moment.scene.views, found.masks[moment.scene.frames.index(prompt.camera)]
    if not marked.any() or marked.all():
        what = "all of the view" if marked.any() else "nothing there"
        raise BadInput(f"prompt in {prompt.camera!r}: expected a thing, found {what}; draw a box around it, or a mask")
    shown = np.concatenate([view.points[mask] for view, mask in zip(views, found.masks, strict=True)])
    points = shown[np.isfinite(shown[:, 0])]
    states = [[visibility(mask, points, view)] for view, mask in zip(views, found.masks, strict=True)]
    return TransferredMasks(tuple(mask[None] for mask in found.masks), np.array(states), found.scores[:, None])


def known_instance(moment: Moment, transfer: TransferredMasks) -> int:
    """The id of the instance that mask 0 of a transfer shows, all views together; 0 = none, or none are known."""
    return best_label([masks[0] for masks in transfer.masks], moment.labels) if moment.labels else 0


def with_known(transfer: TransferredMasks, known: Sequence[ObjectMask], source: int) -> TransferredMasks:
    """Mask 0 of a transfer, or the known one where it is trusted more, but in the source view."""
    masks, states, scores = list(transfer.masks), transfer.visibility.copy(), transfer.scores.copy()
    for view, each in enumerate(known):
        if view != source and each.score > scores[view, 0]:
            masks[view], states[view, 0], scores[view, 0] = each.mask[None], each.visibility, each.score
    return TransferredMasks(tuple(masks), states, scores)


def features_of(scene: MatchedScene) -> list[Tensor]:
    """Features (C, h, w) of each view, each in a memory of its own: what is kept of one view does not keep the rest."""
    return [each.clone() for each in scene.matching_maps(0).float()]


def can_meet(sighting: Sighting, scene: MatchedScene, view: int) -> bool:
    """Whether a view's features are to be compared with those of a sighting: of the same size, and both of the first
    view of a set or neither."""
    return sighting.maps.shape == scene.matching_maps(0).shape[1:] and sighting.first == (view == 0)


def can_be_carried(scene: MatchedScene, view: int, mask: np.ndarray) -> bool:
    """Whether other views may be asked for a mask (H, W): it is not all of its view and the network sees some of it."""
    return not mask.all() and bool(in_network(mask, scene, view).any())


def matched_scene(moment: Moment) -> MatchedScene:
    """The scene with the features that views are matched by."""
    scene = moment.scene
    return cast(MatchedScene, as_encoded(scene))


def upwards(moment: Moment) -> np.ndarray:
    """(3,) unit: where the images' tops point to on average, in the world."""
    tops = -np.stack([view.camera_to_world[:3, 1] for view in moment.scene.views]).mean(0)
    length = np.linalg.norm(tops)
    return tops / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
