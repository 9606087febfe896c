"""MERT's code loss beside one that is written out, codebook by codebook and frame by frame."""

from __future__ import annotations

import math

import pytest
import torch

from audiokd.losses.masked_codes import masked_codes
from audiokd.nn.code_heads import CodeHeads


def test_equals_a_written_out_reference() -> None:
    torch.manual_seed(0)
    heads = CodeHeads(dim=6, codebooks=3, cardinality=5, out=4, temperature=0.1)
    frames, codes = torch.randn(7, 6), torch.randint(0, 5, (3, 7))
    loss, accuracy = masked_codes(heads(frames), codes)
    weight, bias, tables = (p.detach() for p in (heads.projection.weight, heads.projection.bias, heads.embeddings))
    for q in range(3):
        total, right = 0.0, 0
        for n in range(7):
            v = weight[4 * q : 4 * q + 4] @ frames[n] + bias[4 * q : 4 * q + 4]
            sims = [float(v @ e / (v.norm() * e.norm())) / 0.1 for e in tables[q]]
            true = int(codes[q, n])
            total -= sims[true] - math.log(sum(math.exp(s) for s in sims))
            right += sims[true] == max(sims)
        assert float(loss[q]) == pytest.approx(total / 7, abs=1e-5)
        assert float(accuracy[q]) == pytest.approx(right / 7)


def test_cosines_are_float32_under_autocast() -> None:
    """At 0.1, bfloat16 would round a cosine of 0.999 by 0.04 of a logit."""
    torch.manual_seed(0)
    heads, frames = CodeHeads(8, 2, 5), torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        logits = heads(frames)
    assert logits.dtype == torch.float32
    said = (frames.bfloat16() @ heads.projection.weight.bfloat16().T + heads.projection.bias.bfloat16()).float()
    unit = torch.nn.functional.normalize(said.view(4, 2, 64), dim=-1)
    table = torch.nn.functional.normalize(heads.embeddings, dim=-1)
    torch.testing.assert_close(logits, torch.einsum("nqo,qvo->qnv", unit, table) / 0.1, atol=0.03, rtol=0)


def test_no_frame_at_all() -> None:
    heads = CodeHeads(8, 2, 5)
    loss, accuracy = masked_codes(heads(torch.zeros(0, 8)), torch.zeros(2, 0, dtype=torch.long))
    assert loss.tolist() == accuracy.tolist() == [0.0, 0.0]
    loss.sum().backward()
    assert heads.embeddings.grad is not None
