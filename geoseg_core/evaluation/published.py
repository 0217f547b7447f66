"""Tables of the papers on instances, to be printed above figures of ours. All theirs are on other data than ours.

SegVGGT (2026): AP on points, mean over IoU thresholds, at 0.5 and at 0.25, in per cent. IGGT (2026): in per cent, as
the review of the paper gives them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from geoseg_core.evaluation.report import figures

AP = {"points.ap": "mAP", "points.ap50": "mAP50", "points.ap25": "mAP25"}
BY_CLASS = {"points_by_class.ap": "mAP", "points_by_class.ap50": "mAP50", "points_by_class.ap25": "mAP25"}
TRACKS = {"t_miou": "T-mIoU", "t_sr": "T-SR"}
MIOU = {"miou_2d": "2-D mIoU", "miou_3d": "3-D mIoU"}
DEPTH = {"depth.abs_rel": "AbsRel", "depth.delta125": "d<1.25"}


@dataclass(frozen=True)
class PublishedTable:
    """One table.

    Attributes:
        columns: titles by the dotted keys of our reports.
        rows: values by method and data; None where the paper has none.
        unit: what one of our figures is in the table's: 100 for per cent.
    """

    title: str
    columns: Mapping[str, str]
    rows: Mapping[str, tuple[float | None, ...]]
    unit: float = 100.0


TABLES = (
    PublishedTable(
        "SegVGGT, table 2: class-agnostic, from RGB images alone",
        AP,
        {
            "PanSt3R, ScanNetv2": (26.9, 52.6, 63.9),
            "IGGT, ScanNetv2": (29.2, 43.0, 55.1),
            "SegVGGT, ScanNetv2": (62.9, 87.4, 97.4),
            "PanSt3R, ScanNet200": (20.8, 41.4, 59.0),
            "IGGT, ScanNet200": (28.2, 42.4, 55.3),
            "SegVGGT, ScanNet200": (53.7, 80.2, 89.9),
            "PanSt3R, ScanNet++": (9.2, 22.4, 36.2),
            "IGGT, ScanNet++": (11.5, 21.3, 36.0),
            "SegVGGT, ScanNet++": (13.3, 33.9, 56.4),
        },
    ),
    PublishedTable(
        "SegVGGT, tables 4 and 7: ScanNet200, by class; what its parts are worth",
        BY_CLASS,
        {
            "FADA off": (26.7, 39.2, 48.6),
            "FADA as a loss": (31.1, 45.7, 52.3),
            "FADA as loss and cost": (31.9, 45.7, 53.7),
            "queries in the early 12 layers": (23.8, 36.9, 45.6),
            "queries in the late 12 layers": (30.5, 45.1, 53.0),
            "queries in every second layer": (30.4, 44.5, 51.8),
            "queries in all 24 layers": (31.9, 45.7, 53.7),
            "attention frozen": (23.4, 35.1, 42.0),
        },
    ),
    PublishedTable(
        "IGGT: instance tracking",
        TRACKS,
        {
            "SAM2*, ScanNet": (53.74, 71.25),
            "IGGT, ScanNet": (69.41, 98.66),
            "SAM2*, ScanNet++": (44.16, 57.89),
            "IGGT, ScanNet++": (73.02, 98.90),
        },
    ),
    PublishedTable(
        "IGGT: mean IoU of classes (ours: of things, whatever they are)",
        MIOU,
        {"LSeg, ScanNet": (58.11, None), "LSM-MV, ScanNet": (None, 35.37), "IGGT, ScanNet": (60.46, 39.68)},
    ),
    PublishedTable(
        "SegVGGT, table 9: depth on ScanNet, one scale for each sequence",
        DEPTH,
        {
            "VGGT": (0.0297, 0.989),
            "SegVGGT, geometry alone": (0.0311, 0.986),
            "SegVGGT, geometry and instances": (0.0307, 0.987),
        },
        1.0,
    ),
    PublishedTable(
        "IGGT: depth on ScanNet",
        {"depth.abs_rel": "AbsRel %"},
        {"VGGT": (1.84,), "IGGT": (1.90,)},
    ),
)


def published_lines(
    source: str,
    reports: Mapping[str, Mapping[str, Any]],
    tables: Iterable[PublishedTable] = TABLES,
    ours: str = "ours, on other data",
) -> list[str]:
    """The tables, each with our rows below it.

    Args:
        source: the data of ours.
        reports: figures by method.
        ours: what our rows are.
    """
    lines = []
    for table in tables:
        rows = {name: [written(value, table.unit) for value in values] for name, values in table.rows.items()}
        for name, report in reports.items():
            known = dict(figures(report))
            found = [table.unit * known[key] if key in known else None for key in table.columns]
            if any(value is not None for value in found):
                rows[f"* {name}, {source}"] = [written(value, table.unit) for value in found]
        first = max(map(len, rows))
        widths = [max(len(title), 7) for title in table.columns.values()]
        lines += ["", f"{table.title}; * {ours}"]
        lines.append("  ".join([" " * first, *map(str.rjust, table.columns.values(), widths)]))
        lines += ["  ".join([name.ljust(first), *map(str.rjust, cells, widths)]) for name, cells in rows.items()]
    return lines


def written(value: float | None, unit: float) -> str:
    """A number with as many digits as the papers have, or a dash."""
    return "-" if value is None else f"{value:.4f}" if unit == 1.0 else f"{value:.2f}"
