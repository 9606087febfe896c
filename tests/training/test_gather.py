"""Rows of several processes as one batch, forward and backward: two processes of this test, of unequal numbers of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from audiokd.losses.contrastive import contrastive_loss
from audiokd.training.gather import gathered

SPLITS = ((0, 3), (3, 5))  # rows of each rank


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    media, texts = torch.nn.functional.normalize(torch.randn(2, 5, 4, generator=generator), dim=-1)
    return media, texts, torch.randn(4, 4, generator=generator), torch.tensor([0, 1, 2, 1, 4])


def work(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(SPLITS))
    media, texts, weight, groups = inputs()
    weight.requires_grad_()
    mine = slice(*SPLITS[rank])
    everyone = gathered(groups[mine])
    loss = contrastive_loss(gathered(media[mine] @ weight), gathered(texts[mine]), 3.0, everyone)
    loss.backward()
    dist.all_reduce(weight.grad)
    torch.save({"loss": loss.detach(), "grad": weight.grad / len(SPLITS), "groups": everyone}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_a_loss_over_all_processes_rows(tmp_path: Path) -> None:
    """The loss of one process that has them all; parameters' gradients, averaged over processes, are its gradient."""
    mp.spawn(work, (tmp_path,), nprocs=len(SPLITS))
    media, texts, weight, groups = inputs()
    weight.requires_grad_()
    loss = contrastive_loss(media @ weight, texts, 3.0, groups)
    loss.backward()
    for rank in range(len(SPLITS)):
        found: dict[str, Any] = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["groups"].tolist() == groups.tolist()
        torch.testing.assert_close(found["loss"], loss.detach())
        torch.testing.assert_close(found["grad"], weight.grad)


def test_one_process_has_its_own() -> None:
    x = torch.randn(3, 2)
    assert gathered(x) is x
