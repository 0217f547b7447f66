"""Pictures of a run: an overlay video of all sets, and a contact sheet, clouds and PLY files of a few instants."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geoseg_core.evaluation.cloud_picture import render_cloud
from geoseg_core.evaluation.pictures import contact_sheet, overlay, write_png
from geoseg_core.evaluation.ply import write_ply
from geoseg_core.results import Instance, LabelledCloud

INSTANTS = 5
VIDEO_RATE_HZ = 10.0
VIDEO_CODEC = "mp4v"


@dataclass(frozen=True, eq=False)
class Instant:
    """What is shown of one set.

    Attributes:
        stamp_ns: of the set.
        images: (H, W, 3) uint8 RGB of each view; labels: (H, W) uint16 of each.
        cameras_to_world: (4, 4) of the views that are calibrated.
        cloud, instances: the labelled cloud and its instances; None and empty where there are none.
    """

    stamp_ns: int
    images: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    cameras_to_world: tuple[np.ndarray, ...] = ()
    cloud: LabelledCloud | None = None
    instances: tuple[Instance, ...] = ()


class _Spread:
    """Keeps a few of the items that it is given, evenly spread over all of them."""

    def __init__(self) -> None:
        self._kept: list[Instant] = []
        self._stride, self._count = 1, 0

    def add(self, item: Instant) -> None:
        if self._count % self._stride == 0:
            self._kept.append(item)
        self._count += 1
        if len(self._kept) >= 4 * INSTANTS:
            self._kept = self._kept[::2]
            self._stride *= 2

    def chosen(self) -> list[Instant]:
        """At most INSTANTS of them, the first one and the last one kept among them."""
        positions = np.unique(np.linspace(0, len(self._kept) - 1, INSTANTS).round().astype(int))
        return [self._kept[each] for each in positions] if self._kept else []


class Gallery:
    """Takes instants as they come, keeps a few that are evenly spread, and writes all pictures at the end."""

    def __init__(self, folder: Path, names: Mapping[int, str] | None = None) -> None:
        """`names`: captions by id; ids stand where there is none."""
        self.folder, self.names = folder, dict(names or {})
        folder.mkdir(parents=True, exist_ok=True)
        self._instants, self._clouds = _Spread(), _Spread()
        self._first_ns = 0
        self._video: cv2.VideoWriter | None = None
        self._video_size: tuple[int, int] | None = None
        self.notes: list[str] = []

    def add(self, instant: Instant) -> None:
        """Write the instant into the video, and keep it if its turn has come."""
        self._first_ns = self._first_ns or instant.stamp_ns
        self._instants.add(instant)
        if instant.cloud is not None:
            self._clouds.add(instant)
        self._write_frame(self._row(instant), self._title(instant))

    def close(self) -> list[Path]:
        """Write the contact sheet, the picture of the labelled cloud and the PLY files; return all paths."""
        written = []
        if self._video is not None:
            self._video.release()
            written.append(self.folder / "overlay.mp4")
        instants, clouds = self._instants.chosen(), self._clouds.chosen()
        if instants:
            written += self._write_sheet(instants)
        for position, each in enumerate(clouds):
            written.append(self._write_cloud(each, position))
        if clouds:
            written.append(self._write_cloud_picture(clouds[len(clouds) // 2]))
        return written

    def _row(self, instant: Instant) -> list[np.ndarray]:
        return [overlay(*pair, self.names) for pair in zip(instant.images, instant.labels, strict=True)]

    def _write_sheet(self, instants: list[Instant]) -> list[Path]:
        titles = [self._title(each) for each in instants]
        path = self.folder / "overlay.png"
        write_png(str(path), contact_sheet([self._row(each) for each in instants], titles))
        return [path]

    def _write_cloud(self, instant: Instant, position: int) -> Path:
        path = self.folder / f"cloud_{position}.ply"
        assert instant.cloud is not None
        write_ply(str(path), instant.cloud)
        return path

    def _write_cloud_picture(self, instant: Instant) -> Path:
        path = self.folder / "cloud.png"
        assert instant.cloud is not None
        poses = instant.cameras_to_world or (np.eye(4),)
        write_png(str(path), render_cloud(instant.cloud, instant.instances, poses, self.names))
        return path

    def _title(self, instant: Instant) -> str:
        return f"t = {(instant.stamp_ns - self._first_ns) / 1e9:.1f} s"

    def _write_frame(self, row: list[np.ndarray], title: str) -> None:
        """Append to the video at half size; the first frame decides its size."""
        half = [cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for each in row]
        sheet = contact_sheet([half], [title])
        if self._video_size is None:
            self._video_size = sheet.shape[1] & ~1, sheet.shape[0] & ~1
            path, codec = str(self.folder / "overlay.mp4"), cv2.VideoWriter.fourcc(*VIDEO_CODEC)
            writer = cv2.VideoWriter(path, codec, VIDEO_RATE_HZ, self._video_size)
            self._video = writer if writer.isOpened() else None
            if self._video is None:
                self.notes.append(f"no overlay.mp4: OpenCV has no {VIDEO_CODEC} codec here")
        if self._video is not None:
            frame = np.zeros((self._video_size[1], self._video_size[0], 3), np.uint8)
            height, width = min(frame.shape[0], sheet.shape[0]), min(frame.shape[1], sheet.shape[1])
            frame[:height, :width] = sheet[:height, :width]
            self._video.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
