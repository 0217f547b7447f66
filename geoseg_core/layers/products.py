"""Softmax attention by the fastest way that the machine has.

PyTorch's fused attention multiplies bfloat16 no faster than float32 on processors that have AVX512-BF16 but no AMX
(75 of 190 GFLOP/s a core). There, attention goes head by head through the library's matrix products: 1.6 times faster
at 2,000 tokens. Its scores are rounded to bfloat16; the depth of a full VGGT with random weights came out as far from
float32 as with fused attention (median 0.56 %). On cores that others use as well, the many short products need
OMP_WAIT_POLICY=PASSIVE, which the nodes set.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

# Scores of one step stay in the cache.
SCORES = 2**21
# With fewer keys the steps cost more than they save.
LEAST_KEYS = 512


def fused_is_slow() -> bool:
    """Whether this processor multiplies bfloat16, but not inside the fused attention."""
    # Older releases of PyTorch do not tell.
    tells: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(tells.get("avx512_bf16")) and not tells.get("amx_tile")


FUSED_IS_SLOW = fused_is_slow()


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v of queries (B, heads, N, D), keys and values (B, heads, M, D)."""
    reduced = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    traced = torch.compiler.is_compiling() or (torch.is_grad_enabled() and query.requires_grad)
    if FUSED_IS_SLOW and reduced and key.shape[2] >= LEAST_KEYS and not traced:
        return attend_by_heads(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


@torch.no_grad()
def attend_by_heads(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same, one head and some rows at a time; without gradients."""
    batch, heads, count, width = query.shape
    rows = max(SCORES // key.shape[2], 1)
    scores = query.new_empty(min(rows, count), key.shape[2])
    mixed = query.new_empty(batch, count, heads, width).transpose(1, 2)
    scaled, key, value = ((query * width**-0.5).flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1).contiguous())
    for head in range(batch * heads):
        into = mixed[head // heads, head % heads]
        for start in range(0, count, rows):
            some = scaled[head, start : start + rows]
            part = torch.mm(some, key[head].mT, out=scores[: len(some)])
            into[start : start + rows] = torch.softmax(part, dim=-1) @ value[head]
    return mixed
