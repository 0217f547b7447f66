"""The log of a training: one JSON object a line in log.jsonl, and TensorBoard's files where it is installed."""

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NAME = "log.jsonl"
TENSORBOARD = "tensorboard"


class Log:
    """Lines with the number of steps done; what a broken run wrote after its last checkpoint is dropped first."""

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]) -> None:
        kept = [row for row in read_log(folder) if row["step"] <= step]
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{NAME}.part"
        part.write_text("".join(f"{json.dumps(row)}\n" for row in kept))
        part.replace(folder / NAME)
        self._file = (folder / NAME).open("a")
        self._board: Any = None
        if importlib.util.find_spec(TENSORBOARD) is None:
            say(f"tensorboard is not installed: curves go to {folder / NAME} alone (the extra [train] brings it)")
        else:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def row(self, step: int, group: str, values: dict[str, float]) -> None:
        """Write figures of a group ("train", "held_out"); what is no number becomes null."""
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "group": group, **plain}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def picture(self, step: int, picture: np.ndarray) -> None:
        """Show a picture (H, W, 3) in TensorBoard."""
        if self._board is not None:
            self._board.add_image("held_out", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Let all be on the disk."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that was cut off by a crash is left out."""
    path = folder / NAME
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
