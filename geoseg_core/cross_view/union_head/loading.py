"""The union head from a file of weights, ready to carry masks."""

from pathlib import Path

import torch

from geoseg_core.config import build
from geoseg_core.cross_view.calibration import stored_calibration
from geoseg_core.cross_view.union_head.carrier import RemindedCarrier, UnionHeadCarrier
from geoseg_core.cross_view.union_head.config import UnionHeadConfig, UnionTransferConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.reminder import Reminder
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer
from geoseg_core.memory.bank import MemoryBank
from geoseg_core.memory.config import BankConfig
from geoseg_core.memory.networks import TemporalMemory
from geoseg_core.weights.chosen import stored_config


def load_union_head(
    weights: Path,
    config: UnionTransferConfig = UnionTransferConfig(),  # noqa: B008 (frozen)
    device: torch.device | str = "cpu",
    refinements: int | None = None,
) -> UnionHeadTransfer:
    """The head of a file; its sizes stand in the file, or are the released ones.

    Args:
        refinements: calls with the mask of the call before; as many as it was trained with if None.

    Raises:
        BadInput: no weights of a union head; BadConfig: a negative number of refinements.
    """
    sizes = stored_config(weights, UnionHeadConfig())
    if refinements is not None:
        sizes = build(sizes, {"refinements": refinements})
    head = UnionHead.from_checkpoint(weights, sizes).to(device)
    return UnionHeadTransfer(head, config, stored_calibration(weights))


def load_carrier(
    weights: Path, config: UnionTransferConfig, memory: Path | None, bank: BankConfig, device: torch.device | str
) -> UnionHeadCarrier:
    """The head of a file for a follower, with the memory of another file if there is one.

    Raises:
        BadInput: no weights of a union head or of a memory; BadConfig: a memory made for another head.
    """
    transfer = load_union_head(weights, config, device)
    if memory is None:
        return UnionHeadCarrier(transfer)
    networks = TemporalMemory.from_checkpoint(memory).to(device)
    return RemindedCarrier(transfer, Reminder(transfer.head, networks, MemoryBank(bank), config.views.points))
