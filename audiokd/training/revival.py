"""Bring unused codes of a codebook back: each takes the place of a random latent of the batch (Jukebox 2005.00341, sec. 3).

The official LM-SPT code leaves codebooks alone, and with thousands of frames a step they fill by themselves. With the
tens of frames of a small run every latent falls on one code before the encoder has learnt to tell them apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiokd.nn.quantizers.fsq import FSQ
from audiokd.nn.quantizers.vq import VectorQuantizer


class CodebookRevival(nn.Module):
    """Counts the steps that each code was not used for; its buffers are part of a checkpoint.

    Args:
        quantizers: one a stream; an FSQ has no codes that could be moved and is left alone.
        after: steps without use after which a code is moved; 0 never moves one.
    """

    def __init__(self, quantizers: list[VectorQuantizer | FSQ], after: int):
        super().__init__()
        self.after = after
        self.__dict__["quantizers"] = quantizers  # the generator owns them
        for i, q in enumerate(quantizers):
            if isinstance(q, FSQ):
                continue
            self.register_buffer(f"idle{i}", torch.zeros(q.codebook_size, dtype=torch.long))

    @torch.no_grad()
    def step(self, codes: Tensor, latents: list[Tensor]) -> int:
        """Count a step and move codes that were idle too long.

        Args:
            codes: [B, Q, T'] of this step.
            latents: projected latents [B, d, T'] of each stream, before quantisation.

        Returns:
            Number of codes moved.
        """
        if not self.after:
            return 0
        moved = 0
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        for i, q in enumerate(self.quantizers):
            if isinstance(q, FSQ):
                continue
            idle = getattr(self, f"idle{i}")
            used = torch.bincount(codes[:, i].reshape(-1), minlength=q.codebook_size) > 0
            if distributed:
                used = used.int()
                torch.distributed.all_reduce(used, torch.distributed.ReduceOp.MAX)
            idle += 1
            idle[used.bool()] = 0
            dead = idle >= self.after
            n = int(dead.sum())
            if not n:
                continue
            z = latents[i].detach().float().transpose(1, 2).reshape(-1, latents[i].shape[1])
            new = z[torch.randint(len(z), (n,)).to(z.device)]
            if distributed:
                torch.distributed.broadcast(new, 0)
            q.codebook.weight[dead] = new.to(q.codebook.weight.dtype)
            idle[dead] = 0
            moved += n
        return moved
