"""Learning rates that fall towards the input of an encoder (Clark et al., ELECTRA, arXiv 2003.10555)."""

from __future__ import annotations

import re

from torch import nn

from audiokd.errors import AudiokdError
from audiokd.nn.layer_prompts import LAYER
from audiokd.nn.vit import DropPath

#: lists of blocks in a tower of transformers or timm, and stages of such lists
NUMBERED = re.compile(r"(?:^|\.)(?:layers|blocks|stages|layer(?=\d))\.?(\d+)(?:\.blocks)?(?:\.(\d+))?\.")

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
        block = LAYER.match(name)
        power = depth - int(block[1]) if block else 1 if name.startswith(f"{top}.") else depth
        if p.requires_grad:
            groups.setdefault(power, []).append(p)
    return [{"params": of, "scale": decay**power} for power, of in sorted(groups.items()) if of]


def ordered_decay_groups(tower: nn.Module, decay: float, weight_decay: float) -> list[dict]:
    """Parameter groups of any tower, with `scale`, what the rate is multiplied by, and `weight_decay`, 0 for biases and norms.

    Blocks are told by a number in a parameter's name (stages of blocks by two) and counted in the order that the tower has its
    parameters in. `decay` to the power of depth - i for block i, of depth + 1 for what stands before the blocks; what stands after
    them is trained at the full rate (as BEiT has it, arXiv 2106.08254).

    Args:
        tower: a network of transformers or timm.
        decay: rate of a block over that of the block above it.
        weight_decay: of matrices.
    """
    trained = [(name, p) for name, p in tower.named_parameters() if p.requires_grad]
    keys = [of[0] if (of := NUMBERED.findall(name)) else None for name, _ in trained]
    staged = {key[0] for key in keys if key and key[1]}
    # between the blocks of two stages, such as a merging of patches: with the block before it
    keys = [None if key and key[0] in staged and not key[1] else key for key in keys]
    blocks = {key: i for i, key in enumerate(dict.fromkeys(k for k in keys if k is not None))}
    last = max((i for i, key in enumerate(keys) if key is not None), default=-1)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    seen = -1
    for i, ((_, p), key) in enumerate(zip(trained, keys)):
        seen = blocks[key] if key is not None else seen
        power = 0 if i > last else len(blocks) - seen
        groups.setdefault((power, p.ndim > 1), []).append(p)
    return [
        {"params": of, "scale": decay**power, "weight_decay": weight_decay if matrices else 0.0}
        for (power, matrices), of in sorted(groups.items(), key=lambda g: (g[0][0], not g[0][1]))
    ]


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
        block = LAYER.match(f"{name}.")
        if not (block and int(block[1]) >= depth - blocks):
            for p in module.parameters(recurse=False):
                p.requires_grad_(bool(blocks and top) and name == top)
            if isinstance(module, (DropPath, nn.Dropout)):
                module.p = 0.0
            for rate in DROPOUTS:  # that are handed to functions
                if isinstance(getattr(module, rate, None), float):
                    setattr(module, rate, 0.0)
