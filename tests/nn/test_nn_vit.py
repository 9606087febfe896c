"""Transformer blocks: timm-like numbers by hand, masks, and the tokens that are wanted alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from audiokd.nn.vit import Block, DropPath, take_rows


@pytest.fixture(params=[False, True], ids=["plain", "qkv_bias"])
def block(request: pytest.FixtureRequest) -> Block:
    torch.manual_seed(0)
    block = Block(24, 3, qkv_bias=request.param)
    for p in block.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return block.eval()


def test_a_block_by_hand(block: Block) -> None:
    x = torch.randn(2, 7, 24)
    h = F.layer_norm(x, (24,), block.norm1.weight, block.norm1.bias, 1e-6)
    q, k, v = F.linear(h, block.attn.qkv.weight, block.attn.qkv.bias).view(2, 7, 3, 3, 8).permute(2, 0, 3, 1, 4)
    heard = ((q @ k.transpose(-1, -2)) / 8**0.5).softmax(-1) @ v
    y = x + F.linear(heard.transpose(1, 2).reshape(2, 7, 24), block.attn.proj.weight, block.attn.proj.bias)
    h = F.layer_norm(y, (24,), block.norm2.weight, block.norm2.bias, 1e-6)
    y = y + block.mlp.fc2(F.gelu(block.mlp.fc1(h)))
    torch.testing.assert_close(block(x), y, atol=1e-5, rtol=1e-5)


def test_wanted_tokens_are_those_of_all(block: Block) -> None:
    """Output and gradient, with padding."""
    x = torch.randn(3, 9, 24)
    rows = torch.tensor([[0, 4, 8], [2, 2, 1], [0, 3, 5]])
    mask = (torch.arange(9) < torch.tensor([9, 5, 7])[:, None])[:, None, None]
    grads = []
    for wanted in (None, rows):
        inputs = x.clone().requires_grad_()
        y = block(inputs, mask, wanted)
        y = take_rows(y, rows) if wanted is None else y
        grads.append((y, torch.autograd.grad(y.square().sum(), [inputs, *block.parameters()])))
    (a, da), (b, db) = grads
    torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)
    for ga, gb in zip(da, db):
        torch.testing.assert_close(gb, ga, atol=1e-3, rtol=1e-4)


def test_padding_is_not_attended_to(block: Block) -> None:
    x = torch.randn(1, 6, 24)
    noise = torch.cat([x, torch.randn(1, 3, 24)], 1)
    mask = (torch.arange(9) < 6)[None, None, None]
    torch.testing.assert_close(block(noise, mask)[:, :6], block(x), atol=1e-5, rtol=1e-5)


def test_drop_path_leaves_out_whole_items() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    out = drop(torch.ones(4000, 2, 3))
    kept = out[:, 0, 0] > 0
    assert (out[kept] == 1 / 0.75).all()
    assert not out[~kept].any()
    assert abs(float(kept.float().mean()) - 0.75) < 0.03
    assert torch.equal(drop.eval()(torch.ones(2, 2)), torch.ones(2, 2))
