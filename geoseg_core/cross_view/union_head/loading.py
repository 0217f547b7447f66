"""The union head from a file of weights, ready to carry masks."""

import torch

from geoseg_core.config import build
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer, UnionTransferConfig
from geoseg_core.weights.chosen import choose_weights, stored_config


def load_union_head(
    weights: str,
    config: UnionTransferConfig = UnionTransferConfig(),  # noqa: B008 (frozen)
    device: torch.device | str = "cpu",
    refinements: int | None = None,
) -> UnionHeadTransfer:
    """The head of a name (`geoseg weights list`) or file; its sizes stand in the file, or are the released ones.

    Args:
        refinements: calls with the mask of the call before; as many as it was trained with if None.

    Raises:
        BadInput: no such weights, or none of a union head; BadConfig: a negative number of refinements.
    """
    path = choose_weights(weights).path
    sizes = stored_config(path, UnionHeadConfig())
    if refinements is not None:
        sizes = build(sizes, {"refinements": refinements})
    return UnionHeadTransfer(UnionHead.from_checkpoint(path, sizes).to(device), config)
