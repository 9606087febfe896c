"""Dead codes come back, codes in use stay, and the counts survive a checkpoint."""

from __future__ import annotations

import torch

from audiokd.nn.quantizers.vq import VectorQuantizer
from audiokd.training.revival import CodebookRevival


def run(after: int, steps: int) -> tuple[VectorQuantizer, torch.Tensor, CodebookRevival, int, torch.Tensor]:
    torch.manual_seed(0)
    q = VectorQuantizer(8, 6, 4)
    before = q.codebook.weight.detach().clone()
    revival = CodebookRevival([q], after)
    latents = torch.randn(2, 4, 5)
    codes = torch.tensor([[[0, 1, 0, 1, 0]], [[0, 0, 0, 0, 0]]])  # 2..5 are never used
    moved = sum(revival.step(codes, [latents]) for _ in range(steps))
    return q, before, revival, moved, latents


def test_unused_codes_move_onto_latents_of_the_batch() -> None:
    q, before, _, moved, latents = run(after=3, steps=3)
    assert moved == 4
    assert torch.equal(q.codebook.weight[:2], before[:2])
    columns = latents.transpose(1, 2).reshape(-1, 4)
    for row in q.codebook.weight[2:].detach():
        assert (columns == row).all(1).any()


def test_nothing_moves_before_its_time_or_when_off() -> None:
    for after, steps in ((3, 2), (0, 50)):
        q, before, _, moved, _ = run(after, steps)
        assert moved == 0
        assert torch.equal(q.codebook.weight, before)


def test_a_used_code_starts_to_count_anew_and_counts_are_saved() -> None:
    _, _, revival, _, latents = run(after=4, steps=3)
    assert revival.state_dict()["idle0"].tolist() == [0, 0, 3, 3, 3, 3]
    assert revival.step(torch.full((2, 1, 5), 2), [latents]) == 3  # 3, 4, 5 are due; 2 was used in time
    assert revival.state_dict()["idle0"].tolist() == [1, 1, 0, 0, 0, 0]


def test_the_generator_does_not_own_the_counts() -> None:
    q, _, revival, _, _ = run(after=4, steps=1)
    assert not [k for k in q.state_dict() if "idle" in k]
    assert list(revival.parameters()) == []
