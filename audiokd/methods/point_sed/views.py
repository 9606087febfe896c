"""What is done to training crops: one's sound on top of another's, and time that runs faster or slower; events and points too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.nn.lengths import stack_padded

MOVED = ("intervals", "points", "labels", "whose")


def mixed(batch: dict[str, Any], share: float) -> dict[str, Any]:
    """A batch in which some crops have the sound and the events of the next one as well.

    Args:
        batch: as `audiokd.methods.point_sed.data.collate_points` makes it; crops of one length.
        share: chance of each crop, by torch's generator.
    """
    count = len(batch["wav"])
    takes = torch.rand(count, device=batch["wav"].device) < share
    if count < 2 or not bool(takes.any()):
        return batch
    giver = torch.arange(count, device=takes.device).roll(-1)
    wav = batch["wav"] + takes[:, None] * batch["wav"][giver]
    taker = (batch["whose"] - 1) % count  # of each event the crop that would take it, too
    more = takes[taker]
    both = {k: torch.cat([batch[k], batch[k][more]]) for k in MOVED}
    both["whose"] = torch.cat([batch["whose"], taker[more]])
    order = both["whose"].argsort(stable=True)
    own = batch["lengths"].to(takes.device)
    lengths = torch.maximum(own, own[giver] * takes)
    return batch | {"wav": wav, "lengths": lengths} | {k: v[order] for k, v in both.items()}


def stretched(mel: Tensor, frames: Tensor, batch: dict[str, Any], most: float) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Log-mel whose time runs faster or slower, its frames, and the batch with times to match.

    Args:
        mel: [B, F, T].
        frames: [B].
        batch: with `intervals`, `points` and `whose`.
        most: logarithm of the strongest change.
    """
    if not most:
        return mel, frames, batch
    factor = ((2 * torch.rand(len(mel)) - 1) * most).exp()
    # frame k lies at k hops: the first stays where it is and the last takes the others along
    sizes = [max(2, round((n - 1) * f) + 1) for n, f in zip(frames.tolist(), factor.tolist())]
    rows = [
        F.interpolate(x[None, :, :n], size, mode="linear", align_corners=True)[0]
        for x, n, size in zip(mel, frames.tolist(), sizes)
    ]
    true = torch.tensor([(s - 1) / max(n - 1, 1) for s, n in zip(sizes, frames.tolist())]).to(mel)[batch["whose"]]
    times = {"intervals": batch["intervals"] * true[:, None], "points": batch["points"] * true}
    return stack_padded(rows), torch.tensor(sizes, device=mel.device), batch | times
