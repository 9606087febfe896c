"""Change of a UNet's features along a trajectory: by two forwards by hand, and what it must be for a network that ignores time."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from tiny_unets import KINDS

from audiokd.vision.feature_change import feature_change


@pytest.mark.parametrize("kind", ["stable_diffusion", "classes", "audioldm2"])
def test_two_steps_by_hand(kind: str) -> None:
    build, conditions = KINDS[kind]
    unet, of = build(), conditions(3)
    scheduler = DDIMScheduler(timestep_spacing="trailing", clip_sample=False)
    z = torch.randn(3, 4, 8, 8)
    found = feature_change(unet, scheduler, z, 2, of)
    assert found.timesteps == [499]
    assert found.blocks == ("down0", "down1", "mid", "up0", "up1")
    assert not any(m._forward_hooks for m in unet.modules())

    kept: list[torch.Tensor] = []
    handle = unet.up_blocks[-1].register_forward_hook(lambda m, i, o: kept.append(o))
    with torch.no_grad():
        answer = unet(z, 999, **of).sample
        scheduler.set_timesteps(2)
        unet(scheduler.step(answer, 999, z).prev_sample, 499, **of)
    handle.remove()
    first, second = (x.flatten(1) for x in kept)
    torch.testing.assert_close(found.relative[0, -1], ((second - first).norm(dim=1) / first.norm(dim=1)).mean())
    torch.testing.assert_close(found.cosine[0, -1], torch.cosine_similarity(first, second).mean())
    halves = found.halves()
    torch.testing.assert_close(halves["decoder"][0], found.relative[:, 3:].mean(1))
    torch.testing.assert_close(halves["encoder"][1], found.cosine[:, :3].mean(1))


def test_nothing_changes_where_neither_sample_nor_time_does() -> None:
    unet = KINDS["stable_diffusion"][0]()
    torch.nn.init.zeros_(unet.conv_in.weight)
    for name, parameter in unet.named_parameters():
        if "time_emb" in name:
            torch.nn.init.zeros_(parameter)
    conditions = KINDS["stable_diffusion"][1](2)
    found = feature_change(unet, DDIMScheduler(clip_sample=False), torch.randn(2, 4, 8, 8), 5, conditions)
    assert found.relative.shape == (4, 5)
    torch.testing.assert_close(found.relative, torch.zeros(4, 5))
    torch.testing.assert_close(found.cosine, torch.ones(4, 5))
