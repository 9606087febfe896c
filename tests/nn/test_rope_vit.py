"""Rotary positions, patches, and a transformer that takes any of them."""

from __future__ import annotations

import pytest
import torch

from audiokd.nn.axial_rope import rope_angles, rotate
from audiokd.nn.patches import grid_of, grid_positions, to_patches
from audiokd.nn.rope_vit import RopeViT

torch.manual_seed(0)


def test_scores_depend_on_differences_of_positions_alone() -> None:
    q, k = torch.randn(2, 3, 5, 16), torch.randn(2, 3, 5, 16)
    at = torch.randint(0, 9, (2, 5, 3))

    def scores(positions: torch.Tensor) -> torch.Tensor:
        angles = rope_angles(positions, 16)
        return rotate(q, angles) @ rotate(k, angles).transpose(-1, -2)

    assert torch.allclose(scores(at), scores(at + torch.tensor([4, 1, 7])), atol=1e-4)
    assert not torch.allclose(scores(at), scores(at * 2), atol=1e-2)


def test_each_axis_turns_its_own_channels_and_lengths_stay() -> None:
    x = torch.randn(1, 1, 1, 16)
    for axis in range(3):
        at = torch.zeros(1, 1, 3, dtype=torch.long)
        at[..., axis] = 5
        turned = rotate(x, rope_angles(at, 16))
        changed = (turned - x).abs()[0, 0, 0] > 1e-6
        assert int(changed.sum()) == 4  # two pairs of channels an axis
        assert torch.allclose(turned.norm(), x.norm())
    assert torch.equal(rotate(x, rope_angles(torch.zeros(1, 1, 3), 16)), x)


def test_patches_are_blocks_in_order() -> None:
    x = torch.arange(2 * 3 * 4 * 6 * 8.0).view(2, 3, 4, 6, 8)
    found = to_patches(x, (2, 3, 4))
    assert found.shape == (2, 2 * 2 * 2, 3 * 2 * 3 * 4)
    assert torch.equal(found[1, 5], x[1, :, 2:4, 0:3, 4:8].flatten())  # number 5 of (2, 2, 2) is (1, 0, 1)
    assert grid_positions((2, 2, 2))[0, 5].tolist() == [1, 0, 1]
    assert grid_of((5, 6, 8), (2, 3, 4)) == (2, 2, 2)
    assert torch.equal(to_patches(torch.cat([x, x[:, :, :1]], 2), (2, 3, 4)), found)  # a rest is dropped


def test_rows_are_all_that_is_seen() -> None:
    net = RopeViT(12, 24, 2, 2).eval()
    patches, at = torch.randn(2, 10, 12), grid_positions((2, 5))
    rows = torch.tensor([[0, 3, 7], [2, 4, 9]])
    seen = net(patches, at, rows)
    other = torch.randn_like(patches)
    for b in range(2):
        other[b, rows[b]] = patches[b, rows[b]]
    assert torch.equal(net(other, at, rows), seen)
    alone = net(patches[1:, rows[1]], at[:, rows[1]])
    assert torch.allclose(alone[0], seen[1], atol=1e-5)
    assert torch.allclose(net(patches, at, torch.arange(10).expand(2, -1)), net(patches, at), atol=1e-5)


def test_order_of_tokens_does_not_matter_but_place_does() -> None:
    net = RopeViT(12, 24, 2, 2).eval()
    for block in net.blocks:
        block.attn.qkv.weight.data *= 40  # at its start attention is nearly even
    patches, at = torch.randn(1, 6, 12), grid_positions((2, 3))
    shuffled = torch.randperm(6)
    out = net(patches, at)
    assert torch.allclose(net(patches[:, shuffled], at[:, shuffled]), out[:, shuffled], atol=1e-4)
    assert not torch.allclose(net(patches[:, shuffled], at), out[:, shuffled], atol=1e-2)


def test_branches_of_deep_blocks_begin_small() -> None:
    blocks = RopeViT(12, 64, 8, 2).blocks
    spread = [float(b.mlp.fc2.weight.detach().std()) for b in blocks]  # type: ignore[union-attr,operator]
    assert spread[0] / spread[7] == pytest.approx((16 / 2) ** 0.5, rel=0.1)
