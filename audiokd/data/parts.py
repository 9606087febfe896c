"""Batches of a fixed make-up: so many utterances of each part of a corpus, each part walked through at its own pace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from audiokd.data.crops import StepSampler, rng_of


class PartSampler:
    """Batches of (step, part, index) for the steps `start..stop-1` of one rank, part after part.

    Each part is a `StepSampler` of its own: a short part begins its next epoch while a long one is in its first.

    Args:
        sizes: utterances of each part.
        batch_sizes: utterances of each part a rank and step.
        start, stop: steps.
        seed: of the permutations.
        rank, world_size: which slots of the global batch are ours.

    Raises:
        AudiokdError: a part is empty.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_sizes: Sequence[int],
        start: int,
        stop: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        seeds = [int(rng_of(seed, "part", k).integers(2**62)) for k in range(len(sizes))]
        self.parts = [
            StepSampler(size, batch, start, stop, s, rank, world_size)
            for size, batch, s in zip(sizes, batch_sizes, seeds, strict=True)
        ]

    def __len__(self) -> int:
        return min(len(p) for p in self.parts)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for of_parts in zip(*self.parts):
            yield [(step, k, index) for k, batch in enumerate(of_parts) for step, index in batch]


class PartDataset:
    """Datasets that are indexed by (step, index), as one that is indexed by (step, part, index)."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = list(parts)

    def __len__(self) -> int:
        return sum(len(p) for p in self.parts)

    def __getitem__(self, key: tuple[int, int, int]) -> Any:
        step, part, index = key
        return self.parts[part][step, index]
