"""What a frame says of the codes of several codebooks: cosines with an embedding of each code (HuBERT, arXiv 2106.07447, eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CodeHeads(nn.Module):
    """One projection and one table of embeddings a codebook.

    Args:
        dim: of a frame.
        codebooks: how many.
        cardinality: codes of each.
        out: size of projection and embeddings.
        temperature: that cosines are divided by.
    """

    def __init__(self, dim: int, codebooks: int, cardinality: int, out: int = 64, temperature: float = 0.1):
        super().__init__()
        self.temperature = temperature
        self.projection = nn.Linear(dim, codebooks * out)
        self.embeddings = nn.Parameter(torch.empty(codebooks, cardinality, out))
        nn.init.uniform_(self.embeddings)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [N, D] to logits [Q, N, V], in float32 whatever the autocast: cosines near 1 over 0.1 have no room in half."""
        q, _, out = self.embeddings.shape
        said = self.projection(frames)
        with torch.autocast(frames.device.type, enabled=False):
            said = F.normalize(said.float().view(-1, q, out), dim=-1).transpose(0, 1)
            return said @ F.normalize(self.embeddings.float(), dim=-1).transpose(1, 2) / self.temperature
