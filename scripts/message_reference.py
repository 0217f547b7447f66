"""Write docs/messages.md from the comments of msg/, srv/ and action/. Run it after changing one of them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "messages.md"
HEAD = """# Message reference

Generated from the comments of `msg/`, `srv/` and `action/` by `scripts/message_reference.py`; edit those.

| topic of the node `geoseg` | type |
|---|---|
| `~/cross_view_masks` | `geoseg_ros/CrossViewMasks` |
| `~/instances` | `geoseg_ros/InstanceCloud` |
| `~/instances/cloud`, `~/instances/boxes` | `sensor_msgs/PointCloud2`, `visualization_msgs/MarkerArray`, for RViz |
| `~/prompt`, `~/prompt_masks` | `geoseg_ros/Prompt`, `geoseg_ros/PromptMasks` |
| `~/events` | `geoseg_ros/ObjectEvent` |
| `~/<camera>/labels`, `~/<camera>/overlay` | `sensor_msgs/Image`: 16UC1, pixel = object id; rgb8 |
| `/diagnostics` | `diagnostic_msgs/DiagnosticArray` |

Services `~/segment`, `~/track_object`, `~/forget_object`, `~/list_objects`, `~/reset_memory`, `~/save_memory`,
`~/load_memory`, `~/set_classes`, `~/query_instances`; action `~/acquire_object`. Results are reliable; a result is
built only while somebody subscribes.

In Python each is decoded in one line, with `from geoseg_ros import ...`:

| message | decoder | gives |
|---|---|---|
| CrossViewMasks, PromptMasks, ViewMasks | `masks_from_msg(m)[camera][id].mask` | (H, W) bool |
| InstanceCloud | `instances_from_msg(m)[id].centroid` | metres, in the message's frame |
| InstanceCloud, PromptMasks, PointCloud2 | `cloud_from_msg(m)` | `.xyz`, `.rgb`, `.instance_id`, `.confidence` |
| PromptMasks | `prompt_result_from_msg(m)` | masks, points, box; raises BadInput with the reason if refused |
| ObjectEvent | `event_from_msg(m).kind` | LOST, FOUND, MERGED or SPLIT |
| ScaleState | `scale_from_msg(m).status` | UNKNOWN, ESTIMATED or LOCKED |
| Prompt | `prompt_to_msg(Prompt(camera, points_px, positive))` | the message to send |
"""


def reference() -> str:
    """The text of docs/messages.md."""
    parts = [HEAD]
    for folder in ("msg", "srv", "action"):
        parts += [_section(path) for path in sorted((ROOT / folder).glob(f"*.{folder}"))]
    return "\n".join(parts)


def _section(path: Path) -> str:
    lines = path.read_text().strip().splitlines()
    intro = []
    while lines and lines[0].startswith("#"):
        intro.append(lines.pop(0).lstrip("# "))
    body = "\n".join(lines).strip()
    return f"## {path.stem} ({path.suffix[1:]})\n\n{' '.join(intro)}\n\n```\n{body}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(reference())
