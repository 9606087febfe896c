"""The halves of a UNet: one step gives what the whole gives to the bit, and each step's answer reaches the encoder."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from tiny_unets import KINDS, text, unet

from audiokd.errors import AudiokdError
from audiokd.vision.shared_encoder_unet import SharedEncoderUNet

STEPS = (751, 501, 251, 1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (9, 6), (7, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_the_whole_network(kind: str, size: tuple[int, int]) -> None:
    """Fails where a release of diffusers changes what its forward does between the blocks."""
    if kind == "hint" and size != (8, 8):
        size = (8, 8)  # its hint is a picture of eight times the size
    make, conditions = KINDS[kind]
    net, given = make(), conditions(3)
    x = torch.randn(3, 4, *size)
    for t in (999, 0):
        whole = net(x, t, **{"encoder_hidden_states": None} | given).sample
        assert torch.equal(SharedEncoderUNet(net)(x, [t], **given)[0], whole)
    each = torch.tensor([7, 500, 999])
    halves = SharedEncoderUNet(net)
    whole = net(x, each, **{"encoder_hidden_states": None} | given).sample
    assert not torch.equal(whole, net(x, 7, **{"encoder_hidden_states": None} | given).sample)
    encoded = halves.encode(x, each, **given)
    assert halves.decode(encoded, [7]).shape == (1, *whole.shape)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_steps_in_one_call_are_steps_by_themselves(kind: str) -> None:
    make, conditions = KINDS[kind]
    halves, given = SharedEncoderUNet(make()), conditions(2)
    x = torch.randn(2, 4, 8, 8)
    encoded = halves.encode(x, STEPS[0], **given)
    answers = halves.decode(encoded, STEPS)
    assert answers.shape == (4, 2, 4, 8, 8)
    for t, answer in zip(STEPS, answers):
        torch.testing.assert_close(answer, halves.decode(encoded, [t])[0], rtol=1e-4, atol=1e-5)
    assert float((answers[0] - answers[-1]).abs().max()) > 1e-4
    assert torch.equal(answers, halves(x, torch.tensor(STEPS), **given))


def test_every_step_reaches_the_encoder() -> None:
    net = unet()
    x, given = torch.randn(2, 4, 8, 8), {"encoder_hidden_states": text(2)}
    encoder = [*net.conv_in.parameters(), *net.down_blocks.parameters(), *net.mid_block.parameters()]
    for step in range(len(STEPS)):
        net.zero_grad()
        SharedEncoderUNet(net)(x, STEPS, **given)[step].square().sum().backward()
        assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in encoder if p.ndim > 1)


def test_checkpointing_changes_no_gradient() -> None:
    found = []
    for checkpointing in (False, True):
        net = unet().train()
        if checkpointing:
            net.enable_gradient_checkpointing()
        torch.manual_seed(1)
        SharedEncoderUNet(net)(torch.randn(2, 4, 8, 8), STEPS, encoder_hidden_states=text(2)).square().sum().backward()
        found.append([p.grad for p in net.parameters()])
    for mine, theirs in zip(*found):
        torch.testing.assert_close(mine, theirs)


def test_what_is_refused() -> None:
    class Own(UNet2DConditionModel):
        pass

    plain = UNet2DModel(
        block_out_channels=(8,), norm_num_groups=4, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",)
    )
    for net in (plain, Own(**{k: v for k, v in unet().config.items() if not k.startswith("_")})):
        with pytest.raises(
            AudiokdError, match=rf"{type(net).__name__} cannot be taken apart(.|\n)*AudioLDM2UNet2DCond"
        ):
            SharedEncoderUNet(net)
    with pytest.raises(AudiokdError, match="has no condition encoder_hidden_states_1"):
        SharedEncoderUNet(unet())(
            torch.randn(1, 4, 8, 8), [1], encoder_hidden_states=None, encoder_hidden_states_1=None
        )
    with pytest.raises(AudiokdError, match="given no class_labels"):
        SharedEncoderUNet(unet(num_class_embeds=3))(torch.randn(1, 4, 8, 8), [1], encoder_hidden_states=text(1))
