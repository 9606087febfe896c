"""Learning rates that fall towards the input of an encoder (Clark et al., ELECTRA, arXiv 2003.10555)."""

from __future__ import annotations

import re

from torch import nn

from audiokd.errors import AudiokdError
from audiokd.nn.vit import DropPath

#: ours, and those of transformers' encoders: other lists are called layers too, such as data2vec's positional convolutions
BLOCK = re.compile(r"^(?:blocks|encoder\.layers|body\.(?:encoder\.)?layers)\.(\d+)\.")

DROPOUTS = ("dropout", "activation_dropout", "attention_dropout", "layerdrop")


def layer_decay_groups(encoder: nn.Module, head: nn.Module, depth: int, decay: float) -> list[dict]:
    """Parameter groups with `scale`, what the head's rate is multiplied by.

    `decay` to the power of depth - i for block i, of 1 for the norm after them, of depth for what stands before them
    (audiossl, atstframe/downstream/train_finetune.py).

    Args:
        encoder: one of ours, or a TrainableEncoder; the norm after its blocks is `last_norm`, "" where there is none, or norm
            where it does not say.
        head: trained at the full rate.
        depth: blocks of the encoder.
        decay: rate of a block over that of the block above it.
    """
    top = getattr(encoder, "last_norm", "norm")
    groups: dict[int, list[nn.Parameter]] = {0: [p for p in head.parameters() if p.requires_grad]}
    for name, p in encoder.named_parameters():
        block = BLOCK.search(name)
        power = depth - int(block[1]) if block else 1 if name.startswith(f"{top}.") else depth
        if p.requires_grad:
            groups.setdefault(power, []).append(p)
    return [{"params": of, "scale": decay**power} for power, of in sorted(groups.items()) if of]


def train_last_blocks(encoder: nn.Module, depth: int, blocks: int) -> None:
    """Leave all of an encoder but its last blocks and the norm after them as it is: no gradient, no drop path, no dropout.

    Args:
        encoder: named as above.
        depth: blocks that it has.
        blocks: how many are trained; 0 none, nor the norm; -1 everything.

    Raises:
        AudiokdError: it has not so many.
    """
    if blocks < -1 or blocks > depth:
        raise AudiokdError(f"{blocks} of {depth} blocks cannot be trained", fix="-1 trains all of the encoder")
    if blocks == -1:
        return
    top = getattr(encoder, "last_norm", "norm")
    for name, module in encoder.named_modules():
        block = BLOCK.search(f"{name}.")
        if not (block and int(block[1]) >= depth - blocks):
            for p in module.parameters(recurse=False):
                p.requires_grad_(bool(blocks and top) and name == top)
            if isinstance(module, (DropPath, nn.Dropout)):
                module.p = 0.0
            for rate in DROPOUTS:  # that are handed to functions
                if isinstance(getattr(module, rate, None), float):
                    setattr(module, rate, 0.0)
