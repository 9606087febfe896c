"""Someone else's convolutions, masked, held and measured, against themselves."""

from __future__ import annotations

import torch
from torch import nn

from audiokd.nn.conv_reach import conv_reach
from audiokd.nn.held_convs import HeldConvs
from audiokd.nn.masked_convs import masked_convs


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_masked_convs_are_those_of_an_item_alone() -> None:
    """Strided, dilated, transposed with an odd stride and an output padding; biases and a nonlinearity that leaves no zeros."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(2, 4, 7, padding=3),
        nn.Softplus(),
        nn.Conv1d(4, 4, 6, stride=3, padding=2),
        nn.Conv1d(4, 4, 1),
        nn.Conv1d(4, 4, 3, dilation=5, padding=5),
        nn.Softplus(),
        nn.ConvTranspose1d(4, 3, 10, stride=5, padding=3),
        nn.ConvTranspose1d(3, 3, 10, stride=5, padding=3, output_padding=1),
        nn.Conv1d(3, 1, 3, padding=1),
    )
    x, lengths = noise(3, 2, 90), torch.tensor([90, 31, 7])
    y, n = masked_convs(net, x, lengths)
    assert n is not None
    for i, k in enumerate(lengths.tolist()):
        alone, m = masked_convs(net, x[i : i + 1, :, :k], None)
        assert m is None
        assert int(n[i]) == alone.shape[-1]
        torch.testing.assert_close(y[i, :, : int(n[i])], alone[0])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    z, n = masked_convs(net, x, torch.tensor([90, 90, 90]))
    assert n is not None
    assert n.tolist() == [z.shape[-1]] * 3


def test_reach_is_never_too_short() -> None:
    """Against the gradient, of positive weights: an input that an output hears lies within reach."""
    down = nn.Sequential(
        nn.Conv1d(1, 1, 7, padding=3), nn.Conv1d(1, 1, 8, 4, 2), nn.Conv1d(1, 1, 3, dilation=9, padding=9)
    )
    up = nn.Sequential(nn.Conv1d(1, 1, 7, padding=3), nn.ConvTranspose1d(1, 1, 10, 5, 3), nn.Conv1d(1, 1, 7, padding=3))
    for net, scale in ((down, 4.0), (up, 1 / 5)):
        for p in net.parameters():
            nn.init.ones_(p)
        x = torch.zeros(1, 1, 400, requires_grad=True)
        y = net(x)
        at = y.shape[-1] // 2
        y[0, 0, at].backward()
        assert x.grad is not None
        heard = x.grad[0, 0].nonzero()[:, 0]
        centre = at * scale
        far = max(float(heard.max()) - centre, centre - float(heard.min()))
        assert 0.4 * conv_reach(net) <= far <= conv_reach(net) + 1


@torch.no_grad()
def test_held_convs_go_on_where_they_were() -> None:
    """Causal, two positions in and six out a frame, in pieces of 1 to 26 frames; the start has the network's own padding."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.ReflectionPad1d((6, 0)),
        nn.Conv1d(2, 3, 7),
        nn.Softplus(),
        nn.ConstantPad1d((2, 0), 0.0),
        nn.Conv1d(3, 3, 4, stride=2),
        nn.ReplicationPad1d((8, 0)),
        nn.Conv1d(3, 3, 3, dilation=4),
        nn.ConvTranspose1d(3, 1, 6, stride=6),
    )
    x = noise(1, 2, 60)
    whole = net(x)
    assert whole.shape == (1, 1, 180)
    for pieces in ((30,), (4, 26), (4, 5, 1, 6, 14), (10, 20)):
        held = HeldConvs(net, in_size=2, out_size=6)
        found = [held(part) for part in x.split([2 * p for p in pieces], -1)]
        assert [f.shape[-1] for f in found] == [6 * p for p in pieces]
        torch.testing.assert_close(torch.cat(found, -1), whole)
