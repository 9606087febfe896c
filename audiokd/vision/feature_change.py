r"""How much a diffusion UNet's features change from one sampling step to the next: the reason for a shared encoder
(TiUE, arXiv 2505.21960).

For each block's output f_t along a DDIM trajectory of steps t_1 > t_2 > ...

.. math:: \mathrm{change}_s = \frac{\|f_{t_{s+1}} - f_{t_s}\|}{\|f_{t_s}\|}, \qquad
   \mathrm{cosine}_s = \frac{\langle f_{t_{s+1}}, f_{t_s} \rangle}{\|f_{t_{s+1}}\| \|f_{t_s}\|}

each the mean over pictures. Down blocks and the mid block are the encoder, up blocks the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class FeatureChange:
    """Changes between T sampling steps.

    Attributes:
        timesteps: [T - 1] to which a step goes.
        blocks: names, in the order of the network: down0, ..., mid, up0, ...
        relative, cosine: [T - 1, blocks].
    """

    timesteps: list[int]
    blocks: tuple[str, ...]
    relative: Tensor
    cosine: Tensor

    def halves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Relative change and cosine [T - 1] of "encoder" and "decoder": means over their blocks."""
        up = torch.tensor([b.startswith("up") for b in self.blocks])
        return {
            name: (self.relative[:, of].mean(1), self.cosine[:, of].mean(1))
            for name, of in (("encoder", ~up), ("decoder", up))
        }


@torch.no_grad()
def feature_change(
    unet: nn.Module, scheduler: Any, sample: Tensor, steps: int, conditions: dict[str, Any] | None = None
) -> FeatureChange:
    """Sample by DDIM, without guidance, and compare what each block gives at neighbouring steps.

    Args:
        unet: of diffusers, with down_blocks, mid_block and up_blocks.
        scheduler: DDIM's (`audiokd.vision.ddim.ddim_of`).
        sample: noise [B, C, H, W].
        steps: of the trajectory, two or more.
        conditions: keyword arguments of the UNet's forward.
    """
    scheduler.set_timesteps(steps)
    before: dict[str, Tensor] = {}
    relative, cosine = [], []
    for t in scheduler.timesteps:
        with _outputs(unet) as found:
            answer = unet(sample, t, **(conditions or {})).sample
        if before:
            pairs = [(before[k].flatten(1), found[k].flatten(1)) for k in found]
            relative.append(torch.stack([((b - a).norm(dim=1) / a.norm(dim=1)).mean() for a, b in pairs]))
            cosine.append(torch.stack([F.cosine_similarity(a, b, dim=1).mean() for a, b in pairs]))
        before = found
        sample = scheduler.step(answer, t, sample).prev_sample
    steps_to = [int(t) for t in scheduler.timesteps[1:]]
    return FeatureChange(steps_to, tuple(before), torch.stack(relative).cpu(), torch.stack(cosine).cpu())


@contextmanager
def _outputs(unet: Any) -> Iterator[dict[str, Tensor]]:
    """What each block gives while this is open, by name."""
    found: dict[str, Tensor] = {}
    blocks = {f"down{k}": b for k, b in enumerate(unet.down_blocks)} | {"mid": unet.mid_block}
    blocks |= {f"up{k}": b for k, b in enumerate(unet.up_blocks)}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found[name] = (output[0] if isinstance(output, tuple) else output).detach().float()

        return hook

    handles = [block.register_forward_hook(keep(name)) for name, block in blocks.items() if block is not None]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
