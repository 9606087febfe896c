"""Adapters that are off leave the network as it was, to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_unets import audioldm2, text, unet

from audiokd.errors import AudiokdError
from audiokd.vision.lora import add_lora, lora_off

TARGETS = ("to_q", "to_v", "conv1")


@pytest.mark.parametrize("make", [unet, audioldm2])
def test_off_is_the_network_itself(make: object) -> None:
    net = make()  # type: ignore[operator]
    plain = copy.deepcopy(net)
    given = {"encoder_hidden_states": text(2)}
    if make is audioldm2:
        given["encoder_hidden_states_1"] = text(2, 3, 6)
    x = torch.randn(2, 4, 8, 8)
    found = add_lora(net, 2, 4.0, TARGETS)
    assert type(net) is type(plain)
    assert all("lora" in name and p.requires_grad for name, p in found.items())
    assert {p for p in net.parameters() if p.requires_grad} == set(found.values())
    want = plain(x, 5, **given).sample
    torch.testing.assert_close(net(x, 5, **given).sample, want)  # at first they add nothing
    optimizer = torch.optim.SGD(found.values(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        net(x, 5, **given).sample.square().sum().backward()
        optimizer.step()
    on = net(x, 5, **given).sample
    assert float((on - want).abs().max()) > 1e-3
    with lora_off(net):
        assert torch.equal(net(x, 5, **given).sample, want)
    assert torch.equal(net(x, 5, **given).sample, on)
    assert all(p.requires_grad for p in found.values())


def test_no_such_module() -> None:
    with pytest.raises(AudiokdError, match=r"no adapter can be put in(.|\n)*--lora.targets"):
        add_lora(unet(), 2, 2.0, ("nowhere",))
