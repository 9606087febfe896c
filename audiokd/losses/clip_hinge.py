"""Pictures that say too little of their prompt (optional in TiUE's code, arXiv 2505.21960): relu(tau - mean cosine)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def clip_hinge(pictures: Tensor, texts: Tensor, tau: float) -> Tensor:
    """A scalar; nothing once the mean over the batch has reached `tau`.

    Args:
        pictures, texts: embeddings [B, D] of pictures and of their prompts.
        tau: cosine that is enough.
    """
    return F.relu(tau - F.cosine_similarity(pictures, texts, dim=-1).mean())
